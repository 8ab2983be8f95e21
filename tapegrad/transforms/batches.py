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
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.borrowed import require_unchanged
from tapegrad.entries import Entry, Leaf, Outputs, annotate, give_output, parts
from tapegrad.kinds import Elementwise
from tapegrad.nn.linear import linear_output, linear_shifted
from tapegrad.pieces import FEW, Pieces, Step, scatter_add_all
from tapegrad.pulls import by_slope, cotangents, finite
from tapegrad.shapes import Shape, Spec, cast, conj, fit, mH, scatter_add, scattered, unbroadcast

Parameters = dict[str, Any]
Way = Callable[[Parameters, Any], Parameters | None]  # of the parameters and the first operand; None: row by row


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
                size = max(size, *(getattr(operand, "size", 1) for operand in operands))
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
    for slope, operand, parent in zip(known.slopes, operands, parents, strict=True):
        if parent is None or slope is None:
            continue
        shape = operand.shape
        padded = (len(g), *(1,) * (y.ndim - len(shape)), *shape)  # Leading axes that broadcasting added.
        c = fit(by_slope(slope, g, y, operands, True), Spec(padded, operand.dtype))
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


# ---------------------------------------------------------------- how a call reads with an axis in front


def _same(p: Parameters, _x: Any) -> Parameters:
    """Nothing in the parameters counts axes from the front."""
    return p


def _matrices(p: Parameters, x: Any) -> Parameters | None:
    return p if x.ndim > 1 else None


def _later(axis: Any) -> Any:
    """An axis, or several, with another one in front."""
    if isinstance(axis, (tuple, list)):
        return tuple(_later(a) for a in axis)
    return axis + 1 if axis >= 0 else axis


def _reduced(p: Parameters, x: Any) -> Parameters:
    """``axis=None`` means all axes."""
    axis = p["axis"]
    return p | {"axis": tuple(range(1, x.ndim + 1)) if axis is None else _later(axis)}


def _shifted(*names: str) -> Way:
    """These parameters are axes; where one is None, the array is flattened."""

    def way(p: Parameters, _x: Any) -> Parameters | None:
        if any(p[name] is None for name in names):
            return None
        return p | {name: _later(p[name]) for name in names}

    return way


def _in_c_order(p: Parameters, _x: Any) -> Parameters | None:
    return p if p["order"] == "C" else None


def _permuted(p: Parameters, x: Any) -> Parameters:
    axes = p["axes"]
    n = x.ndim
    return {"axes": (0, *((a % n + 1 for a in axes) if axes is not None else range(n, 0, -1)))}


def _padded(p: Parameters, x: Any) -> Parameters | None:
    if p["stat_length"] is not None or isinstance(p["pad_width"], dict):
        return None
    width = np.broadcast_to(p["pad_width"], (x.ndim, 2)).tolist()
    return p | {"pad_width": ((0, 0), *map(tuple, width))}


def _indexed(p: Parameters, _x: Any) -> Parameters | None:
    index = behind(p["index"])
    return None if index is None else p | {"index": index}


def _all_indexed(p: Parameters, _x: Any) -> Parameters | None:
    indices = [behind(index) for index in p["indices"]]
    return None if any(index is None for index in indices) else p | {"indices": indices}


def behind(index: Any) -> tuple[Any, ...] | None:
    """The index of each row, with another axis in front; None where that would put axes elsewhere."""
    index = index if type(index) is tuple else (index,)
    advanced = [isinstance(i, (np.ndarray, list, np.generic, bool)) for i in index]
    if any(advanced):
        if any(np.ndim(i) == 0 and np.asarray(i).dtype == bool for i in index if i is not None and i is not ...):
            return None
        # Integers beside arrays count as arrays. Where slices part them, their axes go to the front.
        places = [k for k, i in enumerate(index) if advanced[k] or isinstance(i, int)]
        if places[-1] - places[0] >= len(places):
            return None
    return (slice(None), *index)


WAYS: dict[Any, Way] = {}


def _enter(way: Way, *functions: Any) -> None:
    for function in functions:
        WAYS[function] = way


