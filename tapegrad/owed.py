"""Owed: products and sums for one small operand, met again and again, made many at a time.

A weight that a loop uses at every step gets a cotangent from each: ``a.T @ g``, a small product, and an array to be
added to the sum of the others. Here the sweep keeps the pairs (a, g) instead, and multiplies a block of them at once:
the rows of all a, one below the other, by those of all g. It is the same sum, in another order, at half of the price
for 16 rows of 64. Likewise what is summed over the axes that a bias was broadcast along.
"""

from collections.abc import Callable
from operator import is_
from typing import Any

import numpy as np

from tapegrad.shapes import MANY, Spec, unbroadcast

# Pairs to a product. Of 8 to 64 none is quicker than another by a twentieth, but OpenBLAS is by a fifth up to 10^6
# multiplications, which 12 pairs of 16 rows of 64 stay below.
BLOCK = 12
FEW_ROWS = 64  # in one of them: products of more are quick by themselves


class Owed:
    """The cotangent of one operand: a sum that the sweep made itself, and what is still to be added to it."""

    __array_ufunc__ = None
    __slots__ = ("columns", "kept", "later", "operand", "shelf", "total")
    size = 1 << 62  # So that the sweep takes it for large, and looks closer.

    def __init__(self, total: Any, shelf: "Shelf") -> None:
        self.total, self.shelf = total, shelf
        self.kept: list[tuple[Any, ...]] = []  # (g, y, a, b) of each entry that owes
        self.later: Any = None  # makes of these what they add up to
        self.operand: Any = None  # the value of this operand, which these entries have in common
        self.columns: Any = None  # and the same by columns: g @ b.T takes three quarters of the time with it

    def turn(self, later: "Later") -> None:
        """Go on with entries whose cotangents are added up in another way."""
        self.whole()
        self.later = later

    def meet(self, b: Any) -> None:
        """Keep a small matrix by columns, too: it is the second operand of many entries, and will be of more."""
        if self.operand is None and b.ndim == 2 and b.size <= MANY:
            self.operand, self.columns = b, b.copy("F")

    def whole(self) -> Any:
        """The array, with everything added to it."""
        if self.kept:
            self.total += self.later(self.kept, self.shelf)
            self.kept.clear()
        return self.total

    def __iadd__(self, other: Any) -> "Owed":
        self.total += other
        return self


def owes(entry: Any, owned: set[int]) -> bool:
    """Whether an entry is in the form for two, has one parent, and would owe it.

    owned : positions of entries whose cotangent is a sum by now
    """
    match entry:
        case [_, pair, _, _, _, None, b]:
            return pair.later_b is not None and b[0] in owned
        case [_, pair, _, _, _, a, None]:
            return pair.later_a is not None and a[0] in owned
    return False  # Also where another thread has freed it by now.


class Shelf:
    """The rows of the last arrays that were put together: all weights of a layer ask for the same cotangents."""

    __slots__ = ("arrays", "rows")

    def __init__(self) -> None:
        self.arrays: tuple[Any, ...] = ()
        self.rows: Any = None

    def stacked(self, arrays: tuple[Any, ...]) -> Any:
        """The rows of these arrays, one below the other."""
        if len(arrays) != len(self.arrays) or not all(map(is_, arrays, self.arrays)):
            self.arrays, self.rows = arrays, np.concatenate(arrays)
        return self.rows


Later = Callable[[list[Any], Shelf], Any]


def _left(kept: list[Any], _shelf: Shelf) -> Any:
    """The sum of all g @ b.T."""
    gs, _, _, bs = zip(*kept, strict=True)
    return np.concatenate(gs, axis=1).dot(np.concatenate(bs, axis=1).T)


def _right(kept: list[Any], shelf: Shelf) -> Any:
    """The sum of all a.T @ g."""
    gs, _, rows, _ = zip(*kept, strict=True)
    return np.concatenate(rows).T.dot(shelf.stacked(gs))


def of_matrices(a: Spec, b: Spec) -> tuple[Later | None, Later | None]:
    """For the operands of a product of two small matrices of one dtype."""
    if a.dtype.char not in "fd":
        return None, None
    return _left if b.shape[1] <= FEW_ROWS else None, _right if a.shape[0] <= FEW_ROWS else None


def of_rows(pull: Callable[..., Any], y: Spec, operand: Spec) -> Later | None:
    """For an operand that was repeated for each row of a matrix; None where it was broadcast in any other way."""
    if y.ndim != 2 or y.shape[1:] != operand.shape or y.shape[0] > FEW_ROWS or y.dtype.char not in "fd":
        return None
    return lambda kept, shelf: unbroadcast(shelf.stacked(tuple([pull(*entry) for entry in kept])), operand.shape)
