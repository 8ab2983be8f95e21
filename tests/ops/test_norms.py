"""Norms and condition numbers: zero rows, ties, rows that are masked, and what NumPy refuses."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

RNG = np.random.default_rng(7)
A = RNG.normal(size=(3, 3))
ORDERS_OF_MATRICES = (None, "fro", "nuc", np.inf, -np.inf, 1, -1, 2, -2)
ORDERS_OF_VECTORS = (None, np.inf, -np.inf, 1, 2, 3, -2, 0.5, 1.5)


def gradient(f: Any, a: Any) -> Any:
    x = tg.tensor(a)
    f(x).backward()
    return x.grad


@pytest.mark.parametrize("ord", ORDERS_OF_MATRICES)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_norm_of_a_zero_matrix_has_the_gradient_0_and_spoils_no_other(ord: Any, dtype: Any) -> None:
    a = np.stack([np.zeros((2, 3)), RNG.normal(size=(2, 3))]).astype(dtype)
    g = gradient(lambda x: np.sum(np.linalg.norm(x, ord, axis=(-2, -1))), a)
    assert not g[0].any()
    np.testing.assert_allclose(g[1], gradient(lambda x: np.linalg.norm(x, ord), a[1]), rtol=1e-12)


@pytest.mark.parametrize("ord", ORDERS_OF_VECTORS)
def test_the_norm_of_a_zero_vector_has_the_gradient_0_and_spoils_no_other(ord: Any) -> None:
    a = np.array([[0.0, 0.0], [3.0, 4.0]])
    with np.errstate(divide="ignore"):  # NumPy's own warning, of 0 to a negative power.
        g = gradient(lambda x: np.sum(np.linalg.norm(x, ord, axis=-1)), a)
    assert not g[0].any()
    np.testing.assert_allclose(g[1], gradient(lambda x: np.linalg.norm(x, ord), a[1]), rtol=1e-14)


def test_the_second_derivative_of_a_zero_norm_spoils_no_other() -> None:
    x = tg.tensor(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.sum(np.linalg.norm(x, axis=1)).backward(create_graph=True)
    g, x.grad = x.grad, None
    np.sum(g * [1.0, 2.0]).backward()
    # (1 - u u^T) v / |x| with u = (0.6, 0.8), v = (1, 2), |x| = 5.
    np.testing.assert_allclose(x.grad, [[0.0, 0.0], [-0.064, 0.048]], atol=1e-15)


@pytest.mark.parametrize("ord", [None, 3, 1, np.inf])
def test_a_row_that_is_masked_out_gets_0_whatever_is_in_it(ord: Any) -> None:
    a = np.array([[3.0, 4.0], [np.inf, np.nan]])
    g = gradient(lambda x: np.sum(np.where(np.array([True, False]), np.linalg.norm(x, ord, axis=1), 0)), a)
    assert not g[1].any()
    np.testing.assert_allclose(g[0], gradient(lambda x: np.linalg.norm(x, ord), a[0]))


def test_the_largest_share_equally_where_they_tie() -> None:
    np.testing.assert_array_equal(
        gradient(lambda x: np.linalg.norm(x, np.inf), np.array([2.0, -2.0, 1.0])), [0.5, -0.5, 0]
    )
    np.testing.assert_allclose(gradient(lambda x: np.linalg.norm(x, 2), np.eye(2)), np.eye(2) / 2, atol=1e-15)


def test_the_nuclear_norm_of_deficient_rank_has_a_subgradient() -> None:
    g = gradient(lambda x: np.linalg.norm(x, "nuc"), np.outer([3.0, 4.0], [1.0, 0.0]))
    assert np.linalg.norm(g, 2) <= 1 + 1e-12
    assert np.sum(g * np.outer([0.6, 0.8], [1.0, 0.0])) == pytest.approx(1)


def test_the_count_of_what_is_not_zero_is_constant() -> None:
    y = np.linalg.norm(tg.tensor([0.0, 2.0, 3.0]), 0)
    assert not isinstance(y, tg.Tensor)
    assert y == 2


def test_integers_and_scalars_have_norms() -> None:
    assert np.linalg.norm(tg.tensor([1, 2, 2])).item() == 3
    assert gradient(np.linalg.norm, -3.0) == -1


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"ord": "foo"}, ValueError, "'foo'"),
        ({"ord": 3}, ValueError, "for matrices"),
        ({"ord": "fro", "axis": 0}, ValueError, "for vectors"),
        ({"axis": (0, 0)}, ValueError, "Duplicate axes"),
        ({"axis": (0, -2)}, ValueError, "Duplicate axes"),
        ({"axis": (0, 1, 2)}, ValueError, "Improper number"),
        ({"axis": "x"}, TypeError, "'axis'"),
    ],
)
def test_what_numpy_refuses_is_refused(parameters: Any, error: Any, match: str) -> None:
    with pytest.raises(error):
        np.linalg.norm(A, **parameters)
    with pytest.raises(error, match=match):
        np.linalg.norm(tg.tensor(A), **parameters)


@pytest.mark.parametrize("ord", [None, 2, 1, np.inf, 3])
def test_vector_norm_over_two_axes_is_that_of_their_elements(ord: Any) -> None:
    a = RNG.normal(size=(2, 3, 2))
    order = 2 if ord is None else ord
    given = gradient(lambda x: np.sum(np.linalg.vector_norm(x, axis=(0, 2), ord=order)), a)
    flat = gradient(lambda x: np.sum(np.linalg.norm(x, order, axis=1)), a.transpose(1, 0, 2).reshape(3, 4))
    np.testing.assert_allclose(given.transpose(1, 0, 2).reshape(3, 4), flat, rtol=1e-14)


@pytest.mark.parametrize("p", [None, 2, -2, "fro", 1, -1, np.inf, -np.inf])
def test_cond_of_a_singular_matrix_is_numpys_and_spoils_no_other(p: Any) -> None:
    a = np.stack([A, np.zeros((3, 3))])
    x = tg.tensor(a)
    y = np.linalg.cond(x, p)
    np.testing.assert_allclose(y.numpy(), np.linalg.cond(a, p), rtol=1e-12)
    y[0].backward()
    np.testing.assert_allclose(x.grad[0], gradient(lambda z: np.linalg.cond(z, p), A), rtol=1e-10, atol=1e-12)
    assert not x.grad[1].any()


def test_cond_of_nothing_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="empty"):
        np.linalg.cond(tg.tensor(np.zeros((0, 0))))
