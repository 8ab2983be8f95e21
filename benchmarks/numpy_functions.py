"""NumPy's functions and their gradients, against the same maths by hand: ``python -m benchmarks.numpy_functions``.

One representative of each family, on about 10^6 elements: the time of the value and its gradients, and the ratio to
NumPy by hand and to PyTorch where it has the function. By hand means: every result allocated, what the backward pass
reads kept, and an owned gradient for each operand. At most 1.2 is what we hold ourselves to.
"""

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.programs import Program, normal
from benchmarks.tape import Bench, Effort, duration
from benchmarks.timing import Build, Workers, medians

N = 10**6
ROWS, COLUMNS = 1000, 1000
LARGE = 1.2  # of the same maths by hand


class Family(NamedTuple):
    """A function to time: the call, its operands, the maths by hand, and PyTorch's form where it has one."""

    call: Callable[..., Any]  # operands -> y, in NumPy
    data: Callable[[], tuple[Any, ...]]
    by_hand: Callable[..., Sequence[Any]]  # (cotangent of y, operands) -> gradients, the value computed on the way
    torch: str = ""  # an expression in torch and the operands a and b


def plane(*shape: int) -> Callable[[], tuple[Any, ...]]:
    """Operands: one array of normal numbers."""
    return lambda: (normal(*shape),)


def planes(*shapes: tuple[int, ...]) -> Callable[[], tuple[Any, ...]]:
    """Operands: an array of normal numbers for each shape."""
    return lambda: tuple(np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes))


