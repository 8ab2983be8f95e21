"""Elementwise: the slopes of NumPy's ufuncs, and of the like that aren't ufuncs.

Where a slope can be written in the output or in the operand, three things decide, in this order: that it
is right to rounding in the tails and beside the edges of the domain, that it is right on both sides of
a branch cut, and that it keeps no array which nobody else keeps. What selects one of its operands
(``maximum``, ``where``, ``clip``) is in selecting.py.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, POSITIVE, REAL, UNIT, Call, Cases, Domain, call
from tapegrad.kinds import pullback, ratio
from tapegrad.ops.slopes import (
    arcsinh_slope,
    arctan_slope,
    arctanh_slope,
    circle,
    degree,
    far,
    hypot_slope,
    logarithm,
    outer_circle,
    share,
    share2,
    tan_slope,
    tanh_pull,
    tanh_slope,
)
from tapegrad.primitive import composite, constant, defvjp, elementwise, primitive
from tapegrad.shapes import cast, conj, unbroadcast

NARROW = Domain(-1.2, 1.2)  # between the poles of tan, for both parts of a complex number
# Pairs whose quotient lies between 2.08 and 2.96 (of either sign), away from where remainders jump.
DIVIDEND, NEGATIVE_DIVIDEND, DIVISOR = Domain(2.6, 3.4), Domain(-3.4, -2.6), Domain(1.15, 1.25)


def real_only(domain: Domain | tuple[Domain, ...] = REAL, note: str = "", calls: tuple[Call, ...] = ()) -> Cases:
    """Cases of a function that takes no complex numbers."""
    return Cases(domain=domain, calls=calls, complex=False, analytic=False, note=note)


def in_dtype(x: Any, dtype: Any, casting: Any = "same_kind") -> Any:
    """An operand in the ``dtype=`` that a ufunc was told to compute in; NumPy's error where it can't be cast."""
    if dtype is None or not hasattr(x, "dtype"):
        return x  # A Python number takes part weakly.
    np.empty(0, x.dtype).astype(dtype, casting=casting)
    return cast(x, np.dtype(dtype))


def laid_out(x: Any, order: Any) -> Any:
    """An array in the memory order that a ufunc was told to give."""
    return x if order == "K" else np.positive(x, order=order)


# ---------------------------------------------------------------- arithmetic

elementwise(np.add, 1, 1, cases=Cases())
elementwise(np.subtract, 1, -1, cases=Cases())
elementwise(np.multiply, lambda _y, _a, b: b, lambda _y, a, _b: a, cases=Cases())
elementwise(
    np.divide,
    ratio(lambda _y, _a, b: b),
    lambda y, _a, b: y / -b,
    cases=Cases(domain=NONZERO),
    quotient=True,
)
elementwise(np.negative, -1, cases=Cases())
elementwise(np.positive, 1, cases=Cases())
elementwise(np.reciprocal, lambda y, _x: -y * y, cases=Cases(domain=NONZERO))
elementwise(np.square, lambda _y, x: 2 * x, cases=Cases())
elementwise(np.sqrt, lambda y, _x: 0.5 / y, cases=Cases(domain=POSITIVE))
elementwise(np.cbrt, ratio(lambda y, _x: 3 * y * y), cases=real_only(NONZERO))
# The whole number of divisors taken away is what NumPy itself took: floor(a / b) may round to the next.
elementwise(
    np.remainder,
    1,
    lambda _y, a, b: -np.floor_divide(a, b),
    cases=real_only((NEGATIVE_DIVIDEND, DIVISOR), "1 in x1, also where it jumps"),
)
elementwise(
    np.fmod,
    1,
    lambda y, a, b: -np.rint((a - y) / b),
    cases=real_only((NEGATIVE_DIVIDEND, DIVISOR), "1 in x1, also where it jumps")._replace(
        examples=((call(np.array([7.0, -7.0]), np.full(2, 2.0)), (np.ones(2), np.array([-3.0, 3.0]))),)
    ),
)


@composite(
    np.divmod,
    note="the whole part is constant",
    cases=real_only(
        (DIVIDEND, DIVISOR), calls=(call((2, 3), (3,)), call((3,), 1.2), call((2,), (2,), dtype=np.float64))
    ),
)
def divmod(x1: Any, x2: Any, /, *, dtype: Any = None, casting: Any = "same_kind", order: Any = "K") -> Any:
    """The floor is constant, the remainder a function of its own."""
    given = {"dtype": dtype, "casting": casting, "order": order}
    return np.floor_divide(x1, x2, **given), np.remainder(x1, x2, **given)


CONSTANT: Any = (bool, int, float, complex, np.ndarray, np.generic)  # what never records


def power_slope(_y: Any, a: Any, b: Any) -> Any:
    """b a^(b-1); and 0 for b = 0 also at a = 0, where 0 * 0**-1 would be nan."""
    if isinstance(b, CONSTANT):
        # Nothing is differentiated by b here, so that any exponent does where the factor b is 0. It costs
        # a look at b alone, which mostly is one number; 0**0 is 1, which ends the polynomial.
        return b * a ** (b - 1 + (b == 0))
    return b * np.where((a == 0) & (b == 0), 1, a) ** (b - 1)


def exponent_slope(y: Any, a: Any, _b: Any) -> Any:
    """a^b log a; at a = 0 its limit for b > 0, which is 0, by a logarithm that is never taken of 0."""
    if not hasattr(a, "dtype"):
        a = y.dtype.type(a)  # The logarithm of a Python float would no longer take part weakly.
    elif a.dtype != y.dtype:
        a = cast(a, y.dtype)  # The logarithm of a negative base, where the exponent is complex.
    return y * np.log(np.where(a == 0, 1, a))


POWER = Cases(
    domain=(POSITIVE, REAL),
    calls=(call((2, 3), 3), call((3,), -2.5), call(2.0, (3,)), call((3,), np.array([0, 1, 2])), call((3,), (2, 1))),
    examples=(
        (call(np.zeros(4), np.arange(4)), (np.array([0.0, 1.0, 0.0, 0.0]), None)),
        (call(np.array([-2.0, -2.0]), np.array([3, 0])), (np.array([12.0, 0.0]), None)),
        (call(np.array([0.0, 0.0]), np.array([2.0, 0.0])), (np.zeros(2), np.zeros(2))),
        (call(np.zeros(2, complex), np.array([0, 1])), (np.array([0, 1]), None)),
        # By mpmath: the logarithm of the base is complex.
        (
            call(np.array([-2.0]), np.array([1 + 1j])),
            (np.array([0.00562980664052364531]), np.array([0.127408483344155258 + 0.247142947181601295j])),
        ),
        (call(-2, np.array([1 + 1j])), (None, np.array([0.127408483344155258 + 0.247142947181601295j]))),
    ),
    note="whole exponents are polynomials at every base; by the exponent, 0 at base 0 and nan at a negative base",
)
elementwise(np.power, power_slope, exponent_slope, cases=POWER)


@partial(primitive, name="np.float_power")
def float_power_of(x1: Any, x2: Any) -> Any:
    """``np.float_power``, whose result is wider than its operands: no ufunc of one dtype, as the others."""
    return np.float_power(x1, x2)


elementwise(float_power_of, power_slope, exponent_slope, cases=POWER)


@composite(
    np.float_power,
    cases=Cases(
        domain=(POSITIVE, REAL),
        calls=(*POWER.calls, call((3,), (3,), dtype=np.complex128), call((2, 3), 2, order="F")),
        note=POWER.note,
    ),
)
def float_power(x1: Any, x2: Any, /, *, dtype: Any = None, casting: Any = "same_kind", order: Any = "K") -> Any:
    """The power, in double precision at least."""
    if dtype is not None:  # NumPy's error for a dtype that isn't.
        np.float_power(*(np.empty(0, getattr(x, "dtype", float)) for x in (x1, x2)), dtype=dtype, casting=casting)
    return laid_out(float_power_of(in_dtype(x1, dtype, casting), in_dtype(x2, dtype, casting)), order)


# ---------------------------------------------------------------- size and sign

# At 0, where it has a kink, the sign says 0: |x|'(0) = 0, for complex numbers too.
elementwise(
    np.absolute,
    lambda _y, x: conj(np.sign(x)),
    cases=Cases(
        domain=NONZERO, analytic=False, examples=((call(np.zeros(1, complex)), (np.zeros(1),)),), note="0 at 0"
    ),
)
elementwise(
    np.fabs,
    lambda _y, x: np.sign(x),
    cases=real_only(NONZERO, "0 at 0")._replace(examples=((call(np.zeros(2)), (np.zeros(2),)),)),
)
elementwise(
    np.hypot,
    hypot_slope,
    lambda y, a, b: hypot_slope(y, b, a),
    cases=real_only(NONZERO, "0 at the origin")._replace(
        examples=((call(np.array([0.0, 1.0]), np.zeros(2)), (np.array([0.0, 1.0]), np.zeros(2))),)
    ),
)
elementwise(
    np.copysign,
    lambda _y, a, b: np.sign(a) * np.copysign(1, b),
    None,
    cases=real_only(NONZERO, "0 at x1 = 0; constant in x2")._replace(
        examples=((call(np.zeros(2), 1.0), (np.zeros(2), None)),)
    ),
)
elementwise(np.nextafter, 1, None, cases=real_only(note="constant in x2"))


def _tamed(g: Any, slope: Any) -> Any:
    """The slope, with 0 where it isn't finite and meets a zero cotangent: what the engine does for slopes."""
    return np.where((g == 0) & ~np.isfinite(slope), 0, slope)


