"""Containers: nested tuples, lists, dicts and dataclasses of arrays, taken apart and built again.

A container becomes the list of its leaves, and a ``Structure`` that builds one like it of other leaves.
What isn't a container is a leaf; None is a container of nothing. A field of a dataclass whose metadata
say ``static`` is no part of it, and is kept as it is. Nothing here knows of tensors.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.errors import ArgumentError, RegistrationError

_LEAVES = frozenset({np.ndarray, float, int, complex, np.float64})  # Told quickly; others are asked more.
_REGISTERED: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {}


class Structure(NamedTuple):
    """How a container is made: of which kind, with what parts, and how to build one of new parts."""

    kind: type
    keys: tuple[Any, ...]  # what each part is found by: indices, the keys of a dict, names of attributes
    named: bool  # whether the keys are names of attributes
    parts: tuple["Structure | None", ...]  # None: a leaf
    build: Callable[[list[Any]], Any]


Shape = Structure | None  # of a leaf, None


def register_container(
    cls: type, flatten: Callable[[Any], tuple[Any, Any]], unflatten: Callable[[Any, tuple[Any, ...]], Any]
) -> None:
    """Let every transform look into instances of ``cls``.

    cls : the class itself; subclasses of it are registered by themselves
    flatten : of an instance to (parts, rest): parts is a sequence of arrays or containers, rest is
        whatever else it takes to build the instance again
    unflatten : of (rest, parts) to an instance
    Raises RegistrationError where ``cls`` is registered, or a container already.

    >>> import numpy as np, tapegrad as tg
    >>> class Line:
    ...     def __init__(self, slope, offset):
    ...         self.slope, self.offset = slope, offset
    >>> tg.register_container(Line, lambda line: ((line.slope, line.offset), None), lambda _, parts: Line(*parts))
    >>> gradient = tg.grad(lambda line: np.sum((line.slope * np.arange(3.0) + line.offset) ** 2))(Line(1.0, 2.0))
    >>> gradient.slope, gradient.offset
    (22.0, 18.0)
    """
    if not isinstance(cls, type):
        raise RegistrationError(f"register_container: {cls!r} is no class")
    if not (callable(flatten) and callable(unflatten)):
        raise RegistrationError(
            f"register_container: flatten and unflatten are functions; got {flatten!r}, {unflatten!r}"
        )
    own = (tuple, list, dict, type(None), str, bytes)
    if cls in _REGISTERED or cls in _LEAVES or cls in own or hasattr(cls, "__array__"):
        raise RegistrationError(f"register_container: {cls.__name__} is registered already, or NumPy's or Python's own")
    _REGISTERED[cls] = flatten, unflatten


def leaves_of(tree: Any) -> tuple[list[Any], Shape]:
    """The leaves of a container, in order, and its structure."""
    leaves: list[Any] = []
    return leaves, taken_apart(tree, leaves)


def taken_apart(tree: Any, leaves: list[Any]) -> Shape:
    """The structure of a container, whose leaves are added to ``leaves``."""
    opened = None if type(tree) in _LEAVES else _opened(tree)
    if opened is None:
        leaves.append(tree)
        return None
    keys, named, parts, build = opened
    return Structure(type(tree), tuple(keys), named, tuple([taken_apart(part, leaves) for part in parts]), build)


def built(structure: Shape, leaves: Iterator[Any]) -> Any:
    """A container of this structure, of as many of the leaves as it takes."""
    if structure is None:
        return next(leaves)
    return structure.build([built(part, leaves) for part in structure.parts])


def rebuilt(structure: Shape, leaves: Sequence[Any]) -> Any:
    """A container of this structure, of all these leaves."""
    return leaves[0] if structure is None else built(structure, iter(leaves))


def paths(structure: Shape, place: str) -> list[str]:
    """What an error calls each leaf: ``argument 0['layers'][1].w``."""
    if structure is None:
        return [place]
    steps = (f".{key}" if structure.named else f"[{key!r}]" for key in structure.keys)
    return [path for step, part in zip(steps, structure.parts, strict=True) for path in paths(part, f"{place}{step}")]


def leaves_like(structure: Shape, tree: Any, what: str, place: str) -> list[Any]:
    """The leaves of ``tree``, which must have this structure; those of a dict by its keys, in whatever order.

    what : what an error says was given, and to what it must be alike
    Raises ArgumentError where it hasn't.
    """
    if structure is None:
        if _opened(tree) is not None:
            raise ArgumentError(f"{what}: {place} is a {type(tree).__name__}; an array or a number was expected")
        return [tree]
    opened = _opened(tree)
    if opened is None or type(tree) is not structure.kind:
        raise ArgumentError(f"{what}: {place} is a {type(tree).__name__}; a {structure.kind.__name__} was expected")
    keys, named, parts, _build = opened
    if len(keys) != len(structure.keys) or set(keys) != set(structure.keys):
        raise ArgumentError(f"{what}: {place} has parts {list(keys)}; {list(structure.keys)} were expected")
    given = dict(zip(keys, parts, strict=True))
    return [
        leaf
        for key, part in zip(structure.keys, structure.parts, strict=True)
        for leaf in leaves_like(part, given[key], what, f"{place}{f'.{key}' if named else f'[{key!r}]'}")
    ]


_Opened = tuple[Sequence[Any], bool, Sequence[Any], Callable[[list[Any]], Any]]


def _opened(tree: Any) -> _Opened | None:
    """Of a container: the keys of its parts, whether these are attributes, the parts, and what builds one like it."""
    kind = type(tree)
    if kind in _REGISTERED:
        taken_apart, unflatten = _REGISTERED[kind]
        parts, rest = taken_apart(tree)
        parts = tuple(parts)
        return range(len(parts)), False, parts, lambda new: unflatten(rest, tuple(new))
    if hasattr(kind, "__array__"):
        return None
    if tree is None:
        return (), False, (), lambda _new: None
    if kind is list:  # What builds another one must not hold this one, and with it its tensors.
        return range(len(tree)), False, tree, list
    if kind is dict:
        keys = tuple(tree)
        return keys, False, tuple(tree.values()), lambda new: dict(zip(keys, new, strict=True))
    if isinstance(tree, tuple):
        fields = getattr(kind, "_fields", None)
        return fields or range(len(tree)), bool(fields), tree, getattr(kind, "_make", kind)
    if isinstance(tree, list):
        return range(len(tree)), False, tree, lambda new: _refilled_list(tree, new)
    if isinstance(tree, dict):
        names = tuple(tree)
        return names, False, tuple(tree.values()), lambda new: _refilled_dict(tree, names, new)
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(tree) if not field.metadata.get("static", False))
        return names, True, [getattr(tree, name) for name in names], lambda new: _with_fields(tree, names, new)
    return None


def _refilled_list(like: list[Any], parts: list[Any]) -> Any:
    new = copy.copy(like)
    new[:] = parts
    return new


def _refilled_dict(like: dict[Any, Any], keys: tuple[Any, ...], parts: list[Any]) -> Any:
    filled = copy.copy(like)  # A defaultdict keeps its default, an OrderedDict its methods.
    filled.update(zip(keys, parts, strict=True))
    return filled


def _with_fields(like: Any, names: tuple[str, ...], parts: list[Any]) -> Any:
    """A dataclass instance with new parts; no __init__ or __post_init__ runs, which may not be ready for tensors."""
    new = object.__new__(type(like))
    if hasattr(like, "__dict__"):
        new.__dict__.update(like.__dict__)
    fields = dict(zip(names, parts, strict=True))
    for field in dataclasses.fields(like):
        value = fields[field.name] if field.name in fields else getattr(like, field.name)
        object.__setattr__(new, field.name, value)  # Frozen ones too.
    return new
