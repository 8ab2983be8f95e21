"""Containers: nested tuples, lists, dicts, named tuples and dataclasses of arrays, as parameters come in."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tapegrad.errors import ArgumentError
from tapegrad.testing.strategies.arrays import arrays_in

DEEPEST = 3  # containers within containers


class Affine(NamedTuple):
    """A named tuple, as containers(...) draws them."""

    weight: Any
    bias: Any


@dataclass
class Layer:
    """A dataclass, as containers(...) draws them."""

    weight: Any
    bias: Any


def containers(
    leaves: st.SearchStrategy[Any] | None = None, *, max_leaves: int = 5, empty: bool = True
) -> st.SearchStrategy[Any]:
    """Nested containers of whatever ``leaves`` draws.

    leaves : a strategy; None: ``arrays_in()``
    max_leaves : how many there are, at most
    empty : whether a container may hold nothing, and None may stand in the place of one
    They shrink to a tuple of one leaf, or of none.
    Raises ArgumentError where max_leaves is below 1.

    >>> from hypothesis import find
    >>> find(containers(empty=False), lambda tree: isinstance(tree, dict))
    {'a': array(0.)}
    """
    if max_leaves < 1:
        raise ArgumentError(f"containers: max_leaves is an int of at least 1; got {max_leaves!r}")
    return _containers(arrays_in() if leaves is None else leaves, max_leaves, empty)


@st.composite
def _containers(draw: st.DrawFn, leaves: st.SearchStrategy[Any], max_leaves: int, empty: bool) -> Any:
    left = max_leaves

    def container(depth: int, reserved: int) -> Any:
        """A container that leaves over so many of the leaves that are left."""
        nonlocal left
        room = left - reserved
        kind = draw(st.sampled_from([tuple, list, dict, Affine, Layer] if room >= 2 else [tuple, list, dict]))
        size = 2 if kind in (Affine, Layer) else draw(st.integers(0 if empty else 1, max(0, min(3, room))))
        parts = []
        for still in reversed(range(size)):
            what = draw(st.sampled_from(["leaf", *(["container"] if depth < DEEPEST else []), *["none"] * empty]))
            if what == "leaf":
                left -= 1
                parts.append(draw(leaves))
            else:
                parts.append(container(depth + 1, reserved + still) if what == "container" else None)
        if kind is dict:
            return dict(zip("abc", parts, strict=False))
        return kind(*parts) if kind in (Affine, Layer) else kind(parts)

    return container(1, 0)
