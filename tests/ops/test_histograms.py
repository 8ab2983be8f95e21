"""Histograms: weights that record, edges that come of the data, counts that are constant."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.sorting import held
from tapegrad.testing import check_grads

X = np.array([0.1, 0.75, 0.3, 0.7, 1.0, 0.5, -4.0, np.nan])
W = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
EDGES = np.array([0.0, 0.3, 0.3, 0.7, 1.0])


@pytest.mark.parametrize("density", [None, False, True])
@pytest.mark.parametrize(
    "given", [{"bins": EDGES}, {"bins": 4, "range": (0.0, 1.0)}, {"bins": 3, "range": (0.1, 0.75)}], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_weights_that_record_give_numpys_sums(density: Any, given: Any, dtype: Any) -> None:
    w = (W * (1 + 2j) if dtype is np.complex128 else W).astype(dtype)
    with np.errstate(all="ignore"):
        expected, edges = np.histogram(X, density=density, weights=w, **given)
        leaf = tg.tensor(w)
        y, found = np.histogram(X, density=density, weights=leaf, **given)
    np.testing.assert_array_equal(held(found), edges)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-6 if dtype is np.float32 else 1e-14)
    assert y.dtype == expected.dtype


def test_each_weight_gets_the_cotangent_of_its_bin() -> None:
    w = tg.tensor(W)
    y, _edges = np.histogram(X, bins=EDGES, weights=w)
    y.backward(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(w.grad, [1, 4, 3, 4, 4, 3, 0, 0])


def test_the_edges_follow_the_data_and_the_counts_do_not() -> None:
    x = tg.tensor([1.0, 5.0, 2.0, 5.0])
    counts, edges = np.histogram(x, bins=4)
    assert type(counts) is np.ndarray
    edges[1].backward()
    np.testing.assert_allclose(x.grad, [0.75, 0.125, 0, 0.125])  # Two share the largest element.


def test_a_density_over_edges_that_record() -> None:
    x = np.array([0.0, 1.0, 2.0, 5.0])
    check_grads(lambda a: np.histogram(a, bins=3, density=True)[0], x)
    check_grads(lambda e: np.histogram(x, bins=e, density=True)[0], np.array([-1.0, 1.5, 6.0]))
    check_grads(lambda w: np.histogram(x, bins=3, density=True, weights=w)[0], np.array([1.0, 2.0, 3.0, 4.0]))


def test_edges_of_equal_elements_stand_half_a_unit_away() -> None:
    x = tg.tensor([2.0, 2.0])
    edges = np.histogram_bin_edges(x, bins=2)
    np.testing.assert_array_equal(edges.numpy(), [1.5, 2, 2.5])
    edges[0].backward()
    np.testing.assert_array_equal(x.grad, [0.5, 0.5])


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("bins", [3, (2, 3), [np.array([-9.0, 0.0, 9.0]), 2]], ids=str)
def test_histograms_of_points_are_numpys(density: Any, bins: Any) -> None:
    rng = np.random.default_rng(0)
    points, w = rng.normal(size=(20, 2)), rng.uniform(1, 2, 20)
    span = None if isinstance(bins, int) else [(-1.0, 1.0), None]
    expected, edges = np.histogramdd(points, bins, span, density=density, weights=w)
    forms = [
        np.histogramdd(points, bins, span, density=density, weights=tg.tensor(w)),
        np.histogramdd(tg.tensor(points), bins, span, density=density, weights=w),
        np.histogramdd([tg.tensor(points[:, 0]), points[:, 1]], bins, span, density=density, weights=tg.tensor(w)),
    ]
    for y, found in forms:
        np.testing.assert_allclose(held(y), expected, rtol=1e-13)
        for mine, numpys in zip(found, edges, strict=True):
            np.testing.assert_allclose(held(mine), numpys, rtol=1e-15)
    y, *found = np.histogram2d(tg.tensor(points[:, 0]), points[:, 1], bins, span, density, w)
    np.testing.assert_allclose(held(y), expected, rtol=1e-13)
    check_grads(lambda v: np.histogramdd(points, bins, span, density=density, weights=v)[0], w)


def test_one_row_of_edges_serves_both_axes() -> None:
    x, y, edges = np.array([0.1, 0.6, 2.0]), np.array([0.2, 0.9, 0.5]), np.array([0.0, 0.5, 1.0])
    w = tg.tensor([1.0, 2.0, 4.0])
    for bins in (edges, edges.tolist(), [edges, edges]):
        given = np.histogram2d(x, y, bins, weights=w)
        for mine, numpys in zip(given, np.histogram2d(x, y, bins, weights=w.numpy()), strict=True):
            np.testing.assert_array_equal(held(mine), numpys)
    np.sum(given[0]).backward()
    np.testing.assert_array_equal(w.grad, [1, 1, 0])


def test_counting_with_weights() -> None:
    w = tg.tensor(np.array([1.0, 2.0, 4.0], np.float32))
    y = np.bincount([2, 0, 2], weights=w, minlength=4)
    np.testing.assert_array_equal(y.numpy(), [2, 0, 5, 0])
    assert y.dtype == np.float64
    y.backward(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(w.grad, [3, 1, 3])
    assert w.grad.dtype == np.float32
    np.testing.assert_array_equal(np.bincount(np.array([], int), tg.tensor(np.zeros(0)), 2), [0, 0])


def test_what_numpy_refuses_is_refused() -> None:
    w = tg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="same length"):
        np.bincount([0, 1, 2], w)
    with pytest.raises(ValueError, match="same shape"):
        np.histogram([0.0, 1.0, 2.0], weights=w)
    with pytest.raises(ValueError, match="monotonically"):
        np.histogram([0.0, 1.0], bins=[1.0, 0.0], weights=w)
    with pytest.raises(TypeError, match="Automated"):
        np.histogram([0.0, 1.0], bins="auto", weights=w)
    with pytest.raises(ValueError, match="dimension of bins"):
        np.histogramdd(tg.tensor(np.zeros((3, 2))), bins=(1, 2, 3))
    with pytest.raises(TypeError, match="safe"):
        np.bincount(tg.tensor([0.0, 1.0]))
