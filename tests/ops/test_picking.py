"""Picking: what wasn't picked gets 0, and places picked twice add up."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

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


@pytest.mark.parametrize("shape", [(50, 40), (40, 7, 5), (3000, 16), (300, 100)])
@pytest.mark.parametrize("repeats", [1, 3, 2000])
def test_rows_read_by_several_arrays_of_numbers_add_up(shape: Any, repeats: Any) -> None:
    rng = np.random.default_rng(0)
    a = np.zeros(shape)
    n = 20 if repeats > 3 else shape[0]  # Few rows, each named often, or all of them.
    numbers = [rng.integers(-n, n, n * repeats) for _ in range(2)]
    parts = [rng.integers(-8, 9, a[i].shape).astype(float) for i in numbers]
    expected = np.zeros(shape)
    for i, part in zip(numbers, parts, strict=True):
        np.add.at(expected, i, part)
    x = tg.tensor(a)
    np.sum(x[numbers[0]] * parts[0] + x[numbers[1]] * parts[1]).backward()
    np.testing.assert_array_equal(x.grad, expected)


@pytest.mark.parametrize("shape", [(9, 30, 20), (5, 4, 3, 8)])
def test_places_by_several_arrays_may_be_negative(shape: Any) -> None:
    rng = np.random.default_rng(0)
    index = (rng.integers(-shape[0], shape[0], (50, 1)), rng.integers(-shape[1], shape[1], 60))
    a = np.zeros(shape)
    g = rng.integers(-8, 9, a[index].shape).astype(float)
    expected = np.zeros(shape)
    np.add.at(expected, index, g)
    np.testing.assert_array_equal(gradient(lambda t: t[index], a, g), expected)


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


def test_errors_are_numpys() -> None:
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(IndexError):
        np.take(x, [2])
    with pytest.raises(ValueError, match="as many of both"):
        np.select([x > 0, x > 1], [x])
    with pytest.raises(tg.TapegradError, match="out="):
        np.choose([0, 1], [x, x], out=np.zeros(2))


def test_from_an_empty_array_places_out_of_range_may_be_taken_as_numpy_has_it() -> None:
    x = tg.tensor(np.zeros((0, 2)))
    for y in (np.take(x, [2, 5], axis=1), x.take(-7, 1), np.take_along_axis(x, np.full((0, 3), 9), axis=1)):
        assert y.size == 0
        y.backward(np.zeros(y.shape), create_graph=True)
        assert x.grad.shape == (0, 2)
        x.grad = None
