"""The README is true: its programs run, what it prints is printed, its table is the library's."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tapegrad.support import renewed

README = Path(__file__).parent.parent / "README.md"


def test_the_opening_program_gives_the_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    program = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[0]
    names: dict[str, object] = {}
    exec(program, names)
    x, w = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])
    assert capsys.readouterr().out == f"{w * np.sin(2 * x * w)}\n{x * np.sin(2 * x * w)}\n"


def test_every_session_in_the_readme_prints_what_it_says() -> None:
    # In a process of its own: the README registers a rule, and the table is sealed here.
    command = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", str(README)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert README.read_text().count(">>> ") > 10
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_support_table_is_current() -> None:
    text = README.read_text()
    assert renewed(text) == text, "run: python -m tapegrad.support README.md"


def test_there_are_two_commands_and_each_makes_its_own_environment() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README.read_text(), re.MULTILINE)
    assert [command.rsplit("-m ", 1)[1] for command in commands] == ["tapegrad.examples.digits", "pytest -n auto"]
    assert all("pip install" in command for command in commands)


def test_the_diagnosis_is_what_the_checker_says(tmp_path: Path) -> None:
    text = README.read_text()
    layer = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "tanh_layer" in block)
    report = next(
        block for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if block.startswith("tanh_layer")
    )
    (tmp_path / "layer.py").write_text(layer)
    program = (
        "import numpy as np\nfrom layer import tanh_layer\nfrom tapegrad.testing import GradientError, check_grads\n"
        "try:\n    check_grads(tanh_layer, np.array([[0.5, -1.0], [1.5, 0.0]]), np.array([0.1, 0.2]))\n"
        "except GradientError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    said, shown = done.stdout.strip().splitlines(), report.strip().splitlines()
    numbers = re.compile(r"-?\d+\.\d+(e-?\d+)?")
    assert [numbers.sub("", line) for line in said] == [numbers.sub("", line) for line in shown]
    for line, right in zip(said, shown, strict=True):
        figures = [[float(n.group()) for n in numbers.finditer(each)] for each in (line, right)]
        np.testing.assert_allclose(*figures, rtol=1e-9)
