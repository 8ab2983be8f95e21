"""Does the checker object to what is wrong, and to nothing that is right? ``python -m benchmarks.checker``.

Rules are planted in three libraries, right ones and wrong ones, by the same formulas, and each library's own
checker is asked about the same calls: ``tapegrad.testing.check_grads``, ``autograd.test_util.check_grads``,
``torch.autograd.gradcheck`` and ``gradgradcheck``, all as they come. Then tapegrad's is asked about all of
NumPy: calls drawn from the cases of its table. Peers are used where they are installed.
"""

import argparse
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import installed

Rule = Callable[..., Any]
Verdict = str  # "passed", "objected" or "can't tell"


# ---------------------------------------------------------------- functions, and their rules, right and wrong


class Planted(NamedTuple):
    """A function in the words of all three libraries: ``m`` is numpy, autograd.numpy or torch."""

    draw: Callable[[Any], tuple[Any, ...]]  # of a generator of random numbers
    forward: Rule  # (m, *operands)
    right: Rule  # (m, g, y, *operands) -> a cotangent for each


def uniform(*shape: int) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(-2.0, 2.0, shape),)


def two(first: tuple[int, ...], second: tuple[int, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (rng.uniform(-2.0, 2.0, first), rng.uniform(-2.0, 2.0, second))


def complex_numbers(rng: Any) -> tuple[Any, ...]:
    return (rng.uniform(-2.0, 2.0, (2, 2)) + 1j * rng.uniform(-2.0, 2.0, (2, 2)),)


def powers_of_ten(low: float, high: float) -> Callable[[Any], tuple[Any, ...]]:
    return lambda rng: (10.0 ** rng.uniform(low, high, (2, 3)),)


def beside_zero(rng: Any) -> tuple[Any, ...]:
    return (10.0 ** rng.uniform(-9.0, 0.0, (2, 3)) * rng.choice([-1.0, 1.0], (2, 3)),)


def of_both_signs(rng: Any) -> tuple[Any, ...]:
    return (rng.uniform(0.1, 2.0, (2, 3)) * np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]),)


FUNCTIONS = {
    "sin": Planted(uniform(3, 3), lambda m, x: m.sin(x), lambda m, g, y, x: (g * m.cos(x),)),
    "sin of 300": Planted(uniform(300), lambda m, x: m.sin(x), lambda m, g, y, x: (g * m.cos(x),)),
    "1e-7 sin": Planted(uniform(2, 3), lambda m, x: 1e-7 * m.sin(x), lambda m, g, y, x: (1e-7 * g * m.cos(x),)),
    "1e7 sin": Planted(uniform(2, 3), lambda m, x: 1e7 * m.sin(x), lambda m, g, y, x: (1e7 * g * m.cos(x),)),
    "log near 0": Planted(powers_of_ten(-8, -2), lambda m, x: m.log(x), lambda m, g, y, x: (g / x,)),
    "sqrt far from 0": Planted(powers_of_ten(2, 8), lambda m, x: m.sqrt(x), lambda m, g, y, x: (g * 0.5 / y,)),
    "exp": Planted(uniform(2, 3), lambda m, x: m.exp(x), lambda m, g, y, x: (g * y,)),
    "abs beside its kink": Planted(beside_zero, lambda m, x: m.abs(x), lambda m, g, y, x: (g * m.sign(x),)),
    "square where positive": Planted(
        of_both_signs, lambda m, x: m.where(x > 0, x * x, 0 * x), lambda m, g, y, x: (m.where(x > 0, 2 * g * x, 0 * g),)
    ),
    "complex square": Planted(complex_numbers, lambda m, x: x * x, lambda m, g, y, x: (2 * g * m.conj(x),)),
    "broadcast product": Planted(
        two((2, 3), (3,)), lambda m, a, b: a * b, lambda m, g, y, a, b: (g * b, m.sum(g * a, 0))
    ),
    "product": Planted(two((2, 3), (2, 3)), lambda m, a, b: a * b, lambda m, g, y, a, b: (g * b, g * a)),
    "matrix product": Planted(
        two((3, 3), (3, 3)), lambda m, a, b: a @ b, lambda m, g, y, a, b: (g @ b.T, a.T @ g)
    ),
    "row sums": Planted(uniform(3, 3), lambda m, a: m.sum(a, 1), lambda m, g, y, a: (g[:, None] + 0 * a,)),
}  # fmt: skip


