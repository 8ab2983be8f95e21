"""Spreads: variances and standard deviations.

Each is a primitive of one operand, or of two where ``mean=`` is given: that has a gradient, too.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import POSITIVE, Cases, call
from tapegrad.ops.reductions import MASK, NO_VALUE, ROW, SHAPES, count_of, divided, strong_product
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, restore_axes, select, sum_axes, unbroadcast

SPREADS = (
    *SHAPES,
    call((2, 3), ddof=1),
    call((2, 4), axis=1, ddof=3.5, keepdims=True),
    call((2, 3), where=MASK),
    call((3, 3), axis=1, where=ROW, ddof=1.5),
    call((0, 3), axis=1),
)
# By keyword alone: what the primitives below get as a second operand, or as ddof.
BY_NAME = (
    call((2, 3), axis=1, mean=np.array([[0.5], [-0.25]])),
    call((2, 3), axis=0, correction=1),
    call((2, 3), axis=-1, dtype=np.complex128),
)
SPREAD_CASES = Cases(calls=SPREADS + BY_NAME, analytic=False)


@partial(primitive, name="np.var")
def variance(
    operands: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True, like: Any = None,
) -> Any:  # fmt: skip
    """``np.var`` of the one operand, or of the first about the second (``mean=``), which has a gradient too.

    like : shape and dtype of an array that NumPy would write to, and add up in: ``out=``
    """
    out = None if like is None else np.empty(*like)
    return _spread(np.var, operands, axis, dtype, out, ddof, keepdims, where)


@partial(primitive, name="np.std")
def deviation(
    operands: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True, like: Any = None,
) -> Any:  # fmt: skip
    """``np.std`` of the one operand, or of the first about the second (``mean=``), which has a gradient too.

    like : shape and dtype of an array that NumPy would write to, and add up in: ``out=``
    """
    out = None if like is None else np.empty(*like)
    return _spread(np.std, operands, axis, dtype, out, ddof, keepdims, where)


def _spread(function: Any, operands: Any, axis: Any, dtype: Any, out: Any, ddof: Any, keepdims: Any, where: Any) -> Any:
    a, *mean = operands
    given = {"mean": mean[0]} if mean else {}
    return function(a, axis, dtype, out, ddof, keepdims, where=where, **given)


def _operands(a: Any, mean: Any) -> tuple[Any, ...]:
    a = a if hasattr(a, "dtype") else np.asarray(a)
    return (a,) if mean is None or mean is NO_VALUE else (a, mean)


def _freedom(ddof: Any, correction: Any) -> Any:
    if correction is NO_VALUE:
        return ddof
    if ddof != 0:
        raise ValueError("ddof and correction can't be provided simultaneously.")
    return correction


@composite(
    np.var, cases=Cases(calls=SPREADS + BY_NAME, analytic=False), note="mean= may be a tensor, and has a gradient then"
)
def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True, mean: Any = None, correction: Any = NO_VALUE,
) -> Any:  # fmt: skip
    """The variance; ``mean=`` may be a tensor. Of what the engine writes to, ``out`` is shape and dtype."""
    given = {"ddof": _freedom(ddof, correction), "keepdims": keepdims, "where": where, "like": out}
    return variance(_operands(a, mean), axis=axis, dtype=dtype, **given)


@composite(
    np.std, cases=Cases(calls=SPREADS + BY_NAME, analytic=False), note="mean= may be a tensor, and has a gradient then"
)
def std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
    *, where: Any = True, mean: Any = None, correction: Any = NO_VALUE,
) -> Any:  # fmt: skip
    """The standard deviation; ``mean=`` may be a tensor. Of what the engine writes to, ``out`` is shape and dtype."""
    given = {"ddof": _freedom(ddof, correction), "keepdims": keepdims, "where": where, "like": out}
    return deviation(_operands(a, mean), axis=axis, dtype=dtype, **given)


def _spread_cases(note: str = "", examples: Any = ()) -> Cases:
    own = tuple(call([c.operands[0]], **c.parameters) for c in SPREADS)
    given = (
        call([(2, 3), (2, 1)], axis=1),
        call([(2, 3), ()], ddof=1),
        call([(1, 3), (2, 1)], axis=1),
        call([(2, 3), (1, 3)], axis=0, keepdims=True, where=MASK),
        call([(2, 3)], axis=-1, dtype=np.complex128),
        call([(2, 3), (2, 1)], axis=-1, dtype=np.complex128),
    )
    return Cases(domain=POSITIVE, calls=own + given, examples=examples, analytic=False, note=note)


def _deviations(operands: Any, axis: Any, dtype: Any, where: Any) -> Any:
    """x - mean, where the mean is given or x's own."""
    a, *mean = operands
    if mean:
        return a - mean[0]
    # Not np.mean: it warns of empty slices, and a rule makes no warnings.
    if dtype is None and where is True:
        total = sum_axes(a, axis, keepdims=True)
    else:
        total = np.sum(a, axis=axis, dtype=dtype, keepdims=True, where=where)
    return a - divided(total, count_of(a.shape, axis, where))


