"""What a tensor's value may become: text, numbers, lists, copies; and what it may not while it records."""

import copy
import math
import operator
import pickle

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ConversionError, DTypeError, RecordingError

# ---------------------------------------------------------------- text


def test_repr_shows_value_dtype_and_how_it_records():
    x = tg.tensor([1.0, 2.0])
    assert repr(x) == "tensor([1., 2.], dtype=float64, leaf)"
    assert repr(np.sin(x * 0.0)) == "tensor([0., 0.], dtype=float64, recorded by np.sin)"
    assert repr(tg.tensor([1, 2])) == "tensor([1, 2], dtype=int64)"
    assert repr(x.detach()) == "tensor([1., 2.], dtype=float64)"
    assert repr(np.sum(x)) == "tensor(3., dtype=float64, recorded by np.sum)"
    assert repr(tg.tensor(2.0, np.float32)) == "tensor(2., dtype=float32, leaf)"
    assert str(x) == f"{x}" == repr(x)


def test_repr_of_rows_is_aligned():
    assert repr(tg.tensor([[1.0, 2.0], [3.0, 4.0]])) == ("tensor([[1., 2.],\n        [3., 4.]], dtype=float64, leaf)")


def test_repr_says_where_a_tensor_was_replayed():
    y = tg.tensor([1.0]) * 2.0
    y.backward()
    assert repr(y) == "tensor([2.], dtype=float64, replayed)"


def test_repr_of_several_outputs_answers_before_and_after_a_sweep(with_rule):
    def rule(g, _y, _a):
        return sum(part for part in g if part is not None)

    both = with_rule(lambda a: (a * 1.0, a * 1.0), rule)
    first, second = both(tg.tensor([1.0]))
    assert "recorded by" in repr(first)
    first.backward()
    assert "replayed" in repr(first)
    assert "replayed" in repr(second)


def test_format_takes_a_specification_for_one_element():
    x = tg.tensor([1.0, 2.5])
    assert f"{np.sum(x):.3f}" == "3.500"
    assert f"{x[:1]:6.1f}" == "   1.0"
    assert f"{tg.tensor(3):04d}" == "0003"
    with pytest.raises(TypeError, match=r"\(2,\)"):
        format(x, ".3f")


# ---------------------------------------------------------------- numbers, lists


def test_the_value_of_one_element_can_be_asked_while_recording():
    x = tg.tensor([1.0, 2.5])
    assert x[1].item() == 2.5
    assert x.item(1) == 2.5
    assert type(np.sum(x).item()) is float
    assert x.tolist() == [1.0, 2.5]
    assert np.sum(x).tolist() == 3.5
    assert tg.tensor([1.0]).item() == 1.0
    with pytest.raises(ValueError, match="size 1"):
        x.item()


def test_truth_is_that_of_one_element():
    assert tg.tensor(1.0)
    assert not tg.tensor([0.0])
    assert bool(np.sum(tg.tensor([1.0, 2.0])))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(tg.tensor([1.0, 2.0]))


def test_a_tensor_has_a_length_and_can_be_gone_through():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    rows = list(x)
    assert all(row.requires_grad and row.shape == (2,) for row in rows)
    first, (a, b) = x
    np.sum(first * 10.0 + a * b).backward()
    np.testing.assert_array_equal(x.grad, [[10.0, 10.0], [8.0, 6.0]])
    assert [v.item() for v in reversed(x[0])] == [2.0, 1.0]


def test_a_zero_dimensional_tensor_has_no_length():
    for x in (tg.tensor(1.0), np.sum(tg.tensor([1.0]))):
        with pytest.raises(TypeError, match="unsized"):
            len(x)
        with pytest.raises(TypeError, match="0-d"):
            iter(x)


def test_in_asks_for_a_value():
    x = tg.tensor([1.0, 2.0])
    assert 2.0 in x
    assert 3.0 not in x


def test_tensors_are_unhashable_as_arrays_are():
    with pytest.raises(TypeError, match="unhashable"):
        hash(tg.tensor(1.0))


def test_tobytes_gives_the_bytes():
    assert tg.tensor([1.0, 2.0]).tobytes() == np.array([1.0, 2.0]).tobytes()


# ---------------------------------------------------------------- what leaves the tape

LEAVING = {
    "float": lambda x: float(x),
    "int": lambda x: int(x),
    "complex": lambda x: complex(x),
    "math.sin": lambda x: math.sin(x),
    "round by math": lambda x: math.floor(x),
    "asarray": lambda x: np.asarray(x),
    "array": lambda x: np.array(x),
    "array of two": lambda x: np.array([x, x]),
    "nested": lambda x: np.array([[x], [x]]),
    "asarray with dtype": lambda x: np.asarray(x, np.float32),
    "write into an array": lambda x: np.zeros(1).__setitem__(0, x),
    "float64": lambda x: np.float64(x),
    "asanyarray": lambda x: np.asanyarray(x),
    "ascontiguousarray": lambda x: np.ascontiguousarray(x),
    "tensor": lambda x: tg.tensor(x),
    "tensor of a list": lambda x: tg.tensor([x, x]),
    "complex number of two": lambda x: complex(x, x),
}


