"""Spectra: eigenvalues and singular values, and their vectors.

Losses of eigenvalues or singular values alone have their gradients also where these repeat. Losses of
vectors have none there: 0 / 0 in the formulas, and no limit. What then comes out is nan, unless neither of
the two equal values nor their vectors are used, which counts as 0 (``over_gaps``).

**Phases.** A complex eigenvector may be multiplied by any number of modulus 1, and LAPACK chooses: the
element of ``eigh`` in the first row (the last, for UPLO="U") is real, of ``svd`` that in the first row of the
narrower factor, of ``eig`` the largest. ``pinned`` makes that choice part of the derivative. Where LAPACK made
another, a loss that depends on the phase gets nan.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.ops.decompositions import ONE_TO_TEN, Hermitian, eps_of, eye_of, hermitian, skew, without_complement
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, mH

# ---------------------------------------------------------------- what all of them share


def used_columns(values: Any, *factors: Any) -> Any:
    """For each value, and its column in the factors: whether any of their cotangents isn't 0."""
    used = values != 0
    for g in factors:
        used = used | (g != 0).any(axis=-2)
    return used


def quotient(x: Any, d: Any, tiny: Any, used: Any) -> Any:
    """x / d; where d is ``tiny``, nan if it is ``used``, else 0."""
    return np.where(tiny, np.where(used, np.nan, 0), x / d)


def over_gaps(x: Any, w: Any, used: Any) -> Any:
    """x_ij / (w_j - w_i), and 0 on the diagonal.

    Values that differ by rounding alone count as equal: there nan, or 0 where the columns i and j aren't used.
    """
    n = w.shape[-1]
    gaps = w[..., None, :] - w[..., :, None]
    largest = np.max(np.absolute(w), axis=-1, keepdims=True, initial=0)[..., None]
    equal = np.absolute(gaps) <= (64 + n) * eps_of(w) * largest
    return quotient(x, gaps, equal, _pairs(used) & ~eye_of(n))


def _pairs(used: Any) -> Any:
    return used[..., :, None] | used[..., None, :]


def pinned(gx: Any, x: Any, t: Any, row: Any) -> Any:
    """The cotangent of columns x whose phase is pinned by a real element, as one that no longer knows of the phase.

    gx, x : complex arrays (..., m, n)
    t : (..., n), the derivative of the loss by the phase of each column (and of what turns with it)
    row : boolean (..., m, n), one True in a column: the element that is real

    The phase moves by theta = -Im(dx_row) / x_row, so that t * theta is a cotangent of dx_row: -i t / x_row.
    """
    pivot = np.sum(np.where(row, x, 0), axis=-2)
    wrong = (np.absolute(np.imag(pivot)) > 64 * eps_of(x)) | (np.absolute(pivot) < eps_of(x) ** 0.5)
    felt = np.absolute(t) > 1024 * eps_of(x) * np.max(np.absolute(gx), axis=-2, initial=0)
    amount = quotient(t, np.real(pivot), wrong, felt)
    return gx - 1j * np.where(row, amount[..., None, :], 0)


class Spectral(Domain):
    """Draws general matrices with eigenvalues apart from each other: real ones, of a real matrix."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Matrices of ``shape`` and ``dtype``."""
        return (super().draw(rng, shape, dtype) * 0.2 + np.diag(1.0 + 2 * np.arange(shape[-1]))).astype(dtype)


ONE_TO_FIVE = np.array([[1.0, 2.0], [4.0, 5.0]])  # a cotangent
EQUAL_OR_NOT = np.stack([np.eye(2), np.diag([1.0, 3.0])])
JORDAN_OR_NOT = np.stack([np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag([1.0, 3.0])])

# ---------------------------------------------------------------- eigenvalues of Hermitian matrices


@partial(primitive, name="np.linalg.eigh")
def eigh_of(a: Any, UPLO: Any = None) -> Any:
    """``np.linalg.eigh``; with ``UPLO=None``, of the Hermitian part of ``a``."""
    return np.linalg.eigh(hermitian(a)) if UPLO is None else np.linalg.eigh(a, UPLO)


