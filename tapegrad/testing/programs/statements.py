"""Lines that a function call alone is not: views, writes, loops, closures, nested derivatives, branches, dtypes."""

from collections.abc import Callable

import numpy as np

from tapegrad.testing.programs.draft import Draft
from tapegrad.testing.programs.literals import literal
from tapegrad.testing.programs.program import Line

# Expressions of which closures, loops and nested derivatives are made: E stands for another one.
UNARY = (
    "np.sin({})",
    "np.tanh({})",
    "{} * 0.7",
    "np.exp(-{} * {})",
    "np.sqrt({} * {} + 1.0)",
    "np.log(2.0 + np.cos({}))",
    "np.square({})",
    "1.0 / (1.5 + np.sin({}))",
    "np.arctan({})",
    "np.cos({} - 0.3)",
    "({} + 0.4) ** 3",
    "np.abs({} + 3.0)",
    "-{}",
)
BINARY = ("{} * {}", "{} + {}", "{} - {}", "{} / (2.0 + np.tanh({}))", "np.hypot({} + 2.0, {})", "np.logaddexp({}, {})")
REDUCED = ("np.sum({})", "np.mean({})", "np.sum(np.cos({}))", "np.prod(np.tanh({}) + 1.5)", "np.std({} + 0.1)")


def expression(draft: Draft, atoms: list[str], depth: int, real: bool = True) -> str:
    """A smooth expression of the atoms: names of variables, or numbers."""
    if depth == 0 or draft.chance(0.1):
        return draft.pick(atoms)
    if draft.chance(0.4):
        form = draft.pick(BINARY if real else BINARY[:4])
        return form.format(expression(draft, atoms, depth - 1, real), expression(draft, atoms, depth - 1, real))
    form = draft.pick(UNARY if real else UNARY[:3])
    inner = expression(draft, atoms, depth - 1, real)
    if " " in inner:
        inner = f"({inner})"
    return form.format(*[inner] * form.count("{}"))


def _captured(draft: Draft, shape: tuple[int, ...]) -> list[str]:
    """Real variables that combine with an array of a shape into one of the same."""
    found = []
    for name in draft.names("f"):
        try:
            if np.broadcast_shapes(draft.value(name).shape, shape) == shape:
                found.append(name)
        except ValueError:
            continue
    return found


# ---------------------------------------------------------------- views


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


# ---------------------------------------------------------------- loops


def loop(draft: Draft) -> bool:
    """A loop: over a count, over the rows of an array, over places of a buffer."""
    name = draft.some("f")
    if name is None:
        return False
    (fresh,) = draft.fresh()
    value = draft.value(name)
    atoms = [fresh, *_captured(draft, value.shape)[:3]]
    step = expression(draft, atoms, 2)
    forms = [f"{fresh} = {name}\nfor i in range({draft.pick((2, 1, 3))}):\n    {fresh} = {step} + 0.1 * i"]
    if value.ndim and value.shape[0] in (1, 2, 3, 4, 5):
        row = expression(draft, ["row", "0.5", "row"], 2)
        forms += [
            f"{fresh} = 0.2\nfor row in {name}:\n    {fresh} = np.tanh({fresh}) * 0.8 + np.mean({row})",
            f"{fresh} = np.stack([{row} for row in {name}])",
            f"{fresh} = np.zeros_like({name})\nfor i, row in enumerate({name}):\n    {fresh}[i] = {row}",
            f"{fresh} = np.copy({name})\nfor i in range(1, len({name})):\n"
            f"    {fresh}[i] = np.sin({fresh}[i - 1]) * 0.5 + {name}[i]",
            f"{fresh} = sum(np.sin(row) * k for k, row in enumerate({name}))",
        ]
    text = draft.pick(forms)
    if "_like(" in text and not draft.records(name):
        return False
    return draft.take(Line(text, (fresh,), families=("loops",)))


# ---------------------------------------------------------------- closures and nested derivatives


def closure(draft: Draft) -> bool:
    """A function that closes over variables, called on one: plain, called twice, or recursive."""
    name = draft.some("f")
    if name is None:
        return False
    (fresh,) = draft.fresh()
    inner = expression(draft, ["t", *_captured(draft, draft.value(name).shape)[:3]], 2)
    text = draft.pick(
        (
            f"def f(t):\n    return {inner}\n\n{fresh} = f({name})",
            f"def f(t):\n    return {inner}\n\n{fresh} = f(f({name}) * 0.5)",
            f"def f(t, n=2):\n    return t if n == 0 else f({inner}, n - 1)\n\n{fresh} = f({name})",
            f"f = [lambda t, k=k: k * ({inner}) for k in (0.5, 1.5)]\n{fresh} = f[0]({name}) + f[1]({name})",
        )
    )
    return draft.take(Line(text, (fresh,), families=("closures",)))


