"""What holds for every test: sealed globals, and the same examples of Hypothesis in every run."""

import importlib.util
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tapegrad.primitive import complete
from tapegrad.testing.seals import globals_now, left_changed, put_back

if importlib.util.find_spec("scipy"):
    importlib.import_module("scipy.special")  # Beside it, its rules are entered.
complete()  # Every rule is entered before any test looks at the table.

settings.register_profile(
    "tapegrad",
    deadline=None,
    max_examples=12,
    derandomize=True,
    database=None,
    # The one function-scoped fixture is the seal below, which is to hold over all examples together.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("tapegrad")


@pytest.fixture(autouse=True)
def sealed() -> Iterator[None]:
    """Fail the test that leaves a global changed, name what it changed, and put that back."""
    before = globals_now()
    yield
    changed = left_changed(before)
    if changed:
        put_back(before)
        pytest.fail(f"the test left changed: {', '.join(changed)}")
