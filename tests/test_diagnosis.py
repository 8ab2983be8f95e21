"""A failure reads like a diagnosis: each planted mistake is named by its words, and a program shows it again."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tapegrad as tg
from tapegrad.errors import ArgumentError, RuleError
from tapegrad.primitive import TABLE
from tapegrad.testing import GradientError, UndecidedError, check_grads, check_vjp
from tapegrad.testing.diagnosis import broadcast_note
from tapegrad.testing.reproduction import literal, source_of


@pytest.fixture(autouse=True)
def weeded() -> Iterator[None]:
    """Plants leave the table with the test."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def planted(function: Callable[..., Any], rule: Callable[..., Any]) -> Any:
    dispatched = tg.primitive(function)
    tg.defvjp(dispatched)(rule)
    return dispatched


X = np.linspace(-2.0, 2.0, 6).reshape(2, 3)
SQUARE = np.random.default_rng(1).uniform(-2.0, 2.0, (3, 3))
CUBE = np.random.default_rng(2).uniform(-2.0, 2.0, (2, 3, 3))
COMPLEX = np.array([[1 + 2j, 0.5 - 1j], [-0.3 + 0.7j, 1.5 + 0.2j]])
LARGE = np.linspace(-2.0, 2.0, 500).reshape(20, 25)


def sine(x: Any) -> Any:
    return np.sin(x)


def square(x: Any) -> Any:
    return x * x


def plus(a: Any, b: Any) -> Any:
    return a + b


def row_sums(a: Any) -> Any:
    return np.sum(a, axis=1)


def squared_where_positive(x: Any) -> Any:
    return np.where(x > 0, x * x, 0)