def nested(draft: Draft) -> bool:
    """A derivative inside of the program, of a function that may close over its variables."""
    name = draft.some("f")
    if name is None or not 0 < draft.value(name).size <= 12:
        return False
    shape = draft.value(name).shape
    (fresh,) = draft.fresh()
    captured = _captured(draft, shape)[:3]
    inner = expression(draft, ["t", "t", *captured], 2)
    if "t" not in inner.replace("tanh", "").replace("sqrt", "").replace("arctan", "").replace("np.", ""):
        return False
    scalar = draft.pick(REDUCED).format(inner)
    same = [n for n in captured if draft.value(n).shape == shape] or [name]
    tangent = draft.pick(same)
    forms = [
        f"{fresh} = tg.grad(lambda t: {scalar})({name})",
        f"{fresh} = tg.value_and_grad(lambda t: {scalar})({name})[1]",
        f"{fresh} = tg.jvp(lambda t: {inner}, ({name},), ({tangent},))[1]",
        f"{fresh} = tg.vjp(lambda t: {inner} * np.ones_like(t), {name})[1]({tangent})[0]",
        f"{fresh} = tg.hvp(lambda t: {scalar}, ({name},), ({tangent},))[0]",
        f"{fresh} = tg.elementwise_grad(lambda t: {inner})({name})",
        f"{fresh} = tg.jacobian(lambda t: {inner})({name})",
        f"{fresh} = tg.hessian(lambda t: {scalar})({name})",
        f"{fresh} = tg.checkpoint(lambda t: {inner})({name})",
        f"{fresh} = tg.linearize(lambda t: {inner}, {name})[1]({tangent})",
        f"{fresh} = tg.grad(lambda t: np.sum(tg.grad(lambda s: np.sum(np.sin(s) * t))(t) * ({inner})))({name})",
    ]
    return draft.take(Line(draft.pick(forms), (fresh,), families=("nested derivatives",)))


# ---------------------------------------------------------------- branches, dtypes, constants


def branch(draft: Draft) -> bool:
    """A choice by ``np.where``, also of what isn't finite where it isn't chosen; or by a value's sign."""
    name = draft.some("f")
    if name is None:
        return False
    (fresh,) = draft.fresh()
    value = draft.value(name)
    bound = draft.pick((0.0, 0.25, -0.4))
    if value.size and np.abs(value - bound).min() < 0.02:
        return False  # Too near for differences.
    there = expression(draft, [name, *_captured(draft, value.shape)[:2]], 1)
    forms = [
        f"{fresh} = np.where({name} > {bound}, {there}, {name} * 0.5)",
        f"{fresh} = np.where({name} < {bound}, {there}, -0.3)",
        f"{fresh} = np.where({name} > {max(bound, 0.0)}, np.sqrt({name}), 0.0)",
        f"{fresh} = np.where({name} > {max(bound, 0.0)}, np.log({name}), {there})",
        f"{fresh} = np.where({name} > {max(bound, 0.0)}, np.sin({name}) / {name}, 1.0)",
        f"{fresh} = ({name} > {bound}) * ({there})",
        f"{fresh} = {there} if np.sum({name}) > {bound} * {value.size} else {name} * 2.0",
        f"{fresh} = np.maximum({name}, {bound}) * ({there})",
        f"{fresh} = np.floor({name}) * 0.1 + {there}",
        f"{fresh} = ({there}) * np.sign({name} - {bound})",
    ]
    return draft.take(Line(draft.pick(forms), (fresh,), families=("branches",)))


def mixture(draft: Draft) -> bool:
    """An operation with another dtype, or with a number of Python's."""
    name = draft.some()
    if name is None:
        return False
    (fresh,) = draft.fresh()
    shape = draft.value(name).shape
    constant = literal(draft.rng.integers(1, 4, shape))
    real = draft.some("f") or name
    forms = [
        f"{fresh} = {name} * 2",
        f"{fresh} = {name} + {constant}",
        f"{fresh} = {constant} * {name} - 1",
        f"{fresh} = {name} * np.float32(0.5)",
        f"{fresh} = np.int64(3) - {name}",
        f"{fresh} = {name} * True",
        f"{fresh} = {name} * (0.6 + 0.8j)",
        f"{fresh} = np.real({name}) + np.sum({real}) * 0.1",
        f"{fresh} = np.imag({name}) * 0.5 + np.real({name})",
        f"{fresh} = {name}.astype(np.complex128)",
        f"{fresh} = {name} / {constant}",
        f"{fresh} = {name} ** 2",
        f"{fresh} = {name} ** {constant}",
    ]
    return draft.take(Line(draft.pick(forms), (fresh,), families=("dtypes",)))