@pytest.mark.parametrize("way", LEAVING)
@pytest.mark.parametrize("leaf", [True, False])
def test_a_recording_tensor_cannot_leave_the_tape_in_silence(way, leaf):
    x = tg.tensor(1.5) if leaf else tg.tensor(1.5) * 1.0
    with pytest.raises((TypeError, ValueError)) as caught:
        LEAVING[way](x)
    errors = [caught.value, caught.value.__cause__]  # NumPy may wrap ours.
    ours = [error for error in errors if isinstance(error, ConversionError)]
    assert ours
    assert any(word in str(ours[0]) for word in (".item()", ".detach()", ".numpy()"))


@pytest.mark.parametrize("way", LEAVING)
def test_under_no_grad_it_can(way):
    x = tg.tensor(1.5)
    with tg.no_grad():
        LEAVING[way](x)


def test_use_as_an_index_is_refused_while_recording():
    with pytest.raises(ConversionError, match="item"):
        operator.index(tg.tensor(1.0))
    with tg.no_grad(), pytest.raises(TypeError):
        operator.index(tg.tensor(1.0))
    with tg.no_grad(), pytest.raises(TypeError):
        operator.index(np.sum(tg.tensor([1.0])))
    assert operator.index(tg.tensor(3)) == 3
    assert operator.index(np.sum(tg.tensor([1, 2]))) == 3


def test_numbers_come_out_of_tensors_that_do_not_record():
    t = tg.tensor(3)
    assert (float(t), int(t), complex(t)) == (3.0, 3, 3 + 0j)
    assert type(float(t)) is float
    assert list(range(5))[t] == 3
    assert math.sin(tg.tensor(0.0, requires_grad=False)) == 0.0


def test_arrays_come_out_of_tensors_that_do_not_record():
    t = tg.tensor([1.0, 2.0], requires_grad=False)
    assert not np.asarray(t).flags.writeable
    assert np.array(t).flags.writeable
    assert np.asarray(t, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array([t, t]), [[1.0, 2.0], [1.0, 2.0]])


def test_asarray_without_a_copy_that_needs_one_raises():
    with tg.no_grad(), pytest.raises(ValueError, match="copy"):
        np.asarray(tg.tensor([1.0]), np.float32, copy=False)


def test_the_error_of_array_names_what_to_use():
    x = tg.tensor([1.0])
    with pytest.raises(ConversionError, match=r"np\.stack.*like="):
        np.array([x, x])


def test_no_other_protocol_leads_past_the_tape():
    for name in ("__array_interface__", "__array_struct__", "__dlpack__", "__buffer__", "__cuda_array_interface__"):
        assert not hasattr(tg.tensor([1.0]), name)
    with pytest.raises(TypeError):
        memoryview(tg.tensor([1.0]))


def test_a_recording_tensor_is_not_written_into_an_array():
    buffer = np.zeros(2)
    for write in (
        lambda: buffer.__setitem__(slice(None), tg.tensor([1.0, 2.0])),
        lambda: buffer.__setitem__(0, tg.tensor(1.0)),
        lambda: np.copyto(buffer, tg.tensor([1.0, 2.0])),
    ):
        with pytest.raises((TypeError, ValueError)):
            write()
    np.testing.assert_array_equal(buffer, [0.0, 0.0])


# ---------------------------------------------------------------- copies

COPIES = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda t: pickle.loads(pickle.dumps(t))}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("value", [1.5, [1.0, 2.0], [[1j, 2.0]], np.ones(2, np.float32)], ids=repr)
def test_a_copy_of_a_leaf_is_a_leaf_of_its_own(way, value):
    x = tg.tensor(value)
    np.sum((x * x).real).backward()
    twin = COPIES[way](x)
    assert type(twin) is tg.Tensor
    assert twin.requires_grad
    assert twin.is_leaf
    assert twin.dtype == x.dtype
    np.testing.assert_array_equal(twin.numpy(), x.numpy())
    np.testing.assert_array_equal(twin.grad, x.grad)
    assert not np.shares_memory(twin.grad, x.grad)
    with tg.no_grad():
        twin += 1
    assert not np.array_equal(twin.numpy(), x.numpy())
    before = x.grad.copy()
    np.sum(twin.real).backward()
    np.testing.assert_array_equal(x.grad, before)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("value", [[1, 2], [True], 3], ids=repr)
