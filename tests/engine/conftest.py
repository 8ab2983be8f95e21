"""Fixtures of the engine's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tapegrad as tg
from tapegrad.primitive import TABLE


@pytest.fixture
def with_rule() -> Iterator[Callable[..., Any]]:
    """``with_rule(function, rule)`` gives a dispatched function its rule, for the length of the test."""
    before = dict(TABLE)

    def registered(function: Callable[..., Any], rule: Callable[..., Any], **options: Any) -> Any:
        dispatched = tg.primitive(function)
        tg.defvjp(dispatched, **options)(rule)
        return dispatched

    yield registered
    TABLE.clear()
    TABLE.update(before)
