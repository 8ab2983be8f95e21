"""``python -m tapegrad.testing``: campaigns that lose nothing, and test files that pass, or find what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_plugin import WITH
from test_programs import wrong as wrong

from tapegrad.testing import GradientError, worker
from tapegrad.testing.__main__ import main
from tapegrad.testing.fuzz import Campaign
from tapegrad.testing.ghostwriter import GhostwriterError, written
from tapegrad.testing.tally import Tally
from tapegrad.testing.worker import Failure, Options

pytest_plugins = "pytester"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tapegrad.testing", *arguments], cwd=at, env=ENVIRONMENT, capture_output=True, text=True
    )


def counts(at: Path) -> Any:
    (path,) = (at / ".tapegrad-fuzz").glob("tally-*.json")
    return json.loads(path.read_text())


# ---------------------------------------------------------------- fuzz


def test_a_campaign_counts_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["fuzz", "--programs", "40", "--only", "reductions", "--jobs", "0"]) == 0
    said = capsys.readouterr().out
    assert "programs             40," in said
    assert "functions met" in said
    assert main(["fuzz", "--programs", "30", "--only", "reductions", "--jobs", "0"]) == 0
    assert "programs             70," in capsys.readouterr().out
    tally = counts(tmp_path)
    assert (tally["programs"], tally["following"], tally["pending"]) == (70, 70, [])
    assert sum(tally["kinds"].values()) == 70


def test_interrupting_loses_nothing(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "tapegrad.testing", "fuzz", "--minutes", "5"]
    running = subprocess.Popen(
        [*arguments, "--only", "reductions"], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list(tmp_path.glob(".tapegrad-fuzz/tally-*.json")):
            time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    finally:
        running.kill()
    assert "counts in" in said
    tally = counts(tmp_path)
    assert tally["programs"] == tally["following"] > 0
    assert tally["pending"] == []


def test_what_was_under_way_is_drawn_again(tmp_path: Path) -> None:
    Tally(following=50, pending=[3, 4], programs=48).save(tmp_path / "tally-0-reductions.json")
    tally = Campaign(Options(only="reductions"), tmp_path, jobs=0).run(programs=20, live=False)
    assert (tally.programs, tally.following, tally.pending) == (70, 70, [])


def test_a_planted_mistake_is_saved_as_a_test_and_remembered(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["fuzz", "--programs", "40", "--import", wrong, "--only", wrong, "--jobs", "0"]) == 1
    assert "failures:" in capsys.readouterr().out
    files = list((tmp_path / ".tapegrad-fuzz").glob("test_program_*.py"))
    assert 1 <= len(files) <= worker.ENOUGH
    for file in files:
        scope: dict[str, Any] = {}
        exec(file.read_text(), scope)
        with pytest.raises(GradientError):
            scope[f"test_program_{file.stem.removeprefix('test_program_')}"]()
    once_more = ["fuzz", "--programs", "1", "--only", "reductions", "--jobs", "0"]
    assert main(once_more) == 1
    assert "found before, and still wrong" in capsys.readouterr().out
    module = sys.modules[wrong]
    monkeypatch.setattr(module, "doubled", lambda x: x * 2.0)
    assert main(once_more) == 0
    assert "found before, and right now" in capsys.readouterr().out
    assert main(once_more) == 0
    assert "found before" not in capsys.readouterr().out


DEADLY = """
import os

import numpy as np
import tapegrad as tg
from tapegrad.cases import Cases, call


@tg.primitive
def deadly(x):
    if isinstance(x, np.ndarray) and x.shape == (2, 1):
        os._exit(3)
    return x * 1.0


@tg.defvjp(deadly, cases=Cases(calls=(call((2, 1)),)))
def deadly_vjp(g, _y, _x):
    return g
"""


def test_a_process_that_dies_is_a_failure_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "deadly_rule.py").write_text(DEADLY)
    arguments = ["--programs", "2", "--import", "deadly_rule", "--only", "deadly_rule", "--seed", "2"]
    done = command("fuzz", *arguments, at=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "the process died (exit code 3)" in done.stdout
    assert counts(tmp_path)["kinds"]["crash"] >= 1


def test_what_is_known_well_enough_is_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "judge", lambda program, order=2: worker.Verdict("gradient", "wrong"))
    options = Options(only="np.sum", lines=1)
    answer = worker.answered(options, [0, 1, 2, 3], {"np.sum": worker.ENOUGH})
    assert answer.tally.kinds["gradient"] == 4
    assert all(isinstance(failure, Failure) for failure in answer.failures)
    assert [failure.digest for failure in answer.failures if failure.culprits == "np.sum"]
    assert any(not failure.digest for failure in answer.failures)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fuzz", "--only", "sums"), "no family and no function is called 'sums'"),
        (("fuzz", "--lines", "0"), "--lines is at least 1"),
        (("fuzz", "--programs", "0"), "--programs is how many to run"),
        (("fuzz", "--minutes", "0"), "--minutes is how long to run"),
        (("fuzz", "--import", "no_such_module"), "no_such_module"),
        (("write", "numpy.sin"), "write package.module:function, with a colon"),
        (("write", "numpy:sine"), "numpy has no 'sine'"),
        (("write", "no_such_module:f"), "there is no module 'no_such_module'"),
        (("write", "numpy:pi"), "a float, not a function"),
    ],
)
def test_what_makes_no_sense_is_explained(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


# ---------------------------------------------------------------- write


MODELS = """
import numpy as np
import tapegrad as tg
from numpy.typing import NDArray


