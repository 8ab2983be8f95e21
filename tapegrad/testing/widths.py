"""Widths: a narrower operand beside wide ones costs their cotangents no digits, where it costs NumPy none.

NumPy casts the narrower operand up, and computes with what it then holds. So must a rule: in float32 the
cotangent of a float64 operand would be right in its first 7 digits only.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.kinds import Elementwise
from tapegrad.testing.check import FORWARD_ROUNDING, GRADIENT_ROUNDING, outputs, random_seeds, vjp, vjp_function
from tapegrad.testing.draw import Trial
from tapegrad.testing.laws.subject import near
from tapegrad.testing.rules import errors_of, fault, pull, rng_of

NARROW = {np.float64: np.float32, np.complex128: np.complex64}


def check_width(trial: Trial) -> None:
    """Narrow operands beside wide ones give the cotangents that the same numbers give when all are wide.

    At order two as well. Where NumPy itself computes in the narrower dtype on the way, and its value shows
    it, there is nothing to compare.
    """
    for wide in NARROW if trial.cases.complex else (np.float64,):
        for dtypes in _mixtures(wide, len(trial.slots)):
            rng = rng_of(trial)
            mixed = trial.draw(rng, *dtypes)
            alike = [a.astype(wide) for a in mixed]
            if not _agree(_recorded(trial, mixed), _recorded(trial, alike)):
                continue
            seeds = random_seeds(trial.run, alike, rng)
            _compare(trial, dtypes, "", pull(trial, mixed, seeds), pull(trial, alike, seeds))
            if trial.cases.order > 1 and not isinstance(trial.known, Elementwise):
                _compare_second_order(trial, dtypes, [*mixed, *seeds], [*alike, *seeds], rng)


def _mixtures(wide: Any, count: int) -> Iterator[list[Any]]:
    """Dtypes of so many operands: one narrow beside wide ones, and one wide beside narrow ones."""
    for k in range(count if count > 1 else 0):
        yield [NARROW[wide] if i == k else wide for i in range(count)]
        if count > 2:
            yield [wide if i == k else NARROW[wide] for i in range(count)]


def _compare_second_order(
    trial: Trial, dtypes: Sequence[Any], mixed: Sequence[Any], alike: Sequence[Any], rng: np.random.Generator
) -> None:
    pulled_back = vjp_function(trial.run, len(dtypes))

    def of_wide(*both: Any) -> list[Any]:
        """The cotangents of the wide operands; those of the others are rounded in one of the two runs."""
        return [c for c, dtype in zip(pulled_back(*both), dtypes, strict=True) if dtype in NARROW]

    seeds = random_seeds(of_wide, alike, rng)
    given, right = (list(vjp(of_wide, both, seeds).values()) for both in (mixed, alike))
    _compare(trial, dtypes, " at order two", given, right)


def _compare(trial: Trial, dtypes: Sequence[Any], when: str, given: Sequence[Any], right: Sequence[Any]) -> None:
    for i, (a, b) in enumerate(zip(given, right, strict=True)):
        if not near(a, b, GRADIENT_ROUNDING):
            names = ", ".join(np.dtype(dtype).name for dtype in dtypes)
            raise fault(trial, f"argument {i}{when}: {a!r} with operands of {names}, and {b!r} when all are wide")


def _recorded(trial: Trial, arrays: Sequence[Any]) -> list[Any]:
    with errors_of(trial, arrays):
        made = outputs(trial.run(*map(tg.tensor, arrays)))
    return [y.numpy() if isinstance(y, tg.Tensor) else y for y in made]


def _agree(mixed: Sequence[Any], alike: Sequence[Any]) -> bool:
    """Whether the outputs have the same dtypes and shapes, and agree to rounding."""
    pairs = list(zip(mixed, alike, strict=True))
    return all(x.dtype == y.dtype and x.shape == y.shape and near(x, y, FORWARD_ROUNDING) for x, y in pairs)
