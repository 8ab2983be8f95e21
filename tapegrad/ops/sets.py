"""Sets: unique elements and what two arrays have in common. Every result is picked from the data.

NumPy finds which elements; they are gathered from the arrays, and get the whole cotangent. Of equal
elements it is the first that is picked (of the first array, where there are two).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.cases import DISTINCT, Cases, Domain, call
from tapegrad.ops.sorting import as_array, held
from tapegrad.primitive import composite

_FIRST = "to the first of equal elements"
_PAIRS = (call((3,), (2, 2)), call((2, 2), np.array([0.5, -0.5])), call(np.array([3.0, -2.0]), (3,)), call((3,), ()))
# Two operands with no element in common, so that none of the differences changes what is picked.
_APART = (Domain(-2.0, -0.2, distinct=True), Domain(0.2, 2.0, distinct=True))


def _cases(*calls: Any, examples: Any = (), apart: bool = False, complex: bool = True, note: str = _FIRST) -> Cases:
    return Cases(
        domain=_APART if apart else DISTINCT,
        calls=calls,
        examples=examples,
        complex=complex,
        analytic=False,
        note=note,
        neutral=False,
    )


# ---------------------------------------------------------------- unique


@composite(
    np.unique,
    cases=_cases(
        call((5,)),
        call((2, 3)),
        call(()),
        call((0,)),
        call((2, 3), return_index=True),
        call((2, 3), return_inverse=True, return_counts=True, equal_nan=False),
        call((3, 2), axis=0),
        call((3, 2), axis=-1, return_index=True, return_inverse=True),
        # Unsorted complex numbers come as their hashes have them, which no difference follows: see the tests.
        *((call((2, 3), sorted=True),) if np.lib.NumpyVersion(np.__version__) >= "2.3.0" else ()),
        examples=(
            (call(np.array([2.0, 1.0, 2.0, 1.0])), (np.array([1.0, 1, 0, 0]),)),
            (call(np.array([np.nan, 1.0, np.nan])), (np.array([1.0, 1, 0]),)),
            (call(np.array([np.nan, 1.0, np.nan]), equal_nan=False), (np.ones(3),)),
            (call(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0]]), axis=0), (np.array([[1.0, 1], [0, 0], [1, 1]]),)),
        ),
    ),
)
def unique(
    ar: Any, return_index: Any = False, return_inverse: Any = False, return_counts: Any = False, axis: Any = None,
    *, equal_nan: Any = True, sorted: Any = True,
) -> Any:  # fmt: skip
    """The distinct elements, or slices along an axis; the indices and counts are constant."""
    ar = as_array(ar)
    given = {} if sorted else {"sorted": sorted}  # The argument is of NumPy 2.3.
    results = np.unique(held(ar), True, return_inverse, return_counts, axis, equal_nan=equal_nan, **given)
    _values, index, *others = results
    if axis is None:
        if not (sorted or return_index or return_inverse or return_counts):
            values = np.unique(held(ar), equal_nan=equal_nan, sorted=sorted)
            index = _in_the_order_of(values, index)
        picked = np.ravel(ar)[index]
    else:
        (axis,) = normalize_axis_tuple(axis, ar.ndim)
        picked = ar[(*(slice(None),) * axis, index)]
    others = [index, *others] if return_index else others
    return (picked, *others) if others else picked


def _in_the_order_of(values: Any, index: Any) -> Any:
    """The index, which picks the values in ascending order, for the order that they have: NumPy may leave them
    as its hash table has them."""
    order = np.argsort(values, kind="stable")
    placed = np.empty_like(index)
    placed[order] = index
    return placed


def _by_name(function: Any, examples: Any) -> None:
    """One of the array API's forms: a named tuple, or the values alone; every nan is its own."""

    ordered = function is not np.unique_values  # See above.
    calls = (call((5,)), call((2, 3)), call(()), call((0,)))

    @composite(function, cases=_cases(*calls, examples=examples, complex=ordered))
    def named(x: Any, /) -> Any:
        x = as_array(x)
        results = function(held(x))
        values = results if isinstance(results, np.ndarray) else results.values
        _values, index = np.unique(held(x), return_index=True, equal_nan=False)
        picked = np.ravel(x)[_in_the_order_of(values, index)]
        return picked if values is results else results._replace(values=picked)


_EXAMPLE = ((call(np.array([2.0, np.nan, 2.0, np.nan])), (np.array([1.0, 1, 0, 1]),)),)
for _function in (np.unique_all, np.unique_counts, np.unique_inverse, np.unique_values):
    _by_name(_function, _EXAMPLE)

# ---------------------------------------------------------------- two sets


def _joined(ar1: Any, ar2: Any) -> Any:
    return np.concatenate([as_array(ar1), as_array(ar2)], axis=None)


