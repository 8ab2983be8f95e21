"""Batch normalisation: its value, its closed form, what it does to the running statistics, what it refuses."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.nn import batch_norm

RNG = np.random.default_rng(0)
SHAPES = [(5, 3), (4, 3, 2), (2, 3, 4, 5), (2, 3, 2, 2, 2)]


def across(v, x):
    return v.reshape(-1, *(1,) * (x.ndim - 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_training_and_its_gradients_are_the_closed_form(shape):
    x, g = RNG.standard_normal((2, *shape)) * 3 + 5
    weight, bias = RNG.standard_normal((2, 3))
    axes = (0, *range(2, len(shape)))
    m = x.size // 3
    s = 1 / np.sqrt(x.var(axes) + 1e-5)
    hat = (x - across(x.mean(axes), x)) * across(s, x)
    leaves = [tg.tensor(a) for a in (x, weight, bias)]
    y = batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    y.backward(g)
    d_bias, d_weight = g.sum(axes), (g * hat).sum(axes)
    d_x = across(weight * s, x) / m * (m * g - across(d_bias, x) - hat * across(d_weight, x))
    np.testing.assert_allclose(y.numpy(), across(weight, x) * hat + across(bias, x), rtol=1e-11, atol=1e-12)
    for leaf, expected in zip(leaves, (d_x, d_weight, d_bias), strict=True):
        np.testing.assert_allclose(leaf.grad, expected, rtol=1e-10, atol=1e-11)


def test_composed_from_mean_and_var_it_gives_the_same_at_second_order():
    x, u = RNG.standard_normal((2, 3, 2, 4))

    def composed(x):
        mean, var = np.mean(x, axis=(0, 2), keepdims=True), np.var(x, axis=(0, 2), keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5)

    results = []
    for f in (composed, lambda x: batch_norm(x, None, None, training=True)):
        a = tg.tensor(x)
        (f(a) ** 3).sum().backward(create_graph=True)
        first, a.grad = a.grad, None
        (first * u).sum().backward()
        results.append((first.numpy(), a.grad))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-9, atol=1e-10)


def test_training_brings_the_running_statistics_nearer_with_the_unbiased_variance():
    x = RNG.standard_normal((4, 2, 3))
    mean, var = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    for operand in (x, tg.tensor(x)):
        running_mean, running_var = mean.copy(), var.copy()
        batch_norm(operand, running_mean, running_var, training=True, momentum=0.3)
        np.testing.assert_allclose(running_mean, 0.7 * mean + 0.3 * x.mean((0, 2)), rtol=1e-14)
        np.testing.assert_allclose(running_var, 0.7 * var + 0.3 * x.var((0, 2), ddof=1), rtol=1e-14)


def test_outside_of_training_the_running_statistics_count_and_stay():
    x, g = RNG.standard_normal((2, 4, 2, 3))
    mean, var = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    a = tg.tensor(x)
    y = batch_norm(a, mean, var, eps=0.5)
    mean_before = mean.copy()
    mean += 1  # What the call read was kept.
    y.backward(g)
    s = across(1 / np.sqrt(var + 0.5), x)
    np.testing.assert_allclose(y.numpy(), (x - across(mean_before, x)) * s, rtol=1e-13)
    np.testing.assert_allclose(a.grad, g * s, rtol=1e-13)


def test_two_batches_before_one_backward_use_their_own_statistics():
    x = tg.tensor(RNG.standard_normal((4, 600, 1)))  # More channels than small arrays have elements.
    mean, var = np.zeros(600), np.ones(600)
    first = batch_norm(x, mean, var, training=True)
    second = batch_norm(x * 2, mean, var, training=True)
    (first * second).sum().backward()
    assert np.isfinite(x.grad).all()


def test_float32_is_kept_whatever_the_running_statistics_are():
    x = tg.tensor(RNG.standard_normal((4, 2, 3)), dtype=np.float32)
    weight = tg.tensor(np.ones(2), dtype=np.float32)
    for training in (True, False):
        y = batch_norm(x, np.zeros(2), np.ones(2), weight, training=training)
        assert y.dtype == np.float32
        y.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == np.float32


def test_a_constant_channel_is_brought_to_zero_with_a_finite_gradient():
    x = tg.tensor(np.ones((3, 1)))
    y = batch_norm(x, None, None, training=True)
    y.backward(np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_array_equal(y.numpy(), np.zeros((3, 1)))
    np.testing.assert_allclose(x.grad, np.array([[-1.0], [0.0], [1.0]]) / np.sqrt(1e-5), rtol=1e-12)


X, ZERO, ONE = np.zeros((2, 3, 4)), np.zeros(3), np.ones(3)


@pytest.mark.parametrize(
    ("args", "parameters", "error", "message"),
    [
        ((X[0, 0], None, None), {"training": True}, ShapeError,
         "batch_norm: x has 1 axes but at least 2 are expected, (N, C, ...); got x (4,)"),
        ((X, np.zeros(2), ONE), {}, ShapeError,
         "batch_norm: running_mean has shape (2,) but x (2, 3, 4) expects (3,)"),
        ((X, ZERO, ONE, np.ones(4)), {}, ShapeError, "batch_norm: weight has shape (4,) but x (2, 3, 4) expects (3,)"),
        ((X, ZERO, ONE, None, np.ones(())), {}, ShapeError,
         "batch_norm: bias has shape () but x (2, 3, 4) expects (3,)"),
        ((X, ZERO, None), {}, ArgumentError,
         "batch_norm: running_var is None, and outside of training there is nothing else to go by"),
        ((X, [0.0, 0.0, 0.0], ONE), {"training": True}, DTypeError,
         "batch_norm: running_mean is written to, so it must be a float ndarray; got list"),
        ((X, ZERO, np.ones(3, int)), {"training": True}, DTypeError,
         "batch_norm: running_var is written to, so it must be a float ndarray; got int64"),
        ((X[:1, :, :1], ZERO, ONE), {"training": True}, ShapeError,
         "batch_norm: a variance takes at least 2 elements of each channel in training; got x (1, 3, 1)"),
        ((X + 1j, ZERO, ONE), {}, DTypeError, "batch_norm: x has dtype complex128; real floats are expected"),
        ((X.astype(int), ZERO, ONE), {}, DTypeError, "batch_norm: x has dtype int64; real floats are expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(args, parameters, error, message):
    for x in (args[0], tg.tensor(args[0])):
        with pytest.raises(error) as caught:
            batch_norm(x, *args[1:], **parameters)
        assert str(caught.value) == message
