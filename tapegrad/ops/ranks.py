"""Elements by rank: which element of a slice is its k-th smallest, and the gather that picks it.

Where the k-th smallest occurs more than once, it is the one that the stable order puts at k. The search sees
plain arrays; what is recorded is one gather of the elements found, whatever the axes are.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.ops.sorting import SHORT, held
from tapegrad.primitive import constant, primitive

# ---------------------------------------------------------------- which elements


def places(rows: Any, ranks: Any) -> Any:
    """Where in each row the elements of those ranks stand, in the stable order, nans last.

    rows : array (r, n)
    ranks : integers (m, 1), the same for all rows, or (m, r); from 0 to n - 1
    Returns integers (m, r). No sort where the ranks are common to the rows and these are long: a partition, and a
    look for the values found.

    >>> places(np.array([[3.0, 1.0, 2.0, 1.0]]), np.array([[1], [3]]))
    array([[3],
           [0]])
    """
    if len(rows) == 1 and inexact(rows) and ranks.max() < rows.shape[1] - 1 and np.isnan(rows).any():
        numbers = np.flatnonzero(~np.isnan(rows))
        if ranks.max() < len(numbers):  # Without the nans, which come last, there is less to do.
            return numbers[places(rows[:, numbers], ranks)]
    common = ranks.shape[1] == 1
    if rows.shape[1] <= SHORT:
        order = np.argsort(rows, axis=1, kind="stable")  # As quick as a partition, and nothing is left to look for.
        return np.array(order[:, ranks[:, 0]].T if common else order[np.arange(len(rows)), ranks], order="C")
    # The values come quicker than their places.
    if common:
        values = np.partition(rows, np.unique(ranks), axis=1)[:, ranks[:, 0]].T
    else:
        values = np.sort(rows, axis=1)[np.arange(len(rows)), ranks]
    found = np.empty(values.shape, np.intp)
    for i, k in enumerate(np.broadcast_to(ranks, values.shape)):
        found[i] = _place(rows, values[i, :, None], k)
    return found


def _place(rows: Any, values: Any, ranks: Any) -> Any:
    """Where in each row its value stands; of equal elements, the one that the stable order has at that rank."""
    same = _same(rows, values)
    numbers = np.flatnonzero(same)
    if len(numbers) == len(rows):  # Each row has its value once. (To count row by row takes ten times as long.)
        return numbers % rows.shape[1]
    found = np.argmax(same, axis=1)
    several = np.flatnonzero(np.count_nonzero(same, axis=1) > 1)
    some = slice(None) if several.size == len(rows) else several  # A slice spares a copy.
    before = np.count_nonzero(_less(rows[some], values[some]), axis=1)
    found[several] = _nth(same[some], ranks[several] - before)
    return found


def _same(rows: Any, values: Any) -> Any:
    same = rows == values
    missing = np.isnan(values)
    return same | (np.isnan(rows) & missing) if missing.any() else same


def _less(rows: Any, values: Any) -> Any:
    less = rows < values
    missing = np.isnan(values)
    return less | (~np.isnan(rows) & missing) if missing.any() else less


def _nth(mask: Any, n: Any) -> Any:
    """The place of the n-th True of each row, counted from 0."""
    if len(mask) == 1:
        return np.flatnonzero(mask[0])[n]
    return np.argmax(np.cumsum(mask, axis=1) > n[:, None], axis=1)


def beside_nans(rows: Any, ranks: Any) -> Any:
    """The ranks, and for rows with a nan the last rank throughout."""
    if not inexact(rows) or not np.isnan(rows.max()):  # The maximum is nan if anything is.
        return ranks
    missing = np.isnan(rows.max(axis=1))
    return np.where(missing, rows.shape[1] - 1, ranks)


def inexact(a: Any) -> bool:
    """Whether there may be nans."""
    return a.dtype.kind in "fc"


# ---------------------------------------------------------------- axes


@primitive
def found_in(_data: Any, numbers: Any) -> Any:
    """Numbers that were found by looking at the data: to dispatch a constant function of both, as ``argsort`` is."""
    return numbers


constant(found_in)


class Rows(NamedTuple):
    """An array whose reduced axes are taken as one, and the others as another."""

    data: Any  # the array itself, or the tensor
    values: Any  # plain, (r, n)
    rest: tuple[int, ...]  # the axes that stay
    axes: tuple[int, ...]  # those that are reduced

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self.data.shape[i] for i in self.rest)

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of the result with the reduced axes at length 1."""
        return tuple(1 if i in self.axes else n for i, n in enumerate(self.data.shape))

    def picked(self, ranks: Any) -> Any:
        """The elements of those ranks, (m, r): a recorded gather, from the array as it is.

        (Were the rows recorded, their cotangent would be a whole array to turn back, once more.)
        """
        found = found_in(self.data, places(self.values, ranks))
        if not self.data.ndim:
            return self.data.reshape((1,))[found]
        index: list[Any] = [None] * self.data.ndim
        for i, numbers in zip(self.axes, _unravelled(found, self.data.shape, self.axes), strict=True):
            index[i] = numbers
        rows = np.arange(len(self.values)) if self.axes else np.broadcast_to(np.arange(len(self.values)), found.shape)
        for i, numbers in zip(self.rest, _unravelled(rows, self.data.shape, self.rest), strict=True):
            index[i] = numbers
        return self.data[tuple(index)]

    def restored(self, rows: Any) -> Any:
        """An array like the rows, (r, n), in the shape of the data."""
        order = (*self.rest, *self.axes)
        return rows.reshape(tuple(self.data.shape[i] for i in order)).transpose(np.argsort(order))


def _unravelled(numbers: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """The index along each of the axes for numbers counted through all of them."""
    return (numbers,) if len(axes) == 1 else np.unravel_index(numbers, tuple(shape[i] for i in axes)) if axes else ()


def as_rows(a: Any, axis: Any) -> Rows:
    """The array with the axes that are meant taken as one.

    >>> as_rows(np.ones((2, 3, 4)), (0, -1)).values.shape
    (3, 8)
    """
    axes = tuple(range(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim, argname="axis")
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    values = held(a).transpose((*rest, *axes))
    shape = (math.prod(a.shape[i] for i in rest), math.prod(a.shape[i] for i in axes))
    return Rows(a, np.ascontiguousarray(values).reshape(shape), rest, axes)
