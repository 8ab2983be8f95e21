"""Diagonals and triangles: taken out of matrices, put into them, and summed.

Taking a diagonal and placing one in zeros are a pair: each is the other's adjoint.
"""

from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import ShapeError
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import unbroadcast

_PLANES = (
    call((3, 3)),
    call((2, 4), offset=1),
    call((4, 2), offset=-2),
    call((2, 3), offset=5),
    call((2, 3, 4), offset=-1, axis1=2, axis2=0),
    call((3, 2, 3), axis1=-1, axis2=-3),
    call((0, 3)),
)

# ---------------------------------------------------------------- diagonals


@primitive
def placed_on_diagonal(d: Any, shape: tuple[int, ...], offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Zeros of ``shape`` with ``d`` on a diagonal: the adjoint of ``np.diagonal``.

    d : array of the shape of ``np.diagonal(zeros(shape), offset, axis1, axis2)``, or one that broadcasts to it
    Returns an array of ``shape`` and the dtype of ``d``.

    >>> placed_on_diagonal(np.array([1.0, 2.0]), (2, 3), 1)
    array([[0., 1., 0.],
           [0., 0., 2.]])
    """
    out = np.zeros(shape, d.dtype)
    diagonal = out.diagonal(offset, axis1, axis2)
    diagonal.flags.writeable = True  # NumPy gives a read-only view; the array below it is ours.
    diagonal[...] = d
    return out


@defvjp(
    placed_on_diagonal,
    cases=Cases(
        calls=(
            call((2,), shape=(2, 2)),
            call((2,), shape=(3, 3), offset=-1),
            call((3, 2), shape=(2, 3, 4), offset=-1, axis1=-1, axis2=0),
            call((3, 1), shape=(2, 3, 2), axis1=0, axis2=2),
            call((), shape=(2, 2)),
            call((0,), shape=(2, 2), offset=2),
        )
    ),
)
def placed_on_diagonal_vjp(
    g: Any, _y: Any, _d: Any, *, _shape: Any, offset: int = 0, axis1: int = 0, axis2: int = 1
) -> Any:
    """The diagonal: the other half of the pair."""
    return unbroadcast(np.diagonal(g, offset, axis1, axis2), _d.shape)


@defvjp(np.diagonal, cases=Cases(calls=_PLANES))
def diagonal_vjp(g: Any, _y: Any, _a: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Placed in zeros: the other half of the pair."""
    return placed_on_diagonal(g, _a.shape, offset, axis1, axis2)


@defvjp(
    np.trace,
    cases=Cases(calls=(*_PLANES, call((2, 2), dtype=None), call((2, 3, 2), axis1=1, axis2=2, dtype=np.complex128))),
)
def trace_vjp(
    g: Any, _y: Any, _a: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1, _dtype: Any = None, _out: Any = None
) -> Any:
    """a_bar = g all along the diagonal."""
    return placed_on_diagonal(g[..., None], _a.shape, offset, axis1, axis2)


@composite(
    np.diag,
    cases=Cases(calls=(call((3,)), call((2,), k=2), call((2,), k=-1), call((3, 3)), call((2, 4), k=1), call((0,)))),
)
def diag(v: Any, k: int = 0) -> Any:
    """A vector placed on a diagonal of zeros, or the diagonal of a matrix."""
    v = v if hasattr(v, "shape") else np.asarray(v)
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ShapeError(f"np.diag: the input must be 1- or 2-d; got shape {v.shape}")
    n = v.shape[0] + abs(k)
    return placed_on_diagonal(v, (n, n), k)


@composite(np.diagflat, cases=Cases(calls=(call((3,)), call((2, 2), k=1), call(()), call((1, 2), k=-1))))
def diagflat(v: Any, k: int = 0) -> Any:
    """All elements in a row, placed on a diagonal of zeros."""
    return diag(np.ravel(v), k)


# ---------------------------------------------------------------- triangles

_TRIANGLES = Cases(
    calls=(
        call((3, 3)),
        call((2, 4), k=1),
        call((4, 2), k=-2),
        call((2, 3, 3), k=0),
        call((3,)),
        call((3,), k=-1),
        call((2, 2), k=9),
        call((0, 3)),
    ),
    note="strong: outside the triangle 0, whatever the cotangent",
)


@defvjp(np.tril, cases=_TRIANGLES)
def tril_vjp(g: Any, _y: Any, _m: Any, *, k: int = 0) -> Any:
    """The same triangle of g; a vector had been repeated."""
    return unbroadcast(np.tril(g, k), _m.shape)


@defvjp(np.triu, cases=_TRIANGLES)
def triu_vjp(g: Any, _y: Any, _m: Any, *, k: int = 0) -> Any:
    """The same triangle of g; a vector had been repeated."""
    return unbroadcast(np.triu(g, k), _m.shape)
