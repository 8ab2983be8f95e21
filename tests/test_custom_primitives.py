"""Primitives, rules and gradients of the user's own, in every form in which they can be given."""

import math
import sys
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import containers
from tapegrad.cases import Cases, call
from tapegrad.errors import (
    DTypeError,
    NotDifferentiableError,
    RegistrationError,
    RuleError,
    ShapeError,
    UnexpectedArgumentError,
)
from tapegrad.primitive import TABLE
from tapegrad.testing import check_grads

X = np.array([0.5, -1.0, 2.0])
W = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    """Take out of the table what a test put there."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def gradient(f: Any, *values: Any, order: int = 1) -> list[Any]:
    """The gradient of sum(f(x)) by each value; at order 2, of the sum of squares of the first gradient."""
    leaves = [tg.tensor(v) for v in values]
    np.sum(f(*leaves)).backward(create_graph=order > 1)
    if order > 1:
        first = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        sum(np.sum(g * g) for g in first).backward()
    return [leaf.grad for leaf in leaves]


# ---------------------------------------------------------------- the forms of a rule


def test_a_rule_returns_none_for_an_operand_that_is_not_differentiable() -> None:
    @tg.primitive
    def scaled(x: Any, count: Any) -> Any:
        return x * count

    @tg.defvjp(scaled)
    def scaled_vjp(g: Any, _y: Any, _x: Any, count: Any) -> Any:
        return g * count, None

    x, count = tg.tensor(X), tg.tensor(3.0)
    scaled(x, count).sum().backward()
    assert x.grad.tolist() == [3.0] * 3
    assert count.grad is None


def test_several_outputs_bring_none_for_those_that_nobody_used() -> None:
    seen = []

    @tg.primitive
    def split(x: Any) -> Any:
        return np.sin(x), np.cos(x), np.argmax(x)

    @tg.defvjp(split)
    def split_vjp(g: Any, y: Any, _x: Any) -> Any:
        seen.append([part is None for part in g])
        sine, cosine, _place = y
        total = 0 * sine
        if g[0] is not None:
            total = total + g[0] * cosine
        if g[1] is not None:
            total = total - g[1] * sine
        return total

    assert np.allclose(gradient(lambda x: split(x)[1], X)[0], -np.sin(X))
    assert seen == [[True, False, True]]
    check_grads(lambda x: split(x)[0] * split(x)[1], X)
    assert split(tg.tensor(X))[2] == 2


def test_keywords_are_static_and_reach_the_rule() -> None:
    @tg.primitive
    def power(x: Any, *, n: int = 2) -> Any:
        return x**n

    @tg.defvjp(power)
    def power_vjp(g: Any, _y: Any, x: Any, *, n: int = 2) -> Any:
        return g * n * x ** (n - 1)

    check_grads(lambda x: power(x, n=3), X)
    check_grads(power, X)
    with pytest.raises(NotDifferentiableError, match=r"power: no gradient passes through n="):
        power(tg.tensor(X), n=tg.tensor(2.0))
    with pytest.raises(UnexpectedArgumentError, match="m=3"):
        power(tg.tensor(X), m=3)


def test_a_recording_tensor_in_a_static_dict_is_refused() -> None:
    @tg.primitive
    def f(x: Any, *, options: Any = None) -> Any:
        return x * options["w"]

    tg.defvjp(f)(lambda g, _y, _x, *, options=None: g * options["w"])
    with pytest.raises(NotDifferentiableError, match="options="):
        f(tg.tensor(X), options={"w": tg.tensor(2.0)})
    assert gradient(lambda x: f(x, options={"w": 2.0}), X)[0].tolist() == [2.0] * 3


# ---------------------------------------------------------------- containers as operands


@dataclass
class Layer:
    w: Any
    b: Any
    name: str = "layer"


Pair = namedtuple("Pair", "first second")


def affine(tree: Any, x: Any) -> Any:
    return tree["w"] @ x + tree["b"][0]


def affine_rule(g: Any, _y: Any, tree: Any, x: Any) -> Any:
    return {"b": [g, None], "w": np.outer(g, x)}, lambda: tree["w"].T @ g


@pytest.fixture
def of_dict() -> Any:
    f = tg.primitive(affine)
    tg.defvjp(f)(affine_rule)
    return f


def test_a_dict_of_arrays_is_an_operand(of_dict: Any) -> None:
    w, b, unused, x = tg.tensor(W), tg.tensor([1.0, 2.0]), tg.tensor(5.0), tg.tensor(X)
    of_dict({"w": w, "b": [b, unused]}, x).sum().backward()
    assert w.grad.tolist() == [X.tolist()] * 2
    assert b.grad.tolist() == [1.0, 1.0]
    assert unused.grad is None
    assert x.grad.tolist() == W.sum(0).tolist()


def test_only_a_leaf_deep_inside_is_a_tensor(of_dict: Any) -> None:
    b = tg.tensor([1.0, 2.0])
    y = of_dict({"w": W, "b": [b, None]}, X)
    assert y.numpy().tolist() == (W @ X + [1.0, 2.0]).tolist()
    y.sum().backward()
    assert b.grad.tolist() == [1.0, 1.0]


def test_a_constant_container_stands_beside_a_tensor(of_dict: Any) -> None:
    x = tg.tensor(X)
    of_dict({"w": W, "b": [np.zeros(2), 0]}, x).sum().backward()
    assert x.grad.tolist() == W.sum(0).tolist()


def test_containers_are_differentiated_twice(of_dict: Any) -> None:
    check_grads(lambda w, b, x: np.sin(of_dict({"w": w, "b": [b, 1.0]}, x)), W, np.array([0.3, 0.2]), X)


def test_containers_without_tensors_go_straight_to_the_function(of_dict: Any) -> None:
    assert type(of_dict({"w": W, "b": [1.0]}, X)) is np.ndarray


def test_dataclasses_and_named_tuples_come_to_the_rule_as_they_are() -> None:
    @tg.primitive
    def f(pair: Any) -> Any:
        assert type(pair) is Pair
        assert type(pair.first) is Layer
        return pair.first.w * pair.second + pair.first.b

    @tg.defvjp(f)
    def f_vjp(g: Any, _y: Any, pair: Any) -> Any:
        assert pair.first.name == "theirs"
        return Pair(Layer(g * pair.second, g, None), g * pair.first.w)

    check_grads(lambda w, b, s: f(Pair(Layer(w, b, "theirs"), s)), X, 2 * X, 1 + X)


def test_a_container_of_ones_own_is_an_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_REGISTERED", dict(containers._REGISTERED))

    class Line:
        def __init__(self, slope: Any, offset: Any) -> None:
            self.slope, self.offset = slope, offset

    tg.register_container(Line, lambda line: ((line.slope, line.offset), None), lambda _, parts: Line(*parts))
    f = tg.primitive(lambda line, x: line.slope * x + line.offset)
    tg.defvjp(f)(lambda g, _y, line, x: (Line(np.sum(g * x), np.sum(g)), g * line.slope))
    check_grads(lambda a, b, x: f(Line(a, b), x), 2.0, 3.0, X)


def test_a_list_of_numbers_is_an_array_and_a_list_of_arrays_is_not() -> None:
    seen = []

    @tg.primitive
    def f(x: Any, parts: Any) -> Any:
        seen.append(type(parts))
        return x * (parts[0] if type(parts) is list else parts)

    tg.defvjp(f)(lambda g, _y, _x, parts: (g * (parts[0] if type(parts) is list else parts), None))
    x = tg.tensor(X)
    f(x, [1.0, 2.0, 3.0]).sum().backward()
    f(x, [np.ones(3), np.ones(2)]).sum().backward()
    assert seen == [np.ndarray, list]
    assert x.grad.tolist() == [2.0, 3.0, 4.0]


def test_a_cotangent_of_another_structure_is_refused(of_dict: Any) -> None:
    def shifted(tree: Any) -> Any:
        return tree["w"] + 1

    for wrong, message in [
        (lambda g, _y, _t: {"v": g}, r"returned a dict with \['v'\] for operand 0, which is a dict with \['w'\]"),
        (lambda g, _y, _t: [g], "returned a list"),
        (lambda g, _y, _t: g, "returned an array"),
        (lambda g, _y, _t: (g, g), "returned 2 cotangents for 1 operands|returned a tuple"),
        (lambda g, _y, _t: {"w": {"u": g}}, r"for operand 0\['w'\], which is an array"),
    ]:
        f = tg.primitive(shifted)
        tg.defvjp(f)(wrong)
        with pytest.raises(RuleError, match=message):
            f({"w": tg.tensor(X)}).sum().backward()


def test_a_container_of_nothing_that_records_gives_a_tensor_that_does_not(of_dict: Any) -> None:
    with tg.no_grad():
        y = of_dict({"w": tg.tensor(W), "b": [0.0]}, X)
    assert not y.requires_grad


def test_missing_data_in_a_container_counts_as_zero_where_it_meets_no_cotangent() -> None:
    f = tg.primitive(lambda tree: tree["a"] @ tree["b"])
    tg.defvjp(f, multilinear=True)(lambda g, _y, tree: {"a": np.outer(g, tree["b"]), "b": tree["a"].T @ g})
    a, b = tg.tensor([[np.nan, 1.0], [2.0, 3.0]]), tg.tensor([4.0, 5.0])
    y = f({"a": a, "b": b})
    np.where(np.array([False, True]), y, 0).sum().backward()
    assert b.grad.tolist() == [2.0, 3.0]
    assert a.grad.tolist() == [[0.0, 0.0], [4.0, 5.0]]


def test_a_written_tensor_inside_a_container_has_its_present_value(of_dict: Any) -> None:
    w, x = tg.tensor(W), tg.tensor(X)
    buffer = w * 1
    view = buffer[0]
    view[:] = x
    of_dict({"w": buffer, "b": [0.0, 0.0]}, X).sum().backward()
    assert x.grad.tolist() == X.tolist()
    assert w.grad.tolist() == [[0.0] * 3, X.tolist()]


# ---------------------------------------------------------------- what the forward computed


def test_residuals_reach_the_rule_and_not_the_caller() -> None:
    runs = []

    @tg.primitive(residuals=True)
    def sine(x: Any) -> Any:
        runs.append(type(x))
        return np.sin(x), np.cos(x)

    @tg.defvjp(sine)
    def sine_vjp(g: Any, _y: Any, _x: Any, *, residuals: Any) -> Any:
        return g * residuals

    assert sine(X).tolist() == np.sin(X).tolist()
    runs.clear()
    assert np.allclose(gradient(sine, X)[0], np.cos(X))
    assert runs == [np.ndarray]  # Once, for a first derivative.


def test_residuals_are_no_constants_of_higher_derivatives() -> None:
    @tg.primitive(residuals=True)
    def sine(x: Any) -> Any:
        return np.sin(x), {"slope": np.cos(x)}

    tg.defvjp(sine)(lambda g, _y, _x, *, residuals: g * residuals["slope"])
    check_grads(sine, X, order=4)
    x = tg.tensor(0.7)
    y = sine(x)
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7)):
        x.grad = None
        y.backward(create_graph=True)
        y = x.grad
        assert y.item() == pytest.approx(expected, rel=1e-14)


def test_residuals_of_several_operands_outputs_and_parameters() -> None:
    @tg.primitive(residuals=True)
    def f(a: Any, tree: Any, *, n: int = 2) -> Any:
        p = a**n
        return (p * tree["b"], p), (p, n)

    @tg.defvjp(f)
    def f_vjp(g: Any, _y: Any, a: Any, tree: Any, *, n: int = 2, residuals: Any) -> Any:
        p, m = residuals
        assert m == n
        first = 0 * p if g[0] is None else g[0]
        second = 0 * p if g[1] is None else g[1]
        slope = n * a ** (n - 1)
        return slope * (first * tree["b"] + second), {"b": first * p}

    check_grads(lambda a, b: f(a, {"b": b}, n=3)[0], X, 2 * X)
    check_grads(lambda a, b: f(a, {"b": b})[0] * f(a, {"b": b})[1], X, 2 * X)


def test_whole_residuals_are_constant_and_the_function_is_not_run_again() -> None:
    runs = []

    @tg.primitive(residuals=True)
    def largest(x: Any) -> Any:
        runs.append(1)
        place = int(np.argmax(np.asarray(x)))  # Which no tensor would survive.
        return x[place] * 1.0, (place, np.arange(3) == place)

    tg.defvjp(largest)(lambda g, _y, _x, *, residuals: g * residuals[1])
    assert gradient(lambda x: largest(x) ** 2, X, order=2)[0].tolist() == [0.0, 0.0, 16.0]
    assert len(runs) == 1


def test_a_function_that_gives_something_else_the_second_time_is_refused() -> None:
    rng = np.random.default_rng(0)

    @tg.primitive(residuals=True)
    def noisy(x: Any) -> Any:
        factor = 1 + rng.random()
        return x * factor, np.exp(0 * x) * factor

    tg.defvjp(noisy)(lambda g, _y, _x, *, residuals: g * residuals)
    x = tg.tensor(X)
    y = noisy(x)
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuleError, match="noisy gave another output when it was run once more"):
        y.sum().backward(create_graph=True)


def test_a_function_that_can_not_run_on_tensors_raises_at_the_second_order() -> None:
    @tg.primitive(residuals=True)
    def foreign(x: Any) -> Any:
        a = np.asarray(x)
        return np.sin(a), np.cos(a)

    tg.defvjp(foreign)(lambda g, _y, _x, *, residuals: g * residuals)
    assert np.allclose(gradient(foreign, X)[0], np.cos(X))
    with pytest.raises(tg.TapegradError) as caught:
        gradient(foreign, X, order=2)
    assert any("foreign once more" in note and "first derivatives" in note for note in caught.value.__notes__)


def test_residuals_are_what_they_were_when_the_operand_is_written_later() -> None:
    @tg.primitive(residuals=True)
    def square(x: Any) -> Any:
        return x * x, x

    tg.defvjp(square)(lambda g, _y, _x, *, residuals: 2 * g * residuals)
    for n in (3, 3000):
        x = tg.tensor(np.full(n, 3.0))
        b = x * 1
        y = square(b)
        b[:] = 7.0
        y.sum().backward()
        assert x.grad.tolist() == [6.0] * n


def test_an_output_that_shares_memory_with_an_operand_is_a_copy() -> None:
    @tg.primitive(residuals=True)
    def same(x: Any) -> Any:
        return x, None

    tg.defvjp(same)(lambda g, _y, _x, *, residuals: g)
    assert not np.shares_memory(same(X), X)
    x = tg.tensor(X)
    b = x * 1
    y = same(b)
    b[0] = 9.0
    assert y.numpy().tolist() == X.tolist()


def test_cases_of_the_users_own_change_nothing() -> None:
    @tg.primitive(residuals=True)
    def f(tree: Any) -> Any:
        return np.sin(tree["x"]), np.cos(tree["x"])

    cases = Cases(calls=(call((2,)),))
    tg.defvjp(f, cases)(lambda g, _y, _tree, *, residuals: {"x": g * residuals})
    check_grads(lambda x: f({"x": x}), X)
    sine = tg.primitive(lambda x: (np.sin(x), np.cos(x)), residuals=True)
    tg.defvjp(sine, cases)(lambda g, _y, _x, *, residuals: g * residuals)
    check_grads(sine, X, order=3)


def test_a_rule_for_residuals_must_take_them() -> None:
    f = tg.primitive(lambda x: (x, None), residuals=True)
    with pytest.raises(RegistrationError, match=r"its rule takes them by keyword: \(\.\.\., \*, residuals\)"):
        tg.defvjp(f)(lambda g, _y, _x: g)


@pytest.mark.parametrize("options", [{"multilinear": True}, {"forward": np.sin}], ids=str)
def test_a_rule_for_residuals_takes_no_other_forms(options: dict[str, Any]) -> None:
    f = tg.primitive(lambda x: (x * 1, None), residuals=True)
    with pytest.raises(RegistrationError, match="can't have multilinear= or forward="):
        tg.defvjp(f, **options)(lambda g, _y, _x, *, residuals: g)


def test_residuals_can_not_be_given_from_outside() -> None:
    f = tg.primitive(lambda x: (x * 1, None), residuals=True)
    tg.defvjp(f)(lambda g, _y, _x, *, residuals: g if residuals is None else None)
    with pytest.raises(UnexpectedArgumentError, match="residuals=3"):
        f(tg.tensor(X), residuals=3)


@pytest.mark.parametrize("wrong", [lambda x: x * 1, lambda x: (x, x, x)])
def test_a_function_that_returns_no_pair_is_refused(wrong: Any) -> None:
    f = tg.primitive(wrong, residuals=True)
    tg.defvjp(f)(lambda g, _y, _x, *, residuals: g * residuals)
    for x in (X, tg.tensor(X)):
        with pytest.raises(RuleError, match=r"not the pair \(output, residuals\)"):
            f(x)


# ---------------------------------------------------------------- what is missing or goes wrong is said


def test_a_primitive_without_a_rule_names_itself_and_its_module() -> None:
    f = tg.primitive(affine)
    for tree in ({"w": tg.tensor(W), "b": [0.0]}, {"w": W, "b": [tg.tensor([1.0, 2.0])]}):
        with pytest.raises(
            NotDifferentiableError, match=r"test_custom_primitives\.affine can't be differentiated.*rule"
        ):
            f(tree, X)
    with tg.no_grad():
        assert f({"w": tg.tensor(W), "b": [0.0]}, X).numpy().tolist() == (W @ X).tolist()


def broken(x: Any) -> Any:
    raise ZeroDivisionError("no")


def this_line() -> str:
    return f"{__file__}:{sys._getframe(1).f_lineno}"


FORMS = pytest.mark.parametrize(
    "form", ["array", "container", "several", "keyword", "written", "residuals", "gradient"]
)


def call_of(form: str, forward: Any = None, rule: Any = None) -> tuple[Any, str]:
    """A primitive of the user's called in some form, its sum; and the line of the call."""
    rule = rule or (lambda g, _y, _x: g * 2)
    forward = forward or (lambda x: x * 2)
    x = tg.tensor(X)
    if form == "gradient":
        h = tg.custom_gradient(lambda x: (forward(x), lambda g: rule(g, None, None)))
        y, line = h(x), this_line()
    elif form == "several":
        f = tg.primitive(lambda x: (forward(x), x + 1))
        tg.defvjp(f)(lambda gs, _y, x: rule(gs[0], None, x))
        (y, _z), line = f(x), this_line()
    elif form == "residuals":
        f = tg.primitive(residuals=True)(lambda x: (forward(x), [1]))
        tg.defvjp(f)(lambda g, y, x, *, residuals: rule(g, y, x))
        y, line = f(x), this_line()
    elif form == "container":
        f = tg.primitive(lambda tree: forward(tree["x"]))
        tg.defvjp(f)(lambda g, y, tree: {"x": rule(g, y, tree["x"])})
        y, line = f({"x": x}), this_line()
    else:
        f = tg.primitive(lambda x, scale=1.0: forward(x) * scale)
        tg.defvjp(f)(lambda g, y, x, *, scale=1.0: rule(g, y, x) * scale)
        if form == "written":
            x = x * 1
            x[0] = 3.0
        y, line = f(x, scale=2.0) if form == "keyword" else f(x), this_line()
    return np.sum(y), line


