"""Pools: the maximum and the mean of each window, done to whole slices of the input at once.

Max-pooling is followed back by *switches*: for each window, which of its elements was the maximum. Given
them it is linear: ``max_pool2d_input`` puts each cotangent where its switch points, ``max_pool2d_taken``
takes what the switches point at, and each is the other's adjoint. So are average-pooling and
``avg_pool2d_input``. The kernels are NumPy's alone.
"""

import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, Cases, call
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.nn.windows import Windows, padded, pair, windows
from tapegrad.primitive import constant, defvjp, primitive
from tapegrad.shapes import select


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The maximum of each window.

    x : (N, C, H, W), real
    kernel_size : int, or a pair (vertical, horizontal), as are the next three
    stride : elements from one window to the next; None means ``kernel_size``
    padding : elements of minus infinity around each image, at most half the kernel
    dilation : elements from one element of a window to the next
    ceil_mode : take also windows that reach beyond the padding, if they start before it
    Returns (N, C, 1 + (H + 2 padding - dilation (kernel_size - 1) - 1) // stride, and so for W), dtype of x.
    Of equal maxima the first in NumPy's order has the gradient. A window with nan gives nan.
    Raises ShapeError where x hasn't four axes or is smaller than the kernel; ArgumentError for a kernel,
    stride or dilation below 1, or too much padding; DTypeError for complex numbers and bools.

    >>> import numpy as np
    >>> max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])

    Dumoulin & Visin 2016; switches: Zeiler & Fergus 2014.
    """
    return max_pool2d_output(x, _pools("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode))


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    """The mean of each window.

    x : (N, C, H, W), float or complex
    kernel_size : int, or a pair (vertical, horizontal), as are the next two
    stride : elements from one window to the next; None means ``kernel_size``
    padding : zeros around each image, at most half the kernel
    ceil_mode : take also windows that reach beyond the padding, if they start before it
    count_include_pad : whether the padding counts in the mean
    divisor_override : the number that each sum is divided by, instead of the number of elements
    Returns (N, C, 1 + (H + 2 padding - kernel_size) // stride, and so for W), dtype of x.
    Raises ShapeError where x hasn't four axes or is smaller than the kernel; ArgumentError for a kernel or
    stride below 1, too much padding, or a divisor of 0; DTypeError for bools.

    >>> import numpy as np
    >>> avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])

    Dumoulin & Visin 2016.
    """
    over = _pools("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    return avg_pool2d_output(x, over, _divisor(over, count_include_pad, divisor_override))


# ---------------------------------------------------------------- the maximum


@primitive
def max_pool2d_output(x: Any, over: Windows) -> Any:
    """The maximum of each window of ``x``."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiu":
        raise DTypeError(f"max_pool2d: x has dtype {x.dtype}; a maximum is taken of real numbers")
    # First along the lines, then across them: kW + kH slices, not kW kH.
    return _combined(np.maximum, padded(x, over, _lowest(x.dtype)), over)


@primitive
def max_pool2d_switches(x: Any, y: Any, over: Windows) -> Any:
    """Which element of its window each maximum ``y`` is: the first in NumPy's order, counted from 0.

    kH kW, so none, where no element of the image lies in the window.
    """
    z = padded(x, over, _lowest(x.dtype))
    image = None if z is x else padded(np.ones((1, 1, *over.size), bool), over, False)
    none = over.kernel[0] * over.kernel[1]
    switches = np.full_like(y, none, dtype=np.min_scalar_type(none))
    for number, place in reversed(list(enumerate(over.offsets()))):
        element = z[:, :, *place]
        hit = element == y
        hit |= element != element  # A nan is the maximum of its window.
        if image is not None:
            hit &= image[:, :, *place]
        # switches[hit] = number; unsigned arithmetic wraps around, and is much quicker than a masked copy.
        switches += (switches.dtype.type(number) - switches) * hit
    return switches


constant(max_pool2d_switches, note="indices")


@primitive
def max_pool2d_input(g: Any, switches: Any, over: Windows) -> Any:
    """The adjoint of max-pooling: zeros of the input's shape, to which each ``g`` is added at its switch."""
    out = np.zeros_like(g, shape=(*g.shape[:2], *over.extent))
    for number, place in enumerate(over.offsets()):
        out[:, :, *place] += select(switches == number, g)
    return out[:, :, *over.inside]


@primitive
def max_pool2d_taken(x: Any, switches: Any, over: Windows) -> Any:
    """Of each window of ``x`` the element at its switch."""
    z = padded(x, over, 0)
    out = np.zeros_like(z, shape=(*x.shape[:2], *over.grid))
    for number, place in enumerate(over.offsets()):
        out += select(switches == number, z[:, :, *place])
    return out


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