@composite(
    np.intersect1d,
    cases=_cases(
        call(np.array([1.0, 2.0, 1.0, 3.0]), np.array([3.0, 1.0])),
        examples=(
            (call(np.array([1.0, 2.0, 1.0, 3.0]), np.array([3.0, 1.0])), (np.array([1.0, 0, 0, 1]), np.zeros(2))),
            (
                call(np.array([1.0, 2.0]), np.array([2.0, 4.0]), assume_unique=True, return_indices=True),
                (np.array([0.0, 1]), np.zeros(2)),
            ),
        ),
        note="to the first of equal elements, in the first array",
    ),
)
def intersect1d(ar1: Any, ar2: Any, assume_unique: Any = False, return_indices: Any = False) -> Any:
    """The elements that both have, picked from the first."""
    _values, *indices = np.intersect1d(held(ar1), held(ar2), assume_unique, return_indices=True)
    picked = _joined(ar1, ar2)[indices[0]]  # Joined: in the dtype of both.
    return (picked, *indices) if return_indices else picked


@composite(
    np.union1d,
    cases=_cases(
        *_PAIRS,
        examples=(
            (call(np.array([1.0, 2.0, 1.0]), np.array([2.0, 3.0])), (np.array([1.0, 1, 0]), np.array([0.0, 1]))),
        ),
        apart=True,
        note="to the first of equal elements, the first array's before the second's",
    ),
)
def union1d(ar1: Any, ar2: Any) -> Any:
    """The distinct elements of both together."""
    return unique(_joined(ar1, ar2))


@composite(
    np.setdiff1d,
    cases=_cases(
        *_PAIRS,
        call((4,), (2,), assume_unique=True),
        examples=((call(np.array([1.0, 2.0, 1.0, 3.0]), np.array([3.0])), (np.array([1.0, 1, 0, 0]), np.zeros(1))),),
        apart=True,
        note=_FIRST + "; constant in the second array",
    ),
)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: Any = False) -> Any:
    """The elements of the first that the second has not."""
    ar1 = np.ravel(as_array(ar1)) if assume_unique else unique(as_array(ar1))
    return ar1[np.flatnonzero(np.isin(held(ar1), held(ar2), invert=True))]


@composite(
    np.setxor1d,
    cases=_cases(
        *_PAIRS,
        call((4,), (2,), assume_unique=True),
        examples=(
            (call(np.array([1.0, 2.0, 2.0]), np.array([3.0, 1.0])), (np.array([0.0, 1, 0]), np.array([1.0, 0]))),
        ),
        apart=True,
    ),
)
def setxor1d(ar1: Any, ar2: Any, assume_unique: Any = False) -> Any:
    """The elements that only one of the two has."""
    if not assume_unique:
        ar1, ar2 = unique(as_array(ar1)), unique(as_array(ar2))
    both = _joined(ar1, ar2)
    values = held(both)
    order = np.argsort(values, kind="stable")
    ends = np.concatenate(([True], values[order][1:] != values[order][:-1], [True]))[-len(values) - 1 :]
    return both[order[ends[1:] & ends[:-1]]]


# ---------------------------------------------------------------- zeros at the ends


@composite(
    np.trim_zeros,
    cases=_cases(
        call((3,)),
        *((call((2, 3), axis=-1),) if np.lib.NumpyVersion(np.__version__) >= "2.2.0" else ()),
        examples=(
            (call(np.array([0.0, 1.0, 0.0, 2.0, 0.0])), (np.array([0.0, 1, 1, 1, 0]),)),
            (call(np.array([0.0, 1.0, 0.0]), trim="F"), (np.array([0.0, 1, 1]),)),
            (call(np.array([0.0, 1.0, 0.0]), trim="b"), (np.array([1.0, 1, 0]),)),
            (call(np.zeros(2)), (np.zeros(2),)),
        ),
        note="which zeros go is constant",
    ),
)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """The slice that NumPy leaves."""
    filt = as_array(filt)
    # NumPy says where it starts and stops, of a mask: of the places along each axis that hold something.
    given = {} if axis is None else {"axis": axis}  # The argument is of NumPy 2.2.
    filled, ends = held(filt) != 0, trim.lower()
    function: Any = np.trim_zeros
    left = function(filled, trim, **given)
    return filt[tuple(_slices(filled, ends, left.shape))]


def _slices(filled: Any, trim: str, sizes: Sequence[int]) -> list[slice]:
    """Where along each axis so many places are left: from the first that holds something, unless the front stays."""
    slices = []
    for axis, size in enumerate(sizes):
        start = 0
        if size < filled.shape[axis] and "f" in trim:
            others = tuple(i for i in range(filled.ndim) if i != axis)
            start = int(np.argmax(np.any(filled, axis=others)))
        slices.append(slice(start, start + size))
    return slices
