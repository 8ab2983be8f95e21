"""Methods of ufuncs: NumPy's value on every keyword, cost linear in the length, and what is refused."""

import sys

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.primitive import TABLE
from tapegrad.testing import check_grads

BINARY = [
    u for u in dict.fromkeys(v for v in vars(np).values() if isinstance(v, np.ufunc)) if u.nin == 2 and not u.signature
]
METHODS = ("reduce", "accumulate", "reduceat", "outer")
X = np.array([[1.3, 2.9, 0.7], [2.2, 1.1, 1.7]])
MASK = np.array([[True, False, True], [False, True, True]])


def value(y):
    return y.numpy() if isinstance(y, tg.Tensor) else y


@pytest.mark.parametrize("ufunc", BINARY, ids=lambda u: u.__name__)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_ufunc_of_two_operands_is_classed(ufunc, method):
    one_output = ufunc.nout == 1 or method == "outer"  # NumPy itself refuses the others before it asks anybody.
    assert not one_output or getattr(ufunc, method) in TABLE


FOLDS = [u for u in BINARY if u.nout == 1 and u.reduce in TABLE and TABLE[u.reduce].kind != "constant"]
every_fold = pytest.mark.parametrize("ufunc", FOLDS, ids=lambda u: u.__name__)


# NumPy 2.4 folds these wrongly along the last axis in memory, where it runs AVX-512: reduce([a, b, c]) is f(a, c).
MISCOUNTED = (np.power, np.arctan2)


def numpys(f, x, axis, **keywords):
    """What NumPy gives along an axis, computed along the first one in memory."""
    y = f(np.ascontiguousarray(np.moveaxis(x, axis, 0)), axis=0, **keywords)
    return np.expand_dims(y[0], axis) if keywords.get("keepdims") else y


# The fold by pairs adds in another order than NumPy's: two roundings of a few steps, 1e-15 each.
def assert_near(given, expected):
    assert np.shape(given) == np.shape(expected)
    assert given.dtype == expected.dtype
    np.testing.assert_allclose(value(given), expected, rtol=1e-14 if expected.dtype == np.float64 else 1e-6)


@every_fold
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"axis": 1},
        {"axis": -1, "keepdims": True},
        {"axis": 1, "initial": 1.5},
        {"initial": 1.5, "where": MASK},
        {"axis": 1, "initial": 1.5, "where": np.array([True, False, True])},
        {"dtype": np.float32},
        {"axis": ()},
    ],
    ids=str,
)
def test_reduce_has_numpys_value(ufunc, keywords):
    if ufunc is np.float_power and "dtype" in keywords:
        keywords = {"dtype": np.float64}  # It has no loop for less.
    expected = ufunc.reduce(X, **keywords)
    if ufunc in MISCOUNTED and keywords.get("axis", 0) in (1, -1):
        transposed = {**keywords, "where": np.reshape(keywords["where"], (-1, 1))} if "where" in keywords else keywords
        expected = numpys(ufunc.reduce, X, **transposed)
    assert_near(ufunc.reduce(tg.tensor(X), **keywords), expected)


@every_fold
def test_scans_and_segments_have_numpys_value(ufunc):
    t = tg.tensor(X)
    for axis in (0, 1, -1):
        assert_near(ufunc.accumulate(t, axis), ufunc.accumulate(X, axis))
    for indices in ([0, 2], [1], [2, 0, 1], [0, 1, 2], []):  # No segment of three: see MISCOUNTED.
        assert_near(ufunc.reduceat(t, indices, 1), ufunc.reduceat(X, indices, 1))
    assert_near(ufunc.outer(t, [1.5, 2.0]), ufunc.outer(X, [1.5, 2.0]))
    assert_near(ufunc.outer([1.5, 2.0], t), ufunc.outer([1.5, 2.0], X))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("ufunc", [np.hypot, np.logaddexp, np.maximum, np.fmin], ids=lambda u: u.__name__)
def test_scans_by_pairs_are_right_at_every_length(ufunc, n):
    x = np.random.default_rng(n).standard_normal((n, 2))
    np.testing.assert_allclose(ufunc.accumulate(tg.tensor(x)).numpy(), ufunc.accumulate(x), rtol=1e-14)
    np.testing.assert_allclose(ufunc.reduce(tg.tensor(x)).numpy(), ufunc.reduce(x), rtol=1e-14)
    check_grads(lambda x: ufunc.accumulate(x), x, order=1)


def test_reduce_over_several_axes_where_order_does_not_matter():
    check_grads(lambda x: np.hypot.reduce(x, axis=(0, 1)), X, order=2)
    check_grads(lambda x: np.logaddexp.reduce(x, axis=None, where=MASK), X, order=2)


def test_a_fold_that_depends_on_the_order_takes_one_axis():
    with pytest.raises(tg.errors.ArgumentError, match=r"np\.subtract\.reduce depends on the order"):
        np.subtract.reduce(tg.tensor(X), axis=None)