@FORMS
@pytest.mark.parametrize("debugging", [False, True])
def test_an_exception_in_a_forward_says_where_it_was_called(form: str, debugging: bool) -> None:
    here = []

    def forward(_x: Any) -> Any:
        frame = sys._getframe()
        while frame.f_code.co_name != "call_of":
            assert frame.f_back is not None
            frame = frame.f_back
        here.append(f"{__file__}:{frame.f_lineno}")
        return broken(_x)

    with pytest.raises(ZeroDivisionError) as caught, tg.debug() if debugging else tg.enable_grad():
        call_of(form, forward)
    (note,) = caught.value.__notes__
    assert "on operands (3,), at " in note
    assert note.endswith(here[0])


@FORMS
@pytest.mark.parametrize("options", [{}, {"create_graph": True}, {"retain_graph": True}], ids=str)
def test_an_exception_in_a_rule_says_where_it_was_recorded(form: str, options: dict[str, bool]) -> None:
    y, line = call_of(form, rule=lambda _g, _y, _x: broken(0))
    with pytest.raises(ZeroDivisionError) as caught:
        y.backward(**options)
    (note,) = caught.value.__notes__
    assert "of operands (3,), at " in note
    assert note.endswith(line)


def test_an_exception_in_what_a_rule_hands_back_says_where_it_was_recorded() -> None:
    f = tg.primitive(lambda x: x * 2)
    tg.defvjp(f)(lambda g, _y, _x: lambda: broken(g))
    y, line = f(tg.tensor(X)), this_line()
    with pytest.raises(ZeroDivisionError) as caught:
        np.sum(y).backward()
    assert caught.value.__notes__[0].endswith(line)


