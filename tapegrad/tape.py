"""The tape: what an entry holds, how backward() replays it, and why nothing leaks.

**An entry** is made for every operation on a recording tensor. It holds what its rule will read, and
the entries that it came from: its parents. The tensor holds its entry; entries hold their parents;
nothing holds a tensor. So whatever no tensor depends on any longer is freed at once, whether or not
anyone ever calls ``backward()``. Each entry has a position. Positions *fall*, so that the newest entry
has the smallest, which is the one that ``heapq`` pops first; together they are the global tape.

An entry is a flat list, and its length tells what it is (making one is the dearest part of recording;
a list costs a third of an object, and can be emptied as the sweep passes):

    [position]                                                  spent: an earlier sweep freed it
    [position, leaf]                                            a leaf, where a gradient ends up
    [position, hooks, entry]                                    an entry with hooks on its cotangent
    [position, index, count, entry]                             an output of an entry with several
    [position, known, y, x, parent]                             elementwise, one real operand
    [position, known, y, operands, parameters, parents]         anything
    [position, known, y, a, b, parent_a, parent_b]              elementwise, two alike real operands

``known`` is what the table says of the function. Where its rule doesn't read y or an operand, the spec
(shape and dtype) stands in for it. A parent is None where the operand doesn't record.

**The sweep** starts with one cotangent, that of the root, and visits what the root depends on, newest
first: by the time an entry is popped, everything that uses its value has been visited, so the sum of
what arrived is its whole cotangent, and its rule turns it into one for each parent. No recursion;
each entry and each edge once. Cotangents belong to the sweep, not to the entries: threads may
share a graph, sweeps may nest, and an error leaves nothing behind.

**Trust.** The strong zero (pulls.py) asks for a look at every slope, which small operations can't
afford. But 0 * inf is nan, and a nan reaches whatever is pending, unless something drops it that drops
a 0 too. So the sweep goes ahead without looking, and at intervals asks whether all that is pending
is finite. If so, no strong zero was missed; what was passed is freed, and this is the new safe point.
If not, it goes back to the last safe point and from there on looks at every slope.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tapegrad.borrowed import Borrowed
from tapegrad.errors import RecordingError
from tapegrad.pulls import cotangents, finite

Entry = list[Any]
Lift = Callable[[Any, Entry | None], Any]

POSITIONS = itertools.count(-1, -1)
LARGE = 1 << 14  # elements: from here on an operation costs more than a look at its result
INTERVAL = 8  # large entries between two looks


class Leaf:
    """Where a gradient ends up: the spec of its tensor, and the gradient so far."""

    __slots__ = ("grad", "spec")

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.grad: Any = None


class Outputs(list[Any]):
    """The cotangents of an entry with several outputs, None for those that nobody used."""

    size = 0


def replay(root: Entry, seed: Any, keep: bool, lift: Lift | None = None) -> list[tuple[Leaf, Any]]:
    """Pull ``seed`` back from ``root`` to every leaf that it depends on: pairs (leaf, cotangent).

    keep : leave the entries as they are; otherwise each is emptied once it has been passed
    lift : makes of (value, entry) something that records, so that the sweep itself is recorded; the
        entries are kept then
    Raises RecordingError where an entry is spent already, before anything is freed; whatever a rule or
    a hook raises passes unchanged.
    """
    sweep = _Sweep(root, seed, keep or lift is not None)
    with np.errstate(all="ignore"):
        if lift is not None or not sweep.trusting():
            sweep.carefully(lift)
    return sweep.totals


class _Sweep:
    """One replay: what is pending, in which order, and what has arrived at leaves."""

    def __init__(self, root: Entry, seed: Any, keep: bool) -> None:
        self.pending: dict[int, Any] = {root[0]: seed}  # position of an entry -> its cotangent so far
        self.queue: list[Entry] = [root]  # a heap: the newest first
        self.totals: list[tuple[Leaf, Any]] = []
        self.keep = keep
        self.intact = keep  # whether it is known that no entry ahead is spent

    def trusting(self) -> bool:
        """Replay without looking at slopes. False: met what isn't finite, and went back to a safe point."""
        pending, queue, totals = self.pending, self.queue, self.totals
        owned: set[int] = set()  # positions whose cotangent is a sum that this sweep made itself
        passed: list[Entry] = []
        safe, large = self._point(), 0
        heappop, heappush = heapq.heappop, heapq.heappush

        def give(parent: Entry, c: Any) -> None:
            position = parent[0]
            if position not in pending:
                pending[position] = c  # It may be somebody's array: never written to.
                heappush(queue, parent)
            elif position in owned:
                total = pending[position]
                total += c
                pending[position] = total  # A NumPy scalar was bound anew, an array added to.
            else:
                pending[position] = pending[position] + c
                owned.add(position)

        entry = queue[0]
        try:
            while queue:
                entry = heappop(queue)
                g = pending.pop(entry[0])
                newest = queue[0][0] if queue else 1
                while True:  # Down a chain, as long as the parent is newer than all that is pending.
                    if g.size > LARGE:
                        large += 1
                        if large > INTERVAL:
                            pending[entry[0]] = g
                            heappush(queue, entry)
                            if not self._settle(passed):
                                return self._back_to(safe)
                            safe, large = self._point(), 0
                            owned.clear()  # What the safe point holds must not be added to in place.
                            break
                    passed.append(entry)
                    form = len(entry)
                    if form == 7:
                        _, known, y, a, b, parent, other = entry
                        if other is None:
                            g = known.pull_a(g, y, a, b)
                        elif parent is None:
                            g = known.pull_b(g, y, a, b)
                            parent = other
                        else:
                            c = known.pull_b(g, y, a, b)
                            position = other[0]
                            if position in owned:
                                total = pending[position]
                                total += c
                                pending[position] = total
                            else:
                                give(other, c)
                                newest = queue[0][0]
                            g = known.pull_a(g, y, a, b)
                    elif form == 5:
                        _, known, y, x, parent = entry
                        g = known.pull(g, y, x)
                    elif form == 6:
                        _, known, y, operands, parameters, parents = entry
                        if type(operands) is Borrowed:
                            operands.unchanged(known.name)
                        for parent, c in cotangents(known, g, y, operands, parameters, parents, False):
                            give(parent, c)
                        break
                    elif form == 2:
                        totals.append((entry[1], g))
                        break
                    elif form == 4:
                        _, index, count, node = entry
                        _give_output(pending, queue, node, index, count, g)
                        break
                    elif form == 3:
                        pending[entry[0]] = g
                        heappush(queue, passed.pop())
                        if not self._settle(passed):
                            return self._back_to(safe)
                        passed.append(self._run_hooks())
                        safe, large = self._point(), 0
                        owned.clear()
                        break
                    else:
                        raise spent()
                    if parent[0] >= newest:
                        give(parent, g)
                        break
                    entry = parent
        except Exception as error:
            annotate(error, entry)
            raise
        return self._settle(passed) or self._back_to(safe)

    def carefully(self, lift: Lift | None) -> None:
        """Replay with a look at every slope; and with ``lift``, so that the sweep records itself."""
        self._require_intact()
        pending, queue = self.pending, self.queue
        entry: Entry = queue[0]
        try:
            while queue:
                entry = heapq.heappop(queue)
                g = pending.pop(entry[0])
                form = entry
                while len(form) == 3:  # Hooks; the entry itself is within.
                    g, form = form[1].run(g), form[2]
                if len(form) == 2:
                    self.totals.append((form[1], g))
                elif len(form) == 4:
                    _give_output(pending, queue, form[3], form[1], form[2], g)
                else:
                    for parent, c in _pulled(form, entry, g, lift):
                        position = parent[0]
                        if position in pending:
                            pending[position] = pending[position] + c
                        else:
                            pending[position] = c
                            heapq.heappush(queue, parent)
                if not self.keep:
                    free(entry)
        except Exception as error:
            annotate(error, entry)
            raise

    def _point(self) -> tuple[dict[int, Any], list[Entry], int]:
        return dict(self.pending), list(self.queue), len(self.totals)

    def _back_to(self, point: tuple[dict[int, Any], list[Entry], int]) -> bool:
        pending, queue, arrived = point
        self.pending.clear()
        self.pending.update(pending)
        self.queue[:] = queue
        del self.totals[arrived:]
        return False

    def _settle(self, passed: list[Entry]) -> bool:
        """Whether all that is pending is finite; if so, what was passed is freed."""
        waiting = [*self.pending.values(), *(total for _leaf, total in self.totals)]
        for c in waiting:
            if type(c) is Outputs:
                if not all(finite(part) for part in c if part is not None):
                    return False
            elif not finite(c):
                return False
        if not self.keep:
            if self.queue:
                self._require_intact()
            for entry in passed:
                if len(entry) > 3:
                    del entry[1:]
                elif len(entry) == 3:
                    free(entry)
        passed.clear()
        return True

    def _require_intact(self) -> None:
        """Raise where anything ahead is spent: it has to be known before the first entry is freed."""
        if self.intact:
            return
        seen = {entry[0] for entry in self.queue}
        ahead = list(self.queue)
        while ahead:
            for parent in parents_of(ahead.pop()):
                if parent[0] not in seen:
                    seen.add(parent[0])
                    ahead.append(parent)
        self.intact = True


