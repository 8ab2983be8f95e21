"""Why differences can't tell a derivative: a kink, a jump, an edge of the domain, roughness, rounding.

One-sided differences are looked at on each side by themselves. Where both settle, on different slopes,
it is a kink; where values stay apart however near the points are, a jump.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.testing.differences import FORWARD_ROUNDING, SHRINK, Slope, first_step, moved_row
from tapegrad.testing.pullbacks import Function, row
from tapegrad.testing.second_look import Side, best_of, side

SETTLED = 1e-3  # of the larger one-sided slope: both bars must be narrower than this to speak of a kink
STEEP = 2.0**20  # times steeper at the smallest step than at the largest: a slope without bound


class Reason(NamedTuple):
    """Why differences can't tell, and what to do about it."""

    kind: str  # "kink", "jump", "steep", "rough", "non-finite" or "ill-conditioned"
    seen: str
    advice: str
    slopes: tuple[float, ...] = ()  # at a kink, that on one side and that on the other


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
    ahead, behind = (side(f, args, i, sign * direction, u, here, eps, slope.size) for sign in (1.0, -1.0))
    if not (ahead.finite and behind.finite):
        if _resized(f, args, i, direction, here, eps):
            return Reason("jump", "the number of entries returned changes here", "move the arguments off the jump")
        where = "on both sides" if not (ahead.finite or behind.finite) else "ahead" if behind.finite else "behind"
        return Reason(
            "non-finite",
            f"the function isn't finite {where}, however near: this is an edge of its domain",
            "move the arguments into its domain",
        )
    if ahead.jumps or behind.jumps:
        return Reason("jump", "the value jumps here", "move the arguments off the jump")
    if max(ahead.steepening, behind.steepening) > STEEP:
        return Reason("steep", "the slope grows without bound here", "move the arguments away")
    left, right, bar, lasting, _attempt = best_of(ahead, behind)
    if lasting and bar <= SETTLED * max(abs(right), abs(left)) and abs(right - left) > 4 * bar:
        return Reason(
            "kink",
            f"{left + 0.0:.6g} on one side, {right + 0.0:.6g} on the other, +- {bar:.1g}",
            "move the arguments off the kink",
            (left, right),
        )
    nearby = moved_row(f, args, i, first_step(eps) * direction / 3, here)
    single = np.array_equal(nearby, nearby.astype(np.complex64 if here.dtype.kind == "c" else np.float32))
    lost = _is_lost(f, args, i, direction, u, here, eps, slope.size)
    if lost or (not single and _is_rounding(ahead) and _is_rounding(behind)):
        x = float(np.max(np.abs(args[i]), initial=0.0))
        of_argument = f", and of an argument of size {x:.1g}," if x > slope.size else ""
        return Reason(
            "ill-conditioned",
            f"rounding of a value of size {slope.size:.1g}{of_argument} hides the slope",
            "scale or centre the arguments",
        )
    return Reason(
        "rough",
        "differences don't settle at any step"
        + ("; every value is a number of float32: something computes in single precision" if single else ""),
        f"pass rtol={'1.2e-7' if single else ''}, the rounding of one evaluation, if that is what is rough; "
        "else move the arguments",
    )


def _resized(f: Function, args: Sequence[Any], i: int, direction: Any, here: Any, eps: float) -> bool:
    """Whether the function returns another number of entries nearby: where ``np.trim_zeros`` has less to trim."""
    step = first_step(eps) / SHRINK**4
    try:
        with np.errstate(all="ignore"):
            counts = [row(f(*args[:i], args[i] + s * direction, *args[i + 1 :])).size for s in (step, -step)]
    except (ArithmeticError, ValueError):
        return False
    return any(count != here.size for count in counts)


def _is_lost(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, size: float
) -> bool:
    """Whether the largest step moves the value by little more than its rounding does."""
    with np.errstate(all="ignore"):
        moved = moved_row(f, args, i, first_step(eps) * direction, here)
        rise = float(np.abs(np.real(np.conj(u) * (moved - here)).sum()))
        return rise <= 1e4 * FORWARD_ROUNDING * eps * size


def _is_rounding(side: Side) -> bool:
    """Whether the slopes of the smallest steps differ by no more than rounding explains, and rounding hides them."""
    last = list(zip(side.slopes, side.roundings, strict=True))[::-1]
    agreeing = [
        *itertools.takewhile(
            lambda pair: abs(pair[0][0] - pair[1][0]) <= pair[0][1] + pair[1][1], itertools.pairwise(last)
        )
    ]
    if len(agreeing) < 2 or len(set(side.slopes[-3:])) == 1:
        return False
    slope, rounding = agreeing[-1][1]
    return rounding > SETTLED * abs(slope)
