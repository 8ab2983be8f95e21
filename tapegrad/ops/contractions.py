"""Contractions: products of two or more operands, summed over what they share.

All are linear in each operand, so the cotangent of an operand is again a contraction: of g with the
conjugates of the others. They are marked multilinear, which gives them the strong zero (pulls.py). The
most general of them is in einsum.py.
"""

import math
import operator
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp
from tapegrad.shapes import conj, mH, unbroadcast

# ---------------------------------------------------------------- matmul


# The method dot does the same as @, on small matrices up to three times quicker; before NumPy 2.4, @ didn't hand
# strided matrices to BLAS, and rounded in another order.
_product: Any = np.ndarray.dot if np.lib.NumpyVersion(np.__version__) >= "2.4.0" else operator.matmul


COUNTS = np.array([[1, 2], [3, 4]])


@defvjp(
    np.matmul,
    multilinear=True,
    of_matrices=(_product, lambda g, _y, _a, b: g.dot(b.T), lambda g, _y, a, _b: a.T.dot(g)),
    cases=Cases(
        calls=(
            call((2, 3), (3, 4)),
            call((3,), (3,)),
            call((3,), (3, 2)),
            call((2, 3), (3,)),
            call((2, 2, 3), (3, 2)),
            call((2, 2, 3), (3,)),
            call((2, 3), (4, 3, 2)),
            call((3,), (2, 3, 2)),
            call((2, 2, 3), (2, 3, 2)),
            call((2, 1, 2, 3), (3, 3, 2)),
            call((1, 2, 3), (4, 3, 1)),
            call((2, 1), (1, 3)),
            call((2, 3), (3, 2), dtype=np.complex128),
            call((0, 3), (3, 2)),
            call((2, 0), (0, 3)),
            call((2, 0, 3), (3, 2)),
            call((0,), (0,)),
            call((2, 2, 0), (0, 3)),
            call((2, 3), (4, 3), axes=[(0, 1), (1, 0), (0, 1)]),
            call((3, 2, 4), (2, 5), axes=[(2, 1), (0, 1), (0, 2)]),
            call((3, 2), (3,), axes=[(1, 0), 0, 0]),
            call((2, 3), (3,), axes=[(-2, -1), (0,), (0,)]),
            call((3,), (3,), axes=[0, 0, ()]),
        ),
        # Integers don't record: where the rest does, they are arrays beside tensors.
        examples=(
            (call(COUNTS, np.eye(2)), (None, np.array([[10.0, 14.0], [14.0, 20.0]])), COUNTS),
            (call(2 * np.eye(2), COUNTS), (np.array([[5.0, 11.0], [11.0, 25.0]]), None), COUNTS),
        ),
    ),
)
def matmul_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, axes: Any = None,
    _dtype: Any = None, _casting: Any = "same_kind", _order: Any = "K",
) -> Any:  # fmt: skip
    """a_bar = g b^H, b_bar = a^H g, summed over the axes along which an operand was broadcast."""
    if axes is not None:
        return _along(axes, g, a, b)
    if a.ndim == 2 and b.ndim == 2:
        if type(g) is type(a) is type(b):  # The method dot: on small matrices three times quicker than @.
            return lambda: g.dot(conj(b.T)), lambda: conj(a.T).dot(g)
        return lambda: g @ mH(b), lambda: mH(a) @ g  # Constants are arrays where the rest are tensors.
    if a.ndim == 1 and b.ndim == 1:
        return lambda: g * conj(b), lambda: g * conj(a)
    # A vector is a matrix with one row, or one column.
    A = a if a.ndim > 1 else a.reshape((1, *a.shape))
    B = b if b.ndim > 1 else b.reshape((*b.shape, 1))
    batch = g.shape[: g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    G = g.reshape((*batch, A.shape[-2], B.shape[-1]))
    return lambda: _left(G, A, B).reshape(a.shape), lambda: _right(G, A, B).reshape(b.shape)


def _along(axes: Any, g: Any, a: Any, b: Any) -> Any:
    """The cotangents of a product of the matrices that stand at ``axes``: moved to the end, and back."""
    places = [tuple(at) if isinstance(at, (tuple, list)) else (at,) for at in axes]
    ends = [tuple(range(-len(at), 0)) for at in places]
    G, A, B = (np.moveaxis(x, places[i], ends[i]) for x, i in ((g, 2), (a, 0), (b, 1)))
    to_a, to_b = matmul_vjp(G, None, A, B)
    return lambda: np.moveaxis(to_a(), ends[0], places[0]), lambda: np.moveaxis(to_b(), ends[1], places[1])


def _left(G: Any, A: Any, B: Any) -> Any:
    """G B^H, summed to the shape of A; a single matrix on either side makes it one product of matrices."""
    if B.ndim == 2:
        return (_rows(G) @ mH(B)).reshape(A.shape)
    if A.ndim == 2:
        summed = (*range(G.ndim - 2), G.ndim - 1)
        return np.tensordot(G, conj(B), axes=(summed, summed))
    return unbroadcast(G @ mH(B), A.shape)


def _right(G: Any, A: Any, B: Any) -> Any:
    """A^H G, summed to the shape of B; of a single matrix B, as one product of matrices."""
    if B.ndim == 2:
        return mH(_rows(A)) @ _rows(G)
    return unbroadcast(mH(A) @ G, B.shape)


def _rows(x: Any) -> Any:
    """A batch of matrices as one matrix, with all of their rows."""
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


@composite(np.linalg.matmul, cases=Cases(calls=(call((2, 3), (3, 2)), call((3,), (2, 3, 1)))))
def linalg_matmul(x1: Any, x2: Any, /) -> Any:
    """``np.matmul``."""
    return np.matmul(x1, x2)


# ---------------------------------------------------------------- dot, inner, outer, tensordot


def ndim_of(x: Any) -> int:
    """The number of axes; of a Python number 0."""
    return getattr(x, "ndim", 0)


@defvjp(
    np.dot,
    multilinear=True,
    cases=Cases(
        calls=(
            call((3,), (3,)),
            call((2, 3), (3, 4)),
            call((2, 3), (3,)),
            call((3,), (3, 2)),
            call((2, 2, 3), (3,)),
            call((2, 3), (2, 3, 2)),
            call((3,), (2, 3, 2)),
            call((2, 1, 3), (2, 2, 3, 2)),
            call((), ()),
            call((), (2, 3)),
            call((2, 3), ()),
            call((2, 3), 2.0),
            call((0,), (0,)),
            call((2, 0), (0, 3)),
            call((0, 3), (2, 3, 1)),
        ),
    ),
)
def dot_vjp(g: Any, _y: Any, a: Any, b: Any, *, _out: Any = None) -> Any:
    """a_bar = g b^H, b_bar = a^H g; the last axis of a against the last but one of b."""
    if ndim_of(a) == 0 or ndim_of(b) == 0:
        return lambda: unbroadcast(g * conj(b), a.shape), lambda: unbroadcast(g * conj(a), b.shape)
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul_vjp(g, _y, a, b)
    return tensordot_vjp(g, _y, a, b, axes=(-1, b.ndim - 2))


@composite(np.inner, cases=Cases(calls=(call((3,), (3,)), call((2, 3), (4, 3)), call((2, 3), (3,)), call((), (3,)))))
def inner(a: Any, b: Any, /) -> Any:
    """``np.dot`` of vectors and scalars; else the last axes of both summed together."""
    a, b = (x if hasattr(x, "ndim") else np.asarray(x) for x in (a, b))
    if min(a.ndim, b.ndim) == 0 or max(a.ndim, b.ndim) == 1:
        return np.dot(a, b)
    return np.tensordot(a, b, axes=(-1, -1))


@composite(np.vdot, cases=Cases(calls=(call((3,), (3,)), call((2, 3), (3, 2)), call((), ())), analytic=False))
def vdot(a: Any, b: Any, /) -> Any:
    """The dot product of all elements, those of ``a`` conjugated."""
    return np.dot(np.conj(np.reshape(a, -1)), np.reshape(b, -1))


@defvjp(
    np.outer,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2,), (3,)),
            call((2, 2), (1, 3)),
            call((), (3,)),
            call((3,), 2.0),
            call((0,), (3,)),
            call((), ()),
        )
    ),
)
def outer_vjp(g: Any, _y: Any, a: Any, b: Any, *, _out: Any = None) -> Any:
    """a_bar = g conj(b), b_bar = g^T conj(a), both laid out as the operands were."""
    return (
        lambda: (g @ conj(np.reshape(b, (-1,)))).reshape(a.shape),
        lambda: (conj(np.reshape(a, (-1,))) @ g).reshape(b.shape),
    )


