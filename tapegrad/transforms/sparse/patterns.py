"""Sparsity: which elements of what a function returns may depend on which elements of its argument.

The function is recorded, and the record is walked from its oldest entry to its newest, with the set of input elements
that each element of an entry's value may depend on (Griewank & Walther 2008, section 7.4). The sets of one
value are the rows of a sparse matrix of bools, so that a step is a product with the links of the operation (links.py).

**At every point.** The record is of one point; what it has fixed there, it may have fixed by the data: an order
that ``argsort`` found, a mask, a branch. So the function is recorded at a few more points, drawn at random around
the first. Index arrays and constant matrices are believed where they are the same each time. Where they differ,
the operation that used them counts as dense along their axes. Where the programs themselves differ, all indexing
counts as dense, and the pattern is the union of those at all of the points.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.entries import Entry, parents_of, parts, unhooked
from tapegrad.errors import ArgumentError
from tapegrad.pieces import OPEN, READ, WRITE, Layout, Place, Step
from tapegrad.transforms.arguments import require_callable
from tapegrad.transforms.reverse import require_real
from tapegrad.transforms.runs import Run
from tapegrad.transforms.sparse.links import Call, links
from tapegrad.transforms.sparse.matrices import applied, csr, dense, identity, picked, rows_of, sparse_module

POINTS = 2  # at which what looks constant is compared
FEW, MORE = 64, 6  # elements up to which more points are drawn: two of them are in one order at half of all points


def sparsity(f: Callable[..., Any], x: Any) -> Any:
    """Which elements of ``f(x)`` may depend on which elements of ``x``, at any point.

    f : of a real floating array to a real array
    x : array, any shape
    Returns a ``scipy.sparse.csr_array`` of bools, shape (size of the output, size of ``x``), both counted in C order:
    True where the derivative may be other than 0. It is never too small at the points where it was looked for
    (below), and it is exact for slices, constant indices, whatever moves elements, sums, elementwise functions,
    differences and products with constant matrices.
    What selects by the data, as ``sort`` does, is dense along its axis; what isn't known is dense.
    Raises ArgumentError for containers (see ``flatten``), DTypeError for complex arrays, and
    ModuleNotFoundError where SciPy isn't installed.

    ``f`` runs three times (seven for 64 elements or fewer): at ``x``, and at random points of the same size, to see
    whether what it fixes (indices, masks, branches) depends on the data. A branch that none of them takes, or an index
    that none of them moves, is missed; ``jacobian`` and ``hessian`` try the pattern before they believe it.
    An ArithmeticError, ValueError, IndexError or RuntimeError that it raises at such a point is taken for an answer:
    then no index array in it is believed to be constant.

    >>> import numpy as np, tapegrad as tg
    >>> tg.sparsity(lambda x: x[1:] * x[:-1], np.ones(4)).toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])

    Griewank & Walther 2008, section 7.4.
    """
    require_callable("sparsity", f)
    sparse_module("sparsity")
    return pattern_of(recorded("sparsity", f, (x,), {}, 0), f, (x,), {}, 0)


def recorded(name: str, f: Callable[..., Any], args: Sequence[Any], kwargs: Any, number: int, aux: bool = False) -> Run:
    """A run of a function of one array to one array."""
    run = Run(name, f, args, kwargs, [number], aux)
    for structure, what in (
        (run.inputs.structures[0], f"argument {number} is"),
        (run.structure, "the function returned"),
    ):
        if structure is not None:
            raise ArgumentError(
                f"{name}: {what} a {structure.kind.__name__}; with a sparsity pattern, one array is differentiated by "
                f"one array: tapegrad.flatten makes a vector of a container, and back"
            )
    require_real(run)
    return run


def pattern_of(
    run: Run, f: Callable[..., Any], args: Sequence[Any], kwargs: Any, number: int, aux: bool = False
) -> Any:
    """The pattern of a run of ``f``, which is run at other points as well."""
    others = [_run_at(point, run, f, args, kwargs, number, aux) for point in _points(args[number])]
    points = Points(run, others)
    pattern = _walked(run, points)
    if not points.agree:
        for other in others:
            if other is not None and other.structure is None and other.specs[0].size == run.specs[0].size:
                pattern = pattern + _walked(other, Points(other, [None]))
    pattern.sort_indices()
    return pattern


# ---------------------------------------------------------------- records


def _graph(run: Run) -> list[Entry]:
    """The entries that the output depends on, not older than the input; the oldest first."""
    (oldest,) = run.inputs.targets
    root = run.entries[0]
    found = {root[0]: root} if root is not None and root[0] <= oldest else {}
    ahead = list(found.values())
    while ahead:
        entry = ahead.pop()
        if entry[0] == oldest:
            continue
        for parent in parents_of(entry):
            if parent[0] <= oldest and parent[0] not in found:
                found[parent[0]] = parent
                ahead.append(parent)
    return [found[position] for position in sorted(found, reverse=True)]


def coarsest(run: Run) -> float:
    """The largest eps of the floating dtypes that the record of a run computes in."""
    specs = [run.inputs.leaves[0].spec, run.specs[0]]
    for entry in _graph(run):
        form = unhooked(entry)
        if len(form) > 4:
            _known, y, operands, _parameters, _parents = parts(form)
            specs += [value for value in (y, *operands) if hasattr(value, "dtype")]
    return max(float(np.finfo(spec.dtype).eps) for spec in specs if spec.dtype.kind in "fc")


def _points(x: Any) -> Iterator[Any]:
    """Random points of the size that ``x`` has: its own elements in another order, scaled, of either sign."""
    value = np.asarray(x._value if hasattr(x, "_value") else x)
    random = np.random.default_rng(value.size)
    for _ in range(POINTS if value.size > FEW else MORE):
        mixed = random.permutation(value.reshape(-1)).reshape(value.shape)
        scale = random.uniform(0.5, 2, value.shape) * random.choice([-1, 1], value.shape)
        jitter = random.standard_normal(value.shape) * 1e-3  # Elements that are equal, 0 say, are told apart.
        yield np.asarray(mixed * scale + jitter).astype(value.dtype)


def _run_at(
    point: Any, run: Run, f: Callable[..., Any], args: Sequence[Any], kwargs: Any, number: int, aux: bool
) -> Run | None:
    """The run at another point; None where the function can't be run there."""
    given = [*args]
    given[number] = point if point.shape else point.item()
    try:
        with np.errstate(all="ignore"):
            return Run(run.name, f, given, kwargs, [number], aux)
    except (ArithmeticError, ValueError, IndexError, RuntimeError):
        return None


