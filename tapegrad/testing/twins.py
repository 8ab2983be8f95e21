"""Twins: a tensor and the cells that say what it should be, and what a machine keeps of all of them.

``Twins`` is what the rules of ``GradientMachine`` (stateful.py) are made of: it makes twins, follows writes, knows
what was freed, and compares.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis.stateful import multiple

import tapegrad as tg
from tapegrad.errors import TapegradError, WriteError
from tapegrad.testing.cells import Cell, constant_cells, pulled, values_of
from tapegrad.testing.check import GradientError

TOLERANCE = 1e-9  # relative to the largest number in a sweep; the two sum in different orders
LARGEST = 50.0  # values beyond are not gone on with: the numbers that check a gradient stay well scaled
ELEMENTS = 24  # in one array


class Node:
    """One step of a recording, of whole arrays: more may be freed with a root than its gradient goes through."""

    def __init__(self, *parents: "Node", leaf: bool = False) -> None:
        self.parents, self.leaf = parents, leaf
        self.spent = False  # whether it may have been freed: something that may depend on it was
        self.replayed = False  # whether it was freed itself

    @staticmethod
    def line(*nodes: "Node") -> Iterator["Node"]:
        """All that these may depend on, they too."""
        seen: set[int] = set()
        ahead = list(nodes)
        while ahead:
            node = ahead.pop()
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                ahead.extend(node.parents)


@dataclass
class Family:
    """Arrays that share their memory."""

    state: Node
    leaf: bool = False  # whether it is that of a leaf, to which nothing recorded may be written
    written: bool = False
    records: bool = False


@dataclass(eq=False)
class Twin:
    """A tensor, and the cells that say what it should be."""

    tensor: Any
    model: Any
    family: Family
    node: Node
    view: bool = False
    gradient: Any = None  # of a leaf: what .grad should hold; None: nothing has arrived
    hooks: list[Any] = field(default_factory=list)

    @property
    def is_scalar(self) -> bool:
        """Whether it is immutable, as NumPy's scalars are."""
        return not isinstance(self.model, np.ndarray)

    @property
    def cells(self) -> list[Cell]:
        """Its cells in order."""
        return [self.model] if self.is_scalar else list(self.model.flat)

    @property
    def owner(self) -> Any:
        """Of a leaf: what its slots belong to."""
        return self.cells[0].slot[0]

    def __repr__(self) -> str:
        return f"<twin of shape {self.tensor.shape}>"


