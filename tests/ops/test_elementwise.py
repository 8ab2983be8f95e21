"""Elementwise: the conventions at kinks, ties and zeros, and the tails, which no generic suite can know."""

import itertools

import numpy as np
import pytest

import tapegrad as tg

EPS = np.finfo(np.float64).eps


def gradients(f, *args, seed=None):
    """The gradients of ``f`` at ``args``, for a cotangent of ones unless given."""
    leaves = [tg.tensor(a) for a in args]
    with np.errstate(all="ignore"):
        y = f(*leaves)
        y.backward(np.ones(y.shape, y.dtype) if seed is None else seed)
    return [leaf.grad for leaf in leaves]


def derivatives(f, x, order):
    """The derivatives of an elementwise ``f`` at ``x``, from order 1 to ``order``."""
    leaf = tg.tensor(x)
    with np.errstate(all="ignore"):
        y = f(leaf)
    found = []
    for _ in range(order):
        y.backward(np.ones(y.shape, y.dtype), create_graph=True)
        y, leaf.grad = leaf.grad, None
        found.append(y.numpy())
        if not y.requires_grad:  # Constant from here on.
            return found + [np.zeros(leaf.shape)] * (order - len(found))
    return found


def exact(value):
    """A reference in longdouble, rounded once."""
    return np.asarray(value).astype(np.float64)


def assert_within(given, expected, roundings):
    np.testing.assert_allclose(given, expected, rtol=roundings * EPS, atol=0)


# ---------------------------------------------------------------- ties and kinks


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax, np.fmin])
def test_the_larger_of_a_number_and_itself_has_derivative_one(f):
    assert gradients(lambda x: f(x, x), np.array([1.0, -2.0, 0.0]))[0].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax, np.fmin])
def test_a_tie_gives_half_to_each_also_of_signed_zeros_and_infinities(f):
    a, b = gradients(f, np.array([1.0, 0.0, np.inf]), np.array([1.0, -0.0, np.inf]))
    assert a.tolist() == b.tolist() == [0.5, 0.5, 0.5]


def test_maximum_gives_all_to_the_nan_that_numpy_picks():
    a, b = gradients(np.maximum, np.array([np.nan, 1.0, np.nan]), np.array([1.0, np.nan, np.nan]))
    assert (a.tolist(), b.tolist()) == ([1.0, 0.0, 0.5], [0.0, 1.0, 0.5])


def test_fmax_gives_all_to_the_number_that_numpy_picks():
    a, b = gradients(np.fmax, np.array([np.nan, 1.0, np.nan]), np.array([1.0, np.nan, np.nan]))
    assert (a.tolist(), b.tolist()) == ([0.0, 1.0, 0.5], [1.0, 0.0, 0.5])


@pytest.mark.parametrize(
    "f", [np.maximum, lambda a, b: np.where(np.array([False] * 3), a, b), lambda a, b: np.clip(a, b, None)]
)
def test_what_was_not_selected_gets_zero_from_a_cotangent_that_is_not_finite(f):
    a, b = gradients(f, np.array([0.0, 0.0, 0.0]), np.ones(3), seed=np.array([np.inf, np.nan, 1.0]))
    assert a.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(b, [np.inf, np.nan, 1.0])


@pytest.mark.parametrize("f", [np.absolute, np.fabs, lambda x: np.copysign(x, 1.0)])
def test_size_has_derivative_zero_at_zero(f):
    assert gradients(f, np.array([0.0, -0.0, 2.0, -2.0]))[0].tolist() == [0.0, 0.0, 1.0, -1.0]


def test_complex_size_has_gradient_zero_at_zero_and_the_direction_elsewhere():
    assert gradients(np.absolute, np.array([0j, 3 + 4j]))[0].tolist() == [0j, 0.6 + 0.8j]


@pytest.mark.parametrize("f", [np.absolute, np.sign, np.angle])
def test_what_has_no_derivative_at_the_complex_origin_is_zero_there_at_both_orders(f):
    z = tg.tensor(np.array([0j, 1 + 1j]))
    w = f(z)
    w.backward(np.ones(w.shape, w.dtype), create_graph=True)
    first, z.grad = z.grad, None
    first.backward(np.ones(2, complex))
    assert first.numpy()[0] == z.grad[0] == 0
    assert np.isfinite(first.numpy()).all()
    assert np.isfinite(z.grad).all()


