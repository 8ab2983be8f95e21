"""From a rule to cotangents: conjugation, the strong zero, broadcasting and casting undone, checks.

All of it happens here, once, so that no rule can forget it. Nothing here knows of tensors: handed
tensors instead of arrays, the same lines record themselves, which is how higher orders come about.

**The strong zero.** Where the incoming cotangent is exactly 0, the contribution is 0 whatever the
slope. In arithmetic 0 * inf is nan, so a slope that isn't finite where the cotangent is 0 becomes 0
*before* it is used: a product mended afterwards would come back one order up. ``careful`` asks for
this; the sweep does without as long as it can prove, afterwards, that nothing was met (tape.py).
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from operator import getitem
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.borrowed import require_unchanged
from tapegrad.entries import Entry, Lift, Outputs, parts
from tapegrad.errors import RuleError
from tapegrad.kinds import Elementwise, Primitive, Slope
from tapegrad.pieces import Account, Pieces, Step, is_part
from tapegrad.shapes import Spec, cast, conj, fit, read_only, summed_product, unbroadcast


def finite(x: Any) -> bool:
    """Whether every element is finite; of the cotangents of several outputs, of each that is there."""
    if type(x) is Pieces:
        return all(finite(part) for _index, part in x.parts)
    if type(x) is Account:
        return all(finite(part) for _place, part in x.parts) and (x.buffer is None or finite(x.buffer))
    if isinstance(x, list):
        return all(finite(part) for part in x if part is not None)
    if type(x) is np.ndarray and x.dtype.char in "fd" and x.flags.c_contiguous:
        # Each reads the array once, and makes none; it may overflow, but never hides a nan. BLAS is quickest,
        # but wakes its threads for more elements, and waits for them on a busy machine.
        flat = x.reshape(-1)
        if flat.size < 10_000:
            if math.isfinite(flat.dot(flat)):
                return True
        elif x.dtype.char == "d" and math.isfinite(np.add.reduce(flat)):  # Of float32 no quicker than what follows.
            return True
    return bool(np.isfinite(x).all())


def pulled(form: Entry, entry: Entry, g: Any, lift: Lift | None, careful: bool) -> Iterable[tuple[Entry, Any]]:
    """The cotangents of an entry's parents: pairs (parent, cotangent). ``form`` is the entry unhooked."""
    known, y, operands, parameters, parents = parts(form)
    if len(form) >= 8 and form[4] is not None:
        require_unchanged(form[4], known.name)
    if lift is not None and known.kind != "storage":
        y = lift(y, entry)
        operands = [lift(o, p) for o, p in zip(operands, parents, strict=True)]
    if type(g) is Outputs:
        g = tuple(g)
    return cotangents(known, g, y, operands, parameters, parents, careful)


def pulled_trusting(entry: Entry, g: Any) -> Iterable[tuple[Entry, Any]]:
    """``pulled(entry, entry, g, None, False)`` of an entry in the form for anything, with less ado."""
    known, y, parameters, watched = entry[1:5]
    middle = 3 + len(entry) // 2
    operands, parents = entry[6:middle], entry[middle:]
    if watched is not None:
        require_unchanged(watched, known.name)
    if type(g) is Outputs:
        g = tuple(g)
    kind = type(known)
    if kind is Elementwise:
        return _elementwise_cotangents(known, g, y, operands, parents, False)
    if kind is Primitive and known.function is not getitem and known.cases is not None:
        return _paired(known, ruled(known, g, y, operands, parameters), operands, parents, g)
    return cotangents(known, g, y, operands, parameters, parents, False)


