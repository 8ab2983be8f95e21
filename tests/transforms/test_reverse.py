"""grad, value_and_grad, elementwise_grad and vjp: values, arguments, and what they refuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from transform_tools import EPS, functions, vectors

import tapegrad as tg

X = np.array([0.5, -1.0, 2.0])


def cubes(x: Any) -> Any:
    """The sum of the cubes."""
    return np.sum(x**3)


# ---------------------------------------------------------------- grad


def test_grad_is_the_gradient_in_a_plain_array() -> None:
    gradient = tg.grad(cubes)(X)
    assert type(gradient) is np.ndarray
    assert gradient.flags.writeable
    np.testing.assert_array_equal(gradient, 3 * X**2)


def test_name_and_doc_are_preserved() -> None:
    gradient = tg.grad(cubes)
    assert (gradient.__name__, gradient.__doc__) == ("cubes", "The sum of the cubes.")
    assert tg.hessian(cubes).__name__ == tg.jacobian(cubes).__name__ == tg.elementwise_grad(cubes).__name__ == "cubes"


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 12.0),
        (1, 8.0),
        (-1, 6.0),
        (-3, 12.0),
        ((0, 2), (12.0, 6.0)),
        ((2, -3), (6.0, 12.0)),
        ([1], (8.0,)),
        ((), ()),
    ],
)
def test_argnums_choose_the_arguments(argnums: Any, expected: Any) -> None:
    assert tg.grad(lambda a, b, c: a * b * c, argnums)(2.0, 3.0, 4.0) == expected


@pytest.mark.parametrize("argnums", [2, -3, (0, 5)])
def test_argnums_out_of_range_are_named(argnums: Any) -> None:
    with pytest.raises(tg.TapegradError, match=r"argnums names argument .*2 positional arguments") as info:
        tg.grad(lambda a, b: a * b, argnums)(2.0, 3.0)
    assert isinstance(info.value, ValueError)


@pytest.mark.parametrize("argnums", [(0, 0), (1, -1)])
def test_argnums_that_name_an_argument_twice_are_refused(argnums: Any) -> None:
    with pytest.raises(ValueError, match="twice"):
        tg.grad(lambda a, b: a * b, argnums)(2.0, 3.0)


@pytest.mark.parametrize("argnums", [1.0, "x", (0, "x"), None])
def test_argnums_that_are_no_ints_are_refused(argnums: Any) -> None:
    with pytest.raises(TypeError, match="argnums is an int or a tuple of ints"):
        tg.grad(cubes, argnums)


@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad, tg.elementwise_grad, tg.jacobian, tg.hessian])
def test_what_is_no_function_is_refused(transform: Any) -> None:
    with pytest.raises(TypeError, match=f"{transform.__name__}: a function is differentiated; got a ndarray"):
        transform(X)


def test_keyword_arguments_pass_through() -> None:
    def f(x: Any, *, power: int, scale: Any) -> Any:
        assert type(scale) is np.ndarray
        return np.sum(x**power * scale)

    np.testing.assert_array_equal(tg.grad(f)(X, power=2, scale=X), 2 * X * X)


def test_arguments_that_are_not_chosen_stay_what_they_are() -> None:
    def f(x: Any, n: int, name: str, w: Any) -> Any:
        assert (type(n), type(name), type(w)) == (int, str, np.ndarray)
        return np.sum(x * w) * n

    np.testing.assert_array_equal(tg.grad(f)(X, 3, "name", X), 3 * X)


def test_aux_comes_out_plain() -> None:
    gradient, aux = tg.grad(lambda x: (cubes(x), {"squares": x * x, "n": 3, "name": "f"}), has_aux=True)(X)
    np.testing.assert_array_equal(gradient, 3 * X**2)
    assert type(aux["squares"]) is np.ndarray
    assert (aux["n"], aux["name"]) == (3, "f")


def test_value_and_grad_gives_both() -> None:
    value, gradient = tg.value_and_grad(cubes)(X)
    assert type(value) is np.float64
    assert value == np.sum(X**3)
    np.testing.assert_array_equal(gradient, 3 * X**2)


def test_value_and_grad_with_aux() -> None:
    (value, aux), gradient = tg.value_and_grad(lambda x: (x * x, x + 1), has_aux=True)(3.0)
    assert (value, aux, gradient) == (9.0, 4.0, 6.0)


@pytest.mark.parametrize("returned", [3.0, (1.0, 2.0, 3.0), None])
def test_has_aux_asks_for_a_pair(returned: Any) -> None:
    with pytest.raises(tg.TapegradError, match=r"has_aux=True the function returns \(value, aux\)"):
        tg.grad(lambda x: returned, has_aux=True)(1.0)


# ---------------------------------------------------------------- what goes in


@pytest.mark.parametrize(
    "x",
    [3.0, 3j, np.float64(3), np.float32(3), np.float16(3), np.complex64(3), np.longdouble(3), np.array(3.0), X, X[:0],
     X.astype(np.float32), X.astype(np.float16), X.astype(np.longdouble), X.astype(np.complex64)],
)  # fmt: skip
def test_a_gradient_is_made_of_what_its_argument_is_made_of(x: Any) -> None:
    gradient = tg.grad(lambda x: np.sum((x * np.conj(x)).real))(x)
    assert type(gradient) is type(x)
    assert np.shape(gradient) == np.shape(x)
    assert np.asarray(gradient).dtype == np.asarray(x).dtype
    np.testing.assert_array_equal(gradient, 2 * np.asarray(x))


def test_the_value_has_the_dtype_that_numpy_gives() -> None:
    value, _ = tg.value_and_grad(lambda x: np.sum(x * 2))(X.astype(np.float32))
    assert type(value) is np.float32


def test_a_foreign_byte_order_becomes_the_machines_own() -> None:
    gradient = tg.grad(cubes)(X.astype(">f8"))
    assert gradient.dtype.isnative
    np.testing.assert_array_equal(gradient, 3 * X**2)


@pytest.mark.parametrize("x", [3, True, np.arange(3), np.int64(3), np.array([True]), np.arange(3, dtype=np.uint8)])
def test_an_integer_raises_and_names_a_float(x: Any) -> None:
    with pytest.raises(TypeError, match=r"grad: argument 0.*no derivative; pass .*[13]\.0"):
        tg.grad(lambda x: x)(x)


def test_a_leaf_that_is_refused_is_named_by_its_path() -> None:
    with pytest.raises(TypeError, match=r"argument 1\['layers'\]\[0\] is 3, which has no derivative; pass 3\.0"):
        tg.grad(lambda x, p: x, 1)(1.0, {"layers": [3]})


@pytest.mark.parametrize("x", ["text", {1, 2}, np.array(["a"]), np.array([None]), np.ma.masked_array([1.0]), object()])
def test_what_is_neither_array_nor_container_is_refused(x: Any) -> None:
    with pytest.raises(tg.TapegradError, match="grad: argument 0"):
        tg.grad(lambda x: 1.0)(x)


def test_the_users_array_is_neither_kept_nor_changed() -> None:
    x = X.copy()
    _, pullback = tg.vjp(lambda x: x * x, x)
    x[:] = 100.0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], 2 * X)
    assert x.flags.writeable


def test_writing_to_an_input_raises() -> None:
    def f(x: Any) -> Any:
        x[0] = 1.0
        return np.sum(x)

    with pytest.raises(tg.TapegradError, match="leaf"):
        tg.grad(f)(X)


def test_writes_and_views_inside_the_function() -> None:
    def f(x: Any) -> Any:
        y = x.copy()
        tail = y[1:]
        tail *= y[0]
        y[0] = 5.0
        return np.sum(y * y)

    np.testing.assert_allclose(tg.grad(f)(X), [2 * X[0] * np.sum(X[1:] ** 2), *(2 * X[0] ** 2 * X[1:])], rtol=4 * EPS)


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 3.0,
        lambda x: 3,
        lambda x: np.float32(3),
        lambda x: np.array(3.0),
        lambda x: np.sum(np.floor(x)),
        lambda x: np.argmax(x),
        lambda x: tg.tensor(3.0),
    ],
)
def test_what_does_not_depend_on_an_input_has_the_gradient_zero(f: Any) -> None:
    gradient = tg.grad(lambda p: f(p["x"]))({"x": X, "y": 2.0})
    np.testing.assert_array_equal(gradient["x"], np.zeros(3))
    assert gradient["y"] == 0.0
    assert type(gradient["y"]) is float


@pytest.mark.parametrize(
    ("f", "met"),
    [
        (lambda x: x, r"an array of shape \(3,\) and dtype float64"),
        (lambda x: (cubes(x), 1), "a tuple"),
        (lambda x: {"loss": cubes(x)}, "a dict"),
        (lambda x: None, "a NoneType"),
        (lambda x: X[:0], r"an array of shape \(0,\)"),
    ],
)
def test_a_result_that_is_not_one_number_is_refused(f: Any, met: str) -> None:
    with pytest.raises(ValueError, match=f"grad: the function returned {met}.*vjp, jacobian, or elementwise_grad"):
        tg.grad(f)(X)


@pytest.mark.parametrize("f", [lambda x: "text", lambda x: np.array(["a"]), lambda x: object()])
def test_a_result_that_is_no_number_is_refused(f: Any) -> None:
    with pytest.raises(TypeError, match=r"the function's result is .* only arrays and numbers have derivatives"):
        tg.grad(f)(X)


def test_a_complex_result_is_refused() -> None:
    with pytest.raises(ValueError, match="complex number, which has no gradient by itself"):
        tg.grad(lambda x: np.sum(x * 1j))(X)


def test_one_element_counts_as_a_number() -> None:
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(x * x, keepdims=True))(X), 2 * X)


def test_gradients_share_no_memory() -> None:
    a, b = tg.grad(lambda a, b: np.sum(a + b), (0, 1))(X, X)
    assert not np.shares_memory(a, b)


def test_a_value_shares_no_memory_with_what_the_function_keeps() -> None:
    kept = tg.tensor(X, requires_grad=False)
    (_, out), _ = tg.value_and_grad(lambda x: (cubes(x), kept[1:]), has_aux=True)(X)
    out[:] = 7.0
    np.testing.assert_array_equal(kept.numpy(), X)


# ---------------------------------------------------------------- elementwise_grad


def test_elementwise_grad_is_the_derivative_at_each_element() -> None:
    np.testing.assert_array_equal(tg.elementwise_grad(lambda x: x**3)(X), 3 * X**2)


def test_elementwise_grad_again_and_again() -> None:
    derivative: Any = np.sin
    for expected in (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin):
        derivative = tg.elementwise_grad(derivative)
        np.testing.assert_allclose(derivative(X), expected(X), rtol=4 * EPS)


@pytest.mark.parametrize("transform", [tg.elementwise_grad, tg.jacobian, tg.hessian])
@pytest.mark.parametrize(("f", "x"), [(lambda x: abs(x), X * 1j), (lambda x: x.sum() * 1j, X)])
def test_complex_numbers_are_refused_and_vjp_and_jvp_named(transform: Any, f: Any, x: Any) -> None:
    with pytest.raises(tg.TapegradError, match=r"complex.*vjp (or|and) jvp"):
        transform(lambda x: np.sum(f(x)))(x)


def test_elementwise_grad_refuses_containers() -> None:
    with pytest.raises(ValueError, match="elementwise_grad: the function returned a tuple"):
        tg.elementwise_grad(lambda x: (x, x))(X)


# ---------------------------------------------------------------- vjp


def test_a_pullback_can_be_called_many_times() -> None:
    out, pullback = tg.vjp(lambda a, x: a @ x, np.outer(X, X), X)
    np.testing.assert_array_equal(out, np.outer(X, X) @ X)
    for g in np.eye(3):
        by_a, by_x = pullback(g)
        np.testing.assert_array_equal(by_a, np.outer(g, X))
        np.testing.assert_array_equal(by_x, np.outer(X, X).T @ g)


def test_changing_the_value_does_not_change_the_pullback() -> None:
    out, pullback = tg.vjp(np.exp, X)
    out[:] = 0.0
    np.testing.assert_array_equal(pullback(np.ones(3))[0], np.exp(X))


def test_several_outputs_and_one_of_them_twice() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        return {"y": y, "again": y, "constant": 3.0, "x": x, "sum": np.sum(x)}

    out, pullback = tg.vjp(f, X)
    g = {"sum": 1.0, "x": X, "constant": 1.0, "again": 3 * X, "y": X}  # Any order of the keys.
    np.testing.assert_array_equal(pullback(g)[0], 9 * X + 1)
    assert out["constant"] == 3.0


def test_vjp_with_aux() -> None:
    out, pullback, aux = tg.vjp(lambda x: (x * x, "aux"), 3.0, has_aux=True)
    assert (out, pullback(1.0), aux) == (9.0, (6.0,), "aux")


@pytest.mark.parametrize(
    ("g", "error", "message"),
    [
        (np.ones(2), ValueError, r"cotangent\['y'\] has shape \(2,\)"),
        (1.0, ValueError, r"cotangent\['y'\] has shape \(\)"),
        (1j * X, TypeError, r"cotangent\['y'\] of dtype complex128 doesn't cast"),
        (np.array(["a", "b", "c"]), TypeError, r"cotangent\['y'\] has dtype <U1"),
        ([1.0, 2.0, 3.0], ValueError, r"cotangent\['y'\] is a list"),
        (np.ma.masked_array(X), TypeError, r"cotangent\['y'\] is a MaskedArray"),
    ],
)
def test_a_cotangent_that_does_not_fit_is_named(g: Any, error: Any, message: str) -> None:
    _, pullback = tg.vjp(lambda x: {"y": x * 2}, X)
    with pytest.raises(error, match=f"vjp: the {message}"):
        pullback({"y": g})


@pytest.mark.parametrize("g", [(X,), {"z": X}, {"y": X, "z": X}, X])
def test_a_cotangent_of_another_structure_is_refused(g: Any) -> None:
    _, pullback = tg.vjp(lambda x: {"y": x * 2}, X)
    with pytest.raises(tg.TapegradError, match="vjp: the cotangent"):
        pullback(g)


@given(functions(), vectors(), vectors(), vectors())
def test_a_pullback_is_linear(f: Any, x: Any, u: Any, v: Any) -> None:
    _, pullback = tg.vjp(f, x)
    together, apart = pullback(2.0 * u - 3.0 * v)[0], 2.0 * pullback(u)[0] - 3.0 * pullback(v)[0]
    # Sums in another order: a few roundings of numbers as large as the largest of the Jacobian.
    np.testing.assert_allclose(together, apart, atol=1e4 * EPS * (1 + np.max(np.abs(apart))))


@given(functions(), vectors())
def test_gradients_agree_with_differences(f: Any, x: Any) -> None:
    def loss(x: Any) -> Any:
        return np.sum(np.sin(f(x)))

    h = EPS ** (1 / 3)  # Truncation h² and rounding eps / h are alike then.
    numeric = np.array([(loss(x + h * e) - loss(x - h * e)) / (2 * h) for e in np.eye(4)])
    np.testing.assert_allclose(tg.grad(loss)(x), numeric, rtol=1e-5, atol=1e-6)


def test_complex_arguments_have_the_gradient_of_steepest_ascent() -> None:
    z = X + 1j * X[::-1]
    np.testing.assert_allclose(tg.grad(lambda z: np.sum((z * np.conj(z)).real))(z), 2 * z, rtol=4 * EPS)


def test_a_pullback_of_complex_numbers_is_the_adjoint_under_the_real_inner_product() -> None:
    z, u = X + 1j * X[::-1], X[::-1] - 2j * X
    _, pullback = tg.vjp(lambda z: z**2 + np.conj(z), z)
    np.testing.assert_allclose(pullback(u)[0], np.conj(2 * z) * u + np.conj(u), rtol=8 * EPS)
