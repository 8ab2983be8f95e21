"""What a check pulls back: the leaves of arguments, the outputs, random cotangents, and the vjp by ``backward()``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.containers import leaves_of
from tapegrad.errors import ArgumentError

Function = Callable[..., Any]


def differentiable(value: Any) -> bool:
    """Whether a gradient is taken by this argument: floats and complex numbers, arrays of them."""
    if isinstance(value, (np.ndarray, np.generic, tg.Tensor)):
        return bool(value.dtype.kind in "fc")
    return isinstance(value, (float, complex))


def widened(value: Any) -> Any:
    """A differentiable argument in float64 or complex128; any other as it is."""
    if not differentiable(value) or isinstance(value, tg.Tensor):
        return value
    array = np.asarray(value)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def outputs(result: Any) -> list[Any]:
    """The floating and complex arrays (or tensors) among the outputs of a function, in order."""
    return [y if hasattr(y, "dtype") else np.asarray(y) for y in parts_of(result) if differentiable(y)]


def parts_of(result: Any) -> Iterator[Any]:
    """What a result holds, in order: itself, or what its containers hold.

    >>> list(parts_of((1, [2, (3,)], {"a": 4})))
    [1, 2, 3, 4]
    """
    yield from leaves_of(result)[0]


def random_seeds(f: Function, args: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """A cotangent for each output of ``f``: of its shape and dtype, of size about 1 and away from 0."""
    return [random_like(y, rng) for y in outputs(values(f, args))]


def random_like(y: Any, rng: np.random.Generator) -> Any:
    """An array of the shape and dtype of ``y``, its entries (both parts of them) of size 0.5 to 1.5."""

    def draw() -> Any:
        return rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)

    return np.asarray(draw() + 1j * draw() if y.dtype.kind == "c" else draw()).astype(y.dtype)


def vjp(f: Function, args: Sequence[Any], seeds: Sequence[Any], create_graph: bool = False) -> dict[int, Any]:
    """The gradients of ``f`` for those cotangents of its outputs: position of an argument -> gradient.

    Arguments that are tensors must be leaves, whose ``.grad`` is None; arrays are made into leaves. A
    gradient that nothing reaches is zeros.
    """
    leaves = [a if isinstance(a, tg.Tensor) or not differentiable(a) else tg.tensor(a) for a in args]
    made = outputs(f(*leaves))
    if len(made) != len(seeds):
        raise ArgumentError(f"of tensors the function returns {len(made)} outputs, of arrays {len(seeds)}")
    for y, seed in zip(made, seeds, strict=True):
        if isinstance(y, tg.Tensor) and y.requires_grad:
            y.backward(seed, retain_graph=True, create_graph=create_graph)
    gradients = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, tg.Tensor) and leaf.requires_grad:
            gradients[i] = np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad
            leaf.grad = None
    return gradients


def vjp_function(f: Function, count: int) -> Function:
    """``(*args, *seeds) -> gradients``, of arrays or of tensors that record, for an ``f`` of ``count`` arguments."""

    def pulled_back(*both: Any) -> tuple[Any, ...]:
        recorded = any(isinstance(a, tg.Tensor) for a in both)
        return tuple(vjp(f, both[:count], both[count:], create_graph=recorded).values())

    return pulled_back


def values(f: Function, args: Sequence[Any]) -> Any:
    """What ``f`` returns; whether it warns of nan and infinities is its own matter."""
    with np.errstate(all="ignore"):
        return f(*args)


def row(result: Any) -> Any:
    """All outputs in one row."""
    rows = [y.reshape(-1) for y in outputs(result)]
    return rows[0] if len(rows) == 1 else np.concatenate([np.empty(0), *rows])