def cotangents(
    known: Any,
    g: Any,
    y: Any,
    operands: Sequence[Any],
    parameters: Any,
    wanted: Sequence[Any],
    careful: bool,
) -> Iterable[tuple[Any, Any]]:
    """Pairs (parent, cotangent) for the operands whose place in ``wanted`` holds a parent, not None."""
    kind = type(known)
    if kind is Elementwise:
        return _elementwise_cotangents(known, g, y, operands, wanted, careful)
    if isinstance(known, Step):
        return known.pairs(g, y, operands, wanted)
    if wanted[0] is not None and is_part(known, operands[0]):
        return [(wanted[0], Pieces(operands[0], [(parameters, g)]))]
    if careful and known.multilinear:
        operands = _tamed_operands(known, g, y, operands, parameters)
    return _by_rule(known, g, y, operands, parameters, wanted)


def pull_large(entry: Entry, g: Any, mine: bool, give: Callable[[Entry, Any, bool], None]) -> tuple[Entry, Any]:
    """An elementwise entry pulled back on large arrays, with fewer passes: (parent, its cotangent).

    mine : whether nobody else holds ``g``, so that it may be written to
    give : takes the cotangent of a second parent, and whether nobody else holds that
    """
    if len(entry) == 5:
        _, known, y, x, parent = entry
        return parent, _pull_large(known.slopes[0], g, mine, y, x)
    _, pair, y, a, b, parent, other = entry
    known = pair.known
    first, second = known.slopes
    if other is None:
        return parent, _pull_large(first, g, mine, y, a, b)
    if parent is None:
        return other, _pull_large(second, g, mine, y, a, b)
    if a is b and parent is other and known.function is np.multiply:  # A square: twice the same.
        c = _pull_large(first, g, mine, y, a, b)
        c_mine = mine if c is g else held_once(c)
        return parent, np.add(c, c, out=c if c_mine else None)
    c = _pull_large(second, g, False, y, a, b)
    c_mine = held_once(c)
    give(other, c, c_mine)
    return parent, _pull_large(first, g, mine and c is not g and second.form != "pullback", y, a, b)


def _pull_large(slope: Slope, g: Any, mine: bool, y: Any, *operands: Any) -> Any:
    """``slope.pull(g, y, *operands)``, into an array that nobody else holds where there is one."""
    if slope.form == "pullback":
        return slope.pull(g, y, *operands)
    if slope.form == "number":
        return g if slope.value == 1 else np.multiply(g, slope.value, out=g if mine else None)
    value = slope.value(y, *operands)
    if type(value) is not np.ndarray or value.dtype is not g.dtype or value.shape != g.shape:
        return slope.pull(g, y, *operands)
    # On large arrays new memory costs as much as the product. What others hold may be a saved array.
    out = g if mine else value if held_once(value) else None
    if slope.form == "ratio":
        return np.divide(g, value, out=out)
    if not any(g.strides) and g.item(0) == 1:
        return value  # Of a sum the cotangent is 1 everywhere.
    return np.multiply(g, value, out=out)


def held_once(x: Any, besides: int = 0) -> bool:
    """Whether the caller's one variable, and as many places besides, are all that holds this array, or its memory."""
    return type(x) is np.ndarray and x.base is None and x.flags.writeable and _references(x) <= _ONE + besides


def _references(x: Any) -> int:
    return sys.getrefcount(x)


def _references_of_a_local() -> int:
    """What ``_references`` says in ``held_once`` of an array that one variable of its caller holds."""
    value = np.empty(1)
    return (lambda x: _references(x))(value)  # a call within a call, as there


_ONE = _references_of_a_local()


