"""The programs that are timed: for each row one in every library, with the same data and the same maths.

Each function builds a program: a callable without arguments that computes a loss and its gradients, and
returns the gradients. Libraries are imported inside, since each runs in a worker of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Program = Callable[[], Sequence[Any]]

ROUNDS = 250  # of four operations each: the chain has 1,000
REPEATS = 100  # of one small operation


def normal(*shape: int, dtype: Any = np.float64) -> Any:
    """Random numbers, the same in every process."""
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------- a chain of 1,000 small operations


def chain(sin: Any, x: Any, w: Any) -> Any:
    """sin, *, + and -, in turn, 1,000 operations in all."""
    y = x
    for _ in range(ROUNDS):
        y = sin(y)
        y = y * w
        y = y + x
        y = y - 0.5
    return y


def chain_data(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The two operands of the chain; 0-d: scalars."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1.5, shape), rng.uniform(0.5, 1.5, shape)


def chain_tapegrad(shape: tuple[int, ...]) -> Program:
    import tapegrad as tg

    x, w = map(tg.tensor, chain_data(shape))

    def program() -> Sequence[Any]:
        x.grad = w.grad = None
        np.sum(chain(np.sin, x, w)).backward()
        return x.grad, w.grad

    return program


def chain_numpy(shape: tuple[int, ...]) -> Program:
    x, w = chain_data(shape)

    def program() -> Sequence[Any]:
        y, angles, sines = x, [], []
        for _ in range(ROUNDS):
            angles.append(y)
            sine = np.sin(y)
            sines.append(sine)
            y = sine * w + x - 0.5
        np.sum(y)
        g = np.ones_like(y)
        gx, gw = np.zeros_like(x), np.zeros_like(w)
        for angle, sine in zip(reversed(angles), reversed(sines), strict=True):
            gx += g
            gw += g * sine
            g = g * w * np.cos(angle)
        return gx + g, gw

    return program


def chain_torch(shape: tuple[int, ...]) -> Program:
    import torch

    torch.set_num_threads(1)
    x, w = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in chain_data(shape))

    def program() -> Sequence[Any]:
        x.grad = w.grad = None
        chain(torch.sin, x, w).sum().backward()
        return x.grad, w.grad

    return program


def chain_autograd(shape: tuple[int, ...]) -> Program:
    import autograd
    import autograd.numpy

    x, w = chain_data(shape)
    gradient = autograd.grad(lambda x, w: autograd.numpy.sum(chain(autograd.numpy.sin, x, w)), (0, 1))
    return lambda: gradient(x, w)


def chain_mygrad(shape: tuple[int, ...]) -> Program:
    import mygrad

    x, w = (mygrad.tensor(a) for a in chain_data(shape))

    def program() -> Sequence[Any]:
        x.null_grad()
        w.null_grad()
        mygrad.sum(chain(mygrad.sin, x, w)).backward()
        return x.grad, w.grad

    return program


CHAINS = {
    "tapegrad": chain_tapegrad,
    "numpy": chain_numpy,
    "torch": chain_torch,
    "autograd": chain_autograd,
    "mygrad": chain_mygrad,
}


# ---------------------------------------------------------------- one small operation, many times
#
# An operation whose result has the shape of its operand is chained; of the others, many results of one
# operand are joined at the end, by one concatenation. ``np`` is NumPy, or torch where the names agree.


def reshape(_concatenate: Any, x: Any, _w: Any, _b: Any) -> Any:
    for _ in range(REPEATS // 2):
        x = x.reshape(4, 3)
        x = x.reshape(3, 4)
    return x


def sum_axis(concatenate: Any, x: Any, _w: Any, _b: Any) -> Any:
    return concatenate([x.sum(0) for _ in range(REPEATS)])


def matmul(_concatenate: Any, x: Any, w: Any, _b: Any) -> Any:
    for _ in range(REPEATS):
        x = x @ w
    return x


def getitem(concatenate: Any, x: Any, _w: Any, _b: Any) -> Any:
    return concatenate([part for _ in range(REPEATS // 2) for part in (x[1], x[2, 1:3])])


def concatenate(concatenate: Any, x: Any, w: Any, _b: Any) -> Any:
    return concatenate([concatenate([x, w]) for _ in range(REPEATS)])


def broadcast_add(_concatenate: Any, x: Any, _w: Any, b: Any) -> Any:
    for _ in range(REPEATS):
        x = x + b
    return x


SMALL = {
    "reshape": reshape,
    "sum(axis)": sum_axis,
    "matmul": matmul,
    "getitem": getitem,
    "concatenate": concatenate,
    "(3,4)+(4,)": broadcast_add,
}


def small_data() -> tuple[Any, Any, Any]:
    """x (3, 4), w (4, 4) orthogonal, so that powers of it stay finite, and b (4,)."""
    return normal(3, 4), np.linalg.qr(normal(4, 4))[0], normal(4)


def small_tapegrad(name: str) -> Program:
    import tapegrad as tg

    leaves = [tg.tensor(a) for a in small_data()]

    def program() -> Sequence[Any]:
        for leaf in leaves:
            leaf.grad = None
        np.sum(SMALL[name](np.concatenate, *leaves)).backward()
        return [leaf.grad for leaf in leaves]

    return program


def small_torch(name: str) -> Program:
    import torch

    torch.set_num_threads(1)
    leaves = [torch.tensor(a, requires_grad=True) for a in small_data()]

    def program() -> Sequence[Any]:
        for leaf in leaves:
            leaf.grad = None
        SMALL[name](torch.cat, *leaves).sum().backward()
        return [leaf.grad for leaf in leaves]

    return program


# ---------------------------------------------------------------- a step of a small network


def mlp_data() -> tuple[list[Any], Any, Any]:
    """Parameters of 784 -> 128 -> 10, 64 images and their labels, in float32."""
    shapes = ((128, 784), (128,), (10, 128), (10,))
    parameters = [normal(*shape, dtype=np.float32) / np.float32(math.sqrt(shape[-1])) for shape in shapes]
    return parameters, normal(64, 784, dtype=np.float32), np.arange(64) % 10


def mlp_tapegrad() -> Program:
    import tapegrad as tg

    given, images, labels = mlp_data()
    parameters = [tg.tensor(p) for p in given]
    optimizer = tg.optim.SGD(parameters, lr=0.01)

    def program() -> Sequence[Any]:
        w1, b1, w2, b2 = parameters
        hidden = tg.nn.relu(tg.nn.linear(images, w1, b1))
        loss = tg.nn.cross_entropy(tg.nn.linear(hidden, w2, b2), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [p.grad for p in parameters]

    return program


def mlp_torch(threads: int) -> Program:
    import torch
    from torch.nn import functional as F  # noqa: N812 - its usual name

    torch.set_num_threads(threads)
    given, *data = mlp_data()
    parameters = [torch.tensor(p, requires_grad=True) for p in given]
    images, labels = map(torch.tensor, data)
    optimizer = torch.optim.SGD(parameters, lr=0.01)

    def program() -> Sequence[Any]:
        w1, b1, w2, b2 = parameters
        hidden = F.relu(F.linear(images, w1, b1))
        loss = F.cross_entropy(F.linear(hidden, w2, b2), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [p.grad for p in parameters]

    return program


# ---------------------------------------------------------------- large arrays
#
# By hand: what one writes who knows the derivative: results in new arrays, saved what the backward
# reads, and gradients that nobody else holds.


def mixed(x: Any, y: Any) -> Any:
    return np.sum(np.tanh(x * y + np.sin(x)) * np.exp(-x * x))


def mixed_by_hand(x: Any, y: Any) -> Sequence[Any]:
    t = np.tanh(x * y + np.sin(x))
    e = np.exp(-x * x)
    p = t * e
    np.sum(p)
    g = e * (1 - t * t)
    return g * (y + np.cos(x)) - 2 * x * p, g * x


def products(x: Any, y: Any) -> Any:
    return np.sum(x * y * x / (y * y) / x)


def products_by_hand(x: Any, y: Any) -> Sequence[Any]:
    a = x * y
    b = a * x
    c = y * y
    d = b / c
    np.sum(d / x)
    gd = 1 / x
    gb = gd / c
    gc = -gb * d
    ga = gb * x
    return ga * y + gb * a - d * gd * gd, ga * x + 2 * gc * y


def gemm(x: Any, y: Any) -> Any:
    z = x @ y
    return np.sum(z * z)


def gemm_by_hand(x: Any, y: Any) -> Sequence[Any]:
    z = x @ y
    np.sum(z * z)
    g = 2 * z
    return g @ y.T, x.T @ g


def normalisation(x: Any, y: Any) -> Any:
    return np.sum((x - np.mean(x, axis=0)) / np.sqrt(np.var(x, axis=0) + 1e-5) * y)


def normalisation_by_hand(x: Any, y: Any) -> Sequence[Any]:
    n = len(x)
    c = x - np.mean(x, axis=0)
    s = np.sqrt(np.var(x, axis=0) + 1e-5)
    h = c / s
    np.sum(h * y)
    gc = y / s
    gs = -np.sum(gc * h, axis=0)
    return gc - np.mean(gc, axis=0) + c * (gs / (n * s)), h


LARGE = {
    "mixed": (mixed, mixed_by_hand),
    "products": (products, products_by_hand),
    "matmul": (gemm, gemm_by_hand),
    "normalisation": (normalisation, normalisation_by_hand),
}


def large_data(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Two arrays, away from zero."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1.5, shape), rng.uniform(0.5, 1.5, shape)


def large_tapegrad(name: str, shape: tuple[int, ...]) -> Program:
    import tapegrad as tg

    x, y = map(tg.tensor, large_data(shape))
    loss, _by_hand = LARGE[name]

    def program() -> Sequence[Any]:
        x.grad = y.grad = None
        loss(x, y).backward()
        return x.grad, y.grad

    return program


def large_numpy(name: str, shape: tuple[int, ...]) -> Program:
    x, y = large_data(shape)
    _loss, by_hand = LARGE[name]
    return lambda: by_hand(x, y)