# ---------------------------------------------------------------- the mean


@primitive
def avg_pool2d_output(x: Any, over: Windows, divisor: Any) -> Any:
    """The sum of each window of ``x``, divided by a number, or by one for each window."""
    x = np.asarray(x)
    if x.dtype.kind == "b":
        raise DTypeError("avg_pool2d: x has dtype bool; a mean is taken of numbers")
    return _divided(_combined(np.add, padded(x, over, 0), over), divisor)


@primitive
def avg_pool2d_input(g: Any, over: Windows, divisor: Any) -> Any:
    """The adjoint of average-pooling: each ``g``, divided, is added to all elements of its window."""
    part = _divided(g, divisor)
    lines = np.zeros_like(part, shape=(*g.shape[:2], over.grid[0], over.extent[1]))
    for place in over.along(1):
        lines[:, :, :, place] += part
    out = np.zeros_like(part, shape=(*g.shape[:2], *over.extent))
    for place in over.along(0):
        out[:, :, place] += lines
    return out[:, :, *over.inside]


def _divided(sums: Any, divisor: Any) -> Any:
    if isinstance(divisor, np.ndarray) and sums.dtype.kind in "fc":
        divisor = divisor.astype(sums.real.dtype)
    return sums / divisor


def _divisor(over: Windows, count_include_pad: bool, divisor_override: Any) -> Any:
    """What the sum of each window is divided by: a number, or integers of shape (OH, OW)."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise ArgumentError("avg_pool2d: divisor_override must not be 0")
        return divisor_override
    counts = []
    for n, k, s, p, count in zip(over.size, over.kernel, over.stride, over.padding, over.grid, strict=True):
        first, last = (-p, n + p) if count_include_pad else (0, n)
        start = np.arange(count) * s - p
        counts.append(np.minimum(start + k, last) - np.maximum(start, first))
    return over.kernel[0] * over.kernel[1] if _all_full(counts, over) else np.multiply.outer(*counts)


def _all_full(counts: Iterable[Any], over: Windows) -> bool:
    return all((count == k).all() for count, k in zip(counts, over.kernel, strict=True))


# ---------------------------------------------------------------- both


def _pools(name: str, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Windows:
    """The windows of a pool over ``x``; raises where its arguments don't fit each other."""
    shape = np.shape(x)
    if len(shape) != 4:
        raise ShapeError(f"{name}: x has {len(shape)} axes but 4 are expected, (N, C, H, W); got x {shape}")
    kernel = pair(name, "kernel_size", kernel_size, 1)
    over = windows(name, shape[2:], kernel, kernel if stride is None else stride, padding, dilation, ceil_mode)
    if any(2 * p > k for p, k in zip(over.padding, kernel, strict=True)):
        raise ArgumentError(f"{name}: padding must be at most half the kernel; got padding {padding}, kernel {kernel}")
    return over


def _combined(ufunc: np.ufunc, z: Any, over: Windows) -> Any:
    """The elements of each window of the padded array ``z``, combined by ``ufunc``; never a view of ``z``."""
    lines = _folded(ufunc, [z[..., place] for place in over.along(1)])
    out = _folded(ufunc, [lines[:, :, place] for place in over.along(0)])
    return out.copy("K") if over.kernel == (1, 1) else out


def _folded(ufunc: np.ufunc, slices: list[Any]) -> Any:
    if len(slices) == 1:
        return slices[0]
    out = ufunc(slices[0], slices[1])
    for part in slices[2:]:
        ufunc(out, part, out=out)
    return out


# ---------------------------------------------------------------- rules


def _over(size: tuple[int, int], kernel: Any, stride: Any, padding: Any = 0, **more: Any) -> Windows:
    return windows("pool", size, pair("pool", "kernel_size", kernel, 1), stride, padding, **more)


_PLAIN = (
    _over((4, 6), 2, 2),
    _over((5, 7), 2, 2),
    _over((5, 6), 3, 1),
    _over((5, 6), 3, 2, 1),
    _over((4, 5), (1, 3), (1, 2), (0, 1)),
    _over((4, 5), 1, 1),
    _over((5, 5), 2, 3),
    _over((5, 7), 2, 2, ceil_mode=True),
    _over((6, 5), 3, 2, 1, ceil_mode=True),
    _over((4, 4), 4, 4),
)
_DILATED = (*_PLAIN, _over((6, 7), 2, 1, 1, dilation=(2, 3)), _over((7, 7), 3, 2, 1, dilation=2, ceil_mode=True))
_DIVISORS = (
    *((over, _divisor(over, include, None)) for over, include in itertools.product(_PLAIN, (True, False))),
    (_PLAIN[3], 5),
)