def constant(x: Any) -> Any:
    """The value, cut off from derivatives of higher order."""
    return x.detach() if hasattr(x, "detach") else getattr(x, "_value", x)


def single(m: Any, x: Any) -> Any:
    """The value rounded to float32."""
    return x.float().double() if hasattr(x, "float") else x.astype(np.float32).astype(np.float64)


def one_entry(m: Any, x: Any) -> Any:
    """0.1 at one entry of x, the largest, and 0 at the others."""
    return 0.1 * (x == m.max(x)) + 0 * x


MISTAKES: dict[str, tuple[str, Rule]] = {
    "sign": ("sin", lambda m, g, y, x: (-g * m.cos(x),)),
    "half": ("sin", lambda m, g, y, x: (g * m.cos(x) / 2,)),
    "zero everywhere": ("sin", lambda m, g, y, x: (0 * g,)),
    "transposed": ("sin", lambda m, g, y, x: ((g * m.cos(x)).T,)),
    "cotangent unused": ("sin", lambda m, g, y, x: (m.cos(x) + 0 * g,)),
    "factor 1 + 1e-4": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-4),)),
    "factor 1 + 1e-6": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-6),)),
    "factor 1 + 1e-8": ("sin", lambda m, g, y, x: (g * m.cos(x) * (1 + 1e-8),)),
    "offset 1e-6": ("sin", lambda m, g, y, x: (g * (m.cos(x) + 1e-6),)),
    "offset 1e-9": ("sin", lambda m, g, y, x: (g * (m.cos(x) + 1e-9),)),
    "float32 on the way": ("sin", lambda m, g, y, x: (g * m.cos(single(m, x)),)),
    "one of 300 entries": ("sin of 300", lambda m, g, y, x: (g * (m.cos(x) + one_entry(m, x)),)),
    "sign, small values": ("1e-7 sin", lambda m, g, y, x: (-1e-7 * g * m.cos(x),)),
    "half, large values": ("1e7 sin", lambda m, g, y, x: (1e7 * g * m.cos(x) / 2,)),
    "half, near 0": ("log near 0", lambda m, g, y, x: (g / x / 2,)),
    "half, far from 0": ("sqrt far from 0", lambda m, g, y, x: (g * 0.25 / y,)),
    "sign beside a kink": ("abs beside its kink", lambda m, g, y, x: (-g * m.sign(x),)),
    "mask missing": ("square where positive", lambda m, g, y, x: (2 * g * x,)),
    "mask inverted": ("square where positive", lambda m, g, y, x: (m.where(x > 0, 0 * g, 2 * g * x),)),
    "conjugate missing": ("complex square", lambda m, g, y, x: (2 * g * x,)),
    "cotangent conjugated": ("complex square", lambda m, g, y, x: (2 * m.conj(g) * m.conj(x),)),
    "real part only": ("complex square", lambda m, g, y, x: (0.5 * (2 * g * m.conj(x) + m.conj(2 * g * m.conj(x))),)),
    "not summed": ("broadcast product", lambda m, g, y, a, b: (g * b, (g * a)[0])),
    "mean for sum": ("broadcast product", lambda m, g, y, a, b: (g * b, m.sum(g * a, 0) / 2)),
    "other operand's slope": ("product", lambda m, g, y, a, b: (g * a, g * b)),
    "factor not transposed": ("matrix product", lambda m, g, y, a, b: (g @ b, a.T @ g)),
    "wrong axis": ("row sums", lambda m, g, y, a: (g[None, :] + 0 * a,)),
    "cut off at order two": ("exp", lambda m, g, y, x: (g * constant(y),)),
    "wrong at order two": ("exp", lambda m, g, y, x: (g * (2 * y - constant(y)),)),
}


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