def test_an_exception_in_the_rule_of_a_rule_says_where_both_were_recorded() -> None:
    f = tg.primitive(lambda x: x * 2)
    tg.defvjp(f)(lambda _g, _y, x: broken(x))
    h, lines = tg.primitive(lambda x: x**3), []

    @tg.defvjp(h)
    def h_vjp(g: Any, _y: Any, x: Any) -> Any:
        y, line = f(x), this_line()
        lines.append(line)
        return g * y

    x = tg.tensor(X)
    np.sum(h(x)).backward(create_graph=True)
    with pytest.raises(ZeroDivisionError) as caught:
        np.sum(x.grad).backward()
    assert caught.value.__notes__[0].endswith(lines[0])


@pytest.mark.parametrize("transform", [tg.grad, tg.jacobian, tg.hessian, tg.elementwise_grad])
def test_an_exception_under_a_transform_says_where_it_was_recorded(transform: Any) -> None:
    f, lines = tg.primitive(lambda x: x * 2), []
    tg.defvjp(f)(lambda g, _y, _x: broken(g))

    def program(x: Any) -> Any:
        y, line = f(x), this_line()
        lines.append(line)
        return y if transform in (tg.jacobian, tg.elementwise_grad) else np.sum(y)

    with pytest.raises(ZeroDivisionError) as caught:
        transform(program)(X)
    assert caught.value.__notes__[0].endswith(lines[-1])


