"""Shaping: NumPy's values, and adjoints that satisfy <f(x), u> = <x, f^T(u)> exactly.

Everything here is linear. Operands and cotangents are small whole numbers, so that sums are exact and
values are compared for equality; where weights aren't whole (ramps, means) the tolerance is of rounding.
"""

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ops_tools import assert_linear, whole

import tapegrad as tg
from tapegrad.errors import ArgumentError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


# ---------------------------------------------------------------- shape


@pytest.mark.parametrize("order", ["C", "F", "A"])
@pytest.mark.parametrize("shape", [(3, 4), (-1,), (2, -1), -1, [2, 6], (1, 12, 1)], ids=str)
def test_reshape_of_every_form(shape: Any, order: str) -> None:
    assert_linear(lambda x: np.reshape(x, shape, order=order), (2, 6))
    assert_linear(lambda x: x.reshape(shape, order=order), (2, 6))


def test_reshape_takes_the_shape_as_arguments() -> None:
    assert_linear(lambda x: x.reshape(4, -1), (2, 6))


@pytest.mark.parametrize(("old", "new"), [((), (1, 1)), ((1, 1), ()), ((0, 3), (3, 0, 2)), ((), -1)], ids=str)
def test_reshape_of_0d_and_empty(old: tuple[int, ...], new: Any) -> None:
    assert_linear(lambda x: np.reshape(x, new), old)


def test_reshape_refuses_what_numpy_refuses() -> None:
    with pytest.raises(ValueError, match="cannot reshape array of size 6 into shape"):
        tg.tensor(np.zeros(6)).reshape(4)


def test_reshape_takes_copy_where_numpy_does() -> None:
    if "copy" not in inspect.signature(np.reshape).parameters:  # Before NumPy 2.1.
        with pytest.raises(TypeError, match="copy"):
            np.reshape(tg.tensor(np.zeros((2, 3))), 6, copy=True)
        return
    assert_linear(lambda x: np.reshape(x, (6, 2), copy=True), (2, 6))
    assert_linear(lambda x: np.reshape(x, (6, 2), copy=False), (2, 6))
    with pytest.raises(ValueError, match="copy"):
        np.reshape(tg.tensor(np.zeros((2, 3))).T, 6, copy=False)


def test_orders_that_follow_memory_are_refused_where_they_are_not_c() -> None:
    x = tg.tensor(np.asfortranarray(np.zeros((2, 3))))
    with pytest.raises(ArgumentError, match="write order='F'"):
        np.reshape(x, 6, order="A")
    with pytest.raises(ArgumentError, match="write order='C' or 'F'"):
        np.ravel(x, order="K")


@pytest.mark.parametrize("order", ["C", "F", "A", "K"])
def test_ravel(order: str) -> None:
    assert_linear(lambda x: np.ravel(x, order), (2, 3, 2))
    assert_linear(lambda x: x.ravel(order), (2, 3))
    assert_linear(lambda x: x.flatten(order), (2, 3))
    assert_linear(lambda x: np.ravel(x, order), ())


@given(st.data(), SHAPES)
def test_squeeze_and_expand_dims(data: Any, shape: tuple[int, ...]) -> None:
    axes = data.draw(hnp.valid_tuple_axes(len(shape) + 2, min_size=2, max_size=2))
    assert_linear(lambda x: np.expand_dims(x, axes), shape)
    assert_linear(lambda x: np.squeeze(np.expand_dims(x, axes), axes), shape)
    assert_linear(np.squeeze, shape)


def test_copy() -> None:
    assert_linear(np.copy, (2, 3))
    assert_linear(lambda x: x.copy(), ())


@pytest.mark.parametrize("f", [np.atleast_1d, np.atleast_2d, np.atleast_3d])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 1), (2, 1, 1, 2)], ids=str)
def test_atleast(f: Any, shape: tuple[int, ...]) -> None:
    assert_linear(f, shape)
    several = f(tg.tensor(whole(shape)), 2.0, [1.0])
    assert type(several) is type(f(1, 2))
    assert [np.shape(y) for y in several] == [y.shape for y in f(whole(shape), 2.0, [1.0])]


# ---------------------------------------------------------------- order of axes


