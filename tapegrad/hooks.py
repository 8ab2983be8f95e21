"""Hooks: functions of the user's that look at, or replace, the cotangent of one value."""

import itertools
from collections.abc import Callable
from typing import Any

from tapegrad.errors import RuleError

_KEYS = itertools.count()


class Hooks:
    """The hooks of one entry, in order of registration."""

    __slots__ = ("functions", "show", "spec", "take")
    used = False  # whether there has ever been one

    def __init__(self, spec: Any, show: Callable[[Any], Any], take: Callable[[Any, Any], Any]) -> None:
        self.spec = spec
        self.show = show  # a cotangent, as a hook is to see it
        self.take = take  # (what a hook returned, the cotangent that it replaces) -> a cotangent of our own
        self.functions: dict[int, Callable[[Any], Any]] = {}

    def add(self, function: Callable[[Any], Any]) -> "Handle":
        """Run ``function`` after those already here."""
        Hooks.used = True
        key = next(_KEYS)
        self.functions[key] = function
        return Handle(self, key)

    def run(self, g: Any) -> Any:
        """The cotangent after every hook has seen it."""
        for function in list(self.functions.values()):
            replaced = function(self.show(g))
            if replaced is not None:
                shape, dtype = getattr(replaced, "shape", None), getattr(replaced, "dtype", None)
                if shape != self.spec.shape or dtype is None or dtype.kind != self.spec.dtype.kind:
                    raise RuleError(
                        f"register_hook: a hook returned {type(replaced).__name__} of shape {shape} and dtype {dtype} "
                        f"for a cotangent of shape {self.spec.shape} and dtype {self.spec.dtype}"
                    )
                g = self.take(replaced, g)
        return g


class Handle:
    """What ``register_hook`` returns: ``remove()`` takes the hook away again."""

    __slots__ = ("_hooks", "_key")

    def __init__(self, hooks: Hooks, key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        self._hooks.functions.pop(self._key, None)
