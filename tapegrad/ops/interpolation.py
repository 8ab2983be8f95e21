"""Interpolation between samples: the values, their places and the points asked for all take part."""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.ops.differences import as_array
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import cast, conj, scattered, select

PLACES = np.array([0.0, 0.7, 1.1, 2.0, 2.2])


@partial(primitive, name="np.interp")
def interpolated(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    """``np.interp`` between increasing places."""
    return np.interp(x, xp, fp, left, right)


PLACES_APART = Domain(-1.0, 3.0, avoid=(0.0, 0.7, 1.1, 2.0, 2.2), margin=0.1)


@defvjp(
    interpolated,
    cases=Cases(
        domain=(PLACES_APART, Domain(), Domain()),
        calls=(
            call((3, 2), PLACES, (5,)),
            call((), PLACES, (5,)),
            call(1.5, PLACES, (5,)),
            call((7,), PLACES, (5,), left=2.0, right=-1.0),
            call((7,), PLACES, (5,), left=0.5),
            call((7,), PLACES, np.array([1, 0, 2, 5, 3]), right=0),
            call((3,), np.array([0.2]), (1,)),
            call((3,), np.array([0.2]), (1,), left=0.0),
            call((0,), PLACES, (5,)),
        ),
        examples=(
            # At a sample the slope on its right; at the last one, on its left; beyond, none.
            (
                call(np.array([-1.0, 0.0, 1.0, 3.0, 4.0]), np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 8.0])),
                (np.array([0.0, 2.0, 3.0, 3.0, 0.0]), np.array([-2.0, -3.0, -3.0]), np.array([2.0, 1.0, 2.0])),
            ),
            (call(np.nan, np.array([0.0, 1.0]), np.array([1.0, 2.0])), (0.0, np.zeros(2), np.zeros(2))),
            (
                call(np.array([1.0]), np.array([0.0, 1.0]), np.array([1.0, 3.0])),
                (np.array([2.0]), np.array([0.0, -2.0]), np.array([0.0, 1.0])),
            ),
            # Of two samples in one place, the last one.
            (
                call(np.array([1.0]), np.array([0.0, 1.0, 1.0]), np.array([0.0, 2.0, 8.0])),
                (np.zeros(1), np.zeros(3), np.array([0.0, 0.0, 1.0])),
            ),
            (
                call(np.array([0.5]), np.array([0.0, 1.0]), np.array([0.0, 1.0j])),
                (np.array([1.0]), np.array([-0.5, -0.5]), np.array([0.5j, 0.5j])),
                1j,
            ),
        ),
        complex=False,
        analytic=False,
        note="at a sample the slope on its right, at the last one the slope on its left; nan in x gives 0",
    ),
)
def interpolated_vjp(
    g: Any, _y: Any, x: Any, xp: Any, fp: Any, *, left: Any = None, right: Any = None
) -> tuple[Any, ...]:
    """y = (1 - t) f0 + t f1 with t = (x - x0) / (x1 - x0), between the samples on either side of x."""
    n = xp.shape[0]
    below, above = x < xp[0], x > xp[-1]
    inside = (x >= xp[0]) & (x <= xp[-1])
    i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(n - 2, 0))
    j = np.minimum(i + 1, n - 1)
    # Two samples in one place meet only at the end, where the last one counts.
    run = xp[j] - xp[i]
    void = run == 0
    run = np.where(void, 1, run)
    g_inside = select(inside, g)

    def by_x() -> Any:
        return select(~void, g_inside * conj((fp[j] - fp[i]) / run))

    def shares() -> tuple[Any, Any]:
        """How much of y the sample on the right is, and which cotangents the samples get."""
        t = np.where(above | void, 1, np.where(inside, (x - xp[i]) / run, 0))
        given = inside | (below if left is None else False) | (above if right is None else False)
        return t, select(given, g)

    def by_xp() -> Any:
        c, (t, _given) = -by_x(), shares()
        return _spread(c, t, i, j, xp.shape)

    def by_fp() -> Any:
        t, given = shares()
        return _spread(given, t, i, j, fp.shape)

    return by_x, by_xp, by_fp


def _spread(c: Any, t: Any, i: Any, j: Any, shape: tuple[int, ...]) -> Any:
    """Each cotangent shared between the samples i and j, which gets the part t."""
    right = c * t
    return scattered(c - right, i, shape) + scattered(right, j, shape)


@composite(
    np.interp,
    cases=Cases(
        domain=(PLACES_APART, Domain(), Domain()),
        calls=(
            call((4,), PLACES, (5,)),
            call((4,), PLACES, (5,), left=1.0, right=2.0),
            call((2, 3), np.array([2.3, 0.6, 5.2, 3.1]), (4,), period=2.75),
            call((3,), np.array([2.3, 0.6]), (2,), left=9.0, period=-2.75),
        ),
        complex=False,
        analytic=False,
    ),
)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """Between increasing places; with a period, of places brought into one, and continued on either side."""
    if period is None:
        return interpolated(x, xp, fp, left, right)
    if period == 0:
        raise ValueError("period must be a non-zero value")
    period = abs(period)
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    x, xp = (v if v.dtype == np.float64 else cast(v, np.float64) for v in (x, xp))
    if xp.ndim != 1 or fp.ndim != 1:
        raise ValueError("Data points must be 1-D sequences")
    if xp.shape[0] != fp.shape[0]:
        raise ValueError("fp and xp are not of the same length")
    x, xp = x % period, xp % period
    order = np.argsort(xp)
    xp, fp = xp[order], fp[order]
    xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return interpolated(x, xp, np.concatenate([fp[-1:], fp, fp[:1]]))
