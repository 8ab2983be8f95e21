"""Shapes: what undoes broadcasting and reducing, and the seams where NumPy works in place or not at all.

A seam is a small function that rules call in place of something that one array library does in its
own way. Each has the fastest NumPy path for plain arrays, and a neutral one for everything else.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp, primitive

Shape = tuple[int, ...]
MANY = 1 << 14  # elements: from here on an operation costs more than a look at its result


class Spec:
    """A shape and a dtype: what stands in an entry where a rule doesn't read the array itself.

    Specs are interned, so that ``a is b`` answers at record time whether anything has to be undone.
    """

    __slots__ = ("dtype", "few", "floating", "ndim", "numbers", "real", "shape", "size")

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape, self.dtype = shape, dtype
        self.ndim = len(shape)
        size = 1
        for n in shape:
            size *= n
        self.size = size
        self.real = dtype.kind == "f" and dtype.isnative  # What the quick roads take.
        self.few = self.real and size <= MANY  # What a sweep takes in its quickest forms.
        self.floating = dtype.kind in "fc"
        self.numbers: dict[Any, Any] = {}  # Python numbers, as arrays of this dtype

    def __repr__(self) -> str:
        return f"Spec({self.shape}, {self.dtype})"


SPECS: dict[Any, Spec] = {}


def spec_of(value: Any) -> Spec:
    """The spec of an array. Two of equal shape and dtype are nearly always the same object."""
    key = (value.shape, value.dtype)
    spec = SPECS.get(key)
    if spec is None:
        if len(SPECS) >= 4096:  # Identity is a shortcut only: forgetting costs time, never truth.
            SPECS.clear()
        spec = SPECS[key] = Spec(*key)
    return spec


def read_only(x: Any) -> Any:
    """A view of the array that can't be written to."""
    view = x.view()
    view.flags.writeable = False
    return view


def conj(x: Any) -> Any:
    """The conjugate; of real data, the data itself (``np.conj`` copies it)."""
    if not hasattr(x, "dtype"):
        return x.conjugate()  # A Python number stays one, and so takes part weakly.
    return np.conj(x) if x.dtype.kind == "c" else x


def mT(x: Any) -> Any:  # noqa: N802
    """The matrices of ``x`` transposed: the last two axes swapped."""
    return x.swapaxes(-1, -2)


def mH(x: Any) -> Any:  # noqa: N802
    """The matrices of ``x`` transposed and conjugated."""
    return conj(x.swapaxes(-1, -2))


def select(mask: Any, g: Any) -> Any:
    """``g`` where the mask holds, else 0: also where ``g`` isn't finite, which a product would keep."""
    kind = _BITS.get(g.dtype.char) if type(g) is np.ndarray and type(mask) is np.ndarray else None
    if kind is None or g.size < LARGE or mask.dtype != np.bool_:
        return np.where(mask, g, 0)
    # The bits of g times 0 or 1: exact, and six to ten times quicker than np.where on a mask without pattern.
    selected = np.empty(g.shape, g.dtype)  # Not a view: the sweep gives away what owns its memory.
    np.multiply(g.view(kind), mask, out=selected.view(kind))
    return selected


_BITS = {"e": np.uint16, "f": np.uint32, "d": np.uint64, "F": np.uint64}

_add_reduce: Any = np.add.reduce
LARGE = 1 << 12  # elements: from here on the quicker roads below are worth their set-up
WIDE = 512  # elements of a row: in shorter ones einsum adds in another order


def sum_axes(x: Any, axes: Any, keepdims: bool = False) -> Any:
    """The sum over axes, for rules: ``np.sum``, but in whichever order of adding is quickest.

    >>> sum_axes(np.ones((2, 3)), (0,))
    array([2., 2., 2.])
    """
    if type(x) is not np.ndarray:
        return np.sum(x, axis=axes, keepdims=keepdims)
    if x.size < LARGE or type(axes) is not tuple or keepdims or x.dtype.char not in "fdFD" or not x.flags.c_contiguous:
        return _add_reduce(x, axes, None, None, keepdims)  # By position: 60 ns quicker.
    return _sum_of_large(x, axes)


