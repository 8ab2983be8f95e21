"""The examples, run as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import sklearn.model_selection  # noqa: F401 - their import changes warning filters, which no test may
from matplotlib.image import imread

from tapegrad.examples import digits

MODULE = "tapegrad.examples.digits"
LAST_LINE = re.compile(r"test accuracy (\d+\.\d) %")

# Runs the example in an interpreter that finds none of the packages named in its first argument.
WITHOUT = """
import sys

class Absent:
    names = sys.argv[1].split(",")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from tapegrad.examples.digits import main
sys.exit(main([]))
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command of a fresh interpreter, whose warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def assert_is_a_picture(path: Path) -> None:
    pixels = imread(path)
    height, width, channels = pixels.shape
    assert 1000 < width < 3000
    assert 500 < height < 3000
    assert channels in (3, 4)
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 100  # Drawn on, not blank.


def test_the_command_ends_with_the_accuracy_and_leaves_a_picture(tmp_path):
    done = run("-m", MODULE, "--epochs", "2", "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = LAST_LINE.fullmatch(done.stdout.splitlines()[-1])
    assert last
    # Guessing gives 10 %. After 2 of its 25 epochs the network stands at 90 and more.
    assert float(last[1]) > 70
    assert "loss" in done.stderr  # The progress bar has the loss,
    assert "accuracy" in done.stderr  # and the accuracy.
    assert_is_a_picture(tmp_path / "digits.png")


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_either_pool_learns_in_process(pool, tmp_path, capsys):
    out = tmp_path / f"{pool}.png"
    assert digits.main(["--pool", pool, "--epochs", "1", "--out", str(out)]) == 0
    assert LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert_is_a_picture(out)


def test_the_same_seed_learns_the_same():
    held = digits.load_digits(7)
    pool = digits.POOLS["max"]
    first, second = (digits.train(held, pool, epochs=1, seed=7) for _ in range(2))
    assert first.test_losses == second.test_losses
    np.testing.assert_array_equal(first.taken, second.taken)


def test_a_third_of_each_digit_is_held_out():
    held = digits.load_digits(0)
    assert held.train.shape == (1198, 1, 8, 8)
    assert held.test.shape == (599, 1, 8, 8)
    assert held.train.dtype == held.test.dtype == np.float32
    of_each = np.bincount(held.train_labels) + np.bincount(held.test_labels)
    np.testing.assert_allclose(np.bincount(held.test_labels), of_each / 3, atol=1)  # Whole images only.


@pytest.mark.parametrize("wrong", [0, 1, 41])
def test_the_picture_has_room_for_any_number_of_wrong_digits(wrong, tmp_path):
    held = digits.load_digits(0)
    taken = held.test_labels.copy()
    taken[:wrong] = (taken[:wrong] + 1) % 10
    parameters = digits.initial_parameters(np.random.default_rng(0))
    learned = digits.Learned(parameters, [1.0, 0.5], [1.0, 0.6], taken)
    digits.draw(tmp_path / "digits.png", held, learned, "a title")
    assert_is_a_picture(tmp_path / "digits.png")


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        digits.main(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for option in ("--pool", "--epochs", "--seed", "--out", "--help"):
        assert option in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--pool", "median"], "median"),
        (["--epochs", "0"], "from 1 to"),
        (["--epochs", "2.5"], "whole number"),
        (["--seed", "-1"], "from 0 to"),
        (["--seed", "4294967296"], "from 0 to"),
        (["--out", "digits.doc"], ".png"),
        (["--out", "no/such/folder/digits.png"], "no file can be written there"),
        (["--colour"], "--colour"),
    ],
)
def test_a_bad_value_is_an_error_of_the_command_line(given, told, capsys):
    with pytest.raises(SystemExit) as stop:
        digits.main(given)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("absent", "named"),
    [
        ("matplotlib", "matplotlib"),
        ("sklearn", "scikit-learn"),
        ("tqdm", "tqdm"),
        ("sklearn,tqdm", "scikit-learn and tqdm"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_installs_it(absent, named, tmp_path):
    done = run("-c", WITHOUT, absent, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{named} ")
    assert line.endswith('pip install "tapegrad[examples]"')
    assert list(tmp_path.iterdir()) == []
