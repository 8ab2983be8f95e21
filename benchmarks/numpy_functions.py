"""NumPy's functions and their gradients, against the same maths by hand: ``python -m benchmarks.numpy_functions``.

One representative of each family (families.py): the time of the value and its gradients, and the ratio to NumPy by
hand and to PyTorch where it has the function. At most 1.2 of NumPy by hand is what we hold ourselves to.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import families
from benchmarks.families import CHEAP, FAMILIES, N, planes
from benchmarks.programs import Program, normal
from benchmarks.tape import Bench, Effort, duration
from benchmarks.timing import Build, Workers, medians

LARGE = 1.2  # of the same maths by hand


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
        eval(code, {"torch": torch, "INDICES": families.INDICES, "PLACES": families.PLACES, **names}).backward(g)
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
