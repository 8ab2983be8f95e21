"""Entries: the lists that the tape is made of, and what can be asked of one.

The essay in tape.py says what they are for.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from sys import getrefcount
from types import CodeType
from typing import Any

from tapegrad.errors import RecordingError

Entry = list[Any]
Lift = Callable[[Any, Entry | None], Any]
Where = tuple[CodeType, int]  # a place in a user's program: the code, and where in it

POSITIONS = itertools.count(-1, -1)


class Leaf:
    """Where a gradient ends up: the spec of its tensor, and the gradient so far."""

    __slots__ = ("grad", "spec")

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.grad: Any = None


class Outputs(list[Any]):
    """The cotangents of an entry with several outputs, None for those that nobody used."""

    size = 0

    def copy(self) -> "Outputs":
        """The same, to go on from here."""
        return Outputs(self)


def parts(form: Entry) -> tuple[Any, Any, Sequence[Any], Any, Sequence[Entry | None]]:
    """An operation's entry as (known, y, operands, parameters, parents), whichever its form."""
    match len(form):
        case 5:
            _, known, y, x, parent = form
            return known, y, (x,), (), (parent,)
        case 6:
            _, known, y, x, parameters, parent = form
            return known, y, (x,), parameters, (parent,)
        case 7:
            _, pair, y, a, b, parent_a, parent_b = form
            return pair.known, y, (a, b), (), (parent_a, parent_b)
        case length if length >= 8:
            middle = 3 + length // 2
            return form[1], form[2], form[6:middle], form[3], form[middle:]
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
    """Say in a note on the error which operation was being replayed, or whose hook was run."""
    form = unhooked(entry)
    if len(form) < 5 or isinstance(error, RecordingError):
        return
    known, _y, operands, _parameters, _parents = parts(form)
    given = ", ".join(str(getattr(o, "shape", o)) for o in operands[:8])
    if len(operands) > 8:
        given += f" and {len(operands) - 8} more"
    doing = "while replaying" if entry is form else "in a hook on the result of"
    where = f", at {line_of(form[5])}" if len(form) >= 8 and form[5] else "; record under tapegrad.debug() to see where"
    error.add_note(f"{doing} {known.name} of operands {given}{where}")


def held_once_by(entry: Entry, place: int) -> bool:
    """Whether all that holds what stands at a place of an entry is that place, and one variable of the caller's."""
    try:
        return getrefcount(entry[place]) == _ONCE
    except IndexError:  # Another thread has freed it by now.
        return False


def _references_of_a_part() -> int:
    """What ``getrefcount`` says of what stands in a list, and in a variable."""
    entry = [[0]]
    part = entry[0]
    count = getrefcount(entry[0])
    del part
    return count


_ONCE = _references_of_a_part()


def line_of(where: Where) -> str:
    """File and line of a place in a user's program."""
    code, instruction = where
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return f"{code.co_filename}:{next(lines)}"


def give_output(pending: dict[int, Any], queue: list[Entry], node: Entry, index: int, count: int, g: Any) -> None:
    """Put the cotangent of one output of ``node`` among those of the others."""
    if node[0] not in pending:
        pending[node[0]] = Outputs([None] * count)
        heapq.heappush(queue, node)
    slots = pending[node[0]]
    slots[index] = g if slots[index] is None else slots[index] + g


def require_intact(ahead: list[Entry], oldest: int = 0) -> None:
    """Raise RecordingError where one of these entries, or any that they came from, is spent.

    oldest : a position; what is older is not looked at
    """
    seen = {entry[0] for entry in ahead}
    while ahead:
        for parent in parents_of(ahead.pop()):
            if parent[0] not in seen and parent[0] <= oldest:
                seen.add(parent[0])
                ahead.append(parent)


def reaches_older(ahead: list[Entry], start: int) -> bool:
    """Whether any of these entries, or of those that they came from, is older than the position ``start``."""
    seen: set[int] = set()
    entry: Any
    while ahead:
        entry = ahead.pop()
        while entry is not None:  # Down a chain; what branches off waits. (Every transform asks this: speed counts.)
            position = entry[0]
            if position > start:
                return True
            if position in seen:
                break
            seen.add(position)
            form = len(entry)
            if form == 5:
                entry = entry[4]
            elif form == 7:
                if entry[6] is not None:
                    ahead.append(entry[6])
                entry = entry[5]
            elif form == 6:
                entry = entry[5]
            else:
                ahead.extend(parents_of(entry))
                break
    return False
