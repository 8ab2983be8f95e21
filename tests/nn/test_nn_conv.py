"""conv2d against loops over its definition, its adjoints, its second order, and what it refuses."""

import itertools

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ArgumentError, ShapeError
from tapegrad.nn import conv, conv2d

RNG = np.random.default_rng(0)
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}  # Sums of at most 100 products of numbers about 1, in float64.

CALLS = [
    ((2, 3, 5, 6), (4, 3, 3, 2), {}),
    ((2, 3, 5, 6), (4, 3, 3, 2), {"padding": 1}),
    ((2, 3, 5, 6), (4, 3, 3, 2), {"stride": (3, 1), "padding": (2, 1)}),
    ((2, 3, 7, 6), (4, 3, 3, 2), {"stride": 2, "dilation": (2, 3), "padding": (1, 2)}),
    ((2, 4, 5, 6), (6, 2, 2, 3), {"groups": 2, "padding": (0, 1), "stride": (1, 2)}),
    ((2, 3, 5, 5), (6, 1, 3, 3), {"groups": 3, "padding": 1}),
    ((2, 3, 4, 4), (5, 3, 1, 1), {}),
    ((1, 1, 4, 4), (20, 1, 2, 2), {"padding": 3}),
]


def in_loops(x, w, stride=1, padding=0, dilation=1, groups=1):
    """Terms (n, o, k, m, c, h, v, i, j): y[n,o,k,m] is the sum of x[n,c,h,v] w[o,c,i,j]; and y's shape."""
    (s, t), (p, q), (d, e) = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation))
    images, _, height, width = x
    outputs, channels, kh, kw = w
    rows = (height + 2 * p - d * (kh - 1) - 1) // s + 1
    columns = (width + 2 * q - e * (kw - 1) - 1) // t + 1
    terms = []
    places = itertools.product(range(images), range(outputs), range(rows), range(columns))
    for (n, o, k, m), c, i, j in itertools.product(places, range(channels), range(kh), range(kw)):
        h, v = k * s - p + i * d, m * t - q + j * e
        if 0 <= h < height and 0 <= v < width:
            terms.append((n, o, k, m, o // (outputs // groups) * channels + c, h, v, c, i, j))
    return terms, (images, outputs, rows, columns)


@pytest.mark.parametrize(("x", "w", "parameters"), CALLS, ids=str)
def test_convolution_and_its_gradients_are_the_loops(x, w, parameters):
    terms, shape = in_loops(x, w, **parameters)
    x, w, g = RNG.standard_normal(x), RNG.standard_normal(w), RNG.standard_normal(shape)
    y, dx, dw = np.zeros(shape), np.zeros_like(x), np.zeros_like(w)
    for n, o, k, m, c, h, v, d, i, j in terms:
        y[n, o, k, m] += x[n, c, h, v] * w[o, d, i, j]
        dx[n, c, h, v] += g[n, o, k, m] * w[o, d, i, j]
        dw[o, d, i, j] += g[n, o, k, m] * x[n, c, h, v]
    a, b = tg.tensor(x), tg.tensor(w)
    out = conv2d(a, b, **parameters)
    out.backward(g)
    np.testing.assert_allclose(out.numpy(), y, **TOLERANCE)
    np.testing.assert_allclose(a.grad, dx, **TOLERANCE)
    np.testing.assert_allclose(b.grad, dw, **TOLERANCE)


@pytest.mark.parametrize(("x", "w", "parameters"), CALLS, ids=str)
def test_the_size_of_tiles_changes_nothing(monkeypatch, x, w, parameters):
    x, w = RNG.standard_normal(x), RNG.standard_normal(w)
    y = conv2d(x, w, None, **parameters)
    g = RNG.standard_normal(y.shape)
    whole = (y, conv.conv2d_input(g, w, x.shape, **parameters), conv.conv2d_weight(x, g, w.shape, **parameters))
    monkeypatch.setattr(conv, "TILE", 200)  # Less than one image, more than a line.
    tiled = (
        conv2d(x, w, None, **parameters),
        conv.conv2d_input(g, w, x.shape, **parameters),
        conv.conv2d_weight(x, g, w.shape, **parameters),
    )
    for one, other in zip(whole, tiled, strict=True):
        np.testing.assert_allclose(one, other, **TOLERANCE)


def test_both_roads_to_the_input_agree(monkeypatch):
    g, w = RNG.standard_normal((2, 4, 5, 6)), RNG.standard_normal((4, 3, 3, 3))
    correlated = conv.conv2d_input(g, w, (2, 3, 5, 6), padding=1)
    monkeypatch.setattr(conv, "WIDE", 0)
    sprayed = conv.conv2d_input(g, w, (2, 3, 5, 6), padding=1)
    np.testing.assert_allclose(correlated, sprayed, **TOLERANCE)


def test_bias_is_added_to_each_output_channel_and_its_gradient_is_the_sum_of_the_cotangent():
    x, w, b = RNG.standard_normal((2, 1, 4, 4)), RNG.standard_normal((3, 1, 2, 2)), tg.tensor([1.0, 2.0, 3.0])
    y = conv2d(x, w, b)
    g = RNG.standard_normal(y.shape)
    y.backward(g)
    np.testing.assert_array_equal(y.numpy(), conv2d(x, w) + np.array([1.0, 2.0, 3.0])[:, None, None])
    np.testing.assert_allclose(b.grad, g.sum((0, 2, 3)), **TOLERANCE)


def test_groups_are_convolutions_of_their_own():
    x, w = RNG.standard_normal((2, 6, 4, 4)), RNG.standard_normal((4, 3, 2, 2))
    halves = [conv2d(x[:, :3], w[:2]), conv2d(x[:, 3:], w[2:])]
    np.testing.assert_allclose(conv2d(x, w, groups=2), np.concatenate(halves, 1), **TOLERANCE)


def test_a_kernel_of_one_element_is_a_matrix_product_over_channels():
    x, w = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((7, 3, 1, 1))
    np.testing.assert_allclose(conv2d(x, w), np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0]), **TOLERANCE)


