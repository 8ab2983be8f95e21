"""``python -m tests.mutation``: the mutants of every rule, and how many the rules' own checks catch."""

import argparse
import collections
import hashlib
import importlib
import importlib.util
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import tapegrad.nn  # noqa: F401 - its rules are entered
from tapegrad.testing.draw import checked

from .equivalent import reason_of
from .planting import mutants
from .run import NO_PROGRAM, PATIENCE, Checks, Outcome, all_reaches, run_all


def main() -> int:
    """Run, and print the table; 1 where a mutant lived that isn't listed as equivalent."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=main.__doc__)
    parser.add_argument("--into", type=Path, default=Path(".tapegrad-mutation"), help="where outcomes are kept")
    parser.add_argument("--only", default="", help="mutants whose key has this in it")
    parser.add_argument("--module", default="", help="mutants of this module: ops.reductions, nn.pool")
    parser.add_argument("--part", default="1/1", help="i/n: every n-th mutant, from the i-th; for n processes at once")
    parser.add_argument("--sample", type=int, help="as many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument(
        "--again", action="store_true", help="run the survivors of earlier runs once more, and no others"
    )
    parser.add_argument("--composites", action="store_true", help="also functions written in other functions")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds of checks after which one lives")
    parser.add_argument("--quiet", action="store_true", help="no line for each survivor")
    options = parser.parse_args()
    if importlib.util.find_spec("scipy"):
        importlib.import_module("scipy.special")  # Beside it, its rules are entered.
    knowns = [k for k in checked() if k.kind == "primitive" or options.composites]
    chosen = [
        m for m in mutants(knowns)
        if options.only in m.key and m.module.endswith(options.module)
    ]  # fmt: skip
    if options.again:
        chosen = [m for m in chosen if reason_of(m) is None]
    # In an order of no meaning: what a run that was stopped has seen is a fair sample.
    chosen.sort(key=lambda m: hashlib.sha256(m.key.encode()).digest())
    first, of = map(int, options.part.split("/"))
    chosen = chosen[first - 1 :: of]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    checks = Checks(knowns, all_reaches(knowns, options.into, lambda line: print(line, file=sys.stderr)))
    start, outcomes = time.perf_counter(), []
    for outcome in run_all(chosen, checks, options.into / f"outcomes-{first}.jsonl", options.again, options.patience):
        if outcome.by == NO_PROGRAM:
            continue
        outcomes.append(outcome)
        if not outcome.by and reason_of(outcome) is None and not options.quiet:
            print(f"lives: {outcome.key}  ({outcome.why})", flush=True)
    print(table(outcomes))
    print(f"{sum(o.seconds for o in outcomes) / 60:.1f} minutes on one core, {time.perf_counter() - start:.0f} s now")
    return int(any(not o.by and reason_of(o) is None for o in outcomes))


def table(outcomes: Iterable[Outcome]) -> str:
    """For each module: mutants, those caught, those listed as equivalent, and those that live."""
    rows: dict[str, collections.Counter[str]] = {}
    for o in outcomes:
        module = o.module.removeprefix("tapegrad.") if o.module.startswith("tapegrad.") else "numbers"
        kind = "caught" if o.by else "lives" if reason_of(o) is None else "equivalent"
        for row in (module, "all"):
            rows.setdefault(row, collections.Counter())[kind] += 1
    lines = [f"{'module':<24}{'mutants':>8}{'caught':>8}{'equivalent':>12}{'live':>6}{'caught of the others':>22}"]
    for row in [*sorted(set(rows) - {"all"}), *(["all"] if rows else [])]:
        counts = rows[row]
        total, others = counts.total(), counts.total() - counts["equivalent"]
        share = f"{100 * counts['caught'] / others:.1f} %" if others else ""
        lines.append(
            f"{row:<24}{total:>8}{counts['caught']:>8}{counts['equivalent']:>12}{counts['lives']:>6}{share:>22}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
