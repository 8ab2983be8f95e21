"""How a tensor's value leaves the tape, and where it refuses to: printing, scalars, arrays, copies."""

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from tapegrad.entries import Entry, parts, unhooked
from tapegrad.errors import ConversionError
from tapegrad.recording import STATE, tracer
from tapegrad.shapes import read_only


class Conversions:
    """What asks a tensor for its value."""

    __slots__ = ()

    _value: Any
    _spec: Any
    _entry: Entry | None

    def _leaving(self, call: str, mend: str) -> None:
        """Raise where the value would leave the tape while it is being recorded."""
        if self._entry is not None and STATE.get().enabled:
            raise ConversionError(f"{call} would take a recording tensor off the tape in silence; use {mend}")

    def _left(self, call: str) -> None:
        """Tell who follows values that this one leaves for Python, or for a plain array, where nobody can."""
        found = tracer()
        if found is not None:
            found.left(self, call)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        self._leaving(
            "NumPy's conversion to an array (np.asarray, np.array, or a function that NumPy doesn't dispatch)",
            ".numpy() or .detach() for the value, np.stack([...]) or np.array(..., like=tensor) to go on recording",
        )
        self._left("NumPy's conversion to an array")
        value = np.asarray(self._value)
        if copy or (dtype is not None and dtype != value.dtype):
            if copy is False:
                raise ValueError(f"a tensor of dtype {value.dtype} has no array of dtype {dtype} without a copy")
            return value.astype(dtype or value.dtype)
        return read_only(value)

    def numpy(self) -> Any:
        """The present value as a read-only array, shape and dtype of the tensor; it shares memory.

        >>> import tapegrad as tg
        >>> tg.tensor([1.0, 2.0]).numpy()
        array([1., 2.])
        """
        found = tracer()
        if found is not None and found.depends(self):
            return self.detach()  # type: ignore[attr-defined]
        return read_only(np.asarray(self._value))

    def item(self, *index: Any) -> Any:
        """The value of one element as a Python number."""
        self._left(".item()")
        return self._value.item(*index)

    def tolist(self) -> Any:
        """The value as nested lists of Python numbers."""
        self._left(".tolist()")
        return self._value.tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """The bytes of the value."""
        self._left(".tobytes()")
        return bytes(self._value.tobytes(order))

    def dumps(self) -> bytes:
        """The pickle of the value, as an array; ``pickle.dumps(tensor)`` makes one of a leaf as a tensor."""
        self._left(".dumps()")
        return bytes(np.asarray(self._value).dumps())

    def dump(self, file: Any) -> None:
        """Write the pickle of the value, as an array, to a file or to a path."""
        self._left(".dump()")
        np.asarray(self._value).dump(file)

    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:
        """Write the value to a file or to a path: its bytes, or as text with ``sep`` between the elements."""
        self._left(".tofile()")
        np.asarray(self._value).tofile(fid, sep, format)

    def __bool__(self) -> bool:
        self._left("bool()")
        return bool(self._value)

    def __float__(self) -> float:
        self._leaving("float()", ".item(), or for a buffer to write into, np.zeros(n, like=tensor)")
        self._left("float()")
        return float(self._value)

    def __int__(self) -> int:
        self._leaving("int()", ".item()")
        self._left("int()")
        return int(self._value)

    def __complex__(self) -> complex:
        self._leaving("complex()", ".item(), or for a buffer to write into, np.zeros(n, like=tensor)")
        self._left("complex()")
        return complex(self._value)

    def __index__(self) -> int:
        self._leaving("use as an index", ".item()")
        self._left("an index in Python")
        return operator.index(self._value)

    def __len__(self) -> int:
        if not self._spec.shape:
            raise TypeError("len() of unsized object")
        return int(self._spec.shape[0])

    def __iter__(self) -> Iterator[Any]:
        if not self._spec.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self._spec.shape[0]))  # type: ignore[index]

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self == value))

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self._spec.size != 1:
            raise TypeError(f"a tensor of shape {self._spec.shape} has no format {spec!r}; use .numpy()")
        return format(self._value.item(), spec)

    def __repr__(self) -> str:
        body = np.array2string(np.asarray(self._value), separator=", ", prefix="tensor(")
        records = "" if self._entry is None else f", {_origin(self._entry)}"
        return f"tensor({body}, dtype={self._spec.dtype}{records})"

    def __str__(self) -> str:
        return repr(self)


def _origin(entry: Entry) -> str:
    """How a tensor came to record, for its repr: ``leaf``, or the operation."""
    entry = unhooked(entry)
    if len(entry) == 4:
        entry = unhooked(entry[3])
    if len(entry) == 1:
        return "replayed"
    return "leaf" if len(entry) == 2 else f"recorded by {parts(entry)[0].name}"
