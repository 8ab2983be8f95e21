"""Values: the round numbers of a domain, the roundest first.

An entry of an array is drawn as a number of digits and a place among the numbers that have so many, so that
what Hypothesis does when it shrinks (it makes bytes smaller) makes entries rounder, and then smaller.
"""

import bisect
import functools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tapegrad.cases import Domain
from tapegrad.errors import ArgumentError

ENOUGH = 1000  # values to a list: no finer digits are tried after so many

Distance = float | tuple[float, float] | None


@functools.lru_cache(maxsize=1024)
def round_values(domain: Domain, dtype: np.dtype[Any], distance: Distance = None) -> NDArray[Any]:
    """The numbers of ``dtype`` in the domain with few decimal digits: float64 or wider, the roundest first.

    domain : Domain, bounds finite
    dtype : real or integer: what a number becomes in it must still lie in the domain
    distance : from each point that the domain avoids: at least so much; a pair: from the nearest at most
        the second as well; None: the domain's margin
    Raises ArgumentError where there is none.

    >>> round_values(Domain(-2.0, 2.0, avoid=(0.0,)), np.dtype(float))[:6].tolist()
    [1.0, -1.0, 2.0, -2.0, 0.1, -0.1]
    >>> round_values(Domain(0.37, 0.46), np.dtype(float))[:2].tolist()
    [0.4, 0.37]
    """
    near, far = bounds_of(domain, distance)
    candidates = list(_with_few_digits(list(_intervals(domain, near, far))))
    values = np.array(list(dict.fromkeys(candidates)), np.float64)
    with np.errstate(all="ignore"):
        rounded = values.astype(dtype).astype(np.float64)
    kept = (domain.low <= rounded) & (rounded <= domain.high) & np.isfinite(rounded)
    if dtype.kind in "iu":
        kept &= rounded == values
    if domain.avoid:
        gap = np.min([np.abs(rounded - point) for point in domain.avoid], axis=0)
        kept &= (near <= gap) & (gap <= far)
    if not kept.any():
        ask = f" at a distance of {near:g}" + (f" to {far:g}" if far < math.inf else "") if domain.avoid else ""
        raise ArgumentError(
            f"{domain} holds no {dtype}{ask}" + (f" from {domain.avoid}" if domain.avoid else "")
            + "; widen its bounds" + (", or lower the distance (by default, its margin)" if domain.avoid else "")
        )  # fmt: skip
    found: NDArray[Any] = rounded[kept]
    found.flags.writeable = False
    return found


