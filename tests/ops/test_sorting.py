"""Sorting: the stable order, at ties, nans and in large arrays; what is refused."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

WEIGHTS = np.arange(1.0, 6.0)


def gradient(f: Any, x: Any, weights: Any) -> Any:
    leaf = tg.tensor(x)
    np.real(np.sum(f(leaf) * weights)).backward()
    return leaf.grad


def test_equal_elements_keep_their_order_in_sort() -> None:
    # Sorted: 1 (at 1), 2 (at 0), 2 (at 2), 2 (at 3), 3 (at 4).
    given = gradient(np.sort, [2.0, 1.0, 2.0, 2.0, 3.0], WEIGHTS)
    np.testing.assert_array_equal(given, [2, 1, 3, 4, 5])


@pytest.mark.parametrize("kind", [None, "quicksort", "heapsort", "stable", "mergesort"])
def test_the_order_is_stable_whatever_kind_says(kind: Any) -> None:
    x = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    np.testing.assert_array_equal(gradient(lambda t: np.sort(t, kind=kind), x, WEIGHTS), [2, 3, 1, 4, 5])


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_sort_agrees_with_a_stable_argsort_where_many_are_equal(axis: Any) -> None:
    x = np.random.default_rng(0).integers(0, 9, (60, 70)).astype(float)
    order = np.argsort(x, axis=axis, kind="stable")
    weights = np.random.default_rng(1).normal(size=order.shape)
    expected = np.empty(order.shape)
    np.put_along_axis(expected, order, weights, axis=0 if axis is None else axis)
    given = gradient(lambda t: np.sort(t, axis=axis), x, weights)
    np.testing.assert_array_equal(given, expected.reshape(x.shape))


@pytest.mark.parametrize("levels", [2, 1000, 10**5, 10**7])
@pytest.mark.parametrize("shape", [(200_000,), (400, 90), (900, 10)])
def test_sort_finds_the_stable_order_however_many_are_equal(levels: Any, shape: Any) -> None:
    # Few runs, more than 16 bits can number, few of more than one element; rows; and rows that are short.
    a = np.random.default_rng(0).integers(0, levels, shape).astype(float)
    a[a == 1] = np.nan
    g = np.random.default_rng(1).standard_normal(shape)
    x = tg.tensor(a)
    np.sort(x).backward(g)
    np.testing.assert_array_equal(np.take_along_axis(x.grad, np.argsort(a, axis=-1, kind="stable"), -1), g)


RUNS = np.arange(3000.0) // 7


@pytest.mark.parametrize("a", [RUNS, -RUNS, np.roll(RUNS, 900), np.append(RUNS, [np.nan, 3.0])], ids=range(4))
def test_what_rises_or_falls_over_long_stretches_has_its_stable_order(a: Any) -> None:
    g = np.random.default_rng(0).standard_normal(a.size)
    x = tg.tensor(a)
    np.sort(x).backward(g)
    np.testing.assert_array_equal(x.grad[np.argsort(a, kind="stable")], g)


def test_nans_come_last_in_the_order_they_come_in() -> None:
    given = gradient(np.sort, [np.nan, 2.0, np.nan, 1.0, np.nan], WEIGHTS)
    np.testing.assert_array_equal(given, [3, 2, 4, 1, 5])


def test_complex_numbers_sort_by_their_real_parts_first() -> None:
    given = gradient(np.sort, np.array([1 + 2j, 1 + 1j, 0.5 + 9j, 1 + 1j, 3]), WEIGHTS.astype(complex))
    np.testing.assert_array_equal(given, [4, 2, 1, 3, 5])


def test_sort_keeps_float32_and_sort_complex_gives_complex128() -> None:
    x = tg.tensor(np.array([2.0, 1.0], np.float32))
    assert np.sort(x).dtype == np.float32
    y = np.sort_complex(x)
    assert y.dtype == np.complex128
    y.backward(np.array([1.0, 2.0], complex))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [2, 1])


def test_sort_differentiates_to_any_order() -> None:
    def third(x: Any) -> Any:
        return np.sum(np.sort(x) ** 3 * np.array([1.0, 10.0, 100.0]))

    x = tg.tensor([3.0, 1.0, 2.0])
    third(x).backward(create_graph=True)
    slope, x.grad = x.grad, None
    np.sum(slope).backward(create_graph=True)
    bend, x.grad = x.grad, None
    np.sum(bend).backward()
    np.testing.assert_allclose(x.grad, [600, 6, 60])


@pytest.mark.parametrize("size", [5, 9, 100, 6000])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_partition_puts_at_kth_what_the_stable_order_puts_there(size: Any, levels: Any) -> None:
    x = np.random.default_rng(size).integers(0, levels, size).astype(float)
    order = np.argsort(x, kind="stable")
    for kth in (0, size // 2, -1, (1, size // 3)):
        y = np.partition(tg.tensor(x), kth)
        np.testing.assert_array_equal(np.sort(y.numpy()), x[order])
        for k in np.atleast_1d(kth):
            leaf = tg.tensor(x)
            np.partition(leaf, kth)[k].backward()
            assert np.flatnonzero(leaf.grad).tolist() == [order[k]]


@pytest.mark.parametrize("shape", [(50,), (7, 300), (3, 4, 5)])
def test_partition_of_small_arrays_is_arranged_as_numpy_arranges_it(shape: Any) -> None:
    x = np.random.default_rng(3).integers(0, 20, shape).astype(float)
    for axis in range(len(shape)):
        np.testing.assert_array_equal(np.partition(tg.tensor(x), 2, axis=axis).numpy(), np.partition(x, 2, axis=axis))


@pytest.mark.parametrize("axis", [0, 1])
def test_every_slot_of_a_large_partition_gives_its_cotangent_to_one_element(axis: Any) -> None:
    x = np.random.default_rng(4).integers(0, 30, (90, 80)).astype(float)
    leaf = tg.tensor(x)
    y = np.partition(leaf, (3, 20), axis=axis)
    np.testing.assert_array_equal(np.sort(y.numpy(), axis=axis), np.sort(x, axis=axis))
    weights = np.random.default_rng(5).normal(size=x.shape)
    np.sum(y * weights).backward()
    # The elements weighted by what they got are the slots weighted by what they gave.
    np.testing.assert_allclose(np.sum(leaf.grad * x), np.sum(weights * y.numpy()))
    np.testing.assert_array_equal(np.sort(leaf.grad, axis=None), np.sort(weights, axis=None))


def test_orders_are_plain_arrays() -> None:
    x = tg.tensor([2.0, 1.0, 3.0])
    for order in (np.argsort(x), np.argpartition(x, 1), np.lexsort((x,)), np.searchsorted(np.sort(x), x), x.argsort()):
        assert type(order) is np.ndarray
    np.testing.assert_array_equal(np.digitize(x, tg.tensor([1.5, 2.5])), [1, 0, 2])


def test_what_numpy_refuses_is_refused() -> None:
    x = tg.tensor([2.0, 1.0])
    with pytest.raises(ValueError, match="kind"):
        np.sort(x, kind="bubble")
    with pytest.raises(ValueError, match="fields"):
        np.sort(x, order="name")
    with pytest.raises(ValueError, match="kth"):
        np.partition(x, 5)
    with pytest.raises(np.exceptions.AxisError):
        np.sort(x, axis=1)
    with pytest.raises(np.exceptions.AxisError):
        np.sort(tg.tensor(1.0))
