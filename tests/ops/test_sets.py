"""Sets: which of equal elements is picked, and the forms that no difference can check."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.sorting import held

SORTED = np.lib.NumpyVersion(np.__version__) >= "2.3.0"  # np.unique has sorted= from there on.


def test_the_first_of_equal_elements_gets_the_cotangent() -> None:
    x = tg.tensor([3.0, 1.0, 3.0, 1.0])
    np.sum(np.unique(x) * np.array([5.0, 7.0])).backward()
    np.testing.assert_array_equal(x.grad, [7, 5, 0, 0])


def test_indices_and_counts_are_plain_and_values_record() -> None:
    x = tg.tensor([3.0, 1.0, 3.0])
    values, index, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    assert isinstance(values, tg.Tensor)
    assert values.requires_grad
    np.testing.assert_array_equal(index, [1, 0])
    np.testing.assert_array_equal(inverse, [1, 0, 1])
    np.testing.assert_array_equal(counts, [1, 2])
    assert all(type(part) is np.ndarray for part in (index, inverse, counts))


@pytest.mark.parametrize("function", [np.unique_all, np.unique_counts, np.unique_inverse])
def test_named_tuples_stay_such(function: Any) -> None:
    x = np.array([[3.0, 1.0], [3.0, 2.0]])
    given, expected = function(tg.tensor(x)), function(x)
    assert type(given) is type(expected)
    assert given._fields == expected._fields
    np.testing.assert_array_equal(given.values.numpy(), expected.values)
    for mine, numpys in zip(given[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(mine, numpys)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_values_come_in_numpys_own_order_and_each_finds_its_element(dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 40, 100).astype(dtype)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * np.random.default_rng(1).integers(0, 3, 100).astype(dtype)
    forms = [np.unique_values] + ([lambda a: np.unique(a, sorted=False)] if SORTED else [])
    for form in forms:
        leaf = tg.tensor(x)
        y = form(leaf)
        np.testing.assert_array_equal(y.numpy(), form(x))
        weights = np.arange(1.0, y.size + 1).astype(dtype)
        np.sum(y * weights).real.backward()
        first = {value: i for i, value in reversed(list(enumerate(x.tolist())))}
        expected = np.zeros(100, dtype)
        for value, weight in zip(y.numpy().tolist(), weights, strict=True):
            expected[first[value]] = weight
        np.testing.assert_array_equal(leaf.grad, expected)


def test_nans_are_one_or_each_its_own() -> None:
    x = np.array([np.nan, 1.0, np.nan])
    assert np.unique(tg.tensor(x)).shape == (2,)
    assert np.unique(tg.tensor(x), equal_nan=False).shape == (3,)
    assert np.unique_values(tg.tensor(x)).shape == np.unique_values(x).shape


def test_a_set_of_both_picks_from_the_first_array() -> None:
    a, b = tg.tensor([1.0, 2.0, 2.0]), tg.tensor([2.0, 3.0])
    common, at_a, at_b = np.intersect1d(a, b, return_indices=True)
    np.testing.assert_array_equal(common.numpy(), [2])
    assert (at_a.tolist(), at_b.tolist()) == ([1], [0])
    np.sum(common).backward()
    np.testing.assert_array_equal(a.grad, [0, 1, 0])
    assert b.grad is None or not b.grad.any()


def test_a_union_of_integers_and_floats_is_of_floats() -> None:
    a = tg.tensor([2.5, 1.0])
    y = np.union1d(np.array([1, 2]), a)
    np.testing.assert_array_equal(y.numpy(), [1, 2, 2.5])
    np.sum(y).backward()
    np.testing.assert_array_equal(a.grad, [1, 0])  # The 1 is the first array's.


@pytest.mark.parametrize("function", [np.union1d, np.setdiff1d, np.setxor1d, np.intersect1d])
def test_sets_of_random_numbers_are_numpys(function: Any) -> None:
    rng = np.random.default_rng(0)
    for n, m in ((0, 0), (0, 3), (5, 0), (12, 9), (3, 30)):
        a, b = rng.integers(0, 12, n).astype(float), rng.integers(0, 12, m).astype(float)
        np.testing.assert_array_equal(held(function(tg.tensor(a), b)), function(a, b))
        np.testing.assert_array_equal(held(function(a, tg.tensor(b))), function(a, b))


@pytest.mark.parametrize("trim", ["fb", "f", "b", "BF"])
def test_trim_zeros_leaves_what_numpy_leaves(trim: Any) -> None:
    for x in ([0.0, 0.0, 1.0, 0.0, 2.0, 0.0], [1.0, 2.0], [0.0, 0.0], []):
        x = np.array(x)
        if trim == "BF":
            assert np.trim_zeros(tg.tensor(x), trim).shape == np.trim_zeros(x, "fb").shape
        else:
            np.testing.assert_array_equal(np.trim_zeros(tg.tensor(x), trim).numpy(), np.trim_zeros(x, trim))


if np.lib.NumpyVersion(np.__version__) >= "2.2.0":  # Until then np.trim_zeros takes one axis.

    def test_trim_zeros_cuts_a_box_and_along_one_axis() -> None:
        x = np.zeros((4, 5))
        x[1, 2], x[2, 3] = 1.0, 2.0
        for axis in (None, 0, 1, (0, 1), -1):
            for trim in ("fb", "f", "b"):
                leaf = tg.tensor(x)
                y = np.trim_zeros(leaf, trim, axis=axis)
                np.testing.assert_array_equal(y.numpy(), np.trim_zeros(x, trim, axis=axis))
                np.sum(y * y).backward()
                np.testing.assert_array_equal(leaf.grad, 2 * x)

    def test_trim_zeros_refuses_other_letters() -> None:
        with pytest.raises(ValueError, match="trim"):
            np.trim_zeros(tg.tensor(np.zeros((2, 2))), "x")


def test_membership_is_plain() -> None:
    assert type(np.isin(tg.tensor([1.0, 2.0]), tg.tensor([2.0]))) is np.ndarray
