"""Batches: many cotangents pulled back in one sweep, with an axis of their own in front.

A Jacobian takes a sweep for each element of the output. The rules are NumPy, which does not mind one more
axis: elementwise, the slopes broadcast against it. Any other rule is asked as if its function had been called on
a batch: the operands and the output repeated along a leading axis (without a copy), ``axis=0`` become ``axis=1``,
and so on: ``WAYS`` says how. What isn't in there is pulled back row by row, at that entry alone.

Products have ways of their own, since their operands needn't be repeated: one large product instead of many.

Whatever stands in the way of a whole batch (hooks, which take single cotangents; writes, whose adjoint is done in
place) raises ``Unbatched``: then each row is a sweep of its own.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.borrowed import require_unchanged
from tapegrad.entries import Entry, Leaf, Outputs, annotate, give_output, parts
from tapegrad.kinds import Elementwise
from tapegrad.pieces import Pieces, Step
from tapegrad.pulls import at_width, by_slope, cotangents, finite
from tapegrad.shapes import Spec, cast, fit
from tapegrad.transforms.ways import OWN, WAYS, Parameters, Way


class Unbatched(Exception):  # noqa: N818 - no error: the rows are swept one by one instead
    """Something on the way takes single cotangents."""


def replay_batch(roots: Sequence[tuple[Entry, Any]], targets: dict[int, Leaf]) -> list[tuple[Leaf, Any]]:
    """``tape.replay`` of many cotangents: pairs (leaf, cotangents), with a leading axis in all of them.

    roots : entries, each with an array of its cotangents, along axis 0
    targets : positions of the leaves to reach; nothing older is visited, and nothing is freed
    Raises Unbatched where the rows have to be swept one by one.
    """
    pending: dict[int, Any] = {}
    queue: list[Entry] = []
    totals: list[tuple[Leaf, Any]] = []
    oldest = max(targets)
    for root, seed in roots:
        pending[root[0]] = pending[root[0]] + seed if root[0] in pending else seed
        heapq.heappush(queue, root)
    at: Entry = []
    try:
        with np.errstate(all="ignore"):
            while queue:
                at = heapq.heappop(queue)
                g = pending.pop(at[0], None)
                if g is None:
                    continue  # Two roots with one entry.
                if type(g) is Pieces:
                    g = g.whole()
                if at[0] in targets:
                    totals.append((targets[at[0]], g))
                    continue
                match len(at):
                    case 2:
                        continue  # A leaf that nobody asked for.
                    case 3:
                        raise Unbatched
                    case 4:
                        give_output(pending, queue, at[3], at[1], at[2], g)
                        continue
                for parent, c in pulled_batch(at, g):
                    position = parent[0]
                    if position in pending:
                        pending[position] = pending[position] + c
                    elif position <= oldest:
                        pending[position] = c
                        heapq.heappush(queue, parent)
    except Exception as error:
        if not isinstance(error, Unbatched):
            annotate(error, at)
        raise
    return totals


def largest(ahead: Sequence[Entry], oldest: int) -> int:
    """The size of the largest value between these entries and the position ``oldest``; raises Unbatched."""
    queue, size = list(ahead), 1
    seen = {entry[0] for entry in queue}
    while queue:
        entry = queue.pop()
        parents: Iterable[Any]
        match len(entry):
            case 2:
                continue
            case 3:
                raise Unbatched
            case 4:
                parents = (entry[3],)
            case _:
                known, _y, operands, _parameters, parents = parts(entry)
                if isinstance(known, Step):
                    raise Unbatched
                recording = (o for o, parent in zip(operands, parents, strict=True) if parent is not None)
                size = max(size, *(o.size for o in recording))  # Constants have no cotangents.
        for parent in parents:
            if parent is not None and parent[0] not in seen and parent[0] <= oldest:
                seen.add(parent[0])
                queue.append(parent)
    return size


def pulled_batch(entry: Entry, g: Any) -> Iterable[tuple[Entry, Any]]:
    """The cotangents of an entry's parents, for a batch of its own."""
    known, y, operands, packed, parents = parts(entry)
    if len(entry) >= 8 and entry[4] is not None:
        require_unchanged(entry[4], known.name)
    if isinstance(known, Step):
        raise Unbatched
    if type(known) is Elementwise:
        return _elementwise(known, g, y, operands, parents)
    # The strong zero looks at each row by itself; and of nothing, no shape can be told.
    if not all(map(_ordinary, operands)):
        return _by_rows(known, g, y, operands, packed, parents)
    own = OWN.get(known.function)
    if own is not None:
        triples = own(g, y, operands, _named(known, packed), parents)
        if triples is not None:
            return [(parent, _cast(c, operand)) for parent, c, operand in triples]
    way = WAYS.get(known.function)
    if way is not None:
        pairs = _as_of_a_batch(known, way, g, y, operands, packed, parents)
        if pairs is not None:
            return pairs
    return _by_rows(known, g, y, operands, packed, parents)