def _sum_of_large(x: Any, axes: tuple[int, ...]) -> Any:
    """Sum over the leading axes, the trailing ones, or both, of an array in C order.

    np.add.reduce is slow where the axis that is contiguous in memory is short, three to a hundred times
    (shapes (10^6, 2) to (10^5, 64), and the other way round). A product with ones is quick only while
    the array fits the cache, and loses where BLAS shares it out among busy cores.
    """
    ndim, shape = x.ndim, x.shape
    summed = frozenset(axes)
    lead, stop = 0, ndim
    while lead in summed:
        lead += 1
    while stop > lead and stop - 1 in summed:
        stop -= 1
    if lead + ndim - stop != len(axes) or lead == ndim:
        return np.add.reduce(x, axis=axes)
    if stop < ndim:
        x = x.reshape(*shape[:stop], -1)
        # A longer run is summed pairwise by np.add.reduce, which is as quick there and more exact.
        x = np.einsum("...i->...", x) if x.shape[-1] <= 128 else np.add.reduce(x, axis=-1)
    return _sum_of_rows(x.reshape(-1, *shape[lead:stop])) if lead else x


def _sum_of_rows(x: Any) -> Any:
    """The sum over the first axis; several short rows are taken as one long one, and that is folded at the end."""
    n, width = len(x), x[0].size
    fold = 512 // max(width, 1)
    if fold < 2 or n < 2 * fold:
        return np.add.reduce(x, axis=0)
    whole = n - n % fold
    folded = np.add.reduce(x[:whole].reshape(-1, fold * width), axis=0).reshape(fold, *x.shape[1:])
    total = np.add.reduce(folded, axis=0)
    return total if whole == n else total + np.add.reduce(x[whole:], axis=0)


@functools.lru_cache(maxsize=256)
def _ones(shape: Any, dtype: Any) -> Any:
    return np.ones(shape, dtype)


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
    # On small arrays the sum over leading axes as a product with ones: three times quicker than
    # add.reduce, and the rows are added in the same order. Not on large ones: see _sum_of_large.
    if type(g) is ndarray and 0 < g.size <= 1 << 16 and g.dtype.char in "fdFD":
        if len(present) == 2 and present[1:] == shape:
            return _ones(present[0], g.dtype).dot(g)
        lead = len(present) - len(shape)
        if lead and present[lead:] == shape:
            rows = g.reshape(math.prod(present[:lead]), -1)
            return _ones(len(rows), g.dtype).dot(rows).reshape(shape)
    return sum_axes(g, _repeated_axes(present, shape)).reshape(shape)


def summed_product(a: Any, b: Any, shape: Shape) -> Any:
    """``unbroadcast(a * b, shape)`` of real arrays."""
    present = a.shape
    if (
        len(present) == 2
        and shape == present[1:]
        and shape[0] >= WIDE
        and b.shape == present
        and a.dtype is b.dtype
        and a.dtype.char in "fd"
    ):
        return np.einsum("ij,ij->j", a, b)  # Adds row by row, as the sum would, but makes no array of the products.
    return unbroadcast(a * b, shape)


def summing(present: Spec, shape: Shape) -> Callable[[Any], Any]:
    """``unbroadcast`` for small real arrays like ``present``, as a function of the array alone."""
    if present.ndim == 2 and present.shape[1:] == shape and present.size:
        total: Callable[[Any], Any] = _ones(present.shape[0], present.dtype).dot
        return total
    return lambda g: unbroadcast(g, shape)


