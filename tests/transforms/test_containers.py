"""Containers: every transform over every kind, flatten, register_container."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from transform_tools import CONTAINERS, Frozen, Layer, Own, Pair

import tapegrad as tg
from tapegrad import containers

A, B = np.array([1.0, 2.0, 3.0]), 2.0
KINDS = pytest.mark.parametrize("kind", CONTAINERS)


@pytest.fixture(autouse=True)
def own_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class Own is a container, for the length of the test."""
    monkeypatch.setattr(containers, "_REGISTERED", dict(containers._REGISTERED))
    tg.register_container(Own, lambda own: ((own.left, own.right), own.label), lambda label, parts: Own(*parts, label))


def parts_of(kind: str, tree: Any) -> tuple[Any, Any]:
    """The two parts of a container, which must be of the kind that ``kind`` makes."""
    made = CONTAINERS[kind][0](A, B)
    assert type(tree) is type(made)
    return CONTAINERS[kind][1](tree)


@KINDS
def test_grad_has_the_structure_of_the_argument(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return np.sum(a**2) * b

    for transform in (tg.grad, lambda f: lambda x: tg.value_and_grad(f)(x)[1], tg.elementwise_grad):
        by_a, by_b = parts_of(kind, transform(f)(make(A, B)))
        np.testing.assert_array_equal(by_a, 4 * A)
        assert by_b == 14.0
        assert type(by_b) is float


@KINDS
def test_vjp_jvp_and_linearize_take_and_give_containers(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return make(a * b, np.sum(a))

    out, pullback = tg.vjp(f, make(A, B))
    np.testing.assert_array_equal(parts_of(kind, out)[0], A * B)
    by_a, by_b = parts_of(kind, pullback(make(A, 1.0))[0])
    np.testing.assert_array_equal(by_a, A * B + 1)
    assert by_b == A @ A
    for tangent in (tg.jvp(f, (make(A, B),), (make(A, 1.0),))[1], tg.linearize(f, make(A, B))[1](make(A, 1.0))):
        along_a, along_b = parts_of(kind, tangent)
        np.testing.assert_array_equal(along_a, A * B + A)
        assert along_b == 6.0


@KINDS
def test_hvp_and_ggnvp_give_containers(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return np.sum(a**2) * b

    by_a, by_b = parts_of(kind, tg.hvp(f, (make(A, B),), (make(A, 1.0),))[0])
    np.testing.assert_array_equal(by_a, 2 * B * A + 2 * A)
    assert by_b == 2 * A @ A
    by_a, by_b = parts_of(kind, tg.ggnvp(lambda t: t, f, (make(A, B),), (make(A, 1.0),))[0])
    np.testing.assert_array_equal(by_a, 2 * B * A + 2 * A)
    assert by_b == 2 * A @ A


@KINDS
def test_jacobian_has_the_outputs_structure_outside_and_the_inputs_inside(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return make(a * b, np.sum(a))

    first, second = parts_of(kind, tg.jacobian(f)(make(A, B)))
    np.testing.assert_array_equal(parts_of(kind, first)[0], B * np.eye(3))
    np.testing.assert_array_equal(parts_of(kind, first)[1], A)
    np.testing.assert_array_equal(parts_of(kind, second)[0], np.ones(3))
    assert parts_of(kind, second)[1] == 0.0
    assert type(parts_of(kind, second)[1]) is float


@KINDS
def test_hessian_has_the_structure_twice(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return np.sum(a**2) * b

    first, second = parts_of(kind, tg.hessian(f)(make(A, B)))
    np.testing.assert_array_equal(parts_of(kind, first)[0], 2 * B * np.eye(3))
    np.testing.assert_array_equal(parts_of(kind, first)[1], 2 * A)
    np.testing.assert_array_equal(parts_of(kind, second)[0], 2 * A)
    assert parts_of(kind, second)[1] == 0.0


@KINDS
def test_nested_transforms_take_containers(kind: str) -> None:
    make, take = CONTAINERS[kind]

    def f(tree: Any) -> Any:
        a, b = take(tree)
        return np.sum(a**2) * b

    def outer(tree: Any) -> Any:
        by_a, by_b = take(tg.grad(f)(tree))
        return np.sum(by_a) * by_b  # 2 b sum(a) sum(a²)

    by_a, by_b = parts_of(kind, tg.grad(outer)(make(A, B)))
    np.testing.assert_array_equal(by_a, 2 * B * (A @ A) + 4 * B * np.sum(A) * A)
    assert by_b == 2 * np.sum(A) * (A @ A)


@KINDS
def test_flatten_and_back(kind: str) -> None:
    make = CONTAINERS[kind][0]
    vector, unflatten = tg.flatten(make(A.reshape(1, 3), B))
    np.testing.assert_array_equal(vector, [1.0, 2.0, 3.0, 2.0])
    a, b = parts_of(kind, unflatten(2 * vector))
    np.testing.assert_array_equal(a, [[2.0, 4.0, 6.0]])
    assert b == 4.0
    assert type(b) is float


def test_what_a_container_keeps_beside_its_arrays_stays() -> None:
    assert tg.grad(lambda p: np.sum(p.weights))(Layer(A, B, name="first")).name == "first"
    assert tg.grad(lambda p: p.left * 1.0)(Own(1.0, 2.0, "kept")).label == "kept"
    assert tg.grad(lambda p: p["a"])(defaultdict(list, a=1.0)).default_factory is list
    assert tg.grad(lambda p: p[0])((1.0, None)) == (1.0, None)
    assert tg.grad(lambda p: p.weights)(Frozen(1.0, ())) == Frozen(1.0, ())


def test_the_order_of_keys_is_the_arguments() -> None:
    assert list(tg.grad(lambda p: p["z"] * p["a"])({"z": 1.0, "a": 2.0})) == ["z", "a"]


def test_a_subclass_of_list_stays_one() -> None:
    class Stack(list[Any]):
        pass

    gradient = tg.grad(lambda s: s[0] * s[1])(Stack([2.0, 3.0]))
    assert type(gradient) is Stack
    assert gradient == [3.0, 2.0]


def test_an_empty_container_has_an_empty_gradient() -> None:
    assert tg.grad(lambda p: 1.0)({}) == {}
    assert tg.jacobian(lambda p: np.ones(2))(()) == ()
    assert tg.vjp(lambda p: (), [])[1](()) == ([],)
    assert tg.jvp(lambda: 2.0, (), ()) == (2.0, 0.0)


def test_a_leaf_that_is_refused_is_named_by_its_path_through_attributes() -> None:
    with pytest.raises(TypeError, match=r"argument 0\.first\[1\]\.bias is a str"):
        tg.grad(lambda p: 1.0)(Pair((1.0, Layer(A, "x")), B))


# ---------------------------------------------------------------- flatten


def test_flatten_takes_the_dtype_that_the_leaves_have_in_common() -> None:
    tree = {"single": A.astype(np.float32), "half": np.float16(1)}
    vector, unflatten = tg.flatten(tree)
    assert vector.dtype == np.float32
    back = unflatten(vector.astype(np.float64))  # As an optimiser of SciPy's hands it over.
    assert (back["single"].dtype, type(back["half"])) == (np.float32, np.float16)
    assert tg.flatten({"a": 1j, "b": 2.0})[0].dtype == np.complex128
    assert tg.flatten({})[0].dtype == np.float64


def test_flatten_gives_copies_both_ways() -> None:
    tree = [A]
    vector, unflatten = tg.flatten(tree)
    assert not np.shares_memory(vector, A)
    assert not np.shares_memory(unflatten(vector)[0], vector)


def test_flatten_inside_a_transform_is_recorded() -> None:
    vector, unflatten = tg.flatten({"a": A, "b": B})
    gradient = tg.grad(lambda v: np.sum(unflatten(v)["a"] ** 2) * unflatten(v)["b"])(vector)
    np.testing.assert_array_equal(gradient, [*(4 * A), 14.0])
    tree = tg.grad(lambda p: np.sum(tg.flatten(p)[0] ** 2))({"a": A, "b": B})
    np.testing.assert_array_equal(tree["a"], 2 * A)


@pytest.mark.parametrize("tree", [{"n": 3}, [A, "x"], np.arange(3)])
def test_flatten_refuses_what_is_not_floating(tree: Any) -> None:
    with pytest.raises(TypeError, match="flatten: tree"):
        tg.flatten(tree)


@pytest.mark.parametrize(("vector", "error"), [(np.ones(3), ValueError), (np.ones((4, 1)), ValueError),
                                               (np.ones(4) * 1j, TypeError)])  # fmt: skip
def test_unflatten_refuses_another_vector(vector: Any, error: Any) -> None:
    with pytest.raises(error, match="unflatten: "):
        tg.flatten((A, B))[1](vector)


# ---------------------------------------------------------------- register_container


@pytest.mark.parametrize("cls", [Own, dict, tuple, list, np.ndarray, tg.Tensor, float])
def test_a_class_that_is_a_container_or_an_array_is_refused(cls: type) -> None:
    before = dict(containers._REGISTERED)
    with pytest.raises(tg.TapegradError, match=f"register_container: {cls.__name__}"):
        tg.register_container(cls, lambda x: ((), None), lambda rest, parts: None)
    assert before == containers._REGISTERED


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(tg.TapegradError, match="is no class"):
        tg.register_container(Own(1, 2, "x"), lambda x: ((), None), lambda rest, parts: None)  # type: ignore[arg-type]


def test_a_class_that_is_not_registered_is_named() -> None:
    class Unknown:
        pass

    with pytest.raises(TypeError, match=r"argument 0 is a Unknown, .*tapegrad\.register_container"):
        tg.grad(lambda p: 1.0)(Unknown())
