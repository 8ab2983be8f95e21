"""What reductions promise beyond being right: who shares a tie, what a nan does, where zeros are exact."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from ops_tools import EPS, INF, NAN, gradient, hessian

import tapegrad as tg
from tapegrad.errors import WriteError


def products_without(x: Any, *left_out: int) -> float:
    """The product of all elements but those."""
    return math.prod(float(v) for i, v in enumerate(x) if i not in left_out)


# ---------------------------------------------------------------- sums and means


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (-1, 0), (2, 1, 0), ()], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_each_summed_element_gets_the_cotangent_of_its_sum(axis: Any, keepdims: bool) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    seed = np.arange(float(np.sum(x, axis=axis).size)).reshape(np.sum(x, axis=axis, keepdims=keepdims).shape)
    shape = np.sum(x, axis=axis, keepdims=True).shape
    given = gradient(lambda t: np.sum(t, axis=axis, keepdims=keepdims), x, seed)
    np.testing.assert_array_equal(given, np.broadcast_to(seed.reshape(shape), x.shape))


def test_a_float32_array_summed_in_float64_gets_a_float32_cotangent() -> None:
    x = tg.tensor(np.ones(3, np.float32))
    y = np.sum(x, dtype=np.float64)
    y.backward(np.float64(0.1))
    assert y.dtype == np.float64
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, np.full(3, 0.1, np.float32))


def test_a_mean_counts_the_chosen_alone() -> None:
    where = np.array([[True, False, True], [True, False, False]])
    given = gradient(lambda t: np.mean(t, axis=1, where=where), np.ones((2, 3)))
    np.testing.assert_array_equal(given, [[0.5, 0, 0.5], [1, 0, 0]])


def test_a_mean_in_float16_divides_by_a_count_that_float16_does_not_hold() -> None:
    x = np.ones(70_000, np.float16)
    given = gradient(np.mean, x)
    assert given.dtype == np.float16
    np.testing.assert_array_equal(given, np.full(70_000, np.float16(1 / 70_000)))


@pytest.mark.parametrize("reduce", [np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std], ids=lambda f: f.__name__)
def test_what_where_leaves_out_gets_zero_even_from_an_infinite_cotangent(reduce: Any) -> None:
    x = np.array([1.0, 4.0, NAN, 2.0])
    start = {np.max: {"initial": -9.0}, np.min: {"initial": 9.0}}.get(reduce, {})
    chosen = np.array([True, True, False, True])
    given = gradient(lambda t: reduce(t, where=chosen, **start), x, np.float64(INF))
    assert given[2] == 0
    finite = gradient(lambda t: reduce(t, where=chosen, **start), x)
    np.testing.assert_allclose(finite[chosen], gradient(lambda t: reduce(t, **start), x[chosen]), rtol=8 * EPS)


@pytest.mark.parametrize("where", [[True, False, True], (True, False, True), tg.tensor([True, False, True])], ids=type)
def test_where_may_be_any_array_like(where: Any) -> None:
    for reduce in (np.sum, np.prod, np.var):
        given = gradient(lambda t, reduce=reduce: reduce(t, where=where), np.array([2.0, 3.0, 4.0]))
        expected = gradient(
            lambda t, reduce=reduce: reduce(t, where=np.array([True, False, True])), np.array([2.0, 3.0, 4.0])
        )
        np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("reduce", [np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std], ids=lambda f: f.__name__)
@pytest.mark.parametrize("axis", [None, ()], ids=str)
def test_a_scalar_is_reduced_over_none_of_its_axes(reduce: Any, axis: Any) -> None:
    given = gradient(lambda t: reduce(t, axis=axis), 3.0)
    assert given.shape == ()
    assert given == (0 if reduce in (np.var, np.std) else 1)


def test_empty_sums_and_products_have_empty_gradients() -> None:
    for reduce in (np.sum, np.prod):
        for axis in (None, 0, 1):
            given = gradient(lambda t, reduce=reduce, axis=axis: reduce(t, axis=axis), np.ones((0, 3)))
            assert given.shape == (0, 3)


def test_the_maximum_of_nothing_is_numpys_own_error() -> None:
    with pytest.raises(ValueError, match="zero-size array to reduction operation maximum which has no identity"):
        np.max(tg.tensor(np.ones((0,))))


# ---------------------------------------------------------------- maxima and minima

EXTREMA = [(np.max, 1.0), (np.amax, 1.0), (np.min, -1.0), (np.amin, -1.0)]
extrema = pytest.mark.parametrize(("extremum", "sign"), EXTREMA, ids=lambda f: getattr(f, "__name__", None))


@extrema
def test_the_tied_share_equally_and_their_total_is_one(extremum: Any, sign: float) -> None:
    x = sign * np.array([[1.0, 3.0, 3.0, 3.0], [2.0, 2.0, 1.0, 0.0], [5.0, 1.0, 2.0, 3.0]])
    given = gradient(lambda t: extremum(t, axis=1), x)
    np.testing.assert_array_equal(given, [[0, 1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(given.sum(axis=1), 1)


@extrema
def test_ties_are_shared_over_several_axes_at_once(extremum: Any, sign: float) -> None:
    x = sign * np.array([[[1.0, 2.0], [2.0, 0.0]], [[2.0, 0.0], [2.0, 1.0]]])
    given = gradient(lambda t: extremum(t, axis=(0, 2), keepdims=True), x)
    np.testing.assert_array_equal(given, [[[0, 0.5], [0.5, 0]], [[0.5, 0], [0.5, 0]]])


@extrema
def test_minus_zero_ties_with_zero(extremum: Any, sign: float) -> None:
    np.testing.assert_array_equal(gradient(extremum, np.array([0.0, -0.0])), [0.5, 0.5])


@extrema
@pytest.mark.parametrize(("initial", "expected"), [(4.0, [0, 0, 0]), (3.0, [0, 1 / 3, 1 / 3]), (2.0, [0, 0.5, 0.5])])
def test_an_initial_takes_part_as_one_more_element(extremum: Any, sign: float, initial: float, expected: Any) -> None:
    x = sign * np.array([1.0, 3.0, 3.0])
    np.testing.assert_array_equal(gradient(lambda t: extremum(t, initial=sign * initial), x), expected)


def test_an_initial_is_compared_in_the_dtype_of_the_array() -> None:
    x = np.array([0.1, 0.0], np.float32)
    np.testing.assert_array_equal(gradient(lambda t: np.max(t, initial=np.float64(0.1)), x), [0.5, 0])


def test_an_initial_of_none_is_no_initial() -> None:
    np.testing.assert_array_equal(gradient(lambda t: np.max(t, initial=None), np.array([1.0, 2.0])), [0, 1])


@extrema
def test_where_nothing_is_chosen_the_initial_wins(extremum: Any, sign: float) -> None:
    given = gradient(lambda t: extremum(t, where=False, initial=0.0), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(given, [0, 0])


@extrema
def test_where_the_result_is_nan_the_nans_share_and_other_rows_are_not_touched(extremum: Any, sign: float) -> None:
    x = np.array([[1.0, NAN, 3.0, NAN], [1.0, 2.0, 2.0, 1.0]])
    given = gradient(lambda t: extremum(t, axis=1), x)
    np.testing.assert_array_equal(given[0], [0, 0.5, 0, 0.5])
    assert given[1].sum() == 1


def test_a_nan_initial_takes_its_share_among_the_nans() -> None:
    np.testing.assert_array_equal(gradient(lambda t: np.max(t, initial=NAN), np.array([1.0, NAN])), [0, 0.5])
    np.testing.assert_array_equal(gradient(lambda t: np.max(t, initial=NAN), np.array([1.0, 2.0])), [0, 0])


def test_a_nan_that_is_not_chosen_gets_nothing() -> None:
    x = np.array([1.0, NAN, 3.0])
    given = gradient(lambda t: np.max(t, initial=-1.0, where=~np.isnan(x)), x)
    np.testing.assert_array_equal(given, [0, 0, 1])


def test_complex_maxima_follow_numpys_order_by_real_part_then_imaginary() -> None:
    x = np.array([1 + 2j, 1 + 3j, 0 + 9j, 1 + 3j])
    np.testing.assert_array_equal(gradient(np.max, x, 2j), [0, 1j, 0, 1j])


def test_what_is_not_the_maximum_gets_zero_from_an_infinite_cotangent() -> None:
    np.testing.assert_array_equal(gradient(np.max, np.array([1.0, 2.0]), np.float64(INF)), [0, INF])


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("zeros", [(), (1,), (0, 3), (0, 2, 4)], ids=str)
@pytest.mark.parametrize("n", [5, 6, 8])
def test_a_product_has_the_exact_gradient_and_hessian_at_zeros(zeros: tuple[int, ...], n: int) -> None:
    x = np.array([2.0, 3.0, -1.0, 5.0, 0.5, 4.0, 7.0, -2.0])[:n]
    x[list(zeros)] = 0.0
    np.testing.assert_array_equal(gradient(np.prod, x), [products_without(x, i) for i in range(n)])
    expected = [[0 if i == j else products_without(x, i, j) for j in range(n)] for i in range(n)]
    np.testing.assert_array_equal(hessian(np.prod, x), expected)


def test_a_product_over_several_axes_is_exact_at_zeros() -> None:
    x = np.arange(12.0).reshape(2, 3, 2)
    given = gradient(lambda t: np.prod(t, axis=(-1, 0)), x)
    for i, j, k in np.ndindex(x.shape):
        others = [x[m, j, n] for m, n in itertools.product(range(2), range(2)) if (m, n) != (i, k)]
        assert given[i, j, k] == math.prod(others)


def test_a_product_of_the_chosen_is_exact_at_zeros_and_starts_at_initial() -> None:
    x, where = np.array([0.0, 3.0, 0.0, 5.0]), np.array([True, True, False, True])
    given = gradient(lambda t: np.prod(t, where=where, initial=2.0), x)
    np.testing.assert_array_equal(given, [30, 0, 0, 0])


def test_a_complex_product_is_conjugated() -> None:
    x = np.array([1 + 2j, 0, 3 - 1j])
    np.testing.assert_allclose(gradient(np.prod, x), [0, np.conj((1 + 2j) * (3 - 1j)), 0], rtol=4 * EPS)


def test_a_float32_product_in_float64_does_not_overflow_on_the_way_back() -> None:
    x = np.full(3, 1e30, np.float32)
    given = gradient(lambda t: np.prod(t, dtype=np.float64), x, np.float64(1e-40))
    np.testing.assert_allclose(given, np.full(3, 1e20, np.float32), rtol=1e-6)  # float32 rounds at 6e-8


def test_an_infinite_product_of_others_meets_a_zero_cotangent_as_zero() -> None:
    x = np.array([[INF, 2.0, 3.0], [1.0, 2.0, 3.0]])
    given = gradient(lambda t: np.prod(t, axis=1), x, np.array([0.0, 1.0]))
    np.testing.assert_array_equal(given, [[0, 0, 0], [6, 3, 2]])


# ---------------------------------------------------------------- forms of the call

REDUCES = [
    (np.add.reduce, np.sum),
    (np.multiply.reduce, np.prod),
    (np.maximum.reduce, np.max),
    (np.minimum.reduce, np.min),
]


@pytest.mark.parametrize(("reduce", "function"), REDUCES, ids=lambda f: f.__name__)
def test_a_ufuncs_reduce_is_the_function_along_the_first_axis(reduce: Any, function: Any) -> None:
    x = np.array([[1.0, 4.0, 2.0], [3.0, -1.0, 5.0]])
    np.testing.assert_array_equal(reduce(tg.tensor(x)).numpy(), reduce(x))
    np.testing.assert_array_equal(gradient(reduce, x), gradient(lambda t: function(t, axis=0), x))
    np.testing.assert_array_equal(
        gradient(lambda t: reduce(t, -1, None, None, True, 2.0), x),
        gradient(lambda t: function(t, axis=-1, keepdims=True, initial=2.0), x),
    )


def test_a_ufuncs_reduce_takes_a_dtype() -> None:
    x = np.ones(3, np.float32)
    for reduce, _function in REDUCES:
        assert reduce(tg.tensor(x), dtype=np.float64).dtype == np.float64
        assert gradient(lambda t, reduce=reduce: reduce(t, dtype=np.float64), x).dtype == np.float32


@pytest.mark.parametrize("reduce", [np.sum, np.mean, np.prod, np.max, np.var, np.std], ids=lambda f: f.__name__)
def test_out_is_refused_by_the_name_of_the_call(reduce: Any) -> None:
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(WriteError, match=rf"np\.{reduce.__name__}"):
        reduce(x, out=np.zeros(()))
    assert reduce(x, out=None).requires_grad


def test_parameters_may_be_given_by_position() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3))
    assert np.sum(x, 1, None, None, True).shape == (2, 1)
    assert np.mean(x, 1, None, None, True).shape == (2, 1)
    assert np.prod(x, 1, None, None, True).shape == (2, 1)
    assert np.max(x, 1, None, True).shape == (2, 1)
    assert np.var(x, 1, None, None, 1, True).shape == (2, 1)
    assert np.std(x, 1, None, None, 1, True).shape == (2, 1)


def test_a_full_reduction_gives_what_numpy_calls_a_scalar() -> None:
    x = tg.tensor(np.ones((2, 3)))
    for reduce in (np.sum, np.mean, np.prod, np.max, np.min, np.var, np.std):
        assert type(reduce(x).numpy()[()]) is np.float64
        assert reduce(x).shape == ()


def test_a_reduction_refuses_an_argument_that_numpy_does_not_know() -> None:
    with pytest.raises(TypeError):
        np.var(tg.tensor([1.0]), weights=[1.0])
