"""Special functions: the slopes of scipy.special's ufuncs, entered once SciPy is there.

Nothing here imports SciPy: the module is imported when a function that the table hasn't is met while
``scipy.special`` is loaded. What stands in the table are the ufuncs themselves, which reach a tensor by their
own door; ``scipy.special.jn`` may be a wrapper around one, as it is under ``SCIPY_ARRAY_API=1``.

A slope is written in the form that keeps its digits in the tails, and in functions that stand here too, so
that any order comes out. By an order or a degree (``v`` of ``jv``, ``a`` of ``gammainc``) there is no
derivative in closed form, and a recording one is refused.

NIST Digital Library of Mathematical Functions (DLMF), https://dlmf.nist.gov, by section.
"""

import importlib
import math
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import POSITIVE, REAL, UNIT, Cases, Domain, call
from tapegrad.kinds import pullback, ratio, refused
from tapegrad.ops.bessel import bessel_over_power
from tapegrad.primitive import elementwise, primitive, unsupported
from tapegrad.shapes import cast, conj

# The module that the public one takes them from: there they are ufuncs on every setting.
S: Any = importlib.import_module("scipy.special._ufuncs")

SHARE = Domain(0.1, 0.9)
ROOT_PI = math.sqrt(math.pi)


def real(domain: Domain | tuple[Domain, ...] = REAL, **more: Any) -> Cases:
    """Cases of a function that SciPy has for real numbers alone."""
    return Cases(domain=domain, complex=False, analytic=False, **more)


class Whole(Domain):
    """Whole numbers from low to high, for orders."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of ``shape`` and ``dtype``."""
        return rng.integers(int(self.low), int(self.high) + 1, shape).astype(dtype)


class One(Domain):
    """The int 1, for orders that are never arrays."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """1, whatever the shape."""
        return 1


# ---------------------------------------------------------------- the logistic function

# y (1 - y) has no digits left at x = 40, where 1 - y is 4e-18.
elementwise(S.expit, lambda y, x: y * S.expit(-x), cases=real(Domain(-4.0, 4.0)))
elementwise(S.log_expit, lambda _y, x: S.expit(-x), cases=real(Domain(-4.0, 4.0)))
elementwise(S.logit, ratio(lambda _y, x: x * (1 - x)), cases=real(SHARE))

# ---------------------------------------------------------------- gamma and beta (DLMF 5)


@partial(primitive, name="scipy.special.polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of the digamma function, also of complex ``x``; n an int, at least 1 (DLMF 5.15, 25.11.12).

    SciPy's own takes no complex numbers, and makes float32 wider.
    """
    factor = -((-1) ** n) * math.factorial(n)
    if x.dtype.kind == "c":
        return factor * _hurwitz(n + 1, x)
    return factor * S._zeta(float(n + 1), x)


BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def _hurwitz(s: int, x: Any) -> Any:
    """The sum over k of (x + k)^-s for complex x, whole s: terms until Re x > 15, then a series.

    That is Euler's and Maclaurin's (DLMF 25.11.5). nan where Re x <= -2000, which would take too many terms.
    """
    total, z = np.zeros_like(x), x
    for _ in range(2016):
        near = z.real <= 15
        if not near.any():
            break
        total = total + np.where(near, z**-s, 0)
        z = np.where(near, z + 1, z)
    z = np.where(near, math.nan, z)
    total = total + z ** (1 - s) / (s - 1) + 0.5 * z**-s
    rising = s  # s (s + 1) ... (s + 2j - 2) / (2j)!
    factor = float(rising) / 2
    for j, b in enumerate(BERNOULLI, 1):
        total = total + b * factor * z ** (1 - s - 2 * j)
        factor *= (s + 2 * j - 1) * (s + 2 * j) / ((2 * j + 1) * (2 * j + 2))
    return total.astype(x.dtype)


