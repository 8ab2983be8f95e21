"""Reductions: rules for the functions that sum, average, multiply or choose over axes.

What was reduced gets its axes back at length 1 (``restore_axes``), and the cotangent is spread over
them. ``where=`` spreads it over the chosen elements only; ``initial=`` is a constant, but takes part:
it multiplies a product, and may win or tie a maximum.
"""

import math
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, Cases, call
from tapegrad.kinds import Function
from tapegrad.primitive import composite, defvjp
from tapegrad.shapes import cast, conj, expand_like, normalized_axes, restore_axes, select

NO_VALUE = np._NoValue  # What NumPy itself takes for "not given".
MASK = np.array([[True, False, True], [False, True, True]])
ROW = np.array([True, False, True])
SHAPES = (
    call((2, 3)),
    call((2, 3), axis=1),
    call((2, 3), axis=-2),
    call((2, 3), axis=0, keepdims=True),
    call((2, 3), axis=None, keepdims=True),
    call((2, 3, 2), axis=(0, 2)),
    call((2, 3, 2), axis=(-1, 0), keepdims=True),
    call((2, 3), axis=()),
    call(()),
    call((), axis=()),
    call((1,), axis=0),
    call((4, 1), axis=1),
)


def count_of(shape: tuple[int, ...], axis: Any, where: Any) -> Any:
    """How many elements each result is made of: a number, or with ``where`` an array, axes kept."""
    if where is True:
        return math.prod([shape[i] for i in normalized_axes(axis, len(shape))])
    return np.sum(np.broadcast_to(where, shape), axis=axis, keepdims=True)


def divided(g: Any, n: Any) -> Any:
    """g / n in the dtype of ``g``, for counts ``n``; 0 where both are 0."""
    if type(n) in (int, float) and n > 0 and g.dtype.itemsize > 2:
        return g / n
    # In float16 a large count overflows though the quotient doesn't: it is formed in float64, and brought back.
    return cast(g / np.where((g == 0) & (n == 0), math.inf, n), g.dtype)


def strong_product(g: Any, slope: Any) -> Any:
    """g * slope, and 0 where ``g`` is 0 and the slope isn't finite. ``slope`` is the caller's temporary.

    A seam: on plain arrays one look tells that nothing has to be mended, and the temporary is reused.
    """
    if type(slope) is np.ndarray and isinstance(g, (np.ndarray, np.generic)) and (g.all() or np.isfinite(slope).all()):
        return np.multiply(g, slope, out=slope) if g.dtype == slope.dtype else g * slope
    return g * np.where((g == 0) & ~np.isfinite(slope), 0, slope)


# ---------------------------------------------------------------- sums and means


def _reduction(ufunc: np.ufunc) -> Function:
    """What np.sum and np.prod come to on arrays, without their wrapper."""
    reduce: Function = ufunc.reduce

    def run(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
        keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
    ) -> Any:  # fmt: skip
        return reduce(a, axis, dtype, out, keepdims, initial, where)

    return run


def _choice(ufunc: np.ufunc) -> Function:
    """What np.max and np.min come to on arrays, without their wrapper; they know no dtype."""
    reduce: Function = ufunc.reduce

    def run(
        a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True
    ) -> Any:
        return reduce(a, axis, None, out, keepdims, initial, where)

    return run


