"""Arrays of numbers that know where they came from: a model of differentiation too simple to be wrong.

A ``Cell`` is one float, with an edge to each cell that it was computed from: that cell, and a function
that gives the slope, itself a cell. NumPy runs on arrays of cells as on any arrays of objects. So a program's views,
writes and broadcasting are NumPy's own, and what is left to model is the chain rule, one number at a time.
Writes put other cells into an array; whoever has used the former ones still holds them.

>>> import numpy as np
>>> x = leaf_cells(np.array([1.0, 2.0]))
>>> y = np.sum(x * x)
>>> sorted(total.value for total in pulled([(y, Cell(1.0))]).values())
[2.0, 4.0]
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

_NUMBERS = itertools.count()


class Cell:
    """A number, the cells that it was computed from, and the slope by each of them."""

    __slots__ = ("edges", "hooks", "number", "slot", "value")

    def __init__(
        self, value: float, edges: Sequence[tuple["Cell", Callable[[], "Cell"]]] = (), slot: Any = None
    ) -> None:
        self.value = float(value)
        self.edges = tuple(edges)
        self.slot = slot  # of a leaf: which element of which leaf's gradient arrives here
        self.hooks: list[float] = []  # factors that the total cotangent is multiplied by
        self.number = next(_NUMBERS)

    def __repr__(self) -> str:
        return repr(self.value)

    def __add__(self, other: Any) -> "Cell":
        b = cell(other)
        return Cell(self.value + b.value, [(self, _one), (b, _one)])

    def __mul__(self, other: Any) -> "Cell":
        b = cell(other)
        return Cell(self.value * b.value, [(self, lambda: b), (b, lambda: self)])

    def __neg__(self) -> "Cell":
        return self * -1.0

    def __sub__(self, other: Any) -> "Cell":
        return self + -cell(other)

    def __rsub__(self, other: Any) -> "Cell":
        return cell(other) + -self

    def __truediv__(self, other: Any) -> "Cell":
        return self * cell(other).reciprocal()

    def __rtruediv__(self, other: Any) -> "Cell":
        return cell(other) * self.reciprocal()

    def __pow__(self, n: int) -> "Cell":
        return Cell(self.value**n, [(self, lambda: self ** (n - 1) * float(n))] if n else [])

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> bool:
        return self.value < cell(other).value

    def __gt__(self, other: Any) -> bool:
        return self.value > cell(other).value

    def __le__(self, other: Any) -> bool:
        return self.value <= cell(other).value

    def __ge__(self, other: Any) -> bool:
        return self.value >= cell(other).value

    # NumPy's functions of an array of objects call methods of their own name.

    def reciprocal(self) -> "Cell":
        """1 / x."""
        y = Cell(1.0 / self.value)
        y.edges = ((self, lambda: -(y * y)),)
        return y

    def sin(self) -> "Cell":
        """What np.sin calls."""
        return Cell(math.sin(self.value), [(self, self.cos)])

    def cos(self) -> "Cell":
        """What np.cos calls."""
        return Cell(math.cos(self.value), [(self, lambda: -self.sin())])

    def exp(self) -> "Cell":
        """What np.exp calls."""
        y = Cell(math.exp(self.value))
        y.edges = ((self, lambda: y),)
        return y

    def log(self) -> "Cell":
        """What np.log calls."""
        return Cell(math.log(self.value), [(self, self.reciprocal)])

    def sqrt(self) -> "Cell":
        """What np.sqrt calls."""
        y = Cell(math.sqrt(self.value))
        y.edges = ((self, lambda: y.reciprocal() * 0.5),)
        return y

    def tanh(self) -> "Cell":
        """What np.tanh calls."""
        y = Cell(math.tanh(self.value))
        y.edges = ((self, lambda: 1.0 - y * y),)
        return y

    def square(self) -> "Cell":
        """What np.square calls, of no object; programs of cells may."""
        return self * self


def _one() -> Cell:
    return Cell(1.0)


def cell(value: Any) -> Cell:
    """A cell as it is; a number as a constant."""
    return value if isinstance(value, Cell) else Cell(value)


def _each(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """The function for arrays of cells and single ones."""
    ufunc = np.frompyfunc(function, 1, 1)
    return lambda model: ufunc(model) if isinstance(model, np.ndarray) else function(model)


constant_cells = _each(lambda c: Cell(cell(c).value))  # the same numbers, of which nothing more is known
passed = _each(lambda c: Cell(c.value, [(c, _one)]))  # the same numbers in cells of their own: a copy


def values_of(model: Any) -> Any:
    """The numbers of an array of cells, or of one cell."""
    if not isinstance(model, np.ndarray):
        return np.float64(cell(model).value)
    return np.array([c.value for c in model.flat], float).reshape(model.shape)


def leaf_cells(array: Any) -> Any:
    """Cells of a new leaf: each has its own slot for a gradient."""
    owner = object()
    model = np.empty(array.shape, object)
    for i, value in enumerate(array.flat):
        model.flat[i] = Cell(float(value), slot=(owner, i))
    return model


def pulled(roots: Iterable[tuple[Cell, Cell]]) -> dict[Any, Cell]:
    """What arrives at each slot, given a cotangent for each root: newest cell first, one at a time."""
    totals: dict[int, Cell] = {}
    queue: list[tuple[int, Cell]] = []
    arrived: dict[Any, Cell] = {}

    def give(to: Cell, g: Cell) -> None:
        if to.number in totals:
            totals[to.number] = totals[to.number] + g
        else:
            totals[to.number] = g
            heapq.heappush(queue, (-to.number, to))

    for root, seed in roots:
        give(root, seed)
    while queue:
        _key, c = heapq.heappop(queue)
        g = totals.pop(c.number)
        for factor in c.hooks:
            g = g * factor
        if c.slot is not None:
            arrived[c.slot] = arrived[c.slot] + g if c.slot in arrived else g
        for parent, slope in c.edges:
            give(parent, g * slope())
    return arrived


def reached(roots: Iterable[Cell]) -> set[int]:
    """The numbers of all cells that these were computed from, themselves among them."""
    found: set[int] = set()
    ahead = list(roots)
    while ahead:
        c = ahead.pop()
        if c.number not in found:
            found.add(c.number)
            ahead.extend(parent for parent, _slope in c.edges)
    return found
