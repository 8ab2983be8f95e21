"""numpy.emath: complex where an argument needs it, and real gradients of real arguments."""

import numpy as np
import pytest

import tapegrad as tg

FUNCTIONS = ["sqrt", "log", "log2", "log10", "arccos", "arcsin", "arctanh"]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128])
@pytest.mark.parametrize("x", [[0.3, 0.5], [-1.7, 0.5], [2.5, 0.5]], ids=str)
def test_the_dtype_is_numpys(name, dtype, x):
    f = getattr(np.emath, name)
    x = np.array(x, dtype)
    y = f(tg.tensor(x))
    assert y.dtype == f(x).dtype
    np.testing.assert_array_equal(y.numpy(), f(x))


def test_the_gradient_of_a_root_below_zero_is_real():
    x = tg.tensor([-4.0, 9.0])
    y = np.emath.sqrt(x)
    assert y.tolist() == [2j, 3]
    y.backward(np.array([1j, 1.0]))
    # d|Im| / dx = d sqrt(-x) / dx = -1/4 at -4, and 1/6 at 9.
    np.testing.assert_allclose(x.grad, [-0.25, 1 / 6], rtol=1e-15)
    assert x.grad.dtype == np.float64


def test_either_operand_of_logn_may_be_the_tensor():
    n, x = tg.tensor(2.0), tg.tensor([8.0, -4.0])
    np.sum(np.real(np.emath.logn(n, x))).backward()
    np.testing.assert_allclose(x.grad, [1 / (8 * np.log(2)), -1 / (4 * np.log(2))], rtol=1e-14)
    np.testing.assert_allclose(n.grad, -(np.log(8) + np.log(4)) / (2 * np.log(2) ** 2), rtol=1e-14)
    t = tg.tensor(3.0)
    np.emath.logn(2, t).backward()
    np.testing.assert_allclose(t.grad, 1 / (3 * np.log(2)), rtol=1e-15)


@pytest.mark.parametrize(("x", "p"), [(2, -2), (-2, 0.5), (3, 2), (-2, 3)])
def test_powers_are_numpys(x, p):
    expected = np.emath.power(x, p)
    for given in (np.emath.power(tg.tensor(float(x)), p), np.emath.power(x, tg.tensor(float(p)))):
        np.testing.assert_allclose(given.numpy(), expected, rtol=1e-15)
