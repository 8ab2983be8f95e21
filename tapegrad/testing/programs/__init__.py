"""Random NumPy programs, which print as functions that run by themselves, and shrink to the smallest.

A seeded generator draws them (``random_program``), ``check_program`` says whether values and gradients
are right, ``smaller`` leaves out what a failure doesn't need. ``programs()`` is the same generator as a
strategy for Hypothesis, which then chooses, shrinks and keeps. A campaign: ``python -m tapegrad.testing fuzz``.
"""

import importlib
from typing import TYPE_CHECKING

from tapegrad.testing.programs.draft import Choices as Choices
from tapegrad.testing.programs.draft import Seeded as Seeded
from tapegrad.testing.programs.generate import random_program as random_program
from tapegrad.testing.programs.minimise import smaller as smaller
from tapegrad.testing.programs.program import Line as Line
from tapegrad.testing.programs.program import Program as Program
from tapegrad.testing.programs.verdict import Verdict as Verdict
from tapegrad.testing.programs.verdict import check_function as check_function
from tapegrad.testing.programs.verdict import check_program as check_program
from tapegrad.testing.programs.verdict import judge as judge

if TYPE_CHECKING:
    from tapegrad.testing.programs.strategy import programs as programs


def __getattr__(name: str) -> object:
    if name == "programs":  # Hypothesis isn't needed by a campaign, and is slow to import.
        return importlib.import_module("tapegrad.testing.programs.strategy").programs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
