"""Missing data: the functions that leave nans out, each the plain reduction ``where`` there are numbers.

A nan gets the gradient 0, and so does everything in a slice of nans alone, whose result is nan. Warnings
are NumPy's own: its functions run on the values.
"""

from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, POSITIVE, REAL, Cases, Domain, call
from tapegrad.kinds import Function
from tapegrad.ops.reductions import MASK, NO_VALUE, ROW, divided, mean_vjp, prod_vjp, sum_vjp
from tapegrad.ops.spreads import deviation_vjp, variance_vjp
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import restore_axes, select, sum_axes

HOLES = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, -1.0]])
FORMS = (
    call((2, 3)),
    call((2, 3), axis=1),
    call((3, 2), axis=0, keepdims=True),
    call((2, 3, 2), axis=(0, -1)),
    call((2, 3), axis=None, keepdims=True),
    call(()),
    call((1,), axis=0),
    call((2, 3), where=MASK),
    call((2, 3), axis=1, where=ROW),
    call((0, 3), axis=1),
)


def _present(a: Any, where: Any) -> Any:
    """Where there are numbers that take part."""
    numbers = ~np.isnan(a)
    return numbers if where is True or where is NO_VALUE else numbers & where


def _kept(keepdims: Any) -> bool:
    return False if keepdims is NO_VALUE else bool(keepdims)


# ---------------------------------------------------------------- sums, products, means


