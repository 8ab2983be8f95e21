"""Elementwise: slopes that are functions by themselves, with slopes of their own in which nothing cancels.

A slope differentiates again as it is written. ``1 - y * y`` has no digits left in the tails of tanh;
``sqrt(1 - x) * sqrt(1 + x)`` is right everywhere, but its derivative is a difference of two terms that cancel
at 0, and that of a quotient has its denominator squared, which may underflow. Here each such slope is a
primitive whose own slope is a product: right to rounding at every order.
"""

import math
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, UNIT, Cases, Domain, call
from tapegrad.primitive import elementwise, primitive


def logarithm(number: int, like: Any) -> Any:
    """The natural logarithm: a Python number, which takes part weakly; a longdouble where it meets one."""
    return np.log(np.longdouble(number)) if like.dtype.char in "gG" else math.log(number)


def degree(like: Any) -> Any:
    """One degree in radians, as ``logarithm``."""
    return (np.arccos(np.longdouble(-1)) if like.dtype.char in "gG" else math.pi) / 180


def _sech(x: Any) -> Any:
    if x.dtype.kind != "c":
        c = np.cosh(x)
        return np.divide(1, c, out=c if isinstance(c, np.ndarray) else None)
    e = np.exp(np.where(np.real(x) < 0, x, -x))  # The cosine would overflow to inf + inf j, and 1 / that is nan.
    return 2 * e / (1 + e * e)


sech = partial(primitive, name="np.tanh")(_sech)
elementwise(sech, lambda y, x: -y * np.tanh(x), cases=Cases(domain=UNIT))


def tanh_slope(_y: Any, x: Any) -> Any:
    """sech^2: where y has rounded to 1, 1 - y^2 has no digits left, and is 0 from x = 20 on."""
    if type(x) is not np.ndarray:
        s = sech(x)
        return s * s
    s = _sech(x)
    s *= s  # It is ours: one large array fewer.
    return s


def tanh_pull(g: Any, _y: Any, x: Any) -> Any:
    """g sech^2, on real arrays: two divisions by cosh, whose square would overflow sooner than the slope underflows."""
    c = np.cosh(x)
    quotient = g / c
    quotient /= c
    return quotient


def tan_slope(y: Any, x: Any) -> Any:
    """1 + y^2, which is the larger the closer to a pole; of complex numbers sec^2, as y tends to i and -i too."""
    if y.dtype.kind != "c":
        return 1 + y * y
    s = sech(1j * x)
    return s * s


@partial(primitive, name="np.arcsin")
def circle(x: Any) -> Any:
    """sqrt(1 - x^2) by its factors: right to rounding beside 1 and -1, and on both sides of the cuts."""
    # Of complex numbers, x - 1 and x - -1 keep the sign of a zero imaginary part, which says on which side of
    # a cut x lies; 1 - x and 1 + x don't. Of real ones, 1 - x is +0 at the edge, where the slope is +inf.
    if x.dtype.kind != "c":
        return np.sqrt((1 - x) * (1 + x))
    return np.sqrt(-(x - 1)) * np.sqrt(x - -1)


elementwise(circle, lambda y, x: x / -y, cases=Cases(domain=UNIT))


@partial(primitive, name="np.arccosh")
def outer_circle(x: Any) -> Any:
    """sqrt(x^2 - 1) by its factors, as ``circle``."""
    return np.sqrt(x - 1) * np.sqrt(x - -1)


elementwise(outer_circle, lambda y, x: x / y, cases=Cases(domain=Domain(1.2, 3.0)))


@partial(primitive, name="np.arcsinh")
def hyperbola(x: Any) -> Any:
    """sqrt(1 + x^2) without a square that could overflow; of complex numbers by its factors."""
    if x.dtype.kind != "c":
        return np.hypot(1, x)
    # It is even, and on the right of both cuts (a zero of either sign as real part tells the sides apart) the
    # product of the roots is the root of the product. cosh(arcsinh(x)) would be 6e-17 at i and -i, where this is 0.
    right = np.where(np.signbit(np.real(x)), -x, x)
    return np.sqrt(right - 1j) * np.sqrt(right + 1j)


# Analytic, but x + 1j forgets the tiny imaginary part by which a complex step would find the derivative.
elementwise(
    hyperbola,
    lambda y, x: x / y,
    cases=Cases(domain=NONZERO, analytic=False, examples=((call(np.array([0.75])), (np.array([0.6]),)),)),
)


def arcsinh_slope(y: Any, x: Any) -> Any:
    """sqrt(1 + x^2), of real numbers as a cosine, which takes a tenth of the time of ``np.hypot(1, x)``."""
    return np.cosh(y) if x.dtype.kind == "f" else hyperbola(x)


@partial(primitive, name="np.arctan")
def arctan_slope(x: Any) -> Any:
    """1 / (1 + x^2); of complex numbers by its factors, right to rounding beside i and -i, one after the other,
    since an infinite complex product has nan parts.
    """
    return 1 / (1 + x * x) if x.dtype.kind != "c" else 1 / (x - 1j) / (x + 1j)


elementwise(arctan_slope, lambda y, x: -2 * x * y * y, cases=Cases(domain=NONZERO, analytic=False))


@partial(primitive, name="np.arctanh")
def arctanh_slope(x: Any) -> Any:
    """1 / (1 - x^2) by its factors, right to rounding beside 1 and -1, and as ``arctan_slope``."""
    return 1 / ((1 - x) * (1 + x)) if x.dtype.kind != "c" else 1 / (1 - x) / (1 + x)


elementwise(arctanh_slope, lambda y, x: 2 * x * y * y, cases=Cases(domain=UNIT))


@partial(primitive, name="np.logaddexp")
def share(gap: Any) -> Any:
    """1 / (1 + e^gap): of two terms e^a and e^b, the part that a has in their sum, for gap = b - a."""
    return 1 / (1 + np.exp(gap))


@partial(primitive, name="np.logaddexp2")
def share2(gap: Any) -> Any:
    """1 / (1 + 2^gap), as ``share``."""
    return 1 / (1 + np.exp2(gap))


elementwise(share, lambda y, gap: -y * share(-gap), cases=Cases(complex=False))
elementwise(share2, lambda y, gap: y * share2(-gap) * -logarithm(2, gap), cases=Cases(complex=False))


def far(a: Any, b: Any) -> Any:
    """The distance from the origin, which itself counts as infinitely far away: there slopes come out as 0."""
    r = np.hypot(a, b)
    return np.where(r == 0, math.inf, r)


@partial(primitive, name="np.hypot")
def cosine(a: Any, b: Any) -> Any:
    """a / sqrt(a^2 + b^2); 0 at the origin."""
    return a / far(a, b)


def _cosine_by_a(_y: Any, a: Any, b: Any) -> Any:
    """b^2 / r^3, where 1 / r - a^2 / r^3 would cancel."""
    s = cosine(b, a)
    return s * s / far(a, b)


elementwise(
    cosine,
    _cosine_by_a,
    lambda y, a, b: y * -cosine(b, a) / far(a, b),
    cases=Cases(domain=NONZERO, complex=False, analytic=False),
)


def hypot_slope(y: Any, a: Any, b: Any) -> Any:
    """a / y; recorded as a function of both operands."""
    return a / np.where(y == 0, math.inf, y) if isinstance(y, (np.ndarray, np.generic)) else cosine(a, b)
