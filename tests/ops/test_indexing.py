"""Indexing has NumPy's semantics whatever the index, and its gradient is np.add.at."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg


def assert_indexes_as_numpy(shape: tuple[int, ...], index: Any, dtype: Any = np.float64) -> None:
    """The value is NumPy's, and the gradient of sum(w * x[index]) is w added to zeros at the index."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape).astype(dtype)
    x = tg.tensor(a)
    y, expected = x[index], np.asarray(a)[index]
    assert y.requires_grad
    assert y.shape == np.shape(expected)
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y.numpy(), expected)
    w = rng.integers(-8, 9, y.shape).astype(dtype)  # Whole numbers add up exactly in any order.
    y.backward(w)
    gradient = np.zeros(shape, dtype)
    np.add.at(gradient, index, w)
    assert type(x.grad) is np.ndarray
    assert x.grad.dtype == gradient.dtype
    np.testing.assert_array_equal(x.grad, gradient)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def mixtures(draw: Any, shape: tuple[int, ...]) -> Any:
    """Indices that mix whatever may be mixed; one in some dozens isn't valid, and is left out."""
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    items: list[Any] = []
    axis = 0
    while axis < len(shape):
        n = shape[axis]
        kinds = ["slice", "newaxis", "stop", *(["mask"] * 2)] + (["int", "array", "list", "intp"] if n else [])
        kind = draw(st.sampled_from(kinds))
        if kind == "stop":
            break
        if kind == "newaxis":
            items.append(None)
            if len(items) > 8:
                break
            continue
        width = 1
        if kind == "slice":
            items.append(draw(st.slices(n)))
        elif kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "intp":
            items.append(np.intp(draw(st.integers(-n, n - 1))))
        elif kind == "array":
            kind_of_int = draw(st.sampled_from([np.intp, np.int8, np.int32]))
            items.append(draw(hnp.arrays(kind_of_int, common, elements=st.integers(-n, n - 1))))
        elif kind == "list":
            items.append(draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=3)))
        else:
            width = draw(st.integers(1, len(shape) - axis))
            items.append(draw(hnp.arrays(bool, shape[axis : axis + width])))
        axis += width
    if draw(st.booleans()):
        # Anywhere at the end it is right; elsewhere it shifts the rest, which may then not fit.
        items.insert(draw(st.integers(0, len(items))), ...)
    index = tuple(items)
    try:
        np.zeros(shape)[index]
    except IndexError:
        assume(False)
    return index


@given(st.data(), SHAPES)
def test_basic_indices(data: Any, shape: tuple[int, ...]) -> None:
    assert_indexes_as_numpy(shape, data.draw(hnp.basic_indices(shape, allow_newaxis=True)))


@given(st.data(), hnp.array_shapes(max_dims=3, max_side=4))
def test_integer_arrays(data: Any, shape: tuple[int, ...]) -> None:
    assert_indexes_as_numpy(shape, data.draw(hnp.integer_array_indices(shape)))


@given(st.data(), SHAPES, st.sampled_from([np.float64, np.float32, np.complex128]))
def test_mixtures_of_every_kind(data: Any, shape: tuple[int, ...], dtype: Any) -> None:
    assert_indexes_as_numpy(shape, data.draw(mixtures(shape)), dtype)


@given(st.data(), SHAPES)
def test_second_order_is_indexing_again(data: Any, shape: tuple[int, ...]) -> None:
    index = data.draw(mixtures(shape))
    a = np.random.default_rng(1).standard_normal(shape)
    x = tg.tensor(a)
    np.sum(x[index] ** 3).backward(create_graph=True)
    first, x.grad = x.grad, None
    np.testing.assert_allclose(first.numpy(), 3 * a**2 * counts(shape, index), rtol=1e-14)
    np.sum(first).backward()
    np.testing.assert_allclose(x.grad, 6 * a * counts(shape, index), rtol=1e-14)


def counts(shape: tuple[int, ...], index: Any) -> Any:
    """How often an index names each place."""
    times = np.zeros(shape)
    np.add.at(times, index, 1.0)
    return times


@pytest.mark.parametrize(
    ("shape", "index"),
    [
        ((5,), np.array([3, 3, -2, 0, 3])),
        ((5,), [1, -4, 1]),
        ((3, 4), ([0, 0], [1, 1])),
        ((3, 4), ([0, -3], [1, -3])),
        ((3, 4), np.array([[0, 0], [0, -3]])),
        ((3, 4), (slice(None), [2, 2])),
        ((3,), range(2)),
        ((3,), np.array([2, 2], np.uint64)),
    ],
)
def test_repeated_places_add_up(shape: tuple[int, ...], index: Any) -> None:
    assert_indexes_as_numpy(shape, index)


