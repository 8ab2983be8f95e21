"""Order statistics: which element is picked at ties and nans, every method, and the gradient by q."""

import warnings
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import WriteError
from tapegrad.ops.quantiles import METHODS

NAN = np.nan


def gradient(f: Any, x: Any) -> Any:
    leaf = tg.tensor(x)
    np.sum(f(leaf)).backward()
    return leaf.grad


def test_the_median_of_two_tied_middles_takes_those_that_the_stable_order_has_there() -> None:
    # Sorted: 1 (at 3), 2 (at 0), 2 (at 1), 2 (at 2): the middles are at 0 and 1.
    np.testing.assert_array_equal(gradient(np.median, [2.0, 2.0, 2.0, 1.0]), [0.5, 0.5, 0, 0])


@pytest.mark.parametrize("n", [1, 2, 7, 8, 301, 6000])
@pytest.mark.parametrize("rows", [1, 5])
def test_the_median_follows_a_stable_argsort(n: Any, rows: Any) -> None:
    x = np.random.default_rng(n).integers(0, max(n // 3, 2), (rows, n)).astype(float)
    order = np.argsort(x, axis=1, kind="stable")
    middles = order[:, [(n - 1) // 2, n // 2]]
    expected = np.zeros((rows, n))
    for row, places in enumerate(middles):
        for place in places:
            expected[row, place] += 0.5
    np.testing.assert_array_equal(gradient(lambda t: np.median(t, axis=1), x), expected)


def test_complex_medians_sort_by_real_parts_first() -> None:
    x = tg.tensor([1 + 5j, 1 + 1j, 0j])
    y = np.median(x)
    assert y.item() == 1 + 1j
    y.backward(np.complex128(1j))
    np.testing.assert_array_equal(x.grad, [0, 1j, 0])


def test_a_nan_makes_its_slice_nan_and_no_other() -> None:
    x = np.array([[1.0, NAN, 2.0, NAN], [4.0, 3.0, 2.0, 1.0]])
    for f in (np.median, lambda t, axis: np.quantile(t, 0.5, axis=axis), lambda t, axis: np.percentile(t, 50, axis)):
        np.testing.assert_array_equal(f(tg.tensor(x), axis=1).numpy(), [NAN, 2.5])
        given = gradient(lambda t, f=f: f(t, axis=1), x)
        np.testing.assert_allclose(given, [[0, 0, 0, 1], [0, 0.5, 0.5, 0]])


def test_an_infinite_neighbour_spoils_no_gradient() -> None:
    np.testing.assert_array_equal(gradient(np.median, [np.inf, 1.0, -np.inf]), [0, 1, 0])
    np.testing.assert_array_equal(gradient(np.median, [np.inf, np.inf]), [0.5, 0.5])


def test_medians_of_nothing_are_numpys() -> None:
    x = tg.tensor(np.zeros((0, 3)))
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"), np.errstate(all="ignore"):
        assert np.isnan(np.median(x, axis=0)).all()
    with pytest.raises(IndexError):
        np.quantile(x, 0.5, axis=0)
    assert np.quantile(x, [0.1, 0.2], axis=1).shape == (2, 0)


# ---------------------------------------------------------------- quantiles


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_numpys_value_and_shares_of_one(method: Any) -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 11):
        for x in (rng.normal(size=n), rng.integers(0, 3, n).astype(float)):
            # At, beside and between the jumps.
            q = np.concatenate([np.arange(n + 1) / n, np.arange(1, n + 1) / (n + 1), rng.uniform(size=9)])
            for level in (q, *q[:4].tolist(), 0, 1):
                leaf = tg.tensor(x)
                y = np.quantile(leaf, level, method=method)
                np.testing.assert_allclose(y.numpy(), np.quantile(x, level, method=method), rtol=1e-13)
                assert y.shape == np.shape(level)
                np.sum(y).backward()
                np.testing.assert_allclose(np.sum(leaf.grad), y.size, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("method", ["linear", "hazen", "midpoint", "nearest", "averaged_inverted_cdf"])
def test_the_result_has_numpys_dtype(dtype: Any, method: Any) -> None:
    x = np.array([3.0, 1.0, 2.0, 7.0], dtype)
    levels = [0.3, 0, np.float32(0.3), np.float64(0.3), np.array([0.3], np.float32), np.array([0.3]), [0.3, 0.5]]
    for q in levels:
        for name in ("quantile", "nanquantile", "median", "nanmedian"):
            f = getattr(np, name)
            args = (q,) if "quantile" in name else ()
            kwargs = {"method": method} if args else {}
            leaf = tg.tensor(x)
            y = f(leaf, *args, **kwargs)
            assert y.dtype == f(x, *args, **kwargs).dtype
            np.sum(y).backward()
            assert leaf.grad.dtype == dtype


def test_q_has_a_gradient_where_the_method_interpolates() -> None:
    x = np.array([10.0, 0.0, 30.0, 60.0])
    for method, slope in (("linear", 3 * 20.0), ("weibull", 5 * 20.0), ("hazen", 4 * 20.0)):
        q = tg.tensor(0.5)
        np.quantile(x, q, method=method).backward()
        assert q.grad == pytest.approx(slope)
    q = tg.tensor([10.0, 50.0])
    np.sum(np.percentile(x, q)).backward()
    np.testing.assert_allclose(q.grad, [0.3, 0.6])


@pytest.mark.parametrize("method", ["lower", "higher", "nearest", "inverted_cdf", "midpoint"])
def test_steps_are_constant_in_q(method: Any) -> None:
    q, x = tg.tensor(0.3), tg.tensor([1.0, 5.0, 2.0])
    np.quantile(x, q, method=method).backward()
    assert q.grad is None or q.grad == 0
    assert x.grad.sum() == 1


def test_q_beyond_the_data_of_weibull_is_flat() -> None:
    q, x = tg.tensor(0.01), tg.tensor([1.0, 5.0, 2.0])
    np.quantile(x, q, method="weibull").backward()
    assert q.grad == 0
    np.testing.assert_array_equal(x.grad, [1, 0, 0])


@pytest.mark.parametrize("q", [-0.1, 1.1, [0.5, 2.0], tg.tensor(1.5), NAN])
def test_q_out_of_range_is_refused(q: Any) -> None:
    with pytest.raises(ValueError, match=r"range \[0, 1\]"):
        np.quantile(tg.tensor([1.0, 2.0]), q)


def test_what_numpy_refuses_is_refused() -> None:
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="range"):
        np.percentile(x, 101)
    with pytest.raises(ValueError, match="method"):
        np.quantile(x, 0.5, method="best")
    with pytest.raises(ValueError, match="weights"):
        np.quantile(x, 0.5, weights=np.ones(2))
    with pytest.raises(TypeError, match="real"):
        np.quantile(tg.tensor([1j, 2]), 0.5)
    with pytest.raises(np.exceptions.AxisError):
        np.median(x, axis=1)
    with pytest.raises(WriteError, match=r"np\.median: out="):
        np.median(x, out=np.zeros(()))
    with pytest.raises(WriteError, match=r"np\.nanpercentile: out="):
        np.nanpercentile(x, 50, out=np.zeros(()))


# ---------------------------------------------------------------- weights


def test_weighted_quantiles_are_numpys_and_constant_in_the_weights() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.integers(0, 5, (4, 6)).astype(float), rng.integers(0, 3, (4, 6)).astype(float)
    w[:, 0] = 1
    for axis in (None, 0, 1, (0, 1), (1, 0)):
        for q in (0.0, 0.3, [0.2, 0.9, 1.0]):
            leaf, weights = tg.tensor(x), tg.tensor(w + (axis == 0))
            y = np.quantile(leaf, q, axis=axis, method="inverted_cdf", weights=weights)
            right = np.quantile(x, q, axis=axis, method="inverted_cdf", weights=w + (axis == 0))
            np.testing.assert_array_equal(y.numpy(), right)
            np.sum(y).backward()
            assert leaf.grad.sum() == y.size
            assert weights.grad is None


def test_nans_go_with_their_weights() -> None:
    x = np.array([[NAN, 1.0, 5.0], [NAN, NAN, 2.0]])
    w = np.array([[9.0, 1.0, 1.5], [1.0, 1.0, 1.0]])
    leaf = tg.tensor(x)
    y = np.nanquantile(leaf, 0.5, axis=1, method="inverted_cdf", weights=w)
    np.testing.assert_array_equal(y.numpy(), [5, 2])
    np.sum(y).backward()
    np.testing.assert_array_equal(leaf.grad, [[0, 0, 1], [0, 0, 1]])
    y = np.quantile(tg.tensor(x), 0.5, axis=1, method="inverted_cdf", weights=w)
    assert np.isnan(y).all()


# ---------------------------------------------------------------- nans left out


@pytest.mark.parametrize("n", [1, 4, 5, 700])
def test_nan_functions_are_the_plain_ones_of_what_is_left(n: Any) -> None:
    rng = np.random.default_rng(n)
    x = rng.integers(0, 4 + n // 3, (3, n)).astype(float)
    x[rng.uniform(size=x.shape) < 0.3] = NAN
    x[:, -1] = 2.0
    pairs = [(np.nanmedian, np.median)]
    for method in METHODS:
        pairs.append(
            (
                lambda a, method=method: np.nanquantile(a, 0.37, axis=-1, method=method),
                lambda a, method=method: np.quantile(a, 0.37, method=method),
            )
        )
    for nan_function, function in pairs:
        for row in x:
            given, left = gradient(nan_function, row), ~np.isnan(row)
            np.testing.assert_allclose(given[left], gradient(function, row[left]), rtol=1e-13)
            assert not given[~left].any()
    given = gradient(lambda t: np.nanmedian(t, axis=1), x)
    np.testing.assert_array_equal(given, [gradient(np.nanmedian, row) for row in x])
    np.testing.assert_array_equal(np.nanmedian(tg.tensor(x), axis=1).numpy(), np.nanmedian(x, axis=1))
    for q in (0.3, [0.3, 0.7]):
        given = np.nanpercentile(tg.tensor(x), np.multiply(q, 100), axis=1).numpy()
        np.testing.assert_allclose(given, np.nanpercentile(x, np.multiply(q, 100), axis=1))


@pytest.mark.parametrize("f", [np.nanmedian, lambda t, **axis: np.nanquantile(t, 0.5, **axis)])
def test_a_slice_of_nans_alone_is_nan_with_numpys_warning_and_gradient_0(f: Any) -> None:
    x = np.array([[NAN, NAN], [1.0, NAN]])
    with pytest.warns(RuntimeWarning, match="All-NaN slice encountered"):
        np.testing.assert_array_equal(f(tg.tensor(x), axis=1).numpy(), [NAN, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(gradient(lambda t: f(t, axis=1), x), [[0, 0], [1, 0]])
        np.testing.assert_array_equal(gradient(f, x[0]), [0, 0])


def test_medians_differentiate_again_through_what_comes_after() -> None:
    x = tg.tensor([3.0, 1.0, 2.0, 9.0])
    (np.median(x) ** 3).backward(create_graph=True)
    slope, x.grad = x.grad, None
    np.sum(slope).backward()
    np.testing.assert_allclose(x.grad, [7.5, 0, 7.5, 0])
