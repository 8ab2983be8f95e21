"""Whether a program has NumPy's values and the right gradients; quickly for those that have.

One random direction tells almost as much as all coordinates, at a fraction of the cost: a wrong entry
changes the derivative along it. Only where the two derivatives differ, or the differences are too rough
to say, is the careful check asked (``check_vjp``, coordinate by coordinate, with error bars), and its
word counts.
"""

import math
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.errors import ArgumentError, ChangedDataError, ConversionError, NotDifferentiableError, WriteError
from tapegrad.primitive import complete
from tapegrad.testing.check import GradientError, UndecidedError, check_grads
from tapegrad.testing.programs.draft import REFUSALS
from tapegrad.testing.programs.program import Program

STEP = 2.0**-7
TELLING = 1e-5  # of the derivative's size: a wider bar is left to the careful check
FLOOR = 1e-12  # what is left of a derivative of 0 whose terms, of size 1, cancel
NEAR = 1e-9  # relative: rounding, as programs that stay in their domains amplify it
# Said aloud, as it has to be where there is no gradient. A campaign lists what was refused.
REFUSED = (NotDifferentiableError, ConversionError, WriteError, ArgumentError, ChangedDataError)
NEAR_NARROW = 1e-2  # the same where there is float32 in the program


class Verdict(NamedTuple):
    """What was found: "right", "undecided", "refused", "invalid" (NumPy refuses it), or what is wrong."""

    kind: str
    message: str = ""
    source: str = ""  # of a crash: what was raised, and by which function

    @property
    def wrong(self) -> bool:
        """Whether the program shows a bug."""
        return self.kind not in ("right", "undecided", "refused", "invalid")

    def same(self, other: "Verdict") -> bool:
        """Whether another program shows the same, as far as can be told: not the messages, which name numbers."""
        return (self.kind, self.source) == (other.kind, other.source)


def check_program(program: Program, order: int = 2) -> None:
    """Check a program's values and its derivatives up to ``order``.

    program : its inputs are where it is checked
    Raises GradientError, with a script in a note, where a value isn't NumPy's, a gradient isn't the
    derivative, or what was handed over is changed; what the program itself raises passes unchanged.

    >>> from tapegrad.testing.programs import random_program
    >>> check_program(random_program(1))
    """
    try:
        check_function(program.function, *program.inputs, order=min(order, program.order))
    except Exception as error:  # Whatever it is, it is shown by this.
        error.add_note(program.script())
        raise


def check_function(function: Callable[..., Any], *inputs: Any, order: int = 2) -> None:
    """The same for a plain function: what the tests call that a campaign writes.

    function : of the inputs; returns an array or a sequence of arrays
    inputs : arrays

    >>> check_function(np.sin, np.array([1.0, 2.0]))
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = _judged(function, inputs, order, trusted=True)
    if found.wrong:
        raise GradientError(found.message)


def judge(program: Program, order: int = 2) -> Verdict:
    """What is to be said of a program: never an exception.

    order : 2 to check second derivatives too, where all its functions have them
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                program(*(a.copy() for a in program.inputs))
            except REFUSALS as error:
                return Verdict("invalid", f"NumPy itself says {type(error).__name__}: {error}")
            return _judged(program.function, program.inputs, min(order, program.order), program.trusted)
    except REFUSED as error:
        return Verdict("refused", str(error))
    except Exception as error:  # A program may raise anything: this is what a crash looks like.
        notes = "; ".join(getattr(error, "__notes__", []))
        said, raised = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1].name
        return Verdict("crash", f"{said}: {error}" + (f" ({notes})" if notes else ""), f"{said} in {raised}")


def _judged(function: Callable[..., Any], inputs: Sequence[Any], order: int, trusted: bool) -> Verdict:
    arrays = [np.asarray(a) for a in inputs]
    expected = parts(function(*(a.copy() for a in arrays)))
    recorded = [tg.tensor(a) if a.dtype.kind in "fc" else a for a in arrays]
    given = parts(function(*recorded))
    for message in _wrong_values(given, expected, arrays):
        return Verdict("value", message)
    message = _wrong_ownership(recorded, given, arrays)
    if message:
        return Verdict("ownership", message)
    wide = [_widened(a) for a in arrays]
    rng = np.random.default_rng(0)
    derived, wide_values = function, parts(function(*wide))
    seeds = _seeds(wide_values, rng)
    if not _finite(wide_values):
        return Verdict("undecided", "a value isn't finite")
    arguments = wide
    for k in range(order):
        if not _quickly_right(derived, arguments, seeds, rng):
            return _carefully(function, wide, k + 1, trusted)
        if k + 1 < order:
            gradients = [a for a in arguments if a.dtype.kind in "fc"]  # of their shapes and dtypes
            derived, arguments = _pulled_back(derived, len(arguments)), [*arguments, *seeds]
            seeds = _seeds(gradients, rng)
    return Verdict("right")


