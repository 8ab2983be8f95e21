"""Check gradients against numbers that owe nothing to any rule: NumPy only.

A gradient check is as good as its tolerance. Here nobody chooses one: differences.py gives every
derivative with its own error bar, and a gradient outside of the bar is wrong. Where the bar is too wide
to tell, the check says so, and why (undecided.py), rather than pass.

A function with an output of any shape is projected on a random cotangent u: the vjp of u is compared
with the derivative of Re<u, f(x)>, one coordinate of x at a time, and for large x along random
directions as well. Complex arguments are moved along both of their parts; the cotangent is the
adjoint under Re<a, b>, so its parts are the derivatives along 1 and along i.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, RuleError
from tapegrad.testing.comparing import COORDINATES, compare
from tapegrad.testing.comparing import GRADIENT_ROUNDING as GRADIENT_ROUNDING
from tapegrad.testing.comparing import GradientError as GradientError
from tapegrad.testing.comparing import UndecidedError as UndecidedError
from tapegrad.testing.comparing import compare_with_differences as compare_with_differences
from tapegrad.testing.diagnosis import LEFT, Finding, broadcast_note
from tapegrad.testing.differences import FORWARD_ROUNDING as FORWARD_ROUNDING
from tapegrad.testing.differences import LEVELS
from tapegrad.testing.differences import complex_step as complex_step
from tapegrad.testing.inputs import Inputs, inputs_of, require_checkable
from tapegrad.testing.pullbacks import Function, values, widened
from tapegrad.testing.pullbacks import outputs as outputs
from tapegrad.testing.pullbacks import parts_of as parts_of
from tapegrad.testing.pullbacks import random_like as random_like
from tapegrad.testing.pullbacks import random_seeds as random_seeds
from tapegrad.testing.pullbacks import vjp as vjp
from tapegrad.testing.pullbacks import vjp_function as vjp_function
from tapegrad.testing.reproduction import called, checking_program, program

VISIBLE = 1e-3  # of the larger: a mistake that a plain central difference shows


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
            compare(g, wide, float(eps), rng, COORDINATES if k == 1 else COORDINATES // 4, seeds, names)
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
    """Whether a plain central difference, by one entry, shows the mistake, and ``backward()`` can be asked."""
    a, n = finding.probe.analytic, finding.probe.slope.value
    single = np.count_nonzero(finding.probe.direction) == 1
    asked = finding.reason is None and finding.likeness != LEFT
    return single and asked and not abs(a - n) <= VISIBLE * max(abs(a), abs(n))


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
    with np.errstate(all="ignore"):  # Whether rules warn of nan and infinities isn't asked here.
        gradients = vjp(given.function, given.leaves, seeds)
    for i, gradient in gradients.items():
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
