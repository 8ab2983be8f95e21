"""Check gradients against numbers that owe nothing to any rule: NumPy only.

A gradient check is as good as its tolerance. Here nobody chooses one: differences.py gives every
derivative with its own error bar, and a gradient outside of the bar is wrong. Where the bar is too wide
to tell, the check says so, and why (undecided.py), rather than pass.

A function with an output of any shape is projected on a random cotangent u: the vjp of u is compared
with the derivative of Re<u, f(x)>, one coordinate of x at a time, and for large x along random
directions as well. Complex arguments are moved along both of their parts; the cotangent is the
adjoint under Re<a, b>, so its parts are the derivatives along 1 and along i.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, RuleError, TapegradError
from tapegrad.testing.diagnosis import Finding, Probe, broadcast_note, narrowed, resemblance
from tapegrad.testing.differences import FORWARD_ROUNDING as FORWARD_ROUNDING
from tapegrad.testing.differences import LEVELS, Slope, slope_along
from tapegrad.testing.differences import complex_step as complex_step
from tapegrad.testing.inputs import Inputs, inputs_of, require_checkable
from tapegrad.testing.pullbacks import Function, row, values, widened
from tapegrad.testing.pullbacks import outputs as outputs
from tapegrad.testing.pullbacks import parts_of as parts_of
from tapegrad.testing.pullbacks import random_like as random_like
from tapegrad.testing.pullbacks import random_seeds as random_seeds
from tapegrad.testing.pullbacks import vjp as vjp
from tapegrad.testing.pullbacks import vjp_function as vjp_function
from tapegrad.testing.reproduction import called, checking_program, program
from tapegrad.testing.undecided import reason_for

GRADIENT_ROUNDING = 64.0  # bound on the rounding of a gradient, in units of eps times its largest entry
TELLING = 1e-3  # of the gradient's scale: a wider bar tells nothing
STATIONARY = 1e-6  # of the change over the largest step: so narrow a bar tells where the gradient is zero, too
NOTHING = 1e-11  # of |f|: so narrow a bar around 0 lets a gradient of 0, to rounding, pass
COORDINATES = 50  # an argument with more elements is probed at a sample of them, and along directions
DIRECTIONS = 2
VISIBLE = 1e-3  # of the larger: a mistake that a plain central difference shows


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


# ---------------------------------------------------------------- what a user calls


def check_vjp(f: Function, *args: Any, **kwargs: Any) -> None:
    """Compare the gradients of ``f`` by ``backward()`` with central differences.

    f : function of arrays (and of tensors), which returns an array or a container of arrays, any shapes
    args : arrays, Python numbers, and containers of them (nested tuples, lists, dicts, dataclasses); those of
        dtype float and complex are checked, others left alone. What is narrower than float64 is checked in
        float64; that its gradient has its own shape and dtype is checked as it stands.
    kwargs : passed to ``f`` as they are
    Raises GradientError where a gradient is wrong, UndecidedError where differences can't tell, ArgumentError
    where there is nothing to check: no argument of floats, no result, another result at every call.

    >>> import numpy as np
    >>> check_vjp(lambda x, y: np.sin(x) * y, np.array([1.0, 2.0]), 3.0)
    >>> check_vjp(lambda layer, x: x @ layer["w"] + layer["b"], {"w": np.eye(2), "b": 0.5}, np.ones((3, 2)))

    Ridders 1982 for the extrapolation.
    """
    __tracebackhide__ = True  # pytest shows the user's call, then the report.
    check_grads(f, *args, order=1, **kwargs)


def check_grads(f: Function, *args: Any, order: int = 2, rtol: float | None = None, **kwargs: Any) -> None:
    """Compare the derivatives of ``f`` up to ``order`` with central differences.

    Each order takes the one before for its function: order 2 checks ``(x, u) -> vjp(x, u)``, recorded by
    ``backward(u, create_graph=True)``, so that the rules themselves are differentiated.

    f, args, kwargs : as for ``check_vjp``
    order : the highest order checked, at least 1
    rtol : the relative rounding error of one evaluation of ``f``; None: that of the narrowest dtype
        that ``f`` returns
    Raises GradientError, UndecidedError and ArgumentError, as ``check_vjp``.

    >>> import numpy as np
    >>> check_grads(np.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]), order=3)
    """
    __tracebackhide__ = True
    if order < 1:
        raise ArgumentError(f"check_grads: order={order!r}; the lowest is 1, the gradient itself")
    given = inputs_of(f, args, kwargs)
    wide = [widened(leaf) for leaf in given.leaves]
    require_checkable(f, given, wide)
    try:
        _check_kinds(f, given)
        _check_orders(f, args, kwargs, given, wide, order, rtol)
    except RuleError as error:
        if note := _note_on_shapes(str(error)):
            error.add_note(note)
        raise


def _check_orders(
    f: Function,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    given: Inputs,
    wide: list[Any],
    order: int,
    rtol: float | None,
) -> None:
    __tracebackhide__ = True
    g, names = given.function, given.names
    # The gradient is of the arguments' dtype, float64: no more precise for a longer result.
    eps = rtol or max(np.finfo(y.dtype).eps for y in [np.zeros(0), *outputs(values(g, wide))])
    rng = np.random.default_rng(0)
    plain = all(s is None for s in given.structures)
    for k in range(1, order + 1):
        seeds = _printable_seeds(g, wide, rng)
        try:
            _compare(g, wide, float(eps), rng, COORDINATES if k == 1 else COORDINATES // 4, seeds, names)
        except GradientError as error:
            finding = error.finding
            if finding is None:
                raise
            shown = checking_program(f, args, kwargs, k)
            if k == 1 and plain and len(seeds) == 1 and _is_visible(finding):
                i, probe = names.index(finding.name), finding.probe
                direction, step = probe.direction / probe.unit, probe.slope.step * probe.unit / LEVELS**2
                shown = program(f, given.leaves, kwargs, i, seeds[0], direction, step)
            found = type(error)(f"{finding.report(called(f), k)}\n\nThis shows it:\n\n{_indented(shown)}\n")
            found.finding = finding
            raise found from None
        if k < order:
            seeds = _printable_seeds(g, wide, rng)
            g, wide = vjp_function(g, len(wide)), [*wide, *seeds]
            names = [*names, *(f"the cotangent of output {j} (order {k})" for j in range(len(seeds)))]


def _printable_seeds(f: Function, args: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Cotangents of three digits, since a report prints them."""
    return [np.round(widened(seed), 3).astype(seed.dtype) for seed in random_seeds(f, args, rng)]


