"""Inserting and deleting: complex values, NumPy's errors, and what would be lost is refused."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg


@pytest.mark.parametrize("obj", [1, -1, 3, [1], [0, 2, 2], slice(0, 3, 2), np.array([3, 0])], ids=str)
def test_complex_arrays_take_inserts(obj: Any) -> None:
    a = np.array([1 + 2j, 3 - 1j, 0.5j])
    x, v = tg.tensor(a), tg.tensor(np.array([2.0 - 1j]))
    y = np.insert(x, obj, v)
    np.testing.assert_array_equal(y.numpy(), np.insert(a, obj, v.numpy()))
    g = np.arange(1, y.size + 1) * (1 + 1j)
    y.backward(g)
    tags = np.insert(np.arange(3), obj, -1)
    np.testing.assert_array_equal(x.grad, g[tags >= 0])
    np.testing.assert_array_equal(v.grad, [np.sum(g[tags < 0])])


def test_recording_values_are_not_lost_in_an_integer_array() -> None:
    with pytest.raises(TypeError, match=r"np\.insert: values of dtype float64 .* int64"):
        np.insert(np.arange(3), 1, tg.tensor(2.0))
    with pytest.raises(TypeError, match=r"np\.insert: values of dtype complex128"):
        np.insert(np.ones(3), 1, tg.tensor(2j))


def test_errors_are_numpys() -> None:
    x = tg.tensor([1.0, 2.0])
    for f in (lambda: np.delete(x, 2), lambda: np.insert(x, 3, 1.0)):
        with pytest.raises(IndexError):
            f()
    with pytest.raises(ValueError, match="non-negative"):
        np.resize(x, (-1, 2))


@pytest.mark.parametrize(
    "obj", [[], [1, 1, -1], slice(None, None, 2), np.array([True, False, True, False]), 2], ids=str
)
def test_what_was_left_out_gets_zero_from_an_infinite_cotangent(obj: Any) -> None:
    x = tg.tensor(np.arange(4.0))
    y = np.delete(x, obj)
    y.backward(np.full(y.shape, np.inf))
    expected = np.zeros(4)
    expected[np.delete(np.arange(4), obj)] = np.inf
    np.testing.assert_array_equal(x.grad, expected)