@pytest.mark.parametrize("kind", ["forward", "rule"])
@pytest.mark.parametrize("checkpointed", ["checkpoint", "chain"])
def test_an_exception_in_a_checkpoint_says_where_both_were_called(checkpointed: str, kind: str) -> None:
    failing = [False]

    def forward(x: Any) -> Any:
        return broken(x) if failing[0] and kind == "forward" else x * 2

    def rule(g: Any, _y: Any, _x: Any) -> Any:
        return broken(g) if kind == "rule" else g * 2

    f, lines = tg.primitive(forward), []
    tg.defvjp(f)(rule)

    def step(x: Any, _t: Any = None) -> Any:
        lines.append(f"{__file__}:{sys._getframe().f_lineno + 1}")
        return f(x)

    x = tg.tensor(X)
    if checkpointed == "chain":
        y, line = tg.checkpoint_chain(step, x, range(3)), this_line()
    else:
        y, line = tg.checkpoint(step)(x), this_line()
    failing[0] = True
    with pytest.raises(ZeroDivisionError) as caught:
        np.sum(y).backward()
    inner, outer = caught.value.__notes__
    assert inner.endswith(lines[-1])
    assert outer.endswith(line)


def test_a_line_is_found_in_a_call_over_several_lines() -> None:
    f = tg.primitive(lambda x, scale=1.0: x * scale)
    tg.defvjp(f)(lambda g, _y, _x, *, scale=1.0: broken(g))
    first = sys._getframe().f_lineno + 1
    y = f(
        tg.tensor(
            X,
        ),
        scale=2.0,
    )
    with pytest.raises(ZeroDivisionError) as caught:
        np.sum(y).backward()
    assert caught.value.__notes__[0].endswith(f"{__file__}:{first}")


