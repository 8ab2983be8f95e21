"""What variances and deviations promise: a mean of its own, equal numbers, missing data."""

from typing import Any

import numpy as np
import pytest
from ops_tools import EPS, INF, NAN, gradient, hessian

import tapegrad as tg


@pytest.mark.parametrize("ddof", [0, 1, 1.5])
def test_a_variance_pulls_along_the_deviations(ddof: float) -> None:
    x = np.array([[1.0, 4.0, 2.0, 2.5], [0.5, -1.0, 3.0, 0.0]])
    d = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(lambda t: np.var(t, axis=1, ddof=ddof), x), 2 * d / (4 - ddof), rtol=8 * EPS)
    std = np.std(x, axis=1, ddof=ddof, keepdims=True)
    np.testing.assert_allclose(
        gradient(lambda t: np.std(t, axis=1, ddof=ddof), x), d / ((4 - ddof) * std), rtol=8 * EPS
    )


def test_correction_is_another_name_of_ddof_and_both_are_refused() -> None:
    x = np.array([1.0, 4.0, 2.0])
    for spread in (np.var, np.std):
        given = gradient(lambda t, spread=spread: spread(t, correction=1), x)
        np.testing.assert_array_equal(given, gradient(lambda t, spread=spread: spread(t, ddof=1), x))
        with pytest.raises(ValueError, match="ddof and correction can't be provided simultaneously"):
            spread(tg.tensor(x), ddof=1, correction=1)


def test_a_complex_variance_pulls_along_the_complex_deviations() -> None:
    x = np.array([1 + 2j, 3 - 1j, -2 + 0.5j])
    y = np.var(tg.tensor(x), ddof=1)
    assert y.dtype == np.float64
    expected = 2 * (x - x.mean()) / 2
    np.testing.assert_allclose(gradient(lambda t: np.var(t, ddof=1), x), expected, rtol=8 * EPS)
    np.testing.assert_allclose(
        gradient(lambda t: np.std(t, ddof=1), x), expected / (2 * np.std(x, ddof=1)), rtol=8 * EPS
    )


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_a_mean_that_is_given_has_a_gradient_too(spread: Any) -> None:
    x = np.array([1.0, 4.0, 2.0, 2.5])
    own = hessian(spread, x)
    given = hessian(lambda t: spread(t, mean=np.mean(t, keepdims=True)), x)
    np.testing.assert_allclose(given, own, atol=16 * EPS)
    # About a point that is not the mean, the point matters.
    about = gradient(lambda m: spread(x, mean=m), np.array([1.0]))
    scale = 1 if spread is np.var else 2 * spread(x, mean=np.array([1.0]))
    np.testing.assert_allclose(about, -2 * np.mean(x - 1.0, keepdims=True) / scale, rtol=8 * EPS)


def test_a_constant_mean_is_held_fast() -> None:
    x = np.array([1.0, 4.0, 2.0])
    np.testing.assert_allclose(gradient(lambda t: np.var(t, mean=0.0), x), 2 * x / 3, rtol=4 * EPS)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e-100, 1e100])
@pytest.mark.parametrize("n", [2, 3, 7, 49])
def test_the_deviation_of_equal_numbers_has_gradient_zero(value: float, n: int) -> None:
    # The mean of numbers that are all 0.1 isn't 0.1 to the last bit, and the deviation then not quite 0.
    np.testing.assert_array_equal(gradient(np.std, np.full(n, value)), np.zeros(n))


def test_a_row_of_equal_numbers_does_not_spoil_the_others() -> None:
    x = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 4.0]])
    given = gradient(lambda t: np.std(t, axis=1), x)
    np.testing.assert_array_equal(given[0], 0)
    np.testing.assert_array_equal(given[1], gradient(np.std, x[1]))
    leaf = tg.tensor(x)
    np.sum(np.std(leaf, axis=1)).backward(create_graph=True)
    recorded, leaf.grad = leaf.grad, None
    recorded.backward(np.ones((2, 3)))
    assert np.isfinite(leaf.grad).all()
    np.testing.assert_array_equal(leaf.grad[0], 0)