class Points:
    """The record of a run beside those at other points."""

    def __init__(self, run: Run, others: Sequence[Run | None]) -> None:
        self.graph = _graph(run)
        graphs = [_graph(other) for other in others if other is not None]
        self.others = [graph for graph in graphs if _alike(self.graph, graph)]
        self.agree = len(self.others) == len(others)  # whether the same operations were recorded at all of them

    def steady(self, i: int) -> bool:
        """Whether the constants of entry number i are the same at every point."""
        oldest = self.graph[0][0]
        return self.agree and all(
            _same_constants(self.graph[i], oldest, other[i], other[0][0]) for other in self.others
        )

    def parameters(self, i: int) -> list[Any] | None:
        """What entry number i keeps as parameters at the other points; None where there was none like it."""
        return [parts(unhooked(other[i]))[3] for other in self.others] if self.agree else None


def _alike(graph: Sequence[Entry], other: Sequence[Entry]) -> bool:
    """Whether two records are of the same operations in the same order."""
    if len(graph) != len(other):
        return False
    for a, b in zip(map(unhooked, graph), map(unhooked, other), strict=True):
        if len(a) != len(b) or (len(a) > 4 and not _same_operation(a[1], b[1])) or (len(a) == 4 and a[1:3] != b[1:3]):
            return False
    return True


