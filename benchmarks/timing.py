"""Timing that is fair to all: each library in a process of its own, taking turns.

In one process the libraries would disturb each other, by their threads (which spin for a while after
their work is done) and by the caches. So each gets a worker, which builds its program once and then
times it whenever it is asked to. The turns go round and round, so that a slow second of the machine
meets everybody, and of each the median counts.
"""

import gc
import importlib.util
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Self

import numpy as np

Program = Callable[[], Any]
Build = Callable[..., Program]

SETTLE = 0.03  # seconds in which the last one's threads stop spinning
BLOCK = (31 << 20) // 8  # elements: just under the size from which on glibc never keeps what was freed
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Workers:
    """Processes to time programs in, one for each library and number of threads; a context manager."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], tuple[Any, Connection]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for process, pipe in self._running.values():
            pipe.close()  # A worker that reads the end of its pipe returns.
            process.join(5)
            if process.is_alive():
                process.kill()
        self._running.clear()

    def ask(self, library: str, threads: int, *question: Any) -> Any:
        """What the worker answers; raises RuntimeError with the worker's own traceback where it failed."""
        if (library, threads) not in self._running:
            self._running[library, threads] = _started(threads)
        _process, pipe = self._running[library, threads]
        pipe.send(question)
        ok, answer = pipe.recv()
        if not ok:
            raise RuntimeError(f"{library}: the benchmark failed\n{answer}")
        return answer


def medians(
    workers: Workers,
    programs: Mapping[str, tuple[Build, tuple[Any, ...]]],
    threads: int,
    rounds: int,
    seconds: float,
) -> dict[str, float]:
    """The median time of one call of each program, in seconds, over interleaved rounds.

    programs : library -> (build, arguments); ``build(*arguments)`` gives the program, without arguments
    threads : for those that compute in several; every library is told
    rounds : how often each has its turn
    seconds : about how long a turn takes, at least one call
    """
    calls = {}
    for library, (build, arguments) in programs.items():
        once = workers.ask(library, threads, "build", build, arguments)
        calls[library] = max(1, round(seconds / once))
    samples: dict[str, list[float]] = {library: [] for library in programs}
    for _ in range(rounds):
        for library in programs:
            if threads > 1:
                time.sleep(SETTLE)
            samples[library].append(workers.ask(library, threads, "time", calls[library]))
    for library in programs:
        workers.ask(library, threads, "forget")
    return {library: statistics.median(times) for library, times in samples.items()}


def installed(library: str) -> bool:
    """Whether the library can be imported here."""
    return importlib.util.find_spec(library) is not None


def _started(threads: int) -> tuple[Any, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))  # Read once, where BLAS is loaded.
    try:
        process = context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    there.close()
    return process, here


def _serve(pipe: Connection) -> None:
    program: Program | None = None
    # glibc gives memory back to the system, and takes it page by page again, the more eagerly the smaller the largest
    # block is that a process has freed so far. Importing PyTorch frees large ones; so everybody begins with one.
    np.ones(BLOCK)
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer: Any = None
            if what == "build":
                build, given = arguments
                program = build(*given)
                _timed(program, 1)  # The first call fills caches.
                answer = _timed(program, 1)
            elif what == "time":
                assert program is not None
                program()  # Another process had the processor's caches.
                answer = _timed(program, *arguments)
            elif what == "call":
                function, *given = arguments
                answer = function(*given)
            else:
                program = None
                gc.collect()
            pipe.send((True, answer))
        except Exception:
            pipe.send((False, traceback.format_exc()))


def _timed(program: Program, calls: int) -> float:
    gc.collect()
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls
