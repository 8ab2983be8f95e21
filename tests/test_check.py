"""The checker itself: right gradients pass at any scale, wrong ones fail, and it says when it can't tell."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.primitive import TABLE
from tapegrad.testing import GradientError, UndecidedError, check_grads, check_vjp, complex_step
from tapegrad.testing.check import check_kinds


@pytest.fixture
def rule() -> Iterator[Callable[..., Any]]:
    """Makes a primitive of a function and a rule, which leaves the table with the test."""
    made = []

    def make(function: Callable[..., Any], vjp: Callable[..., Any]) -> Any:
        dispatched = tg.primitive(function)
        tg.defvjp(dispatched)(vjp)
        made.append(dispatched)
        return dispatched

    yield make
    for function in made:
        del TABLE[function]


def sine(x: Any) -> Any:
    return np.sin(x)


X = np.linspace(-2.0, 2.0, 6).reshape(2, 3)


# ---------------------------------------------------------------- what is right passes


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (np.sin, (X,)),
        (np.sin, (0.5,)),
        (np.multiply, (X, 2.0)),
        (np.multiply, (X, np.array([1.0, -2.0, 0.5]))),
        (np.exp, (np.array([1 + 2j, 0.3 - 1j]),)),
        (np.exp, (0.5 + 1j,)),
        (lambda x: np.sum(np.sin(x)), (X,)),
        (lambda x: (np.sin(x), np.cos(x)), (X,)),
        (lambda x, n: x * n, (X, 3)),
        (lambda x, n: x * n, (X, np.array([1, 2, 3]))),
        (lambda x: x, (X,)),
    ],
    ids=lambda v: getattr(v, "__name__", None) or repr(v)[:30],
)
def test_right_gradients_pass_at_orders_one_and_two(f: Callable[..., Any], args: tuple[Any, ...]) -> None:
    check_vjp(f, *args)
    check_grads(f, *args)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64])
def test_narrow_dtypes_are_checked_in_double_precision(dtype: Any) -> None:
    check_grads(lambda x: np.sin(x) * x, X.astype(dtype))


@pytest.mark.parametrize("x", [1e-12, 1e-6, 1e-2, 1.0, 1e3, 1e6, 1e12])
def test_steps_find_the_scale_of_the_function(x: float) -> None:
    check_grads(np.log, x)
    check_grads(np.sqrt, np.array([x, 1.0]))


def test_a_fast_wave_far_from_zero_is_resolved() -> None:
    check_grads(np.sin, np.array([1e4 + 0.3]))


def test_large_arrays_are_probed_along_directions() -> None:
    check_grads(lambda x: np.sum(np.sin(x) * x), np.linspace(-2.0, 2.0, 2000))


def test_keywords_reach_the_function() -> None:
    check_vjp(lambda x, *, power: x**power, X, power=2)
    check_grads(lambda x, *, power: x**power, X, order=3, power=2)


def test_a_derivative_of_zero_is_right_where_the_value_is_not() -> None:
    check_grads(lambda x: x * 0 + 3, X)
    check_vjp(lambda x: np.sin(x) ** 2 + np.cos(x) ** 2, X)


def test_a_constant_output_has_no_gradient_and_passes() -> None:
    check_vjp(lambda x: np.floor(x), X + 0.1)


def test_results_in_single_precision_are_held_to_single_precision() -> None:
    check_grads(lambda x: np.sin(x) * np.float32(0.1), X.astype(np.float32))


def test_results_in_extended_precision_have_gradients_in_double_precision() -> None:
    check_grads(lambda x: np.multiply.reduce(np.sin(x), dtype=np.longdouble), X)


def test_the_precision_of_the_function_is_measured_or_given(rule: Callable[..., Any]) -> None:
    def rounded(unit: float) -> Callable[..., Any]:
        return rule(lambda x: np.round(np.sin(x) * unit) / unit, lambda g, _y, x: g * np.cos(x))

    check_vjp(rounded(1e9), X)
    with pytest.raises(UndecidedError):
        check_vjp(rounded(1e5), X)
    check_grads(rounded(1e7), X, order=1, rtol=1e-7)


# ---------------------------------------------------------------- what is wrong fails


@pytest.mark.parametrize(
    ("wrong", "looks"),
    [
        (lambda g, _y, x: -g * np.cos(x), "of the wrong sign"),
        (lambda g, _y, x: g * np.cos(x) / 2, "half of it"),
        (lambda g, _y, x: 2 * g * np.cos(x), "twice as large"),
        (lambda g, _y, _x: g * 0, "zero everywhere"),
        (lambda g, _y, x: g * np.cos(x) * (1 + 1e-8), "is wrong: right in the first 8 digits"),
        (lambda g, _y, x: g * np.cos(x) + 1e-9, "is wrong: right in the first 8 digits"),
        (lambda g, _y, x: g * np.cos(x) * np.nan, r"nan everywhere\n.*\n +backward +nan"),
    ],
)
def test_a_wrong_gradient_is_described(rule: Callable[..., Any], wrong: Callable[..., Any], looks: str) -> None:
    with pytest.raises(GradientError, match=looks):
        check_vjp(rule(sine, wrong), X)


def test_a_transposed_gradient_is_described(rule: Callable[..., Any]) -> None:
    f = rule(sine, lambda g, _y, x: (g * np.cos(x)).T)
    with pytest.raises(GradientError, match="transposed"):
        check_vjp(f, np.arange(9.0).reshape(3, 3))


def test_a_conjugated_gradient_is_described(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: x * x, lambda g, _y, x: np.conj(g) * 2 * x)
    with pytest.raises(GradientError, match=r"conjugated"):
        check_vjp(f, np.array([1 + 2j, 0.5 - 1j]))


def test_a_gradient_without_its_conjugate_fails(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: x * x, lambda g, _y, x: g * 2 * x)
    check_vjp(f, X)
    with pytest.raises(GradientError, match=r"imaginary part|real part"):
        check_vjp(f, np.array([1 + 2j, 0.5 - 1j]))


def test_the_argument_and_the_worst_index_are_named(rule: Callable[..., Any]) -> None:
    bump = np.zeros((2, 3))
    bump[1, 2] = 1e-3
    f = rule(lambda a, b: a * b, lambda g, _y, a, b: (g * b, g * a + bump))
    with pytest.raises(GradientError, match=r"(?s)argument 1 .*\(1, 2\).* backward +\d.* differences .*\+-"):
        check_vjp(f, X, X + 3)


def test_one_wrong_entry_of_many_is_found(rule: Callable[..., Any]) -> None:
    bump = np.zeros(500)
    bump[123] = 0.1
    f = rule(sine, lambda g, _y, x: g * np.cos(x) + bump)
    with pytest.raises(GradientError, match=r"wrong at \(123,\) alone\n +where +index \(123,\) of float64 \(500,\)"):
        check_vjp(f, np.linspace(-2.0, 2.0, 500))


def test_a_derivative_that_is_wrong_only_at_order_two_is_found(rule: Callable[..., Any]) -> None:
    cosine = rule(lambda x: np.cos(x), lambda g, _y, x: g * np.sin(x))  # of the wrong sign
    f = rule(sine, lambda g, _y, x: g * cosine(x))
    check_vjp(f, X)
    with pytest.raises(GradientError, match="wrong"):
        check_grads(f, X)


def test_a_gradient_cut_off_in_silence_is_found() -> None:
    def f(x: Any) -> Any:
        return x * (x.detach() if isinstance(x, tg.Tensor) else x)

    with pytest.raises(GradientError, match="half of it"):
        check_vjp(f, X)


def test_a_gradient_of_another_dtype_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from tapegrad.testing import check

    def widening(*args: Any) -> dict[int, Any]:
        return {i: np.asarray(c, np.float64) for i, c in original(*args).items()}

    original = check.vjp
    monkeypatch.setattr(check, "vjp", widening)
    with pytest.raises(GradientError, match=r"argument 0 is wrong: dtype float64 of a float32 operand"):
        check_kinds(np.sin, X.astype(np.float32))


def test_a_gradient_that_was_not_summed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from tapegrad.testing import check

    monkeypatch.setattr(check, "vjp", lambda *_args: {0: np.ones((2, 3))})
    with pytest.raises(GradientError, match="not summed over the broadcast axis 0"):
        check_kinds(lambda x: x + X, np.ones(3))


# ---------------------------------------------------------------- what can't be told is said


@pytest.mark.parametrize(
    ("f", "x", "kind", "says"),
    [
        (np.absolute, 0.0, "kink", r"-1.137 on one side, 1.137 on the other.*\n.*lies between the two"),
        (lambda x: 1e-4 * np.abs(x) + x * x, 0.0, "kink", "0.0001137 on the other"),
        (lambda x: np.maximum(x, 1.0) + np.log(x), 1.0, "kink", "there is a kink"),
        (np.max, np.array([1.0, 2.0, 2.0]), "kink", r"index \(1,\).*2 untold of 3 probed"),
        (np.abs, np.array([1.0, 0j]), "kink", r"index \(1,\) \(real part\)"),
        (np.sqrt, 0.0, "non-finite", "isn't finite behind, however near: this is an edge of its domain"),
        (np.cbrt, 0.0, "steep", "grows without bound"),
        (lambda x: 1e12 + x, 1.0, "ill-conditioned", r"rounding of a value of size 1e\+12 hides the slope"),
        (lambda x: np.floor(x) * x, 1.0, "jump", "the value jumps here"),
        (lambda x: np.floor(x) * x, 100.0, "jump", "the value jumps here"),
        (np.trim_zeros, np.array([0.0, 1.0]), "jump", "the number of entries returned changes here"),
        (lambda x: 1 / x, 0.0, "non-finite", "returns inf here"),
        (np.log, -1.0, "non-finite", "returns nan here"),
        (lambda x: x * np.sin(np.log(np.abs(x) + 1e-200)), 0.0, "rough", "don't settle"),
        (np.std, X + 1e12, "ill-conditioned", r"an argument of size 1e\+12, hides"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_differences_that_tell_nothing_say_why(f: Callable[..., Any], x: Any, kind: str, says: str) -> None:
    with pytest.raises(UndecidedError, match=rf"(?s)can't tell.*{says}") as caught:
        check_vjp(f, x)
    assert caught.value.finding is not None
    assert caught.value.finding.reason is not None
    assert caught.value.finding.reason.kind == kind


# What rounding does shows in neither the value nor the gradient: both are of numbers much larger than themselves.
ROUNDED: list[tuple[Callable[..., Any], Any]] = [
    (np.var, X + 1e6),
    (np.ptp, X + 1e8),
    (np.cov, X + 1e6),
    (np.nanstd, X + 1e4),
    (lambda x: 1 - np.cos(x), np.array([1e-4, 1e-6, 1e-8])),
    (lambda x, y: x * np.log(x / y) - x + y, (2.22, 2.24)),
    (lambda x: np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x))), X + 1e8),
    # Their gradients cancel.
    (np.divide, (X, X)),
    (lambda x: np.divide(x, x), X),
    (np.corrcoef, X[0]),
    (lambda x: np.sin(x) ** 2 + np.cos(x) ** 2, X),
    (lambda x: np.linalg.norm(x / np.linalg.norm(x)), X),
]


@pytest.mark.parametrize(("f", "args"), ROUNDED)
def test_rounding_that_a_value_doesn_t_show_is_no_mistake(f: Callable[..., Any], args: Any) -> None:
    check_grads(f, *(args if type(args) is tuple else (args,)))


@pytest.mark.parametrize("factor", [1 + 1e-6, 0.5, -1.0])
def test_a_mistake_is_found_beside_rounding(factor: float, rule: Callable[..., Any]) -> None:
    variance = rule(lambda x: np.var(x), lambda g, _y, x: factor * g * 2 / x.size * (x - np.mean(x)))
    with pytest.raises(GradientError, match="is wrong"):
        check_vjp(variance, X + 1e6)


def test_a_mistake_at_a_special_point_is_found_though_there_is_none_beside_it(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: np.sin(x), lambda g, _y, x: g * np.where(x == 1.0, 1.0, np.cos(x)))
    with pytest.raises(GradientError, match=r"argument 0 is wrong"):
        check_vjp(f, np.ones(3))


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: x * np.abs(x), lambda x: 2 * np.abs(x)),
        (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0)),
        (lambda x: x * np.sqrt(np.abs(x)), lambda x: 1.5 * np.sqrt(np.abs(x))),
    ],
)
@pytest.mark.parametrize("x", [0.0, np.array([0.0, 1.0])])
def test_a_slope_that_is_the_same_on_both_sides_is_told(
    f: Callable[..., Any], slope: Callable[..., Any], x: Any, rule: Callable[..., Any]
) -> None:
    check_vjp(f, x)
    with pytest.raises(GradientError, match="is wrong"):
        check_vjp(rule(f, lambda g, _y, x: g * (slope(x) + 0.1)), x)


def test_single_precision_in_part_of_a_function_is_not_told(rule: Callable[..., Any]) -> None:
    def half_single(x: Any) -> Any:
        return np.arctan(np.hypot(np.float32(x) + np.float64(2.0), x)) * np.float32(x)

    def slope(g: Any, _y: Any, x: Any) -> Any:
        r = np.hypot(x + 2.0, x)
        return g * (np.arctan(r) + x * (2 * x + 2.0) / r / (1 + r * r))

    for x in (-0.3, -0.1, 0.2):
        with pytest.raises(UndecidedError, match="can't tell"):
            check_vjp(rule(half_single, slope), x)


def test_what_is_flat_far_away_on_both_sides_is_not_flat(rule: Callable[..., Any]) -> None:
    check_vjp(np.tanh, np.array([1e-3, 0.0]) * 1e-3 + 0.0)
    check_vjp(lambda x: np.tanh(1e5 * x), 1e-6)
    with pytest.raises(GradientError, match="half of it"):
        check_vjp(rule(lambda x: np.tanh(1e5 * x), lambda g, y, _x: g * 5e4 * (1 - y * y)), 1e-6)


@pytest.mark.filterwarnings("error")
def test_a_rule_that_warns_where_a_function_is_not_finite_is_no_error() -> None:
    with np.errstate(all="warn"), pytest.raises(UndecidedError, match="returns nan here"):
        check_vjp(np.log, -1.0)


def test_a_rough_function_is_told_from_one_with_a_kink(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: np.sin(x) + 1e-5 * np.sin(1e18 * x), lambda g, _y, x: g * np.cos(x))
    with pytest.raises(UndecidedError, match="the function is rough"):
        check_vjp(f, 0.3)


def test_a_gradient_that_is_no_slope_between_those_of_a_kink_is_named(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: np.abs(x), lambda g, _y, _x: 5 * g)
    with pytest.raises(UndecidedError, match="does not lie between the two"):
        check_vjp(f, np.zeros(2))


def test_single_precision_on_the_way_is_named(rule: Callable[..., Any]) -> None:
    f = rule(lambda x: (np.sin(x) + 1e3).astype(np.float32) + np.zeros(3), lambda g, _y, x: g * np.cos(x))
    with pytest.raises(UndecidedError, match=r"(?s)number of float32.*pass rtol=1.2e-7"):
        check_vjp(f, np.array([0.3, 1.3, -0.7]))


def test_what_is_wrong_comes_before_what_cannot_be_told(rule: Callable[..., Any]) -> None:
    f = rule(lambda a, b: np.abs(a) * b, lambda g, _y, a, b: (g * np.sign(a) * b, -g * np.abs(a)))
    with pytest.raises(GradientError, match="argument 1 is wrong: of the wrong sign"):
        check_vjp(f, np.array([0.0, 1.0]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("x", [0.0, np.zeros(3)])
def test_a_stationary_point_at_a_value_of_zero_is_told(x: Any, rule: Callable[..., Any]) -> None:
    check_grads(lambda x: x**3, x)
    check_vjp(lambda x: 1 - np.cos(x), x)
    with pytest.raises(GradientError, match="is wrong"):
        check_vjp(rule(lambda x: x**3, lambda g, _y, x: g * (3 * x * x + 1e-3)), x)


def test_a_fast_wave_deceives_no_five_differences() -> None:
    x = np.random.default_rng(3).uniform(-200.0, 200.0, 400)
    check_vjp(lambda x: np.sin(100 * x), x)


def test_a_domain_that_ends_within_the_first_steps_is_no_obstacle() -> None:
    def f(x: Any) -> Any:
        if np.any((x if isinstance(x, np.ndarray) else x.numpy()) <= 0):
            raise ValueError("not positive")
        return np.log(x)

    check_grads(f, np.array([1e-9, 1e-3, 1.0]))
    check_grads(lambda x: x[x > 0] ** 2, np.array([1e-3, -1e-9, 1.0]))


def test_both_errors_are_assertion_errors_of_ours() -> None:
    assert issubclass(UndecidedError, GradientError)
    assert issubclass(GradientError, AssertionError)
    assert issubclass(GradientError, tg.TapegradError)


# ---------------------------------------------------------------- the complex step


def test_the_complex_step_is_exact_to_rounding() -> None:
    np.testing.assert_allclose(complex_step(np.exp, X), np.exp(X), rtol=4 * np.finfo(float).eps)


def test_the_complex_step_follows_a_direction() -> None:
    direction = np.array([1.0, -1.0, 0.5])
    slope = complex_step(lambda x: np.sum(x**3), np.array([1.0, 2.0, 3.0]), direction)
    assert slope == pytest.approx(3 - 12 + 13.5, rel=1e-15)


def test_a_check_leaves_no_gradient_behind() -> None:
    w = tg.tensor([1.0, 2.0])
    check_vjp(lambda x: x * w.detach().numpy(), np.array([3.0, 4.0]))
    assert w.grad is None