def test_the_chosen_may_be_equal_and_the_others_not() -> None:
    where = np.array([True, True, True, False])
    given = gradient(lambda t: np.std(t, where=where), np.array([0.1, 0.1, 0.1, 7.0]))
    np.testing.assert_array_equal(given, np.zeros(4))


def test_complex_numbers_that_are_equal_have_a_deviation_with_gradient_zero() -> None:
    np.testing.assert_array_equal(gradient(np.std, np.full(3, 0.1 + 0.3j)), np.zeros(3))


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_missing_data_that_is_masked_later_spoils_nothing(spread: Any) -> None:
    x = np.array([[1.0, NAN, 3.0], [1.0, INF, 3.0], [1.0, 2.0, 4.0]])
    good = np.array([False, False, True])
    with np.errstate(invalid="ignore"):
        given = gradient(lambda t: np.where(good, spread(t, axis=1), 0.0), x)
    np.testing.assert_array_equal(given[:2], 0)
    np.testing.assert_array_equal(given[2], gradient(spread, x[2]))


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_too_few_elements_give_nan_with_numpys_warning_and_no_other(spread: Any) -> None:
    x = np.array([[1.0], [2.0]])
    leaf = tg.tensor(x)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning) as warned:
        y = spread(leaf, axis=1, ddof=1)
    assert [str(w.message) for w in warned] == ["Degrees of freedom <= 0 for slice"]
    assert np.isnan(y.numpy()).all()
    y.backward(np.array([1.0, 0.0]))
    # A result that is nan has a gradient that is nan (or 0, where equal numbers have none), never a finite other.
    assert np.isnan(leaf.grad[0, 0]) or spread is np.std
    assert leaf.grad[1, 0] == 0


def test_a_float16_deviation_of_many_numbers_keeps_its_gradient() -> None:
    x = np.tile(np.array([0.5, -0.5], np.float16), 40_000)
    given = gradient(np.std, x)
    assert given.dtype == np.float16
    np.testing.assert_array_equal(np.abs(given), np.float16(1 / 80_000))


def test_a_tape_names_variances_by_what_was_called() -> None:
    x = tg.tensor([1.0, 2.0])
    with tg.Tape() as tape:
        np.var(x)
        np.std(x)
    assert [fact.primitive.split()[0] for fact in tape] == ["np.var", "np.std"]


@pytest.mark.parametrize("function", [np.var, np.std])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128])
def test_into_an_array_of_another_dtype_goes_numpys_value_to_the_last_bit(function: Any, dtype: Any) -> None:
    # NumPy adds up, divides and takes the root in the dtype of out=; a value cast at the end differs in the last bit.
    data = np.random.default_rng(0).normal(3.0, 5.0, (50, 8)).astype(np.float32)
    for axis, ddof in ((0, 0), (1, 1)):
        shape = function(data, axis=axis).shape
        x, right = tg.tensor(data), function(data, axis, None, np.zeros(shape, dtype), ddof)
        by_place = function(x, axis, None, np.zeros(shape, dtype, like=x), ddof)
        by_name = function(x, axis=axis, ddof=ddof, out=np.zeros(shape, dtype, like=x))
        for y in (by_place, by_name):
            assert y.dtype == dtype
            np.testing.assert_array_equal(y.numpy(), right)
        by_name.real.sum().backward()
        plain = gradient(lambda t, axis=axis, ddof=ddof: function(t, axis=axis, ddof=ddof).sum(), data)
        eps = max(float(np.finfo(d).eps) for d in (dtype, data.dtype))
        np.testing.assert_allclose(x.grad, plain, rtol=8 * eps, atol=eps)


@pytest.mark.parametrize("given", [{}, {"where": np.array([True, True])}])
def test_of_more_degrees_than_there_are_the_gradient_is_infinite(given):
    x = tg.tensor([[1.0, 2.0], [1.0, 2.0]])
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
        y = np.var(x, axis=1, ddof=3, **given)
    y.backward(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(x.grad, [[-np.inf, np.inf], [0, 0]])
