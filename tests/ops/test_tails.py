"""Tails: slopes where finite differences are blind, against the same formulas in 900 digits.

The points are exact floats, and what is compared is the derivative at that float. A slope is a handful of
roundings, of ufuncs that are themselves right to 4 units of the last place: 16 units hold for a first
derivative, 32 for a second one, which is a product of about twice as many factors. What isn't a normal number
of its dtype is right to one that is. Where a form has a larger error by its nature, its bound stands beside it.
"""

import mpmath as mp
import numpy as np
import pytest

import tapegrad as tg

log, sqrt, pi = mp.log, mp.sqrt, mp.pi
DIGITS = 900  # The squares of 1e200 and 1e-200 are added to 1.


def sech(x):
    return 1 / mp.cosh(x)


def logistic(x):
    return 1 / (1 + mp.exp(-x))


FAR = [1e200, -1e200, 1e150, 1e-150, 1e-200, -1e-200]
TAILS = [-700.0, -355.0, -100.0, -40.0, -20.0, -5.0, -1.5, -1.0, -0.3, -1e-9]
TAILS += [-x for x in TAILS]
POSITIVE = [1e-300, 1e-200, 1e-100, 1e-9, 0.3, 1 - 1e-12, 1.0, 1 + 1e-12, 2.0, 1e9, 1e100, 1e200, 1e300]
UNIT = [-1 + 1e-15, -1 + 1e-9, -0.7, -1e-9, -1e-200, 1e-200, 1e-9, 0.5, 1 - 1e-9, 1 - 1e-15]
ABOVE = [1 + 1e-15, 1 + 1e-9, 1.5, 40.0, 1e9, 1e100, 1e150, 1e200]


def beyond(x):
    return 1 - x * x


