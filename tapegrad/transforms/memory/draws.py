"""Draws: the random generators of NumPy that a function may use, so that running it again draws the same.

They are looked for in the function's arguments, its closure, its defaults, the globals that its code names, and the
same of the functions and objects found there. NumPy's legacy global state, which is slow to read, counts where
any of that code says ``random``, or calls SciPy.
"""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tapegrad.tensor import Tensor

States = list[tuple[Any, Any]]  # pairs (source, its state)

_LOCK = threading.RLock()  # Generators are put back to an earlier state by one thread at a time.
_MOST = 10_000  # objects looked at; past that, what draws is found out by its results (reruns.py)
_BARE = frozenset({int, float, complex, bool, str, bytes, type(None), np.ndarray, np.float64, np.dtype, Tensor, type})
_FOREIGN = frozenset({"numpy", "scipy", "tapegrad", *sys.stdlib_module_names}) - {"__main__"}


def sources_of(function: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
    """What may be drawn from: ``Generator``, ``RandomState`` and ``BitGenerator`` objects, and ``np.random`` itself."""
    random = np.random  # Imported by NumPy when it is first asked for.
    kinds = (random.Generator, random.RandomState, random.BitGenerator)
    sources: list[Any] = []
    seen: dict[int, Any] = {}
    ahead: list[Any] = [function, *arguments]
    while ahead and len(seen) < _MOST:
        value = ahead.pop()
        if type(value) in _BARE or id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, kinds) or value is random:
            sources.append(value)
        else:
            ahead.extend(_within(value))
    return sources


def _within(value: Any) -> Iterable[Any]:
    """What an object refers to that may draw, or lead to something that does."""
    kind = type(value)
    if kind is FunctionType:
        return _of_function(value)
    if kind in (list, tuple, set):
        return value  # type: ignore[no-any-return]
    if kind is dict:
        return value.values()  # type: ignore[no-any-return]
    if kind is MethodType:
        return value.__self__, value.__func__
    if kind is BuiltinMethodType:
        return (value.__self__,)
    if kind is partial:
        return value.func, value.args, value.keywords
    if isinstance(value, (ModuleType, type)):
        return ()
    parts = list(getattr(value, "__dict__", {}).values())
    for owner in kind.__mro__:
        if not _is_foreign(owner.__module__):
            parts += [part for part in vars(owner).values() if isinstance(part, FunctionType)]
            parts += [getattr(value, name, None) for name in getattr(owner, "__slots__", ())]
    return parts


def _of_function(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # Not filled yet.
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    module = function.__globals__.get("__name__") or ""
    names = _names(function.__code__)
    if module.startswith("scipy") or ("random" in names and not _is_foreign(module)):
        yield np.random
    if _is_foreign(module):
        return
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            if value.__name__.startswith("scipy"):
                yield np.random
            elif not _is_foreign(value.__name__):
                yield from (vars(value).get(other) for other in names)
        else:
            yield value


def _is_foreign(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _FOREIGN


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> frozenset[str]:
    """The names that a function's code takes from elsewhere, also those of functions that it defines."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(code.co_names).union(*inner)


def states_of(sources: Iterable[Any]) -> States:
    """The sources with their states of now."""
    return [(source, _state(source)) for source in sources]


def drawn(before: States) -> States:
    """Of these states, those that have changed since."""
    return [(source, state) for source, state in before if not _same(state, _state(source))]


@contextmanager
def put_back(states: States) -> Iterator[None]:
    """Give the sources these states inside, and those of now again afterwards."""
    if not states:
        yield
        return
    with _LOCK:
        now = states_of(source for source, _state in states)
        try:
            restore(states)
            yield
        finally:
            restore(now)


def restore(states: States) -> None:
    """Give the sources these states."""
    for source, state in states:
        if hasattr(source, "set_state"):
            source.set_state(state)
        elif hasattr(source, "bit_generator"):
            source.bit_generator.state = state
        else:
            source.state = state


def _state(source: Any) -> Any:
    if hasattr(source, "get_state"):
        return source.get_state(legacy=False)
    return source.bit_generator.state if hasattr(source, "bit_generator") else source.state


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_same(value, b[key]) for key, value in a.items())
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)
