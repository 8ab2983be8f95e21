"""A second look, where a check would object or couldn't tell: what rounding does, and what each side says by itself.

What a function computes from can be larger by far than what it returns: ``x - mean(x)``, ``1 - cos(x)``, a
quotient that is 1 whatever x is. Its rounding is that of the larger numbers then, and so is that of its
gradient. Neither shows in the values: both are measured here.
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
from tapegrad.testing.pullbacks import Function, differentiable, row, vjp

FINE = 2.0**10  # of the step over which the function is smooth, so small a part: its sixth differences are rounding
OF_SIXTH = math.sqrt(924.0)  # times the rounding of a value is that of a sixth difference
JOLTS = 5
JUMP = 0.01  # of the largest rise: what is left of it at the smallest step, 2**-47 of the largest


class Side(NamedTuple):
    """What differences say on one side."""

    slopes: list[float]  # one-sided, of each tableau of steps
    bars: list[float]
    roundings: list[float]  # the part of the bars that rounding has
    flat: list[bool]  # whether no step changes the value
    finite: bool  # whether the function is, at the smallest step
    jumps: bool  # whether the value at the smallest step is as far from the one here as at the largest
    steepening: float  # the slope of the smallest step in units of that of the largest; 0 where it isn't steady


class Jolted(NamedTuple):
    """What is computed at arguments and cotangents that differ from the given ones in their last bits."""

    gradients: dict[int, Any]
    rounding: float  # by how much the value differs from what the gradient foretells


def jolted(
    f: Function, args: Sequence[Any], seeds: Sequence[Any], gradients: dict[int, Any], here: Any, eps: float
) -> list[Jolted]:
    """The function, and its gradients, at arguments next to the given ones.

    By how much gradients differ there is what rounding may do to one: a good algorithm is right for arguments
    next to the given ones. That all of them differ from the one here may be a mistake at a special point.
    """
    rng = np.random.default_rng(0)

    def moved(a: Any) -> Any:
        if not differentiable(a):
            return a
        units = rng.choice([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0], (2, *a.shape))
        if a.dtype.kind == "c":
            return a + eps * (units[0] * a.real + 1j * (units[1] * a.imag))
        return a + eps * units[0] * a

    found, u = [], row(seeds)
    with np.errstate(all="ignore"):
        for _ in range(JOLTS):
            there = [moved(a) for a in args]
            try:
                value, nearby = row(f(*there)), vjp(f, there, [moved(seed) for seed in seeds])
            except (ArithmeticError, ValueError):  # Beyond the edge of its domain.
                continue
            foretold = sum(float(np.sum(np.real(np.conj(g) * (there[i] - args[i])))) for i, g in gradients.items())
            rise = float(np.real(np.conj(u) * (value - here)).sum()) if value.shape == here.shape else math.nan
            rounding = abs(rise - foretold)
            found.append(Jolted(nearby, rounding if math.isfinite(rounding) else 0.0))
    return found


def size_by_rounding(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, step: float
) -> float:
    """The size of the numbers that Re<u, f(args)> was computed from, as its rounding shows it.

    step : so far along ``direction`` the function is smooth, on each side by itself

    Moré & Wild 2011, "Estimating computational noise".
    """
    noise = 0.0
    with np.errstate(all="ignore"):
        for shift in (step / FINE * direction, -step / FINE * direction):
            points = [moved_row(f, args, i, k * shift, here) for k in range(1, 9)]
            rises = [float(np.real(np.conj(u) * (point - here)).sum()) for point in points]
            noise = max(noise, float(np.max(np.abs(np.diff(rises, 6)))) / OF_SIXTH)
    return noise / eps if math.isfinite(noise) else 0.0


def side(f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, size: float) -> Side:
    """The one-sided slope along ``direction``, of values of that size."""
    w = np.conj(u)
    x = float(np.max(np.abs(args[i]), where=direction != 0, initial=0.0) / np.max(np.abs(direction)))

    def rise(step: float) -> float:
        return float(np.real(w * (moved_row(f, args, i, step * direction, here) - here)).sum())

    rises, slopes, values, bars, roundings, flat = [], [], [], [], [], []
    with np.errstate(all="ignore"):
        for attempt in range(TRIES - 1):  # The smallest steps of all would be lost in the rounding of x.
            steps = [first_step(eps) / SHRINK**attempt / 2**k for k in range(LEVELS)]
            rises += (moved := [rise(step) for step in steps])
            flat.append(not any(moved))
            slopes += (one_sided := [r / step for r, step in zip(moved, steps, strict=True)])
            value, truncation = extrapolated(one_sided, 2.0)
            values.append(float(value))
            # Moving x rounds it as well.
            roundings.append(FORWARD_ROUNDING * eps * (size + x * max(map(abs, one_sided))) / steps[-1])
            bars.append(float(truncation) + roundings[-1])
    last = abs(rises[-1])
    largest = max((abs(r) for r in rises if math.isfinite(r)), default=0.0)
    jumps = last > FORWARD_ROUNDING * eps * size and last > JUMP * largest
    telling = [abs(s) for s in slopes if math.isfinite(s)]
    rising = sum(b >= a for a, b in itertools.pairwise(telling)) >= 0.9 * (len(telling) - 1)  # Noise isn't steady.
    steepening = telling[-1] / telling[0] if telling and telling[0] > 0 and rising else 0.0
    return Side(values, bars, roundings, flat, math.isfinite(last), jumps, steepening)


class Sides(NamedTuple):
    """The slopes behind and ahead that are known best, with the bar of both."""

    left: float
    right: float
    bar: float
    lasting: bool  # whether smaller steps say the same: else it is another place that was looked at
    attempt: int  # of what tableau of steps


def best_of(ahead: Side, behind: Side) -> Sides:
    """What both sides say at the same steps: what is a kink from far may be two flat steps of a staircase from near.

    behind : its slopes are those of moving against the direction
    """
    both = np.add(ahead.bars, behind.bars)
    k = int(np.argmin(np.where(np.isnan(both), np.inf, both)))
    lasting = all(
        abs(s.slopes[j] - s.slopes[k]) <= s.bars[j] + s.bars[k]
        for s in (ahead, behind)
        for j in range(k + 1, len(both))
        if math.isfinite(s.bars[j])
    )
    return Sides(-behind.slopes[k], ahead.slopes[k], float(both[k]), lasting, k)


def joined(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, slope: Slope
) -> Slope:
    """The slope where both sides have the same one, and no central differences were any good: of ``x * abs(x)`` at 0.

    Else the ``slope`` that was there.
    """
    if math.isfinite(slope.bar):
        return slope
    ahead, behind = (side(f, args, i, sign * direction, u, here, eps, slope.size) for sign in (1.0, -1.0))
    sides = best_of(ahead, behind)
    apart, of_staircase = abs(sides.right - sides.left), ahead.flat[sides.attempt] and behind.flat[sides.attempt]
    if of_staircase or not (sides.lasting and apart <= 4 * sides.bar):
        return slope
    step = first_step(eps) / SHRINK**sides.attempt
    return Slope((sides.left + sides.right) / 2, apart + sides.bar, slope.size, step, slope.variation)
