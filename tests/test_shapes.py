"""The seams: what undoes broadcasting, reducing and indexing, by quick roads that all agree."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad import shapes
from tapegrad.shapes import (
    conj,
    expand_like,
    fit,
    normalized_axes,
    scatter_add,
    scattered,
    select,
    spec_of,
    sum_axes,
    unbroadcast,
)


def whole(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
    """Small whole numbers: their sums are exact in whatever order."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


# Short rows, long rows, rows that don't divide evenly, both sides of LARGE.
LARGE_SHAPES = [(5000, 3), (3, 5000), (4097,), (64, 64), (63, 65), (130, 600), (600, 130), (17, 5, 61), (8, 9, 4, 16)]
ALL_SHAPES = [*LARGE_SHAPES, (1, 5000), (5000, 1), (2, 3, 4), (), (0, 3)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.complex128])
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=str)
def test_sum_axes_is_the_sum_over_whichever_axes(shape: tuple[int, ...], dtype: Any) -> None:
    # float16 counts to 2048 exactly; the sums over thousands of whole numbers stay within it by the seed.
    x = whole(shape, 1, dtype) if dtype is not np.float16 else np.sign(whole(shape, 1, dtype))
    for count in range(len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            for keepdims in False, True:
                total = sum_axes(x, axes, keepdims)
                assert total.dtype == dtype
                np.testing.assert_array_equal(total, np.sum(x, axis=axes, keepdims=keepdims))


def test_sum_axes_takes_any_memory_and_any_form_of_axis() -> None:
    x = whole((90, 80))
    for view in x.T, x[::-1], x[:, ::2]:
        for axis in 0, 1, -1, None, (0,), (1,), (-1,), (1, 0):
            np.testing.assert_array_equal(sum_axes(view, axis), np.sum(view, axis=axis))


def test_sums_of_large_arrays_are_as_accurate_as_numpys() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (100_000, 3)).astype(np.float32)
    exact = x.sum(axis=0, dtype=np.float64)
    for total in sum_axes(x, (0,)), unbroadcast(x, (3,)):
        # Rows are added one after another, in hundreds of columns: far better than n * eps = 1e-2.
        np.testing.assert_allclose(total, exact, rtol=1e-5)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4, min_side=0))
def test_unbroadcast_is_the_adjoint_of_broadcast_to(drawn: Any) -> None:
    (shape, _), result = drawn
    g, x = whole(result, 1), whole(shape, 2)
    back = unbroadcast(g, shape)
    assert back.shape == shape
    assert np.vdot(np.broadcast_to(x, result), g) == np.vdot(x, back)


@pytest.mark.parametrize("present", [*LARGE_SHAPES, (70_000, 3), (9, 8000)], ids=str)
def test_unbroadcast_of_large_arrays(present: tuple[int, ...]) -> None:
    g = whole(present, 3)
    for ones in itertools.product([False, True], repeat=len(present)):
        shape = tuple(1 if one else n for one, n in zip(ones, present, strict=True))
        for lead in range(len(present) + 1):
            kept = shape[lead:]
            x = whole(kept, 4)
            assert np.vdot(np.broadcast_to(x, present), g) == np.vdot(x, unbroadcast(g, kept))


def test_unbroadcast_without_broadcasting_is_the_array_itself() -> None:
    g = whole((2, 3))
    assert unbroadcast(g, (2, 3)) is g


def test_unbroadcast_keeps_what_is_not_finite_in_its_own_column() -> None:
    g = np.ones((50, 100))
    g[3, 5], g[4, 6] = np.nan, np.inf
    for total in unbroadcast(g, (100,)), unbroadcast(np.repeat(g, 20, axis=0), (100,))[:]:
        assert np.isnan(total[5])
        assert np.isposinf(total[6])
        assert np.isfinite(np.delete(total, [5, 6])).all()


@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3), st.booleans())
def test_expand_like_is_the_adjoint_of_a_sum(data: Any, shape: tuple[int, ...], keepdims: bool) -> None:
    ndim = len(shape)
    axis = data.draw(st.one_of(st.none(), hnp.valid_tuple_axes(ndim)))
    if axis is not None and len(axis) == 1 and data.draw(st.booleans()):
        axis = axis[0]
    x = whole(shape, 5)
    total = np.sum(x, axis=axis, keepdims=keepdims)
    g = whole(np.shape(total), 6)
    expanded = expand_like(g, spec_of(x), axis, keepdims)
    assert expanded.shape == shape
    assert np.vdot(total, g) == np.vdot(x, expanded)


def test_normalized_axes() -> None:
    assert normalized_axes(None, 3) == (0, 1, 2)
    assert normalized_axes(-1, 3) == (2,)
    assert normalized_axes((0, -2), 3) == (0, 1)
    assert normalized_axes([np.int64(-1)], 2) == (1,)
    assert normalized_axes(0, 0) == ()


