"""jacobian, hessian, hvp and ggnvp: against closed forms, and against each other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from transform_tools import EPS, functions, vectors

import tapegrad as tg

X = np.array([0.5, -1.0, 2.0])
M = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def quartic(x: Any) -> Any:
    return np.sum(x**2) ** 2


def test_jacobian_is_every_derivative() -> None:
    np.testing.assert_allclose(tg.jacobian(lambda x: M @ np.sin(x))(X), M * np.cos(X), rtol=4 * EPS)


def test_jacobian_has_the_shape_of_the_output_and_then_of_the_input() -> None:
    x = np.ones((2, 3))
    jacobian = tg.jacobian(lambda x: x.T[:, None])(x)
    assert jacobian.shape == (3, 1, 2, 2, 3)
    np.testing.assert_array_equal(jacobian[2, 0, 1], [[0, 0, 0], [0, 0, 1]])


def test_jacobian_by_several_arguments() -> None:
    by_x, by_y = tg.jacobian(lambda x, k, y: x * y * k, (0, -1))(X, 2, 3.0)
    np.testing.assert_array_equal(by_x, 6 * np.eye(3))
    np.testing.assert_array_equal(by_y, 2 * X)


@pytest.mark.parametrize(("x", "kind"), [(2.0, float), (np.float32(2), np.float32), (np.array(2.0), np.ndarray)])
def test_jacobian_of_scalars_is_made_of_what_the_argument_is(x: Any, kind: type) -> None:
    derivative = tg.jacobian(lambda x: x**3)(x)
    assert type(derivative) is kind
    assert derivative == 12.0
    assert type(tg.hessian(lambda x: x**3)(x)) is kind


def test_jacobian_keeps_the_dtype() -> None:
    assert tg.jacobian(lambda x: x * x)(X.astype(np.float32)).dtype == np.float32
    assert tg.hessian(lambda x: np.sum(x * x))(X.astype(np.longdouble)).dtype == np.longdouble


def test_jacobian_of_what_does_not_depend_is_zeros() -> None:
    np.testing.assert_array_equal(tg.jacobian(lambda x: np.floor(x)[:2])(X), np.zeros((2, 3)))
    np.testing.assert_array_equal(tg.jacobian(lambda x: np.ones((2, 0)))(X), np.zeros((2, 0, 3)))
    np.testing.assert_array_equal(tg.hessian(lambda x: 3.0)(X), np.zeros((3, 3)))
    np.testing.assert_array_equal(tg.hessian(np.sum)(X), np.zeros((3, 3)))


def test_jacobian_and_hessian_with_aux() -> None:
    jacobian, aux = tg.jacobian(lambda x: (x * x, {"sum": np.sum(x)}), has_aux=True)(X)
    np.testing.assert_array_equal(jacobian, np.diag(2 * X))
    assert aux["sum"] == np.sum(X)
    assert type(aux["sum"]) is np.float64
    hessian, aux = tg.hessian(lambda x: (np.sum(x * x), x + 1), has_aux=True)(X)
    np.testing.assert_array_equal(hessian, 2 * np.eye(3))
    assert type(aux) is np.ndarray


def test_hessian_is_the_matrix_of_second_derivatives() -> None:
    expected = 4 * (X @ X) * np.eye(3) + 8 * np.outer(X, X)
    np.testing.assert_allclose(tg.hessian(quartic)(X), expected, rtol=8 * EPS)


def test_hessian_by_several_arguments() -> None:
    (aa, ab), (ba, bb) = tg.hessian(lambda a, b: np.sum(a**2) * b**3, (0, 1))(X, 2.0)
    np.testing.assert_array_equal(aa, 16 * np.eye(3))
    np.testing.assert_array_equal(ab, 24 * X)
    np.testing.assert_array_equal(ba, 24 * X)
    assert bb == 12 * X @ X


def test_hessian_through_writes() -> None:
    def f(x: Any) -> Any:
        y = x.copy()
        y[1:] *= y[:-1]
        return np.sum(y**2)

    a, b, c = X
    # a² + a²b² + b²c²
    expected = np.array(
        [[2 + 2 * b * b, 4 * a * b, 0], [4 * a * b, 2 * a * a + 2 * c * c, 4 * b * c], [0, 4 * b * c, 2 * b * b]]
    )
    np.testing.assert_allclose(tg.hessian(f)(X), expected, rtol=8 * EPS)


def test_third_and_fourth_derivatives_are_tensors_of_derivatives() -> None:
    third = tg.jacobian(tg.hessian(lambda x: np.sum(x**4)))(X)
    np.testing.assert_allclose(third[np.arange(3), np.arange(3), np.arange(3)], 24 * X, rtol=8 * EPS)
    assert np.count_nonzero(third) == 3
    fourth = tg.hessian(lambda x: tg.hessian(lambda y: np.sum(y**4) * 0.5)(x).sum())(X)
    np.testing.assert_allclose(fourth, 12 * np.eye(3), rtol=8 * EPS)


def test_hvp_is_the_hessian_times_a_vector() -> None:
    v = np.array([1.0, -2.0, 0.25])
    (product,) = tg.hvp(quartic, (X,), (v,))
    np.testing.assert_allclose(product, tg.hessian(quartic)(X) @ v, rtol=1e-14)
    assert type(product) is np.ndarray


def test_hvp_by_several_arguments() -> None:
    by_a, by_b = tg.hvp(lambda a, b: np.sum(a**2) * b**3, (X, 2.0), (X, 1.0))
    np.testing.assert_array_equal(by_a, 40 * X)
    assert by_b == 36 * X @ X
    assert type(by_b) is float


def test_hvp_of_a_linear_function_is_zero() -> None:
    np.testing.assert_array_equal(tg.hvp(np.sum, (X,), (X,))[0], np.zeros(3))
    np.testing.assert_array_equal(tg.hvp(lambda x: 3.0, (X,), (X,))[0], np.zeros(3))
    assert tg.hvp(lambda x: x, (2.0,), (1.0,)) == (0.0,)


def test_hvp_of_complex_arguments_is_the_derivative_of_the_gradient() -> None:
    z, v = X + 1j * X[::-1], X[::-1] - 1j

    def f(z: Any) -> Any:
        return np.sum(np.abs(z) ** 4) + np.sum(z**3).real

    h = 1e-6
    numeric = (tg.grad(f)(z + h * v) - tg.grad(f)(z - h * v)) / (2 * h)
    np.testing.assert_allclose(tg.hvp(f, (z,), (v,))[0], numeric, rtol=1e-8)
    np.testing.assert_allclose(tg.jvp(tg.grad(f), (z,), (v,))[1], numeric, rtol=1e-8)


def test_ggnvp_is_the_gauss_newton_matrix_times_a_vector() -> None:
    def f(x: Any) -> Any:
        return M @ np.sin(x)

    def loss(z: Any) -> Any:
        return np.sum(z**4)

    v = np.array([1.0, -2.0, 0.25])
    jacobian = tg.jacobian(f)(X)
    expected = jacobian.T @ (12 * (M @ np.sin(X)) ** 2 * (jacobian @ v))
    np.testing.assert_allclose(tg.ggnvp(f, loss, (X,), (v,))[0], expected, rtol=1e-13)


def test_ggnvp_refuses_what_does_not_fit() -> None:
    with pytest.raises(TypeError, match="ggnvp: a function is differentiated"):
        tg.ggnvp(np.sin, 3.0, (X,), (X,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ggnvp: the function returned an array"):
        tg.ggnvp(np.sin, np.cos, (X,), (X,))


@given(functions(), vectors(), vectors())
def test_hessians_are_symmetric_and_hvp_multiplies_with_them(f: Any, x: Any, v: Any) -> None:
    def loss(x: Any) -> Any:
        return np.sum(np.sin(f(x)) * f(x))

    hessian = tg.hessian(loss)(x)
    close = 1e5 * EPS * (1 + np.max(np.abs(hessian)))  # A few dozen roundings, in other orders.
    np.testing.assert_allclose(hessian, hessian.T, atol=close)
    np.testing.assert_allclose(tg.hvp(loss, (x,), (v,))[0], hessian @ v, atol=4 * close)
    np.testing.assert_allclose(tg.jvp(tg.grad(loss), (x,), (v,))[1], hessian @ v, atol=4 * close)


@given(functions(), vectors(), vectors())
def test_jacobians_agree_with_vjp_and_jvp(f: Any, x: Any, v: Any) -> None:
    jacobian = tg.jacobian(f)(x)
    close = 1e4 * EPS * (1 + np.max(np.abs(jacobian)))
    np.testing.assert_allclose(tg.vjp(f, x)[1](v)[0], v @ jacobian, atol=close)
    np.testing.assert_allclose(tg.jvp(f, (x,), (v,))[1], jacobian @ v, atol=close)
    np.testing.assert_allclose(np.stack([tg.linearize(f, x)[1](e) for e in np.eye(4)], axis=1), jacobian, atol=close)


@given(functions(), functions(), vectors(), vectors())
def test_ggnvp_agrees_with_its_three_factors(f: Any, g: Any, x: Any, v: Any) -> None:
    def loss(z: Any) -> Any:
        return np.sum(np.cos(g(z)))

    jacobian, hessian = tg.jacobian(f)(x), tg.hessian(loss)(tg.vjp(f, x)[0])
    expected = jacobian.T @ hessian @ jacobian @ v
    scale = 1 + np.max(np.abs(jacobian)) ** 2 * (1 + np.max(np.abs(hessian)))
    np.testing.assert_allclose(tg.ggnvp(f, loss, (x,), (v,))[0], expected, atol=1e5 * EPS * scale)


@pytest.mark.parametrize("f", [lambda x, y: x + y, lambda x, y: x * 1.0, lambda x, y: np.concatenate([x, y])])
def test_jacobians_share_no_memory(f):
    a, b = tg.jacobian(f, argnums=(0, 1))(np.ones(5), np.full(5, 2.0))
    assert not np.may_share_memory(a, b)
    assert all(array.flags.writeable for array in (a, b))
    a += 1
    c, d = tg.jacobian(f, argnums=(0, 1))(np.ones(5), np.full(5, 2.0))
    np.testing.assert_array_equal(a, c + 1)
    np.testing.assert_array_equal(b, d)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_a_product_at_the_end_is_no_product_with_the_seeds(order):
    matrix = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [0.0, 1.0, 1.0]])
    jacobian = tg.jacobian(lambda x: (matrix @ x**2)[np.array(order)])(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(jacobian, matrix[order] * [2.0, 4.0, 6.0])
    np.testing.assert_array_equal(tg.jacobian(lambda x: matrix @ x)(np.ones(3)), matrix)
    matrix[0, 0] = 5.0
    assert jacobian[0, 0] != 10.0
