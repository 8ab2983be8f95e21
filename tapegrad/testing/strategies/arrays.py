"""Arrays in a domain: at a chosen distance from kinks and poles, with ties and zeros on purpose, in any layout."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapegrad.cases import REAL, Domain
from tapegrad.errors import ArgumentError
from tapegrad.testing.strategies.source import Source, is_special
from tapegrad.testing.strategies.values import Distance, round_values

Arrays = st.SearchStrategy[NDArray[Any]]
Shape = tuple[int, ...]

LAYOUTS = ("C", "F", "strided", "reversed", "broadcast")
OWNED = LAYOUTS[:-1]  # those in which every entry has memory of its own


def shapes(max_dims: int = 3, max_side: int = 3, min_dims: int = 0, min_side: int = 0) -> st.SearchStrategy[Shape]:
    """Shapes of arrays, also of empty ones.

    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: len(shape) == 2 and 0 not in shape)
    (1, 1)
    """
    # Sides of 0 come last: an example with nothing in it shows little.
    sides = [*range(max(1, min_side), max_side + 1), *([0] if min_side == 0 else [])]
    return st.lists(st.sampled_from(sides), min_size=min_dims, max_size=max_dims).map(tuple)


def arrays_in(
    domain: Domain = REAL,
    shape: Shape | st.SearchStrategy[Shape] | None = None,
    dtype: Any = np.float64,
    *,
    distance: Distance = None,
    ties: bool | None = None,
    zeros: bool = False,
    negative_zeros: bool = False,
    tiny: bool = False,
    huge: bool = False,
    layouts: Sequence[str] | None = None,
) -> Arrays:
    """Arrays of round numbers in a domain.

    domain : Domain; of complex arrays both parts lie in it
    shape : a shape, or a strategy of shapes; None: up to three axes of 0 to 3
    dtype : of floats, complex numbers or integers; or a strategy of these
    distance : from each point that the domain avoids (kinks, poles): every entry is at least so far; a
        pair (a, b): and at most b from the nearest, so that (0, 0) is on it. None: the domain's margin
    ties : whether two entries are equal on purpose; False: all differ, by the domain's margin where there
        is room; None: as the domain says
    zeros, negative_zeros, tiny, huge : whether some entries are, also where the domain has none: 0, -0,
        next to the least and to the largest numbers of the dtype, with the signs of the domain. Every
        array that has entries enough holds one of each that is asked for
    layouts : some of "C", "F", "strided" (every other entry of a larger array), "reversed" (negative
        strides), "broadcast" (one entry seen many times, read-only); the first is what arrays shrink
        to. None: all but "broadcast"
    Raises ArgumentError where the domain holds no such array.

    >>> from hypothesis import find
    >>> find(arrays_in(Domain(-2.0, 2.0, avoid=(0.0,)), (2,)), lambda x: x[1] < 0)
    array([ 1., -1.])
    >>> find(arrays_in(shape=(3,), zeros=True, ties=False), lambda x: True)
    array([ 0.,  1., -1.])
    """
    layouts = OWNED if layouts is None else tuple(layouts)
    if not layouts or any(layout not in LAYOUTS for layout in layouts):
        raise ArgumentError(f"arrays_in: layouts are some of {LAYOUTS}; got {layouts}")
    if "broadcast" in layouts and (ties is False or (ties is None and domain.distinct)):
        raise ArgumentError(f"arrays_in: entries that are to be distinct can't be broadcast; got layouts {layouts}")
    if not isinstance(shape, st.SearchStrategy):
        shape = shapes() if shape is None else st.just(_checked_shape(shape))
    if not isinstance(dtype, st.SearchStrategy):
        values_of(domain, np.dtype(dtype), distance)  # Better now than when the first array is drawn.
        dtype = st.just(np.dtype(dtype))
    specials = [name for name, asked in zip(SPECIALS, (zeros, negative_zeros, tiny, huge), strict=True) if asked]
    return _arrays_in(domain, shape, dtype, distance, ties, specials, layouts)


SPECIALS = ("zeros", "negative_zeros", "tiny", "huge")


@st.composite
def _arrays_in(
    draw: st.DrawFn,
    domain: Domain,
    shapes: st.SearchStrategy[Shape],
    dtypes: st.SearchStrategy[Any],
    distance: Distance,
    ties: bool | None,
    specials: Sequence[str],
    layouts: Sequence[str],
) -> NDArray[Any]:
    shape, dtype = draw(shapes), np.dtype(draw(dtypes))
    layout = draw(st.sampled_from(layouts)) if len(layouts) > 1 else layouts[0]
    wide = shape
    if layout == "broadcast" and shape:
        axis = draw(st.integers(0, len(shape) - 1))
        shape = (*shape[:axis], min(1, shape[axis]), *shape[axis + 1 :])
    x = Source(draw).array(domain, shape, dtype, distance, ties)
    if specials or ties:
        _make_special(draw, x, domain, specials, bool(ties))
    return laid_out(x, layout) if layout != "broadcast" else np.broadcast_to(x, wide)


def _make_special(draw: st.DrawFn, x: NDArray[Any], domain: Domain, specials: Sequence[str], ties: bool) -> None:
    """Put a special number of each kind, and a tie, where there is room: each into a place of its own."""
    free = list(range(x.size))
    for special in specials:
        numbers = special_numbers(special, x.dtype, domain)
        if free and numbers:
            places = [free.pop(draw(st.integers(0, len(free) - 1)))]
            # A few more of them, in what is free, now and then; as many places are left as are needed.
            spare = len(free) - len(specials) - 2 * ties
            places += [free.pop() for _ in range(draw(st.integers(0, spare)) if spare > 0 else 0)]
            for k in places:
                x.flat[k] = draw(st.sampled_from(numbers))
    if ties and free and x.size > 1:
        k = free[draw(st.integers(0, len(free) - 1))]
        others = [i for i in range(x.size) if i != k]
        x.flat[k] = x.flat[others[draw(st.integers(0, len(others) - 1))]]


def special_numbers(kind: str, dtype: np.dtype[Any], domain: Domain) -> list[Any]:
    """The numbers of a kind, the roundest first, with the signs of the domain; none of integers but 0."""
    if kind == "zeros":
        return [dtype.type(0)]
    if dtype.kind in "iu":
        return []
    if kind == "negative_zeros":
        return [dtype.type(-0.0) if dtype.kind == "f" else -dtype.type(0)]
    limits = np.finfo(dtype)
    real = limits.dtype.type
    if kind == "tiny":
        sizes = [limits.smallest_normal, limits.smallest_subnormal, limits.smallest_normal * real(3)]
    else:
        sizes = [limits.max, limits.max / real(2), np.sqrt(limits.max)]
    signs = ([1] if domain.high > 0 else []) + ([-1] if domain.low < 0 else [])
    return [dtype.type(sign * size) for size in sizes for sign in signs or [1]]


def values_of(domain: Domain, dtype: np.dtype[Any], distance: Distance) -> None:
    """Raise ArgumentError where the domain has no numbers of the dtype, or isn't one to keep a distance in."""
    if dtype.kind not in "fciu":
        raise ArgumentError(f"arrays_in: dtype is of floats, complex numbers or integers; got {dtype}")
    if is_special(domain) and distance is None:
        return
    round_values(domain, np.empty(0, dtype).real.dtype, distance)


