"""Where gradients end up: all at once, at the end of a sweep, in arrays that nobody else holds."""

import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.entries import Leaf

LOCK = threading.Lock()  # `.grad +=` of a leaf is one step, also where threads share it


def deposit(totals: Sequence[tuple[Leaf, Any]]) -> None:
    """Add what a sweep brought to the leaves: all of it, at its very end. Nobody else holds the totals."""
    with LOCK, np.errstate(all="ignore"):
        # Always a new array, since the old one may have been given out; asarray, since 0-d sums are scalars.
        sums = [(leaf, total if leaf.grad is None else _sum(leaf.grad, total)) for leaf, total in totals]
        for leaf, total in sums:
            leaf.grad = total


def _sum(a: Any, b: Any) -> Any:
    total = a + b
    return np.asarray(total) if isinstance(total, np.generic) else total


def owned_arrays(totals: Sequence[tuple[Leaf, Any]]) -> list[tuple[Leaf, Any]]:
    """The totals as arrays that nobody else holds: themselves where that is so already, else copies.

    An array that was made in the sweep and is referred to from ``totals`` alone needs no copy, which
    would cost another pass over a large gradient.
    """
    owned = []
    for leaf, total in totals:
        if type(total) is not np.ndarray or sys.getrefcount(total) > _SOLE_OWNER or not _own_memory(total):
            total = np.array(total, leaf.spec.dtype)
        owned.append((leaf, total))
    return owned


def _own_memory(total: Any) -> bool:
    """Whether an array has its memory to itself: it owns it, or alone views all of what another one owns."""
    base = total.base
    if base is None:
        return True
    return (
        type(base) is np.ndarray
        and base.flags.owndata
        and total.flags.writeable
        and base.size == total.size
        and _references_of_base(total) <= _SOLE_VIEW
    )


def _references_of_base(total: Any) -> int:
    base = total.base
    return sys.getrefcount(base)


def _references_of_a_sole_owner() -> int:
    """What ``sys.getrefcount`` says in ``owned_arrays`` of an array that only ``totals`` refers to."""
    counts = []
    for _leaf, total in [(None, np.empty(1))]:
        counts.append(sys.getrefcount(total))
    return counts[0]


_SOLE_OWNER = _references_of_a_sole_owner()
_SOLE_VIEW = _references_of_base(np.empty(2)[::-1]) + 1  # one more: in _own_memory
