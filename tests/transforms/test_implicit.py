"""``root`` and ``fixed_point``: against closed forms, and against differentiating the iterations themselves."""

import threading
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st
from transform_tools import CONTAINERS, EPS, Own

import tapegrad as tg
from tapegrad import containers
from tapegrad.errors import ArgumentError, ChangedDataError, ConvergenceError, DTypeError, ShapeError
from tapegrad.transforms import solvers

W = np.array([[0.1, 0.2], [0.3, -0.1]])
B = np.array([1.0, 2.0])


def close(a: Any, b: Any, digits: float = 1e5) -> bool:
    # Both are solved to about 1e-13; each order of differentiation costs a digit or so.
    return np.allclose(a, b, rtol=digits * EPS, atol=digits * EPS)


def derivative(f: Any, order: int) -> Any:
    for _ in range(order):
        f = tg.grad(f)
    return f


def unrolled(f: Any, x: Any, *params: Any, steps: int = 80) -> Any:
    for _ in range(steps):
        x = f(x, *params)
    return x


# -------------------------------- closed forms


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("way", ["root", "fixed_point"])
def test_the_square_root_by_newton(way: str, order: int) -> None:
    if way == "root":
        f = lambda a: tg.root(lambda x, a: x**2 - a, 1.0, a)  # noqa: E731
    else:
        f = lambda a: tg.fixed_point(lambda x, a: (x + a / x) / 2, 1.0, a)  # noqa: E731
    coefficient = np.prod([0.5 - k for k in range(order)])
    assert close(derivative(f, order)(2.0), coefficient * 2.0 ** (0.5 - order))


@given(st.floats(0.1, 3.0), st.floats(0.05, 0.6))
def test_keplers_equation(m: float, e: float) -> None:
    def anomaly(m: Any, e: Any) -> Any:
        return tg.root(lambda E, m, e: E - e * np.sin(E) - m, 2.0, m, e)

    E = anomaly(m, e)
    slope = 1 / (1 - e * np.cos(E))
    by_m, by_e = tg.grad(anomaly, (0, 1))(m, e)
    assert close(by_m, slope)
    assert close(by_e, np.sin(E) * slope)
    assert close(tg.grad(tg.grad(anomaly))(m, e), -e * np.sin(E) * slope**3)
    third = -e * np.cos(E) * slope**4 + 3 * (e * np.sin(E)) ** 2 * slope**5
    assert np.isclose(tg.grad(tg.grad(tg.grad(anomaly)))(m, e), third, rtol=1e-9)


def test_a_linear_equation_is_solve() -> None:
    a, b = W + np.eye(2), B
    f = lambda a, b: np.sum(np.sin(tg.root(lambda x, a, b: a @ x - b, np.zeros(2), a, b)))  # noqa: E731
    g = lambda a, b: np.sum(np.sin(np.linalg.solve(a, b)))  # noqa: E731
    for mine, other in zip(tg.grad(f, (0, 1))(a, b), tg.grad(g, (0, 1))(a, b), strict=True):
        assert close(mine, other)
    assert close(tg.hessian(lambda b: f(a, b))(b), tg.hessian(lambda b: g(a, b))(b))


def test_complex_numbers_have_the_gradient_of_the_real_inner_product() -> None:
    a = 2.0 + 1.0j
    x = tg.root(lambda z, a: z**3 - a, 1.0 + 0.5j, a)
    # z is holomorphic in a: the gradient of |z|^2 is 2 z conj(dz/da).
    assert close(
        tg.grad(lambda a: np.abs(tg.root(lambda z, a: z**3 - a, 1.0 + 0.5j, a)) ** 2)(a), 2 * x / 3 / np.conj(x**2)
    )
    # Not holomorphic in its unknown.
    f = lambda a: np.abs(tg.fixed_point(lambda z, a: 0.3 * np.conj(z) + a * np.sin(z) * 0.1 + a, 0j, a)) ** 2  # noqa: E731
    h = 1e-6
    numeric = (f(0.5 + h) - f(0.5 - h)) / (2 * h) + 1j * (f(0.5 + h * 1j) - f(0.5 - h * 1j)) / (2 * h)
    assert np.isclose(tg.grad(f)(0.5 + 0j), numeric, rtol=1e-8)  # Central differences have about 10 digits.


