"""Determinants: their gradient is the matrix of cofactors, which exists where the inverse doesn't.

``det`` is pulled back by ``cofactors``, and that by ``minors_along``. For matrices far from singular both
are written in the inverse. Otherwise by A = U S V^H: the cofactors of a product are the product of the
cofactors, those of a unitary matrix are det(U) conj(U), and those of S are products of its other
elements. Nothing is divided by, so that matrices of any rank have their exact gradient and Hessian.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.ops.decompositions import ONE_TO_TEN, eye_of
from tapegrad.ops.linalg import REGULAR
from tapegrad.ops.reductions import products_of_others, strong_product
from tapegrad.primitive import defvjp, primitive
from tapegrad.shapes import conj, mH, mT

RANK_TWO = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])


@defvjp(
    np.linalg.det,
    cases=Cases(
        calls=(call((3, 3)), call((2, 2)), call((1, 1)), call((2, 4, 4)), call((0, 0)), call((0, 2, 2))),
        examples=(
            (call(RANK_TWO), (np.array([[-3.0, 6.0, -3.0], [6.0, -12.0, 6.0], [-3.0, 6.0, -3.0]]),)),
            (call(np.diag([0.0, 2.0, 3.0])), (np.diag([6.0, 0.0, 0.0]),)),
            (call(np.zeros((3, 3))), (np.zeros((3, 3)),)),
            (call(np.zeros((1, 1))), (np.ones((1, 1)),)),
        ),
        note="exact for singular matrices up to order two; from order three on nan for those",
    ),
)
def det_vjp(g: Any, y: Any, a: Any) -> Any:
    """a_bar = g conj(cofactors of a)."""
    return strong_product(g[..., None, None], conj(cofactors(a, y)))


@partial(primitive, name="np.linalg.det")
def cofactors(a: Any, det: Any) -> Any:
    """The matrix of cofactors: the derivative of ``det(a)`` by each element.

    a : (..., n, n)
    det : (...), the determinant, for what it spares; nan where it isn't known

    >>> cofactors(np.array([[1.0, 2.0], [3.0, 4.0]]), -2.0)
    array([[ 4., -3.],
           [-2.,  1.]])
    """
    x = _reliable_inverse(a)
    if x is not None and np.all(np.isfinite(det) & (det != 0)):
        return mT(x) * np.asarray(det)[..., None, None]
    u, s, vh, known = _factors(a)
    others = np.moveaxis(products_of_others(np.moveaxis(s, -1, 0)), 0, -1)
    return _by_factors(known, u, np.conj(u) * others[..., None, :], vh)


def _factors(a: Any) -> tuple[Any, Any, Any, Any]:
    """The singular value decomposition; of matrices with nan or inf that of 0, and which have none."""
    known = np.isfinite(a).all(axis=(-2, -1))[..., None, None]
    return (*np.linalg.svd(np.where(known, a, 0)), known)


def _by_factors(known: Any, u: Any, left: Any, vh: Any) -> Any:
    """cof(U) X cof(V^H), for left = conj(U) X; nan for matrices that have no factors."""
    sign = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return np.where(known, sign * (left @ np.conj(vh)), np.nan)


def _reliable_inverse(a: Any) -> Any:
    """The inverses, or None if some matrix is too close to a singular one."""
    try:
        x = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return None
    flat = [m.reshape(*m.shape[:-2], m.shape[-1] ** 2) for m in (a, x)]
    squares = [np.vecdot(m, m).real for m in flat]
    return x if np.all(squares[0] * squares[1] < np.finfo(a.dtype).eps ** -0.8) else None


SINGULAR, DIRECTION = np.array([[[1.0, 2, 3], [2, 4, 6], [1, 1, 1]], [[2, 0, 1], [1, 3, 0], [0, 1, 1]]])
ALONG_SINGULAR = np.array([[-9.0, 24.0, -13.0], [5.0, -13.0, 7.0], [-3.0, 6.0, -3.0]])  # from ONE_TO_TEN


@defvjp(
    cofactors,
    cases=Cases(
        calls=(call((3, 3), np.nan), call((1, 1), np.nan), call((2, 2, 2), np.nan), call((0, 0), np.nan)),
        examples=(
            (call(np.diag([1.0, 2.0]), 2.0), (np.array([[1.0, -1.0], [-1.0, 1.0]]), None)),
            (call(np.zeros((2, 2)), 0.0), (np.array([[1.0, -1.0], [-1.0, 1.0]]), None)),
            # Whole numbers, by cof(a + g) - cof(a) - cof(g).
            (call(SINGULAR, 0.0), (ALONG_SINGULAR, None), ONE_TO_TEN),
            (call((1 + 2j) * SINGULAR, 0.0), ((1 - 2j) * ALONG_SINGULAR, None), ONE_TO_TEN),
            (
                call(np.array([[[np.nan, 1], [1, 1]], [[1, 1], [1, 1]]]), np.array([np.nan, 0])),
                (np.array([[[np.nan] * 2] * 2, [[5, -4], [-2, 1]]]), None),
                ONE_TO_TEN[:2, :2],
            ),
        ),
        note="only within np.linalg.det",
    ),
)
def cofactors_vjp(g: Any, _y: Any, a: Any, _det: Any) -> Any:
    """The Hessian of det is symmetric: a_bar = conj(H(a) conj(g)). The determinant is no operand of its own."""
    return conj(minors_along(conj(g), a)), None


@partial(primitive, name="np.linalg.det")
def minors_along(e: Any, a: Any) -> Any:
    """The derivative of ``cofactors(a)`` along ``e``: the Hessian of ``det`` times ``e``.

    e, a : (..., n, n)

    >>> minors_along(np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2)))
    array([[0., 0.],
           [0., 1.]])
    """
    if a.shape[-1] < 2:
        return np.zeros_like(e)
    x = _reliable_inverse(a)
    if x is not None:
        xe = x @ e
        trace = np.einsum("...ii->...", xe)[..., None, None]
        return mT(trace * x - xe @ x) * np.linalg.det(a)[..., None, None]
    u, s, vh, known = _factors(a)
    f = mH(u) @ e @ mH(vh)
    n = s.shape[-1]
    # In row i the singular values but for the i-th; of these, the products of all others but the j-th.
    rows = np.where(eye_of(n), 1, s[..., None, :])
    pairs = np.moveaxis(products_of_others(np.moveaxis(rows, -1, 0)), 0, -1)
    along = np.einsum("...ik,...kk->...i", np.where(eye_of(n), 0, pairs), f)
    core = np.where(eye_of(n), along[..., :, None], -mT(f) * pairs)
    return _by_factors(known, u, np.conj(u) @ core, vh)


@defvjp(
    minors_along,
    cases=Cases(
        domain=REGULAR,
        calls=(
            call((3, 3), (3, 3)),
            call((2, 3, 3), (2, 3, 3)),
            call((1, 4, 4), (1, 4, 4)),
            call((0, 0), (0, 0)),
            call((0, 3, 3), (0, 3, 3)),
        ),
        examples=(
            (call(np.diag([1.0, 2.0]), np.zeros((2, 2))), (np.array([[1.0, -1.0], [-1.0, 1.0]]), np.zeros((2, 2)))),
            (call(np.ones((1, 1)), np.ones((1, 1))), (np.zeros((1, 1)), np.zeros((1, 1)))),
            # As above; by ``a``, cof(e + g) - cof(e) - cof(g).
            (
                call(np.stack([DIRECTION] * 2), np.stack([SINGULAR, np.diag([1.0, 2.0, 3.0])])),
                (
                    np.stack([ALONG_SINGULAR, [[35, -12, -14], [-6, 13, -8], [-6, -6, 7]]]),
                    np.stack([np.full((3, 3), np.nan), [[29, -14, -9], [9, 14, -17], [-14, -5, 11]]]),
                ),
                ONE_TO_TEN,
            ),
        ),
        note="only within np.linalg.det",
    ),
)
def minors_along_vjp(g: Any, _y: Any, e: Any, a: Any) -> Any:
    """In e it is linear and symmetric. In a, the third derivative of det, written in the inverse X:

    d (f X - X E X tr(XG) - X G X tr(XE) + X E X G X + X G X E X)^T, with f = tr(XE) tr(XG) - tr(X E X G).
    """
    u, e_bar = conj(g), conj(minors_along(conj(g), a))
    if a.shape[-1] < 3:  # The determinant is of degree n.
        return e_bar, np.zeros_like(a)

    def a_bar() -> Any:
        regular = (np.linalg.cond(a) < np.finfo(a.dtype).eps ** -0.4)[..., None, None]
        b = np.where(regular, a, np.eye(a.shape[-1]))
        x, d = np.linalg.inv(b), np.linalg.det(b)[..., None, None]
        xe, xu = x @ e, x @ u
        te, tu = _trace(xe), _trace(xu)
        both = xe @ xu
        core = (te * tu - _trace(both)) * x - tu * (xe @ x) - te * (xu @ x) + both @ x + xu @ xe @ x
        return np.where(regular, conj(d * mT(core)), np.nan)

    return e_bar, a_bar


def _trace(x: Any) -> Any:
    return np.sum(np.where(eye_of(x.shape[-1]), x, 0), axis=(-2, -1), keepdims=True)


# ---------------------------------------------------------------- slogdet


@defvjp(
    np.linalg.slogdet,
    cases=Cases(
        domain=REGULAR,
        calls=(call((3, 3)), call((2, 2, 2)), call((1, 1)), call((0, 0)), call((0, 2, 2))),
        examples=(
            (
                call(np.stack([np.ones((2, 2)), np.diag([1.0, 2.0])])),
                (np.stack([np.full((2, 2), np.nan), np.diag([1, 0.5])]),),
                [0.0, 1.0],
            ),
            (
                call(np.stack([np.ones((2, 2)), np.diag([1.0, 2.0])])),
                (np.stack([np.zeros((2, 2)), np.diag([1, 0.5])]),),
                [0.0, np.arange(2.0)],
            ),
        ),
        analytic=False,
        note="nan for singular matrices",
    ),
)
def slogdet_vjp(g: Any, y: Any, a: Any) -> Any:
    """a_bar = (g_log + i Im(g_sign conj(sign))) a^-H: log det is the log and i times the angle of the sign."""
    sign, log = y
    c = np.zeros_like(log) if g[1] is None else g[1]
    if g[0] is not None and sign.dtype.kind == "c":
        c = c + 1j * np.imag(g[0] * conj(sign))
    c = c[..., None, None]
    singular = np.isneginf(log)[..., None, None]
    inverse = mH(np.linalg.inv(np.where(singular, eye_of(a.shape[-1]), a)))
    return np.where(singular, np.where(c == 0, 0, np.nan), c * inverse)
