"""Products beyond matmul: of vectors along an axis, of vectors and matrices, crosswise, and of Kronecker."""

import math
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.ops.contractions import matmul_vjp, ndim_of
from tapegrad.primitive import composite, defvjp
from tapegrad.shapes import conj, unbroadcast

# ---------------------------------------------------------------- vecdot, matvec, vecmat


def _core_axes(axes: Any, default: tuple[tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    """The ``axes`` of a generalised ufunc as a tuple for each operand and the output."""
    if axes is None:
        return list(default)
    given = [tuple(a) if isinstance(a, (tuple, list)) else (a,) for a in axes]
    return given + [()] * (len(default) - len(given))


def _at_end(x: Any, axes: tuple[int, ...]) -> Any:
    """With these axes moved to the end."""
    return x if axes == _last(axes) else np.moveaxis(x, axes, _last(axes))


def _from_end(x: Any, axes: tuple[int, ...]) -> Any:
    """With as many axes moved from the end to where these are."""
    return x if axes == _last(axes) else np.moveaxis(x, _last(axes), axes)


def _last(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(-len(axes), 0))


@defvjp(
    np.vecdot,
    multilinear=True,
    cases=Cases(
        calls=(
            call((3,), (3,)),
            call((2, 3), (3,)),
            call((3,), (2, 3)),
            call((2, 3), (2, 3)),
            call((2, 1, 3), (4, 3)),
            call((3, 2), (3, 2), axis=0),
            call((3, 2), (3, 2), axis=0, keepdims=True),
            call((2, 3), (2, 3), axes=[(0,), (0,), ()]),
            call((4, 3), (3, 4), axes=[0, 1, ()]),
            call((4, 3), (3, 4), axes=[0, 1]),
            call((2, 3), (2, 3), keepdims=True),
            call((2, 3), (2, 3), dtype=np.complex128),
            call((2, 0), (2, 0)),
        ),
        analytic=False,
        note="conjugates the first operand",
    ),
)
def vecdot_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, axes: Any = None, axis: int = -1, keepdims: bool = False,
    _dtype: Any = None, _casting: Any = "same_kind", _order: Any = "K",
) -> Any:  # fmt: skip
    """a_bar = conj(g) b, b_bar = g a, along the axis that was summed."""
    in_a, in_b, out = _core_axes(axes, ((axis,), (axis,), (axis,) if keepdims else ()))
    A, B = _at_end(a, in_a), _at_end(b, in_b)
    if out:
        g = _at_end(g, out)[..., 0]
    return (
        lambda: _from_end(_spread(conj(g), B, A.shape), in_a),
        lambda: _from_end(_spread(g, A, B.shape), in_b),
    )


def _spread(g: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """g times the vectors of x, summed to ``shape``; to that of one vector, as one product."""
    if len(shape) == 1 and g.ndim:
        every = tuple(range(g.ndim))
        return np.tensordot(g, x, axes=(every, every))
    return unbroadcast(g[..., None] * x, shape)


@composite(np.linalg.vecdot, cases=Cases(calls=(call((2, 3), (3,)), call((3, 2), (3, 2), axis=0)), analytic=False))
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """``np.vecdot``."""
    product: Any = np.vecdot
    return product(x1, x2, axis=axis)


def _matvec_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, axes: Any = None, _dtype: Any = None,
    _casting: Any = "same_kind", _order: Any = "K",
) -> Any:  # fmt: skip
    """That of a product of matrices, the vector a column."""
    in_a, in_b, out = _core_axes(axes, ((-2, -1), (-1,), (-1,)))
    A, B, G = _at_end(a, in_a), _at_end(b, in_b), _at_end(g, out)
    a_bar, b_bar = matmul_vjp(G[..., None], None, A, B[..., None])
    return lambda: _from_end(a_bar(), in_a), lambda: _from_end(b_bar()[..., 0], in_b)


def _vecmat_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, axes: Any = None, _dtype: Any = None,
    _casting: Any = "same_kind", _order: Any = "K",
) -> Any:  # fmt: skip
    """That of a product of matrices, the conjugate of the vector a row."""
    in_a, in_b, out = _core_axes(axes, ((-1,), (-2, -1), (-1,)))
    A, B, G = _at_end(a, in_a), _at_end(b, in_b), _at_end(g, out)
    a_bar, b_bar = matmul_vjp(G[..., None, :], None, conj(A)[..., None, :], B)
    return lambda: _from_end(conj(a_bar()[..., 0, :]), in_a), lambda: _from_end(b_bar(), in_b)


if hasattr(np, "matvec"):  # NumPy 2.2
    defvjp(
        np.matvec,
        multilinear=True,
        cases=Cases(
            calls=(
                call((2, 3), (3,)),
                call((4, 2, 3), (3,)),
                call((2, 3), (4, 3)),
                call((4, 2, 3), (4, 3)),
                call((2, 1, 2, 3), (4, 3)),
                call((3, 2), (3, 4), axes=[(1, 0), 0, 0]),
                call((2, 0), (0,)),
                call((2, 3), (3,), dtype=np.complex128),
            ),
        ),
    )(_matvec_vjp)
    defvjp(
        np.vecmat,
        multilinear=True,
        cases=Cases(
            calls=(
                call((2,), (2, 3)),
                call((2,), (4, 2, 3)),
                call((4, 2), (2, 3)),
                call((4, 2), (4, 2, 3)),
                call((4, 2), (2, 1, 2, 3)),
                call((2, 4), (3, 2), axes=[0, (1, 0), 0]),
                call((0,), (0, 3)),
                call((2,), (2, 3), dtype=np.complex128),
            ),
            analytic=False,
            note="conjugates the vector",
        ),
    )(_vecmat_vjp)


