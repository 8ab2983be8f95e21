"""Picking: elements taken by number or by condition.

Places that were picked more than once add up; what wasn't picked gets 0, also where g isn't finite.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import WriteError
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import LARGE, scattered, select, unbroadcast

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
            call((0, 2), indices=[2, -7], axis=1),
            call((2, 8, 3), indices=np.arange(700).reshape(35, 20) % 8, axis=1),  # large enough for whole rows
        ),
        note="places taken more than once add up",
    ),
)
def take_vjp(
    g: Any, _y: Any, _a: Any, *, indices: Any, axis: int | None = None, _out: Any = None, mode: str = "raise"
) -> Any:
    """g added to zeros at the places it came from."""
    if g.size == 0:  # Where it takes nothing, NumPy lets the places be out of range.
        return np.zeros_like(g, shape=_a.shape)
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
    return put(g, along(indices, axis), shape, _a.shape)


def along(index: Any, axis: int) -> tuple[Any, ...]:
    """The index that goes along an axis, all of the others whole."""
    return (*(slice(None),) * axis, index)


def put(g: Any, index: Any, shape: tuple[int, ...], final: tuple[int, ...]) -> Any:
    """g added to zeros of ``shape`` at an index, in its final shape. (A view would have to be copied for the leaf.)"""
    c = scattered(g, index, shape)
    return c if shape == final else c.reshape(final)


@defvjp(
    np.take_along_axis,
    cases=Cases(
        calls=(
            call((5,), indices=np.array([0, 4, 0, -1]), axis=0),
            call((2, 3), indices=np.array([[0, 2, 2], [1, 1, 0]]), axis=1),
            call((2, 3), indices=np.array([[2], [-1]]), axis=-1),
            call((2, 3), indices=np.array([[0, 2]]), axis=1),
            call((2, 3), indices=np.array([[1]]), axis=0),
            call((3,), indices=np.array([1]), axis=0),
            call((2, 3), indices=np.zeros((2, 0), np.intp), axis=1),
            call((1, 3), indices=np.array([[0, 2], [1, 1]]), axis=-1),
            call((2, 3), indices=np.array([5, 0, 0]), axis=None),
            call((2, 3, 2), indices=np.zeros((2, 1, 2), np.intp), axis=-2),
            call((0, 3), indices=np.zeros((0, 2), np.intp), axis=1),
            call((0, 2), indices=np.full((0, 1), 5), axis=1),
        ),
        note="places taken more than once add up",
    ),
)
def take_along_axis_vjp(g: Any, _y: Any, _arr: Any, *, indices: Any, axis: int | None = -1) -> Any:
    """g added to zeros at the places it came from."""
    if g.size == 0:  # As in np.take.
        return np.zeros_like(g, shape=_arr.shape)
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
            call([True], (), axis=0),
            call([True, False, True], (0, 2, 3), axis=1),
            call([True, False], (0, 2, 3), axis=1),
        )
    ),
)
def compress_vjp(g: Any, _y: Any, condition: Any, _a: Any, *, axis: int | None = None, _out: Any = None) -> Any:
    """g put into zeros where the condition held; a condition may be shorter than its axis."""
    if not _a.size:  # Of nothing, NumPy takes any condition.
        return None, np.zeros(_a.shape, g.dtype)
    if not _a.shape:
        axis = None  # NumPy takes axes 0 and -1 of what has none.
    shape = (_a.size,) if axis is None else _a.shape
    axis = 0 if axis is None else axis % len(shape)
    # (Compared with a number, a mask would be cast to integers first.)
    mask = (condition if condition.dtype == np.bool_ else condition != 0)[: shape[axis]]
    if mask.shape[0] < shape[axis]:
        mask = np.concatenate([mask, np.zeros(shape[axis] - mask.shape[0], bool)])
    return None, put(g, along(mask, axis), shape, _a.shape)


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
            call([np.array([-1, 4, 1]), (3,), (3,), (3,)], mode="clip"),
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
    *choices, default = operands
    taken, *others = conditions
    masks = [taken]
    for condition in others:
        masks.append(condition > taken)  # Of masks: the one, and not the other.
        taken = taken | condition
    # A mask may have fewer axes than g.
    return *_shared(g, masks, choices), lambda: unbroadcast(select(~taken, g), default.shape)


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