elementwise(
    polygamma,
    refused,
    lambda _y, n, x: polygamma(n + 1, x),
    cases=Cases(
        domain=(One(), POSITIVE),
        calls=(call(2, (3,)),),
        # By mpmath; too far to the left there is none.
        examples=(
            (
                call(1, np.array([-3000 + 1j, 2 + 1j])),
                (None, np.array([math.nan * (1 + 1j), -0.131447068412064828 - 0.266652850345066214j])),
            ),
        ),
    ),
)
elementwise(S.psi, lambda _y, x: polygamma(1, x), cases=Cases(domain=POSITIVE))
elementwise(S._zeta, refused, lambda _y, s, q: -s * S._zeta(s + 1, q), cases=real((Domain(1.5, 3.0), POSITIVE)))
unsupported(S._riemann_zeta, reason="its derivative isn't known in closed form")
elementwise(S.gamma, lambda y, x: y * S.psi(x), cases=Cases(domain=POSITIVE))
elementwise(S.gammaln, lambda _y, x: S.psi(x), cases=real(Domain(-2.8, 2.8, avoid=(-2, -1, 0), margin=0.2)))
elementwise(S.loggamma, lambda _y, x: S.psi(x), cases=Cases(domain=POSITIVE))
elementwise(
    S.beta,
    lambda y, a, b: y * (S.psi(a) - S.psi(a + b)),
    lambda y, a, b: y * (S.psi(b) - S.psi(a + b)),
    cases=real(POSITIVE),
)
elementwise(
    S.betaln,
    lambda _y, a, b: S.psi(a) - S.psi(a + b),
    lambda _y, a, b: S.psi(b) - S.psi(a + b),
    cases=real(POSITIVE),
)


def gammainc_slope(_y: Any, a: Any, x: Any) -> Any:
    """x^(a-1) e^-x / Gamma(a)  (DLMF 8.8.13)."""
    return np.exp(S.xlogy(a - 1, x) - x - S.gammaln(a))


def betainc_slope(_y: Any, a: Any, b: Any, x: Any) -> Any:
    """x^(a-1) (1 - x)^(b-1) / B(a, b)  (DLMF 8.17.1)."""
    return np.exp(S.xlogy(a - 1, x) + S.xlog1py(b - 1, -x) - S.betaln(a, b))


elementwise(S.gammainc, refused, gammainc_slope, cases=real(POSITIVE))
elementwise(S.gammaincc, refused, lambda y, a, x: -gammainc_slope(y, a, x), cases=real(POSITIVE))
elementwise(
    S.betainc,
    refused,
    refused,
    betainc_slope,
    cases=real((POSITIVE, POSITIVE, SHARE), calls=(call(np.array([0.5, 2.0]), np.array([1.5, 0.7]), (2,)),)),
)

# ---------------------------------------------------------------- error functions (DLMF 7)


@partial(primitive, name="scipy.special.erfcx' family")
def repeated_erfcx(n: Any, x: Any) -> Any:
    """f_n(x) = e^(x^2) i^n erfc(x), the scaled repeated integrals, for real ``x``; n an int from 0 (DLMF 7.18).

    2 (n + 1) f_(n+1) = f_(n-1) - 2 x f_n, and f_n' = -2 (n + 1) f_(n+1): erfcx' = 2 x erfcx - 2 / sqrt(pi)
    without the difference, of which nothing is left for large x. The f_n are positive and fall with n, so
    that the recurrence is stable upwards for x < 2, and downwards from any start beyond.
    """
    far = x >= 2
    before, f = 2 / ROOT_PI, S.erfcx(x)
    for k in range(n):
        before, f = f, (before - 2 * x * f) / (2 * k + 2)
    if not far.any():
        return f
    z = np.where(far, x, 2)
    # Down from far above n: where that was no longer matters at n, since only the ratios f_k / f_(k-1) are used.
    quotient, product = 0 * z, np.ones_like(z)
    for k in reversed(range(n + 60)):
        quotient = 1 / (2 * z + (2 * k + 2) * quotient)
        product = product * quotient if k <= n else product
    return np.where(far, product * (2 / ROOT_PI), f)


