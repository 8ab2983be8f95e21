"""Lines that call a function of the table, as one of its cases calls it, on what the program has."""

import functools
import inspect
from typing import Any

import numpy as np

from tapegrad.cases import Call, Domain
from tapegrad.kinds import Elementwise, Known, Primitive
from tapegrad.testing.draw import Slot, Trial, checked, elementwise_trial, trials_of
from tapegrad.testing.programs.draft import REFUSALS, Draft
from tapegrad.testing.programs.literals import UnprintableError, expression_of, literal
from tapegrad.testing.programs.program import Line

NARROW = (np.float16, np.float32, np.complex64)
# Their operands are matrices: what is drawn for them is far from singular, what a program makes may not be.
OF_MATRICES = ("decompositions", "linalg", "spectra", "determinants", "fitting", "norms", "polynomial")
CONDITION = 30.0  # of the matrices that such a function is given as they are
BY_FAMILY = 0.6  # of the calls, the family is drawn first: each pair of them is to be met, of small ones too
TRIES = 3  # of a function's calls: one that is hard to write is to be met as often as the others
DIGITS = 2  # that drawn constants are rounded to, where the domain allows it


def family_of(known: Known) -> str:
    """The family of a function: the module that its rule stands in.

    >>> from tapegrad.primitive import look_up
    >>> family_of(look_up(np.sum)), family_of(look_up(np.sin))
    ('reductions', 'elementwise')
    """
    if isinstance(known, Elementwise):
        makers = [slope.value for slope in known.slopes if slope is not None and callable(slope.value)]
        modules = [str(maker.__module__) for maker in makers]
        return modules[0].split(".")[-1] if modules else "elementwise"
    run = known.rule if isinstance(known, Primitive) else known.run
    module = getattr(run, "__globals__", {}).get("__name__") or getattr(run, "__module__", None) or "numpy"
    return str(module).split(".")[-1]


@functools.cache
def callable_trials() -> dict[str, list[Trial]]:
    """The calls that programs are made of: name of a function -> its trials that can be printed."""
    found: dict[str, list[Trial]] = {}
    for known in checked():
        trials = [t for t in trials_of(known) if t.slots and _printable(t)]
        if trials and not numpy_is_wrong(known.function):
            found.setdefault(known.name, []).extend(trials)
    return found


def numpy_is_wrong(function: Any) -> bool:
    """Whether NumPy itself reduces wrongly by a ufunc: 2.4 does, by power and arctan2 on processors with AVX-512.

    Their loops read ahead of what they write, along contiguous axes: ``np.power.reduce([1.69, 0.31, 1.26])``
    is 1.69 ** 1.26.
    """
    ufunc = getattr(function, "__self__", None)
    if not isinstance(ufunc, np.ufunc) or function.__name__ not in ("reduce", "reduceat") or ufunc.nin != 2:
        return False
    row = np.array([1.69, 0.31, 1.26, 0.87])
    with np.errstate(all="ignore"):
        return not np.isclose(functools.reduce(ufunc, row), ufunc.reduce(row), rtol=1e-9, equal_nan=True)


def _printable(trial: Trial) -> bool:
    parameters = trial.call.parameters
    narrow = any(v in NARROW for v in parameters.values() if isinstance(v, (type, np.dtype)))
    narrow |= any(a.dtype in NARROW for a in trial.constants)
    try:
        expression_of(trial.known.function)
        literal([o for o in trial.call.operands if type(o) is not tuple])
        literal(parameters)
    except UnprintableError:
        return False
    # Differences of a program that rounds to float32 on its way tell little; and an operand that is overwritten may be
    # needed further on.
    return not narrow and not parameters.get("overwrite_input")


@functools.cache
def functions_of(family: str | None) -> tuple[str, ...]:
    """The names of the functions of a family; of all, if None.

    Raises ValueError where there is no such family.
    """
    names = tuple(
        name for name, trials in callable_trials().items() if family in (None, family_of(trials[0].known), name)
    )
    if not names:
        raise ValueError(f"no family and no function is called {family!r}; there are {', '.join(families())}")
    return names


@functools.cache
def families() -> tuple[str, ...]:
    """The families of the functions that programs call."""
    return tuple(sorted({family_of(trials[0].known) for trials in callable_trials().values()}))


def forget() -> None:
    """Look at the table anew: something was entered in it."""
    for cached in (callable_trials, functions_of, families):
        cached.cache_clear()


