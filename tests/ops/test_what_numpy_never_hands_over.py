"""What NumPy never hands to a library raises, and says what to use; what only asks for the value is answered."""

import io

import numpy as np
import pytest

import tapegrad as tg

X = np.array([1.0, 2.0, 3.0])


def raises(f):
    """The error of ``f``, one of ours: by itself, or as the cause of the one that NumPy wraps it in."""
    with pytest.raises((TypeError, ValueError)) as caught:
        f()
    error = caught.value if isinstance(caught.value, tg.TapegradError) else caught.value.__cause__
    assert isinstance(error, tg.TapegradError), repr(caught.value)
    return str(error)


PARAMETERS = {
    "sum(initial=)": lambda x, s: np.sum(x, initial=s),
    "max(initial=)": lambda x, s: np.max(x, initial=s),
    "add.reduce(initial=)": lambda x, s: np.add.reduce(x, initial=s),
    "pad(constant_values=)": lambda x, s: np.pad(x, 1, constant_values=s),
    "pad(end_values=)": lambda x, s: np.pad(x, 1, mode="linear_ramp", end_values=s),
    "interp(left=)": lambda x, s: np.interp(1.5, x, x, left=s),
    "interp(right=)": lambda x, s: np.interp(1.5, x, x, right=s),
    "interp(period=)": lambda x, s: np.interp(1.5, x, x, period=s),
    "select(default=)": lambda x, s: np.select([x > 2], [x], default=s),
    "unwrap(period=)": lambda x, s: np.unwrap(x, period=s),
    "pinv(rcond=)": lambda x, s: np.linalg.pinv(np.eye(2), rcond=s),
    "roll(shift=)": lambda x, s: np.roll(x, s),
    "repeat(repeats=)": lambda x, s: np.repeat(x, s),
    "tile(reps=)": lambda x, s: np.tile(x, s),
    "linspace(num=)": lambda x, s: np.linspace(0.0, 1.0, s),
    "full(fill_value=)": lambda x, s: np.full(2, s),
}


