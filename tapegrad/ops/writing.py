"""Writing functions: each is an assignment, so that what it does to values and gradients is what assignments do."""

from typing import Any

import numpy as np

from tapegrad.errors import DTypeError, ShapeError, WriteError
from tapegrad.kinds import name_of
from tapegrad.primitive import composite
from tapegrad.shapes import scattered


def _target(name: str, a: Any) -> Any:
    if isinstance(a, np.ndarray):
        raise WriteError(f"{name}: a tensor can't be written into a plain array; make that by np.zeros(n, like=x)")
    return a


@composite(np.copyto, note="writes into its first argument")
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """dst[where] = src[where]."""
    dst = _target("np.copyto", dst)
    dtype = getattr(src, "dtype", None)
    if dtype is None and type(src) in (float, complex) and casting != "unsafe":  # NEP 50: only its kind counts.
        dtype = np.result_type(dst.dtype, src)
    if dtype is not None and not np.can_cast(dtype, dst.dtype, casting):
        raise DTypeError(f"np.copyto: can't cast from {dtype} to {dst.dtype} according to the rule {casting!r}")
    if where is True:
        dst[...] = src
        return
    while np.ndim(src) > dst.ndim and src.shape[0] == 1:  # NumPy drops leading ones.
        src = src[0]
    mask = np.broadcast_to(np.asarray(where, bool), dst.shape)
    dst[mask] = np.broadcast_to(src, dst.shape)[mask]


def _cycled(values: Any, positions: Any) -> Any:
    """The values at these positions, counted round and round."""
    if not hasattr(values, "shape"):
        values = np.asarray(values)
    flat = values.reshape(-1)
    return flat[positions % flat.size]


@composite(np.put, note="writes into its first argument")
def put(a: Any, ind: Any, v: Any, mode: Any = "raise") -> None:
    """a.flat[ind] = v, v taken round and round."""
    a = _target("np.put", a)
    numbers = np.asarray(ind).reshape(-1)
    if not numbers.size or np.size(v) == 0:
        return
    if mode == "raise" and (numbers.min() < -a.size or numbers.max() >= a.size):
        wrong = numbers[(numbers < -a.size) | (numbers >= a.size)][0]
        raise IndexError(f"index {wrong} is out of bounds for axis 0 with size {a.size}")
    numbers = np.clip(numbers, 0, a.size - 1) if mode == "clip" else numbers % a.size
    if a.ndim:
        a[np.unravel_index(numbers, a.shape)] = _cycled(v, np.arange(numbers.size))
    else:
        a[()] = _cycled(v, numbers.size - 1)


@composite(np.putmask, note="writes into its first argument")
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """a[mask] = values, each place with the value of its own number, values taken round and round."""
    a = _target("np.putmask", a)
    mask = np.asarray(mask, bool)
    if mask.size != a.size:
        raise ShapeError(f"np.putmask: mask and data must be the same size; got {mask.shape} and {a.shape}")
    if np.size(values):
        mask = mask.reshape(a.shape)
        a[mask] = _cycled(values, np.flatnonzero(mask))


@composite(np.place, note="writes into its first argument")
def place(arr: Any, mask: Any, vals: Any) -> None:
    """arr[mask] = the first values in turn, taken round and round."""
    arr = _target("np.place", arr)
    mask = np.asarray(mask, bool)
    if mask.size != arr.size:
        raise ShapeError(f"np.place: mask and data must be the same size; got {mask.shape} and {arr.shape}")
    count = int(mask.sum())
    if count:
        if not np.size(vals):
            raise ValueError("Cannot insert from an empty array!")
        arr[mask.reshape(arr.shape)] = _cycled(vals, np.arange(count))