def test_select_drops_what_is_not_finite_and_keeps_the_dtype() -> None:
    g = np.array([np.nan, 1.0, np.inf], np.float32)
    selected = select(np.array([False, True, False]), g)
    np.testing.assert_array_equal(selected, [0.0, 1.0, 0.0])
    assert selected.dtype == np.float32


def test_conj_of_real_data_is_the_data_itself() -> None:
    x = whole((3,))
    assert conj(x) is x
    assert conj(2.0) == 2.0
    np.testing.assert_array_equal(conj(np.array([1 + 2j])), [1 - 2j])


def test_fit_takes_the_real_part_for_a_real_operand() -> None:
    c = fit(np.array([[1 + 2j, 3.0], [5.0, 7j]]), spec_of(np.zeros(2, np.float32)))
    np.testing.assert_array_equal(c, [6.0, 3.0])
    assert c.dtype == np.float32


# ---------------------------------------------------------------- scatter_add

SCATTERS = {
    "int": ((5, 3), 2),
    "slice": ((5, 3), slice(None, None, -2)),
    "mask": ((5, 3), np.arange(15).reshape(5, 3) % 2 == 0),
    "few rows": ((5, 3), np.array([0, -1, 0])),
    "list": ((5, 3), [4, 4]),
    "many rows": ((50, 30), np.arange(400) % 37 - 20),
    "many elements": ((50, 30), (np.arange(400) % 50, np.arange(400) % 7 - 30)),
    "elements and an integer": ((50, 30), (np.arange(400) % 50, 3)),
    "a middle axis": ((20, 7, 5), (slice(None), np.arange(40) % 7)),
    "a middle axis of a table much larger": ((2, 9000, 1), (slice(1, None), np.arange(400) % 7, 0)),
    "unsigned": ((50, 30), (np.arange(400) % 50).astype(np.uint64)),
    "wide rows": ((300, 100), np.concatenate([np.arange(700) % 300, np.zeros(50, int), np.full(9, -1)])),
    "one wide row": ((300, 100), np.full(800, 7)),
    "wide rows of a table beyond 16 bits": ((70_000, 16), np.arange(5000) * 977 % 70_000),
    "a grid of rows": ((60, 20), np.arange(200).reshape(10, 20) % 60),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex64])
@pytest.mark.parametrize("name", SCATTERS)
def test_scatter_add_is_add_at_on_zeros(name: str, dtype: Any) -> None:
    shape, index = SCATTERS[name]
    expected = np.zeros(shape, dtype)
    g = whole(expected[index].shape, 7, dtype)
    np.add.at(expected, index, g)
    for road in scatter_add, scattered:
        total = road(g, index, shape)
        assert total.dtype == dtype
        np.testing.assert_array_equal(total, expected)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 300), st.integers(0, 9))
def test_rows_are_added_up_however_they_are_grouped(n: int, width: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.minimum(rng.geometric(0.1, count + 1), n) - 1  # Some rows often, most rarely.
    g = whole((len(rows), width), seed)
    table, expected = np.zeros((n, width)), np.zeros((n, width))
    shapes._add_rows(table, rows, g)
    np.add.at(expected, rows, g)
    np.testing.assert_array_equal(table, expected)


def test_scatter_add_of_a_scalar_and_to_a_0d() -> None:
    np.testing.assert_array_equal(scattered(np.float64(2.0), (1, 0), (2, 2)), [[0.0, 0.0], [2.0, 0.0]])
    total = scattered(np.array(3.0), (), ())
    assert total.shape == ()
    assert total == 3.0


def test_scatter_add_of_a_tensor_records() -> None:
    g = tg.tensor([1.0, 2.0, 4.0])
    index = np.array([1, 1, 0])
    for road in scatter_add, scattered:
        g.grad = None
        road(g, index, (3,)).backward(np.array([10.0, 20.0, 30.0]))
        np.testing.assert_array_equal(g.grad, [20.0, 20.0, 10.0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 600), (3, 600), (40, 700), (40, 5), (0, 600), (2, 3, 600)])
def test_a_summed_product_is_that_of_the_product(shape, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 1.5, shape).astype(dtype), rng.uniform(0.5, 1.5, shape).astype(dtype)
    for reduced in (shape[1:], shape[-1:], (1, *shape[1:]), shape):
        found = shapes.summed_product(a, b, reduced)
        np.testing.assert_allclose(found, shapes.unbroadcast(a * b, reduced), rtol=40 * np.finfo(dtype).eps)
        assert (found.dtype, found.shape) == (np.dtype(dtype), reduced)
    row = rng.uniform(0.5, 1.5, shape[-1:]).astype(dtype)
    np.testing.assert_array_equal(shapes.summed_product(a, row, shape), a * row)
