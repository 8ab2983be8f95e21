"""The modified Bessel functions: accuracy against identities that use no series of ours."""

import math

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.bessel import bessel_over_power

# I_n(x) / x^n to 20 digits, by mpmath.
KNOWN = (
    (0, 0.001, 1.000000250000015625),
    (0, 2.0, 2.2795853023360672674),
    (0, 7.9, 389.40628328215799843),
    (0, 15.0, 339649.37329791387952),
    (0, 29.5, 478144163888.03980422),
    (0, 30.5, 1278062138712.5664747),
    (0, 100.0, 1.0737517071310738235e42),
    (0, 600.0, 6.1463054039368448035e258),
    (1, 0.001, 0.50000006250000260417),
    (1, 2.0, 0.79531842731866453169),
    (1, 7.9, 46.057461276520047517),
    (1, 15.0, 21874.994798013759782),
    (1, 29.5, 15931148658.178891555),
    (1, 30.5, 41210905682.244968343),
    (1, 100.0, 1.0683693903381624812e40),
    (1, 600.0, 1.0235302241778153228e256),
    (2, 0.001, 0.12500001041666699219),
    (2, 2.0, 0.17223711192468455101),
    (2, 7.9, 4.7635212422547328418),
    (2, 15.0, 1315.108372008383822),
    (2, 29.5, 512820300.57073487056),
    (2, 30.5, 1285289252.7256936716),
    (2, 100.0, 1.0523843193243105739e38),
    (2, 600.0, 1.7016207776259134714e253),
    (3, 0.001, 0.020833334635416699219),
    (3, 2.0, 0.026592494904981581909),
    (3, 7.9, 0.43267707590932725077),
    (3, 15.0, 73.842494711023219974),
    (3, 29.5, 15949287.510365931713),
    (3, 30.5, 38774252.804452774691),
    (3, 100.0, 1.0262740175651900583e36),
    (3, 600.0, 2.824232614075865747e250),
)


@pytest.mark.parametrize(("n", "x", "value"), KNOWN)
def test_values_are_right_to_rounding(n: int, x: float, value: float) -> None:
    assert abs(bessel_over_power(np.array([x]), n)[0] / value - 1) < 1e-14 * max(1.0, x / 10)  # exp(x) rounds x


def test_the_recurrence_holds_everywhere() -> None:
    # I_(n-1) - I_(n+1) = 2n I_n / x, divided by x^(n-1); both sides are positive, f_(n+1) x^2 < f_(n-1).
    x = np.linspace(0, 60, 601)
    for n in range(1, 5):
        below, here, above = (bessel_over_power(x, k) for k in (n - 1, n, n + 1))
        np.testing.assert_allclose(2 * n * here + x * x * above, below, rtol=1e-13)


def test_the_derivative_of_i0_is_odd_and_its_second_is_a_half_at_zero() -> None:
    x = tg.tensor([0.0, 2.0, -2.0])
    np.sum(np.i0(x)).backward(create_graph=True)
    first = x.grad
    assert first.numpy()[0] == 0
    assert first.numpy()[1] == -first.numpy()[2]
    x.grad = None
    np.sum(first).backward()
    assert x.grad.numpy()[0] == 0.5 if isinstance(x.grad, tg.Tensor) else x.grad[0] == 0.5


def test_dtypes_are_kept() -> None:
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        x = tg.tensor(np.array([0.5, 3.0], dtype))
        y = np.i0(x)
        y.backward(np.ones(2, dtype))
        assert (y.dtype, x.grad.dtype) == (dtype, dtype)


def test_negative_large_and_nan_arguments() -> None:
    x = np.array([-40.0, -3.0, 700.0, np.nan])
    y = bessel_over_power(x, 1)
    assert np.isnan(y[3])
    np.testing.assert_allclose(y[:3] * x[:3] / np.i0(x[:3]), [-0.98741, -0.81000, 0.99929], rtol=1e-4)
    assert math.isfinite(y[2])


def test_complex_arguments_are_refused_as_numpy_does() -> None:
    with pytest.raises(TypeError):
        np.i0(tg.tensor(1j))
