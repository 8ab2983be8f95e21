"""Norms: of vectors, of matrices, and condition numbers.

The euclidean norm and the p-norms are primitives; every other norm is written in sums, maxima and
singular values, whose rules know what to do at ties. At zero every norm has the gradient 0.
"""

import functools
import math
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import cast, normalized_axes, restore_axes

# ---------------------------------------------------------------- the two that have a rule of their own


class OneZero(Domain):
    """Draws arrays as usual, but vectors of four with a 0: where norms of even order are smooth."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Arrays of ``shape`` and ``dtype``."""
        x = super().draw(rng, shape, dtype)
        return x * np.array([1, 0, 1, 1], dtype) if shape == (4,) else x


@partial(primitive, name="np.linalg.norm")
def euclidean(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """The root of the sum of squares over axes: None for all, an int, or a tuple of any length."""
    if axis is None:
        return np.linalg.norm(x, keepdims=keepdims)
    squares = (x.conj() * x).real if x.dtype.kind == "c" else x * x
    return np.sqrt(np.add.reduce(squares, axis=axis, keepdims=keepdims))


@defvjp(
    euclidean,
    cases=Cases(
        domain=OneZero(),
        calls=(
            call((3,)),
            call((4,)),
            call((2, 3)),
            call((2, 3), keepdims=True),
            call((2, 3), axis=-1),
            call((2, 3, 2), axis=(0, 2)),
            call((2, 3, 2), axis=(1, -1), keepdims=True),
            call((2, 3, 2), axis=(0, 1, 2)),
            call(()),
            call((0,)),
            call((2, 0), axis=1),
            call((0, 2), axis=1),
        ),
        examples=(
            (call(np.array([[0.0, 0.0], [3.0, 4.0]]), axis=1), (np.array([[0.0, 0.0], [0.6, 0.8]]),)),
            # A cotangent of 0 counts for nothing, also of an infinite norm.
            (
                call(np.array([[math.inf, 1], [math.nan, 1], [math.inf, 1], [3, 4], [0, 0]]), axis=1),
                (np.array([[0.0, 0], [0, 0], [math.nan, 0], [0.6, 0.8], [0, 0]]),),
                np.array([0, 0, 1, 1, 1]),
            ),
        ),
        analytic=False,
        note="gradient 0 at zero",
    ),
)
def euclidean_vjp(g: Any, y: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    """x_bar = g x / y, and 0 where y is 0."""
    g, y = restore_axes(g, x.shape, axis, keepdims), restore_axes(y, x.shape, axis, keepdims)
    void = (y == 0) | ((g == 0) & ~np.isfinite(y))
    x_bar = g / y * x
    return np.where(void, 0, x_bar) if void.any() else x_bar


@partial(primitive, name="np.linalg.norm")
def p_norm(x: Any, ord: float, axis: Any = None, keepdims: Any = False) -> Any:
    """The sum of ``|x| ** ord`` over axes to the power ``1 / ord``."""
    total = np.add.reduce(np.absolute(x) ** ord, axis=axis, keepdims=keepdims)
    return total ** np.reciprocal(ord, dtype=total.dtype)


@defvjp(
    p_norm,
    cases=Cases(
        domain=OneZero(),
        calls=(
            call((3,), ord=3),
            call((4,), ord=4),
            call((2, 3), ord=2.5, axis=0),
            call((2, 3), ord=0.5, axis=1, keepdims=True),
            call((2, 3), ord=-1, axis=-1),
            call((2, 3, 2), ord=4, axis=(0, 2)),
            call((3,), ord=1.5),
            call((2, 0), ord=3, axis=0),
        ),
        examples=(
            (call(np.array([[0.0, 0.0], [0.0, -2.0]]), ord=3, axis=1), (np.array([[0.0, 0.0], [0.0, -1.0]]),)),
            (call(np.array([0.0, 4.0]), ord=0.5), (np.array([0.0, 1.0]),)),
            (call(np.array([0.0, 4.0]), ord=-2.0), (np.zeros(2),)),
            (call(np.array([1e-200, 0.0]), ord=3), (np.zeros(2),)),
            (call(np.array([0.0, 3.0, -4.0]), ord=3), (np.array([0.0, 9.0, -16.0]) / 91 ** (2 / 3),)),
            # A cotangent of 0 counts for nothing, also of an infinite norm.
            (
                call(np.array([[math.inf, 1], [math.nan, 1], [math.inf, 1], [0, 2]]), ord=3, axis=1),
                (np.array([[0.0, 0], [0, 0], [math.nan, 0], [0, 2]]),),
                np.array([0, 0, 1, 2]),
            ),
        ),
        analytic=False,
        note="gradient 0 at zero, and for elements that are 0",
    ),
)
def p_norm_vjp(g: Any, y: Any, x: Any, *, ord: float, axis: Any = None, keepdims: bool = False) -> Any:
    """x_bar = g x / |x| (|x| / y)**(p - 1): the quotient first, which can't overflow where p >= 1."""
    g, y = restore_axes(g, x.shape, axis, keepdims), restore_axes(y, x.shape, axis, keepdims)
    void = (x == 0) | (y == 0) | ((g == 0) & ~np.isfinite(y))
    x_bar = g * (np.absolute(x) / y) ** (ord - 1) * np.sign(x)
    return np.where(void, 0, x_bar) if void.any() else x_bar


# ---------------------------------------------------------------- norms of vectors


def _of_vectors(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    """A norm over axes: None for all, an int, or a tuple of any length."""
    if ord is None or ord == 2:
        return euclidean(x, axis=axis, keepdims=keepdims)
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order {ord!r} for vectors")
    if ord == math.inf:
        return np.max(np.absolute(x), axis=axis, keepdims=keepdims)
    if ord == -math.inf:
        return np.min(np.absolute(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        return np.sum((x != 0).astype(x.real.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(np.absolute(x), axis=axis, keepdims=keepdims)
    return p_norm(x, ord=ord, axis=axis, keepdims=keepdims)


@composite(
    np.linalg.vector_norm,
    cases=Cases(
        calls=(
            call((2, 3)),
            call((2, 3), axis=1, keepdims=True),
            call((2, 3, 2), axis=(0, -1), ord=3),
            call((2, 3, 2), axis=(0, 2), ord=math.inf),
            call((2, 3), ord=-math.inf, axis=0),
            call((2, 3), ord=1, keepdims=True),
        ),
        analytic=False,
    ),
)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm of the elements along axes, or of all of them."""
    return _of_vectors(_inexact(x), ord, axis, keepdims)


# ---------------------------------------------------------------- norms of matrices


def _of_matrices(x: Any, ord: Any, axis: tuple[int, int], keepdims: bool) -> Any:
    rows, columns = normalized_axes(axis, x.ndim)
    if rows == columns:
        raise ValueError(f"Duplicate axes given: axis={axis} of an array of {x.ndim} axes")
    if ord is None or ord in ("fro", "f"):
        return euclidean(x, axis=axis, keepdims=keepdims)
    if ord == "nuc" or (not isinstance(ord, str) and ord in (2, -2)):
        # Singular values aren't negative; the absolute value is there for its slope 0 at 0.
        s = np.absolute(np.linalg.svdvals(np.moveaxis(x, (rows, columns), (-2, -1))))
        y = _reduced({"nuc": np.sum, 2: np.max, -2: np.min}[ord], s, -1)
    elif not isinstance(ord, str) and ord in (1, -1, math.inf, -math.inf):
        summed, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = np.sum(np.absolute(x), axis=summed)
        y = _reduced(np.max if ord > 0 else np.min, sums, chosen - (chosen > summed))
    else:
        raise ValueError(f"Invalid norm order {ord!r} for matrices.")
    return y.reshape(tuple(1 if i in (rows, columns) else n for i, n in enumerate(x.shape))) if keepdims else y


def _reduced(function: Any, x: Any, axis: int) -> Any:
    """The sum, the largest or the least; of nothing, the sum and the largest are 0."""
    if function is np.max and x.shape[axis] == 0:
        return np.sum(x, axis=axis)
    return function(x, axis=axis)


@composite(
    np.linalg.matrix_norm,
    cases=Cases(
        calls=(call((2, 3)), call((2, 2, 3), ord=2, keepdims=True), call((2, 3), ord="nuc"), call((2, 3), ord=-1)),
        analytic=False,
    ),
)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of the matrices in the last two axes."""
    x = _inexact(x)
    if x.ndim < 2:
        raise ValueError(f"np.linalg.matrix_norm: x has {x.ndim} axes, and a matrix two")
    return _of_matrices(x, ord, (-2, -1), keepdims)


@composite(
    np.linalg.norm,
    cases=Cases(
        calls=(
            call((2, 3)),
            call((3,), ord=2),
            call((2, 3, 2), keepdims=True),
            call((2, 3), ord="fro", keepdims=True),
            call((2, 3), ord=None, axis=0),
            call((2, 3), ord=1, axis=1),
            call((2, 3), ord=math.inf, axis=-1, keepdims=True),
            call((3,), ord=-math.inf),
            call((3,), ord=3),
            call((2, 3), ord=-1.5, axis=0),
            call((2, 3), ord=1),
            call((2, 3), ord=-1, keepdims=True),
            call((2, 3), ord=math.inf),
            call((2, 3, 2), ord=-math.inf, axis=(0, 2)),
            call((2, 3, 2), ord=1, axis=(2, 0)),
            call((2, 3), ord=2),
            call((3, 2), ord=-2, keepdims=True),
            call((2, 3, 2), ord=2, axis=(0, -1), keepdims=True),
            call((2, 3), ord="nuc"),
            call((3, 2, 2), ord="nuc", axis=(2, 0)),
        ),
        analytic=False,
        note="gradient 0 at zero; the tied share equally",
    ),
)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Every norm of vectors and matrices, as ``np.linalg.norm`` has them."""
    x = _inexact(x)
    if axis is None:
        if ord is None or (ord == 2 and x.ndim == 1):
            return euclidean(x, keepdims=keepdims)
        axis = tuple(range(x.ndim))
    elif not isinstance(axis, tuple):
        try:
            axis = (int(axis),)
        except (TypeError, ValueError) as error:
            raise TypeError("'axis' must be None, an integer or a tuple of integers") from error
    if len(axis) == 1:
        return _of_vectors(x, ord, axis[0], keepdims)
    if len(axis) == 2:
        return _of_matrices(x, ord, axis, keepdims)
    raise ValueError(f"Improper number of dimensions to norm: axis={axis}")


def _inexact(x: Any) -> Any:
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return cast(x, np.dtype(np.float64)) if x.dtype.kind in "biu" else x


# ---------------------------------------------------------------- condition numbers


@composite(
    np.linalg.cond,
    cases=Cases(
        calls=(
            call((3, 2)),
            call((2, 2, 3), p=2),
            call((2, 3), p=-2),
            call((3, 3), p="fro"),
            call((3, 3), p="nuc"),
            call((2, 2, 2), p=1),
            call((3, 3), p=-1),
            call((3, 3), p=math.inf),
            call((3, 3), p=-math.inf),
        ),
        analytic=False,
    ),
)
def cond(x: Any, p: Any = None) -> Any:
    """The quotient of the outer singular values, or the norm times the norm of the inverse."""
    x = _inexact(x)
    if 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError("cond is not defined on empty arrays")
    with np.errstate(all="ignore"):  # As NumPy does: a singular matrix is not worth a warning here.
        if p is None or (not isinstance(p, str) and p in (2, -2)):
            s = np.linalg.svdvals(x)
            y = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
        else:
            y = _norm_times_norm_of_inverse(x, p)
            if x.dtype.kind == "c":  # NumPy 2.0 gives complex numbers here.
                y = cast(y, np.linalg.cond(np.ones((1, 1), x.dtype), p).dtype)
        undefined = np.isnan(y)
        if not undefined.any():
            return y
        # Where nothing was nan before, nan says 0 / 0 or the norm of no inverse: infinitely far from regular.
        return np.where(undefined & ~np.any(np.isnan(x), axis=(-2, -1)), math.inf, y)[()]


def _norm_times_norm_of_inverse(x: Any, p: Any) -> Any:
    try:
        return norm(x, p, axis=(-2, -1)) * norm(np.linalg.inv(x), p, axis=(-2, -1))
    except np.linalg.LinAlgError:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise
    singular = np.linalg.det(x) == 0
    regular = np.where(singular[..., None, None], _identity(x.shape[-1], x.dtype), x)
    y = norm(regular, p, axis=(-2, -1)) * norm(np.linalg.inv(regular), p, axis=(-2, -1))
    return np.where(singular, math.nan, y)


@functools.lru_cache(maxsize=64)
def _identity(n: int, dtype: Any) -> Any:
    return np.eye(n, dtype=dtype)
