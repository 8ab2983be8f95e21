"""Attributes: what a tensor is, as ndarray says it: shape, dtype, memory, and views of itself."""

from typing import Any, NoReturn

import numpy as np

import tapegrad.ops  # noqa: F401
from tapegrad.dispatch import call
from tapegrad.errors import ShapeError, WriteError
from tapegrad.primitive import TABLE
from tapegrad.roads import road_of
from tapegrad.shapes import Spec
from tapegrad.storage import Alias, alias_of

_transpose = road_of(TABLE[np.transpose])


class Attributes:
    """ndarray's attributes."""

    __slots__ = ()

    _value: Any
    _kin: Any
    _spec: Spec

    @property
    def data(self: Any) -> Any:
        """The present value as a read-only array: to change a parameter, ``with tg.no_grad(): p -= ...``."""
        return self.numpy()

    @data.setter
    def data(self, _value: Any) -> NoReturn:
        raise WriteError("data can't be set; update a leaf in place: with tapegrad.no_grad(): p -= rate * p.grad")

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._spec.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype of the elements."""
        return self._spec.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._spec.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._spec.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self._spec.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next, along each axis."""
        return self._kin.layout.strides if type(self._kin) is Alias else np.asarray(self._value).strides

    @property
    def T(self) -> Any:  # noqa: N802
        """The axes in reverse."""
        return _transpose(self)

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two axes swapped."""
        if self._spec.ndim < 2:
            raise ShapeError(f"mT takes matrices, of two axes or more; got shape {self._spec.shape}")
        return call(np.swapaxes, (self, -1, -2), {})

    @property
    def real(self) -> Any:
        """The real part; of a real tensor, itself."""
        return call(np.real, (self,), {}) if self._spec.dtype.kind == "c" else self

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return call(np.imag, (self,), {})

    @imag.setter
    def imag(self, value: Any) -> None:
        if self._spec.dtype.kind != "c":
            raise TypeError("array does not have imaginary part to set")
        self.imag[...] = value

    @property
    def flat(self: Any) -> Any:
        """The elements in a row, to read: index it, iterate over it."""
        row = self.reshape(-1)
        if row._kin is None:
            alias_of(row).writeable = False  # A copy: what is written to it would not be written here.
        return row