@functools.lru_cache(maxsize=1024)
def _repeated_axes(present: Shape, shape: Shape) -> tuple[int, ...]:
    """The axes of ``present`` along which an array of ``shape`` was broadcast."""
    lead = len(present) - len(shape)
    return tuple(range(lead)) + tuple(i for i in range(lead, len(present)) if shape[i - lead] == 1 and present[i] != 1)


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

    On large plain arrays a view that repeats by strides: nobody may write to it.
    """
    shape = like.shape
    if isinstance(g, np.generic):
        g = np.asarray(g)
    if type(g) is np.ndarray and like.size <= 1024 and g.dtype.char in "fdFD":
        # Small: a product with ones fills an array, sooner than a view is made, and than it is added to.
        lead, trail = _summed_ends(axis, shape, g.dtype)
        if lead is not None:
            spread = lead.dot(g.reshape(1, -1))
            return spread if spread.shape == shape else spread.reshape(shape)
        if trail is not None:
            spread = g.reshape(-1, 1).dot(trail)
            return spread if spread.shape == shape else spread.reshape(shape)
    if type(g) is not np.ndarray or 0 in shape or not g.flags.c_contiguous:
        return np.broadcast_to(restore_axes(g, shape, axis, keepdims), shape)
    # np.broadcast_to, several times quicker: stride 0 along the axes that were summed. The constructor
    # wants the memory of ``g`` in one piece, which a reduced cotangent nearly always is.
    steps = (*g.strides, 0)
    return np.ndarray(shape, g.dtype, g, 0, [steps[i] for i in _origins(axis, len(shape), keepdims)])


@functools.lru_cache(maxsize=256)
def _summed_ends(axis: Any, shape: Shape, dtype: Any) -> tuple[Any, Any]:
    """A column of ones as long as all the leading axes that were summed, or else a row for the trailing ones."""
    gone = sorted(normalized_axes(axis, len(shape)))
    count = math.prod(shape[i] for i in gone)
    if gone and gone == list(range(len(gone))):
        return np.ones((count, 1), dtype), None
    if gone and gone == list(range(len(shape) - len(gone), len(shape))):
        return None, np.ones((1, count), dtype)
    return None, None


@functools.lru_cache(maxsize=256)
def _origins(axis: Any, ndim: int, keepdims: bool) -> tuple[int, ...]:
    """For each axis before a reduction, which axis of the result it is; -1 where it was summed."""
    gone = normalized_axes(axis, ndim)
    kept = [i for i in range(ndim) if i not in gone]
    return tuple(-1 if i in gone else i if keepdims else kept.index(i) for i in range(ndim))


def seed_like(y: Any) -> Any:
    """The first cotangent of a sweep: ones, of the shape and dtype of ``y``."""
    return np.ones_like(y)


@primitive
def cast(a: Any, dtype: Any) -> Any:
    """``a`` as another dtype; from complex to real, its real part."""
    if a.dtype.kind == "c" and np.dtype(dtype).kind == "f":
        a = a.real
    return a.astype(dtype)


@defvjp(
    cast,
    # The real part, which a real dtype takes of complex data, isn't holomorphic.
    cases=Cases(calls=(call((3,), dtype=np.float64), call((2, 2), dtype=np.complex128)), analytic=False),
)
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
    """The adjoint of indexing: zeros of ``shape``, to which ``g`` is added at ``index``.

    g : array of the shape of ``zeros[index]``
    index : anything that NumPy takes as an index; integer arrays may name a place more than once
    Returns an array of ``shape`` and the dtype of ``g``. Raises IndexError as NumPy's indexing does.

    >>> scatter_add(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 0]), (3,))
    array([5., 0., 2.])
    """
    return _scattered(g, index, shape)


def scattered(g: Any, index: Any, shape: Shape) -> Any:
    """``scatter_add`` as rules call it: of plain arrays without the detour by dispatch."""
    if type(g) is np.ndarray or isinstance(g, np.generic):
        return _scattered(g, index, shape)
    return scatter_add(g, index, shape)


def _scattered(g: Any, index: Any, shape: Shape) -> Any:
    out = np.zeros(shape, g.dtype)
    if _unrepeating(index):
        out[index] = g
    elif g.size < 128:
        np.add.at(out, index, g)  # Integer arrays may repeat a place, and its cotangents add up.
    else:
        _add_many(out, index, g, zero=True)
    return out


def add_at(total: Any, index: Any, part: Any) -> None:
    """Add ``part``, of the shape of ``total[index]``, in place, as often as the index names a place."""
    if _unrepeating(index):
        total[index] += part
    elif part.size < 128 or not total.flags.c_contiguous:
        np.add.at(total, index, part)
    else:
        _add_many(total, index, part)


# What names each place at most once, by type; bool arrays do too. Anything else may repeat one.
_BASIC = frozenset({int, bool, slice, type(None), type(Ellipsis), np.bool_, *(np.dtype(c).type for c in "bBhHiIlLqQ")})


def _unrepeating(index: Any) -> bool:
    """Whether an index can't name a place twice."""
    items = index if type(index) is tuple else (index,)
    return _BASIC.issuperset(map(type, items)) or all(map(_is_basic_or_mask, items))


def _is_basic_or_mask(item: Any) -> bool:
    return type(item) in _BASIC or (type(item) is np.ndarray and item.dtype.kind == "b")