def _is_visible(finding: Finding) -> bool:
    """Whether a plain central difference, by one entry, shows the mistake."""
    a, n = finding.probe.analytic, finding.probe.slope.value
    single = np.count_nonzero(finding.probe.direction) == 1
    return single and finding.reason is None and not abs(a - n) <= VISIBLE * max(abs(a), abs(n))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def _note_on_shapes(message: str) -> str:
    """What the shapes in a RuleError tell, beyond that they differ."""
    found = re.search(r"cotangent of shape \(([\d, ]*)\) for operand \d+ of shape \(([\d, ]*)\)", message)
    if found is None:
        return ""
    given, wanted = (tuple(int(n) for n in part.split(",") if n.strip()) for part in found.groups())
    return broadcast_note(given, wanted)


def check_kinds(f: Function, *args: Any, **kwargs: Any) -> None:
    """Raise GradientError unless each gradient has the shape and the dtype of its argument.

    >>> import numpy as np
    >>> check_kinds(np.add, np.ones((2, 3), np.float32), np.ones(3))
    """
    _check_kinds(f, inputs_of(f, args, kwargs))


def _check_kinds(f: Function, given: Inputs) -> None:
    seeds = random_seeds(given.function, given.leaves, np.random.default_rng(0))
    for i, gradient in vjp(given.function, given.leaves, seeds).items():
        argument = given.leaves[i]
        if gradient.shape == argument.shape and gradient.dtype == argument.dtype:
            continue
        looks = broadcast_note(gradient.shape, argument.shape)
        if gradient.dtype != argument.dtype:
            looks = looks or f"dtype {gradient.dtype} of a {argument.dtype} operand"
        raise GradientError(
            f"{called(f)}: the gradient by {given.names[i]} is wrong: {looks or 'of another shape'}\n"
            f"  argument     {argument.dtype} {argument.shape}\n"
            f"  gradient     {gradient.dtype} {gradient.shape}"
        )


