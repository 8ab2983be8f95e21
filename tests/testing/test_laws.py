"""Laws: right functions of every kind keep them, and a function that breaks one is objected to by that one."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck, Unsatisfiable

import tapegrad as tg
from tapegrad import containers
from tapegrad.cases import Cases
from tapegrad.errors import ArgumentError
from tapegrad.primitive import TABLE, defvjp, elementwise, primitive
from tapegrad.testing.check import GradientError, UndecidedError
from tapegrad.testing.laws import (
    LAWS,
    InapplicableError,
    batch_agrees,
    checkpoint_agrees,
    derivatives_are_right,
    float32_agrees,
    gradients_are_like_arguments,
    hessian_is_symmetric,
    in_place_agrees,
    jvp_is_the_adjoint,
    laws,
    nothing_is_changed,
    nothing_is_shared,
    pullback_is_linear,
    recording_keeps_the_value,
    replay_is_recording,
    rows_agree,
    ties_total_one,
    twice_is_the_same,
    zeros_give_zeros,
)

X = np.array([0.5, 1.25, 2.0])
M = np.array([[2.0, 0.5], [0.25, 1.5]])


@pytest.fixture(autouse=True)
def weeded() -> Iterator[None]:
    """Plants leave the table with the test."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def plant(f: Any, rule: Any) -> Any:
    """A throw-away primitive with a rule."""
    planted = primitive(f)
    defvjp(planted, cases=Cases())(rule)  # With cases it is trusted as ours are, not kept from writing.
    return planted


# ---------------------------------------------------------------- right functions


class Line(NamedTuple):
    slope: Any
    offset: Any


def network(p: Any, x: Any) -> Any:
    return {"out": np.tanh(x @ p["w"] + p["b"]), "size": np.sum(p["w"] ** 2)}


def buffered(x: Any) -> Any:
    y = np.zeros(x.shape, like=x)
    y[1:] = x[:-1] * 2.0
    y[0] = x[-1]
    return y * y


