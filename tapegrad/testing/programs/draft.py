"""A program as it is written: line after line, each tried on arrays before it is kept."""

import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

import tapegrad as tg
from tapegrad.errors import TapegradError
from tapegrad.testing.programs.program import Line, Program, variables

T = TypeVar("T")

_PACKAGE = re.compile(r"\b([A-Za-z_]\w*)\.[A-Za-z_]")  # what may be a package: the name before a dot

LARGEST = 1e3  # A value beyond this makes what follows ill-conditioned.
MOST = 300  # elements of one array: as many as the largest operands of the cases have

# How NumPy says that a line makes no sense; tapegrad, in a derivative inside of a program, says it like this too.
REFUSALS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, Warning, TapegradError)


class Choices(Protocol):
    """Where a generator's choices come from: random numbers, or Hypothesis, which shrinks towards 0."""

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1; the simplest is 0."""


class Seeded:
    """Choices of a random number generator: the same for the same seeds."""

    def __init__(self, *seeds: int) -> None:
        self._rng = np.random.default_rng(seeds)

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self._rng.integers(n))


class Draft:
    """What has been written of a program, with the value of each variable.

    choices : where choices come from
    stray : whether operands are led out of the domain of their function on purpose, now and then
    """

    def __init__(self, choices: Choices, stray: bool = False) -> None:
        self.choices, self.stray = choices, stray
        self.inputs: list[Any] = []
        self.lines: list[Line] = []
        self.buffers: list[str] = []  # that may be written into: copies of what records
        self.scope: dict[str, Any] = {"np": np, "tg": tg}
        # Draws are no choices of their own: Hypothesis shrinks one number, not each entry of each array.
        self.rng = np.random.default_rng(choices.below(2**16))

    # ---------------------------------------------------------------- choosing

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the first is the simplest."""
        return options[self.choices.below(len(options))]

    def chance(self, probability: float) -> bool:
        """True with that probability; False is simpler."""
        return self.choices.below(1000) >= 1000 - int(1000 * probability)

    def number(self) -> float:
        """A round number of size 0.2 to 1.5."""
        return float(self.pick((0.5, 1.5, 0.8, 0.3, -0.5, -1.2, 1.1, -0.2)))

    # ---------------------------------------------------------------- names

    def names(self, kinds: str = "fc", shape: tuple[int, ...] | None = None) -> list[str]:
        """The inputs and variables of those kinds of dtype (and that shape), the newest first."""
        found = [*(f"x{i}" for i in range(len(self.inputs))), *variables(self.lines)]
        return [
            name
            for name in reversed(found)
            if self.value(name).dtype.kind in kinds and (shape is None or self.value(name).shape == shape)
        ]

    def value(self, name: str) -> Any:
        """The value of a variable, on arrays."""
        return self.scope[name]

    def fresh(self, count: int = 1) -> list[str]:
        """Names for so many new variables."""
        first = len(variables(self.lines))
        return [f"v{first + k}" for k in range(count)]

    def some(self, kinds: str = "fc") -> str | None:
        """A variable, rather a new one; None if there is none of those kinds."""
        names = self.names(kinds)
        if not names:
            return None
        return names[0] if self.chance(0.4) else self.pick(names)

    # ---------------------------------------------------------------- writing

    def add_input(self, value: Any) -> None:
        """Another argument of the program."""
        self.scope[f"x{len(self.inputs)}"] = value
        self.inputs.append(value.copy())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of the variables, on arrays."""
        self._import(expression)
        with np.errstate(all="ignore"):
            return eval(compile(expression, "<draft>", "eval"), self.scope)

    def keep(self, line: Line, values: Sequence[Any] = ()) -> bool:
        """Keep a line whose values are known; False where one of them is none to go on with."""
        if not all(self.sound(value) for value in values):
            return False
        self.scope.update(zip(line.makes, values, strict=True))
        self.lines.append(line)
        return True

    def take(self, *lines: Line) -> bool:
        """Run the lines and keep them; False, and all as before, where NumPy refuses or a value is no good."""
        count = len(self.lines)
        try:
            for line in lines:
                self._import(line.text)
                with np.errstate(all="ignore"):
                    exec(compile(line.text, "<draft>", "exec"), self.scope)
                self.lines.append(line)
            touched = self.names("biufc") if any(not line.makes for line in lines) else variables(lines)
            good = all(self.sound(self.scope[name]) for name in touched)
        except REFUSALS:
            good = False
        if not good:
            self.back_to(count)
        return good

    def back_to(self, count: int) -> None:
        """Strike the lines from the one of that number on."""
        writes = any(not line.makes for line in self.lines[count:]) or len(self.lines) == count
        for name in variables(self.lines[count:]):
            self.scope.pop(name, None)
            self.buffers = [b for b in self.buffers if b != name]
        del self.lines[count:]
        if writes:  # What was written into has to be made anew.
            for i, value in enumerate(self.inputs):
                self.scope[f"x{i}"] = value.copy()
            with np.errstate(all="ignore"):
                for line in self.lines:
                    exec(compile(line.text, "<draft>", "exec"), self.scope)

    def sound(self, value: Any) -> bool:
        """Whether a value is an array of floats or complex numbers, finite and not too large to go on with."""
        if not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind not in "fc" or value.size > MOST:
            return False
        with np.errstate(all="ignore"):
            return self.stray or bool(np.isfinite(value).all() and np.abs(value).max(initial=0) <= LARGEST)

    def records(self, name: str) -> bool:
        """Whether the variable is a tensor that records when the inputs are: asked of the program so far."""
        leaves = [tg.tensor(a) if a.dtype.kind in "fc" else a for a in self.inputs]
        try:
            with np.errstate(all="ignore"):
                value = Program(tuple(self.inputs), tuple(self.lines), (name,))(*leaves)
        except REFUSALS:
            return False  # What is wrong here comes out when the program is checked.
        return isinstance(value, tg.Tensor) and value.requires_grad

    def program(self, returns: Sequence[str], seed: int | None = None) -> Program:
        """What has been written, returning those variables."""
        return Program(tuple(self.inputs), tuple(self.lines), tuple(returns), seed)

    def _import(self, text: str) -> None:
        for package in set(_PACKAGE.findall(text)) - self.scope.keys():
            if package in sys.modules:
                self.scope[package] = sys.modules[package]


def only_losses() -> None:
    """Within ``warnings.catch_warnings()``: an error where complex numbers would lose a part, silence otherwise."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", np.exceptions.ComplexWarning)
