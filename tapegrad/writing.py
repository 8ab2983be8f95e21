"""Writing: ``t[index] = value``, ``t += u`` and ``out=t``."""

import math
import opcode
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad import dispatch
from tapegrad.dispatch import call, fact, records, static
from tapegrad.entries import POSITIONS, Entry, leaf_of
from tapegrad.errors import DTypeError, ImmutableError, ShapeError, WriteError
from tapegrad.pieces import WRITE, Layout, Place, step, strided
from tapegrad.primitive import look_up
from tapegrad.recording import STATE, no_grad
from tapegrad.shapes import cast, spec_of
from tapegrad.storage import Alias, Storage, alias_of, alone, is_basic, place_of

_STORE_SUBSCR = opcode.opmap["STORE_SUBSCR"]


def setitem(t: Any, index: Any, value: Any, what: str = "t[index] = value") -> None:
    """``t[index] = value``: seen by every alias of ``t``, in value and gradient."""
    if type(t._kin) is not Alias and isinstance(t._value, np.generic) and not (t._entry and leaf_of(t._entry)):
        raise ImmutableError(f"{what}: a scalar tensor (a {type(t._value).__name__}) is immutable, as NumPy's are")
    alias = alias_of(t)
    storage = alias.storage
    enabled = STATE.get().enabled
    if enabled and storage.is_leaf:
        raise WriteError(
            f"{what} would write to a recording leaf; work on x.copy(), or update it inside 'with tapegrad.no_grad():'"
        )
    if not alias.writeable:
        raise WriteError(f"{what}: assignment destination is read-only")
    if type(index) is not int:
        index = static(index, what, "index")
    basic = is_basic(index)
    place: Place
    if basic:
        place = place_of(alias, index)
        if type(value) is type(t) and type(value._kin) is Alias and value._kin.storage is storage:
            if value._kin.layout == place:
                return  # y[i] += u ends in an assignment of what was written already.
            if type(index) is int:
                _refuse_shuffling(what)
    else:
        _refuse_overlap(alias, index, value, what)
        place = storage.places(alias.layout, index, writing=True)
    # Before the lock is taken: looking at the value may take that of another storage.
    parent = _recorded_entry(value, alias, what) if enabled else None
    written = _plain_value(value, alias.layout.dtype, what)
    with storage.lock:
        if enabled and not alias.records and (parent is not None or storage.state is not None):
            raise WriteError(f"{what}: this view was taken under no_grad, and records nothing; take it again")
        whole = isinstance(place, Layout) and _covers(place, storage)
        _write(alias, index, place, written, whole)
        storage.make_stale()
        if (storage.is_leaf and not enabled) or (parent is None and storage.state is None):
            return
        entry = _go_on(storage, place, written, parent, None if whole else storage.state)
    if entry is not None:
        for tape in STATE.get().tapes:
            tape.observe(fact(entry, alias.array()))


def _go_on(storage: Storage, place: Place, written: Any, parent: Entry | None, before: Entry | None) -> Entry | None:
    """Make the state after a write the present one: its entry, None where it records nothing."""
    entry: Entry | None = None
    if parent is not None or before is not None:
        given = spec_of(written) if hasattr(written, "dtype") else written
        entry = step(next(POSITIONS), WRITE, place, given, storage.spec, parent, before)
    storage.state = entry
    return entry


def gather(t: Any) -> None:
    """From now on, let whatever is read of a written tensor's places pass its present entry, where a hook may stand."""
    alias = t._kin
    storage = alias.storage
    value, entry = t._value, t._entry
    with storage.lock:
        place = alias.layout
        if entry is storage.home[0] or not alias.writeable or t._node is not entry:
            return  # All that is read passes it; or it is no place of its own; or another thread wrote meanwhile.
        storage.make_stale()
        _go_on(storage, place, value, entry, None if _covers(place, storage) else storage.state)
        storage.keep(t, value, entry)


def _refuse_shuffling(what: str) -> None:
    """Raise where no assignment in Python asked for a part of an array to be put in place of another.

    ``rng.shuffle(t)`` swaps rows by views, from C, and would write one row to both places.
    """
    frame: Any = sys._getframe(2)
    if frame.f_code.co_code[frame.f_lasti] != _STORE_SUBSCR:
        raise WriteError(f"{what}: rng.shuffle and the like can't swap parts of a tensor; take t[rng.permutation(n)]")


def _covers(layout: Layout, storage: Any) -> bool:
    """Whether a layout is the whole buffer, each element once."""
    size = math.prod(layout.shape)
    return size == storage.spec.size and layout.dtype == storage.spec.dtype and 0 not in layout.strides


