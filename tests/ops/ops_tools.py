"""What the tests of rules share: adjoints, gradients and Hessians of small functions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

EPS = float(np.finfo(np.float64).eps)
NAN, INF = np.nan, np.inf

DTYPES = [(np.float64, np.float64), (np.complex128, np.complex128), (np.float64, np.complex128)]
dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=["real", "complex", "mixed"])


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """Normal numbers of that shape; of a complex dtype, both parts."""
    real, imaginary = rng.normal(size=shape), rng.normal(size=shape)
    return np.asarray(real + 1j * imaginary if np.dtype(dtype).kind == "c" else real).astype(dtype)


def inner_product(a: Any, b: Any) -> float:
    """Re<a, b>, the inner product under which cotangents are adjoints."""
    return float(np.sum(np.conj(a) * b).real)


def assert_adjoint(f: Callable[..., Any], arrays: Sequence[Any], rng: np.random.Generator) -> None:
    """Each cotangent c of a multilinear f has Re<c, d> = Re<u, f(.., d, ..)>, exactly but for rounding."""
    leaves = [tg.tensor(a) for a in arrays]
    y = f(*leaves)
    np.testing.assert_allclose(y.numpy(), f(*arrays), rtol=1e3 * EPS, atol=1e3 * EPS)
    assert y.shape == f(*arrays).shape
    u = drawn(rng, y.shape, y.dtype)
    y.backward(u)
    for i, (leaf, a) in enumerate(zip(leaves, arrays, strict=True)):
        assert leaf.grad.shape == a.shape
        assert leaf.grad.dtype == a.dtype
        d = drawn(rng, a.shape, a.dtype)
        moved = f(*(d if k == i else other for k, other in enumerate(arrays)))
        scale = np.sum(np.abs(u)) * (1 + np.max(np.abs(moved), initial=0))
        assert abs(inner_product(leaf.grad, d) - inner_product(u, moved)) <= 1e2 * EPS * scale


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """The matrix of second derivatives of a scalar f at a vector."""
    leaf = tg.tensor(x)
    f(leaf).backward(create_graph=True)
    recorded, rows = leaf.grad, []
    for row in np.eye(len(x)):
        leaf.grad = None
        recorded.backward(row, retain_graph=True)
        rows.append(leaf.grad)
    return np.stack(rows)


def gradient(f: Callable[[Any], Any], x: Any, seed: Any = None) -> Any:
    """The cotangent of ``x`` for the cotangent ``seed`` of f(x), ones if None."""
    leaf = tg.tensor(x)
    y = f(leaf)
    y.backward(np.ones(y.shape, y.dtype) if seed is None else seed)
    return leaf.grad


def whole(shape: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def assert_linear(
    f: Callable[[Any], Any], shape: tuple[int, ...], dtype: Any = np.float64, rtol: float = 0.0, offset: bool = False
) -> None:
    """f's value is NumPy's, its gradient its adjoint: <f(x), u> = <x, f^T(u)>, in x's shape and dtype.

    offset : f is affine, and f(0) is taken off
    """
    a = whole(shape, 1, dtype)
    x = tg.tensor(a)
    y, expected = f(x), f(a)
    assert isinstance(y, tg.Tensor)
    assert y.requires_grad
    assert (y.shape, y.dtype) == (np.shape(expected), expected.dtype)
    np.testing.assert_array_equal(y.numpy(), expected)
    linear = expected - f(np.zeros_like(a)) if offset else expected
    u = whole(y.shape, 2, dtype)
    y.backward(u)
    assert x.grad.shape == a.shape
    assert x.grad.dtype == a.dtype
    np.testing.assert_allclose(np.vdot(linear, u), np.vdot(a, x.grad), rtol=rtol, atol=100 * rtol)