# ---------------------------------------------------------------- cross, kron


@defvjp(
    np.cross,
    multilinear=True,
    cases=Cases(
        calls=(
            call((3,), (3,)),
            call((2, 3), (3,)),
            call((2, 1, 3), (4, 3)),
            call((3, 2), (3, 2), axis=0),
            call((3, 2), (2, 3), axisa=0, axisb=1, axisc=0),
            call((0, 3), (3,)),
        )
    ),
)
def cross_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """a_bar = conj(b) x g, b_bar = g x conj(a); a vector of two elements has a third one of 0."""
    if axis is not None:
        axisa = axisb = axisc = axis
    A, B = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if A.shape[-1] == B.shape[-1] == 2:  # The third element was all of the result.
        G = np.concatenate([np.zeros_like(g[..., None]), np.zeros_like(g[..., None]), g[..., None]], axis=-1)
    else:
        G = np.moveaxis(g, axisc, -1)

    def bar(c: Any, like: Any, place: int) -> Any:
        return np.moveaxis(unbroadcast(c[..., : like.shape[-1]], like.shape), -1, place)

    return (
        lambda: bar(_crossed(conj(_of_three(B)), G), A, axisa),
        lambda: bar(_crossed(G, conj(_of_three(A))), B, axisb),
    )


def _crossed(x: Any, y: Any) -> Any:
    """The cross product of vectors of three elements in the last axis."""
    if x.dtype.kind == y.dtype.kind == "f":
        return np.cross(x, y)
    # How NumPy 2.0 rounds np.cross of complex numbers depends on where the arrays lie in memory.
    (x1, x2), (y1, y2) = ((np.take(z, (1, 2, 0), axis=-1), np.take(z, (2, 0, 1), axis=-1)) for z in (x, y))
    return x1 * y2 - x2 * y1


def _of_three(x: Any) -> Any:
    return x if x.shape[-1] == 3 else np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)


@composite(np.linalg.cross, cases=Cases(calls=(call((2, 3), (3,)), call((3, 2), (3, 2), axis=0))))
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """``np.cross`` of vectors of three elements."""
    x1, x2 = (x if hasattr(x, "shape") else np.asarray(x) for x in (x1, x2))
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(
            f"Both input arrays must be (arrays of) 3-dimensional vectors, but they are {x1.shape[axis]} "
            f"and {x2.shape[axis]} dimensional instead."
        )
    return np.cross(x1, x2, axis=axis)


@defvjp(
    np.kron,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2, 3), (3, 2)),
            call((2,), (3,)),
            call((2,), (3, 2)),
            call((2, 1, 2), (3, 2)),
            call((), (2, 3)),
            call((2,), ()),
            call((2, 3), 2.0),
            call((0, 2), (2, 2)),
            call((2, 8), (3, 8)),
            call((2, 8), (8,)),
            call((2, 16), (1, 4)),
        )
    ),
)
def kron_vjp(g: Any, _y: Any, a: Any, b: Any) -> Any:
    """g as a matrix, a row for each element of a: a_bar = g conj(b), b_bar = conj(a) g."""
    shape_a, shape_b = ((1,) * (g.ndim - ndim_of(x)) + np.shape(x) for x in (a, b))
    if ndim_of(a) == ndim_of(b) == 2 and shape_a[1] * shape_b[1] >= 64:
        # As below, but a row of b or of a at a time, which spares the transposition: a pass less for each.
        G = g.reshape((shape_a[0], shape_b[0], shape_a[1], shape_b[1]))
        return (
            lambda: np.sum(np.matmul(G, conj(b)[:, :, None])[..., 0], axis=1),
            lambda: np.sum(np.matmul(conj(a)[:, None, None, :], G)[:, :, 0], axis=0),
        )
    pairs = [n for pair in zip(shape_a, shape_b, strict=True) for n in pair]
    G = g.reshape(tuple(pairs)).transpose((*range(0, 2 * g.ndim, 2), *range(1, 2 * g.ndim, 2)))
    G = G.reshape((math.prod(shape_a), math.prod(shape_b)))
    return (
        lambda: (G @ conj(np.reshape(b, (-1,)))).reshape(a.shape),
        lambda: (conj(np.reshape(a, (-1,))) @ G).reshape(b.shape),
    )


# ---------------------------------------------------------------- diagonals of matrices


@composite(np.linalg.diagonal, cases=Cases(calls=(call((2, 3)), call((2, 3, 3), offset=-1), call((2, 3), offset=2))))
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """``np.diagonal`` of the last two axes."""
    return np.diagonal(x, offset, axis1=-2, axis2=-1)


@composite(
    np.linalg.trace,
    cases=Cases(calls=(call((2, 3)), call((2, 3, 3), offset=-1), call((2, 3), offset=1, dtype=np.complex128))),
)
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """``np.trace`` of the last two axes."""
    return np.trace(x, offset, axis1=-2, axis2=-1, dtype=dtype)
