"""Lines that a function call alone is not: loops, closures, nested derivatives, branches, dtypes."""

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
        f"{fresh} = tg.checkpoint(lambda t: ({inner}) * 1.0)({name})",  # of arrays, t itself would be no copy
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
        f"{fresh} = np.maximum({name}, {bound}) * ({there})",
        f"{fresh} = np.floor({name}) * 0.1 + {there}",
        f"{fresh} = ({there}) * np.sign({name} - {bound})",
    ]
    if abs(np.sum(value) - bound * value.size) > 0.2:
        forms.append(f"{fresh} = {there} if np.sum({name}) > {bound} * {value.size} else {name} * 2.0")
    return draft.take(Line(draft.pick(forms), (fresh,), families=("branches",)))


def filled(draft: Draft) -> bool:
    """An array filled with a value: by ``like=`` alone does NumPy ask us, so that it is no call of the table."""
    name = draft.some("f")
    if name is None or not draft.value(name).ndim:  # NumPy takes arrays for like=, no scalars.
        return False
    (fresh,) = draft.fresh()
    shape = draft.pick(((3,), (2, 3), ()))
    text = f"{fresh} = np.full({shape}, np.sum({name}), like={name})"
    return draft.take(Line(text, (fresh,), ("np.full",), ("filling",)))


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
