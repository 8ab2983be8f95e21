"""Random programs: they run as they print, are drawn again from their seed, and show what is wrong in few lines."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings

import tapegrad as tg
from tapegrad.primitive import TABLE
from tapegrad.testing import GradientError
from tapegrad.testing.programs import Line, Program, check_function, check_program, judge, random_program, smaller
from tapegrad.testing.programs.calls import callable_trials, families, fits, forget, functions_of, numpy_is_wrong
from tapegrad.testing.programs.literals import UnprintableError, expression_of, literal
from tapegrad.testing.programs.strategy import programs
from tapegrad.testing.tally import SPECIAL
from tapegrad.testing.worker import _shrunk

SEEDS = range(150)

WRONG = """
import numpy as np

import tapegrad as tg
from tapegrad.cases import Cases, call


@tg.primitive
def doubled(x):
    return x * 2.0


@tg.defvjp(doubled, cases=Cases(calls=(call((2, 3)), call(()))))
def doubled_vjp(g, y, _x):
    return g * 2.0 + (0.001 * y if y.ndim else 0.0)
"""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with a primitive whose rule is wrong, in the table for the length of the test."""
    (tmp_path / "wrong_rule.py").write_text(textwrap.dedent(WRONG))
    monkeypatch.syspath_prepend(str(tmp_path))
    before = dict(TABLE)
    __import__("wrong_rule")
    forget()
    yield "wrong_rule"
    del sys.modules["wrong_rule"]
    TABLE.clear()
    TABLE.update(before)
    forget()


def text(make: str, *reads: Any) -> Program:
    """A program of those lines, which returns the last variable."""
    lines = [Line(row, (row.split(" = ")[0],)) for row in make.strip().split("\n")]
    return Program(tuple(map(np.asarray, reads)), tuple(lines), lines[-1].makes)


# ---------------------------------------------------------------- generating


@pytest.mark.parametrize("seed", SEEDS)
def test_the_library_is_right_on_random_programs(seed: int) -> None:
    found = judge(random_program(seed, stray=0.1))
    assert not found.wrong, found.message


def test_what_prints_is_what_runs() -> None:
    for seed in range(30):
        program = random_program(seed)
        scope: dict[str, Any] = {}
        exec(str(program), scope)
        with np.errstate(all="ignore"):
            for a, b in zip(_tuple(scope["program"](*program.inputs)), _tuple(program(*program.inputs)), strict=True):
                np.testing.assert_array_equal(a, b)


def _tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_a_seed_gives_the_same_program() -> None:
    assert [repr(random_program(seed)) for seed in range(20)] == [repr(random_program(seed)) for seed in range(20)]


def test_every_kind_of_line_is_written() -> None:
    drawn = [random_program(seed, lines=8) for seed in range(150)]
    assert set(SPECIAL) <= {family for program in drawn for family in program.families}
    assert {"x2"} <= {name for program in drawn for line in program.lines for name in line.reads}
    kinds = {a.dtype.char for program in drawn for a in program.inputs}
    assert set("fdDl") <= kinds


def test_most_programs_have_gradients_that_differences_can_tell() -> None:
    verdicts = [judge(random_program(seed), order=1).kind for seed in SEEDS]
    assert verdicts.count("undecided") + verdicts.count("refused") < 0.05 * len(verdicts)


@pytest.mark.parametrize("family", families())
def test_every_family_can_be_called_alone(family: str) -> None:
    met: set[str] = set()
    for seed in range(12):
        program = random_program(seed, only=family, lines=4)
        met |= program.functions
        assert program.functions <= set(functions_of(family))
    assert met


def test_every_function_that_has_cases_can_be_called() -> None:
    from tapegrad.testing.draw import checked

    # Two have no operand that is drawn: all they are tried on are the examples beside them.
    left_out = {known.name for known in checked()} - set(callable_trials()) - {"np.intersect1d", "np.full"}
    assert all(numpy_is_wrong(known.function) for known in checked() if known.name in left_out)


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(ValueError, match=r"no family and no function is called 'sums'; there are .*reductions"):
        random_program(0, only="sums")


@pytest.mark.parametrize(
    ("value", "inside"),
    [([0.5, 1.0], True), ([0.5, 2.5], False), ([0.05, 0.5], False), ([0.5, 0.5], True), ([0.5 + 1j], True)],
)
def test_domains_are_tracked(value: Any, inside: bool) -> None:
    assert fits(tg.cases.Domain(-1.0, 2.0, avoid=(0.0,)), np.array(value)) is inside  # type: ignore[attr-defined]


# ---------------------------------------------------------------- literals


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, -0.0]]),
        np.array([np.nan, np.inf]),
        np.array([1 + 2j, complex(-0.0, 1.0)]),
        np.array([1, 2]),
        np.zeros((0, 2), np.float32),
        np.full((2, 2), 0.5, np.float32),
        np.array([True, False]),
        np.array(2.5),
        np.float32(0.1),
        (slice(1, None), None, ..., [1, 2]),
        {"axis": (0, 1)},
        complex(0.0, -0.0),
        np.dtype(">f8"),
        "ij,jk",
        b"r",
    ],
)
def test_literals_read_back(value: Any) -> None:
    again = eval(literal(value), {"np": np})
    if isinstance(value, (np.ndarray, np.generic)):
        assert again.dtype == value.dtype
        assert again.shape == value.shape
        assert again.tobytes() == value.tobytes()
    else:
        assert again == value
        assert repr(again) == repr(value)


