"""Solvers of equations between containers of arrays, on vectors of float64: linear ones, Newton's, iteration.

A complex number counts as two real ones: derivatives here are real-linear, and so need no more.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, ConvergenceError
from tapegrad.shapes import Spec
from tapegrad.tensor import Tensor

Vector = Any
Solver = Callable[..., Any]

DENSE = 64  # unknowns: up to here a matrix is built, by as many sweeps as a Krylov method may need
MOST_DENSE = 2048  # unknowns: up to here it is built where no Krylov method is at hand, or it fails


class Vectors:
    """Lists of arrays of fixed shapes and dtypes, as vectors."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self.specs = specs
        self.sizes = [spec.size * (2 if spec.dtype.kind == "c" else 1) for spec in specs]
        self.size = sum(self.sizes)
        self.eps = max((float(np.finfo(spec.dtype).eps) for spec in specs), default=2.0**-52)

    def vector(self, leaves: Sequence[Any]) -> Vector:
        """One vector of all the leaves; 0 for a leaf that is None."""
        parts: list[Any] = []
        for leaf, spec, size in zip(leaves, self.specs, self.sizes, strict=True):
            value = leaf._value if type(leaf) is Tensor else leaf
            flat = np.zeros(size) if value is None else np.reshape(value, -1)
            parts += [flat.real, flat.imag] if spec.dtype.kind == "c" and value is not None else [flat]
        return np.concatenate(parts, dtype=np.float64) if parts else np.zeros(0)

    def leaves(self, vector: Vector) -> list[Any]:
        """The arrays of a vector; scalars, of those of no axes."""
        leaves, start = [], 0
        for spec, size in zip(self.specs, self.sizes, strict=True):
            part = vector[start : start + size]
            start += size
            if spec.dtype.kind == "c":
                part = part[: spec.size] + 1j * part[spec.size :]
            leaves.append(part.reshape(spec.shape).astype(spec.dtype)[()])
        return leaves


class Operator:
    """A square matrix of which only the product with a vector is known: for solvers when SciPy isn't there."""

    def __init__(self, matvec: Callable[[Vector], Vector], n: int) -> None:
        self.matvec, self.shape, self.dtype = matvec, (n, n), np.dtype(np.float64)

    def __matmul__(self, vector: Vector) -> Vector:
        return self.matvec(vector)


# What follows where the Jacobian is singular: at a root, and on the way to one.
NO_DERIVATIVE = "at the solution, which is no differentiable function of the parameters there"
NO_STEP = (
    "at a point that Newton's method came to: perhaps there is no root near by, or a multiple one; "
    "begin elsewhere, or pass solver="
)


def solved(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    eps: float,
    name: str,
    linear_solver: Solver | None,
    if_singular: str = NO_DERIVATIVE,
) -> Vector:
    """The x with ``matvec(x) = b``.

    linear_solver : ``linear_solver(A, b)``, which returns x or (x, info) as SciPy's do; None: a matrix for up
        to DENSE unknowns, else SciPy's GMRES, and a matrix where that fails or isn't there
    if_singular : where that is, and what follows, for the error
    Raises ConvergenceError where it can't be solved.
    """
    n = b.size
    if not b.any():
        return np.zeros(n)
    if linear_solver is not None:
        return _by_users(linear_solver, matvec, b, name)
    linalg = None if n <= DENSE else _scipy("scipy.sparse.linalg")
    if linalg is not None:
        x = _by_gmres(linalg, matvec, b, eps)
        if x is not None:
            return x
    if n > MOST_DENSE:
        why = "GMRES didn't solve it" if linalg else "SciPy, whose GMRES would be used, isn't installed"
        raise ConvergenceError(
            f"{name}: a linear equation of {n} unknowns: {why}; pass linear_solver=, a function of (A, b)"
        )
    matrix = np.stack([matvec(unit) for unit in np.eye(n)], axis=1)
    return solved_dense(matrix, b, eps, name, if_singular)


def solved_dense(matrix: Any, b: Vector, eps: float, name: str, if_singular: str = NO_DERIVATIVE) -> Vector:
    """The x with ``matrix @ x = b``; ConvergenceError where the matrix is singular."""
    if not np.isfinite(matrix).all():
        raise ConvergenceError(f"{name}: the Jacobian isn't finite {if_singular}")
    singular = np.linalg.svd(matrix, compute_uv=False)
    if singular[-1] <= eps * singular[0]:
        raise ConvergenceError(
            f"{name}: the Jacobian is singular (singular values from {singular[-1]:.1e} to {singular[0]:.1e}) "
            f"{if_singular}"
        )
    return np.linalg.solve(matrix, b)


def _by_users(linear_solver: Solver, matvec: Callable[[Vector], Vector], b: Vector, name: str) -> Vector:
    linalg = _scipy("scipy.sparse.linalg")
    n = b.size
    operator = linalg.LinearOperator((n, n), matvec, dtype=np.float64) if linalg else Operator(matvec, n)
    x = linear_solver(operator, b)
    if type(x) is tuple:
        x, info = x[:2]
        if info:
            raise ConvergenceError(f"{name}: linear_solver didn't converge: it returned info={info!r}")
    x = np.asarray(x, np.float64).reshape(-1)
    if x.shape != (n,):
        raise ArgumentError(f"{name}: linear_solver returned {x.size} numbers for {n} unknowns")
    return x


