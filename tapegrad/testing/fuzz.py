"""Random programs by the thousand, in processes of their own: what ``python -m tapegrad.testing fuzz`` runs.

Programs are numbered, and drawn from their number: so a campaign goes on where the last one stopped, and
what was found can be drawn again by anyone. A process that dies, or hangs, is replaced; its programs are
then run one at a time, until the one that does it is known.
"""

import importlib
import importlib.util
import itertools
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tapegrad.testing.programs import Verdict
from tapegrad.testing.programs.calls import families, functions_of
from tapegrad.testing.tally import Tally
from tapegrad.testing.worker import Answer, Failure, Options, answered, worker

CHUNK = 20  # programs handed to a process at a time
PATIENCE = 120.0  # seconds for a chunk: longer means that a program hangs
OLD = 20  # programs that failed before, which are run first
DYING = '''"""Found by a random program, which can't be shown, as drawing it may do the same: {said}"""

from tapegrad.testing.programs import check_program
from tapegrad.testing.worker import Options


def test_program_{number}():
    options = {options}
    options.prepare()
    check_program(options.draw({number}))
'''
KEY = b"tapegrad.testing.fuzz"  # of Hypothesis's database


class Campaign:
    """Random programs run in processes, counted, and what they find kept in a folder.

    folder : holds the counts (``tally.json``) and a test file for each failure
    jobs : how many processes; 0: in this process itself
    """

    def __init__(self, options: Options, folder: Path, jobs: int = 1) -> None:
        options.prepare()  # Says what is wrong with them before anything is started.
        self.options, self.folder, self.jobs = options, folder, jobs
        folder.mkdir(parents=True, exist_ok=True)
        name = f"tally-{options.seed}" + (f"-{options.only}" if options.only else "")
        self.path = folder / f"{name}.json"
        self.tally = Tally.load(self.path)
        self.culprits: dict[str, int] = {}
        self.stopping = False
        self.again: deque[list[int]] = deque()
        if self.tally.pending:  # Of a campaign that was killed.
            self.again.append(list(self.tally.pending))

    def interrupt(self, _signal: int, _frame: object) -> None:
        """Stop when what is under way is done; the second time, at once."""
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True

    def run(self, minutes: float | None = None, programs: int | None = None, live: bool = True) -> Tally:
        """Run so many programs, or so long (a minute, if neither is said); interrupted, it stops in good order."""
        start, before, counted = time.monotonic(), self.tally.seconds, self.tally.programs
        if minutes is None and programs is None:
            minutes = 1.0
        line = _Line(live, programs)
        saved = start
        chunks = self._chunks(None if programs is None else programs, start, minutes)
        for answer in self._answers(chunks):
            now = time.monotonic()
            self.tally.seconds = before + now - start
            self._take(answer)
            if now - saved > 5 or answer.failures:
                self.tally.save(self.path)
                saved = now
            line.show(self.tally, self.tally.programs - counted, now - start)
        self.tally.seconds = before + time.monotonic() - start
        self.tally.save(self.path)
        line.close()
        return self.tally

    def _chunks(self, programs: int | None, start: float, minutes: float | None) -> Iterator[list[int]]:
        """The numbers to hand out next, until there has been enough."""
        left = programs
        while self.again or (
            (left is None or left > 0) and (minutes is None or time.monotonic() - start < 60 * minutes)
        ):
            if self.again:  # Counted as handed out already.
                yield self.again.popleft()
                continue
            size = CHUNK if left is None else min(CHUNK, left)
            chunk = list(range(self.tally.following, self.tally.following + size))
            self.tally.following += size
            left = None if left is None else left - size
            self.tally.pending += chunk
            yield chunk

    def _answers(self, chunks: Iterator[list[int]]) -> Iterator[Answer]:
        """Each chunk's answer as it comes; after an interruption, those of the chunks that are under way."""
        crew = [_Process(self.options) for _ in range(self.jobs)] or [_Here(self.options)]
        try:
            for process in crew:
                process.hand(next(chunks, None), self.culprits)
            while any(process.chunk for process in crew):
                for process in self._ready(crew):
                    answer, chunk = process.answer(), process.chunk or []
                    self.tally.pending = [n for n in self.tally.pending if n not in set(chunk)]
                    if answer is None:
                        answer = self._broken(process, chunk)
                    process.chunk = None
                    yield answer
                    process.hand(None if self.stopping else next(chunks, None), self.culprits)
        finally:
            for process in crew:
                process.end()

    def _ready(self, crew: Sequence["_Process"]) -> Sequence["_Process"]:
        if not self.jobs:
            return crew
        busy = [process for process in crew if process.chunk]
        ready = set(wait([process.connection for process in busy], timeout=1.0))
        late = [process for process in busy if time.monotonic() - process.since > PATIENCE]
        return [process for process in busy if process.connection in ready or process in late]

    def _broken(self, process: "_Process", chunk: list[int]) -> Answer:
        """A process died or hung: its programs are to be run one by one, or the one is known."""
        ended = process.restart()
        answer = Answer()
        if len(chunk) > 1:
            self.again.extend([n] for n in chunk)
            self.tally.pending += chunk
        else:
            # To draw it here might end this process, too.
            said = f"crash: the process {ended}"
            text = DYING.format(said=said, options=repr(self.options), number=chunk[0])
            answer.tally.count((), (), "crash")
            answer.failures.append(Failure(chunk[0], "the process", f"number_{chunk[0]}", said, text))
        return answer

    def _take(self, answer: Answer) -> None:
        self.tally.add(answer.tally)
        for failure in answer.failures:
            self.culprits[failure.culprits] = self.culprits.get(failure.culprits, 0) + 1
            if failure.digest:
                path = self.folder / f"test_program_{failure.digest}.py"
                if failure.test:
                    path.write_text(failure.test)
                said = f"{failure.said} [program {failure.number}; {failure.culprits}]"
                self.tally.found[path.name if failure.test else failure.digest] = said
                remember(failure.script)