def _degrees(a: Any, axis: Any, ddof: Any, where: Any) -> Any:
    """n - ddof, and at least 0."""
    n = count_of(a.shape, axis, where)
    return max(n - ddof, 0) if where is True else np.maximum(n - ddof, 0)


def _along(scale: Any, d: Any, y: Any, operands: Any, where: Any) -> tuple[Any, ...]:
    """The cotangents that run along the deviations: scale * d for the data, the opposite for a given mean.

    NumPy sums d**2 of real data, also about a complex mean: a complex result, and d conjugated here. Of complex
    data it sums |d|**2, a real number, whatever its dtype: then the real part of the cotangent counts alone.
    """
    a, *mean = operands
    if y.dtype.kind == "c":
        d, scale = (d, np.real(scale)) if a.dtype.kind == "c" else (conj(d), scale)
    c = strong_product(scale, d)
    c = c if where is True else select(where, c)
    return (unbroadcast(c, a.shape), *(lambda m=m: -unbroadcast(c, m.shape) for m in mean))


@defvjp(variance, cases=_spread_cases())
def variance_vjp(
    g: Any, _y: Any, *operands: Any, axis: Any = None, dtype: Any = None, _out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True, _like: Any = None,
) -> Any:  # fmt: skip
    """a_bar = 2 g (a - mean) / (n - ddof): what the mean does to the squares cancels."""
    d = _deviations(operands, axis, dtype, where)
    scale = divided(2 * restore_axes(g, d.shape, axis, keepdims), _degrees(operands[0], axis, ddof, where))
    return _along(scale, d, _y, operands, where)


_BESIDE_A_STILL_ONE = (
    *(
        (
            call([np.array([row, [-2.0, -1.0, 3.0]])], axis=1),
            (np.array([[bar] * 3, [-2, -1, 3]]) / 42**0.5,),
            np.array([cotangent, 1]),
        )
        # Equal numbers whose mean is another; a cotangent of 0, which counts for nothing, also of what isn't finite.
        for row, cotangent, bar in (
            ([1.0, 1.0, 1.0], 1.0, 0.0),
            ([0.1, 0.1, 0.1], 1.0, 0.0),
            ([np.inf, 1.0, 1.0], 0.0, 0.0),
            ([np.inf, 1.0, 1.0], 1.0, np.nan),
        )
    ),
    (
        call([np.array([[1.0, 1.0], [1.0, 3.0]]), np.array([[1.0], [1.0]])], axis=1),
        (np.array([[0, 0], [0, 0.5**0.5]]), np.array([[0], [-(0.5**0.5)]])),
    ),
    (call([np.array([0.1, 0.1, 0.1, 7.0, -7.0])], where=np.array([True] * 3 + [False] * 2)), (np.zeros(5),)),
)


@defvjp(deviation, cases=_spread_cases("gradient 0 where all elements are equal", _BESIDE_A_STILL_ONE))
def deviation_vjp(
    g: Any, y: Any, *operands: Any, axis: Any = None, dtype: Any = None, _out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True, _like: Any = None,
) -> Any:  # fmt: skip
    """a_bar = g (a - mean) / (y (n - ddof)), and 0 where all elements are equal."""
    d = _deviations(operands, axis, dtype, where)
    y, g = restore_axes(y, d.shape, axis, keepdims), restore_axes(g, d.shape, axis, keepdims)
    still = (y == 0) | ((g == 0) & ~np.isfinite(y))
    if len(operands) == 1:
        # The mean of equal numbers need not be that number to the last bit: y alone doesn't tell.
        top = np.max(operands[0], axis=axis, keepdims=True, where=where, initial=-np.inf)
        still = still | (top == np.min(operands[0], axis=axis, keepdims=True, where=where, initial=np.inf))
    # A denominator of 1 before the division, and not a mended quotient: so the next order is right too.
    slope = np.where(still, 0, g / np.where(still, 1, conj(y)))
    return _along(divided(slope, _degrees(operands[0], axis, ddof, where)), d, y, operands, where)