def _by_gmres(linalg: Any, matvec: Callable[[Vector], Vector], b: Vector, eps: float) -> Vector | None:
    """By GMRES, refined once; None where it isn't solved to half the digits and more."""
    operator = linalg.LinearOperator((b.size, b.size), matvec, dtype=np.float64)
    named = "rtol" if "rtol" in inspect.signature(linalg.gmres).parameters else "tol"
    # Where a matrix could be built by n products, no more of them than that.
    restart = min(b.size, 150)
    cycles = b.size // restart if b.size <= MOST_DENSE else 20
    x, left, enough = np.zeros(b.size), b, eps**0.6 * np.linalg.norm(b)
    for _ in range(2):
        step, _info = linalg.gmres(operator, left, restart=restart, maxiter=cycles, atol=0.0, **{named: 64 * eps})
        x = x + step
        left = b - matvec(x)
        if np.linalg.norm(left) > enough:
            return None
    return x


def _scipy(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def by_newton(
    function: Callable[[Vector], Vector],
    step: Callable[[Vector, Vector], Vector],
    x: Vector,
    eps: float,
    name: str,
    tolerance: float | None,
    most: int,
) -> Vector:
    """A root of ``function`` by Newton's method, halving steps that don't bring it closer.

    step : of x and function(x) to the solution dx of J dx = -function(x)
    tolerance : how small a step, relative to 1 + max |x|, counts as the last; None: eps ** 0.75
    Raises ConvergenceError after ``most`` steps.
    """
    tolerance = eps**0.75 if tolerance is None else tolerance
    value = function(x)
    if not np.isfinite(value).all():
        raise ConvergenceError(f"{name}: at x0 the residual is {_largest(value)}; begin where it is finite")
    size = 0.0
    for _ in range(most):
        if not value.any():
            return x
        dx = step(x, value)
        if not np.isfinite(dx).all():
            return _stuck(name, value)
        size, scale = _largest(dx), 1 + _largest(x)
        shrink = 1.0
        while True:
            new = x + shrink * dx
            there = function(new)
            if np.linalg.norm(there) < np.linalg.norm(value):
                break
            if size * shrink <= max(tolerance, 64 * eps) * scale:
                return x if size <= eps**0.5 * scale else _stuck(name, value)
            shrink /= 2
        x, value = new, there
        if shrink == 1 and size <= tolerance * scale:
            return x
    raise ConvergenceError(
        f"{name}: no root found in {most} steps of Newton's method: at max |x| = {_largest(x):.3g} the residual is "
        f"{_largest(value):.3g}, and the last step, {size:.3g}, isn't below the tolerance, {tolerance:.1e} "
        f"(1 + max |x|); begin nearer by, raise max_iterations, or pass solver="
    )


def _stuck(name: str, value: Vector) -> Vector:
    raise ConvergenceError(
        f"{name}: no root found: the residual is {_largest(value):.3g}, and no step of Newton's method makes it "
        f"smaller; perhaps there is no root near by: begin elsewhere, or pass solver="
    )


def by_iteration(
    function: Callable[[Vector], Vector], x: Vector, eps: float, name: str, tolerance: float | None, most: int
) -> Vector:
    """A fixed point of ``function``, by applying it until it changes no element by more than the tolerance.

    tolerance : relative to 1 + max |x|; None: eps ** 0.8
    Raises ConvergenceError after ``most`` iterations.
    """
    tolerance = eps**0.8 if tolerance is None else tolerance
    change = np.zeros(0)
    for done in range(most):
        new = function(x)
        change = new - x
        x = new
        if _largest(change) <= tolerance * (1 + _largest(x)):
            return x
        if not np.isfinite(x).all():
            most = done + 1
            break
    raise ConvergenceError(
        f"{name}: no fixed point found in {most} iterations: the last one changed x, max |x| = {_largest(x):.3g}, by "
        f"{_largest(change):.3g}, which isn't below the tolerance, {tolerance:.1e} (1 + max |x|); "
        f"is the function a contraction there? Begin nearer by, raise max_iterations, or pass solver="
    )


def _largest(x: Vector) -> float:
    return float(np.max(np.absolute(x), initial=0.0))


def by_users(solver: Solver, function: Any, x: Vector, name: str) -> Vector:
    """What a solver of the user's found: an array, a tuple that begins with it, or an object with it as ``x``."""
    result = solver(function, x)
    if getattr(result, "success", True) is False or getattr(result, "converged", True) is False:
        raise ConvergenceError(f"{name}: the solver didn't converge: {getattr(result, 'message', result)}")
    found = getattr(result, "x", result[0] if type(result) is tuple else result)
    found = np.asarray(found, np.float64).reshape(-1)
    if found.shape != x.shape:
        raise ArgumentError(f"{name}: the solver returned {found.size} numbers for {x.size} unknowns")
    if not np.isfinite(found).all():
        raise ConvergenceError(f"{name}: the solver returned numbers that aren't finite")
    return found