MISTAKES: list[tuple[str, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = [
    ("is wrong: half of it", sine, lambda g, _y, x: g * np.cos(x) / 2, (X,)),
    ("is wrong: half of it", sine, lambda g, _y, x: g * np.cos(x) / 2, (0.3,)),
    ("is wrong: half of it", sine, lambda g, _y, x: g * np.cos(x) / 2, (LARGE,)),
    ("is wrong: twice as large", sine, lambda g, _y, x: g * np.cos(x) * 2, (X,)),
    ("is wrong: of the wrong sign", sine, lambda g, _y, x: -g * np.cos(x), (X,)),
    ("is wrong: of the wrong sign", sine, lambda g, _y, x: -g * np.cos(x), (LARGE,)),
    ("is wrong: 1.37 times it", sine, lambda g, _y, x: g * np.cos(x) * 1.37, (X,)),
    ("is wrong: 1j times it", square, lambda g, _y, x: 2j * g * np.conj(x), (COMPLEX,)),
    ("is wrong: zero everywhere", sine, lambda g, _y, _x: 0 * g, (X,)),
    ("is wrong: transposed", sine, lambda g, _y, x: (g * np.cos(x)).T, (SQUARE,)),
    ("transposed in its last two axes", sine, lambda g, _y, x: np.swapaxes(g * np.cos(x), 1, 2), (CUBE,)),
    ("is wrong: reversed along axis 1", sine, lambda g, _y, x: (g * np.cos(x))[:, ::-1], (X,)),
    ("is wrong: rolled by 1 along axis 1", sine, lambda g, _y, x: np.roll(g * np.cos(x), 1, 1), (X,)),
    ("the right entries in another order", sine, lambda g, _y, x: (g * np.cos(x)).reshape(3, 2).T, (X,)),
    ("not summed over the broadcast axis 0: only its entry 0", plus, lambda g, _y, _a, _b: (g, g[0]), (X, np.ones(3))),
    ("not summed over the broadcast axis 1: only its entry 2", plus,
     lambda g, _y, _a, _b: (g, g[:, 2:]), (X, np.ones((2, 1)))),
    (r"1/3, and 3 is the length of axis 1 .*: a mean where a sum", row_sums, lambda g, _y, a: g[:, None] / 3 + 0 * a,
     (X,)),
    ("3 times it .*: summed where a mean", lambda a: np.mean(a, axis=1), lambda g, _y, a: g[:, None] + 0 * a, (X,)),
    ("is wrong: conjugated$", square, lambda g, _y, x: np.conj(g) * 2 * x, (COMPLEX,)),
    ("conjugated, of the wrong sign", square, lambda g, _y, x: -np.conj(g) * 2 * x, (COMPLEX,)),
    (r"not conjugated: g \* slope", square, lambda g, _y, x: g * 2 * x, (COMPLEX,)),
    ("of the conjugated cotangent", square, lambda g, _y, x: np.conj(g) * 2 * np.conj(x), (COMPLEX,)),
    ("its real part only", square, lambda g, _y, x: np.real(g * 2 * np.conj(x)) + 0j, (COMPLEX,)),
    ("a cotangent of ones", sine, lambda _g, _y, x: np.cos(x), (X,)),
    ("dtype float32 of a float64 operand", sine, lambda g, _y, x: (g * np.cos(x)).astype(np.float32), (X,)),
    ("dtype complex64 of a complex128 operand", square, lambda g, _y, x: (g * 2 * np.conj(x)).astype(np.complex64),
     (COMPLEX,)),
    ("right in the first 7 digits only; if something computes in float32", sine,
     lambda g, _y, x: g * np.cos(x.astype(np.float32)), (X,)),
    ("right where unmasked, and not zero at 3 of 6 entries where it should be, where x < 0", squared_where_positive,
     lambda g, _y, x: g * 2 * x, (X,)),
    ("right where unmasked, and zero at 3 of 6 entries, where x < 0", square,
     lambda g, _y, x: np.where(x > 0, g * 2 * x, 0), (X,)),
    ("the mask is inverted", squared_where_positive, lambda g, _y, x: np.where(x > 0, 0, g * 2 * x), (X,)),
    ("right at 3 of 6 entries, wrong at others, where x < 0", np.absolute, lambda g, _y, _x: g, (X,)),
    ("right at 4 of 6 entries, wrong at others, those at index 2 of axis 1", sine,
     lambda g, _y, x: g * np.cos(x) * np.array([1, 1, 3.0]), (X,)),
    (r"right at 5 of 6 entries, wrong at \(1, 2\) alone", sine, lambda g, _y, x: g * (np.cos(x) + (x == 2)), (X,)),
    ("nan at 3 of 6 entries, where x < 0", square, lambda g, _y, x: np.where(x < 0, np.nan, g * 2 * x), (X,)),
    ("nan everywhere", square, lambda g, _y, x: g * x * np.nan, (X,)),
    ("0.1 more than it, at every entry", sine, lambda g, _y, x: g * np.cos(x) + 0.1, (X,)),
    ("argument 0 is wrong: that of argument 1", lambda a, b: np.sin(a) * b,
     lambda g, _y, a, b: (g * np.sin(a), g * np.cos(a) * b), (X, X + 3)),
]  # fmt: skip


@pytest.mark.parametrize(("words", "function", "rule", "args"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_is_named(
    words: str, function: Callable[..., Any], rule: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    f = planted(function if not isinstance(function, np.ufunc) else lambda x: function(x), rule)
    with pytest.raises(GradientError) as caught:
        check_vjp(f, *args)
    first = str(caught.value).split("\n", 1)[0]
    with pytest.raises(GradientError, match=words):
        raise GradientError(first)
    assert not isinstance(caught.value, UndecidedError)


def test_a_mistake_that_resembles_nothing_is_given_no_likeness() -> None:
    f = planted(lambda a, b: a @ b, lambda g, _y, a, b: (g @ b, a.T @ g))
    with pytest.raises(GradientError, match=r"argument 0 is wrong\n"):
        check_vjp(f, SQUARE, SQUARE + 1)


def test_a_cotangent_of_the_shape_before_summing_is_noted() -> None:
    f = planted(plus, lambda g, _y, _a, _b: (g, g))
    with pytest.raises(RuleError, match=r"cotangent of shape \(2, 3\) for operand 1 of shape \(3,\)") as caught:
        check_vjp(f, X, np.ones(3))
    assert "not summed over the broadcast axis 0" in caught.value.__notes__


@pytest.mark.parametrize(
    ("given", "wanted", "note"),
    [
        ((2, 3), (1, 3), "axis 0"),
        ((4, 2, 3), (2, 1), "axes 0, 2"),
        ((2, 3), (2, 3), None),
        ((2, 3), (2,), None),
        ((3,), (2, 3), None),
        ((1, 3), (2, 3), None),
    ],
)
def test_shapes_tell_the_axes_that_were_not_summed(given: Any, wanted: Any, note: str | None) -> None:
    assert broadcast_note(given, wanted) == (f"not summed over the broadcast {note}" if note else "")


def test_what_leaves_the_tape_is_told_from_a_slope_of_zero() -> None:
    with pytest.raises(GradientError, match="zero everywhere: what the function returns isn't recorded"):
        check_vjp(lambda x: np.sin(x.detach() if isinstance(x, tg.Tensor) else x), X)


def test_a_second_order_is_named() -> None:
    f = planted(sine, lambda g, _y, x: g * tg.stop_gradient(np.cos(x)))
    check_vjp(f, X)
    with pytest.raises(GradientError, match="by argument 0 is wrong at order 2: zero everywhere"):
        check_grads(f, X)


def test_the_parts_of_a_finding_can_be_read() -> None:
    with pytest.raises(GradientError) as caught:
        check_vjp(planted(sine, lambda g, _y, x: g * np.cos(x) / 2), X)
    finding = caught.value.finding
    assert finding is not None
    assert (finding.name, finding.likeness, finding.wrong, finding.probed) == ("argument 0", "half of it", 6, 6)
    assert finding.probe.analytic == pytest.approx(finding.probe.slope.value / 2)


# ---------------------------------------------------------------- containers


class Pair(NamedTuple):
    w: Any
    b: Any


@dataclasses.dataclass
class Layer:
    w: Any
    name: str = dataclasses.field(metadata={"static": True}, default="linear")


def weighted(a: Any, b: Any) -> Any:
    return a * b


@pytest.mark.parametrize(
    ("argument", "f"),
    [
        ({"w": X, "b": [X + 3, 2]}, lambda c: np.sin(c["w"]) * c["b"][0] ** c["b"][1]),
        (Pair(X, (1.0, None)), lambda c: {"y": c.w * c.b[0], "more": [np.cos(c.w), Pair(c.b[0], 1)]}),
        (Layer(X), lambda layer: Layer(layer.w**2)),
        ([X, X + 1j], lambda c: c[0] * c[1]),
        ([X.astype(np.float32), 2.0], lambda c: c[0] * c[1]),
    ],
    ids=["dict", "named tuple", "dataclass", "complex", "float32"],
)
def test_containers_are_taken_apart(argument: Any, f: Callable[..., Any]) -> None:
    check_grads(f, argument)


def test_the_leaf_of_a_container_is_named() -> None:
    f = planted(weighted, lambda g, _y, a, b: (g * b, -g * a))
    with pytest.raises(GradientError, match=r"by argument 1\['b'\]\[0\]\.w is wrong: of the wrong sign"):
        check_vjp(lambda x, c: f(x, c["b"][0].w), X, {"b": [Layer(X + 3), 7]})


def test_tensors_count_as_the_arrays_they_hold() -> None:
    x = tg.tensor(X)
    check_grads(lambda x, y: x * y, x, tg.tensor(X, requires_grad=False))
    assert x.grad is None


# ---------------------------------------------------------------- the program that shows it


def told(report: str) -> str:
    """What the program of a report prints, run by itself."""
    lines = report.split("This shows it:\n\n", 1)[1].splitlines()
    source = "\n".join(line.removeprefix("    ") for line in lines)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(source, "<report>", "exec"), {"__name__": "report"})
    return printed.getvalue()


def closing_over(scale: Any, n: int) -> Any:
    def scaled(x: Any, power: int = 2) -> Any:
        inner = [k * scale for k in range(n)]
        return np.sum(x**power) * inner[-1]

    return planted(scaled, lambda g, _y, x, *, power=2: g * x * scale * power)


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda: planted(sine, lambda g, _y, x: g * np.cos(x) / 2), (X,)),
        (lambda: planted(sine, lambda g, _y, x: g * np.cos(x) / 2), (0.3,)),
        (lambda: planted(sine, lambda g, _y, x: g * np.cos(x) / 2), (1e-9,)),
        (lambda: planted(sine, lambda g, _y, x: g * np.cos(x) / 2), (LARGE,)),
        (lambda: planted(square, lambda g, _y, x: g * 2 * x), (COMPLEX,)),
        (lambda: planted(plus, lambda g, _y, _a, _b: (g, g[0])), (X, np.ones(3))),
        (lambda: closing_over(np.array(2.0), 3), (X,)),
        (lambda: closing_over(np.float32(2.0), 3), (X.astype(np.float32),)),
    ],
)
def test_the_program_of_a_report_shows_the_mistake(f: Callable[[], Any], args: tuple[Any, ...]) -> None:
    with pytest.raises(GradientError) as caught:
        check_vjp(f(), *args)
    backward, differences = (float(line.split()[-1]) for line in told(str(caught.value)).splitlines())
    finding = caught.value.finding
    assert finding is not None
    assert abs(backward - differences) > 1e-2 * abs(differences)
    if args[0] is not LARGE:  # Which isn't printed, but drawn anew.
        assert backward == pytest.approx(finding.probe.analytic / finding.probe.unit, rel=1e-6)
        assert differences == pytest.approx(finding.probe.slope.value / finding.probe.unit, rel=1e-3)


def test_under_hypothesis_the_report_is_of_the_smallest_example() -> None:
    f = planted(squared_where_positive, lambda g, _y, x: g * 2 * x)

    @given(arrays(np.float64, array_shapes(max_dims=2, max_side=4), elements=st.integers(-8, 8).map(float)))
    @settings(max_examples=100)
    def property_of_f(x: Any) -> None:
        assume(np.all(x != 0))  # Where its second derivative jumps, differences don't settle.
        check_vjp(f, x)

    with pytest.raises(GradientError, match=r"(?s)index \(0,\) of float64 \(1,\).*x0 = np.array\(\[-1.0\]\)"):
        property_of_f()


@pytest.mark.parametrize(
    ("check", "args"),
    [
        (lambda: (planted(sine, lambda g, _y, x: g * np.cos(x) * (1 + 1e-8)), 1), (X,)),
        (lambda: (planted(sine, lambda g, _y, x: g * tg.stop_gradient(np.cos(x))), 2), (X,)),
        (lambda: (np.absolute, 1), (0.0,)),
        (lambda: (lambda x, n: np.abs(x["w"][0]) * n, 1), ({"w": [np.zeros(2), None, "static"]}, 3)),
    ],
)
def test_a_mistake_that_one_difference_does_not_show_is_shown_by_the_check(
    check: Callable[[], Any], args: tuple[Any, ...]
) -> None:
    f, order = check()
    with pytest.raises(GradientError) as caught:
        check_grads(f, *args, order=order)
    with pytest.raises(type(caught.value)) as again:
        told(str(caught.value))
    assert str(again.value).split("\n")[1:5] == str(caught.value).split("\n")[1:5]


@pytest.mark.parametrize(
    "value",
    [
        1.5, -0.0, float("inf"), complex(1, -0.0), complex("nan"), np.float32(0.1), 3, True, None, "text",
        slice(1, None), (1,), [1.0, (2, {"a": None})], np.array([1.0, -np.inf]), np.zeros((0, 3)),
        np.array([1, 2], np.int8), np.array(2.5, np.float32), np.array([[1 + 2j]]), np.array([True]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_literal_reads_back(value: Any) -> None:
    again = eval(literal(value), {"np": np})
    assert type(again) is type(value)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(value)) if isinstance(value, np.ndarray) else None
    assert repr(again) == repr(value)


def test_functions_with_a_name_are_imported() -> None:
    assert source_of(np.linalg.inv) == ([], "np.linalg.inv")
    assert source_of(tg.nn.relu)[1] == "relu"
    lines, name = source_of(told)
    assert lines == [f"from {told.__module__} import told"]
    assert name == "told"


def test_a_function_without_source_is_left_to_fill_in() -> None:
    f = eval("lambda x: np.abs(x)", {"np": np})
    assert source_of(f)[0][0].startswith("f = ...  # fill in")


# ---------------------------------------------------------------- bad input


class Counter:
    """Returns something else at every call."""

    def __init__(self, made: Callable[[int, Any], Any]) -> None:
        self.made, self.calls = made, 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return self.made(self.calls, x)


def in_place(x: Any) -> Any:
    x += 1
    return x


@pytest.mark.parametrize(
    ("f", "args", "says"),
    [
        (
            Counter(lambda n, x: n * x),
            (X,),
            r"Counter isn't deterministic: .* -2.0 at index \(0, 0\), then -4.0",
        ),
        (Counter(lambda n, x: [x] * n), (X,), "isn't deterministic: .*returns 1 outputs, then 2"),
        (Counter(lambda n, x: x[:, n:]), (X,), r"isn't deterministic: .*shape \(2, 2\), then \(2, 1\)"),
        (
            Counter(lambda n, x: x.astype([np.float32, float][n % 2])),
            (X,),
            "isn't deterministic: .*dtype float64",
        ),
        (Counter(lambda n, x: {n: x}), (X,), r"isn't deterministic: .*outputs at \['\[1\]'\], then at \['\[2\]'\]"),
        (lambda x: None, (X,), "returns None, which has no derivative: let it return its result"),
        (lambda x: 3, (X,), "nothing to differentiate: int; let it return floats"),
        (lambda x: "sum", (X,), "nothing to differentiate: str"),
        (lambda x: [], (X,), "nothing to differentiate: a container of nothing"),
        (np.argmax, (X,), "np.argmax returns nothing to differentiate: int64"),
        (np.negative, (3,), r"np.negative has no argument to differentiate by: argument 0 is 3, of type int; 3.0 is"),
        (
            np.negative,
            (np.arange(3),),
            r"is an array of dtype int64; .astype\(float\) makes it one of floats",
        ),
        (lambda x: x, ("abc",), "argument 0 is 'abc', of type str; hand over arrays"),
        (lambda: 1.0, (), "was called without arguments; hand over arrays"),
        (in_place, (X,), "in_place changes argument 0 in place: let it work on a copy"),
        (lambda x: (x, x) if isinstance(x, tg.Tensor) else x, (X,), "of tensors the function returns 2 outputs"),
    ],
)
def test_what_cannot_be_checked_says_what_to_change(f: Any, args: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        check_vjp(f, *args)


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"order=0; the lowest is 1"):
        check_grads(np.sin, X, order=0)


def test_what_leaves_the_tape_is_shown_by_a_program_that_says_so() -> None:
    with pytest.raises(GradientError, match="it left the tape on the way") as caught:
        check_vjp(lambda x: np.array(x.detach().numpy() if isinstance(x, tg.Tensor) else x) * 2, np.ones(2))
    assert ".backward(" not in str(caught.value)
    assert "check_vjp(f, x0)" in str(caught.value)
