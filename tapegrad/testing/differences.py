"""Derivatives by differences, each with its own error bar.

Central differences at four halved steps are extrapolated to step 0 (Richardson 1911), which gives a
derivative *and* how far to trust it: the last two extrapolates differ by about the truncation error, and
rounding of the values adds ``eps * |f| / step``. The two make the bar.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.testing.pullbacks import Function, row

LEVELS = 4  # steps to a tableau, each half of the one before: truncation of order step**8
TRIES = 12  # tableaus, each with steps SHRINK times smaller than the one before
SHRINK = 16.0
NOISY = 4.0  # times what a fifth difference is astray is the bar, where it is
UNEVEN = 0.7390851332151607  # steps are this times powers of two
FORWARD_ROUNDING = 16.0  # bound on the rounding of a value, and of its extrapolation, in units of eps
ACCEPTED = 1e-5  # of |f| / step: a wider bar says that the steps are too large for the function


class Slope(NamedTuple):
    """A derivative by differences, and the bar around it."""

    value: float
    bar: float  # absolute; infinite where no step gave a consistent answer
    size: float  # of the value: sum of |u| |f|
    step: float = 0.0  # the largest of the steps that gave it; 0 where none did
    variation: float = 0.0  # by how much the value changes over the largest step of all, in units of that step

    def of_size(self, size: float, eps: float) -> "Slope":
        """The same, of values that turn out to be computed from numbers of that size."""
        rounding = FORWARD_ROUNDING * eps * size / (self.step / 2 ** (LEVELS - 1)) if self.step else 0.0
        return self._replace(bar=self.bar + rounding, size=max(self.size, size))


class Column(NamedTuple):
    """The derivatives of all outputs along one direction, in one row, and a bar for all of them."""

    values: Any
    bar: float


def first_step(eps: float) -> float:
    """The largest step, which balances truncation with rounding.

    No power of two: what rounds its argument on the way, to float32 say, would round all points alike then,
    and the differences agree with each other on a wrong slope.
    """
    return float(UNEVEN * 2.0 ** math.floor(math.log2(eps) / (2 * LEVELS + 1)))


def moved_row(f: Function, args: Sequence[Any], i: int, shift: Any, like: Any) -> Any:
    """The outputs with argument ``i`` moved by ``shift``, in a row; nan where it can't be computed there.

    So where ``f`` refuses (outside of its domain, it may raise) or returns another number of outputs.
    """
    try:
        moved = row(f(*args[:i], args[i] + shift, *args[i + 1 :]))
    except (ArithmeticError, ValueError):
        return np.full(like.shape, np.nan)
    return moved if moved.shape == like.shape else np.full(like.shape, np.nan)


def slope_along(
    f: Function,
    args: Sequence[Any],
    i: int,
    direction: Any,
    u: Any,
    here: Any,
    eps: float,
    gradient: Any,
    least: float = 0.0,
) -> Slope:
    """The derivative of Re<u, f(args)> as argument ``i`` moves along ``direction``.

    u, here : the cotangents and the values of all outputs at ``args``, each in one row
    least : what values are computed from is at least so large
    """
    whole = max(least, float(np.sum(np.abs(u) * np.abs(here))))
    # Moving x rounds it, by eps |x|, which the gradient turns into a rounding of the value.
    moved = float(np.sum(np.abs(args[i]) * np.abs(np.where(np.isfinite(gradient), gradient, 0)) * (direction != 0)))

    def pair(step: float) -> tuple[float, float, float]:
        """The central difference, the gap between the one-sided ones, and the size of what moved."""
        ahead, behind = (moved_row(f, args, i, shift, here) for shift in (step * direction, -step * direction))
        change = (ahead != behind) | (ahead != here)
        ahead, behind, middle, w = ahead[change], behind[change], here[change], np.conj(u[change])
        difference = float(np.real(w * (ahead - behind)).sum())
        gap = float(np.real(w * (ahead + behind - 2 * middle)).sum())
        size = float((np.abs(w) * np.maximum(np.abs(ahead), np.abs(behind))).sum())
        return difference / (2 * step), gap / step, size

    best, settled, variation = Slope(math.nan, math.inf, whole), False, math.nan
    flat: Slope | None = None
    before = math.nan, math.nan  # the truncation and the value of the tableau of larger steps
    with np.errstate(all="ignore"):
        for attempt in range(TRIES):
            steps = [first_step(eps) / SHRINK**attempt / 2**k for k in range(LEVELS)]
            central, gaps, sizes = (list(column) for column in zip(*map(pair, steps), strict=True))
            value, truncation = extrapolated(central)
            size = max(*sizes, least)
            variation = variation if math.isfinite(variation) else abs(central[0]) + abs(gaps[0])
            rounding = FORWARD_ROUNDING * eps * (size + moved) / steps[-1]
            # Of a smooth function the gap goes to zero with the step; at a kink it stays.
            gap, unsure = extrapolated(gaps, 2.0)
            kink = abs(gap) if abs(gap) > 4 * unsure + 8 * rounding else 0.0
            if abs(gaps[-1]) > abs(gaps[0]) + 8 * rounding:  # What is here is far from what is on both sides.
                kink = max(kink, abs(gaps[-1]))
            bar = truncation + rounding + kink
            # Of a smooth function the truncation falls with the eighth power of the step. Where it doesn't, the values
            # are those of a staircase (of float32, say), which looks flat from near.
            if truncation > 8 * rounding and truncation > before[0] / SHRINK**2:
                bar += NOISY * abs(value - before[1])
            before = float(truncation), float(value)
            if not any(sizes) and math.isfinite(value):
                # Of a staircase that rises from afar either may be meant, this or that its steps are flat. And what is
                # flat at the largest steps may not be at smaller ones: tanh, where these lead to where it is 1.
                if not np.any(gradient[direction != 0]):
                    return Slope(0.0, bar, whole, steps[0], 0.0)
                if not attempt:
                    flat = Slope(0.0, bar, whole, steps[0], 0.0)
                elif flat is None:
                    break
                continue
            if not bar <= ACCEPTED * size / steps[0] + rounding:
                continue
            # That four differences agree may be chance: of a fast wave, of values that round more than eps says.
            # A fifth one at a much smaller step tells.
            astray = abs(pair(steps[-1] / SHRINK)[0] - value)
            agrees = astray <= bar + SHRINK * rounding + abs(central[-1] - value) / SHRINK
            if not agrees:
                bar += NOISY * astray
            if math.isfinite(best.bar) and abs(value - best.value) > bar + best.bar:
                # One slope from afar and another one from near, part of it a staircase: either may be meant.
                apart = abs(value - best.value)
                best, bar = best._replace(bar=best.bar + apart), bar + apart
            if bar < best.bar:
                best, settled = Slope(value, bar, whole, steps[0], variation), agrees
            if settled and (best.bar < bar or truncation <= rounding):
                break
    if flat and abs(best.value) <= best.bar:
        return flat
    if math.isfinite(best.bar):
        return best
    return flat or best._replace(variation=variation if math.isfinite(variation) else 0.0)


def column_along(f: Function, args: Sequence[Any], i: int, direction: Any, here: Any, step: float) -> Column:
    """The derivatives of all outputs as argument ``i`` moves along ``direction``, by steps of ``step`` and smaller."""
    with np.errstate(all="ignore"):
        central = []
        for k in range(LEVELS):
            shift = step / 2**k * direction
            ahead, behind = (moved_row(f, args, i, s, here) for s in (shift, -shift))
            central.append((ahead - behind) / (2 * step / 2**k))
        value, truncation = extrapolated(central)
        return Column(value, float(np.max(truncation, initial=0.0)))


def extrapolated(differences: Sequence[Any], base: float = 4.0) -> tuple[Any, Any]:
    """Richardson's extrapolate of differences at halved steps, and how much the last ones differ.

    base : the factor by which halving the step lessens each term of the error: 4, 16, 64 of central
        differences; of one-sided ones 2, 4, 8
    """
    before, line = [0.0], [differences[0]]
    for difference in differences[1:]:
        before, line = line, [difference]
        for j, coarser in enumerate(before, 1):
            line.append(line[-1] + (line[-1] - coarser) / (base**j - 1))
    return line[-1], np.maximum(abs(line[-1] - line[-2]), abs(line[-1] - before[-1]))


def complex_step(f: Callable[..., Any], x: Any, direction: Any = 1.0) -> Any:
    """The derivative of ``f`` at the real ``x`` along ``direction``, exact to rounding.

    f : analytic function of an array, that takes complex arrays: of shape s to any shape
    x : array of shape s, float
    direction : array that broadcasts to s, float
    Returns an array of the shape of ``f(x)``. There is no difference of near numbers to lose digits in.

    >>> import numpy as np
    >>> complex_step(np.sin, np.array([0.0, 1.0])) - np.cos([0.0, 1.0])
    array([0., 0.])

    Squire & Trapp 1998, "Using complex variables to estimate derivatives of real functions".
    """
    step = 1e-20  # Its square is lost against 1 even in extended precision, and far from underflow.
    with np.errstate(all="ignore"):
        y = f(np.asarray(x) + 1j * step * np.asarray(direction))
        return np.imag(y) / step
