"""Statistics: weights as tensors, ties, missing rows, and what is refused."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import NotDifferentiableError, WriteError
from tapegrad.testing import check_grads


def test_the_range_of_equal_elements_has_gradient_0() -> None:
    x = tg.tensor(np.ones(4))
    np.ptp(x).backward()
    np.testing.assert_array_equal(x.grad, np.zeros(4))
    with pytest.raises(WriteError, match=r"np\.ptp: out="):
        np.ptp(x, out=np.zeros(()))


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(None, (2, 3, 4)), (1, (3,)), (-1, (4,)), ((0, 2), (2, 4)), ((2, 0), (4, 2)), (0, (2, 3, 4))],
    ids=str,
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_averages_by_weights_that_record(axis: Any, shape: Any, keepdims: Any) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 4)), rng.uniform(0.5, 2, shape)
    expected = np.average(x, axis=axis, weights=w, returned=True, keepdims=keepdims)
    given = np.average(tg.tensor(x), axis=axis, weights=tg.tensor(w), returned=True, keepdims=keepdims)
    for mine, numpys in zip(given, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), numpys, rtol=1e-14)
        assert mine.shape == np.shape(numpys)
    check_grads(lambda a, b: np.average(a, axis=axis, weights=b, keepdims=keepdims), x, w)
    check_grads(lambda b: np.average(x, axis=axis, weights=b, returned=True)[1], w)


def test_averages_refuse_what_numpy_refuses() -> None:
    x = tg.tensor(np.ones((2, 3)))
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        np.average(x, weights=np.zeros((2, 3)))
    with pytest.raises(TypeError, match="Axis must be specified"):
        np.average(x, weights=np.ones(3))
    with pytest.raises(ValueError, match="consistent"):
        np.average(x, axis=0, weights=np.ones(3))


def test_the_sum_of_weights_comes_with_an_unweighted_average() -> None:
    y, total = np.average(tg.tensor(np.ones((2, 3), np.float32)), axis=1, returned=True)
    np.testing.assert_array_equal(total, [3, 3])
    assert total.dtype == y.dtype == np.float32


# ---------------------------------------------------------------- covariances


@pytest.mark.parametrize("ddof", [None, 0, 1])
@pytest.mark.parametrize("fweights", [None, [1, 2, 1, 3, 1]])
def test_covariances_by_weights_that_record(ddof: Any, fweights: Any) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 5)), rng.uniform(0.5, 2, 5)

    def f(a: Any, b: Any) -> Any:
        return np.cov(a, ddof=ddof, fweights=fweights, aweights=b)

    np.testing.assert_allclose(f(tg.tensor(x), tg.tensor(w)).numpy(), f(x, w), rtol=1e-13)
    check_grads(f, x, w)
    check_grads(lambda a, b: np.cov(a, b, aweights=w), x, x[:1] ** 2)


def test_fweights_that_record_are_refused() -> None:
    with pytest.raises(NotDifferentiableError, match="fweights"):
        np.cov(tg.tensor([1.0, 2.0]), fweights=tg.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="fweights must be integer"):
        np.cov(tg.tensor([1.0, 2.0]), fweights=[0.5, 1])
    with pytest.raises(ValueError, match="aweights cannot be negative"):
        np.cov(tg.tensor([1.0, 2.0]), aweights=[-0.5, 1])
    with pytest.raises(RuntimeError, match="incompatible"):
        np.cov(tg.tensor([1.0, 2.0]), aweights=[0.5])
    with pytest.raises(ValueError, match="ddof must be integer"):
        np.cov(tg.tensor([1.0, 2.0]), ddof=0.5)
    with pytest.raises(ValueError, match="more than 2 dimensions"):
        np.cov(tg.tensor(np.zeros((1, 1, 2))))


def test_too_few_samples_warn_as_numpy_does() -> None:
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
        assert np.isnan(np.cov(tg.tensor([1.0])).item())


def test_no_variables_have_no_covariances() -> None:
    assert np.cov(tg.tensor(np.zeros((0, 3)))).shape == (0, 0)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
@pytest.mark.parametrize("weights", [None, np.ones(4)])
def test_a_row_of_missing_data_that_is_left_out_spoils_no_other(missing: Any, weights: Any) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    clean = tg.tensor(x[[0, 2]])
    np.sum(np.cov(clean, aweights=weights) ** 2).backward()
    x[1, 2] = missing
    spoiled = tg.tensor(x)
    with np.errstate(all="ignore"):
        c = np.cov(spoiled, aweights=weights)
    np.sum(c[[0, 0, 2, 2], [0, 2, 0, 2]] ** 2).backward()
    np.testing.assert_allclose(spoiled.grad[[0, 2]], clean.grad, rtol=1e-13)
    np.testing.assert_array_equal(spoiled.grad[1], np.zeros(4))


def test_float32_data_get_float32_gradients_of_covariances_in_float64() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32))
    y = np.cov(x)
    assert y.dtype == np.float64
    np.sum(y).backward()
    assert x.grad.dtype == np.float32


def test_correlations_of_lines_are_flat() -> None:
    x = tg.tensor([[1.0, 2.0, 4.0], [-2.0, -4.0, -8.0]])
    y = np.corrcoef(x)
    np.testing.assert_allclose(y.numpy(), [[1, -1], [-1, 1]], rtol=1e-15)
    np.sum(y * np.array([[1.0, 2], [3, 4]])).backward()
    np.testing.assert_allclose(x.grad, np.zeros((2, 3)), atol=1e-15)


def test_a_constant_row_left_out_spoils_no_correlation() -> None:
    x = np.random.default_rng(1).normal(size=(3, 5))
    clean = tg.tensor(x[[0, 2]])
    np.corrcoef(clean)[0, 1].backward()
    x[1] = 2.0
    spoiled = tg.tensor(x)
    with np.errstate(all="ignore"):
        c = np.corrcoef(spoiled)
    c[0, 2].backward()
    np.testing.assert_allclose(spoiled.grad[[0, 2]], clean.grad, rtol=1e-13, atol=1e-16)
    np.testing.assert_array_equal(spoiled.grad[1], np.zeros(5))


def test_the_correlation_of_one_variable_is_1_and_constant() -> None:
    x = tg.tensor([1.0, 2.0, 4.0])
    y = np.corrcoef(x)
    assert y.item() == 1
    y.backward()
    np.testing.assert_allclose(x.grad, np.zeros(3), atol=1e-15)
