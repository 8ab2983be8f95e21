"""Reruns: functions run again, in the sweep back, on the values that they had, so that nothing else need be kept.

A function that is to be run again may read recording tensors that aren't its arguments. They are found where it is
run first: in the graph of that run, which is dropped afterwards, they are the entries older than the run. They
become parents as the arguments do, so that nothing is lost; the run in the sweep must come upon the same ones, with
the same values, and give the same results (a sample of each is compared). Otherwise ``ChangedDataError`` is raised.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.dispatch import make
from tapegrad.entries import POSITIONS, Entry, Leaf, Lift, leaf_of
from tapegrad.errors import ChangedDataError, WriteError
from tapegrad.kinds import Known
from tapegrad.pieces import OPEN, READ, WRITE, Step
from tapegrad.primitive import TABLE
from tapegrad.recording import enable_grad
from tapegrad.shapes import Spec, spec_of
from tapegrad.tape import replay
from tapegrad.tensor import Tensor

_IDENTITY = TABLE[np.positive]
_SAMPLED = 64  # elements of each result that are compared with those of the first run
_TRANSPARENT = (READ, OPEN)  # made anew whenever a written tensor is looked at, and not by who looks


def identity(spec: Spec, outer: Entry) -> Entry:
    """An entry of the value of another one."""
    if spec.dtype.kind == "c":
        return [next(POSITIONS), _IDENTITY, spec, (), None, None, spec, outer]
    return [next(POSITIONS), _IDENTITY, spec, spec, outer]


class Captured:
    """The entries older than a run that its results depend on, beside its arguments."""

    def __init__(self, name: str) -> None:
        self.name = name  # of the function, in errors
        self.entries: dict[int, Entry] = {}
        self.values: dict[int, Any] = {}  # what was read there, where it is known
        self.written = False  # whether one of them is a state of a written buffer

    def look(self, ends: Iterable[Entry], start: int, stops: Collection[int] = (), new_leaves: bool = True) -> None:
        """Add what these entries came from and is older than ``start``; the positions ``stops`` end the search.

        new_leaves : add leaves whatever their age: they may have been made to be kept
        Raises WriteError where the run wrote to a tensor that isn't its own.
        """
        seen = set(stops)
        ahead: list[tuple[Entry, Any]] = [(end, None) for end in ends]
        push = ahead.append
        entry: Any
        while ahead:
            entry, value = ahead.pop()
            while True:  # Down a chain; what branches off waits. (This is asked of every entry: speed counts.)
                position = entry[0]
                if position in seen:
                    break
                form = len(entry)
                if position > start and (form < 8 or entry[1] not in _TRANSPARENT):
                    if self._add(entry, value):
                        seen.add(position)
                    break
                seen.add(position)
                if form == 7:
                    _, _, _, value, b, parent, other = entry
                    if other is not None:
                        if parent is None:
                            value, parent = b, other
                        elif other[0] not in seen:
                            push((other, b))
                elif form == 5 or form == 6:
                    value, parent = entry[3], entry[-1]
                elif form >= 8:
                    middle = 3 + form // 2
                    parent = entry[middle]
                    for i in range(middle + 1, form):
                        other = entry[i]
                        if other is not None and other[0] not in seen:
                            push((other, entry[i + 3 - form // 2]))
                    if entry[1] is WRITE:
                        self._require_own(entry[-1], start, stops)
                    if parent is None:
                        break
                    value = entry[6]
                elif form == 4:
                    value, parent = None, entry[3]
                elif form == 3:
                    seen.discard(position)
                    value, parent = None, entry[2]
                else:  # A leaf, or spent.
                    if new_leaves:
                        self._add(entry, value)
                    break
                entry = parent

    def _add(self, entry: Entry, value: Any) -> bool:
        """Add an entry; return whether what was read there is known."""
        position = entry[0]
        if position not in self.entries:
            self.entries[position] = entry
            if len(entry) >= 8 and entry[1] is WRITE:
                self.written = True
        if position not in self.values and isinstance(value, (np.ndarray, np.generic)):
            self.values[position] = value
        return position in self.values

    def _require_own(self, before: Entry | None, start: int, stops: Collection[int]) -> None:
        if before is not None and len(before) >= 8 and before[1] is OPEN:
            before = before[-1]
        if before is not None and before[0] > start and before[0] not in stops:
            raise WriteError(
                f"{self.name} writes to a tensor that it didn't make; it is run again in the sweep back, and would "
                f"write again: work on a copy, and return it"
            )

    def require_same(self, found: "Captured", start: int, all_of_it: int = 0) -> None:
        """Raise ChangedDataError where another run, begun at ``start``, found something else.

        all_of_it : the position where the first run began: what is older must be found again; 0: need not be
        """
        for position, entry in found.entries.items():
            if position not in self.entries:
                if position <= start and leaf_of(entry) is not None:
                    continue  # A leaf of the run's own.
                raise _changed(self.name, "reads a recording tensor that it didn't read before")
            was, now = self.values.get(position), found.values.get(position)
            if was is not None and now is not None and was is not now and not np.array_equal(was, now, equal_nan=True):
                raise _changed(self.name, f"reads a tensor of shape {now.shape} that has been written to meanwhile")
        if all_of_it:
            for position in self.entries:
                if position > all_of_it and position not in found.entries:
                    raise _changed(self.name, "doesn't read a recording tensor that it read before")

    def specs(self) -> list[Spec]:
        """What stands for each value in an entry: its spec, where it is known."""
        return [self._spec(position, entry) for position, entry in self.entries.items()]

    def _spec(self, position: int, entry: Entry) -> Spec:
        leaf = leaf_of(entry)
        if leaf is not None:
            return leaf.spec  # type: ignore[no-any-return]
        return spec_of(self.values.get(position, np.float64(0)))


def _changed(name: str, what: str) -> ChangedDataError:
    return ChangedDataError(
        f"{name}, run again in the sweep back, {what}: between its call and backward() it must stay the same "
        f"function of its arguments"
    )


class Trace:
    """A run that is recorded on inputs of its own, and swept back."""

    def __init__(
        self, call: Callable[[list[Any]], Sequence[Any]], values: Sequence[Any], writable: bool = False
    ) -> None:
        """Run ``call(tensors)``, which returns the leaves of its result.

        values : of the inputs, arrays; or tensors, of which the cotangents are then functions
        writable : whether the run may write to its inputs, which are nobody else's
        """
        self.start = next(POSITIONS)
        self.leaves: list[Leaf] = []
        self.targets: dict[int, Leaf] = {}
        tensors = []
        for value in values:
            outer = value._entry if type(value) is Tensor else None
            array = value._value if type(value) is Tensor else value
            spec = spec_of(array)
            leaf = Leaf(spec)
            entry: Entry = [next(POSITIONS), leaf]
            if outer is not None:
                entry = identity(spec, outer)
            elif writable:
                entry = identity(spec, entry)
            self.leaves.append(leaf)
            self.targets[entry[0]] = leaf
            tensors.append(make(array, entry, spec))
        with enable_grad():
            self.outs = call(tensors)

    def ends(self, which: Sequence[int], like: Sequence[Any], name: str) -> list[Entry]:
        """The entries of some of the results; ChangedDataError where one isn't recorded, or isn't like it was.

        like : specs or arrays, of the shapes and dtypes
        """
        ends = []
        for i, spec in zip(which, like, strict=True):
            out = self.outs[i] if i < len(self.outs) else None
            if type(out) is not Tensor or out._entry is None or out.shape != spec.shape or out.dtype != spec.dtype:
                raise _changed(name, "gives another result")
            ends.append(out._entry)
        return ends

    def recorded_ends(self) -> list[Entry]:
        """The entries of all results that record."""
        return [out._entry for out in self.outs if type(out) is Tensor and out._entry is not None]

    def roots(self, cotangents: Sequence[Any]) -> list[tuple[Entry, Any]]:
        """Those entries, with the cotangents of the results."""
        pairs = zip(self.outs, cotangents, strict=True)
        return [(out._entry, c) for out, c in pairs if type(out) is Tensor and out._entry is not None]

    def look(self, name: str, ends: Iterable[Entry] | None = None) -> Captured:
        """What the results depend on beside the inputs; of some of them, given their entries."""
        captured = Captured(name)
        captured.look(self.recorded_ends() if ends is None else ends, self.start, self.targets)
        return captured

    def pulled(
        self, roots: Sequence[tuple[Entry, Any]], captured: Captured, lift: Lift | None, keep: bool = False
    ) -> tuple[list[Any], dict[int, Any]]:
        """What arrives at the inputs, None where nothing does; and at what was captured, by position.

        roots : pairs of an end and its cotangent
        lift : as of replay
        """
        roots = [(end, g) for end, g in roots if g is not None]
        if not roots:
            return [None] * len(self.leaves), {}
        # A sweep goes as far as the oldest of its targets; plain leaves alone need none. (A leaf without a spec
        # stands for somebody else's entry, whose hooks aren't to run yet: careful.py.)
        stops = {p: e[1] if len(e) == 2 else Leaf(None) for p, e in captured.entries.items()}
        found = {id(leaf): p for p, leaf in stops.items()}
        if lift is None:
            plain = [(end, g._value if type(g) is Tensor else g) for end, g in roots]
            targets = {} if all(len(e) == 2 for e in captured.entries.values()) else {**self.targets, **stops}
            totals = replay(plain, keep or captured.written, None, targets)
        else:
            with enable_grad():
                tensors = [(end, g if type(g) is Tensor else make(g, None)) for end, g in roots]
                totals = replay(tensors, True, lift, {**self.targets, **stops})
        arrived = {id(leaf): total for leaf, total in totals}
        at_captured = {found[key]: total for key, total in arrived.items() if key in found}
        return [arrived.get(id(leaf)) for leaf in self.leaves], at_captured


class Rerun(Step):
    """What the tape knows of an entry that is pulled back by running something again.

    ``pairs`` is a method here: as a slot that holds one, it would keep itself alive until Python looks for circles.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        Known.__init__(self, "rerun", None)
        self.name = name

    def pairs(self, g: Any, y: Any, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
        """Pairs (parent, cotangent)."""
        raise NotImplementedError


def mode_of(y: Any, gs: Iterable[Any], lifted: Lift, held: Lift) -> Lift | None:
    """How a sweep was asked to record itself, told from what it handed to an entry's pull."""
    if type(y) is Tensor or (type(y) is tuple and type(y[0]) is Tensor):
        return lifted
    return held if any(type(g) is Tensor for g in gs) else None


def sample(value: Any) -> Any:
    """Some of the elements of an array, spread over it; a copy."""
    if value.size <= _SAMPLED:
        return np.array(value)
    return value.reshape(-1)[:: value.size // _SAMPLED].copy() if value.flags.c_contiguous else _spread(value)


def _spread(value: Any) -> Any:
    numbers = np.arange(0, value.size, value.size // _SAMPLED)
    return value[np.unravel_index(numbers, value.shape)]


def require_alike(samples: Sequence[Any], outs: Sequence[Any], which: Sequence[int], name: str) -> None:
    """Raise ChangedDataError where results aren't what they were: to half the digits, since sums may go another way."""
    for was, i in zip(samples, which, strict=True):
        now = sample(outs[i]._value)
        bound = math.sqrt(np.finfo(was.dtype).eps) * np.max(np.absolute(was), initial=0.0, where=np.isfinite(was))
        with np.errstate(all="ignore"):
            alike = (was == now) | (np.absolute(was - now) <= bound) | ((was != was) & (now != now))
        if not alike.all():
            raise ChangedDataError(
                f"{name}, run again in the sweep back, gives another result: something that it reads was changed after "
                f"its call, or it draws at random from something else than NumPy's generators"
            )