def _carefully(
    function: Callable[..., Any], wide: Sequence[Any], order: int, trusted: bool, rtol: float | None = None
) -> Verdict:
    try:
        check_grads(function, *wide, order=order, rtol=rtol)
    except UndecidedError as error:
        return Verdict("undecided", str(error))
    except GradientError as error:
        facts = _recorded(function, wide)
        if "nan" in str(error) and (names := _said_to_give_nan(facts)):
            return Verdict("undecided", f"a gradient is nan, as the table says of {', '.join(sorted(names))}")
        coarse = max((float(np.finfo(fact.dtype).eps) for fact in facts), default=0.0)
        if rtol is None and coarse > np.finfo(float).eps:  # It computes in float32 on its way: that is how it rounds.
            return _carefully(function, wide, order, trusted, coarse)
        return Verdict("gradient" if trusted else "undecided", str(error))
    return Verdict("right")


def _recorded(function: Callable[..., Any], wide: Sequence[Any]) -> list[Any]:
    with tg.Tape() as tape:
        function(*(tg.tensor(a) if a.dtype.kind in "fc" else a for a in wide))
    return list(tape)


def _said_to_give_nan(facts: Sequence[Any]) -> set[str]:
    """The primitives met whose gradient is nan where there is none, as at repeated singular values."""
    degenerate = {known.name for known in complete().values() if " nan where " in f" {known.note}"}
    return degenerate & {fact.primitive for fact in facts}


# ---------------------------------------------------------------- values, and what is owned


