"""Gradients beside differences: what is right, what is wrong, and what can't be told.

The vjp of random cotangents is compared with differences along single entries, and along directions of a
large argument. Where they disagree, or the differences don't tell, a second look measures what rounding does.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.errors import TapegradError
from tapegrad.testing.diagnosis import Finding, Probe, narrowed, resemblance
from tapegrad.testing.differences import Slope, first_step, slope_along
from tapegrad.testing.pullbacks import Function, random_like, random_seeds, row, values, vjp
from tapegrad.testing.second_look import Jolted, joined, jolted, size_by_rounding
from tapegrad.testing.undecided import reason_for

GRADIENT_ROUNDING = 64.0  # bound on the rounding of a gradient, in units of eps times its largest entry
TELLING = 1e-3  # of the gradient's scale: a wider bar tells nothing
STATIONARY = 1e-6  # of the change over the largest step: so narrow a bar tells where the gradient is zero, too
JOLTED = 4.0  # times by how much gradients differ at arguments that differ in their last bits, rounding may move one
NOTHING = 1e-11  # of |f|: so narrow a bar around 0 lets a gradient of 0, to rounding, pass
COORDINATES = 50  # an argument with more elements is probed at a sample of them, and along directions
DIRECTIONS = 2


class GradientError(TapegradError, AssertionError):
    """A gradient that isn't the derivative.

    finding : what was found where, in parts (``tapegrad.testing.diagnosis.Finding``); None where the check
        was of another kind than numbers against differences
    """

    finding: Finding | None = None


class UndecidedError(GradientError):
    """Differences can't tell: the function has a kink or a pole here, or rounds too much.

    ``finding.reason.kind`` is "kink", "jump", "steep", "rough", "non-finite" or "ill-conditioned".
    """


def compare_with_differences(
    f: Function, args: Sequence[Any], eps: float, rng: np.random.Generator, coordinates: int = COORDINATES
) -> None:
    """Raise GradientError where a gradient of ``f`` lies outside of the bar of the differences.

    args : float64 and complex128 arrays, and anything that isn't differentiable
    eps : relative rounding error of one evaluation
    coordinates : of an argument with more elements, so many coordinates are probed, and directions
    """
    names = [f"argument {i}" for i in range(len(args))]
    compare(f, args, eps, rng, coordinates, random_seeds(f, args, rng), names)


def compare(
    f: Function,
    args: Sequence[Any],
    eps: float,
    rng: np.random.Generator,
    coordinates: int,
    seeds: Sequence[Any],
    names: Sequence[str],
) -> None:
    """What is surely wrong in any argument is raised before what can't be told in another."""
    here = row(values(f, args))
    with np.errstate(all="ignore"):
        gradients = vjp(f, args, seeds)
    untold = None
    for i in gradients:
        finding = _finding(f, args, i, gradients, seeds, here, eps, list(_directions(args[i], coordinates, rng)), names)
        if finding is not None and finding.reason is None:
            raise _error(finding)
        untold = untold or finding
    if untold is not None:
        raise _error(untold)


