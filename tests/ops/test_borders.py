"""Borders: adjoints that satisfy <f(x), u> = <x, f^T(u)> exactly; where weights aren't whole, to rounding."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ops_tools import assert_linear, whole

import tapegrad as tg
from tapegrad.errors import NotDifferentiableError

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
    assert_linear(lambda x: np.pad(x, width, mode), shape)
    assert_linear(lambda x: np.pad(x, width, mode=mode), shape, np.complex128)


@given(SIDES, WIDTHS, st.integers(-2, 2))
def test_pad_by_constants(shape: tuple[int, ...], width: Any, value: int) -> None:
    assert_linear(lambda x: np.pad(x, width), shape)
    assert_linear(lambda x: np.pad(x, width, constant_values=value), shape, offset=True)
    assert_linear(lambda x: np.pad(x, width, "constant", constant_values=((1, 2), (3, 4))), shape, offset=True)


@given(SIDES, WIDTHS, st.sampled_from([np.float64, np.float32, np.complex128]))
def test_pad_by_a_ramp(shape: tuple[int, ...], width: Any, dtype: Any) -> None:
    # Two roundings an element of the border, and sums of some dozens: 1e-13 is 450 eps of float64.
    rtol = 450 * float(np.finfo(dtype).eps)
    assert_linear(lambda x: np.pad(x, width, "linear_ramp"), shape, dtype, rtol)
    assert_linear(lambda x: np.pad(x, width, "linear_ramp", end_values=(2, -1)), shape, dtype, rtol, offset=True)


@given(SIDES, WIDTHS, st.one_of(st.none(), st.integers(1, 6), st.just(((1, 2), (7, 3)))))
def test_pad_by_a_mean(shape: tuple[int, ...], width: Any, length: Any) -> None:
    rtol = 450 * float(np.finfo(np.float64).eps)  # As above.
    assert_linear(lambda x: np.pad(x, width, "mean", stat_length=length), shape, rtol=rtol)


def test_pad_of_nothing_and_of_0d() -> None:
    for mode in "constant", "edge", "reflect", "mean":
        assert_linear(lambda x, mode=mode: np.pad(x, 0, mode), (2, 3))
    assert_linear(lambda x: np.pad(x, 2), ())
    assert_linear(lambda x: np.pad(x, 2), (0, 1))
    assert_linear(lambda x: np.pad(x, ((0, 0), (1, 2)), "wrap"), (0, 2))


def test_pad_with_undefined_values_has_the_gradient_of_its_inside() -> None:
    x = tg.tensor(whole((3,)))
    np.pad(x, (1, 2), "empty").backward(np.arange(6.0))
    np.testing.assert_array_equal(x.grad, [1.0, 2.0, 3.0])


def test_a_function_for_a_mode_is_refused_at_the_call() -> None:
    with pytest.raises(NotDifferentiableError, match="join a border of your own"):
        np.pad(tg.tensor(whole((3,))), 1, lambda *_: None)


def test_what_else_pad_refuses() -> None:
    x = tg.tensor(whole((3,)))
    with pytest.raises(NotDifferentiableError, match="no gradient passes through constant_values="):
        np.pad(x, 1, constant_values=tg.tensor(1.0))


@pytest.mark.parametrize(
    ("width", "mode", "options"),
    [
        (1, "unheard of", {}),
        (1, "edge", {"constant_values": 1}),
        (1, "maximum", {"end_values": 1}),
        (-1, "maximum", {}),
        (1, "maximum", {"stat_length": 0}),
        ((1, 2, 3), "maximum", {}),
    ],
)
def test_errors_of_pad_are_numpys_own(width: Any, mode: str, options: Any) -> None:
    a = whole((2, 3))
    with pytest.raises((TypeError, ValueError)) as numpys:
        np.pad(a, width, mode, **options)
    with pytest.raises(type(numpys.value)) as ours:
        np.pad(tg.tensor(a), width, mode, **options)
    assert str(ours.value) == str(numpys.value)


def test_an_empty_axis_has_no_maximum_to_put_around_it() -> None:
    for a in (np.zeros((0, 2)), tg.tensor(np.zeros((0, 2)))):
        with pytest.raises(ValueError, match="can't extend empty axis 0"):
            np.pad(a, 1, "maximum")
    assert np.pad(tg.tensor(np.zeros((0, 2))), ((0, 0), (1, 1)), "maximum").shape == (0, 4)


@given(SIDES, WIDTHS, st.sampled_from(["reflect", "symmetric"]))
def test_pad_by_reflections_about_the_ends(shape: tuple[int, ...], width: Any, mode: str) -> None:
    assert_linear(lambda x: np.pad(x, width, mode, reflect_type="odd"), shape)


@given(SIDES, WIDTHS, st.sampled_from(["maximum", "minimum", "median"]), st.one_of(st.none(), st.integers(1, 3)))
def test_pad_by_a_statistic_has_numpys_value(shape: tuple[int, ...], width: Any, mode: str, length: Any) -> None:
    a = whole(shape)
    given, expected = (np.pad(x, width, mode, stat_length=length) for x in (tg.tensor(a), a))
    np.testing.assert_array_equal(given.numpy(), expected)


@pytest.mark.parametrize("mode", ["maximum", "minimum", "median", "mean"])
def test_pad_of_integers_is_numpys(mode: str) -> None:
    a = np.array([1, 4, 2, 2])
    np.testing.assert_array_equal(np.pad(tg.tensor(a), 1, mode).numpy(), np.pad(a, 1, mode), strict=True)


def test_a_maximum_in_the_border_gives_its_cotangent_to_the_largest() -> None:
    x = tg.tensor([1.0, 3.0, 2.0])
    np.pad(x, (1, 2), "maximum", stat_length=2).backward(np.arange(1.0, 7.0))
    np.testing.assert_array_equal(x.grad, [2.0, 3.0 + 1 + 5 + 6, 4.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
@pytest.mark.parametrize("mode", ["constant", "edge", "linear_ramp", "maximum", "mean", "median", "wrap"])
def test_pad_keeps_the_dtype_of_the_cotangent(mode: str, dtype: Any) -> None:
    x = tg.tensor(whole((3,), dtype=dtype))
    np.pad(x, 2, mode).backward(np.ones(7, dtype))
    assert x.grad.dtype == dtype
