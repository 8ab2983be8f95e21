"""Programs that write: the same values as NumPy's, gradients as the complex step has them, at every order."""

from typing import Any

import numpy as np
import pytest
from writing_programs import loss, random_program, run, smaller

import tapegrad as tg

X = np.random.default_rng(7).uniform(-1, 1, (3, 3))
SEEDS = range(150)


def complex_step(steps: Any, x: Any) -> Any:
    """The gradient, exact to rounding: the imaginary part after a step of 1e-30 in each direction."""
    gradient = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[i] += 1e-30j
        gradient[i] = loss(run(steps, moved)).imag / 1e-30
    return gradient


def gradient(steps: Any, x: Any, order: int = 1) -> Any:
    """The gradient; of order 2, that of the gradient's sum, weighted; and so on."""
    t = tg.tensor(x)
    total = loss(run(steps, t))
    weights = np.cos(np.arange(x.size).reshape(x.shape))
    for _ in range(order - 1):
        if not getattr(total, "requires_grad", False):
            return np.zeros(x.shape)  # The program overwrote all that depends on x.
        t.grad = None
        total.backward(create_graph=True)
        total = np.sum(t.grad * weights)
    t.grad = None
    if isinstance(total, tg.Tensor) and total.requires_grad:
        total.backward(retain_graph=True)
        first = t.grad.copy()
        t.grad = None
        total.backward()
        np.testing.assert_array_equal(first, t.grad)  # A second sweep gives the same.
    return np.zeros(x.shape) if t.grad is None else t.grad


def difference(steps: Any, order: int, h: float = 1e-5) -> Any:
    """The gradient of one order more, from that of ``order``, by central differences."""
    weights = np.cos(np.arange(X.size).reshape(X.shape))
    found = np.empty(X.shape)
    for i in np.ndindex(X.shape):
        step = np.zeros(X.shape)
        step[i] = h
        slope = (gradient(steps, X + step, order) - gradient(steps, X - step, order)) / (2 * h)
        found[i] = np.sum(slope * weights)
    return found


def differs_in_value(steps: Any) -> bool:
    ours, theirs = run(steps, tg.tensor(X)), run(steps, X)
    return not all(
        np.allclose(a.numpy() if isinstance(a, tg.Tensor) else a, b, rtol=1e-12, atol=1e-12)
        for a, b in zip(ours, theirs, strict=True)
    )


def differs_in_gradient(steps: Any) -> bool:
    expected = complex_step(steps, X)
    return not np.allclose(gradient(steps, X), expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


def differs_in_order(steps: Any, order: int) -> bool:
    expected = difference(steps, order - 1)
    scale = max(1.0, float(np.abs(expected).max()))
    # Central differences of a step of 1e-5: truncation and rounding of about 1e-10 and eps / 1e-5, times growth.
    return not np.allclose(gradient(steps, X, order), expected, rtol=1e-5, atol=1e-6 * scale)


def report(steps: Any, fails: Any) -> str:
    return "\n".join(map(str, smaller(list(steps), fails)))


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_gradients(seed: int) -> None:
    with np.errstate(all="ignore"):
        steps = random_program(seed, 25, X)
        for fails in (differs_in_value, differs_in_gradient):
            if fails(steps):
                pytest.fail(report(steps, fails))


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("seed", range(1000, 1030))
def test_higher_orders(seed: int, order: int) -> None:
    def fails(steps: Any) -> bool:
        return differs_in_order(steps, order)

    with np.errstate(all="ignore"):
        steps = random_program(seed, 12, X)
        if fails(steps):
            pytest.fail(report(steps, fails))
