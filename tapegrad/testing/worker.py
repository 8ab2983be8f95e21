"""What a process of a campaign does: draw the programs of the numbers it is handed, and judge them."""

import gc
import importlib
import importlib.util
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import tapegrad as tg
from tapegrad.testing.programs import Program, Seeded, Verdict, judge, random_program, smaller
from tapegrad.testing.programs.calls import forget, functions_of
from tapegrad.testing.tally import Tally

WARM = 400  # programs after which a process has everything imported and cached
LOOK = 400  # programs between two looks at what is left over
SECOND = 2  # of so many programs, one is checked at second order, too: that takes two and a half times as long
ENOUGH = 3  # failures with the same culprits, after which more of them are only counted


@dataclass(frozen=True)
class Options:
    """What programs to draw.

    seed : of the campaign; program number n is drawn from (seed, n)
    only : a family of functions, or the name of one; None: the whole table
    lines : how many lines a program has, at most
    stray : the share of programs led out of their domains on purpose
    modules : to import first: they enter functions of their own in the table
    """

    seed: int = 0
    only: str | None = None
    lines: int = 6
    stray: float = 0.05
    modules: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Import what enters functions in the table; SciPy's special functions are there where SciPy is.

        Raises ValueError where ``only`` is the name of nothing.
        """
        for name in self.modules:
            importlib.import_module(name)
        if importlib.util.find_spec("scipy"):
            importlib.import_module("scipy.special")
        forget()
        functions_of(self.only)

    def draw(self, number: int) -> Program:
        """The program of that number."""
        return random_program(
            Seeded(self.seed, number), lines=self.lines, only=self.only, stray=self.stray, seed=number
        )


class Failure(NamedTuple):
    """A program that shows a bug; one whose culprits are known well enough has a number and those only."""

    number: int
    culprits: str
    digest: str = ""
    said: str = ""
    test: str = ""  # as a file for pytest
    script: str = ""


@dataclass
class Answer:
    """What a process says of the programs it was handed."""

    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)


def worker(connection: Connection, options: Options) -> None:
    """Answer for chunks of programs until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Whoever started this says when it stops.
    options.prepare()
    done, looked, warm = 0, 0, 0.0
    while True:
        try:
            chunk, known = connection.recv()
        except EOFError:
            return
        answer = answered(options, chunk, known)
        done += len(chunk)
        if done >= WARM:
            warm = warm or _megabytes()
            answer.tally.memory = [warm, _megabytes()]
            if done - looked >= LOOK:
                looked = done
                answer.tally.tensors = _left_over()
        connection.send(answer)


def answered(options: Options, chunk: list[int], known: dict[str, int]) -> Answer:
    """What is to be said of the programs of those numbers.

    known : culprits of failures found so far -> how often; of those found often enough nothing is shrunk
    """
    answer = Answer()
    for number in chunk:
        try:
            program = options.draw(number)
        except Exception as error:  # The generator itself runs the library, in nested derivatives.
            answer.tally.count((), (), "crash")
            said = f"{type(error).__name__}: {error}"
            answer.failures.append(Failure(number, "generator", f"draw_{number}", said))
            continue
        verdict = judge(program, 1 if number % SECOND else 2)
        answer.tally.count(program.functions, program.families, verdict.kind, verdict.message)
        if verdict.wrong:
            culprit = next((c for c, n in known.items() if n >= ENOUGH and set(c.split(", ")) <= program.functions), "")
            failure = Failure(number, culprit) if culprit else _shrunk(program, verdict, number)
            known[failure.culprits] = known.get(failure.culprits, 0) + 1
            answer.failures.append(failure)
    return answer


def _shrunk(program: Program, verdict: Verdict, number: int) -> Failure:
    small = smaller(program, lambda p: judge(p).same(verdict))
    again = judge(small)
    culprits = ", ".join(sorted(small.functions or small.families)) or "Python"
    text = small.script(test=f"test_program_{small.digest}")
    said = " ".join(f"{again.kind}: {again.message}".split("\n")[0].split())
    text = f'"""Found by a random program: {said[:80]}"""\n\n{text}'
    return Failure(number, culprits, small.digest, said, text, small.script())


def _megabytes() -> float:
    """What this process holds in memory; 0 where the system doesn't say."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 / 1e6 if status.exists() else 0.0


def _left_over() -> int:
    gc.collect()
    return sum(isinstance(o, tg.Tensor) for o in gc.get_objects())
