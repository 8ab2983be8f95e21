"""What no test may leave changed: tapegrad's and NumPy's globals, as they are now, and how to put them back."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tapegrad import containers, recording
from tapegrad.errors import TapegradError
from tapegrad.primitive import TABLE, complete


class LeakError(TapegradError, AssertionError):
    """A global was left changed."""


def globals_now() -> dict[str, Any]:
    """A copy of every global, by what a failing test is told about it."""
    complete()  # What is entered when it is first asked for is no change of the test's.
    return {
        "the table of rules": dict(TABLE),
        "registered containers": dict(containers._REGISTERED),
        "marks of no_grad, enable_grad, debug or Tape": recording._MARKS.get(),
        "whether operations are recorded": recording.STATE.get(),
        "warning filters": list(warnings.filters),
        "np.errstate": (np.geterr(), np.geterrcall()),
        "np.set_printoptions": np.get_printoptions(),
    }


def left_changed(before: dict[str, Any]) -> list[str]:
    """What differs now from what was."""
    now = globals_now()
    return [name for name, value in before.items() if value != now[name]]


def put_back(before: dict[str, Any]) -> None:
    """Every global as it was, so that one leak fails one test."""
    TABLE.clear()
    TABLE.update(before["the table of rules"])
    containers._REGISTERED.clear()
    containers._REGISTERED.update(before["registered containers"])
    recording._MARKS.set(before["marks of no_grad, enable_grad, debug or Tape"])
    recording.STATE.set(before["whether operations are recorded"])
    if list(warnings.filters) != before["warning filters"]:
        warnings.resetwarnings()  # Tells Python that what it remembers of the filters is stale.
        warnings.filters[:] = before["warning filters"]  # type: ignore[index]
    errors, callback = before["np.errstate"]
    np.seterr(**errors)
    np.seterrcall(callback)
    np.set_printoptions(**before["np.set_printoptions"])


@contextmanager
def sealed() -> Iterator[None]:
    """Raise LeakError where the block leaves a global changed, name what it changed, and put that back.

    >>> import tapegrad as tg
    >>> with sealed():
    ...     tg.no_grad().__enter__()
    Traceback (most recent call last):
    tapegrad.testing.seals.LeakError: left changed: marks of no_grad, ...
    """
    before = globals_now()
    yield
    changed = left_changed(before)
    if changed:
        put_back(before)
        raise LeakError(f"left changed: {', '.join(changed)}")
