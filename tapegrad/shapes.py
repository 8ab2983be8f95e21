"""Shapes: what undoes broadcasting and reducing, and the seams where NumPy works in place or not at all.

A seam is a small function that rules call in place of something that one array library does in its
own way. Each has the fastest NumPy path for plain arrays, and a neutral one for everything else.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp, primitive

Shape = tuple[int, ...]


class Spec:
    """A shape and a dtype: what stands in an entry where a rule doesn't read the array itself.

    Specs are interned, so that ``a is b`` answers at record time whether anything has to be undone.
    """

    __slots__ = ("dtype", "floating", "ndim", "numbers", "real", "shape", "size")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self.ndim = len(shape)
        size = 1
        for n in shape:
            size *= n
        self.size = size
        self.real = dtype.kind == "f"
        self.floating = dtype.kind in "fc"
        self.numbers: dict[Any, Any] = {}  # Python numbers, as arrays of this dtype

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype})"


_SPECS: dict[Any, Spec] = {}


def spec_of(value: Any) -> Spec:
    """The spec of an array. Two of equal shape and dtype are nearly always the same object."""
    key = (value.shape, value.dtype)
    spec = _SPECS.get(key)
    if spec is None:
        if len(_SPECS) >= 4096:  # Identity is a shortcut only: forgetting costs time, never truth.
            _SPECS.clear()
        spec = _SPECS[key] = Spec(*key)
    return spec


def conj(x: Any) -> Any:
    """The conjugate; of real data, the data itself (``np.conj`` copies it)."""
    if not hasattr(x, "dtype"):
        return x.conjugate()  # A Python number stays one, and so takes part weakly.
    return np.conj(x) if x.dtype.kind == "c" else x


def mT(x: Any) -> Any:
    """The matrices of ``x`` transposed: the last two axes swapped."""
    return np.swapaxes(x, -1, -2)


def mH(x: Any) -> Any:
    """The matrices of ``x`` transposed and conjugated."""
    return conj(np.swapaxes(x, -1, -2))


def select(mask: Any, g: Any) -> Any:
    """``g`` where the mask holds, else 0: also where ``g`` isn't finite, which a product would keep."""
    return np.where(mask, g, 0)


def sum_axes(x: Any, axes: Any, keepdims: bool = False) -> Any:
    """The sum over axes: ``np.sum`` by its quickest road."""
    if type(x) is np.ndarray:
        return np.add.reduce(x, axis=axes, keepdims=keepdims)
    return np.sum(x, axis=axes, keepdims=keepdims)


def unbroadcast(g: Any, shape: Shape) -> Any:
    """Sum ``g`` over the axes along which an operand of ``shape`` was repeated.

    >>> unbroadcast(np.ones((3, 4)), (3, 1))
    array([[4.],
           [4.],
           [4.]])
    """
    present = g.shape
    if present == shape:
        return g
    lead = len(present) - len(shape)
    axes = tuple(range(lead)) + tuple(
        i for i in range(lead, len(present)) if shape[i - lead] == 1 and present[i] != 1
    )
    return sum_axes(g, axes).reshape(shape)


def normalized_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """NumPy's ``axis`` (None, an int, a tuple; negative ones too) as a tuple of axes counted from 0."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is tuple or type(axis) is list:
        return tuple(operator.index(a) % ndim for a in axis)
    return (operator.index(axis) % ndim,) if ndim else ()


def restore_axes(g: Any, shape: Shape, axis: Any, keepdims: bool = False) -> Any:
    """Give ``g``, reduced over ``axis`` from ``shape``, its axes back, at length 1."""
    if keepdims or g.ndim == len(shape):
        return g
    if axis is None:
        return g.reshape((1,) * len(shape))
    axes = normalized_axes(axis, len(shape))
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))


def expand_like(g: Any, like: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The adjoint of a sum: ``g`` repeated along the axes that were summed, to the shape of ``like``.

    On plain arrays a view that repeats by strides: nobody may write to it.
    """
    shape = like.shape
    if type(g) is np.ndarray or isinstance(g, np.generic):
        return _repeated(np.asarray(restore_axes(g, shape, axis, keepdims)), shape)
    return np.broadcast_to(restore_axes(g, shape, axis, keepdims), shape)


def _repeated(g: Any, shape: Shape) -> Any:
    # np.broadcast_to, ten times quicker: it is a view with stride 0 along the repeated axes. The
    # constructor wants the memory of ``g`` in one piece, which a reduced cotangent nearly always is.
    if not g.flags.c_contiguous or g.size == 0 or 0 in shape:
        return np.broadcast_to(g, shape)
    strides = tuple(0 if n == 1 else s for n, s in zip(g.shape, g.strides, strict=True))
    return np.ndarray(shape, g.dtype, g, 0, strides)


def seed_like(y: Any) -> Any:
    """The first cotangent of a sweep: ones, of the shape and dtype of ``y``."""
    return np.ones_like(y)


@primitive
def cast(a: Any, dtype: Any) -> Any:
    """``a`` as another dtype; from complex to real, its real part."""
    if a.dtype.kind == "c" and np.dtype(dtype).kind == "f":
        a = a.real
    return a.astype(dtype)


@defvjp(cast, cases=Cases(calls=(call((3,), dtype=np.float64), call((2, 2), dtype=np.complex128))))
def cast_vjp(g: Any, _y: Any, _a: Any, *, _dtype: Any) -> Any:
    """The adjoint of a cast is the cast back (the engine's fit would do it; written out for order two)."""
    return cast(g, _a.dtype)


def fit(c: Any, like: Any) -> Any:
    """A cotangent brought to the shape and the dtype of its operand: broadcasting and casting undone.

    A real operand of a complex result gets the real part: the adjoint under Re<a, b>.
    """
    if c.shape != like.shape:
        c = unbroadcast(c, like.shape)
    if c.dtype != like.dtype:
        c = cast(c, like.dtype)
    return c


@primitive
def scatter_add(g: Any, index: Any, shape: Shape) -> Any:
    """The adjoint of indexing: zeros of ``shape``, to which ``g`` is added at ``index``."""
    out = np.zeros(shape, g.dtype)
    if _repeats(index):
        np.add.at(out, index, g)  # Integer arrays may repeat a place, and its cotangents add up.
    else:
        out[index] = g
    return out


def _repeats(index: Any) -> bool:
    items = index if type(index) is tuple else (index,)
    return any(type(i) is np.ndarray and i.dtype.kind != "b" for i in items)


@defvjp(
    scatter_add,
    cases=Cases(
        calls=(
            call((2, 3), index=slice(1, 3), shape=(4, 3)),
            call((3, 3), index=np.array([0, 2, 0]), shape=(4, 3)),
        )
    ),
)
def scatter_add_vjp(g: Any, _y: Any, _x: Any, *, index: Any, _shape: Any) -> Any:
    """Indexing: the other half of the pair."""
    return g[index]