def _ordinary(operand: Any) -> bool:
    if not isinstance(operand, (np.ndarray, np.generic, Spec)):
        return True
    return bool(operand.size) and (isinstance(operand, Spec) or operand.dtype.kind not in "fc" or finite(operand))


def _cast(c: Any, operand: Any) -> Any:
    return c if type(c) is Pieces or c.dtype == operand.dtype else cast(c, operand.dtype)


def _elementwise(
    known: Elementwise, g: Any, y: Any, operands: Sequence[Any], parents: Sequence[Any]
) -> list[tuple[Any, Any]]:
    pairs = []
    widths = at_width(operands, y.dtype)
    for slope, operand, parent in zip(known.slopes, operands, parents, strict=True):
        if parent is None or slope is None:
            continue
        shape = operand.shape
        padded = (len(g), *(1,) * (y.ndim - len(shape)), *shape)  # Leading axes that broadcasting added.
        c = fit(by_slope(slope, g, y, widths, True), Spec(padded, operand.dtype))
        pairs.append((parent, c.reshape(len(g), *shape)))
    return pairs


def _by_rows(
    known: Any, g: Any, y: Any, operands: Sequence[Any], packed: Any, parents: Sequence[Any]
) -> list[tuple[Any, Any]]:
    wanted = [None if parent is None else i for i, parent in enumerate(parents)]
    rows: dict[int, list[Any]] = {i: [] for i in wanted if i is not None}
    count = len(next(part for part in g if part is not None)) if type(g) is Outputs else len(g)
    for k in range(count):
        row = tuple(None if part is None else part[k] for part in g) if type(g) is Outputs else g[k]
        arrived = dict(cotangents(known, row, y, operands, packed, wanted, True))
        for i, cs in rows.items():
            c = arrived.get(i)
            cs.append(c.whole() if type(c) is Pieces else c)
    pairs = []
    for i, cs in rows.items():
        if any(c is not None for c in cs):
            zeros = np.zeros(operands[i].shape, operands[i].dtype)
            pairs.append((parents[i], np.stack([zeros if c is None else c for c in cs])))
    return pairs


def _as_of_a_batch(
    known: Any, way: Way, g: Any, y: Any, operands: Sequence[Any], packed: Any, parents: Sequence[Any]
) -> list[tuple[Any, Any]] | None:
    """The rule's answer as if its function had been called on a batch; None where that isn't sure."""
    parameters = way(_named(known, packed), operands[0])
    if parameters is None:
        return None
    if type(g) is Outputs:
        g = tuple(g)
    n = len(next(part for part in g if part is not None)) if type(g) is tuple else len(g)
    repeated = [_repeated(operand, n) for operand in operands]
    result = known.pull(g, _repeated(y, n), repeated, known.pack(parameters))
    if type(result) is not tuple:
        result = (result,)
    pairs = []
    for parent, c, operand in zip(parents, result, operands, strict=True):
        if parent is None:
            continue
        if callable(c):
            c = c()
        if c is None:
            continue
        if c.shape != (n, *operand.shape):
            return None
        pairs.append((parent, _cast(c, operand)))
    return pairs


def _named(known: Any, packed: Any) -> Parameters:
    """What an entry holds of the parameters by NumPy's names, with the defaults of those that aren't there."""
    names = known.parameters
    if len(names) == 1:
        return {names[0]: packed}
    return dict(zip(names, known.pack({}), strict=True)) | dict(zip(names, packed, strict=False))


def _repeated(value: Any, n: int) -> Any:
    if type(value) is tuple:
        return tuple(_repeated(part, n) for part in value)
    if isinstance(value, Spec):
        return Spec((n, *value.shape), value.dtype)
    return np.broadcast_to(value, (n, *value.shape)) if isinstance(value, (np.ndarray, np.generic)) else value
