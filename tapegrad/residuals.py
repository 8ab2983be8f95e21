"""Residuals: what a user's forward computed and its rule reads; and who of the operands is no plain array.

A primitive with residuals runs a function that returns (output, residuals). A first derivative reads what was
kept. A derivative of the rule needs the residuals as functions of the operands, or it would be wrong in
silence: the function is run once more, on tensors, which record.
"""

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.errors import RuleError

Function = Callable[..., Any]


def with_fresh_residuals(
    name: str, function: Function, names: tuple[str, ...], pull: Function, pack: Function
) -> Function:
    """``pull``, with the residuals as functions of the operands where it is recorded: what was kept is constant."""

    def pull_fresh(g: Any, y: Any, operands: Sequence[Any], packed: Any) -> Any:
        given = {"residuals": packed} if len(names) == 1 else dict(zip(names, packed, strict=True))
        if floating(given.pop("residuals")) and next(answering((g, *operands)), None) is not None:
            packed = pack(given | {"residuals": _residuals_again(name, function, y, operands, given)})
        return pull(g, y, operands, packed)

    return pull_fresh


def _residuals_again(name: str, function: Function, y: Any, operands: Sequence[Any], parameters: dict[str, Any]) -> Any:
    """The residuals of one more run, on tensors; RuleError where it gives another output."""
    try:
        again, residuals = function(*operands, **parameters)
    except Exception as error:
        error.add_note(
            f"while running {name} once more, on tensors: a derivative of its rule needs its residuals "
            f"as functions of the operands. If it can't run on tensors, only first derivatives pass through it"
        )
        raise
    pairs = zip(again, y, strict=True) if isinstance(y, tuple) else [(again, y)]
    pairs = list(pairs)
    if any(getattr(b, "requires_grad", False) and not getattr(a, "requires_grad", False) for a, b in pairs):
        raise RuleError(
            f"{name} was run once more, on tensors, for a derivative of its rule, and its output doesn't depend on "
            f"them: .item(), .tolist() and the like leave the tape. Only first derivatives pass through it"
        )
    if not all(_alike(a, b) for a, b in pairs):
        raise RuleError(
            f"{name} gave another output when it was run once more, for a derivative of its rule; "
            f"it must be a function of its operands alone: hand it what it draws at random"
        )
    return residuals


def floating(residuals: Any) -> bool:
    """Whether anything in the residuals may depend on the operands smoothly: all but integers, bools, strings."""
    kind = type(residuals)
    if kind is tuple or kind is list:
        return any(map(floating, residuals))
    if isinstance(residuals, (np.ndarray, np.generic)):
        return residuals.dtype.kind not in "biuSU"
    return kind not in (int, bool, str, type(None))


def _alike(a: Any, b: Any) -> bool:
    """Whether two runs of a function gave the same: to half the digits, since tensors may take another way."""
    a = a if hasattr(a, "dtype") else np.asarray(a)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    bound = math.sqrt(np.finfo(b.dtype).eps) * np.max(np.absolute(b), initial=0.0, where=np.isfinite(b))
    with np.errstate(all="ignore"):
        return bool(((a == b) | (np.absolute(a - b) <= bound) | ((a != a) & (b != b))).all())


def checked_pair(function: Function, name: str) -> Function:
    """The function, seen to return a pair of which the first is no view of an operand."""

    @functools.wraps(function)
    def pair(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if type(result) is not tuple or len(result) != 2:
            raise RuleError(f"{name} returned {type(result).__name__}, not the pair (output, residuals)")
        output, rest = result
        return _not_views(output, list(_arrays_in((args, kwargs)))), rest

    return pair


def _not_views(output: Any, operands: Sequence[Any]) -> Any:
    """The output, copied where it shares memory with an operand: what would be a view would escape the storage."""
    if isinstance(output, tuple):
        parts = [_not_views(part, operands) for part in output]
        return getattr(type(output), "_make", tuple)(parts)
    if type(output) is np.ndarray and any(np.may_share_memory(output, operand) for operand in operands):
        return output.copy()
    return output


def _arrays_in(value: Any) -> Iterator[Any]:
    if type(value) is np.ndarray:
        yield value
    elif type(value) is dict:
        yield from _arrays_in(list(value.values()))
    elif type(value) not in NEVER:
        for part in inside(value):
            yield from _arrays_in(part)


# Types that never answer for a function: most arguments are of these.
NEVER = frozenset({np.ndarray, float, int, bool, str, type(None), np.float64, np.float32})


def answer_of(value: Any) -> Any:
    """The method by which a value that isn't NumPy's own answers for a function (NEP 18), or None."""
    return None if isinstance(value, np.ndarray) else getattr(type(value), "__array_function__", None)


def answering(values: Iterable[Any]) -> Iterator[Any]:
    """What answers for a function, among the values and in containers of them."""
    for value in values:
        if type(value) in NEVER:
            continue
        if answer_of(value) is not None:
            yield value
        else:
            yield from answering(inside(value))


def inside(value: Any) -> Iterable[Any]:
    """The parts of a container; of anything else, none."""
    if isinstance(value, (np.ndarray, np.generic, str, bytes)):
        return ()
    if type(value) in (tuple, list):
        return value  # type: ignore[no-any-return]
    # What counts as a container is said there, and it isn't needed before somebody hands one over.
    leaves, structure = importlib.import_module("tapegrad.containers").leaves_of(value)
    return leaves if structure is not None else ()
