"""Pieces: the cotangents of parts of an array, added up without making a whole array for each.

``x[i]`` for every i in turn would cost a whole array of zeros each time, were its cotangent made like
any other. Instead the sweep collects what arrives for parts of ``x``, and adds it up once:

- ``Pieces`` for parts that were read by an index, of arrays that nobody wrote to (``getitem``);
- ``Account`` for the states of a written buffer (storage.py). A state's cotangent is a buffer of the
  same layout: a read adds into it, and a write takes its own part out, puts zeros there, and passes
  the account on to the state before it. Since the newest entries come first, whatever was read from a
  state has arrived by the time the write that made it is reached. No write costs more than its part.

Where the sweep records itself, the parts are tensors, and so is the account's buffer: the adjoint is
then a program of reads and writes by the same machinery, linear at every order.
"""

import heapq
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.kinds import Known
from tapegrad.owed import Owed
from tapegrad.primitive import defvjp, primitive
from tapegrad.recording import TRACERS, tracer
from tapegrad.shapes import add_at, cast, scattered, unbroadcast

Shape = tuple[int, ...]
FEW = 256  # elements: up to here an array of zeros for each part is quicker than keeping an account


class Pieces:
    """What has arrived for parts of an array, each part named by an index."""

    __array_ufunc__ = None  # array + pieces is ours to answer
    __slots__ = ("parts", "spec")
    size = 1 << 62  # So that the sweep takes them for large, and looks closer.

    def __init__(self, spec: Any, parts: Sequence[tuple[Any, Any]]) -> None:
        self.spec, self.parts = spec, list(parts)

    def copy(self) -> "Pieces":
        """The same, to go on from here."""
        return Pieces(self.spec, self.parts)

    def whole(self) -> Any:
        """The array that they add up to."""
        indices, parts = zip(*self.parts, strict=True)
        if len(parts) == 1:
            return scattered(parts[0], indices[0], self.spec.shape)
        return scatter_add_all(list(parts), indices, self.spec.shape)

    def added_to(self, total: Any) -> Any:
        """``total``, an array of the sweep's own, with the pieces added in place."""
        for index, part in self.parts:
            add_at(total, index, part)
        return total

    def __add__(self, other: Any) -> Any:
        if type(other) is Pieces:
            self.parts += other.parts
            return self
        return self.whole() + other

    __radd__ = __add__


def give_piece(pending: dict[int, Any], queue: list[Any], parent: Any, piece: Pieces, owned: set[int]) -> None:
    """Add a piece to the cotangent of ``parent``; in place, where that is an array of the sweep's own."""
    position = parent[0]
    if position not in pending:
        pending[position] = piece
        heapq.heappush(queue, parent)
    elif position in owned:
        total = pending[position]
        pending[position] = piece.added_to(total.whole() if type(total) is Owed else total)
    else:
        pending[position] = pending[position] + piece
        if type(pending[position]) is not Pieces:
            owned.add(position)


@primitive
def scatter_add_all(parts: Any, indices: Any, shape: Shape) -> Any:
    """Zeros of ``shape``, to which every part is added at its index; ``scatter_add`` of many at once.

    >>> scatter_add_all([np.array([1.0, 2.0]), np.array(4.0)], (slice(0, 2), 1), (3,))
    array([1., 6., 0.])
    """
    total = np.zeros(shape, np.result_type(*(part.dtype for part in parts)))
    for index, part in zip(indices, parts, strict=True):
        add_at(total, index, part)
    return total


@defvjp(
    scatter_add_all,
    cases=Cases(
        calls=(
            call([(2, 3), (3,)], indices=(slice(1, 3), 1), shape=(4, 3)),
            call([(3,), ()], indices=(np.array([0, 2, 0]), 2), shape=(4,)),
        )
    ),
)
def scatter_add_all_vjp(g: Any, _y: Any, *_parts: Any, indices: Any, _shape: Any) -> Any:
    """Each part is read where it was added."""
    return tuple(g[index] for index in indices)


# ---------------------------------------------------------------- states of a buffer


class Layout(NamedTuple):
    """Where a strided array lies in a buffer: offset and strides in bytes."""

    offset: int
    shape: Shape
    strides: Shape
    dtype: Any


class Places(NamedTuple):
    """Elements of a buffer by number, counted in elements of ``dtype``."""

    numbers: Any
    last: Any  # which of them are the last to name their element; None: each is the only one
    layout: Layout  # the whole buffer as one axis of this dtype


Place = Layout | Places


def strided(buffer: Any, layout: Layout) -> Any:
    """The array of this layout in a flat buffer: a view, of an array or of a tensor."""
    if type(buffer) is not np.ndarray:
        return buffer._strided(layout)
    return np.ndarray(layout.shape, layout.dtype, buffer, layout.offset, layout.strides)


def _read(buffer: Any, place: Place) -> Any:
    """What lies there, in memory of its own; where a place was written more than once, only for the last."""
    if isinstance(place, Layout):
        return strided(buffer, place).copy()
    part = strided(buffer, place.layout)[place.numbers]
    return part if place.last is None else np.where(place.last, part, 0)


