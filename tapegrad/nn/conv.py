"""Convolution: one gemm over the windows of the input, written out as the rows of a matrix (im2row).

``conv2d_output(x, w)`` is bilinear, and its two adjoints are bilinear again; pulling any of the three back
leads to the other two, so that derivatives of every order stay among them:

    y = conv2d_output(x, w)    <y, g> = <x, conv2d_input(g, w)> = <w, conv2d_weight(x, g)>

Arrays are (N, C, H, W) to whoever looks at them, and (N, H, W, C) in memory, where a window's row is a
few long runs. The rows are made in tiles that stay in the cache, and made anew when a rule needs them:
cheaper than keeping kH kW times the input. The kernels are NumPy's alone.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import ArgumentError, ShapeError
from tapegrad.nn.windows import Shape, Windows, windows
from tapegrad.primitive import defvjp, primitive
from tapegrad.shapes import conj

TILE = 1 << 20  # bytes of rows at a time: what a core's second cache holds
WIDE = 12  # outputs for an input channel from which adding up slices beats a second convolution


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Convolution of images with kernels (not mirrored, as everywhere in networks).

    x : (N, C, H, W), float or complex
    weight : (O, C / groups, kH, kW)
    bias : (O,), added to every output channel; None for no bias
    stride, padding, dilation : int, or a pair (vertical, horizontal), in elements; padding is zeros
    groups : int, parts into which the channels are split; each output channel sees its own part only
    Returns (N, O, 1 + (H + 2 padding - dilation (kH - 1) - 1) // stride, and so for W).
    Raises ShapeError where ranks or channels don't fit, or the kernel is larger than the padded input;
    ArgumentError for a stride, dilation or groups below 1, or a negative padding.

    >>> import numpy as np
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])

    Dumoulin & Visin 2016; Chellapilla et al. 2006 for convolution by one matrix product.
    """
    y = conv2d_output(x, weight, stride, padding, dilation, groups)
    if bias is None:
        return y
    if np.shape(bias) != (y.shape[1],):
        raise ShapeError(f"conv2d: bias has shape {np.shape(bias)} but w {np.shape(weight)} expects {(y.shape[1],)}")
    return y + np.reshape(bias, (-1, 1, 1))


