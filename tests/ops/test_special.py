"""SciPy's special functions: tails, edges, refusals, and that they cost nothing where SciPy isn't there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special

import tapegrad as tg
from tapegrad import support
from tapegrad.errors import NotDifferentiableError, RegistrationError
from tapegrad.kinds import name_of
from tapegrad.ops.special import polygamma, repeated_erfcx
from tapegrad.primitive import TABLE

NAMES = (
    "expit log_expit logit gamma gammaln loggamma digamma psi beta betaln erf erfc erfinv erfcx ndtr log_ndtr ndtri "
    "i0 i0e i1 i1e j0 j1 jn y0 y1 yn yv iv ive expn exp1 xlogy xlog1py entr rel_entr kl_div "
    "gammainc gammaincc betainc ellipk ellipe"
)


def derivatives(f: Callable[[Any], Any], x: Any, orders: int) -> list[Any]:
    """The derivatives of f at the number x, from the first on."""
    t = tg.tensor(x)
    y, found = f(t), []
    for _ in range(orders):
        t.grad = None
        y.backward(create_graph=True)
        y = t.grad
        found.append(y.item())
    return found


@pytest.mark.parametrize("name", NAMES.split())
def test_a_special_function_stands_in_the_table_by_its_ufunc(name: str) -> None:
    function = getattr(special, name)
    assert TABLE[function].kind == "primitive"
    assert name_of(function).startswith("scipy.special.")


# ---------------------------------------------------------------- right to rounding, in the tails as well

DIGITS = 80
ONE: Any = mpmath.mpf(1)


def bessel_i_scaled(order: int) -> Callable[[Any], Any]:
    return lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(order, x)


# Function, the same in mpmath, points, the highest order that is right to 1e-12 there.
EXACT: dict[str, tuple[Any, Any, list[float], int]] = {
    "expit": (special.expit, lambda x: 1 / (1 + mpmath.exp(-x)), [-700.0, -40.0, -1.0, 2.0, 40.0, 700.0], 3),
    "log_expit": (special.log_expit, lambda x: -mpmath.log(1 + mpmath.exp(-x)), [-40.0, -1.0, 2.0, 40.0], 3),
    "logit": (special.logit, lambda x: mpmath.log(x / (1 - x)), [1e-6, 0.3, 0.999], 3),
    "gamma": (special.gamma, mpmath.gamma, [-2.5, -0.5, 0.1, 1.0, 3.3, 30.0], 3),
    "gammaln": (special.gammaln, lambda x: mpmath.log(abs(mpmath.gamma(x))), [-2.5, 0.1, 1.0, 30.0, 1e5], 3),
    "digamma": (special.digamma, mpmath.digamma, [-2.5, 0.1, 1.0, 30.0, 1e5], 3),
    "erf": (special.erf, mpmath.erf, [-5.0, 0.0, 1.0, 5.0], 3),
    "erfc": (special.erfc, mpmath.erfc, [-5.0, 0.0, 1.0, 5.0], 3),
    "erfcx": (
        special.erfcx,
        lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
        [-5.0, 0.0, 1.99, 2.0, 2.7, 20.0, 1e4, 1e8],
        3,
    ),
    "erfinv": (special.erfinv, mpmath.erfinv, [-0.999, 0.3, 0.99999], 3),
    "ndtr": (special.ndtr, mpmath.ncdf, [-20.0, -5.0, 0.0, 5.0], 3),
    "log_ndtr": (special.log_ndtr, lambda x: mpmath.log(mpmath.ncdf(x)), [-1e3, -40.0, -5.0, 0.0, 5.0], 2),
    "ndtri": (special.ndtri, lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1), [1e-6, 0.3, 0.999], 3),
    "i0": (special.i0, lambda x: mpmath.besseli(0, x), [-3.0, 0.1, 3.0, 30.0], 3),
    "i1": (special.i1, lambda x: mpmath.besseli(1, x), [-3.0, 0.1, 3.0, 30.0], 3),
    "i0e": (special.i0e, bessel_i_scaled(0), [-3.0, 0.1, 30.0, 1e3, 1e6], 3),
    "i1e": (special.i1e, bessel_i_scaled(1), [-3.0, 0.1, 30.0, 1e3], 3),
    "j0": (special.j0, lambda x: mpmath.besselj(0, x), [-3.0, 0.1, 3.0], 3),
    "j1": (special.j1, lambda x: mpmath.besselj(1, x), [-3.0, 0.1, 3.0], 3),
    "y0": (special.y0, lambda x: mpmath.bessely(0, x), [3.0], 2),
    "y1": (special.y1, lambda x: mpmath.bessely(1, x), [3.0], 1),
    "k0": (special.k0, lambda x: mpmath.besselk(0, x), [3.0], 2),
    "k1": (special.k1, lambda x: mpmath.besselk(1, x), [3.0], 2),
    "exp1": (special.exp1, lambda x: mpmath.expint(1, x), [0.01, 1.0, 30.0], 3),
    "expn": (lambda x: special.expn(2, x), lambda x: mpmath.expint(2, x), [0.01, 1.0, 30.0], 4),
    "entr": (special.entr, lambda x: -x * mpmath.log(x), [1e-6, 0.3, 5.0], 3),
    "gammainc": (
        lambda x: special.gammainc(2.5, x),
        lambda x: mpmath.gammainc(2.5, 0, x, regularized=True),
        [0.01, 1.0, 30.0],
        3,
    ),
    "betainc": (
        lambda x: special.betainc(2.5, 0.5, x),
        lambda x: mpmath.betainc(2.5, 0.5, 0, x, regularized=True),
        [0.01, 0.5, 0.99],
        3,
    ),
    "ellipk": (special.ellipk, mpmath.ellipk, [-1e3, -1.0, 1e-4, 0.5, 0.999], 3),
    "ellipe": (special.ellipe, mpmath.ellipe, [-1e3, -1.0, 1e-4, 0.5, 0.999], 3),
    "kl_div": (lambda x: special.kl_div(x, 2.0), lambda x: x * mpmath.log(x / 2) - x + 2, [1e-6, 1.0, 2.001, 5.0], 3),
    "rel_entr": (lambda x: special.rel_entr(x, 2.0), lambda x: x * mpmath.log(x / 2), [1e-6, 1.0, 5.0], 3),
}


@pytest.mark.parametrize("name", EXACT)
def test_derivatives_have_their_digits_also_in_the_tails(name: str) -> None:
    f, exact, points, orders = EXACT[name]
    for x in points:
        step = ONE * (abs(x) if 0 < abs(x) < 1e-3 else 1) / 10**12
        for k, found in enumerate(derivatives(f, x, orders), 1):
            with mpmath.workdps(DIGITS):
                expected = mpmath.diff(exact, ONE * x, k, h=step)
            # The slopes are products of a few functions, each to some 10 eps; exp(x^2) brings x^2 eps.
            assert abs(found - expected) <= 1e-12 * abs(expected) + 1e-200, (x, k, found, expected)


@pytest.mark.parametrize("n", [0, 1, 2, 4])
def test_scaled_repeated_integrals_join_where_the_recurrence_turns(n: int) -> None:
    x = np.array([-1.0, 0.0, 1.0, 1.999, 2.0, 2.001, 6.0, 100.0])
    # DLMF 7.18.2: the integral of t^n e^(-t^2 - 2 x t), times 2 / (sqrt(pi) n!).
    factor = 2 / mpmath.sqrt(mpmath.pi) / mpmath.factorial(n)
    exact = []
    for at in map(mpmath.mpf, x.tolist()):
        width = 1 / (1 + abs(at))
        places = [0, width, 4 * width, 15 * width, 60 * width, 100]
        with mpmath.workdps(40):
            exact.append(factor * mpmath.quad(lambda t, at=at: t**n * mpmath.exp(-t * t - 2 * at * t), places))
    # Upwards each step loses a factor x^2 or so of the digits: 3e-13 at n = 4 beside 2.
    np.testing.assert_allclose(repeated_erfcx(n, x), np.array(exact, float), rtol=1e-12)


def test_polygamma_of_complex_numbers() -> None:
    z = np.array([0.3 + 0.2j, 5 - 3j, -4.4 + 0.7j, -30.5 + 1e-3j, 2 + 40j])
    for n in (1, 2, 3):
        exact = [complex(mpmath.polygamma(n, mpmath.mpc(v))) for v in z.tolist()]
        assert all(np.isfinite(exact))
        np.testing.assert_allclose(polygamma(n, z), exact, rtol=1e-12)
    with np.errstate(all="ignore"):
        assert np.isnan(polygamma(1, np.array([-1e9 + 1j])))  # It would take too many terms.


def test_a_complex_gradient_is_the_conjugate_of_the_derivative() -> None:
    z = np.array([1.5 + 0.5j, 0.3 - 2j])
    for f, slope in [
        (special.gamma, lambda v: mpmath.gamma(v) * mpmath.digamma(v)),
        (special.loggamma, mpmath.digamma),
        (special.erf, lambda v: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-v * v)),
        (special.exp1, lambda v: -mpmath.exp(-v) / v),
        (lambda t: special.jv(0.5, t), lambda v: mpmath.besselj(0.5, v, derivative=1)),
        (lambda t: special.iv(0.5, t), lambda v: mpmath.besseli(0.5, v, derivative=1)),
        (special.erfcx, lambda v: 2 * v * mpmath.exp(v * v) * mpmath.erfc(v) - 2 / mpmath.sqrt(mpmath.pi)),
    ]:
        t = tg.tensor(z)
        np.sum(f(t)).real.backward()
        exact = [complex(slope(mpmath.mpc(v))) for v in z.tolist()]
        np.testing.assert_allclose(t.grad, np.conj(exact), rtol=1e-12)


# ---------------------------------------------------------------- edges


def test_the_even_and_the_odd_have_their_derivatives_at_zero() -> None:
    assert derivatives(special.i0, 0.0, 4) == [0.0, 0.5, 0.0, 0.375]
    assert derivatives(special.i1, 0.0, 3) == [0.5, 0.0, 0.375]
    np.testing.assert_allclose(derivatives(special.j0, 0.0, 4), [0.0, -0.5, 0.0, 0.375], atol=1e-16)
    np.testing.assert_allclose(derivatives(special.j1, 0.0, 3), [0.5, 0.0, -0.375], atol=1e-16)
    assert derivatives(special.i0e, 0.0, 1) == [0.0]  # A kink, as of |x|.
    assert derivatives(special.i1e, 0.0, 1) == [0.5]
    quarter = np.pi / 8
    np.testing.assert_allclose(derivatives(special.ellipk, 0.0, 2), [quarter, 9 / 8 * quarter], rtol=1e-15)
    np.testing.assert_allclose(derivatives(special.ellipe, 0.0, 2), [-quarter, -3 / 8 * quarter], rtol=1e-15)


def test_orders_of_expn_end_below_zero() -> None:
    x = 1.3
    e = np.exp(-x)
    exact = [-e * (1 / x + 1 / x**2), e * (1 / x + 2 / x**2 + 2 / x**3)]
    np.testing.assert_allclose(derivatives(lambda t: special.expn(0, t), x, 2), exact, rtol=1e-14)
    np.testing.assert_allclose(
        derivatives(lambda t: special.expn(np.array([0, 1]), t).sum(), x, 2)[0], exact[0] - e / x, rtol=1e-14
    )
    exact = [-e / x, -exact[0], -exact[1]]  # As E_1' = -E_0.
    np.testing.assert_allclose(derivatives(lambda t: special.expn(1, t), x, 3), exact, rtol=1e-14)


def test_x_log_y_has_no_slope_by_y_where_x_is_zero() -> None:
    x, y = tg.tensor([0.0, 0.0, 2.0]), tg.tensor([0.0, 3.0, 4.0])
    special.xlogy(x, y).sum().backward()
    assert y.grad.tolist() == [0.0, 0.0, 0.5]
    assert x.grad.tolist() == [-np.inf, np.log(3.0), np.log(4.0)]
    y = tg.tensor([-1.0, 1.0])
    special.xlog1py(0.0, y).sum().backward()
    assert y.grad.tolist() == [0.0, 0.0]


def test_the_mixed_derivative_of_x_log_y_is_never_finite_and_wrong() -> None:
    x, y = tg.tensor(0.0), tg.tensor([0.0, 2.0])
    special.xlogy(x, y).sum().backward(create_graph=True)
    first, x.grad, y.grad = y.grad, None, None
    first.sum().backward()
    assert x.grad.item() == np.inf  # The sum of 1 / y.


def test_masked_infinite_slopes_spoil_nothing() -> None:
    p = tg.tensor([0.0, 0.5])
    np.where(p > 0, special.entr(p), 0).sum().backward(create_graph=True)
    first, p.grad = p.grad, None
    assert first.numpy().tolist() == [0.0, -1 - np.log(0.5)]
    first.sum().backward()
    assert p.grad.tolist() == [0.0, -2.0]


def test_divergences_of_close_distributions_keep_their_digits() -> None:
    x, y = tg.tensor(2.0), tg.tensor(2.0 + 2.0**-40)
    special.kl_div(x, y).backward()
    assert x.grad.item() == pytest.approx(-np.log1p(2.0**-41), rel=1e-14)
    assert y.grad.item() == pytest.approx(2.0**-41, rel=1e-3)  # 1 - x / y has 12 bits left.


# ---------------------------------------------------------------- what is refused, and what is kept

OF_ORDER = [
    (special.jv, (1.5,)),
    (special.jn, (2,)),
    (special.yv, (1.5,)),
    (special.yn, (2,)),
    (special.iv, (1.5,)),
    (special.ive, (1.5,)),
    (special.kv, (1.5,)),
    (special.expn, (2,)),
    (special.gammainc, (1.5,)),
    (special.gammaincc, (1.5,)),
    (special.betainc, (1.5, 2.5)),
    (special.hyp2f1, (1.5, 2.5, 3.5)),
]


@pytest.mark.parametrize(("function", "orders"), OF_ORDER, ids=lambda v: getattr(v, "__name__", ""))
def test_a_recording_order_is_refused_by_name(function: Any, orders: tuple[float, ...]) -> None:
    for i in range(len(orders)):
        given = [tg.tensor(float(v)) if k == i else v for k, v in enumerate(orders)]
        with pytest.raises(
            NotDifferentiableError, match=rf"scipy\.special\.\w+: its derivative by operand {i}.*detach"
        ):
            function(*given, 0.5)
        with pytest.raises(NotDifferentiableError, match=rf"operand {i}"):
            function(*given, tg.tensor(0.5))


@pytest.mark.parametrize(("function", "orders"), OF_ORDER, ids=lambda v: getattr(v, "__name__", ""))
def test_an_order_that_does_not_record_is_taken_in_every_form(function: Any, orders: tuple[float, ...]) -> None:
    expected = derivatives(lambda t: function(*orders, t), 0.5, 1)
    for form in (np.array, lambda v: tg.tensor(v, requires_grad=False), lambda v: np.full(1, v)):
        given = [form(v) for v in orders]
        np.testing.assert_allclose(derivatives(lambda t, o=given: function(*o, t).sum(), 0.5, 1), expected, rtol=1e-14)
    with tg.no_grad():
        assert function(*[tg.tensor(v) for v in orders], 0.5) == function(*orders, 0.5)


def test_a_foreign_ufunc_without_a_rule_names_itself_and_its_module() -> None:
    with pytest.raises(NotDifferentiableError, match=r"^scipy\.special\.struve can't be differentiated"):
        special.struve(1.0, tg.tensor([1.0, 2.0]))


def test_the_zeta_function_is_named_as_it_is_called() -> None:
    x = tg.tensor([1.5, 2.0])
    with pytest.raises(NotDifferentiableError, match=r"^scipy\.special\.zeta can't be differentiated: .*closed form"):
        special.zeta(x)
    with pytest.raises(NotDifferentiableError, match=r"^scipy\.special\.zeta: .*operand 0"):
        special.zeta(x, 2.0)
    with tg.Tape() as tape:
        special.zeta(2.0, x)
    assert [fact.primitive for fact in tape] == ["scipy.special.zeta"]
    with tg.no_grad():
        np.testing.assert_array_equal(special.zeta(x).numpy(), special.zeta(x.numpy()))


def test_the_readme_has_a_row_for_each_and_keeps_them_where_there_is_no_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    ours = {known.name for known in TABLE.values() if isinstance(known.function, np.ufunc) and "scipy" in known.name}
    assert {f"scipy.special.{name}" for name in ("erf", "jv", "zeta", "rel_entr")} <= ours
    assert {row.name for row in support.rows_of_scipy()} == ours
    assert all(f"\n| `{name}` | primitive |" in readme for name in ours)
    monkeypatch.setattr(support, "SPECIAL", None)
    table = "<!-- scipy -->\n| `scipy.special.erf` |\n<!-- /scipy -->"
    assert support.renewed(f"before\n{table}\nafter") == f"before\n{table}\nafter"


def test_a_second_rule_is_refused_and_a_first_one_taken() -> None:
    with pytest.raises(RegistrationError, match=r"scipy\.special\.expit stands in the table already"):
        tg.defvjp(special.expit)(lambda g, y, _x: g * y * (1 - y))
    tg.defvjp(special.struve)(lambda g, _y, _v, x: (None, g * x))
    try:
        assert derivatives(lambda x: special.struve(1.0, x), 3.0, 1) == [3.0]
    finally:
        del TABLE[special.struve]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_dtypes_come_out_as_scipy_has_them(dtype: Any) -> None:
    for function in (special.expit, special.erf, special.xlogy, special.beta):
        x = np.array([0.25, 0.5], dtype)
        operands = [tg.tensor(x) for _ in range(function.nin)]
        y = function(*operands)
        assert y.dtype == function(*[x] * function.nin).dtype != np.float16
        y.sum().backward()
        assert all(t.grad.dtype == dtype for t in operands)


def test_out_takes_the_result() -> None:
    x = tg.tensor([0.0, 1.0])
    y = np.zeros(2, like=x)
    special.expit(x, out=y)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, special.expit(x.numpy()) * special.expit(-x.numpy()))


# ---------------------------------------------------------------- only beside SciPy


def output_of(program: str, **environment: str) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.stderr == ""
    return done.stdout.strip()


def test_scipy_is_never_imported_for_its_rules() -> None:
    program = """