def erfcx_slope(y: Any, x: Any) -> Any:
    """2 x y - 2 / sqrt(pi), where x is real as -2 f_1."""
    return 2 * x * y - 2 / ROOT_PI if x.dtype.kind == "c" else -2 * repeated_erfcx(1, x)


def density(x: Any) -> Any:
    """The density of the normal distribution."""
    return np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))


elementwise(
    repeated_erfcx,
    refused,
    lambda _y, n, x: -2 * (n + 1) * repeated_erfcx(n + 1, x),
    cases=real(
        (One(), Domain(-2.0, 5.0)),
        # By mpmath, as below: from 2 on the recurrence goes downwards.
        examples=(
            (
                call(1, np.array([0.5, 3.0, 8.0])),
                (None, np.array([-0.359345932741632525, -0.0158843711598713363, -0.00105310314953908513])),
            ),
            # Alone: beside the others its digits wouldn't count.
            (call(1, np.array([0.5, 1e4])), (None, np.array([0.0, -5.64189566622069415e-13])), np.array([0.0, 1.0])),
        ),
    ),
)
elementwise(S.erf, lambda _y, x: np.exp(-x * x) * (2 / ROOT_PI), cases=Cases())
elementwise(S.erfc, lambda _y, x: np.exp(-x * x) * (-2 / ROOT_PI), cases=Cases())
elementwise(S.erfi, lambda _y, x: np.exp(x * x) * (2 / ROOT_PI), cases=Cases(domain=UNIT))
elementwise(
    S.erfcx,
    erfcx_slope,
    cases=Cases(
        examples=(
            (
                call(np.array([0.5, 3.0, 8.0])),
                (np.array([-0.512688822902586699, -0.0543722600071728714, -0.00861650788141773033]),),
            ),
            (call(np.array([1e4])), (np.array([-5.64189575084912745e-9]),)),
        ),
        note="of complex numbers right to rounding of 2 x y",
    ),
)
elementwise(S.erfinv, lambda y, _x: np.exp(y * y) * (ROOT_PI / 2), cases=real(UNIT))
elementwise(S.erfcinv, lambda y, _x: np.exp(y * y) * (-ROOT_PI / 2), cases=real(Domain(0.2, 1.8)))
elementwise(S.ndtr, lambda _y, x: density(x), cases=Cases())
elementwise(S.ndtri, ratio(lambda y, _x: density(y)), cases=real(SHARE))
# The density over the function, which are both 0 at x = -40, while erfcx is 0.014.
elementwise(
    S.log_ndtr, ratio(lambda _y, x: S.erfcx(x * -math.sqrt(0.5)) * math.sqrt(math.pi / 2)), cases=Cases(domain=REAL)
)

# ---------------------------------------------------------------- Bessel functions (DLMF 10)

# Not analytic to the complex step: SciPy computes an imaginary part to rounding of the whole.
OF_ORDER = Cases(domain=(Domain(0.3, 2.5), Domain(0.5, 4.0)), analytic=False)
BESSEL = Domain(0.5, 4.0)
EITHER_SIDE = Domain(-4.0, 4.0, avoid=(0.0,), margin=0.3)


def half_difference(f: Any) -> Any:
    """f_v' = (f_(v-1) - f_(v+1)) / 2, of J and Y  (DLMF 10.6.1)."""
    return lambda _y, v, x: 0.5 * (f(v - 1, x) - f(v + 1, x))


def half_sum(f: Any, half: float) -> Any:
    """f_v' = (f_(v-1) + f_(v+1)) / 2, of I; of K with a minus  (DLMF 10.29.1)."""
    return lambda _y, v, x: half * (f(v - 1, x) + f(v + 1, x))


