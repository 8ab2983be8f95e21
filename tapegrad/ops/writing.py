"""Writing functions: each is an assignment, so that what it does to values and gradients is what assignments do."""

from typing import Any

import numpy as np

from tapegrad.errors import DTypeError, ShapeError, WriteError
from tapegrad.primitive import composite, name_of
from tapegrad.shapes import scattered


def _target(name: str, a: Any) -> Any:
    if isinstance(a, np.ndarray):
        raise WriteError(f"{name}: a recording tensor can't be written into a plain array; make it np.zeros(n, like=x)")
    return a


@composite(np.copyto, note="writes into its first argument")
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """dst[where] = src[where]."""
    dst = _target("np.copyto", dst)
    dtype = getattr(src, "dtype", None)
    if dtype is not None and not np.can_cast(dtype, dst.dtype, casting):
        raise DTypeError(f"np.copyto: can't cast from {dtype} to {dst.dtype} according to the rule {casting!r}")
    if where is True:
        dst[...] = src
        return
    mask = np.broadcast_to(np.asarray(where, bool), dst.shape)
    dst[mask] = np.broadcast_to(src, dst.shape)[mask] if np.ndim(src) else src


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
    a[np.unravel_index(numbers, a.shape)] = _cycled(v, np.arange(numbers.size))


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
        arr[np.unravel_index(indices % arr.size, arr.shape)] = values
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
    a[np.unravel_index(numbers, a.shape)] = _cycled(val, np.arange(numbers.size))


def at(ufunc: Any, a: Any, indices: Any, b: Any = None) -> None:
    """``ufunc.at(a, indices, b)``: unbuffered, so that a place that is named twice is changed twice.

    Round after round takes the next of those that name the same place; sums are added up at once.
    """
    name = name_of(ufunc.at)
    a = _target(name, a)
    operands: tuple[Any, ...] = () if b is None else (b,)
    if all(not isinstance(i, (list, np.ndarray)) for i in (indices if isinstance(indices, tuple) else (indices,))):
        a[indices] = ufunc(a[indices], *(() if b is None else (b,)))  # No place is named twice.
        return
    places = np.arange(a.size).reshape(a.shape)[indices]
    if operands and np.ndim(b) < places.ndim:
        operands = (np.broadcast_to(b, places.shape),) if np.ndim(b) else (b,)
    elif operands and np.ndim(b):
        operands = (np.broadcast_to(b, places.shape),)
    flat = places.reshape(-1)
    values = [o.reshape(-1) if np.ndim(o) else o for o in operands]
    if ufunc in (np.add, np.subtract) and np.ndim(operands[0]):
        numbers, which = np.unique(flat, return_inverse=True)
        at_once = np.unravel_index(numbers, a.shape)
        a[at_once] = ufunc(a[at_once], scattered(values[0], which.reshape(-1), numbers.shape))
        return
    order = np.argsort(flat, kind="stable")
    ranked = flat[order]
    first = np.searchsorted(ranked, ranked)  # where each group begins
    turn = np.empty_like(flat)
    turn[order] = np.arange(flat.size) - first
    for n in range(int(turn.max()) + 1 if flat.size else 0):
        now = turn == n
        at_once = np.unravel_index(flat[now], a.shape)
        a[at_once] = ufunc(a[at_once], *(v[now] if np.ndim(v) else v for v in values))
