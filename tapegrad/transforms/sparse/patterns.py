"""Sparsity: which elements of what a function returns may depend on which elements of its argument.

The function is recorded, and the record is walked from its oldest entry to its newest, with the set of input elements
that each element of an entry's value may depend on (Griewank & Walther 2008, section 7.4). The sets of one
value are the rows of a sparse matrix of bools, so that a step is a product with the links of the operation (links.py).

**At every point.** The record is of one point; what it has fixed there, it may have fixed by the data: an order
that ``argsort`` found, a mask, a branch. So the function runs under a tracer (traced.py), which knows of every index
array, mask and constant matrix whether it was found by the data. If so, the operation that used it counts as dense
along its axes; and where a value got away to Python, everything does.
"""

import functools
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.entries import Entry, parents_of, parts, unhooked
from tapegrad.errors import ArgumentError, DensePatternWarning
from tapegrad.pieces import OPEN, READ, WRITE, Layout, Place, Step
from tapegrad.transforms.arguments import require_callable
from tapegrad.transforms.reverse import require_real
from tapegrad.transforms.runs import Run
from tapegrad.transforms.sparse.links import Call, links
from tapegrad.transforms.sparse.matrices import applied, csr, dense, identity, picked, rows_of, sparse_module
from tapegrad.transforms.sparse.traced import Moving, Tracer


def sparsity(f: Callable[..., Any], x: Any) -> Any:
    """Which elements of ``f(x)`` may depend on which elements of ``x``, at any point.

    f : of a real floating array to a real array
    x : array, any shape
    Returns a ``scipy.sparse.csr_array`` of bools, shape (size of the output, size of ``x``), both counted in C order:
    True where the derivative may be other than 0 at some point. It is never too small, and it is exact for slices,
    constant indices, whatever moves elements, sums, elementwise functions, differences and products with constant
    matrices (arrays: a tensor may have been made of anything). What selects by the data, as ``sort`` or an index by
    ``argsort`` does, is dense along its axis; what isn't known is dense.
    Raises ArgumentError for containers (see ``flatten``), DTypeError for complex arrays, and
    ModuleNotFoundError where SciPy isn't installed.

    ``f`` runs once. While it does, comparisons of what depends on ``x``, its ``argsort``, ``detach()``, ``numpy()`` and
    the like are tensors that don't record, so that it is seen what comes of them. Where such a value is turned
    into a plain array or a number (``bool`` of it, as in a branch, ``float``, ``item``, ``np.asarray``), or selects as
    many elements as it has that are True, nobody can see that: all of the pattern is then True, with a
    DensePatternWarning that says where. ``np.where`` is the branch that keeps its pattern. What threads that ``f``
    starts do isn't seen.

    >>> import numpy as np, tapegrad as tg
    >>> tg.sparsity(lambda x: x[1:] * x[:-1], np.ones(4)).toarray().astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 1, 1]])

    Griewank & Walther 2008, section 7.4.
    """
    require_callable("sparsity", f)
    sparse_module("sparsity")
    tracer = Tracer()
    return pattern_of(recorded("sparsity", f, (x,), {}, 0, tracer=tracer), tracer)


def recorded(
    name: str,
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Any,
    number: int,
    aux: bool = False,
    tracer: Tracer | None = None,
) -> Run:
    """A run of a function of one array to one array, traced where its pattern is to be found."""
    run = Run(name, f if tracer is None else tracer(f), args, kwargs, [number], aux)
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


def pattern_of(run: Run, tracer: Tracer) -> Any:
    """The pattern of a run that was traced."""
    if tracer.escape is None:
        pattern = _walked(run, tracer)
    else:
        warnings.warn(
            f"{run.name}: {tracer.escape[0]} looked at values that depend on the input, at {tracer.escape[1]}; the "
            f"function may do something else at other points, so that its pattern counts as dense. np.where in place "
            f"of branches and masks keeps it sparse; jacobian and hessian also take a pattern of your own",
            DensePatternWarning,
            stacklevel=3,
        )
        pattern = csr(np.ones((run.specs[0].size, run.inputs.leaves[0].spec.size), bool))
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


# ---------------------------------------------------------------- the walk


def _walked(run: Run, tracer: Tracer) -> Any:
    """The pattern of the output, from those of the values before it, each forgotten after its last use."""
    graph = _graph(run)
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
        found = _step(unhooked(entry), patterns, size, tracer)
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


def _step(form: Entry, patterns: dict[int, Any], size: int, tracer: Tracer) -> Any:
    """The pattern of an entry's value, a list of them of several; None where it depends on nothing."""
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
        return _stored(known, y, operands, given, tracer.has_moved(y), size)
    call = Call(known, y, operands, known.marked if isinstance(known, Moving) else packed, active)
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


def _stored(known: Any, place: Place, operands: Sequence[Any], given: Sequence[Any], moved: bool, size: int) -> Any:
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
    exact = not moved and layout.dtype.itemsize <= spec.dtype.itemsize
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
