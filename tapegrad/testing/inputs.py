"""What a check is handed: the leaves of the arguments, and whether the function can be checked at all."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.containers import Structure, leaves_of, paths, rebuilt
from tapegrad.errors import ArgumentError
from tapegrad.testing.pullbacks import Function, differentiable, outputs, parts_of, values
from tapegrad.testing.reproduction import called


class Inputs(NamedTuple):
    """A function of leaves, and the leaves: those to differentiate by are arrays."""

    function: Function
    leaves: list[Any]
    names: list[str]  # what an error calls each leaf: argument 0['w']
    structures: list[Structure | None]


def inputs_of(f: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Inputs:
    """The arguments taken apart; ``function`` takes their leaves, and builds them again."""
    leaves, names, structures, counts = [], [], [], []
    for k, argument in enumerate(args):
        parts, structure = leaves_of(argument)
        leaves += [_array(part) for part in parts]
        names += paths(structure, f"argument {k}")
        structures.append(structure)
        counts.append(len(parts))

    if all(structure is None for structure in structures):
        return Inputs(functools.partial(f, **kwargs), leaves, names, structures)

    def function(*flat: Any) -> Any:
        rest = iter(flat)
        taken = ([next(rest) for _ in range(n)] for n in counts)
        return f(*(rebuilt(s, parts) for s, parts in zip(structures, taken, strict=True)), **kwargs)

    return Inputs(function, leaves, names, structures)


def _array(leaf: Any) -> Any:
    if isinstance(leaf, tg.Tensor):
        leaf = leaf.detach().numpy().copy()
    return np.array(leaf) if differentiable(leaf) else leaf


def require_checkable(f: Function, given: Inputs, wide: Sequence[Any]) -> None:
    """Raise ArgumentError unless a check of ``f`` can say something: what is wrong, and what to change.

    wide : the leaves as the check hands them over
    """
    name = called(f)
    if not any(map(differentiable, given.leaves)):
        raise ArgumentError(f"{name} has no argument to differentiate by: {_described(given)}")
    before = [a.tobytes() if isinstance(a, np.ndarray) else None for a in wide]
    first = values(given.function, wide)
    for path, leaf, bytes_before in zip(given.names, wide, before, strict=True):
        if bytes_before is not None and leaf.tobytes() != bytes_before:
            raise ArgumentError(f"{name} changes {path} in place: let it work on a copy")
    _require_floats(name, first)
    second = values(given.function, wide)
    if difference := _difference(first, second):
        raise ArgumentError(
            f"{name} isn't deterministic: called twice on the same arguments, it returns {difference}; make random "
            f"generators of a seed inside of it, or hand it what was drawn"
        )


def _described(given: Inputs) -> str:
    if not given.leaves:
        return "it was called without arguments; hand over arrays of floats or complex numbers"
    path, leaf = given.names[0], given.leaves[0]
    if isinstance(leaf, np.ndarray):
        mend = ".astype(float) makes it one of floats"
        return f"{path} is an array of dtype {leaf.dtype}; {mend}"
    mend = f"{float(leaf)!r} is a float" if isinstance(leaf, int) else "hand over arrays of floats or complex numbers"
    return f"{path} is {leaf!r}, of type {type(leaf).__name__}; {mend}"


def _require_floats(name: str, result: Any) -> None:
    if result is None:
        raise ArgumentError(f"{name} returns None, which has no derivative: let it return its result")
    if outputs(result):
        return
    parts = list(parts_of(result))
    what = "a container of nothing" if not parts else f"{type(parts[0]).__name__}"
    if parts and hasattr(parts[0], "dtype"):
        what += f" of dtype {parts[0].dtype}"
    raise ArgumentError(
        f"{name} returns nothing to differentiate: {what}; let it return floats or complex numbers, "
        f"as arrays, or in tuples, lists and dicts"
    )


def _difference(first: Any, second: Any) -> str:
    """How two results of the same call differ; empty where they don't."""
    (ours, one), (theirs, other) = leaves_of(first), leaves_of(second)
    if len(ours) != len(theirs):
        return f"{len(ours)} outputs, then {len(theirs)}"
    if one is not None and other is not None and paths(one, "") != paths(other, ""):
        return f"outputs at {paths(one, '')}, then at {paths(other, '')}"
    for a, b in zip(ours, theirs, strict=True):
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape:
            return f"shape {x.shape}, then {y.shape}"
        if x.dtype != y.dtype:
            return f"dtype {x.dtype}, then {y.dtype}"
        if x.dtype.kind not in "fc" or np.array_equal(x, y, equal_nan=True):
            continue
        # BLAS may sum in another order where memory is aligned otherwise; that is rounding.
        rounding = 1e3 * float(np.finfo(x.dtype).eps)
        scale = float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))
        same = np.isclose(x, y, rtol=rounding, atol=rounding * scale, equal_nan=True)
        if not same.all():
            k = tuple(int(n) for n in np.argwhere(~same)[0])
            return f"{x[k]} at index {k}, then {y[k]}"
    return ""