def ridge(w: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], penalty: float = 0.1) -> float:
    return np.sum((x @ w - y) ** 2) + penalty * np.sum(w * w)


def entropy(p):
    return -np.sum(p * np.log(p))


def inverse(a: np.ndarray):
    return np.linalg.inv(a + 5 * np.eye(a.shape[-1]))


def turned(z: NDArray[np.complex128], angle: float):
    return np.real(np.exp(1j * angle) * z)


def rolled(x, shift: int, name: str = "a", flag: bool = True):
    return np.roll(np.tanh(x), shift)


def volume(covariance):
    return np.sum(np.log(np.diag(np.linalg.cholesky((covariance + covariance.T) / 2))))


def quotient(x, y):
    return x / y


class Layer:
    @staticmethod
    def affine(x, w, b):
        return x @ w + b


@tg.custom_gradient
def half(x):
    return x * x, lambda g: g * x


@tg.primitive
def doubled(x):
    return x * 2.0


@tg.defvjp(doubled)
def doubled_vjp(g, _y, _x):
    return -g * 2.0


def mistaken(x, w):
    return np.sum(doubled(x) * w)


def forgetful(x):
    return tg.stop_gradient(x) * x


def changing(x):
    if not isinstance(x, tg.Tensor):
        x *= 0.5
    return np.sum(x * x)


def nothing(x):
    return None


def picky(x):
    raise ValueError("x must be a unicorn")


def keyword(x, *, k):
    return x * k
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of functions to be tested, importable for the length of the test."""
    from tapegrad.primitive import TABLE

    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(TABLE)
    yield "models"
    sys.modules.pop("models", None)
    TABLE.clear()
    TABLE.update(before)


def run(pytester: pytest.Pytester, text: str) -> pytest.RunResult:
    pytester.makepyfile(test_written=text)
    return pytester.runpytest_inprocess(
        *WITH, "-p", "no:cacheprovider", "-W", "error", "--gradcheck-examples", "3", "--tb", "short"
    )


@pytest.mark.parametrize(
    "name", ["ridge", "entropy", "inverse", "turned", "rolled", "quotient", "volume", "Layer.affine"]
)
def test_the_file_passes_for_a_right_function(models: str, name: str, pytester: pytest.Pytester) -> None:
    text = written(f"{models}:{name}")
    assert '"derivatives_are_right",' in text
    result = run(pytester, text)
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["half", "mistaken", "forgetful", "changing"])
def test_the_file_catches_a_planted_mistake(models: str, name: str, pytester: pytest.Pytester) -> None:
    run(pytester, written(f"{models}:{name}")).assert_outcomes(failed=1)


@pytest.mark.parametrize("name", ["numpy:hypot", "numpy:matmul", "tapegrad.nn:log_softmax"])
def test_the_file_passes_for_functions_of_a_library(name: str, pytester: pytest.Pytester) -> None:
    run(pytester, written(name)).assert_outcomes(passed=1)


def test_annotations_and_defaults_choose_the_strategies(models: str) -> None:
    text = written(f"{models}:ridge")
    assert ".map(lambda x: x.item()),  # penalty" in text
    assert "np.complex128" in written(f"{models}:turned")
    assert "st.just(2),  # shift" in written(f"{models}:rolled")
    assert "Domain(-2.0, 2.0)" not in written(f"{models}:entropy")  # a logarithm
    assert 'matrices("spd", 3),  # covariance' in written(f"{models}:volume")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "it returns no floats"),
        ("picky", "x must be a unicorn"),
        ("keyword", "needs k by keyword"),
        ("Layer", "is a type, not a function"),
    ],
)
def test_what_can_not_be_tested_is_explained(models: str, name: str, says: str) -> None:
    with pytest.raises(GhostwriterError, match=says):
        written(f"{models}:{name}")


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    done = command("write", "numpy:arctan", "-o", "test_arctan.py", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "test_arctan.py").read_text() == command("write", "numpy:arctan", at=tmp_path).stdout