def _recorded_entry(value: Any, alias: Alias, what: str) -> Entry | None:
    if type(value) is not dispatch.Tensor or value._entry is None:
        return None
    target = alias.layout.dtype
    if target.kind not in "fc":
        raise DTypeError(f"{what}: a recording value into a buffer of dtype {target}; give the buffer a float dtype")
    if value.dtype.kind == "c" and target.kind != "c":
        raise DTypeError(f"{what}: a complex value into a buffer of dtype {target}; take .real, or a complex buffer")
    entry: Entry = value._entry
    return entry


def _plain_value(value: Any, dtype: Any, what: str) -> Any:
    if type(value) is dispatch.Tensor:
        return value._value
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{what}: {type(value).__name__} is refused; pass a plain array")
    if isinstance(value, (int, float, complex, bool)):
        return value
    value = np.asarray(value)
    return value if value.dtype.kind in "biufc" else value.astype(dtype)  # Now, so that it fails before the write.


def _is_mask(index: Any) -> bool:
    items = index if type(index) is tuple else (index,)
    return any(isinstance(item, (list, np.ndarray)) and np.asarray(item).dtype.kind == "b" for item in items)


def _refuse_overlap(alias: Alias, index: Any, value: Any, what: str) -> None:
    kin = getattr(value, "_kin", None)
    if type(kin) is not Alias or kin.storage is not alias.storage or not _is_mask(index):
        return
    if np.shares_memory(kin.array(), alias.array()):
        raise WriteError(
            f"{what}: with a mask, NumPy itself computes this wrongly where the value overlaps the target; "
            f"assign value.copy()"
        )


def _write(alias: Alias, index: Any, place: Place, value: Any, whole: bool) -> None:
    """Let NumPy write, into a buffer that no entry holds; where it refuses, nothing has changed."""
    storage = alias.storage
    buffer = storage.buffer
    lent = storage.lent
    if lent:
        storage.take(np.empty_like(buffer) if whole else buffer.copy())
    try:
        if isinstance(place, Layout):
            strided(storage.buffer, place)[...] = value
        else:
            alias.array()[index] = value
    except BaseException:
        if lent:
            storage.take(buffer)
            storage.lent = True
        raise


# ---------------------------------------------------------------- in place


_PLAIN = frozenset({np.ndarray, float, int})


def in_place(operate: Callable[[Any, Any], Any], symbol: str) -> Callable[[Any, Any], Any]:
    """An in-place operator; ``operate`` is the same out of place."""

    def operator(a: Any, b: Any) -> Any:
        kin = a._kin
        if type(kin) is not Alias and isinstance(a._value, np.generic) and not (a._entry and leaf_of(a._entry)):
            return operate(a, b)  # NumPy's scalars are immutable: the name is bound anew.
        enabled = STATE.get().enabled
        if enabled and type(kin) is not Alias and a._entry is not None and leaf_of(a._entry) is not None:
            raise WriteError(
                f"{symbol} would write to a recording leaf; write x = x {symbol[:-1]} ..., "
                f"or update it inside 'with tapegrad.no_grad():'"
            )
        if isinstance(b, (np.ma.MaskedArray, np.matrix)):
            raise DTypeError(f"{symbol}: {type(b).__name__} is refused as an operand; pass a plain array")
        # An update of a parameter: nothing to record, so on the arrays themselves.
        update = not enabled and type(b) in _PLAIN and alone(a)
        result = operate(a._value if update else a, b)
        if result is NotImplemented:
            return result
        result = fitted(result, a._spec, symbol)
        if not alone(a):
            setitem(a, ..., result, symbol)
            return a
        # A new buffer, never a write into the old one: entries may hold that, and .data was given out.
        value = result._value if type(result) is type(a) else result
        if a._entry is None or leaf_of(a._entry) is None:
            a._entry = result._entry if type(result) is type(a) else None
        a._value = _ordered(value, a._value) if isinstance(a._value, np.ndarray) else value
        return a

    return operator


def renew(a: Any, value: Any) -> None:
    """Write a leaf anew as a whole: an optimiser's step. ``value`` is an array like it that nobody else holds."""
    if alone(a):
        a._value = _ordered(value, a._value) if isinstance(a._value, np.ndarray) else value
    else:
        with no_grad():
            setitem(a, ..., value)


def _ordered(value: Any, old: Any) -> Any:
    """An array in the order of another one: it decides what will be a view of it."""
    value = np.asarray(value)
    if value.ndim < 2 or value.strides == old.strides:
        return value
    same = np.empty_like(old)
    same[...] = value
    return same


