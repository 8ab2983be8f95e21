"""The fully-connected layer."""

import math
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import ShapeError
from tapegrad.primitive import defvjp, primitive
from tapegrad.shapes import conj, unbroadcast


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x W^T + b: each row of ``weight`` against each vector of ``x``.

    x : (..., in), float or complex
    weight : (out, in)
    bias : (out,), or None for no bias
    Returns (..., out). Raises ShapeError where the shapes don't fit.

    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.ones(3))
    array([[2., 3., 4.]])

    Rosenblatt 1958.
    """
    return linear_output(x, weight) if bias is None else linear_shifted(x, weight, bias)


@primitive
def linear_output(x: Any, weight: Any) -> Any:
    """``linear`` without a bias."""
    x, weight = np.asarray(x), np.asarray(weight)
    _check(x.shape, weight.shape)
    return x @ weight.T


@primitive
def linear_shifted(x: Any, weight: Any, bias: Any) -> Any:
    """``linear`` with a bias, which saves an operation and an array of the size of the result."""
    x, weight, bias = np.asarray(x), np.asarray(weight), np.asarray(bias)
    _check(x.shape, weight.shape)
    if bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias has shape {bias.shape} but weight {weight.shape} expects {weight.shape[:1]}")
    y = x @ weight.T
    return np.add(y, bias, out=y) if y.dtype is bias.dtype and y.ndim else y + bias


def _check(x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    given = f"got x {x}, weight {weight}"
    if len(weight) != 2:
        raise ShapeError(f"linear: weight has {len(weight)} axes but 2 are expected, (out, in); {given}")
    if not x:
        raise ShapeError(f"linear: x has no axis of features; {given}")
    if x[-1] != weight[1]:
        raise ShapeError(f"linear: x has {x[-1]} features but weight expects {weight[1]}; {given}")


_CALLS = (((3, 4), (2, 4)), ((4,), (2, 4)), ((2, 3, 4), (5, 4)), ((0, 4), (2, 4)), ((2, 0), (3, 0)), ((1, 1), (1, 1)))


@defvjp(linear_output, multilinear=True, cases=Cases(calls=tuple(call(x, w) for x, w in _CALLS)))
def linear_output_vjp(g: Any, _y: Any, x: Any, weight: Any) -> Any:
    """x_bar = g conj W, W_bar = g^T conj x, summed over all vectors."""
    return lambda: g @ conj(weight), lambda: _rows(g).T @ conj(_rows(x))


@defvjp(linear_shifted, multilinear=True, cases=Cases(calls=tuple(call(x, w, w[:1]) for x, w in _CALLS)))
def linear_shifted_vjp(g: Any, _y: Any, x: Any, weight: Any, _bias: Any) -> Any:
    """x_bar = g conj W, W_bar = g^T conj x, b_bar = g, summed over all vectors."""
    return (*linear_output_vjp(g, _y, x, weight), lambda: unbroadcast(g, _bias.shape))


def _rows(x: Any) -> Any:
    """(..., n) as a matrix (m, n)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