# name -> NumPy's form, its first and second derivative, the points
FORMS = {
    "exp": (np.exp, mp.exp, mp.exp, TAILS),
    "exp2": (np.exp2, lambda x: 2**x * log(2), lambda x: 2**x * log(2) ** 2, TAILS),
    "expm1": (np.expm1, mp.exp, mp.exp, TAILS),
    "log": (np.log, lambda x: 1 / x, lambda x: -1 / x**2, POSITIVE),
    "log2": (np.log2, lambda x: 1 / x / log(2), lambda x: -1 / x**2 / log(2), POSITIVE),
    "log10": (np.log10, lambda x: 1 / x / log(10), lambda x: -1 / x**2 / log(10), POSITIVE),
    "log1p": (
        np.log1p,
        lambda x: 1 / (1 + x),
        lambda x: -1 / (1 + x) ** 2,
        [*POSITIVE, -1e-200, -1e-9, -0.5, -1 + 1e-12],
    ),
    "sqrt": (np.sqrt, lambda x: 1 / (2 * sqrt(x)), lambda x: -1 / (4 * x * sqrt(x)), POSITIVE),
    "cbrt": (np.cbrt, lambda x: 1 / (3 * mp.cbrt(x) ** 2), lambda x: -2 / (9 * mp.cbrt(x) ** 5), POSITIVE),
    "square": (np.square, lambda x: 2 * x, lambda x: mp.mpf(2), FAR),
    "reciprocal": (np.reciprocal, lambda x: -1 / x**2, lambda x: 2 / x**3, POSITIVE + FAR),
    "divide": (lambda x: 3.0 / x, lambda x: -3 / x**2, lambda x: 6 / x**3, POSITIVE + FAR),
    "deg2rad": (np.deg2rad, lambda x: pi / 180, lambda x: mp.mpf(0), TAILS + FAR),
    "degrees": (np.degrees, lambda x: 180 / pi, lambda x: mp.mpf(0), TAILS + FAR),
    "sin": (np.sin, mp.cos, lambda x: -mp.sin(x), TAILS + FAR),
    "cos": (np.cos, lambda x: -mp.sin(x), lambda x: -mp.cos(x), TAILS + FAR),
    "tan": (
        np.tan,
        lambda x: 1 / mp.cos(x) ** 2,
        lambda x: 2 * mp.tan(x) / mp.cos(x) ** 2,
        [*TAILS, 1.5707963, 1e-200, -1e-200],
    ),
    "sinh": (np.sinh, mp.cosh, mp.sinh, [*TAILS, 1e-200]),
    "cosh": (np.cosh, mp.sinh, mp.cosh, [*TAILS, 1e-200]),
    "tanh": (np.tanh, lambda x: sech(x) ** 2, lambda x: -2 * mp.tanh(x) * sech(x) ** 2, [*TAILS, 1e-200, 1e200]),
    "arcsin": (np.arcsin, lambda x: 1 / sqrt(beyond(x)), lambda x: x / sqrt(beyond(x)) ** 3, UNIT),
    "arccos": (np.arccos, lambda x: -1 / sqrt(beyond(x)), lambda x: -x / sqrt(beyond(x)) ** 3, UNIT),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2, TAILS + FAR),
    "arccosh": (np.arccosh, lambda x: 1 / sqrt(x * x - 1), lambda x: -x / sqrt(x * x - 1) ** 3, ABOVE),
    "arctanh": (np.arctanh, lambda x: 1 / beyond(x), lambda x: 2 * x / beyond(x) ** 2, UNIT),
    "hypot": (
        lambda x: np.hypot(x, 3.0),
        lambda x: x / sqrt(x * x + 9),
        lambda x: 9 / sqrt(x * x + 9) ** 3,
        TAILS + FAR,
    ),
    "hypot of the other": (
        lambda x: np.hypot(3.0, x),
        lambda x: x / sqrt(x * x + 9),
        lambda x: 9 / sqrt(x * x + 9) ** 3,
        TAILS + FAR,
    ),
    "complex abs": (
        lambda x: np.absolute(x + 3j),
        lambda x: x / sqrt(x * x + 9),
        lambda x: 9 / sqrt(x * x + 9) ** 3,
        TAILS + FAR,
    ),
    "arctan2": (
        lambda x: np.arctan2(x, 3.0),
        lambda x: 3 / (x * x + 9),
        lambda x: -6 * x / (x * x + 9) ** 2,
        TAILS + FAR,
    ),
    "arctan2 of the other": (
        lambda x: np.arctan2(3.0, x),
        lambda x: -3 / (x * x + 9),
        lambda x: 6 * x / (x * x + 9) ** 2,
        TAILS + FAR,
    ),
    "power 2.5": (lambda x: np.power(x, 2.5), lambda x: 2.5 * sqrt(x) ** 3, lambda x: 3.75 * sqrt(x), POSITIVE),
    "power -0.5": (
        lambda x: np.power(x, -0.5),
        lambda x: -1 / (2 * sqrt(x) ** 3),
        lambda x: 3 / (4 * sqrt(x) ** 5),
        POSITIVE,
    ),
    "power 3": (lambda x: np.power(x, 3), lambda x: 3 * x * x, lambda x: 6 * x, TAILS + FAR),
    "float_power": (
        lambda x: np.float_power(x, 2.5),
        lambda x: 2.5 * sqrt(x) ** 3,
        lambda x: 3.75 * sqrt(x),
        POSITIVE,
    ),
    "power of 3": (lambda x: np.power(3.0, x), lambda x: 3**x * log(3), lambda x: 3**x * log(3) ** 2, TAILS),
    "softplus": (lambda x: np.logaddexp(x, 0.0), logistic, lambda x: logistic(x) * logistic(-x), TAILS),
    "softplus of the other": (lambda x: np.logaddexp(0.0, x), logistic, lambda x: logistic(x) * logistic(-x), TAILS),
    "softplus by log1p": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        logistic,
        lambda x: logistic(x) * logistic(-x),
        TAILS,
    ),
    "softplus of 2": (
        lambda x: np.logaddexp2(x, 0.0),
        lambda x: 1 / (1 + 2**-x),
        lambda x: log(2) / (1 + 2**-x) / (1 + 2**x),
        TAILS,
    ),
}
DEFINED = {"log1p": (-1, np.inf), "arcsin": (-1, 1), "arccos": (-1, 1), "arctanh": (-1, 1), "arccosh": (1, np.inf)}


