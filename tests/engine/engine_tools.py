"""What the tests of the engine share: small questions, counts, and a second way to differentiate."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tapegrad as tg

LARGE = (1 << 14) + 3  # elements: more than the sweep lets pass without a look
EPS = np.finfo(np.float64).eps


def records_now() -> bool:
    """Whether an operation on a leaf is recorded at this moment."""
    return (tg.tensor([1.0]) * 2.0).requires_grad


def tiled(values: Any, size: int) -> np.ndarray:
    """The values over and over, to an array of that size."""
    return np.resize(np.asarray(values, np.float64), size)


@dataclass
class Dual:
    """A value and its derivative in one direction. Either may be dual again, for second derivatives."""

    value: Any
    slope: Any

    def __add__(self, other: Any) -> "Dual":
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other: Any) -> "Dual":
        return Dual(self.value - other.value, self.slope - other.slope)

    def __mul__(self, other: Any) -> "Dual":
        if not isinstance(other, Dual):
            return Dual(self.value * other, self.slope * other)
        return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)


def sine(x: Any) -> Any:
    return Dual(sine(x.value), cosine(x.value) * x.slope) if isinstance(x, Dual) else np.sin(x)


def cosine(x: Any) -> Any:
    return Dual(cosine(x.value), sine(x.value) * x.slope * -1.0) if isinstance(x, Dual) else np.cos(x)


def mean_of(a: Any, b: Any) -> Any:
    return (a + b) * 0.5


def half_difference(a: Any, b: Any) -> Any:
    return (a - b) * 0.5


# None of these makes a value larger than 1 of values that aren't, or a derivative more than twice as large.
STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "mean": mean_of,
    "difference": half_difference,
    "product": operator.mul,
    "sine": lambda a, _b: sine(a),
}


def run_program(program: list[tuple[str, int, int]], leaves: list[Any]) -> list[Any]:
    """All values of a program: each step takes two earlier values, whichever numbers it names."""
    values = list(leaves)
    for step, i, j in program:
        values.append(STEPS[step](values[i % len(values)], values[j % len(values)]))
    return values


def slope_of_program(program: list[tuple[str, int, int]], leaves: list[Any], directions: list[Any]) -> Any:
    """The derivative of the last value in the given directions, by dual numbers."""
    return run_program(program, [Dual(x, d) for x, d in zip(leaves, directions, strict=True)])[-1].slope


def error_bound(program: list[tuple[str, int, int]]) -> float:
    """How far two ways to sum up the derivatives of a program may lie apart.

    Each step rounds a few times, and may double what was rounded before.
    """
    return float(64 * EPS * 2.0 ** len(program))