class Digits(NamedTuple):
    """The numbers of a domain by how many digits they have: what an entry is drawn from.

    plus, minus : numbers of one size, as far as the domain has both; else one of them twice. The roundest
        first, and among those with as many digits the smallest
    starts : where more digits begin, and the end
    """

    plus: NDArray[Any]
    minus: NDArray[Any]
    starts: tuple[int, ...]

    def at(self, drawn: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Which places three random bytes mean, and whether the sign is minus.

        The first byte says how many digits, the others how far in the domain: with the first one lowered,
        the number is rounded, and stays about as large.
        """
        drawn = drawn.astype(np.int64)
        starts = np.array(self.starts)
        last = len(starts) - 2
        # Most are of the most digits; of one digit, one in sixteen.
        digits = np.minimum(np.searchsorted(np.array([16, 32, 64]), drawn[:, 0], side="right"), last)
        digits = np.where(drawn[:, 0] >= 64, last - (drawn[:, 0] < 128) * (last > 3), digits)
        sizes = np.diff(starts)[digits]
        return starts[digits] + ((drawn[:, 1] << 7 | drawn[:, 2] >> 1) * sizes >> 15), drawn[:, 2] % 2 == 1


@functools.lru_cache(maxsize=1024)
def digits_of(domain: Domain, dtype: np.dtype[Any], distance: Distance = None, irregular: bool = False) -> Digits:
    """The values of ``round_values`` by their digits.

    irregular : whether of a number and its negative now the one comes first, now the other: in order,
        1, -1, 2, -2 and 1, 2, 0.1, 0.2 make singular matrices, and 1, 2, -0.1, 0.2 don't

    >>> digits_of(Domain(-2.0, 2.0), np.dtype(float), irregular=True).plus[:5].tolist()
    [0.0, 1.0, 2.0, -0.1, 0.2]
    """
    values = round_values(domain, dtype, distance).tolist()
    there = set(values)
    sizes = list(dict.fromkeys(map(abs, values)))
    starts = [0, *(k for k in range(1, len(sizes)) if sizes[k] < sizes[k - 1]), len(sizes)]
    plus = [size if size in there else -size for size in sizes]
    minus = [-size if size and -size in there else size for size in sizes]
    minus = [m if m in there else p for p, m in zip(plus, minus, strict=True)]
    if irregular:
        # The ones in the binary digits of the place are odd in number or even: a sequence without period (Thue 1912).
        both = [
            (p, m) if k.bit_count() % 2 or k == 0 else (m, p) for k, (p, m) in enumerate(zip(plus, minus, strict=True))
        ]
        plus, minus = [p for p, _m in both], [m for _p, m in both]
    return Digits(np.array(plus), np.array(minus), tuple(starts))


def bounds_of(domain: Domain, distance: Distance) -> tuple[float, float]:
    """The least and the largest distance from the points avoided; raises ArgumentError for what makes no sense."""
    if not (math.isfinite(domain.low) and math.isfinite(domain.high) and domain.low <= domain.high):
        raise ArgumentError(f"{domain}: low and high are finite, and low is the lower; for the largest use huge=True")
    if distance is not None and not domain.avoid:
        raise ArgumentError(f"{domain} avoids no point, so that there is no distance to keep; name some in avoid=")
    near, far = distance if isinstance(distance, tuple) else (distance, math.inf)
    near = domain.margin if near is None else near
    if not 0 <= near <= far:
        raise ArgumentError(f"distance is a number of at least 0, or such a pair in ascending order; got {distance!r}")
    return near, far


def _intervals(domain: Domain, near: float, far: float) -> Iterator[tuple[float, float]]:
    """What is left of the domain: disjoint closed intervals, but for a few ends of no width."""
    points = sorted(domain.avoid)
    if not points:
        yield domain.low, domain.high
        return
    for k, point in enumerate(points):
        for side in (1, -1):
            first, last = point + side * near, point + side * far
            beyond = points[k + side] if 0 <= k + side < len(points) else side * math.inf
            # Halfway to the next point it becomes the nearest one.
            middle = (point + beyond) / 2 if math.isfinite(beyond) else beyond
            low, high = (first, min(last, middle)) if side == 1 else (max(last, middle), first)
            low, high = max(low, domain.low), min(high, domain.high)
            if low <= high:
                yield low, high


def _with_few_digits(intervals: list[tuple[float, float]]) -> Iterator[float]:
    """Numbers in the intervals, digit by digit, until there are enough; and the ends, the least round of all."""
    if not intervals:
        return
    largest = max(abs(end) for interval in intervals for end in interval)
    # By its shortest decimals: the float 0.1 is a little more than a tenth, and is to count as one.
    exact = [(Fraction(repr(float(low))), Fraction(repr(float(high)))) for low, high in intervals]
    digit = math.floor(math.log10(largest)) if largest > 0 else 0
    total, finest = 0, np.spacing(largest)
    while total < ENOUGH and digit > -300 and 10.0**digit > finest:
        unit = Fraction(10) ** digit
        ranges = [(math.ceil(low / unit), math.floor(high / unit)) for low, high in exact]
        total = sum(max(0, last - first + 1) for first, last in ranges)
        if total <= 20 * ENOUGH:
            multiples = [k for first, last in ranges for k in range(first, last + 1)]
            yield from (float(f"{k}e{digit}") for k in sorted(multiples, key=lambda k: (abs(k), k < 0)))
        digit -= 1
    yield from (end for interval in intervals for end in interval)


@functools.lru_cache(maxsize=1024)
def apart(domain: Domain, dtype: np.dtype[Any], distance: Distance, count: int) -> NDArray[Any]:
    """Those of ``round_values`` that differ by the domain's margin; by less, if there aren't ``count`` of these.

    Raises ArgumentError where there aren't so many values at all.
    """
    values = round_values(domain, dtype, distance)
    gap = domain.margin
    while True:
        chosen: list[float] = []
        kept = []
        for value in values.tolist():
            k = bisect.bisect(chosen, value)
            # Decimal fractions differ by their difference only up to rounding.
            if all(abs(value - other) >= gap * (1 - 1e-9) for other in chosen[max(0, k - 1) : k + 1]):
                chosen.insert(k, value)
                kept.append(value)
        if len(kept) >= count:
            return np.array(kept, np.float64)
        if len(kept) == len(values):
            raise ArgumentError(
                f"{domain} has {len(values)} values of {dtype} to choose from, and {count} are to be distinct; "
                "widen its bounds, take a smaller shape, or allow ties=None"
            )
        gap = gap / 2 if gap > 1e-12 else 0.0
        if gap == 0.0:
            gap = math.ulp(0.0)
