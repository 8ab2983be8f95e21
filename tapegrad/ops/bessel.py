"""The modified Bessel functions of the first kind: np.i0, and what its derivatives lead to.

f_n(x) = I_n(x) / x^n is entire, even and positive, and f_n'(x) = x f_(n+1)(x): a family closed under
differentiation that has no 0/0 anywhere, which I_0, I_1 and I_1(x) / x would have at 0.

Abramowitz & Stegun 1964, 9.6.10 (the series), 9.6.28 (the derivative), 9.7.1 (far from 0).
"""

import math
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.ops.reductions import strong_product
from tapegrad.primitive import defvjp, elementwise, primitive

FAR = 30.0  # from here on the asymptotic series reaches rounding before it diverges


@primitive
def bessel_over_power(x: Any, n: int) -> Any:
    """I_n(x) / x^n, to rounding for every real ``x``.

    x : array of any shape, float
    n : the order, at least 0
    Returns an array of the shape and dtype of ``x``.

    >>> bessel_over_power(np.array([0.0, 2.0]), 1)
    array([0.5       , 0.79531843])
    """
    size = np.absolute(x)
    near = size < FAR
    if near.all():
        return _series(size, n)
    return np.where(near, _series(np.where(near, size, 0), n), _asymptotic(np.where(near, FAR, size), n))


def _series(size: Any, n: int) -> Any:
    """The sum over k of (x/2)^(2k) / (k! (k+n)!), over 2^n: all terms positive, so that nothing cancels."""
    square = 0.25 * size * size
    largest = float(np.max(square, initial=0.0))
    terms, term, bound = 1, 1.0, 1.0
    while term > 1e-20 * bound:  # So many terms as the largest argument needs.
        term *= largest / (terms * (terms + n))
        bound += term
        terms += 1
    y = np.full_like(size, 1.0)
    for k in reversed(range(1, terms)):
        y *= square / (k * (k + n))
        y += 1.0
    return y * (1 / (2**n * math.factorial(n)))


def _asymptotic(size: Any, n: int) -> Any:
    """e^x / (sqrt(2 pi x) x^n) times the sum of (-1)^k a_k(n) / x^k."""
    y, term = np.full_like(size, 1.0), np.full_like(size, 1.0)
    for k in range(1, 26):
        term = term * ((2 * k - 1) ** 2 - 4 * n * n) / (8 * k * size)
        y = y + term
    return np.exp(size) * y / (np.sqrt(2 * math.pi * size) * size**n)


@defvjp(
    bessel_over_power,
    cases=Cases(
        domain=Domain(-4.0, 4.0),
        calls=(call((3,), n=0), call((2, 3), n=1), call((), n=2), call((0,), n=1)),
        # By mpmath, to forty digits; the second argument lies where the asymptotic series takes over.
        examples=(
            (call(np.array([3.0, 40.0]), n=0), (np.array([3.9533702174026094, 14707396163259352.7]),)),
            (call(np.array([3.0, 40.0]), n=1), (np.array([0.748404146976650385, 353985124631423.307]),)),
            (call(np.array([3.0, -0.0]), n=0), (np.array([3.9533702174026094, 0.0]),)),
            (call(np.array([3.0, 40.0]), n=0), (np.array([3.9533702174026094, 0.0]),), np.array([1.0, 0.0])),
        ),
        complex=False,
        analytic=False,
    ),
)
def bessel_over_power_vjp(g: Any, _y: Any, x: Any, *, n: int) -> Any:
    """f_n' = x f_(n+1)."""
    return strong_product(g, x * bessel_over_power(x, n + 1))


elementwise(
    np.i0,
    lambda _y, x: x * bessel_over_power(x, 1),
    cases=Cases(domain=Domain(-9.0, 9.0), complex=False, analytic=False),
)