@primitive
def conv2d_output(x: Any, w: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
    """``conv2d`` without a bias: x (N, C, H, W), w (O, C / groups, kH, kW)."""
    x, w = np.asarray(x), np.asarray(w)
    over = _windows(x.shape, w.shape, stride, padding, dilation, groups)
    dtype = np.result_type(x, w)
    y = np.empty((x.shape[0], *over.grid, w.shape[0]), dtype)
    matrices = _matrices(w, groups, dtype)
    for part, rows in _tiles(_channels_last(x, over, dtype), over, groups):
        np.matmul(rows, matrices, out=_grouped(y[part], groups))
    return y.transpose(0, 3, 1, 2)


@primitive
def conv2d_input(
    g: Any, w: Any, x_shape: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The adjoint of ``conv2d_output`` by its input: g (N, O, OH, OW), w (O, C / groups, kH, kW), to ``x_shape``."""
    g, w = np.asarray(g), np.asarray(w)
    over = _windows(x_shape, w.shape, stride, padding, dilation, groups)
    _fits("conv2d_input", g.shape, (x_shape[0], w.shape[0], *over.grid))
    margin = [d * (k - 1) - p for k, p, d in zip(over.kernel, over.padding, over.dilation, strict=True)]
    if over.stride == (1, 1) and min(margin) >= 0 and w.shape[0] <= WIDE * x_shape[1]:
        # The full correlation of g with the kernel rotated by 180 degrees.
        return conv2d_output(g, _rotated(w, groups), 1, margin, dilation, groups)
    return _sprayed(g, w, over, x_shape, groups)


@primitive
def conv2d_weight(
    x: Any, g: Any, w_shape: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """The adjoint of ``conv2d_output`` by its kernels: x (N, C, H, W), g (N, O, OH, OW), to ``w_shape``."""
    x, g = np.asarray(x), np.asarray(g)
    over = _windows(x.shape, w_shape, stride, padding, dilation, groups)
    _fits("conv2d_weight", g.shape, (x.shape[0], w_shape[0], *over.grid))
    dtype = np.result_type(x, g)
    outputs, channels, kh, kw = w_shape
    total = np.zeros((groups, kh * kw * channels, outputs // groups), dtype)
    last = np.ascontiguousarray(g.transpose(0, 2, 3, 1), dtype)
    for part, rows in _tiles(_channels_last(x, over, dtype), over, groups):
        total += np.swapaxes(rows, -1, -2) @ _grouped(last[part], groups)
    by_output = total.reshape(groups, kh, kw, channels, outputs // groups).transpose(0, 4, 3, 1, 2)
    return np.ascontiguousarray(by_output).reshape(w_shape)


def _sprayed(g: Any, w: Any, over: Windows, x_shape: Shape, groups: int) -> Any:
    """Each element of ``g`` sprays its window with the kernel: products as rows, added slice by slice."""
    dtype = np.result_type(g, w)
    kh, kw = over.kernel
    total = np.zeros((x_shape[0], *over.extent, x_shape[1]), dtype)
    last = np.ascontiguousarray(g.transpose(0, 2, 3, 1), dtype)
    transposed = np.swapaxes(_matrices(w, groups, dtype), -1, -2)
    for n in _blocks(x_shape[0], over.grid[0] * over.grid[1] * kh * kw * x_shape[1] * dtype.itemsize):
        rows = _grouped(last[n], groups) @ transposed
        rows = rows.reshape(groups, n.stop - n.start, *over.grid, kh, kw, w.shape[1])
        images = total[n].reshape(n.stop - n.start, *over.extent, groups, w.shape[1])
        for i, vertical in enumerate(over.along(0)):
            for j, horizontal in enumerate(over.along(1)):
                images[:, vertical, horizontal] += rows[:, :, :, :, i, j].transpose(1, 2, 3, 0, 4)
    return total[:, *over.inside].transpose(0, 3, 1, 2)


def _windows(x_shape: Shape, w_shape: Shape, stride: Any, padding: Any, dilation: Any, groups: int) -> Windows:
    """The windows of a convolution; raises where its arguments don't fit each other."""
    given = f"got x {tuple(x_shape)}, w {tuple(w_shape)}"
    if len(x_shape) != 4:
        raise ShapeError(f"conv2d: x has {len(x_shape)} axes but 4 are expected, (N, C, H, W); {given}")
    if len(w_shape) != 4:
        raise ShapeError(f"conv2d: w has {len(w_shape)} axes but 4 are expected, (O, C / groups, kH, kW); {given}")
    if not isinstance(groups, int) or groups < 1:
        raise ArgumentError(f"conv2d: groups is an int of at least 1; got {groups!r}")
    channels, expected = x_shape[1], w_shape[1] * groups
    if channels % groups or w_shape[0] % groups:
        raise ShapeError(
            f"conv2d: groups={groups} must divide the {channels} channels of x "
            f"and the {w_shape[0]} outputs of w; {given}"
        )
    if channels != expected:
        each = f" ({groups} groups of {w_shape[1]})" if groups > 1 else ""
        raise ShapeError(f"conv2d: x has {channels} channels but w expects {expected}{each}; {given}")
    if min(w_shape[2:]) < 1:
        raise ShapeError(f"conv2d: w has a kernel of no elements; {given}")
    return windows("conv2d", x_shape[2:], (w_shape[2], w_shape[3]), stride, padding, dilation)


def _fits(call: str, present: Shape, expected: Shape) -> None:
    if tuple(present) != expected:
        raise ShapeError(f"{call}: g has shape {tuple(present)} but the convolution's output has {expected}")


def _tiles(x: Any, over: Windows, groups: int) -> Iterator[tuple[Any, Any]]:
    """The windows of ``x`` (N, H, W, C) as rows: pairs (place in the result, (groups, M, kH kW C / groups))."""
    images, channels = x.shape[0], x.shape[3]
    (down, right), (below, beside), (kh, kw) = over.stride, over.dilation, over.kernel
    n, h, w, c = x.strides
    # ``x`` is our own and padded to the windows' extent, so that these strides stay inside it.
    seen = np.ndarray(
        (images, *over.grid, kh, kw, groups, channels // groups),
        x.dtype,
        x,
        0,
        (n, h * down, w * right, h * below, w * beside, c * (channels // groups), c),
    )
    line = over.grid[1] * kh * kw * channels * x.itemsize
    for some in _blocks(images, line * over.grid[0]):
        # Where even one image is more than a tile, some of its lines are taken at a time.
        one = some.stop - some.start == 1
        for lines in _blocks(over.grid[0], line) if one else (slice(0, over.grid[0]),):
            part = seen[some, lines].transpose(5, 0, 1, 2, 3, 4, 6)
            yield (some, lines), part.reshape(groups, math.prod(part.shape[1:4]), math.prod(part.shape[4:]))


def _blocks(count: int, size: int) -> Iterator[slice]:
    """``count`` things of ``size`` bytes each in slices of about a tile."""
    step = max(1, TILE // max(1, size))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _channels_last(x: Any, over: Windows, dtype: Any) -> Any:
    """``x`` padded with zeros, as a contiguous array (N, H, W, C)."""
    last = x.transpose(0, 2, 3, 1)
    if over.padding == (0, 0):
        return np.ascontiguousarray(last, dtype)
    out = np.zeros((x.shape[0], *over.extent, x.shape[1]), dtype)
    out[:, *over.inside] = last
    return out


def _matrices(w: Any, groups: int, dtype: Any) -> Any:
    """Kernels (O, C / groups, kH, kW) as a matrix for each group, (groups, kH kW C / groups, O / groups)."""
    by_group = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).transpose(0, 3, 4, 2, 1)
    size = w.shape[1] * w.shape[2] * w.shape[3]
    return by_group.astype(dtype, copy=False).reshape(groups, size, w.shape[0] // groups)


def _grouped(y: Any, groups: int) -> Any:
    """A contiguous array (..., O) as a matrix for each group, (groups, M, O / groups): a view."""
    return y.reshape(math.prod(y.shape[:-1]), groups, y.shape[-1] // groups).swapaxes(0, 1)


def _rotated(w: Any, groups: int) -> Any:
    """Kernels (O, C / groups, kH, kW) from outputs back to inputs, (C, O / groups, kH, kW), turned by 180 degrees."""
    outputs, channels, kh, kw = w.shape
    swapped = w.reshape(groups, outputs // groups, channels, kh, kw).swapaxes(1, 2)
    return swapped.reshape(groups * channels, outputs // groups, kh, kw)[:, :, ::-1, ::-1]


_IMAGES, _KERNELS = (2, 3, 5, 6), (4, 3, 3, 2)
_CASES: tuple[tuple[Shape, Shape, Shape, dict[str, Any]], ...] = (
    # x, w, g, and the parameters
    (_IMAGES, _KERNELS, (2, 4, 3, 5), {}),
    (_IMAGES, _KERNELS, (2, 4, 5, 7), {"padding": 1}),
    (_IMAGES, _KERNELS, (2, 4, 3, 4), {"stride": 2, "padding": (1, 1)}),
    (_IMAGES, _KERNELS, (2, 4, 3, 7), {"stride": (3, 1), "padding": (2, 1)}),
    (_IMAGES, _KERNELS, (2, 4, 3, 7), {"dilation": (2, 1), "padding": (1, 1), "stride": 1}),
    (_IMAGES, _KERNELS, (2, 4, 2, 2), {"dilation": (1, 3), "stride": (2, 2)}),
    (_IMAGES, _KERNELS, (2, 4, 9, 11), {"padding": (3, 3)}),  # More padding than the rotated kernel takes.
    (_IMAGES, (4, 3, 1, 1), (2, 4, 5, 6), {}),
    (_IMAGES, (4, 3, 1, 1), (2, 4, 3, 3), {"stride": 2}),
    (_IMAGES, (4, 3, 5, 6), (2, 4, 1, 1), {}),
    ((2, 1, 4, 4), (13, 1, 2, 2), (2, 13, 3, 3), {}),  # Many outputs for an input: slices are added up.
    ((2, 4, 5, 4), (6, 2, 2, 3), (2, 6, 4, 4), {"groups": 2, "padding": (0, 1)}),
    ((2, 4, 5, 4), (6, 2, 2, 3), (2, 6, 3, 2), {"groups": 2, "padding": (1, 1), "stride": 2}),
    ((1, 3, 4, 4), (6, 1, 3, 3), (1, 6, 4, 4), {"groups": 3, "padding": 1}),  # Depthwise.
    ((0, 3, 4, 4), (2, 3, 3, 3), (0, 2, 2, 2), {}),
)


@defvjp(
    conv2d_output,
    multilinear=True,
    cases=Cases(
        neutral=False,
        calls=tuple(call(x, w, **parameters) for x, w, _g, parameters in _CASES),
        # By loops over every product: the images that each weight meets, and the weights that each pixel does.
        examples=(
            (
                call(
                    np.arange(40.0).reshape(1, 2, 4, 5),
                    np.arange(1.0, 9.0).reshape(2, 1, 2, 2),
                    stride=(2, 1),
                    padding=(1, 0),
                    dilation=(1, 2),
                    groups=2,
                ),
                (
                    np.tile([[[3.0, 3, 7, 4, 4], [1, 1, 3, 2, 2]], [[7, 7, 15, 8, 8], [5, 5, 11, 6, 6]]], (2, 1))[None],
                    np.array([[66.0, 78, 36, 48], [186, 198, 156, 168]]).reshape(2, 1, 2, 2),
                ),
            ),
            # Images of more than a tile each; every pixel meets every weight.
            (
                call(np.arange(240.0).reshape(2, 1, 12, 10), np.arange(225.0).reshape(1, 1, 15, 15), padding=15),
                (np.full((2, 1, 12, 10), 225 * 224 / 2), np.full((1, 1, 15, 15), 240 * 239 / 2)),
            ),
        ),
    ),
)
def conv2d_output_vjp(
    g: Any, _y: Any, x: Any, w: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """x_bar = conv2d_input(g, conj w), w_bar = conv2d_weight(conj x, g)."""
    return (
        lambda: conv2d_input(g, conj(w), x.shape, stride, padding, dilation, groups),
        lambda: conv2d_weight(conj(x), g, w.shape, stride, padding, dilation, groups),
    )


@defvjp(
    conv2d_input,
    multilinear=True,
    cases=Cases(neutral=False, calls=tuple(call(g, w, x_shape=x, **parameters) for x, w, g, parameters in _CASES)),
)
def conv2d_input_vjp(
    g: Any,
    _y: Any,
    z: Any,
    w: Any,
    *,
    _x_shape: Shape,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """z_bar = conv2d_output(g, conj w), w_bar = conv2d_weight(g, conj z), where z was pulled back."""
    return (
        lambda: conv2d_output(g, conj(w), stride, padding, dilation, groups),
        lambda: conv2d_weight(g, conj(z), w.shape, stride, padding, dilation, groups),
    )


@defvjp(
    conv2d_weight,
    multilinear=True,
    cases=Cases(neutral=False, calls=tuple(call(x, g, w_shape=w, **parameters) for x, w, g, parameters in _CASES)),
)
def conv2d_weight_vjp(
    g: Any,
    _y: Any,
    x: Any,
    z: Any,
    *,
    _w_shape: Shape,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """x_bar = conv2d_input(conj z, g), z_bar = conv2d_output(conj x, g), where z was pulled back."""
    return (
        lambda: conv2d_input(conj(z), g, x.shape, stride, padding, dilation, groups),
        lambda: conv2d_output(conj(x), g, stride, padding, dilation, groups),
    )