def sign_pullback(g: Any, y: Any, x: Any) -> Any:
    """x_bar = i y Im(conj(y) g) / |x|: of g, what turns x, none of what lengthens it; 0 at 0."""
    along = _tamed(g, y)
    turn = _tamed(g, y / np.where(x == 0, math.inf, np.absolute(x)))
    return 1j * turn * np.imag(conj(along) * g)


elementwise(
    np.sign,
    pullback(sign_pullback),
    cases=Cases(
        domain=NONZERO,
        analytic=False,
        examples=((call(np.array([0, np.nan * (1 + 1j)])), (np.array([0, np.nan * (1 + 1j)]),)),),
        note="constant for real numbers; 0 at 0",
    ),
    constant_for_real=True,
)
elementwise(np.conjugate, pullback(lambda g, _y, _x: conj(g)), cases=Cases(analytic=False))
elementwise(np.real, 1, cases=Cases(analytic=False))
elementwise(np.imag, -1j, cases=Cases(analytic=False, note="constant for real numbers"), constant_for_real=True)


@partial(primitive, name="np.angle")
def angle_of_real(z: Any) -> Any:
    """``np.angle`` of real numbers: 0 or pi."""
    return np.angle(z)


constant(angle_of_real)


@composite(
    np.angle,
    note="0 at 0; constant for real numbers",
    cases=Cases(domain=NONZERO, analytic=False, calls=(call((2, 3)), call((3,), deg=True))),
)
def angle(z: Any, deg: bool = False) -> Any:
    """The angle of (real, imaginary), scaled as NumPy scales it."""
    a = np.arctan2(np.imag(z), np.real(z)) if z.dtype.kind == "c" else angle_of_real(z)
    return a * (180 / math.pi) if deg else a