@composite(np.put_along_axis, note="writes into its first argument")
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    """The values, put where ``take_along_axis`` with the same indices would read."""
    arr = _target("np.put_along_axis", arr)
    indices = np.asarray(indices)
    if axis is None:
        if indices.ndim != 1:
            raise ValueError("when axis=None, `indices` must have a single dimension.")
        wrong = indices[(indices < -arr.size) | (indices >= arr.size)]
        if wrong.size:
            raise IndexError(f"index {wrong[0]} is out of bounds for axis 0 with size {arr.size}")
        arr[np.unravel_index(indices % max(arr.size, 1), arr.shape)] = values
        return
    if indices.ndim != arr.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    axis = range(arr.ndim)[axis]
    grid = [
        indices if i == axis else np.arange(n).reshape([-1 if j == i else 1 for j in range(arr.ndim)])
        for i, n in enumerate(arr.shape)
    ]
    arr[tuple(grid)] = values


@composite(np.fill_diagonal, note="writes into its first argument")
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """a[i, i, ..., i] = val."""
    a = _target("np.fill_diagonal", a)
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    end: int | None = None
    if a.ndim == 2:
        step = a.shape[1] + 1
        if not wrap:
            end = a.shape[1] * a.shape[1]
    else:
        if len(set(a.shape)) != 1:
            raise ValueError("All dimensions of input must be of equal length")
        step = 1 + int(np.cumprod(a.shape[:-1]).sum())
    numbers = np.arange(a.size)[:end:step]
    if np.size(val):
        a[np.unravel_index(numbers, a.shape)] = _cycled(val, np.arange(numbers.size))


def at(ufunc: Any, a: Any, indices: Any, b: Any = None) -> None:
    """``ufunc.at(a, indices, b)``: unbuffered, so that a place that is named twice is changed twice.

    Round after round takes the next of those that name the same place; sums are added up at once.
    """
    a = _target(name_of(ufunc.at), a)
    items = indices if isinstance(indices, tuple) else (indices,)
    if not any(isinstance(i, list) or getattr(i, "shape", ()) for i in items):
        a[indices] = ufunc(a[indices], *(() if b is None else (b,)))  # No place is named twice.
        return
    table, rows = _rows(a, indices, items)
    values = [] if b is None else [_per_row(b, a, rows, a.shape[len(table) :])]
    rows = rows.reshape(-1)
    if ufunc in (np.add, np.subtract):
        numbers, which = np.unique(rows, return_inverse=True)
        there = np.unravel_index(numbers, table)
        total = scattered(values[0], which.reshape(-1), (len(numbers), *values[0].shape[1:]))
        a[there] = ufunc(a[there], total)
        return
    values = [v.copy() for v in values]  # They may be views of what is written to.
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    turn = np.arange(rows.size) - np.searchsorted(ranked, ranked)  # whose first, second, ... of its row each is
    by_turn = np.argsort(turn, kind="stable")
    for now in np.split(order[by_turn], np.cumsum(np.bincount(turn))[:-1]) if rows.size else ():
        there = np.unravel_index(rows[now], table)
        a[there] = ufunc(a[there], *(v[now] for v in values))


def _rows(a: Any, indices: Any, items: Any) -> tuple[tuple[int, ...], Any]:
    """The leading axes that arrays of integers index, and the numbers that they name, counted through these axes.

    Of any other index, all axes and single elements: then the cost is that of ``a``, not of what is named.
    """
    items = [np.asarray(i) for i in items if i is not None and i is not ... and not isinstance(i, slice)]
    if (isinstance(indices, tuple) and len(items) < len(indices)) or any(i.dtype.kind not in "iu" for i in items):
        return a.shape, np.arange(a.size).reshape(a.shape)[indices]
    table = a.shape[: len(items)]
    for n, i in zip(table, items, strict=True):
        if i.size and (i.min() < -n or i.max() >= n):
            raise IndexError(f"an index of {i.min()} to {i.max()} is out of bounds for an axis with size {n}")
    return table, np.ravel_multi_index(np.broadcast_arrays(*items), table, mode="wrap")


def _per_row(b: Any, a: Any, rows: Any, rest: tuple[int, ...]) -> Any:
    """The values as one array for each of the rows. (Where ``b`` has fewer axes, NumPy 2.4 itself goes wrong.)"""
    if not hasattr(b, "shape"):
        b = np.asarray(b, np.result_type(a.dtype, b) if type(b) in (int, float, complex) else None)
    return np.broadcast_to(b, rows.shape + rest).reshape(rows.size, *rest)
