"""Polynomials: the functions on coefficients, the highest power first, that stand in numpy itself.

Most are written in other functions, as NumPy's own are. Three have rules: ``polyval``, whose derivatives
are polynomials again; ``roots``, by the derivative of the polynomial at each root; and the characteristic
polynomial of a matrix, by its adjugate, which repeated eigenvalues don't disturb. What NumPy trims by
value (leading zeros) is trimmed by value here, from the result.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, Cases, Domain, call
from tapegrad.errors import NotDifferentiableError
from tapegrad.ops.differences import as_array
from tapegrad.primitive import composite, defvjp, plain, primitive
from tapegrad.shapes import cast, conj, mT, unbroadcast

plain(np.poly1d, note="a class, which holds arrays only; pass coefficients")


def _coefficients(name: str, p: Any) -> Any:
    """Coefficients as an array or a tensor; NumPy's class of polynomials can't hold a tensor."""
    if isinstance(p, np.poly1d):
        raise NotDifferentiableError(f"{name}: no gradient passes through np.poly1d; pass its coefficients, p.coeffs")
    return as_array(p)


def _row(name: str, p: Any) -> Any:
    return np.atleast_1d(_coefficients(name, p))


# ---------------------------------------------------------------- values


@partial(primitive, name="np.polyval")
def value_of(p: Any, x: Any) -> Any:
    """``np.polyval`` of coefficients, not of NumPy's class of polynomials."""
    return np.polyval(p, x)


@defvjp(
    value_of,
    cases=Cases(
        calls=(
            call((4,), (3,)),
            call((3,), (2, 2)),
            call((3,), ()),
            call((3,), 2.0),
            call((1,), (2,)),
            call((0,), (2,)),
            call((3, 2), (2,)),
            call((2, 3), (2, 1)),
            call((3,), np.array([1, 2])),
            call(np.array([1, 2, 3]), (2,)),
            call((2,), (0,)),
        ),
        examples=(
            # 200 x is more than the coefficients' own dtype holds.
            (call(np.array([100, 0, 0], np.int8), np.array([1.0])), (None, np.array([200.0]))),
            # A constant has no slope, whatever comes for it.
            (call(np.array([2.0]), np.array([1.0])), (np.array([np.inf]), np.zeros(1)), np.inf),
        ),
    ),
)
def value_of_vjp(g: Any, _y: Any, p: Any, x: Any) -> Any:
    """x_bar = g conj(p'(x)); the coefficient of x^k gets sum(g conj(x^k))."""

    def by_x() -> Any:
        return None if p.shape[0] < 2 else unbroadcast(g * conj(value_of(_derivative(p), x)), np.shape(x))

    return lambda: _moments(g, p, as_array(x)), by_x


def _derivative(p: Any) -> Any:
    """The coefficients of the derivative; each may be an array of its own."""
    n = p.shape[0] - 1
    powers = np.arange(n, 0, -1).reshape((n,) + (1,) * (p.ndim - 1))
    return p[:-1] * (powers.astype(p.dtype) if p.dtype.kind in "fc" else powers)


def _moments(g: Any, p: Any, x: Any) -> Any:
    """The cotangents of the coefficients: g summed against each power of x."""
    if p.shape[0] == 0:
        return None
    shape, power, found = p.shape[1:], conj(x), []
    for k in range(p.shape[0]):
        if k == 0:
            found.append(unbroadcast(g, shape))
        elif shape == () and power.shape == g.shape:
            found.append(np.dot(power.reshape(-1), g.reshape(-1)))  # Product and sum in one pass.
        else:
            found.append(unbroadcast(g * power, shape))
        if 0 < k < p.shape[0] - 1:
            power = power * conj(x)
    return np.stack(found[::-1])


@composite(np.polyval, cases=Cases(calls=(call((4,), (3,)), call((2,), 1.5), call([1.0, 2.0, 3.0], (2,)))))
def polyval(p: Any, x: Any) -> Any:
    """The value at each point, by Horner's rule."""
    return value_of(_coefficients("np.polyval", p), _coefficients("np.polyval", x) if np.ndim(x) else x)


@defvjp(
    np.vander,
    cases=Cases(
        calls=(
            call((3,)),
            call((3,), N=2),
            call((2,), N=4, increasing=True),
            call((3,), N=1),
            call((3,), N=0),
            call((0,), N=3),
        ),
        examples=((call(np.zeros(1), N=3), (np.ones(1),)),),
    ),
)
def vander_vjp(g: Any, y: Any, _x: Any, *, _N: Any = None, increasing: bool = False) -> Any:
    """x_bar = sum over k of k g_k conj(x^(k-1)): the column of one power less stands beside."""
    if y.shape[1] < 2:
        return None
    powers = np.arange(1, y.shape[1], dtype=y.dtype)
    if increasing:
        return np.einsum("ik,ik,k->i", g[:, 1:], conj(y[:, :-1]), powers)
    return np.einsum("ik,ik,k->i", g[:, :-1], conj(y[:, 1:]), powers[::-1])


# ---------------------------------------------------------------- arithmetic