def test_a_batch_of_no_images_gives_none_and_a_zero_gradient():
    w = tg.tensor(RNG.standard_normal((2, 3, 3, 3)))
    y = conv2d(np.zeros((0, 3, 5, 5)), w, padding=1)
    assert y.shape == (0, 2, 5, 5)
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, np.zeros((2, 3, 3, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_the_dtype_is_kept(dtype):
    x, w = tg.tensor(np.ones((1, 2, 4, 4)), dtype=dtype), tg.tensor(np.ones((2, 2, 2, 2)), dtype=dtype)
    y = conv2d(x, w, np.ones(2, dtype), stride=2)
    assert y.dtype == dtype
    y.backward(np.ones(y.shape, dtype))
    assert x.grad.dtype == w.grad.dtype == dtype


def test_images_of_bytes_are_convolved_in_the_dtype_of_the_kernels():
    x = RNG.integers(0, 255, (1, 1, 5, 5)).astype(np.uint8)
    w = RNG.standard_normal((2, 1, 3, 3)).astype(np.float32)
    assert conv2d(x, w).dtype == np.float32
    np.testing.assert_array_equal(conv2d(x, w), conv2d(x.astype(np.float32), w))


def test_complex_convolution_is_the_bilinear_one_of_the_parts():
    a, b = RNG.standard_normal((2, 1, 2, 4, 4))
    u, v = RNG.standard_normal((2, 3, 2, 2, 2))
    expected = conv2d(a, u) - conv2d(b, v) + 1j * (conv2d(a, v) + conv2d(b, u))
    np.testing.assert_allclose(conv2d(a + 1j * b, u + 1j * v), expected, **TOLERANCE)


@pytest.mark.parametrize(("x", "w", "parameters"), CALLS, ids=str)
def test_second_order_is_the_derivative_of_the_first(x, w, parameters):
    """f = sum(y^3) / 3 has x_bar = conv2d_input(y^2, w); its derivative along (u, v) by differences."""
    x, w = RNG.standard_normal(x), RNG.standard_normal(w)
    u, v, z = RNG.standard_normal(x.shape), RNG.standard_normal(w.shape), RNG.standard_normal(x.shape)

    def x_bar(x, w):
        return conv.conv2d_input(conv2d(x, w, None, **parameters) ** 2, w, x.shape, **parameters)

    h = 1e-5  # x_bar is a cubic in the step: the error of the difference is h^2 times its third derivative.
    along = (x_bar(x + h * u, w + h * v) - x_bar(x - h * u, w - h * v)) / (2 * h)
    a, b = tg.tensor(x), tg.tensor(w)
    (conv2d(a, b, None, **parameters) ** 3).sum().backward(create_graph=True)
    first = a.grad
    a.grad, b.grad = None, None
    (first * (z / 3)).sum().backward()
    np.testing.assert_allclose(np.sum(a.grad * u) + np.sum(b.grad * v), np.sum(along * z), rtol=1e-7)


def test_a_missing_row_that_meets_no_cotangent_leaves_the_gradient_of_the_kernels_alone():
    x = RNG.standard_normal((2, 1, 4, 4))
    x[1] = np.nan
    w = tg.tensor(RNG.standard_normal((1, 1, 2, 2)))
    y = conv2d(x, w)
    np.where(np.arange(2)[:, None, None, None] == 0, y, 0).sum().backward()
    expected = conv.conv2d_weight(x[:1], np.ones((1, 1, 3, 3)), (1, 1, 2, 2))
    np.testing.assert_allclose(w.grad, expected, **TOLERANCE)


X, W = np.zeros((1, 3, 8, 8)), np.zeros((2, 3, 3, 3))


@pytest.mark.parametrize(
    ("x", "w", "parameters", "error", "message"),
    [
        (X, np.zeros((2, 4, 3, 3)), {}, ShapeError,
         "conv2d: x has 3 channels but w expects 4; got x (1, 3, 8, 8), w (2, 4, 3, 3)"),
        (X[0], W, {}, ShapeError,
         "conv2d: x has 3 axes but 4 are expected, (N, C, H, W); got x (3, 8, 8), w (2, 3, 3, 3)"),
        (X, W[0], {}, ShapeError,
         "conv2d: w has 3 axes but 4 are expected, (O, C / groups, kH, kW); got x (1, 3, 8, 8), w (3, 3, 3)"),
        (X, W, {"groups": 2}, ShapeError,
         "conv2d: groups=2 must divide the 3 channels of x and the 2 outputs of w; got x (1, 3, 8, 8), w (2, 3, 3, 3)"),
        (np.zeros((1, 4, 8, 8)), np.zeros((3, 2, 3, 3)), {"groups": 2}, ShapeError,
         "conv2d: groups=2 must divide the 4 channels of x and the 3 outputs of w; got x (1, 4, 8, 8), w (3, 2, 3, 3)"),
        (np.zeros((1, 4, 8, 8)), np.zeros((2, 3, 3, 3)), {"groups": 2}, ShapeError,
         "conv2d: x has 4 channels but w expects 6 (2 groups of 3); got x (1, 4, 8, 8), w (2, 3, 3, 3)"),
        (X, W, {"groups": 0}, ArgumentError, "conv2d: groups is an int of at least 1; got 0"),
        (X, np.zeros((2, 3, 0, 3)), {}, ShapeError,
         "conv2d: w has a kernel of no elements; got x (1, 3, 8, 8), w (2, 3, 0, 3)"),
        (X, W, {"stride": 0}, ArgumentError, "conv2d: stride must be at least 1; got 0"),
        (X, W, {"stride": (1, -1)}, ArgumentError, "conv2d: stride must be at least 1; got (1, -1)"),
        (X, W, {"dilation": 0}, ArgumentError, "conv2d: dilation must be at least 1; got 0"),
        (X, W, {"padding": -1}, ArgumentError, "conv2d: padding must be at least 0; got -1"),
        (X, W, {"padding": "same"}, ArgumentError,
         "conv2d: padding is an int, or one for each of two axes; got 'same'"),
        (X, W, {"stride": (1, 2, 3)}, ArgumentError,
         "conv2d: stride is an int, or one for each of two axes; got (1, 2, 3)"),
        (X, W, {"stride": 1.5}, ArgumentError, "conv2d: stride is an int, or one for each of two axes; got 1.5"),
        (X, W, {"dilation": 4}, ShapeError,
         "conv2d: a kernel of (3, 3) with dilation (4, 4) is larger than the input of (8, 8) with padding (0, 0)"),
        (X, W, {"bias": np.zeros(3)}, ShapeError,
         "conv2d: bias has shape (3,) but w (2, 3, 3, 3) expects (2,)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(x, w, parameters, error, message):
    for one, other in ((x, w), (tg.tensor(x), tg.tensor(w))):
        with pytest.raises(error) as caught:
            conv2d(one, other, **parameters)
        assert str(caught.value) == message


def test_a_cotangent_of_another_shape_is_refused_by_the_adjoints():
    with pytest.raises(ShapeError, match="conv2d_input: g has shape"):
        conv.conv2d_input(np.zeros((1, 2, 5, 6)), W, (1, 3, 8, 8))
    with pytest.raises(ShapeError, match="conv2d_weight: g has shape"):
        conv.conv2d_weight(X, np.zeros((1, 2, 5, 6)), W.shape)
