"""What transforms cost, against their peers and against the gradient: ``python -m benchmarks.transforms``.

A table as that of ``benchmarks.tape``: medians of interleaved runs, and the bounds that we hold ourselves to.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.tape import Bench, duration, table
from benchmarks.timing import Build, Program, medians

N = 50  # of Rosenbrock's function
WIDTH = 200  # of the network
LINKS, SEGMENT = 1000, 50  # steps of the chain, and between two checkpoints
POINTS = 10_000  # of the stencil


# ---------------------------------------------------------------- whole matrices


def rosenbrock(total: Callable[[Any], Any], x: Any) -> Any:
    return total(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def point() -> Any:
    return np.linspace(-1.0, 1.0, N)


def hessian_tapegrad() -> Program:
    import tapegrad as tg

    hessian, x = tg.hessian(lambda x: rosenbrock(np.sum, x)), point()
    return lambda: hessian(x)


def hessian_torch() -> Program:
    import torch

    torch.set_num_threads(1)
    hessian, x = torch.func.hessian(lambda x: rosenbrock(torch.sum, x)), torch.tensor(point())
    return lambda: hessian(x)


def hessian_autograd() -> Program:
    import autograd

    hessian, x = autograd.hessian(lambda x: rosenbrock(autograd.numpy.sum, x)), point()
    return lambda: hessian(x)


def network_data() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, WIDTH, WIDTH)) / np.sqrt(WIDTH)
    return a, b, rng.standard_normal(WIDTH)


def jacobian_tapegrad() -> Program:
    import tapegrad as tg

    a, b, x = network_data()
    jacobian = tg.jacobian(lambda x: b @ np.tanh(a @ x))
    return lambda: jacobian(x)


def jacobian_torch() -> Program:
    import torch

    torch.set_num_threads(1)
    a, b, x = map(torch.tensor, network_data())
    jacobian = torch.func.jacrev(lambda x: b @ torch.tanh(a @ x))
    return lambda: jacobian(x)


def jacobian_autograd() -> Program:
    import autograd
    import autograd.numpy as anp

    a, b, x = network_data()
    jacobian = autograd.jacobian(lambda x: anp.dot(b, anp.tanh(anp.dot(a, x))))
    return lambda: jacobian(x)


def matrices(bench: Bench) -> None:
    print(f"Hessian of Rosenbrock's function of {N} variables")
    builds: dict[str, tuple[Build, tuple[Any, ...]]] = {
        "tapegrad": (hessian_tapegrad, ()),
        "torch": (hessian_torch, ()),
        "autograd": (hessian_autograd, ()),
    }
    bench.compare(builds, {"torch": 0.5, "autograd": 0.2})
    print(f"Jacobian of a network of one tanh layer, {WIDTH} x {WIDTH}")
    builds = {
        "tapegrad": (jacobian_tapegrad, ()),
        "torch": (jacobian_torch, ()),
        "autograd": (jacobian_autograd, ()),
    }
    bench.compare(builds, {"torch": 1.0})


# ---------------------------------------------------------------- products


def loss(x: Any) -> Any:
    return np.sum(np.tanh(x * x + np.sin(x)) * np.exp(-x))


def large() -> Any:
    return np.random.default_rng(0).uniform(0.5, 1.5, 10**6)


def gradient() -> Program:
    import tapegrad as tg

    f, x = tg.grad(loss), large()
    return lambda: f(x)


def product() -> Program:
    import tapegrad as tg

    x = large()
    v = np.ones_like(x)
    return lambda: tg.hvp(loss, (x,), (v,))


def products(bench: Bench) -> None:
    print("Hessian times vector, 10^6 float64")
    times = ours(bench, gradient=gradient, product=product)
    bench.line("the gradient", duration(times["gradient"]))
    bench.line("hvp", duration(times["product"]), times["product"] / times["gradient"], 4.0)


def ours(bench: Bench, **programs: Build) -> dict[str, float]:
    """The times of programs of tapegrad, each in a process of its own."""
    return medians(bench.workers, {name: (build, ()) for name, build in programs.items()}, 1, *bench.effort)


# ---------------------------------------------------------------- memory for time


def links_data() -> tuple[Any, Any, Any]:
    """Weights and bias of a step h -> tanh(h W + b), and where the chain begins."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((64, 64)) / 8, rng.standard_normal(64) / 8, rng.standard_normal((32, 64))


def chain_of_links(how: str) -> Program:
    """A chain of tanh steps: "forward" alone, or forward and "backward", or that with "checkpoint"s."""
    import tapegrad as tg

    w, b, start = links_data()
    w, b = tg.tensor(w), tg.tensor(b)

    def segment(h: Any, w: Any, b: Any) -> Any:
        for _ in range(SEGMENT):
            h = np.tanh(h @ w + b)
        return h

    step = tg.checkpoint(segment) if how == "checkpoint" else segment

    def program() -> Any:
        w.grad = b.grad = None
        h = start
        for _ in range(LINKS // SEGMENT):
            h = step(h, w, b)
        y = np.sum(h)
        if how != "forward":
            y.backward()
        return w.grad, b.grad

    return program


def forward_only() -> Program:
    return chain_of_links("forward")


def forward_and_back() -> Program:
    return chain_of_links("backward")


def checkpointed() -> Program:
    return chain_of_links("checkpoint")


def checkpoints(bench: Bench) -> None:
    print(f"a chain of {LINKS:,} affine and tanh steps, checkpointed every {SEGMENT}")
    times = ours(bench, forward=forward_only, whole=forward_and_back, checkpointed=checkpointed)
    bench.line("forward", duration(times["forward"]))
    bench.line("forward and back", duration(times["whole"]))
    bound = 1.15 * (times["forward"] + times["whole"]) / times["whole"]  # 1.15 (2F + B) / (F + B)
    bench.line("checkpointed", duration(times["checkpointed"]), times["checkpointed"] / times["whole"], bound)


# ---------------------------------------------------------------- sparse matrices


def stencil(x: Any) -> Any:
    y = np.sin(x[1:-1]) * (x[:-2] - 2 * x[1:-1] + x[2:])
    return np.concatenate([x[:1], y, x[-1:]])


def sparse_jacobian() -> Program:
    import tapegrad as tg

    x = np.linspace(0.0, 1.0, POINTS)
    pattern = tg.sparsity(stencil, x)
    jacobian = tg.jacobian(stencil, sparsity=pattern)
    return lambda: jacobian(x)


def dense_jacobian() -> Program:
    import tapegrad as tg

    x, jacobian = np.linspace(0.0, 1.0, POINTS), tg.jacobian(stencil)
    return lambda: jacobian(x)


def sparse(bench: Bench) -> None:
    print(f"Jacobian of a three-point stencil on {POINTS:,} points")
    times = ours(bench, dense=dense_jacobian, sparse=sparse_jacobian)
    bench.line("dense", duration(times["dense"]))
    bench.line("sparse", duration(times["sparse"]), times["sparse"] / times["dense"], 0.01)


ROWS = {"matrices": matrices, "products": products, "checkpoints": checkpoints, "sparse": sparse}


# ---------------------------------------------------------------- the command


def main(given: Sequence[str] | None = None) -> int:
    return table("python -m benchmarks.transforms", __doc__, ROWS, given)


if __name__ == "__main__":
    sys.exit(main())