# ---------------------------------------------------------------- exponentials and logarithms

elementwise(np.exp, lambda y, _x: y, cases=Cases())
elementwise(np.exp2, lambda y, _x: y * logarithm(2, y), cases=Cases())
elementwise(np.expm1, lambda _y, x: np.exp(x), cases=Cases())  # y + 1 has no digits left at x = -40.
elementwise(np.log, ratio(lambda _y, x: x), cases=Cases(domain=POSITIVE))
elementwise(np.log2, ratio(lambda _y, x: x * logarithm(2, x)), cases=Cases(domain=POSITIVE))
elementwise(np.log10, ratio(lambda _y, x: x * logarithm(10, x)), cases=Cases(domain=POSITIVE))
elementwise(np.log1p, ratio(lambda _y, x: 1 + x), cases=Cases(domain=Domain(-0.7, 2.5)))


def _gap(a: Any, b: Any) -> Any:
    """b - a, and 0 where both are the same infinity."""
    gap = b - a
    if np.isfinite(gap).all():  # Most often: that spares four passes.
        return gap
    return np.where((a == b) & np.isinf(a), 0, gap)


LOGADDEXP = Cases(
    complex=False,
    analytic=False,
    examples=(
        (
            call(np.array([math.inf, -math.inf, math.inf, 1]), np.array([math.inf, -math.inf, 0, 801])),
            (np.array([0.5, 0.5, 1, 0]), np.array([0.5, 0.5, 0, 1])),
        ),
    ),
    note="half to each of two equal infinities",
)

# The share of each in the sum, 1 / (1 + e^(b-a)) of a: right to rounding however far apart they are, where
# e^(a-y) has lost the digits that y has lost.
elementwise(
    np.logaddexp,
    lambda _y, a, b: share(_gap(a, b)),
    lambda _y, a, b: share(_gap(b, a)),
    cases=LOGADDEXP,
)
elementwise(
    np.logaddexp2,
    lambda _y, a, b: share2(_gap(a, b)),
    lambda _y, a, b: share2(_gap(b, a)),
    cases=LOGADDEXP,
)

# ---------------------------------------------------------------- circles and hyperbolas

elementwise(np.sin, lambda _y, x: np.cos(x), cases=Cases())
elementwise(np.cos, lambda _y, x: -np.sin(x), cases=Cases())
elementwise(np.tan, tan_slope, cases=Cases(domain=NARROW))
elementwise(np.sinh, lambda _y, x: np.cosh(x), cases=Cases())
elementwise(np.cosh, lambda _y, x: np.sinh(x), cases=Cases())
# The cosine of such numbers overflows.
elementwise(
    np.tanh,
    tanh_slope,
    cases=Cases(domain=NARROW, examples=((call(np.array([800 + 1j, -800 + 1j])), (np.zeros(2),)),)),
    pull=tanh_pull,
)
elementwise(
    np.arcsin,
    ratio(lambda _y, x: circle(x)),
    cases=Cases(domain=UNIT, examples=((call(np.array([1.0, -1.0])), (np.full(2, math.inf),)),)),
)
elementwise(np.arccos, ratio(lambda _y, x: -circle(x)), cases=Cases(domain=UNIT))


