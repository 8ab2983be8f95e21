"""Cholesky, QR, eigenvalues, singular values: where they repeat, vanish, or have vectors of any phase."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import NotDifferentiableError
from tapegrad.testing import check_grads

RNG = np.random.default_rng(5)
A = RNG.normal(size=(3, 3))
W = RNG.normal(size=(3, 3))
P = RNG.normal(size=(5, 5))
TALL = RNG.normal(size=(5, 2))
SYMMETRIC = A + A.T
HERMITIAN = SYMMETRIC + 1j * (W - W.T)
Q = np.linalg.qr(A)[0]
EITHER = pytest.mark.parametrize("matrix", [SYMMETRIC, HERMITIAN], ids=["real", "complex"])
TRIANGLE = pytest.mark.parametrize("UPLO", ["L", "U"])


def gradient(f: Any, a: Any) -> Any:
    x = tg.tensor(a)
    f(x).backward()
    return x.grad


def part(a: Any) -> Any:
    """The Hermitian part."""
    return (a + np.conj(np.swapaxes(a, -1, -2))) / 2


def complexified(a: Any) -> Any:
    return a + 1j * RNG.normal(size=a.shape)


# ---------------------------------------------------------------- Hermitian operands


@EITHER
@TRIANGLE
def test_eigh_is_right_for_values_and_vectors_in_lapacks_phase(matrix: Any, UPLO: Any) -> None:
    def loss(a: Any) -> Any:
        w, v = np.linalg.eigh(part(a), UPLO=UPLO)
        return np.sum(np.real(v) * W) + np.sum(np.imag(v) * A) + np.sum(w**3)

    check_grads(loss, matrix)


@EITHER
@TRIANGLE
def test_functions_of_one_triangle_have_the_symmetric_gradient(matrix: Any, UPLO: Any) -> None:
    definite = matrix @ matrix.conj().T + np.eye(3)
    losses = [
        lambda a: np.sum(np.linalg.eigvalsh(a, UPLO=UPLO) ** 3),
        lambda a: np.sum(np.real(np.linalg.eigh(a, UPLO=UPLO)[1]) * W),
        lambda a: np.sum(np.real(np.linalg.cholesky(a, upper=UPLO == "U")) * W),
    ]
    other = np.triu(np.full((3, 3), 9.0), 1) if UPLO == "L" else np.tril(np.full((3, 3), 9.0), -1)
    read = np.tril if UPLO == "L" else np.triu
    for loss in losses:
        g = gradient(loss, definite)
        np.testing.assert_allclose(g, np.conj(g.T), atol=1e-12)
        np.testing.assert_allclose(g, gradient(lambda a, loss=loss: loss(part(a)), definite), rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(g, gradient(loss, read(definite) + other))


@EITHER
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_is_right_at_both_orders(matrix: Any, upper: bool) -> None:
    definite = matrix @ matrix.conj().T + np.eye(3)
    check_grads(lambda a: np.sum(np.real(np.linalg.cholesky(part(a), upper=upper)) * W), definite)


@EITHER
@pytest.mark.parametrize("vectors", [False, True])
def test_svd_of_a_hermitian_matrix_goes_by_its_eigenvalues(matrix: Any, vectors: bool) -> None:
    given = np.linalg.svd(tg.tensor(matrix), compute_uv=vectors, hermitian=True)
    right = np.linalg.svd(matrix, compute_uv=vectors, hermitian=True)
    for y, expected in zip(given if vectors else [given], right if vectors else [right], strict=True):
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-13)
    if vectors:
        assert given._fields == right._fields

    def loss(a: Any) -> Any:
        y = np.linalg.svd(part(a), compute_uv=vectors, hermitian=True)
        return np.sum(y[1] ** 3) + np.sum(np.real(y[0] * W)) + np.sum(np.real(y[2] * A)) if vectors else np.sum(y**3)

    check_grads(loss, matrix)


# ---------------------------------------------------------------- repeated values

SPECTRA = {
    "eigvalsh": np.linalg.eigvalsh,
    "eigvals": np.linalg.eigvals,
    "svdvals": np.linalg.svdvals,
    "eigh": lambda a: np.linalg.eigh(a)[0],
    "eig": lambda a: np.linalg.eig(a)[0],
    "svd": lambda a: np.linalg.svd(a)[1],
}


@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("matrix", [2 * np.eye(3), part(Q @ np.diag([2.0, 2.0, 5.0]) @ Q.T)], ids=["2I", "2,2,5"])
def test_losses_of_values_alone_are_right_where_they_repeat(values: Any, matrix: Any) -> None:
    # The sum of squares is that of all elements (for eigenvalues: of a symmetric matrix).
    np.testing.assert_allclose(gradient(lambda a: np.sum(values(a) ** 2), matrix), 2 * matrix, atol=1e-12)


def test_the_sum_of_all_eigenvalues_is_the_trace() -> None:
    for matrix in (A, 0 * A, np.diag([1.0, 1.0, 2.0])):
        np.testing.assert_allclose(
            gradient(lambda a: np.sum(np.real(np.linalg.eigvals(a))), matrix), np.eye(3), atol=1e-12
        )


@pytest.mark.parametrize("function", [np.exp, np.log, np.sqrt])
@pytest.mark.parametrize("matrix", [np.eye(3), part(Q @ np.diag([2.0, 2.0, 5.0]) @ Q.T)], ids=["I", "2,2,5"])
def test_functions_of_matrices_by_vectors_are_nan_where_eigenvalues_repeat(function: Any, matrix: Any) -> None:
    def loss(a: Any) -> Any:
        w, v = np.linalg.eigh(a)
        return np.sum(W * ((v * function(w)) @ v.T))

    assert np.isnan(gradient(loss, matrix)).all()

    def loss_by_svd(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a)
        return np.sum(W * ((u * function(s)) @ vh))

    assert np.isnan(gradient(loss_by_svd, matrix)).all()

    def loss_by_eig(a: Any) -> Any:
        w, v = np.linalg.eig(a)
        return np.sum(W * np.real((v * function(w)) @ np.linalg.inv(v)))

    assert np.isnan(gradient(loss_by_eig, matrix)).any()


def test_second_derivatives_of_repeated_eigenvalues_are_nan_and_not_wrong() -> None:
    x = tg.tensor(np.eye(3))
    np.sum(np.linalg.eigvalsh(x) ** 3).backward(create_graph=True)
    g, x.grad = x.grad, None
    np.sum(g * W).backward()
    assert np.isnan(x.grad).any()


def test_a_vector_of_its_own_is_right_beside_others_that_repeat() -> None:
    matrix = part(Q @ np.diag([1.0, 1.0, 5.0]) @ Q.T)

    def by_eigh(a: Any) -> Any:
        u = np.linalg.eigh(part(a))[1][:, -1]
        return np.sum(W * (u[:, None] * u))

    def by_svd(a: Any) -> Any:
        u, _, vh = np.linalg.svd(a)
        return np.sum(W * (u[:, 0][:, None] * vh[0]))

    check_grads(by_eigh, matrix, order=1)
    check_grads(by_svd, matrix, order=1)


def test_one_degenerate_matrix_of_a_batch_leaves_the_others_alone() -> None:
    batch = np.stack([SYMMETRIC, np.eye(3)])
    for vectors in (lambda a: np.linalg.eigh(a)[1], lambda a: np.linalg.svd(a)[0], lambda a: np.linalg.eig(a)[1]):
        g = gradient(lambda a, f=vectors: np.sum(np.real(f(a)) * W), batch)
        assert np.isnan(g[1]).any()
        np.testing.assert_allclose(g[0], gradient(lambda a, f=vectors: np.sum(np.real(f(a)) * W), SYMMETRIC), rtol=1e-9)
        chosen = np.array([True, False])[:, None, None]
        assert not gradient(lambda a, f=vectors, c=chosen: np.sum(np.where(c, np.real(f(a)), 0)), batch)[1].any()


# ---------------------------------------------------------------- general matrices

PAIR = np.array([[1.0, 2.0, 0.3], [-2.0, 1.5, 0.2], [0.1, 0.4, 3.0]])


@pytest.mark.parametrize("matrix", [PAIR, PAIR + 0.1j * A], ids=["real", "complex"])
def test_eig_is_right_for_pairs_of_complex_values_and_their_vectors(matrix: Any) -> None:
    def loss(a: Any) -> Any:
        w, v = np.linalg.eig(a)
        values = np.sum(np.real(w) ** 2 + np.imag(w) * np.arange(3))
        return values + np.sum(np.real(v) * W + np.imag(v) * A)

    check_grads(loss, matrix)


def test_a_real_matrix_has_a_real_gradient_though_its_eigenvalues_are_complex() -> None:
    assert gradient(lambda a: np.sum(np.abs(np.linalg.eigvals(a))), PAIR).dtype == np.float64


@pytest.mark.parametrize("matrix", [[[1.0, 1.0], [0.0, 1.0]], [[2.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]])
def test_without_a_basis_of_eigenvectors_gradients_are_nan(matrix: Any) -> None:
    assert np.isnan(gradient(lambda a: np.sum(np.linalg.eigvals(a) ** 2), np.array(matrix))).all()


# ---------------------------------------------------------------- complements of svd and qr


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("matrix", [TALL, complexified(TALL)], ids=["real", "complex"])
def test_projectors_on_a_complement_are_right_in_full_decompositions(matrix: Any, wide: bool) -> None:
    def of_svd(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a)
        full = np.conj(vh.T) if wide else u
        rest = full[:, 2:]
        return np.sum(np.real(rest @ np.conj(rest.T)) * P) + np.sum(np.real((u[:, :2] * s) @ vh[:2]) ** 3)

    check_grads(of_svd, matrix.T if wide else matrix)
    if wide:
        return

    def of_qr(a: Any) -> Any:
        q, r = np.linalg.qr(a, "complete")
        rest = q[:, 2:]
        return (
            np.sum(np.real(rest @ np.conj(rest.T)) * P) + np.sum(np.real(q[:, :2]) * P[:, :2]) + np.sum(np.real(r) ** 2)
        )

    check_grads(of_qr, matrix)


@pytest.mark.parametrize("matrix", [TALL, complexified(TALL)], ids=["real", "complex"])
def test_losses_of_the_basis_of_a_complement_are_nan(matrix: Any) -> None:
    assert np.isnan(gradient(lambda a: np.sum(np.real(np.linalg.svd(a)[0]) * P), matrix)).all()
    assert np.isnan(gradient(lambda a: np.sum(np.real(np.linalg.svd(a)[2]) * P), matrix.T)).all()
    assert np.isnan(gradient(lambda a: np.sum(np.real(np.linalg.qr(a, "complete")[0]) * P), matrix)).all()


def test_a_complement_of_one_real_column_has_a_basis() -> None:
    tall = RNG.normal(size=(5, 4))
    check_grads(lambda a: np.sum(np.linalg.svd(a)[0] * P), tall, order=1)
    check_grads(lambda a: np.sum(np.linalg.qr(a, "complete")[0] * P), tall, order=1)


def test_vectors_beside_vanishing_singular_values_are_right_if_only_used_themselves() -> None:
    a = np.outer(P[:, 0], [1.0, 2.0, -1.0])  # of rank one: two singular values are 0

    def loss(x: Any) -> Any:
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        return np.sum(u[:, 0][:, None] * vh[0] * P[:, :3]) * s[0]

    check_grads(loss, a, order=1)
    assert np.isnan(gradient(lambda x: np.sum(np.linalg.svd(x, full_matrices=False)[0] * P[:, :3]), a)).any()


def test_qr_of_dependent_columns_is_nan() -> None:
    dependent = np.column_stack([TALL[:, 0], 2 * TALL[:, 0]])
    batch = np.stack([dependent, TALL])
    g = gradient(lambda a: np.sum(np.linalg.qr(a)[0] * P[:, :2]), batch)
    assert np.isnan(g[0]).all()
    np.testing.assert_allclose(g[1], gradient(lambda a: np.sum(np.linalg.qr(a)[0] * P[:, :2]), TALL), rtol=1e-10)


@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (3, 3)])
def test_every_mode_of_qr_gives_numpys_value(mode: Any, shape: tuple[int, int]) -> None:
    a = RNG.normal(size=shape)
    given, right = np.linalg.qr(tg.tensor(a), mode), np.linalg.qr(a, mode)
    pairs = [(given, right)] if mode == "r" else zip(given, right, strict=True)
    for y, expected in pairs:
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)


def test_raw_qr_is_refused_where_a_gradient_would_pass() -> None:
    with pytest.raises(NotDifferentiableError, match=r"np.linalg.qr can't be differentiated: mode='raw'"):
        np.linalg.qr(tg.tensor(TALL), "raw")
    h, _tau = np.linalg.qr(tg.tensor(TALL, requires_grad=False), mode="raw")
    np.testing.assert_array_equal(h.numpy(), np.linalg.qr(TALL, mode="raw")[0])
    with pytest.raises(ValueError, match="Unrecognized mode"):
        np.linalg.qr(tg.tensor(TALL), "foo")


# ---------------------------------------------------------------- identities


@pytest.mark.parametrize("matrix", [A, complexified(A)], ids=["real", "complex"])
def test_what_was_taken_apart_and_multiplied_again_has_the_gradient_of_the_matrix(matrix: Any) -> None:
    def by_svd(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a)
        return (u * s) @ vh

    def by_qr(a: Any) -> Any:
        q, r = np.linalg.qr(a)
        return q @ r

    def by_eig(a: Any) -> Any:
        w, v = np.linalg.eig(a)
        return np.real((v * w) @ np.linalg.inv(v)) if a.dtype.kind == "f" else (v * w) @ np.linalg.inv(v)

    for again in (by_svd, by_qr, by_eig):
        g = gradient(lambda a, f=again: np.sum(np.real(f(a)) * W), matrix)
        np.testing.assert_allclose(g, W, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_stays_single(dtype: Any) -> None:
    a = SYMMETRIC.astype(dtype)
    for f in (np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.linalg.eig):
        x = tg.tensor(a)
        outputs = f(x)
        sum(np.sum(np.abs(y)) for y in outputs).backward()
        assert x.grad.dtype == dtype
