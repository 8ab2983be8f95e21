"""What the tape costs, against writing it by hand and against its peers: ``python -m benchmarks.tape``.

A table: the median time of interleaved runs, the ratio of tapegrad's time to that of the others, and the
bound that we hold ourselves to. Peers are used where they are installed (``pip install "tapegrad[peers]"``).
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import programs
from benchmarks.timing import Build, Workers, installed, medians

NAMES = {
    "tapegrad": "tapegrad",
    "numpy": "NumPy by hand",
    "torch": "PyTorch",
    "autograd": "autograd",
    "mygrad": "MyGrad",
}


class Effort(NamedTuple):
    """How long to measure: rounds for each program, and seconds for each turn."""

    rounds: int
    seconds: float


class Bench(NamedTuple):
    """What every row needs."""

    workers: Workers
    effort: Effort
    met: list[bool]  # of each bound so far, whether it is met

    def compare(
        self,
        builds: Mapping[str, tuple[Build, tuple[Any, ...]]],
        bounds: Mapping[str, float],
        per: int = 1,
        threads: int = 1,
    ) -> None:
        """Time the programs of the libraries that are installed, and print a line for each.

        bounds : library -> the largest ratio of tapegrad's time to its time that we allow
        per : operations in a program, if the time of one is to be shown
        """
        here = {library: build for library, build in builds.items() if installed(library)}
        times = medians(self.workers, here, threads, *self.effort)
        for library in builds:
            if library not in here:
                print(f"  {NAMES[library]:<34} not installed: skipped")
            elif library == "tapegrad":
                self.line(NAMES[library], duration(times[library] / per))
            else:
                ratio = times["tapegrad"] / times[library]
                self.line(NAMES[library], duration(times[library] / per), ratio, bounds.get(library))

    def line(self, name: str, value: str, ratio: float | None = None, bound: float | None = None) -> None:
        """Print a line of the table: tapegrad's ratio to this, and whether it keeps to the bound."""
        text = f"  {name:<34}{value:>12}" + ("" if ratio is None else f"{ratio:>9.2f}")
        self.print(text, ratio, bound, f"{bound:.2f}" if bound is not None else "")

    def print(self, text: str, measured: float | None, bound: float | None, shown: str) -> None:
        """Print a line, with its bound if there is one."""
        if measured is not None and bound is not None:
            self.met.append(measured <= bound)
            text = f"{text:<57}{'at most ' + shown:>16}   {'met' if self.met[-1] else 'MISSED'}"
        print(text, flush=True)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


# ---------------------------------------------------------------- the rows


def chain(bench: Bench) -> None:
    print("chain of 1,000 operations (sin, *, +, -) on 10 float64 numbers, time per operation")
    builds = {library: (build, ((10,),)) for library, build in programs.CHAINS.items()}
    bench.compare(builds, {"torch": 0.4, "autograd": 0.15}, per=4 * programs.ROUNDS)


def scalars(bench: Bench) -> None:
    print("the same on 0-d float64, time per operation")
    builds = {library: (build, ((),)) for library, build in programs.CHAINS.items()}
    bench.compare(builds, {"torch": 0.3}, per=4 * programs.ROUNDS)


def small(bench: Bench) -> None:
    for name in programs.SMALL:
        print(f"small {name}, time per operation")
        builds: dict[str, tuple[Build, tuple[Any, ...]]] = {
            "tapegrad": (programs.small_tapegrad, (name,)),
            "torch": (programs.small_torch, (name,)),
        }
        bench.compare(builds, {"torch": 0.9}, per=programs.REPEATS)


def memory(bench: Bench) -> None:
    print("memory of what is recorded")
    for name, operation, kept in (("x + w", np.add, 0), ("x * w", np.multiply, 2), ("sin(x)", np.sin, 1)):
        size = bench.workers.ask("tapegrad", 1, "call", bytes_per_entry, operation, kept)
        bench.print(f"  {'an entry of ' + name + ', besides arrays':<34}{size:>6.0f} bytes", size, 250, "250 bytes")
    held = bench.workers.ask("tapegrad", 1, "call", arrays_held_by_add)
    bench.print(f"  {'large arrays kept by an add':<34}{held:>12.2f}", held, 0.01, "0.01")


