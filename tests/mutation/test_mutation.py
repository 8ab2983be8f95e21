"""A few mutants of every kind in each run of the suite; all of them by ``python -m tests.mutation``."""

import random
from typing import Any

import numpy as np
import pytest

from tapegrad.cases import Cases, call
from tapegrad.primitive import TABLE
from tapegrad.testing.draw import checked

from .equivalent import EQUIVALENT, STATEMENTS, reason_of
from .planting import Mutant, files_of, mutants, own_name
from .run import Checks, Reach, in_a_process, outcome, reaches

SEED, SAMPLE = 6, 60
# Of the modules whose mutants have all been gone through, so that what lives is listed: others join as they are.
MODULES = ("ops/diagonals.py", "ops/repeating.py", "ops/sorting.py", "nn/linear.py")


def checks_of(knowns: list[Any]) -> Checks:
    """What the checks of those functions reach; each in a process of its own, as they are not to warm caches here."""
    found = []
    for i, known in enumerate(knowns):
        for number, name, seconds, lines in in_a_process(lambda known=known: reaches(known)):
            found.append((Reach(i, number, name, seconds), [tuple(line) for line in lines]))
    return Checks(knowns, found)


def test_mutants_are_caught_or_listed_as_equivalent() -> None:
    knowns = [k for k in checked() if k.kind == "primitive" and files_of(k) & set(MODULES)]
    modules = {f"tapegrad.{name.removesuffix('.py').replace('/', '.')}" for name in MODULES}
    checks, every = checks_of(knowns), [m for m in mutants(knowns) if m.module in modules and reason_of(m) is None]
    drawn = random.Random(SEED).sample(every, SAMPLE)
    assert [m.key for m in drawn if not outcome(m, checks).by] == []


def mutants_of(known: Any, *mutators: str) -> list[Mutant]:
    return [m for m in mutants([known]) if m.key.split(" | ")[1] in mutators]


def test_a_rule_stripped_of_its_cases_lets_mutants_live(monkeypatch: pytest.MonkeyPatch) -> None:
    known = TABLE[np.sum]
    chosen = mutants_of(known, "where= dropped", "keepdims", "axis", "mistaken operand", "condition negated")
    lives = [m for m in chosen if reason_of(m) is None]
    monkeypatch.setattr(known, "cases", Cases(calls=(call((1,)),)))
    stripped = checks_of([known])
    assert any(not outcome(m, stripped).by for m in lives)


def test_a_mutant_leaves_nothing_behind() -> None:
    known = TABLE[np.negative]
    before = [slope.value for slope in known.slopes]
    checks = checks_of([known])
    assert [bool(outcome(m, checks).by) for m in mutants([known])] == [True] * 3
    assert [slope.value for slope in known.slopes] == before
    assert np.negative is known.function


@pytest.mark.parametrize(
    ("name", "mutator"),
    [
        ("np.linalg.inv", "mH dropped"),
        ("np.where", "mask inverted"),
        ("np.sin", "sign"),
        ("np.multiply", "mistaken operand"),
    ],
)
def test_what_a_mutator_does_is_objected_to(name: str, mutator: str) -> None:
    (known,) = [k for k in checked() if own_name(k) == name]
    checks = checks_of([known])
    chosen = mutants_of(known, mutator)
    assert chosen
    assert all(outcome(m, checks).by for m in chosen if reason_of(m) is None)


def test_what_is_listed_as_equivalent_is_a_mutant_there_is() -> None:
    there = list(mutants([k for k in checked() if k.kind == "primitive"]))
    keys, statements = {m.key for m in there}, {(m.key.partition(" | ")[0], m.statement) for m in there}
    assert [key for keys_of_one in EQUIVALENT.values() for key in keys_of_one if key not in keys] == []
    assert [s for each in STATEMENTS.values() for s in each if s not in statements] == []
