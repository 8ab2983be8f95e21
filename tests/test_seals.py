"""The seals of conftest.py bite: each global that a test leaves changed is named, and put back."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.primitive import TABLE, constant
from tapegrad.testing.seals import globals_now, left_changed, put_back

LEAKS: dict[str, tuple[Callable[[], Any], str]] = {
    "recording paused": (lambda: tg.no_grad().__enter__(), "marks"),
    "recording paused, and not on": (lambda: tg.no_grad().__enter__(), "whether operations are recorded"),
    "a tape open": (lambda: tg.Tape().__enter__(), "marks"),
    "debugging": (lambda: tg.debug().__enter__(), "marks"),
    "a rule registered": (lambda: constant(lambda x: x), "table"),
    "a rule taken away": (lambda: TABLE.pop(np.sin), "table"),
    "a rule replaced": (lambda: TABLE.update({np.sin: TABLE[np.cos]}), "table"),
    "a warning filter": (lambda: warnings.simplefilter("ignore", BytesWarning), "warning filters"),
    "np.errstate": (lambda: np.seterr(under="raise"), "np.errstate"),
    "a callback for errors": (lambda: np.seterrcall(lambda *_: None), "np.errstate"),
    "print options": (lambda: np.set_printoptions(precision=3), "np.set_printoptions"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_named_and_put_back(leak: str) -> None:
    change, name = LEAKS[leak]
    before = globals_now()
    change()
    found = left_changed(before)
    put_back(before)
    assert any(name in what for what in found)
    assert left_changed(before) == []


def test_a_test_that_changes_nothing_passes_the_seal() -> None:
    before = globals_now()
    with tg.no_grad(), np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tg.tensor([1.0]).sum()
    assert left_changed(before) == []


def test_the_fixture_fails_the_test_that_leaks_and_no_other(tmp_path: Path) -> None:
    source = "import tapegrad as tg\n\n\ndef test_leaks():\n    tg.no_grad().__enter__()\n\n\n"
    source += "def test_after_it():\n    assert (tg.tensor([1.0]) * 2).requires_grad\n"
    (tmp_path / "test_leaking.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-rA", "--color=no", "-p", "no:cacheprovider", "-p", "conftest"]
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert "2 passed, 1 error" in done.stdout
    assert "ERROR test_leaking.py::test_leaks" in done.stdout
    assert "the test left changed: marks of no_grad" in done.stdout