def _give_output(pending: dict[int, Any], queue: list[Entry], node: Entry, index: int, count: int, g: Any) -> None:
    if node[0] not in pending:
        pending[node[0]] = Outputs([None] * count)
        heapq.heappush(queue, node)
    pending[node[0]][index] = g


def _pulled(form: Entry, entry: Entry, g: Any, lift: Lift | None) -> Iterable[tuple[Entry, Any]]:
    known, y, operands, parameters, parents = parts(form)
    if type(operands) is Borrowed:
        operands.unchanged(known.name)
    if lift is not None:
        y = lift(y, entry)
        operands = tuple(lift(o, p) for o, p in zip(operands, parents, strict=True))
    return cotangents(known, tuple(g) if type(g) is Outputs else g, y, operands, parameters, parents, True)


def parts(form: Entry) -> tuple[Any, Any, tuple[Any, ...], dict[str, Any], tuple[Entry | None, ...]]:
    """An operation's entry as (known, y, operands, parameters, parents), whichever its form."""
    match form:
        case [_, known, y, x, parent]:
            return known, y, (x,), {}, (parent,)
        case [_, known, y, a, b, parent_a, parent_b]:
            return known, y, (a, b), {}, (parent_a, parent_b)
        case [_, known, y, operands, parameters, parents]:
            return known, y, operands, parameters, parents
    raise spent()


