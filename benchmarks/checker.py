"""Does the checker object to what is wrong, and to nothing that is right? ``python -m benchmarks.checker``.

Rules are planted in three libraries, right ones and wrong ones, by the same formulas, and each library's own
checker is asked about the same calls: ``tapegrad.testing.check_grads``, ``autograd.test_util.check_grads``,
``torch.autograd.gradcheck`` and ``gradgradcheck``, all as they come. Then tapegrad's is asked about all of
NumPy: calls drawn from the cases of its table. Peers are used where they are installed.
"""

import argparse
import functools
import json
import os
import platform
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.planted import FUNCTIONS, MISTAKES, Planted, Rule
from benchmarks.timing import installed

Verdict = str  # "passed", "objected" or "can't tell"


# ---------------------------------------------------------------- the checkers


def with_tapegrad(planted: Planted, rule: Rule) -> Callable[..., Verdict]:
    import tapegrad as tg
    from tapegrad.testing import GradientError, UndecidedError, check_grads

    by_count = {1: lambda g, y, a: rule(np, g, y, a), 2: lambda g, y, a, b: rule(np, g, y, a, b)}
    count = len(planted.draw(np.random.default_rng(0)))
    f = tg.primitive(lambda *x: planted.forward(np, *x), name="planted")
    tg.defvjp(f)(by_count[count])

    def check(*arrays: Any) -> Verdict:
        try:
            check_grads(f, *arrays)
        except UndecidedError:
            return "can't tell"
        except GradientError:
            return "objected"
        return "passed"

    return check


def with_autograd(planted: Planted, rule: Rule) -> Callable[..., Verdict]:
    import autograd.numpy as anp
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    f = primitive(lambda *x: planted.forward(np, *x))
    count = len(planted.draw(np.random.default_rng(0)))

    def pulled_back(i: int) -> Any:
        # The cotangents of autograd are the conjugates of ours.
        return lambda y, *x: lambda g: anp.conj(rule(anp, anp.conj(g), y, *x)[i])

    defvjp(f, *map(pulled_back, range(count)))

    def check(*arrays: Any) -> Verdict:
        np.random.seed(0)
        try:
            check_grads(f, 0 if count == 1 else tuple(range(count)), modes=["rev"])(*arrays)
        except Exception:  # Its checks raise whatever comes: an assertion, a shape that doesn't fit.
            return "objected"
        return "passed"

    return check


def with_torch(planted: Planted, rule: Rule) -> Callable[..., Verdict]:
    import torch

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *x: Any) -> Any:
            y = planted.forward(torch, *x)
            ctx.save_for_backward(y, *x)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            y, *x = ctx.saved_tensors
            return rule(torch, g, y, *x)

    def check(*arrays: Any) -> Verdict:
        torch.manual_seed(0)
        given = [torch.tensor(a, requires_grad=True) for a in arrays]
        try:
            torch.autograd.gradcheck(Function.apply, given)
            torch.autograd.gradgradcheck(Function.apply, given)
        except Exception:  # As above.
            return "objected"
        return "passed"

    return check


CHECKERS = {"tapegrad": with_tapegrad, "autograd": with_autograd, "torch": with_torch}
NAMES = {
    "tapegrad": "tapegrad: check_grads",
    "autograd": "autograd: check_grads",
    "torch": "PyTorch: gradcheck, gradgradcheck",
}


# ---------------------------------------------------------------- what is counted


class Counts(NamedTuple):
    """What a checker said, by what it was asked about: of right rules by function, of wrong ones by mistake."""

    right: dict[str, Counter[Verdict]]
    wrong: dict[str, Counter[Verdict]]

    def total(self, part: dict[str, Counter[Verdict]], verdict: Verdict) -> int:
        """How often the verdict was given."""
        return sum(counter[verdict] for counter in part.values())


def measured(library: str, each: int) -> Counts:
    """The verdicts of a library's checker on so many calls with each rule."""
    right = {
        name: verdicts(CHECKERS[library](planted, planted.right), planted, name, each)
        for name, planted in FUNCTIONS.items()
    }
    wrong = {}
    for name, (function, rule) in MISTAKES.items():
        planted = FUNCTIONS[function]
        wrong[name] = verdicts(CHECKERS[library](planted, rule), planted, name, each)
    return Counts(right, wrong)


def verdicts(check: Callable[..., Verdict], planted: Planted, name: str, calls: int) -> Counter[Verdict]:
    """What is said of so many calls, the same ones for every checker."""
    rng = np.random.default_rng(list(name.encode()))
    return Counter(check(*planted.draw(rng)) for _ in range(calls))


# ---------------------------------------------------------------- all of NumPy


@functools.cache
def trials() -> dict[str, Any]:
    """The calls of the cases, of everything in the table, that take operands; by their names."""
    from tapegrad.testing.draw import checked, trials_of

    return {str(trial): trial for known in checked() for trial in trials_of(known) if trial.slots}


def drawn(seed: int, number: int) -> str:
    """The case that the call of that number is drawn from."""
    return list(trials())[int(np.random.default_rng([seed, number]).integers(len(trials())))]