def _add_many(out: Any, index: Any, g: Any, zero: bool = False) -> None:
    """``np.add.at`` on an array in C order, by its one quick form: one axis of places, one of values.

    Values are added in the order in which they come, as there, so that the sums are the same to the
    last bit; but for _add_rows.

    zero : whether all of it is 0 as yet
    """
    rows = _row_numbers(index, out.shape)
    if rows is not None:
        g = g.reshape(rows.size, -1)
        width = g.shape[1]
        if width >= 16 and g.size >= 1 << 16:
            _add_rows(out.reshape(-1, width), rows.reshape(-1), g, zero)
            return
        places = (rows.reshape(-1, 1) * width + np.arange(width)) if width > 1 else rows
    elif out.size > 8 * g.size:  # The next line would cost more than it gains.
        np.add.at(out, index, g)
        return
    else:
        places = np.arange(out.size).reshape(out.shape)[index]
    np.add.at(out.reshape(-1), places.reshape(-1), g.reshape(-1))


def _row_numbers(index: Any, shape: Shape) -> Any:
    """What integers and integer arrays for the leading axes name, counted through these axes; else None."""
    items = index if type(index) is tuple else (index,)
    arrays = [np.asarray(i) for i in items if i is not None and type(i) not in (slice, type(Ellipsis))]
    if len(arrays) < len(items) or any(a.dtype.kind not in "iu" for a in arrays):
        return None
    rows: Any = None
    for a, n in zip(arrays, shape, strict=False):
        places = a.astype(np.intp, copy=False)
        if places.size and places.min() < 0:
            places = np.where(places < 0, places + n, places)
        # By Horner's rule; an array of one axis of places is small until the last one broadcasts it.
        rows = places if rows is None else rows * n + places
    return rows


def _add_rows(table: Any, rows: Any, g: Any, zero: bool = False) -> None:
    """Add each row of ``g`` to the row of the table that ``rows`` names.

    The rows of ``g`` for one row of the table make a group. Round after round adds the next member of
    every group that has one, in one pass for all of them: block by block, so that the sums stay in the
    cache (a tenth less time, and half of it where groups are small). When few groups are left, they are
    long, and each is summed by itself.
    """
    g = np.ascontiguousarray(g)  # Taking rows of what repeats by strides is five times slower.
    # NumPy sorts integers of 16 bits by radix, in linear time.
    order = np.argsort(rows.astype(np.uint16) if len(table) <= 1 << 16 else rows, kind="stable")
    ranked = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    counts = np.diff(starts, append=len(ranked))
    fewer = counts.max() - counts
    longest_first = np.argsort(fewer.astype(np.uint16) if fewer.max() < 1 << 16 else fewer, kind="stable")
    starts, counts = starts[longest_first], counts[longest_first]
    per = max(_BLOCK // g[0].nbytes, 1)  # groups of a block
    buffer = np.empty((min(per, len(starts)), g.shape[1]), g.dtype)
    for first in range(0, len(starts), per):
        block = slice(first, first + per)
        total = _groups_added(g, order, starts[block], counts[block], buffer)
        if zero:
            table[ranked[starts[block]]] = total
        else:
            table[ranked[starts[block]]] += total


_BLOCK = 1 << 19  # bytes of sums: they and the rows that are added to them fit the second cache


def _groups_added(g: Any, order: Any, starts: Any, counts: Any, buffer: Any) -> Any:
    """The sums of the groups ``order[start : start + count]`` of rows of ``g``, the longest first."""
    total = g.take(order[starts], axis=0)
    # How many groups have a second member, a third, ...
    longer = np.searchsorted(-counts, np.arange(-1, -counts[0], -1)).tolist()
    for done, left in enumerate(longer, 1):
        if left * g.shape[1] < LARGE:
            for i in range(left):
                members = order[starts[i] + done : starts[i] + counts[i]]
                total[i] += np.add.reduce(g.take(members, axis=0), axis=0)
            break
        # The order is a permutation, so that nothing is clipped; "raise" would copy the buffer.
        total[:left] += g.take(order[starts[:left] + done], axis=0, out=buffer[:left], mode="clip")
    return total


@defvjp(
    scatter_add,
    cases=Cases(
        calls=(
            call((2, 3), index=slice(1, 3), shape=(4, 3)),
            call((3, 3), index=np.array([0, 2, 0]), shape=(4, 3)),
            call((2,), index=(np.array([1, -1]), 0), shape=(4, 3)),
            call((2, 3), index=np.array([True, False, True, False]), shape=(4, 3)),
            call((), index=(1, 2), shape=(4, 3)),
            call((0, 3), index=slice(0, 0), shape=(4, 3)),
        )
    ),
)
def scatter_add_vjp(g: Any, _y: Any, _x: Any, *, index: Any, _shape: Any) -> Any:
    """Indexing: the other half of the pair."""
    return g[index]
