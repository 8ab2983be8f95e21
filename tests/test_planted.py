"""Rules that are wrong on purpose: every one must be objected to, by the checker or by the suite's checks.

Each plant is a throw-away primitive with the cases that its author would have written. The control at
the end plants the right rules in the same way, and they pass: it is the wrongness that is found.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import pulls
from tapegrad.cases import NONZERO, POSITIVE, REAL, Cases, call
from tapegrad.errors import RegistrationError, RuleError, WriteError
from tapegrad.kinds import pullback, ratio
from tapegrad.primitive import TABLE, defvjp, elementwise, primitive
from tapegrad.shapes import expand_like, mH
from tapegrad.testing import GradientError, check_grads
from tapegrad.testing import rules as checks
from tapegrad.testing.draw import Trial, trials_of
from tapegrad.testing.laws.ownership import shared

Plant = Callable[[Callable[..., Any]], Any]


@pytest.fixture(autouse=True)
def weeded() -> Iterator[None]:
    """Plants leave the table with the test."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def square(x: Any) -> Any:
    return x * x


def product(a: Any, b: Any) -> Any:
    return a * b


def total(a: Any, axis: Any = None) -> Any:
    return np.sum(a, axis=axis)


def trials(f: Any) -> list[Trial]:
    return trials_of(TABLE[f])


def object_to(f: Any) -> None:
    """Everything that the suite does to a function in the table."""
    for trial in trials(f):
        checks.check_trial(trial)
    if type(TABLE[f]).__name__ == "Elementwise":
        checks.check_strong_zero(TABLE[f])
        checks.check_broadcasting(TABLE[f], [(3, 1), (2,)][: TABLE[f].arity], np.float64)


def plant(f: Any, *slopes: Any, cases: Cases | None = None) -> Any:
    """A throw-away elementwise primitive."""
    planted = primitive(f)
    elementwise(planted, *slopes, cases=cases or Cases())
    return planted


def plant_rule(f: Any, rule: Any, *calls: Any, **options: Any) -> Any:
    """A throw-away primitive with a rule."""
    planted = primitive(f)
    cases = options.pop("cases", {})
    defvjp(planted, cases=Cases(calls=calls, **cases), **options)(rule)
    return planted


def sum_over_axis_0(g: Any, _y: Any, _a: Any, *, axis: Any = None) -> Any:
    return expand_like(g, _a, 0 if axis is not None else None)


def unsummed(g: Any, _y: Any, _a: Any, _b: Any) -> Any:
    return g, g


def summed_over_the_wrong_axis(g: Any, _y: Any, _a: Any, _b: Any) -> Any:
    return g, np.sum(g, axis=1)


def integers(g: Any, _y: Any, _x: Any) -> Any:
    return np.ones(g.shape, int)


def wrong_inner(x: Any) -> Any:
    """2x by a primitive whose own rule is wrong: right at order one, wrong at order two."""
    twice = plant(lambda x: 2 * x, 3)
    return twice(x)


def zeroes_its_operand(g: Any, _y: Any, x: Any) -> Any:
    c = g * 2 * np.conj(x)
    if isinstance(x, np.ndarray):
        x[...] = 0
    return c


def zeroes_its_cotangent(g: Any, _y: Any, x: Any) -> Any:
    c = g * 2 * np.conj(x)
    if isinstance(g, np.ndarray) and g.flags.writeable:
        g[...] = 0
    return c


def zeroes_its_constant(g: Any, _y: Any, a: Any, b: Any) -> Any:
    cotangents = g * np.conj(b), g * np.conj(a)
    if isinstance(b, np.ndarray):
        b[...] = 0
    return cotangents