def measured(library: str, calls: int) -> Counts:
    """The verdicts of a library's checker on about so many calls with right rules, and as many with wrong ones."""
    right = {
        name: verdicts(CHECKERS[library](planted, planted.right), planted, name, -(-calls // len(FUNCTIONS)))
        for name, planted in FUNCTIONS.items()
    }
    wrong = {}
    for name, (function, rule) in MISTAKES.items():
        planted = FUNCTIONS[function]
        check = CHECKERS[library](planted, rule)
        wrong[name] = verdicts(check, planted, name, -(-calls // len(MISTAKES)))
    return Counts(right, wrong)


def verdicts(check: Callable[..., Verdict], planted: Planted, name: str, calls: int) -> Counter[Verdict]:
    """What is said of so many calls, the same ones for every checker."""
    rng = np.random.default_rng(list(name.encode()))
    return Counter(check(*planted.draw(rng)) for _ in range(calls))


def over_the_table(calls: int, seed: int = 0) -> tuple[Counter[Verdict], list[str]]:
    """tapegrad's verdicts on calls of all of NumPy, drawn from the cases of its rules; and what was objected to."""
    from tapegrad.testing import GradientError, UndecidedError, check_grads
    from tapegrad.testing.draw import checked, trials_of
    from tapegrad.testing.rules import dtypes_of

    trials = [trial for known in checked() for trial in trials_of(known)]
    counter: Counter[Verdict] = Counter()
    alarms = []
    rng = np.random.default_rng(seed)
    for k in range(calls):
        if k % 1000 == 999:
            print(f"{k + 1} of {calls} calls, {len(alarms)} not passed", file=sys.stderr, flush=True)
        trial = trials[int(rng.integers(len(trials)))]
        kinds = dtypes_of(trial)
        arrays = trial.draw(rng, *kinds[int(rng.integers(len(kinds)))])
        if not arrays:
            continue  # All of its operands are constants, for an example's sake.

        def run(*given: Any, trial: Any = trial) -> Any:
            # Copies, since overwrite_input=True is among the calls.
            return trial.run(*(a.copy() if isinstance(a, np.ndarray) else a for a in given))

        try:
            check_grads(run, *arrays, order=2 if k % 4 == 0 and trial.cases.order > 1 else 1)
            counter["passed"] += 1
        except UndecidedError as error:
            counter["can't tell"] += 1
            alarms.append(f"{trial}, call {k}: {str(error).splitlines()[0]}")
        except GradientError as error:
            counter["objected"] += 1
            alarms.append(f"{trial}, call {k}: {str(error).splitlines()[0]}")
    return counter, alarms


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
    parser.add_argument("--calls", type=int, default=300, help="calls with right rules, and as many with wrong ones")
    parser.add_argument("--seed", type=int, default=0, help="of the calls drawn from the table")
    options = parser.parse_args(given)
    if options.calls < 1:
        parser.error("--calls takes a number of calls, at least 1")
    warnings.simplefilter("ignore")
    print(f"Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"{len(FUNCTIONS)} right rules and {len(MISTAKES)} wrong ones, {options.calls} calls of each at least")
    print(f"{'':<36}{'false alarm':>13}{'cannot tell':>13}{'found':>13}{'cannot tell':>13}")
    for library in CHECKERS:
        if not installed(library):
            print(f"{NAMES[library]:<36} not installed: skipped")
            continue
        counts = measured(library, options.calls)
        show(library, counts)
        if library == "tapegrad":
            ours = counts
    counter, alarms = over_the_table(options.calls, options.seed)
    untold = counter["can't tell"]
    print(
        f"tapegrad on NumPy's functions, {counter.total()} calls drawn from the cases of its table: "
        f"{counter['objected']} false alarms, {untold} where it can't tell"
    )
    for line in alarms:
        print(f"    {line}")
    failed = ours.total(ours.right, "objected") + ours.total(ours.wrong, "passed") + counter["objected"]
    print("no false alarm, no mistake missed" if not failed else f"{failed} WRONG VERDICTS")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