def _checked_shape(shape: Any) -> Shape:
    if not isinstance(shape, tuple) or not all(isinstance(n, (int, np.integer)) and n >= 0 for n in shape):
        raise ArgumentError(f"arrays_in: shape is a tuple of ints of at least 0, or a strategy of such; got {shape!r}")
    return tuple(int(n) for n in shape)


def laid_out(x: NDArray[Any], layout: str) -> NDArray[Any]:
    """An array with the entries of ``x``, laid out in memory as asked.

    >>> laid_out(np.arange(6.0).reshape(2, 3), "reversed").strides
    (-24, -8)
    """
    if layout == "F" and x.ndim:  # Of none NumPy would make one.
        return np.asfortranarray(x)
    if layout == "strided" and x.ndim:
        wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
        wide[(slice(None, None, 2),) * x.ndim] = x
        return wide[(slice(None, None, 2),) * x.ndim]
    if layout == "reversed" and x.ndim:
        backwards = (slice(None, None, -1),) * x.ndim
        return np.ascontiguousarray(x[backwards])[backwards]
    return x


def broadcastable_operands(
    count: int = 2,
    domain: Domain | Sequence[Domain] = REAL,
    dtype: Any = np.float64,
    *,
    max_dims: int = 3,
    max_side: int = 3,
    result: Shape | None = None,
    **more: Any,
) -> st.SearchStrategy[tuple[NDArray[Any], ...]]:
    """Tuples of so many arrays whose shapes broadcast: axes missing, and axes of 1 and 0, in any of them.

    domain, dtype : one for all, or a sequence with one for each operand
    result : a shape that each of them broadcasts to; None: any
    more : as for ``arrays_in``

    >>> from hypothesis import find
    >>> find(broadcastable_operands(), lambda pair: pair[0].shape != pair[1].shape)
    (array(0.), array([0.]))
    """
    if not isinstance(count, int) or count < 1:
        raise ArgumentError(f"broadcastable_operands: count is an int of at least 1; got {count!r}")
    domains = [domain] * count if isinstance(domain, Domain) else list(domain)
    dtypes = list(dtype) if isinstance(dtype, (list, tuple)) else [dtype] * count
    if len(domains) != count or len(dtypes) != count:
        raise ArgumentError(
            f"broadcastable_operands: one domain and one dtype for each of {count} operands, or one for all; "
            f"got {len(domains)} domains and {len(dtypes)} dtypes"
        )
    operands = broadcastable_shapes(count, max_dims, max_side, result)
    return operands.flatmap(
        lambda drawn: st.tuples(
            *(arrays_in(d, shape, kind, **more) for d, shape, kind in zip(domains, drawn, dtypes, strict=True))
        )
    )


def broadcastable_shapes(
    count: int, max_dims: int = 3, max_side: int = 3, result: Shape | None = None
) -> st.SearchStrategy[tuple[Shape, ...]]:
    """Tuples of so many shapes that broadcast with each other, and to ``result`` where it is given.

    >>> from hypothesis import find
    >>> find(broadcastable_shapes(2), lambda pair: len(pair[0]) < len(pair[1]))
    ((), (1,))
    """
    return _broadcastable_shapes(count, shapes(max_dims, max_side) if result is None else st.just(result))


@st.composite
def _broadcastable_shapes(draw: st.DrawFn, count: int, results: st.SearchStrategy[Shape]) -> tuple[Shape, ...]:
    result = draw(results)
    made = []
    for _ in range(count):
        missing = draw(st.sampled_from([*range(len(result), -1, -1), 0, 0]))
        made.append(tuple(n if draw(st.sampled_from([False, True, True])) else 1 for n in result[missing:]))
    return tuple(made)
