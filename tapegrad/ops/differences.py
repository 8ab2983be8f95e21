"""Differences of neighbours: diff, ediff1d, unwrap.

The adjoint of a difference is a difference of g with a zero on either side: summation by parts.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp, primitive

NO_VALUE = np._NoValue  # What NumPy itself takes for "not given".


def as_array(x: Any) -> Any:
    """An operand of a composite as an array or a tensor, where it may be a list or a number."""
    return x if hasattr(x, "ndim") else np.asarray(x)


def part(x: Any, start: int | None, stop: int | None, axis: int) -> Any:
    """A slice along one axis."""
    return x[(*(slice(None),) * (axis % x.ndim), slice(start, stop))]


def zeros_along(x: Any, n: int, axis: int) -> Any:
    """Zeros in the likeness of ``x``, ``n`` of them along the axis."""
    axis %= x.ndim
    return np.zeros_like(x, shape=(*x.shape[:axis], n, *x.shape[axis + 1 :]))


@primitive
def undiff(e: Any, axis: int, n: int = 1) -> Any:
    """The adjoint of ``np.diff``: the difference of ``e`` with a zero on either side, negated; ``n`` times over.

    e : array of any shape but (), float or complex
    Returns an array that is longer by ``n`` along ``axis``, of the same dtype.

    >>> undiff(np.array([1.0, 5.0]), 0)
    array([-1., -4.,  5.])
    """
    axis %= e.ndim
    for _ in range(n):
        if e.shape[axis] == 0:
            e = zeros_along(e, 1, axis)
            continue
        out = np.empty((*e.shape[:axis], e.shape[axis] + 1, *e.shape[axis + 1 :]), e.dtype)
        # (np.negative of NumPy 2.4 takes the wrong elements where strides are 4 float32 or 8 float64, in and out.)
        np.multiply(part(e, None, 1, axis), -1, out=part(out, None, 1, axis))
        np.subtract(part(e, None, -1, axis), part(e, 1, None, axis), out=part(out, 1, -1, axis))
        part(out, -1, None, axis)[...] = part(e, -1, None, axis)
        e = out
    return e


@defvjp(
    undiff,
    cases=Cases(
        calls=(
            call((3,), axis=0),
            call((2, 3), axis=-1, n=2),
            call((3, 2), axis=0),
            call((1,), axis=0, n=3),
            call((2, 8), axis=1),
        ),
        neutral=False,
    ),
)
def undiff_vjp(g: Any, _y: Any, _e: Any, *, axis: int, n: int = 1) -> Any:
    """Differences: the other half of the pair."""
    return np.diff(g, n, axis)


# ---------------------------------------------------------------- diff, ediff1d


@partial(primitive, name="np.diff")
def differences(a: Any, n: int = 1, axis: int = -1) -> Any:
    """``np.diff`` without values before and after."""
    return np.diff(a, n, axis)


@defvjp(
    differences,
    cases=Cases(
        calls=(
            call((4,)),
            call((2, 3)),
            call((4, 2), axis=0),
            call((2, 5), n=2),
            call((5, 2), n=3, axis=-2),
            call((3,), n=3),
            call((3,), n=4),
            call((3,), n=0),
            call((1, 2)),
            call((2, 0), axis=0),
        )
    ),
)
def differences_vjp(g: Any, _y: Any, _a: Any, *, n: int = 1, axis: int = -1) -> Any:
    """a_bar = (-1)^n times the n-th difference of g between zeros; None where nothing is left to difference."""
    return undiff(g, axis, n) if n <= _a.shape[axis] else None


@composite(
    np.diff,
    cases=Cases(
        calls=(
            call((4,)),
            call((2, 3), n=2, axis=0),
            call((2, 3), prepend=0.0),
            call((2, 3), n=2, prepend=0.5, append=np.array([[1.0], [2.0]])),
            call((2, 3), axis=0, append=np.ones((2, 3))),
            call((3,), prepend=np.zeros(2), append=1),
        )
    ),
)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = NO_VALUE, append: Any = NO_VALUE) -> Any:
    """Differences of neighbours, ``n`` times over; values before and after are joined on first."""
    if n == 0:
        return a
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    a = as_array(a)
    if a.ndim == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    if prepend is not NO_VALUE or append is not NO_VALUE:
        edge = tuple(1 if i == axis % a.ndim else length for i, length in enumerate(a.shape))
        before, after = (
            [] if x is NO_VALUE else [x if np.ndim(x) else np.broadcast_to(x, edge)] for x in (prepend, append)
        )
        a = np.concatenate([*before, a, *after], axis)
    return differences(a, n, axis)


@composite(
    np.ediff1d,
    cases=Cases(
        calls=(
            call((4,)),
            call((2, 3), to_end=1.0),
            call((3,), to_end=[1.0, 2.0], to_begin=np.array([[0.5]])),
            call((1,), to_begin=2.0),
            call((0,), to_end=2.0),
        )
    ),
)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of all elements in a row, with values before and after, in the dtype of the array."""
    flat = np.ravel(ary)
    parts = [np.diff(flat) if flat.shape[0] else flat]
    for name, value, place in (("to_begin", to_begin, 0), ("to_end", to_end, 2)):
        if value is not None:
            value = np.ravel(value)
            if not np.can_cast(value.dtype, flat.dtype, casting="same_kind"):
                raise TypeError(
                    f"dtype of `{name}` must be compatible with input `ary` under the `same_kind` rule; "
                    f"got {value.dtype} for {flat.dtype}"
                )
            parts.insert(place, value if value.dtype == flat.dtype else value.astype(flat.dtype))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


# ---------------------------------------------------------------- unwrap


@defvjp(
    np.unwrap,
    cases=Cases(
        calls=(
            call((6,)),
            call((2, 4), axis=0),
            call((2, 4), discont=3.5, axis=-1),
            call((5,), period=1.5),
            call((3,), discont=0.2, period=0.75),
            call((2, 0)),
        ),
        complex=False,
        analytic=False,
        note="1, also where a jump is half a period",
    ),
)
def unwrap_vjp(g: Any, _y: Any, _p: Any, *, _discont: Any = None, _axis: int = -1, _period: Any = 0.0) -> Any:
    """What is added to p is constant: whole periods."""
    return g