def test_nothing_to_reduce_is_an_error_as_in_numpy():
    with pytest.raises(ValueError, match=r"np\.divide\.reduce: nothing to reduce"):
        np.divide.reduce(tg.tensor(np.ones((0, 2))))
    with pytest.raises(ValueError, match="takes an initial="):
        np.divide.reduce(tg.tensor(X), where=MASK)


def test_an_empty_fold_is_its_initial_value():
    assert np.subtract.reduce(tg.tensor(np.ones((0, 2))), initial=3.0).tolist() == [3.0, 3.0]
    assert np.hypot.reduce(tg.tensor(np.ones((0, 2)))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("method", ["accumulate", "reduceat"])
def test_scalars_have_no_axis_to_go_along(method):
    with pytest.raises(TypeError, match="an operand of no axes"):
        getattr(np.subtract, method)(tg.tensor(1.0), *([[0]] if method == "reduceat" else []))


@pytest.mark.parametrize("indices", [[0, 3], [-1]])
@pytest.mark.parametrize("ufunc", [np.add, np.subtract], ids=lambda u: u.__name__)
def test_indices_out_of_range_are_numpys_error(ufunc, indices):
    with pytest.raises(IndexError):
        ufunc.reduceat(tg.tensor([1.0, 2.0, 3.0]), indices)


def test_reduceat_takes_one_element_where_the_next_index_is_not_larger():
    x = tg.tensor([1.0, 2.0, 4.0, 8.0])
    y = np.add.reduceat(x, [2, 0, 3, 1])
    assert y.tolist() == [4.0, 7.0, 8.0, 14.0]
    y.backward(np.array([1.0, 10.0, 100.0, 1000.0]))
    assert x.grad.tolist() == [10.0, 1010.0, 1011.0, 1100.0]


def test_the_tied_of_a_reduction_that_ignores_nan_share():
    x = tg.tensor([np.nan, 3.0, 1.0, 3.0])
    np.fmax.reduce(x).backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.0, 0.5]


def test_running_maxima_give_each_result_a_whole_gradient_at_ties():
    x = tg.tensor([2.0, 2.0, 1.0, 2.0])
    np.sum(np.maximum.accumulate(x)).backward()
    assert x.grad.tolist() == [4.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("ufunc", [np.maximum, np.minimum, np.fmax, np.fmin], ids=lambda u: u.__name__)
def test_a_running_choice_gives_each_cotangent_to_the_element_it_chose(ufunc, axis):
    a = np.random.default_rng(0).standard_normal((40, 30))
    a[np.random.default_rng(1).random(a.shape) < 0.1] = np.nan
    g = np.random.default_rng(2).integers(-9, 9, a.shape).astype(float)
    g[3, 4] = np.inf  # What wasn't chosen gets 0 whatever comes.
    x = tg.tensor(a)
    y = ufunc.accumulate(x, axis)
    y.backward(g)
    np.testing.assert_array_equal(y.numpy(), ufunc.accumulate(a, axis))
    rows, y, g = (np.moveaxis(array, axis, 0) for array in (a, y.numpy(), g))
    expected = np.zeros(rows.shape)
    for j in range(rows.shape[1]):
        for k in range(len(rows)):
            made = (rows[: k + 1, j] == y[k, j]) | (np.isnan(rows[: k + 1, j]) & np.isnan(y[k, j]))
            expected[np.argmax(made), j] += g[k, j]
    np.testing.assert_array_equal(x.grad, np.moveaxis(expected, 0, axis))


def test_comparisons_give_plain_arrays():
    outer = np.less.outer(tg.tensor([1.0, 3.0]), [2.0])
    assert type(outer) is np.ndarray
    assert outer.tolist() == [[True], [False]]
    assert np.logical_and.reduce(tg.tensor([1.0, 0.0])).item() is False


def test_methods_that_numpy_does_not_have_are_its_errors():
    t = tg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="binary"):
        np.sin.reduce(t)
    with pytest.raises(RuntimeError, match="signature"):
        np.matmul.reduce(t)
    with pytest.raises(TypeError):
        np.less.reduce(t)
    with pytest.raises(TypeError):
        np.ldexp.reduce(t)


def test_numbers_do_not_take_part_weakly_in_outer():
    x = np.ones(2, np.float32)
    assert np.multiply.outer(tg.tensor(x), 2.0).dtype == np.multiply.outer(x, 2.0).dtype == np.float64


def test_a_recording_initial_value_raises():
    t = tg.tensor([1.0, 2.0])
    with pytest.raises(tg.errors.ConversionError):
        np.subtract.reduce(t, initial=t[0])
    with pytest.raises(tg.errors.NotDifferentiableError):
        np.add.reduce(t, initial=t[0])


def calls_of(f):
    count = 0

    def count_one(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(count_one)
    try:
        f()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "f",
    [
        np.subtract.reduce,
        np.subtract.accumulate,
        lambda x: np.subtract.reduceat(x, np.arange(0, len(x), 2)),
    ],
    ids=["reduce", "accumulate", "reduceat"],
)
def test_an_unrolled_fold_is_linear_in_its_length(f):
    def moved(n):
        x = tg.tensor(np.ones(n))
        return calls_of(lambda: np.sum(f(x)).backward())

    assert moved(800) < 2.5 * moved(400)