def points_of(name, points, dtype):
    """The points as floats of that dtype, without those that became 0, infinite, or an edge of the domain."""
    with np.errstate(over="ignore"):
        x = np.array(points).astype(dtype)
    low, high = DEFINED.get(name, (-np.inf, np.inf))
    return x[(x != 0) & (low < x) & (x < high)]


def first_and_second(f, x):
    """The first two derivatives of an elementwise f, through the rules."""
    leaf = tg.tensor(x)
    with np.errstate(all="ignore"):
        y = f(leaf)
    y.backward(np.ones(y.shape, y.dtype), create_graph=True)
    first, leaf.grad = leaf.grad, None
    if not first.requires_grad:
        return first.numpy(), np.zeros_like(x)
    first.backward(np.ones(first.shape, first.dtype))
    return first.numpy(), leaf.grad


def exactly(x):
    """A float of any dtype with all its digits, and whatever its exponent."""
    mantissa, exponent = np.frexp(x)
    head = float(mantissa)
    return mp.ldexp(mp.mpf(head) + mp.mpf(float(mantissa - x.dtype.type(head))), int(exponent))


def assert_close(given, derivative, x, roundings):
    """Each element is the derivative at that float, to so many units of its last place."""
    info = np.finfo(given.dtype)
    with mp.workdps(DIGITS):
        eps, largest, smallest = (exactly(getattr(info, name)) for name in ("eps", "max", "smallest_normal"))
        for at, found in zip(x, given, strict=True):
            right = derivative(exactly(at))
            if abs(right) > largest:
                assert found == np.inf * float(mp.sign(right)), (at, found)
                continue
            assert np.isfinite(found), (at, found)
            bound = max(roundings * eps * abs(right), smallest)
            assert abs(exactly(found) - right) <= bound, (at, found, float(right))


DTYPES = [np.longdouble, np.float64, np.float32, np.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=["longdouble", "float64", "float32", "float16"])
@pytest.mark.parametrize("name", FORMS)
def test_first_and_second_derivatives_are_right_to_rounding_in_the_tails(name, dtype):
    f, first, second, points = FORMS[name]
    x = points_of(name, points, dtype)
    given = first_and_second(f, x)
    for found, derivative, roundings in zip(given, (first, second), (16, 32), strict=True):
        assert found.dtype == dtype
        assert_close(found, derivative, x, roundings)


# arcsinh and sinc have larger errors by their nature: cosh(arcsinh(x)) carries the rounding of its argument,
# |y| eps / 2 of it, and the argument of sinc is a rounded multiple of pi, as that of np.sinc itself is.


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda d: d.__name__)
def test_derivatives_of_arcsinh_are_right_to_the_rounding_of_its_value(dtype):
    x = points_of("arcsinh", TAILS + FAR, dtype)
    first, second = first_and_second(np.arcsinh, x)
    for k, (at, f, s) in enumerate(zip(x, first, second, strict=True)):
        roundings = 16 + 2 * abs(float(np.arcsinh(at)))
        one = slice(k, k + 1)
        assert_close(first[one], lambda x: 1 / sqrt(1 + x * x), x[one], roundings)
        assert_close(second[one], lambda x: -x / sqrt(1 + x * x) ** 3, x[one], 2 * roundings)
        assert np.isfinite([f, s]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=lambda d: d.__name__)
def test_derivatives_of_sinc_are_right_to_the_rounding_of_the_multiple_of_pi(dtype):
    x = np.array([1e-30, 1e-9, 1e-3, 0.29, 0.31, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 10.0, 40.0, 1e3], dtype)
    first, second = first_and_second(np.sinc, x)
    eps = float(np.finfo(dtype).eps)
    with mp.workdps(DIGITS):
        for at, f, s in zip(x, first, second, strict=True):
            z = mp.mpf(float(at))
            d1 = mp.cos(pi * z) / z - mp.sin(pi * z) / (pi * z * z)
            d2 = -pi * mp.sin(pi * z) / z - 2 * d1 / z
            assert abs(mp.mpf(float(f)) - d1) <= 8 * eps * (abs(d1) + (float(pi) if at > 0.3 else 0)), at
            assert abs(mp.mpf(float(s)) - d2) <= 8 * eps * (abs(d2) + (float(pi) ** 2 if at > 0.3 else 0)), at


