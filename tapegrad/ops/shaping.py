"""Shaping: the same elements in another shape or order. All are linear, and their adjoints move them back."""

import functools
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import ArgumentError
from tapegrad.primitive import composite, defvjp
from tapegrad.shapes import mT

# ---------------------------------------------------------------- shape


def _reshaped(a: Any, shape: Any = None, order: Any = "C", newshape: Any = None, copy: bool | None = None) -> Any:
    if order == "C" and copy is None and shape is not None and newshape is None:
        return a.reshape(shape)
    _require_readable_order("np.reshape", a, order)
    given = {"newshape": newshape, "copy": copy}
    rest: Any = {name: value for name, value in given.items() if value is not None}
    return np.reshape(a, order=order, **rest) if shape is None else np.reshape(a, shape, order=order, **rest)


def _require_readable_order(name: str, a: Any, order: str) -> None:
    """Orders that follow the memory of ``a``, of which a rule knows nothing, have to come to "C"."""
    if order == "A" and np.asarray(a).flags.fnc:
        raise ArgumentError(
            f"{name}: order='A' means 'F' for this array of shape {a.shape}, whose memory is in that order; "
            f"write order='F'"
        )
    if order == "K":
        steps = [abs(step) for n, step in zip(a.shape, a.strides, strict=True) if n != 1]
        if a.size and steps != sorted(steps, reverse=True):
            raise ArgumentError(
                f"{name}: order='K' follows the memory of this array of shape {a.shape}, which isn't in C order; "
                f"transpose it, or write order='C' or 'F'"
            )


def _back_to(g: Any, shape: tuple[int, ...], order: str) -> Any:
    if order == "F":
        return g.reshape(shape, order="F")
    return g.reshape(shape)


@defvjp(
    np.reshape,
    forward=_reshaped,
    cases=Cases(
        calls=(
            call((2, 3), shape=(3, 2)),
            call((2, 3), shape=-1),
            call((2, 3, 2), shape=(2, -1)),
            call((2, 3), shape=[3, 2], order="F"),
            call((2, 3), shape=(1, 6, 1), order="A"),
            call((), shape=(1, 1)),
            call((1,), shape=()),
            call((0, 3), shape=(3, 0)),
            call((2, 3), shape=np.array([3, 2])),
            # copy= came with NumPy 2.1, as unstack did.
            *(
                (call((2, 3), shape=(3, 2), copy=True), call((2,), shape=-1, copy=None))
                if hasattr(np, "unstack")
                else ()
            ),
        )
    ),
)
def reshape_vjp(
    g: Any, _y: Any, _a: Any, *, _shape: Any, order: str = "C", _newshape: Any = None, _copy: Any = None
) -> Any:
    """The shape back."""
    return _back_to(g, _a.shape, order)


def _raveled(a: Any, order: str = "C") -> Any:
    _require_readable_order("np.ravel", a, order)
    return a.ravel(order)


@defvjp(
    np.ravel,
    forward=_raveled,
    cases=Cases(calls=(call((2, 3)), call((2, 3), order="F"), call((2, 3), order="K"), call(()), call((0, 2)))),
)
def ravel_vjp(g: Any, _y: Any, _a: Any, *, order: str = "C") -> Any:
    """The shape back."""
    return _back_to(g, _a.shape, order)


def _squeezed(a: Any, axis: Any = None) -> Any:
    return a.squeeze(axis)


@defvjp(
    np.squeeze,
    forward=_squeezed,
    cases=Cases(calls=(call((1, 3, 1)), call((1, 3, 1), axis=0), call((1, 3, 1), axis=(0, -1)), call((1,)), call(()))),
)
def squeeze_vjp(g: Any, _y: Any, _a: Any, *, _axis: Any = None) -> Any:
    """The shape back."""
    return g.reshape(_a.shape)


def _expanded(a: Any, axis: Any) -> Any:
    if type(axis) is int and 0 <= axis <= a.ndim:
        return a.reshape((*a.shape[:axis], 1, *a.shape[axis:]))
    return np.expand_dims(a, axis)


@defvjp(
    np.expand_dims,
    forward=_expanded,
    cases=Cases(calls=(call((2, 3), axis=0), call((2, 3), axis=-1), call((2, 3), axis=(0, 2)), call((), axis=0))),
)
def expand_dims_vjp(g: Any, _y: Any, _a: Any, *, _axis: Any) -> Any:
    """The shape back."""
    return g.reshape(_a.shape)


@defvjp(np.copy, cases=Cases(calls=(call((2, 3)), call((2, 3), order="F"), call(()))))
def copy_vjp(g: Any, _y: Any, _a: Any, *, _order: str = "K", _subok: bool = False) -> Any:
    """The cotangent itself."""
    return g


def _at_least(name: str, shape_of: Any) -> Any:
    """The composite form of ``atleast_1d`` and its like: ``shape_of`` says how a shape is lengthened."""

    def at_least(*arys: Any) -> Any:
        results = tuple(_lengthened(a, shape_of(np.shape(a))) for a in arys)
        return results[0] if len(results) == 1 else results

    at_least.__name__ = name
    return at_least


def _lengthened(a: Any, shape: tuple[int, ...]) -> Any:
    if not hasattr(a, "reshape"):
        a = np.asarray(a)
    return a if a.shape == shape else a.reshape(shape)