# -------------------------------- against the iterations


def layer(s: Any, w: Any, b: Any) -> Any:
    return np.tanh(w @ s + b)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_fixed_point_equals_its_iteration(order: int) -> None:
    def of(solve: Any) -> Any:
        def f(b: Any) -> Any:
            return np.sum(np.sin(solve(layer, np.zeros(2), W * b[0], b)))

        for _ in range(order - 1):
            f = lambda b, f=f: np.sum(np.sin(tg.grad(f)(b)))  # noqa: E731
        return tg.grad(f)(B)

    assert close(of(tg.fixed_point), of(unrolled), 1e6)


@pytest.mark.parametrize("transform", ["jvp", "hvp", "hessian", "jacobian"])
def test_other_transforms_pass_through(transform: str) -> None:
    def of(solve: Any) -> Any:
        f = lambda b: solve(layer, np.zeros(2), W, b)  # noqa: E731
        if transform == "jacobian":
            return tg.jacobian(f)(B)
        if transform == "jvp":
            return tg.jvp(f, (B,), (np.array([1.0, -2.0]),))[1]
        loss = lambda b: np.sum(f(b) ** 2)  # noqa: E731
        return tg.hessian(loss)(B) if transform == "hessian" else tg.hvp(loss, (B,), (np.array([1.0, -2.0]),))[0]

    assert close(of(tg.fixed_point), of(unrolled))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["leaf", "recorded", "written"])
def test_gradients_reach_what_it_closes_over(kind: str, order: int) -> None:
    def gradients(solve: Any) -> Any:
        leaf, b = tg.tensor(W), tg.tensor(B)
        w = leaf
        if kind == "recorded":
            w = leaf * 1.1
        elif kind == "written":
            w = np.zeros((2, 2), like=leaf)
            w[0] = leaf[1]
            w[1] = leaf[0] * 2
        x = solve(lambda s, b: np.tanh(w @ s + b), np.zeros(2), b)
        (np.sum(x**2) + np.sum(w)).backward(create_graph=order == 2)
        if order == 2:
            g, h = leaf.grad, b.grad
            leaf.zero_grad(), b.zero_grad()
            (np.sum(np.sin(g)) + np.sum(h**2)).backward()
        return leaf.grad, b.grad

    for mine, other in zip(gradients(tg.fixed_point), gradients(unrolled), strict=True):
        assert close(mine, other)


def test_it_may_stand_in_a_checkpoint_and_a_checkpoint_in_it() -> None:
    inner = tg.checkpoint(layer)
    f = lambda b: np.sum(tg.checkpoint(lambda b: tg.fixed_point(inner, np.zeros(2), W, b))(b) ** 2)  # noqa: E731
    g = lambda b: np.sum(unrolled(layer, np.zeros(2), W, b) ** 2)  # noqa: E731
    assert close(tg.grad(f)(B), tg.grad(g)(B))
    assert close(tg.hessian(f)(B), tg.hessian(g)(B))


# -------------------------------- containers and kinds


@pytest.mark.parametrize("kind", CONTAINERS)
def test_unknowns_and_parameters_are_containers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_REGISTERED", dict(containers._REGISTERED))
    tg.register_container(Own, lambda own: ((own.left, own.right), own.label), lambda label, parts: Own(*parts, label))
    build, parts = CONTAINERS[kind]

    def residual(x: Any, p: Any) -> Any:
        (u, v), (a, b) = parts(x), parts(p)
        return build(u**3 - a * v, v - b - np.sum(u) / 10)

    def f(p: Any) -> Any:
        u, v = parts(tg.root(residual, build(np.ones(2), 1.0), p))
        return np.sum(u) * v

    p = build(np.array([2.0, 3.0]), 0.5)
    x = tg.root(residual, build(np.ones(2), 1.0), p)
    assert type(x) is type(p)
    assert type(parts(x)[1]) is float
    by_a, by_b = parts(tg.grad(f)(p))
    h = 1e-6
    e = np.array([h, 0.0])
    a, b = parts(p)
    assert np.isclose(by_a[0], (f(build(a + e, b)) - f(build(a - e, b))) / (2 * h), rtol=1e-8)
    assert np.isclose(by_b, (f(build(a, b + h)) - f(build(a, b - h))) / (2 * h), rtol=1e-8)