@pytest.mark.parametrize("f", [np.hypot, np.arctan2])
def test_the_origin_has_gradient_zero_and_spoils_no_other(f):
    a, b = gradients(f, np.array([0.0, 3.0]), np.array([0.0, 4.0]))
    assert a[0] == b[0] == 0
    expected = (0.6, 0.8) if f is np.hypot else (4 / 25, -3 / 25)
    assert_within([a[1], b[1]], expected, 4)


@pytest.mark.parametrize("f", [np.hypot, np.arctan2])
def test_the_origin_has_second_derivatives_zero(f):
    a, b = tg.tensor([0.0, 1.0]), tg.tensor([0.0, 2.0])
    f(a, b).backward(np.ones(2), create_graph=True)
    first, a.grad, b.grad = a.grad + 2 * b.grad, None, None
    first.backward(np.ones(2))
    assert a.grad[0] == b.grad[0] == 0
    assert np.isfinite([a.grad, b.grad]).all()


def test_a_bound_of_clip_gives_the_gradient_to_x():
    x, low, high = gradients(np.clip, np.array([-1.0, 0.0, 1.0, 3.0, -3.0]), -1.0, 1.0)
    assert (x.tolist(), low, high) == ([1.0, 1.0, 1.0, 0.0, 0.0], 1.0, 1.0)


def test_crossed_bounds_of_clip_give_it_to_the_upper():
    x, low, high = gradients(np.clip, np.array([0.0, 1.5, 3.0]), 2.0, 1.0)
    assert (x.tolist(), low, high) == ([0.0, 0.0, 0.0], 0.0, 3.0)


def test_clip_gives_a_nan_its_cotangent():
    assert gradients(lambda x: np.clip(x, 0.0, 1.0), np.array([np.nan]))[0].tolist() == [1.0]


def test_clip_without_bounds_is_a_copy():
    x = tg.tensor([1.0, 5.0])
    y = np.clip(x, None, None)
    assert not np.shares_memory(x, y)
    y.backward(np.ones(2))
    assert x.grad.tolist() == [1.0, 1.0]


def test_clip_refuses_out_and_a_single_bound_by_position():
    x = tg.tensor([1.0])
    with pytest.raises(tg.errors.WriteError, match=r"np\.clip.*out="):
        np.clip(x, 0, 1, np.zeros(1))
    with pytest.raises(TypeError, match="a_max"):  # NumPy 2.0 raises its own first.
        np.clip(x, 0)


# ---------------------------------------------------------------- powers


@pytest.mark.parametrize("as_exponent", [float, int, np.float64, lambda n: np.array([n] * 3), lambda n: np.array(n)])
@pytest.mark.parametrize("n", range(5))
def test_whole_powers_are_polynomials_at_every_base_at_four_orders(n, as_exponent):
    x = np.array([0.0, -2.0, 3.0])
    coefficient = 1.0
    for k, derivative in enumerate(derivatives(lambda t: t ** as_exponent(n), x, 4), 1):
        coefficient *= n - k + 1
        expected = coefficient * x ** max(n - k, 0)
        assert_within(derivative, expected, 4)