WRONG: dict[str, Callable[[], Any]] = {
    "sign": lambda: plant(square, lambda _y, x: -2 * x),
    "sign of one operand": lambda: plant(np.hypot, lambda y, a, _b: a / y, lambda y, _a, b: -b / y, cases=Cases(
        domain=POSITIVE, complex=False, analytic=False)),
    "factor": lambda: plant(square, lambda _y, x: x),
    "a factor of 1 + 1e-8": lambda: plant(square, lambda _y, x: (2 + 2e-8) * x),
    "an offset of 1e-9": lambda: plant(square, lambda _y, x: 2 * x + 1e-9),
    "zero everywhere": lambda: plant(square, 0),
    "constant where it isn't": lambda: plant(square, None),
    "no cotangent where there is one": lambda: plant_rule(
        product, lambda g, _y, _a, b: (g * np.conj(b), None), call((3,), (3,))),
    "conjugate missing": lambda: plant_rule(square, lambda g, _y, x: g * 2 * x, call((3,))),
    "conjugate too many": lambda: plant(square, lambda _y, x: 2 * np.conj(x)),
    "cotangent conjugated": lambda: plant_rule(square, lambda g, _y, x: np.conj(g) * 2 * np.conj(x), call((3,))),
    "slope of the wrong operand": lambda: plant(product, lambda _y, a, _b: a, lambda _y, _a, b: b),
    "ratio for slope": lambda: plant(square, ratio(lambda _y, x: 2 * x), cases=Cases(domain=NONZERO)),
    "missing unbroadcast": lambda: plant_rule(lambda a, b: a + b, unsummed, call((2, 3), (3,))),
    "unbroadcast over the wrong axis": lambda: plant_rule(
        lambda a, b: a + b, summed_over_the_wrong_axis, call((3, 3), (3,))),
    "wrong axis": lambda: plant_rule(total, sum_over_axis_0, call((3, 3), axis=0), call((3, 3), axis=1)),
    "integer cotangent": lambda: plant_rule(lambda x: x + 1, integers, call((3,))),
    "a number for a cotangent": lambda: plant_rule(lambda x: x + 1, lambda g, _y, _x: 1.0, call((3,))),
    "too many cotangents": lambda: plant_rule(lambda x: x + 1, lambda g, _y, _x: (g, g), call((3,))),
    "underscore on an operand that is read": lambda: plant(square, lambda _y, _x: 2 * _x),
    "underscore on the output that is read": lambda: plant(np.exp, lambda _y, _x: _y * 1.0),
    "underscore in a rule": lambda: plant_rule(square, lambda g, _y, _x: g * 2 * _x, call((3,))),
    "transposed": lambda: plant_rule(lambda a: a * 2.0, lambda g, _y, _a: (g * 2.0).T, call((3, 3))),
    "transposed factor": lambda: plant_rule(
        lambda a, b: np.matmul(a, b), lambda g, _y, a, b: (g @ b, mH(a) @ g), call((3, 3), (3, 3))),
    "second order wrong": lambda: plant(square, lambda _y, x: wrong_inner(x)),
    "second order cut off": lambda: plant(
        square, lambda _y, x: 2 * (x.detach() if isinstance(x, tg.Tensor) else x)),
    "its operand changed": lambda: plant_rule(square, zeroes_its_operand, call((3,)), cases={"order": 1}),
    "its cotangent changed": lambda: plant_rule(square, zeroes_its_cotangent, call((3,)), cases={"order": 1}),
    "its other operand changed": lambda: plant_rule(
        product, zeroes_its_constant, call((3,), (3,)), cases={"order": 1}),
    "its operand returned": lambda: plant_rule(lambda x: x * x / 2, lambda g, _y, x: x, call((3,))),
    "not linear in g": lambda: plant_rule(lambda x: x * 2, lambda g, _y, _x: 2 * g * np.abs(g), call((3,))),
    "an offset that ignores g": lambda: plant_rule(lambda x: x * 2, lambda g, _y, _x: 2 * g + 1, call((3,))),
    "strong zero missing in a pullback": lambda: plant(
        lambda x: np.log(x), pullback(lambda g, _y, x: g / np.conj(x)), cases=Cases(domain=POSITIVE)),
    "strong zero that asks for g == 0 alone": lambda: plant(
        lambda x: np.sqrt(x), pullback(lambda g, y, _x: np.where(g == 0, 0, g * 0.5 / np.conj(y))),
        cases=Cases(domain=POSITIVE)),
    "a quicker forward with another value": lambda: plant_rule(
        square, lambda g, _y, x: g * 2 * np.conj(x), call((3,)), forward=lambda x: x * x * (1 + 1e-10)),
    "an axis ignored": lambda: plant_rule(total, lambda g, _y, a, *, _axis=None: g + 0 * a, call((3, 3), axis=1)),
    "an example that isn't met": lambda: plant(
        np.absolute, lambda _y, x: np.sign(x) + 0 * x,
        cases=Cases(NONZERO, complex=False, analytic=False, examples=((call(np.array([0.0])), (np.array([1.0]),)),))),
}  # fmt: skip

# What may be raised at a rule that is wrong: ours where a check or the engine saw it, and TypeError
# where the rule reads a placeholder, which NumPy can't compute with.
OBJECTIONS = (GradientError, RuleError, WriteError, TypeError, AttributeError)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_objected_to(name: str) -> None:
    planted = WRONG[name]()
    with pytest.raises(OBJECTIONS):
        object_to(planted)