INDICES = np.random.default_rng(1).integers(0, 10_000, N // 64)
WEIGHTS = normal(64)


def elementwise_by_hand(g: Any, a: Any) -> Sequence[Any]:
    y = np.tanh(a)
    return (g * (1 - y * y),)


def multiply_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    a * b
    return g * b, g * a


def sum_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.sum(a, axis=0)
    return (np.broadcast_to(g, a.shape).copy(),)


def var_by_hand(g: Any, a: Any) -> Sequence[Any]:
    d = a - np.mean(a, axis=0)
    np.mean(d * d, axis=0)
    return (d * (g * (2 / len(a))),)


def max_by_hand(g: Any, a: Any) -> Sequence[Any]:
    y = np.max(a, axis=1, keepdims=True)
    tied = a == y
    return (tied * (g[:, None] / np.sum(tied, axis=1, keepdims=True)),)


def matmul_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    a @ b
    return g @ b.T, a.T @ g


def einsum_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.matmul(a, b)
    return np.matmul(g, b.swapaxes(1, 2)), np.matmul(a.swapaxes(1, 2), g)


def inv_by_hand(g: Any, a: Any) -> Sequence[Any]:
    y = np.linalg.inv(a)
    return (-(y.T @ g @ y.T),)


def solve_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    x = np.linalg.solve(a, b)
    b_bar = np.linalg.solve(a.T, g)
    return -(b_bar @ x.T), b_bar


def rfft_by_hand(g: Any, a: Any) -> Sequence[Any]:
    n = a.shape[-1]
    np.fft.rfft(a)
    g = g.copy()
    g[..., 1 : (n + 1) // 2] /= 2
    return (np.fft.irfft(g, n) * n,)


def sort_by_hand(g: Any, a: Any) -> Sequence[Any]:
    order = np.argsort(a, kind="stable")
    a[order]
    x = np.empty_like(a)
    x[order] = g
    return (x,)


def take_by_hand(g: Any, a: Any) -> Sequence[Any]:
    a[INDICES]
    x = np.zeros_like(a)
    np.add.at(x, INDICES, g)
    return (x,)


def slice_by_hand(g: Any, a: Any) -> Sequence[Any]:
    a[1:-1] * 1
    x = np.zeros_like(a)
    x[1:-1] = g
    return (x,)


def concatenate_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.concatenate([a, b])
    return g[: len(a)].copy(), g[len(a) :].copy()


def cumsum_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.cumsum(a)
    return (np.cumsum(g[::-1])[::-1].copy(),)


def median_by_hand(g: Any, a: Any) -> Sequence[Any]:
    order = np.argpartition(a, a.shape[1] // 2, axis=1)[:, a.shape[1] // 2, None]
    np.take_along_axis(a, order, axis=1)
    x = np.zeros_like(a)
    np.put_along_axis(x, order, g[:, None], axis=1)
    return (x,)


def convolve_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.convolve(a, b, "valid")
    return np.convolve(g, b[::-1], "full"), np.correlate(a, g, "valid")[::-1].copy()


def where_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    chosen = a > b
    np.where(chosen, a, b)
    return np.where(chosen, g, 0), np.where(chosen, 0, g)


def norm_by_hand(g: Any, a: Any) -> Sequence[Any]:
    y = np.sqrt(np.sum(a * a, axis=1))
    return (a * (g / y)[:, None],)


def _well_conditioned() -> tuple[Any, ...]:
    return (normal(500, 500) + 50 * np.eye(500),)


FAMILIES: dict[str, Family] = {
    "elementwise: tanh": Family(np.tanh, plane(N), elementwise_by_hand, "torch.tanh(a)"),
    "elementwise: multiply": Family(np.multiply, planes((N,), (N,)), multiply_by_hand, "a * b"),
    "choosing: where": Family(
        lambda a, b: np.where(a > b, a, b), planes((N,), (N,)), where_by_hand, "torch.where(a > b, a, b)"
    ),
    "reductions: sum": Family(lambda a: np.sum(a, axis=0), plane(ROWS, COLUMNS), sum_by_hand, "a.sum(0)"),
    "reductions: var": Family(
        lambda a: np.var(a, axis=0), plane(ROWS, COLUMNS), var_by_hand, "a.var(0, unbiased=False)"
    ),
    "reductions: max": Family(lambda a: np.max(a, axis=1), plane(ROWS, COLUMNS), max_by_hand, "a.amax(1)"),
    "reductions: norm": Family(
        lambda a: np.linalg.norm(a, axis=1), plane(ROWS, COLUMNS), norm_by_hand, "torch.linalg.norm(a, dim=1)"
    ),
    "statistics: median": Family(lambda a: np.median(a, axis=1), plane(ROWS, COLUMNS + 1), median_by_hand),
    "contractions: matmul": Family(np.matmul, planes((500, 500), (500, 500)), matmul_by_hand, "a @ b"),
    "contractions: einsum": Family(
        lambda a, b: np.einsum("bij,bjk->bik", a, b),
        planes((100, 100, 100), (100, 100, 100)),
        einsum_by_hand,
        "torch.einsum('bij,bjk->bik', a, b)",
    ),
    "linalg: inv": Family(np.linalg.inv, _well_conditioned, inv_by_hand, "torch.linalg.inv(a)"),
    "linalg: solve": Family(
        np.linalg.solve, lambda: (*_well_conditioned(), normal(500, 50)), solve_by_hand, "torch.linalg.solve(a, b)"
    ),
    "fft: rfft": Family(np.fft.rfft, plane(ROWS, COLUMNS), rfft_by_hand, "torch.fft.rfft(a)"),
    "sorting: sort": Family(np.sort, plane(N), sort_by_hand, "a.sort(stable=True)[0]"),
    "indexing: rows": Family(lambda a: a[INDICES], plane(10_000, 64), take_by_hand, "a[torch.tensor(INDICES)]"),
    "indexing: slice": Family(lambda a: a[1:-1] * 1, plane(N), slice_by_hand, "a[1:-1] * 1"),
    "joining: concatenate": Family(
        lambda a, b: np.concatenate([a, b]), planes((N,), (N,)), concatenate_by_hand, "torch.cat([a, b])"
    ),
    "cumulative: cumsum": Family(np.cumsum, plane(N), cumsum_by_hand, "a.cumsum(0)"),
    "convolution: convolve": Family(
        lambda a, b: np.convolve(a, b, "valid"), lambda: (normal(N), WEIGHTS), convolve_by_hand
    ),
}

# Two passes over the operands or less: a ratio says little, and no bound is set.
CHEAP = frozenset({"elementwise: multiply", "reductions: sum", "indexing: slice", "joining: concatenate"})


def cotangent(name: str) -> Any:
    """What is pulled back: of the shape and dtype of the result, the same in every library."""
    family = FAMILIES[name]
    y = family.call(*family.data())
    return np.random.default_rng(2).standard_normal(y.shape).astype(y.dtype)


def with_tapegrad(name: str) -> Program:
    import tapegrad as tg

    family, g = FAMILIES[name], cotangent(name)
    leaves = [tg.tensor(a) for a in family.data()]

    def program() -> Sequence[Any]:
        for leaf in leaves:
            leaf.grad = None
        family.call(*leaves).backward(g)
        return [leaf.grad for leaf in leaves]

    return program


def by_hand(name: str) -> Program:
    family, g = FAMILIES[name], cotangent(name)
    operands = family.data()
    # A seed belongs to the user, so that backward() copies it: no part of the function, and charged to both.
    return lambda: family.by_hand(g.copy(), *operands)


def with_torch(name: str) -> Program:
    import torch

    torch.set_num_threads(1)
    family = FAMILIES[name]
    g = torch.tensor(cotangent(name))
    leaves = [torch.tensor(a, requires_grad=True) for a in family.data()]
    names = dict(zip("ab", leaves, strict=False))
    code = compile(family.torch, name, "eval")

    def program() -> Sequence[Any]:
        for leaf in leaves:
            leaf.grad = None
        eval(code, {"torch": torch, "INDICES": INDICES, **names}).backward(g)
        return [leaf.grad for leaf in leaves]

    return program


# ---------------------------------------------------------------- whole programs, against PyTorch


def mixed_data() -> tuple[Any, ...]:
    """Two operands of 10^6 elements."""
    return tuple(a.astype(np.float32) for a in planes((N,), (N,))())


def mixed_tapegrad() -> Program:
    import tapegrad as tg

    x, y = map(tg.tensor, mixed_data())

    def program() -> Sequence[Any]:
        x.grad = y.grad = None
        np.sum(np.tanh(x * y + np.sin(x)) * np.exp(-x * x)).backward()
        return x.grad, y.grad

    return program


def mixed_torch() -> Program:
    import torch

    torch.set_num_threads(1)
    x, y = (torch.tensor(a, requires_grad=True) for a in mixed_data())

    def program() -> Sequence[Any]:
        x.grad = y.grad = None
        torch.sum(torch.tanh(x * y + torch.sin(x)) * torch.exp(-x * x)).backward()
        return x.grad, y.grad

    return program


STEPS, BATCH, HIDDEN, INPUT = 200, 16, 64, 32


def rnn_data() -> list[Any]:
    """Inputs of all steps, and the weights of a tanh layer with a bias."""
    scale = np.float32(0.1)
    shapes = ((STEPS, BATCH, INPUT), (INPUT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN,))
    return [normal(*shape, dtype=np.float32) * (scale if i else 1) for i, shape in enumerate(shapes)]


def rnn_tapegrad() -> Program:
    import tapegrad as tg

    xs, *weights = rnn_data()
    w, u, b = map(tg.tensor, weights)

    def program() -> Sequence[Any]:
        w.grad = u.grad = b.grad = None
        h = np.zeros((BATCH, HIDDEN), np.float32)
        for x in xs:
            h = np.tanh(x @ w + h @ u + b)
        np.sum(h * h).backward()
        return w.grad, u.grad, b.grad

    return program


def rnn_torch() -> Program:
    import torch

    torch.set_num_threads(1)
    xs, *weights = map(torch.tensor, rnn_data())
    w, u, b = (weight.requires_grad_() for weight in weights)

    def program() -> Sequence[Any]:
        w.grad = u.grad = b.grad = None
        h = torch.zeros((BATCH, HIDDEN))
        for x in xs:
            h = torch.tanh(x @ w + h @ u + b)
        torch.sum(h * h).backward()
        return w.grad, u.grad, b.grad

    return program


def gather_data() -> tuple[Any, Any]:
    """A table of (10^4, 64), and which 10^5 rows are taken."""
    return normal(10_000, 64, dtype=np.float32), np.random.default_rng(0).integers(0, 10_000, 100_000)


def gather_tapegrad() -> Program:
    import tapegrad as tg

    table, rows = gather_data()
    leaf, g = tg.tensor(table), np.ones((len(rows), 64), np.float32)

    def program() -> Sequence[Any]:
        leaf.grad = None
        leaf[rows].backward(g)
        return (leaf.grad,)

    return program


def gather_torch() -> Program:
    import torch

    torch.set_num_threads(1)
    table, rows = map(torch.tensor, gather_data())
    leaf, g = table.requires_grad_(), torch.ones((len(rows), 64))

    def program() -> Sequence[Any]:
        leaf.grad = None
        leaf[rows].backward(g)
        return (leaf.grad,)

    return program


FILLED = 1000


def fill_tapegrad() -> Program:
    import tapegrad as tg

    x = tg.tensor(normal(FILLED))

    def program() -> Sequence[Any]:
        x.grad = None
        y = np.zeros(FILLED, like=x)
        y[0] = x[0]
        for i in range(1, FILLED):
            y[i] = np.sin(y[i - 1]) + x[i]
        np.sum(y).backward()
        return (x.grad,)

    return program


def fill(bench: Bench) -> None:
    print(f"y[i] = sin(y[i-1]) + x[i] for {FILLED} elements, forward and backward")
    seconds = medians(bench.workers, {"tapegrad": (fill_tapegrad, ())}, 1, *bench.effort)["tapegrad"] / FILLED
    bench.print(f"  {'a step':<34}{duration(seconds):>12}", seconds, 40e-6, "40 µs")


# name -> title, our program, PyTorch's, and the largest ratio that we allow
PROGRAMS: dict[str, tuple[str, Build, Build, float]] = {
    "mixed": ("sum(tanh(x*y + sin(x)) * exp(-x*x)), 10^6 float32", mixed_tapegrad, mixed_torch, 1.1),
    "rnn": ("a tanh RNN, 200 steps, batch 16, hidden 64, input 32, float32", rnn_tapegrad, rnn_torch, 0.5),
    "gather": ("10^5 rows of (10^4, 64), float32", gather_tapegrad, gather_torch, 1.0),
}


def main(given: Sequence[str] | None = None) -> int:
    names = [*FAMILIES, *PROGRAMS, "fill"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numpy_functions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it runs, not to measure")
    parser.add_argument("--only", choices=names, action="append", metavar="NAME", help=f"one of {', '.join(names)}")
    options = parser.parse_args(given)
    effort = Effort(3, 0.02) if options.quick else Effort(11, 0.15)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}; one thread; ratio = tapegrad / the other")
    with Workers() as workers:
        bench = Bench(workers, effort, [])
        for name in options.only or names:
            if name in FAMILIES:
                print(name)
                builds: dict[str, tuple[Build, tuple[Any, ...]]] = {
                    "tapegrad": (with_tapegrad, (name,)),
                    "numpy": (by_hand, (name,)),
                }
                if FAMILIES[name].torch:
                    builds["torch"] = (with_torch, (name,))
                bench.compare(builds, {} if name in CHEAP else {"numpy": LARGE})
            elif name == "fill":
                fill(bench)
            else:
                title, ours, theirs, bound = PROGRAMS[name]
                print(title)
                bench.compare({"tapegrad": (ours, ()), "torch": (theirs, ())}, {"torch": bound})
    print(f"{sum(bench.met)} of {len(bench.met)} bounds met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
