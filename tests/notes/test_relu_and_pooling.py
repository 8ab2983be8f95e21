"""ReLU as a mask, max-pooling by switches, average-pooling as a convolution: the notes' loops against backward()."""

import numpy as np
import pytest
from formulas import close, draw, output_shape, padded, unpadded

import tapegrad as tg
from tapegrad import nn

N, C = 2, 3


# ---------------------------------------------------------------- ReLU


@pytest.mark.parametrize("relu", [nn.relu, lambda x: np.maximum(x, 0)], ids=["nn.relu", "np.maximum"])
def test_relu_passes_dy_where_x_is_positive(relu):
    """y = max(0, x), and dx = dy times the mask x > 0, pixel by pixel."""
    x, dy = draw(0, (N, C, 4, 5), (N, C, 4, 5))
    X = tg.tensor(x)
    Y = relu(X)
    Y.backward(dy)
    y, dx = np.zeros(x.shape), np.zeros(x.shape)
    for place in np.ndindex(*x.shape):
        if x[place] > 0:
            y[place], dx[place] = x[place], dy[place]
    close(Y.data, y)
    close(X.grad, dx)
    close(X.grad, dy * (x > 0))


def test_relu_passes_nothing_at_zero():
    """The mask is x > 0, strictly: relu'(0) = 0."""
    X = tg.tensor([-1.0, 0.0, -0.0, 2.0])
    nn.relu(X).backward(np.array([3.0, 5.0, 7.0, 11.0]))
    close(X.grad, np.array([0.0, 0.0, 0.0, 11.0]))


# ---------------------------------------------------------------- max-pool


def switches(x, kernel, stride):
    """For each output of max-pooling the place in its channel of the largest pixel; of equal ones, the first.

    First in NumPy's order, row by row: a pixel replaces the one before only if it is larger.
    """
    h, w = output_shape(x.shape, kernel, (0, 0), stride)
    found = {}
    for n, c, k, l in np.ndindex(*x.shape[:2], h, w):  # noqa: E741
        best = None
        for i in range(k * stride[0], k * stride[0] + kernel[0]):
            for j in range(l * stride[1], l * stride[1] + kernel[1]):
                if best is None or x[n, c, i, j] > x[n, c, best[0], best[1]]:
                    best = i, j
        found[n, c, k, l] = best
    return found


def pooled_by_switches(x, found):
    """y, each output read where its switch points."""
    y = np.zeros(tuple(n + 1 for n in max(found)))
    for (n, c, k, l), (i, j) in found.items():  # noqa: E741
        y[n, c, k, l] = x[n, c, i, j]
    return y


def routed_by_switches(dy, found, shape):
    """dx: each dL/dy added where its switch points, zeros elsewhere."""
    dx = np.zeros(shape)
    for (n, c, k, l), (i, j) in found.items():  # noqa: E741
        dx[n, c, i, j] += dy[n, c, k, l]
    return dx


def test_max_pool_two_by_two_at_stride_two_routes_dy_by_switches():
    """y_kl = the largest of its 2x2 block, and dL/dy_kl goes to that pixel alone; the other three get 0."""
    (x,) = draw(1, (N, C, 6, 4))
    X = tg.tensor(x)
    Y = nn.max_pool2d(X, 2)
    (dy,) = draw(2, Y.shape)
    Y.backward(dy)
    found = switches(x, (2, 2), (2, 2))
    close(Y.data, pooled_by_switches(x, found))
    close(X.grad, routed_by_switches(dy, found, x.shape))
    assert np.count_nonzero(X.grad) == dy.size == x.size // 4


@pytest.mark.parametrize(
    ("kernel", "stride"), [((3, 3), (2, 2)), ((2, 2), (1, 1)), ((3, 2), (1, 2)), ((2, 3), (2, 1)), ((2, 2), (3, 3))]
)
def test_max_pool_of_overlapping_windows_adds_their_contributions(kernel, stride):
    """A pixel that is the largest of several windows gets the sum of their dL/dy."""
    (x,) = draw(3, (N, C, 7, 8))
    X = tg.tensor(x)
    Y = nn.max_pool2d(X, kernel, stride)
    (dy,) = draw(4, Y.shape)
    Y.backward(dy)
    found = switches(x, kernel, stride)
    close(Y.data, pooled_by_switches(x, found))
    close(X.grad, routed_by_switches(dy, found, x.shape))


