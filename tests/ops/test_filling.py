"""Filling by like= and full_like: who records, and that the value gets the sum of all, at both orders."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_grads


@pytest.mark.parametrize(
    "fill",
    [
        lambda v: np.full((2, 3), v, like=v),
        lambda v: np.full_like(v, v, shape=(2, 3)),
        lambda v: np.full((2, 3), v[:, None][1:], np.float64, like=v),
    ],
)
def test_a_recording_fill_value_gets_the_sum_of_all(fill):
    v = tg.tensor(np.array([1.0, 2.0, 3.0], np.float32))
    y = fill(v)
    y.backward(np.arange(6, dtype=y.dtype).reshape(2, 3))
    assert v.grad.dtype == np.float32
    assert v.grad.sum() == 15.0


def test_full_takes_a_number_for_its_shape():
    v = tg.tensor(2.0)
    np.sum(np.full(4, v, like=v)).backward()
    assert v.grad == 4.0


def test_full_like_of_integers_is_constant():
    made = np.full_like(tg.tensor([1.0]), tg.tensor(2.7), dtype=int)
    assert made.dtype == int
    assert not getattr(made, "requires_grad", False)


@pytest.mark.parametrize("dtype", [None, np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3)], ids=str)
def test_full_agrees_with_differences_at_both_orders(shape, dtype):
    v = np.linspace(0.5, 2.0, int(np.prod(shape))).reshape(shape)

    def f(t):
        y = np.full((2, 3), t, dtype, like=t) if isinstance(t, tg.Tensor) else np.full((2, 3), t, dtype)
        return np.sum(np.abs(y) ** 3)

    check_grads(f, v, order=2)


def test_full_with_a_complex_value_gets_a_complex_sum():
    v = tg.tensor(1.0 + 2.0j)
    y = np.full((2, 2), v, like=v)
    y.backward(np.array([[1, 1j], [2, 0]]))
    assert y.dtype == np.complex128
    assert v.grad == 3 + 1j


def test_full_takes_its_parameters_by_position_and_by_name():
    v = tg.tensor(2.0)
    for y in (np.full((2,), v, np.float32, "F", like=v), np.full(shape=(2,), fill_value=v, dtype=np.float32, like=v)):
        assert (y.dtype, y.shape, y.requires_grad) == (np.float32, (2,), True)
