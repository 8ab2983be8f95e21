"""Convolution and correlation: exact on whole numbers, in every mode and for every pair of lengths."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing.check import check_grads


def whole(n: int, seed: int, dtype: Any) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.integers(-4, 5, n).astype(float)
    return (x + 1j * rng.integers(-4, 5, n) if np.dtype(dtype).kind == "c" else x).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("f", [np.convolve, np.correlate], ids=lambda f: f.__name__)
def test_both_cotangents_are_adjoints(f: Any, mode: Any, dtype: Any) -> None:
    for n, m in product(range(1, 7), repeat=2):
        a, v = whole(n, n, dtype), whole(m, 10 + m, dtype)
        s, t = tg.tensor(a), tg.tensor(v)
        y = f(s, t, mode)
        np.testing.assert_array_equal(y.numpy(), f(a, v, mode))
        u = whole(len(y), 20, dtype)
        y.backward(u)
        for k in range(3):
            da, dv = whole(n, 30 + k, dtype), whole(m, 40 + k, dtype)
            assert np.vdot(f(da, v, mode), u).real == np.vdot(da, s.grad).real
            assert np.vdot(f(a, dv, mode), u).real == np.vdot(dv, t.grad).real
        assert (s.grad.dtype, t.grad.dtype) == (a.dtype, v.dtype)


def test_real_with_complex_gives_each_its_own_dtype() -> None:
    check_grads(lambda a, v: np.convolve(a, v), whole(4, 0, float), whole(3, 1, complex), order=3)
    check_grads(lambda a, v: np.correlate(a, v, "same"), whole(3, 0, complex), whole(4, 1, float), order=3)


def test_a_mode_may_be_given_by_number() -> None:
    a, v = tg.tensor(np.arange(1.0, 5.0)), np.array([1.0, -2.0])
    for number, name in enumerate(("valid", "same", "full")):
        gradients = []
        for mode in (number, name):
            np.sum(np.convolve(a, v, mode) ** 2).backward()
            gradients.append(a.grad)
            a.grad = None
        np.testing.assert_array_equal(*gradients)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) >= "2.3.0", reason="NumPy takes whole names alone")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_mode_is_known_by_its_first_letter() -> None:
    a, v = tg.tensor(np.arange(1.0, 5.0)), np.array([1.0, -2.0])
    np.sum(np.convolve(a, v, "Same")).backward()
    np.testing.assert_array_equal(a.grad, [-1.0, -1.0, -1.0, 1.0])


def test_missing_data_that_is_masked_later_spoils_nothing() -> None:
    a, v = tg.tensor([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]), tg.tensor([1.0, -1.0])
    y = np.convolve(a, v, "valid")
    np.sum(np.where(np.isnan(y), 0.0, y)).backward()
    np.testing.assert_array_equal(v.grad, [2.0 + 5 + 6, 1.0 + 4 + 5])
    np.testing.assert_array_equal(a.grad, [-1.0, 1.0, 0.0, -1.0, 0.0, 1.0])


def test_empty_and_two_dimensional_operands_are_refused_as_numpy_does() -> None:
    with pytest.raises(ValueError, match="cannot be empty"):
        np.convolve(tg.tensor(np.ones(0)), np.ones(2))
    with pytest.raises(ValueError, match="cannot be empty"):
        np.convolve(np.ones(2), tg.tensor(np.ones(0)))
    with pytest.raises(ValueError, match="too deep"):
        np.convolve(tg.tensor(np.ones((2, 2))), np.ones(2))
