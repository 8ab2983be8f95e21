"""Shaping: NumPy's values, and adjoints that satisfy <f(x), u> = <x, f^T(u)> exactly.

Everything here is linear. Operands and cotangents are small whole numbers, so that sums are exact and
values are compared for equality; where weights aren't whole (ramps, means) the tolerance is of rounding.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.errors import ArgumentError, NotDifferentiableError


def whole(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def assert_adjoint(
    f: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any = np.float64, rtol: float = 0.0, offset: bool = False
) -> None:
    """f's value is NumPy's, its gradient its adjoint: <f(x), u> = <x, f^T(u)>, in x's shape and dtype.

    offset : f is affine, and f(0) is taken off
    """
    a = whole(shape, 1, dtype)
    x = tg.tensor(a)
    y, expected = f(x), f(a)
    assert isinstance(y, tg.Tensor)
    assert y.requires_grad
    assert (y.shape, y.dtype) == (np.shape(expected), expected.dtype)
    np.testing.assert_array_equal(y.numpy(), expected)
    linear = expected - f(np.zeros_like(a)) if offset else expected
    u = whole(y.shape, 2, dtype)
    y.backward(u)
    assert x.grad.shape == a.shape
    assert x.grad.dtype == a.dtype
    np.testing.assert_allclose(np.vdot(linear, u), np.vdot(a, x.grad), rtol=rtol, atol=100 * rtol)


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


# ---------------------------------------------------------------- shape


@pytest.mark.parametrize("order", ["C", "F", "A"])
@pytest.mark.parametrize("shape", [(3, 4), (-1,), (2, -1), -1, [2, 6], (1, 12, 1)], ids=str)
def test_reshape_of_every_form(shape: Any, order: str) -> None:
    assert_adjoint(lambda x: np.reshape(x, shape, order=order), (2, 6))
    assert_adjoint(lambda x: x.reshape(shape, order=order), (2, 6))


def test_reshape_takes_the_shape_as_arguments() -> None:
    assert_adjoint(lambda x: x.reshape(4, -1), (2, 6))


@pytest.mark.parametrize(("old", "new"), [((), (1, 1)), ((1, 1), ()), ((0, 3), (3, 0, 2)), ((), -1)], ids=str)
def test_reshape_of_0d_and_empty(old: tuple[int, ...], new: Any) -> None:
    assert_adjoint(lambda x: np.reshape(x, new), old)


def test_reshape_refuses_what_numpy_refuses() -> None:
    with pytest.raises(ValueError, match="cannot reshape array of size 6 into shape"):
        tg.tensor(np.zeros(6)).reshape(4)


def test_reshape_takes_copy_where_numpy_does() -> None:
    if "copy" not in inspect.signature(np.reshape).parameters:  # Before NumPy 2.1.
        with pytest.raises(TypeError, match="copy"):
            np.reshape(tg.tensor(np.zeros((2, 3))), 6, copy=True)
        return
    assert_adjoint(lambda x: np.reshape(x, (6, 2), copy=True), (2, 6))
    assert_adjoint(lambda x: np.reshape(x, (6, 2), copy=False), (2, 6))
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
    assert_adjoint(lambda x: np.ravel(x, order), (2, 3, 2))
    assert_adjoint(lambda x: x.ravel(order), (2, 3))
    assert_adjoint(lambda x: x.flatten(order), (2, 3))
    assert_adjoint(lambda x: np.ravel(x, order), ())


@given(st.data(), SHAPES)
def test_squeeze_and_expand_dims(data: Any, shape: tuple[int, ...]) -> None:
    axes = data.draw(hnp.valid_tuple_axes(len(shape) + 2, min_size=2, max_size=2))
    assert_adjoint(lambda x: np.expand_dims(x, axes), shape)
    assert_adjoint(lambda x: np.squeeze(np.expand_dims(x, axes), axes), shape)
    assert_adjoint(np.squeeze, shape)


def test_copy() -> None:
    assert_adjoint(np.copy, (2, 3))
    assert_adjoint(lambda x: x.copy(), ())


@pytest.mark.parametrize("f", [np.atleast_1d, np.atleast_2d, np.atleast_3d])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3), (2, 3, 1), (2, 1, 1, 2)], ids=str)
def test_atleast(f: Any, shape: tuple[int, ...]) -> None:
    assert_adjoint(f, shape)
    several = f(tg.tensor(whole(shape)), 2.0, [1.0])
    assert type(several) is type(f(1, 2))
    assert [np.shape(y) for y in several] == [y.shape for y in f(whole(shape), 2.0, [1.0])]


# ---------------------------------------------------------------- order of axes


@given(st.data(), SHAPES)
def test_transposes(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    axes = data.draw(st.permutations(range(ndim)))
    assert_adjoint(np.transpose, shape)
    assert_adjoint(lambda x: x.T, shape)
    assert_adjoint(lambda x: np.permute_dims(x, axes), shape)
    assert_adjoint(lambda x: x.transpose(*(i - ndim for i in axes)) if ndim else x.transpose(), shape)
    if ndim:
        one, other = (data.draw(st.integers(-ndim, ndim - 1)) for _ in range(2))
        assert_adjoint(lambda x: np.swapaxes(x, one, other), shape)
        assert_adjoint(lambda x: np.moveaxis(x, one, other), shape)
        start = data.draw(st.integers(-ndim, ndim))
        assert_adjoint(lambda x: np.rollaxis(x, one, start), shape)
        several = data.draw(hnp.valid_tuple_axes(ndim))
        places = data.draw(st.permutations(range(ndim)))[: len(several)]
        assert_adjoint(lambda x: np.moveaxis(x, several, places), shape)
    if ndim > 1:
        assert_adjoint(np.matrix_transpose, shape)
        assert_adjoint(np.linalg.matrix_transpose, shape)
        assert_adjoint(lambda x: x.mT, shape)


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
    assert_adjoint(lambda x: np.flip(x, axes), shape)
    if ndim:
        assert_adjoint(np.flipud, shape)
    if ndim > 1:
        assert_adjoint(np.fliplr, shape)
        plane = data.draw(st.permutations(range(ndim)))[:2]
        k = data.draw(st.integers(-5, 5))
        assert_adjoint(lambda x: np.rot90(x, k, plane), shape)


@given(st.data(), SHAPES)
def test_roll(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    shift = data.draw(st.integers(-6, 6))
    assert_adjoint(lambda x: np.roll(x, shift), shape)
    if ndim:
        axes = data.draw(st.lists(st.integers(-ndim, ndim - 1), min_size=1, max_size=3))
        shifts = data.draw(st.lists(st.integers(-6, 6), min_size=len(axes), max_size=len(axes)))
        assert_adjoint(lambda x: np.roll(x, tuple(shifts), tuple(axes)), shape)
        assert_adjoint(lambda x: np.roll(x, np.array(shifts), axes), shape)
        assert_adjoint(lambda x: np.roll(x, shifts, axes[0]), shape)
        assert_adjoint(lambda x: np.roll(x, shift, tuple(axes)), shape)


def test_roll_with_a_tuple_of_shifts_goes_back_along_each_axis() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    np.roll(x, (1, -1), axis=(0, 1)).backward(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(x.grad, np.roll(np.arange(6.0).reshape(2, 3), (-1, 1), axis=(0, 1)))


def test_a_shift_by_a_tensor_that_does_not_record() -> None:
    shift = tg.tensor(2)
    assert_adjoint(lambda x: np.roll(x, shift.numpy()), (5,))
    x = tg.tensor(whole((5,)))
    np.roll(x, shift).backward(np.arange(5.0))
    np.testing.assert_array_equal(x.grad, np.roll(np.arange(5.0), -2))


# ---------------------------------------------------------------- repetition


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=4, max_side=3, min_side=0))
def test_broadcasting(shapes: Any) -> None:
    (one, other), result = shapes
    assert_adjoint(lambda x: np.broadcast_to(x, result), one)
    assert_adjoint(lambda x: np.broadcast_arrays(x, np.zeros(other))[0], one)
    pair = np.broadcast_arrays(tg.tensor(whole(one)), whole(other))
    assert type(pair) is type(np.broadcast_arrays(0, 0))
    assert [y.shape for y in pair] == [result, result]


@given(SHAPES, st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=5)))
def test_tile(shape: tuple[int, ...], reps: Any) -> None:
    assert_adjoint(lambda x: np.tile(x, reps), shape)
    if reps:
        assert_adjoint(lambda x: np.tile(x, np.array(reps)), shape)


@given(st.data(), SHAPES)
def test_repeat(data: Any, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    axis = data.draw(st.one_of(st.none(), st.integers(-ndim, ndim - 1)) if ndim else st.none())
    n = int(np.prod(shape)) if axis is None else shape[axis]
    times = data.draw(st.integers(0, 3))
    assert_adjoint(lambda x: np.repeat(x, times, axis), shape)
    assert_adjoint(lambda x: x.repeat([times], axis), shape)
    each = data.draw(hnp.arrays(np.intp, n, elements=st.integers(0, 3)))
    assert_adjoint(lambda x: np.repeat(x, each, axis), shape)


def test_repeat_by_counts_adds_each_copy_up() -> None:
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.repeat(x, [2, 0, 1], axis=1).backward(np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]))
    np.testing.assert_array_equal(x.grad, [[3.0, 0.0, 4.0], [24.0, 0.0, 32.0]])


# ---------------------------------------------------------------- borders


WIDTHS = st.one_of(
    st.integers(0, 5),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.tuples(st.integers(0, 5), st.integers(0, 5))),
    st.tuples(st.tuples(st.integers(0, 5)), st.tuples(st.integers(0, 5))),
    st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), min_size=2, max_size=2),
)
SIDES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)


@given(SIDES, WIDTHS, st.sampled_from(["edge", "reflect", "symmetric", "wrap"]))
def test_pad_by_copies(shape: tuple[int, ...], width: Any, mode: str) -> None:
    assert_adjoint(lambda x: np.pad(x, width, mode), shape)
    assert_adjoint(lambda x: np.pad(x, width, mode=mode), shape, np.complex128)


@given(SIDES, WIDTHS, st.integers(-2, 2))
def test_pad_by_constants(shape: tuple[int, ...], width: Any, value: int) -> None:
    assert_adjoint(lambda x: np.pad(x, width), shape)
    assert_adjoint(lambda x: np.pad(x, width, constant_values=value), shape, offset=True)
    assert_adjoint(lambda x: np.pad(x, width, "constant", constant_values=((1, 2), (3, 4))), shape, offset=True)


@given(SIDES, WIDTHS, st.sampled_from([np.float64, np.float32, np.complex128]))
def test_pad_by_a_ramp(shape: tuple[int, ...], width: Any, dtype: Any) -> None:
    # Two roundings an element of the border, and sums of some dozens: 1e-13 is 450 eps of float64.
    rtol = 450 * float(np.finfo(dtype).eps)
    assert_adjoint(lambda x: np.pad(x, width, "linear_ramp"), shape, dtype, rtol)
    assert_adjoint(lambda x: np.pad(x, width, "linear_ramp", end_values=(2, -1)), shape, dtype, rtol, offset=True)


@given(SIDES, WIDTHS, st.one_of(st.none(), st.integers(1, 6), st.just(((1, 2), (7, 3)))))
def test_pad_by_a_mean(shape: tuple[int, ...], width: Any, length: Any) -> None:
    rtol = 450 * float(np.finfo(np.float64).eps)  # As above.
    assert_adjoint(lambda x: np.pad(x, width, "mean", stat_length=length), shape, rtol=rtol)


def test_pad_of_nothing_and_of_0d() -> None:
    for mode in "constant", "edge", "reflect", "mean":
        assert_adjoint(lambda x, mode=mode: np.pad(x, 0, mode), (2, 3))
    assert_adjoint(lambda x: np.pad(x, 2), ())
    assert_adjoint(lambda x: np.pad(x, 2), (0, 1))
    assert_adjoint(lambda x: np.pad(x, ((0, 0), (1, 2)), "wrap"), (0, 2))


def test_pad_with_undefined_values_has_the_gradient_of_its_inside() -> None:
    x = tg.tensor(whole((3,)))
    np.pad(x, (1, 2), "empty").backward(np.arange(6.0))
    np.testing.assert_array_equal(x.grad, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("mode", ["maximum", "minimum", "median", lambda *_: None], ids=str)
def test_modes_without_a_rule_are_refused_at_the_call(mode: Any) -> None:
    with pytest.raises(NotDifferentiableError, match="there is one for constant, edge"):
        np.pad(tg.tensor(whole((3,))), 1, mode)


def test_what_else_pad_refuses() -> None:
    x = tg.tensor(whole((3,)))
    with pytest.raises(NotDifferentiableError, match="reflect_type='odd'"):
        np.pad(x, 1, "reflect", reflect_type="odd")
    with pytest.raises(NotDifferentiableError, match="no gradient passes through constant_values="):
        np.pad(x, 1, constant_values=tg.tensor(1.0))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
@pytest.mark.parametrize("mode", ["constant", "edge", "linear_ramp", "mean", "wrap"])
def test_pad_keeps_the_dtype_of_the_cotangent(mode: str, dtype: Any) -> None:
    x = tg.tensor(whole((3,), dtype=dtype))
    np.pad(x, 2, mode).backward(np.ones(7, dtype))
    assert x.grad.dtype == dtype


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
