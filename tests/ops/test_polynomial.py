"""Polynomials: identities between roots and coefficients, what is trimmed by value, and the hard points."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing.check import check_grads

P = np.array([2.0, -3.0, 0.5, 1.0])


def gradient(f: Any, *arrays: Any) -> list[Any]:
    leaves = [tg.tensor(a) for a in arrays]
    np.sum(f(*leaves)).backward()
    return [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in leaves]


def test_polyval_to_order_three() -> None:
    check_grads(np.polyval, P, np.array([0.0, 0.5, -1.5]), order=3)
    check_grads(np.polyval, P + 1j, np.array([[0.5 + 1j], [1.0]]))
    check_grads(np.polyval, P, 0.7)


def test_polyval_keeps_float32() -> None:
    p, x = tg.tensor(P.astype(np.float32)), tg.tensor(np.ones(3, np.float32))
    y = np.polyval(p, x)
    assert y.dtype == np.float32
    np.sum(y).backward()
    assert (p.grad.dtype, x.grad.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("f", [np.polyadd, np.polysub, np.polymul, np.polydiv, np.polyval], ids=lambda f: f.__name__)
def test_the_class_of_polynomials_is_refused(f: Any) -> None:
    for operands in ((np.poly1d(P), tg.tensor(P)), (tg.tensor(P), np.poly1d(P))):
        with pytest.raises(tg.TapegradError, match="poly1d"):
            f(*operands)


def test_a_leading_zero_of_a_product_is_trimmed_and_has_its_derivative() -> None:
    a, b = np.array([0.0, 2.0, 1.0]), np.array([1.0, 3.0, 5.0])
    s, t = tg.tensor(a), tg.tensor(b)
    y = np.polymul(s, t)
    np.testing.assert_array_equal(y.numpy(), np.polymul(a, b))
    np.sum(y).backward()
    # Of the coefficient of x^2, times b: what falls on x^3 and below is in the product, x^4 isn't.
    np.testing.assert_array_equal(s.grad, [8.0, 9.0, 9.0])
    np.testing.assert_array_equal(t.grad, [3.0, 3.0, 3.0])
    for zero in (np.zeros(2), np.zeros(1)):
        np.testing.assert_array_equal(np.polymul(tg.tensor(zero), b).numpy(), np.polymul(zero, b))


@pytest.mark.parametrize("lengths", [(5, 2), (6, 4), (3, 3), (2, 4), (4, 1)], ids=str)
def test_division_undoes_multiplication(lengths: Any) -> None:
    rng = np.random.default_rng(0)
    u, v = (rng.uniform(0.5, 2, n) for n in lengths)

    def back(u: Any, v: Any) -> Any:
        q, r = np.polydiv(u, v)
        return np.polyadd(np.polymul(q, v), r)[-len(u) :]

    if lengths[0] >= lengths[1]:
        by_u, by_v = gradient(back, u, v)
        np.testing.assert_allclose(by_u, np.ones(len(u)), rtol=1e-12)
        np.testing.assert_allclose(by_v, np.zeros(len(v)), atol=1e-12)
    for k in range(2):
        if lengths[1] > 1 or k == 0:
            check_grads(lambda u, v, k=k: np.polydiv(u, v)[k], u, v)
            check_grads(lambda u, v, k=k: np.polydiv(u, v)[k], u + 0.3j, v - 0.2j)


def test_roots_move_as_vieta_says() -> None:
    # The sum of the roots is -p1/p0, their product for degree three -p3/p0.
    (by_sum,) = gradient(lambda p: np.real(np.roots(p)), P)
    np.testing.assert_allclose(by_sum, [P[1] / P[0] ** 2, -1 / P[0], 0, 0], atol=1e-13)
    (by_product,) = gradient(lambda p: np.real(np.prod(np.roots(p))), P)
    np.testing.assert_allclose(by_product, [P[3] / P[0] ** 2, 0, 0, -1 / P[0]], atol=1e-13)


def test_a_root_at_zero_moves_though_numpy_strips_it() -> None:
    (c,) = gradient(np.roots, np.array([1.0, -1.0, 0.0]))
    np.testing.assert_allclose(c, [-1.0, -1.0, 0.0], atol=1e-15)  # Their sum is -p1/p0: p2 doesn't matter.
    (c,) = gradient(lambda p: np.roots(p)[-1], np.array([1.0, -1.0, 0.0]))
    np.testing.assert_allclose(c, [0.0, 0.0, 1.0], atol=1e-15)


def test_a_repeated_root_with_no_cotangent_spoils_nothing() -> None:
    (c,) = gradient(lambda p: np.roots(p)[0], np.array([1.0, -1.0, 0.0, 0.0]))
    np.testing.assert_allclose(c, [-1.0, -1.0, -1.0, -1.0], rtol=1e-14)


def test_poly_and_roots_undo_each_other() -> None:
    z = np.array([0.5, -1.2, 2.0])
    t = tg.tensor(np.poly(z))
    np.sum(np.poly(np.roots(t)) * np.array([0.0, 1.0, 2.0, 3.0])).backward()
    np.testing.assert_allclose(t.grad[1:], [1.0, 2.0, 3.0], rtol=1e-11)


def test_poly_of_conjugate_pairs_is_real() -> None:
    z = tg.tensor(np.array([1 + 2j, 1 - 2j, 0.5]))
    y = np.poly(z)
    assert y.dtype == np.float64
    check_grads(np.poly, np.array([1 + 2j, 1 - 1j, 0.5]))


def test_poly_of_a_list_of_tensors() -> None:
    a, b = tg.tensor(2.0), tg.tensor(3.0)
    np.poly([a, b])[2].backward()
    assert (a.grad, b.grad) == (3.0, 2.0)


def test_the_characteristic_polynomial_of_a_defective_matrix() -> None:
    a = np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 2.0]])
    (by_trace,) = gradient(lambda a: np.poly(a)[1], a)
    np.testing.assert_allclose(by_trace, -np.eye(3), atol=1e-13)
    (by_det,) = gradient(lambda a: np.poly(a)[3], a)
    # -det a; its gradient is minus the matrix of cofactors, det(a) inv(a)^T.
    np.testing.assert_allclose(by_det, -8 * np.linalg.inv(a).T, rtol=1e-9, atol=1e-9)  # eigvals: eps^(1/3) splits


def test_polyint_and_polyder_undo_each_other() -> None:
    check_grads(lambda p, k: np.polyint(p, 2, k), P, np.array([1.0, 2.0]))
    check_grads(lambda p, k: np.polyint(p, 3, k), P, 0.5)
    np.testing.assert_allclose(gradient(lambda p: np.polyder(np.polyint(p, 2), 2), P)[0], np.ones(4), rtol=1e-15)
    for f in (np.polyint, np.polyder):
        with pytest.raises(ValueError, match="positive"):
            f(tg.tensor(P), -1)


def test_vander_at_zero() -> None:
    check_grads(lambda x: np.vander(x, 4), np.array([0.0, 1.5, -0.5]), order=3)


def test_polyfit_finds_the_polynomial_again() -> None:
    x = np.array([-1.0, -0.4, 0.3, 0.9, 1.6, 2.0])
    p = tg.tensor(P)
    np.sum(np.polyfit(x, np.polyval(p, x), 3) * np.arange(1.0, 5.0)).backward()
    np.testing.assert_allclose(p.grad, [1.0, 2.0, 3.0, 4.0], rtol=1e-11)


def test_polyfit_by_points_values_and_weights() -> None:
    x, y = np.array([-1.0, -0.4, 0.3, 0.9, 1.6]), np.array([1.0, 0.2, -0.5, 0.7, 2.0])
    w = np.array([1.0, 2.0, 0.5, 1.0, 1.5])
    check_grads(lambda x, y, w: np.polyfit(x, y, 2, w=w), x, y, w)
    check_grads(lambda x, y, w: np.polyfit(x, y, 1, w=w, cov=True)[1], x, y, w)


def test_polyfit_refuses_what_numpy_refuses() -> None:
    x = tg.tensor(np.arange(3.0))
    for call, error in (
        (lambda: np.polyfit(x, x, -1), ValueError),
        (lambda: np.polyfit(x[:, None], x, 1), TypeError),
        (lambda: np.polyfit(x, x[:2], 1), TypeError),
        (lambda: np.polyfit(x, x, 1, w=x[:2]), TypeError),
    ):
        with pytest.raises(error):
            call()  # type: ignore[no-untyped-call]


def test_polydiv_by_an_array_may_be_the_first_call_of_a_process():
    program = """
import numpy as np, tapegrad as tg
print(np.polydiv(tg.tensor([1.0, 3.0, 2.0]), np.array([1.0, 1.0]))[0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tensor([1., 2.]")