def test_a_copy_of_what_does_not_record_does_not_record(way, value):
    for t in (tg.tensor(value), tg.tensor(value, np.float64, requires_grad=False)):
        twin = COPIES[way](t)
        assert not twin.requires_grad
        assert twin.dtype == t.dtype
        np.testing.assert_array_equal(twin.numpy(), t.numpy())


@pytest.mark.parametrize("way", COPIES)
def test_a_leaf_with_a_recorded_gradient_can_be_copied(way):
    x = tg.tensor([1.0, 2.0])
    np.sum(x**3).backward(create_graph=True)
    twin = COPIES[way](x)
    assert twin.is_leaf
    assert twin.grad is not x.grad
    np.testing.assert_array_equal(
        np.asarray(twin.grad.detach() if type(twin.grad) is tg.Tensor else twin.grad), [3.0, 12.0]
    )


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_a_frozen_leaf_is_frozen_and_keeps_the_gradient(way):
    x = tg.tensor([1.0, 2.0])
    np.sum(x * x).backward()
    x.requires_grad = False
    twin = COPIES[way](x)
    assert not twin.requires_grad
    np.testing.assert_array_equal(twin.grad, [2.0, 4.0])
    twin.requires_grad = True
    np.sum(twin).backward()
    np.testing.assert_array_equal(twin.grad, [3.0, 5.0])
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


@pytest.mark.parametrize("way", COPIES)
def test_a_recorded_tensor_cannot_be_copied_so(way):
    y = tg.tensor([1.0]) * 2.0
    with pytest.raises(RecordingError, match=r"\.copy\(\).*\.detach\(\)"):
        COPIES[way](y)
    y.backward()
    with pytest.raises(RecordingError, match=r"\.detach\(\)"):
        COPIES[way](y)


def test_the_method_copy_is_recorded():
    x = tg.tensor([1.0, 2.0])
    y = (x * 2.0).copy()
    np.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad, [8.0, 16.0])


def test_a_pickled_container_keeps_its_tensors():
    parameters = {"w": tg.tensor([1.0]), "n": tg.tensor(3)}
    twin = pickle.loads(pickle.dumps(parameters))
    assert twin["w"].requires_grad
    assert twin["n"].item() == 3


# ---------------------------------------------------------------- data


@pytest.mark.parametrize(
    "data",
    [
        ["a"],
        b"bytes",
        [None],
        {1: 2},
        np.array(["2020-01-01"], "M8[D]"),
        np.array([1], "m8[D]"),
        np.zeros(2, [("a", float)]),
        np.array([1, "x"], object),
    ],
    ids=repr,
)
def test_data_that_is_no_number_is_refused_and_its_dtype_named(data):
    with pytest.raises(DTypeError, match="dtype"):
        tg.tensor(data)


def test_ragged_data_raises_numpys_own_error():
    with pytest.raises(ValueError, match="inhomogeneous"):
        tg.tensor([[1.0], [1.0, 2.0]])


def test_masked_data_is_refused():
    with pytest.raises(DTypeError, match="MaskedArray"):
        tg.tensor(np.ma.array([1.0, 2.0], mask=[True, False]))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_matrices_are_refused_as_data():
    with pytest.raises(DTypeError, match="matrix"):
        tg.tensor(np.matrix([[1.0, 2.0]]))


@pytest.mark.parametrize("data", [1, True, [1, 2], np.uint8(3), np.array([True])], ids=repr)
def test_integers_cannot_be_asked_to_record(data):
    with pytest.raises(DTypeError, match=r"3\.0, not 3"):
        tg.tensor(data, requires_grad=True)


def test_integers_may_be_made_floats_that_record():
    x = tg.tensor([1, 2], np.float32, requires_grad=True)
    assert x.dtype == np.float32
    assert x.requires_grad


@pytest.mark.parametrize(
    ("data", "shape", "dtype"),
    [
        (1.0, (), float),
        (np.float32(1), (), np.float32),
        ([[1, 2]], (1, 2), int),
        (range(3), (3,), int),
        ([], (0,), float),
        (np.ones((0, 2)), (0, 2), float),
        (1j, (), complex),
        (np.ones((2, 3)).T, (3, 2), float),
    ],
    ids=repr,
)
def test_data_keeps_its_shape_and_dtype(data, shape, dtype):
    t = tg.tensor(data)
    assert t.shape == shape
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.numpy(), data)


def test_a_recording_tensor_is_no_data_and_the_error_says_what_to_do():
    x = tg.tensor([1.0])
    with pytest.raises(ConversionError, match=r"\.detach\(\)"):
        tg.tensor(x)
    with pytest.raises(ConversionError, match=r"\.detach\(\).*np\.stack"):
        tg.tensor([x, x])
    assert not tg.tensor(x.detach(), requires_grad=False).requires_grad
