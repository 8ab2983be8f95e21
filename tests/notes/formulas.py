"""What the notes' formulas share: written by us in plain NumPy, from the definitions, with loops.

Nothing here calls tapegrad, except ``jacobian``, which asks ``backward()`` for a Jacobian row by row.
pytest puts this folder on the import path (there is no ``__init__.py``), so the tests say
``from formulas import ...``.

Throughout, an asterisk in a docstring, ``A * beta``, is the notes' convolution: the kernel slides over
the padded image by the stride and is never turned round (what some call cross-correlation).
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray
Pair = tuple[int, int]

RELATIVE = 1e-10


def close(actual: Any, expected: Any) -> None:
    """Assert that ``backward()`` and the formula agree in every element, in float64, at 1e-10 relative.

    There is no absolute tolerance: where the formula says 0, the gradient is exactly 0.
    """
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=0)


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    """Standard normal arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


# ---------------------------------------------------------------- vectors and Jacobians


def vec(a: Array) -> Array:
    """The columns of a matrix stacked into one vector; of several matrices, one after another.

    >>> vec(np.array([[1, 2], [3, 4]]))
    array([1, 3, 2, 4])
    """
    return np.swapaxes(a, -1, -2).ravel()


def unvec(v: Array, shape: tuple[int, ...]) -> Array:
    """The array of ``shape`` whose ``vec`` is ``v``.

    >>> unvec(np.array([1, 3, 2, 4]), (2, 2))
    array([[1, 2],
           [3, 4]])
    """
    return np.swapaxes(v.reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2)


def rows(a: Array) -> Array:
    """The rows of a matrix stacked into one vector."""
    return a.ravel()


def unit(shape: tuple[int, ...], place: tuple[int, ...]) -> Array:
    """E_rs: zeros with a single 1 at ``place`` (counted from 0)."""
    e = np.zeros(shape)
    e[place] = 1
    return e


def places_columnwise(shape: Pair) -> Iterator[Pair]:
    """The places of a matrix in the order in which ``vec`` takes them."""
    for s, r in itertools.product(range(shape[1]), range(shape[0])):
        yield r, s


def jacobian(y: Any, x: Any, stack: Any) -> Array:
    """The Jacobian of ``stack(y)`` by ``stack(x)`` from ``backward()``: one row for each unit seed E.

    y : tensor that was recorded from the leaf x
    stack : vec or rows, for both sides
    """
    number = stack(np.arange(y.size).reshape(y.shape))
    found = []
    for flat in number:
        x.zero_grad()
        y.backward(unit(y.shape, np.unravel_index(flat, y.shape)), retain_graph=True)
        found.append(stack(x.grad))
    x.zero_grad()
    return np.stack(found)


def block_diagonal(block: Array, count: int) -> Array:
    """``count`` copies of a block down the diagonal, zeros elsewhere."""
    n, m = block.shape
    out = np.zeros((n * count, m * count))
    for i in range(count):
        out[i * n : (i + 1) * n, i * m : (i + 1) * m] = block
    return out


# ---------------------------------------------------------------- images


def output_size(size: int, kernel: int, padding: int, stride: int) -> int:
    """1 + (H + 2P - HH)/S, rounded down: how many places a kernel finds along an axis.

    >>> output_size(5, 3, padding=0, stride=2)
    2
    """
    return 1 + (size + 2 * padding - kernel) // stride


def output_shape(shape: tuple[int, ...], kernel: tuple[int, ...], padding: Pair, stride: Pair) -> Pair:
    """``output_size`` for the last two axes."""
    h, w = (output_size(n, k, p, s) for n, k, p, s in zip(shape[-2:], kernel[-2:], padding, stride, strict=True))
    return h, w


def padded(a: Array, padding: Pair) -> Array:
    """Rows and columns of zeros around the last two axes."""
    return np.pad(a, [(0, 0)] * (a.ndim - 2) + [(p, p) for p in padding])


