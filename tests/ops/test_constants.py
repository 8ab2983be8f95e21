"""Constants, plain answers and creation: what comes out, and that nothing records that shouldn't."""

import numpy as np
import pytest

import tapegrad as tg


@pytest.mark.parametrize(
    "f",
    [np.floor, np.rint, np.round, np.fix, np.argmax, np.any, np.nonzero, lambda t: np.floor_divide(t, 2), np.isreal],
)
def test_constants_give_numpys_own_results(f):
    x = np.array([1.2, -0.7, 2.5])
    given, expected = f(tg.tensor(x)), f(x)
    assert type(given) is type(expected)
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (np.shape, (2,)),
        (np.ndim, 1),
        (np.size, 2),
        (lambda t: np.result_type(t, 1.0), np.dtype(np.float32)),
        (lambda t: np.allclose(t, [1.0, 2.0]), True),
        (lambda t: np.array_equal(t, t), True),
        (np.array_str, "[1. 2.]"),
        (lambda t: np.shares_memory(t, t), True),
        (np.iscomplexobj, False),
    ],
)
def test_plain_functions_answer_as_for_the_array(f, expected):
    assert f(tg.tensor(np.array([1.0, 2.0], np.float32))) == expected


def test_save_writes_the_value(tmp_path):
    np.save(tmp_path / "t.npy", tg.tensor([1.0, 2.0]))
    assert np.load(tmp_path / "t.npy").tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "make",
    [
        np.zeros_like,
        np.empty_like,
        lambda t: np.full_like(t, 2.0),
        lambda t: np.zeros(3, like=t),
        lambda t: np.full((2,), 2.0, like=t),
        lambda t: np.eye(2, like=t),
        lambda t: np.arange(3.0, like=t),
    ],
)
def test_creation_through_a_tensor_gives_a_tensor_that_does_not_record(make):
    made = make(tg.tensor([1.0, 2.0]))
    assert isinstance(made, tg.Tensor)
    assert not made.requires_grad


@pytest.mark.parametrize("f", [np.packbits, np.isnat, np.busday_count])
def test_unsupported_functions_say_why(f):
    with pytest.raises(tg.errors.NotDifferentiableError, match="have no derivative"):
        f(tg.tensor([1.0]), *([0] if f is np.busday_count else []))


def test_bits_of_floats_are_numpys_type_error():
    with pytest.raises(TypeError, match="bitwise_and"):
        np.bitwise_and(tg.tensor([1.0]), 1)
