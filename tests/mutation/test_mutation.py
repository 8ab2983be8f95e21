"""A few mutants of every kind in each run of the suite; all of them by ``python -m tests.mutation``."""

import random
from typing import Any

import numpy as np
import pytest

from tapegrad.cases import Cases, call
from tapegrad.primitive import TABLE
from tapegrad.testing.draw import checked

from .equivalent import EQUIVALENT, STATEMENTS, reason_of
from .planting import Mutant, mutants, own_name
from .run import Checks, Reach, in_a_process, outcome, reaches

SEED = 6
RULES, SAMPLE = 8, 40  # functions drawn, and mutants of all their rules together


def checks_of(knowns: list[Any]) -> Checks:
    """What the checks of those functions reach; each in a process of its own, as they are not to warm caches here."""
    found = []
    for i, known in enumerate(knowns):
        for number, name, seconds, lines in in_a_process(lambda known=known: reaches(known)):
            found.append((Reach(i, number, name, seconds), [tuple(line) for line in lines]))
    return Checks(knowns, found)


def test_mutants_are_caught_or_listed_as_equivalent() -> None:
    rng = random.Random(SEED)
    knowns = rng.sample([k for k in checked() if k.kind == "primitive" and len(k.cases.calls) < 20], RULES)
    checks, every = checks_of(knowns), list(mutants(knowns))
    lived = [
        m.key for m in rng.sample(every, min(SAMPLE, len(every))) if reason_of(m) is None and not outcome(m, checks).by
    ]
    assert lived == []


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
