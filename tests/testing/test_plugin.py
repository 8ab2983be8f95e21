"""The pytest plugin: what users are given, what it says, and that it keeps out of the way."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tapegrad

pytest_plugins = "pytester"
ROOT = Path(tapegrad.__file__).parents[1]

INSTALLED = any(e.value == "tapegrad.testing.plugin" for e in importlib.metadata.entry_points(group="pytest11"))
WITH = () if INSTALLED else ("-p", "tapegrad.testing.plugin")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*WITH, "-p", "no:cacheprovider", "--strict-markers", "-W", "error", *arguments)


FUNCTIONS = """
import numpy as np
import pytest
import tapegrad as tg
from hypothesis import strategies as st
from tapegrad.cases import Domain, POSITIVE
from tapegrad.testing.strategies import arrays_in

@tg.custom_gradient
def wrong(x):
    return x * x, lambda g: g * x
"""


def test_it_is_an_entry_point_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "tapegrad.testing.plugin" in project["entry-points"]["pytest11"].values()


def test_gradcheck_at_a_point(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FUNCTIONS
        + """
def test_right(gradcheck):
    gradcheck(lambda x, y: np.sin(x) * y, np.array([1.0, 2.0]), 3.0)
    gradcheck(np.sum, np.ones((2, 3)), order=1, axis=0)

def test_wrong(gradcheck):
    gradcheck(wrong, np.array([1.0, 2.0]))
"""
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*GradientError*half of it*"])


def test_gradcheck_draws_as_many_examples_as_the_option_says(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FUNCTIONS
        + """
seen = set()

def test_drawn(gradcheck):
    def f(x):
        if not isinstance(x, tg.Tensor):
            seen.add(np.array(x).tobytes()[:8])
        return np.log(x)

    gradcheck(f, arrays_in(POSITIVE, (2,)), order=1)

def test_count(pytestconfig):
    assert len(seen) >= 3

def test_wrong(gradcheck):
    gradcheck(wrong, arrays_in(POSITIVE, (2,)))
"""
    )
    result = run(pytester, "--gradcheck-examples", "5")
    result.assert_outcomes(passed=2, failed=1)
    assert run(pytester, "--gradcheck-examples", "0").ret == pytest.ExitCode.USAGE_ERROR


def test_gradcheck_asks_for_laws(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FUNCTIONS
        + """
def test_right(gradcheck):
    gradcheck(np.tanh, np.array([1.0, 2.0]), laws=True, without={"float32_agrees": "not asked for here"})

def test_named(gradcheck):
    gradcheck(wrong, np.array([1.0, 2.0]), laws=("pullback_is_linear",))

def test_broken(gradcheck):
    gradcheck(wrong, np.array([1.0, 2.0]), laws=True)
"""
    )
    result = run(pytester)
    result.assert_outcomes(passed=2, failed=1)


def test_the_marker_makes_a_test_of_a_function(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FUNCTIONS
        + """
@pytest.mark.differentiable(args=(np.array([1.0, 2.0]), 3.0))
def loss(x, y):
    return np.sum(np.exp(x)) * y

@pytest.mark.differentiable(args=arrays_in(POSITIVE, (2,)), order=1)
@pytest.mark.differentiable(args=(np.array(1.0),))
def test_log(x):
    return np.log(x)

@pytest.mark.differentiable(args=(np.ones(2),), kwargs={"axis": 0})
def test_sum(x, axis):
    return np.sum(x * x, axis=axis)

@pytest.mark.differentiable(args=(np.ones(2),))
def test_wrong(x):
    return wrong(x)

class TestMethods:
    @pytest.mark.differentiable(args=(np.ones(2),))
    def test_square(self, x):
        return x * x

def plain():
    raise AssertionError
"""
    )
    result = run(pytester, "-v", "--gradcheck-examples", "3")
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*::loss PASSED*", "*::test_log[[]0] PASSED*", "*::test_wrong FAILED*"])


@pytest.mark.parametrize("mark", ["", "arg=(1.0,)", "(1.0,), (2.0,)"])
def test_a_wrong_mark_is_explained(pytester: pytest.Pytester, mark: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.differentiable({mark})\ndef test_f(x):\n    return x\n")
    result = run(pytester)
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_f: @pytest.mark.differentiable takes args=*"])


def test_kinks_are_no_mistakes_unless_there_is_nothing_else(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        FUNCTIONS
        + """
def test_here_and_there(gradcheck):
    gradcheck(np.abs, st.sampled_from([np.array([0.0]), np.array([1.0])]), order=1)

def test_everywhere(gradcheck):
    gradcheck(np.abs, st.just(np.array([0.0])), order=1)
"""
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*differences could tell at none of*"])


LEAK = """
import numpy as np
import tapegrad as tg

def test_leak({fixture}):
    tg.no_grad().__enter__()

def test_after({fixture}):
    assert tg.tensor([1.0]).requires_grad and (tg.tensor([1.0]) * 2).requires_grad
"""


def test_the_state_is_sealed_where_it_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LEAK.format(fixture="sealed_state"))
    result = run(pytester)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*left changed: marks of no_grad*"])


def test_the_state_is_sealed_everywhere_by_a_setting(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ngradcheck_sealed = true\ngradcheck_examples = 3\n")
    pytester.makepyfile(LEAK.format(fixture=""))
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*left changed: marks of no_grad*"])


def test_the_plugin_imports_no_hypothesis_before_it_is_asked() -> None:
    code = "import sys, tapegrad.testing.plugin; print([m for m in ('hypothesis', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
