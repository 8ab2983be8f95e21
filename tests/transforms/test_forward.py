"""jvp and linearize: the transpose of the transpose gives the derivative in a direction."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from transform_tools import EPS, functions, vectors

import tapegrad as tg

X = np.array([0.5, -1.0, 2.0])
V = np.array([1.0, 2.0, -0.5])


def test_jvp_gives_the_value_and_the_derivative_in_a_direction() -> None:
    out, tangent = tg.jvp(lambda x, y: np.sin(x) * y, (X, 3.0), (V, 2.0))
    np.testing.assert_array_equal(out, np.sin(X) * 3)
    np.testing.assert_allclose(tangent, np.cos(X) * 3 * V + np.sin(X) * 2, rtol=4 * EPS)
    assert type(tangent) is np.ndarray


def test_jvp_of_scalars() -> None:
    out, tangent = tg.jvp(lambda x: x * x, (3.0,), (2,))
    assert (out, tangent) == (9.0, 12.0)


def test_jvp_with_aux() -> None:
    out, tangent, aux = tg.jvp(lambda x: (x * x, {"twice": 2 * x}), (3.0,), (1.0,), has_aux=True)
    assert (out, tangent, aux["twice"]) == (9.0, 6.0, 6.0)


def test_a_linearization_can_be_called_many_times() -> None:
    a = np.outer(X, V) + np.eye(3)
    out, f_jvp = tg.linearize(lambda x: np.linalg.solve(a, x**2), X)
    np.testing.assert_array_equal(out, np.linalg.solve(a, X**2))
    for v in np.eye(3):
        np.testing.assert_allclose(f_jvp(v), np.linalg.solve(a, 2 * X * v), rtol=1e-13)


def test_linearize_with_aux() -> None:
    out, f_jvp, aux = tg.linearize(lambda x: (x * x, "aux"), 3.0, has_aux=True)
    assert (out, f_jvp(1.0), aux) == (9.0, 6.0, "aux")


# Each meets the dummy cotangent in its own way: by masks, by picking, by order, by real and imaginary parts.
KINKED = {
    "where": (lambda x: np.where(x > 0, np.sqrt(abs(x)), x), np.where(X > 0, 0.5 / np.sqrt(abs(X)), 1.0)),
    "where beside an infinite slope": (lambda x: np.where(x > 0.5, np.sqrt(x - 0.5), 2 * x)[:2], [2.0, 2.0]),
    "maximum": (lambda x: np.maximum(x, 1.0), [0.0, 0.0, 1.0]),
    "maximum at a tie": (lambda x: np.maximum(x, X), [0.5, 0.5, 0.5]),
    "clip": (lambda x: np.clip(x, -0.5, 1.0), [1.0, 0.0, 0.0]),
    "relu": (tg.nn.relu, [1.0, 0.0, 1.0]),
    "abs": (abs, np.sign(X)),
    "constant": (np.floor, [0.0, 0.0, 0.0]),
    "half constant": (lambda x: np.floor(x) + x, [1.0, 1.0, 1.0]),
    "cancelled": (lambda x: x - x, [0.0, 0.0, 0.0]),
    "times zero": (lambda x: x * np.array([0.0, 1.0, 0.0]), [0.0, 1.0, 0.0]),
}


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_jvp_through_masks_and_kinks(name: str) -> None:
    f, slope = KINKED[name]
    _, tangent = tg.jvp(f, (X,), (V,))
    np.testing.assert_allclose(tangent, slope * V[: len(slope)], rtol=4 * EPS)


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (np.sort, V[np.argsort(X)]),
        (lambda x: np.max(x), V[2]),
        (lambda x: np.median(x), V[0]),
        (lambda x: x[np.array([2, 0, 2])], V[[2, 0, 2]]),
        (np.cumprod, [V[0], V[0] * X[1] + X[0] * V[1], np.prod(X) * np.sum(V / X)]),
        (lambda x: np.linalg.norm(x), X @ V / np.linalg.norm(X)),
        (lambda x: np.zeros(3), np.zeros(3)),
        (lambda x: 3.0, 0.0),
        (lambda x: np.argsort(x), np.zeros(3)),
        (lambda x: np.concatenate([x, x * x]), np.concatenate([V, 2 * X * V])),
    ],
)
def test_jvp_of_functions_that_are_not_elementwise(f: Any, expected: Any) -> None:
    np.testing.assert_allclose(tg.jvp(f, (X,), (V,))[1], expected, rtol=8 * EPS)


def test_the_dummy_cotangent_meets_no_strong_zero() -> None:
    x, v = np.array([0.0, 4.0]), np.array([1.0, 1.0])
    np.testing.assert_array_equal(tg.jvp(np.sqrt, (x,), (v,))[1], [np.inf, 0.25])
    np.testing.assert_array_equal(tg.jvp(np.sqrt, (x,), (v * 0.0,))[1], [0.0, 0.0])
    np.testing.assert_array_equal(tg.jvp(lambda x: np.where(x > 0, np.sqrt(x), 0.0), (x,), (v,))[1], [0.0, 0.25])


def test_an_output_that_comes_twice_has_its_tangent_twice() -> None:
    def f(x: Any) -> Any:
        y = x * x
        return y, y, x

    out, tangents = tg.jvp(f, (X,), (V,))
    for tangent, expected in zip(tangents, (2 * X * V, 2 * X * V, V), strict=True):
        np.testing.assert_array_equal(tangent, expected)
    assert not np.shares_memory(out[0], out[1])
    assert not np.shares_memory(tangents[0], tangents[1])


def test_jvp_through_writes_and_views() -> None:
    def f(x: Any) -> Any:
        y = np.zeros(4, like=x)
        y[:3] = x
        y[1:] *= x
        y[y > 1.0] = x[0]
        y[::2][0] += 1.0
        return y

    out, tangent = tg.jvp(f, (X,), (V,))
    h = 1e-6
    np.testing.assert_allclose(out, f(tg.tensor(X, requires_grad=False)).numpy())
    step = [f(tg.tensor(X + s * h * V, requires_grad=False)).numpy() for s in (1, -1)]
    np.testing.assert_allclose(tangent, (step[0] - step[1]) / (2 * h), rtol=1e-8)


def test_jvp_of_holomorphic_and_other_complex_functions() -> None:
    z, v = X + 1j * V, V - 2j * X
    np.testing.assert_allclose(tg.jvp(lambda z: np.exp(z) * z, (z,), (v,))[1], np.exp(z) * (1 + z) * v, rtol=1e-14)
    np.testing.assert_allclose(tg.jvp(np.conj, (z,), (v,))[1], np.conj(v))
    np.testing.assert_allclose(tg.jvp(np.abs, (z,), (v,))[1], (np.conj(z) * v).real / abs(z), rtol=1e-14)
    np.testing.assert_allclose(tg.jvp(lambda x: x * 1j, (X,), (V,))[1], 1j * V)
    np.testing.assert_allclose(tg.jvp(lambda x: np.fft.ifft(np.fft.fft(x)).real, (X,), (V,))[1], V, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.complex64, np.complex128])
def test_tangents_have_the_dtype_of_the_output(dtype: Any) -> None:
    out, tangent = tg.jvp(lambda x: x * x, (X.astype(dtype),), (V,))
    assert out.dtype == tangent.dtype == dtype
    np.testing.assert_allclose(tangent, 2 * X * V, rtol=1e-3)


@pytest.mark.parametrize(
    ("tangents", "error", "message"),
    [
        ((V[:2],), ValueError, r"tangent 0\['x'\] is a ndarray|tangent 0 is a ndarray"),
        (({"x": V[:2]},), ValueError, r"tangent 0\['x'\] has shape \(2,\)"),
        (({"x": V * 1j},), TypeError, r"tangent 0\['x'\] of dtype complex128 doesn't cast to the float64"),
        (({"y": V},), ValueError, r"tangent 0 has parts \['y'\]; \['x'\] were expected"),
        ((), ValueError, "0 tangents were given for 1 primals"),
        ({"x": V}, TypeError, "tangents are a tuple"),
        (V, TypeError, "tangents are a tuple, with one for each argument of the function; got a ndarray"),
    ],
)
def test_tangents_that_do_not_fit_are_named(tangents: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"jvp: ({message})"):
        tg.jvp(lambda p: p["x"], ({"x": X},), tangents)


def test_primals_that_are_no_tuple_are_refused() -> None:
    with pytest.raises(TypeError, match="hvp: primals are a tuple"):
        tg.hvp(np.sum, X, V)  # type: ignore[arg-type]


def test_integers_are_refused_as_primals_but_not_as_tangents() -> None:
    assert tg.jvp(lambda x: x * x, (2.0,), (3,))[1] == 12.0
    with pytest.raises(TypeError, match=r"jvp: argument 0 is 2, which has no derivative; pass 2\.0"):
        tg.jvp(lambda x: x * x, (2,), (3.0,))


@given(functions(), vectors(), vectors(), vectors())
def test_jvp_and_vjp_are_adjoint(f: Any, x: Any, v: Any, u: Any) -> None:
    _, tangent = tg.jvp(f, (x,), (v,))
    _, pullback = tg.vjp(f, x)
    # <Jv, u> = <v, J^T u>: sums of a few terms, whose roundings grow with the largest of them.
    scale = 1 + np.max(np.abs(tangent)) + np.max(np.abs(pullback(u)[0]))
    np.testing.assert_allclose(tangent @ u, v @ pullback(u)[0], atol=1e4 * EPS * scale)


@given(functions(), vectors(), vectors())
def test_jvp_agrees_with_differences(f: Any, x: Any, v: Any) -> None:
    h = EPS ** (1 / 3)
    numeric = (tg.vjp(f, x + h * v)[0] - tg.vjp(f, x - h * v)[0]) / (2 * h)
    np.testing.assert_allclose(tg.jvp(f, (x,), (v,))[1], numeric, rtol=1e-5, atol=1e-6)
