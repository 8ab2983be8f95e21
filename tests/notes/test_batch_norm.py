"""Spatial batch norm: the four-line forward, and dbeta, dgamma and dx in closed form over N H W values a channel."""

import numpy as np
import pytest
from formulas import close, draw

import tapegrad as tg
from tapegrad import nn

EPS = 1e-5
AXES = (0, 2, 3)  # images, rows and columns: all but the channel

shapes = pytest.mark.parametrize("shape", [(4, 3, 5, 6), (2, 1, 3, 2), (1, 4, 4, 4), (6, 2, 1, 1)], ids=str)


def by_channel(v):
    """A vector of one number a channel, to be broadcast over (N, C, H, W)."""
    return np.reshape(v, (1, -1, 1, 1))


def of_nn(x, gamma, beta):
    """tapegrad's own batch norm, in training: by the statistics of this batch."""
    return nn.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)


def composed(x, gamma, beta):
    """The notes' four lines in NumPy's functions: on tensors the engine differentiates each."""
    mean = np.mean(x, axis=AXES, keepdims=True)
    variance = np.var(x, axis=AXES, keepdims=True)
    x_hat = (x - mean) / np.sqrt(variance + EPS)
    return by_channel(gamma) * x_hat + by_channel(beta)


both = pytest.mark.parametrize("batch_norm", [of_nn, composed], ids=["nn.batch_norm", "composed"])


class Layer:
    """One recorded batch norm with a random dy pulled back; and the notes' x_hat and 1/sigma beside it, by loops."""

    def __init__(self, batch_norm, shape, seed=0):
        x, self.gamma, self.beta, self.dy = draw(seed, shape, shape[1:2], shape[1:2], shape)
        self.x = 3 * x + 2
        self.X, self.Gamma, self.Beta = tg.tensor(self.x), tg.tensor(self.gamma), tg.tensor(self.beta)
        self.Y = batch_norm(self.X, self.Gamma, self.Beta)
        self.Y.backward(self.dy)
        self.count = shape[0] * shape[2] * shape[3]
        self.x_hat, self.inverse_sigma = np.zeros(shape), np.zeros(shape[1])
        for c in range(shape[1]):
            mean = sum(v for v in self.x[:, c].ravel()) / self.count
            variance = sum((v - mean) ** 2 for v in self.x[:, c].ravel()) / self.count
            self.inverse_sigma[c] = 1 / np.sqrt(variance + EPS)
            self.x_hat[:, c] = (self.x[:, c] - mean) * self.inverse_sigma[c]


@both
@shapes
def test_the_forward_in_four_lines(batch_norm, shape):
    """mu = mean of x, var = mean of (x - mu)^2, x_hat = (x - mu)/sqrt(var + eps), y = gamma x_hat + beta, a channel."""
    layer = Layer(batch_norm, shape)
    mean = layer.x.mean(axis=AXES, keepdims=True)
    variance = ((layer.x - mean) ** 2).mean(axis=AXES, keepdims=True)
    x_hat = (layer.x - mean) / np.sqrt(variance + EPS)
    y = by_channel(layer.gamma) * x_hat + by_channel(layer.beta)
    close(layer.Y.data, y)
    close(layer.x_hat, x_hat)


@both
@shapes
def test_dbeta_is_the_sum_of_dy(batch_norm, shape):
    """dL/dbeta_c = sum over n, h, w of dy."""
    layer = Layer(batch_norm, shape)
    dbeta = np.zeros(shape[1])
    for n, c, h, w in np.ndindex(*shape):
        dbeta[c] += layer.dy[n, c, h, w]
    close(layer.Beta.grad, dbeta)


@both
@shapes
def test_dgamma_is_the_sum_of_dy_times_x_hat(batch_norm, shape):
    """dL/dgamma_c = sum over n, h, w of dy x_hat."""
    layer = Layer(batch_norm, shape)
    dgamma = np.zeros(shape[1])
    for n, c, h, w in np.ndindex(*shape):
        dgamma[c] += layer.dy[n, c, h, w] * layer.x_hat[n, c, h, w]
    close(layer.Gamma.grad, dgamma)


@both
@shapes
def test_dx_in_closed_form_over_N_H_W(batch_norm, shape):
    """dL/dx = gamma / (M sqrt(var + eps)) (M dy - sum of dy - x_hat sum of (dy x_hat)), with M = N H W, a channel."""
    layer = Layer(batch_norm, shape)
    M = layer.count
    dx = np.zeros(shape)
    for c in range(shape[1]):
        dy, x_hat = layer.dy[:, c], layer.x_hat[:, c]
        scale = layer.gamma[c] * layer.inverse_sigma[c] / M
        dx[:, c] = scale * (M * dy - np.sum(dy) - x_hat * np.sum(dy * x_hat))
    close(layer.X.grad, dx)


@shapes
def test_composed_from_mean_and_var_it_gives_the_same_as_nn_batch_norm(shape):
    """The four lines differentiated one by one give the y, dx, dgamma and dbeta of the closed form."""
    one, other = Layer(of_nn, shape), Layer(composed, shape)
    close(other.Y.data, one.Y.data)
    close(other.X.grad, one.X.grad)
    close(other.Gamma.grad, one.Gamma.grad)
    close(other.Beta.grad, one.Beta.grad)


def test_each_channel_is_normalised_by_itself():
    """dy in one channel moves nothing in another: dx, dgamma and dbeta are 0 there."""
    x, gamma, beta, dy = draw(1, (3, 4, 2, 5), (4,), (4,), (3, 4, 2, 5))
    dy[:, [0, 1, 3]] = 0
    X, Gamma, Beta = tg.tensor(x), tg.tensor(gamma), tg.tensor(beta)
    of_nn(X, Gamma, Beta).backward(dy)
    for grad in (np.moveaxis(X.grad, 1, 0), Gamma.grad, Beta.grad):
        assert np.all(grad[[0, 1, 3]] == 0)
        assert np.all(grad[2] != 0)