# ---------------------------------------------------------------- custom_gradient


def log1pexp(x: Any) -> Any:
    e = np.exp(x)
    return np.log1p(e), lambda g: g * (1 - 1 / (1 + e))


def test_a_custom_gradient_is_right_at_any_order() -> None:
    f = tg.custom_gradient(log1pexp)
    check_grads(f, X, order=3)
    s = 1 / (1 + np.exp(-X))
    x = tg.tensor(X)
    y = f(x).sum()
    for expected in (s, s * (1 - s), s * (1 - s) * (1 - 2 * s), s * (1 - s) * (1 - 6 * s + 6 * s * s)):
        x.grad = None
        y.backward(create_graph=True)
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-13)
        y = x.grad.sum()


def test_the_value_is_numpys_and_plain_arrays_stay_plain() -> None:
    f = tg.custom_gradient(log1pexp)
    assert type(f(X)) is np.ndarray
    assert f(X).tolist() == f(tg.tensor(X)).numpy().tolist() == np.log1p(np.exp(X)).tolist()
    assert f.__name__ == "log1pexp"


def test_the_pullback_is_taken_at_its_word() -> None:
    @tg.custom_gradient
    def reversed_gradient(x: Any, *, scale: float = 1.0) -> Any:
        return x * 1, lambda g: -scale * g

    assert gradient(reversed_gradient, X)[0].tolist() == [-1.0] * 3
    assert gradient(lambda x: reversed_gradient(x, scale=2.0), X)[0].tolist() == [-2.0] * 3


