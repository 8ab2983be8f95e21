"""Folds: reduce and accumulate of any ufunc of two operands, written in the ufunc itself.

Where the order of the steps doesn't matter (``hypot``, ``logaddexp``) pairs are taken together at once, in
log n steps; else the fold is unrolled, from left to right, as NumPy goes. Either way the work is linear in n.
"""

import math
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, WriteError
from tapegrad.kinds import Function
from tapegrad.ops.joining import parted
from tapegrad.ops.reductions import NO_VALUE
from tapegrad.shapes import cast

# No step of these depends on where a fold begins: f(f(a, b), c) = f(a, f(b, c)).
ASSOCIATIVE = frozenset({np.hypot, np.logaddexp, np.logaddexp2})


def refuse_out(name: str, out: Any) -> None:
    """Raise where a tensor would be written to, or from."""
    if out is not None and not (type(out) is tuple and all(o is None for o in out)):
        raise WriteError(f"{name}: out= of or from a tensor can't be recorded; assign the result instead")


def in_loop(ufunc: np.ufunc, array: Any, dtype: Any) -> Any:
    """The array in the dtype in which NumPy runs the fold: that of ``dtype=``, and of a fold of integers a float."""
    if not hasattr(array, "dtype"):
        array = np.asarray(array)
    given: Any = {} if dtype is None else {"signature": (np.dtype(dtype), None, None)}
    loop = ufunc.resolve_dtypes((None, array.dtype, None), casting="unsafe", reduction=True, **given)[1]
    return array if loop == array.dtype else cast(array, loop)


def one_axis(name: str, axis: Any, ndim: int) -> int:
    """The axis of accumulate and reduceat, counted from 0."""
    if ndim == 0:
        raise TypeError(f"{name}: an operand of no axes; it takes arrays of one or more")
    axes = range(ndim) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, ndim)
    if len(axes) != 1:
        raise ArgumentError(f"{name} takes one axis; got axis={axis} for {ndim} axes")
    return axes[0]


def _slices(x: Any) -> Any:
    """The n slices of ``x`` along its first axis, each (1, ...), in one entry of the tape."""
    return parted(x, tuple((i, i + 1) for i in range(x.shape[0])), 0)


def _paired(ufunc: np.ufunc, x: Any) -> Any:
    """The fold of the slices of ``x`` (n, ...) as (1, ...), by halves: all pairs at once, log n times."""
    while x.shape[0] > 1:
        n = x.shape[0]
        half = n // 2
        if n % 2:
            left, right, odd = parted(x, ((0, half), (half, 2 * half), (2 * half, n)), 0)
            x = np.concatenate([ufunc(left, right), odd])
        else:
            left, right = parted(x, ((0, half), (half, n)), 0)
            x = ufunc(left, right)
    return x


def _scanned(ufunc: np.ufunc, x: Any) -> Any:
    """The folds of the first 1, 2, ..., n slices of ``x`` (n, ...), in about 2n steps.

    Neighbours are taken in pairs, and the pairs scanned: the results of the odd places. One step more
    gives those of the even places (Blelloch 1990, "Prefix sums and their applications").
    """
    n = x.shape[0]
    if n < 2:
        return x
    rest = x.shape[1:]
    even = n - n % 2
    neighbours = (x[:even] if n % 2 else x).reshape((even // 2, 2, *rest))
    first, second = neighbours[:, 0], neighbours[:, 1]
    at_odd = _scanned(ufunc, ufunc(first, second))
    at_even = np.concatenate([first[:1], ufunc(at_odd[:-1], first[1:])])
    scanned = np.stack([at_even, at_odd], axis=1).reshape((even, *rest))
    return np.concatenate([scanned, ufunc(at_odd[-1:], x[even:])]) if n % 2 else scanned


def _begun(ufunc: np.ufunc, dtype: Any, initial: Any, n: int, masked: bool) -> Any:
    """What a fold begins with: ``initial=``, or the ufunc's identity; None where it begins with the first slice."""
    identity = ufunc.identity if initial is NO_VALUE else initial
    if identity is None:
        if masked:
            raise ArgumentError(
                f"np.{ufunc.__name__}.reduce: with where= it takes an initial=, since {ufunc.__name__} has no identity"
            )
        if n == 0:
            raise ArgumentError(f"np.{ufunc.__name__}.reduce: nothing to reduce, and {ufunc.__name__} has no identity")
        return None
    return dtype.type(identity)


def _fold(ufunc: np.ufunc, x: Any, start: Any, chosen: Any) -> Any:
    """The slices of ``x`` (n, ...) taken together from left to right, as (1, ...); only the chosen ones, if any are."""
    if x.shape[0] == 0:
        return start + np.sum(x, axis=0, keepdims=True)
    if ufunc in ASSOCIATIVE:
        if chosen is not None:
            x = np.where(chosen, x, ufunc.identity)
        return _paired(ufunc, x) if start is None else ufunc(start, _paired(ufunc, x))
    parts = _slices(x)
    y = parts[0] if start is None else start
    for i, part in enumerate(parts[1:] if start is None else parts):
        stepped = ufunc(y, part)
        y = stepped if chosen is None else np.where(chosen[i : i + 1], stepped, y)
    return y


def reduce_of(ufunc: np.ufunc) -> Function:
    """The ufunc's ``reduce``, as a composite."""
    name = f"np.{ufunc.__name__}.reduce"

    def reduce(
        array: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
        keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
    ) -> Any:  # fmt: skip
        refuse_out(name, out)
        x = in_loop(ufunc, array, dtype)
        shape, ndim = x.shape, x.ndim
        if axis is None or (ndim == 0 and axis in (0, -1)):  # NumPy takes a scalar for an axis of one.
            axes = tuple(range(ndim))
        else:
            axes = np.lib.array_utils.normalize_axis_tuple(axis, ndim)
        if len(axes) > 1 and ufunc not in ASSOCIATIVE:
            raise ArgumentError(f"{name} depends on the order, so it takes one axis; got axis={axis} for {ndim} axes")
        rest = tuple(i for i in range(ndim) if i not in axes)
        n = math.prod([shape[i] for i in axes])

        def lined_up(a: Any) -> Any:
            return np.transpose(a, axes + rest).reshape((n, *(shape[i] for i in rest)))

        chosen = None if where is True else lined_up(np.broadcast_to(np.asarray(where), shape))
        start = _begun(ufunc, x.dtype, initial, n, chosen is not None)
        y = _fold(ufunc, lined_up(x), start, chosen)
        kept = tuple(1 if i in axes else m for i, m in enumerate(shape)) if keepdims else tuple(shape[i] for i in rest)
        return y.reshape(kept) if kept else y.reshape(-1)[0]  # NumPy's scalar, where no axis is left.

    return reduce


def accumulate_of(ufunc: np.ufunc) -> Function:
    """The ufunc's ``accumulate``, as a composite."""
    name = f"np.{ufunc.__name__}.accumulate"

    def accumulate(array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        refuse_out(name, out)
        x = in_loop(ufunc, array, dtype)
        axis = one_axis(name, axis, x.ndim)
        x = np.moveaxis(x, axis, 0)
        if x.shape[0] < 2:
            y = np.positive(x)
        elif ufunc in ASSOCIATIVE:
            y = _scanned(ufunc, x)
        else:
            y, *parts = _slices(x)
            results = [y]
            for part in parts:
                y = ufunc(y, part)
                results.append(y)
            y = np.concatenate(results)
        return np.moveaxis(y, 0, axis)

    return accumulate
