"""The benchmarks run, and compare like with like. How fast anything is, no test asks."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from benchmarks import families, numpy_functions, programs, transforms
from benchmarks.timing import installed

ROOT = Path(__file__).parent.parent


def gradients(build, *arguments):
    with warnings.catch_warnings():  # Importing PyTorch changes the filters, at once and later on.
        return [g if g is None else np.asarray(g) for g in build(*arguments)()]


def test_the_command_prints_a_table():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tape", "--quick", "--only", "chain"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, title, ours, by_hand, *peers, last = done.stdout.splitlines()
    assert "NumPy" in header
    assert title.startswith("chain of 1,000 operations")
    assert ours.split()[0] == "tapegrad"
    assert by_hand.strip().startswith("NumPy by hand")
    assert len(peers) == 3
    assert last.endswith("bounds met")


def test_an_unknown_row_is_an_error_of_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tape", "--only", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice" in done.stderr


# Rounding grows along 1,000 operations: 1000 eps is 2e-13 relative, and the sums have both signs.
@pytest.mark.parametrize("shape", [(10,), ()])
@pytest.mark.parametrize("library", [name for name in programs.CHAINS if name != "numpy" and installed(name)])
def test_the_gradients_of_the_chain_agree(library, shape):
    for ours, by_hand in zip(
        gradients(programs.CHAINS[library], shape), gradients(programs.CHAINS["numpy"], shape), strict=True
    ):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", programs.LARGE)
def test_the_gradients_of_the_large_programs_are_those_by_hand(name):
    for ours, by_hand in zip(
        gradients(programs.large_tapegrad, name, (5, 5)), gradients(programs.large_numpy, name, (5, 5)), strict=True
    ):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-11, atol=1e-12)


@pytest.fixture
def smaller(monkeypatch):
    """The families' operands cut to 39 along each axis (odd, as the median by hand needs it)."""
    for name, family in numpy_functions.FAMILIES.items():

        def cut(data=family.data):
            return tuple(np.ascontiguousarray(a[(slice(39),) * a.ndim]) for a in data())

        monkeypatch.setitem(numpy_functions.FAMILIES, name, family._replace(data=cut))
    for indices in ("INDICES", "PLACES"):
        monkeypatch.setattr(families, indices, getattr(families, indices) % 39)


@pytest.mark.parametrize("name", numpy_functions.FAMILIES)
def test_the_gradients_of_the_families_are_those_by_hand(name, smaller):
    for ours, by_hand in zip(
        gradients(numpy_functions.with_tapegrad, name), gradients(numpy_functions.by_hand, name), strict=True
    ):
        np.testing.assert_allclose(ours, by_hand.reshape(ours.shape), rtol=1e-10, atol=1e-10)


def test_the_command_for_numpys_functions_prints_a_table():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.numpy_functions", "--quick", "--only", "cumulative: cumsum"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    header, title, ours, by_hand, _torch, last = done.stdout.splitlines()
    assert "NumPy" in header
    assert title == "cumulative: cumsum"
    assert ours.split()[0] == "tapegrad"
    assert by_hand.strip().startswith("NumPy by hand")
    assert last.endswith("bounds met")


if installed("torch"):  # A peer, which an ordinary environment for the tests doesn't have.

    @pytest.mark.parametrize("name", programs.SMALL)
    def test_the_small_programs_have_the_gradients_of_pytorch(name):
        ours, theirs = gradients(programs.small_tapegrad, name), gradients(programs.small_torch, name)
        for g, h in zip(ours, theirs, strict=True):
            assert (g is None) == (h is None)  # Of the operand that the operation doesn't take.
            if g is not None:
                np.testing.assert_allclose(g, h, rtol=1e-11, atol=1e-11)

    def test_the_step_of_the_network_is_that_of_pytorch():
        ours, theirs = gradients(programs.mlp_tapegrad), gradients(programs.mlp_torch, 1)
        for g, h in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(g, h, rtol=1e-4, atol=1e-6)  # float32, sums of 784 products


@pytest.mark.parametrize("library", [name for name in ("torch", "autograd") if installed(name)])
@pytest.mark.parametrize("matrix", ["hessian", "jacobian"])
def test_the_matrices_agree(library, matrix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own.
        ours, theirs = (getattr(transforms, f"{matrix}_{name}")()() for name in ("tapegrad", library))
    np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-10, atol=1e-12)


def test_checkpoints_change_no_gradient():
    plain, checkpointed = (transforms.chain_of_links(how)() for how in ("backward", "checkpoint"))
    for ours, right in zip(checkpointed, plain, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-12, atol=1e-12)  # Each segment adds up by itself.
