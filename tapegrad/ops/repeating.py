"""Repeating: the same elements more than once. What was repeated gets the sum of its copies' cotangents."""

from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp
from tapegrad.shapes import scattered, sum_axes, unbroadcast


@defvjp(
    np.broadcast_to,
    cases=Cases(
        calls=(
            call((3,), shape=(2, 3)),
            call((2, 1), shape=(2, 3)),
            call((1, 3, 1), shape=(4, 2, 3, 2)),
            call((2, 3), shape=[2, 3]),
            call((), shape=4),
            call((1,), shape=(0,)),
        )
    ),
)
def broadcast_to_vjp(g: Any, _y: Any, _array: Any, *, _shape: Any, _subok: bool = False) -> Any:
    """The sum over what was repeated."""
    return unbroadcast(g, _array.shape)


@composite(np.broadcast_arrays, cases=Cases(calls=(call((2, 1), (3,)), call((2,), (2,)), call((), (2, 1)))))
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    """Each broadcast to the shape that all have in common."""
    arrays = [a if hasattr(a, "shape") else np.asarray(a) for a in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(a if a.shape == shape else np.broadcast_to(a, shape) for a in arrays)


@defvjp(
    np.tile,
    cases=Cases(
        calls=(
            call((3,), reps=2),
            call((2, 3), reps=2),
            call((3,), reps=(2, 2)),
            call((2, 3), reps=[2, 1]),
            call((2, 3), reps=(2, 1, 3)),
            call((2, 3), reps=np.array([1, 2])),
            call((2, 3), reps=(2, 0)),
            call((2, 3), reps=1),
            call((), reps=3),
            call((2,), reps=()),
        )
    ),
)
def tile_vjp(g: Any, _y: Any, _A: Any, *, reps: Any) -> Any:
    """The sum over the copies."""
    counts = tuple(int(r) for r in reps) if np.ndim(reps) else (int(reps),)
    shape = (1,) * (g.ndim - _A.ndim) + _A.shape
    counts = (1,) * (g.ndim - len(counts)) + counts
    split = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    return sum_axes(g.reshape(split), tuple(range(0, 2 * g.ndim, 2))).reshape(_A.shape)


@defvjp(
    np.repeat,
    cases=Cases(
        calls=(
            call((2, 3), repeats=2),
            call((2, 3), repeats=2, axis=0),
            call((2, 3), repeats=3, axis=-1),
            call((2, 3), repeats=[2, 0, 1], axis=1),
            call((3,), repeats=np.array([1, 3, 2])),
            call((2, 3), repeats=np.array([2]), axis=0),
            call((2, 2), repeats=[0, 1, 2, 1]),
            call((2, 3), repeats=0, axis=0),
            call((), repeats=3),
        )
    ),
)
def repeat_vjp(g: Any, _y: Any, _a: Any, *, repeats: Any, axis: int | None = None) -> Any:
    """The sum over the copies."""
    shape = _a.shape if axis is not None else (_a.size,)
    axis = axis % len(shape) if axis is not None else 0
    if np.size(repeats) == 1:
        times = int(np.reshape(repeats, ()))
        copies = g.reshape(*shape[: axis + 1], times, *shape[axis + 1 :])
        return sum_axes(copies, (axis + 1,)).reshape(_a.shape)
    places = np.repeat(np.arange(shape[axis]), repeats)
    return scattered(g, (*(slice(None),) * axis, places), shape).reshape(_a.shape)