@composite(np.linalg.outer, cases=Cases(calls=(call((2,), (3,)),)))
def linalg_outer(x1: Any, x2: Any, /) -> Any:
    """``np.outer`` of vectors."""
    x1, x2 = (x if hasattr(x, "ndim") else np.asarray(x) for x in (x1, x2))
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"Input arrays must be one-dimensional, but they are {x1.ndim=} and {x2.ndim=}.")
    return np.outer(x1, x2)


def summed_axes(axes: Any, a_ndim: int, b_ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ``axes`` of tensordot (an int, or a pair of ints or sequences) as axes of a and of b, counted from 0.

    >>> summed_axes(2, 3, 4), summed_axes((-1, [0]), 3, 4)
    (((1, 2), (0, 1)), ((2,), (0,)))
    """
    if not np.iterable(axes):
        count = operator.index(axes)
        return tuple(range(a_ndim - count, a_ndim)), tuple(range(count))
    in_a, in_b = (tuple(np.atleast_1d(np.asarray(given, int)).tolist()) for given in axes)
    return tuple(i % a_ndim for i in in_a), tuple(i % b_ndim for i in in_b)


def _ranked(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The positions in ``axes`` from its least to its greatest; of a permutation, its inverse."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


@defvjp(
    np.tensordot,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2, 3, 2), (3, 2, 2)),
            call((2, 3), (3, 2), axes=1),
            call((2,), (3,), axes=0),
            call((2, 3, 4), (4, 2), axes=(-1, 0)),
            call((2, 3, 4), (4, 1, 2), axes=([0, 2], [2, 0])),
            call((2, 3, 4), (3, 1, 4), axes=((-1, 1), (-1, -3))),
            call((2, 3), (3, 2), axes=([0, 1], [1, 0])),
            call((2, 3), 2.0, axes=0),
            call((), (2,), axes=0),
            call((2, 0), (0, 3), axes=1),
            call((0, 2), (2, 3), axes=1),
        ),
    ),
)
def tensordot_vjp(g: Any, _y: Any, a: Any, b: Any, *, axes: Any = 2) -> Any:
    """a_bar = g against the free axes of conj(b), b_bar = conj(a) against g's; then their axes put in order."""
    in_a, in_b = summed_axes(axes, ndim_of(a), ndim_of(b))
    free_a = tuple(i for i in range(ndim_of(a)) if i not in in_a)
    free_b = tuple(i for i in range(ndim_of(b)) if i not in in_b)
    of_a, of_b = tuple(range(len(free_a))), tuple(range(len(free_a), g.ndim))

    def a_bar() -> Any:
        c = np.tensordot(g, conj(b), axes=(of_b, free_b))
        return c.transpose(_ranked(free_a + tuple(in_a[j] for j in _ranked(in_b))))

    def b_bar() -> Any:
        c = np.tensordot(conj(a), g, axes=(free_a, of_a))
        return c.transpose(_ranked(tuple(in_b[j] for j in _ranked(in_a)) + free_b))

    return a_bar, b_bar


@composite(
    np.linalg.tensordot,
    cases=Cases(calls=(call((2, 3), (3, 2), axes=1), call((2, 3), (2, 3)), call((2, 3), (2, 3), axes=([0], [0])))),
)
def linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """``np.tensordot``."""
    return np.tensordot(x1, x2, axes=axes)
