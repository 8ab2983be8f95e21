"""Missing data: nans get the gradient 0, also where a whole slice is missing, and numbers what they'd get alone."""

import warnings
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

NAN = np.nan
HOLES = np.array([[1.0, NAN, 3.0, 2.0], [NAN, 2.0, -1.0, 2.0], [NAN, NAN, 0.5, NAN]])
NAMES = ["sum", "prod", "mean", "var", "std", "max", "min", "cumsum", "cumprod"]


def gradient(f: Any, x: Any) -> Any:
    leaf = tg.tensor(x)
    y = f(leaf)
    y.backward(np.arange(1.0, y.size + 1).reshape(y.shape).astype(y.dtype))
    return leaf.grad


@pytest.mark.parametrize("name", NAMES)
def test_numbers_get_what_they_get_without_the_nans(name: Any) -> None:
    nan_function, function = getattr(np, "nan" + name), getattr(np, name)
    for row in HOLES[:, [0, 1, 2, 3]]:
        left = ~np.isnan(row)
        if name.startswith("cum"):
            seed = np.arange(1.0, 5.0)
            leaf, alone = tg.tensor(row), tg.tensor(row[left])
            y = nan_function(leaf)
            y.backward(seed)
            # Behind a nan the running result stays what it was: its cotangents go to the same elements.
            at = np.maximum(np.cumsum(left) - 1, 0)
            np.sum(function(alone)[at] * seed * (np.cumsum(left) > 0)).backward()
            given, expected = leaf.grad, alone.grad
        else:
            given, expected = gradient(nan_function, row), gradient(function, row[left])
        np.testing.assert_allclose(given[left], expected, rtol=1e-14)
        assert not given[~left].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_along_an_axis_each_slice_is_by_itself(name: Any, axis: Any) -> None:
    function = getattr(np, "nan" + name)
    given = tg.tensor(HOLES)
    np.testing.assert_allclose(function(given, axis=axis).numpy(), function(HOLES, axis=axis), rtol=1e-14)
    whole = gradient(lambda t: np.sum(function(t, axis=axis)), HOLES)
    lines = np.moveaxis(HOLES, axis, -1)
    expected = np.array([gradient(lambda t: np.sum(function(t)), line) for line in lines])
    np.testing.assert_allclose(np.moveaxis(whole, axis, -1), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["mean", "var", "std", "max", "min"])
def test_a_slice_of_nans_alone_warns_and_gets_0(name: Any) -> None:
    x = np.array([[NAN, NAN], [1.0, 2.0]])
    function = getattr(np, "nan" + name)
    with pytest.warns(RuntimeWarning) as mine:
        y = function(tg.tensor(x), axis=1)
    with pytest.warns(RuntimeWarning) as numpys:
        function(x, axis=1)
    assert [str(w.message) for w in mine] == [str(w.message) for w in numpys]
    assert np.isnan(y.numpy()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = gradient(lambda t: function(t, axis=1), x)
    np.testing.assert_array_equal(given[0], [0, 0])
    assert given[1].any()


def test_no_nan_no_difference() -> None:
    x = np.array([[1.0, 2.0, 2.0], [0.0, 3.0, 1.0]])
    for name in NAMES:
        np.testing.assert_allclose(
            gradient(getattr(np, "nan" + name), x), gradient(getattr(np, name), x), rtol=1e-14, atol=1e-15
        )


def test_the_deviation_of_equal_numbers_has_gradient_0() -> None:
    np.testing.assert_array_equal(gradient(np.nanstd, [0.1, NAN, 0.1, 0.1]), np.zeros(4))


def test_products_are_exact_at_zeros() -> None:
    np.testing.assert_array_equal(gradient(np.nanprod, [0.0, NAN, 3.0, 2.0]), [6, 0, 0, 0])


def test_a_complex_number_is_missing_if_a_part_of_it_is() -> None:
    x = np.array([1 + 1j, complex(NAN, 2), complex(1, NAN)])
    np.testing.assert_array_equal(gradient(np.nansum, x), [1, 0, 0])
    np.testing.assert_array_equal(gradient(np.nanmean, x), [1, 0, 0])


def test_a_given_mean_has_a_gradient() -> None:
    x, m = tg.tensor([1.0, NAN, 4.0]), tg.tensor([2.0])
    y = np.nanvar(x, mean=m)
    assert y.item() == np.nanvar(x.numpy(), mean=np.array([2.0])) == 2.5
    y.backward()
    np.testing.assert_array_equal(x.grad, [-1, 0, 2])
    np.testing.assert_array_equal(m.grad, [-1])


def test_float32_stays_float32() -> None:
    for name in NAMES:
        x = tg.tensor(HOLES.astype(np.float32))
        y = getattr(np, "nan" + name)(x)
        assert y.dtype == np.float32
        np.sum(y).backward()
        assert x.grad.dtype == np.float32


def test_second_derivatives_leave_the_nans_out_too() -> None:
    x = tg.tensor([1.0, NAN, 4.0])
    np.nanvar(x).backward(create_graph=True)
    slope, x.grad = x.grad, None
    (slope[0] * 1.0).backward()
    np.testing.assert_allclose(x.grad, [0.5, 0, -0.5])


def test_both_names_of_the_same_freedom_are_refused() -> None:
    with pytest.raises(ValueError, match="simultaneously"):
        np.nanvar(tg.tensor([1.0, 2.0]), ddof=1, correction=1)