class _Process:
    """A process that answers for chunks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.chunk: list[int] | None = None
        self.since = 0.0
        self.process: Any = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=worker, args=(theirs, self.options), daemon=True)
        self.process.start()
        theirs.close()

    def hand(self, chunk: list[int] | None, culprits: dict[str, int]) -> None:
        self.chunk, self.since = chunk, time.monotonic()
        if chunk:
            if self.process is None:
                self._start()
            self.connection.send((chunk, dict(culprits)))

    def answer(self) -> Answer | None:
        """The answer; None where the process died, or takes too long."""
        try:
            if self.connection.poll(0):
                received: Answer = self.connection.recv()
                return received
        except (EOFError, ConnectionError):
            pass
        return None

    def restart(self) -> str:
        """Another process in the place of this one; says how this one ended."""
        alive = self.process.is_alive() and not self.connection.poll(0)
        self.end()
        code, self.process = self.process.exitcode, None
        return f"hung for {PATIENCE:.0f} s" if alive else f"died (exit code {code})"

    def end(self) -> None:
        if self.process is None:
            return
        self.connection.close()
        self.process.join(timeout=0.5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Here(_Process):
    """This process itself: quicker to start, and as mortal as what it runs."""

    culprits: dict[str, int]

    def hand(self, chunk: list[int] | None, culprits: dict[str, int]) -> None:
        self.chunk, self.culprits = chunk, dict(culprits)

    def answer(self) -> Answer | None:
        return answered(self.options, self.chunk or [], self.culprits)

    def end(self) -> None:
        pass


class _Line:
    """The live line, by tqdm where that is installed and somebody looks."""

    def __init__(self, live: bool, programs: int | None) -> None:
        self.bar: Any = None
        self.shown = 0
        self.plain = live and sys.stderr.isatty()
        if self.plain and importlib.util.find_spec("tqdm"):
            self.bar = importlib.import_module("tqdm").tqdm(total=programs, unit=" programs", dynamic_ncols=True)

    def show(self, tally: Tally, count: int, seconds: float) -> None:
        failures = sum(n for kind, n in tally.kinds.items() if Verdict(kind).wrong)
        rest = f"{len(tally.functions)} functions, {failures} failures"
        if self.bar is not None:
            self.bar.update(count - self.shown)
            self.bar.set_postfix_str(rest)
            self.shown = count
        elif self.plain:
            print(f"\r{count} programs, {count / max(seconds, 1e-9):.0f}/s, {rest}", end="", file=sys.stderr)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.plain:
            print(file=sys.stderr)


# ---------------------------------------------------------------- Hypothesis's database


def _database() -> Any:
    if not importlib.util.find_spec("hypothesis"):
        return None
    return importlib.import_module("hypothesis.database").DirectoryBasedExampleDatabase(".hypothesis/examples")


def remember(script: str) -> None:
    """Keep a program that failed in Hypothesis's database, where that is installed.

    Its text is kept, not its number: with a function more in the table, other programs have the numbers.
    """
    database = _database()
    if database is not None and script:
        database.save(KEY, script.encode())


def remembered() -> Iterator[tuple[str, str]]:
    """What failed before, run again: its script, and what is wrong; what is right now is forgotten."""
    database = _database()
    for value in sorted(database.fetch(KEY), key=len) if database is not None else ():
        try:
            exec(compile(value, "<kept by Hypothesis>", "exec"), {})
        except Exception as error:  # Whatever was wrong with it, or is now.
            yield value.decode(), f"{type(error).__name__}: {error}"
        else:
            database.delete(KEY, value)
            yield value.decode(), ""


def main(
    minutes: float | None, programs: int | None, jobs: int, options: Options, folder: Path, live: bool = True
) -> int:
    """Run a campaign and print what it covered; 1 where anything was found, ever, that is still wrong."""
    still = 0
    for script, wrong in itertools.islice(remembered(), OLD):
        still += bool(wrong)
        print(f"found before, and {'still wrong' if wrong else 'right now'}:\n{script}\n{wrong}")
    campaign = Campaign(options, folder, jobs)
    before = [(which, signal.signal(which, campaign.interrupt)) for which in (signal.SIGINT, signal.SIGTERM)]
    try:
        tally = campaign.run(minutes, programs, live)
    finally:
        for which, handler in before:
            signal.signal(which, handler)
    print(tally.table(functions_of(options.only), families() if options.only is None else (options.only,)))
    print(f"\ncounts in {folder}; the next run goes on at program {tally.following}")
    return int(bool(still or tally.found))