def test_a_pullback_that_is_no_derivative_is_differentiated_as_it_is() -> None:
    # f = x^3 with the pullback g * x^2 in the place of 3 g x^2: the derivative of that is 2 g x.
    f = tg.custom_gradient(lambda x: (x**3, lambda g: g * x**2))
    x = tg.tensor(2.0)
    f(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward()
    assert (first.item(), x.grad.item()) == (4.0, 4.0)


def test_a_custom_gradient_of_several_operands_and_outputs() -> None:
    @tg.custom_gradient
    def f(tree: Any, x: Any) -> Any:
        a = np.exp(tree["a"])

        def pullback(g: Any) -> Any:
            first, second = (0 * x if part is None else part for part in g)
            return {"a": first * a * x, "n": None}, first * a + 2 * x * second

        return (a * x, x * x), pullback

    check_grads(lambda a, x: f({"a": a, "n": 3}, x)[0], X, 1 + X)
    check_grads(lambda a, x: f({"a": a, "n": 3}, x)[0] * f({"a": a, "n": 3}, x)[1], X, 1 + X)


def test_code_that_is_not_numpy_has_a_first_derivative_and_says_so_at_the_second() -> None:
    @tg.custom_gradient
    def foreign(x: Any) -> Any:
        value = np.array([float(v) ** 2 for v in x])
        return value, lambda g: g * 2 * np.asarray(x)

    assert gradient(foreign, X)[0].tolist() == (2 * X).tolist()
    with pytest.raises(tg.TapegradError) as caught:
        gradient(foreign, X, order=2)
    assert "first derivatives" in caught.value.__notes__[0]


def test_closing_over_a_recording_tensor_is_refused() -> None:
    w = tg.tensor(2.0)
    with pytest.raises(RuleError, match="it uses a tensor that isn't an operand"):
        tg.custom_gradient(lambda x: (x * w, lambda g: g))(tg.tensor(X))
    y = tg.custom_gradient(lambda x: (x * 2, lambda g: g * w))(tg.tensor(X))
    with pytest.raises(RuleError, match="a recording tensor that isn't an operand"):
        y.sum().backward()


def test_a_custom_gradient_is_nested_in_another() -> None:
    inner = tg.custom_gradient(log1pexp)

    @tg.custom_gradient
    def outer(x: Any) -> Any:
        y = inner(x)
        return y * y, lambda g: 2 * g * y * (1 - np.exp(-y))

    check_grads(outer, X, order=3)


def test_stop_gradient_inside_a_custom_gradient_stops_at_the_second_order() -> None:
    f = tg.custom_gradient(lambda x: (x**3, lambda g: 3 * g * x * tg.stop_gradient(x)))
    x = tg.tensor(2.0)
    f(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward()
    assert (first.item(), x.grad.item()) == (12.0, 6.0)


def test_custom_gradient_goes_with_the_transforms() -> None:
    f = tg.custom_gradient(log1pexp)
    s = 1 / (1 + np.exp(-X))
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(f(x)))(X), s, rtol=1e-14)
    np.testing.assert_allclose(tg.hessian(lambda x: np.sum(f(x)))(X), np.diag(s * (1 - s)), atol=1e-15)
    np.testing.assert_allclose(tg.jvp(f, (X,), (2 * X,))[1], 2 * X * s, rtol=1e-14)