def test_one_pixel_that_wins_all_four_windows_gets_all_four_contributions():
    """The centre of 3x3, pooled 2x2 at stride 1: dL/dx22 = z11 + z12 + z21 + z22."""
    x = np.ones((1, 1, 3, 3))
    x[0, 0, 1, 1] = 2
    X = tg.tensor(x)
    (z,) = draw(5, (1, 1, 2, 2))
    nn.max_pool2d(X, 2, 1).backward(z)
    expected = np.zeros((1, 1, 3, 3))
    expected[0, 0, 1, 1] = z[0, 0, 0, 0] + z[0, 0, 0, 1] + z[0, 0, 1, 0] + z[0, 0, 1, 1]
    close(X.grad, expected)


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((2, 2), (1, 1)), ((3, 2), (1, 2))])
def test_max_pool_ties_go_to_the_first(kernel, stride):
    """Of equal largest pixels the first of the window, row by row, gets all of dL/dy: small integers tie often."""
    x = np.random.default_rng(6).integers(0, 3, (N, C, 7, 7)).astype(float)
    X = tg.tensor(x)
    Y = nn.max_pool2d(X, kernel, stride)
    (dy,) = draw(7, Y.shape)
    Y.backward(dy)
    found = switches(x, kernel, stride)
    close(Y.data, pooled_by_switches(x, found))
    close(X.grad, routed_by_switches(dy, found, x.shape))


def test_max_pool_of_a_constant_image_gives_dy_to_the_corner_of_each_window():
    """All tie: the upper left pixel of every 2x2 block is its switch."""
    X = tg.tensor(np.full((1, 1, 4, 4), 7.0))
    dy = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    nn.max_pool2d(X, 2).backward(dy)
    expected = np.zeros((1, 1, 4, 4))
    expected[0, 0, ::2, ::2] = dy[0, 0]
    close(X.grad, expected)


# ---------------------------------------------------------------- average-pool

POOLS = {
    "2x2 stride 2": ((2, 2), (2, 2), (0, 0)),
    "overlapping": ((3, 3), (2, 2), (0, 0)),
    "per axis": ((3, 2), (1, 2), (0, 0)),
    "padded": ((3, 2), (2, 1), (1, 1)),
}
pools = pytest.mark.parametrize(("kernel", "stride", "padding"), POOLS.values(), ids=POOLS.keys())


@pools
def test_average_pool_is_the_mean_of_each_window_and_shares_dy_equally(kernel, stride, padding):
    """y_kl = the window's sum / (HH WW), and each of its pixels gets dL/dy_kl / (HH WW), added where windows overlap.

    Padded zeros count as pixels of the window.
    """
    (x,) = draw(8, (N, C, 6, 7))
    X = tg.tensor(x)
    Y = nn.avg_pool2d(X, kernel, stride, padding)
    (dy,) = draw(9, Y.shape)
    Y.backward(dy)
    filled = padded(x, padding)
    y, dx = np.zeros((N, C, *output_shape(x.shape, kernel, padding, stride))), np.zeros(filled.shape)
    (HH, WW), (S, T) = kernel, stride
    for n, c, k, l in np.ndindex(*y.shape):  # noqa: E741
        window = np.s_[n, c, k * S : k * S + HH, l * T : l * T + WW]
        y[n, c, k, l] = np.sum(filled[window]) / (HH * WW)
        dx[window] += dy[n, c, k, l] / (HH * WW)
    close(Y.data, y)
    close(X.grad, unpadded(dx, padding))


@pools
def test_average_pool_is_a_convolution_with_a_constant_kernel(kernel, stride, padding):
    """y[n,c] = x[n,c] * K, each channel by itself, where all of K is 1/(HH WW); forward and dx."""
    (x,) = draw(10, (N, C, 6, 7))
    X, X_too = tg.tensor(x), tg.tensor(x)
    Y = nn.avg_pool2d(X, kernel, stride, padding)
    # One kernel a channel, and each looks at its own channel alone: the other channels are other images.
    constant = np.full((1, 1, *kernel), 1 / (kernel[0] * kernel[1]))
    alone = np.reshape(X_too, (N * C, 1, 6, 7))
    Y_too = np.reshape(nn.conv2d(alone, constant, stride=stride, padding=padding), Y.shape)
    close(Y.data, Y_too.data)
    (dy,) = draw(11, Y.shape)
    Y.backward(dy)
    Y_too.backward(dy)
    close(X.grad, X_too.grad)


@pools
def test_average_pool_is_a_grouped_convolution_with_a_constant_kernel(kernel, stride, padding):
    """The same with C kernels in C groups."""
    (x,) = draw(12, (N, C, 6, 7))
    X, X_too = tg.tensor(x), tg.tensor(x)
    Y = nn.avg_pool2d(X, kernel, stride, padding)
    constant = np.full((C, 1, *kernel), 1 / (kernel[0] * kernel[1]))
    Y_too = nn.conv2d(X_too, constant, stride=stride, padding=padding, groups=C)
    close(Y.data, Y_too.data)
    (dy,) = draw(13, Y.shape)
    Y.backward(dy)
    Y_too.backward(dy)
    close(X.grad, X_too.grad)
