"""Work measured by counting: no clock disturbs it."""

import sys
from collections.abc import Callable
from typing import Any


def calls_during(run: Callable[[], Any]) -> int:
    """How many functions are called while ``run()`` runs: a measure of work that no clock disturbs."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