def test_under_no_grad_nothing_is_recorded() -> None:
    with tg.no_grad():
        assert not tg.custom_gradient(log1pexp)(tg.tensor(X)).requires_grad


def test_a_custom_gradient_enters_nothing_in_the_table() -> None:
    before = len(TABLE)
    gradient(tg.custom_gradient(log1pexp), X)
    assert len(TABLE) == before


def test_what_a_custom_gradient_can_not_be_is_said() -> None:
    with pytest.raises(RegistrationError, match=r"takes \*xs"):
        tg.custom_gradient(lambda *xs: (xs[0], None))
    with pytest.raises(RuleError, match="returned int for its pullback"):
        gradient(tg.custom_gradient(lambda x: (x * 1, 3)), X)
    with pytest.raises(RuleError, match=r"not the pair"):
        tg.custom_gradient(lambda x: x * 1)(tg.tensor(X))
    with pytest.raises(RuleError, match=r"cotangent of shape \(\)"):
        gradient(tg.custom_gradient(lambda x: (x * 1, np.sum)), X)


# ---------------------------------------------------------------- stop_gradient


def test_no_gradient_passes_a_stop_at_any_order() -> None:
    x = tg.tensor(3.0)
    (x * x * tg.stop_gradient(x)).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward()
    assert (first.item(), x.grad.item()) == (18.0, 6.0)


def test_stop_gradient_of_containers_leaves_the_rest_alone() -> None:
    x = tg.tensor(X)
    tree = tg.stop_gradient({"a": [x * 2, 3], "b": Layer(W, None)})
    assert tree["a"][0].numpy().tolist() == (2 * X).tolist()
    assert not tree["a"][0].requires_grad
    assert tree["a"][1] == 3
    assert tree["b"].w is W


