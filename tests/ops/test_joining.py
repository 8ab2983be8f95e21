"""Joining and splitting: NumPy's values, each operand its own part of the cotangent."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg


def whole(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
    """Small whole numbers: their sums and products are exact."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def assert_joins_as_numpy(f: Any, arrays: list[Any], recording: list[bool] | None = None) -> None:
    """The value is NumPy's; <f(arrays), u> is the sum of <array, cotangent>, as f is linear."""
    recording = recording or [True] * len(arrays)
    operands = [tg.tensor(a) if records else a for a, records in zip(arrays, recording, strict=True)]
    y, expected = f(operands), f(arrays)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(y.numpy(), expected)
    u = whole(y.shape, 9, y.dtype)
    y.backward(u)
    product = 0
    for a, operand, records in zip(arrays, operands, recording, strict=True):
        if records:
            assert (operand.grad.shape, operand.grad.dtype) == (np.shape(a), np.asarray(a).dtype)
            product += np.vdot(a, operand.grad)
    rest = f([np.zeros_like(a) if not records else a for a, records in zip(arrays, recording, strict=True)])
    assert product.real == np.vdot(rest, u).real


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3), st.integers(1, 4))
def test_concatenate(data: Any, shape: tuple[int, ...], count: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    arrays = []
    for i in range(count):
        lengths = list(shape)
        lengths[axis] = data.draw(st.integers(0, 3))
        arrays.append(whole(tuple(lengths), i))
    recording = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    recording[0] = True
    assert_joins_as_numpy(lambda a: np.concatenate(a, axis), arrays, recording)
    assert_joins_as_numpy(lambda a: np.concatenate(tuple(a), axis=None), arrays, recording)


@given(st.data(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), st.integers(1, 4))
def test_stack(data: Any, shape: tuple[int, ...], count: int) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    arrays = [whole(shape, i) for i in range(count)]
    recording = [True, *data.draw(st.lists(st.booleans(), min_size=count - 1, max_size=count - 1))]
    assert_joins_as_numpy(lambda a: np.stack(a, axis), arrays, recording)


@pytest.mark.parametrize("f", [np.vstack, np.hstack, np.dstack, np.column_stack], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(), (2,), (2, 2), (2, 2, 2), (2, 1, 2, 1)], ids=str)
def test_stacks_of_their_own_kind(f: Any, shape: tuple[int, ...]) -> None:
    arrays = [whole(shape, i) for i in range(3)]
    assert_joins_as_numpy(f, arrays)
    assert_joins_as_numpy(f, arrays, [False, True, False])


def test_column_stack_and_vstack_of_unlike_shapes() -> None:
    assert_joins_as_numpy(np.column_stack, [whole((2, 3)), whole((2,)), whole((2, 1))])
    assert_joins_as_numpy(np.vstack, [whole((2, 3)), whole((3,))])


@pytest.mark.parametrize(
    "dtypes",
    [(np.float32, np.float64), (np.float64, np.int64), (np.complex128, np.float64), (np.complex64, np.float32, bool)],
    ids=str,
)
@pytest.mark.parametrize("f", [np.concatenate, np.stack, np.hstack], ids=lambda f: f.__name__)
def test_mixed_dtypes_come_back_in_each_operands_own(f: Any, dtypes: tuple[Any, ...]) -> None:
    arrays = [whole((3,), i).astype(dtype) for i, dtype in enumerate(dtypes)]
    assert_joins_as_numpy(f, arrays, [a.dtype.kind in "fc" for a in arrays])


def test_a_real_operand_among_complex_ones_gets_the_real_part() -> None:
    x, z = tg.tensor([1.0]), tg.tensor([1.0 + 2.0j])
    np.concatenate([x, z]).backward(np.array([3.0 + 4.0j, 5.0 + 6.0j]))
    np.testing.assert_array_equal(x.grad, [3.0])
    np.testing.assert_array_equal(z.grad, [5.0 + 6.0j])