elementwise(np.arctan, lambda _y, x: arctan_slope(x), cases=Cases(domain=NONZERO))
# Beside i, by mpmath.
elementwise(
    np.arcsinh,
    ratio(arcsinh_slope),
    cases=Cases(domain=NONZERO, examples=((call(np.array([0.9999999999j])), (np.array([70710.6751951088304]),)),)),
)
elementwise(np.arccosh, ratio(lambda _y, x: outer_circle(x)), cases=Cases(domain=Domain(1.2, 3.0)))
elementwise(
    np.arctanh,
    lambda _y, x: arctanh_slope(x),
    cases=Cases(domain=UNIT, examples=((call(np.array([1e200 + 1e200j])), (np.zeros(1),)),)),
)


def arctan2_slope(_y: Any, a: Any, b: Any) -> Any:
    """b / (a^2 + b^2), without squares that could overflow; 0 at the origin, at every order."""
    r = far(a, b)
    return b / r / r


elementwise(
    np.arctan2,
    arctan2_slope,
    lambda y, a, b: -arctan2_slope(y, b, a),
    cases=real_only(NONZERO, "0 at the origin"),
)
for _to_radians in (np.deg2rad, np.radians):
    elementwise(_to_radians, lambda _y, _x: degree(_x), cases=real_only())
for _to_degrees in (np.rad2deg, np.degrees):
    elementwise(_to_degrees, ratio(lambda _y, _x: degree(_x)), cases=real_only())

# d/dx sinc(x) = sum over k of (-1)^k 2k pi^(2k) x^(2k-1) / (2k+1)!; ten terms give all digits below 0.3.
SINC_SERIES = [(-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 11)]


def sinc_slope(y: Any, x: Any) -> Any:
    """(cos(pi x) - y) / x; beside 0, where that is 0 / 0, the series. Each sees only its own side."""
    near = np.absolute(x) < 0.3
    close, away = np.where(near, x, 0), np.where(near, 1, x)
    square, series = close * close, 0.0
    for coefficient in reversed(SINC_SERIES):
        series = series * square + coefficient
    return np.where(near, series * close, (np.cos(math.pi * away) - y) / away)


elementwise(
    np.sinc,
    sinc_slope,
    cases=Cases(
        domain=Domain(-2.0, 2.0),
        calls=(call((5, 5)),),
        examples=(
            (call(np.zeros(2)), (np.zeros(2),)),
            (call(np.array([0.29])), (np.array([-0.877183192598032370]),)),  # By mpmath.
        ),
    ),
)

# ---------------------------------------------------------------- parts of a float


@partial(primitive, name="np.modf")
def modf_fraction(x: Any) -> Any:
    """The first output of ``np.modf``: what stands behind the point."""
    return np.modf(x)[0]


elementwise(modf_fraction, 1, cases=real_only(DIVISOR))


@composite(
    np.modf,
    note="the whole part is constant",
    cases=real_only(DIVISOR, calls=(call((2, 3)), call((2,), dtype=np.float64), call((2, 3), order="F"))),
)
def modf(x: Any, /, *, dtype: Any = None, casting: Any = "same_kind", order: Any = "K") -> Any:
    """The whole part is constant."""
    x = laid_out(in_dtype(x, dtype, casting), order)
    return modf_fraction(x), np.trunc(x)


@partial(primitive, name="np.frexp")
def frexp_exponent(x: Any) -> Any:
    """The second output of ``np.frexp``."""
    return np.frexp(x)[1]


constant(frexp_exponent)


@composite(
    np.frexp, note="the exponent is constant", cases=real_only(DIVISOR, calls=(call((2, 3)), call((2, 3), order="F")))
)
def frexp(x: Any, /, *, order: Any = "K") -> Any:
    """x = mantissa * 2**exponent, and the exponent is constant."""
    x = laid_out(x, order)
    exponent = frexp_exponent(x)
    return np.ldexp(x, -exponent), exponent


@defvjp(
    np.ldexp,
    cases=real_only(calls=(call((2, 3), 2), call((3,), np.array([1, -2, 0])), call((3,), np.array([[1], [2]])))),
)
def ldexp_vjp(g: Any, _y: Any, _a: Any, b: Any) -> Any:
    """a_bar = g 2^b, scaled as exactly as the value; b is whole."""
    return unbroadcast(np.ldexp(g, b), _a.shape), None