# ---------------------------------------------------------------- comparing


def compare_with_differences(
    f: Function, args: Sequence[Any], eps: float, rng: np.random.Generator, coordinates: int = COORDINATES
) -> None:
    """Raise GradientError where a gradient of ``f`` lies outside of the bar of the differences.

    args : float64 and complex128 arrays, and anything that isn't differentiable
    eps : relative rounding error of one evaluation
    coordinates : of an argument with more elements, so many coordinates are probed, and directions
    """
    names = [f"argument {i}" for i in range(len(args))]
    _compare(f, args, eps, rng, coordinates, random_seeds(f, args, rng), names)


def _compare(
    f: Function,
    args: Sequence[Any],
    eps: float,
    rng: np.random.Generator,
    coordinates: int,
    seeds: Sequence[Any],
    names: Sequence[str],
) -> None:
    """What is surely wrong in any argument is raised before what can't be told in another."""
    here, gradients = row(values(f, args)), vjp(f, args, seeds)
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

    def slope_of(direction: Any) -> Slope:
        return slope_along(f, args, i, direction, u, here, eps, gradient)

    slopes = [slope_of(direction) for direction in directions]
    largest = _largest(gradient, directions, slopes)
    probes = [_probe(gradient, d, s, largest, eps) for d, s in zip(directions, slopes, strict=True)]
    verdicts = [_verdict(probe, largest, eps) for probe in probes]
    wrong, untold = ([p for p, v in zip(probes, verdicts, strict=True) if v == kind] for kind in ("wrong", "untold"))
    if wrong:
        # An entry says more than a direction does.
        worst = max(wrong, key=lambda p: (np.count_nonzero(p.direction) == 1, *_excess(p)))
        worst = narrowed(
            worst,
            lambda direction: _probe(gradient, direction, slope_of(direction), largest, eps),
            lambda probe: _verdict(probe, largest, eps) == "wrong",
        )
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
    return float(np.sum(np.real(np.conj(gradient) * direction), where=direction != 0))


def _largest(gradient: Any, directions: Sequence[Any], slopes: Sequence[Slope]) -> float:
    """The scale of the gradient: of its entries, of what was probed."""
    found = (*(_along(gradient, d) for d in directions), *(s.value for s in slopes))
    largest = max((abs(v) for v in found if math.isfinite(v)), default=0.0)
    return max(largest, float(np.max(np.abs(gradient), initial=0.0, where=np.isfinite(gradient))))


def _probe(gradient: Any, direction: Any, slope: Slope, largest: float, eps: float) -> Probe:
    scale = largest * max(1.0, float(np.sqrt(np.count_nonzero(direction))))
    return Probe(direction, _along(gradient, direction), slope, slope.bar + GRADIENT_ROUNDING * eps * scale)


def _verdict(probe: Probe, largest: float, eps: float) -> str:
    """ "wrong", "untold" where the bar is too wide, and empty where all is right."""
    a, slope = probe.analytic, probe.slope
    if abs(a) <= GRADIENT_ROUNDING * eps * slope.size and abs(slope.value) <= slope.bar <= NOTHING * slope.size:
        return ""  # Zero, by both.
    scale = largest * max(1.0, float(np.sqrt(np.count_nonzero(probe.direction))))
    if not slope.bar <= max(TELLING * scale, STATIONARY * slope.variation):
        return "untold"
    return "" if abs(a - slope.value) <= probe.allowed else "wrong"


def _excess(probe: Probe) -> tuple[bool, float]:
    """How far outside of its bar; nan before all."""
    apart = abs(probe.analytic - probe.slope.value)
    return math.isnan(apart), apart / probe.allowed if probe.allowed else math.inf
