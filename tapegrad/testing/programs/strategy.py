"""Programs as a strategy for Hypothesis (extra ``tapegrad[testing]``)."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tapegrad.testing.programs.generate import random_program
from tapegrad.testing.programs.program import Program


class _Drawn:
    """Choices that Hypothesis makes, and shrinks."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def below(self, n: int) -> int:
        return self._draw(st.integers(0, n - 1)) if n > 1 else 0


def programs(*, lines: int = 6, only: str | None = None, stray: float = 0.0) -> st.SearchStrategy[Program]:
    """Random NumPy programs: functions of a few arrays, printed as they run, with their inputs.

    lines : how many lines to write, at most (what brings operands into a domain comes on top)
    only : the family, or the name of the one function of the table, that is called; None: all of them
    stray : the share of programs with operands led out of their function's domain on purpose
    Raises ValueError where nothing is called ``only``.

    >>> from hypothesis import given, settings
    >>> from tapegrad.testing.programs import check_program
    >>> @settings(max_examples=3, database=None, derandomize=True, deadline=None)
    ... @given(programs(lines=2, only="reductions"))
    ... def test_gradients(program):
    ...     check_program(program)
    >>> test_gradients()
    """

    @st.composite
    def drawn(draw: Any) -> Program:
        return random_program(_Drawn(draw), lines=lines, only=only, stray=stray)

    return drawn()