def _clear(buffer: Any, place: Place) -> None:
    if isinstance(place, Layout):
        strided(buffer, place)[...] = 0
    else:
        strided(buffer, place.layout)[place.numbers] = 0


def _add(buffer: Any, place: Place, part: Any) -> None:
    if isinstance(place, Layout):
        if 0 in place.strides:
            place, part = _summed(place, part)
        view = strided(buffer, place)
        view += part
        return
    flat = strided(buffer, place.layout)
    if type(flat) is np.ndarray:
        np.add.at(flat, place.numbers, part)
    else:
        numbers, which = np.unique(place.numbers.reshape(-1), return_inverse=True)
        if TRACERS and (found := tracer()) is not None:
            found.follow(place.numbers, numbers, which)
        flat[numbers] += scattered(part.reshape(-1), which, numbers.shape)


def _summed(layout: Layout, part: Any) -> tuple[Layout, Any]:
    """A layout without its axes of stride 0, along which it names one place again and again, and the sum over them."""
    kept = [i for i, (n, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)) if stride or n < 2]
    again = tuple(i for i in range(len(layout.shape)) if i not in kept)
    shape, strides = tuple(layout.shape[i] for i in kept), tuple(layout.strides[i] for i in kept)
    return Layout(layout.offset, shape, strides, layout.dtype), part.sum(axis=again)


class Account:
    """The cotangent of a buffer's state: a buffer, and parts still to be added to it."""

    __array_ufunc__ = None
    __slots__ = ("buffer", "parts", "spec", "waiting")
    size = 0

    def __init__(self, spec: Any, buffer: Any = None, parts: Sequence[tuple[Place, Any]] = ()) -> None:
        self.spec = spec  # of the whole buffer, as one axis
        self.buffer, self.parts = buffer, list(parts)
        self.waiting = sum(part.size for _place, part in parts)

    def __add__(self, other: "Account") -> "Account":
        if other.buffer is not None:  # A state that two writes came after: threads wrote at once.
            self.buffer = other.buffer if self.buffer is None else self.buffer + other.buffer
        self.parts += other.parts
        self.waiting += other.waiting
        if self.waiting >= self.spec.size:
            self.settled()
        return self

    def settled(self) -> Any:
        """The buffer, with everything added to it."""
        if self.buffer is None:
            like = self.parts[0][1]
            if isinstance(like, (np.ndarray, np.generic)):
                self.buffer = np.zeros(self.spec.shape, self.spec.dtype)
            else:
                self.buffer = np.zeros(self.spec.shape, self.spec.dtype, like=like)
        for place, part in self.parts:
            _add(self.buffer, place, part)
        self.parts.clear()
        self.waiting = 0
        return self.buffer


class Step(Known):
    """An entry's ``known`` where the entry is no operation, but a read or a write of a buffer."""

    __slots__ = ("pairs",)

    def __init__(self, name: str, pairs: Callable[..., Iterable[tuple[Any, Any]]]) -> None:
        super().__init__("storage", None)
        self.name = name
        self.pairs = pairs  # (g, y, operands, wanted) -> pairs (parent, cotangent), as pulls.cotangents gives them


def _read_pairs(g: Any, place: Place, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Of the spec of the buffer and a state: a part of the state as an array."""
    yield wanted[0], Account(operands[0], None, [(place, g)])


def _write_pairs(g: Any, place: Place, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Of the specs and entries of a value and of the buffer in its state before: the next state."""
    (value, _spec), (value_entry, before) = operands, wanted
    buffer = g.settled()
    if value_entry is not None:
        yield value_entry, _as_written(_read(buffer, place), value)
    if before is not None:
        _clear(buffer, place)
        yield before, g  # Settled, and nobody else's.


def _open_pairs(g: Any, layout: Layout, _operands: Any, wanted: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """Of the spec of an array and its entry: the array as the first state of a buffer."""
    yield wanted[0], strided(g.settled(), layout)


def step(position: int, known: Step, place: Place, *operands_and_parents: Any) -> list[Any]:
    """The entry of a read or a write; the place stands where others have their output."""
    return [position, known, place, (), None, None, *operands_and_parents]


READ = Step("a view of a written array", _read_pairs)
WRITE = Step("t[index] = value", _write_pairs)
OPEN = Step("a written array", _open_pairs)


def _as_written(c: Any, value: Any) -> Any:
    """The cotangent of a value that was broadcast and cast when it was written."""
    shape = value.shape
    while len(shape) > c.ndim:  # NumPy drops leading ones.
        shape = shape[1:]
    c = unbroadcast(c, shape)
    if c.shape != value.shape:
        c = c.reshape(value.shape)
    return c if c.dtype == value.dtype else cast(c, value.dtype)


def is_part(known: Known, operand: Any) -> bool:
    """Whether an entry reads a small part of a large array, so that its cotangent is kept as a piece."""
    return known.function is operator.getitem and operand.size > FEW
