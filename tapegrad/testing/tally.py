"""What a campaign of random programs has counted: kept in a file, so that the next one goes on from there."""

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMED = 30  # functions that were never met
SPECIAL = ("views", "writes", "loops", "closures", "nested derivatives", "branches", "dtypes")


@dataclass
class Tally:
    """Counts of programs, of what they called, and of what was found.

    following : the number of the next program to draw
    pending : numbers handed out, and not yet answered for: drawn again after an interruption
    """

    following: int = 0
    pending: list[int] = field(default_factory=list)
    programs: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    functions: Counter[str] = field(default_factory=Counter)
    families: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    found: dict[str, str] = field(default_factory=dict)  # the name of a file -> what is wrong
    tensors: int = 0  # the most that were alive after a program was gone
    memory: list[float] = field(default_factory=lambda: [0.0, 0.0])  # MB of a process, when warm and at most

    def count(self, functions: Iterable[str], families: Iterable[str], kind: str, message: str = "") -> None:
        """Count one program."""
        self.programs += 1
        self.kinds[kind] += 1
        if kind == "refused":
            # Numbers are left out, so that what differs in nothing else is one message.
            self.refused[re.sub(r"\d+(\.\d+)?", "#", message)[:160]] += 1
        self.functions.update(functions)
        present = sorted(families)
        self.families.update(present)
        self.pairs.update(f"{a} + {b}" for a, b in itertools.combinations(present, 2))

    def add(self, other: "Tally") -> None:
        """Add what another process has counted."""
        self.programs += other.programs
        for name in ("kinds", "functions", "families", "pairs", "refused"):
            getattr(self, name).update(getattr(other, name))
        self.found.update(other.found)
        self.tensors = max(self.tensors, other.tensors)
        if other.memory[0]:
            self.memory[0] = self.memory[0] or other.memory[0]
            self.memory[1] = max(self.memory[1], other.memory[1])

    def save(self, path: Path) -> None:
        """Write it to a file, so that there is a whole one at any moment."""
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(vars(self)))
        os.replace(beside, path)

    @classmethod
    def load(cls, path: Path) -> "Tally":
        """What a file holds; nothing counted yet, where there is none."""
        if not path.exists():
            return cls()
        given: dict[str, Any] = json.loads(path.read_text())
        for name in ("kinds", "functions", "families", "pairs", "refused"):
            given[name] = Counter(given[name])
        return cls(**given)

    def table(self, functions: Iterable[str], families: Iterable[str]) -> str:
        """What was covered, as text: of these functions and families."""
        names, kin = sorted(functions), sorted({*families, *SPECIAL})
        counts = sorted(self.functions[name] for name in names)
        pairs = sorted((self.pairs[f"{a} + {b}"], f"{a} + {b}") for a, b in itertools.combinations(kin, 2))
        rate = self.programs / self.seconds if self.seconds else 0.0
        rows = [
            ("programs", f"{self.programs}, {rate:.1f} a second"),
            ("found", ", ".join(f"{kind} {n}" for kind, n in self.kinds.most_common()) or "nothing yet"),
            ("functions met", f"{sum(n > 0 for n in counts)} of {len(names)}{_spread(counts)}"),
            ("pairs of families", f"{sum(n > 0 for n, _ in pairs)} of {len(pairs)}{_spread([n for n, _ in pairs])}"),
            ("memory of a process", f"{self.memory[0]:.0f} MB when warm, {self.memory[1]:.0f} MB at most"),
            ("tensors left over", str(self.tensors)),
        ]
        lines = [f"{name:20} {value}" for name, value in rows]
        lines += ["", f"{'family':22} {'programs':>9}"]
        lines += [f"{name:22} {self.families[name]:9}" for name in kin if self.families[name]]
        rare = [name for name in names if not self.functions[name]]
        if rare:
            more = f", and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
            lines += ["", f"never met: {', '.join(rare[:NAMED])}{more}"]
        if self.refused:
            lines += ["", "refused:", *(f"{n:7} {message}" for message, n in self.refused.most_common(12))]
        if self.found:
            lines += [
                "",
                "failures:",
                *(f"  {name}: {message.splitlines()[0]}" for name, message in self.found.items()),
            ]
        return "\n".join(lines)


def _spread(counts: list[int]) -> str:
    return f"; the least {counts[0]} times, half of them {counts[len(counts) // 2]} times or more" if counts else ""