def told(seed: int, number: int, case: str) -> tuple[Verdict, str]:
    """tapegrad's verdict on the call of that number, of that case; and why it isn't "passed"."""
    from tapegrad.testing import GradientError, UndecidedError, check_grads
    from tapegrad.testing.rules import dtypes_of

    trial, rng = trials()[case], np.random.default_rng([seed, number, 1])
    kinds = dtypes_of(trial)
    arrays = trial.draw(rng, *kinds[int(rng.integers(len(kinds)))])

    def run(*given: Any) -> Any:
        # Copies, since overwrite_input=True is among the calls.
        return trial.run(*(a.copy() if isinstance(a, np.ndarray) else a for a in given))

    try:
        check_grads(run, *arrays, order=2 if number % 4 == 0 and trial.cases.order > 1 else 1)
    except GradientError as error:
        verdict = "can't tell" if isinstance(error, UndecidedError) else "objected"
        return verdict, f"{verdict}: {str(error).splitlines()[0]}"
    return "passed", ""


class Kept:
    """How many calls of the table were made, and what wasn't passed: in a file, to go on from there."""

    def __init__(self, seed: int, folder: Path | None) -> None:
        self.seed, self.path = seed, folder and folder / f"checker-{seed}.json"
        self.calls = 0
        self.others: dict[int, tuple[str, Verdict, str]] = {}  # of a call that isn't passed: its case, and what is said
        if self.path and self.path.exists():
            given = json.loads(self.path.read_text())
            self.calls = given["calls"]
            for number, (case, *_said) in given["others"].items():
                if case in trials():  # The checker may have been mended since.
                    self.ask(int(number), case)

    def count(self, verdict: Verdict) -> int:
        """Of how many calls that was said."""
        return sum(said == verdict for _case, said, _why in self.others.values())

    def ask(self, number: int, case: str) -> None:
        """Ask about one call."""
        verdict, why = told(self.seed, number, case)
        if verdict != "passed":
            self.others[number] = case, verdict, why

    def run(self, calls: int) -> None:
        """Go on until there are so many calls in all, or somebody interrupts."""
        saved = time.monotonic()
        try:
            while self.calls < calls:
                self.ask(self.calls, drawn(self.seed, self.calls))
                self.calls += 1
                if time.monotonic() - saved > 5:
                    self.save()
                    saved = time.monotonic()
                    if sys.stderr.isatty():
                        print(f"\r{self.calls} calls, {len(self.others)} not passed", end="", file=sys.stderr)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here", file=sys.stderr)
        self.save()

    def save(self) -> None:
        """Write it to its file, so that there is a whole one at any moment."""
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_suffix(".new")
            beside.write_text(json.dumps({"calls": self.calls, "others": self.others}))
            os.replace(beside, self.path)


# ---------------------------------------------------------------- the command


def show(library: str, counts: Counts) -> None:
    asked = sum(map(Counter.total, counts.right.values())), sum(map(Counter.total, counts.wrong.values()))
    alarms, untold = (counts.total(counts.right, verdict) for verdict in ("objected", "can't tell"))
    found = counts.total(counts.wrong, "objected")
    unsure = counts.total(counts.wrong, "can't tell")
    print(
        f"{NAMES[library]:<36}{100 * alarms / asked[0]:>11.2f} %{100 * untold / asked[0]:>11.2f} %"
        f"{100 * found / asked[1]:>11.2f} %{100 * unsure / asked[1]:>11.2f} %",
        flush=True,
    )
    for title, part, verdict in (("alarmed by", counts.right, "objected"), ("passes", counts.wrong, "passed")):
        named = [f"{name} ({c[verdict]} of {c.total()})" for name, c in part.items() if c[verdict]]
        if named:
            print(f"    {title} {', '.join(named)}")


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checker", description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="calls with each planted rule (0: none)")
    parser.add_argument("--calls", type=int, default=300, help="calls drawn from the table, in all (0: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the calls drawn from the table")
    parser.add_argument("--into", type=Path, help="folder that keeps count of these: the next run goes on from there")
    options = parser.parse_args(given)
    if min(options.calls, options.each) < 0:
        parser.error("--calls and --each take a number of calls, at least 0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Print what was asked for; 1 where a verdict of tapegrad's is wrong."""
    print(f"Python {platform.python_version()}, NumPy {np.__version__}")
    failed = planted_ones(options.each) if options.each else 0
    if options.calls:
        kept = Kept(options.seed, options.into)
        kept.run(options.calls)
        alarms, untold = kept.count("objected"), kept.count("can't tell")
        print(
            f"tapegrad on NumPy's functions, {kept.calls} calls drawn from the {len(trials())} cases of its table: "
            f"{alarms} false alarms, {untold} where it can't tell"
        )
        for number, (case, _verdict, why) in kept.others.items():
            print(f"    call {number}, {case}: {why}")
        failed += alarms
    print("no false alarm, no mistake missed" if not failed else f"{failed} WRONG VERDICTS")
    return bool(failed)


def planted_ones(each: int) -> int:
    """The table of all checkers; returns how often tapegrad's is wrong."""
    print(f"{len(FUNCTIONS)} right rules and {len(MISTAKES)} wrong ones, {each} calls with each")
    print(f"{'':<36}{'false alarm':>13}{'cannot tell':>13}{'found':>13}{'cannot tell':>13}")
    failed = 0
    for library in CHECKERS:
        if not installed(library):
            print(f"{NAMES[library]:<36} not installed: skipped")
            continue
        counts = measured(library, each)
        show(library, counts)
        if library == "tapegrad":
            failed = counts.total(counts.right, "objected") + counts.total(counts.wrong, "passed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