RIGHT: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a ufunc": (np.sin, (X,)),
    "a ufunc at a scalar": (np.exp, (0.5,)),
    "two operands, broadcast": (np.multiply, (M, X[:2])),
    "a reduction": (lambda x: np.sum(x**2, axis=0), (M,)),
    "matrices": (np.linalg.inv, (M,)),
    "complex": (lambda z: np.abs(z) ** 2 + np.real(z), (X + 1j * X[::-1],)),
    "complex results": (np.fft.fft, (X,)),
    "float32": (np.tanh, (X.astype(np.float32),)),
    "containers": (network, ({"w": M, "b": np.ones(2)}, M)),
    "a namedtuple and a number": (lambda line, x: line.slope * x + line.offset, (Line(1.5, 2.0), X)),
    "an integer beside": (lambda x, n: x**n, (X, 3)),
    "an index beside": (lambda x, index: x[index], (X, np.array([0, 2, 2]))),
    "several outputs": (lambda x: (np.sin(x), np.cos(x)), (X,)),
    "a selection": (lambda x: np.max(x, axis=-1), (np.array([[1.0, 3.0, 2.0]]),)),
    "writes": (buffered, (X,)),
    "a linear function": (lambda x: 3.0 * x, (X,)),
    "an empty array": (np.sin, (np.zeros((0, 2)),)),
    "a Fortran array": (np.cos, (np.asfortranarray(M),)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_keeps_every_law(name: str) -> None:
    f, args = RIGHT[name]
    report = laws(f, *args)
    assert {*report.held, *report.inapplicable} == {law.__name__ for law in LAWS}
    assert {"pullback_is_linear", "nothing_is_shared", "zeros_give_zeros", "checkpoint_agrees"} <= set(report.held)


# ---------------------------------------------------------------- one law broken


def never_twice() -> Any:
    count = iter(range(1000))
    return lambda x: x * float(next(count))


def another_length() -> Any:
    count = iter(range(1000))
    return lambda x: [x] * (1 + next(count) % 2)


def another_value() -> Any:
    return lambda x: x * 2.0 if isinstance(x, tg.Tensor) else x * 2.0 + 1e-9


def its_argument_changed(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        x[0] = 0.0
    return x * 2.0


def its_constant_changed() -> Any:
    weights = np.array([1.0, 2.0, 3.0])

    def f(x: Any) -> Any:
        weights[0] += 1.0
        return x * 2.0

    return f


def zeroes_g(g: Any, _y: Any, x: Any) -> Any:
    c = g * 2 * x
    if isinstance(g, np.ndarray) and g.flags.writeable:
        g[...] = 0
    return c


def zeroes_x(g: Any, _y: Any, x: Any) -> Any:
    c = g * 2 * x
    if isinstance(x, np.ndarray):
        x[...] = 0
    return c


class Pair:
    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


def detached(g: Any) -> Any:
    return g.detach() if isinstance(g, tg.Tensor) else g


def counted_rule() -> Any:
    calls = iter(range(1000))

    def rule(g: Any, _y: Any, _x: Any) -> Any:
        return g * (2.0 + 1e-6 * next(calls))

    return plant(lambda x: 2.0 * x, rule)


def single(x: Any) -> Any:
    """The slope of a square, by a rule that is careless with float32."""
    return x.astype(np.float16).astype(np.float32) if x.dtype == np.float32 else x


def outwards(x: Any, out: Any = None) -> Any:
    return np.multiply(x, 2.0) if out is None else np.multiply(x, 3.0, out=out)


def batched_by_shape(x: Any) -> Any:
    return x * float(len(x)) if x.ndim == 2 else x * 2.0


def max_without_ties() -> Any:
    """All that are largest get the whole cotangent."""
    return plant(lambda x: np.max(x), lambda g, y, x: g * (x == y))


def lopsided() -> Any:
    """x0 * x1**2, whose first slope is told a wrong derivative by x1, and its second a right one by x0."""
    wrong_square = plant(lambda x: x * x, lambda g, _y, x: g * 3.0 * x)
    return plant(
        lambda a, b: a * b * b,
        lambda g, _y, a, b: (g * wrong_square(b), g * 2.0 * a * b),
    )


def weak_inside() -> Any:
    """A square whose rule is right at a cotangent of 0, and itself has a derivative that isn't."""
    twice = plant(lambda x: 2 * x, lambda g, _y, _x: 2 * g + 1e-300)
    return plant(lambda x: x * x, lambda g, _y, x: g * twice(x))


def cut_off() -> Any:
    """Right at order one, and at order two by x; by the cotangent it isn't linear, but constant."""
    return plant(lambda x: x * x, lambda g, _y, x: detached(g) * 2.0 * x)


BROKEN: dict[str, tuple[Any, Callable[[], Callable[..., Any]], tuple[Any, ...], str]] = {
    "not deterministic": (twice_is_the_same, never_twice, (X,), "isn't deterministic"),
    "lists of different lengths": (twice_is_the_same, another_length, (X,), "returned 1 arrays .* and 2"),
    "another value while recording": (recording_keeps_the_value, another_value, (X,), "while recording"),
    "another shape while recording": (
        recording_keeps_the_value, lambda: lambda x: x[None] if isinstance(x, tg.Tensor) else x, (X,), "shape"),
    "another structure": (
        recording_keeps_the_value, lambda: lambda x: [x * 1.0] if isinstance(x, tg.Tensor) else x, (X,), "outputs"),
    "the argument changed": (nothing_is_changed, lambda: its_argument_changed, (X,), "changes argument 0"),
    "a constant changed": (nothing_is_changed, its_constant_changed, (X,), "closes over"),
    "the cotangent changed": (
        nothing_is_changed, lambda: plant(lambda x: x * x, zeroes_g), (X,), "cotangent that it is given"),
    "the operand changed by the rule": (nothing_is_changed, lambda: plant(lambda x: x * x, zeroes_x), (X,), "value of"),
    "a wrong slope": (derivatives_are_right, lambda: plant(
        lambda x: x * x, lambda g, _y, x: g * x), (X,), "argument 0"),
    "not linear": (pullback_is_linear, lambda: plant(
        lambda x: x * 2, lambda g, _y, _x: 2 * g * np.abs(g)), (X,), "2u - 3v"),
    "an offset": (pullback_is_linear, lambda: plant(lambda x: x * 2, lambda g, _y, _x: 2 * g + 1), (X,), "2u - 3v"),
    "an offset at zero": (zeros_give_zeros, lambda: plant(
        lambda x: x * 2, lambda g, _y, _x: 2 * g + 1e-300), (X,), "a cotangent of 0"),
    "a weak zero": (zeros_give_zeros, lambda: plant(
        lambda x: np.log(x), lambda g, _y, x: g / x), (np.array([0.0, 1.0]),), "a cotangent of 0"),
    "a weak zero at order two": (zeros_give_zeros, weak_inside, (X,), "order two"),
    "no adjoint": (jvp_is_the_adjoint, cut_off, (X,), "<Jv, u>"),
    "no symmetry": (hessian_is_symmetric, lopsided, (X, X[::-1].copy()), "<Hv, w>"),
    "another replay": (replay_is_recording, counted_rule, (X,), "replay number"),
    "out= of another meaning": (in_place_agrees, lambda: outwards, (X,), "with out="),
    "a batch that knows its length": (batch_agrees, lambda: batched_by_shape, (np.ones((3, 2)),), "item 0 alone"),
    "careless float32": (float32_agrees, lambda: plant(
        lambda x: x * x, lambda g, _y, x: g * 2.0 * single(x)), (np.array([0.1, 0.7]),), "in float32"),
    "ties that total more": (ties_total_one, max_without_ties, (X,), "add up to 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_law_objects_to_what_breaks_it(name: str) -> None:
    law, make, args, says = BROKEN[name]
    options: dict[str, Any] = {"batched": (0,)} if law is batch_agrees else {}
    with pytest.raises(GradientError, match=says) as caught:
        law(make(), *[a.copy() for a in args], **options)
    assert law.__name__ in str(caught.value) or law is derivatives_are_right


# These break no rule of one's own: what they look at is the engine's, which is planted with the mistake.


def test_a_gradient_of_another_structure_is_objected_to() -> None:
    tg.register_container(Pair, lambda p: ((p.a, p.b), None), lambda _, parts: Pair(*parts))
    try:
        gradients_are_like_arguments(lambda p: p.a * p.b, Pair(X, X))
        containers._REGISTERED[Pair] = (containers._REGISTERED[Pair][0], lambda _, parts: Line(*parts))
        with pytest.raises(GradientError, match=r"argument 0 is a Pair, its gradient a Line"):
            gradients_are_like_arguments(lambda p: p[0] * p[1] if isinstance(p, tuple) else p.a * p.b, Pair(X, X))
    finally:
        del containers._REGISTERED[Pair]


def test_a_gradient_of_another_dtype_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tg.Tensor.grad
    wide = property(lambda self: right.fget(self).astype(float), lambda self, value: right.fset(self, value))
    monkeypatch.setattr(tg.Tensor, "grad", wide)
    with pytest.raises(GradientError, match=r"dtype float32, its gradient .* float64"):
        gradients_are_like_arguments(np.sin, X.astype(np.float32))


def test_a_jacobian_that_isnt_its_rows_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    right = tg.jacobian
    monkeypatch.setattr(tg, "jacobian", lambda f, argnums: lambda *xs: [m[::-1] for m in right(f, argnums)(*xs)])
    with pytest.raises(GradientError, match="row 0 of the Jacobian"):
        rows_agree(np.cumsum, X)


def test_a_checkpoint_that_isnt_the_function_is_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(f: Any) -> Any:
        return lambda *args: f(*args) + 0.5 * args[0]

    monkeypatch.setattr(tg, "checkpoint", careless)
    with pytest.raises(GradientError, match="when checkpointed"):
        checkpoint_agrees(np.sin, X)


def test_gradients_that_share_memory_are_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = property(lambda self: self.numpy(), lambda self, value: None)
    monkeypatch.setattr(tg.Tensor, "grad", shared)
    with pytest.raises(GradientError, match="shares memory"):
        nothing_is_shared(np.sin, X)


def test_gradients_that_are_added_to_in_place_are_objected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.zeros(3)
    monkeypatch.setattr(tg.Tensor, "grad", property(lambda self: kept, lambda self, value: None))
    with pytest.raises(GradientError, match="shares memory"):
        nothing_is_shared(np.sin, X)


# ---------------------------------------------------------------- what each law is told


def test_in_place_is_told_by_a_function() -> None:
    def tripled(x: Any) -> None:
        x *= 3

    in_place_agrees(lambda x: x * 3, X, in_place=tripled)
    with pytest.raises(GradientError, match="in place"):
        in_place_agrees(lambda x: x * 2, X, in_place=tripled)


def test_in_place_is_tried_by_out_into_the_first_operand() -> None:
    in_place_agrees(np.add, X, X)
    in_place_agrees(np.cumsum, X)
    in_place_agrees(lambda x, out=None: np.exp(x, out=out), X)


def test_a_batch_sums_over_what_its_items_share() -> None:
    batch_agrees(lambda x, w: np.tanh(x @ w), np.ones((4, 2)), M, batched=(0,))
    batch_agrees(lambda p, w: {"y": p["x"] * w}, {"x": np.ones((4, 2))}, X[:2], batched=[0])
    with pytest.raises(ArgumentError, match="first axes"):
        batch_agrees(np.add, np.ones((4, 2)), np.ones((3, 2)), batched=(0, 1))
    with pytest.raises(ArgumentError, match="there are 1 arguments"):
        batch_agrees(np.sin, X, batched=(1,))


@pytest.mark.parametrize(
    ("law", "f", "args", "why"),
    [
        (ties_total_one, np.sin, (X,), "doesn't move as its inputs do"),
        (ties_total_one, np.max, (X + 1j,), "complex"),
        (in_place_agrees, lambda x: x * 2, (X,), "takes no out="),
        (batch_agrees, np.sin, (X,), "batched="),
        (rows_agree, np.sin, (X + 1j,), "complex"),
        (float32_agrees, np.sin, (X * 1e300,), "float32"),
    ],
)
def test_a_law_that_says_nothing_says_so(law: Any, f: Any, args: Any, why: str) -> None:
    with pytest.raises(InapplicableError, match=why):
        law(f, *args)


def test_float32_is_given_its_own_rounding() -> None:
    float32_agrees(lambda x: (np.exp(x) - 1.0) / x, np.array([1e-3, 1e-2]))
    float32_agrees(lambda x: 1.0 - np.cos(x), np.array([1e-3]))


def test_ties_are_made_where_there_are_none() -> None:
    for f in (np.max, np.median, np.sort, lambda x: np.maximum(x, x[::-1]), np.mean):
        ties_total_one(f, X)


# ---------------------------------------------------------------- laws(f)


def test_a_law_can_be_named_left_out_and_added() -> None:
    def adds(f: Any, *args: Any) -> None:
        if f(*args)[0] != 1.0:
            raise GradientError("it doesn't begin with 1")

    report = laws(np.exp, np.zeros(2), only=["pullback_is_linear", rows_agree], also=[adds])
    assert report.held == ("pullback_is_linear", "rows_agree", "adds")
    report = laws(np.exp, np.zeros(2), without={"rows_agree": "too many"})
    assert report.left_out == {"rows_agree": "too many"}
    assert "rows_agree" not in report.held
    assert "left out: too many" in str(report)
    with pytest.raises(GradientError, match="begin with 1"):
        laws(np.sin, X, also=[adds])


def test_order_one_leaves_out_second_derivatives() -> None:
    report = laws(lopsided(), X, X, order=1)
    assert set(report.left_out) == {"jvp_is_the_adjoint", "hessian_is_symmetric"}


@pytest.mark.parametrize(
    "how",
    [{"only": ["linear"]}, {"without": {"linear": "why not"}}, {"without": {"rows_agree": ""}}, {"given": [1.0]}],
)
def test_what_laws_is_told_wrongly_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="laws: "):
        laws(np.sin, *([] if "given" in how else [X]), **how)


def test_the_first_broken_law_is_raised_with_notes_of_the_others() -> None:
    with pytest.raises(GradientError) as caught:
        laws(plant(lambda x: x * 2, lambda g, _y, _x: 2 * g + 1), X, without={"derivatives_are_right": "on purpose"})
    notes = "\n".join(caught.value.__notes__)
    assert "pullback_is_linear is broken" in notes
    assert "and so is zeros_give_zeros" in notes


def test_an_exception_of_the_function_passes_with_a_note() -> None:
    def fails(x: Any) -> Any:
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file") as caught:
        laws(fails, X)
    assert "under the law" in "".join(caught.value.__notes__)


def test_a_strategy_draws_the_arguments() -> None:
    numbers = st.floats(0.5, 2.0)
    arrays = st.lists(numbers, min_size=1, max_size=3).map(np.array)
    report = laws(lambda x, y: np.log(x) * y, given=st.tuples(arrays, numbers), only=["pullback_is_linear"])
    assert report.held == ("pullback_is_linear",)
    assert laws(np.log, given=arrays, only=["rows_agree"]).held == ("rows_agree",)
    with pytest.raises(GradientError, match="2u - 3v"):
        laws(plant(lambda x: x * 2, lambda g, _y, _x: 2 * g + 1), given=arrays, only=["pullback_is_linear"])


def test_what_to_change_is_said_where_examples_are_too_few() -> None:
    none = st.floats(0.5, 2.0).filter(lambda _x: False)
    with pytest.raises((FailedHealthCheck, Unsatisfiable)) as caught:
        laws(np.log, given=none, only=["rows_agree"])
    assert "make what is valid rather than filter" in "".join(caught.value.__notes__)


def test_what_differences_cant_tell_is_said() -> None:
    with pytest.raises(UndecidedError):
        laws(np.abs, np.array([0.0, 1.0]))
    with pytest.raises(UndecidedError):
        laws(np.abs, given=st.just(np.array([0.0, 1.0])), only=[derivatives_are_right])
    # Where some examples can be told, those that can't are no failure.
    some = st.sampled_from([0.0, 0.5, 1.0]).map(lambda x: np.array([x]))
    assert laws(np.abs, given=some, only=[derivatives_are_right]).held == ("derivatives_are_right",)


@pytest.mark.parametrize("result", [None, 3, "three", [1, 2]], ids=repr)
def test_a_function_without_a_float_in_its_result_is_refused(result: Any) -> None:
    with pytest.raises(ArgumentError, match="returned"):
        pullback_is_linear(lambda x: result, X)


@pytest.mark.parametrize("args", [(), (3,), ("x",), (np.arange(3),)], ids=repr)
def test_arguments_without_a_float_are_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(ArgumentError, match="can be differentiated"):
        pullback_is_linear(lambda *_: X, *args)


def test_elementwise_plants_are_seen_too() -> None:
    planted = primitive(lambda x: x * x)
    elementwise(planted, lambda _y, x: 3 * x, cases=Cases())
    with pytest.raises(GradientError):
        laws(planted, X)