def test_plain_comes_out_of_plain_and_tensors_of_tensors() -> None:
    assert type(tg.root(lambda x, a: x**2 - a, 1.0, 2.0)) is float
    assert type(tg.root(lambda x, a: x**2 - a, np.ones(2), 2.0)) is np.ndarray
    assert tg.root(lambda x, a: x**2 - a, 1.0, tg.tensor(2.0)).requires_grad
    assert not tg.root(lambda x, a: x**2 - a, tg.tensor(1.0), 2.0).requires_grad
    with tg.no_grad():
        assert not getattr(tg.root(lambda x, a: x**2 - a, 1.0, tg.tensor(2.0)), "requires_grad", False)


def test_single_precision_stays() -> None:
    a = tg.tensor(np.float32(2.0))
    x = tg.root(lambda x, a: x**2 - a, np.float32(1.0), a)
    x.backward()
    assert (x.dtype, a.grad.dtype) == (np.float32, np.float32)
    assert np.isclose(a.grad, 0.5 / np.sqrt(2), rtol=1e-5)


def test_nothing_depends_on_where_it_began() -> None:
    x0 = tg.tensor(1.0)
    a = tg.tensor(2.0)
    tg.root(lambda x, a: x**2 - a, x0, a).backward()
    assert x0.grad is None


def test_parameters_written_to_after_the_call_count_as_they_were() -> None:
    a = tg.tensor(2.0)
    x = tg.root(lambda x, a: x**2 - a, 1.0, a)
    with tg.no_grad():
        a *= 3.0
    x.backward()
    assert close(a.grad, 0.5 / np.sqrt(2))


def test_a_tensor_that_it_closes_over_and_that_was_written_to_is_found_out() -> None:
    w = tg.tensor(2.0)
    x = tg.root(lambda x: x**2 * w - 1.0, 1.0)
    with tg.no_grad():
        w *= 3.0
    with pytest.raises(ChangedDataError):
        x.backward()


# -------------------------------- solvers


@pytest.mark.parametrize("name", ["root", "fsolve", "newton_krylov", "with the jacobian", "full output"])
def test_scipys_solvers_serve_as_they_are(name: str) -> None:
    optimize = scipy.optimize
    solver = {
        "with the jacobian": lambda f, x: optimize.root(f, x, jac=f.jacobian, tol=1e-10),
        "full output": lambda f, x: optimize.fsolve(f, x, full_output=True, xtol=1e-10),
        "fsolve": lambda f, x: optimize.fsolve(f, x, xtol=1e-10),
        "root": lambda f, x: optimize.root(f, x, tol=1e-10),
        "newton_krylov": lambda f, x: optimize.newton_krylov(f, x, f_tol=1e-10),
    }[name]
    a = np.array([2.0, 5.0])

    def f(a: Any) -> Any:
        x = tg.root(lambda x, a: {"u": x["u"] ** 3 - a}, {"u": np.array([1.0, 2.0])}, a, solver=solver)
        return np.sum(x["u"])

    assert np.allclose(tg.grad(f)(a), a ** (-2 / 3) / 3, rtol=1e-8)  # The solvers are asked for 10 digits.


def test_scipys_fixed_point_serves_as_it_is() -> None:
    solver = scipy.optimize.fixed_point
    f = lambda a: tg.fixed_point(lambda x, a: np.cos(x) * a, 0.5, a, solver=lambda f, x: solver(f, x, xtol=1e-14))  # noqa: E731
    x = f(0.5)
    assert close(tg.grad(f)(0.5), np.cos(x) / (1 + 0.5 * np.sin(x)))