# ---------------------------------------------------------------- complex numbers

ANGLES = np.exp(1j * np.array([0.3, 1.0, 2.0, -2.8]))
AROUND = np.outer([1e-200, 1e-100, 1e-9, 0.5, 0.999999, 1.0, 1.000001, 3.0, 40.0, 300.0, 1e9, 1e100, 1e200], ANGLES)
PLANE = np.append(AROUND.ravel(), [40 + 1j, -40 + 1j, 800 + 1j, -800 - 2j, 1 + 1e-12j, 1j * (1 + 1e-12)])


def split(x):
    """sqrt(1 - x) sqrt(1 + x), which is the root of 1 - x^2 on the right side of every cut."""
    return sqrt(1 - x) * sqrt(1 + x)


COMPLEX = {
    "exp": (np.exp, mp.exp, mp.exp),
    "log": (np.log, lambda x: 1 / x, lambda x: -1 / x**2),
    "log1p": (np.log1p, lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2),
    "sqrt": (np.sqrt, lambda x: 1 / (2 * sqrt(x)), lambda x: -1 / (4 * x * sqrt(x))),
    "reciprocal": (np.reciprocal, lambda x: -1 / x**2, lambda x: 2 / x**3),
    "sin": (np.sin, mp.cos, lambda x: -mp.sin(x)),
    "tan": (np.tan, lambda x: mp.sec(x) ** 2, lambda x: 2 * mp.tan(x) * mp.sec(x) ** 2),
    "sinh": (np.sinh, mp.cosh, mp.sinh),
    "tanh": (np.tanh, lambda x: sech(x) ** 2, lambda x: -2 * mp.tanh(x) * sech(x) ** 2),
    "arcsin": (np.arcsin, lambda x: 1 / split(x), lambda x: x / split(x) ** 3),
    "arccos": (np.arccos, lambda x: -1 / split(x), lambda x: -x / split(x) ** 3),
    "arctan": (np.arctan, lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
    "arcsinh": (np.arcsinh, lambda x: 1 / split(1j * x), lambda x: -x / split(1j * x) ** 3),
    "arccosh": (
        np.arccosh,
        lambda x: 1 / (sqrt(x - 1) * sqrt(x + 1)),
        lambda x: -x / (sqrt(x - 1) * sqrt(x + 1)) ** 3,
    ),
    "arctanh": (np.arctanh, lambda x: 1 / beyond(x), lambda x: 2 * x / beyond(x) ** 2),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_derivatives_are_right_to_rounding_in_the_tails(name):
    f, *derivatives = COMPLEX[name]
    with np.errstate(all="ignore"):
        z = PLANE[np.isfinite(f(PLANE))]
    leaf = tg.tensor(z)
    with np.errstate(all="ignore"):
        y = f(leaf)
    y.backward(np.ones(y.shape, complex), create_graph=True)
    first, leaf.grad = np.conj(leaf.grad), None  # The gradient is the conjugate of the derivative.
    first.backward(np.ones(y.shape, complex))
    for found, derivative in zip((first.numpy(), np.conj(leaf.grad)), derivatives, strict=True):
        for at, given in zip(z, found, strict=True):
            with mp.workdps(DIGITS):
                right = derivative(mp.mpc(at.real, at.imag))
                if abs(right) > 1e307:
                    continue
                error = abs(mp.mpc(given.real, given.imag) - right)
                # A complex product is a sum of products, in which the smaller part may cancel: 64 units of the size.
                assert error <= max(64 * 2.0**-52 * abs(right), 1e-307), (at, given, right)


# ---------------------------------------------------------------- reductions

OFFSET = 1e8 + np.array([0.25, -1.5, 3.0, 0.0, 7.75])


@pytest.mark.parametrize("f", [np.var, np.std], ids=["var", "std"])
def test_the_gradient_of_a_spread_does_not_lose_a_large_offset(f):
    x = tg.tensor(OFFSET)
    f(x).backward()
    with mp.workdps(60):
        exact = [mp.mpf(v) for v in OFFSET]
        mean = mp.fsum(exact) / 5
        slopes = [2 * (v - mean) / 5 for v in exact]
        if f is np.std:
            spread = sqrt(mp.fsum((v - mean) ** 2 for v in exact) / 5)
            slopes = [s / (2 * spread) for s in slopes]
    # The mean is rounded to half a unit of 1e8, which is 7e-9, and so is each deviation.
    np.testing.assert_allclose(x.grad, [float(s) for s in slopes], rtol=0, atol=2 / 5 * 8e-9)


def logsumexp(x):
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top)))


