"""What a mutant is run against: each check of a function's own cases, by itself, and the lines that it reaches."""

import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tapegrad.kinds import Elementwise, Known
from tapegrad.testing import rules
from tapegrad.testing.draw import elementwise_trial, trials_of

from .planting import PACKAGE, relative

Job = tuple[str, Callable[[], None]]
Line = tuple[str, str]  # a file and the text of one of its lines: the same after other lines were put before it
TRACED = (f"{PACKAGE}/ops/", f"{PACKAGE}/nn/", f"{PACKAGE}/shapes.py", f"{PACKAGE}/pieces.py")
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2, 0))
BROADCAST = (((3, 1), (2,)), ((1, 3), (2, 3)), ((), (2, 2)), ((1,), ()), ((2, 1, 3), (4, 1)))


def jobs(known: Known) -> Iterator[Job]:
    """What tests/test_rules.py does to a function of the table, one check of one call after the other."""
    for trial in trials_of(known):
        for check in rules.CHECKS:
            if check is not rules.check_examples or trial.number == 0:
                yield f"{check.__name__} {trial}", partial(check, trial)
    if isinstance(known, Elementwise):
        yield f"check_strong_zero {known.name}", partial(rules.check_strong_zero, known)
        for shape in SHAPES:
            for check in rules.CHECKS:
                if check is not rules.check_examples:
                    trial = elementwise_trial(known, *[shape] * known.arity)
                    yield f"{check.__name__} {known.name} of shape {shape}", partial(check, trial)
        for shapes in {s[: known.arity] for s in BROADCAST}:
            if len(shapes) == known.arity:
                yield (
                    f"check_broadcasting {known.name} {shapes}",
                    partial(rules.check_broadcasting, known, shapes, float),
                )


def run(job: Callable[[], None]) -> None:
    """One check, as pytest runs it: a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job()


def lines_of(job: Callable[[], None]) -> tuple[float, set[Line]]:
    """How long a check takes (watched), and the lines of rules that it reaches."""
    reached: set[tuple[str, int]] = set()

    def local(frame: Any, event: str, _arg: Any) -> Any:
        if event == "line":
            reached.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def watch(frame: Any, _event: str, _arg: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(TRACED) else None

    start = time.perf_counter()
    sys.settrace(watch)
    try:
        run(job)
    finally:
        sys.settrace(None)
    return time.perf_counter() - start, {(relative(f), _text(f)[n - 1]) for f, n in reached}


_TEXTS: dict[str, list[str]] = {}


def _text(file: str) -> list[str]:
    if file not in _TEXTS:
        with open(file) as source:
            _TEXTS[file] = [line.strip() for line in source]
    return _TEXTS[file]


def source_of(known: Known) -> str:
    """The source that decides what the checks of a function reach: that of the module of its rule."""
    rule: Any = getattr(known, "rule", None) or known.run
    if isinstance(known, Elementwise):
        rule = next((s.value for s in known.slopes if s is not None and callable(s.value)), None)
    file = inspect.getsourcefile(rule) if inspect.isfunction(rule) else None
    return "" if file is None else "\n".join(_text(file))
