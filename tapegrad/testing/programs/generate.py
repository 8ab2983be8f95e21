"""Random programs: a few arrays, and lines drawn one after another, each of them on what is there."""

import warnings
from collections.abc import Callable

import numpy as np

from tapegrad.testing.programs import calls, statements, writes
from tapegrad.testing.programs.draft import Choices, Draft, Seeded, only_losses
from tapegrad.testing.programs.program import Program

SHAPES: tuple[tuple[int, ...], ...] = (
    *((3,), (2, 3), (), (3, 3), (4,), (2, 2), (1, 3), (2, 1, 3), (5,), (1,), (2,), (3, 2)) * 3,
    (0, 2),
    (0,),
)
ATTEMPTS = 6  # to write a line, before another kind is tried

# How often each kind of line is tried, in hundredths; a call of the table is what is left.
WEIGHTS: tuple[tuple[Callable[[Draft], bool], int], ...] = (
    (writes.view, 6),
    (writes.write, 12),
    (statements.loop, 5),
    (statements.closure, 5),
    (statements.nested, 6),
    (statements.branch, 6),
    (statements.mixture, 6),
    (statements.filled, 1),
)


def random_program(
    choices: Choices | int, *, lines: int = 6, only: str | None = None, stray: float = 0.0, seed: int | None = None
) -> Program:
    """A program of a few lines: functions of the table and all that Python puts around them.

    choices : a seed, or where the choices are to come from
    lines : how many lines to write, at most (what brings operands into a domain comes on top)
    only : the family, or the name of the one function, that is called
    stray : the share of programs with operands led out of their function's domain on purpose
    seed : what the program remembers as the seed it came from
    Raises ValueError where nothing is called ``only``.

    >>> print(random_program(3, lines=2))
    import numpy as np
    ...
    """
    if isinstance(choices, int):
        seed = choices if seed is None else seed
        choices = Seeded(choices)
    with warnings.catch_warnings():
        only_losses()
        draft = Draft(choices)
        draft.stray = draft.chance(stray)
        _inputs(draft)
        for _ in range(1 + choices.below(lines)):
            for _attempt in range(ATTEMPTS):
                if _line(draft, only):
                    break
        return draft.program(_returned(draft), seed).pruned()


def _inputs(draft: Draft) -> None:
    for _ in range(1 + draft.choices.below(3)):
        shape = draft.pick(SHAPES)
        drawn = np.round(draft.rng.uniform(-2, 2, shape), 2)
        kind = draft.choices.below(20)
        if kind == 17:
            drawn = drawn + 1j * np.round(draft.rng.uniform(-2, 2, shape), 2)
        elif kind == 18:
            drawn = drawn.astype(np.float32)
        elif kind == 19 and draft.inputs:
            drawn = np.round(drawn * 2).astype(np.int64)
        elif kind == 16 and len(shape) > 1:
            drawn = np.asfortranarray(drawn)
        draft.add_input(np.asarray(drawn))


def _line(draft: Draft, only: str | None) -> bool:
    # The simplest choice is a call: the kinds of lines come from the top of the range downwards.
    at = 99 - draft.choices.below(100)
    for statement, weight in WEIGHTS:
        if at < weight:
            return statement(draft)
        at -= weight
    return calls.call(draft, only)


def _returned(draft: Draft) -> list[str]:
    """The last variable, and now and then others beside it; an input, if nothing was written."""
    names = [name for name in draft.names() if name.startswith("v")]
    if not names:
        return ["x0"] if draft.inputs[0].dtype.kind in "fc" else []
    return [names[0], *(name for name in names[1:] if draft.chance(0.2))]