@defvjp(
    np.sum,
    forward=_reduction(np.add),
    cases=Cases(
        calls=(
            *SHAPES,
            call((2, 3), where=MASK, initial=2.0),
            call((2, 3), axis=1, where=ROW),
            call((2, 3), axis=0, dtype=np.complex128),
            call((2, 0)),
            call((2, 0), axis=1),
            call((0, 3), axis=1),
        ),
    ),
)
def sum_vjp(
    g: Any, _y: Any, _a: Any, *, axis: Any = None, _dtype: Any = None, _out: Any = None,
    keepdims: Any = False, _initial: Any = 0, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g, repeated over the axes that were summed."""
    c = expand_like(g, _a, axis, keepdims)
    return c if where is True else select(where, c)


def _mean(a: Any, *args: Any, **parameters: Any) -> Any:
    return a.mean(*args, **parameters)  # np.mean without its wrapper.


@defvjp(
    np.mean,
    forward=_mean,
    cases=Cases(
        calls=(
            *SHAPES,
            call((2, 3), where=MASK),
            call((2, 3), axis=1, where=ROW, keepdims=True),
            call((2, 3), axis=0, dtype=np.complex128),
            call((0, 3), axis=1),
        ),
    ),
)
def mean_vjp(
    g: Any, _y: Any, _a: Any, *, axis: Any = None, _dtype: Any = None, _out: Any = None,
    keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g / n, repeated; n counts the chosen."""
    share = divided(restore_axes(g, _a.shape, axis, keepdims), count_of(_a.shape, axis, where))
    c = expand_like(share, _a, axis, True)
    return c if where is True else select(where, c)


# ---------------------------------------------------------------- maxima and minima


def _extremum_cases(sign: float) -> Cases:
    """Cases of max, and with the sign -1 of min."""
    ties = sign * np.array([1.0, 3.0, 3.0, 2.0])
    missing = np.array([1.0, np.nan, 3.0, np.nan])
    return Cases(
        domain=DISTINCT,
        calls=(
            *SHAPES,
            call((2, 3), axis=1, initial=-5.0 * sign),
            call((2, 3), where=MASK, initial=-5.0 * sign),
            call((2, 3), axis=0, where=ROW, initial=9.0 * sign),
            call((0, 3), axis=0, initial=1.0),
            call((0, 3), axis=1),
        ),
        examples=(
            (call(ties), (np.array([0, 0.5, 0.5, 0]),)),
            (call(ties, initial=3.0 * sign), (np.array([0, 1, 1, 0]) / 3,)),
            (call(ties, initial=4.0 * sign), (np.zeros(4),)),
            (call(ties, where=np.array([True, True, False, True]), initial=0.0), (np.array([0, 1.0, 0, 0]),)),
            (call(missing), (np.array([0, 0.5, 0, 0.5]),)),
            (call(missing, initial=np.nan), (np.array([0, 1.0, 0, 1.0]) / 3,)),
            (
                call(np.stack([ties, ties * 0, missing]), axis=1),
                (np.array([[0, 0.5, 0.5, 0], [0.25] * 4, [0, 0.5, 0, 0.5]]),),
            ),
        ),
        note="the tied share equally, a winning initial= included; where the result is nan, the nans share",
    )


def extremum_vjp(
    g: Any, y: Any, a: Any, *, axis: Any = None, _out: Any = None,
    keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g / (number of the tied) at each of the tied; the total is 1, or less by the share of ``initial``.

    Where the result is nan, the tied are the nans: they made it.
    """
    y = restore_axes(y, a.shape, axis, keepdims)
    tied = a == y
    if np.isnan(y).any():  # Where y isn't nan, no chosen element is.
        tied = tied | np.isnan(a)
    if where is not True:
        tied = tied & where
    n = int(np.count_nonzero(tied)) if axis is None else np.sum(tied, axis=axis, keepdims=True)
    if initial is not NO_VALUE and initial is not None:
        start = y.dtype.type(initial)
        n = n + ((y == start) | np.isnan(start))
    return select(tied, divided(restore_axes(g, a.shape, axis, keepdims), n))


# amax and amin are functions of their own in NumPy 2, not other names of max and min.
for _function in (np.max, np.amax):
    defvjp(_function, forward=_choice(np.maximum), cases=_extremum_cases(1.0))(extremum_vjp)
for _function in (np.min, np.amin):
    defvjp(_function, forward=_choice(np.minimum), cases=_extremum_cases(-1.0))(extremum_vjp)


# ---------------------------------------------------------------- products


def products_of_others(x: Any) -> Any:
    """For each of the n slices of ``x`` (n, ...), the product of the other n - 1. No division.

    Up a tree of products, halving n at each level; then down again: the others of a left half are
    the others of the pair times the right half. About 3 n multiplications, and neutral NumPy, so that
    its own derivatives (products of all but two, ...) are as exact.

    >>> products_of_others(np.array([2.0, 0.0, 5.0]))
    array([ 0., 10.,  0.])
    """
    levels = []
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        left, right, odd = x[:half], x[half : 2 * half], x[2 * half :]
        levels.append((left, right))
        x = left * right
        if odd.shape[0]:
            x = np.concatenate([x, odd])
    others = np.ones_like(x)
    for left, right in reversed(levels):
        pairs, odd = others[: left.shape[0]], others[left.shape[0] :]
        others = np.concatenate([pairs * right, pairs * left, odd])
    return others


@defvjp(
    np.prod,
    forward=_reduction(np.multiply),
    cases=Cases(
        calls=(
            *SHAPES,
            call((5,)),
            call((7, 2), axis=0),
            call((2, 3), where=MASK, initial=2.0),
            call((2, 3), axis=1, where=ROW),
            call((2, 3), axis=0, dtype=np.complex128, initial=1 + 2j),
            call((0, 3), axis=0),
            call((0, 3), axis=1),
        ),
        examples=(
            (call(np.array([2.0, 0.0, 3.0])), (np.array([0.0, 6.0, 0.0]),)),
            (call(np.array([2.0, 0.0, 0.0])), (np.zeros(3),)),
            # A cotangent of 0 counts for nothing, also where the product of the others is infinite.
            (call(np.array([[math.inf, 2]] * 2), axis=1), (np.array([[0.0, 0.0], [2.0, math.inf]]),), np.arange(2.0)),
            # Products that a float32 doesn't hold.
            (
                call(np.array([1e30, 1e-30, 1e30, 1e-30], np.float32), dtype=np.float64),
                (np.array([1e-30, 1e30, 1e-30, 1e30]),),
            ),
        ),
        note="exact at zeros, at every order",
    ),
)
def prod_vjp(
    g: Any, _y: Any, a: Any, *, axis: Any = None, dtype: Any = None, _out: Any = None,
    keepdims: Any = False, initial: Any = 1, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g conj(product of the others)."""
    shape = a.shape
    axes = normalized_axes(axis, len(shape))
    rest = tuple(i for i in range(len(shape)) if i not in axes)
    order = axes + rest
    x = conj(a if where is True else np.where(where, a, 1))
    if dtype is not None:
        x = cast(x, np.dtype(dtype))
    g = restore_axes(g, shape, axis, keepdims)
    if initial is not NO_VALUE and initial is not None:
        g = g * g.dtype.type(initial).conjugate()
    x = x.transpose(order).reshape((math.prod([shape[i] for i in axes]), *(shape[i] for i in rest)))
    others = products_of_others(x).reshape(tuple(shape[i] for i in order))
    c = strong_product(g, others.transpose(tuple(order.index(i) for i in range(len(shape)))))
    return c if where is True else select(where, c)


# ---------------------------------------------------------------- ufunc.reduce

UNCHANGED = {"dtype": None, "out": None, "keepdims": False, "initial": NO_VALUE, "where": True}


def _reduced(function: Function) -> Function:
    """``ufunc.reduce`` written in ``function``, which differs by its default axis, and perhaps by dtype=."""

    def reduce(
        array: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
        keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
    ) -> Any:  # fmt: skip
        if dtype is not None and function in (np.max, np.min):
            array, dtype = cast(array, np.dtype(dtype)), None
        given = {"dtype": dtype, "out": out, "keepdims": keepdims, "initial": initial, "where": where}
        return function(array, axis=axis, **{k: v for k, v in given.items() if v is not UNCHANGED[k]})

    return reduce


_reduce_calls = (
    call((2, 3)),
    call((3, 2), axis=-1, keepdims=True),
    call((2, 3), axis=None, initial=0.5, where=MASK),
    call((2, 3), dtype=np.complex128),
)
_reduce_cases = Cases(domain=DISTINCT, calls=_reduce_calls)
composite(np.add.reduce, cases=_reduce_cases)(_reduced(np.sum))
composite(np.multiply.reduce, cases=_reduce_cases)(_reduced(np.prod))
composite(np.maximum.reduce, cases=_reduce_cases)(_reduced(np.max))
composite(np.minimum.reduce, cases=_reduce_cases)(_reduced(np.min))
