"""Running products are exact at zeros at every order, and where prefixes under- or overflow."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.cumulative import recurrence


def by_definition(x: Any, g: Any) -> Any:
    """x_bar_i = sum over k >= i of g_k times the product of the x_j with j <= k, j != i."""
    return np.array([sum(g[k] * np.prod(np.delete(x[: k + 1], i)) for k in range(i, len(x))) for i in range(len(x))])


@pytest.mark.parametrize(
    "x",
    [
        [1.5, -2.0, 0.5, 3.0, -1.0],
        [1.5, 0.0, 0.5, 3.0, -1.0],
        [0.0, 2.0, 0.0, 3.0],
        [2.0, 0.0, 0.0, 0.0, 1.0],
        [1e-200, 1e-200, 1e250, 2.0],
        [0.0],
    ],
)
def test_cumprod_has_the_gradient_of_its_definition(x: list[float]) -> None:
    g = np.arange(1.0, len(x) + 1)
    leaf = tg.tensor(x)
    np.cumprod(leaf).backward(g)
    np.testing.assert_allclose(leaf.grad, by_definition(np.array(x), g), rtol=1e-13)


def test_the_hessian_of_cumprod_is_exact_at_two_zeros() -> None:
    x = tg.tensor([2.0, 0.0, 3.0, 0.0, 5.0])
    # d2/dx1 dx3 of 2 x1 3 x3 (1 + 5) is 36, though every first derivative through both is 0.
    np.sum(np.cumprod(x)[3:]).backward(create_graph=True)
    first, x.grad = x.grad, None
    first[1].backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0, 0.0, 36.0, 0.0])


def test_the_third_order_of_cumprod_is_exact_at_three_zeros() -> None:
    x = tg.tensor([0.0, 0.0, 0.0, 7.0])
    np.cumprod(x)[3].backward(create_graph=True)
    first, x.grad = x.grad, None
    first[0].backward(create_graph=True)
    second, x.grad = x.grad, None
    second[1].backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0, 7.0, 0.0])


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_a_factor_that_meets_no_cotangent_spoils_nothing(missing: float) -> None:
    x = tg.tensor([2.0, 3.0, missing, 4.0])
    y = np.cumprod(x)
    y.backward(np.array([1.0, 1.0, 0.0, 0.0]), create_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 2.0, 0.0, 0.0])
    first, x.grad = x.grad, None
    first[0].backward()
    np.testing.assert_array_equal(x.grad, [0.0, 1.0, 0.0, 0.0])


def test_one_zero_in_a_batch_leaves_the_other_rows_as_they_are() -> None:
    a = np.random.default_rng(0).uniform(0.5, 1.5, (3, 40))
    spoiled = a.copy()
    spoiled[1, 7] = 0.0
    x, y = tg.tensor(a), tg.tensor(spoiled)
    np.sum(np.cumprod(x, axis=1)).backward()
    np.sum(np.cumprod(y, axis=1)).backward()
    np.testing.assert_allclose(y.grad[[0, 2]], x.grad[[0, 2]], rtol=1e-13)
    np.testing.assert_allclose(y.grad[1], by_definition(spoiled[1], np.ones(40)), rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64, np.longdouble])
@pytest.mark.parametrize("zero", [False, True])
def test_cotangents_keep_their_dtype(dtype: Any, zero: bool) -> None:
    x = tg.tensor(np.array([1.0, 0.0 if zero else 2.0, 3.0], dtype))
    np.cumprod(x).backward(np.ones(3, dtype))
    assert x.grad.dtype == dtype
    np.testing.assert_array_equal(x.grad, [1.0, 4.0, 0.0] if zero else [9.0, 4.0, 2.0])


@pytest.mark.parametrize("width", [1, 3, 40])
def test_the_recurrence_in_pairs_is_the_one_step_by_step(width: int) -> None:
    rng = np.random.default_rng(width)
    for n in range(1, 20):
        links, values = rng.standard_normal((n - 1, width)), rng.standard_normal((n, width))
        s = [values[0]]
        for link, value in zip(links, values[1:], strict=True):
            s.append(value + link * s[-1])
        np.testing.assert_allclose(recurrence(links, values), s, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [1, 40])
def test_links_may_overflow_where_the_recurrence_does_not(width: int) -> None:
    links = np.repeat([[1e-300], [1e200], [1e200], [np.inf]], width, axis=1)
    values = np.repeat([[1e-100], [0.0], [0.0], [-1.0], [2.0]], width, axis=1)
    values[3] = -(links[2] * (links[1] * (links[0] * values[0])))  # From there on, an exact 0.
    with np.errstate(all="ignore"):  # As in a sweep.
        s = recurrence(links, values)
    np.testing.assert_array_equal(s[3:], [[0.0] * width, [2.0] * width])
