"""From the cases of a function to calls of it: which stand in the table, and what to hand to each."""

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapegrad.cases import Call, Cases, call
from tapegrad.kinds import Elementwise, Known, Primitive
from tapegrad.primitive import complete


@dataclass(frozen=True)
class Slot:
    """Where a call takes an array that is drawn: which operand, and which item of a sequence of them."""

    operand: int
    item: int | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One call of one function in the table, to be made with operands drawn from its domain."""

    known: Known
    cases: Cases
    call: Call
    number: int

    def __str__(self) -> str:
        return f"{self.known.name}-{self.number}"

    @functools.cached_property
    def slots(self) -> list[Slot]:
        """The operands that are drawn, in order."""
        found = []
        for i, operand in enumerate(self.call.operands):
            if type(operand) is list:
                found += [Slot(i, j, o) for j, o in enumerate(operand) if _is_shape(o)]
            elif _is_shape(operand):
                found.append(Slot(i, None, operand))
        return found

    def draw(self, rng: np.random.Generator, *dtypes: Any) -> list[Any]:
        """An array for each slot, from its domain; the dtypes in turn."""
        drawn = []
        for k, slot in enumerate(self.slots):
            domain = self.cases.domain_of(slot.operand if slot.item is None else slot.item)
            drawn.append(domain.draw(rng, slot.shape, np.float64).astype(np.float64))
            dtype = np.dtype(dtypes[k % len(dtypes)])
            if dtype.kind == "c":
                drawn[-1] = domain.draw(rng, slot.shape, np.complex128)
            drawn[-1] = np.asarray(drawn[-1]).astype(dtype)
        return drawn

    def run(self, *arrays: Any) -> Any:
        """The call itself, with those arrays (or tensors) in the slots."""
        operands = [list(o) if type(o) is list else o for o in self.call.operands]
        for slot, array in zip(self.slots, arrays, strict=True):
            if slot.item is None:
                operands[slot.operand] = array
            else:
                operands[slot.operand][slot.item] = array
        return invoke(self.known, operands, self.call.parameters)

    @property
    def constants(self) -> list[Any]:
        """The arrays that the call holds itself, among operands and parameters."""
        return list(_arrays_in((self.call.operands, self.call.parameters)))


def invoke(known: Known, operands: Sequence[Any], parameters: dict[str, Any]) -> Any:
    """Call the function; a parameter that its own signature has no name for goes by position.

    So with ``operator.getitem``, which takes no keywords, and ``np.reshape``, whose ``shape`` had another
    name in NumPy 2.0.
    """
    names = _keywords(known.function)
    placed = [] if names is None else [name for name in parameters if name not in names]
    rest = {name: value for name, value in parameters.items() if name not in placed}
    return known.function(*operands, *(parameters[name] for name in placed), **rest)


@functools.cache
def _keywords(function: Any) -> frozenset[str] | None:
    """The parameters that the function names; None where it takes any, or doesn't say."""
    try:
        found = inspect.signature(function).parameters
    except ValueError:  # A ufunc, before NumPy 2.4.
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else frozenset(found)


def checked() -> list[Known]:
    """What the table holds that has cases: primitives, and composites that were given some."""
    known = complete().values()
    return [k for k in known if k.kind in ("primitive", "composite") and k.cases is not None]


def trials_of(known: Known) -> list[Trial]:
    """The calls to try, those of its cases; of an elementwise function, a plain one first."""
    cases = known.cases
    if cases is None:
        return []
    calls = cases.calls
    if isinstance(known, Elementwise):
        calls = (_plain_call(known, [(2, 3)] * known.arity), *calls)
    return [Trial(known, cases, c, i) for i, c in enumerate(calls)]


def elementwise_trial(known: Elementwise, *shapes: tuple[int, ...]) -> Trial:
    """A call of an elementwise function on operands of those shapes."""
    assert known.cases is not None
    return Trial(known, known.cases, _plain_call(known, shapes), 0)


def _plain_call(known: Elementwise, shapes: Sequence[tuple[int, ...]]) -> Call:
    """A call on operands of those shapes; in the place of one that must not record, a constant."""
    assert known.cases is not None
    operands: list[Any] = list(shapes)
    for i in known.refused:
        operands[i] = known.cases.domain_of(i).draw(np.random.default_rng(i), shapes[i], np.float64)
    return call(*operands)


def unknown_parameters(trial: Trial) -> list[str]:
    """The parameters of the call that the function's rule, or its composite form, doesn't name."""
    known = trial.known
    if isinstance(known, (Primitive, Elementwise)):
        names = set(known.parameters)
    else:
        names = set(inspect.signature(known.run).parameters)
    return [name for name in trial.call.parameters if name not in names]


def _is_shape(operand: Any) -> bool:
    return type(operand) is tuple and all(type(n) is int for n in operand)


def _arrays_in(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _arrays_in(v)
    elif isinstance(value, dict):
        yield from _arrays_in(list(value.values()))
