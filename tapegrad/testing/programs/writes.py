"""Lines about memory: views of what is there, and writes into it, through views and by functions."""

from collections.abc import Callable

import numpy as np

from tapegrad.testing.programs.draft import Draft
from tapegrad.testing.programs.literals import literal
from tapegrad.testing.programs.program import Line

VIEWS = (
    "{}.T",
    "{}[::-1]",
    "{}.reshape(-1)",
    "{}[..., None]",
    "{}[:]",
    "{}.swapaxes(0, -1)",
    "np.ravel({})",
    "np.diagonal({})",
    "np.squeeze({})",
    "np.flip({})",
    "np.expand_dims({}, 0)",
    "np.broadcast_to({0}, (2, *{0}.shape))",
    "np.moveaxis({}, 0, -1)",
    "np.atleast_2d({})",
    "{}[..., 1:]",
    "{}[..., 0]",
    "{}[0]",
    "list({})[-1]",
    "{}.reshape({0}.shape[::-1], order='F')",
    "np.lib.stride_tricks.sliding_window_view({}, 2, axis=0)",
    "np.real({})",
    "np.rot90({})",
)


def view(draft: Draft) -> bool:
    """A view of a variable (a copy, where NumPy has no view)."""
    name = draft.some()
    if name is None:
        return False
    (fresh,) = draft.fresh()
    form = draft.pick(VIEWS)
    text = form.replace("{}", "{0}").format(name)
    return draft.take(Line(f"{fresh} = {text}", (fresh,), families=("views",)))


# ---------------------------------------------------------------- writes


def write(draft: Draft) -> bool:
    """A write into a copy of a variable, into a fresh buffer, or through a view of one."""
    written = [name for name in draft.names() if _writable(draft, name)]
    if not written or draft.chance(0.4):
        return _buffer(draft)
    target = draft.pick(written)
    for _ in range(4):
        text = draft.pick(_WRITES)(draft, target)
        if text and draft.take(Line(text, families=("writes",))):
            return True
    return False


def _buffer(draft: Draft) -> bool:
    name = draft.some()
    if name is None or not draft.value(name).ndim:
        return False
    (fresh,) = draft.fresh()
    form = draft.pick(
        ("{} * 1.0", "np.copy({})", "np.zeros_like({})", "np.array({0}, like={0})", "np.full_like({}, 0.5)")
    )
    if not draft.records(name):  # A plain array would take no tensor.
        form = "{} * 1.0 + 0.0 * np.sum(x0)"
    if not draft.take(Line(f"{fresh} = {form.replace('{}', '{0}').format(name)}", (fresh,), families=("writes",))):
        return False
    draft.buffers.append(fresh)
    return True


def _writable(draft: Draft, name: str) -> bool:
    value = draft.value(name)
    return (
        isinstance(value, np.ndarray)
        and value.flags.writeable
        and any(np.shares_memory(value, draft.value(buffer)) for buffer in draft.buffers)
    )


def _index(draft: Draft, shape: tuple[int, ...]) -> str:
    """Source of an index into an array of a shape: of every kind."""
    if not shape or 0 in shape:
        return "..."
    n, last = shape[0], shape[-1]
    rng = draft.rng
    return draft.pick(
        (
            "0",
            "...",
            "-1",
            f"{int(rng.integers(n))}:",
            "::2",
            "::-1",
            f"..., {int(rng.integers(-last, last))}",
            literal([int(i) for i in rng.integers(-n, n, size=2)]),
            literal(rng.random(shape) < 0.5),
            f"{literal(rng.integers(-n, n, size=3))}",
            ", ".join(str(int(rng.integers(m))) for m in shape),
        )
    )


def _value(draft: Draft, target: str, shape: tuple[int, ...], masked: bool = False) -> str:
    """Source of something that can be written into a place of a shape."""
    complex_ = draft.value(target).dtype.kind == "c"
    for name in draft.names("fc" if complex_ else "f"):
        value = draft.value(name)
        if value.shape == shape and draft.chance(0.5):
            # NumPy computes a write through a mask wrongly where the value lies in the same memory.
            overlaps = masked and np.may_share_memory(value, draft.value(target))
            return f"{name} * 0.9" if overlaps or draft.chance(0.5) else name
    name = draft.pick(draft.names("f") or ["0.5"])
    return f"np.mean({name})" if draft.chance(0.6) and name != "0.5" and draft.value(name).size else "0.4"


def _assigned(draft: Draft, target: str) -> str:
    index = _index(draft, draft.value(target).shape)
    place = draft.evaluate(f"{target}[{index}]").shape
    symbol = draft.pick(("=", "=", "+=", "*=", "-="))
    return f"{target}[{index}] {symbol} {_value(draft, target, place, masked='[' in index)}"


def _augmented(draft: Draft, target: str) -> str:
    symbol = draft.pick(("+=", "*=", "-="))
    return f"{target} {symbol} {_value(draft, target, draft.value(target).shape)}"


def _at(draft: Draft, target: str) -> str:
    shape = draft.value(target).shape
    if not shape or 0 in shape:
        return ""
    index = literal(draft.rng.integers(-shape[0], shape[0], size=3))
    place = draft.evaluate(f"{target}[{index}]").shape
    value = _value(draft, target, place)
    return f"np.{draft.pick(('add', 'subtract', 'multiply'))}.at({target}, {index}, {value})"


def _out(draft: Draft, target: str) -> str:
    shape = draft.value(target).shape
    names = draft.names("f", shape)
    if not names:
        return ""
    a, b = draft.pick(names), draft.pick(names)
    mask = f", where={literal(draft.rng.random(shape) < 0.5)}" if draft.chance(0.3) else ""
    form = draft.pick(("multiply({a}, {b}", "add({a}, {b}", "sin({a}", "tanh({a}", "subtract({a}, {b}", "square({b}"))
    return f"np.{form.format(a=a, b=b)}, out={target}{mask})"


def _reduced(draft: Draft, target: str) -> str:
    shape = draft.value(target).shape
    found = [name for name in draft.names("f") if draft.value(name).shape[1:] == shape and draft.value(name).ndim]
    if not found:
        return ""
    return f"np.{draft.pick(('sum', 'mean', 'prod'))}({draft.pick(found)}, axis=0, out={target})"


def _by_function(draft: Draft, target: str) -> str:
    value = draft.value(target)
    shape, rng = value.shape, draft.rng
    if not value.size or not shape:
        return ""
    mask = literal(rng.random(shape) < 0.5)
    given = _value(draft, target, shape, masked=True)
    full = given if given not in ("0.4",) else f"np.full({shape}, 0.4)"
    return draft.pick(
        (
            f"np.copyto({target}, {given}, where={mask})",
            f"np.putmask({target}, {mask}, {full} * 0.9)",
            f"np.place({target}, {mask}, {full} * 0.9)",
            f"np.put({target}, {literal(rng.integers(-value.size, value.size, size=3))}, {given} * 1.1)",
            f"np.put_along_axis({target}, {literal(np.zeros((1, *shape[1:]), int))}, np.mean({target}) * 0.8, axis=0)",
            f"np.fill_diagonal({target}, 0.3)",
            f"{target}[[0, -1]] = {target}[[-1, 0]]",
            f"{target}[1:] += {target}[:-1]",
            f"{target}.sort(axis=-1)" if len(np.unique(value.real)) == value.size else f"{target}[0] *= 0.5",
        )
    )


_WRITES: tuple[Callable[[Draft, str], str], ...] = (_assigned, _augmented, _at, _out, _reduced, _by_function)