def _elementwise_cotangents(
    known: Elementwise, g: Any, y: Any, operands: Sequence[Any], wanted: Sequence[Any], careful: bool
) -> list[tuple[Any, Any]]:
    # A real function of a complex operand has a complex slope: only of one operand is there such a thing.
    is_real = g.dtype.kind == "f" and (len(operands) > 1 or operands[0].dtype.kind != "c")
    trusting = is_real and not careful
    widths: Any = None  # the operands as the slopes are to read them
    first: Any = None  # the cotangent of the first operand, before broadcasting is undone
    pairs = []
    for parent, slope, operand in zip(wanted, known.slopes, operands):  # noqa: B905 - 100 ns, and nobody else's lists
        if parent is None or slope is None:
            continue
        if slope.form == "number":  # It may come after the sum, over fewer elements.
            c = g if operand.shape == g.shape else unbroadcast(g, operand.shape)
            if slope.value != 1:
                c = c * slope.value.conjugate()
        else:
            widths = widths or at_width(operands, g.dtype)
            if first is not None and known.quotient:
                c = -summed_product(first, y, operand.shape)
            elif trusting and slope.form == "slope":
                c = summed_product(g, slope.value(y, *widths), operand.shape)
            elif trusting:
                c = slope.pull(g, y, *widths)
                first = c if c.dtype.char in "fd" else None  # Not of float16, where g / b may underflow.
            else:
                c = by_slope(slope, g, y, widths, careful)
            if c.shape != operand.shape:
                c = unbroadcast(c, operand.shape)
        pairs.append((parent, c if c.dtype is operand.dtype else fit(c, operand)))
    return pairs


def at_width(operands: Sequence[Any], dtype: Any) -> Sequence[Any]:
    """Operands narrower than the result at its width, to which NumPy casts them: rules are to be as exact as it is."""
    for operand in operands:
        if getattr(operand, "dtype", dtype) is not dtype and type(operand) is not Spec and operand.dtype.kind in "fc":
            break
    else:
        return operands
    real = np.finfo(dtype)
    return [
        cast(o, np.result_type(o.dtype, real.dtype))
        if isinstance(getattr(o, "dtype", None), np.dtype)
        and not isinstance(o, Spec)
        and o.dtype.kind in "fc"
        and np.finfo(o.dtype).eps > real.eps
        else o
        for o in operands
    ]


def by_slope(slope: Slope, g: Any, y: Any, operands: Sequence[Any], careful: bool) -> Any:
    """The cotangent by one slope, before broadcasting and casting are undone; see ``kinds.Slope``."""
    if slope.form == "number":
        return g if slope.value == 1 else g * slope.value.conjugate()
    if slope.form == "pullback":
        return slope.value(g, y, *operands)
    value = conj(slope.value(y, *operands))
    if slope.form == "ratio":
        return _quotient(g, value, careful)
    return g * (_tamed(g, value) if careful else value)


def _tamed(g: Any, slope: Any) -> Any:
    """The slope, with 0 where it isn't finite and meets a zero cotangent.

    Both conditions: 0 wherever the cotangent is 0 would kill the derivative by the cotangent.
    """
    if finite(slope):
        return slope
    spoiled = (g == 0) & ~np.isfinite(slope)
    return np.where(spoiled, 0, slope) if spoiled.any() else slope


def _quotient(g: Any, d: Any, careful: bool) -> Any:
    """g / d, and 0 where both are 0 or d is nan and g 0: there the slope 1 / d counts as 0."""
    if not careful:
        return g / d
    spoiled = (g == 0) & ~np.isfinite(1 / d)
    if not spoiled.any():
        return g / d
    return np.where(spoiled, 0, g / np.where(spoiled, 1, d))


def _tamed_operands(
    known: Primitive,
    g: Any,
    y: Any,
    operands: Sequence[Any],
    parameters: Any,
) -> Sequence[Any]:
    """The operands of a multilinear function, with 0 for what isn't finite and meets only zero cotangents.

    The rule itself says which cotangents an entry meets: with ones for the other operands and g != 0
    for g, the cotangent of an operand counts, at each of its entries, those that aren't zero.
    """
    if all(o is None or not hasattr(o, "sum") or finite(o) for o in operands):
        return operands
    live = (g != 0).astype(g.dtype)
    ones = [o if not hasattr(o, "dtype") else np.ones(o.shape, g.dtype) for o in operands]
    everything = [o if hasattr(o, "sum") and not finite(o) else None for o in operands]
    met = dict(_by_rule(known, live, y, ones, parameters, _positions(everything)))
    return tuple(o if i not in met else np.where((met[i] == 0) & ~np.isfinite(o), 0, o) for i, o in enumerate(operands))