def parents_of(entry: Entry) -> Iterable[Entry]:
    """The entries that this one came from; raises RecordingError where it is spent."""
    match entry:
        case [_, _leaf]:
            return ()
        case [_, _hooks, inner]:
            return parents_of(inner)
        case [_, _index, _count, node]:
            return (node,)
    return [parent for parent in parts(entry)[4] if parent is not None]


def unhooked(entry: Entry) -> Entry:
    """The entry itself, where hooks stand around it."""
    while len(entry) == 3:
        entry = entry[2]
    return entry


def leaf_of(entry: Entry) -> Leaf | None:
    """The leaf, where the entry is one."""
    entry = unhooked(entry)
    return entry[1] if len(entry) == 2 else None


def free(entry: Entry) -> None:
    """Empty an entry that a sweep has passed; leaves stay, since they may be used again."""
    if leaf_of(entry) is None:
        if len(entry) == 3:
            free(entry[2])
        del entry[1:]


def spent() -> RecordingError:
    """The error for a sweep that meets an entry which an earlier one freed."""
    return RecordingError(
        "backward: part of this graph was replayed before, and freed; "
        "give the earlier backward() retain_graph=True to replay it again"
    )


def annotate(error: Exception, entry: Entry) -> None:
    """Say in a note on the error which operation was being replayed."""
    entry = unhooked(entry)
    if len(entry) >= 5 and not isinstance(error, RecordingError):
        known, _y, operands, parameters, _parents = parts(entry)
        given = ", ".join(str(getattr(o, "shape", o)) for o in operands)
        where = f", at {parameters.where}" if isinstance(parameters, Located) else ""
        error.add_note(f"while replaying {known.name} of operands {given}{where}")


class Located(dict[str, Any]):
    """The parameters of an entry that was recorded under ``tg.debug()``, with the line that did."""

    where: str