class Twins:
    """All twins of one run, and what should be true of them."""

    def __init__(self) -> None:
        self.made: list[Twin] = []
        self.marks: list[tuple[str, Any]] = []
        self.held: list[tuple[Any, Any]] = []  # arrays that were given out, and copies of what they held

    @property
    def recording(self) -> bool:
        """Whether operations are recorded, by the marks that are left."""
        switches = [name for name, _mark in self.marks if name != "debug"]
        return not switches or switches[-1] == "enable_grad"

    def fault(self, message: str) -> GradientError:
        """The error of a machine whose twins differ."""
        return GradientError(f"GradientMachine: {message}")

    def keep(self, tensor: Any, model: Any, *operands: Twin, view: bool = False, records: bool | None = None) -> Any:
        """A new twin; nothing where its numbers are too large to go on with."""
        if records is None:
            records = self.recording and any(self.records(a) for a in operands)
        if records and not getattr(tensor, "requires_grad", True) and any(a.family.written for a in operands):
            self.require_constant(model)  # All that recorded was overwritten.
            records = False
        if not records and not view:
            model = constant_cells(model)
        node = Node(*(n for a in operands for n in (a.node, a.family.state)))
        twin = Twin(tensor, model, operands[0].family if view else Family(node, records=records), node, view)
        if not isinstance(tensor, tg.Tensor):
            raise self.fault(f"a {type(tensor).__name__} came out, not a tensor")
        if tensor.shape != np.shape(model):
            raise self.fault(f"shape {tensor.shape} came out, not {np.shape(model)}")
        if not twin.family.written and tensor.requires_grad != records:
            raise self.fault(f"requires_grad is {tensor.requires_grad}, and should be {records}")
        self.made.append(twin)
        return twin

    def records(self, twin: Twin) -> bool:
        """Whether operations on it are recorded."""
        return twin.family.leaf or twin.family.records

    def called(self, f: Callable[..., Any], *operands: Twin, reference: Callable[..., Any] | None = None) -> Any:
        """The twin of ``f`` on tensors; the model of it is ``reference`` on arrays of cells, or ``f`` itself."""
        model = self.model_of(reference or f, *operands)
        if model is None:
            return multiple()
        return self.keep(f(*(a.tensor for a in operands)), model, *operands)

    def model_of(self, f: Callable[..., Any], *operands: Twin) -> Any:
        """What ``f`` makes of the cells; None where NumPy refuses, or the numbers become too large."""
        try:
            model = f(*(a.model for a in operands))
        except (ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError):
            return None
        values = values_of(model)
        small = values.size <= ELEMENTS and np.max(np.abs(values), initial=0.0) <= LARGEST
        return model if small and values.size else None

    def line_may_be_spent(self, twin: Twin) -> bool:
        """Whether some of what it may depend on has been freed."""
        return any(node.spent for node in Node.line(twin.node, twin.family.state))

    def seed_of(self, twin: Twin, seed: float) -> Any:
        """A cotangent that is different at each element."""
        shape = twin.tensor.shape
        return np.asarray(seed + 0.25 * np.arange(float(np.prod(shape, dtype=int))).reshape(shape))

    def arriving(self, twin: Twin, seed: Any) -> dict[Any, Cell]:
        """What a sweep from here brings to each slot."""
        return pulled((c, Cell(s)) for c, s in zip(twin.cells, np.ravel(seed), strict=True))

    def leaves(self) -> list[Twin]:
        """The leaves; not their views."""
        return [a for a in self.made if a.family.leaf and not a.view]

    def bring(self, arrived: dict[Any, Cell], times: int = 1) -> None:
        """Add to what ``.grad`` should hold."""
        for leaf in self.leaves():
            for i in range(leaf.tensor.size):
                if (leaf.owner, i) in arrived:
                    if leaf.gradient is None:
                        leaf.gradient = np.zeros(leaf.tensor.size)
                    leaf.gradient[i] += times * arrived[leaf.owner, i].value

    def differs(self, given: Any, expected: Any) -> bool:
        """Whether two arrays of numbers aren't the same, to rounding."""
        scale = 1.0 + float(np.max(np.abs(expected), initial=0.0))
        return given.shape != expected.shape or not np.allclose(given, expected, rtol=TOLERANCE, atol=TOLERANCE * scale)

    def look_at(self, twin: Twin) -> None:
        """Compare a tensor's value with its model's."""
        given, expected = twin.tensor.numpy(), values_of(twin.model)
        if self.differs(np.asarray(given), np.asarray(expected)):
            raise self.fault(f"a tensor holds {given!r}, and should hold {expected!r}")

    def has_grads_as_before(self, before: list[Any]) -> None:
        """After an exception, every ``.grad`` is what it was: the same array."""
        now = [leaf.tensor.grad for leaf in self.leaves()]
        if any(a is not b for a, b in zip(before, now, strict=True)):
            raise self.fault("an exception left a .grad changed")

    def wrote(self, a: Twin, index: Any, value: Any, *sources: Twin) -> None:
        """Put cells into the model; a leaf's stay a leaf's, and under ``no_grad`` the others become constants."""
        if a.family.leaf:
            places: Any = np.empty(a.model.shape, object)
            places[...] = a.model
            assigned(places, index, value)
            for i in np.ndindex(a.model.shape):
                if places[i] is not a.model[i]:
                    new = Cell(places[i].value, slot=a.model[i].slot)
                    new.hooks = a.model[i].hooks
                    a.model[i] = new
        elif self.recording:
            a.family.records = a.family.records or any(self.records(b) for b in sources)
            assigned(a.model, index, value)
        else:
            assigned(a.model, index, constant_cells(value))
        a.family.written = True
        if not a.family.leaf:
            a.family.state = Node(a.family.state, *(n for b in sources for n in (b.node, b.family.state)))

    def refuses(self, step: Callable[[], Any], a: Twin) -> None:
        """The step raises, and changes nothing."""
        before = a.tensor.numpy().tobytes()
        try:
            step()
        except WriteError:
            if a.tensor.numpy().tobytes() != before:
                raise self.fault("a write was refused, and changed the value") from None
        else:
            raise self.fault("a write to a leaf wasn't refused")

    def require_constant(self, model: Any) -> None:
        """What doesn't record must have no derivative."""
        seeds = ((c, Cell(1.0 + 0.25 * i)) for i, c in enumerate(np.ravel(model)))
        if any(abs(total.value) > TOLERANCE for total in pulled(seeds).values()):
            raise self.fault("a result records nothing, and has a derivative")

    def shares(self, a: Twin) -> bool:
        """Whether a cell of it is another one's, or its own twice: then a factor of it isn't that of the value."""
        numbers = [c.number for c in a.cells]
        others = {c.number for b in self.made if b.family is not a.family for c in b.cells}
        return len(set(numbers)) < len(numbers) or bool(others & set(numbers))

    def transformed(self, result: Any, model: Any, *operands: Twin) -> Any:
        """A tensor where an operand records; otherwise plain, and looked at here and now."""
        if self.recording and any(a.tensor.requires_grad for a in operands):
            return self.keep(result, model, *operands, records=True)
        if isinstance(result, tg.Tensor):
            raise self.fault("a transform gave a tensor where nothing records")
        if self.differs(np.asarray(result), np.asarray(values_of(model))):
            raise self.fault(f"tg.grad gave {result!r} instead of {values_of(model)!r}")
        return multiple()

    def share_nothing(self) -> None:
        """No gradient shares memory with a value."""
        for leaf in self.leaves():
            if isinstance(leaf.tensor.grad, np.ndarray):
                if not leaf.tensor.grad.flags.writeable:
                    raise self.fault("a gradient is read-only")
                if any(np.shares_memory(leaf.tensor.grad, twin.tensor.numpy()) for twin in self.made):
                    raise self.fault("a gradient shares memory with a value")


def is_alone(a: Twin) -> bool:
    """Whether it has no axes, and no array of which it is a view: NumPy has two kinds of those, cells only one."""
    return not a.tensor.shape and not a.view


def assigned(model: Any, index: Any, value: Any, copied: bool = False) -> Any:
    """The model, or a copy of it, with a value assigned to a part."""
    if copied:
        model = model.copy()
    # Of one element a view: assigned to the element itself, an array would become the object that stands there.
    model[(index, ...) if type(index) is int else index] = value
    return model


def in_threads(*tasks: Callable[[], Any]) -> list[Any]:
    """Each task in a thread of its own, all at once; the results in order, or the first exception."""
    start = threading.Barrier(len(tasks))
    results: list[Any] = [None] * len(tasks)
    errors: list[TapegradError] = []

    def run(i: int) -> None:
        start.wait()
        try:
            results[i] = tasks[i]()
        except TapegradError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