def _positions(values: Sequence[Any]) -> list[int | None]:
    return [None if value is None else i for i, value in enumerate(values)]


def _by_rule(
    known: Primitive,
    g: Any,
    y: Any,
    operands: Sequence[Any],
    parameters: Any,
    wanted: Sequence[Any],
) -> list[tuple[Any, Any]]:
    if known.cases is None:  # A user's rule: what it writes to in place would be somebody else's array.
        g, y, *operands = (_shown(value) for value in (g, y, *operands))
    return _paired(known, ruled(known, g, y, operands, parameters), operands, wanted, g)


def ruled(known: Primitive, g: Any, y: Any, operands: Sequence[Any], parameters: Any) -> Any:
    """What the rule returns, given the operands at the width of the result (of the widest, of several)."""
    if known.mixes:
        outputs = [part.dtype for part in y if part.dtype.kind in "fc"] if type(y) is tuple else None
        operands = at_width(operands, np.result_type(*outputs) if outputs else y.dtype)
    return known.pull(g, y, operands, parameters)


def _paired(
    known: Primitive, result: Any, operands: Sequence[Any], wanted: Sequence[Any], g: Any
) -> list[tuple[Any, Any]]:
    """What a rule returned, given ``g``, as pairs (parent, cotangent); the last first, as it is often the newest."""
    if type(result) is not tuple:
        result = (result,)
    if len(result) != len(operands):
        raise RuleError(f"the rule of {known.name} returned {len(result)} cotangents for {len(operands)} operands")
    pairs = []
    for parent, c, operand in zip(wanted, result, operands):  # noqa: B905 - they have been counted
        if parent is not None:
            if type(c) is FunctionType:
                c = c()
            if type(c) is not ndarray or c.shape != operand.shape or c.dtype is not operand.dtype:
                c = settled(known, c, operand, g, wanted.index(parent))
                if c is None:
                    continue
            pairs.append((parent, c))
    pairs.reverse()
    return pairs


def _shown(value: Any) -> Any:
    """An array as a read-only view; of a tuple, its parts."""
    if type(value) is tuple:
        return tuple(map(_shown, value))
    return read_only(value) if type(value) is np.ndarray else value


def settled(known: Primitive, c: Any, operand: Any, g: Any, i: int = 0) -> Any:
    """What a rule returned for operand ``i``, as its cotangent; None where the rule says there is none.

    g : the cotangent that the rule was given
    Raises RuleError where it isn't an array of the operand's shape, floating or complex.
    """
    if type(c) is tuple:  # Of a single operand; of several, they have been counted.
        if len(c) != 1:
            raise RuleError(f"the rule of {known.name} returned {len(c)} cotangents for 1 operand")
        c = c[0]
    if callable(c):
        c = c()
    if c is None:
        return None
    shape, dtype = getattr(c, "shape", None), getattr(c, "dtype", None)
    if shape is None or dtype is None:
        raise RuleError(f"the rule of {known.name} returned {type(c).__name__} for operand {i}, not an array")
    if type(g) is np.ndarray and not isinstance(c, (np.ndarray, np.generic)):
        raise RuleError(
            f"the rule of {known.name} returned {type(c).__name__} for operand {i}, given plain arrays: it reads a "
            f"recording tensor that isn't an operand; make it one"
        )
    if shape != operand.shape:
        raise RuleError(
            f"the rule of {known.name} returned a cotangent of shape {shape} for operand {i} of shape {operand.shape}"
        )
    if dtype is not operand.dtype and dtype != operand.dtype:
        if dtype.kind not in "fc":
            raise RuleError(
                f"the rule of {known.name} returned a cotangent of dtype {dtype} "
                f"for operand {i} of dtype {operand.dtype}; a cotangent is floating or complex"
            )
        return fit(c, operand)
    return c