def test_whole_powers_are_polynomials_while_the_exponent_records():
    a, b = gradients(np.power, np.array([0.0, 0.0, 0.0, -2.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert a.tolist() == [0.0, 1.0, 0.0, 12.0]
    assert b[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(b[3])  # A negative number has no real power beside a whole one.


def test_second_derivatives_of_recorded_whole_powers_are_those_of_polynomials():
    a, b = tg.tensor([0.0, 0.0, 0.0, -2.0]), tg.tensor([0.0, 1.0, 2.0, 3.0])
    np.power(a, b).backward(np.ones(4), create_graph=True)
    first, a.grad, b.grad = a.grad, None, None
    first.backward(np.ones(4))
    assert a.grad.tolist() == [0.0, 0.0, 2.0, -12.0]


def test_the_second_order_of_logaddexp_at_equals_beside_infinities() -> None:
    a, b = tg.tensor([0.5, np.inf]), tg.tensor([0.5, np.inf])
    np.logaddexp(a, b).backward(np.ones(2), create_graph=True)
    first, a.grad = a.grad, None
    first[0].backward()
    np.testing.assert_array_equal(a.grad, [0.25, 0.0])


def test_the_mixed_derivative_of_a_power_at_exponent_zero():
    # d/db (b a^(b-1)) = 1/a at b = 0: replacing the exponent there must not lose it.
    a, b = tg.tensor([2.0, -4.0]), tg.tensor([0.0, 0.0])
    np.power(a, b).backward(np.ones(2), create_graph=True)
    first, a.grad, b.grad = a.grad, None, None
    first.backward(np.ones(2))
    assert b.grad.tolist()[0] == 0.5


def test_complex_whole_powers_are_polynomials_at_zero():
    z = np.zeros(3, complex)
    first, second = derivatives(lambda t: np.power(t, np.array([0, 1, 2])), z, 2)
    assert first.tolist() == [0, 1, 0]
    assert second.tolist() == [0, 0, 2]


def test_a_negative_base_with_a_complex_exponent_has_the_complex_logarithm():
    a, b = gradients(np.power, np.array([-2.0]), np.array([1.5 + 0.5j]))
    y = np.power(-2.0 + 0j, 1.5 + 0.5j)
    assert_within(b, [np.conj(y * np.log(-2.0 + 0j))], 16)
    assert_within(a, [np.conj((1.5 + 0.5j) * y / -2.0).real], 16)


def test_float_power_gives_a_float32_operand_a_float32_gradient():
    (x,) = gradients(lambda t: np.float_power(t, 3), np.array([2.0], np.float32))
    assert x.dtype == np.float32
    assert x.tolist() == [12.0]


@pytest.mark.parametrize("f", [lambda t: 2.0**t, lambda t: np.logaddexp(t, 2.0), lambda t: np.maximum(t, 0.5)])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_python_numbers_leave_a_gradient_in_float32(f, shape):
    # The hook sees the cotangent of the rule itself, before the leaf could mend its dtype.
    x = tg.tensor(np.ones(shape, np.float32))
    inner = x * 1.0
    seen = []
    inner.register_hook(lambda g: seen.append(g.dtype))
    np.sum(f(inner)).backward()
    assert seen == [np.float32]


# ---------------------------------------------------------------- tails and edges

L = np.longdouble
TAIL = np.array([-40.0, -20.0, -1e-9, 1e-9, 20.0, 40.0])


@pytest.mark.parametrize(
    ("f", "slope", "points"),
    [
        (np.expm1, np.exp, TAIL),
        (np.log1p, lambda x: 1 / (1 + x), np.array([-1 + 1e-12, -1e-9, 1e-9, 1e200])),
        (np.arcsin, lambda x: 1 / np.sqrt((1 - x) * (1 + x)), np.array([-1 + 1e-13, 0.5, 1 - 1e-13])),
        (np.arccos, lambda x: -1 / np.sqrt((1 - x) * (1 + x)), np.array([-1 + 1e-13, 0.5, 1 - 1e-13])),
        (np.arccosh, lambda x: 1 / np.sqrt(x - 1) / np.sqrt(x + 1), np.array([1 + 1e-13, 2.0, 1e200])),
        (np.arctanh, lambda x: 1 / ((1 - x) * (1 + x)), np.array([-1 + 1e-13, 0.5, 1 - 1e-13])),
        (np.tan, lambda x: 1 / np.cos(x) ** 2, np.array([-1.5, 1.5, 1.5707])),
        (lambda x: np.logaddexp(x, 0.0), lambda x: 1 / (1 + np.exp(-x)), np.append(TAIL, [-600.0, 600.0])),
        (lambda x: np.logaddexp2(0.0, x), lambda x: 1 / (1 + np.exp2(-x)), TAIL),
        (lambda x: np.logaddexp(x, x - 40.0), np.ones_like, np.array([1e8, -1e8])),
    ],
    ids=["expm1", "log1p", "arcsin", "arccos", "arccosh", "arctanh", "tan", "logaddexp", "logaddexp2", "shifted"],
)
def test_slopes_keep_their_leading_digits_in_the_tails(f, slope, points):
    assert_within(gradients(f, points)[0], exact(slope(L(points))), 16)


def test_the_slope_of_arcsinh_does_not_overflow():
    # It is 1 / cosh(y), and y = 461 carries its rounding into the exponential.
    x = np.array([-1e200, 1e-9, 1.0, 1e200])
    assert_within(gradients(np.arcsinh, x)[0], exact(1 / np.hypot(L(1), L(x))), 1000)


def test_shares_of_far_terms_in_logaddexp_keep_their_digits_at_second_order():
    first, second = derivatives(lambda x: np.logaddexp(x, 0.0), np.array([-40.0, 40.0, -800.0, 800.0]), 2)
    share = 1 / (1 + np.exp(L(40)))
    assert_within(second[:2], exact([share * (1 - share)] * 2), 64)
    assert second[2:].tolist() == [0.0, 0.0]
    assert first[2:].tolist() == [0.0, 1.0]


def test_equal_infinities_share_logaddexp():
    a, b = gradients(np.logaddexp, np.array([-np.inf, np.inf, -np.inf]), np.array([-np.inf, np.inf, 0.0]))
    assert a.tolist() == [0.5, 0.5, 0.0]
    assert b.tolist() == [0.5, 0.5, 1.0]


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_hypot_and_arctan2_neither_overflow_nor_underflow(scale):
    a, b = np.array([3 * scale]), np.array([4 * scale])
    assert_within(gradients(np.hypot, a, b), [[0.6], [0.8]], 4)
    assert_within(gradients(np.arctan2, a, b), [[0.16 / scale], [-0.12 / scale]], 8)


def test_sinc_has_every_derivative_beside_zero():
    x = np.array([0.0, 1e-9, 0.299, 0.301, -0.3, 1.0])
    first, second, third = derivatives(np.sinc, x, 3)
    u = L(np.pi) * L(x[2:])
    f = np.sin(u) / u
    d1 = (np.cos(u) - f) / u
    d2 = -f - 2 * d1 / u
    d3 = -d1 - 2 * d2 / u + 2 * d1 / u**2
    # Roundings of the largest derivative, pi^k; each order loses a digit to the cancellation at u = 0.9.
    for k, (given, by_u, roundings) in enumerate(((first, d1, 4), (second, d2, 16), (third, d3, 64)), 1):
        expected = exact(by_u * L(np.pi) ** k)
        np.testing.assert_allclose(given[2:], expected, rtol=0, atol=roundings * EPS * np.pi**k)
    assert_within(first[:2], -(np.pi**2) / 3 * x[:2], 4)
    assert_within(second[:2], -(np.pi**2) / 3, 4)
    np.testing.assert_allclose(third[:2], [0.0, np.pi**4 / 5 * 1e-9], rtol=1e-12)


def test_remainders_take_away_as_many_divisors_as_numpy_did():
    # 1 / 0.1 rounds to 10, and yet 1 % 0.1 is 0.0999...: nine tenths were taken away.
    assert gradients(np.remainder, np.array([1.0, -1.0]), np.array([0.1, 0.1]))[1].tolist() == [-9.0, 10.0]
    assert gradients(np.fmod, np.array([1.0, -1.0]), np.array([0.1, 0.1]))[1].tolist() == [-9.0, 9.0]


@pytest.mark.parametrize(
    ("f", "points"),
    [
        (np.arcsin, [complex(2, 0.0), complex(2, -0.0), complex(-2, 0.0), complex(-2, -0.0)]),
        (np.arccos, [complex(2, 0.0), complex(2, -0.0), complex(-2, 0.0), complex(-2, -0.0)]),
        (np.arccosh, [complex(0.5, 0.0), complex(0.5, -0.0), complex(-2, 0.0), complex(-2, -0.0)]),
        (np.sqrt, [complex(-2, 0.0), complex(-2, -0.0)]),
        (np.log, [complex(-2, 0.0), complex(-2, -0.0)]),
    ],
)
def test_slopes_on_a_branch_cut_belong_to_the_side_of_the_value(f, points):
    z = np.array(points)
    step = 1e-5
    along = np.array([complex(step, p.imag) for p in points])  # x + 0j and x - 0j stay on their sides.
    there, back = (np.array([complex(p.real + s * step, p.imag) for p in points]) for s in (1, -1))
    difference = (f(there) - f(back)) / (2 * along.real)
    np.testing.assert_allclose(np.conj(gradients(f, z)[0]), difference, atol=1e-9)


@pytest.mark.parametrize(("sign", "side"), [(1.0, 0.0), (1.0, -0.0), (-1.0, 0.0), (-1.0, -0.0)])
def test_the_slope_of_arcsinh_on_its_cut_belongs_to_the_side_of_the_value(sign, side):
    y, step = 2.0 * sign, 1e-5
    (slope,) = gradients(np.arcsinh, np.array([complex(side, y)]))[0]
    difference = (np.arcsinh(complex(side, y + step)) - np.arcsinh(complex(side, y - step))) / (2j * step)
    assert abs(np.conj(slope) - difference) < 1e-9


# ---------------------------------------------------------------- the branch not taken

X = np.array([0.0, 4.0])


@pytest.mark.parametrize(
    ("f", "first", "second"),
    [
        (lambda x: np.where(x > 0, np.sqrt(x), 0), 0.25, -1 / 32),
        (lambda x: np.where(x > 0, np.log(x), 0), 0.25, -1 / 16),
        (lambda x: np.where(x > 0, 1 / x, 0), -1 / 16, 1 / 32),
        (lambda x: np.where(x > 0, np.reciprocal(x), 0), -1 / 16, 1 / 32),
        (lambda x: np.where(x > 0, x**-0.5, 0), -1 / 16, 3 / 128),
        (lambda x: np.where(x > 0, x * np.log(x), 0), np.log(4) + 1, 0.25),
        (lambda x: np.where(x > 0, np.cbrt(x * 2), 0), 1 / 6, -1 / 36),
        (lambda x: np.where(x > 0, np.sqrt(x - 1), 0), 0.5 / 3**0.5, -0.25 / 3**1.5),
    ],
    ids=["sqrt", "log", "quotient", "reciprocal", "power", "xlogx", "cbrt", "nan"],
)
def test_the_branch_not_taken_has_no_say_at_both_orders(f, first, second):
    given = derivatives(f, X, 2)
    assert given[0][0] == given[1][0] == 0
    assert_within([given[0][1], given[1][1]], [first, second], 8)


def test_edges_of_inverse_functions_are_safe_under_where():
    x = np.array([-1.0, 1.0, 0.5])
    for f in (np.arcsin, np.arccos, np.arctanh, lambda t: np.arccosh(t + 0.5)):
        first, second = derivatives(lambda t, f=f: np.where(np.abs(t) < 1, f(t), 0), x, 2)
        assert first[:2].tolist() == second[:2].tolist() == [0.0, 0.0]
        assert first[2] != 0


def test_a_quotient_by_zero_that_is_masked_spoils_neither_operand():
    x, n = gradients(lambda x, n: np.where(n > 0, x / n, 0), np.array([1.0, 0.0, 6.0]), np.array([0.0, 0.0, 2.0]))
    assert x.tolist() == [0.0, 0.0, 0.5]
    assert n.tolist() == [0.0, 0.0, -1.5]


def test_where_with_the_condition_alone_gives_indices():
    (rows,) = np.where(tg.tensor([0.0, 2.0, 3.0]))
    assert type(rows) is np.ndarray
    assert rows.tolist() == [1, 2]


def test_where_with_one_choice_is_refused():
    with pytest.raises(tg.errors.ArgumentError, match="both x and y"):
        np.where(np.array([True]), tg.tensor([1.0]))


# ---------------------------------------------------------------- constants by dtype, parts of a float


@pytest.mark.parametrize("f", [np.sign, np.imag, np.angle])
def test_what_is_constant_for_real_numbers_gives_plain_arrays(f):
    assert type(f(tg.tensor([1.0, -2.0]))) is np.ndarray


def test_angle_in_degrees_is_the_angle_scaled():
    z = np.array([1 + 2j, -3 - 1j])
    np.testing.assert_array_equal(np.angle(tg.tensor(z), deg=True).numpy(), np.angle(z, deg=True))


def test_nan_to_num_gives_no_gradient_where_it_replaced_also_by_parts():
    z = np.array([complex(np.nan, 1), complex(1, np.inf), 1 + 1j])
    assert gradients(np.nan_to_num, z, seed=np.full(3, 1 + 2j))[0].tolist() == [2j, 1, 1 + 2j]


def test_nan_to_num_refuses_to_write_to_its_operand():
    x = tg.tensor([np.nan])
    with pytest.raises(tg.errors.WriteError, match="copy=False"):
        np.nan_to_num(x, copy=False)
    assert np.isnan(x.numpy()).all()


@pytest.mark.parametrize("f", [np.modf, np.frexp, lambda x: np.divmod(x, 0.75)])
def test_functions_of_two_outputs_give_numpys_values(f):
    x = np.array([0.0, -0.0, 1.0, -2.5, 1e300, 5e-324, np.inf, -np.inf])
    with np.errstate(all="ignore"):
        for given, expected in zip(f(tg.tensor(x)), f(x), strict=True):
            value = given.numpy() if isinstance(given, tg.Tensor) else given
            np.testing.assert_array_equal(value, expected)
            np.testing.assert_array_equal(np.signbit(value), np.signbit(expected))


def test_the_mantissa_of_frexp_has_the_slope_of_its_power_of_two():
    assert gradients(lambda x: np.frexp(x)[0], np.array([3.0, -0.3]))[0].tolist() == [0.25, 2.0]


# ---------------------------------------------------------------- branch points, and forms of the call


@pytest.mark.parametrize("f", [np.arcsinh, np.arctan])
@pytest.mark.parametrize("point", [1j, -1j])
def test_the_slope_is_infinite_at_a_branch_point_on_the_imaginary_axis(f, point):
    x = tg.tensor(np.array([point, 0.5]))
    with np.errstate(all="ignore"):
        f(x).backward(np.array([1.0, 1.0 + 0j]))
    assert not np.isfinite(x.grad[0])
    np.testing.assert_allclose(x.grad[1], (1.25**-0.5 if f is np.arcsinh else 0.8), rtol=1e-15)


@pytest.mark.parametrize("f", [np.arcsinh, np.arctan])
def test_a_zero_cotangent_at_a_branch_point_gives_zero(f):
    x = tg.tensor(np.array([1j, 0.5]))
    with np.errstate(all="ignore"):
        np.sum(np.real(np.where(np.array([False, True]), f(x), 0))).backward()
    assert x.grad[0] == 0


def test_slopes_beside_a_branch_point_are_right_to_rounding():
    # With x = i (1 + d), 1 + x^2 = -d (2 + d): written with d itself, nothing cancels.
    d = np.array([2.0**-40, -(2.0**-40), 2.0**-20])
    z = 1j * (1 + d)
    for f, expected in ((np.arctan, 1 / (-d * (2 + d))), (np.arcsinh, 1 / np.sqrt(-d * (2 + d) + 0j))):
        x = tg.tensor(z)
        f(x).backward(np.ones(3, complex))
        # The gradient is the conjugate of the derivative; the root's sign on the cut is that of +0 as real part.
        np.testing.assert_allclose(x.grad, np.conj(expected), rtol=1e-14)


def test_arcsinh_has_the_slope_of_its_own_side_of_the_cuts():
    h = 1e-6
    for real, imaginary in itertools.product((0.0, -0.0, 0.3, -0.3), (-2.0, -1.2, 0.4, 1.2, 2.0)):
        z = np.array(complex(real, imaginary))
        x = tg.tensor(z)
        np.arcsinh(x).backward(np.array(1.0 + 0j))
        beside = np.arcsinh(np.array([complex(real, imaginary + h), complex(real, imaginary - h)]))
        np.testing.assert_allclose(np.conj(x.grad), (beside[0] - beside[1]) / (2j * h), rtol=1e-8)


def test_arcsinh_of_large_numbers_does_not_overflow_on_the_way():
    x = tg.tensor([1e200, -1e200, 0.0])
    np.sum(np.arcsinh(x)).backward()
    # The rounding of y = 461 is one of cosh(y) relative to 461 eps.
    np.testing.assert_allclose(x.grad, [1e-200, 1e-200, 1.0], rtol=461 * 2.3e-16)


@pytest.mark.parametrize("f", [lambda t, **k: np.divmod(t, 0.3, **k)[1], lambda t, **k: np.modf(t, **k)[0]])
def test_ufuncs_of_two_outputs_compute_in_the_dtype_that_they_are_told(f):
    x = tg.tensor([1.25, -0.7])
    y = f(x, dtype=np.float32, casting="same_kind")
    assert y.dtype == np.float32
    y.backward(np.ones(2, np.float32))
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])
    with pytest.raises(TypeError, match=r"[Cc]ast"):
        f(x, dtype=np.float32, casting="no")


def test_float_power_refuses_the_dtypes_that_numpy_refuses():
    assert np.float_power(tg.tensor([2.0]), 2, dtype=np.complex128).dtype == np.complex128
    with pytest.raises(TypeError):
        np.float_power(tg.tensor([2.0]), 2, dtype=np.float32)


# ---------------------------------------------------------------- clip, in every form


@pytest.mark.parametrize(
    "clip",
    [
        lambda x, low, high: np.clip(x, low, high),
        lambda x, low, high: np.clip(x, a_min=low, a_max=high),
        lambda x, low, high: x.clip(low, high),
        lambda x, low, high: x.clip(min=low, max=high),
    ],
)
@pytest.mark.parametrize("recording", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_clip_by_position_and_by_name_of_tensors_and_arrays(clip, recording):
    values = (np.array([-2.0, 0.5, 3.0]), np.array([-1.0, -1.0, -1.0]), np.array([2.0, 2.0, 2.0]))
    expected = ([0, 1, 0], [1, 0, 0], [0, 0, 1])
    operands = [tg.tensor(v) if r else v for v, r in zip(values, recording, strict=True)]
    y = clip(*operands)
    np.testing.assert_array_equal(y.numpy(), [-1.0, 0.5, 2.0])
    y.backward(np.ones(3))
    for operand, right in zip(operands, expected, strict=True):
        if isinstance(operand, tg.Tensor):
            np.testing.assert_array_equal(operand.grad, right)


@pytest.mark.parametrize("bounds", [{"min": -1.0}, {"max": 1.0}, {}])
def test_clip_with_one_bound_by_name_on_any_numpy(bounds):
    a = np.array([-2.0, 0.5, 3.0])
    x = tg.tensor(a)
    y = x.clip(**bounds)
    low, high = bounds.get("min", -np.inf), bounds.get("max", np.inf)
    np.testing.assert_array_equal(y.numpy(), np.minimum(np.maximum(a, low), high))
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, (a >= low) & (a <= high))


def test_clip_computes_in_the_dtype_that_it_is_told():
    x = tg.tensor([-2.0, 0.5])
    y = np.clip(x, 0.0, 1.0, dtype=np.float32, casting="same_kind")
    assert y.dtype == np.float32
    y.backward(np.ones(2, np.float32))
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])
    with pytest.raises(TypeError, match="Cannot cast"):
        np.clip(x, 0.0, 1.0, dtype=np.float32, casting="no")


@pytest.mark.parametrize("careful", [False, True])
def test_a_slope_is_as_exact_as_the_result_where_an_operand_is_narrower(careful):
    base, x = np.float32([0.42, 0.54, 0.65]), np.array([1.3, 2.1, -1.0])
    wide = base.astype(np.float64)
    for given in (base, tg.tensor(base)):
        t = tg.tensor(x)
        np.sum(given**t).backward(create_graph=careful)
        np.testing.assert_allclose(np.asarray(t.grad if not careful else t.grad.numpy()), np.log(wide) * wide**x, 1e-15)
    np.testing.assert_allclose(tg.jacobian(lambda t: base**t)(x).diagonal(), np.log(wide) * wide**x, 1e-15)
