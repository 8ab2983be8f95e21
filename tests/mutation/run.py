"""Running: a process for each mutant, the checks that reach it, quickest first, until one objects."""

import gc
import hashlib
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tapegrad.kinds import Elementwise, Known
from tapegrad.testing import rules

from .planting import Mutant, files_of, live, own_name
from .trials import jobs, lines_of, run, source_of

LIMIT = 3.0  # seconds for one check, and twenty times what the right rule takes: more is a hang
PATIENCE = 20.0  # seconds, as the right rules take them, after which what nobody objected to counts as a survivor
SELDOM = {
    "check_first_order": 1, "check_examples": 0, "check_complex_step": 1, "check_second_order": 2,
    "check_cotangents": 2, "check_strong_zero": 2, "check_missing_data": 2, "check_broadcasting": 2,
    "check_constants": 3, "check_together": 3,
}  # fmt: skip
NO_PROGRAM = "no program"  # of what can't be compiled or put in its place: it isn't counted
MEMORY = 8 << 30  # bytes


class Reach(NamedTuple):
    """A check, and what it reaches."""

    known: int  # which function
    number: int  # which of the jobs of that function
    name: str
    seconds: float


class Outcome(NamedTuple):
    """What became of a mutant."""

    key: str
    module: str
    statement: str
    by: str  # the check that objected, or what else happened; "" of a survivor
    why: str  # the first line of the objection
    checks: int  # how many were run
    seconds: float