def bytes_per_entry(operation: Callable[..., Any], kept: int) -> float:
    """Bytes that an operation of a chain on 10 numbers leaves behind, besides the arrays that its rule reads.

    kept : how many arrays that is; in a chain one of them is the result of the operation before,
        and the other one the leaf
    """
    import tapegrad as tg

    n = 10_000
    x, w = tg.tensor(np.full(10, 0.5)), tg.tensor(np.ones(10))
    y = operation(x, w) if operation.nin == 2 else operation(x)
    tracemalloc.start()
    for _ in range(n):
        y = operation(y, w) if operation.nin == 2 else operation(y)
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / n - min(kept, 1) * sys.getsizeof(np.empty(10))


def arrays_held_by_add() -> float:
    """How many arrays of the operands' size an add keeps, besides its result."""
    import tapegrad as tg

    n = 10
    x, w = tg.tensor(np.ones(10**6)), tg.tensor(np.ones(10**6))
    tracemalloc.start()
    y = x
    for _ in range(n):
        y = y + w
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (held - y.nbytes) / (n * y.nbytes)


def mlp(bench: Bench) -> None:
    print("a step of a network, 64 x 784 -> 128 -> 10, float32, two threads: forward, backward, SGD")
    builds: dict[str, tuple[Build, tuple[Any, ...]]] = {
        "tapegrad": (programs.mlp_tapegrad, ()),
        "torch": (programs.mlp_torch, (2,)),
    }
    bench.compare(builds, {"torch": 1.0}, threads=2)


def large(bench: Bench) -> None:
    rows = [
        ("mixed", (10**6,), "sum(tanh(x*y + sin(x)) * exp(-x*x)), 10^6 float64"),
        ("mixed", (10**7,), "the same, 10^7"),
        ("products", (10**6,), "sum(x*y*x / (y*y) / x), 10^6 float64"),
        ("products", (10**7,), "the same, 10^7"),
        ("normalisation", (1000, 1000), "sum((x - mean) / sqrt(var + eps) * y) over axis 0, 1000 x 1000"),
        ("normalisation", (10_000, 1000), "the same, 10,000 x 1000"),
        ("matmul", (512, 512), "z = x @ y, sum(z*z), 512 x 512 float64, two threads"),
    ]
    for name, shape, title in rows:
        print(title)
        builds: dict[str, tuple[Build, tuple[Any, ...]]] = {
            "tapegrad": (programs.large_tapegrad, (name, shape)),
            "numpy": (programs.large_numpy, (name, shape)),
        }
        bench.compare(builds, {"numpy": 1.2}, threads=2)


def imports(bench: Bench) -> None:
    print("import, in a fresh interpreter")
    samples: dict[str, list[float]] = {"numpy": [], "tapegrad": []}
    with tempfile.TemporaryDirectory() as cache:
        for turn in range(2 * bench.effort.rounds + 2):
            for module, times in samples.items():
                seconds = import_time(module, cache)
                if turn:  # The first one compiles, and reads from disk.
                    times.append(seconds)
    times = {module: statistics.median(seconds) for module, seconds in samples.items()}
    bench.line("tapegrad", duration(times["tapegrad"]))
    bench.line("numpy", duration(times["numpy"]), times["tapegrad"] / times["numpy"], 1.3)


def import_time(module: str, cache: str) -> float:
    """Seconds that ``import module`` takes in a fresh interpreter.

    cache : folder for the bytecode, as an installed package has it, whatever this environment forbids
    """
    program = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


ROWS = {
    "chain": chain,
    "scalars": scalars,
    "small": small,
    "memory": memory,
    "mlp": mlp,
    "large": large,
    "import": imports,
}


# ---------------------------------------------------------------- the command


Row = Callable[[Bench], None]


def table(prog: str, description: str | None, rows: Mapping[str, Row], given: Sequence[str] | None) -> int:
    """The command of a benchmark: print the rows that were asked for, or all."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it runs, not to measure")
    parser.add_argument("--only", choices=rows, action="append", metavar="NAME", help=f"one of {', '.join(rows)}")
    options = parser.parse_args(given)
    effort = Effort(3, 0.02) if options.quick else Effort(11, 0.15)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, {os.cpu_count()} cores"
    print(f"{versions}; medians of {effort.rounds} interleaved runs; ratio = tapegrad / the other")
    with Workers() as workers:
        bench = Bench(workers, effort, [])
        for name in options.only or rows:
            rows[name](bench)
    print(f"{sum(bench.met)} of {len(bench.met)} bounds met")
    return 0


def main(given: Sequence[str] | None = None) -> int:
    return table("python -m benchmarks.tape", __doc__, ROWS, given)


if __name__ == "__main__":
    sys.exit(main())