def test_lists_and_numbers_may_stand_among_the_operands() -> None:
    x, s = tg.tensor([1.0, 2.0]), tg.tensor(3.0)
    np.concatenate([x, [4.0, 5.0]]).backward(np.arange(4.0))
    np.testing.assert_array_equal(x.grad, [0.0, 1.0])
    y = np.stack([s, 2.0, 1])
    np.testing.assert_array_equal(y.numpy(), [3.0, 2.0, 1.0])
    y.backward(np.array([5.0, 6.0, 7.0]))
    assert s.grad == 5.0
    s.grad = None
    np.concatenate([s, 7.0, [[1.0]]], axis=None).backward(np.array([2.0, 3.0, 4.0]))
    assert s.grad == 2.0
    assert np.vstack([x, [1, 2]]).shape == (2, 2)


def test_an_operand_used_twice_gets_both_parts() -> None:
    x = tg.tensor([1.0, 2.0])
    np.concatenate([x, x, x[:1]]).backward(np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    np.testing.assert_array_equal(x.grad, [21.0, 10.0])


def test_the_rows_of_one_tensor_are_a_sequence_of_operands() -> None:
    x = tg.tensor(whole((2, 3)))
    np.concatenate(x).backward(np.arange(6.0))
    np.testing.assert_array_equal(x.grad, np.arange(6.0).reshape(2, 3))


def test_dtype_and_casting() -> None:
    x = tg.tensor([1.0, 2.0])
    y = np.concatenate([x, x], dtype=np.float32)
    assert y.dtype == np.float32
    y.backward(np.ones(4, np.float32))
    np.testing.assert_array_equal(x.grad, [2.0, 2.0])
    assert x.grad.dtype == np.float64
    assert np.hstack([x, x], dtype=np.complex128).dtype == np.complex128
    with pytest.raises(TypeError, match="Cannot cast"):
        np.vstack([x, x], dtype=np.int64, casting="safe")


def test_gradients_of_a_join_are_nobody_elses() -> None:
    x, z, seed = tg.tensor([1.0]), tg.tensor([2.0]), np.ones(2)
    np.concatenate([x, z]).backward(seed)
    assert not np.shares_memory(x.grad, seed)
    assert not np.shares_memory(x.grad, z.grad)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.concatenate([x, np.zeros((1, 2))]),
        lambda x: np.concatenate([x, np.zeros(3)]),
        lambda x: np.concatenate([x], axis=2),
        lambda x: np.concatenate([x, 1.0]),
        lambda x: np.stack([x, np.zeros(3)]),
        lambda x: np.stack([x], axis=3),
        lambda x: np.split(x, 2, axis=1),
        lambda x: np.array_split(x, 0),
        lambda x: np.vsplit(x[0], 1),
        lambda x: np.dsplit(x, 1),
        lambda x: np.hsplit(x[0, 0], 1),
    ],
)
def test_errors_are_numpys_own(f: Any) -> None:
    a = np.zeros((2, 3))
    with pytest.raises((ValueError, IndexError)) as expected:
        f(a)
    with pytest.raises(type(expected.value)) as raised:
        f(tg.tensor(a))
    assert str(raised.value) == str(expected.value)


