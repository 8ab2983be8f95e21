"""Inverses, equations, determinants and products: hard points, refusals, and identities of mathematics."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import WriteError
from tapegrad.testing import check_grads

RNG = np.random.default_rng(3)
A = RNG.normal(size=(3, 3)) + 2 * np.eye(3)
B = RNG.normal(size=(3, 3))
RANK_ONE = np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0])
TALL = RNG.normal(size=(5, 3))
U, _, VH = np.linalg.svd(TALL, full_matrices=False)
UC, _, VCH = np.linalg.svd(TALL + 1j * RNG.normal(size=(5, 3)), full_matrices=False)
NOTHING_OF_SECOND = np.array([True, False])


def gradient(f: Any, *arrays: Any) -> Any:
    """The gradients of a scalar function; of one array alone, its gradient."""
    leaves = [tg.tensor(a) for a in arrays]
    f(*leaves).backward()
    return leaves[0].grad if len(leaves) == 1 else [leaf.grad for leaf in leaves]


def second(f: Any, a: Any, along: Any) -> Any:
    """The Hessian of a scalar function along a direction."""
    x = tg.tensor(a)
    f(x).backward(create_graph=True)
    g, x.grad = x.grad, None
    np.sum(g * along).backward()
    return x.grad


def of_rank_two(smallest: float, complex_: bool) -> Any:
    u, vh = (UC, VCH) if complex_ else (U, VH)
    return (u * [3.0, 1.0, smallest]) @ vh


# ---------------------------------------------------------------- determinants


def adjugate(a: Any) -> Any:
    """By minors, one at a time: no rule, no division."""
    n = len(a)
    minors = [[np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    return np.array([[(-1.0) ** (i + j) * minors[i][j] for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_gradient_of_det_is_the_matrix_of_cofactors_at_every_rank(rank: int) -> None:
    a = RNG.normal(size=(4, rank)) @ RNG.normal(size=(rank, 4))
    scale = np.max(np.abs(a), initial=1.0) ** 3
    np.testing.assert_allclose(gradient(np.linalg.det, a), adjugate(a), atol=1e-13 * scale, rtol=0)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_the_hessian_of_det_is_exact_at_every_rank(rank: int) -> None:
    # Of the cubic det(a + t e) the coefficient of t^2 is half of what the Hessian makes of e; four values tell it.
    a = RNG.normal(size=(3, rank)) @ RNG.normal(size=(rank, 3))
    t = np.array([-1.0, 0.0, 1.0, 2.0])
    coefficient = np.polynomial.polynomial.polyfit(t, [np.linalg.det(a + s * B) for s in t], 3)[2]
    assert np.sum(second(np.linalg.det, a, B) * B) == pytest.approx(2 * coefficient, abs=1e-11)


def test_the_hessian_of_a_complex_singular_det_is_exact() -> None:
    a = np.outer([1, 2j, 3], [1j, -1, 2.0]) + np.diag([1.0, 0, 0])
    check_grads(lambda x: np.real(np.linalg.det(x)) + 2 * np.imag(np.linalg.det(x)), a)


def test_third_derivatives_of_det_are_right_far_from_singular_and_nan_there() -> None:
    check_grads(np.linalg.det, A, order=3)
    x = tg.tensor(RANK_ONE)
    np.linalg.det(x).backward(create_graph=True)
    g, x.grad = x.grad, None
    np.sum(g * B).backward(create_graph=True)
    g, x.grad = x.grad, None
    np.sum(g * B).backward()
    assert np.isnan(x.grad).all()


def test_cofactors_do_not_overflow_where_they_are_finite() -> None:
    a = np.diag([1e200, 1e200, 1e-200, 1e-200])
    np.testing.assert_allclose(np.diag(gradient(np.linalg.det, a)), 1 / np.diag(a), rtol=1e-13)


def test_a_matrix_of_nan_that_is_masked_out_spoils_no_determinant() -> None:
    a = np.stack([A, np.full((3, 3), np.nan)])
    with np.errstate(invalid="ignore"):
        g = gradient(lambda x: np.sum(np.where(NOTHING_OF_SECOND, np.linalg.det(x), 0)), a)
    np.testing.assert_allclose(g[0], adjugate(A), rtol=1e-12)
    assert not g[1].any()


def test_slogdet_of_a_singular_matrix_is_nan_and_spoils_no_other() -> None:
    a = np.stack([A, np.zeros((3, 3))])
    g = gradient(lambda x: np.sum(np.linalg.slogdet(x)[1]), a)
    np.testing.assert_allclose(g[0], np.linalg.inv(A).T, rtol=1e-12)
    assert np.isnan(g[1]).all()
    g = gradient(lambda x: np.sum(np.where(NOTHING_OF_SECOND, np.linalg.slogdet(x)[1], 0)), a)
    assert not g[1].any()


def test_sign_and_logarithm_make_up_the_gradient_of_a_complex_det() -> None:
    a = A + 1j * B
    sign, log = np.linalg.slogdet(x := tg.tensor(a))
    np.real(sign * np.exp(log) * (1 - 2j)).backward()
    np.testing.assert_allclose(x.grad, gradient(lambda z: np.real(np.linalg.det(z) * (1 - 2j)), a), rtol=1e-12)


# ---------------------------------------------------------------- inverses and equations


def test_inv_times_the_matrix_has_no_gradient() -> None:
    assert np.max(np.abs(gradient(lambda x: np.sum(np.linalg.inv(x) @ x * B), A))) < 1e-13


def test_b_is_one_vector_only_if_it_has_one_axis() -> None:
    a = np.stack([A, 2 * A])
    assert np.linalg.solve(tg.tensor(a), np.ones(3)).shape == (2, 3)
    x = tg.tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="mismatch"):
        np.linalg.solve(tg.tensor(a), x)


def test_tensorsolve_undoes_tensordot() -> None:
    a, x = RNG.normal(size=(2, 3, 3, 2)), RNG.normal(size=(3, 2))
    g = gradient(lambda y: np.sum(np.linalg.tensorsolve(a, np.tensordot(a, y, 2)) * x), x)
    np.testing.assert_allclose(g, x, rtol=1e-10)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("smallest", [0.2, 1e-3])
def test_pinv_and_lstsq_know_what_their_own_cut_off_left_out(complex_: bool, flip: bool, smallest: float) -> None:
    a = of_rank_two(smallest, complex_)
    a = a.conj().T if flip else a
    w, b = RNG.normal(size=a.shape[::-1]), RNG.normal(size=(a.shape[0], 2))
    check_grads(lambda x: np.sum(np.real(np.linalg.pinv(x, rcond=0.25)) * w), a, order=1)

    def solved(x: Any, y: Any) -> Any:
        solution, _, _, s = np.linalg.lstsq(x, y, rcond=0.25)
        return np.sum(np.real(solution) * w[:, :2]) + np.sum(s**2)

    check_grads(solved, a, b, order=1)


def test_a_second_derivative_past_a_cut_off_is_nan() -> None:
    a = of_rank_two(0.2, False)
    assert np.isnan(second(lambda x: np.sum(np.linalg.pinv(x, rcond=0.25) ** 2), a, np.ones_like(a))).all()


def test_a_kept_cut_off_in_one_matrix_of_a_batch_leaves_the_others_alone() -> None:
    a = np.stack([of_rank_two(0.2, False), of_rank_two(2.0, False)])
    g = gradient(lambda x: np.sum(np.linalg.pinv(x, rcond=0.25)), a)
    for i in range(2):
        alone = gradient(lambda x: np.sum(np.linalg.pinv(x, rcond=0.25)), a[i])
        np.testing.assert_allclose(g[i], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("flip", [False, True])
def test_pinv_of_deficient_rank_is_twice_differentiable_at_constant_rank(flip: bool) -> None:
    left, right = RNG.normal(size=(4, 2)), RNG.normal(size=(2, 3))
    if flip:
        left, right = right.T, left.T
    w = RNG.normal(size=(right.shape[1], left.shape[0]))
    check_grads(lambda x: np.sum(np.linalg.pinv(x @ right, rcond=1e-8) * w), left)


def test_pinv_of_a_hermitian_matrix_has_the_symmetric_gradient_of_the_triangle_that_is_read() -> None:
    a = A + A.T
    spoiled = np.tril(a) + np.triu(np.full((3, 3), 7.0), 1)
    g = gradient(lambda x: np.sum(np.linalg.pinv(x, hermitian=True) * B), spoiled)
    plain = gradient(lambda x: np.sum(np.linalg.pinv(x) * B), a)
    np.testing.assert_allclose(g, (plain + plain.T) / 2, rtol=1e-10, atol=1e-13)


def test_lstsq_of_deficient_rank_has_the_gradient_of_pinv() -> None:
    a, b = of_rank_two(0.0, False), RNG.normal(size=5)
    by_lstsq = gradient(lambda x, y: np.sum(np.linalg.lstsq(x, y, rcond=1e-9)[0] ** 2), a, b)
    by_pinv = gradient(lambda x, y: np.sum((np.linalg.pinv(x, rcond=1e-9) @ y) ** 2), a, b)
    for given, right in zip(by_lstsq, by_pinv, strict=True):
        np.testing.assert_allclose(given, right, rtol=1e-9, atol=1e-12)


def test_residuals_are_the_least_sum_of_squares() -> None:
    b = RNG.normal(size=(5, 2))
    given = gradient(lambda x, y: np.sum(np.linalg.lstsq(x, y)[1]), TALL, b)
    right = gradient(lambda x, y: np.sum((y - x @ (np.linalg.pinv(x) @ y)) ** 2), TALL, b)
    for g, r in zip(given, right, strict=True):
        np.testing.assert_allclose(g, r, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- powers and chains


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5])
def test_matrix_power_is_repeated_multiplication(n: int) -> None:
    def by_hand(x: Any) -> Any:
        base, y = (np.linalg.inv(x) if n < 0 else x), np.eye(3)
        for _ in range(abs(n)):
            y = y @ base
        return np.sum(y * B)

    given = gradient(lambda x: np.sum(np.linalg.matrix_power(x, n) * B), A)
    right = gradient(by_hand, A) if n else np.zeros((3, 3))
    np.testing.assert_allclose(given, right, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n", [1.5, "2"])
def test_matrix_power_wants_a_whole_number(n: Any) -> None:
    with pytest.raises(TypeError):
        np.linalg.matrix_power(tg.tensor(A), n)


def test_matrix_power_wants_square_matrices() -> None:
    with pytest.raises(np.linalg.LinAlgError, match=r"\(5, 3\)"):
        np.linalg.matrix_power(tg.tensor(TALL), 2)


def test_multi_dot_takes_tensors_arrays_and_lists() -> None:
    x = tg.tensor(A)
    y = np.linalg.multi_dot([np.ones(3), x, [[1.0], [2.0], [3.0]]])
    np.testing.assert_allclose(y.numpy(), np.ones(3) @ A @ [[1.0], [2.0], [3.0]])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, np.outer(np.ones(3), [1.0, 2.0, 3.0]))


def test_multi_dot_refuses_what_numpy_refuses_and_out() -> None:
    x = tg.tensor(A)
    with pytest.raises(WriteError, match="out="):
        np.linalg.multi_dot([x, x], out=np.zeros((3, 3)))
    with pytest.raises(ValueError, match="at least two"):
        np.linalg.multi_dot([x])
    with pytest.raises(np.linalg.LinAlgError, match="1-dimensional"):
        np.linalg.multi_dot([x, np.ones(3), x])


# ---------------------------------------------------------------- products


def test_vecdot_conjugates_its_first_operand() -> None:
    a, b = np.array([1 + 2j, 3j]), np.array([2.0 - 1j, 1.0])
    x, y = tg.tensor(a), tg.tensor(b)
    np.real(np.vecdot(x, y)).backward()
    np.testing.assert_array_equal(x.grad, b)
    np.testing.assert_array_equal(y.grad, a)


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
def test_a_vector_of_two_has_a_third_element_of_zero_in_cross() -> None:
    x, y, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 5.0]), tg.tensor([1.0, 2.0, 4.0])
    np.cross(x, y).backward()
    np.testing.assert_array_equal(x.grad, [5.0, -3.0])
    np.testing.assert_array_equal(y.grad, [-2.0, 1.0])
    np.sum(np.cross(z, y)).backward()
    np.testing.assert_array_equal(z.grad, [5.0, -3.0, -2.0])


def test_linalg_cross_wants_vectors_of_three() -> None:
    with pytest.raises(ValueError, match="3-dimensional"):
        np.linalg.cross(tg.tensor([1.0, 2.0]), np.ones(3))