@defvjp(
    eigh_of,
    cases=Cases(
        domain=Hermitian(1.0, 2.0),
        calls=(call((3, 3)), call((1, 1)), call((2, 2, 2)), call((0, 0)), call((0, 2, 2))),
        # Where eigenvalues repeat, those that use them or their vectors alone get a gradient.
        examples=(
            (call(EQUAL_OR_NOT), (np.stack([np.eye(2)] * 2),), [1.0, 0.0]),
            (call(EQUAL_OR_NOT), (np.array([[[np.nan] * 2] * 2, [[0, -0.5], [-0.5, 0]]]),), [0.0, ONE_TO_FIVE]),
            (
                call(EQUAL_OR_NOT),
                (np.array([[[np.nan] * 2] * 2, [[0, -1], [-1, 0]]]),),
                [0.0, np.array([[0, 0], [4, 0]])],
            ),
            (
                call(np.diag([1.0, 1.0, 3.0])),
                (np.array([[0, 0, 0.25], [0, 0, 0.5], [0.25, 0.5, 0]]),),
                [0.0, np.array([[0, 0, 1], [0, 0, 2], [0, 0, 3]])],
            ),
            (call(np.diag([1.0, 1.0, 3.0])), (np.diag([0.0, 0.0, 1.0]),), [np.array([0, 0, 1]), 0.0]),
            # Equal but for rounding, and negative, or beside a larger one; small, and not equal.
            (
                call(np.stack([-np.eye(3) - np.ones((3, 3)), np.diag([1e-17, 3e-17, 1.0])])),
                (np.full((2, 3, 3), np.nan),),
                [0.0, ONE_TO_TEN],
            ),
            (
                call(np.stack([1e-20 * np.diag([1.0, 3.0]), np.diag([1.0, 3.0])])),
                (np.array([[[0, -0.5], [-0.5, 0]]]) * [[[1e20]], [[1]]],),
                [0.0, ONE_TO_FIVE],
            ),
            # The last element of each column is real, so that a turn of the phase is none; of the first column it is 0.
            (
                call(np.stack([np.diag([1.0, 3, 6 + 0j])] * 2), UPLO="U"),
                (np.stack([np.zeros((3, 3)), np.full((3, 3), np.nan)]),),
                [0.0, 1j * np.stack([np.diag([0, 0, 1]), np.diag([1, 0, 0])])],
            ),
        ),
        analytic=False,
        note="the symmetric gradient; of vectors nan where eigenvalues repeat",
    ),
)
def eigh_vjp(g: Any, y: Any, _a: Any, *, UPLO: Any = None) -> Any:
    """a_bar = V (diag(gw) + skew(V^H gV) / (w_j - w_i)) V^H  (Giles 2008; Seeger et al. 2017)."""
    w, v = y
    gw, gv = g
    if gv is None:
        return (v * gw[..., None, :]) @ mH(v)
    gw = np.zeros_like(w) if gw is None else gw
    if v.dtype.kind == "c":
        rows = np.arange(v.shape[-2])[:, None] == (v.shape[-2] - 1 if UPLO in ("U", "u") else 0)
        gv = pinned(gv, v, np.imag(np.sum(conj(v) * gv, axis=-2)), rows)
    core = over_gaps(skew(mH(v) @ gv), w, used_columns(gw, gv))
    return v @ np.where(eye_of(w.shape[-1]), gw[..., None, :], core) @ mH(v)


# Of the triangle that isn't read no difference tells, so that a matrix is given: of its lower triangle the
# eigenvectors are the axes, of the upper one (4, -3) / 5 and (3, 4) / 5.
def _given(cotangent: Any) -> Cases:
    matrix = np.array([[9.0, 12.0], [0.0, 16.0]])
    return Cases(
        domain=Hermitian(1.0, 2.0),
        calls=(call((1, 1)), call((0, 0))),
        examples=(
            (call(matrix), (np.diag([1.0, 0.0]),), cotangent),
            (call(matrix, UPLO="U"), (np.array([[16, -12], [-12, 9]]) / 25,), cotangent),
        ),
        analytic=False,
    )


@composite(
    np.linalg.eigh,
    cases=_given([np.array([1.0, 0.0]), 0.0]),
    note="the symmetric gradient; of vectors nan where eigenvalues repeat",
)
def eigh(a: Any, UPLO: Any = "L") -> Any:
    """Eigenvalues and eigenvectors of a Hermitian matrix, of which one triangle is read."""
    return eigh_of(a, UPLO=UPLO)


@composite(np.linalg.eigvalsh, cases=_given(np.array([1.0, 0.0])), note="the symmetric gradient")
def eigvalsh(a: Any, UPLO: Any = "L") -> Any:
    """The eigenvalues that ``eigh`` gives: the gradient needs the vectors anyway."""
    return eigh_of(a, UPLO=UPLO)[0]


# ---------------------------------------------------------------- eigenvalues of general matrices


