"""Matrices of a kind that linear algebra cares for: definite, orthogonal, singular, with a repeated spectrum."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tapegrad.cases import Domain
from tapegrad.errors import ArgumentError
from tapegrad.testing.strategies.arrays import Arrays, Shape
from tapegrad.testing.strategies.source import Source

Matrix = Any
Draw = st.DrawFn

ENTRIES = Domain(-2.0, 2.0)
SMALL = Domain(-0.5, 0.5)
SPECTRUM = Domain(0.5, 3.0)


def matrices(
    kind: str = "general",
    n: int | st.SearchStrategy[int] | None = None,
    m: int | st.SearchStrategy[int] | None = None,
    dtype: Any = np.float64,
    batch: Shape = (),
    domain: Domain | None = None,
) -> Arrays:
    """Matrices of a kind, of shape (*batch, m, n).

    kind : one of KINDS:
        "general"; "regular", far from singular ones; "symmetric", "spd" (positive definite, smallest
        eigenvalue at least 1/2), "orthogonal" (to rounding), "repeated_spectrum" (symmetric, one
        eigenvalue at least twice; of shape m, n: a singular value), "singular" (rank below the smaller
        side: to the last bit, where the dtype holds the products of small integers), "ill_conditioned"
        (condition about 1e6), "triangular" (lower, with a diagonal away from 0), "diagonal", "defective"
        (one eigenvalue, too few eigenvectors). Of complex dtypes "symmetric" means Hermitian,
        "orthogonal" unitary.
    n : columns, or a strategy of their number; None: 1 to 4, and at least what the kind needs
    m : rows; None: as many as columns. Only "general", "singular", "orthogonal" (orthonormal columns,
        m >= n) and "repeated_spectrum" needn't be square
    dtype : of floats or complex numbers, single precision or wider
    domain : of the entries of "general", or of the spectrum of "spd" and "repeated_spectrum"
    Raises ArgumentError for a kind, a size or a dtype that there are no such matrices of.

    >>> from hypothesis import find
    >>> find(matrices("spd", 2), lambda a: True)
    array([[1., 0.],
           [0., 1.]])
    >>> find(matrices("singular", 2), lambda a: a.any())
    array([[0., 0.],
           [0., 1.]])
    """
    if kind not in KINDS:
        raise ArgumentError(f"matrices: kind is one of {', '.join(KINDS)}; got {kind!r}")
    if np.dtype(dtype).kind not in "fc" or np.finfo(dtype).eps > 1e-6:
        raise ArgumentError(f"matrices: dtype is of floats or complex numbers, of 32 bits or more; got {dtype!r}")
    least = 2 if kind in NEED_TWO else 1
    columns = _sizes(n, least, f"matrices: n for {kind}")
    rows = None if m is None else _sizes(m, least if kind != "orthogonal" else 1, f"matrices: m for {kind}")
    if m is not None and kind not in OBLONG:
        raise ArgumentError(f"matrices: {kind!r} is square, leave m out; {', '.join(OBLONG)} may be oblong")
    if kind == "orthogonal" and isinstance(m, int) and isinstance(n, int) and m < n:
        raise ArgumentError(f"matrices: {n} columns can't be orthonormal in {m} rows; take m >= n, or the transpose")
    return _matrices(kind, rows, columns, np.dtype(dtype), tuple(batch), domain)


def _sizes(given: Any, least: int, what: str) -> st.SearchStrategy[int]:
    if given is None:
        return st.integers(least, 4)
    if isinstance(given, st.SearchStrategy):
        return given
    if not isinstance(given, int) or given < least:
        raise ArgumentError(f"{what} is an int of at least {least}, or a strategy of such; got {given!r}")
    return st.just(given)


@st.composite
def _matrices(
    draw: Draw,
    kind: str,
    rows: st.SearchStrategy[int] | None,
    columns: st.SearchStrategy[int],
    dtype: np.dtype[Any],
    batch: Shape,
    domain: Domain | None,
) -> Matrix:
    n = draw(columns)
    m = n if rows is None else draw(rows)
    if kind == "orthogonal":
        m = max(m, n)
    wide = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
    source = _Entries(draw, wide, domain)
    made = [KINDS[kind](source, m, n) for _ in range(int(np.prod(batch)))]
    stacked: Matrix = np.array(made, wide).reshape(*batch, m, n).astype(dtype)
    return stacked


class _Entries:
    """What the kinds below are made of: round matrices, spectra, whole numbers."""

    def __init__(self, draw: Draw, dtype: np.dtype[Any], domain: Domain | None) -> None:
        self.draw, self.dtype, self.domain = draw, dtype, domain
        self.source = Source(draw)

    def matrix(self, domain: Domain, m: int, n: int) -> Matrix:
        return self.source.array(domain, (m, n), self.dtype)

    def whole(self, low: int, high: int, m: int, n: int) -> Matrix:
        """A matrix of whole numbers; of complex ones, with whole parts."""
        # Shrunk to 0, not to the lowest: 0, 1, -1, ...
        order = np.array(sorted(range(low, high + 1), key=lambda k: (abs(k), k < 0)), np.float64)
        parts = [order[self.source.places(m * n, len(order))].reshape(m, n) for _ in range(2)]
        made: Matrix = parts[0] + 1j * parts[1] if self.dtype.kind == "c" else parts[0]
        return made

    def spectrum(self, n: int) -> Matrix:
        return self.source.array(self.domain or SPECTRUM, (n,), np.dtype(np.float64))


def _general(entries: _Entries, m: int, n: int) -> Matrix:
    return entries.matrix(entries.domain or ENTRIES, m, n)


def _regular(entries: _Entries, _m: int, n: int) -> Matrix:
    """n + 1 on the diagonal against at most 2 elsewhere: dominant, but for the complex, which are halved."""
    return 2 * np.eye(n) * n + entries.matrix(Domain(-1.0, 1.0), n, n)


def _symmetric(entries: _Entries, _m: int, n: int) -> Matrix:
    a = entries.matrix(entries.domain or ENTRIES, n, n)
    below = np.tril(a, -1)
    return below + np.conj(below).T + np.diag(np.real(np.diag(a)))


def _orthogonal(entries: _Entries, m: int, n: int) -> Matrix:
    """(I - S)(I + S)^-1 for a skew S, with rows negated and exchanged: of S = 0, the identity (Cayley 1846)."""
    s = np.tril(entries.matrix(ENTRIES, m, m), -1)
    s = s - np.conj(s).T
    q = np.linalg.solve((np.eye(m) + s).T, (np.eye(m) - s).T).T
    signs = np.where(entries.source.places(m, 2), -1.0, 1.0)
    return (q * signs[:, None])[entries.source.permutation(m)][:, :n]


def _of_spectrum(entries: _Entries, spectrum: Matrix) -> Matrix:
    n = len(spectrum)
    q = _orthogonal(entries, n, n)
    a = (q * spectrum) @ np.conj(q).T
    return (a + np.conj(a).T) / 2


def _spd(entries: _Entries, _m: int, n: int) -> Matrix:
    return _of_spectrum(entries, entries.spectrum(n))


def _repeated_spectrum(entries: _Entries, m: int, n: int) -> Matrix:
    """The first two of the spectrum are made equal; which they are in order is up to them."""
    spectrum = entries.spectrum(min(m, n))
    spectrum[1] = spectrum[0]
    if m == n:
        return _of_spectrum(entries, spectrum)
    left, right = _orthogonal(entries, m, min(m, n)), _orthogonal(entries, n, min(m, n))
    return (left * spectrum) @ np.conj(right).T


def _singular(entries: _Entries, m: int, n: int) -> Matrix:
    """A product with too narrow a middle, of whole numbers, whose products and sums are exact."""
    rank = entries.draw(st.integers(0, min(m, n) - 1))
    return entries.whole(-3, 3, m, rank) @ entries.whole(-3, 3, rank, n)


def _ill_conditioned(entries: _Entries, _m: int, n: int) -> Matrix:
    spectrum = entries.spectrum(n)
    spectrum[-1] = spectrum[0] * 1e-6
    return (_orthogonal(entries, n, n) * spectrum) @ _orthogonal(entries, n, n)


def _triangular(entries: _Entries, _m: int, n: int) -> Matrix:
    return np.tril(entries.matrix(ENTRIES, n, n), -1) + _diagonal(entries, n, n)


def _diagonal(entries: _Entries, _m: int, n: int) -> Matrix:
    return np.diag(entries.source.array(Domain(-2.0, 2.0, avoid=(0.0,), margin=0.5), (n,), entries.dtype))


def _defective(entries: _Entries, _m: int, n: int) -> Matrix:
    """A Jordan block among others, in a basis of whole numbers whose inverse is whole as well."""
    basis = np.eye(n) + np.tril(entries.whole(-1, 1, n, n), -1)
    spectrum = entries.whole(-2, 2, 1, n)[0]
    spectrum[1] = spectrum[0]
    links = np.diag(entries.source.places(n - 1, 2).astype(float), 1)
    # A link between different eigenvalues would do no harm, but is no Jordan block.
    links = np.where(spectrum[:, None] == spectrum, links, 0)
    links[0, 1] = 1.0
    inverse = np.linalg.inv(basis)
    if entries.dtype.kind == "f":
        inverse = np.rint(inverse)
    return basis @ (np.diag(spectrum) + links) @ inverse


KINDS: dict[str, Callable[[_Entries, int, int], Matrix]] = {
    "general": _general,
    "regular": _regular,
    "symmetric": _symmetric,
    "spd": _spd,
    "orthogonal": _orthogonal,
    "singular": _singular,
    "repeated_spectrum": _repeated_spectrum,
    "ill_conditioned": _ill_conditioned,
    "triangular": _triangular,
    "diagonal": _diagonal,
    "defective": _defective,
}
OBLONG = ("general", "singular", "orthogonal", "repeated_spectrum")
NEED_TWO = ("repeated_spectrum", "ill_conditioned", "defective")
