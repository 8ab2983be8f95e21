"""Batch normalisation, in two steps that are each a primitive: the moments of the channels, and their removal."""

import math
from typing import Any

import numpy as np

from tapegrad.cases import POSITIVE, REAL, Cases, call
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.primitive import constant, defvjp, primitive


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Every channel brought to mean 0 and variance 1, then scaled by ``weight`` and shifted by ``bias``.

    x : (N, C, ...), float; the channels are axis 1
    running_mean, running_var : (C,), float ndarrays; or None in training
    weight, bias : (C,), or None for ones and zeros
    training : normalise by the moments of this batch, and bring the running ones nearer to them, in place:
        running += momentum (batch - running), with the unbiased variance; otherwise by the running ones
    momentum : float, from 0 to 1
    eps : float, added to the variance
    Returns the shape and dtype of ``x``. Raises ShapeError where shapes don't fit, or a channel has one
    element in training; ArgumentError for missing statistics, DTypeError where ``x`` isn't real floats, or
    the running statistics aren't float ndarrays.

    >>> import numpy as np
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> batch_norm(np.array([[1.0], [3.0]]), mean, var, training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    >>> mean, var
    (array([0.2]), array([1.1]))

    Ioffe & Szegedy 2015.
    """
    channels, size = _checked(np.shape(x), running_mean, running_var, weight, bias, training)
    if training:
        moments = channel_moments(x)
        _approach(moments, running_mean, running_var, momentum, size)
    else:
        moments = np.stack([running_mean, running_var])
    dtype = moments.dtype
    return normalized(
        x,
        moments,
        np.ones(channels, dtype) if weight is None else weight,
        np.zeros(channels, dtype) if bias is None else bias,
        eps=eps,
    )


@primitive
def channel_moments(x: Any) -> Any:
    """Mean and (biased) variance of each channel of ``x`` (N, C, ...), as an array (2, C)."""
    x = _floats(x)
    axes = _others(x.ndim)
    mean = np.mean(x, axis=axes, keepdims=True)
    difference = x - mean
    difference *= difference
    return np.stack([mean.reshape(-1), np.mean(difference, axis=axes)])


@primitive
def normalized(x: Any, moments: Any, weight: Any, bias: Any, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias, by channel; ``moments`` (2, C)."""
    x = _floats(x)
    mean, variance = np.asarray(moments, x.dtype)
    scale = np.asarray(weight, x.dtype) / np.sqrt(variance + eps)
    y = x * _across(scale, x.ndim)
    y += _across(np.asarray(bias, x.dtype) - mean * scale, x.ndim)
    return y


@primitive
def _approach(moments: Any, running_mean: Any, running_var: Any, momentum: float, size: int) -> None:
    """Bring the running statistics nearer to the moments, in place."""
    for running, present in ((running_mean, moments[0]), (running_var, moments[1] * (size / (size - 1)))):
        if running is not None:
            running *= 1 - momentum
            running += momentum * present


constant(_approach, note="writes running statistics")


def _others(ndim: int) -> tuple[int, ...]:
    """All axes but that of the channels."""
    return (0, *range(2, ndim))


def _across(v: Any, ndim: int) -> Any:
    """One number for each channel, (C,), so that it broadcasts along the channels of (N, C, ...)."""
    return v.reshape(-1, *(1,) * (ndim - 2))


def _floats(x: Any) -> Any:
    x = np.asarray(x)
    if x.dtype.kind != "f":
        raise DTypeError(f"batch_norm: x has dtype {x.dtype}; real floats are expected")
    return x


def _checked(
    shape: tuple[int, ...], running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool
) -> tuple[int, int]:
    """The number of channels, and of elements in each; raises where arguments don't fit."""
    if len(shape) < 2:
        raise ShapeError(f"batch_norm: x has {len(shape)} axes but at least 2 are expected, (N, C, ...); got x {shape}")
    channels, size = shape[1], shape[0] * math.prod(shape[2:])
    statistics = {"running_mean": running_mean, "running_var": running_var}
    for name, value in {**statistics, "weight": weight, "bias": bias}.items():
        if value is not None and np.shape(value) != (channels,):
            raise ShapeError(f"batch_norm: {name} has shape {np.shape(value)} but x {shape} expects {(channels,)}")
    for name, value in statistics.items():
        if value is None and not training:
            raise ArgumentError(f"batch_norm: {name} is None, and outside of training there is nothing else to go by")
        if value is not None and not (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise DTypeError(f"batch_norm: {name} is written to, so it must be a float ndarray; got {kind}")
    if training and size < 2:
        raise ShapeError(f"batch_norm: a variance takes at least 2 elements of each channel in training; got x {shape}")
    return channels, size


@defvjp(
    channel_moments,
    cases=Cases(
        complex=False, analytic=False, calls=(call((4, 3)), call((2, 3, 2, 2)), call((3, 2, 4)), call((2, 1, 1, 2, 2)))
    ),
)
def channel_moments_vjp(g: Any, y: Any, x: Any) -> Any:
    """x_bar = (mean_bar + 2 (x - mean) variance_bar) / m, with m elements in a channel."""
    ndim, size = x.ndim, x.size // x.shape[1]
    twice = g[1] * (2 / size)
    return x * _across(twice, ndim) + _across(g[0] / size - y[0] * twice, ndim)


@defvjp(
    normalized,
    cases=Cases(
        domain=(REAL, POSITIVE, REAL, REAL),
        complex=False,
        analytic=False,
        calls=(
            call((4, 3), (2, 3), (3,), (3,)),
            call((2, 3, 2, 2), (2, 3), (3,), (3,), eps=0.1),
            call((2, 1, 3), (2, 1), (1,), (1,)),
            call((0, 2, 3), (2, 2), (2,), (2,)),
        ),
    ),
)
def normalized_vjp(g: Any, _y: Any, x: Any, moments: Any, weight: Any, _bias: Any, *, eps: float = 1e-5) -> Any:
    """With s = (variance + eps)^-1/2, b_bar = sum(g) and d = sum(g (x - mean)): x_bar = g s weight,
    mean_bar = -s weight b_bar, variance_bar = -s^3 weight d / 2, weight_bar = s d.
    """
    ndim = x.ndim
    axes = _others(ndim)
    inverse = 1 / np.sqrt(moments[1] + eps)
    scale = inverse * weight
    total = np.sum(g, axis=axes)
    centred = np.sum(g * (x - _across(moments[0], ndim)), axis=axes)
    return (
        lambda: g * _across(scale, ndim),
        lambda: np.stack([-scale * total, -0.5 * inverse * inverse * scale * centred]),
        inverse * centred,
        total,
    )
