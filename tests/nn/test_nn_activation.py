"""Activations at their kinks, far out, and beside nan; what they refuse."""

import math

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import DTypeError, NotDifferentiableError
from tapegrad.nn import leaky_relu, log_softmax, relu, sigmoid, softmax, softplus

RNG = np.random.default_rng(0)


def gradient(f, x, g=None):
    a = tg.tensor(x)
    y = f(a)
    y.backward(np.ones(y.shape, y.dtype) if g is None else g)
    return a.grad


def test_relu_has_derivative_zero_at_zero():
    np.testing.assert_array_equal(gradient(relu, [-1.0, -0.0, 0.0, 1e-300]), [0, 0, 0, 1])


def test_relu_keeps_back_whatever_it_did_not_select():
    g = np.array([np.inf, np.nan, -np.inf, np.nan, 3.0])
    np.testing.assert_array_equal(gradient(relu, [-1.0, 0.0, -np.inf, 1.0, np.inf], g), [0, 0, 0, np.nan, 3])


def test_relu_of_nan_is_nan_and_passes_a_gradient():
    assert np.isnan(relu(np.array([np.nan]))).all()
    np.testing.assert_array_equal(gradient(relu, [np.nan], np.array([2.0])), [2.0])


def test_relu_of_a_number_is_differentiable():
    assert gradient(relu, 3.0) == 1
    assert gradient(relu, -3.0) == 0


def test_relu_has_no_second_derivative():
    x = tg.tensor([-1.0, 2.0])
    (relu(x) ** 2).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 2])


def test_leaky_relu_has_its_slope_at_zero_and_below():
    np.testing.assert_allclose(leaky_relu(np.array([-2.0, 0.0, 3.0])), [-0.02, 0, 3], rtol=1e-15)
    np.testing.assert_array_equal(gradient(leaky_relu, [-2.0, 0.0, 3.0]), [0.01, 0.01, 1])
    np.testing.assert_array_equal(gradient(lambda x: leaky_relu(x, 2.0), [-2.0, 0.0, 3.0]), [2, 2, 1])


def test_a_gradient_by_the_slope_of_leaky_relu_is_refused_not_lost():
    with pytest.raises(NotDifferentiableError, match="negative_slope"):
        leaky_relu(tg.tensor([1.0]), tg.tensor(0.1))


def test_sigmoid_is_right_far_out():
    x = np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0])
    np.testing.assert_allclose(sigmoid(x), [0, math.exp(-40), 0.5, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(gradient(sigmoid, x), [0, math.exp(-40), 0.25, 0, 0], rtol=1e-15)


@pytest.mark.parametrize("f", [sigmoid, softplus, lambda x: softmax(x, 0), lambda x: log_softmax(x, 0)])
def test_of_integers_the_result_is_float64(f):
    y = f(np.array([1, 2], np.uint8))
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, f(np.array([1.0, 2.0])))
    np.testing.assert_array_equal(y, f([1, 2]))


def test_softplus_is_right_far_out():
    x = np.array([-1000.0, -40.0, 0.0, 5.0, 1000.0])
    expected = [0, math.exp(-40), math.log(2), math.log1p(math.exp(5)), 1000]
    np.testing.assert_allclose(softplus(x), expected, rtol=1e-15)
    np.testing.assert_allclose(gradient(softplus, x), sigmoid(x), rtol=1e-15)


def test_softplus_with_beta_is_scaled_both_ways():
    x = RNG.standard_normal(5)
    np.testing.assert_allclose(softplus(x, 3.0), np.log1p(np.exp(3 * x)) / 3, rtol=1e-14)
    np.testing.assert_allclose(gradient(lambda x: softplus(x, 3.0), x), sigmoid(3 * x), rtol=1e-14)


def test_softplus_is_its_argument_above_the_threshold():
    x = np.array([1.9, 2.1])
    np.testing.assert_array_equal(softplus(x, 2.0, 4.0), [math.log1p(math.exp(3.8)) / 2, 2.1])
    np.testing.assert_array_equal(gradient(lambda x: softplus(x, 2.0, 4.0), x)[1], 1)


@pytest.mark.parametrize("axis", [0, 1, -1, 2, (0, 2), None])
def test_softmax_is_the_quotient_of_exponentials(axis):
    x = RNG.standard_normal((2, 3, 4))
    e = np.exp(x)
    np.testing.assert_allclose(softmax(x, axis), e / e.sum(axis, keepdims=True), rtol=1e-14)
    np.testing.assert_allclose(log_softmax(x, axis), np.log(e / e.sum(axis, keepdims=True)), rtol=1e-13)


def test_the_jacobian_of_softmax_is_diag_p_less_p_p():
    x = RNG.standard_normal(4)
    p = softmax(x, 0)
    rows = [gradient(lambda x: softmax(x, 0), x, g) for g in np.eye(4)]
    np.testing.assert_allclose(rows, np.diag(p) - np.outer(p, p), rtol=1e-13, atol=1e-16)
    rows = [gradient(lambda x: log_softmax(x, 0), x, g) for g in np.eye(4)]
    np.testing.assert_allclose(rows, np.eye(4) - p, rtol=1e-13, atol=1e-16)


def test_log_softmax_is_right_where_softmax_is_zero():
    x = np.array([1000.0, 0.0, -1000.0])
    np.testing.assert_array_equal(log_softmax(x, 0), [0, -1000, -2000])
    np.testing.assert_array_equal(softmax(x, 0), [1, 0, 0])
    np.testing.assert_array_equal(gradient(lambda x: log_softmax(x, 0), x, np.array([0, 1.0, 0])), [-1, 1, 0])


def test_minus_infinity_is_a_probability_of_zero_and_a_row_of_it_nan():
    x = np.array([[0.0, -np.inf, 0.0], [-np.inf, -np.inf, -np.inf]])
    np.testing.assert_array_equal(softmax(x, 1), [[0.5, 0, 0.5], [np.nan] * 3])
    np.testing.assert_array_equal(log_softmax(x, 1)[:, 1], [-np.inf, np.nan])
    np.testing.assert_array_equal(gradient(lambda x: softmax(x, 1)[0, 0], x)[0], [0.25, 0, -0.25])


def test_nothing_warns_where_the_result_is_finite():
    x = np.array([-1000.0, 0.0, 1000.0])
    with np.errstate(all="raise"):
        for f in (relu, leaky_relu, sigmoid, softplus, lambda x: softmax(x, 0), lambda x: log_softmax(x, 0)):
            assert np.isfinite(f(x)).all()


@pytest.mark.parametrize(
    "f",
    [
        relu,
        leaky_relu,
        sigmoid,
        softplus,
        lambda x: softplus(x, 2.0),
        lambda x: softmax(x, 1),
        lambda x: log_softmax(x, 1),
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_kept(f, dtype):
    x = RNG.standard_normal((2, 3)).astype(dtype)
    assert f(x).dtype == dtype
    assert gradient(f, x).dtype == dtype


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("relu", relu),
        ("leaky_relu", leaky_relu),
        ("softplus", softplus),
        ("softmax", lambda x: softmax(x, 0)),
        ("log_softmax", lambda x: log_softmax(x, 0)),
    ],
)
def test_complex_numbers_are_refused_where_there_is_no_order(name, f):
    for x in (np.array([1j]), tg.tensor([1j])):
        with pytest.raises(DTypeError, match=f"^{name}: x has dtype complex128; real numbers are expected$"):
            f(x)


def test_an_axis_that_is_not_there_is_numpys_error():
    with pytest.raises(np.exceptions.AxisError):
        softmax(tg.tensor([[1.0]]), 2)
