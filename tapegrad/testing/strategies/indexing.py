"""Indices and axes: everything that NumPy takes in brackets, and as ``axis=``."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tapegrad.errors import ArgumentError
from tapegrad.testing.strategies.arrays import Shape

BARE = frozenset({"newaxis", "ellipsis"})  # what stands in an index that takes no axis
INDICES = ("int", "slice", "newaxis", "ellipsis", "integers", "mask")


def axes(
    shape: Shape | int, *, none: bool = True, negative: bool = True, tuples: bool = True, least: int = 0
) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """Whatever ``axis=`` takes for an array: an int, a negative one, a tuple of different axes, None.

    shape : of the array, or its number of axes
    none, negative, tuples : whether these are drawn
    least : the fewest axes of a tuple
    Raises ArgumentError where there is nothing to draw.

    >>> from hypothesis import find
    >>> find(axes((2, 3)), lambda axis: axis != 0)
    1
    >>> find(axes(3), lambda axis: isinstance(axis, tuple) and len(axis) == 2)
    (0, 1)
    """
    ndim = shape if isinstance(shape, int) else len(shape)
    if ndim < 0 or (ndim == 0 and not none and (not tuples or least > 0)) or least > max(ndim, 0):
        raise ArgumentError(
            f"axes: an array of {ndim} axes has none that fit; got shape {shape!r}, none={none}, least={least}"
        )
    one = [*range(ndim), *(range(-1, -ndim - 1, -1) if negative else [])]
    single = [*one, *([None] if none else [])]
    drawn: list[st.SearchStrategy[Any]] = [st.sampled_from(single)] if single else []
    if tuples:
        several = st.lists(st.sampled_from(one), min_size=least, max_size=ndim, unique_by=lambda k: k % ndim)
        drawn.append(several.map(tuple) if one else st.just(()))
    return st.one_of(drawn)


def indices(
    shape: Shape, *, kinds: Sequence[str] = INDICES, max_newaxis: int = 2, max_side: int = 3
) -> st.SearchStrategy[Any]:
    """Valid indices of an array of that shape: all that NumPy knows, and mixtures.

    kinds : some of "int", "slice", "newaxis", "ellipsis", "integers" (arrays of them, which repeat, come
        from both ends and broadcast with each other, lists too), "mask" (of one axis or more)
    max_side : of the arrays of integers
    Axes of 0 entries are taken by slices, empty arrays and masks, whatever the kinds.
    Raises ArgumentError for an unknown kind.

    >>> from hypothesis import find
    >>> find(indices((2, 3)), lambda index: True)
    0
    >>> find(indices((3,), kinds=["integers"]), lambda index: len(index) > 1 and index[0] == index[1])
    array([0, 0])
    """
    if not kinds or any(kind not in INDICES for kind in kinds):
        raise ArgumentError(f"indices: kinds are some of {INDICES}; got {tuple(kinds)}")
    shape = tuple(shape)
    any_of_them = _indices(shape, frozenset(kinds), max_newaxis, max_side)
    if "int" not in kinds or not shape or shape[0] == 0:
        return any_of_them
    return st.one_of(_places(shape[0]), any_of_them)  # An int takes the fewest draws, and so is shrunk to.


@st.composite
def _indices(draw: st.DrawFn, shape: Shape, kinds: frozenset[str], max_newaxis: int, max_side: int) -> Any:
    items: list[Any] = []
    axis = 0
    mask_at, mask = _mask(draw, shape, kinds)
    common = _common_shape(draw, mask, kinds, max_side)
    while axis < len(shape):
        if mask is not None and axis == mask_at:
            items.append(mask)
            axis += mask.ndim
            continue
        # An index may end anywhere, as long as a mask isn't left out.
        if (
            (mask is None or axis > mask_at)
            and (items or kinds & BARE)
            and not draw(st.sampled_from([False, True, True]))
        ):
            break
        items.append(_item(draw, shape[axis], kinds, common))
        axis += 1
    if mask is not None and mask_at == len(shape):
        items.append(mask)
    if "ellipsis" in kinds and draw(st.sampled_from([False, False, True])):
        _put_ellipsis(draw, items, len(shape) - axis)
    if "newaxis" in kinds:
        for _ in range(draw(st.integers(0, max_newaxis)) if draw(st.sampled_from([False, False, True])) else 0):
            items.insert(draw(st.integers(0, len(items))), None)
    # A single item goes without its tuple, as one writes it; a list among others would be one more axis of a mask.
    return items[0] if len(items) == 1 else tuple(items)


def _put_ellipsis(draw: st.DrawFn, items: list[Any], left: int) -> None:
    """An ellipsis before the end takes the axes that are left to it; the items after it, the last ones."""
    at = len(items) if left else draw(st.integers(0, len(items)))
    items.insert(at, ...)


def _mask(draw: st.DrawFn, shape: Shape, kinds: frozenset[str]) -> tuple[int, Any]:
    """Where a mask begins, and the mask: of one axis or more, or of none at all (a bool); None: there is none."""
    if "mask" not in kinds or (kinds != {"mask"} and not draw(st.sampled_from([False, False, True]))):
        return 0, None
    first = draw(st.integers(0, max(0, len(shape) - 1)))
    last = draw(st.integers(min(first + 1, len(shape)), len(shape)))
    part = shape[first:last]
    size = math.prod(part)
    drawn = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return first, np.array(drawn, bool).reshape(part)


def _common_shape(draw: st.DrawFn, mask: Any, kinds: frozenset[str], max_side: int) -> Shape:
    """What all arrays of integers in an index broadcast to, the mask's own among them."""
    if mask is not None:
        return (int(np.count_nonzero(mask)),)
    if "integers" not in kinds:
        return ()
    return tuple(draw(st.lists(st.integers(1, max_side), min_size=1, max_size=2)))


def _item(draw: st.DrawFn, n: int, kinds: frozenset[str], common: Shape) -> Any:
    """What takes one axis of n entries."""
    possible = [kind for kind in ("int", "slice", "integers") if kind in kinds]
    if n == 0:
        possible = [kind for kind in possible if kind == "slice" or (kind == "integers" and 0 in common)]
    kind = draw(st.sampled_from(possible or ["slice"]))
    if kind == "int":
        return draw(_places(n))
    if kind == "slice":
        return draw(_slices(n))
    kept = common[draw(st.integers(0, len(common) - 1)) if len(common) > 1 else 0 :]
    side = tuple(k if draw(st.sampled_from([True, True, False])) else 1 for k in kept) if n else kept
    size = math.prod(side)
    drawn = draw(st.lists(_places(n), min_size=size, max_size=size)) if n else []
    return np.array(drawn, np.intp).reshape(side)


def _places(n: int) -> st.SearchStrategy[int]:
    """Places on an axis, counted from either end."""
    return st.sampled_from([*range(n), *range(-1, -n - 1, -1)])


@st.composite
def _slices(draw: st.DrawFn, n: int) -> slice:
    """Slices with either end left out, beyond the array, or counted from its end; steps of both signs."""
    ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    step = draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
    return slice(draw(ends), draw(ends), step)