@pytest.mark.parametrize("function", [np.sum, np.add.reduce, np.linalg.inv, np.fft.fft, np.float64, int])
def test_functions_read_back(function: Any) -> None:
    assert eval(expression_of(function), {"np": np}) == function


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(UnprintableError, match="has no name in a module"):
        literal(lambda: None)


# ---------------------------------------------------------------- judging


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: x * (2.0 if isinstance(x, tg.Tensor) else 2.5), "on tensors"),
        (lambda x: np.sum(x) if isinstance(x, tg.Tensor) else x, "shape"),
        (lambda x: tg.stop_gradient(x) * x, "zero|half|wrong"),
        (lambda x: (x, x) if isinstance(x, tg.Tensor) else x, "2 values on tensors, 1 on arrays"),
    ],
)
def test_what_is_wrong_is_said(function: Callable[..., Any], kind: str) -> None:
    with pytest.raises(GradientError, match=kind):
        check_function(function, np.array([1.0, 2.0]))


def test_a_wrong_second_derivative_is_found() -> None:
    @tg.custom_gradient
    def cubed(x: Any) -> Any:
        return x**3, lambda g: g * 3 * tg.stop_gradient(x) ** 2

    check_function(cubed, np.array([1.0, 2.0]), order=1)
    with pytest.raises(GradientError, match="order 2"):
        check_function(cubed, np.array([1.0, 2.0]))


def test_a_derivative_of_zero_whose_terms_cancel_is_right() -> None:
    check_function(lambda x: x / x, np.array([0.7, 1.9]))
    check_function(lambda x: np.var(x + np.array([0.4, 1.1, 2.3])), np.array(0.6))


def test_another_number_of_entries_nearby_is_no_crash() -> None:
    trimmed = text("v0 = np.trim_zeros(x0)", [-2.0, 1.0, -0.0])
    assert judge(trimmed).kind == "undecided"


def test_another_shape_nearby_is_no_crash() -> None:
    def branching(x: Any, y: Any) -> Any:
        return np.cos(x) if np.sum(y) > 0.75 else y * 2.0

    check_function(branching, np.array([[-1.0, -2.0, -2.0]]), np.array([0.42, -0.87, 1.18]))


def test_a_program_that_raises_is_a_crash() -> None:
    found = judge(text("v0 = np.sin(x0)\nv1 = np.asarray(v0, like=None) if hasattr(v0, 'backward') else v0", [1.0]))
    assert found.kind == "refused"  # A conversion says so itself.
    found = judge(text("v0 = {}['key'] if hasattr(x0, 'backward') else x0 * 1.0", [1.0]))
    assert (found.kind, found.wrong) == ("crash", True)
    assert "KeyError" in found.message


def test_what_numpy_refuses_is_no_failure() -> None:
    assert judge(text("v0 = np.reshape(x0, (5,))", [1.0, 2.0])).kind == "invalid"


def test_the_error_ends_with_a_script(wrong: str) -> None:
    with pytest.raises(GradientError) as caught:
        check_program(text("v0 = wrong_rule.doubled(x0)", [1.0]))
    (script,) = [note for note in caught.value.__notes__ if "check_function(" in note]
    with pytest.raises(GradientError):
        exec(script, {})


# ---------------------------------------------------------------- shrinking


def test_a_planted_mistake_is_found_and_shrinks_to_one_line(wrong: str) -> None:
    found = [p for p in (random_program(seed, only=wrong, lines=6) for seed in range(20)) if judge(p).wrong]
    assert len(found) > 5
    for program in found[:3]:
        small = smaller(program, lambda p: judge(p).wrong)
        assert len(small.lines) == 1
        assert "wrong_rule.doubled(x0)" in small.lines[0].text
        assert len(small.inputs) == 1
        assert small.inputs[0].size == 1


def test_a_crash_shrinks_to_the_same_crash() -> None:
    line = "{} = {} if hasattr(x0, 'backward') else x0 * 1.0"
    lines = line.format("v0", "{}['key']"), line.format("v1", "[][0]"), "v2 = v0 + v1"
    program = text("\n".join(lines), [1.0])
    assert "KeyError" in _shrunk(program, judge(program), 0).said


def test_what_shrinks_still_shows_it() -> None:
    drawn = [random_program(seed, lines=8) for seed in range(40)]
    for program in [p for p in drawn if len(p.lines) > 5 and "np.where" in str(p)][:3]:
        small = smaller(program, lambda p: "np.where" in str(p))
        assert "np.where" in str(small)
        assert len(small.lines) <= 2


def test_hypothesis_draws_and_shrinks_programs(wrong: str) -> None:
    quick = settings(max_examples=2000, database=None, deadline=None)
    small = find(programs(lines=4, only=wrong), lambda p: wrong in str(p), settings=quick)
    assert len(small.lines) <= 2
    assert len(small.inputs) == 1


@settings(max_examples=40)
@given(programs(stray=0.2))
def test_programs_of_hypothesis_are_right(program: Program) -> None:
    check_program(program)


def test_a_campaign_needs_no_hypothesis() -> None:
    import subprocess

    code = "import sys, tapegrad.testing.fuzz; print([m for m in ('hypothesis', 'tqdm', 'pytest') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_gradient_that_is_nan_where_the_table_says_so_is_no_find():
    check_function(lambda x: np.linalg.cond(np.linalg.qr(x)[0]), np.array([[2.0, 1.0], [2.0, -1.0]]))
    with pytest.raises(GradientError, match="nan"):
        check_function(lambda x: tg.custom_gradient(lambda t: (t * 2, lambda g: g * np.nan))(x), np.array([1.0, 2.0]))
