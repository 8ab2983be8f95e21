"""Functions applied to parts: called as NumPy calls them, and what would be lost is refused."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_grads


def test_piecewise_calls_a_function_only_on_its_part() -> None:
    x = tg.tensor([-1.0, 0.0, 4.0])
    seen = []

    def root(v: object, power: int) -> object:
        seen.append(v)
        return np.sqrt(v) ** power  # type: ignore[call-overload]

    y = np.piecewise(x, [x < 0, x > 0], [lambda v, _power: -v, root], 3)
    np.testing.assert_array_equal(y.numpy(), [1.0, 0.0, 8.0])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [-1.0, 0.0, 3.0])
    assert [v.shape for v in seen] == [(1,)]  # type: ignore[attr-defined]


def test_where_conditions_overlap_the_last_counts() -> None:
    a = np.array([1.0, 2.0, 3.0])
    x = tg.tensor(a)
    conditions, functions = [a > 0, a > 1, a > 5], [np.square, np.negative, np.exp]
    y = np.piecewise(x, conditions, functions)
    np.testing.assert_array_equal(y.numpy(), np.piecewise(a, conditions, functions))
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [2.0, -1.0, -1.0])


def test_overlapping_conditions_on_whole_rows_have_both_derivatives() -> None:
    a = np.random.default_rng(0).standard_normal((4, 2))
    conditions = [np.array([True, True, False, False]), np.array([False, True, True, False])]

    def f(x: object) -> object:
        return np.piecewise(x, conditions, [lambda v: v**3 * np.sum(v), np.exp])  # type: ignore[call-overload]

    check_grads(f, a, order=2)
    np.testing.assert_array_equal(f(tg.tensor(a)).numpy(), f(a))  # type: ignore[attr-defined]


def test_a_function_may_write_to_its_part() -> None:
    def capped(v: object) -> object:
        v[v > 2] = 2.0  # type: ignore[index, operator]
        return v

    x = tg.tensor([1.0, 3.0, -1.0])
    y = np.piecewise(x, [x > 0], [capped])
    np.sum(y).backward()
    assert y.tolist() == [1.0, 2.0, 0.0]
    assert x.tolist() == [1.0, 3.0, -1.0]
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


def test_conditions_of_another_shape_are_numpys_error() -> None:
    for x in (np.ones(3), tg.tensor([1.0, 2.0, 3.0])):
        with pytest.raises(IndexError):
            np.piecewise(x, [np.array([True, False])], [np.sin])


def test_a_tensor_may_be_the_value_of_a_part() -> None:
    x, value = tg.tensor([1.0, -1.0, -2.0]), tg.tensor(7.0)
    np.sum(np.piecewise(x, [x < 0], [value, np.sin])).backward()
    assert value.grad == 2.0


def test_a_recording_result_is_not_lost_in_an_integer_array() -> None:
    t = tg.tensor(2.0)
    with pytest.raises(TypeError, match=r"np\.piecewise: a function returned float64"):
        np.piecewise(tg.tensor([1, 2]), [np.array([True, False])], [lambda v: v * t])
    with pytest.raises(ValueError, match="either 1 or 2 functions"):
        np.piecewise(tg.tensor([1.0]), [np.array([True])], [np.sin] * 3)


def test_apply_along_axis_puts_new_axes_where_the_old_one_was() -> None:
    a = np.random.default_rng(0).standard_normal((2, 3, 4))

    def outer(v: object, scale: float) -> object:
        return np.outer(v, v)[:, :2] * scale  # type: ignore[arg-type]

    x = tg.tensor(a)
    y = np.apply_along_axis(outer, 1, x, 0.5)
    np.testing.assert_allclose(y.numpy(), np.apply_along_axis(outer, 1, a, 0.5), rtol=1e-15)
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(g)
    direct = tg.tensor(a)
    rows = np.moveaxis(direct, 1, -1)
    (0.5 * np.moveaxis(rows[..., :, None] * rows[..., None, :2], (2, 3), (1, 2))).backward(g)
    np.testing.assert_allclose(x.grad, direct.grad, rtol=1e-13)


def test_apply_along_axis_of_nothing_raises_as_numpy_does() -> None:
    with pytest.raises(ValueError, match=r"np\.apply_along_axis"):
        np.apply_along_axis(np.sum, 0, tg.tensor(np.zeros((2, 0))))


def test_real_if_close_goes_by_the_values() -> None:
    near, far = tg.tensor([1 + 1e-15j]), tg.tensor([1 + 1j])
    assert np.real_if_close(near).dtype == np.float64
    assert np.real_if_close(far).dtype == np.complex128
    np.sum(np.real_if_close(near)).backward()
    np.testing.assert_array_equal(near.grad, [1.0])
