"""Why differences can't tell a derivative: a kink, a jump, an edge of the domain, roughness, rounding.

One-sided differences are looked at on each side by themselves. Where both settle, on different slopes,
it is a kink; where values stay apart however near the points are, a jump.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.testing.differences import (
    FORWARD_ROUNDING,
    LEVELS,
    SHRINK,
    TRIES,
    Slope,
    extrapolated,
    first_step,
    moved_row,
)
from tapegrad.testing.pullbacks import Function

SETTLED = 1e-3  # of the larger one-sided slope: both bars must be narrower than this to speak of a kink
JUMP = 0.01  # of the largest rise: what is left of it at the smallest step, 2**-47 of the largest
STEEP = 2.0**20  # times steeper at the smallest step than at the largest: a slope without bound


class Reason(NamedTuple):
    """Why differences can't tell, and what to do about it."""

    kind: str  # "kink", "jump", "steep", "rough", "non-finite" or "ill-conditioned"
    seen: str
    advice: str
    slopes: tuple[float, ...] = ()  # at a kink, that on one side and that on the other


class _Side(NamedTuple):
    """What differences say on one side."""

    slopes: list[float]  # one-sided, of each tableau of steps
    bars: list[float]
    finite: bool  # whether the function is, at the smallest step
    jumps: bool  # whether the value at the smallest step is as far from the one here as at the largest
    steepening: float  # the slope of the smallest step in units of that of the largest; 0 where it isn't steady


def reason_for(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, slope: Slope
) -> Reason:
    """Why the ``slope`` of Re<u, f(args)> along ``direction``, in argument ``i``, tells nothing."""
    if not np.isfinite(here).all():
        k = int(np.flatnonzero(~np.isfinite(here))[0])
        return Reason(
            "non-finite",
            f"the function returns {here[k]} here",
            "choose arguments inside of its domain, away from poles",
        )
    ahead, behind = (_side(f, args, i, sign * direction, u, here, eps) for sign in (1.0, -1.0))
    if not (ahead.finite and behind.finite):
        where = "on both sides" if not (ahead.finite or behind.finite) else "ahead" if behind.finite else "behind"
        return Reason(
            "non-finite",
            f"the function isn't finite {where}, however near: this is an edge of its domain",
            "move the arguments into its domain",
        )
    # The other side was reached by moving against the direction.
    # Both at the same steps: what is a kink from far may be two flat steps of a staircase from near.
    both = np.add(ahead.bars, behind.bars)
    k = int(np.argmin(np.where(np.isnan(both), np.inf, both)))
    right, left = ahead.slopes[k], -behind.slopes[k]
    if ahead.jumps or behind.jumps:
        return Reason("jump", "the value jumps here", "move the arguments off the jump")
    if max(ahead.steepening, behind.steepening) > STEEP:
        return Reason("steep", "the slope grows without bound here", "move the arguments away")
    if both[k] <= SETTLED * max(abs(right), abs(left)) and abs(right - left) > 4 * both[k]:
        return Reason(
            "kink",
            f"{left + 0.0:.6g} on one side, {right + 0.0:.6g} on the other, +- {both[k]:.1g}",
            "move the arguments off the kink",
            (left, right),
        )
    noise = FORWARD_ROUNDING * eps * slope.size
    if _is_lost(f, args, i, direction, u, here, eps, noise):
        return Reason(
            "ill-conditioned",
            f"rounding of a value of size {slope.size:.1g} hides the slope",
            "scale or centre the arguments",
        )
    nearby = moved_row(f, args, i, first_step(eps) * direction / 3, here)
    single = np.array_equal(nearby, nearby.astype(np.complex64 if here.dtype.kind == "c" else np.float32))
    return Reason(
        "rough",
        "differences don't settle at any step"
        + ("; every value is a number of float32: something computes in single precision" if single else ""),
        f"pass rtol={'1.2e-7' if single else ''}, the rounding of one evaluation, if that is what is rough; "
        "else move the arguments",
    )


def _side(f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float) -> _Side:
    """The one-sided slope along ``direction``."""
    w, size = np.conj(u), float(np.sum(np.abs(u) * np.abs(here)))

    def rise(step: float) -> float:
        return float(np.real(w * (moved_row(f, args, i, step * direction, here) - here)).sum())

    rises, slopes, values, bars = [], [], [], []
    with np.errstate(all="ignore"):
        for attempt in range(TRIES - 1):  # The smallest steps of all would be lost in the rounding of x.
            steps = [first_step(eps) / SHRINK**attempt / 2**k for k in range(LEVELS)]
            rises += (moved := [rise(step) for step in steps])
            slopes += (one_sided := [r / step for r, step in zip(moved, steps, strict=True)])
            value, truncation = extrapolated(one_sided, 2.0)
            values.append(float(value))
            bars.append(float(truncation) + FORWARD_ROUNDING * eps * size / steps[-1])
    last = abs(rises[-1])
    largest = max((abs(r) for r in rises if math.isfinite(r)), default=0.0)
    jumps = last > FORWARD_ROUNDING * eps * size and last > JUMP * largest
    telling = [abs(s) for s in slopes if math.isfinite(s)]
    rising = sum(b >= a for a, b in itertools.pairwise(telling)) >= 0.9 * (len(telling) - 1)  # Noise isn't steady.
    steepening = telling[-1] / telling[0] if telling and telling[0] > 0 and rising else 0.0
    return _Side(values, bars, math.isfinite(last), jumps, steepening)


def _is_lost(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, noise: float
) -> bool:
    """Whether the largest step moves the value by little more than its rounding does."""
    with np.errstate(all="ignore"):
        moved = moved_row(f, args, i, first_step(eps) * direction, here)
        return float(np.abs(np.real(np.conj(u) * (moved - here)).sum())) <= 1e4 * noise