elementwise(S.j0, lambda _y, x: -S.j1(x), cases=real(EITHER_SIDE))
elementwise(S.j1, lambda _y, x: 0.5 * (S.j0(x) - S.jv(2.0, x)), cases=real(EITHER_SIDE))
elementwise(S.y0, lambda _y, x: -S.y1(x), cases=real(BESSEL))
elementwise(S.y1, lambda y, x: S.y0(x) - y / x, cases=real(BESSEL))
elementwise(S.jv, refused, half_difference(S.jv), cases=OF_ORDER)
elementwise(S.yv, refused, half_difference(S.yv), cases=OF_ORDER)
elementwise(S.yn, refused, half_difference(S.yn), cases=real((Whole(0, 3), BESSEL)))

elementwise(S.i0, lambda _y, x: S.i1(x), cases=real(EITHER_SIDE))
elementwise(S.i1, lambda _y, x: S.i0(x) - bessel_over_power(x, 1), cases=real(EITHER_SIDE))
elementwise(S.k0, lambda _y, x: -S.k1(x), cases=real(BESSEL))
elementwise(S.k1, lambda y, x: -S.k0(x) - y / x, cases=real(BESSEL))
elementwise(S.iv, refused, half_sum(S.iv, 0.5), cases=OF_ORDER)
elementwise(S.kv, refused, half_sum(S.kv, -0.5), cases=OF_ORDER)
elementwise(S.kn, refused, half_sum(S.kn, -0.5), cases=real((Whole(0, 3), BESSEL)))


def i0e_slope(_y: Any, x: Any) -> Any:
    """i1e - sign(x) i0e, without that difference, which is a share of 1 / (2 |x|) of either.

    e^-x I_0(x) is Kummer's M(1/2, 1, -2 x), and M(a, b, z)' is a / b M(a + 1, b + 1, z)  (DLMF 10.39.5, 13.3.15).
    """
    return -np.sign(x) * S.hyp1f1(1.5, 2.0, -2 * np.absolute(x))


def i1e_slope(_y: Any, x: Any) -> Any:
    """Of x / 2 M(3/2, 3, -2 |x|)  (DLMF 10.39.5)."""
    size = np.absolute(x)
    return 0.5 * S.hyp1f1(1.5, 3.0, -2 * size) - 0.5 * size * S.hyp1f1(2.5, 4.0, -2 * size)


def ive_pullback(g: Any, y: Any, v: Any, z: Any) -> Any:
    """(ive_(v-1) + ive_(v+1)) / 2, and the factor exp(-|Re z|), which isn't holomorphic."""
    slope = conj(0.5 * (S.ive(v - 1, z) + S.ive(v + 1, z)))
    size = conj(y) * np.sign(np.real(z))
    slope = np.where((g == 0) & ~np.isfinite(slope), 0, slope)
    size = np.where((g == 0) & ~np.isfinite(size), 0, size)
    return g * slope - np.real(g * size)


elementwise(
    S.hyp1f1, refused, refused, lambda _y, a, b, x: a / b * S.hyp1f1(a + 1, b + 1, x), cases=Cases(domain=POSITIVE)
)
elementwise(S.i0e, i0e_slope, cases=real(EITHER_SIDE, note="0 at 0"))
elementwise(S.i1e, i1e_slope, cases=real(EITHER_SIDE))
elementwise(
    S.ive,
    refused,
    pullback(ive_pullback),
    cases=OF_ORDER._replace(
        # By mpmath: on the left the factor grows to the right.
        examples=(
            (call(2, np.array([-1.5 + 1j])), (None, np.array([-0.04949120454236161 - 0.11038534804649482j]))),
            (call(2, np.zeros(1)), (None, np.zeros(1))),
        )
    ),
)

# ---------------------------------------------------------------- exponential and elliptic integrals (DLMF 8.19, 19)


def expn_slope(y: Any, n: Any, x: Any) -> Any:
    """-E_(n-1); E_(-1) = (e^-x + E_0) / x, which SciPy hasn't  (DLMF 8.19.13, 8.19.12)."""
    if type(n) is int and n > 0:
        return -S.expn(n - 1, x)
    return -np.where(np.equal(n, 0), (np.exp(-x) + y) / x, S.expn(n - 1, x))