def in_a_process(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, in a process of its own; an int, its exit status, where it ended otherwise."""
    source, sink = os.pipe()
    live()  # What is frozen isn't found any more.
    gc.freeze()  # A collection would copy all that the child shares with this process.
    child = os.fork()
    if child == 0:
        gc.disable()
        status = 1
        try:
            os.close(source)
            with os.fdopen(sink, "w") as out:
                json.dump(work(), out)
            status = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    os.close(sink)
    with os.fdopen(source) as given:
        text = given.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if status == 0 else status


# ---------------------------------------------------------------- what the checks reach


def reaches(known: Known) -> list[list[Any]]:
    """For each job of a function: its number, name, seconds and lines; without those at which the rule itself fails."""
    found = []
    for number, (name, job) in enumerate(jobs(known)):
        try:
            seconds, lines = lines_of(job)
        except Exception as error:
            print(f"without a mutant, {name} fails: {error}", file=sys.stderr)
            continue
        if lines or isinstance(known, Elementwise):
            found.append([number, name, seconds, sorted(lines)])
    return found


def all_reaches(
    knowns: Sequence[Known], into: Path, say: Callable[[str], None]
) -> Iterator[tuple[Reach, list[tuple[str, str]]]]:
    """Every check and the lines that it reaches; of functions whose module has changed since the last run anew."""
    store = into / "reaches"
    store.mkdir(parents=True, exist_ok=True)
    for position, known in enumerate(knowns):
        text = re.sub(" at 0x[0-9a-f]+", "", f"{own_name(known)} {known.cases!r} {source_of(known)} {rules.CHECKS}")
        digest = hashlib.sha256(text.encode()).hexdigest()[:20]
        file = store / f"{digest}.json"
        if not file.exists():
            say(f"what the checks of {known.name} reach")
            found = in_a_process(lambda known=known: reaches(known))
            if isinstance(found, int):
                raise RuntimeError(f"the checks of {known.name} fail without a mutant")
            file.write_text(json.dumps(found))
        for number, name, seconds, lines in json.loads(file.read_text()):
            yield Reach(position, number, name, seconds), [(file, text) for file, text in lines]


class Checks:
    """All checks of all functions, by the lines that they reach."""

    def __init__(self, knowns: Sequence[Known], found: Iterable[tuple[Reach, list[tuple[str, str]]]]) -> None:
        self.knowns = knowns
        self._files = [files_of(known) for known in knowns]
        self._by_line: dict[tuple[str, str], list[Reach]] = {}
        self._by_known: dict[str, list[Reach]] = {}
        for reach, lines in found:
            self._by_known.setdefault(own_name(knowns[reach.known]), []).append(reach)
            for line in lines:
                self._by_line.setdefault(line, []).append(reach)

    def reaching(self, mutant: Mutant) -> list[Reach]:
        """Those that reach the changed statement, quickest first; of its own function, where it has no statement."""
        if not mutant.lines:
            return sorted(self._by_known[mutant.module], key=_promise)
        file = mutant.module.removeprefix("tapegrad.").replace(".", "/") + ".py"
        found = {(r.known, r.number): r for line in mutant.lines for r in self._by_line.get((file, line), ())}.values()
        return self._turn_by_turn(found, file)

    def _turn_by_turn(self, reached: Iterable[Reach], file: str) -> list[Reach]:
        """The most promising check of each function, then the second of each, and so on; first of those of the file."""
        ranks: dict[int, int] = {}
        ranked = []
        for reach in sorted(reached, key=_promise):
            rank = ranks[reach.known] = ranks.get(reach.known, -1) + 1
            elsewhere = file not in self._files[reach.known]
            ranked.append((elsewhere, rank, _promise(reach), reach))
        return [reach for *_, reach in sorted(ranked, key=lambda r: r[:3])]


def _promise(reach: Reach) -> float:
    """The time that a check takes, by how seldom it is the one that objects."""
    return reach.seconds * SELDOM.get(reach.name.partition(" ")[0], 10)


# ---------------------------------------------------------------- one mutant


def outcome(mutant: Mutant, checks: Checks, patience: float = PATIENCE) -> Outcome:
    """Plant a mutant in a process of its own, and run the checks until one objects."""
    reached = checks.reaching(mutant)
    start = time.perf_counter()
    if not reached:
        return Outcome(*mutant[:3], "", "no check reaches it", 0, 0.0)
    given = in_a_process(lambda: _objection(mutant, reached, checks.knowns, patience))
    seconds = time.perf_counter() - start
    if isinstance(given, int):
        if not os.WIFSIGNALED(given):
            raise RuntimeError(f"a process ended for a reason of its own: {mutant.key}")
        what = "hangs" if os.WIFSIGNALED(given) and os.WTERMSIG(given) == signal.SIGALRM else "crashes"
        return Outcome(*mutant[:3], what, "", 0, seconds)
    return Outcome(*mutant[:3], *given, seconds)


def _objection(mutant: Mutant, reached: Sequence[Reach], knowns: Sequence[Known], patience: float) -> list[Any]:
    """[the check that objects, how, how many were run]; runs in a process of its own, which it spoils."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    try:
        mutant.plant()
    except (SyntaxError, ValueError) as error:  # No Python, or a closure over other variables.
        return [NO_PROGRAM, f"{type(error).__name__}: {error}"[:200], 0]
    by_known: dict[int, list[Any]] = {}
    spent = 0.0
    for count, reach in enumerate(reached, 1):
        if reach.known not in by_known:
            by_known[reach.known] = list(jobs(knowns[reach.known]))
        signal.setitimer(signal.ITIMER_REAL, LIMIT + 20 * reach.seconds)
        try:
            run(by_known[reach.known][reach.number][1])
        except Exception as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return [reach.name, f"{type(error).__name__}: {error}"[:200], count]
        spent += reach.seconds
        if spent > patience:
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    return ["", f"{count} of {len(reached)} checks agree", count]


# ---------------------------------------------------------------- all of them


def done(file: Path) -> dict[str, Outcome]:
    """What became of the mutants of earlier runs; a later outcome counts instead of an earlier one."""
    if not file.exists():
        return {}
    return {o.key: o for o in (Outcome(*json.loads(line)) for line in file.read_text().splitlines() if line)}


def run_all(
    mutants: Iterable[Mutant], checks: Checks, file: Path, again: bool, patience: float = PATIENCE
) -> Iterator[Outcome]:
    """The outcome of every mutant; those that a file holds aren't run again.

    again : the other way round: of those in the file the survivors are run once more, and nothing else
    """
    before = done(file)
    with file.open("a") as out:
        for mutant in mutants:
            known = before.get(mutant.key)
            if known is None and again:
                continue
            if known is None or (again and not known.by):
                known = outcome(mutant, checks, patience)
                out.write(json.dumps(known) + "\n")
                out.flush()
            yield known
