"""Picking: what wasn't picked gets 0, places picked twice add up, and what would be lost is refused."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

windows = np.lib.stride_tricks.sliding_window_view
INF = np.full(3, np.inf)


def gradient(f: Any, x: Any, g: Any) -> Any:
    leaf = tg.tensor(x)
    f(leaf).backward(g)
    return leaf.grad


@pytest.mark.parametrize("axis", [0, 1, 2, None])
@pytest.mark.parametrize("mode", ["raise", "wrap", "clip"])
def test_many_takes_add_up_along_every_axis(axis: Any, mode: Any) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-8, 9, (20, 30, 40)).astype(float)  # Whole numbers add up exactly in any order.
    n = a.size if axis is None else a.shape[axis]
    numbers = rng.integers(-n, n, (10, 7)) * (1 if mode == "raise" else 3)
    weights = rng.integers(-8, 9, np.take(a, numbers, axis, mode=mode).shape).astype(float)
    expected = np.zeros_like(a)
    places = np.take(np.arange(a.size).reshape(a.shape), numbers, axis, mode=mode)
    np.add.at(expected.reshape(-1), places, weights)
    given = gradient(lambda t: np.take(t, numbers, axis, mode=mode), a, weights)
    np.testing.assert_array_equal(given, expected)


def test_take_along_axis_by_argsort_is_sort() -> None:
    a = np.random.default_rng(0).standard_normal((50, 40))
    order = np.argsort(a, axis=0)
    g = np.arange(2000.0).reshape(50, 40)
    expected = np.empty_like(a)
    np.put_along_axis(expected, order, g, axis=0)
    np.testing.assert_array_equal(gradient(lambda t: np.take_along_axis(t, order, axis=0), a, g), expected)


def test_what_is_not_chosen_gets_zero_from_an_infinite_cotangent() -> None:
    mask = np.array([True, False, True])
    zero_where_false = [np.inf, 0.0, np.inf]
    x, y = np.ones(3), np.full(3, 2.0)
    np.testing.assert_array_equal(gradient(lambda t: np.select([mask], [t], y), x, INF), zero_where_false)
    np.testing.assert_array_equal(gradient(lambda t: np.choose(mask.astype(int), [y, t]), x, INF), zero_where_false)
    pieces = gradient(lambda t: np.piecewise(t, [mask], [lambda v: v, 5.0]), x, INF)
    np.testing.assert_array_equal(pieces, zero_where_false)


def test_select_takes_the_first_condition_and_a_tensor_as_default() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    default = tg.tensor(4.0)
    y = np.select([x > 2.5, x > 1.5], [x**2, x * 10], default)
    np.testing.assert_array_equal(y.numpy(), [4.0, 20.0, 9.0])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 10.0, 6.0])
    assert default.grad == 1.0


def test_conditions_may_be_lists_and_choices_one_array() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    np.sum(np.select([[True, False]], [x])).backward()
    np.testing.assert_array_equal(x.grad, [[1.0, 0.0], [1.0, 0.0]])
    x.zero_grad()
    np.sum(np.choose([1, 0], x)).backward()
    np.testing.assert_array_equal(x.grad, [[0.0, 1.0], [1.0, 0.0]])


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
    for f in (lambda: np.take(x, [2]), lambda: np.delete(x, 2), lambda: np.insert(x, 3, 1.0)):
        with pytest.raises(IndexError):
            f()
    with pytest.raises(ValueError, match="as many of both"):
        np.select([x > 0, x > 1], [x])
    with pytest.raises(ValueError, match="non-negative"):
        np.resize(x, (-1, 2))
    with pytest.raises(tg.TapegradError, match="out="):
        np.choose([0, 1], [x, x], out=np.zeros(2))
    with pytest.raises(tg.TapegradError, match="writeable=True"):
        windows(x, 2, writeable=True)


@pytest.mark.parametrize(
    ("shape", "window", "axis"),
    [((5000,), 20, None), ((40,), 33, 0), ((300, 200), (3, 5), None), ((4, 3000, 3), 30, 1), ((90,), (4, 70), (0, 0))],
)
def test_every_window_is_added_where_it_lies(shape: Any, window: Any, axis: Any) -> None:
    a = np.zeros(shape)
    seen = windows(np.arange(a.size).reshape(shape), window, axis)
    g = np.random.default_rng(0).integers(-8, 9, seen.shape).astype(float)
    expected = np.zeros(a.size)
    np.add.at(expected, seen, g)
    np.testing.assert_array_equal(gradient(lambda t: windows(t, window, axis), a, g), expected.reshape(shape))
