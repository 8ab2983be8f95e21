"""NumPy's functions, a representative of each family, on about 10^6 elements, and the same maths by hand.

By hand means: every result allocated, what the backward pass reads kept, and an owned gradient for each operand.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.programs import normal

N = 10**6
ROWS, COLUMNS = 1000, 1000


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


def with_ties() -> tuple[Any, ...]:
    """Operands: an array of a thousand values, over and over."""
    return (np.random.default_rng(0).integers(0, 1000, N).astype(float),)


def with_holes() -> tuple[Any, ...]:
    """Operands: a matrix of normal numbers, one in ten of them missing."""
    a = normal(ROWS, COLUMNS)
    a[np.random.default_rng(0).random(a.shape) < 0.1] = np.nan
    return (a,)


INDICES = np.random.default_rng(1).integers(0, 10_000, N // 64)
PLACES = np.random.default_rng(1).integers(0, N, N)
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


def quantile_by_hand(g: Any, a: Any) -> Sequence[Any]:
    k, share = divmod((a.shape[1] - 1) * 0.3, 1)
    ranks, shares = [int(k), int(k) + 1], np.array([1 - share, share])
    order = np.argpartition(a, ranks, axis=1)[:, ranks]
    np.take_along_axis(a, order, axis=1) @ shares
    x = np.zeros_like(a)
    np.put_along_axis(x, order, g[:, None] * shares, axis=1)
    return (x,)


def kron_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.kron(a, b)
    g = g.reshape(len(a), len(b), a.shape[1], b.shape[1])
    return np.einsum("ikjl,kl->ij", g, b), np.einsum("ikjl,ij->kl", g, a)


def outer_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.multiply.outer(a, b)
    return g @ b, a @ g


def places_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.take(a, PLACES)
    x = np.zeros_like(a)
    np.add.at(x, PLACES, g)
    return (x,)


def compress_by_hand(g: Any, a: Any) -> Sequence[Any]:
    chosen = a > 0
    np.compress(chosen, a)
    x = np.zeros_like(a)
    x[chosen] = g
    return (x,)


def tril_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.tril(a)
    return (np.tril(g),)


def linspace_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.linspace(a, b, N)
    second = (np.arange(N) / (N - 1)) @ g
    return g.sum(axis=0) - second, second


def logspace_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    y = np.logspace(a, b, N)
    g = g * y
    second = (np.arange(N) / (N - 1)) @ g * np.log(10)
    return g.sum(axis=0) * np.log(10) - second, second


def product_of_grids(a: Any, b: Any) -> Any:
    x, y = np.meshgrid(a, b)
    return x * y


def meshgrid_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    x, y = np.meshgrid(a, b)
    x * y
    return (g * y).sum(axis=0), (g * x).sum(axis=1)


def cumprod_by_hand(g: Any, a: Any) -> Sequence[Any]:
    return (np.cumsum((g * np.cumprod(a))[::-1])[::-1] / a,)


def nanmean_by_hand(g: Any, a: Any) -> Sequence[Any]:
    present = ~np.isnan(a)
    np.nanmean(a, axis=1)
    return ((g / np.sum(present, axis=1))[:, None] * present,)


def nanvar_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.nanvar(a, axis=1)
    missing = np.isnan(a)
    n = a.shape[1] - np.count_nonzero(missing, axis=1)[:, None]
    d = a.copy()
    d[missing] = 0
    d -= np.sum(d, axis=1, keepdims=True) / n
    d[missing] = 0
    d *= g[:, None] * (2 / n)
    return (d,)


def select_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    first, second = a > 1, a > 0
    np.select([first, second], [a, b])
    return first * g, (second & ~first) * g


def choose_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    second = a < b
    np.choose(second, [a, b])
    return ~second * g, second * g


def maximum_by_hand(g: Any, a: Any, b: Any) -> Sequence[Any]:
    np.maximum(a, b)
    half = (a == b) * (0.5 * g)
    return (a > b) * g + half, (a < b) * g + half


def reduceat_by_hand(g: Any, a: Any) -> Sequence[Any]:
    np.add.reduceat(a, np.arange(0, len(a), 10))
    return (np.repeat(g, 10)[: len(a)],)


def _well_conditioned() -> tuple[Any, ...]:
    return (normal(500, 500) + 50 * np.eye(500),)


FAMILIES: dict[str, Family] = {
    "elementwise: tanh": Family(np.tanh, plane(N), elementwise_by_hand, "torch.tanh(a)"),
    "elementwise: multiply": Family(np.multiply, planes((N,), (N,)), multiply_by_hand, "a * b"),
    "choosing: where": Family(
        lambda a, b: np.where(a > b, a, b), planes((N,), (N,)), where_by_hand, "torch.where(a > b, a, b)"
    ),
    "choosing: select": Family(lambda a, b: np.select([a > 1, a > 0], [a, b]), planes((N,), (N,)), select_by_hand),
    "choosing: choose": Family(lambda a, b: np.choose(a < b, [a, b]), planes((N,), (N,)), choose_by_hand),
    "choosing: maximum": Family(np.maximum, planes((N,), (N,)), maximum_by_hand, "torch.maximum(a, b)"),
    "reductions: sum": Family(lambda a: np.sum(a, axis=0), plane(ROWS, COLUMNS), sum_by_hand, "a.sum(0)"),
    "reductions: var": Family(
        lambda a: np.var(a, axis=0), plane(ROWS, COLUMNS), var_by_hand, "a.var(0, unbiased=False)"
    ),
    "reductions: max": Family(lambda a: np.max(a, axis=1), plane(ROWS, COLUMNS), max_by_hand, "a.amax(1)"),
    "reductions: norm": Family(
        lambda a: np.linalg.norm(a, axis=1), plane(ROWS, COLUMNS), norm_by_hand, "torch.linalg.norm(a, dim=1)"
    ),
    "statistics: median": Family(lambda a: np.median(a, axis=1), plane(ROWS, COLUMNS + 1), median_by_hand),
    "statistics: quantile": Family(lambda a: np.quantile(a, 0.3, axis=1), plane(ROWS, COLUMNS + 1), quantile_by_hand),
    "missing: nanmean": Family(lambda a: np.nanmean(a, axis=1), with_holes, nanmean_by_hand, "torch.nanmean(a, 1)"),
    "missing: nanvar": Family(lambda a: np.nanvar(a, axis=1), with_holes, nanvar_by_hand),
    "contractions: matmul": Family(np.matmul, planes((500, 500), (500, 500)), matmul_by_hand, "a @ b"),
    "contractions: einsum": Family(
        lambda a, b: np.einsum("bij,bjk->bik", a, b),
        planes((100, 100, 100), (100, 100, 100)),
        einsum_by_hand,
        "torch.einsum('bij,bjk->bik', a, b)",
    ),
    "products: kron": Family(np.kron, planes((32, 32), (32, 32)), kron_by_hand, "torch.kron(a, b)"),
    "products: multiply.outer": Family(
        np.multiply.outer, planes((ROWS,), (COLUMNS,)), outer_by_hand, "torch.outer(a, b)"
    ),
    "linalg: inv": Family(np.linalg.inv, _well_conditioned, inv_by_hand, "torch.linalg.inv(a)"),
    "linalg: solve": Family(
        np.linalg.solve, lambda: (*_well_conditioned(), normal(500, 50)), solve_by_hand, "torch.linalg.solve(a, b)"
    ),
    "fft: rfft": Family(np.fft.rfft, plane(ROWS, COLUMNS), rfft_by_hand, "torch.fft.rfft(a)"),
    "sorting: sort": Family(np.sort, plane(N), sort_by_hand, "a.sort(stable=True)[0]"),
    "sorting: sort with ties": Family(np.sort, with_ties, sort_by_hand, "a.sort(stable=True)[0]"),
    "picking: take": Family(lambda a: np.take(a, PLACES), plane(N), places_by_hand, "a[torch.tensor(PLACES)]"),
    "picking: compress": Family(lambda a: np.compress(a > 0, a), plane(N), compress_by_hand, "a[a > 0]"),
    "diagonals: tril": Family(np.tril, plane(ROWS, COLUMNS), tril_by_hand, "torch.tril(a)"),
    "grids: linspace": Family(lambda a, b: np.linspace(a, b, N), planes((), ()), linspace_by_hand),
    "grids: logspace": Family(lambda a, b: np.logspace(a, b, N), planes((), ()), logspace_by_hand),
    "grids: meshgrid": Family(product_of_grids, planes((COLUMNS,), (ROWS,)), meshgrid_by_hand),
    "segments: add.reduceat": Family(
        lambda a: np.add.reduceat(a, np.arange(0, len(a), 10)), plane(N), reduceat_by_hand
    ),
    "indexing: rows": Family(lambda a: a[INDICES], plane(10_000, 64), take_by_hand, "a[torch.tensor(INDICES)]"),
    "indexing: slice": Family(lambda a: a[1:-1] * 1, plane(N), slice_by_hand, "a[1:-1] * 1"),
    "joining: concatenate": Family(
        lambda a, b: np.concatenate([a, b]), planes((N,), (N,)), concatenate_by_hand, "torch.cat([a, b])"
    ),
    "cumulative: cumsum": Family(np.cumsum, plane(N), cumsum_by_hand, "a.cumsum(0)"),
    "cumulative: cumprod": Family(np.cumprod, lambda: (1 + 1e-4 * normal(N),), cumprod_by_hand, "a.cumprod(0)"),
    "convolution: convolve": Family(
        lambda a, b: np.convolve(a, b, "valid"), lambda: (normal(N), WEIGHTS), convolve_by_hand
    ),
}

# Two passes over the operands or less: a ratio says little, and no bound is set.
CHEAP = frozenset(
    {"elementwise: multiply", "reductions: sum", "indexing: slice", "joining: concatenate", "segments: add.reduceat"}
)
