"""Attributes: what a tensor is, as ndarray says it: shape, dtype, memory, and views of itself.

What can't be right for a tensor, since it goes past the tape to the memory, raises and says what to do instead.
"""

from typing import Any, NoReturn

import numpy as np

import tapegrad.ops  # noqa: F401
from tapegrad.dispatch import call
from tapegrad.errors import DTypeError, NoAttributeError, ShapeError, WriteError
from tapegrad.primitive import TABLE
from tapegrad.roads import road_of
from tapegrad.shapes import Spec
from tapegrad.storage import Alias, alias_of

_transpose = road_of(TABLE[np.transpose])


class Flags:
    """``flags`` of an array, to read."""

    __slots__ = ("_flags",)

    def __init__(self, flags: Any) -> None:
        object.__setattr__(self, "_flags", flags)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flags, name)

    def __getitem__(self, name: str) -> Any:
        return self._flags[name]

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise WriteError(f"flags.{name} of a tensor can't be set; {_FROZEN}")

    def __setitem__(self, name: str, value: Any) -> NoReturn:
        raise WriteError(f"flags[{name!r}] of a tensor can't be set; {_FROZEN}")

    def __repr__(self) -> str:
        return repr(self._flags)


_FROZEN = "an array that can't be written to is tensor.numpy(), one that can is tensor.numpy().copy()"


def _refused(name: str, why: str) -> Any:
    """A method of ndarray's that would change how memory is read; ``why`` ends in what to do instead."""

    def method(_self: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise WriteError(f"{name}: {why}")

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"Refused: {why}."
    return method


def _absent(name: str, instead: str) -> Any:
    """An attribute of ndarray's that a tensor hasn't; ``instead`` says where to find an answer."""

    def absent(_self: Any) -> NoReturn:
        raise NoAttributeError(f"a tensor has no {name}; {instead}")

    return property(absent, doc=f"Not there; {instead}.")


class Attributes:
    """ndarray's attributes, and the methods that read memory as something else."""

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
    def flags(self) -> Flags:
        """How the value lies in memory; to read alone."""
        array = self._kin.array() if type(self._kin) is Alias else np.asarray(self._value)
        return Flags(array.flags)

    @property
    def device(self) -> str:
        """Where the value is: ``"cpu"``."""
        return "cpu"

    def to_device(self, device: Any, /, *, stream: Any = None) -> Any:
        """This tensor; ``device`` is ``"cpu"``, ValueError for any other."""
        if device != "cpu" or stream is not None:
            raise ValueError(f"to_device: NumPy's arrays are on the device 'cpu', without streams; got {device!r}")
        return self

    base = _absent("base", "np.shares_memory(a, b) says whether two tensors share memory")
    ctypes = _absent("ctypes", "take tensor.numpy().ctypes, to read")

    def view(self, dtype: Any = None, type: Any = None) -> Any:
        """A view of this tensor, of its own dtype; DTypeError for any other, which would read the bytes anew."""
        if type is not None or (dtype is not None and np.dtype(dtype) != self.dtype):
            raise DTypeError(
                f"view: a tensor of dtype {self.dtype} is viewed as that alone, since a derivative doesn't pass "
                f"through bytes; x.astype(dtype) converts, and x.numpy().view(...) views the value"
            )
        return self[...]  # type: ignore[index]

    def getfield(self, dtype: Any, offset: int = 0) -> NoReturn:
        """Refused: a derivative doesn't pass through bytes."""
        raise DTypeError("getfield: a derivative doesn't pass through bytes; take tensor.numpy().getfield(...)")

    resize = _refused("resize", "a tensor keeps its shape; take np.resize(x, shape) or np.pad(x, ...)")
    byteswap = _refused("byteswap", "a derivative doesn't pass through bytes; take tensor.numpy().byteswap()")
    setfield = _refused("setfield", "a derivative doesn't pass through bytes; write by t[index] = value")
    setflags = _refused("setflags", _FROZEN)

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