@pytest.mark.parametrize(
    ("shape", "index"),
    [
        ((3, 4), np.eye(3, 4, dtype=bool)),
        ((3, 4), np.array([True, False, True])),
        ((3, 4), [True, False, True]),
        ((3, 4), (slice(None), np.array([False, True, True, False]))),
        ((3, 4), (np.array([True, False, True]), np.array([1, 1]))),
        ((2, 3, 4), (slice(None), np.eye(3, 4, dtype=bool))),
        ((3, 4), np.zeros((3, 4), bool)),
        ((3,), True),
        ((3,), np.False_),
        ((), True),
        ((), np.array(True)),
    ],
)
def test_masks_select(shape: tuple[int, ...], index: Any) -> None:
    assert_indexes_as_numpy(shape, index)


@pytest.mark.parametrize("index", [(), ..., None, (..., None), (None, ...)], ids=str)
def test_a_0d_operand(index: Any) -> None:
    assert_indexes_as_numpy((), index)


@pytest.mark.parametrize(
    "index", [(1, 2), (1, 2, ...), (-1, np.intp(0)), (np.array(1), np.array(0)), (np.array(2), 1, ...)], ids=str
)
def test_a_0d_result(index: Any) -> None:
    assert_indexes_as_numpy((3, 4), index)


@pytest.mark.parametrize("index", [(1,), (1, ...), (np.array(1),)], ids=str)
def test_a_result_is_immutable_where_numpys_is_a_scalar(index: Any) -> None:
    a = np.arange(3.0)
    assert isinstance(tg.tensor(a)[index]._value, np.generic) == isinstance(a[index], np.generic)


@pytest.mark.parametrize(
    ("shape", "index"),
    [((3, 4), slice(3, 3)), ((3, 4), np.array([], int)), ((0, 4), (slice(None), [1, 1])), ((3, 0), [0, 0]), ((3,), [])],
)
def test_an_empty_result_has_a_zero_gradient(shape: tuple[int, ...], index: Any) -> None:
    assert_indexes_as_numpy(shape, index)


@example(8, 1000)
@example(300, 64)
@example(70000, 1)
@given(st.integers(1, 40), st.integers(1, 40))
def test_large_gathers_add_up_by_the_quick_roads(rows: int, width: int) -> None:
    rng = np.random.default_rng(rows)
    index = rng.integers(-rows, rows, 1200)
    assert_indexes_as_numpy((rows, width), index)
    assert_indexes_as_numpy((rows, width), (slice(None), rng.integers(0, width, 150)) if rows < 50 else index)
    assert_indexes_as_numpy((rows, width), (index, rng.integers(-width, width, 1200)))


def test_a_gather_whose_places_are_named_unequally_often() -> None:
    # One row a thousand times, some once: the rounds of _add_rows and its rest.
    index = np.concatenate([np.zeros(1000, int), np.arange(60), np.full(40, -1)])
    assert_indexes_as_numpy((200, 128), index)
    assert_indexes_as_numpy((200, 128), np.zeros(1100, int))


def test_an_integer_tensor_is_an_index() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    rows = tg.tensor([2, 2, 0])
    np.sum(x[rows] * tg.tensor([1.0, 10.0, 100.0])).backward()
    np.testing.assert_array_equal(x.grad, [100.0, 0.0, 11.0])
    assert x[tg.tensor(1)].item() == 2.0
    assert x[tg.tensor(1) :].shape == (2,)
    assert x[rows, None].shape == (3, 1)


def test_a_recording_tensor_is_no_index() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="index"):
        x[x]


@pytest.mark.parametrize("index", [3, (0, 0), [3], 1.5, "a", np.array([1.0]), np.array([True, False])], ids=str)
def test_errors_are_numpys_own(index: Any) -> None:
    a = np.arange(3.0)
    with pytest.raises(IndexError) as expected:
        a[index]
    with pytest.raises(IndexError) as raised:
        tg.tensor(a)[index]
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("as_part", [False, True])
def test_a_later_change_of_the_index_does_not_matter(as_part: bool) -> None:
    for index, other in ([0, 0, 2], 1), (np.array([0, 0, 2]), 1), (np.array([True, False, True]), True):
        x = tg.tensor([1.0, 2.0, 3.0])
        y = x[..., index] if as_part else x[index]
        before = np.zeros(3)
        np.add.at(before, index, 1.0)
        index[1] = other
        np.sum(y).backward()
        np.testing.assert_array_equal(x.grad, before)


def test_what_was_not_selected_gets_0_also_where_the_cotangent_is_not_finite() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    x[1:].backward(np.array([np.inf, np.nan]))
    np.testing.assert_array_equal(x.grad, [0.0, np.inf, np.nan])


def test_iteration_and_unpacking_record() -> None:
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    first, second = x
    np.sum(first * second).backward()
    np.testing.assert_array_equal(x.grad, [[3.0, 4.0], [1.0, 2.0]])
