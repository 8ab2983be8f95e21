"""The conventions of the calculus, each under its own name and as a user meets it: in a program of several functions.

What one function does at its hard points stands in the tests of its family.
"""

import itertools
import math

import numpy as np
import pytest
from ops_tools import EPS, INF, NAN, hessian

import tapegrad as tg

# ---------------------------------------------------------------- zero cotangents are strong zeros


def first_and_second(f, *arrays):
    """Gradients of sum(f), and those of the sum of the gradients, by each array."""
    leaves = [tg.tensor(a) for a in arrays]
    with np.errstate(all="ignore"):
        np.sum(f(*leaves)).backward(create_graph=True)
    first = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    total = sum(np.sum(g) for g in first)
    if not isinstance(total, tg.Tensor) or not total.requires_grad:
        return [g.numpy() for g in first], [np.zeros(g.shape) for g in first]
    total.backward()
    second = [np.zeros(g.shape) if leaf.grad is None else leaf.grad for g, leaf in zip(first, leaves, strict=True)]
    return [g.numpy() for g in first], second


BRANCHES = {
    "sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0), 4.0, 1 / 4, -1 / 32),
    "log": (lambda x: np.where(x > 0, np.log(x), 0), 4.0, 1 / 4, -1 / 16),
    "x log x": (lambda x: np.where(x > 0, x * np.log(x), 0), 4.0, math.log(4) + 1, 1 / 4),
    "reciprocal": (lambda x: np.where(x != 0, 1 / x, 0), 4.0, -1 / 16, 1 / 32),
    "arcsin": (lambda x: np.where(np.abs(x) > 0, np.arcsin(1 - x), 0), 0.5, -1 / 0.75**0.5, 0.5 / 0.75**1.5),
    "arccosh": (lambda x: np.where(x > 0, np.arccosh(1 + x), 0), 0.25, 1 / 0.75, -1.25 / 0.75**3),
    "arctanh": (lambda x: np.where(x > 0, np.arctanh(1 - x), 0), 0.5, -1 / 0.75, 1 / 0.75**2),
    "root power": (lambda x: np.where(x > 0, x**0.5, 0), 4.0, 1 / 4, -1 / 32),
    "negative power": (lambda x: np.where(x > 0, np.power(x, -2.0), 0), 2.0, -1 / 4, 3 / 8),
    "float_power": (lambda x: np.where(x > 0, np.float_power(x, -2.0), 0), 2.0, -1 / 4, 3 / 8),
    "cbrt": (lambda x: np.where(x > 0, np.cbrt(x), 0), 8.0, 1 / 12, -1 / 144),
    "nan": (lambda x: np.where(x > 0, np.sqrt(x - 1) * np.log(x - 1), 0), 2.0, 1.0, 0.0),
    "multiplied": (lambda x: np.where(x > 0, x * (1 / x) * x, 0), 4.0, 1.0, 0.0),
    "added": (lambda x: np.where(x > 0, np.log(x) + np.sqrt(x), 0), 4.0, 1 / 2, -1 / 16 - 1 / 32),
    "norm": (lambda x: np.where(x > 0, np.linalg.norm(np.stack([x, x * 0], -1), axis=-1), 0), 4.0, 1.0, 0.0),
    "divided by itself": (lambda x: np.where(x > 0, np.sin(x) / x, 0), 1.0, math.cos(1) - math.sin(1), None),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_the_branch_not_taken_has_no_say_at_first_and_second_order(name):
    f, at, first, second = BRANCHES[name]
    (g,), (h,) = first_and_second(f, np.array([0.0, at]))
    if second is None:
        second = -2 * math.cos(1) - math.sin(1) + 2 * math.sin(1)
    assert g[0] == h[0] == 0
    np.testing.assert_allclose([g[1], h[1]], [first, second], rtol=32 * EPS, atol=8 * EPS)


def test_a_quotient_by_counts_that_may_be_zero_has_two_finite_derivatives_by_both():
    (x, n), (xx, nn) = first_and_second(
        lambda x, n: np.where(n > 0, x / n, 0), np.array([1.0, 0.0, 6.0]), np.array([0.0, 0.0, 2.0])
    )
    assert (x.tolist(), n.tolist()) == ([0.0, 0.0, 0.5], [0.0, 0.0, -1.5])
    assert (xx.tolist(), nn.tolist()) == ([0.0, 0.0, -0.25], [0.0, 0.0, -0.25 + 1.5])


@pytest.mark.parametrize("missing", [NAN, INF])
def test_rows_of_missing_data_masked_after_the_product_do_not_spoil_the_weights(missing):
    a = np.array([[1.0, 2.0], [missing, 3.0], [4.0, 5.0]])
    keep = np.array([True, False, True])
    w, x = tg.tensor([0.5, -0.25]), tg.tensor(a)
    with np.errstate(all="ignore"):
        residual = np.where(keep, x @ w - 1, 0)
    np.sum(residual**2).backward(create_graph=True)
    first, w.grad, x.grad = w.grad, None, None
    kept = a[keep]
    np.testing.assert_allclose(first.numpy(), 2 * kept.T @ (kept @ [0.5, -0.25] - 1), rtol=16 * EPS)
    np.sum(first).backward()
    np.testing.assert_allclose(w.grad, 2 * kept.T @ kept @ np.ones(2), rtol=16 * EPS)
    assert np.isfinite(x.grad).all()


def test_an_infinite_slope_that_does_meet_a_cotangent_is_infinite_as_arithmetic_says():
    x = tg.tensor([0.0, 4.0])
    np.sum(np.sqrt(x)).backward()
    assert x.grad.tolist() == [INF, 0.25]


def test_the_derivative_by_the_cotangent_survives_where_the_cotangent_is_zero():
    # By the rule "0 where g is 0" it would be lost, and with it forward derivatives.
    x, u = tg.tensor([2.0]), tg.tensor([0.0])
    np.sum(u * np.log(x)).backward(create_graph=True)
    by_x = x.grad
    u.grad = None
    by_x.backward(np.ones(1))
    assert u.grad.tolist() == [0.5]


# ---------------------------------------------------------------- ties: a subgradient whose total is 1

TIED = np.array([1.0, 3.0, 3.0, -2.0, 3.0, -2.0])
SELECTING = {
    "max": np.max,
    "min": np.min,
    "nanmax": np.nanmax,
    "nanmin": np.nanmin,
    "median": np.median,
    "quantile": lambda x: np.quantile(x, 0.7),
    "nanmedian": np.nanmedian,
    "percentile": lambda x: np.percentile(x, 60, method="nearest"),
    "norm inf": lambda x: np.linalg.norm(x, np.inf),
    "maximum.reduce": np.maximum.reduce,
    "fmin.reduce": np.fmin.reduce,
    "maximum.accumulate": lambda x: np.maximum.accumulate(x)[-1],
    "sort": lambda x: np.sort(x)[-1],
    "partition": lambda x: np.partition(x, 3)[3],
    "maximum of itself": lambda x: np.maximum(x, x)[1],
    "clip by itself": lambda x: np.clip(x, x, x)[1],
    "take of argmax": lambda x: x[np.argmax(x)],
    "unique": lambda x: np.unique(x)[-1],
}


@pytest.mark.parametrize("name", SELECTING)
def test_what_selects_one_of_several_tied_gives_away_exactly_one(name):
    f = SELECTING[name]
    x = tg.tensor(TIED)
    y = f(x)
    y.backward()
    assert y.numpy() == f(TIED)
    np.testing.assert_allclose(np.sum(x.grad * np.sign(TIED)), np.sign(y.numpy()), rtol=2 * EPS)
    if name not in ("quantile", "median", "nanmedian"):  # These lie between two.
        one = TIED[np.flatnonzero(x.grad)[0]]
        assert (x.grad[one != TIED] == 0).all()


def test_the_range_gives_one_to_the_largest_and_takes_one_from_the_smallest():
    x = tg.tensor(TIED)
    np.ptp(x).backward()
    np.testing.assert_allclose(x.grad, [0, 1 / 3, 1 / 3, -1 / 2, 1 / 3, -1 / 2], rtol=EPS)


@pytest.mark.parametrize("f", [np.maximum, np.minimum, np.fmax, np.fmin])
def test_two_that_tie_get_half_each(f):
    (a, b), _ = first_and_second(f, np.array([3.0]), np.array([3.0]))
    assert (a.tolist(), b.tolist()) == ([0.5], [0.5])


@pytest.mark.parametrize("f", [np.median, lambda x: np.quantile(x, 0.5), lambda x: np.sort(x)[3]])
def test_tied_order_statistics_follow_the_stable_order(f):
    a = np.array([2.0, 1.0, 2.0, 2.0, 3.0, 2.0, 0.0])
    x = tg.tensor(a)
    f(x).backward()
    assert x.grad.tolist() == np.eye(7)[np.argsort(a, kind="stable")[3]].tolist()


# ---------------------------------------------------------------- kinks and origins

KINKS = {
    "abs": (np.abs, 1),
    "fabs": (np.fabs, 1),
    "complex abs": (lambda x: np.abs(x * (1 + 1j)), 1),
    "relu": (tg.nn.relu, 1),
    "hypot": (lambda x: np.hypot(x, 2 * x), 1),
    "arctan2": (lambda x: np.arctan2(x, 2 * x), 1),
    "norm": (lambda x: np.linalg.norm(np.stack([x, -x, 2 * x], -1), axis=-1), 2),
    "norm 3": (lambda x: np.linalg.norm(np.stack([x, -x, 2 * x], -1), 3, axis=-1), 2),
    "std": (lambda x: np.std(np.stack([x, -x, 2 * x], -1), axis=-1), 2),
    "nanstd": (lambda x: np.nanstd(np.stack([x, -x, 2 * x], -1), axis=-1), 2),
    "Frobenius": (lambda x: np.linalg.norm(x[:, None, None] * np.eye(2), axis=(1, 2)), 2),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_the_gradient_is_zero_and_no_other_element_is_spoiled(name):
    f, order = KINKS[name]
    a = np.array([0.0, 1.5, -2.0])
    (g,), (h,) = first_and_second(f, a)
    assert g[0] == 0
    step = 1e-6
    with np.errstate(all="ignore"):
        slopes = (f(a + step) - f(a - step)) / (2 * step)
    np.testing.assert_allclose(g[1:], slopes[1:], atol=1e-8)
    np.testing.assert_allclose(h[1:], 0, atol=1e-8)  # Each is linear on either side.
    assert order == 1 or np.isfinite(h).all()


def test_hypot_of_very_large_and_very_small_numbers_has_the_direction():
    for scale in (1e200, 1e-200, 1e300, 1e-300):
        (a, b), _ = first_and_second(np.hypot, np.array([3 * scale]), np.array([-4 * scale]))
        np.testing.assert_allclose([a[0], b[0]], [0.6, -0.8], rtol=4 * EPS)


# ---------------------------------------------------------------- one bad row leaves the others alone

ROWS = {
    "norm": (lambda x: np.linalg.norm(x, axis=1), [NAN, 1.0, 2.0], 3),
    "std": (lambda x: np.std(x, axis=1), [INF, 1.0, 2.0], 3),
    "std of constants": (lambda x: np.std(x, axis=1), [5.0, 5.0, 5.0], 3),
    "hypot": (lambda x: np.hypot(x[:, 0], x[:, 1]), [0.0, 0.0, 1.0], 3),
    "max": (lambda x: np.max(x, axis=1), [NAN, 1.0, 2.0], 3),
    "median": (lambda x: np.median(x, axis=1), [NAN, 1.0, 2.0], 3),
    "sort": (lambda x: np.sort(x, axis=1)[:, 1], [NAN, 1.0, 2.0], 3),
    "prod": (lambda x: np.prod(x, axis=1), [INF, 0.0, 2.0], 3),
    "cumprod": (lambda x: np.cumprod(x, axis=1)[:, 2], [INF, 0.0, 2.0], 3),
    "cov": (lambda x: np.cov(x)[1], [NAN, 1.0, 2.0], 3),
}


@pytest.mark.parametrize("name", ROWS)
def test_one_bad_row_does_not_spoil_the_gradients_of_the_others(name):
    f, bad, n = ROWS[name]
    good = np.array([[1.0, 2.5, -0.5], [0.25, -1.0, 2.0]])
    x, y = tg.tensor(np.vstack([bad, good])), tg.tensor(np.vstack([np.arange(1.0, n + 1), good]))
    with np.errstate(all="ignore"):
        outputs = f(x), f(y)
    for leaf, output in zip((x, y), outputs, strict=True):
        np.sum(output[1:]).backward()
        assert np.isfinite(leaf.grad[1:]).all()
    np.testing.assert_allclose(x.grad[1:], y.grad[1:], rtol=1e2 * EPS, atol=1e2 * EPS)


MATRICES = {
    "eigh": lambda x: np.linalg.eigh(x + np.swapaxes(x, -1, -2))[1][..., 0, 0] ** 2,
    "svd": lambda x: np.linalg.svd(x)[0][..., 0, 0] ** 2,
    "det": np.linalg.det,
    "slogdet": lambda x: np.linalg.slogdet(x)[1],
    "nuclear": lambda x: np.linalg.norm(x, "nuc", axis=(-2, -1)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_one_degenerate_matrix_does_not_spoil_the_gradients_of_the_others(name):
    f = MATRICES[name]
    good = np.array([[[2.0, 0.5], [0.25, 1.0]], [[1.0, -0.5], [0.75, 3.0]]])
    bad = np.eye(2) if name in ("eigh", "svd") else np.zeros((2, 2))
    x, y = tg.tensor(np.concatenate([bad[None], good])), tg.tensor(good)
    with np.errstate(all="ignore"):
        np.sum(f(x)).backward()
    np.sum(f(y)).backward()
    np.testing.assert_allclose(x.grad[1:], y.grad, rtol=1e2 * EPS, atol=1e2 * EPS)


# ---------------------------------------------------------------- powers

POWERS = {
    "**": lambda x, n: x**n,
    "power": np.power,
    "float_power": np.float_power,
    "int array": lambda x, n: np.power(x, np.full(x.shape, n)),
    "float array": lambda x, n: np.power(x, np.full(x.shape, float(n))),
    "float_power of an int array": lambda x, n: np.float_power(x, np.full(x.shape, n)),
    "float": lambda x, n: x ** float(n),
    "ipow": lambda x, n: (x * 1).__ipow__(n),
}


@pytest.mark.parametrize("form", POWERS)
@pytest.mark.parametrize("n", range(5))
def test_whole_powers_are_polynomials_at_every_base_and_order(form, n):
    a = np.array([0.0, -0.0, -1.5, 2.0])
    leaf = tg.tensor(a)
    y = POWERS[form](leaf, n)
    factor = 1.0
    for k in range(1, 4):
        factor *= n - k + 1
        if not y.requires_grad:
            assert factor == 0
            return
        y.backward(np.ones(4), create_graph=True)
        y, leaf.grad = leaf.grad, None
        expected = factor * a ** (n - k) if n >= k else np.zeros(4)
        np.testing.assert_allclose(y.numpy(), expected, rtol=8 * EPS)


def test_the_exponent_at_a_base_that_is_not_positive_never_spoils_the_base():
    x, p = tg.tensor([0.0, 0.0, -2.0]), tg.tensor([2.0, 1.0, 3.0])
    np.sum(x**p).backward()
    assert x.grad.tolist() == [0.0, 1.0, 12.0]
    assert p.grad[:2].tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- products with zeros

ZEROS = [np.array([2.0, 3.0, 5.0]), np.array([2.0, 0.0, 5.0]), np.array([0.0, 3.0, 0.0]), np.zeros(3)]
PRODUCTS = {
    "prod": np.prod,
    "cumprod": lambda x: np.cumprod(x)[-1],
    "nanprod": np.nanprod,
    "multiply.reduce": np.multiply.reduce,
    "multiply.accumulate": lambda x: np.multiply.accumulate(x)[-1],
    "det": lambda x: np.linalg.det(np.diag(x)),
    "**": lambda x: x[0] ** 1 * x[1] * x[2],
    "einsum": lambda x: np.einsum("i,j,k->ijk", x, x, x)[0, 1, 2],
}


@pytest.mark.parametrize("a", ZEROS, ids=["none", "one", "two", "all"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_zeros_have_their_exact_gradient_and_hessian(name, a):
    f = PRODUCTS[name]
    x = tg.tensor(a)
    f(x).backward()
    others = [math.prod(a[j] for j in range(3) if j != i) for i in range(3)]
    pairs = [[0.0 if i == j else a[3 - i - j] for j in range(3)] for i in range(3)]
    # A determinant is taken by LAPACK, and its cofactors are sums.
    tolerance = {"rtol": 0, "atol": 64 * EPS if name == "det" else 0}
    np.testing.assert_allclose(x.grad, others, **tolerance)
    np.testing.assert_allclose(hessian(f, a), pairs, **tolerance)


# ---------------------------------------------------------------- spectra

REPEATED = np.diag([2.0, 2.0, 5.0])


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: np.sum(np.linalg.eigvalsh(x) ** 3), lambda a: 3 * a @ a),
        (lambda x: np.sum(np.linalg.eigh(x)[0] ** 3), lambda a: 3 * a @ a),
        (lambda x: np.sum(np.linalg.svd(x, compute_uv=False) ** 3), lambda a: 3 * a @ a),
        (lambda x: np.sum(np.linalg.svdvals(x) ** 3), lambda a: 3 * a @ a),
        (lambda x: np.linalg.norm(x, "nuc"), lambda a: np.eye(3)),
    ],
    ids=["eigvalsh", "eigh", "svd", "svdvals", "nuclear"],
)
def test_losses_of_values_alone_are_right_where_they_repeat(f, slope):
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    a = turn @ REPEATED @ turn.T
    x = tg.tensor((a + a.T) / 2)
    f(x).backward()
    np.testing.assert_allclose(x.grad, slope(a), atol=1e3 * EPS * 75)


@pytest.mark.parametrize("f", [lambda x: np.linalg.eigh(x)[1], lambda x: np.linalg.svd(x)[0]], ids=["eigh", "svd"])
def test_losses_of_vectors_of_repeated_values_are_nan_and_never_finite_and_wrong(f):
    x = tg.tensor(REPEATED)
    np.sum(f(x) * np.arange(9.0).reshape(3, 3)).backward()
    assert np.isnan(x.grad).any()


def test_cholesky_and_eigh_give_the_symmetric_gradient():
    a = np.array([[4.0, 1.0], [1.0, 3.0]])
    for f in (lambda x: np.sum(np.linalg.cholesky(x)), lambda x: np.linalg.eigvalsh(x)[0]):
        x = tg.tensor(a)
        f(x).backward()
        np.testing.assert_array_equal(x.grad, x.grad.T)


# ---------------------------------------------------------------- complex numbers and dtypes


def test_the_gradient_of_a_real_loss_is_the_direction_of_steepest_ascent():
    z = np.array([1 + 2j, -3 + 0.5j])
    leaf = tg.tensor(z)
    np.sum(np.abs(leaf) ** 2).backward()
    np.testing.assert_allclose(leaf.grad, 2 * z, rtol=8 * EPS)


def test_a_real_operand_of_a_complex_result_gets_a_real_gradient():
    x = tg.tensor([1.0, 2.0])
    np.sum(np.abs(np.exp(1j * x) + 1) ** 2).backward()
    assert x.grad.dtype == np.float64
    np.testing.assert_allclose(x.grad, -2 * np.sin([1.0, 2.0]), rtol=8 * EPS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128])
def test_every_dtype_stays_what_it_is_through_values_and_cotangents(dtype):
    x = tg.tensor(np.array([0.5, 2.0, 3.0], dtype))
    seen = []
    y = 2 * np.tanh(x) ** 2 / 3 + np.log(1 + x) * 0.5
    y = np.cumsum(y.reshape(1, 3) @ np.ones((3, 3), dtype) if dtype not in (np.float16,) else y)
    y.register_hook(lambda g: seen.append(g.dtype))
    assert y.dtype == dtype
    y.backward(np.ones(3, dtype))
    assert seen == [np.dtype(dtype)]
    assert x.grad.dtype == dtype


def test_clip_by_every_pair_of_bounds_that_tie_gives_to_x():
    for low, high in itertools.product((-1.0, 0.0), (0.0, 1.0)):
        (x,), _ = first_and_second(lambda x, low=low, high=high: np.clip(x, low, high), np.array([low, high]))
        assert x.tolist() == [1.0, 1.0]