RIGHT: dict[str, Callable[[], Any]] = {
    "square": lambda: plant(square, lambda _y, x: 2 * x),
    "product": lambda: plant(product, lambda _y, _a, b: b, lambda _y, a, _b: a),
    "square, by a rule": lambda: plant_rule(square, lambda g, _y, x: g * 2 * np.conj(x), call((3,)), call(())),
    "root, by a slope": lambda: plant(lambda x: np.sqrt(x), lambda y, _x: 0.5 / y, cases=Cases(domain=POSITIVE)),
    "logarithm, by a ratio": lambda: plant(
        lambda x: np.log(x), ratio(lambda _y, x: x), cases=Cases(domain=POSITIVE)),
    "total": lambda: plant_rule(
        total, lambda g, _y, _a, *, axis=None: expand_like(g, _a, axis), call((3, 3), axis=0), call((2, 3), axis=1)),
    "matrix product": lambda: plant_rule(
        lambda a, b: np.matmul(a, b), lambda g, _y, a, b: (g @ mH(b), mH(a) @ g), call((3, 3), (3, 3)),
        multilinear=True),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_rule_planted_in_the_same_way_passes(name: str) -> None:
    object_to(RIGHT[name]())


# ---------------------------------------------------------------- each check alone bites


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("factor", checks.check_first_order),
        ("factor", checks.check_complex_step),
        ("second order wrong", checks.check_second_order),
        ("second order cut off", checks.check_second_order),
        ("strong zero that asks for g == 0 alone", checks.check_second_order),
        ("conjugate missing", checks.check_first_order),
        ("its operand changed", checks.check_ownership),
        ("its cotangent changed", checks.check_ownership),
        ("its other operand changed", checks.check_ownership),
        ("its operand returned", checks.check_linearity),
        ("not linear in g", checks.check_linearity),
        ("an offset that ignores g", checks.check_linearity),
        ("a quicker forward with another value", checks.check_value),
        ("an example that isn't met", checks.check_examples),
    ],
)
def test_the_check_for_it_sees_it(name: str, check: checks.Check) -> None:
    (trial, *_) = trials(WRONG[name]())
    with pytest.raises(GradientError):
        check(trial)


def test_the_check_of_the_strong_zero_sees_what_differences_cannot() -> None:
    planted = WRONG["strong zero missing in a pullback"]()
    for trial in trials(planted):
        checks.check_trial(trial)
    with pytest.raises(GradientError, match="cotangent of 0"):
        checks.check_strong_zero(TABLE[planted])


@pytest.mark.parametrize("name", ["second order wrong", "second order cut off"])
def test_what_is_wrong_at_order_two_passes_at_order_one(name: str) -> None:
    planted = WRONG[name]()
    x = np.array([0.5, 1.5])
    check_grads(planted, x, order=1)
    with pytest.raises(GradientError):
        check_grads(planted, x, order=2)


# ---------------------------------------------------------------- an engine that forgets is seen, too


def some_trial(function: Any, *operands: Any, **parameters: Any) -> Trial:
    known = TABLE[function]
    return Trial(known, known.cases, call(*operands, **parameters), 0)


def test_an_engine_without_the_strong_zero_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "_tamed", lambda _g, slope: slope)
    with pytest.raises(GradientError, match="cotangent of 0"):
        checks.check_strong_zero(TABLE[np.sqrt])


def test_an_engine_that_tames_no_missing_data_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "_tamed_operands", lambda _known, _g, _y, operands, *_rest: operands)
    with pytest.raises(GradientError, match=r"meets no cotangent|spoils"):
        checks.check_missing_data(some_trial(np.matmul, (3, 4), (4, 2)))


def test_an_engine_that_undoes_no_broadcasting_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for undoing in ("fit", "unbroadcast"):
        monkeypatch.setattr(pulls, undoing, lambda c, _like: c)
    with pytest.raises((GradientError, ValueError)):  # Of small real operands the road sees to it: complex ones, then.
        checks.check_broadcasting(TABLE[np.multiply], [(3, 1), (2,)], np.complex128)


def test_gradients_that_share_memory_are_objected_to() -> None:
    x = np.ones(3)
    assert list(shared([x.copy(), x.copy()], [x])) == []
    for gradients in ([x, x], [x[::-1], x.copy(), x[1:]]):
        assert "shares memory" in next(shared(gradients, []))
    assert "shares memory" in next(shared([x[:2]], [x]))
    assert "read-only" in next(shared([np.broadcast_to(1.0, (3,))], []))


# ---------------------------------------------------------------- and what never gets that far


@pytest.mark.parametrize(
    "register",
    [
        lambda f: elementwise(f, lambda _y: 1.0, cases=Cases()),
        lambda f: elementwise(f, lambda _y, _a, _b: 1.0, cases=Cases()),
        lambda f: defvjp(f)(lambda g: g),
        lambda f: defvjp(f)(lambda g, _y, _x, **parameters: g),
    ],
    ids=["too few operands", "too many operands", "no operands", "a swallower of keywords"],
)
def test_a_rule_that_makes_no_sense_is_refused_at_once(register: Callable[[Any], Any]) -> None:
    with pytest.raises(RegistrationError):
        register(primitive(lambda x: x))


def test_a_second_rule_is_refused() -> None:
    planted = plant(square, lambda _y, x: 2 * x, cases=Cases(domain=REAL))
    with pytest.raises(RegistrationError, match="already"):
        elementwise(planted, 1, cases=Cases())