def test_a_solver_gets_plain_vectors_of_float64() -> None:
    seen = []

    def solver(function: Any, start: Any) -> Any:
        seen.extend([start, function(start), function.jacobian(start)])
        return np.array([2.0**0.5, 3.0, 1.0])

    x = tg.root(
        lambda x, a: (x[0] ** 2 - a, x[1] - (3 + 1j)),
        (np.float32(1.0), 1j),
        tg.tensor(2.0),
        solver=solver,
        tolerance=1e-6,
    )
    assert [(type(v), v.dtype, v.shape) for v in seen] == [(np.ndarray, np.float64, s) for s in [(3,), (3,), (3, 3)]]
    assert np.array_equal(seen[2], np.diag([2.0, 1.0, 1.0]))
    assert (x[0].dtype, x[1].dtype) == (np.float32, np.complex128)


@pytest.mark.parametrize("name", ["gmres", "bicgstab", "own"])
def test_a_linear_solver_of_ones_own_is_used(name: str) -> None:
    linalg = scipy.sparse.linalg
    used = []

    def linear_solver(a: Any, b: Any) -> Any:
        used.append(a.shape)
        if name == "own":
            return np.linalg.solve(np.stack([a.matvec(e) for e in np.eye(b.size)], axis=1), b)
        return getattr(linalg, name)(a, b, rtol=1e-14)

    f = lambda b: np.sum(tg.fixed_point(layer, np.zeros(2), W, b, linear_solver=linear_solver) ** 2)  # noqa: E731
    g = lambda b: np.sum(unrolled(layer, np.zeros(2), W, b) ** 2)  # noqa: E731
    assert close(tg.grad(f)(B), tg.grad(g)(B))
    assert close(tg.hessian(f)(B), tg.hessian(g)(B))
    assert set(used) == {(2, 2)}


def pressed(u: Any, a: Any) -> Any:
    """A stiffened string under load, of as many unknowns as there are elements in ``a``."""
    z = np.zeros(1)
    v = np.concatenate([z, u, z])
    return 2.5 * u - v[2:] - v[:-2] + u**3 - a


