"""Programs: lines of Python over arrays, which print as a function that runs by itself.

What runs is what is printed: a program is compiled from its own source. So whatever is found by one is
found by its text, in a file with nothing else in it.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapegrad.testing.programs.literals import imports_of, literal

_NAME = re.compile(r"\b[xv]\d+\b")  # x0, x1, ... are inputs, v0, v1, ... what lines make.


@dataclass(frozen=True)
class Line:
    """A statement: its source (of several lines, where it is a loop), and what is known of it.

    makes : the variables it assigns; none for a write into an array
    functions : the functions of the table that it calls, by name
    families : what it is counted as
    order : the highest derivative that it has
    trusted : whether differences can tell (False where it was led out of its domain on purpose)
    """

    text: str
    makes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    order: int = 9
    trusted: bool = True

    @functools.cached_property
    def reads(self) -> frozenset[str]:
        """The variables and inputs it reads (and writes into)."""
        return frozenset(_NAME.findall(self.text)) - frozenset(self.makes)

    def renamed(self, old: str, new: str) -> "Line":
        """The same line with another variable in the place of one that it reads."""
        text = re.sub(rf"\b{old}\b", new, self.text)
        return Line(text, self.makes, self.functions, self.families, self.order, self.trusted)


@dataclass(frozen=True)
class Program:
    """A function of some arrays: its inputs, its lines, and the variables that it returns.

    >>> import numpy as np
    >>> program = Program((np.array([1.0, 2.0]),), (Line("v0 = np.sin(x0)", ("v0",)),), ("v0",))
    >>> print(program)
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def program(x0):
        v0 = np.sin(x0)
        return v0
    >>> program(np.zeros(2))
    array([0., 0.])
    """

    inputs: tuple[Any, ...]
    lines: tuple[Line, ...]
    returns: tuple[str, ...]
    seed: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"{self.source}\n\n\nprogram({', '.join(map(literal, self.inputs))})"

    def __call__(self, *arrays: Any) -> Any:
        """What the program returns for those arrays (or tensors)."""
        return self.function(*arrays)

    @property
    def source(self) -> str:
        """The program as a function, with the imports it needs."""
        body = [row for line in self.lines for row in line.text.split("\n")]
        returned = self.returns[0] if len(self.returns) == 1 else ", ".join(self.returns)
        body.append(f"return {returned}" if self.returns else "return ()")
        names = ", ".join(f"x{i}" for i in range(len(self.inputs)))
        imports = "\n".join(imports_of("\n".join(body)))
        return f"{imports}\n\n\ndef program({names}):\n" + "\n".join(f"    {row}" if row else "" for row in body)

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The program, compiled from its source."""
        scope: dict[str, Any] = {}
        exec(compile(self.source, "<program>", "exec"), scope)  # One name for all: Python keeps names of files.
        made: Callable[..., Any] = scope["program"]
        return made

    @functools.cached_property
    def digest(self) -> str:
        """A short name for the program: of its text and its inputs."""
        text = "\n".join([*(line.text for line in self.lines), *self.returns, *map(literal, self.inputs)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def functions(self) -> frozenset[str]:
        """The functions of the table that it calls."""
        return frozenset(name for line in self.lines for name in line.functions)

    @property
    def families(self) -> frozenset[str]:
        """The families that its lines belong to."""
        return frozenset(name for line in self.lines for name in line.families)

    @property
    def order(self) -> int:
        """The highest derivative that all of its lines have."""
        return min((line.order for line in self.lines), default=9)

    @property
    def trusted(self) -> bool:
        """Whether no line was led out of its domain on purpose."""
        return all(line.trusted for line in self.lines)

    def pruned(self) -> "Program":
        """The program without the lines that nothing returned depends on."""
        needed, kept = set(self.returns), list[Line]()
        for line in reversed(self.lines):
            # What writes is needed where what it writes into may be: views can't be told apart by name.
            if not line.makes or needed & set(line.makes):
                kept.append(line)
                needed |= line.reads
        return Program(self.inputs, tuple(reversed(kept)), self.returns, self.seed)

    def script(self, test: str = "") -> str:
        """A file that checks the program, with NumPy and tapegrad alone: as a script, or as a test of that name."""
        imports, body = self.source.split("\n\n\n", 1)
        arguments = "".join(f",\n    {literal(a)}" for a in self.inputs)
        order = f",\n    order={self.order}" if self.order < 2 else ""
        check = f"check_function(\n    program{arguments}{order},\n)"
        if test:
            check = f"def {test}():\n    " + check.replace("\n", "\n    ")
        return f"{imports}\n\nfrom tapegrad.testing.programs import check_function\n\n\n{body}\n\n\n{check}\n"


def variables(lines: Sequence[Line]) -> list[str]:
    """What the lines make, in order."""
    return [name for line in lines for name in line.makes]
