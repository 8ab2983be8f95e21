"""What reductions promise beyond being right: who shares a tie, what a nan does, where zeros are exact."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import WriteError

EPS = float(np.finfo(np.float64).eps)
INF, NAN = np.inf, np.nan


def gradient(f: Callable[[Any], Any], x: Any, seed: Any = None) -> Any:
    """The cotangent of ``x`` for the cotangent ``seed`` of f(x), ones if None."""
    leaf = tg.tensor(x)
    y = f(leaf)
    y.backward(np.ones(y.shape, y.dtype) if seed is None else seed)
    return leaf.grad


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """The matrix of second derivatives of a scalar f at a vector: the gradient recorded, and replayed row by row."""
    leaf = tg.tensor(x)
    f(leaf).backward(create_graph=True)
    recorded, rows = leaf.grad, []
    for row in np.eye(len(x)):
        leaf.grad = None
        recorded.backward(row, retain_graph=True)
        rows.append(leaf.grad)
    return np.stack(rows)


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


# ---------------------------------------------------------------- variances


@pytest.mark.parametrize("ddof", [0, 1, 1.5])
def test_a_variance_pulls_along_the_deviations(ddof: float) -> None:
    x = np.array([[1.0, 4.0, 2.0, 2.5], [0.5, -1.0, 3.0, 0.0]])
    d = x - x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(lambda t: np.var(t, axis=1, ddof=ddof), x), 2 * d / (4 - ddof), rtol=8 * EPS)
    std = np.std(x, axis=1, ddof=ddof, keepdims=True)
    np.testing.assert_allclose(
        gradient(lambda t: np.std(t, axis=1, ddof=ddof), x), d / ((4 - ddof) * std), rtol=8 * EPS
    )


def test_correction_is_another_name_of_ddof_and_both_are_refused() -> None:
    x = np.array([1.0, 4.0, 2.0])
    for spread in (np.var, np.std):
        given = gradient(lambda t, spread=spread: spread(t, correction=1), x)
        np.testing.assert_array_equal(given, gradient(lambda t, spread=spread: spread(t, ddof=1), x))
        with pytest.raises(ValueError, match="ddof and correction can't be provided simultaneously"):
            spread(tg.tensor(x), ddof=1, correction=1)


def test_a_complex_variance_pulls_along_the_complex_deviations() -> None:
    x = np.array([1 + 2j, 3 - 1j, -2 + 0.5j])
    y = np.var(tg.tensor(x), ddof=1)
    assert y.dtype == np.float64
    expected = 2 * (x - x.mean()) / 2
    np.testing.assert_allclose(gradient(lambda t: np.var(t, ddof=1), x), expected, rtol=8 * EPS)
    np.testing.assert_allclose(
        gradient(lambda t: np.std(t, ddof=1), x), expected / (2 * np.std(x, ddof=1)), rtol=8 * EPS
    )


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_a_mean_that_is_given_has_a_gradient_too(spread: Any) -> None:
    x = np.array([1.0, 4.0, 2.0, 2.5])
    own = hessian(spread, x)
    given = hessian(lambda t: spread(t, mean=np.mean(t, keepdims=True)), x)
    np.testing.assert_allclose(given, own, atol=16 * EPS)
    # About a point that is not the mean, the point matters.
    about = gradient(lambda m: spread(x, mean=m), np.array([1.0]))
    scale = 1 if spread is np.var else 2 * spread(x, mean=np.array([1.0]))
    np.testing.assert_allclose(about, -2 * np.mean(x - 1.0, keepdims=True) / scale, rtol=8 * EPS)


def test_a_constant_mean_is_held_fast() -> None:
    x = np.array([1.0, 4.0, 2.0])
    np.testing.assert_allclose(gradient(lambda t: np.var(t, mean=0.0), x), 2 * x / 3, rtol=4 * EPS)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e-100, 1e100])
@pytest.mark.parametrize("n", [2, 3, 7, 49])
def test_the_deviation_of_equal_numbers_has_gradient_zero(value: float, n: int) -> None:
    # The mean of numbers that are all 0.1 isn't 0.1 to the last bit, and the deviation then not quite 0.
    np.testing.assert_array_equal(gradient(np.std, np.full(n, value)), np.zeros(n))


def test_a_row_of_equal_numbers_does_not_spoil_the_others() -> None:
    x = np.array([[0.1, 0.1, 0.1], [1.0, 2.0, 4.0]])
    given = gradient(lambda t: np.std(t, axis=1), x)
    np.testing.assert_array_equal(given[0], 0)
    np.testing.assert_array_equal(given[1], gradient(np.std, x[1]))
    leaf = tg.tensor(x)
    np.sum(np.std(leaf, axis=1)).backward(create_graph=True)
    recorded, leaf.grad = leaf.grad, None
    recorded.backward(np.ones((2, 3)))
    assert np.isfinite(leaf.grad).all()
    np.testing.assert_array_equal(leaf.grad[0], 0)


def test_the_chosen_may_be_equal_and_the_others_not() -> None:
    where = np.array([True, True, True, False])
    given = gradient(lambda t: np.std(t, where=where), np.array([0.1, 0.1, 0.1, 7.0]))
    np.testing.assert_array_equal(given, np.zeros(4))


def test_complex_numbers_that_are_equal_have_a_deviation_with_gradient_zero() -> None:
    np.testing.assert_array_equal(gradient(np.std, np.full(3, 0.1 + 0.3j)), np.zeros(3))


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_missing_data_that_is_masked_later_spoils_nothing(spread: Any) -> None:
    x = np.array([[1.0, NAN, 3.0], [1.0, INF, 3.0], [1.0, 2.0, 4.0]])
    good = np.array([False, False, True])
    with np.errstate(invalid="ignore"):
        given = gradient(lambda t: np.where(good, spread(t, axis=1), 0.0), x)
    np.testing.assert_array_equal(given[:2], 0)
    np.testing.assert_array_equal(given[2], gradient(spread, x[2]))


@pytest.mark.parametrize("spread", [np.var, np.std], ids=lambda f: f.__name__)
def test_too_few_elements_give_nan_with_numpys_warning_and_no_other(spread: Any) -> None:
    x = np.array([[1.0], [2.0]])
    leaf = tg.tensor(x)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning) as warned:
        y = spread(leaf, axis=1, ddof=1)
    assert [str(w.message) for w in warned] == ["Degrees of freedom <= 0 for slice"]
    assert np.isnan(y.numpy()).all()
    y.backward(np.array([1.0, 0.0]))
    # A result that is nan has a gradient that is nan (or 0, where equal numbers have none), never a finite other.
    assert np.isnan(leaf.grad[0, 0]) or spread is np.std
    assert leaf.grad[1, 0] == 0


def test_a_float16_deviation_of_many_numbers_keeps_its_gradient() -> None:
    x = np.tile(np.array([0.5, -0.5], np.float16), 40_000)
    given = gradient(np.std, x)
    assert given.dtype == np.float16
    np.testing.assert_array_equal(np.abs(given), np.float16(1 / 80_000))


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


def test_a_tape_names_variances_by_what_was_called() -> None:
    x = tg.tensor([1.0, 2.0])
    with tg.Tape() as tape:
        np.var(x)
        np.std(x)
    assert [fact.primitive.split()[0] for fact in tape] == ["np.var", "np.std"]
