"""The smallest program that still shows what a program showed."""

from collections.abc import Callable, Iterator

import numpy as np

from tapegrad.testing.programs.draft import REFUSALS
from tapegrad.testing.programs.literals import literal
from tapegrad.testing.programs.program import Line, Program

BUDGET = 400  # programs tried


def smaller(program: Program, shows: Callable[[Program], bool], budget: int = BUDGET) -> Program:
    """A program with every line, output, input and digit left out that it shows the same without.

    shows : whether a program still shows it; what it raises of NumPy's own refusals counts as no
    budget : how many programs to try, at most

    >>> from tapegrad.testing.programs import Line, Program
    >>> lines = (Line("v0 = x0 * 2", ("v0",)), Line("v1 = np.sin(v0)", ("v1",)))
    >>> program = Program((np.array([0.5, 1.5]),), lines, ("v0", "v1"))
    >>> smaller(program, lambda p: "sin" in str(p)).lines
    (Line(text='v1 = np.sin(x0)', ...),)
    """
    tried = 0
    better = True
    while better:
        better = False
        for candidate in _candidates(program):
            tried += 1
            if tried > budget:
                return program
            if _weight(candidate) < _weight(program) and _safely(candidate, shows):
                program, better = candidate, True
                break
    return program


def _safely(program: Program, shows: Callable[[Program], bool]) -> bool:
    try:
        return shows(program)
    except (*REFUSALS, NameError):
        return False


def _weight(program: Program) -> tuple[int, int, int]:
    size = sum(a.size for a in program.inputs)
    return len(program.lines) + len(program.returns), size, len(repr(program))


def _candidates(program: Program) -> Iterator[Program]:
    """Programs a little smaller, those that leave out most first."""
    inputs, lines, returns = program.inputs, program.lines, program.returns
    if len(returns) > 1:
        for name in returns:
            yield Program(inputs, lines, (name,), program.seed).pruned()
    # A line less, or another variable in the place of what it makes: the function itself may matter no more.
    for i, line in enumerate(lines):
        rest = (*lines[:i], *lines[i + 1 :])
        if not line.makes:
            yield Program(inputs, rest, returns, program.seed).pruned()
        for made in line.makes if len(line.makes) == 1 else ():
            for other in _before(program, i):
                later = tuple(further.renamed(made, other) for further in lines[i + 1 :])
                kept = tuple(dict.fromkeys(other if r == made else r for r in returns))
                yield Program(inputs, (*lines[:i], *later), kept, program.seed).pruned()
    # A program that ends sooner.
    for i in range(len(lines) - 1, 0, -1):
        if lines[i - 1].makes:
            yield Program(inputs, lines[:i], lines[i - 1].makes[:1], program.seed).pruned()
    yield from _with_constants(program)
    yield from _with_fewer_inputs(program)
    yield from _with_rounder_inputs(program)


def _before(program: Program, i: int) -> list[str]:
    return [*(f"x{k}" for k in range(len(program.inputs))), *(n for line in program.lines[:i] for n in line.makes)]


def _with_constants(program: Program) -> Iterator[Program]:
    """A line's value in the place of the line."""
    for i, line in enumerate(program.lines):
        if len(line.makes) != 1 or line.text.startswith(f"{line.makes[0]} = np.array("):
            continue
        try:
            with np.errstate(all="ignore"):
                value = Program(program.inputs, program.lines[: i + 1], line.makes)(*program.inputs)
        except (*REFUSALS, NameError):
            continue
        constant = Line(f"{line.makes[0]} = {literal(np.asarray(value))}", line.makes)
        yield Program(
            program.inputs, (*program.lines[:i], constant, *program.lines[i + 1 :]), program.returns, program.seed
        ).pruned()


def _with_fewer_inputs(program: Program) -> Iterator[Program]:
    read = {name for line in program.lines for name in line.reads} | set(program.returns)
    for i in range(len(program.inputs) - 1, -1, -1):
        if len(program.inputs) > 1 and f"x{i}" not in read:
            lines, returns = program.lines, program.returns
            for k in range(i + 1, len(program.inputs)):
                lines = tuple(line.renamed(f"x{k}", f"x{k - 1}") for line in lines)
                returns = tuple(f"x{k - 1}" if r == f"x{k}" else r for r in returns)
            yield Program((*program.inputs[:i], *program.inputs[i + 1 :]), lines, returns, program.seed)


def _with_rounder_inputs(program: Program) -> Iterator[Program]:
    for i, a in enumerate(program.inputs):
        candidates = []
        candidates += [a[(slice(None),) * axis + (slice(0, -1),)] for axis in range(a.ndim) if a.shape[axis] > 1]
        if a.ndim > 1 and len(a):
            candidates.append(a[0])
        if a.dtype.kind in "fc":
            candidates += [np.round(a), np.round(a, 1)]
            candidates += [a.real.astype(np.float64)] if a.dtype.kind == "c" else []
            candidates += [a.astype(np.float64)] if a.dtype == np.float32 else []
        for b in candidates:
            yield Program(
                (*program.inputs[:i], np.asarray(b), *program.inputs[i + 1 :]),
                program.lines,
                program.returns,
                program.seed,
            )
