"""What writing and reading cost: counted in elements moved, so that no clock decides.

A program of n writes or reads of single elements or short slices may move a number of elements that
grows as n does, forward and backward, at first and second order; and hold memory that grows so.
"""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import pieces, storage
from tapegrad.pieces import Account
from tapegrad.storage import Storage

Program = Callable[[Any], Any]


def filled(x: Any) -> Any:
    y = np.zeros(x.size, like=x)
    for i in range(1, x.size):
        y[i] = np.sin(y[i - 1]) * 0.5 + x[i]
    return np.sum(y * y)


def filled_by_views(x: Any) -> Any:
    y = np.zeros(x.size, like=x)
    rows = [y[i : i + 1] for i in range(x.size)]
    for i, row in enumerate(rows):
        row[...] = x[i] * x[i]
    return np.sum(y * y)


def elements_read(x: Any) -> Any:
    y = x * 1.0
    y[0] = 0.5
    total = 0.0
    for i in range(x.size):
        total = total + y[i] * y[i]
    return total


def slices_read(x: Any) -> Any:
    y = x * 1.0
    y[0] = 0.5
    total = 0.0
    for i in range(x.size):
        total = total + np.sum(y[i : i + 3] * y[i : i + 3])
    return total


def slices_added(x: Any) -> Any:
    y = x * 1.0
    for i in range(x.size - 3):
        y[i : i + 3] *= 0.99
    return np.sum(y * y)


def rows_by_arrays(x: Any) -> Any:
    y = x * 1.0
    for i in range(0, x.size - 1, 2):
        y[[i, i + 1]] = y[[i + 1, i]] * 0.9
    return np.sum(y * y)


PROGRAMS = (filled, filled_by_views, elements_read, slices_read, slices_added, rows_by_arrays)


class Moved:
    """Counts the elements that are copied into buffers, values, parts of cotangents and whole cotangents."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.elements = 0
        for owner, name, size in (
            (Storage, "take", lambda result, args: args[1].size),
            (Storage, "keep", lambda result, args: args[2].size),
            (Storage, "numbered", lambda result, args: 0),
            (Account, "settled", lambda result, args: 0),
            (pieces, "_read", lambda result, args: result.size),
            (pieces, "_add", lambda result, args: args[2].size),
            (np, "zeros", lambda result, args: result.size),
            (np, "empty_like", lambda result, args: result.size),
        ):
            patch.setattr(owner, name, self.counted(getattr(owner, name), size))

    def counted(self, right: Any, size: Any) -> Any:
        def count(*args: Any, **kwargs: Any) -> Any:
            result = right(*args, **kwargs)
            self.elements += size(result, args)
            return result

        return count


def swept(program: Program, n: int, order: int) -> None:
    x = tg.tensor(np.linspace(0.1, 0.9, n))
    total = program(x)
    for _ in range(order - 1):
        total.backward(create_graph=True)
        total, x.grad = np.sum(x.grad * x.grad), None
    total.backward()
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_elements_moved_grow_as_the_program_does(program: Program, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for n in (300, 3000):
        with monkeypatch.context() as patch:
            moved = Moved(patch)
            swept(program, n, order)
            counts.append(moved.elements)
    assert counts[1] < 12 * counts[0]  # Ten, but for a constant; n^2 would be a hundred.
    assert counts[1] < 50 * order * 3000


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_memory_grows_as_the_program_does(program: Program) -> None:
    peaks = []
    for n in (200, 2000):
        gc.collect()
        tracemalloc.start()
        swept(program, n, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 13 * peaks[0]


def test_filling_ten_thousand_elements_moves_few_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 10_000
    with monkeypatch.context() as patch:
        moved = Moved(patch)
        swept(filled, n, 1)
    assert moved.elements < 20 * n


def test_views_that_have_died_leave_nothing_behind() -> None:
    y = tg.tensor(np.ones(64)) * 1.0
    y[0] = 2.0
    for i in range(2000):
        np.sum(y[i % 60 : i % 60 + 3])
    assert len(storage.alias_of(y).storage.fresh) < 100


def test_an_array_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = tg.tensor(np.linspace(0.1, 0.9, 1 << 16))
        tracemalloc.start()
        y = x * 1.0
        v = y[1:]
        y[0] = 2.0
        v[2:4] = x[:2]
        (y * y).backward(np.ones(y.shape))
        x.grad = None
        del y, v
        assert tracemalloc.get_traced_memory()[0] < 1 << 18
    finally:
        tracemalloc.stop()
        gc.enable()