def test_what_is_stopped_does_not_see_later_writes() -> None:
    b = tg.tensor(X) * 1
    stopped = tg.stop_gradient(b)
    b[0] = 9.0
    assert stopped.numpy().tolist() == X.tolist()


# ---------------------------------------------------------------- straight_through


def test_the_value_is_the_functions_to_the_bit_and_the_gradient_the_surrogates() -> None:
    x = np.array([1e-30, 0.1 + 0.2, 17.0, -0.0])
    hard = tg.straight_through(lambda x: np.tanh(x) * (1 + 1e-12), np.sinh)
    t = tg.tensor(x)
    y = hard(t)
    assert y.numpy().tobytes() == (np.tanh(x) * (1 + 1e-12)).tobytes()
    y.sum().backward()
    np.testing.assert_allclose(t.grad, np.cosh(x))


def test_straight_through_has_the_surrogates_higher_derivatives() -> None:
    x = tg.tensor(2.0)
    tg.straight_through(np.rint, lambda x: x**3)(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.backward()
    assert (first.item(), x.grad.item()) == (12.0, 12.0)


def test_straight_through_takes_bools_containers_and_keywords() -> None:
    @dataclass
    class State:
        a: Any
        b: Any

    def hard(state: State, *, scale: float) -> dict[str, Any]:
        assert type(state.a) is np.ndarray
        return {"on": state.a > 0, "b": np.rint(state.b) * scale}

    def soft(state: State, *, scale: float) -> dict[str, Any]:
        return {"on": 1 / (1 + np.exp(-state.a)), "b": state.b * scale}

    a, b = tg.tensor(X), tg.tensor([0.4, 0.6])
    out = tg.straight_through(hard, soft)(State(a, b), scale=3.0)
    assert out["on"].numpy().tolist() == [1.0, 0.0, 1.0]
    assert out["b"].numpy().tolist() == [0.0, 3.0]
    (np.sum(out["on"]) + np.sum(out["b"])).backward()
    s = 1 / (1 + np.exp(-X))
    np.testing.assert_allclose(a.grad, s * (1 - s))
    assert b.grad.tolist() == [3.0, 3.0]


def test_straight_through_of_plain_arrays_is_the_function() -> None:
    assert type(tg.straight_through(np.rint, np.sin)(X)) is np.ndarray


def test_straight_through_of_the_identity_does_not_share_memory() -> None:
    b = tg.tensor(X) * 1
    y = tg.straight_through(lambda x: x, lambda x: 2 * x)(b)
    b[0] = 9.0
    assert y.numpy().tolist() == X.tolist()


def test_results_that_are_not_alike_are_refused() -> None:
    x = tg.tensor(X)
    with pytest.raises(ShapeError, match=r"gave shape \(\), its surrogate \(3,\)"):
        tg.straight_through(np.sum, np.sin)(x)
    with pytest.raises(ShapeError, match="structure"):
        tg.straight_through(lambda x: (x, x), np.sin)(x)
    with pytest.raises(DTypeError, match="complex128, its surrogate float64"):
        tg.straight_through(lambda x: x * 1j, np.sin)(x)
    with pytest.raises(DTypeError, match="float32 doesn't hold"):
        tg.straight_through(lambda x: np.array([2**24 + 1]), np.sin)(tg.tensor(np.ones(1, np.float32)))


def test_a_function_that_leaves_the_tape_has_no_second_derivative() -> None:
    @tg.custom_gradient
    def exponential(x: Any) -> Any:
        e = np.array([math.exp(v) for v in x.tolist()])
        return e, lambda g: g * e

    np.testing.assert_allclose(tg.grad(lambda x: np.sum(exponential(x)))(np.array([0.0, 1.0])), [1.0, math.e])
    with pytest.raises(RuleError, match="leave the tape"):
        tg.hessian(lambda x: np.sum(exponential(x)))(np.array([0.0, 1.0]))


def test_a_function_without_a_rule_may_return_what_has_no_gradient() -> None:
    largest = tg.primitive(lambda x: int(np.argmax(x)))
    assert largest(tg.tensor([1.0, 3.0, 2.0])) == 1
    with pytest.raises(NotDifferentiableError):
        tg.primitive(lambda x: x * x)(tg.tensor([1.0]))
