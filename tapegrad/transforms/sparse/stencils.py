"""Stencils: elements that are made of neighbours along an axis, each output of its own few."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.nn.windows import Windows, windows
from tapegrad.transforms.sparse.matrices import Factors, Shape, csr, dense, on_axis, stencil

# A rule takes a Call (links.py), and returns factors for each operand, or None.


def _difference(length: int, n: int) -> Any:
    return stencil(max(length - n, 0), length, range(n + 1))


def _diff(call: Any) -> Any:
    (axis, n), shape = (call.parameters["axis"], call.parameters["n"]), call.shape(0)
    return [on_axis(_difference(shape[axis], n), shape, axis)]


def _undiff(call: Any) -> Any:
    (axis, n), (out,) = (call.parameters["axis"], call.parameters["n"]), call.shapes
    return [on_axis(csr(_difference(out[axis], n).T), call.shape(0), axis)]


def _slope(length: int, edge_order: int, uniform: bool) -> Any:
    """Differences from both neighbours; at the ends, of the first or last two or three."""
    inner = stencil(length, length, (-1, 1) if uniform else (-1, 0, 1))
    reach = range(min(edge_order + 1, length))
    rows = [0] * len(reach) + [length - 1] * len(reach)
    columns = [*reach, *(length - 1 - i for i in reach)]
    corners = csr((np.ones(len(rows), bool), (rows, columns)), (length, length))
    return inner + corners


def _gradient(call: Any) -> Any:
    axis, shape = call.parameters["axis"], call.shape(0)
    if type(axis) is not int or call.shapes != [shape]:
        return None
    uniform = call.known.operands[-1] == "step"
    slope = _slope(shape[axis], call.parameters["edge_order"] or 1, uniform)
    return [on_axis(slope, shape, axis), *(dense(shape, call.shape(i)) for i in range(1, len(call.operands)))]


def _ungradient(call: Any) -> Any:
    axis, shape = call.parameters["axis"], call.shape(0)
    if type(axis) is not int or call.shapes != [shape]:
        return None
    return [on_axis(csr(_slope(shape[axis], call.parameters["edge_order"] or 1, False).T), shape, axis)]


def _summed_up(call: Any) -> Any:
    """Each element and all before it."""
    axis, shape = call.parameters["axis"], call.shape(0)
    if axis is None:
        shape, axis = (int(np.prod(shape)),), 0
    if call.shapes != [shape]:
        return None
    return [on_axis(csr(np.tri(shape[axis], dtype=bool)), shape, axis)]


def _convolved(call: Any) -> Any:
    """Element k of a convolution is made of the products a_i v_j with i + j = k; of a correlation, i - j."""
    if len(call.shape(0)) != 1 or len(call.shape(1)) != 1:
        return None
    (m,), (n,), (length,) = call.shape(0), call.shape(1), call.shapes[0]
    correlating = call.known.name == "np.correlate"
    mode, few = call.parameters["mode"], min(m, n)
    i, j = (index.ravel() for index in np.indices((m, n)))
    k = i - j + n - 1 if correlating else i + j
    if mode in ("valid", 0):
        k = k - (few - 1)
    elif mode in ("same", 1):  # One place further on where NumPy has swapped the two.
        k = k - (few // 2 if correlating and m < n else (few - 1) // 2)
    met = (k >= 0) & (k < length)
    for operand, index in ((0, i), (1, j)):
        value = call.constant(operand)
        if value is not None:
            met &= value[index] != 0
    ones = np.ones(np.count_nonzero(met), bool)
    return [(csr((ones, (k[met], index[met])), (length, size)),) for index, size in ((i, m), (j, n))]


# ---------------------------------------------------------------- windows over images


def _convolved_2d(call: Any) -> Any:
    return [_over_images(_windows(call, call.shape(0)), call.shape(0), _channels(call)), _everywhere(call)]


def _unconvolved_2d(call: Any) -> Any:
    """The adjoint by the image, of the shape of the output."""
    (out,) = call.shapes
    return [_adjoint(_over_images(_windows(call, out), out, _channels(call))), _everywhere(call)]


def _everywhere(call: Any) -> Factors:
    return dense(call.shapes[0], call.shape(1))


def _windows(call: Any, shape: Shape) -> Windows:
    given = [call.parameters[name] for name in ("stride", "padding", "dilation")]
    return windows("conv2d", shape[2:], call.shape(1)[2:], *given)


def _channels(call: Any) -> Any:
    """Which channels each output is made of: those of its group."""
    outputs, channels = call.shape(1)[:2]
    groups = call.parameters["groups"]
    group = np.arange(outputs) // (outputs // groups)
    return csr(group[:, None] == np.arange(channels * groups) // channels)


def _pooled(call: Any) -> Any:
    return [_over_images(call.parameters["over"], call.shape(0))]


def _unpooled(call: Any) -> Any:
    return [_adjoint(_over_images(call.parameters["over"], call.shapes[0]))]


def _over_images(over: Windows, shape: Shape, channels: Any = None) -> Factors:
    """The links of the windows' results, shape (N, O, OH, OW), to images of this shape (N, C, H, W)."""
    down, across = (
        stencil(n, size, [i * d - p for i in range(k)], s)
        for n, size, k, s, p, d in zip(
            over.grid, over.size, over.kernel, over.stride, over.padding, over.dilation, strict=True
        )
    )
    images, inputs, _height, width = shape
    rows = (images, inputs, over.grid[0], width)
    grid = (images, inputs, *over.grid)
    factors = (*on_axis(across, rows, 3), *on_axis(down, shape, 2))
    return factors if channels is None else (*on_axis(channels, grid, 1), *factors)


def _adjoint(factors: Factors) -> Factors:
    return tuple(csr(factor.T) for factor in reversed(factors))


STENCILS: dict[str, Callable[[Any], Any]] = {
    "np.diff": _diff,
    "tapegrad.ops.differences.undiff": _undiff,
    "np.gradient": _gradient,
    "tapegrad.ops.sampling.ungradient": _ungradient,
    "np.cumsum": _summed_up,
    "np.cumprod": _summed_up,
    "np.maximum.accumulate": _summed_up,
    "np.minimum.accumulate": _summed_up,
    "np.fmax.accumulate": _summed_up,
    "np.fmin.accumulate": _summed_up,
    "np.convolve": _convolved,
    "np.correlate": _convolved,
    "tapegrad.nn.conv.conv2d_output": _convolved_2d,
    "tapegrad.nn.conv.conv2d_input": _unconvolved_2d,
    "tapegrad.nn.pool.max_pool2d_output": _pooled,
    "tapegrad.nn.pool.max_pool2d_taken": _pooled,
    "tapegrad.nn.pool.avg_pool2d_output": _pooled,
    "tapegrad.nn.pool.max_pool2d_input": _unpooled,
    "tapegrad.nn.pool.avg_pool2d_input": _unpooled,
}
