"""Picking: elements taken by number or by condition, left out, put in, or seen through a window.

Places that were picked more than once add up; what wasn't picked gets 0, also where g isn't finite.
"""

import math
import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import DTypeError, WriteError
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import LARGE, normalized_axes, scattered, select, unbroadcast

_ROW = np.array([True, False, True, False])

# ---------------------------------------------------------------- by number


@defvjp(
    np.take,
    cases=Cases(
        calls=(
            call((2, 3), indices=4),
            call((2, 3), indices=np.array([0, 5, 0, -1])),
            call((2, 3), indices=[[0, 1], [1, 1]], axis=1),
            call((2, 3), indices=-1, axis=0),
            call((2, 3), indices=np.array([1, 1, 0]), axis=0, mode="raise"),
            call((2, 3), indices=np.array([-7, 4, 2, 9]), axis=-1, mode="wrap"),
            call((2, 3), indices=np.array([-7, 4, 2, 1]), axis=-1, mode="clip"),
            call((2, 3), indices=[-1, 8], mode="clip"),
            call((2, 3, 2), indices=np.array([[2], [0]], np.uint8), axis=1),
            call((2, 3), indices=np.array([], np.intp), axis=1),
            call((), indices=[0, 0]),
            call((2, 0), indices=[1, 1], axis=0),
        ),
        note="places taken more than once add up",
    ),
)
def take_vjp(
    g: Any, _y: Any, _a: Any, *, indices: Any, axis: int | None = None, _out: Any = None, mode: str = "raise"
) -> Any:
    """g added to zeros at the places it came from."""
    shape = (_a.size,) if axis is None else _a.shape
    axis = 0 if axis is None else axis % len(shape)
    if mode == "wrap":
        indices = np.remainder(indices, shape[axis])
    elif mode == "clip":
        indices = np.clip(indices, 0, shape[axis] - 1)
    if axis and g.size >= LARGE and np.ndim(indices):
        # Whole rows add up five times quicker than columns do, a transposition included.
        width = np.ndim(indices)
        g = np.moveaxis(g, tuple(range(axis, axis + width)), tuple(range(width))).copy()  # Now rows in memory, too.
        moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
        return np.moveaxis(scattered(g, indices, moved), 0, axis)
    return scattered(g, _along(indices, axis), shape).reshape(_a.shape)


def _along(index: Any, axis: int) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, index)


@defvjp(
    np.take_along_axis,
    cases=Cases(
        calls=(
            call((5,), indices=np.array([0, 4, 0, -1]), axis=0),
            call((2, 3), indices=np.array([[0, 2, 2], [1, 1, 0]]), axis=1),
            call((2, 3), indices=np.array([[2], [-1]]), axis=-1),
            call((2, 3), indices=np.array([[0, 2]]), axis=1),
            call((2, 3), indices=np.array([[1]]), axis=0),
            call((1, 3), indices=np.array([[0, 2], [1, 1]]), axis=-1),
            call((2, 3), indices=np.array([5, 0, 0]), axis=None),
            call((2, 3, 2), indices=np.zeros((2, 1, 2), np.intp), axis=-2),
            call((0, 3), indices=np.zeros((0, 2), np.intp), axis=1),
        ),
        note="places taken more than once add up",
    ),
)
def take_along_axis_vjp(g: Any, _y: Any, _arr: Any, *, indices: Any, axis: int | None = -1) -> Any:
    """g added to zeros at the places it came from."""
    if axis is None:
        return scattered(g, (indices,), (_arr.size,)).reshape(_arr.shape)
    ndim = _arr.ndim
    index = [np.arange(n).reshape((-1,) + (1,) * (ndim - 1 - i)) for i, n in enumerate(_arr.shape)]
    index[axis] = indices
    return scattered(g, tuple(index), _arr.shape)


# ---------------------------------------------------------------- by condition


@defvjp(
    np.compress,
    cases=Cases(
        calls=(
            call(_ROW, (4,)),
            call(_ROW, (2, 3)),
            call([True, False, True], (2, 3), axis=1),
            call([0, 2.5], (2, 3), axis=-2),
            call(np.array([True]), (2, 3), axis=-1),
            call([True, True, False, False], (2, 2), axis=0),
            call([], (2,)),
            call([True], ()),
        )
    ),
)
def compress_vjp(g: Any, _y: Any, condition: Any, _a: Any, *, axis: int | None = None, _out: Any = None) -> Any:
    """g put into zeros where the condition held; a condition may be shorter than its axis."""
    shape = (_a.size,) if axis is None else _a.shape
    axis = 0 if axis is None else axis % len(shape)
    kept = (condition != 0)[: shape[axis]]
    mask = np.concatenate([kept, np.zeros(shape[axis] - kept.shape[0], bool)])
    return None, scattered(g, _along(mask, axis), shape).reshape(_a.shape)