@functools.cache
def _example_switches(over: Windows) -> Any:
    """Switches for an array of shape (2, 2, H, W), as many different ones as there can be."""
    # Without numpy.random, whose import takes a fifth of NumPy's.
    x = np.sin(7.0 * np.arange(4 * math.prod(over.size))).reshape(2, 2, *over.size)
    return max_pool2d_switches(x, max_pool2d_output(x, over), over)


@defvjp(
    max_pool2d_output,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        neutral=False,
        calls=(*(call((2, 2, *over.size), over=over) for over in _DILATED), call((0, 1, 4, 6), over=_PLAIN[0])),
        examples=(
            # Ties: the first in NumPy's order.
            (call(np.zeros((1, 1, 2, 2)), over=_over((2, 2), 2, 2)), (np.array([[[[1.0, 0], [0, 0]]]]),)),
            # Overlapping windows: contributions add.
            (
                call(np.array([[[[0.0, 3, 1], [1, 2, 0]]]]), over=_over((2, 3), 2, 1)),
                (np.array([[[[0.0, 2, 0], [0, 0, 0]]]]),),
            ),
            # The padding is never the maximum, not even of minus infinities.
            (call(np.full((1, 1, 1, 2), -np.inf), over=_over((1, 2), 2, 2, 1)), (np.array([[[[1.0, 1.0]]]]),)),
            # The first nan of those that make the result nan.
            (
                call(np.array([[[[1.0, np.nan], [np.nan, 3]]]]), over=_over((2, 2), 2, 2)),
                (np.array([[[[0.0, 1], [0, 0]]]]),),
            ),
            # More elements than a byte counts, or a float of two bytes.
            (
                call(np.eye(1, 2100, 2097).reshape(1, 1, 140, 15), over=_over((140, 15), (140, 15), 1)),
                (np.eye(1, 2100, 2097).reshape(1, 1, 140, 15),),
            ),
        ),
        note="the first of equal maxima in a window",
    ),
)
def max_pool2d_output_vjp(g: Any, y: Any, x: Any, *, over: Windows) -> Any:
    """Each cotangent goes where its switch points."""
    return max_pool2d_input(g, max_pool2d_switches(x, y, over), over)


@defvjp(
    max_pool2d_input,
    cases=Cases(
        neutral=False,
        calls=tuple(call((2, 2, *over.grid), switches=_example_switches(over), over=over) for over in _DILATED),
    ),
)
def max_pool2d_input_vjp(g: Any, _y: Any, _z: Any, *, switches: Any, over: Windows) -> Any:
    """Each cotangent is taken from where the switch points."""
    return max_pool2d_taken(g, switches, over)


@defvjp(
    max_pool2d_taken,
    cases=Cases(
        neutral=False,
        calls=tuple(call((2, 2, *over.size), switches=_example_switches(over), over=over) for over in _DILATED),
    ),
)
def max_pool2d_taken_vjp(g: Any, _y: Any, _x: Any, *, switches: Any, over: Windows) -> Any:
    """Each cotangent goes where its switch points."""
    return max_pool2d_input(g, switches, over)


@defvjp(
    avg_pool2d_output,
    cases=Cases(
        neutral=False,
        calls=(
            *(call((2, 2, *over.size), over=over, divisor=divisor) for over, divisor in _DIVISORS),
            call((0, 1, 4, 6), over=_PLAIN[0], divisor=4),
        ),
        examples=((call(np.zeros((1, 1, 2, 2)), over=_over((2, 2), 2, 2), divisor=4), (np.full((1, 1, 2, 2), 0.25),)),),
    ),
)
def avg_pool2d_output_vjp(g: Any, _y: Any, _x: Any, *, over: Windows, divisor: Any) -> Any:
    """Each cotangent, divided, goes to all elements of its window."""
    return avg_pool2d_input(g, over, divisor)


@defvjp(
    avg_pool2d_input,
    cases=Cases(
        neutral=False,
        calls=tuple(call((2, 2, *over.grid), over=over, divisor=divisor) for over, divisor in _DIVISORS),
    ),
)
def avg_pool2d_input_vjp(g: Any, _y: Any, _z: Any, *, over: Windows, divisor: Any) -> Any:
    """The means of the windows: the other half of the pair."""
    return avg_pool2d_output(g, over, divisor)