def _aligned(name: str, a1: Any, a2: Any) -> tuple[Any, Any]:
    """Two rows of coefficients of one length, the shorter with zeros before it."""
    a1, a2 = _row(name, a1), _row(name, a2)
    n = max(a1.shape[0], a2.shape[0])
    return _led(a1, n - a1.shape[0]), _led(a2, n - a2.shape[0])


def _led(p: Any, n: int) -> Any:
    """The coefficients with ``n`` zeros before them."""
    return np.concatenate([np.zeros(n, p.dtype), p]) if n else p


PAIRS = Cases(calls=(call((3,), (3,)), call((2,), (4,)), call((3,), (1,)), call((), (3,)), call((2,), [1.0, 2.0, 3.0])))


@composite(np.polyadd, cases=PAIRS)
def polyadd(a1: Any, a2: Any) -> Any:
    """The sum, coefficient by coefficient."""
    a1, a2 = _aligned("np.polyadd", a1, a2)
    return a1 + a2


@composite(np.polysub, cases=PAIRS)
def polysub(a1: Any, a2: Any) -> Any:
    """The difference, coefficient by coefficient."""
    a1, a2 = _aligned("np.polysub", a1, a2)
    return a1 - a2


@composite(np.polymul, cases=PAIRS)
def polymul(a1: Any, a2: Any) -> Any:
    """The product of all coefficients, less as many as NumPy trims: leading zeros still have a derivative."""
    a1, a2 = _row("np.polymul", a1), _row("np.polymul", a2)
    if a1.ndim > 1 or a2.ndim > 1:
        raise ValueError("Polynomial must be 1d only.")
    return np.convolve(a1, a2)[_leading_zeros(a1) + _leading_zeros(a2) :]


def _leading_zeros(p: Any) -> int:
    """How many zeros np.poly1d takes away: all that lead, but the last coefficient."""
    places = np.flatnonzero(p)
    return int(places[0]) if places.size else p.shape[0] - 1


@partial(primitive, name="np.polydiv")
def quotient_of(u: Any, v: Any) -> tuple[Any, Any]:
    """``np.polydiv`` of coefficients: the quotient, and the remainder as NumPy trims it."""
    quotient, remainder = np.polydiv(u, v)
    return quotient, remainder


@defvjp(
    quotient_of,
    cases=Cases(
        domain=(Domain(), Domain(0.5, 2.0)),
        calls=(call((5,), (2,)), call((4,), (3,)), call((3,), (3,)), call((2,), (3,)), call((4,), np.array([2, 1]))),
        examples=(
            # There is nothing to divide, and the leading zero is trimmed.
            (call(np.array([0.0, 2.0]), np.array([1.0, 2.0, 3.0])), (np.array([0.0, 1.0]), np.zeros(3))),
            # Divided by a number nothing remains, whatever comes for it.
            (call(np.array([2.0, 4.0]), np.array([2.0])), (np.full(2, 0.5), np.array([-1.5])), [np.ones(2), np.inf]),
            # The remainder has one coefficient; above it NumPy leaves a rounding error of 16.
            (
                call(np.array([1e17, 1.0]), np.array([7.0, 1.0])),
                (np.array([-np.inf, np.inf]), np.array([np.inf, -np.inf])),
                [np.ones(1), np.inf],
            ),
        ),
    ),
)
def quotient_of_vjp(g: Any, y: Any, u: Any, v: Any) -> Any:
    """From v dq + dr = du - q dv: u_bar is r_bar and, above it, what v divides; v_bar = -u_bar against q.

    The quotient is a triangular system in v, whose adjoint is one in v turned round: a quotient again.
    """
    q_bar, r_bar = g
    n, m, count = v.shape[0] - 1, u.shape[0] - 1, u.shape[0] - v.shape[0] + 1
    if count < 1:  # Nothing to divide: the remainder is u.
        return None if r_bar is None else _led(r_bar, m + 1 - r_bar.shape[0]), None
    low = None
    if r_bar is not None and n > 0:
        # Above its last n coefficients a remainder holds rounding errors, if anything.
        r_bar = r_bar[-n:]
        low = _led(r_bar, m + 1 - r_bar.shape[0])
    h: Any = 0 if q_bar is None else q_bar
    if low is not None:
        h = h - np.correlate(low, v, "valid")
    elif q_bar is None:
        return None, None
    top = quotient_of(np.concatenate([h[::-1], np.zeros_like(h, shape=n)]), conj(v))[0][::-1]
    u_bar = np.concatenate([top, np.zeros_like(top, shape=n)])
    u_bar = u_bar if low is None else u_bar + low
    return u_bar, lambda: -np.correlate(u_bar, y[0], "valid")


@composite(
    np.polydiv,
    cases=Cases(domain=(Domain(), Domain(0.5, 2.0)), calls=(call((4,), (2,)), call((3,), [2.0, 1.0]), call((), ()))),
)
def polydiv(u: Any, v: Any) -> Any:
    """Quotient and remainder; what leads the remainder and is 0 to rounding is trimmed."""
    return quotient_of(_row("np.polydiv", u) + 0.0, _row("np.polydiv", v) + 0.0)