import sys, numpy as np, tapegrad as tg
from tapegrad.primitive import complete
np.gradient(tg.tensor([1.0, 2.0, 4.0]))
complete()
try:
    np.frompyfunc(abs, 1, 1)(tg.tensor(1.0))
except tg.TapegradError:
    print([name for name in sys.modules if name.startswith("scipy") or name == "tapegrad.ops.special"])
"""
    assert output_of(program) == "[]"


def test_rules_are_entered_when_scipy_comes_after_the_table_is_complete() -> None:
    program = """
import numpy as np, tapegrad as tg
from tapegrad.primitive import complete
complete()
import scipy.special
x = tg.tensor(0.0)
scipy.special.expit(x).backward()
print(x.grad)
"""
    assert output_of(program) == "0.25"


def test_the_ufunc_is_known_where_the_public_name_is_a_wrapper() -> None:
    program = """
import numpy as np, tapegrad as tg, scipy.special
assert not isinstance(scipy.special.expit, np.ufunc)
x = tg.tensor(0.0)
scipy.special._ufuncs.expit(x).backward()
print(x.grad)
try:
    scipy.special.expit(x)
except TypeError:
    print("refused")
"""
    assert output_of(program, SCIPY_ARRAY_API="1").split() == ["0.25", "refused"]