# ---------------------------------------------------------------- one call


def call(draft: Draft, only: str | None = None) -> bool:
    """Write a call of a function drawn from the table (with what brings its operands into its domain)."""
    if only is None and draft.chance(BY_FAMILY):
        only = draft.pick(families())
    name = draft.pick(functions_of(only))
    count = len(draft.lines)
    for _ in range(TRIES):
        trial = draft.pick(callable_trials()[name])
        if isinstance(trial.known, Elementwise) and trial.number == 0:
            trial = _of_other_shapes(draft, trial.known)
        if _write(draft, trial, name) and len(draft.lines) > count:
            return True
        draft.back_to(count)
    return False


def _of_other_shapes(draft: Draft, known: Elementwise) -> Trial:
    """The call of an elementwise function on the shape of some variable, and on what broadcasts to it."""
    variable = draft.some()
    shape = draft.value(variable).shape if variable else ()
    shapes = [shape]
    for _ in range(known.arity - 1):
        lead = draft.choices.below(len(shape) + 1)
        shapes.append(tuple(1 if draft.chance(0.2) else n for n in shape[lead:]) if draft.chance(0.5) else shape)
    if draft.chance(0.5):
        shapes.reverse()
    return elementwise_trial(known, *shapes)


def _write(draft: Draft, trial: Trial, name: str) -> bool:
    slots = trial.slots
    fed = [draft.chance(0.8) for _ in slots]
    fed[draft.choices.below(len(slots))] = True
    strayed = False
    operands: list[Any] = [list(o) if type(o) is list else o for o in trial.call.operands]
    texts: dict[tuple[int, int | None], str] = {}
    for slot, feed in zip(slots, fed, strict=True):
        domain = trial.cases.domain_of(slot.operand if slot.item is None else slot.item)
        text, stray = _operand(draft, slot, domain, feed, trial)
        if not text:
            return False
        strayed |= stray
        texts[slot.operand, slot.item] = text
    written = [
        "[" + ", ".join(texts.get((i, j)) or literal(o) for j, o in enumerate(operand)) + "]"
        if type(operand) is list
        else texts.get((i, None)) or literal(operand)
        for i, operand in enumerate(operands)
    ]
    expression = spelled(trial.known, written, trial.call)
    try:
        result = draft.evaluate(expression)
    except REFUSALS:
        return False
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    used = [draft.sound(part) for part in parts]
    if not any(used) or len(parts) > 6:
        return False
    fresh = iter(draft.fresh(sum(used)))
    targets = [next(fresh) if use else "_" for use in used]
    left = ", ".join(targets)
    if isinstance(result, (tuple, list)) and len(targets) == 1:
        left = f"({left},)"
    line = Line(
        f"{left} = {expression}",
        tuple(t for t in targets if t != "_"),
        (name,),
        (family_of(trial.known),),
        trial.cases.order,
        not strayed,
    )
    return draft.keep(line, [part for part, use in zip(parts, used, strict=True) if use])


def spelled(known: Known, operands: list[str], call_: Call) -> str:
    """The call as one writes it: what NumPy takes by position only goes by position.

    >>> from tapegrad.primitive import look_up
    >>> from tapegrad.cases import call
    >>> spelled(look_up(np.sum), ["v0"], call((2, 3), axis=0)), spelled(look_up(np.sin), ["v0"], call((2, 3)))
    ('np.sum(v0, axis=0)', 'np.sin(v0)')
    """
    function = expression_of(known.function)
    if function == "operator.getitem" and len(operands) == 2:
        index = operands[1]
        return f"{operands[0]}[{index}]"
    names = _keywords(known.function)
    rest = []
    for name, value in call_.parameters.items():
        if names is not None and name not in names:
            operands = [*operands, literal(value)]
        else:
            rest.append(f"{name}={literal(value)}")
    return f"{function}({', '.join([*operands, *rest])})"


@functools.cache
def _keywords(function: Any) -> frozenset[str] | None:
    try:
        found = inspect.signature(function).parameters
    except ValueError:  # A ufunc, before NumPy 2.4.
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else frozenset(found)


# ---------------------------------------------------------------- operands