@defvjp(
    np.linalg.eig,
    cases=Cases(
        domain=Spectral(-2.0, 2.0),
        calls=(call((3, 3)), call((1, 1)), call((3, 2, 2)), call((0, 0)), call((0, 2, 2))),
        # The first of two is without a basis of eigenvectors, or has equal eigenvalues.
        examples=(
            (
                call(JORDAN_OR_NOT),
                (np.stack([np.full((2, 2), np.nan), np.eye(2)]),),
                [np.array([[0, 1], [1, 1]]), 0.0],
            ),
            (call(JORDAN_OR_NOT), (np.stack([np.zeros((2, 2)), np.eye(2)]),), [np.array([[0, 0], [1, 1]]), 0.0]),
            (call(EQUAL_OR_NOT), (np.stack([np.eye(2)] * 2),), [1.0, 0.0]),
            (call(EQUAL_OR_NOT), (np.array([[[np.nan] * 2] * 2, [[0, 1], [-2, 0]]]),), [0.0, ONE_TO_FIVE]),
            # The matrix of eigenvectors is singular.
            (
                call(np.stack([np.eye(3, k=1)] * 2)),
                (np.stack([np.full((3, 3), np.nan), np.zeros((3, 3))]),),
                [np.array([[1.0], [0.0]]), 0.0],
            ),
            # The largest elements, which are real, are both in the first row.
            (
                call(np.array([[1, 4], [0, 4 + 0j]])),
                (np.array([[-112 - 500j, -84 - 375j], [-184, 112 + 500j]]) / 250,),
                [0.0, (1 + 2j) * ONE_TO_FIVE],
            ),
        ),
        analytic=False,
        note="nan where the matrix is close to one without a basis of eigenvectors; of vectors also where "
        "eigenvalues repeat",
    ),
)
def eig_vjp(g: Any, y: Any, _a: Any) -> Any:
    """a_bar = V^-H (diag(gw) + (V^H gV) / conj(w_j - w_i)) V^H  (Giles 2008; Boeddeker et al. 2017).

    Columns of unit length whose largest element is real, as LAPACK makes them: a cotangent along a column is gone.
    """
    w, v = y
    gw = np.zeros_like(w) if g[0] is None else g[0]
    used = used_columns(gw) if g[1] is None else used_columns(gw, g[1])
    if g[1] is None:
        core = gw[..., :, None] * mH(v)
    else:
        core = (over_gaps(mH(v) @ _of_unit_columns(g[1], v), conj(w), used) + _diagonal(gw)) @ mH(v)
    eye = eye_of(w.shape[-1])
    singular = np.isneginf(np.linalg.slogdet(v)[1])[..., None, None]
    inverse = np.linalg.inv(np.where(singular, eye, v))
    # The length of a row is the condition of its eigenvalue (Wilkinson 1965): the error of w grows with it,
    # that of the gradient with its square.
    condition = np.sum(np.absolute(inverse) ** 2, axis=(-2, -1)) ** 0.5
    ill = singular | (condition > eps_of(v) ** -0.4)[..., None, None]
    return np.where(ill, np.where(used.any(axis=-1)[..., None, None], np.nan, 0), mH(inverse) @ core)


def _of_unit_columns(gv: Any, v: Any) -> Any:
    """The cotangent of columns of length 1, with the largest element real, as one that is orthogonal to them."""
    if v.size == 0:
        return gv
    along = np.sum(conj(v) * gv, axis=-2)
    if v.dtype.kind == "c":
        size = np.where(np.absolute(np.imag(v)) <= 4 * eps_of(v), np.absolute(v), -1)
        rows = np.arange(v.shape[-2])[:, None] == np.argmax(size, axis=-2)[..., None, :]
        gv = pinned(gv, v, np.imag(along), rows)
    return gv - v * np.real(along)[..., None, :]


def _diagonal(x: Any) -> Any:
    return np.where(eye_of(x.shape[-1]), x[..., None, :], 0)


@composite(
    np.linalg.eigvals,
    cases=Cases(
        domain=Spectral(-2.0, 2.0),
        calls=(call((3, 3)), call((2, 2, 2)), call((0, 0))),
        analytic=False,
        note="nan where the matrix is close to one without a basis of eigenvectors",
    ),
)
def eigvals(a: Any) -> Any:
    """The eigenvalues that ``eig`` gives: the gradient needs the vectors anyway."""
    return np.linalg.eig(a)[0]


# ---------------------------------------------------------------- singular values

ONE_OR_TWO = np.array([[[1.0, 0.0], [0.0, 1.0]], [[9.6, 2.2], [7.8, 9.6]]])  # S is (1, 1), and (15, 5)
RATIONAL = np.array([[20.0, 10.0], [-2.0, 14.0], [8.0, 19.0]])  # U, S and V have no roots: S is (30, 15)