@composite(
    np.extract,
    cases=Cases(calls=(call(np.array([[True, False], [True, True]]), (2, 2)), call([1, 0, 2], (3,)))),
)
def extract(condition: Any, arr: Any) -> Any:
    """The elements, in a row, where the condition holds."""
    return np.compress(np.ravel(condition), np.ravel(arr))


@partial(primitive, name="np.choose")
def chosen(operands: Any, mode: Any = "raise") -> Any:
    """``np.choose`` of an array of numbers, the first of the operands, from the others."""
    numbers, *choices = operands
    return np.choose(numbers, choices, mode=mode)


@defvjp(
    chosen,
    cases=Cases(
        calls=(
            call([np.array([0, 1, 1]), (3,), (2, 3)]),
            call([np.array([[0], [2]]), (), (3,), (2, 1)]),
            call([np.array([-1, 4, 3]), (3,), 2.0, (3,)], mode="wrap"),
            call([np.array([-1, 4, 1]), (3,), (3,)], mode="clip"),
        )
    ),
)
def chosen_vjp(g: Any, _y: Any, *operands: Any, mode: Any = "raise") -> Any:
    """Each gets g where it was chosen."""
    numbers, *choices = operands
    if mode == "wrap":
        numbers = np.remainder(numbers, len(choices))
    elif mode == "clip":
        numbers = np.clip(numbers, 0, len(choices) - 1)
    return None, *_shared(g, [numbers == i for i in range(len(choices))], choices)


def _shared(g: Any, masks: Sequence[Any], operands: Sequence[Any]) -> Any:
    """For each operand, put off, g where its mask holds."""
    return [lambda m=m, c=c: unbroadcast(select(m, g), c.shape) for m, c in zip(masks, operands, strict=True)]


@composite(
    np.choose,
    cases=Cases(
        calls=(
            call(np.array([1, 0, 1]), [(3,), (2, 3)]),
            call(np.array([[4], [-1]]), [(2,), 1.0, ()], mode="wrap"),
            call(np.array([2, -1]), [(2,), (1,)], mode="clip"),
        )
    ),
    note="the numbers are constant",
)
def choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Any:
    """By numbers in ``a``, from a sequence of arrays, or from one array along its first axis."""
    if out is not None:
        raise WriteError("np.choose: out= of or from a tensor can't be recorded; assign the result instead")
    return chosen([a, *choices], mode=mode)


@partial(primitive, name="np.select")
def selected(operands: Any, conditions: Any) -> Any:
    """``np.select`` from all operands but the last, which is the default."""
    *choices, default = operands
    return np.select(list(conditions), choices, default)


@defvjp(
    selected,
    cases=Cases(
        calls=(
            call([(4,), (4,), ()], conditions=(_ROW, ~_ROW[::-1])),
            call([(2, 1), 3.0, (4,)], conditions=(_ROW, np.array([[True], [False]]))),
            call([(), (2,), 0], conditions=(np.array([True, False]), np.array([True, True]))),
        )
    ),
)
def selected_vjp(g: Any, _y: Any, *operands: Any, conditions: Any) -> Any:
    """Each gets g where its condition was the first to hold, the default where none did."""
    masks, rest = [], np.ones((), bool)
    for condition in conditions:
        masks.append(condition & rest)
        rest = rest & ~condition
    # A mask may have fewer axes than g.
    return tuple(_shared(g, [*masks, rest], operands))


