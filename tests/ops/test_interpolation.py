"""np.interp: points, places and values, at samples, beyond them, and with a period."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing.check import check_grads

XP, FP = np.array([0.0, 1.0, 3.0, 3.5]), np.array([1.0, 4.0, 0.0, 2.0])
X = np.array([[-0.5, 0.3], [1.7, 3.2], [3.4, 4.0]])


@pytest.mark.parametrize("form", [{}, {"left": 2.0}, {"right": -1.0}, {"left": 0, "right": 0}], ids=str)
def test_all_three_take_part(form: Any) -> None:
    check_grads(lambda x, xp, fp: np.interp(x, xp, fp, **form), X, XP, FP)
    check_grads(lambda xp: np.interp(X, xp, FP, **form), XP)
    check_grads(lambda x, fp: np.interp(x, XP, fp, **form), X, FP + 1j * FP[::-1])


def test_with_a_period() -> None:
    x, xp = np.array([-3.1, 0.3, 1.9, 8.6]), np.array([5.2, 0.4, 2.0])
    check_grads(lambda x, xp, fp: np.interp(x, xp, fp, period=2.5), x, xp, FP[:3])
    check_grads(lambda x, xp, fp: np.interp(x, xp, fp, period=-2.5), x, xp, FP[:3] * 1j)
    with pytest.raises(ValueError, match="non-zero"):
        np.interp(tg.tensor(x), xp, FP[:3], period=0)


def test_at_a_sample_the_slope_on_the_right_and_at_the_last_on_the_left() -> None:
    x = tg.tensor([0.0, 1.0, 3.0, 3.5])
    np.sum(np.interp(x, XP, FP)).backward()
    np.testing.assert_array_equal(x.grad, [3.0, -2.0, 4.0, 4.0])


def test_what_lies_beyond_leaves_the_places_alone() -> None:
    x, xp, fp = tg.tensor([-9.0, 9.0]), tg.tensor(XP), tg.tensor(FP)
    np.sum(np.interp(x, xp, fp)).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0])
    np.testing.assert_array_equal(xp.grad, np.zeros(4))
    np.testing.assert_array_equal(fp.grad, [1.0, 0.0, 0.0, 1.0])


def test_one_nan_spoils_no_other() -> None:
    x, fp = tg.tensor([np.nan, 0.5]), tg.tensor(FP)
    np.sum(np.interp(x, XP, fp)).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 3.0])
    np.testing.assert_array_equal(fp.grad, [0.5, 0.5, 0.0, 0.0])


def test_the_last_of_two_samples_in_one_place_counts() -> None:
    fp = tg.tensor([1.0, 2.0, 5.0])
    y = np.interp(np.array([1.0, 0.5]), np.array([0.0, 1.0, 1.0]), fp)
    np.testing.assert_array_equal(y.numpy(), np.interp([1.0, 0.5], [0.0, 1.0, 1.0], [1.0, 2.0, 5.0]))
    np.sum(y).backward()
    np.testing.assert_array_equal(fp.grad, [0.5, 0.5, 1.0])


def test_lists_and_numbers_stand_beside_tensors() -> None:
    fp = tg.tensor([1.0, 2.0])
    y = np.interp(0.25, [0, 1], fp)
    assert y.shape == ()
    y.backward()
    np.testing.assert_array_equal(fp.grad, [0.75, 0.25])


def test_left_and_right_that_record_are_refused() -> None:
    with pytest.raises(TypeError, match="left"):
        np.interp(tg.tensor(X), XP, FP, left=tg.tensor(1.0))