def _same_operation(a: Any, b: Any) -> bool:
    """Whether it is one function; or two calls of one that will be run again."""
    return a is b or (isinstance(a, Step) and a not in STORED and type(a) is type(b))


def _same_constants(a: Entry, oldest_a: int, b: Entry, oldest_b: int) -> bool:
    a, b = unhooked(a), unhooked(b)
    if len(a) < 5:
        return True
    known, place, operands, parameters, parents = parts(a)
    _known, other_place, other_operands, other_parameters, other_parents = parts(b)
    if known in STORED and not _equal(place, other_place):
        return False
    if not _equal(parameters, other_parameters) or len(operands) != len(other_operands):
        return False
    for mine, other, parent, its in zip(operands, other_operands, parents, other_parents, strict=True):
        live, lives = _within(parent, oldest_a), _within(its, oldest_b)
        if live != lives or not (live or _equal(mine, other)):
            return False
    return True


def _within(parent: Entry | None, oldest: int) -> bool:
    return parent is not None and parent[0] <= oldest


def _equal(a: Any, b: Any) -> bool:
    """Whether two constants are the same, whatever they consist of."""
    if a is b:
        return True
    if isinstance(a, (np.ndarray, np.generic)) or isinstance(b, (np.ndarray, np.generic)):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"))
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if hasattr(a, "shape") and hasattr(a, "dtype"):  # Placeholders.
        return bool(a.shape == b.shape and a.dtype == b.dtype)
    return bool(a == b)


# ---------------------------------------------------------------- the walk


def _walked(run: Run, points: Points) -> Any:
    """The pattern of the output, from those of the values before it, each forgotten after its last use."""
    graph = points.graph
    size = run.inputs.leaves[0].spec.size
    count = run.specs[0].size
    if not graph:
        return csr((count, size))
    (oldest,) = run.inputs.targets
    last: dict[int, int] = {}
    for i, entry in enumerate(graph):
        if entry[0] != oldest:
            last.update((parent[0], i) for parent in parents_of(entry))
    expiring: dict[int, list[int]] = {}
    for position, i in last.items():
        expiring.setdefault(i, []).append(position)
    patterns: dict[int, Any] = {}
    for i, entry in enumerate(graph):
        if entry[0] == oldest:
            patterns[oldest] = csr((np.ones(size, bool), np.arange(size), np.arange(size + 1)), (size, size))
            continue
        found = _step(unhooked(entry), patterns, size, points, i)
        if found is not None:
            patterns[entry[0]] = found
        for position in expiring.get(i, ()):
            patterns.pop(position, None)
    result = patterns.get(graph[-1][0])
    return csr((count, size)) if result is None else _expanded(result, count)


class Everywhere:
    """The pattern of a value whose elements all depend on the same, and whose size only its users know."""

    __slots__ = ("row",)

    def __init__(self, given: Sequence[Any]) -> None:
        rows = [applied(dense((1,), (pattern.shape[0],)), pattern) for pattern in given if pattern is not None]
        self.row = functools.reduce(operator.add, rows)


def _expanded(pattern: Any, count: int) -> Any:
    if type(pattern) is not Everywhere:
        return pattern
    return applied(dense((count,), (1,)), pattern.row)


