"""Functions with right rules and with wrong ones, by the same formulas for NumPy, autograd and PyTorch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Rule = Callable[..., Any]


class Planted(NamedTuple):
    """A function in the words of all three libraries: ``m`` is numpy, autograd.numpy or torch."""

    draw: Callable[[Any], tuple[Any, ...]]  # of a generator of random numbers
    forward: Rule  # (m, *operands)
    right: Rule  # (m, g, y, *operands) -> a cotangent for each


def uniform(*shape: int) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(-2.0, 2.0, shape),)


def two(first: tuple[int, ...], second: tuple[int, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(-2.0, 2.0, first), rng.uniform(-2.0, 2.0, second))


def complex_numbers(rng: Any) -> tuple[Any, ...]:
    return (rng.uniform(-2.0, 2.0, (2, 2)) + 1j * rng.uniform(-2.0, 2.0, (2, 2)),)


def powers_of_ten(low: float, high: float) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (10.0 ** rng.uniform(low, high, (2, 3)),)


def beside_zero(rng: Any) -> tuple[Any, ...]:
    return (10.0 ** rng.uniform(-9.0, 0.0, (2, 3)) * rng.choice([-1.0, 1.0], (2, 3)),)


def of_both_signs(rng: Any) -> tuple[Any, ...]:
    return (rng.uniform(0.1, 2.0, (2, 3)) * np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]),)


FUNCTIONS = {
    "sin": Planted(uniform(3, 3), lambda m, x: m.sin(x), lambda m, g, y, x: (g * m.cos(x),)),
    "sin of 300": Planted(uniform(300), lambda m, x: m.sin(x), lambda m, g, y, x: (g * m.cos(x),)),
    "1e-7 sin": Planted(uniform(2, 3), lambda m, x: 1e-7 * m.sin(x), lambda m, g, y, x: (1e-7 * g * m.cos(x),)),
    "1e7 sin": Planted(uniform(2, 3), lambda m, x: 1e7 * m.sin(x), lambda m, g, y, x: (1e7 * g * m.cos(x),)),
    "log near 0": Planted(powers_of_ten(-8, -2), lambda m, x: m.log(x), lambda m, g, y, x: (g / x,)),
    "sqrt far from 0": Planted(powers_of_ten(2, 8), lambda m, x: m.sqrt(x), lambda m, g, y, x: (g * 0.5 / y,)),
    "exp": Planted(uniform(2, 3), lambda m, x: m.exp(x), lambda m, g, y, x: (g * y,)),
    "abs beside its kink": Planted(beside_zero, lambda m, x: m.abs(x), lambda m, g, y, x: (g * m.sign(x),)),
    "square where positive": Planted(
        of_both_signs, lambda m, x: m.where(x > 0, x * x, 0 * x), lambda m, g, y, x: (m.where(x > 0, 2 * g * x, 0 * g),)
    ),
    "complex square": Planted(complex_numbers, lambda m, x: x * x, lambda m, g, y, x: (2 * g * m.conj(x),)),
    "broadcast product": Planted(
        two((2, 3), (3,)), lambda m, a, b: a * b, lambda m, g, y, a, b: (g * b, m.sum(g * a, 0))
    ),
    "product": Planted(two((2, 3), (2, 3)), lambda m, a, b: a * b, lambda m, g, y, a, b: (g * b, g * a)),
    "matrix product": Planted(
        two((3, 3), (3, 3)), lambda m, a, b: a @ b, lambda m, g, y, a, b: (g @ b.T, a.T @ g)
    ),
    "row sums": Planted(uniform(3, 3), lambda m, a: m.sum(a, 1), lambda m, g, y, a: (g[:, None] + 0 * a,)),
}  # fmt: skip


def constant(x: Any) -> Any:
    """The value, cut off from derivatives of higher order."""
    return x.detach() if hasattr(x, "detach") else getattr(x, "_value", x)


def single(m: Any, x: Any) -> Any:
    """The value rounded to float32."""
    return x.float().double() if hasattr(x, "float") else x.astype(np.float32).astype(np.float64)


def one_entry(m: Any, x: Any) -> Any:
    """0.1 at one entry of x, the largest, and 0 at the others."""
    return 0.1 * (x == m.max(x)) + 0 * x


MISTAKES: dict[str, tuple[str, Rule]] = {
    "sign": ("sin", lambda m, g, y, x: (-g * m.cos(x),)),
    "half": ("sin", lambda m, g, y, x: (g * m.cos(x) / 2,)),
    "zero everywhere": ("sin", lambda m, g, y, x: (0 * g,)),
    "transposed": ("sin", lambda m, g, y, x: ((g * m.cos(x)).T,)),
    "cotangent unused": ("sin", lambda m, g, y, x: (m.cos(x) + 0 * g,)),
    "factor 1 + 1e-4": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-4),)),
    "factor 1 + 1e-6": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-6),)),
    "factor 1 + 1e-8": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-8),)),
    "offset 1e-6": ("sin", lambda m, g, y, x: (g * (m.cos(x) + 1e-6),)),
    "offset 1e-9": ("sin", lambda m, g, y, x: (g * (m.cos(x) + 1e-9),)),
    "float32 on the way": ("sin", lambda m, g, y, x: (g * m.cos(single(m, x)),)),
    "one of 300 entries": ("sin of 300", lambda m, g, y, x: (g * (m.cos(x) + one_entry(m, x)),)),
    "sign, small values": ("1e-7 sin", lambda m, g, y, x: (-1e-7 * g * m.cos(x),)),
    "half, large values": ("1e7 sin", lambda m, g, y, x: (1e7 * g * m.cos(x) / 2,)),
    "half, near 0": ("log near 0", lambda m, g, y, x: (g / x / 2,)),
    "half, far from 0": ("sqrt far from 0", lambda m, g, y, x: (g * 0.25 / y,)),
    "sign beside a kink": ("abs beside its kink", lambda m, g, y, x: (-g * m.sign(x),)),
    "mask missing": ("square where positive", lambda m, g, y, x: (2 * g * x,)),
    "mask inverted": ("square where positive", lambda m, g, y, x: (m.where(x > 0, 0 * g, 2 * g * x),)),
    "conjugate missing": ("complex square", lambda m, g, y, x: (2 * g * x,)),
    "cotangent conjugated": ("complex square", lambda m, g, y, x: (2 * m.conj(g) * m.conj(x),)),
    "real part only": ("complex square", lambda m, g, y, x: (0.5 * (2 * g * m.conj(x) + m.conj(2 * g * m.conj(x))),)),
    "not summed": ("broadcast product", lambda m, g, y, a, b: (g * b, (g * a)[0])),
    "mean for sum": ("broadcast product", lambda m, g, y, a, b: (g * b, m.sum(g * a, 0) / 2)),
    "other operand's slope": ("product", lambda m, g, y, a, b: (g * a, g * b)),
    "factor not transposed": ("matrix product", lambda m, g, y, a, b: (g @ b, a.T @ g)),
    "wrong axis": ("row sums", lambda m, g, y, a: (g[None, :] + 0 * a,)),
    "cut off at order two": ("exp", lambda m, g, y, x: (g * constant(y),)),
    "wrong at order two": ("exp", lambda m, g, y, x: (g * (2 * y - constant(y)),)),
}