def _finding(
    f: Function,
    args: Sequence[Any],
    i: int,
    gradients: dict[int, Any],
    seeds: Sequence[Any],
    here: Any,
    eps: float,
    directions: Sequence[Any],
    names: Sequence[str],
) -> Finding | None:
    """What is wrong with the gradient of argument ``i``, or can't be told of it; None where it is right."""
    gradient, u = gradients[i], row(seeds)
    look = functools.partial(slope_along, f, args, i, u=u, here=here, eps=eps, gradient=gradient)
    slopes = [look(direction) for direction in directions]
    largest = _largest(gradient, directions, slopes)
    natural = float(np.sum(np.abs(u) * np.maximum(1.0, np.abs(here))))
    verdict = functools.partial(_verdict, largest=largest, natural=natural, eps=eps)

    @functools.cache
    def jolts() -> list[Jolted]:
        return jolted(f, args, seeds, gradients, here, eps)

    def probed(direction: Any, slope: Slope) -> Probe:
        """The probe; where it would be objected to or isn't told, with what a second look says."""
        probe = _probe(gradient, direction, slope, largest, eps)
        if verdict(probe) == "untold":
            probe = _probe(gradient, direction, joined(f, args, i, direction, u, here, eps, slope), largest, eps)
        if not verdict(probe):
            return probe
        along = [_along(j.gradients[i], direction) for j in jolts() if i in j.gradients]
        spread = max(along) - min(along) if along and all(map(math.isfinite, along)) else 0.0
        noise = max((j.rounding for j in jolts()), default=0.0)
        step = probe.slope.step or first_step(eps)
        size = max(min(spread / eps, natural), noise / eps, size_by_rounding(f, args, i, direction, u, here, eps, step))
        wider = min(probe.slope.of_size(size, eps), look(direction, least=size), key=lambda s: s.bar)
        second = _probe(gradient, direction, wider, largest, eps, JOLTED * spread)
        # What can't be told has its reason in what was seen first.
        return second if verdict(second) != "untold" else second._replace(slope=wider._replace(size=slope.size))

    probes = [probed(d, s) for d, s in zip(directions, slopes, strict=True)]
    wrong, untold = ([p for p in probes if verdict(p) == kind] for kind in ("wrong", "untold"))
    if wrong:
        # An entry says more than a direction does.
        worst = max(wrong, key=lambda p: (np.count_nonzero(p.direction) == 1, *_excess(p)))
        worst = narrowed(worst, lambda direction: probed(direction, look(direction)), lambda p: verdict(p) == "wrong")
        looks = resemblance(f, args, i, gradients, seeds, here, worst, names)
        return Finding(names[i], args[i], seeds, worst, len(wrong), len(probes), None, looks)
    if untold:
        worst = max(untold, key=lambda p: p.slope.bar)
        reason = reason_for(f, args, i, worst.direction, u, here, eps, worst.slope)
        return Finding(names[i], args[i], seeds, worst, len(untold), len(probes), reason, "")
    return None


def _error(finding: Finding) -> GradientError:
    error = (UndecidedError if finding.reason else GradientError)(finding.report("a function"))
    error.finding = finding
    return error


def _directions(x: Any, coordinates: int, rng: np.random.Generator) -> Iterator[Any]:
    """Directions to move along: single coordinates, each part of a complex one; random ones of a large x."""
    scale = np.maximum(np.abs(x), 1.0)
    parts = (1.0, 1j) if x.dtype.kind == "c" else (1.0,)
    chosen = range(x.size) if x.size <= coordinates else rng.choice(x.size, coordinates // 2, replace=False)
    for k in chosen:
        for part in parts:
            direction = np.zeros(x.size, x.dtype)
            direction[k] = part * scale.flat[k]
            yield direction.reshape(x.shape)
    if x.size > coordinates:
        for _ in range(DIRECTIONS):
            yield random_like(x, rng) * scale


def _along(gradient: Any, direction: Any) -> float:
    with np.errstate(all="ignore"):
        return float(np.sum(np.real(np.conj(gradient) * direction), where=direction != 0))


def _largest(gradient: Any, directions: Sequence[Any], slopes: Sequence[Slope]) -> float:
    """The scale of the gradient: of its entries, of what was probed."""
    found = (*(_along(gradient, d) for d in directions), *(s.value for s in slopes))
    largest = max((abs(v) for v in found if math.isfinite(v)), default=0.0)
    return max(largest, float(np.max(np.abs(gradient), initial=0.0, where=np.isfinite(gradient))))


def _probe(gradient: Any, direction: Any, slope: Slope, largest: float, eps: float, rounding: float = 0.0) -> Probe:
    """What is compared, and how far it may be apart."""
    scale = largest * max(1.0, float(np.sqrt(np.count_nonzero(direction))))
    return Probe(direction, _along(gradient, direction), slope, slope.bar + GRADIENT_ROUNDING * eps * scale + rounding)


def _verdict(probe: Probe, largest: float, natural: float, eps: float) -> str:
    """ "wrong", "untold" where the bar is too wide, and empty where all is right.

    natural : the size of numbers that wouldn't surprise; what a jump shows is no size at all
    """
    a, slope = probe.analytic, probe.slope
    size = min(slope.size, natural)
    if abs(a) <= GRADIENT_ROUNDING * eps * size and abs(slope.value) <= slope.bar <= NOTHING * size:
        return ""  # Zero, by both.
    scale = largest * max(1.0, float(np.sqrt(np.count_nonzero(probe.direction))))
    if not probe.allowed <= max(TELLING * scale, STATIONARY * slope.variation):
        return "untold"
    return "" if abs(a - slope.value) <= probe.allowed else "wrong"


def _excess(probe: Probe) -> tuple[bool, float]:
    """How far outside of its bar; nan before all."""
    apart = abs(probe.analytic - probe.slope.value)
    return math.isnan(apart), apart / probe.allowed if probe.allowed else math.inf
