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
    [position, known, y, x, parameters, parent]                 one operand
    [position, pair, y, a, b, parent_a, parent_b]               two real operands: elementwise and alike, or small
    [position, known, y, parameters, watched, where, *operands, *parents]   anything

``known`` is what the table says of the function, ``pair`` its pulls for two operands (pairs.py). Where its
rule doesn't read y or an operand, the spec (shape and dtype) stands in for it. A parent is None where the
operand doesn't record. ``watched`` are large arrays of the user's (borrowed.py), ``where`` tells the line
that recorded it: of what is the user's own, of a checkpoint, and under ``tg.debug()`` of anything.

**The sweep** starts with one cotangent, that of the root, and visits what the root depends on, newest
first: by the time an entry is popped, everything that uses its value has been visited, so the sum of
what arrived is its whole cotangent, and its rule turns it into one for each parent. No recursion;
each entry and each edge once. Cotangents belong to the sweep, not to the entries: threads may
share a graph, sweeps may nest, and an error leaves nothing behind. What one small operand gets from many
entries may be owed for a while, to be made many at a time (owed.py), and what comes by index be put
together at the end (pieces.py).

**Trust.** The strong zero (pulls.py) asks for a look at every slope, which small operations can't
afford. But 0 * inf is nan, and a nan reaches whatever is pending, unless something drops it that drops
a 0 too. So the sweep goes ahead without looking, and at intervals asks whether all that is pending
is finite (unless all rules that ran would run the same under care, as a sum's does, and the look is dear).
If so, no strong zero was missed; what was passed is freed, and this is the new safe point.
If not, it goes back to the last safe point and from there on looks at every slope.
"""

import heapq
from collections.abc import Mapping, Sequence
from operator import getitem
from typing import Any

import numpy as np

from tapegrad.careful import carefully, takes_care
from tapegrad.entries import Entry, Leaf, Lift, Outputs, annotate, give_output, held_once_by, require_intact, spent
from tapegrad.owed import BLOCK, Owed, Shelf, owes
from tapegrad.pieces import FEW, Account, Pieces, give_piece
from tapegrad.pulls import finite, held_once, pull_large, pulled_trusting, settled
from tapegrad.recording import STATE
from tapegrad.shapes import MANY

NO_TARGETS: Mapping[int, Leaf] = {}
INTERVAL = 8  # large entries between two looks


def replay(
    roots: Sequence[tuple[Entry, Any]], keep: bool, lift: Lift | None = None, targets: Mapping[int, Leaf] = NO_TARGETS
) -> list[tuple[Leaf, Any]]:
    """Pull seeds back from ``roots``, pairs (entry, seed), to every leaf: pairs (leaf, cotangent).

    keep : leave the entries as they are; otherwise each is emptied once it has been passed
    lift : makes of (value, entry) something that records, so that the sweep itself is recorded; the
        entries are kept then
    targets : by position, entries to stop at, as if they were leaves; what is older than all of them
        is not visited
    Raises RecordingError where an entry is spent already, before anything is freed; whatever a rule or
    a hook raises passes unchanged.
    """
    sweep = Sweep(roots, keep or lift is not None)
    with np.errstate(all="ignore"):
        if lift is not None or targets or STATE.get().debugging or not sweep.trusting():
            carefully(sweep, lift, targets)
    return sweep.totals


class Sweep:
    """One replay: what is pending, in which order, and what has arrived at leaves."""

    def __init__(self, roots: Sequence[tuple[Entry, Any]], keep: bool) -> None:
        self.pending: dict[int, Any] = {}  # position of an entry -> its cotangent so far
        self.queue: list[Entry] = []  # a heap: the newest first
        for root, seed in roots:
            if root[0] in self.pending:
                self.pending[root[0]] = self.pending[root[0]] + seed
            else:
                self.pending[root[0]] = seed
                heapq.heappush(self.queue, root)
        self.totals: list[tuple[Leaf, Any]] = []
        self.keep = keep
        self.intact = False  # whether it is known that no entry ahead is spent
        self.given: list[int] = []  # positions whose cotangent changed since the safe point
        self.arrived = 0  # how many totals had arrived at the safe point
        self.several: set[int] = set()  # positions of entries with several outputs
        self.hooked: dict[int, Any] = {}  # what hooks made of cotangents since the safe point: they run once

    def trusting(self) -> bool:
        """Replay without looking at slopes. False: met what isn't finite, and went back to a safe point."""
        pending, queue, totals, given = self.pending, self.queue, self.totals, self.given
        owned: set[int] = set()  # positions whose cotangent is a sum that this sweep made itself
        passed: list[Entry] = []
        shelf = Shelf()
        waiting: Any = None  # an entry and its cotangent, to go on with after one that only owes
        safe, large = self._point(), 0
        heappop, heappush = heapq.heappop, heapq.heappush

        def give(parent: Entry, c: Any, mine: bool = False) -> None:
            position = parent[0]
            if position in owned:
                total = pending[position]
                total += c
                pending[position] = total  # A NumPy scalar was bound anew, an array added to.
                return
            given.append(position)
            if position not in pending:
                pending[position] = c  # It may not be ours, and isn't written to.
                heappush(queue, parent)
            else:
                total = pending[position]
                if mine and type(total) is np.ndarray:  # One large array fewer.
                    c += total
                elif c.size > MANY and held_once(total, besides=1):
                    total += c
                    c = total
                else:
                    c = total + c
                pending[position] = c
                owned.add(position)

        entry: Any = queue[0]
        parent: Any
        again: Any
        later: Any
        try:
            while queue:
                entry = heappop(queue)
                g = pending.pop(entry[0])
                newest = queue[0][0] if queue else 1
                while True:  # Down a chain, as long as the parent is newer than all that is pending.
                    if g.size > MANY:
                        if type(g) is Pieces or type(g) is Owed:
                            g = g.whole()
                        large += 1
                        if large > INTERVAL + len(pending) // 64:  # Looking costs no more than sweeping.
                            pending[entry[0]] = g
                            given.append(entry[0])
                            heappush(queue, entry)
                            if not self._settle(passed):
                                return self._back_to(safe)
                            if Account in map(type, pending.values()):
                                return False  # Filled in place: no way back from here on.
                            safe, large = self._point(), 0
                            owned.clear()  # What the safe point holds must not be added to in place.
                            break
                        if len(entry) in (5, 7) and g.size > MANY:  # Pieces may have come to few.
                            passed.append(entry)
                            mine = held_once(g)
                            parent, g = pull_large(entry, g, mine, give)
                            newest = queue[0][0] if queue else 1
                            if parent[0] >= newest:
                                mine = held_once(g)
                                give(parent, g, mine)
                                break
                            entry = parent
                            continue
                    passed.append(entry)
                    form = len(entry)
                    if form == 7:
                        _, pair, y, a, b, parent, other = entry
                        again = later = None  # a parent whose cotangent is a sum by now, which this may wait for
                        if pair.later_b is not None and other is not None and other[0] in owned:
                            again, other, later = other, None, pair.later_b
                        elif pair.later_a is not None and parent is not None and parent[0] in owned:
                            again, parent, later = parent, None, pair.later_a
                        if again is not None:
                            total = pending[again[0]]
                            if type(total) is not Owed:
                                pending[again[0]] = total = Owed(total, shelf)
                            if total.later is not later:
                                total.turn(later)
                            kept = total.kept
                            kept.append((g, y, a, b))
                            full = len(kept) >= BLOCK
                            if full:
                                total.whole()
                            if parent is None:
                                if other is None:
                                    if waiting is None:
                                        break
                                    (entry, g), waiting = waiting, None
                                    continue
                            elif b is total.operand:
                                b = total.columns
                            elif full:
                                total.meet(b)
                        if other is None:
                            g = pair.pull_a(g, y, a, b)
                        elif parent is None:
                            g = pair.pull_b(g, y, a, b)
                            parent = other
                        else:
                            c = pair.pull_b(g, y, a, b)
                            g = pair.pull_a(g, y, a, b)
                            place = 6
                            if other[0] < parent[0]:  # On to the newer; the other waits.
                                other, parent, c, g = parent, other, g, c
                                place = 5
                            position = other[0]
                            if position in owned:
                                total = pending[position]
                                total += c
                                pending[position] = total
                            elif position in pending:
                                give(other, c)
                            elif (
                                len(other) == 7
                                and parent[0] < newest
                                and owes(other, owned)
                                and held_once_by(entry, place)
                            ):  # Nothing else will reach the other, which has only to owe: it needn't be queued.
                                waiting = parent, g
                                entry, g = other, c
                                continue
                            else:
                                given.append(position)
                                pending[position] = c
                                heappush(queue, other)
                                newest = queue[0][0]
                    elif form == 5:
                        _, known, y, x, parent = entry
                        g = known.pull(g, y, x)
                    elif form == 6:
                        _, known, y, x, parameters, parent = entry
                        if x.size > FEW and known.function is getitem:
                            give_piece(pending, queue, parent, Pieces(x, [(parameters, g)]), owned)
                            given.append(parent[0])
                            self.several.add(parent[0])
                            break
                        c = known.pull(g, y, (x,), parameters)
                        if type(c) is not np.ndarray or c.shape != x.shape or c.dtype is not x.dtype:
                            c = settled(known, c, x, g)
                            if c is None:
                                break
                        g = c
                    elif form >= 8:
                        parent = None
                        for other, c in pulled_trusting(entry, g):
                            if parent is None or other[0] < parent[0]:  # On to the newest; the others wait.
                                other, parent, c, g = parent, other, g, c
                            if other is not None:
                                give(other, c)
                        if parent is None:
                            break
                        newest = queue[0][0] if queue else 1
                    elif form == 2:
                        totals.append((entry[1], g))
                        break
                    elif form == 4:
                        _, index, count, node = entry
                        give_output(pending, queue, node, index, count, g)
                        given.append(node[0])
                        self.several.add(node[0])
                        break
                    elif form == 3:
                        _, hooks, inner = entry
                        if not finite(g):  # Hooks see no nan that a strong zero would have spared.
                            return self._back_to(safe)
                        self._require_intact(inner)
                        g = hooks.run(g)
                        self.hooked[entry[0]] = g
                        passed.pop()  # Once what is within has been passed, and emptied, all of it counts as spent.
                        entry = inner
                        continue
                    else:
                        raise spent()
                    position = parent[0]
                    if position >= newest:
                        if position in pending:
                            give(parent, g)
                        else:
                            given.append(position)
                            pending[position] = g
                            heappush(queue, parent)
                        break
                    entry = parent
        except Exception as error:
            if not (finite(g) and all(map(finite, self._news()))):
                return self._back_to(safe)  # Perhaps a rule that can't bear nan: it will raise again if not.
            annotate(error, entry)
            raise
        return self._settle(passed) or self._back_to(safe)

    def _point(self) -> tuple[dict[int, Any], list[Entry], int]:
        pending = dict(self.pending)
        for position in self.several:  # The sweep goes on to fill these in place.
            if type(pending.get(position)) in (Outputs, Pieces):
                pending[position] = pending[position].copy()
        return pending, list(self.queue), len(self.totals)

    def _back_to(self, point: tuple[dict[int, Any], list[Entry], int]) -> bool:
        pending, queue, arrived = point
        self.pending.clear()
        self.pending.update(pending)
        self.queue[:] = queue
        del self.totals[arrived:]
        return False

    def _settle(self, passed: list[Entry]) -> bool:
        """Whether all that is pending is finite, or more care would change nothing; then what was passed is freed."""
        news = self._news()
        spared = any(g.size > MANY for g in news) and not any(map(takes_care, passed))
        if not (spared or all(map(finite, news))):
            return False
        if not self.keep:
            if self.queue:
                self._require_intact()
            for entry in passed:
                if len(entry) > 3:
                    del entry[1:]
        passed.clear()
        self.hooked.clear()
        return True

    def _news(self) -> list[Any]:
        """The cotangents that changed since the last look, and wait, or have arrived."""
        changed = []
        for position in set(self.given) & self.pending.keys():
            g = self.pending[position]
            if type(g) is Owed:
                self.pending[position] = g = g.whole()
            changed.append(g)
        arrived = [total for _leaf, total in self.totals[self.arrived :]]
        self.given.clear()
        self.arrived = len(self.totals)
        return changed + arrived

    def _require_intact(self, *present: Entry) -> None:
        """Raise where anything ahead is spent: to be known before an entry is freed, or a hook runs."""
        if self.intact:
            return
        require_intact([*self.queue, *present])
        self.intact = True
