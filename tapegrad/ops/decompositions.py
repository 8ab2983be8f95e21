"""Decompositions: cholesky and qr, and what they share with those into eigenvalues and singular values.

**Hermitian operands.** NumPy reads one triangle of them. The gradients of ``cholesky``, ``eigh`` and
``eigvalsh`` are those of a function of the Hermitian part of its operand: symmetric, so that a descent
stays among the Hermitian matrices. The functions that the rules are registered for take None for the
triangle, which means just that: so can the rules be checked by differences.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.primitive import composite, defvjp, primitive, unsupported
from tapegrad.shapes import mH

# ---------------------------------------------------------------- what several share


def eye_of(n: int) -> Any:
    """The mask of the diagonal of n x n matrices."""
    return np.eye(n, dtype=bool)


def eps_of(x: Any) -> float:
    """The rounding of the dtype of ``x``."""
    return float(np.finfo(x.dtype).eps)


def skew(x: Any) -> Any:
    """The skew-Hermitian part of matrices."""
    return (x - mH(x)) / 2


def hermitian(x: Any) -> Any:
    """The Hermitian part of matrices."""
    return (x + mH(x)) / 2


ONE_TO_TEN = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 10.0]])  # a cotangent


def without_complement(gq: Any, q: Any, k: int) -> tuple[Any, Any, Any]:
    """The cotangent of a full unitary factor, as one of its first k columns; these; and what is to be added.

    The other columns span the complement, in a basis that isn't determined: what is to be added is nan for
    those matrices whose loss depends on the basis, else 0.
    """
    if q.shape[-1] == k:
        return gq, q, 0
    q1, q2, g1, g2 = q[..., :k], q[..., k:], gq[..., :k], gq[..., k:]
    turn = np.absolute(skew(mH(q2) @ g2))
    felt = np.max(turn, axis=(-2, -1), initial=0) > 1024 * eps_of(q) * np.max(np.absolute(g2), axis=(-2, -1), initial=0)
    return g1 - q2 @ (mH(g2) @ q1), q1, np.where(felt, np.nan, 0)[..., None, None]


class Hermitian(Domain):
    """Draws Hermitian matrices with eigenvalues apart from each other, and from ``shift`` on upwards."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Matrices of ``shape`` and ``dtype``."""
        x = super().draw(rng, shape, dtype)
        return (hermitian(x) * 0.3 + np.diag(self.low + np.arange(shape[-1]))).astype(dtype)


# ---------------------------------------------------------------- cholesky


# Of the factor [[2, 0], [3j, 1]], and its conjugate; the other triangle isn't read.
_OF_A_TRIANGLE = tuple(
    (call(np.array(matrix), upper=upper), (np.array(expected),), ONE_TO_TEN[:2, :2])
    for matrix, upper, expected in (
        ([[4, 9], [6j, 10]], False, [[5.875, 1 + 3.75j], [1 - 3.75j, 2.5]]),
        ([[4, -6j], [9, 10]], True, [[5.875, 0.5 + 3.75j], [0.5 - 3.75j, 2.5]]),
    )
)


@partial(primitive, name="np.linalg.cholesky")
def cholesky_of(a: Any, upper: bool | None = None) -> Any:
    """``np.linalg.cholesky``; with ``upper=None``, of the Hermitian part of ``a``."""
    if upper is None:
        return np.linalg.cholesky(hermitian(a))
    return np.linalg.cholesky(a, upper=upper)


@defvjp(
    cholesky_of,
    cases=Cases(
        domain=Hermitian(2.0, 3.0),
        calls=(call((3, 3)), call((1, 1)), call((2, 3, 3)), call((0, 0)), call((0, 2, 2))),
        examples=_OF_A_TRIANGLE,
        analytic=False,
        note="the symmetric gradient",
    ),
)
def cholesky_vjp(g: Any, y: Any, _a: Any, *, upper: bool | None = None) -> Any:
    """a_bar = Hermitian part of L^-H Phi(L^H g) L^-1, Phi the lower triangle with half the diagonal (Murray 2016)."""
    l, gl = (mH(y), mH(g)) if upper else (y, g)  # noqa: E741
    inverse = np.linalg.inv(l)
    return hermitian(mH(inverse) @ half_lower(mH(l) @ gl) @ inverse)


def half_lower(x: Any) -> Any:
    """The lower triangle, with half of the diagonal."""
    n = x.shape[-1]
    return np.where(np.tri(n, dtype=bool), np.where(eye_of(n), x / 2, x), 0)


@composite(
    np.linalg.cholesky,
    cases=Cases(
        domain=Hermitian(2.0, 3.0), calls=(call((1, 1)), call((0, 0))), examples=_OF_A_TRIANGLE, analytic=False
    ),
    note="the symmetric gradient",
)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """The lower triangular factor, or the upper one."""
    return cholesky_of(a, upper=bool(upper))


# ---------------------------------------------------------------- qr

SINGULAR_OR_NOT = np.array([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]], [[3.0, 1.0], [4.0, 2.0]]])


@partial(primitive, name="np.linalg.qr")
def qr_of(a: Any, mode: Any = "reduced") -> Any:
    """``np.linalg.qr`` in the modes that give both factors."""
    return np.linalg.qr(a, mode)


