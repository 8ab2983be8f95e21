"""Source: arrays of a domain, drawn as Hypothesis draws; also in the guise of a generator of random numbers.

A domain of a kind of its own (of matrices far from singular ones, of whole numbers) says in its ``draw``
how it makes arrays from a ``numpy.random.Generator``. It is handed a Source in the place of one, so that
its arrays shrink as others do.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapegrad.cases import Domain
from tapegrad.testing.strategies.values import Distance, apart, digits_of

WIDEST = np.dtype(np.float64)


class Source:
    """Draws arrays of round numbers.

    draw : what ``hypothesis.strategies.composite`` hands to its function
    generic : whether of one source no two numbers are of the same size, and none is zero, as long as
        there are others: so that no two entries tie, and no norm is at its kink
    beside : arrays whose numbers count as come already
    """

    def __init__(self, draw: Any, generic: bool = False, beside: Sequence[Any] = ()) -> None:
        self._draw, self.generic = draw, generic
        parts = [part for a in beside if a.dtype.kind in "fc" for part in (a.real, a.imag)]
        self._beside = [abs(float(v)) for part in parts for v in part.flat]
        self._used = {0.0, *self._beside}
        self._rng: Any = None

    def array(
        self, domain: Domain, shape: tuple[int, ...], dtype: np.dtype[Any], distance: Distance = None,
        ties: bool | None = None,
    ) -> NDArray[Any]:  # fmt: skip
        """An array of the domain; ``ties=False``: entries differ by its margin, or by less if it is small."""
        if distance is None and is_special(domain):
            drawn = domain.draw(self, shape, np.complex128 if dtype.kind == "c" else WIDEST)
            whole: NDArray[Any] = np.asarray(drawn).astype(dtype)
            return whole
        real = np.empty(0, dtype).real.dtype
        parts = [self._part(domain, shape, real, distance, ties) for _ in range(1 + (dtype.kind == "c"))]
        with np.errstate(all="ignore"):
            # The parts are set rather than added: -0.0 + 0j is 0.
            made: NDArray[Any] = np.zeros(shape, dtype)
            made.real = parts[0]
            if dtype.kind == "c":
                made.imag = parts[1]
        return made

    def _part(
        self, domain: Domain, shape: tuple[int, ...], dtype: np.dtype[Any], distance: Distance, ties: bool | None
    ) -> NDArray[Any]:
        size = math.prod(shape)
        if ties is False or (ties is None and domain.distinct):
            values = apart(domain, dtype, distance, size)
            free = values[~np.isin(np.abs(values), self._beside)]
            values = free if len(free) >= size else values
            return values[self._distinct(size, len(values))].reshape(shape)
        table = digits_of(domain, dtype, distance, self.generic)
        places, minus = table.at(self._bytes(size))
        if self.generic:
            places = self._unused(np.abs(table.plus).tolist(), places.tolist())
        chosen: NDArray[Any] = np.where(minus, table.minus[places], table.plus[places])
        return chosen.reshape(shape)

    def _unused(self, sizes: list[float], places: list[int]) -> NDArray[Any]:
        """The places, or the next after them where a size isn't used yet, as long as there is one."""
        free = []
        for k in places:
            for step in range(len(sizes)):
                place = (k + step) % len(sizes)
                if sizes[place] not in self._used:
                    break
            self._used.add(sizes[place])
            free.append(place)
        return np.array(free, np.intp)

    def _bytes(self, size: int) -> NDArray[Any]:
        """Three bytes for each entry, in one draw for all: one for each takes twenty times as long."""
        drawn: NDArray[Any] = np.frombuffer(self._draw(st.binary(min_size=3 * size, max_size=3 * size)), np.uint8)
        return drawn.reshape(size, 3)

    def _distinct(self, size: int, count: int) -> list[int]:
        """Different places among ``count``, so many: the next one that is free."""
        free, chosen = list(range(count)), []
        for k in self.places(size, count).tolist():
            chosen.append(free.pop(min(bisect.bisect_left(free, k), len(free) - 1)))
        return chosen

    def places(self, size: int, count: int) -> NDArray[Any]:
        """Whole numbers below ``count``, so many."""
        digits = self._bytes(size).astype(np.int64)
        chosen: NDArray[Any] = (digits[:, 0] << 16 | digits[:, 1] << 8 | digits[:, 2]) * count >> 24
        return chosen

    # ------------------------------------------------ in the guise of numpy.random.Generator

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        """Round numbers between low and high."""
        return self._part(Domain(float(low), float(high)), _shape(size), WIDEST, None, None)[()]

    def integers(self, low: int, high: int | None = None, size: Any = None, endpoint: bool = False) -> Any:
        """Whole numbers from low to high, which is left out."""
        first, last = (0, low) if high is None else (low, high)
        shape = _shape(size)
        return (first + self.places(math.prod(shape), int(last) - int(first) + endpoint)).reshape(shape)[()]

    def permutation(self, x: Any) -> Any:
        """The entries of x, or the numbers below it, in any order."""
        items = np.arange(x) if isinstance(x, int) else np.asarray(x)
        return items[np.argsort(self.places(len(items), 1 << 24), kind="stable")]

    def __getattr__(self, name: str) -> Any:
        """What else a generator has, by a true one; it shrinks by its seed alone."""
        if name.startswith("_"):
            raise AttributeError(name)
        if self._rng is None:
            self._rng = np.random.default_rng(self._draw(st.integers(0, 2**16)))
        return getattr(self._rng, name)


def is_special(domain: Domain) -> bool:
    """Whether a domain draws its arrays in a way of its own."""
    return type(domain).draw is not Domain.draw or type(domain)._draw_real is not Domain._draw_real


def _shape(size: Any) -> tuple[int, ...]:
    if size is None:
        return ()
    return (int(size),) if isinstance(size, (int, np.integer)) else tuple(size)
