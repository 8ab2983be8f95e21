"""Repeating: adjoints that satisfy <f(x), u> = <x, f^T(u)> exactly, on whole numbers."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ops_tools import assert_linear, whole

import tapegrad as tg

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=4, max_side=3, min_side=0))
def test_broadcasting(shapes: Any) -> None:
    (one, other), result = shapes
    assert_linear(lambda x: np.broadcast_to(x, result), one)
    assert_linear(lambda x: np.broadcast_arrays(x, np.zeros(other))[0], one)
    pair = np.broadcast_arrays(tg.tensor(whole(one)), whole(other))
    assert type(pair) is type(np.broadcast_arrays(0, 0))
    assert [y.shape for y in pair] == [result, result]


@given(SHAPES, st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=5)))
def test_tile(shape: tuple[int, ...], reps: Any) -> None:
    assert_linear(lambda x: np.tile(x, reps), shape)
    if reps:
        assert_linear(lambda x: np.tile(x, np.array(reps)), shape)


@given(st.data(), SHAPES)
def test_repeat(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    axis = data.draw(st.one_of(st.none(), st.integers(-ndim, ndim - 1)) if ndim else st.none())
    n = int(np.prod(shape)) if axis is None else shape[axis]
    times = data.draw(st.integers(0, 3))
    assert_linear(lambda x: np.repeat(x, times, axis), shape)
    assert_linear(lambda x: x.repeat([times], axis), shape)
    each = data.draw(hnp.arrays(np.intp, n, elements=st.integers(0, 3)))
    assert_linear(lambda x: np.repeat(x, each, axis), shape)


def test_repeat_by_counts_adds_each_copy_up() -> None:
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.repeat(x, [2, 0, 1], axis=1).backward(np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]))
    np.testing.assert_array_equal(x.grad, [[3.0, 0.0, 4.0], [24.0, 0.0, 32.0]])
