"""Sorting: a permutation found by NumPy, then a pair of rearrangements that are each other's adjoint.

The order is a constant. Equal elements, nans among each other included, keep the order they come in
(the *stable* order), whatever algorithm NumPy used, so that a gradient depends on the data alone.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.cases import DISTINCT, Cases, call
from tapegrad.primitive import composite, constant, defvjp, primitive
from tapegrad.shapes import LARGE, cast

_FLAT = np.array([2, 0, 1])
_ROWS = np.array([[2, 0, 1], [1, 2, 0]])
_COLUMNS = np.array([[1, 0, 1], [0, 1, 0]])


@primitive
def held(x: Any) -> Any:
    """The value of a tensor, as a plain array; anything else as it is.

    >>> held(np.array([1.0, 2.0]))
    array([1., 2.])
    """
    return x


constant(held)


def as_array(a: Any) -> Any:
    """What a composite was called with, as a tensor or an array."""
    return a if hasattr(a, "dtype") else np.asarray(a)


# ---------------------------------------------------------------- orders


def _tied(values: Any) -> Any:
    """Whether each element of sorted rows equals the one before it, nan and nan included; False at the first."""
    before, after = values[..., :-1], values[..., 1:]
    tied = np.zeros(values.shape, bool)
    np.equal(before, after, out=tied[..., 1:])
    if values.dtype.kind == "f" and values.size and np.isnan(values[..., -1]).any():
        tied[..., 1:] |= np.isnan(before)  # What follows a nan is one.
    return tied


def _stabilized(order: Any, tied: Any) -> Any:
    """The order with the places of equal elements as they come in, within each run of equals."""
    members = tied.copy()
    members[..., :-1] |= tied[..., 1:]
    if np.count_nonzero(members) > members.size // 8:
        return _order_of_runs(order, tied)
    runs = np.cumsum(~tied)[members.reshape(-1)]
    # Runs come one after another already, so that sorting (run, place) moves places within their runs only.
    n = order.shape[-1]
    order[members] = np.sort(runs * n + order[members]) - runs * n
    return order


def _order_of_runs(order: Any, tied: Any) -> Any:
    """The same where ties are many: each element's run by number, in the order of the data, sorted by radix.

    NumPy sorts integers of 16 bits by radix, in linear time and stably; longer ones take two rounds. Of 10^6
    elements 18 to 40 ms, where the members' own places take 65 to 95.
    """
    kind = np.uint16 if order.shape[-1] < 1 << 16 else np.uint32
    runs = np.cumsum(~tied, axis=-1, dtype=kind)
    numbers = put_back(runs, order, order.ndim - 1)
    low = np.argsort(numbers.astype(np.uint16, copy=False), axis=-1, kind="stable")
    if kind is np.uint16 or runs[..., -1].max() < 1 << 16:
        return low
    high = np.take_along_axis((numbers >> 16).astype(np.uint16), low, axis=-1)
    return np.take_along_axis(low, np.argsort(high, axis=-1, kind="stable"), axis=-1)


SHORT = 16  # elements of a row: up to here NumPy's stable sort, which inserts, is as quick as its quicksort


def _stable_rows(a: Any) -> tuple[Any, Any]:
    # Nans of complex numbers come in three kinds: left to NumPy.
    if a.dtype.kind == "c" or a.shape[-1] <= SHORT or _in_long_runs(a):
        order = np.argsort(a, axis=-1, kind="stable")
        return _taken(a, order), order
    # NumPy's quicksort and a look at the ties: half the time of its stable sort where ties are few.
    order = np.argsort(a, axis=-1)
    values = _taken(a, order)
    tied = _tied(values)
    return values, _stabilized(order, tied) if tied.any() else order


def _in_long_runs(a: Any) -> bool:
    """Whether rows rise, or fall, over long stretches: these a stable sort, which merges, takes as they are."""
    falls = np.count_nonzero(a[..., 1:] < a[..., :-1])
    return bool(min(falls, a.size - falls) * RUN <= a.size)


RUN = 64  # elements of a stretch: from here on merging, in linear time for one, is quicker than quicksort


def _taken(a: Any, order: Any) -> Any:
    return a.take(order) if a.ndim == 1 else np.take_along_axis(a, order, axis=-1)


@partial(primitive, name="np.sort")
def in_order(a: Any, axis: int) -> tuple[Any, Any]:
    """``a`` sorted along an axis, and the stable order that sorts it.

    a : array, at least one axis
    axis : not negative
    Returns (values, order) with ``values`` equal to ``np.take_along_axis(a, order, axis)``: the shape of ``a``,
    its dtype and intp. Nans come last.

    >>> in_order(np.array([2.0, 1.0, 2.0]), 0)
    (array([1., 2., 2.]), array([1, 0, 2]))
    """
    if axis == a.ndim - 1:
        return _stable_rows(a)
    values, order = _stable_rows(np.ascontiguousarray(a.swapaxes(axis, -1)))
    return np.ascontiguousarray(values.swapaxes(axis, -1)), np.ascontiguousarray(order.swapaxes(axis, -1))


@partial(primitive, name="np.partition")
def in_parts(a: Any, kth: Any, axis: int) -> tuple[Any, Any]:
    """``a`` partitioned along an axis, and the order that does it; at kth the stable order's own places.

    axis : not negative
    Returns (values, order) with ``values`` equal to ``np.take_along_axis(a, order, axis)``.

    NumPy leaves open where the other elements come, and its ``partition`` and ``argpartition`` differ in that.
    Small arrays come out as ``np.partition`` has them: the order matches the i-th smallest of the result with
    the i-th smallest of the data. That takes two sorts, so large ones come out as ``np.argpartition`` has them.

    >>> in_parts(np.array([3.0, 1.0, 2.0]), 1, 0)
    (array([1., 2., 3.]), array([1, 2, 0]))
    """
    if a.size <= LARGE:
        values = np.partition(a, kth, axis=axis)
        (_sorted, from_data), (_sorted, from_values) = in_order(a, axis), in_order(values, axis)
        order = np.empty_like(from_data)
        np.put_along_axis(order, from_values, from_data, axis=axis)
        return values, order
    rows = np.ascontiguousarray(a.swapaxes(axis, -1))
    order = np.argpartition(rows, kth, axis=-1)
    values = np.take_along_axis(rows, order, axis=-1)
    for k in np.unique(kth):
        same = values == values[..., k, None]
        several = np.count_nonzero(same, axis=-1, keepdims=True) > 1
        if several.any():
            members = same & several
            n = order.shape[-1]
            # Each row's own numbers, so that sorting moves places within their row only.
            first = np.nonzero(members.reshape(-1, n))[0] * n
            order[members] = np.sort(first + order[members]) - first
    return values.swapaxes(axis, -1), order.swapaxes(axis, -1)


constant(in_order, in_parts)


# ---------------------------------------------------------------- the pair


@partial(primitive, name="np.sort")
def rearranged(a: Any, order: Any, axis: int, values: Any = None) -> Any:
    """``np.take_along_axis(a, order, axis)`` for an ``order`` that names each place once.

    values : that very result where it is known already, to save the work

    >>> rearranged(np.array([5.0, 6.0, 7.0]), np.array([2, 0, 1]), 0)
    array([7., 5., 6.])
    """
    return np.take_along_axis(a, order, axis=axis) if values is None else values


@partial(primitive, name="np.sort")
def put_back(g: Any, order: Any, axis: int) -> Any:
    """What ``rearranged`` undoes: each element at the place that ``order`` names.

    >>> put_back(np.array([7.0, 5.0, 6.0]), np.array([2, 0, 1]), 0)
    array([5., 6., 7.])
    """
    out = np.empty(g.shape, g.dtype)
    if g.ndim == 1:
        out[order] = g
    else:
        np.put_along_axis(out, order, g, axis=axis)
    return out


_PERMUTATIONS = Cases(
    calls=(
        call((3,), order=_FLAT, axis=0),
        call((2, 3), order=_ROWS, axis=1),
        call((2, 3), order=_COLUMNS, axis=0),
        call((0,), order=np.zeros(0, np.intp), axis=0),
    ),
    neutral=False,
)


@defvjp(rearranged, cases=_PERMUTATIONS)
def rearranged_vjp(g: Any, _y: Any, _a: Any, *, order: Any, axis: int, _values: Any = None) -> Any:
    """a_bar = g put back: the adjoint of a permutation is its inverse."""
    return put_back(g, order, axis)


@defvjp(put_back, cases=_PERMUTATIONS)
def put_back_vjp(g: Any, _y: Any, _x: Any, *, order: Any, axis: int) -> Any:
    """x_bar = g rearranged: the other half of the pair."""
    return rearranged(g, order, axis)


# ---------------------------------------------------------------- NumPy's functions


@composite(
    np.sort,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(
            call((5,)),
            call((2, 3)),
            call((3, 2), axis=0),
            call((2, 3), axis=None),
            call((2, 3, 2), axis=-2),
            call((4,), kind="heapsort", order=None),
            call((4,), kind="mergesort"),
            call((4,), stable=True),
            call((1,)),
            call((0,)),
            call((2, 0)),
            call((0, 2)),
        ),
        examples=((call(np.array([2.0, 1.0, 2.0, np.nan])), (np.ones(4),)),),
        note="equal elements keep their order, whatever kind= is",
        neutral=False,
    ),
)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """The elements along an axis, rearranged by their stable order; all of them, with axis=None."""
    if kind is not None or order is not None or stable is not None:
        np.sort(np.zeros(0), kind=kind, order=order, stable=stable)  # Is it legal?
    a, axis = _along(a, axis)
    values, places = in_order(a, axis)
    return rearranged(a, places, axis, values)


def _along(a: Any, axis: Any) -> tuple[Any, int]:
    """The array and the axis that is meant, not negative; flat where the axis is None."""
    a = as_array(a)
    if axis is None:
        return np.ravel(a), 0
    return a, normalize_axis_index(axis, a.ndim)


@composite(
    np.partition,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(
            call((5,), kth=2),
            call((5,), kth=(1, -1)),
            call((40,), kth=np.array([3, 20])),
            call((3, 4), kth=1),
            call((3, 4), kth=-1, axis=0),
            call((2, 3), kth=4, axis=None),
            call((4,), kth=1, kind="introselect", order=None),
        ),
        examples=((call(np.array([3.0, 1.0, 3.0, 3.0]), kth=2), (np.ones(4),)),),
        note="at the kth place, what the stable order puts there",
        neutral=False,
    ),
)
def partition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Any:
    """The elements along an axis as NumPy arranges them around the kth."""
    np.partition(np.zeros(1), 0, kind=kind, order=order)  # Is it legal?
    a, axis = _along(a, axis)
    values, places = in_parts(a, held(kth), axis)
    return rearranged(a, places, axis, values)


@composite(
    np.sort_complex,
    cases=Cases(domain=DISTINCT, analytic=False, calls=(call((4,)), call((2, 3))), note="lexicographic", neutral=False),
)
def sort_complex(a: Any) -> Any:
    """Sorted along the last axis, as complex numbers."""
    a = as_array(a)
    dtype = np.sort_complex(np.zeros(1, a.dtype)).dtype
    y = np.sort(a)
    return y if y.dtype == dtype else cast(y, dtype)