def fitted(result: Any, spec: Any, what: str) -> Any:
    """A result as it goes into an array of this spec: of its shape, cast to its dtype."""
    shape = getattr(result, "shape", ())
    if shape != spec.shape:
        raise ShapeError(f"{what}: a result of shape {shape} doesn't fit a tensor of shape {spec.shape}")
    if result.dtype != spec.dtype:
        if not np.can_cast(result.dtype, spec.dtype, "same_kind"):
            raise DTypeError(f"{what}: a result of dtype {result.dtype} can't be cast to {spec.dtype}")
        return cast(result, spec.dtype)
    return result


# ---------------------------------------------------------------- out=


def into(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``function(*args, out=..., **kwargs)``: computed by itself, then written, as by ``t[...] = result``."""
    kwargs = dict(kwargs)
    out = kwargs.pop("out")
    targets = out if type(out) is tuple else (out,)
    casting = kwargs.get("casting", "same_kind") if isinstance(function, np.ufunc) else "same_kind"
    index: Any = ...
    where = kwargs.get("where", True)
    if isinstance(function, np.ufunc) and where is not True and where is not np._NoValue:
        index, args = _picked(function, args, kwargs.pop("where"), targets)
        results = function(*args, **kwargs)
    elif function in _GO_ON_IN_OUT and hasattr(targets[0], "dtype") and targets[0].dtype.kind in "fc":
        after = dict(zip(("ddof", "keepdims"), args[4:], strict=False))
        like = targets[0].shape, targets[0].dtype
        results = look_up(function).run(*args[:3], **after, **kwargs, out=like)  # type: ignore[union-attr]
    else:
        results = call(function, args, _in_dtype_of_out(function, args, kwargs, targets[0]))
    several = type(results) is tuple
    for target, result in zip(targets, results if several else (results,), strict=True):
        if target is not None:
            _put(function, target, index, result, casting)
    if several:
        return tuple(r if t is None else t for t, r in zip(targets, results, strict=True))
    return targets[0]


def _picked(function: Any, args: Any, where: Any, targets: Sequence[Any]) -> tuple[Any, list[Any]]:
    """With ``where=`` only the places that it names are computed, and written: the mask, and the operands there."""
    if None in [None if target is None else 0 for target in targets]:
        raise WriteError(f"np.{function.__name__}: where= needs an out= for each result; the rest would be anything")
    shape = targets[0].shape
    mask = np.broadcast_to(static(where, function.__name__, "where"), shape)
    operands = [np.broadcast_to(a, shape) if hasattr(a, "shape") or np.ndim(a) else a for a in args]
    return mask, [a[mask] if hasattr(a, "shape") else a for a in operands]


# What adds up in the dtype of its out=, where that isn't given by dtype=.
_IN_DTYPE_OF_OUT = (np.sum, np.prod, np.cumsum, np.cumprod, np.mean)
# What takes a mean in the dtype of its data, and adds up, divides and takes the root in that of its out=.
_GO_ON_IN_OUT = (np.var, np.std)


def _in_dtype_of_out(function: Any, args: Any, kwargs: dict[str, Any], target: Any) -> dict[str, Any]:
    ufunc = getattr(function, "__self__", None)
    if function not in _IN_DTYPE_OF_OUT and not (ufunc in (np.add, np.multiply) and function.__name__ != "outer"):
        return kwargs
    dtype = getattr(args[0], "dtype", target.dtype) if args else target.dtype
    if (len(args) > 2 and args[2] is not None) or kwargs.get("dtype") is not None or dtype == target.dtype:
        return kwargs
    return kwargs | {"dtype": target.dtype} if np.can_cast(dtype, target.dtype, "same_kind") else kwargs


def _put(function: Any, target: Any, index: Any, result: Any, casting: Any) -> None:
    name = getattr(function, "__name__", "out")
    if type(target) is not dispatch.Tensor and records(result):
        raise WriteError(
            f"np.{name}: out= is a plain array, which can't record; make the buffer with np.zeros(n, like=x)"
        )
    dtype = getattr(result, "dtype", None)
    if dtype is not None and not np.can_cast(dtype, target.dtype, casting):
        raise DTypeError(
            f"np.{name}: a result of dtype {dtype} can't be cast to the out= of dtype {target.dtype} "
            f"according to the rule {casting!r}"
        )
    if index is ... and np.broadcast_shapes(np.shape(result), target.shape) != target.shape:
        raise ShapeError(f"np.{name}: a result of shape {np.shape(result)} doesn't fit out= of shape {target.shape}")
    if type(target) is dispatch.Tensor:
        setitem(target, index, result, f"np.{name}: out=")
    else:
        target[index] = result


dispatch.into = into