def _operand(draft: Draft, slot: Slot, domain: Domain, feed: bool, trial: Trial) -> tuple[str, bool]:
    """The source of an operand, and whether it was led out of its domain; no source where there is none."""
    complex_, known = trial.cases.complex, trial.known
    name = draft.some("fc") if feed else None
    constant = type(domain).__name__ in ("Whole", "One")  # Orders: whole numbers, with no derivative.
    if name is None or constant:
        kind = np.complex128 if complex_ and not constant and draft.chance(0.1) else np.float64
        drawn = np.asarray(domain.draw(draft.rng, slot.shape, kind))
        if constant and not slot.shape:
            return literal(int(drawn)), False
        if kind is np.float64 and isinstance(known, Elementwise) and draft.chance(0.1):
            return literal(_rounded(domain, drawn).astype(np.float32)), False
        return literal(_rounded(domain, drawn)), False
    if draft.value(name).dtype.kind == "c" and not complex_:
        (fresh,) = draft.fresh()
        if not draft.take(Line(f"{fresh} = np.real({name})", (fresh,))):
            return "", False
        name = fresh
    value = draft.value(name)
    matrices = family_of(known) in OF_MATRICES
    if value.shape == slot.shape and fits(domain, value) and not (matrices and _near_singular(value)):
        return name, False
    if draft.stray and value.shape == slot.shape and draft.chance(0.5):
        return name, True
    return _brought(draft, slot, domain, name, not matrices), False


def fits(domain: Domain, value: Any) -> bool:
    """Whether the values lie in a domain, at its distance from where the function has none.

    >>> fits(Domain(0.0, 1.0), np.array([0.5, 2.0]))
    False
    """
    if type(domain) is not Domain:
        return False
    for part in (value.real, value.imag) if value.dtype.kind == "c" else (value,):
        inside = (part >= domain.low) & (part <= domain.high)
        for point in domain.avoid:
            inside &= np.abs(part - point) >= domain.margin
        if not np.all(inside):
            return False
        if domain.distinct and part.size > 1 and np.diff(np.sort(part, axis=None)).min() < domain.margin / 2:
            return False
    return True


def _rounded(domain: Domain, drawn: Any) -> Any:
    rounded = np.round(drawn, DIGITS)
    return rounded if fits(domain, rounded) else drawn


def _near_singular(value: Any) -> bool:
    if value.ndim < 2 or not value.size:
        return value.ndim > 0 and value.size > 1 and float(np.abs(value).min()) < 0.1
    return bool(np.any(np.linalg.cond(value) > CONDITION))


def _brought(draft: Draft, slot: Slot, domain: Domain, name: str, freely: bool) -> str:
    """A new variable of the slot's shape and domain that follows another one; empty where that fails."""
    moved = _shaped(draft.value(name), slot.shape, name)
    bounded = f"np.tanh({moved})"
    complex_ = draft.value(name).dtype.kind == "c"
    if complex_:  # tanh has poles there.
        bounded = f"(np.tanh(np.real({moved})) + 1j * np.tanh(np.imag({moved})))"
    span = domain.high - domain.low
    (fresh,) = draft.fresh()
    plain = freely and type(domain) is Domain and not domain.avoid and not domain.distinct
    if plain and not complex_ and draft.chance(0.5):
        text = f"{round(domain.low + span / 2, 3)} + {round(0.4 * span, 3)} * {bounded}"
        if moved == name and draft.value(name).shape != slot.shape:
            text += f" * np.ones({slot.shape})"
    else:
        gap = span / max(1, int(np.prod(slot.shape)) - 1) / 8 if domain.distinct else 1.0
        size = float(f"{min(0.1, domain.margin / 3, 0.1 * span, gap):.1g}")
        kind = np.complex128 if complex_ else np.float64  # On the real axis there may be a branch cut.
        drawn = _rounded(domain, np.asarray(domain.draw(draft.rng, slot.shape, kind)))
        text = f"{literal(drawn)} + {size} * {bounded}"
    return fresh if draft.take(Line(f"{fresh} = {text}", (fresh,))) and draft.value(fresh).shape == slot.shape else ""


def _shaped(value: Any, shape: tuple[int, ...], name: str) -> str:
    """The source of something that broadcasts to a shape, made of a variable."""
    size = int(np.prod(shape))
    try:
        if np.broadcast_shapes(value.shape, shape) == shape:
            return name
    except ValueError:
        pass
    if value.size == size:
        return f"np.reshape({name}, {shape})"
    if value.size > size and size:
        return f"np.ravel({name})[:{size}].reshape({shape})"
    return f"np.sum({name})"
