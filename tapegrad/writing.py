"""Writing: ``t[index] = value``, ``t += u`` and ``out=t``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad import dispatch
from tapegrad.dispatch import call, fact, records, static
from tapegrad.entries import POSITIONS, Entry, leaf_of
from tapegrad.errors import DTypeError, ImmutableError, ShapeError, WriteError
from tapegrad.pieces import WRITE, Layout, Place
from tapegrad.recording import STATE
from tapegrad.shapes import cast, spec_of
from tapegrad.storage import Alias, alias_of, is_basic, target_of


def _is_mask(index: Any) -> bool:
    items = index if type(index) is tuple else (index,)
    return any(isinstance(item, np.ndarray) and item.dtype.kind == "b" for item in items)


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
    index = static(index, what, "index")
    basic = is_basic(index)
    place: Place
    if basic:
        place = alias.layout_of(target_of(alias, index))
        if type(value) is type(t) and _is_same(value, storage, place):
            return  # y[i] += u ends in an assignment of what was written already.
    parent = _recorded_entry(value, alias, what) if enabled else None
    written = _plain_value(value, what)
    if enabled and not alias.records and (parent is not None or storage.state is not None):
        raise WriteError(f"{what}: this view was taken under no_grad, and records nothing; take it again")
    if not basic:
        _refuse_overlap(alias, index, value, what)
        place = storage.places(alias.layout, index)
    whole = basic and isinstance(place, Layout) and _covers(place, storage)
    _write(alias, index, basic, written, whole)
    storage.make_stale()
    if (storage.is_leaf and not enabled) or (parent is None and storage.state is None):
        return
    before = None if whole else storage.state
    if parent is None and before is None:
        storage.state = None
        return
    given = spec_of(written) if hasattr(written, "dtype") else written
    entry: Entry = [next(POSITIONS), WRITE, place, given, storage.spec, parent, before]
    storage.state = entry
    for tape in STATE.get().tapes:
        tape.observe(fact(entry, alias.array()))


def _is_same(value: Any, storage: Any, layout: Layout) -> bool:
    kin = value._kin
    return type(kin) is Alias and kin.storage is storage and kin.layout == layout


def _covers(layout: Layout, storage: Any) -> bool:
    """Whether a layout is the whole buffer, each element once."""
    size = int(np.prod(layout.shape))
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


def _plain_value(value: Any, what: str) -> Any:
    if type(value) is dispatch.Tensor:
        return value._value
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{what}: {type(value).__name__} is refused; pass a plain array")
    if isinstance(value, (int, float, complex, bool)):
        return value
    return np.asarray(value)


def _refuse_overlap(alias: Alias, index: Any, value: Any, what: str) -> None:
    kin = getattr(value, "_kin", None)
    shared = type(kin) is Alias and kin.storage is alias.storage and np.may_share_memory(kin.array(), alias.array())
    if shared and _is_mask(index):
        raise WriteError(
            f"{what}: with a mask, NumPy itself computes this wrongly where the value overlaps the target; "
            f"assign value.copy()"
        )


def _write(alias: Alias, index: Any, basic: bool, value: Any, whole: bool) -> None:
    """Let NumPy write, into a buffer that no entry holds; where it refuses, nothing has changed."""
    storage = alias.storage
    buffer = storage.buffer
    lent = storage.lent
    if lent:
        storage.take(np.empty_like(buffer) if whole else buffer.copy())
    try:
        target = alias.array()
        if basic:
            target_of(alias, index)[...] = value
        else:
            target[index] = value
    except BaseException:
        if lent:
            storage.take(buffer)
            storage.lent = True
        raise


# ---------------------------------------------------------------- in place


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
        result = operate(a, b)
        if result is NotImplemented:
            return result
        result = fitted(result, a._spec, symbol)
        if kin is not None:
            setitem(a, ..., result, symbol)
            return a
        # A new buffer, never a write into the old one: entries may hold that, and .data was given out.
        value = result._value if type(result) is type(a) else result
        if a._entry is None or leaf_of(a._entry) is None:
            a._entry = result._entry if type(result) is type(a) else None
        a._value = np.asarray(value) if isinstance(a._value, np.ndarray) else value
        return a

    return operator


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
    several = type(out) is tuple and len(out) > 1
    targets = out if type(out) is tuple else (out,)
    if not several and isinstance(function, np.ufunc) and kwargs.get("where", True) is not True:
        return _where(function, args, kwargs, targets[0])
    results = call(function, args, kwargs)
    for target, result in zip(targets, results if several else (results,), strict=True):
        if target is not None:
            _put(function, target, ..., result)
    if several:
        return tuple(r if t is None else t for t, r in zip(targets, results, strict=True))
    return targets[0]


def _where(function: Any, args: Any, kwargs: dict[str, Any], target: Any) -> Any:
    """With ``where=``: only the places that it names are computed, and written."""
    where = static(kwargs.pop("where"), function.__name__, "where")
    where = np.broadcast_to(where, target.shape)
    operands = [a if np.ndim(a) == 0 and not hasattr(a, "shape") else np.broadcast_to(a, target.shape) for a in args]
    picked = [a[where] if hasattr(a, "shape") else a for a in operands]
    _put(function, target, where, function(*picked, **kwargs))
    return target


def _put(function: Any, target: Any, index: Any, result: Any) -> None:
    name = getattr(function, "__name__", "out")
    if type(target) is not dispatch.Tensor:
        if records(result):
            raise WriteError(
                f"np.{name}: out= is a plain array, which can't record; make the buffer with np.zeros(n, like=x)"
            )
        target[index] = result
        return
    dtype = getattr(result, "dtype", None)
    if dtype is not None and not np.can_cast(dtype, target.dtype, "same_kind"):
        raise DTypeError(f"np.{name}: a result of dtype {dtype} can't be cast to the out= of dtype {target.dtype}")
    if np.broadcast_shapes(np.shape(result), target[index].shape) != target[index].shape:
        raise ShapeError(f"np.{name}: a result of shape {np.shape(result)} doesn't fit out= of shape {target.shape}")
    setitem(target, index, result, f"np.{name}: out=")


dispatch.into = into
