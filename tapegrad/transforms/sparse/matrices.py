"""Matrices of links: sparse bools that say which elements of one array depend on which of another."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.dispatch import plain
from tapegrad.tensor import Tensor

Shape = tuple[int, ...]
Factors = tuple[Any, ...]  # matrices, the last of which is applied first; none of them: each element to itself


def sparse_module(name: str) -> Any:
    """scipy.sparse, for a transform of this name; ImportError that names the extra where SciPy isn't there."""
    try:
        return importlib.import_module("scipy.sparse")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            raise
        raise ModuleNotFoundError(
            f"{name}: a sparse matrix is one of SciPy's, and SciPy isn't installed: pip install 'tapegrad[sparse]'",
            name="scipy",
        ) from None


def csr(given: Any, shape: Any = None) -> Any:
    """A matrix in compressed rows, of anything that SciPy makes one of; bools add up to bools."""
    matrix = sparse_module("sparsity").csr_array(given, shape=shape, dtype=bool)
    matrix.sum_duplicates()
    return matrix


def applied(factors: Factors, pattern: Any) -> Any:
    """The pattern of an output, given that of an operand and the links between them."""
    for factor in reversed(factors):
        pattern = factor @ pattern
    return pattern


def rows_of(numbers: Any, count: int) -> Any:
    """The links of an array whose elements are elements of another one, of ``count``, by number; -1 is none."""
    numbers = np.asarray(numbers).reshape(-1)
    there = numbers >= 0
    indptr = np.concatenate(([0], np.cumsum(there)))
    return csr((np.ones(indptr[-1], bool), numbers[there], indptr), (numbers.size, count))


def picked(numbers: Any, count: int) -> Factors:
    """The same as factors."""
    return (rows_of(numbers, count),)


def identity(shape: Shape) -> Any:
    """The numbers of the elements of an array."""
    return np.arange(int(np.prod(shape, dtype=np.intp))).reshape(shape)


def by_index(shape: Shape, index: Any) -> Factors:
    """The links of ``a[index]`` of an array of this shape. The axes that a tensor in the index names are dense."""
    items = _items(index, shape)
    loose = {axis for item, own in zip(items, _axes(items), strict=True) if has_tensor(item) for axis in own}
    kept = [axis for axis in range(len(shape)) if axis not in loose]
    numbers = np.zeros(shape, np.intp)
    for axis in kept:
        numbers = numbers * shape[axis] + _places(shape, axis)
    count = int(np.prod([shape[axis] for axis in kept], dtype=np.intp))
    links = rows_of(numbers[tuple(map(_plain, items))], count)
    return (links,) if not loose else (links, csr(rows_of(numbers, count).T))


def has_tensor(item: Any) -> bool:
    """Whether it is a tensor, or holds one: a parameter that was found by the data."""
    return type(item) is Tensor or (isinstance(item, (list, tuple)) and any(map(has_tensor, item)))


def _plain(item: Any) -> Any:
    """An item of an index, as an array if it is one."""
    return np.asarray(plain(item)) if type(item) is list else plain(item)


def _items(index: Any, shape: Shape) -> list[Any]:
    """An index as a list with an item for each axis, or several axes of a mask; and None for each new one."""
    items = list(index) if isinstance(index, tuple) else [index]
    missing = len(shape) - sum(len(own) for own in _axes([item for item in items if item is not ...]))
    for i, item in enumerate(items):
        if item is ...:
            return [*items[:i], *[slice(None)] * missing, *items[i + 1 :]]
    return [*items, *[slice(None)] * missing]


def _axes(items: Sequence[Any]) -> list[tuple[int, ...]]:
    """Which axes each item of an index names."""
    found: list[tuple[int, ...]] = []
    at = 0
    for item in map(_plain, items):
        if item is None or isinstance(item, (bool, np.bool_)):
            count = 0
        else:
            count = item.ndim if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1
        found.append(tuple(range(at, at + count)))
        at += count
    return found


def _places(shape: Shape, axis: int) -> Any:
    return np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def dense(out: Shape, shape: Shape) -> Factors:
    """Every element of an output from every element of an operand."""
    return labelled(shape, [f"in {i}" for i in range(len(shape))], out, [f"out {i}" for i in range(len(out))])


def labelled(shape: Shape, labels: Sequence[Any], out: Shape, out_labels: Sequence[Any]) -> Factors:
    """Links by axes with names: an element is linked to those that stand at its own place along the axes they share.

    shape, labels : of the operand, a label for each axis, in which one may come twice (a diagonal)
    out, out_labels : of the output
    An axis of length 1 was broadcast, or is alone: it is shared with none that is longer.
    """
    lengths = dict(zip(out_labels, out, strict=True))
    shared = [
        label
        for label in dict.fromkeys(labels)
        if label in lengths
        and all(n == lengths[label] for n, other in zip(shape, labels, strict=True) if other == label)
    ]
    keys, there = _keys(shape, labels, shared)
    out_keys, _there = _keys(out, out_labels, shared)
    count = int(np.prod([lengths[label] for label in shared], dtype=np.intp))
    places = np.flatnonzero(there)
    onto = csr((np.ones(places.size, bool), (keys[places], places)), (count, keys.size))
    return rows_of(out_keys, count), onto


def _keys(shape: Shape, labels: Sequence[Any], shared: Sequence[Any]) -> tuple[Any, Any]:
    """For each element, its place along the shared axes as one number; and whether it is on the diagonals."""
    keys = np.zeros(shape, np.intp)
    there = np.ones(shape, bool)
    for label in shared:
        axes = [i for i, other in enumerate(labels) if other == label]
        first = _places(shape, axes[0])
        keys = keys * shape[axes[0]] + first
        for axis in axes[1:]:
            there &= first == _places(shape, axis)
    return keys.reshape(-1), there.reshape(-1)


def on_axis(matrix: Any, shape: Shape, axis: int) -> Factors:
    """Links along one axis of an array of ``shape``, the same for every row along it."""
    axis = axis % len(shape)
    before, after = (int(np.prod(part, dtype=np.intp)) for part in (shape[:axis], shape[axis + 1 :]))
    return (_kron(_kron(_each(before), matrix), _each(after)),)


def _each(count: int) -> Any:
    return rows_of(np.arange(count), count)


def beside_each_other(matrix: Any, before: int, after: int) -> Factors:
    """The same of an axis with so many elements on the axes before it, and after it."""
    return on_axis(matrix, (before, matrix.shape[1], after), 1)


def _kron(a: Any, b: Any) -> Any:
    if 0 in (*a.shape, *b.shape):
        return csr((a.shape[0] * b.shape[0], a.shape[1] * b.shape[1]))
    return csr(sparse_module("sparsity").kron(a, b, format="csr"))


def stencil(rows: int, columns: int, offsets: Sequence[int], step: int = 1) -> Any:
    """Row i linked to the columns step i + offset, as far as there are such."""
    i = np.repeat(np.arange(rows), len(offsets))
    j = step * i + np.tile(np.asarray(offsets, np.intp), rows)
    met = (j >= 0) & (j < columns)
    return csr((np.ones(np.count_nonzero(met), bool), (i[met], j[met])), (rows, columns))
