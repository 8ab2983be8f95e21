"""Creation by like=: what comes out of tensors, lists of them, and plain data."""

import numpy as np
import pytest

import tapegrad as tg


@pytest.fixture
def t():
    return tg.tensor(np.array([1.0, 2.0], np.float32))


@pytest.fixture
def u():
    return tg.tensor([3.0, 4.0])


def test_nested_lists_of_tensors_numbers_and_arrays_are_stacked(t, u):
    y = np.array([[t, u], [np.array([5, 6]), [7.0, u[0]]]], like=t)
    assert y.dtype == np.float64
    assert y.tolist() == [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 3.0]]]
    y.backward(np.arange(8.0).reshape(2, 2, 2))
    assert t.grad.tolist() == [0.0, 1.0]
    assert t.grad.dtype == np.float32
    assert u.grad.tolist() == [2.0 + 7.0, 3.0]


def test_a_list_of_elements_is_linear(u):
    y = np.array([u[i % 2] for i in range(1000)], like=u)
    np.sum(y).backward()
    assert u.grad.tolist() == [500.0, 500.0]


def test_tuples_are_sequences_too(t):
    assert np.array((t, (1.0, 2.0)), like=t).shape == (2, 2)


@pytest.mark.parametrize("f", [np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.require])
def test_a_tensor_is_its_own_array(f, t):
    assert f(t, like=t) is t


@pytest.mark.parametrize(
    "f", [np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.require, np.array]
)
def test_a_list_becomes_one_tensor_with_a_dtype(f, t, u):
    y = f([t, u], dtype=np.float64, like=t)
    assert y.dtype == np.float64
    np.sum(y).backward()
    assert t.grad.tolist() == u.grad.tolist() == [1.0, 1.0]


def test_array_copies(t):
    y = np.array(t, like=t)
    assert y is not t
    y.backward(np.ones(2))
    assert t.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("f", [np.array, np.asarray])
def test_no_copy_where_one_is_needed_raises(f, t, u):
    assert f(t, copy=False, like=t) is t
    for data, keywords in (([t, u], {}), (t, {"dtype": np.float64})):
        with pytest.raises(ValueError, match="copy=False"):
            f(data, copy=False, like=t, **keywords)


def test_orders_are_numpys():
    x = np.arange(6.0).reshape(2, 3)
    t = tg.tensor(x)
    for f in (np.asfortranarray, lambda a, like: np.array(a, order="F", like=like)):
        assert f(t, like=t).strides == np.asfortranarray(x).strides
    assert np.ascontiguousarray(t.T, like=t).strides == np.ascontiguousarray(x.T).strides
    assert np.require(t, requirements="F", like=t).strides == (8, 16)
    y = np.require(t, np.float32, ["C", "O"], like=t)
    np.sum(y).backward()
    assert t.grad.tolist() == np.ones((2, 3)).tolist()


def test_a_requirement_that_numpy_does_not_know_is_its_error(t):
    with pytest.raises(KeyError):
        np.require(t, requirements="Z", like=t)


def test_axes_are_put_in_front(t):
    assert np.array(t, ndmin=3, like=t).shape == (1, 1, 2)
    assert np.ascontiguousarray(tg.tensor(2.0), like=t).shape == (1,)


def test_parts_of_different_shapes_raise(t):
    with pytest.raises(ValueError, match=r"one shape; got \(\), \(2,\)"):
        np.array([t, 1.0], like=t)


def test_integers_made_of_a_tensor_are_constant(t):
    assert not getattr(np.array([t], dtype=int, like=t), "requires_grad", False)


@pytest.mark.parametrize(
    "f",
    [np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.require],
    ids=lambda f: f.__name__,
)
def test_plain_data_by_like_is_a_tensor_that_does_not_record(f, t):
    made = f([1.0, 2.0], like=t)
    assert isinstance(made, tg.Tensor)
    assert not made.requires_grad


def test_without_like_a_recording_tensor_raises(t, u):
    for f in (
        lambda: np.array([t, u]),
        lambda: np.asarray(t),
        lambda: np.asarray_chkfinite(t),
        lambda: np.require(t),
        lambda: np.ascontiguousarray(t),
    ):
        with pytest.raises(tg.errors.ConversionError, match="like=tensor"):
            f()