@defvjp(
    np.nansum,
    cases=Cases(
        calls=(*FORMS, call((2, 3), initial=2.0), call((2, 3), axis=0, dtype=np.complex128)),
        examples=((call(HOLES), (np.array([[1.0, 0, 1], [0, 1, 1]]),)),),
        note="0 at a nan",
    ),
)
def nansum_vjp(
    g: Any, _y: Any, a: Any, *, axis: Any = None, _dtype: Any = None, _out: Any = None,
    keepdims: Any = False, _initial: Any = 0, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g where a is a number."""
    return sum_vjp(g, _y, a, axis=axis, keepdims=_kept(keepdims), where=_present(a, where))


@defvjp(
    np.nanprod,
    cases=Cases(
        calls=(*FORMS, call((2, 3), initial=2.0), call((2, 3), axis=0, dtype=np.complex128)),
        examples=(
            (call(HOLES), (np.array([[-6.0, 0, -2], [0, -3, 6]]),)),
            (call(np.array([0.0, np.nan, 3.0])), (np.array([3.0, 0, 0]),)),
        ),
        note="0 at a nan; exact at zeros",
    ),
)
def nanprod_vjp(
    g: Any, _y: Any, a: Any, *, axis: Any = None, dtype: Any = None, _out: Any = None,
    keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g conj(product of the others) where a is a number."""
    present = _present(a, where)
    return prod_vjp(g, _y, a, axis=axis, dtype=dtype, keepdims=_kept(keepdims), initial=initial, where=present)


@defvjp(
    np.nanmean,
    cases=Cases(
        calls=(*FORMS, call((2, 3), axis=0, dtype=np.complex128)),
        examples=((call(HOLES, axis=1), (np.array([[0.5, 0, 0.5], [0, 0.5, 0.5]]),)),),
        note="0 at a nan, and in a slice of nans alone",
    ),
)
def nanmean_vjp(
    g: Any, _y: Any, a: Any, *, axis: Any = None, _dtype: Any = None, _out: Any = None,
    keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g / n where a is a number; n counts the numbers."""
    return mean_vjp(g, _y, a, axis=axis, keepdims=_kept(keepdims), where=_present(a, where))


# ---------------------------------------------------------------- variances


@primitive
def nanvariance(
    operands: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """``np.nanvar`` of the one operand, or of the first about the second (``mean=``), which has a gradient too."""
    return _spread(np.nanvar, operands, axis, dtype, out, ddof, keepdims, where)


@primitive
def nandeviation(
    operands: Any, axis: Any = None, dtype: Any = None, out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """``np.nanstd`` of the one operand, or of the first about the second (``mean=``), which has a gradient too."""
    return _spread(np.nanstd, operands, axis, dtype, out, ddof, keepdims, where)


# So that errors and tapes name what the user called.
nanvariance.__module__, nanvariance.__qualname__ = "numpy", "nanvar (about a mean)"
nandeviation.__module__, nandeviation.__qualname__ = "numpy", "nanstd (about a mean)"


def _spread(function: Any, operands: Any, axis: Any, dtype: Any, out: Any, ddof: Any, keepdims: Any, where: Any) -> Any:
    a, *mean = _about_reals(operands)
    given = {"mean": mean[0]} if mean else {}
    return function(a, axis, dtype, out, ddof, keepdims, where=where, **given)


def _about_reals(operands: Any) -> Any:
    """The operands, and of a complex mean of real data the real part: NumPy drops the other."""
    a, *mean = operands
    return (a, np.real(mean[0])) if mean and np.iscomplexobj(mean[0]) and not np.iscomplexobj(a) else operands


_OWN = tuple(
    call([c.operands[0]], **c.parameters) for c in (*FORMS, call((2, 3), ddof=1), call((2, 4), axis=1, ddof=1))
)
_SPREADS = Cases(
    domain=POSITIVE,
    calls=(*_OWN, call([(2, 3), (2, 1)], axis=1), call([(2, 3), (1, 3)], axis=0, keepdims=True, where=MASK)),
    analytic=False,
    note="0 at a nan",
)
# Of rows (nan, 3), which is constant, and (2, -1).
SLOPES = {np.nanvar: np.array([[0, 0], [1.5, -1.5]]), np.nanstd: np.array([[0, 0], [0.5, -0.5]])}


def _spread_cases(function: Function) -> Cases:
    # By dtype= complex numbers and real ones can't both be computed, so it isn't among the calls above.
    return _SPREADS._replace(examples=((call([HOLES[:, 1:]], axis=1, dtype=np.longdouble), (SLOPES[function],)),))


def _about_mean(operands: Any, present: Any, axis: Any, dtype: Any) -> Any:
    """The data with 0 for what is missing, and the mean, where none is given that of the numbers.

    With a mean the rules of var and std give the data what they give it without one. To look for the mean
    themselves they would add up ``where=``, five times slower than zeros are.
    """
    a, *mean = _about_reals(operands)
    a = select(present, a)
    if mean:
        return a, *mean
    total = sum_axes(a, axis, keepdims=True) if dtype is None else np.sum(a, axis=axis, dtype=dtype, keepdims=True)
    return a, divided(total, np.sum(present, axis=axis, keepdims=True))


@defvjp(nanvariance, cases=_spread_cases(np.nanvar))
def nanvariance_vjp(
    g: Any, _y: Any, *operands: Any, axis: Any = None, dtype: Any = None, _out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """The rule of the variance, where the data are numbers."""
    present = _present(operands[0], where)
    both = _about_mean(operands, present, axis, dtype)
    bars = variance_vjp(g, _y, *both, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=present)
    return bars[: len(operands)]


@defvjp(nandeviation, cases=_spread_cases(np.nanstd))
def nandeviation_vjp(
    g: Any, y: Any, *operands: Any, axis: Any = None, dtype: Any = None, _out: Any = None,
    ddof: Any = 0, keepdims: Any = False, where: Any = True,
) -> Any:  # fmt: skip
    """The rule of the deviation, where the data are numbers."""
    present, operands = _present(operands[0], where), _about_reals(operands)
    return deviation_vjp(g, y, *operands, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=present)


def _of_one_or_two(function: Function, primitive_of: Function, note: str) -> None:
    @composite(
        function,
        cases=Cases(
            domain=POSITIVE,
            calls=(
                *FORMS,
                call((2, 3), ddof=1),
                call((2, 3), axis=0, correction=1),
                call((2, 3), axis=1, mean=np.array([[0.5], [-0.25]])),
            ),
            # By dtype= complex numbers and real ones can't both be computed, so it isn't among the calls above.
            examples=(
                (call(HOLES[:, 1:], axis=1, keepdims=True), (SLOPES[function],)),
                (call(HOLES[:, 1:], axis=1, dtype=np.longdouble), (SLOPES[function],)),
            ),
            analytic=False,
            note=note,
        ),
    )
    def spread(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: Any = False,
        *, where: Any = True, mean: Any = NO_VALUE, correction: Any = NO_VALUE,
    ) -> Any:  # fmt: skip
        if correction is not NO_VALUE:
            if ddof != 0:
                raise ValueError("ddof and correction can't be provided simultaneously.")
            ddof = correction
        a = a if hasattr(a, "dtype") else np.asarray(a)
        operands = (a,) if mean is None or mean is NO_VALUE else (a, mean)
        where = True if where is NO_VALUE else where
        return primitive_of(operands, axis=axis, dtype=dtype, out=out, ddof=ddof, keepdims=_kept(keepdims), where=where)


_of_one_or_two(np.nanvar, nanvariance, "0 at a nan; mean= may be a tensor, and has a gradient then")
_of_one_or_two(np.nanstd, nandeviation, "0 at a nan, and where all numbers are equal; mean= may be a tensor")


# ---------------------------------------------------------------- maxima and minima


def _extremum_cases(sign: float) -> Cases:
    ties = sign * np.array([1.0, 3.0, np.nan, 3.0])
    return Cases(
        domain=DISTINCT,
        calls=(
            *(c for c in FORMS if "where" not in c.parameters and 0 not in c.operands[0]),
            call((2, 3), where=MASK, initial=-5.0 * sign),
            call((2, 3), axis=0, where=ROW, initial=9.0 * sign),
            call((0, 3), axis=0, initial=1.0),
        ),
        examples=(
            (call(ties), (np.array([0, 0.5, 0, 0.5]),)),
            (call(ties, initial=3.0 * sign), (np.array([0, 1, 0, 1]) / 3,)),
            (call(np.array([np.nan, -np.inf * sign])), (np.array([0.0, 1.0]),)),
            (call(ties, where=np.array([True, False, True, True]), initial=0.0), (np.array([0.0, 0, 0, 1]),)),
        ),
        note="the tied share equally; 0 at a nan, and in a slice of nans alone",
    )


def nanextremum_vjp(
    g: Any, y: Any, a: Any, *, axis: Any = None, _out: Any = None,
    keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g / (number of the tied) at each of the tied. A nan equals nothing, so none of them is one."""
    y = restore_axes(y, a.shape, axis, _kept(keepdims))
    tied = a == y
    if where is not True and where is not NO_VALUE:
        tied = tied & where
    n = np.sum(tied, axis=axis, keepdims=True)
    if initial is not NO_VALUE and initial is not None:
        n = n + (y == y.dtype.type(initial))
    return select(tied, divided(restore_axes(g, a.shape, axis, _kept(keepdims)), np.maximum(n, 1)))


defvjp(np.nanmax, cases=_extremum_cases(1.0))(nanextremum_vjp)
defvjp(np.nanmin, cases=_extremum_cases(-1.0))(nanextremum_vjp)


# ---------------------------------------------------------------- running sums and products


def _running(function: Function, plain: Function, start: float, domain: Domain) -> None:
    @composite(
        function,
        cases=Cases(
            domain=domain,
            calls=(
                call((4,)),
                call((2, 3)),
                call((2, 3), axis=1),
                call((2, 3), axis=-2, dtype=np.complex128),
                call(()),
                call((0, 2), axis=0),
            ),
            examples=((call(np.array([np.nan, 1.0])), (np.array([0.0, 1.0]),)),),
            note="0 at a nan",
        ),
    )
    def running(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        a = a if hasattr(a, "dtype") else np.asarray(a)
        missing = np.isnan(a)
        if missing.any():
            a = np.where(missing, np.asarray(start, a.dtype), a)
        return plain(a, axis=axis, dtype=dtype, out=out)


_running(np.nancumsum, np.cumsum, 0.0, REAL)
_running(np.nancumprod, np.cumprod, 1.0, REAL)