@composite(
    np.select,
    cases=Cases(calls=(call([_ROW, ~_ROW[::-1]], [(4,), (4,)]), call([_ROW], [(2, 1)], default=2.0))),
)
def select_first(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The choice of the first condition that holds, else the default, which may be a tensor among tensors."""
    if len(condlist) != len(choicelist):
        raise ValueError(
            f"np.select: {len(condlist)} conditions and {len(choicelist)} choices; there must be as many of both"
        )
    if not len(condlist):
        raise ValueError("np.select: it takes one condition at least")
    return selected(
        [*choicelist, default], conditions=tuple(c if hasattr(c, "dtype") else np.asarray(c) for c in condlist)
    )


# ---------------------------------------------------------------- left out, put in


@defvjp(
    np.delete,
    cases=Cases(
        calls=(
            call((2, 3), obj=1),
            call((2, 3), obj=-1, axis=0),
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
        parts = [g[_along(slice(0, i), axis)], none, g[_along(slice(i, None), axis)]]
        return np.concatenate(parts, axis=axis).reshape(_arr.shape)
    kept = np.bincount(np.delete(np.arange(n), obj), minlength=n) > 0
    return scattered(g, _along(kept, axis), shape).reshape(_arr.shape)


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
        before, new, after = (g[_along(part, axis)] for part in parts)
        return (
            lambda: np.concatenate([before, after], axis=axis).reshape(_arr.shape),
            # At a single place NumPy takes the first axis of the values for the new one.
            lambda: _value_part(np.moveaxis(new, axis, 0), _values.shape),
        )
    numbers = np.insert(np.full(n, -1), obj, np.arange(g.shape[axis] - n))
    return (
        lambda: g[_along(numbers < 0, axis)].reshape(_arr.shape),
        # The new places in the order of the values. (A stable sort: the old ones come first.)
        lambda: _value_part(g[_along(np.argsort(numbers, kind="stable")[n:], axis)], _values.shape),
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


# ---------------------------------------------------------------- seen through a window

_WINDOWS = (
    call((5,), window_shape=3),
    call((5,), window_shape=(1,)),
    call((4, 5), window_shape=(2, 3)),
    call((4, 5), window_shape=2, axis=0),
    call((4, 5), window_shape=(3,), axis=-1),
    call((2, 4, 3), window_shape=(3, 2), axis=(1, -1)),
    call((6,), window_shape=(2, 3), axis=(0, 0)),
    call((3, 0), window_shape=2, axis=0),
    call((2, 3), window_shape=(), axis=()),
)


def _windows(x: Any, window_shape: Any, axis: Any = None, subok: bool = False, writeable: bool = False) -> Any:
    if writeable:
        raise WriteError("np.lib.stride_tricks.sliding_window_view: writeable=True would write to a tensor unseen")
    return np.lib.stride_tricks.sliding_window_view(x, window_shape, axis, subok=subok)


@defvjp(np.lib.stride_tricks.sliding_window_view, forward=_windows, cases=Cases(calls=_WINDOWS))
def sliding_window_view_vjp(
    g: Any, _y: Any, _x: Any, *, window_shape: Any, axis: Any = None, _subok: bool = False, _writeable: bool = False
) -> Any:
    """Each element gets the sum over the windows that show it: the other half of the pair."""
    return windows_added(g, _x.shape, window_shape, axis)


@primitive
def windows_added(g: Any, shape: tuple[int, ...], window_shape: Any, axis: Any = None) -> Any:
    """The adjoint of ``sliding_window_view``: each window added to zeros of ``shape`` where it lies.

    g : array of the shape of ``sliding_window_view(zeros(shape), window_shape, axis)``
    Returns an array of ``shape`` and the dtype of ``g``.

    >>> windows_added(np.ones((3, 2)), (4,), 2)
    array([1., 2., 2., 1.])
    """
    axes = normalized_axes(axis, len(shape))
    sizes = tuple(window_shape) if np.ndim(window_shape) else (window_shape,)
    # An axis may have several windows: the last comes off first.
    for along, size in reversed(list(zip(axes, sizes, strict=True))):
        out = np.zeros((*g.shape[:along], g.shape[along] + size - 1, *g.shape[along + 1 : -1]), g.dtype)
        _add_windows(np.moveaxis(out, along, -1), np.moveaxis(g, along, -2))
        g = out
    return g if axes else g.copy()


_IN_CACHE = 1 << 15  # elements of a part, which is read once for each of its places or shifts


def _add_windows(out: Any, g: Any) -> None:
    """out[..., i + j] += g[..., i, j], part by part, along the shorter of the two."""
    places, size = g.shape[-2:]
    if g.size > _IN_CACHE and max(g.shape) > 1:
        cut = g.shape.index(max(g.shape))
        half = g.shape[cut] // 2
        if cut < g.ndim - 2:
            lead = (slice(None),) * cut
            for part in (slice(0, half), slice(half, None)):
                _add_windows(out[(*lead, part)], g[(*lead, part)])
        elif cut == g.ndim - 2:
            _add_windows(out[..., : half + size - 1], g[..., :half, :])
            _add_windows(out[..., half:], g[..., half:, :])
        else:
            _add_windows(out[..., : places + half - 1], g[..., :half])
            _add_windows(out[..., half:], g[..., half:])
    elif size < places:
        for j in range(size):
            out[..., j : j + places] += g[..., j]
    else:
        for i in range(places):
            out[..., i : i + size] += g[..., i, :]


@defvjp(
    windows_added,
    cases=Cases(
        calls=(
            call((3, 2), shape=(4,), window_shape=2),
            call((2, 3), shape=(4,), window_shape=(3,), axis=-1),
            call((2, 2, 2, 3), shape=(3, 4), window_shape=(2, 3)),
            call((3, 2, 3), shape=(6,), window_shape=(2, 3), axis=(0, 0)),
        )
    ),
)
def windows_added_vjp(g: Any, _y: Any, _g: Any, *, _shape: Any, window_shape: Any, axis: Any = None) -> Any:
    """The windows: the other half of the pair."""
    return np.lib.stride_tricks.sliding_window_view(g, window_shape, axis)