_enter(_reduced, np.sum, np.mean, np.prod, np.max, np.min, np.amax, np.amin, np.var, np.std, np.flip)
_enter(_reduced, np.nansum, np.nanmean, np.nanprod, np.nanmax, np.nanmin)
_enter(_shifted("axis"), np.concatenate, np.stack, np.cumsum, np.cumprod, np.diff, np.roll, np.take, np.repeat)
_enter(_shifted("axis"), np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft)
_enter(_shifted("axis1", "axis2"), np.swapaxes, np.diagonal, np.trace)
_enter(_shifted("source", "destination"), np.moveaxis)
_enter(_shifted("axes"), np.rot90)
_enter(_same, np.squeeze, np.expand_dims, np.copy, np.matrix_transpose, np.nan_to_num, cast)
_enter(_in_c_order, np.reshape, np.ravel)
_enter(_permuted, np.transpose)
_enter(_padded, np.pad)
_enter(_matrices, np.tril, np.triu, np.linalg.inv, np.linalg.cholesky, np.linalg.det, np.linalg.slogdet)
_enter(_matrices, np.linalg.eigh, np.linalg.eig, np.linalg.svd, np.linalg.qr)
_enter(_indexed, scatter_add)
_enter(_all_indexed, scatter_add_all)


# ---------------------------------------------------------------- ways of their own
#
# own(g, y, operands, parameters, parents) -> triples (parent, cotangents, operand), or None: not in this case

Triples = list[tuple[Any, Any, Any]]


def _wanted(parents: Sequence[Any], cs: Sequence[Callable[[], Any]], operands: Sequence[Any]) -> Triples:
    return [(p, c(), o) for p, c, o in zip(parents, cs, operands, strict=True) if p is not None]


def _getitem(g: Any, _y: Any, operands: Sequence[Any], p: Parameters, parents: Sequence[Any]) -> Triples | None:
    (x,) = operands
    index = behind(p["index"])
    if index is None:
        return None
    shape = (len(g), *x.shape)
    c = Pieces(Spec(shape, x.dtype), [(index, g)]) if x.size > FEW else scattered(g, index, shape)
    return [(parents[0], c, x)]


def _broadcast_to(g: Any, _y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples:
    (x,) = operands
    return [(parents[0], _summed(g, len(g), x.shape), x)]


def _summed(c: Any, n: int, shape: Shape) -> Any:
    """The sum over what each row was broadcast along."""
    return unbroadcast(c, (n, *(1,) * (c.ndim - 1 - len(shape)), *shape)).reshape(n, *shape)


def _matmul(g: Any, _y: Any, operands: Sequence[Any], p: Parameters, parents: Sequence[Any]) -> Triples | None:
    a, b = operands
    if p.get("axes") is not None:
        return None
    return _product(g, a, b, operands, parents)


def _dot(g: Any, y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples | None:
    a, b = operands
    return _product(g, a, b, operands, parents) if {np.ndim(a), np.ndim(b)} <= {1, 2} else None


def _product(g: Any, a: Any, b: Any, operands: Sequence[Any], parents: Sequence[Any]) -> Triples:
    """As the rule of ``np.matmul``: a_bar = g b^H, b_bar = a^H g, a vector being a matrix of one row or column."""
    n = len(g)
    rows = a.shape if a.ndim > 1 else (1, *a.shape)
    columns = b.shape if b.ndim > 1 else (*b.shape, 1)
    batch = g.shape[: g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    G = g.reshape(*batch, rows[-2], columns[-1])

    def left() -> Any:
        B = b.reshape(columns)
        c = G @ mH(B) if b.ndim > 2 else (G.reshape(-1, columns[-1]) @ mH(B)).reshape(*G.shape[:-1], -1)
        return _summed(c, n, rows).reshape(n, *a.shape)

    def right() -> Any:
        if a.ndim == 2 and b.ndim == 1:  # All rows in one product.
            return g @ conj(a)
        return _summed(mH(a.reshape(rows)) @ G, n, columns).reshape(n, *b.shape)

    return _wanted(parents, (left, right), operands)


def _linear(g: Any, _y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples:
    x, weight = operands[:2]
    n = len(g)
    G = g.reshape(n, -1, g.shape[-1])
    cs: list[Callable[[], Any]] = [
        lambda: (g.reshape(-1, g.shape[-1]) @ conj(weight)).reshape(n, *x.shape),
        lambda: G.swapaxes(1, 2) @ conj(x.reshape(-1, x.shape[-1])),
        lambda: G.sum(1),
    ]
    return _wanted(parents, cs[: len(operands)], operands)


OWN: dict[Any, Callable[..., Triples | None]] = {
    operator.getitem: _getitem,
    np.broadcast_to: _broadcast_to,
    np.matmul: _matmul,
    np.dot: _dot,
    linear_output: _linear,
    linear_shifted: _linear,
}
