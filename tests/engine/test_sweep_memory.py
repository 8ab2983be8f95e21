"""The sweep frees each entry's arrays as it passes: its peak is what was recorded, and a few arrays."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

SIZE = 50_000  # elements: large, as the trusting sweep counts
FEW = 8  # arrays: the cotangents and slopes of the entry at work, and what is to be freed at the next look

CHAINS = {
    "sin": lambda x, _w: np.sin(x),
    "product": lambda x, w: x * w,
    "three operations": lambda x, w: np.tanh(x * w + w),
    "to a reduction and back": lambda x, w: x * np.mean(x) + w * 0.1,
    "branches": lambda x, w: np.sin(x) * np.cos(x) + w,
    "copies": lambda x, _w: np.concatenate([x[: SIZE // 2], x[SIZE // 2 :]]) * 1.1,
}


def peaks(step: Any, n: int, create_graph: bool = False, nan: bool = False) -> tuple[float, float, float]:
    """What is recorded, the peak of the sweep, and what is left, in arrays; of a chain of ``n`` steps."""
    x, w = tg.tensor(np.linspace(0.1, 0.9, SIZE)), tg.tensor(np.full(SIZE, 0.5))
    tracemalloc.start()
    try:
        y = x
        for _ in range(n):
            y = step(y, w)
        if nan:
            y = np.where(np.arange(SIZE) > 0, y / (np.arange(SIZE) > 0), 0.0)
        loss = np.sum(y)
        del y
        recorded = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        loss.backward(create_graph=create_graph)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return tuple(value / (8 * SIZE) for value in (recorded, peak, left))  # type: ignore[return-value]


@pytest.mark.parametrize("name", CHAINS)
def test_the_peak_is_what_was_recorded_and_a_few_arrays(name: str) -> None:
    for n in (20, 80):
        recorded, peak, left = peaks(CHAINS[name], n)
        assert peak < recorded + FEW
        assert left < 4  # The gradients of two leaves.


def test_so_it_is_where_the_sweep_goes_back_to_look_closer() -> None:
    with np.errstate(all="ignore"):
        recorded, peak, left = peaks(CHAINS["sin"], 60, nan=True)
    assert peak < recorded + FEW
    assert left < 4