@partial(primitive, name="np.linalg.svd")
def svd_of(a: Any, full_matrices: bool = True) -> Any:
    """``np.linalg.svd`` with vectors."""
    return np.linalg.svd(a, full_matrices=full_matrices)


@defvjp(
    svd_of,
    cases=Cases(
        calls=(
            call((3, 3)),
            call((3, 2), full_matrices=False),
            call((2, 4), full_matrices=False),
            call((2, 3, 2), full_matrices=False),
            call((1, 1)),
            call((0, 0)),
            call((2, 0), full_matrices=False),
            call((0, 2, 2)),
        ),
        # Of one column the complement has a basis; of more, the loss depends on it.
        examples=(
            (
                call(RATIONAL),
                (np.array([[1507, -124], [-1228, 2296], [-254, 1028]]) / 1350,),
                [ONE_TO_TEN, ONE_TO_TEN[0, :2], ONE_TO_TEN[:2, :2]],
            ),
            (
                call(RATIONAL.T),
                (np.array([[13481, -6344, 14], [208, 6908, 1252]]) / 6750,),
                [ONE_TO_TEN[:2, :2], ONE_TO_TEN[0, :2], ONE_TO_TEN],
            ),
            (
                call(np.stack([np.eye(4, 2) * [2.0, 4.0]] * 2)),
                (np.stack([np.full((4, 2), np.nan), np.zeros((4, 2))]),),
                [np.arange(16.0).reshape(4, 4) * [[[1]], [[0]]], 0.0, 0.0],
            ),
            (
                call(np.stack([np.diag([2.0, 4.0]) @ np.eye(2, 4)] * 2)),
                (np.stack([np.full((2, 4), np.nan), np.zeros((2, 4))]),),
                [0.0, 0.0, np.arange(16.0).reshape(4, 4) * [[[1]], [[0]]]],
            ),
            # Equal singular values, and others; one that is 0.
            (
                call(ONE_OR_TWO),
                (np.array([[[1, 0], [0, 1]], [[0.96, -0.28], [0.28, 0.96]]]),),
                [0.0, 1.0, 0.0],
            ),
            (
                call(ONE_OR_TWO),
                (np.array([[[np.nan] * 2] * 2, [[0.3876, 0.1632], [-0.1632, -0.2924]]]),),
                [ONE_TO_FIVE, 0.0, 0.0],
            ),
            (
                call(ONE_OR_TWO),
                (np.array([[[np.nan] * 2] * 2, [[0.3096, -0.1728], [0.1728, -0.4104]]]),),
                [0.0, 0.0, ONE_TO_FIVE],
            ),
            (call(np.diag([2.0, 0.0, 0.0])), (np.diag([1.0, 0.0, 0.0]),), [0.0, np.array([1, 0, 0]), 0.0]),
            (call(np.diag([2.0, 0.0])), (np.zeros((2, 2)),), [np.diag([0, 1]), 0.0, 0.0]),
            # Beside a complement of one column that is used, or isn't: a singular value of 0; and none.
            (
                call(np.eye(3, 2) * [[[2.0, 0.0]], [[2.0, 0.0]], [[4.0, 2.0]]]),
                (np.stack([np.full((3, 2), np.nan), np.zeros((3, 2)), np.zeros((3, 2))]),),
                [np.diag([0, 0, 1]) * [[[1]], [[0]], [[1]]], 0.0, 0.0],
            ),
            (
                call(np.eye(2, 3) * [[[2.0], [0.0]], [[2.0], [0.0]], [[4.0], [2.0]]]),
                (np.stack([np.full((2, 3), np.nan), np.zeros((2, 3)), np.zeros((2, 3))]),),
                [0.0, 0.0, np.diag([0, 0, 1]) * [[[1]], [[0]], [[1]]]],
            ),
            (
                call(np.eye(3, 2) * [2.0, 0.0], full_matrices=False),
                (np.full((3, 2), np.nan),),
                [1.0, 0.0, 0.0],
            ),
        ),
        analytic=False,
        note="of vectors nan where singular values repeat, and where the loss depends on the basis of a complement",
    ),
)
def svd_vjp(g: Any, y: Any, _a: Any, *, _full_matrices: bool = True) -> Any:
    """a_bar = (U core + (1 - U U^H) gU / s) V^H + U (gV / s)^H (1 - V V^H), the core

    diag(gs) + (Ku + Kv)_ij / (s_j - s_i) + (Ku - Kv)_ij / (s_j + s_i), with K = skew(U^H gU), skew(V^H gV)
    (Townsend 2016, Seeger et al. 2017; for complex matrices Wan & Zhang 2019; the quotients of F taken apart).
    """
    u, s, vh = y
    m, n = _a.shape[-2:]
    k = min(m, n)
    gs = np.zeros_like(s) if g[1] is None else g[1]
    if g[0] is None and g[2] is None:
        return (u[..., :k] * gs[..., None, :]) @ vh[..., :k, :]
    whole_u = np.zeros_like(u) if g[0] is None else g[0]
    whole_v = mH(np.zeros_like(vh) if g[2] is None else g[2])
    gu, u, loose_u = without_complement(whole_u, u, k)
    gv, v, loose_v = without_complement(whole_v, mH(vh), k)
    if s.size and u.dtype.kind == "c":
        t = np.imag(np.sum(conj(u) * gu, axis=-2) + np.sum(conj(v) * gv, axis=-2))
        if m >= n:
            gv = pinned(gv, v, t, np.arange(n)[:, None] == 0)
        else:
            gu = pinned(gu, u, t, np.arange(m)[:, None] == 0)
    used = used_columns(gs, gu, gv)
    of_u, of_v = mH(u) @ gu, mH(v) @ gv
    around_u, around_v = skew(of_u), skew(of_v)
    sums = s[..., None, :] + s[..., :, None]
    negligible = (64 + max(m, n)) * eps_of(s) * np.max(s, axis=-1, keepdims=True, initial=0)
    apart = _pairs(used) if u.dtype.kind == "c" else _pairs(used) & ~eye_of(k)
    core = over_gaps(around_u + around_v, s, used) + _diagonal(gs)
    core = core + quotient(around_u - around_v, sums, sums <= negligible[..., None], apart)
    # Beside a complement whose basis is used, a vanishing singular value is one of several.
    used = used | (whole_u[..., k:] != 0).any(axis=(-2, -1))[..., None]
    used = used | (whole_v[..., k:] != 0).any(axis=(-2, -1))[..., None]
    small, used = (s <= negligible)[..., None, :], used[..., None, :]
    left = u @ core + loose_u
    if m > k:
        left = left + quotient(gu - u @ of_u, s[..., None, :], small, used)
    a_bar = left @ mH(v) + loose_v
    if n > k:
        a_bar = a_bar + u @ mH(quotient(gv - v @ of_v, s[..., None, :], small, used))
    return a_bar


