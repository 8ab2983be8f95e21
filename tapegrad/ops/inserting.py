"""Inserting and deleting: elements left out, put in, or gone through over and over.

What was left out gets 0, also where g isn't finite.
"""

import math
import operator
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import DTypeError
from tapegrad.ops.picking import along, put
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import unbroadcast

_ROW = np.array([True, False, True, False])


@defvjp(
    np.delete,
    cases=Cases(
        calls=(
            call((2, 3), obj=1),
            call((2, 3), obj=-1, axis=0),
            call((2, 3, 2), obj=1, axis=1),
            call((2, 4), obj=slice(1, None, 2), axis=1),
            call((2, 4), obj=slice(None, None, -3), axis=-1),
            call((5,), obj=[0, 3, 3, -1]),
            call((2, 4), obj=_ROW, axis=1),
            call((2, 3), obj=np.array([2]), axis=1),
            call((3,), obj=[]),
            call((2, 0), obj=0, axis=0),
        )
    ),
)
def delete_vjp(g: Any, _y: Any, _arr: Any, *, obj: Any, axis: int | None = None) -> Any:
    """g put into zeros at the places that were kept."""
    shape = (_arr.size,) if axis is None else _arr.shape
    axis = 0 if axis is None else axis % len(shape)
    n = shape[axis]
    if _is_single(obj):
        i = operator.index(obj) % n
        none = np.zeros_like(g, shape=(*shape[:axis], 1, *shape[axis + 1 :]))
        parts = [g[along(slice(0, i), axis)], none, g[along(slice(i, None), axis)]]
        return np.concatenate(parts, axis=axis).reshape(_arr.shape)
    kept = np.ones(n, bool)
    kept[obj if isinstance(obj, slice) else np.asarray(obj, None if len(obj) else np.intp)] = False
    return put(g, along(kept, axis), shape, _arr.shape)


def _is_single(obj: Any) -> bool:
    """Whether places are given by one number, rather than an array or a slice."""
    return not isinstance(obj, slice) and np.ndim(obj) == 0


_NEW = np.lib.NumpyVersion(np.__version__) >= "2.2.0"


@partial(primitive, name="np.insert")
def inserted(arr: Any, values: Any, obj: Any, axis: Any = None) -> Any:
    """``np.insert``, its two operands first."""
    return np.insert(arr, obj, values, axis)


@defvjp(
    inserted,
    cases=Cases(
        calls=(
            call((2, 3), (), obj=1),
            call((2, 3), (2,), obj=-1, axis=None),
            call((2, 3), (3,), obj=1, axis=0),
            call((2, 3), (2,), obj=1, axis=1),
            call((2, 3), (2, 1), obj=[1], axis=1),
            call((2, 3), (4, 2), obj=1, axis=1),
            call((2, 3), (2, 4), obj=np.array([1]), axis=1),
            call((2, 3), (3,), obj=[3, 0, 0], axis=-1),
            call((2, 3), (2, 1), obj=slice(0, None, 2), axis=1),
            # Until NumPy 2.2 these would be the numbers 0 and 1, with a warning.
            *((call((4,), (2,), obj=np.array([False, True, True, False])),) if _NEW else ()),
            call((4,), 2.0, obj=[-1, 0]),
            call((3,), (), obj=[]),
            call((2, 3, 2), (2, 2), obj=2, axis=1),
            call((2, 3, 2), (1, 1, 2), obj=[2, 2], axis=0),
            call((2, 2), (1, 1, 2), obj=[1, 0], axis=0),
            call(np.zeros((2, 2)), (2,), obj=0, axis=0),
            call((0,), (2,), obj=0),
        ),
        # A complex value isn't for a real array.
        complex=False,
        analytic=False,
    ),
)
def inserted_vjp(g: Any, _y: Any, _arr: Any, _values: Any, *, obj: Any, axis: int | None = None) -> Any:
    """To the array what stands beside the new places; to the values what stands there."""
    axis = 0 if axis is None else axis % g.ndim
    n = _arr.size if g.ndim == 1 else _arr.shape[axis]
    if _is_single(obj):
        i, end = operator.index(obj), g.shape[axis]
        i = i + n if i < 0 else i
        parts = (slice(0, i), slice(i, i + end - n), slice(i + end - n, None))
        before, new, after = (g[along(part, axis)] for part in parts)
        return (
            lambda: np.concatenate([before, after], axis=axis).reshape(_arr.shape),
            # At a single place NumPy takes the first axis of the values for the new one.
            lambda: _value_part(np.moveaxis(new, axis, 0), _values.shape),
        )
    numbers = np.insert(np.full(n, -1), obj, np.arange(g.shape[axis] - n))
    return (
        lambda: g[along(numbers < 0, axis)].reshape(_arr.shape),
        # The new places in the order of the values: the old ones come first, in whichever order.
        lambda: _value_part(g[along(np.argsort(numbers)[n:], axis)], _values.shape),
    )


def _value_part(c: Any, shape: tuple[int, ...]) -> Any:
    """The cotangent of what was inserted, as that of the values: NumPy's broadcasting undone."""
    return unbroadcast(c, shape[max(len(shape) - c.ndim, 0) :]).reshape(shape)


@composite(
    np.insert,
    cases=Cases(calls=(call((2, 3), 1, (3,), axis=0), call((4,), [2, 0], (2,))), complex=False, analytic=False),
)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """The values put in before the places that ``obj`` names."""
    arr, values = (x if hasattr(x, "dtype") else np.asarray(x) for x in (arr, values))
    if not np.can_cast(values.dtype, arr.dtype, "same_kind") and getattr(values, "requires_grad", False):
        raise DTypeError(
            f"np.insert: values of dtype {values.dtype} that record can't go into an array of dtype {arr.dtype}; "
            f"arr.astype({values.dtype}) takes them"
        )
    return inserted(arr, values, obj, axis)


@composite(
    np.resize,
    cases=Cases(
        calls=(
            call((2, 3), new_shape=(3, 5)),
            call((2, 3), new_shape=4),
            call((2, 3), new_shape=(3, 2)),
            call((), new_shape=(2, 2)),
            call((3,), new_shape=(0, 2)),
            call((0,), new_shape=3),
        )
    ),
)
def resize(a: Any, new_shape: Any) -> Any:
    """The elements in a row, over and over, in another shape."""
    shape = tuple(new_shape) if np.ndim(new_shape) else (int(new_shape),)
    if any(n < 0 for n in shape):
        raise ValueError(f"np.resize: all elements of new_shape must be non-negative; got {new_shape}")
    size = math.prod(shape)
    flat = np.ravel(a)
    if not flat.size or not size:
        return np.zeros_like(flat, shape=shape)
    if size > flat.size:
        return np.tile(flat, -(-size // flat.size))[:size].reshape(shape)
    return np.copy(flat[:size]).reshape(shape)
