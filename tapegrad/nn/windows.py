"""Windows: the geometry that convolutions and pools share, and the walk over a window's offsets.

An array of shape (N, C, H, W) is seen through windows of kH by kW elements, ``dilation`` apart; from one
window to the next it is ``stride`` elements. With an offset (i, j) held fixed, the elements that all
windows have there make one strided slice of the array, of the shape of the result. What a window does
to its elements can so be done to whole slices, kH kW of them; adjoints add to the same slices.
"""

import math
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tapegrad.errors import ArgumentError, ShapeError

Pair = tuple[int, int]
Shape = tuple[int, ...]


def pair(call: str, name: str, value: Any, low: int) -> Pair:
    """``value``, an int or one for each of the two axes, as a pair; each at least ``low``.

    >>> pair("conv2d", "stride", 2, 1)
    (2, 2)
    """
    given = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    try:
        first, second = (operator.index(v) for v in given)
    except (TypeError, ValueError):
        raise ArgumentError(f"{call}: {name} is an int, or one for each of two axes; got {value!r}") from None
    if min(first, second) < low:
        raise ArgumentError(f"{call}: {name} must be at least {low}; got {value!r}")
    return first, second


class Windows(NamedTuple):
    """Where the windows over an array of shape (N, C, H, W) lie; every pair is (vertical, horizontal)."""

    size: Pair  # H, W
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    grid: Pair  # windows along each axis: height and width of the result

    @property
    def extent(self) -> Pair:
        """Rows and columns that the windows reach over, counted from the first of the padding."""
        return self._reach(0), self._reach(1)

    def _reach(self, axis: int) -> int:
        last = (self.grid[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
        return max(last + 1, self.size[axis] + self.padding[axis])

    @property
    def inside(self) -> tuple[slice, slice]:
        """Where the array itself lies within its padded form."""
        (top, left), (h, w) = self.padding, self.size
        return slice(top, top + h), slice(left, left + w)

    def along(self, axis: int) -> Iterator[slice]:
        """For each offset along one axis (0 vertical, 1 horizontal), where all windows have it."""
        step, span = self.stride[axis], (self.grid[axis] - 1) * self.stride[axis]
        for i in range(self.kernel[axis]):
            start = i * self.dilation[axis]
            yield slice(start, start + span + 1, step)

    def offsets(self) -> Iterator[tuple[slice, slice]]:
        """For each offset in NumPy's (row-major) order, where all windows have it."""
        for rows in self.along(0):
            for columns in self.along(1):
                yield rows, columns


def windows(
    call: str, size: Shape, kernel: Pair, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: bool = False
) -> Windows:
    """The windows of a call over an array of height and width ``size``; raises where there are none.

    Their number is 1 + floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) along an axis; with
    ``ceil_mode`` the ceiling, without a window that would start past the array and its left padding.
    """
    steps = pair(call, "stride", stride, 1)
    pads = pair(call, "padding", padding, 0)
    gaps = pair(call, "dilation", dilation, 1)
    count = []
    for n, k, s, p, d in zip(size, kernel, steps, pads, gaps, strict=True):
        free = n + 2 * p - d * (k - 1) - 1
        if free < 0:
            raise ShapeError(
                f"{call}: a kernel of {kernel} with dilation {gaps} is larger than the input of {tuple(size)} "
                f"with padding {pads}"
            )
        number = (math.ceil(free / s) if ceil_mode else free // s) + 1
        if ceil_mode and (number - 1) * s >= n + p:
            number -= 1
        count.append(number)
    return Windows((size[0], size[1]), kernel, steps, pads, gaps, (count[0], count[1]))


def padded(x: Any, over: Windows, fill: Any) -> Any:
    """``x`` with what the windows reach beyond it, in the order of axes that ``x`` has in memory."""
    if over.extent == over.size:
        return x
    out = np.full_like(x, fill, shape=(*x.shape[:2], *over.extent))
    out[:, :, *over.inside] = x
    return out
