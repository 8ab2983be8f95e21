"""Forms of the call that no case can hold: where the tensor isn't the first operand, where NumPy's result has a
layout, and what a wrong call is told.
"""

import inspect

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ShapeError
from tapegrad.kinds import name_of
from tapegrad.primitive import TABLE

A = np.array([1.0, 2.0, 3.0])


# ---------------------------------------------------------------- errors name what the user called


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: t.clip(unknown=1), r"np\.clip\(\) got an unexpected keyword argument 'unknown'"),
        (lambda t: t.var(1, 2, 3, 4, 5, 6, 7), r"np\.var\(\) takes from 1 to \d positional arguments"),
        (lambda t: np.float_power(t, 2, unknown=1), r"float_power\(\) got an unexpected keyword argument 'unknown'"),
        (lambda t: np.average(t, unknown=1), r"average\(\) got an unexpected keyword argument 'unknown'"),
        (lambda t: np.einsum("i->", t, unknown=1), r"np\.einsum\(\) got an unexpected keyword argument 'unknown'"),
    ],
)
def test_a_wrong_call_of_a_composite_is_told_by_the_name_of_numpys_function(call, name):
    with pytest.raises(TypeError, match=name):
        call(tg.tensor(A))


def test_every_composite_that_is_written_in_python_goes_by_the_name_of_what_it_stands_for():
    composites = [known for known in TABLE.values() if known.kind == "composite" and inspect.isfunction(known.run)]
    assert len(composites) > 100
    assert {known.name for known in composites if known.run.__qualname__ != name_of(known.function)} == set()


# ---------------------------------------------------------------- methods of plain arrays


@pytest.mark.parametrize(
    ("clip", "by_bound"),
    [
        # With one bound NumPy calls np.maximum or np.minimum, with nothing that tells them from the user's own: two
        # that tie get half each, also a valid subgradient of clip.
        (lambda t: A.clip(t), [0.5, 0.0, 0.0]),
        (lambda t: A.clip(max=t), [0.5, 1.0, 1.0]),
        # With both it calls its own clip, and a bound that ties gives to the array.
        (lambda t: A.clip(t, 5.0), [0.0, 0.0, 0.0]),
        (lambda t: A.clip(0.0, t), [0.0, 1.0, 1.0]),
        (lambda t: np.clip(A, t, None), [0.0, 0.0, 0.0]),
        (lambda t: np.clip(A, None, t), [0.0, 1.0, 1.0]),
    ],
)
def test_a_bound_of_a_plain_arrays_clip_has_a_valid_subgradient_at_a_tie(clip, by_bound):
    bound = tg.tensor([1.0, 1.0, 1.0])
    y = clip(bound)
    np.testing.assert_array_equal(y.numpy(), clip(np.ones(3)))
    np.sum(y).backward()
    np.testing.assert_array_equal(bound.grad, by_bound)


# ---------------------------------------------------------------- matmul along other axes


def test_matmul_along_other_axes_is_the_product_of_the_matrices_that_stand_there():
    rng = np.random.default_rng(0)
    a, b, seed = rng.normal(size=(3, 2, 4)), rng.normal(size=(2, 5)), rng.normal(size=(4, 3, 5))
    axes = [(2, 1), (0, 1), (0, 2)]
    given, moved = (tg.tensor(a), tg.tensor(b)), (tg.tensor(a), tg.tensor(b))
    y = np.matmul(*given, axes=axes)
    z = np.moveaxis(np.swapaxes(moved[0], 1, 2) @ moved[1], 1, 0)
    np.testing.assert_array_equal(y.numpy(), np.matmul(a, b, axes=axes))
    for result in (y, z):
        result.backward(seed)
    for one, other in zip(given, moved, strict=True):
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-14, atol=1e-14)


def test_rows_of_missing_data_do_not_spoil_the_weights_of_a_product_along_other_axes():
    a = np.array([[1.0, np.nan], [2.0, 3.0]])  # Its second column is what matmul takes as a row.
    w = tg.tensor([0.5, 0.25])
    y = np.matmul(a, w, axes=[(1, 0), 0, 0])
    np.sum(np.where(np.array([True, False]), y, 0)).backward()
    assert w.grad.tolist() == [1.0, 2.0]


def test_axes_that_numpy_refuses_are_refused():
    t = tg.tensor(np.eye(2))
    with pytest.raises(ValueError, match="all 3 inputs and outputs"):
        np.matmul(t, t, axes=[(0, 1)])


# ---------------------------------------------------------------- the layout of results


@pytest.mark.parametrize("f", [np.sin, np.modf, np.frexp, lambda x, order: np.float_power(x, 2, order=order)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_result_lies_in_memory_as_a_ufunc_was_told(f, order):
    x = np.ones((2, 3), order="F" if order == "C" else "C")
    y = f(tg.tensor(x), order=order)
    value = (y[0] if isinstance(y, tuple) else y).numpy()
    assert value.flags[f"{order}_CONTIGUOUS"]
    np.testing.assert_array_equal(value, f(x, order=order)[0] if isinstance(y, tuple) else f(x, order=order))


@pytest.mark.parametrize(
    "result",
    [
        lambda f: np.cov(f(np.zeros((0, 4), complex))),
        lambda f: np.quantile(f(np.zeros((0, 2), np.float16)), np.array([0.5, 0.25]), axis=1),
        lambda f: np.histogram(f(np.array([0.1, 0.5, 0.6], np.longdouble)), 2, density=True)[0],
        lambda f: np.histogram(f(np.array([0.1, 0.5, 0.6], np.float32)), 2, density=True)[0],
    ],
    ids=["cov", "quantile", "histogram of longdouble", "histogram of float32"],
)
@pytest.mark.filterwarnings("ignore")
def test_dtypes_that_numpy_does_not_take_from_its_operand(result):
    assert result(tg.tensor).dtype == result(np.asarray).dtype


def test_trapezoid_refuses_places_that_numpy_would_repeat():
    assert np.trapezoid(np.array([1.0, 2.0]), np.array([0.0, 1.0, 3.0])) == 4.5  # NumPy's own: one mean, two steps.
    with pytest.raises(ShapeError, match="trapezoid"):
        np.trapezoid(tg.tensor([1.0, 2.0]), np.array([0.0, 1.0, 3.0]))