def test_append() -> None:
    assert_joins_as_numpy(lambda a: np.append(a[0], a[1]), [whole((2, 3)), whole((2,))])
    assert_joins_as_numpy(lambda a: np.append(a[0], a[1], axis=1), [whole((2, 3)), whole((2, 1))], [False, True])
    x = tg.tensor([1.0, 2.0])
    np.append(x, 3.0).backward(np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(x.grad, [1.0, 2.0])


# ---------------------------------------------------------------- blocks


def test_block_joins_nested_lists() -> None:
    shapes = [(2, 2), (2, 1), (1, 2), (1, 1)]
    arrays = [whole(shape, i) for i, shape in enumerate(shapes)]
    assert_joins_as_numpy(lambda a: np.block([[a[0], a[1]], [a[2], a[3]]]), arrays)
    assert_joins_as_numpy(lambda a: np.block([a[0], a[1]]), arrays[:2], [True, False])
    assert_joins_as_numpy(lambda a: np.block([[a[0]], [a[1]]]), [whole((2,)), whole((1, 2))])
    assert_joins_as_numpy(lambda a: np.block([a[0], a[1], 0.0]), [whole(()), whole((3,))])
    assert_joins_as_numpy(lambda a: np.block([[[a[0]], [a[0]]]]), [whole((2, 2))])


@pytest.mark.parametrize(
    ("arrange", "error", "words"),
    [
        (lambda x: [[x, x], x], ValueError, "List depths are mismatched"),
        (lambda x: [[x], []], ValueError, "cannot be empty"),
        (lambda x: [(x, x)], TypeError, "Only lists can be used to arrange blocks"),
    ],
)
def test_blocks_that_cannot_be_arranged_are_refused_as_numpy_does(arrange: Any, error: type, words: str) -> None:
    for x in np.ones((2, 2)), tg.tensor(np.ones((2, 2))):
        with pytest.raises(error, match=words):
            np.block(arrange(x))


# ---------------------------------------------------------------- apart


def assert_splits_as_numpy(f: Any, shape: tuple[int, ...], used: Any = None) -> None:
    """The parts are NumPy's, in its own container; those used pass their cotangents on, the others nothing."""
    a = whole(shape, 3)
    x = tg.tensor(a)
    parts, expected = f(x), f(a)
    assert type(parts) is type(expected)
    assert len(parts) == len(expected)
    seed = 0
    gradient = np.zeros(shape)
    for i, (part, e) in enumerate(zip(parts, expected, strict=True)):
        np.testing.assert_array_equal(part.numpy(), e)
        assert part.shape == np.shape(e)
        if used is None or i in used:
            u = whole(part.shape, 20 + i)
            seed = seed + np.sum(part * u)
            place = f(np.arange(a.size).reshape(shape))[i]
            np.add.at(gradient.reshape(-1), place, u)
    seed.backward()
    np.testing.assert_array_equal(x.grad, gradient)


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
def test_array_split(data: Any, shape: tuple[int, ...]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, 6))
    assert_splits_as_numpy(lambda x: np.array_split(x, count, axis), shape)
    used = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    assert_splits_as_numpy(lambda x: np.array_split(x, count, axis), shape, used)
    points = data.draw(st.lists(st.integers(-6, 6), max_size=4))  # Unordered ones give parts that overlap.
    assert_splits_as_numpy(lambda x: np.array_split(x, points, axis), shape)
    assert_splits_as_numpy(lambda x: np.split(x, np.array(points, int), axis), shape)


@given(st.data(), hnp.array_shapes(min_dims=3, max_dims=3, max_side=3))
def test_split_along_named_axes(data: Any, shape: tuple[int, ...]) -> None:
    for f, axis in (np.vsplit, 0), (np.hsplit, 1), (np.dsplit, 2):
        assert_splits_as_numpy(lambda x, f=f, n=shape[axis]: f(x, n), shape)
        assert_splits_as_numpy(lambda x, f=f: f(x, [1]), shape)
    assert_splits_as_numpy(lambda x: np.hsplit(x, [2]), (4,))


def test_second_order_through_parts() -> None:
    x = tg.tensor([1.0, 2.0, 3.0, 4.0])
    first, second = np.split(x, 2)
    np.sum(first * first * second).backward(create_graph=True)
    gradient, x.grad = x.grad, None
    np.testing.assert_array_equal(gradient.numpy(), [6.0, 16.0, 1.0, 4.0])
    np.sum(gradient * np.array([1.0, 0.0, 0.0, 0.0])).backward()
    np.testing.assert_array_equal(x.grad, [6.0, 0.0, 2.0, 0.0])


@given(st.data(), hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
def test_unstack_where_numpy_has_it(data: Any, shape: tuple[int, ...]) -> None:
    unstack = getattr(np, "unstack", None)  # NumPy 2.1
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    if unstack is not None:
        assert_splits_as_numpy(lambda x: unstack(x, axis=axis), shape)
        assert_splits_as_numpy(lambda x: unstack(x, axis=axis), shape, {0})
