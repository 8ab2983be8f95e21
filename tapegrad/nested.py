"""Containers as operands of a user's primitive: dicts, lists, tuples, dataclasses of arrays.

The tape knows arrays only. A call with containers is recorded as one of a primitive whose operands are all
their leaves, one after another; it builds the containers again for the user's function and for its rule, and
takes the rule's cotangents apart, which are containers of the same structure.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.containers import Shape, leaves_of, paths, rebuilt
from tapegrad.errors import RuleError
from tapegrad.kinds import Primitive


def opened(known: Primitive, operands: Sequence[Any]) -> tuple[Primitive, Sequence[Any]]:
    """The primitive with all leaves as its operands, and these; the same again where no operand is a container.

    A leaf that is no number, as a name in a dataclass, is part of the structure.
    """
    apart = [leaves_of(operand) if _is_container(operand) else ([operand], None) for operand in operands]
    if all(structure is None for _leaves, structure in apart):
        return known, operands
    leaves = [leaf for some, _structure in apart for leaf in some]
    fixed = {i: leaf for i, leaf in enumerate(leaves) if not _is_numeric(leaf)}
    nested = Nested(known, [structure for _leaves, structure in apart], fixed)
    return nested, [leaf for i, leaf in enumerate(leaves) if i not in fixed]


def _is_numeric(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return isinstance(leaf, (float, int, complex)) or (dtype is not None and getattr(dtype, "kind", "") in "biufcOMm")


def _is_container(operand: Any) -> bool:
    """All that has parts, but for a list or tuple of numbers alone (or of such): that is an array to be."""
    if type(operand) not in (list, tuple):
        return True
    return any(not isinstance(leaf, (float, int, complex, np.generic)) for leaf in leaves_of(operand)[0])


class Nested(Primitive):
    """A primitive called with containers of these structures, by their leaves."""

    __slots__ = ("counts", "fixed", "inner", "structures")

    def __init__(self, inner: Primitive, structures: Sequence[Shape], fixed: dict[int, Any]) -> None:
        self.inner, self.structures, self.fixed = inner, structures, fixed
        self.counts = [len(paths(structure, "")) for structure in structures]
        self.kind, self.function, self.name, self.note = inner.kind, inner.function, inner.name, inner.note
        self.cases, self.rule, self.residuals = inner.cases, inner.rule, inner.residuals
        self.multilinear, self.mixes = inner.multilinear, inner.mixes
        self.road, self.reflected, self.users = None, None, True
        self.parameters, self.pack, self.read, self.reads_y = inner.parameters, inner.pack, inner.read, inner.reads_y
        self.arity = sum(self.counts) - len(fixed)
        _y, reads = inner.keeps([True] * len(structures))
        self.reads = self._live([read for read, n in zip(reads, self.counts, strict=True) for _ in range(n)])
        self.operands = self._live([path for i, s in enumerate(structures) for path in paths(s, f"operand {i}")])

    # Methods of these names, and none bound to it in a slot: the entry would wait for the garbage collector.
    def run(self, *leaves: Any, **parameters: Any) -> Any:
        """The user's function, on containers of these leaves."""
        operands = self._containers(leaves)
        run = self.inner.run
        return run(*operands, **parameters) if self.inner.arity is not None else run(operands, **parameters)

    def pull(self, g: Any, y: Any, leaves: Sequence[Any], packed: Any) -> tuple[Any, ...]:
        """What the user's rule returns, as one cotangent for each leaf."""
        result = self.inner.pull(g, y, self._containers(leaves), packed)
        if len(self.structures) == 1 and (type(result) is not tuple or len(result) != 1):
            result = (result,)  # The bare cotangent of a single operand, which may be a tuple itself.
        elif type(result) is not tuple:
            result = (result,)
        if len(result) != len(self.structures):
            raise RuleError(
                f"the rule of {self.name} returned {len(result)} cotangents for {len(self.structures)} operands"
            )
        parts: list[Any] = []
        for i, (c, structure) in enumerate(zip(result, self.structures, strict=True)):
            parts += self._leaves(c, structure, i)
        return self._live(parts)

    def _live(self, of_leaves: Sequence[Any]) -> tuple[Any, ...]:
        """Of one thing for each leaf, those for the leaves that are operands."""
        return tuple(part for i, part in enumerate(of_leaves) if i not in self.fixed)

    def _containers(self, leaves: Sequence[Any]) -> list[Any]:
        given = iter(leaves)
        rest = iter([self.fixed[i] if i in self.fixed else next(given) for i in range(sum(self.counts))])
        return [
            rebuilt(structure, [next(rest) for _ in range(count)])
            for structure, count in zip(self.structures, self.counts, strict=True)
        ]

    def _leaves(self, c: Any, structure: Shape, i: int) -> list[Any]:
        """The cotangents of an operand's leaves; of a callable, callables that run it once between them."""
        if structure is None:
            return [c]
        place = f"operand {i}"
        if not callable(c):
            return list(self._matched(structure, *_apart(c), place))
        once = functools.cache(lambda: list(self._matched(structure, *_apart(c()), place)))
        return [_item(once, k) for k in range(self.counts[i])]

    def _matched(self, structure: Shape, leaves: Iterator[Any], given: Shape, place: str) -> Iterator[Any]:
        """What stands in a cotangent for each leaf of the structure; None stands for a whole container, too."""
        if given is not None and given.kind is type(None):
            yield from [None] * len(paths(structure, ""))
        elif structure is None and given is None:
            yield next(leaves)
        elif structure is None or given is None or given.kind is not structure.kind or _keys(given) != _keys(structure):
            raise RuleError(
                f"the rule of {self.name} returned {_described(given)} for {place}, which is {_described(structure)}; "
                f"a cotangent has the structure of its operand, with None where there is none"
            )
        else:
            parts = {key: [*_taken(part, leaves)] for key, part in zip(given.keys, given.parts, strict=True)}
            shapes = dict(zip(given.keys, given.parts, strict=True))
            for key, part in zip(structure.keys, structure.parts, strict=True):
                yield from self._matched(part, iter(parts[key]), shapes[key], f"{place}[{key!r}]")


def _apart(c: Any) -> tuple[Iterator[Any], Shape]:
    leaves, structure = leaves_of(c)
    return iter(leaves), structure


def _taken(structure: Shape, leaves: Iterator[Any]) -> Iterator[Any]:
    return (next(leaves) for _ in paths(structure, ""))


def _item(once: Any, k: int) -> Any:
    return lambda: once()[k]


def _keys(structure: Any) -> tuple[bool, set[Any]]:
    return structure.named, set(structure.keys)


def _described(structure: Shape) -> str:
    if structure is None:
        return "an array"
    return f"a {structure.kind.__name__} with {list(structure.keys)}"
