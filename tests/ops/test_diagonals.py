"""Diagonals and triangles: what lies outside gets 0, whatever the cotangent."""

import numpy as np
import pytest

import tapegrad as tg


@pytest.mark.parametrize("function", [np.tril, np.triu])
def test_a_triangle_is_strong(function: object) -> None:
    x = tg.tensor(np.ones((2, 2)))
    function(x).backward(np.full((2, 2), np.inf))  # type: ignore[operator]
    np.testing.assert_array_equal(x.grad, function(np.full((2, 2), np.inf)))  # type: ignore[operator]


def test_placing_and_taking_a_diagonal_are_each_others_inverse() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y = np.diag(np.diag(x, -2), -2)
    np.sum(y**2).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_trace_of_a_product_has_the_other_factor_transposed() -> None:
    rng = np.random.default_rng(0)
    a, b = tg.tensor(rng.standard_normal((3, 4))), rng.standard_normal((4, 3))
    np.trace(a @ b).backward()
    np.testing.assert_allclose(a.grad, b.T, rtol=1e-14)


def test_diag_of_three_axes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1- or 2-d; got shape \(2, 2, 2\)"):
        np.diag(tg.tensor(np.ones((2, 2, 2))))


def test_methods_are_the_functions() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    (x.trace(1) + x.diagonal(0, 1, 0).sum()).backward()
    np.testing.assert_array_equal(x.grad, [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