composite(np.atleast_1d, cases=Cases(calls=(call(()), call((2, 3)))))(_at_least("atleast_1d", lambda s: s or (1,)))
composite(np.atleast_2d, cases=Cases(calls=(call(()), call((3,)), call((2, 3)))))(
    _at_least("atleast_2d", lambda s: (1,) * (2 - len(s)) + s)
)
composite(np.atleast_3d, cases=Cases(calls=(call(()), call((3,)), call((2, 3)), call((2, 1, 2)))))(
    _at_least("atleast_3d", lambda s: ((1, 1, 1), (1, *s, 1), (*s, 1))[len(s)] if len(s) < 3 else s)
)


# ---------------------------------------------------------------- order of axes


def _transposed(a: Any, axes: Any = None) -> Any:
    return a.transpose(axes)


@defvjp(
    np.transpose,
    forward=_transposed,
    cases=Cases(
        calls=(
            call((2, 3)),
            call((2, 3, 4)),
            call((2, 3, 4), axes=(1, 2, 0)),
            call((2, 3, 4), axes=[-1, 0, -2]),
            call(()),
            call((0, 3), axes=(1, 0)),
        )
    ),
)
def transpose_vjp(g: Any, _y: Any, _a: Any, *, axes: Any = None) -> Any:
    """The inverse permutation."""
    if axes is None:
        return g.transpose()
    return g.transpose(_inverse(tuple(axes)))


@functools.lru_cache(maxsize=1024)
def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes one; its axes may be negative."""
    return tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))


@defvjp(np.matrix_transpose, cases=Cases(calls=(call((2, 3)), call((2, 3, 4)))))
def matrix_transpose_vjp(g: Any, _y: Any, _x: Any) -> Any:
    """Its own inverse."""
    return mT(g)


@defvjp(np.linalg.matrix_transpose, cases=Cases(calls=(call((2, 3)), call((2, 3, 4)))))
def linalg_matrix_transpose_vjp(g: Any, _y: Any, _x: Any) -> Any:
    """Its own inverse."""
    return mT(g)


@defvjp(
    np.swapaxes,
    cases=Cases(calls=(call((2, 3), axis1=0, axis2=1), call((2, 3, 4), axis1=-1, axis2=0))),
)
def swapaxes_vjp(g: Any, _y: Any, _a: Any, *, axis1: int, axis2: int) -> Any:
    """Its own inverse."""
    return g.swapaxes(axis1, axis2)


@defvjp(
    np.moveaxis,
    cases=Cases(
        calls=(
            call((2, 3, 4), source=0, destination=-1),
            call((2, 3, 4), source=(0, -1), destination=[1, 0]),
            call((2, 3), source=[], destination=[]),
        )
    ),
)
def moveaxis_vjp(g: Any, _y: Any, _a: Any, *, source: Any, destination: Any) -> Any:
    """Moved back."""
    return np.moveaxis(g, destination, source)


@defvjp(
    np.rollaxis,
    cases=Cases(
        calls=(
            call((2, 3, 4), axis=2),
            call((2, 3, 4), axis=0, start=3),
            call((2, 3, 4), axis=-2, start=-1),
            call((2, 3), axis=1, start=1),
        )
    ),
)
def rollaxis_vjp(g: Any, _y: Any, _a: Any, *, axis: int, start: int = 0) -> Any:
    """Moved back."""
    axis, start = axis % g.ndim, start + g.ndim if start < 0 else start
    return np.moveaxis(g, start - 1 if axis < start else start, axis)


# ---------------------------------------------------------------- order of elements


@defvjp(
    np.flip,
    cases=Cases(calls=(call((2, 3)), call((2, 3), axis=1), call((2, 3, 2), axis=(0, -1)), call(()), call((0, 2)))),
)
def flip_vjp(g: Any, _y: Any, _m: Any, *, axis: Any = None) -> Any:
    """Its own inverse."""
    return np.flip(g, axis)


@defvjp(np.fliplr, cases=Cases(calls=(call((2, 3)),)))
def fliplr_vjp(g: Any, _y: Any, _m: Any) -> Any:
    """Its own inverse."""
    return np.flip(g, 1)


@defvjp(np.flipud, cases=Cases(calls=(call((2, 3)), call((3,)))))
def flipud_vjp(g: Any, _y: Any, _m: Any) -> Any:
    """Its own inverse."""
    return np.flip(g, 0)


@defvjp(
    np.rot90,
    cases=Cases(
        calls=(
            call((2, 3)),
            call((2, 3), k=2),
            call((2, 3), k=-1),
            call((2, 3), k=4),
            call((2, 3, 4), k=3, axes=(-1, 0)),
        )
    ),
)
def rot90_vjp(g: Any, _y: Any, _m: Any, *, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Turned back."""
    return np.rot90(g, -k, axes)


@defvjp(
    np.roll,
    cases=Cases(
        calls=(
            call((5,), shift=2),
            call((2, 3), shift=-1),
            call((2, 3), shift=4, axis=1),
            call((2, 3), shift=(1, 2), axis=(0, 1)),
            call((2, 3), shift=[1, 1], axis=1),
            call((2, 3), shift=1, axis=(0, -1)),
            call((3, 2), shift=np.array([1, -2]), axis=(0, 0)),
            call((0, 2), shift=1, axis=0),
        )
    ),
)
def roll_vjp(g: Any, _y: Any, _a: Any, *, shift: Any, axis: Any = None) -> Any:
    """Rolled back."""
    return np.roll(g, tuple(-int(s) for s in shift) if np.ndim(shift) else -int(shift), axis)