@pytest.mark.parametrize("with_scipy", [True, False])
def test_many_unknowns(with_scipy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_scipy:
        monkeypatch.setattr(solvers, "_scipy", lambda _module: None)
    n = 200
    assert n > solvers.DENSE
    a = np.linspace(1, 2, n)
    g = tg.grad(lambda a: np.sum(tg.root(pressed, np.zeros(n), a) ** 2))(a)
    u = tg.root(pressed, np.zeros(n), a)
    jacobian = np.diag(2.5 + 3 * u**2) - np.eye(n, k=1) - np.eye(n, k=-1)
    assert np.allclose(g, np.linalg.solve(jacobian.T, 2 * u), rtol=1e-8)  # GMRES is taken at 9 digits and more.


def test_gmres_needs_fewer_sweeps_than_a_matrix() -> None:
    products = 0
    linalg = scipy.sparse.linalg

    def counted(a: Any, b: Any) -> Any:
        def matvec(v: Any) -> Any:
            nonlocal products
            products += 1
            return a.matvec(v)

        return linalg.gmres(linalg.LinearOperator(a.shape, matvec, dtype=a.dtype), b, rtol=1e-12, restart=100)

    n = 500
    tg.grad(
        lambda a: np.sum(tg.fixed_point(lambda x, a: 0.1 * np.roll(x, 1) + a, np.zeros(n), a, linear_solver=counted))
    )(np.ones(n))
    assert products < 50


# -------------------------------- what can't be


@pytest.mark.parametrize(
    ("residual", "x0", "message"),
    [
        (lambda x: x**2 + 1, 1.3, r"no root found.*residual is 1\b.*begin elsewhere, or pass solver="),
        (lambda x: x**2 + 1, 0.0, r"singular .* at a point that Newton's method came to.*perhaps there is no root"),
        (lambda x: 0 * x + 1, 0.0, r"singular .* at a point that Newton's method came to.*perhaps there is no root"),
        (lambda x: np.stack([x[0] + x[1], x[0] + x[1] - 1]), np.ones(2), r"singular .* came to"),
        (np.exp, 0.0, r"no root found in 100 steps.*max \|x\| = 100 .*the last step, 1, .*max_iterations"),
        (lambda x: x - 0.5 * x**2 * np.sign(x), 1.0, r"singular .* came to"),
    ],
)
def test_an_equation_whose_root_is_not_found_says_why_and_what_to_try(residual: Any, x0: Any, message: str) -> None:
    with pytest.raises(ConvergenceError, match=f"^root: .*{message}"):
        tg.root(residual, x0)


def test_an_iteration_that_goes_on_names_iterations_change_and_tolerance() -> None:
    with pytest.raises(
        ConvergenceError, match=r"in 20 iterations: the last one changed x.* by 2\.4, .* the tolerance, 1\.0e-06"
    ):
        tg.fixed_point(lambda x: 1.0 - x, 0.2 - 0.9, max_iterations=20, tolerance=1e-6)
    with pytest.raises(ConvergenceError, match="iterations"):
        tg.fixed_point(lambda x: 2 * x + 1, 1.0)


@pytest.mark.parametrize("n", [1, 100])
def test_a_singular_jacobian_is_named(n: int) -> None:
    a = tg.tensor(np.zeros(n))
    x = tg.root(lambda x, a: x**2 - a, np.zeros(n), a)
    with pytest.raises(ConvergenceError, match=r"singular .*at the solution, which is no differentiable function"):
        np.sum(x).backward()
    assert a.grad is None


def test_a_solver_that_failed_is_believed() -> None:
    optimize = scipy.optimize
    with pytest.raises(ConvergenceError, match="the solver didn't converge"):
        tg.root(lambda x: x**2 + 1, np.array([1.0]), solver=optimize.root)
    with pytest.raises(ConvergenceError, match="the residual is"):
        tg.root(lambda x: x**2 - 2, np.array([1.0]), solver=lambda _f, x: x)
    with pytest.raises(ArgumentError, match="2 numbers for 1"):
        tg.root(lambda x: x**2 - 2, np.array([1.0]), solver=lambda _f, x: np.ones(2))
    with pytest.raises(ConvergenceError, match="info=7"):
        tg.grad(lambda a: tg.root(lambda x, a: x - a, 1.0, a, linear_solver=lambda _a, b: (b, 7)))(1.0)


@pytest.mark.parametrize(
    ("function", "x0", "error"),
    [
        (lambda x: np.array([1.0, 2.0]) * x, 1.0, ShapeError),
        (lambda x: (x, x), 1.0, ArgumentError),
        (lambda x: x - 1j, 1.0, DTypeError),
        (lambda x: x, 3, DTypeError),
        (lambda x: x, {"a": np.arange(3)}, DTypeError),
    ],
)
def test_what_isnt_as_the_unknowns_is_refused(function: Any, x0: Any, error: Any) -> None:
    for solve in (tg.root, tg.fixed_point):
        with pytest.raises(error):
            solve(function, x0)


def test_an_exception_in_the_function_passes_unchanged() -> None:
    error = ValueError("mine")

    def f(_x: Any, _a: Any) -> Any:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        tg.root(f, 1.0, tg.tensor(1.0))
    assert caught.value is error


def test_threads() -> None:
    w = tg.tensor(W)
    found: dict[int, Any] = {}

    def work(i: int) -> None:
        f = lambda b: np.sum(tg.fixed_point(lambda s, b: np.tanh(w @ s + b), np.zeros(2), b) * i)  # noqa: E731
        found[i] = tg.grad(f)(B).numpy()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        assert close(found[i], i * found[1])


def test_a_start_where_the_residual_is_nan_raises():
    with np.errstate(all="ignore"), pytest.raises(ConvergenceError, match="residual is nan"):
        tg.root(lambda x, a: np.log(x) - a, -1.0, 2.0)


def test_an_equation_that_was_changed_after_the_call_is_found_out():
    power, a = [1.0], tg.tensor(3.0)
    x = tg.root(lambda x, a: x**2 - a ** power[0], 1.0, a)
    power[0] = 2.0
    with pytest.raises(ChangedDataError, match="root"):
        x.backward()
    assert a.grad is None