@defvjp(
    qr_of,
    cases=Cases(
        calls=(
            call((3, 3)),
            call((4, 2)),
            call((2, 4)),
            call((2, 3, 2)),
            call((3, 3), mode="complete"),
            call((2, 3), mode="complete"),
            call((0, 0)),
            call((3, 0)),
            call((0, 2)),
            call((0, 3, 2)),
        ),
        # Of one column the complement has a basis; of more, the loss depends on it.
        examples=(
            (
                call(np.array([[2.0, 0.0], [1.0, 3.0], [2.0, 3.0]]), mode="complete"),
                (np.array([[-79, 74], [103, -68], [-13, -121]]) / 27,),
                [ONE_TO_TEN, ONE_TO_TEN[:, :2]],
            ),
            (
                call(np.stack([np.eye(4, 2) * [2.0, 4.0]] * 2), mode="complete"),
                (np.stack([np.full((4, 2), np.nan), np.zeros((4, 2))]),),
                [np.arange(16.0).reshape(4, 4) * [[[1]], [[0]]], 0.0],
            ),
            (
                call(np.array([[2j], [0]]), mode="complete"),
                (np.full((2, 1), np.nan),),
                [np.array([[0, 0], [0, 1j]]), 0.0],
            ),
            (
                call(np.array([[3.0, 1.0, 1.0], [4.0, 2.0, 0.0]])),
                (np.array([[37, -130, -165], [-59, 35, 30]]) / 25,),
                [0.0, ONE_TO_TEN[:2]],
            ),
            # Dependent columns, of which one element is used, or none; and others, also small ones.
            (
                call(SINGULAR_OR_NOT * [[[1.0]], [[1.0]], [[1e-20]]]),
                (np.array([[[np.nan] * 2] * 2, [[0.0, 0.0]] * 2, [[1.288, -5.2], [-2.216, 1.4]]]),),
                [0.0, np.stack([np.diag([1, 0]), np.zeros((2, 2)), ONE_TO_TEN[:2, :2]])],
            ),
            (
                call(SINGULAR_OR_NOT),
                (np.array([[[np.nan] * 2] * 2, [[0.0, 0.0]] * 2, [[1.088, 0.0], [-0.816, 0.0]]]),),
                [np.stack([np.diag([1, 0]), np.zeros((2, 2)), ONE_TO_TEN[:2, :2]]), 0.0],
            ),
        ),
        analytic=False,
        note="nan where the first columns are dependent, and where the loss depends on the basis of a complement",
    ),
)
def qr_vjp(g: Any, y: Any, _a: Any, *, _mode: Any = "reduced") -> Any:
    """a_bar = (gQ + Q (Phi(W - W^H) - W)) R^-H, W = Q^H gQ - gR R^H, Phi the lower triangle with half the diagonal.

    Of a wide matrix Q (U V): V = Q^H Y is a product, and Q U the decomposition of a square (Wan & Zhang 2019,
    Seeger et al. 2017; Walter & Lehmann 2010). That R has a real diagonal is how LAPACK pins the phases.
    """
    m, n = _a.shape[-2:]
    k = min(m, n)
    q, r = y
    gq = np.zeros_like(q) if g[0] is None else g[0]
    gr = np.zeros_like(r) if g[1] is None else g[1]
    gq, q, loose = without_complement(gq, q, k)
    u, gu, v, gv = r[..., :k, :k], gr[..., :k, :k], r[..., k:], gr[..., k:]
    if n > m:
        gq = gq + q @ v @ mH(gv)
    w = mH(q) @ gq - gu @ mH(u)
    left = gq + q @ (half_lower(w - mH(w)) - w)
    used = ((gq != 0).any(axis=(-2, -1)) | (gu != 0).any(axis=(-2, -1)))[..., None, None]
    eye = eye_of(k)
    pivots = np.where(eye, u, 0)
    size = np.absolute(pivots)
    largest = np.max(size, axis=(-2, -1), initial=0)[..., None, None]
    small = (eye & (size <= 8 * max(m, n) * eps_of(u) * largest)) | (
        np.absolute(np.imag(pivots)) > 64 * eps_of(u) * size
    )
    singular = small.any(axis=(-2, -1))[..., None, None]
    x = mH(np.linalg.solve(np.where(singular, eye, u), mH(left))) + loose
    x = np.where(singular, np.where(used, np.nan, 0), x)
    return np.concatenate([x, q @ gv], axis=-1) if n > m else x


@partial(primitive, name="np.linalg.qr")
def qr_raw(a: Any, mode: Any) -> Any:
    """``np.linalg.qr`` in the modes that give LAPACK's reflectors."""
    return np.linalg.qr(a, mode)


unsupported(
    qr_raw,
    reason="mode='raw' gives the reflectors of LAPACK; use 'reduced', 'complete' or 'r'",
)


@composite(
    np.linalg.qr,
    cases=Cases(calls=(call((3, 2)), call((2, 3, 2), mode="r"), call((2, 3), mode="r")), analytic=False),
    note="nan where the first columns are dependent; no mode='raw'",
)
def qr(a: Any, mode: Any = "reduced") -> Any:
    """The factors, or ``r`` alone."""
    if mode in ("reduced", "complete"):
        return qr_of(a, mode=mode)
    if mode == "r":
        return qr_of(a)[1]
    np.linalg.qr(np.ones((1, 1)), mode)  # NumPy's own error for a mode that there isn't, and its warning for old ones.
    return qr_of(a) if mode in ("full", "f") else qr_raw(a, mode)
