"""Windows: each is added where it lies, and what would be written to unseen is refused."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.windows import windows_added

windows = np.lib.stride_tricks.sliding_window_view


def test_a_writeable_view_is_refused() -> None:
    with pytest.raises(tg.TapegradError, match="writeable=True"):
        windows(tg.tensor([1.0, 2.0]), 2, writeable=True)


@pytest.mark.parametrize(
    ("shape", "window", "axis"),
    [((5000,), 20, None), ((40,), 33, 0), ((300, 200), (3, 5), None), ((4, 3000, 3), 30, 1), ((90,), (4, 70), (0, 0))],
)
def test_every_window_is_added_where_it_lies(shape: Any, window: Any, axis: Any) -> None:
    a = np.zeros(shape)
    seen = windows(np.arange(a.size).reshape(shape), window, axis)
    g = np.random.default_rng(0).integers(-8, 9, seen.shape).astype(float)
    expected = np.zeros(a.size)
    np.add.at(expected, seen, g)
    x = tg.tensor(a)
    windows(x, window, axis).backward(g)
    np.testing.assert_array_equal(x.grad, expected.reshape(shape))


def test_what_no_window_was_taken_of_is_added_to_an_array_of_its_own() -> None:
    g = np.ones((2, 3))
    assert not np.shares_memory(g, windows_added(g, (2, 3), (), ()))
