"""Differences: values before and after, dtypes, refusals, and what is constant in unwrap."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.differences import undiff
from tapegrad.testing.check import check_grads


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("axis", [0, 1])
def test_undiff_is_the_adjoint_of_diff(n: int, axis: int) -> None:
    a = np.random.default_rng(0).integers(-5, 6, (4, 5)).astype(float)
    if n <= a.shape[axis]:
        e = np.random.default_rng(1).integers(-5, 6, np.diff(a, n, axis).shape).astype(float)
        assert np.vdot(np.diff(a, n, axis), e) == np.vdot(a, undiff(e, axis, n))


def test_values_before_and_after_take_part() -> None:
    a, before, after = np.array([[1.0, 3.0], [2.0, 7.0]]), np.array(0.5), np.ones((2, 2))
    check_grads(lambda a, b, c: np.diff(a, prepend=b, append=c), a, before, after)
    check_grads(lambda a, b, c: np.diff(a, n=2, axis=0, prepend=b, append=c), a, before, after)
    check_grads(lambda b: np.diff(a, prepend=b), before)
    check_grads(lambda a, b, c: np.ediff1d(a, to_begin=b, to_end=c), a, after, before)
    check_grads(lambda c: np.ediff1d(a, c), before)


def test_ediff1d_keeps_the_dtype_of_the_array() -> None:
    a, end = tg.tensor(np.ones(3, np.float32)), tg.tensor([1.0, 2.0])
    y = np.ediff1d(a, to_end=end)
    assert y.dtype == np.float32
    np.sum(y * y).backward()
    assert (a.grad.dtype, end.grad.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(end.grad, [2.0, 4.0])
    with pytest.raises(TypeError, match="same_kind"):
        np.ediff1d(a, to_begin=1j)


def test_diff_refuses_what_numpy_refuses() -> None:
    with pytest.raises(ValueError, match="order must be non-negative"):
        np.diff(tg.tensor([1.0]), -1)
    with pytest.raises(ValueError, match="at least one dimensional"):
        np.diff(tg.tensor(1.0))


def test_diff_of_order_zero_is_the_array_itself() -> None:
    a = tg.tensor([1.0, 2.0])
    assert np.diff(a, 0) is a


@pytest.mark.parametrize("form", [{}, {"discont": 4.0}, {"period": 1.5}, {"axis": 0}], ids=str)
def test_unwrap_passes_its_cotangent_on(form: Any) -> None:
    p = np.random.default_rng(0).uniform(-9, 9, (3, 5)).astype(np.float32)
    t = tg.tensor(p)
    y = np.unwrap(t, **form)
    np.testing.assert_array_equal(y.numpy(), np.unwrap(p, **form))
    u = np.arange(15, dtype=np.float32).reshape(3, 5)
    y.backward(u)
    np.testing.assert_array_equal(t.grad, u)


def test_a_period_that_records_is_refused() -> None:
    with pytest.raises(TypeError, match="period"):
        np.unwrap(tg.tensor([1.0, 2.0]), period=tg.tensor(1.0))