elementwise(S.expn, refused, expn_slope, cases=real((Whole(0, 3), POSITIVE), calls=(call(2, (3,)), call(0, (2,)))))
elementwise(S.exp1, lambda _y, x: -np.exp(-x) / x, cases=Cases(domain=POSITIVE))
elementwise(S.expi, lambda _y, x: np.exp(x) / x, cases=Cases(domain=POSITIVE, analytic=False))
elementwise(
    S.hyp2f1,
    *(refused,) * 3,
    lambda _y, a, b, c, z: a * b / c * S.hyp2f1(a + 1, b + 1, c + 1, z),
    cases=Cases(domain=(POSITIVE, POSITIVE, Domain(1.2, 2.5), Domain(-0.5, 0.5))),
)
# K = pi/2 F(1/2, 1/2; 1; m) and E = pi/2 F(-1/2, 1/2; 1; m)  (DLMF 19.5.1, 19.5.2): (E - (1 - m) K) / 2m(1 - m)
# would be 0 / 0 at m = 0, and next to nothing but rounding beside it.
# SciPy's F is float64 for float32.
elementwise(S.ellipk, lambda _y, m: cast(S.hyp2f1(1.5, 1.5, 2.0, m) * (math.pi / 8), m.dtype), cases=real(SHARE))
elementwise(S.ellipe, lambda _y, m: cast(S.hyp2f1(0.5, 1.5, 2.0, m) * (-math.pi / 8), m.dtype), cases=real(SHARE))

# ---------------------------------------------------------------- x log y, and what is made of it


@primitive
def over(x: Any, y: Any) -> Any:
    """x / y, and 0 where x is 0, whatever y is: what is left of x log y there has no slope by y."""
    return x / np.where(np.equal(x, 0), 1, y)


@primitive
def log_ratio(x: Any, y: Any) -> Any:
    """log(x / y), right to rounding also beside x = y, where the logarithms are close, and where x / y overflows."""
    near = np.absolute(x - y) < 0.5 * np.absolute(y)
    return np.where(near, np.log1p(np.where(near, x - y, 0) / y), np.log(x) - np.log(y))


elementwise(over, ratio(lambda _q, _x, y: y), lambda q, _x, y: -over(q, y), cases=Cases(domain=POSITIVE))
elementwise(log_ratio, ratio(lambda _y, x, _z: x), ratio(lambda _y, _x, z: -z), cases=real(POSITIVE))
elementwise(
    S.xlogy,
    lambda _z, _x, y: np.log(y),
    lambda _z, x, y: over(x, y),
    cases=Cases(
        domain=POSITIVE,
        examples=((call(np.zeros(2), np.array([0.0, 2.0])), (np.array([-math.inf, math.log(2)]), np.zeros(2))),),
        note="by y, 0 where x is 0",
    ),
)
elementwise(
    S.xlog1py,
    lambda _z, _x, y: np.log1p(y),
    lambda _z, x, y: over(x, 1 + y),
    cases=Cases(domain=POSITIVE, note="by y, 0 where x is 0"),
)
elementwise(S.entr, lambda _y, x: -1 - np.log(x), cases=real(POSITIVE))
elementwise(S.rel_entr, lambda _z, x, y: 1 + log_ratio(x, y), lambda _z, x, y: -over(x, y), cases=real(POSITIVE))
elementwise(
    S.kl_div,
    lambda _z, x, y: log_ratio(x, y),
    lambda _z, x, y: 1 - over(x, y),
    # Beside x = y, by mpmath, and where x / y overflows.
    cases=real(
        POSITIVE,
        examples=(
            (call(3.0000000003, 3.0), (np.array(1.00000008269037099e-10), None)),
            (call(1e300, 1e-300), (np.array(1381.55105579642741), None)),
        ),
    ),
)