@composite(np.polyder, cases=Cases(calls=(call((4,)), call((4,), m=2), call((3,), m=0), call((2,), m=3), call((1,)))))
def polyder(p: Any, m: int = 1) -> Any:
    """The ``m``-th derivative."""
    m = int(m)
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    p = _coefficients("np.polyder", p)
    for _ in range(m):
        p = p[:-1] * np.arange(p.shape[0] - 1, 0, -1)
    return p


@composite(
    np.polyint,
    cases=Cases(
        calls=(call((3,)), call((3,), m=2), call((3,), m=2, k=[1.0, 2.0]), call((2,), m=3, k=0.5), call((2,), m=0))
    ),
)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The ``m``-th antiderivative, with the constants ``k``; a tensor of constants takes part."""
    m = int(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    p = _coefficients("np.polyint", p)
    k = np.zeros(m) if k is None else np.atleast_1d(as_array(k))
    if k.shape[0] == 1 and m > 1:
        k = k[0] * np.ones(m)
    if k.shape[0] < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    for i in range(m):
        p = np.concatenate([p / np.arange(p.shape[0], 0, -1), k[i : i + 1]])
    return p


# ---------------------------------------------------------------- roots, and back


@defvjp(
    np.roots,
    cases=Cases(
        domain=NONZERO,
        calls=(call((4,)), call((5,)), call((2,)), call((1,))),
        examples=(
            # x^2 - x has the root 0, of which NumPy makes no eigenvalue; it moves all the same.
            (call(np.array([0.0, 1.0, -1.0, 0.0])), (np.array([-1.0, -1.0, -1.0, 0.0]),)),
            (call(np.array([2.0])), (np.zeros(1),)),
            (call(np.zeros(2)), (np.zeros(2),)),
            # Of the roots 1, 0 and 0 the first alone has a derivative.
            (call(np.array([1.0, -1.0, 0.0, 0.0])), (np.full(4, -1.0),), np.array([1, 0, 0])),
            (call(np.array([1.0, -1.0, 0.0, 0.0])), (np.array([np.nan] * 3 + [-np.inf]),), np.array([0, 1, 0])),
        ),
        analytic=False,
        note="infinite or nan at repeated roots, which have no derivative",
    ),
)
def roots_vjp(g: Any, y: Any, p: Any) -> Any:
    """dr = -(sum over k of dp_k r^k) / p'(r) at each root r, of those that are 0 and were stripped too."""
    if y.shape[0] == 0:
        return None
    slope = conj(value_of(_derivative(p), y))
    c = g / np.where((g == 0) & (slope == 0), np.inf, slope)
    return -c @ conj(np.vander(y, p.shape[0]))


@partial(primitive, name="np.poly")
def characteristic(a: Any) -> Any:
    """``np.poly`` of a square matrix: the coefficients of det(x - a)."""
    return np.poly(a)


@defvjp(
    characteristic,
    cases=Cases(
        calls=(call((1, 1)), call((3, 3)), call((2, 2))),
        # Repeated eigenvalues: tr(a)^2 - tr(a^2), halved, has the derivative tr(a) - a^T.
        examples=((call(np.eye(2)), (np.array([[0.0, 0.0], [0.0, 0.0]]),)),),
        analytic=False,
    ),
)
def characteristic_vjp(g: Any, y: Any, a: Any) -> Any:
    """dy_k = -tr(N_k da), where adj(x - a) = sum over k of N_k x^(n-k): N_1 = 1, N_(k+1) = a N_k + y_k.

    Faddeev & LeVerrier's recurrence; with the coefficients at hand it needs no eigenvalues.
    """
    n = a.shape[0]
    one = np.eye(n)
    adjugate, total = one, g[1] * one
    for k in range(1, n):
        adjugate = a @ adjugate + y[k] * one
        total = total + g[k + 1] * conj(adjugate)
    return -mT(total)


@composite(np.poly, cases=Cases(calls=(call((3,)), call((1,)), call((0,)), call((2, 2))), analytic=False))
def poly(seq_of_zeros: Any) -> Any:
    """The product of the linear factors; of a square matrix, its characteristic polynomial."""
    # NumPy looks into its argument for tensors, so that a list of them comes here too.
    z = np.stack(seq_of_zeros) if isinstance(seq_of_zeros, (list, tuple)) else np.atleast_1d(as_array(seq_of_zeros))
    if z.ndim == 2 and z.shape[0] == z.shape[1] != 0:
        return characteristic(z)
    if z.ndim != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    if z.shape[0] == 0:
        return 1.0
    dtype = np.dtype(np.mintypecode(z.dtype.char))
    if z.dtype != dtype:
        z = cast(z, dtype)
    factors = np.stack([np.ones_like(z), -z], axis=1)
    p = factors[0]
    for i in range(1, z.shape[0]):
        p = np.convolve(p, factors[i])
    if dtype.kind == "c":
        values = [np.sort(s) for s in (_value(z), conj(_value(z)))]
        if (values[0] == values[1]).all():  # The roots come in conjugate pairs.
            p = np.real(p)
    return p


def _value(x: Any) -> Any:
    return x.numpy() if hasattr(x, "numpy") else x
