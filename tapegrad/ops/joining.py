"""Joining and splitting: arrays end to end, and apart again. What one does the other undoes."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import scattered

SMALL = 1 << 14  # elements: up to here a copy costs less than a few operations


@defvjp(
    np.concatenate,
    cases=Cases(
        calls=(
            call([(2, 3), (1, 3)]),
            call([(2, 3), (2, 2), (2, 0)], axis=1),
            call([(2, 3), (2, 1)], axis=-1),
            call([(2, 3)]),
            call([(2, 3), (2,), ()], axis=None),
            call([(2,), 3.0, (2, 1)], axis=None),
            call([(2, 1, 3), (2, 1, 2)], axis=-1),
            call([(2,), np.array([1.0, 2.0]), (1,)]),
            call([(2,), np.array([1, 2])]),
            call([(2,), [1.0, 2.0]]),
            call([(0,), (3,)]),
            call([(2, 1), (2, 1)], axis=1, dtype=np.complex128),
        ),
    ),
)
def concatenate_vjp(
    g: Any,
    _y: Any,
    *_arrays: Any,
    axis: Any = 0,
    _out: Any = None,
    _dtype: Any = None,
    _casting: str = "same_kind",
) -> tuple[Any, ...]:
    """Each operand gets its own part of g."""
    if axis is None:
        return _flat_parts(g, _arrays)
    if len(_arrays) > 2 and g.size < SMALL and type(g) is np.ndarray and not g.flags.c_contiguous:
        g = g.copy()  # Of what repeats by strides, as below a sum, the parts would each be dear to add up.
    # Slices are views, cheaper to take than to put off.
    lead = (slice(None),) * (axis % g.ndim) if axis else None
    parts, start = [], 0
    for a in _arrays:
        stop = start + a.shape[axis]
        parts.append(g[(*lead, slice(start, stop))] if lead else g[start:stop])
        start = stop
    return tuple(parts)


def _flat_parts(g: Any, arrays: Sequence[Any]) -> tuple[Any, ...]:
    parts: list[Any] = []
    start = 0
    for a in arrays:
        shape = np.shape(a)
        stop = start + getattr(a, "size", 1)  # A Python number, which only axis=None takes, has none.
        parts.append(g[start:stop].reshape(shape))
        start = stop
    return tuple(parts)


@defvjp(
    np.stack,
    cases=Cases(
        calls=(
            call([(2, 3), (2, 3)]),
            call([(2, 3), (2, 3), (2, 3)], axis=1),
            call([(2, 3), (2, 3)], axis=-1),
            call([(), ()]),
            call([(), 2.0, 3]),
            call([(2,), [1.0, 2.0]], axis=1),
            call([(0, 2), (0, 2)]),
            call([(2,)], dtype=np.complex128),
        ),
    ),
)
def stack_vjp(
    g: Any,
    _y: Any,
    *_arrays: Any,
    axis: int = 0,
    _out: Any = None,
    _dtype: Any = None,
    _casting: str = "same_kind",
) -> tuple[Any, ...]:
    """Each operand gets its own slice of g."""
    # The ellipsis makes an array of what would be a scalar.
    lead = (slice(None),) * (axis % g.ndim)
    return tuple([g[(*lead, i, ...)] for i in range(len(_arrays))])


@composite(
    np.vstack,
    cases=Cases(
        calls=(
            call([(2, 3), (3,)]),
            call([(3,), (3,)]),
            call([(), ()]),
            call([(2, 2, 1), (1, 2, 1)]),
            call([(2,), [1.0, 2.0], (1, 2)]),
            call([(1,), 3.0], dtype=np.complex128),
        )
    ),
)
def vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """Joined along axis 0, with at least two axes."""
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0, dtype=dtype, casting=casting)


@composite(
    np.hstack,
    cases=Cases(
        calls=(
            call([(2, 3), (2, 1)]),
            call([(3,), (2,)]),
            call([(), ()]),
            call([(), (2,)]),
            call([(2,), 3.0, [1.0, 2.0]], dtype=np.complex128),
        )
    ),
)
def hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """Joined along axis 1, or along the only one."""
    arrays = [np.atleast_1d(a) for a in tup]
    axis = 0 if arrays and arrays[0].ndim == 1 else 1
    return np.concatenate(arrays, axis=axis, dtype=dtype, casting=casting)


@composite(np.dstack, cases=Cases(calls=(call([(2, 3), (2, 3)]), call([(3,), (3,)]), call([(2, 3, 1), (2, 3, 2)]))))
def dstack(tup: Any) -> Any:
    """Joined along axis 2, with at least three axes."""
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@composite(np.column_stack, cases=Cases(calls=(call([(3,), (3,)]), call([(3, 2), (3,)]), call([(), ()]))))
def column_stack(tup: Any) -> Any:
    """Joined along axis 1, one axis taken as a column."""
    arrays = [np.atleast_1d(a) for a in tup]
    return np.concatenate([a if a.ndim > 1 else a.reshape(-1, 1) for a in arrays], axis=1)


@composite(
    np.append, cases=Cases(calls=(call((2, 3), (2,)), call((2, 3), (1, 3), axis=0), call((3,), 2.0), call((), ())))
)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """The values after the array: along an axis, or both flat."""
    if axis is None:
        return np.concatenate([np.ravel(arr), np.ravel(values)])
    return np.concatenate([arr, values], axis=axis)


# Lists within lists aren't drawn: tests/ops/test_joining.py has them.
@composite(
    np.block, cases=Cases(calls=(call([(2,), (3,)]), call([(2, 1), (2, 3)]), call([(), (2,), 3.0]), call((2, 3))))
)
def block(arrays: Any) -> Any:
    """Nested lists of blocks: the innermost joined along the last axis, the next along the one before."""
    depths, blocks = _leaves(arrays, 0)
    if len(depths) > 1:
        raise ValueError(f"List depths are mismatched: np.block met arrays at depths {sorted(depths)}")
    (depth,) = depths
    ndim = max(depth, *(len(np.shape(a)) for a in blocks))
    joined = _joined(arrays, depth, ndim)
    return joined if depth else np.copy(joined)


def _leaves(arrays: Any, depth: int) -> tuple[set[int], list[Any]]:
    """The depths at which blocks stand, and the blocks."""
    if type(arrays) is tuple:
        raise TypeError(
            f"np.block: a tuple at depth {depth}. Only lists can be used to arrange blocks, "
            f"and np.block does not allow implicit conversion from tuple to ndarray."
        )
    if not isinstance(arrays, list):
        return {depth}, [arrays]
    if not arrays:
        raise ValueError(f"np.block: a list at depth {depth} cannot be empty")
    depths, blocks = set(), []
    for inner in arrays:
        found = _leaves(inner, depth + 1)
        depths |= found[0]
        blocks += found[1]
    return depths, blocks


def _joined(arrays: Any, depth: int, ndim: int) -> Any:
    if depth == 0:
        shape = np.shape(arrays)
        return np.reshape(arrays, (1,) * (ndim - len(shape)) + shape)
    return np.concatenate([_joined(inner, depth - 1, ndim) for inner in arrays], axis=-depth)


# ---------------------------------------------------------------- apart


@primitive
def parted(a: Any, bounds: tuple[tuple[int, int], ...], axis: int) -> tuple[Any, ...]:
    """The parts of ``a`` from each ``start`` to each ``stop`` along an axis, as a tuple of views.

    bounds : pairs (start, stop), none negative

    >>> parted(np.array([1.0, 2.0, 3.0]), ((0, 1), (1, 3)), 0)
    (array([1.]), array([2., 3.]))
    """
    lead = (slice(None),) * axis
    return tuple(a[(*lead, slice(start, stop))] for start, stop in bounds)


@defvjp(
    parted,
    cases=Cases(
        calls=(
            call((3, 4), bounds=((0, 1), (1, 1), (1, 4)), axis=1),
            call((4,), bounds=((0, 4),), axis=0),
            call((4, 2), bounds=((0, 3), (1, 4)), axis=0),
            call((4, 2), bounds=((0, 1), (2, 4)), axis=0),
            call((2, 4), bounds=((0, 3), (1, 4)), axis=1),
            call((5,), bounds=((1, 2), (3, 4)), axis=0),
            call((4,), bounds=((1, 4),), axis=0),
            call((0,), bounds=((0, 0),), axis=0),
        )
    ),
)
def parted_vjp(g: Any, _y: Any, _a: Any, *, bounds: Any, axis: int) -> Any:
    """The parts joined again; parts that overlap, or leave something out, are added to zeros."""
    edges = [0, *(edge for pair in bounds for edge in pair), _a.shape[axis]]
    if all(stop == start for stop, start in zip(edges[::2], edges[1::2], strict=True)):
        return np.concatenate(_filled(g, _y), axis=axis)
    lead = (slice(None),) * axis
    pieces = zip(g, bounds, strict=True)
    return sum(scattered(part, (*lead, slice(*pair)), _a.shape) for part, pair in pieces if part is not None)


def _filled(g: Sequence[Any], parts: Sequence[Any]) -> list[Any]:
    """The cotangents of several outputs, with zeros for those that nobody used."""
    some = next(part for part in g if part is not None)
    return [np.zeros_like(some, shape=p.shape) if part is None else part for part, p in zip(g, parts, strict=True)]


@composite(
    np.array_split,
    cases=Cases(
        calls=(
            call((7, 2), indices_or_sections=3),
            call((2, 4), indices_or_sections=[1, 3], axis=1),
            call((5,), indices_or_sections=(2, -1)),
            call((5,), indices_or_sections=np.array([3, 1])),
            call((3,), indices_or_sections=5),
            call((3, 2), indices_or_sections=[], axis=-1),
        )
    ),
)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of parts along an axis: so many, or divided at those places."""
    n = ary.shape[axis]
    axis = axis % ary.ndim
    if np.ndim(indices_or_sections):
        points = [operator.index(i) for i in indices_or_sections]
    else:
        sections = int(indices_or_sections)
        if sections <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, longer = divmod(n, sections)
        points = [i * each + min(i, longer) for i in range(1, sections)]
    bounds = [slice(start, stop).indices(n)[:2] for start, stop in zip([0, *points], [*points, n], strict=True)]
    return list(parted(ary, tuple((start, max(start, stop)) for start, stop in bounds), axis))