def parts(result: Any) -> list[Any]:
    """What a program returns, as a list of arrays or tensors."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, tg.Tensor) else np.asarray(value)


def _finite(values: Sequence[Any]) -> bool:
    return all(np.isfinite(value).all() for value in values)


def _wrong_values(given: Sequence[Any], expected: Sequence[Any], arrays: Sequence[Any]) -> Iterator[str]:
    if len(given) != len(expected):
        yield f"{len(given)} values on tensors, {len(expected)} on arrays"
        return
    narrow = any(v.dtype in (np.float32, np.complex64) for v in (*arrays, *map(_plain, expected)))
    for i, (y, right) in enumerate(zip(map(_plain, given), map(_plain, expected), strict=True)):
        if y.shape != right.shape or y.dtype != right.dtype:
            yield f"output {i}: shape {y.shape}, {y.dtype} on tensors; NumPy's has {right.shape}, {right.dtype}"
            return
        size = float(np.max(np.abs(right), initial=1.0, where=np.isfinite(right)))
        near = NEAR_NARROW if narrow else NEAR
        if not np.allclose(y, right, rtol=near, atol=near * size, equal_nan=True):
            yield f"output {i}: on tensors {y!r}, on arrays {right!r}"


def _wrong_ownership(leaves: Sequence[Any], made: Sequence[Any], arrays: Sequence[Any]) -> str:
    """What is wrong with gradients as arrays: their shapes, dtypes, memory; two sweeps that differ."""
    seeds = _seeds([_plain(y) for y in made], np.random.default_rng(1))
    before = [np.asarray(a).tobytes() for a in (*arrays, *seeds)]
    sweeps = []
    for _ in range(2):
        _sweep(made, seeds)
        sweeps.append([leaf.grad if isinstance(leaf, tg.Tensor) else None for leaf in leaves])
        for leaf in leaves:
            if isinstance(leaf, tg.Tensor):
                leaf.grad = None
    for i, (first, second, a) in enumerate(zip(*sweeps, arrays, strict=True)):
        if first is None and second is None:
            continue
        if first is None or second is None or first.tobytes() != second.tobytes():
            return f"argument {i}: a first sweep gives {first!r}, a second one {second!r}"
        if first.shape != a.shape or first.dtype != a.dtype:
            return f"argument {i} has shape {a.shape}, {a.dtype}; its gradient {first.shape}, {first.dtype}"
        if any(np.shares_memory(first, other) for other in (*arrays, *seeds)):
            return f"argument {i}: its gradient shares memory with an input or a cotangent"
    if before != [np.asarray(a).tobytes() for a in (*arrays, *seeds)]:
        return "an input or a cotangent was changed"
    return ""


def _sweep(made: Sequence[Any], seeds: Sequence[Any], create_graph: bool = False) -> None:
    for y, seed in zip(made, seeds, strict=True):
        if isinstance(y, tg.Tensor) and y.requires_grad:
            y.backward(seed, retain_graph=True, create_graph=create_graph)


# ---------------------------------------------------------------- derivatives


def _widened(a: Any) -> Any:
    if a.dtype.kind not in "fc":
        return a
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def _seeds(values: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """A cotangent for each value: of its shape and dtype, of size 0.5 to 1.5."""
    return [_random(np.asarray(v), rng) for v in values]


def _random(value: Any, rng: np.random.Generator) -> Any:
    drawn = rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1.0, 1.0], value.shape)
    if value.dtype.kind == "c":
        drawn = drawn + 1j * rng.uniform(0.5, 1.5, value.shape)
    return np.asarray(drawn).astype(value.dtype)


def _pulled_back(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """``(*arguments, *cotangents) -> gradients``, of arrays, or recorded where these are tensors."""

    def gradients(*both: Any) -> list[Any]:
        recorded = any(isinstance(a, tg.Tensor) for a in both)
        leaves = [a if isinstance(a, tg.Tensor) or a.dtype.kind not in "fc" else tg.tensor(a) for a in both[:count]]
        _sweep(parts(function(*leaves)), both[count:], create_graph=recorded)
        found = []
        for leaf in leaves:
            if isinstance(leaf, tg.Tensor):
                found.append(np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad)
                leaf.grad = None
        return found

    return gradients


def _quickly_right(
    function: Callable[..., Any], arrays: Sequence[Any], seeds: Sequence[Any], rng: np.random.Generator
) -> bool:
    """Whether the gradients agree with the differences along one random direction of all arguments."""
    moving = [a.dtype.kind in "fc" and a.size > 0 for a in arrays]
    directions = [_random(a, rng) if moves else None for a, moves in zip(arrays, moving, strict=True)]
    leaves = [tg.tensor(a) if a.dtype.kind in "fc" else a for a in arrays]
    _sweep(parts(function(*leaves)), seeds)
    products = [
        np.real(np.conj(leaf.grad) * d).ravel()
        for leaf, d in zip(leaves, directions, strict=True)
        if d is not None and leaf.grad is not None
    ]
    terms = np.concatenate([np.zeros(1), *products])
    analytic, size = float(terms.sum()), float(np.abs(terms).sum())
    if not math.isfinite(size):
        return False

    def projected(step: float) -> tuple[float, float]:
        moved = [a if d is None else a + step * d for a, d in zip(arrays, directions, strict=True)]
        try:
            there = parts(function(*moved))
        except (ArithmeticError, ValueError):  # As where a branch has another shape.
            return math.nan, math.nan
        if [np.shape(y) for y in there] != [u.shape for u in seeds]:  # np.trim_zeros may have less to trim.
            return math.nan, math.nan
        values = [np.real(np.conj(u) * y).ravel() for u, y in zip(seeds, there, strict=True)]
        row = np.concatenate([np.zeros(1), *values])
        return float(row.sum()), float(np.abs(row).sum())

    row: list[float] = []
    before: list[float] = [0.0]
    for k in range(4):
        step = STEP / 2**k
        (ahead, weight), (behind, _) = projected(step), projected(-step)
        rounding = FLOOR + 16 * np.finfo(float).eps * (weight + size) / step
        before, row = row, [(ahead - behind) / (2 * step)]
        for j, coarser in enumerate(before, 1):
            row.append(row[-1] + (row[-1] - coarser) / (4.0**j - 1))
        if k >= 2:  # Most often the third step settles it.
            bar = max(abs(row[-1] - row[-2]), abs(row[-1] - before[-1])) + rounding
            if bar <= TELLING * size + 4 * rounding and abs(analytic - row[-1]) <= 4 * bar:
                return True
    return False
