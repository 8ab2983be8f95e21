"""Pools against loops over their definition; ties, nan, padding; second order; what they refuse."""

import itertools

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.nn import avg_pool2d, max_pool2d

RNG = np.random.default_rng(0)
CALLS = [
    ((2, 3, 4, 6), {"kernel_size": 2}),
    ((2, 3, 5, 7), {"kernel_size": 2, "ceil_mode": True}),
    ((2, 1, 5, 6), {"kernel_size": 3, "stride": 1}),
    ((2, 1, 5, 6), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 6, 5), {"kernel_size": (2, 3), "stride": (3, 1), "padding": (1, 0)}),
    ((1, 2, 6, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((1, 2, 4, 4), {"kernel_size": 1}),
    ((0, 2, 4, 4), {"kernel_size": 2}),
]
DILATED = [
    ((1, 2, 7, 8), {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": (2, 3)}),
    ((1, 2, 7, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}),
]


def in_loops(shape, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """For each window (k, m), the elements (h, v) of the image in it in NumPy's order; and how many there are
    with the padding.
    """

    def windows_along(n, k, s, p, d):
        starts = [
            a for a in range(-p, n, s) if a + d * (k - 1) < n + p or (ceil_mode and a - s + d * (k - 1) + 1 < n + p)
        ]
        return [[a + d * i for i in range(k)] for a in starts]

    stride = kernel_size if stride is None else stride
    pairs = [v if isinstance(v, tuple) else (v, v) for v in (kernel_size, stride, padding, dilation)]
    rows, columns = (windows_along(n, *(pair[i] for pair in pairs)) for i, n in enumerate(shape[2:]))
    height, width = shape[2:]
    (p, q) = pairs[2]
    found = {}
    for (k, hs), (m, vs) in itertools.product(enumerate(rows), enumerate(columns)):
        inside = [(h, v) for h in hs for v in vs if 0 <= h < height and 0 <= v < width]
        found[k, m] = inside, sum(h < height + p and v < width + q for h in hs for v in vs)
    return found, (*shape[:2], len(rows), len(columns))


@pytest.mark.parametrize(("shape", "parameters"), CALLS + DILATED, ids=str)
def test_max_pooling_and_its_gradient_are_the_loops(shape, parameters):
    found, pooled = in_loops(shape, **parameters)
    x, g = RNG.integers(0, 4, shape).astype(float), RNG.standard_normal(pooled)  # Few numbers: many ties.
    y, dx = np.zeros(pooled), np.zeros(shape)
    for (n, c), ((k, m), (inside, _)) in itertools.product(np.ndindex(*shape[:2]), found.items()):
        best = max(inside, key=lambda place: x[n, c, *place])  # The first of equal ones.
        y[n, c, k, m] = x[n, c, *best]
        dx[n, c, *best] += g[n, c, k, m]
    a = tg.tensor(x)
    out = max_pool2d(a, **parameters)
    out.backward(g)
    np.testing.assert_array_equal(out.numpy(), y)
    np.testing.assert_allclose(a.grad, dx, rtol=1e-14, atol=1e-14)  # At most nine cotangents add up.


@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("divisor_override", [None, 7])
@pytest.mark.parametrize(("shape", "parameters"), CALLS, ids=str)
def test_average_pooling_and_its_gradient_are_the_loops(shape, parameters, count_include_pad, divisor_override):
    found, pooled = in_loops(shape, **parameters)
    x, g = RNG.standard_normal(shape), RNG.standard_normal(pooled)
    y, dx = np.zeros(pooled), np.zeros(shape)
    for (n, c), ((k, m), (inside, padded)) in itertools.product(np.ndindex(*shape[:2]), found.items()):
        divisor = divisor_override or (padded if count_include_pad else len(inside))
        y[n, c, k, m] = sum(x[n, c, *place] for place in inside) / divisor
        for place in inside:
            dx[n, c, *place] += g[n, c, k, m] / divisor
    a = tg.tensor(x)
    out = avg_pool2d(a, **parameters, count_include_pad=count_include_pad, divisor_override=divisor_override)
    out.backward(g)
    np.testing.assert_allclose(out.numpy(), y, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(a.grad, dx, rtol=1e-13, atol=1e-14)


def test_average_pooling_is_a_convolution_with_a_constant_kernel():
    from tapegrad.nn import conv2d

    x = RNG.standard_normal((2, 3, 6, 6))
    kernel = np.full((3, 1, 2, 2), 0.25)
    np.testing.assert_allclose(avg_pool2d(x, 2), conv2d(x, kernel, stride=2, groups=3), rtol=1e-13, atol=1e-15)


def test_a_window_with_nan_gives_nan_and_touches_no_other():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    x[0, 0, 1, 0] = np.nan
    a = tg.tensor(x)
    y = max_pool2d(a, 2)
    np.testing.assert_array_equal(y.numpy(), [[[[np.nan, 7], [13, 15]]]])
    y.backward(np.array([[[[1.0, 2], [3, 4]]]]))
    np.testing.assert_array_equal(a.grad, [[[[0, 0, 0, 0], [1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 4]]]])


def test_the_padding_is_less_than_everything_and_never_selected():
    x = tg.tensor(np.full((1, 1, 2, 2), -np.inf))
    y = max_pool2d(x, 2, padding=1)
    np.testing.assert_array_equal(y.numpy(), np.full((1, 1, 2, 2), -np.inf))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.ones((1, 1, 2, 2)))


def test_a_window_without_an_element_of_the_image_gives_minus_infinity_and_no_gradient():
    x = tg.tensor(np.ones((1, 1, 1, 2)))
    y = max_pool2d(x, (1, 2), stride=1, padding=(0, 1), dilation=(1, 3))
    np.testing.assert_array_equal(y.numpy(), [[[[-np.inf]]]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.zeros((1, 1, 1, 2)))


@pytest.mark.parametrize("stride", [1, 2])
def test_what_was_not_selected_gets_zero_whatever_the_cotangent(stride):
    x = tg.tensor(np.array([[[[1.0, 0, 0, 3], [0, 0, 0, 0]]]]))
    y = max_pool2d(x, (2, 2), stride=stride)
    g = np.zeros(y.shape)
    g[..., 0], g[..., -1] = np.inf, np.nan
    y.backward(g)
    np.testing.assert_array_equal(x.grad, [[[[np.inf, 0, 0, np.nan], [0, 0, 0, 0]]]])


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_kept(pool, dtype):
    x = tg.tensor(RNG.standard_normal((1, 2, 5, 5)), dtype=dtype)
    y = pool(x, 3, 2, 1, ceil_mode=True)
    assert y.dtype == dtype
    y.backward(np.ones(y.shape, dtype))
    assert x.grad.dtype == dtype


def test_averages_with_divisors_of_each_window_keep_float32_and_complex64():
    for dtype in (np.float32, np.complex64):
        assert avg_pool2d(np.ones((1, 1, 3, 3), dtype), 2, padding=1, count_include_pad=False).dtype == dtype


def test_integers_have_a_maximum_of_their_own_kind():
    x = -np.arange(1, 10).reshape(1, 1, 3, 3)
    np.testing.assert_array_equal(max_pool2d(x, 2, padding=1), [[[[-1, -2], [-4, -5]]]])


def test_images_may_be_lists():
    assert max_pool2d([[[[1.0, 2.0], [3.0, 6.0]]]], 2).item() == 6
    assert avg_pool2d([[[[1.0, 2.0], [3.0, 6.0]]]], 2).item() == 3


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
def test_a_kernel_of_one_element_gives_a_copy(pool):
    x = np.arange(4.0).reshape(1, 1, 2, 2)
    y = pool(x, 1)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize(("shape", "parameters"), [c for c in CALLS if c[0][0]], ids=str)
def test_second_order_is_the_derivative_of_the_first(pool, shape, parameters):
    """f = sum(P(x)^3) / 3 has the Hessian P' diag(2 P(x)) P, with P linear where nothing ties."""
    x, u = RNG.standard_normal(shape), RNG.standard_normal(shape)
    h = 1e-6  # Far less than the distance of any two elements.

    def gradient(x):
        a = tg.tensor(x)
        (pool(a, **parameters) ** 3).sum().backward()
        return a.grad / 3

    along = (gradient(x + h * u) - gradient(x - h * u)) / (2 * h)
    a = tg.tensor(x)
    (pool(a, **parameters) ** 3).sum().backward(create_graph=True)
    first, a.grad = a.grad, None
    (first * (u / 3)).sum().backward()
    # A quadratic has exact differences; what remains is rounding, eps / h.
    np.testing.assert_allclose(a.grad, along, rtol=1e-7, atol=1e-8)


X = np.zeros((1, 2, 4, 4))


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize(
    ("x", "parameters", "error", "message"),
    [
        (X[0], {"kernel_size": 2}, ShapeError, "x has 3 axes but 4 are expected, (N, C, H, W); got x (2, 4, 4)"),
        (X, {"kernel_size": 0}, ArgumentError, "kernel_size must be at least 1; got 0"),
        (X, {"kernel_size": 2, "stride": 0}, ArgumentError, "stride must be at least 1; got 0"),
        (X, {"kernel_size": 2, "padding": -1}, ArgumentError, "padding must be at least 0; got -1"),
        (X, {"kernel_size": (3, 2), "padding": (1, 2)}, ArgumentError,
         "padding must be at most half the kernel; got padding (1, 2), kernel (3, 2)"),
        (X, {"kernel_size": 5}, ShapeError,
         "a kernel of (5, 5) with dilation (1, 1) is larger than the input of (4, 4) with padding (0, 0)"),
        (X, {"kernel_size": "2"}, ArgumentError, "kernel_size is an int, or one for each of two axes; got '2'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(pool, x, parameters, error, message):
    for operand in (x, tg.tensor(x)):
        with pytest.raises(error) as caught:
            pool(operand, **parameters)
        assert str(caught.value) == f"{pool.__name__}: {message}"


def test_other_refusals():
    with pytest.raises(ArgumentError, match="max_pool2d: dilation must be at least 1; got 0"):
        max_pool2d(X, 2, dilation=0)
    with pytest.raises(DTypeError, match="max_pool2d: x has dtype complex128"):
        max_pool2d(X + 1j, 2)
    with pytest.raises(DTypeError, match="avg_pool2d: x has dtype bool"):
        avg_pool2d(X > 0, 2)
    with pytest.raises(ArgumentError, match="avg_pool2d: divisor_override must not be 0"):
        avg_pool2d(X, 2, divisor_override=0)
