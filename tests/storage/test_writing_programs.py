"""Programs that write: the same values as NumPy's, gradients as the complex step has them, at every order."""

from typing import Any

import numpy as np
import pytest
from writing_programs import UNRECORDED, loss, part_of_loss, random_program, run, smaller

import tapegrad as tg

X = np.random.default_rng(7).uniform(-1, 1, (3, 3))
Z = X[:2] + 1j * np.random.default_rng(8).uniform(-1, 1, (2, 3))
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


def differs_by_roots(steps: Any) -> bool:
    """Whether backward from one array after another adds up to something else than backward from their sum."""
    t = tg.tensor(X)
    roots = [part_of_loss(i, a) for i, a in enumerate(run(steps, t))]
    for root in roots:
        if isinstance(root, tg.Tensor) and root.requires_grad:
            root.backward(retain_graph=True)
    parts = np.zeros(X.shape) if t.grad is None else t.grad
    expected = gradient(steps, X)
    return not np.allclose(parts, expected, rtol=1e-9, atol=1e-9 * max(1, np.abs(expected).max()))


def real_loss(arrays: Any) -> Any:
    return sum((np.real(part_of_loss(i, a)) for i, a in enumerate(arrays)), 0.0)


def differs_on_complex_data(steps: Any, h: float = 1e-6) -> bool:
    """Central differences: real functions of complex data have no complex step."""
    if not all(np.allclose(a, b) for a, b in zip(map(plain, run(steps, tg.tensor(Z))), run(steps, Z), strict=True)):
        return True
    z = tg.tensor(Z)
    total = real_loss(run(steps, z))
    if total.requires_grad:
        total.backward()
    found = np.zeros(Z.shape, complex) if z.grad is None else z.grad
    expected = np.zeros(Z.shape, complex)
    for i in np.ndindex(Z.shape):
        for unit in (1, 1j):
            step = np.zeros(Z.shape, complex)
            step[i] = unit * h
            slope = (real_loss(run(steps, Z + step)) - real_loss(run(steps, Z - step))) / (2 * h)
            expected[i] += unit * slope
    # Rounding of a loss of the size of its gradients, over the step.
    return not np.allclose(found, expected, rtol=1e-5, atol=1e-6 * max(1.0, float(np.abs(expected).max())))


def plain(a: Any) -> Any:
    return a.numpy() if isinstance(a, tg.Tensor) else a


def differs_in_float32(steps: Any) -> bool:
    """Whether a program on float32 has other values than NumPy's, or gradients of another dtype."""
    x = X.astype(np.float32)
    ours, theirs = list(map(plain, run(steps, tg.tensor(x)))), run(steps, x)
    if any(
        a.dtype != b.dtype or not np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(ours, theirs, strict=True)
    ):
        return True
    t = tg.tensor(x)
    total = loss(run(steps, t))
    if isinstance(total, tg.Tensor) and total.requires_grad:
        total.backward()
    return t.grad is not None and t.grad.dtype != np.float32


def report(steps: Any, fails: Any) -> str:
    return "\n".join(map(str, smaller(list(steps), fails)))


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_gradients(seed: int) -> None:
    with np.errstate(all="ignore"):
        steps = random_program(seed, 25, X)
        for fails in (differs_in_value, differs_in_gradient, differs_by_roots):
            if fails(steps):
                pytest.fail(report(steps, fails))


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("seed", range(1000, 1030))
def test_higher_orders(seed: int, order: int) -> None:
    def fails(steps: Any) -> bool:
        return differs_in_order(steps, order)

    with np.errstate(all="ignore"):
        steps = random_program(seed, 12, X, without=UNRECORDED)
        if fails(steps):
            pytest.fail(report(steps, fails))


@pytest.mark.parametrize("seed", range(2000, 2060))
def test_complex_data(seed: int) -> None:
    with np.errstate(all="ignore"):
        steps = random_program(seed, 15, Z, without=(*UNRECORDED, "sort"))
        if differs_on_complex_data(steps):
            pytest.fail(report(steps, differs_on_complex_data))


@pytest.mark.parametrize("seed", range(3000, 3040))
def test_float32(seed: int) -> None:
    with np.errstate(all="ignore"):
        steps = random_program(seed, 20, X.astype(np.float32))
        if differs_in_float32(steps):
            pytest.fail(report(steps, differs_in_float32))