def _step(form: Entry, patterns: dict[int, Any], size: int, points: Points, i: int) -> Any:
    """The pattern of entry number i's value, a list of them of several; None where it depends on nothing."""
    if len(form) == 2:
        return None  # A leaf of somebody else's.
    if len(form) == 4:
        _, index, _count, node = form
        several = patterns.get(node[0])
        return several[index] if isinstance(several, list) else several
    known, y, operands, packed, parents = parts(form)
    given = [
        None if parent is None else _expanded(patterns.get(parent[0]), getattr(operand, "size", 1))
        for parent, operand in zip(parents, operands, strict=True)
    ]
    active = [pattern is not None for pattern in given]
    if not any(active):
        return None
    if isinstance(known, Step):
        if known not in STORED:  # A function that will be run again (checkpointing.py): it has no record as yet.
            return Everywhere(given)
        return _stored(known, y, operands, given, points.steady(i), size)
    call = Call(known, y, operands, packed, active, lambda: points.steady(i), lambda: points.parameters(i))
    outputs = [_united(row, given) for row in links(call)]
    return outputs if isinstance(y, tuple) else outputs[0]


def _united(row: Sequence[Any], given: Sequence[Any]) -> Any:
    total: Any = None
    seen: list[Any] = []
    for factors, pattern in zip(row, given, strict=True):
        if pattern is None or (not factors and any(pattern is other for other in seen)):
            continue
        if not factors:
            seen.append(pattern)
        part = applied(factors, pattern)
        total = part if total is None else total + part
    return total


# ---------------------------------------------------------------- reads and writes of a buffer

STORED = (OPEN, READ, WRITE)


def _stored(known: Any, place: Place, operands: Sequence[Any], given: Sequence[Any], steady: bool, size: int) -> Any:
    """The pattern of a buffer, of a part of it that is read, or of the buffer after a part of it was written."""
    if known is OPEN:
        numbers = _numbers(place, place.dtype)  # type: ignore[union-attr]
        at = np.full(int(numbers.max(initial=-1)) + 1, -1)
        at[numbers.reshape(-1)] = np.arange(numbers.size)
        return rows_of(at, numbers.size) @ given[0]
    spec = operands[-1]
    numbers = _numbers(place, spec.dtype)
    before = _lengthened(given[-1], spec.size, size)
    layout = place if isinstance(place, Layout) else place.layout
    exact = steady and layout.dtype.itemsize <= spec.dtype.itemsize
    if known is READ:
        return applied(picked(numbers, spec.size) if exact else dense(numbers.shape, (spec.size,)), before)
    covered = exact and layout.dtype.itemsize == spec.dtype.itemsize  # And not the real parts of complex numbers.
    return _written(numbers, getattr(place, "last", None), operands[0], given[0], before, exact, covered)


def _written(numbers: Any, last: Any, value: Any, given: Any, before: Any, exact: bool, covered: bool) -> Any:
    count = before.shape[0]
    if covered:
        kept = np.arange(count)
        kept[numbers] = -1
        before = rows_of(kept, count) @ before
    if given is None:
        return before
    if not exact:
        return before + applied(dense((count,), value.shape), given)
    shape = value.shape
    while len(shape) > numbers.ndim:  # NumPy drops leading ones.
        shape = shape[1:]
    origins = np.broadcast_to(identity(shape), numbers.shape)
    if last is not None:
        numbers, origins = numbers[last], origins[last]
    at = np.full(count, -1)
    at[numbers] = origins
    return before + rows_of(at, given.shape[0]) @ given


def _numbers(place: Place, dtype: Any) -> Any:
    """The elements of a buffer of this dtype that are read or written, by number."""
    if not isinstance(place, Layout):
        return place.numbers * place.layout.dtype.itemsize // dtype.itemsize
    numbers = np.full(place.shape, place.offset, np.intp)
    for axis, (n, stride) in enumerate(zip(place.shape, place.strides, strict=True)):
        numbers += (np.arange(n) * stride).reshape([-1 if i == axis else 1 for i in range(len(place.shape))])
    return numbers // dtype.itemsize


def _lengthened(pattern: Any, count: int, size: int) -> Any:
    """A buffer's pattern with a row for each of its elements; those behind the last that matters depend on nothing."""
    if pattern is None:
        return csr((count, size))
    if pattern.shape[0] == count:
        return pattern
    pattern = pattern.copy()
    pattern.resize(count, size)
    return pattern