@pytest.mark.parametrize("f", PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_that_numpy_does_not_look_at_raises(f):
    raises(lambda: f(X, tg.tensor(2.0)))


def attempted(f):
    """What ``f`` comes to, or its error."""
    try:
        return f()
    except (TypeError, ValueError) as error:
        return error


@pytest.mark.parametrize("f", PARAMETERS.values(), ids=PARAMETERS)
def test_a_parameter_beside_a_tensor_that_numpy_does_look_at_raises_or_is_differentiated(f):
    s = tg.tensor(2.0)
    y = attempted(lambda: f(tg.tensor(X), s))
    if isinstance(y, Exception):
        assert isinstance(y if isinstance(y, tg.TapegradError) else y.__cause__, tg.TapegradError), repr(y)
    else:
        np.sum(y).backward()
        assert s.grad is not None


@pytest.mark.parametrize(
    "f",
    [
        np.sum,
        np.mean,
        np.sin,
        np.max,
        np.sort,
        np.transpose,
        lambda ts: np.add(ts, 1.0),
        lambda ts: np.dot(ts, [1.0, 2.0]),
        lambda ts: np.where([True, False], ts, 0.0),
        np.array,
        np.asarray,
    ],
)
def test_tensors_inside_a_list_raise(f):
    for t in (tg.tensor(2.0), tg.tensor([1.0, 2.0])):
        assert "np.stack" in raises(lambda t=t: f([t, t]))


@pytest.mark.parametrize(
    "f",
    [
        np.testing.assert_equal,
        np.testing.assert_array_equal,
        np.testing.assert_allclose,
        np.testing.assert_almost_equal,
        np.testing.assert_array_almost_equal,
        lambda t, x: np.testing.assert_array_less(t, x + 1),
        np.broadcast,
        lambda t, x: list(np.ndenumerate(t)),
        lambda t, x: np.r_[t, t],
        lambda t, x: np.c_[t, t],
        lambda t, x: np.vectorize(lambda a: a)(t),
        lambda t, x: np.lib.stride_tricks.as_strided(t, (2,), (8,)),
        lambda t, x: np.ma.array(t),
    ],
)
def test_what_asks_for_the_array_raises(f):
    assert ".numpy()" in raises(lambda: f(tg.tensor(X), X))


def test_nditer_raises():
    with pytest.raises(TypeError):  # NumPy's own: it finds that it couldn't write back.
        np.nditer(tg.tensor(X))


def test_scalars_raise_in_what_numpy_makes_of_them():
    s = tg.tensor(2.0)
    raises(lambda: np.r_[s, s])
    raises(lambda: np.fromiter((s for _ in range(2)), float))


@pytest.mark.parametrize(
    "f",
    [
        lambda s, x: np.copyto(x, s),
        lambda s, x: np.full_like(x, s),
        lambda s, x: np.nan_to_num(x, nan=s),
        lambda s, x: np.fill_diagonal(np.eye(2), s),
        lambda s, x: x.__setitem__(0, s),
        lambda s, x: x.__setitem__(slice(None), s),
        lambda s, x: np.put(x, [0], s),
        lambda s, x: np.place(x, x > 1, np.reshape(s, 1)),
        lambda s, x: np.putmask(x, x > 1, s),
    ],
)
def test_a_recording_value_written_into_an_array_raises(f):
    x = X.copy()
    raises(lambda: f(tg.tensor(2.0), x))
    assert x.tolist() == X.tolist()


def test_methods_of_arrays_are_right_or_raise():
    t = tg.tensor([2.0, 1.0, 2.5])
    y = X.clip(t, None)  # It reaches us as np.maximum.
    assert y.tolist() == [2.0, 2.0, 3.0]
    np.sum(y).backward()
    assert t.grad.tolist() == [1.0, 0.0, 0.0]
    raises(lambda: X.dot(t))


@pytest.mark.parametrize("recording", [False, True])
def test_shuffling_rows_raises_and_changes_nothing(recording):
    rows = np.arange(8.0).reshape(4, 2)
    t = tg.tensor(rows, requires_grad=recording) * 1
    with pytest.warns(UserWarning, match="shuffling"), pytest.raises(tg.TapegradError, match="permutation"):
        np.random.default_rng(0).shuffle(t)
    assert t.tolist() == rows.tolist()
    t[0] = t[1]  # What Python assigns is another thing.
    assert t.tolist() == rows[[1, 1, 2, 3]].tolist()


def test_shuffling_a_leaf_raises():
    with pytest.warns(UserWarning, match="shuffling"), pytest.raises(tg.TapegradError):
        np.random.default_rng(0).shuffle(tg.tensor(X))


def test_under_no_grad_the_value_may_leave():
    t = tg.tensor(X)
    with tg.no_grad():
        np.testing.assert_array_equal(t, X)
        assert np.r_[t, t].tolist() == [*X, *X]
        assert np.asarray([t, t]).shape == (2, 3)
        with pytest.raises(tg.TapegradError, match="copyto"):
            np.full_like(X, tg.tensor(2.0))  # It writes into an array, which always raises.


# ---------------------------------------------------------------- what only asks for the value


@pytest.mark.parametrize(
    "f",
    [
        np.array_str,
        np.array_repr,
        np.array2string,
        np.shape,
        np.ndim,
        np.size,
        np.result_type,
        lambda t: np.result_type(t, np.float32(1)),
        lambda t: np.can_cast(getattr(t, "dtype", t), np.float32),
        lambda t: np.array_equal(t, X),
        lambda t: np.array_equiv(t, X),
        lambda t: np.allclose(t, X),
        lambda t: np.isclose(t, X + 1).tolist(),
        lambda t: np.argsort(t).tolist(),
        lambda t: [i.tolist() for i in np.nonzero(t)],
        lambda t: np.iscomplexobj(t),
        lambda t: np.min_scalar_type(t),
        lambda t: np.common_type(t),
        lambda t: np.einsum_path("i,i", t, t)[0],
        lambda t: np.searchsorted(t, 2.5).item(),
        lambda t: np.count_nonzero(t),
        lambda t: np.isfinite(t).tolist(),
        lambda t: list(np.ndindex(*t.shape)),
    ],
)
def test_questions_are_answered_as_for_the_array(f):
    t = tg.tensor(X)
    given, expected = f(t), f(X)
    if isinstance(expected, str):
        assert "1." in given
    else:
        assert given == expected
    assert not getattr(given, "requires_grad", False)


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed, np.savetxt])
def test_saving_writes_the_value(save):
    given, expected = io.BytesIO(), io.BytesIO()
    save(given, tg.tensor(X))
    save(expected, X)
    given.seek(0)
    if save is np.savetxt:
        np.testing.assert_array_equal(np.loadtxt(given), X)
    else:
        loaded = np.load(given)
        np.testing.assert_array_equal(loaded if save is np.save else loaded["arr_0"], X)


def test_printing_while_recording():
    t = tg.tensor(X)
    assert str(t) == repr(t) == "tensor([1., 2., 3.], dtype=float64, leaf)"
    assert f"{tg.tensor(1.5):.2f}" == "1.50"