@composite(
    np.linalg.svd,
    cases=Cases(
        calls=(
            call((2, 2), full_matrices=True, compute_uv=True),
            call((3, 2), full_matrices=False),
            call((3, 2), compute_uv=False),
            call((2, 2, 3), compute_uv=False),
        ),
        # What is drawn isn't Hermitian; read is the lower triangle.
        examples=(
            (call(np.array([[2.0, 9.0], [0.0, -3.0]]), compute_uv=False, hermitian=True), (np.diag([1.0, -1.0]),)),
        ),
        analytic=False,
    ),
    note="of vectors nan where singular values repeat, and where the loss depends on the basis of a complement",
)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """The factors, or the singular values alone; of a Hermitian matrix by its eigenvalues."""
    if hermitian:
        return _svd_of_hermitian(a, compute_uv)
    if compute_uv:
        return svd_of(a, full_matrices=bool(full_matrices))
    return svd_of(a, full_matrices=False)[1]


def _svd_of_hermitian(a: Any, compute_uv: bool) -> Any:
    """Singular values are the absolute eigenvalues, from the largest; the signs go to V, as NumPy has it."""
    w, u = eigh_of(a, UPLO="L")
    s = np.absolute(w)
    order = np.argsort(s)[..., ::-1]
    if not compute_uv:
        return np.take_along_axis(s, order, axis=-1)
    v = np.take_along_axis(u * np.sign(w)[..., None, :], order[..., None, :], axis=-1)
    parts = np.take_along_axis(u, order[..., None, :], axis=-1), np.take_along_axis(s, order, axis=-1), mH(v)
    return type(np.linalg.svd(np.ones((1, 1))))(*parts)


@composite(
    np.linalg.svdvals,
    cases=Cases(calls=(call((3, 3)), call((2, 3, 2)), call((2, 3)), call((0, 0)), call((2, 0))), analytic=False),
)
def svdvals(x: Any, /) -> Any:
    """The singular values that ``svd`` gives: the gradient needs the vectors anyway."""
    return svd_of(x, full_matrices=False)[1]
