"""The checker's own benchmark runs, and finds tapegrad without a wrong verdict."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import checker

ROOT = Path(__file__).parent.parent


def test_the_command_prints_both_rates_and_no_wrong_verdict() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.checker", "--each", "1", "--calls", "300"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["false", "alarm", "cannot", "tell", "found", "cannot", "tell"]
    assert lines[3].split() == ["tapegrad:", "check_grads", "0.00", "%", "0.00", "%", "100.00", "%", "0.00", "%"]
    assert sum(line.startswith(("autograd", "PyTorch")) for line in lines) == 2
    assert lines[-1] == "no false alarm, no mistake missed"


def test_fewer_than_no_calls_are_an_error_of_the_command_line() -> None:
    with pytest.raises(SystemExit):
        checker.main(["--calls", "-1"])


def test_counts_are_kept_and_what_was_not_passed_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def told(_seed: int, number: int, _case: str) -> tuple[str, str]:
        asked.append(number)
        if number == 5 and asked.count(5) == 1:
            raise KeyboardInterrupt
        return ("objected", f"call {number}") if number == 2 and asked.count(2) < 3 else ("passed", "")

    monkeypatch.setattr(checker, "told", told)
    arguments = ["--each", "0", "--calls", "8", "--into", str(tmp_path)]
    assert checker.main(arguments) == 1
    assert "5 calls drawn" in capsys.readouterr().out
    assert checker.main(arguments) == 1
    assert asked == [0, 1, 2, 3, 4, 5, 2, 5, 6, 7]
    assert "8 calls drawn" in capsys.readouterr().out
    # Once the checker is mended, it is told so.
    assert checker.main(arguments) == 0
    assert asked[10:] == [2]


@pytest.mark.parametrize("name", checker.MISTAKES)
def test_a_planted_mistake_is_one(name: str) -> None:
    function, wrong = checker.MISTAKES[name]
    planted = checker.FUNCTIONS[function]
    x = planted.draw(np.random.default_rng(1))
    y = planted.forward(np, *x)
    g = np.random.default_rng(2).uniform(0.5, 1.5, y.shape) + (0.3j if y.dtype.kind == "c" else 0)
    pairs = zip(planted.right(np, g, y, *x), wrong(np, g, y, *x), strict=True)
    # Of those that are wrong only at order two, the values are right.
    assert any(not np.array_equal(a, b) for a, b in pairs) == ("order two" not in name)