@pytest.mark.parametrize("scale", [1.0, 40.0, 700.0, 1e5])
def test_logsumexp_has_the_shares_and_the_matrix_of_second_derivatives_of_mathematics(scale):
    points = np.array([0.5, -1.0, 0.25, -0.125]) * scale
    leaf = tg.tensor(points)
    logsumexp(leaf).backward(create_graph=True)
    first, leaf.grad = leaf.grad, None
    with mp.workdps(200):
        terms = [mp.exp(mp.mpf(p)) for p in points]
        shares = [t / mp.fsum(terms) for t in terms]
        right = [float(s) for s in shares]
        curved = [[float(s * ((i == j) - t)) for j, t in enumerate(shares)] for i, s in enumerate(shares)]
    # A share of e^-40000 is 0; the others are right to rounding, of the largest of all in what is subtracted.
    np.testing.assert_allclose(first.numpy(), right, rtol=16 * 2.0**-52, atol=4 * 2.0**-52)
    for i in range(4):
        leaf.grad = None
        first.backward(np.eye(4)[i], retain_graph=True)
        np.testing.assert_allclose(leaf.grad, curved[i], rtol=0, atol=8 * 2.0**-52)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e150, 1e-150])
@pytest.mark.parametrize("ord", [1, np.inf])
def test_norms_without_squares_take_every_size(scale, ord):
    x = tg.tensor(np.array([3.0, -4.0]) * scale)
    np.linalg.norm(x, ord).backward()
    assert x.grad.tolist() == ([1.0, -1.0] if ord == 1 else [0.0, -1.0])


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_the_gradient_of_the_norm_takes_every_size_of_which_numpy_finds_the_norm(scale):
    x = tg.tensor(np.array([3.0, -4.0]) * scale)
    np.linalg.norm(x).backward()
    np.testing.assert_allclose(x.grad, [0.6, -0.8], rtol=4 * 2.0**-52)


MANY = 70_000  # more elements than the largest float16


@pytest.mark.parametrize(
    ("f", "slopes"),
    [
        (np.sum, lambda x: np.ones_like(x)),
        (np.mean, lambda x: np.full_like(x, 1 / MANY)),
        (np.var, lambda x: 2 * (x - x.mean()) / MANY),
        (np.std, lambda x: (x - x.mean()) / (MANY * x.std())),
    ],
    ids=["sum", "mean", "var", "std"],
)
def test_gradients_of_float16_count_more_elements_than_float16_can(f, slopes):
    a = (np.random.default_rng(0).standard_normal(MANY) / 100).astype(np.float16)
    x = tg.tensor(a)
    y = f(x)
    assert y.dtype == np.float16
    assert y.numpy() == f(a)
    y.backward()
    assert x.grad.dtype == np.float16
    expected = slopes(a.astype(np.float64))
    # To half precision; what is below 6e-5 is a subnormal number, in steps of 6e-8.
    np.testing.assert_allclose(x.grad.astype(float), expected, rtol=8 * 2.0**-10, atol=2.0**-24)


def test_what_is_broadcast_in_float16_is_summed_as_numpy_sums():
    bias = tg.tensor(np.zeros(2, np.float16))
    rows = np.ones((MANY, 2), np.float16)
    seed = np.full((MANY, 2), 0.5, np.float16)
    (rows + bias).backward(seed)
    np.testing.assert_array_equal(bias.grad, np.sum(seed, axis=0))