@given(st.data(), SHAPES)
def test_transposes(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    axes = data.draw(st.permutations(range(ndim)))
    assert_linear(np.transpose, shape)
    assert_linear(lambda x: x.T, shape)
    assert_linear(lambda x: np.permute_dims(x, axes), shape)
    assert_linear(lambda x: x.transpose(*(i - ndim for i in axes)) if ndim else x.transpose(), shape)
    if ndim:
        one, other = (data.draw(st.integers(-ndim, ndim - 1)) for _ in range(2))
        assert_linear(lambda x: np.swapaxes(x, one, other), shape)
        assert_linear(lambda x: np.moveaxis(x, one, other), shape)
        start = data.draw(st.integers(-ndim, ndim))
        assert_linear(lambda x: np.rollaxis(x, one, start), shape)
        several = data.draw(hnp.valid_tuple_axes(ndim))
        places = data.draw(st.permutations(range(ndim)))[: len(several)]
        assert_linear(lambda x: np.moveaxis(x, several, places), shape)
    if ndim > 1:
        assert_linear(np.matrix_transpose, shape)
        assert_linear(np.linalg.matrix_transpose, shape)
        assert_linear(lambda x: x.mT, shape)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.transpose(x, (0, 0)),
        lambda x: np.transpose(x, (0,)),
        lambda x: np.swapaxes(x, 0, 2),
        lambda x: np.moveaxis(x, 0, (0, 1)),
        lambda x: np.rollaxis(x, 0, 4),
        lambda x: np.squeeze(x, 0),
        lambda x: np.expand_dims(x, 5),
        lambda x: np.flip(x, 2),
        lambda x: np.rot90(x, axes=(0, 0)),
        lambda x: np.fliplr(x[0]),
        lambda x: np.matrix_transpose(x[0]),
        lambda x: np.roll(x, 1, axis=2),
        lambda x: np.repeat(x, [1, 2], axis=1),
        lambda x: np.broadcast_to(x, (2, 4)),
        lambda x: np.pad(x, -1),
        lambda x: np.pad(x, 1, stat_length=2),
    ],
)
def test_errors_are_numpys_own(f: Any) -> None:
    a = np.zeros((2, 3))
    with pytest.raises((ValueError, IndexError)) as expected:
        f(a)
    with pytest.raises(type(expected.value)) as raised:
        f(tg.tensor(a))
    assert str(raised.value) == str(expected.value)


# ---------------------------------------------------------------- order of elements


@given(st.data(), SHAPES)
def test_flips_and_turns(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    axes = data.draw(st.one_of(st.none(), hnp.valid_tuple_axes(ndim)))
    assert_linear(lambda x: np.flip(x, axes), shape)
    if ndim:
        assert_linear(np.flipud, shape)
    if ndim > 1:
        assert_linear(np.fliplr, shape)
        plane = data.draw(st.permutations(range(ndim)))[:2]
        k = data.draw(st.integers(-5, 5))
        assert_linear(lambda x: np.rot90(x, k, plane), shape)


@given(st.data(), SHAPES)
def test_roll(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    shift = data.draw(st.integers(-6, 6))
    assert_linear(lambda x: np.roll(x, shift), shape)
    if ndim:
        axes = data.draw(st.lists(st.integers(-ndim, ndim - 1), min_size=1, max_size=3))
        shifts = data.draw(st.lists(st.integers(-6, 6), min_size=len(axes), max_size=len(axes)))
        assert_linear(lambda x: np.roll(x, tuple(shifts), tuple(axes)), shape)
        assert_linear(lambda x: np.roll(x, np.array(shifts), axes), shape)
        assert_linear(lambda x: np.roll(x, shifts, axes[0]), shape)
        assert_linear(lambda x: np.roll(x, shift, tuple(axes)), shape)


def test_roll_with_a_tuple_of_shifts_goes_back_along_each_axis() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    np.roll(x, (1, -1), axis=(0, 1)).backward(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(x.grad, np.roll(np.arange(6.0).reshape(2, 3), (-1, 1), axis=(0, 1)))


def test_a_shift_by_a_tensor_that_does_not_record() -> None:
    shift = tg.tensor(2)
    assert_linear(lambda x: np.roll(x, shift.numpy()), (5,))
    x = tg.tensor(whole((5,)))
    np.roll(x, shift).backward(np.arange(5.0))
    np.testing.assert_array_equal(x.grad, np.roll(np.arange(5.0), -2))


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.reshape(x, (3, 2), order="F"),
        lambda x: np.transpose(x),
        lambda x: np.moveaxis(x, 0, 1),
        lambda x: np.flip(x, 1),
        lambda x: np.rot90(x),
        lambda x: np.roll(x, (1, 2), (0, 1)),
        lambda x: np.tile(x, (2, 2)),
        lambda x: np.repeat(x, [1, 0, 2], 1),
        lambda x: np.broadcast_to(x, (2, 2, 3)),
        lambda x: np.pad(x, 2, "reflect"),
        lambda x: np.pad(x, 2, "linear_ramp"),
        lambda x: np.pad(x, 2, "mean"),
    ],
)
def test_second_order_of_a_square(f: Any) -> None:
    """Of L = sum(f(x)^3) / 6 the Hessian is A^T diag(f(x)) A, with A the matrix of the linear f."""
    a = np.random.default_rng(3).standard_normal((2, 3))
    matrix = np.stack([np.ravel(f(e.reshape(2, 3))) for e in np.eye(6)], axis=1)
    x = tg.tensor(a)
    (np.sum(f(x) ** 3) / 6).backward(create_graph=True)
    first, x.grad = x.grad, None
    v = np.random.default_rng(4).standard_normal((2, 3))
    np.sum(first * v).backward()
    hessian = matrix.T @ np.diag(np.ravel(f(a))) @ matrix
    np.testing.assert_allclose(np.ravel(x.grad), hessian @ np.ravel(v), rtol=1e-12, atol=1e-12)