@composite(
    np.split,
    cases=Cases(
        calls=(call((4, 3), indices_or_sections=2), call((2, 4), indices_or_sections=(1, 1, 3), axis=1)),
    ),
)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Like array_split; so many parts must be of one length."""
    if not np.ndim(indices_or_sections) and ary.shape[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def _split_along(name: str, axis: int, least: int) -> Any:
    def along(ary: Any, indices_or_sections: Any) -> Any:
        if ary.ndim < least:
            raise ValueError(f"{name} only works on arrays of {least} or more dimensions")
        return split(ary, indices_or_sections, min(axis, ary.ndim - 1))

    return along


composite(np.hsplit, cases=Cases(calls=(call((2, 4), indices_or_sections=2), call((4,), indices_or_sections=[1]))))(
    _split_along("hsplit", 1, 1)
)
composite(np.vsplit, cases=Cases(calls=(call((4, 2), indices_or_sections=2),)))(_split_along("vsplit", 0, 2))
composite(np.dsplit, cases=Cases(calls=(call((1, 2, 4), indices_or_sections=[1, 3]),)))(_split_along("dsplit", 2, 3))


if hasattr(np, "unstack"):  # NumPy 2.1

    @defvjp(
        np.unstack,
        cases=Cases(calls=(call((2, 3)), call((2, 3), axis=1), call((3,)), call((2, 3, 2), axis=-1))),
    )
    def unstack_vjp(g: Any, _y: Any, _x: Any, *, axis: int = 0) -> Any:
        """The slices stacked again."""
        return np.stack(_filled(g, _y), axis=axis)