def unpadded(a: Array, padding: Pair) -> Array:
    """What ``padded`` put around taken off again."""
    (p, q), (h, w) = padding, a.shape[-2:]
    return a[..., p : h - p, q : w - q]


def rotated(w: Array) -> Array:
    """A kernel turned by 180 degrees."""
    return w[..., ::-1, ::-1]


def dilated(dy: Array, stride: Pair) -> Array:
    """S - 1 zeros between neighbours along each of the last two axes.

    >>> dilated(np.array([[1.0, 2.0, 3.0]]), (1, 2))
    array([[1., 0., 2., 0., 3.]])
    """
    (h, w), (s, t) = dy.shape[-2:], stride
    out = np.zeros((*dy.shape[:-2], (h - 1) * s + 1, (w - 1) * t + 1))
    out[..., ::s, ::t] = dy
    return out


def convolved(a: Array, beta: Array, padding: Pair = (0, 0), stride: Pair = (1, 1)) -> Array:
    """A * beta for one image and one kernel: z_ij = sum over r, s of beta_rs times the padded a.

    >>> convolved(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 10.0]]))
    array([[21., 32.]])
    """
    a = padded(a, padding)
    z = np.zeros(output_shape(a.shape, beta.shape, (0, 0), stride))
    for (i, j), (r, s) in itertools.product(np.ndindex(*z.shape), np.ndindex(*beta.shape)):
        z[i, j] += beta[r, s] * a[i * stride[0] + r, j * stride[1] + s]
    return z


def kernel_jacobian(a: Array, kernel: Pair, padding: Pair, stride: Pair) -> Array:
    """The Jacobian of vec(A * beta) by vec(beta): its columns are vec(A * E_rs)."""
    columns = [vec(convolved(a, unit(kernel, place), padding, stride)) for place in places_columnwise(kernel)]
    return np.stack(columns, axis=1)


def image_jacobian(shape: Pair, beta: Array, padding: Pair, stride: Pair) -> Array:
    """The Jacobian of vec(A * beta) by vec(A): its columns are vec(E_rs * beta)."""
    columns = [vec(convolved(unit(shape, place), beta, padding, stride)) for place in places_columnwise(shape)]
    return np.stack(columns, axis=1)


def windows(shape: Pair, kernel: Pair, padding: Pair, stride: Pair) -> Iterator[tuple[int, int, int, int]]:
    """(p, q, top, left) of each window, columnwise: top and left are counted in the padded image."""
    for p, q in places_columnwise(output_shape(shape, kernel, padding, stride)):
        yield p, q, p * stride[0], q * stride[1]


def max_pool_jacobian(image: Array, kernel: Pair, padding: Pair, stride: Pair) -> Array:
    """The 0/1 Jacobian of vec(max-pooled I) by vec(I), with zeros for padding, as the note pads.

    A row has its 1 where the window's largest entry stands; none, where that is a padded zero.
    """
    h, w = image.shape
    filled = padded(image, padding)
    out = []
    for _p, _q, top, left in windows((h, w), kernel, padding, stride):
        block = filled[top : top + kernel[0], left : left + kernel[1]]
        index = int(np.argmax(vec(block)))
        r, c = top + index % kernel[0] - padding[0], left + index // kernel[0] - padding[1]
        inside = 0 <= r < h and 0 <= c < w
        out.append(vec(unit((h, w), (r, c))) if inside else np.zeros(h * w))
    return np.stack(out)


def average_pool_jacobian(shape: Pair, kernel: Pair, padding: Pair, stride: Pair) -> Array:
    """The Jacobian of vec(average-pooled I) by vec(I): 1/(number in a window) where a window lies.

    The padded zeros count in the average.
    """
    out = []
    for _p, _q, top, left in windows(shape, kernel, padding, stride):
        covered = padded(np.zeros(shape), padding)
        covered[top : top + kernel[0], left : left + kernel[1]] = 1 / (kernel[0] * kernel[1])
        out.append(vec(unpadded(covered, padding)))
    return np.stack(out)
