"""Functions given implicitly: ``root`` and ``fixed_point``, differentiated by the implicit function theorem.

At a root, F(x, p) = 0 and so dx = -F_x^-1 F_p dp. The cotangent of p is F_p^T l, where l is the solution of
F_x^T l + g = 0. That is itself a root, of a function that is linear in l; so where the sweep records itself, l is
recorded as one, a function of x, p and g given implicitly, and every order follows.

Griewank & Walther 2008, chapter 15; Blondel et al. 2022, https://arxiv.org/abs/2105.15183.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.containers import leaves_like, leaves_of, paths, rebuilt
from tapegrad.dispatch import callers_line, make
from tapegrad.errors import ChangedDataError, ConvergenceError, DTypeError, ShapeError
from tapegrad.kinds import name_of
from tapegrad.recording import STATE, no_grad
from tapegrad.shapes import cast, spec_of
from tapegrad.tensor import Tensor, lifted
from tapegrad.transforms.arguments import require_callable
from tapegrad.transforms.forward import linearize
from tapegrad.transforms.leaves import made_of, remade, require_differentiable
from tapegrad.transforms.memory.checkpointing import Call, recorded
from tapegrad.transforms.memory.reruns import Captured, Rerun, Trace, mode_of, sample
from tapegrad.transforms.runs import held
from tapegrad.transforms.solvers import (
    DENSE,
    NO_STEP,
    Solver,
    Vectors,
    by_iteration,
    by_newton,
    by_users,
    solved,
    solved_dense,
)

Leaves = list[Any]
Equation = Callable[[Leaves, Leaves], Leaves]  # of the unknowns and the parameters to what is to be 0


def root(
    residual: Callable[..., Any],
    x0: Any,
    *params: Any,
    solver: Solver | None = None,
    linear_solver: Solver | None = None,
    tolerance: float | None = None,
    max_iterations: int = 100,
) -> Any:
    """The x with ``residual(x, *params) = 0``, a differentiable function of the params.

    residual : of x and the params, containers of anything, to a container as x; it may close over tensors, too
    x0 : where to begin: a container of floating or complex arrays; the result doesn't depend on it smoothly
    solver : ``solver(function, start)`` on plain float64 vectors; ``function(x)`` is the residual, and
        ``function.jacobian(x)`` its derivative, shape (n, n). Returns an array, a tuple that begins with it, or an
        object with it as ``x``: so that ``scipy.optimize.root``, ``fsolve`` and ``newton_krylov`` serve as they are.
        Of a complex number, the real and the imaginary part are two unknowns. None: Newton's method, damped.
    linear_solver : ``linear_solver(A, b)`` for the derivatives; A is a ``scipy.sparse.linalg.LinearOperator`` (an
        object with ``matvec``, ``shape`` and ``dtype`` where SciPy isn't installed), whose products are sweeps
        back. Returns x or (x, info), as ``scipy.sparse.linalg.gmres``. None: a matrix for up to 64 unknowns, else GMRES
        if SciPy is installed, and a matrix for up to 2048 unknowns where it isn't, or fails
    tolerance : of Newton's method: how small a last step is, relative to 1 + max |x|; None: eps ** 0.75.
        Of another solver: how large the residual may be; None: sqrt(eps), relative to that at x0, max |x|, and 1
    max_iterations : of Newton's method
    Returns x, in the containers of x0, of tensors where anything records.
    Raises ConvergenceError where no root is found, or the Jacobian is singular there; ShapeError and DTypeError where
    the residual isn't as x.

    >>> import numpy as np, tapegrad as tg
    >>> a = tg.tensor(2.0)
    >>> x = tg.root(lambda x, a: x**2 - a, 1.0, a)
    >>> x.backward()
    >>> np.isclose(x.item(), 2**0.5), np.isclose(a.grad, 0.5 / 2**0.5)
    (np.True_, np.True_)
    """
    problem = _Problem("root", residual, x0, params, linear_solver)

    def by_newtons_method(start: Any) -> Any:
        return by_newton(
            problem, problem.newton_step, start, problem.vectors.eps, problem.name, tolerance, max_iterations
        )

    return problem.solution(by_newtons_method if solver is None else None, solver, tolerance)


def fixed_point(
    f: Callable[..., Any],
    x0: Any,
    *params: Any,
    solver: Solver | None = None,
    linear_solver: Solver | None = None,
    tolerance: float | None = None,
    max_iterations: int = 1000,
) -> Any:
    """The x with ``x = f(x, *params)``, a differentiable function of the params.

    f : of x and the params, containers of anything, to a container as x; it may close over tensors, too
    solver : as of ``root``, with f itself for the function: ``scipy.optimize.fixed_point`` serves as it is.
        None: f is applied again and again, which is to be a contraction
    tolerance : how little the last application changes, relative to 1 + max |x|; None: eps ** 0.8.
        Of another solver: as of ``root``
    x0, linear_solver, max_iterations, and what is returned and raised : as of ``root``

    >>> import numpy as np, tapegrad as tg
    >>> a = tg.tensor(0.5)
    >>> x = tg.fixed_point(lambda x, a: a * np.cos(x), 0.0, a)
    >>> x.backward()
    >>> np.isclose(a.grad, np.cos(x.item()) / (1 + 0.5 * np.sin(x.item())))
    np.True_
    """
    problem = _Problem("fixed_point", f, x0, params, linear_solver)

    def by_applying_it(start: Any) -> Any:
        return by_iteration(problem.applied, start, problem.vectors.eps, problem.name, tolerance, max_iterations)

    return problem.solution(by_applying_it if solver is None else None, solver, tolerance)


class _Problem:
    """An equation of the user's: a function of vectors, for solvers, and one of leaves, for derivatives."""

    def __init__(
        self, kind: str, function: Callable[..., Any], x0: Any, params: Sequence[Any], linear_solver: Solver | None
    ) -> None:
        require_callable(kind, function)
        self.kind, self.function, self.linear_solver = kind, function, linear_solver
        self.name = f"{kind}: {name_of(function)}"
        leaves, self.structure = leaves_of(x0)
        for i, leaf in enumerate(leaves):
            require_differentiable(kind, leaf, lambda i=i: paths(self.structure, "x0")[i])  # type: ignore[misc]
        self.made = [made_of(leaf) for leaf in leaves]
        self.tensors = any(type(leaf) is Tensor for leaf in leaves)
        self.start = [leaf._value if type(leaf) is Tensor else np.array(leaf) for leaf in leaves]
        self.vectors = Vectors([spec_of(value) for value in self.start])
        self.call = Call(function, params, {}, self.name)
        self.given = self.call.recording
        self.values = [tensor._value for tensor in self.given]

    def equation(self, unknowns: Leaves, parameters: Leaves) -> Leaves:
        """What is to be 0."""
        outs = self._outs(unknowns, parameters)
        return outs if self.kind == "root" else [out - x for out, x in zip(outs, unknowns, strict=True)]

    def _outs(self, unknowns: Leaves, parameters: Leaves) -> Leaves:
        out = self.function(rebuilt(self.structure, unknowns), *self.call.arguments_with(parameters))
        outs = leaves_like(self.structure, out, self.name, "the function's result")
        for i, (leaf, spec) in enumerate(zip(outs, self.vectors.specs, strict=True)):
            if type(leaf) is not Tensor:
                leaf = np.asarray(leaf)[()]
            if leaf.shape != spec.shape:
                place = paths(self.structure, "result")[i]
                raise ShapeError(f"{self.name}: its {place} has shape {leaf.shape}; x has {spec.shape} there")
            if not np.can_cast(leaf.dtype, spec.dtype, "same_kind"):
                place = paths(self.structure, "result")[i]
                raise DTypeError(f"{self.name}: its {place} is {leaf.dtype}, which doesn't cast to x's {spec.dtype}")
            outs[i] = cast(leaf, spec.dtype) if leaf.dtype != spec.dtype else leaf
        return outs

    # -------------------------------- for solvers

    def __call__(self, vector: Any) -> Any:
        """What is to be 0, as a vector of one."""
        return self._on_vectors(self.equation, vector)

    def applied(self, vector: Any) -> Any:
        """The user's function, as one of vectors."""
        return self._on_vectors(self._outs, vector)

    def _on_vectors(self, equation: Equation, vector: Any) -> Any:
        vector = np.asarray(vector, np.float64).reshape(-1)
        with no_grad():
            return self.vectors.vector(equation(self.vectors.leaves(vector), [np.asarray(v)[()] for v in self.values]))

    def jacobian(self, vector: Any) -> Any:
        """The derivative of the vector function, shape (n, n); row by row, by sweeps back."""
        trace = _traced(self.equation, self.vectors.leaves(np.asarray(vector, np.float64).reshape(-1)), self.values)
        product = _transposed(trace, self.name, self.vectors)
        rows = [product(unit) for unit in np.eye(self.vectors.size)]
        return np.stack(rows) if rows else np.zeros((0, 0))

    def newton_step(self, vector: Any, value: Any) -> Any:
        """The solution dx of J dx = -value."""
        if self.vectors.size <= DENSE:
            return solved_dense(self.jacobian(vector), -value, self.vectors.eps, self.name, NO_STEP)
        with no_grad():  # So that plain arrays come out, whatever the function closes over.
            _out, product = linearize(lambda xs: self.equation(xs, list(self.values)), self.vectors.leaves(vector))

            def matvec(v: Any) -> Any:
                return self.vectors.vector(product(self.vectors.leaves(v.reshape(-1))))

            return solved(matvec, -value, self.vectors.eps, self.name, self.linear_solver, NO_STEP)

    def solution(self, ours: Callable[[Any], Any] | None, solver: Solver | None, tolerance: float | None) -> Any:
        """x, by our method or the user's, recorded where anything is to be differentiated by."""
        start = self.vectors.vector(self.start)
        if ours is not None:
            vector = ours(start)
        elif solver is not None:
            vector = by_users(solver, self if self.kind == "root" else _Applied(self), start.copy(), self.name)
            self._require_solved(vector, start, tolerance)
        parameters, self.given = self.given, []
        self.call.forget_tensors()  # What the tape keeps of the problem holds values only.
        leaves = given(self.equation, self.vectors.leaves(vector), parameters, self.name, self.linear_solver)
        if self.tensors:
            leaves = [leaf if type(leaf) is Tensor else make(leaf, None) for leaf in leaves]
        elif not any(type(leaf) is Tensor for leaf in leaves):
            leaves = [remade(np.asarray(leaf), made) for leaf, made in zip(leaves, self.made, strict=True)]
        return rebuilt(self.structure, leaves)

    def _require_solved(self, vector: Any, start: Any, tolerance: float | None) -> None:
        left = np.max(np.absolute(self(vector)), initial=0.0)
        if tolerance is None:
            scale = max(1.0, np.max(np.absolute(vector), initial=0.0), np.max(np.absolute(self(start)), initial=0.0))
            tolerance = math.sqrt(self.vectors.eps) * float(scale)
        if not left <= tolerance:
            raise ConvergenceError(
                f"{self.name}: the solver returned an x where the residual is {left:.3e}; the tolerance "
                f"is {tolerance:.1e}"
            )


class _Applied:
    """The function of a fixed point, for a solver of the user's."""

    def __init__(self, problem: _Problem) -> None:
        self.problem = problem

    def __call__(self, vector: Any) -> Any:
        return self.problem.applied(vector)

    def jacobian(self, vector: Any) -> Any:
        """The derivative of the function, shape (n, n)."""
        return self.problem.jacobian(vector) + np.eye(self.problem.vectors.size)


# ---------------------------------------------------------------- derivatives


def given(equation: Equation, solution: Leaves, parameters: Leaves, name: str, linear_solver: Solver | None) -> Leaves:
    """The solution as tensors: the function of the parameters, tensors, that the equation gives implicitly."""
    if not STATE.get().enabled or not solution:
        return solution
    values = [tensor._value for tensor in parameters]
    trace = _traced(equation, solution, values)
    captured = trace.look(name)
    parents = [tensor._entry for tensor in parameters] + list(captured.entries.values())
    if not parents:
        return solution
    known = Implicit(equation, len(solution), captured, name, linear_solver, trace)
    y = tuple(solution) if len(solution) > 1 else solution[0]
    return recorded(known, solution, values + captured.specs(), parents, y, callers_line())


def _traced(equation: Equation, unknowns: Leaves, parameters: Sequence[Any]) -> Trace:
    """The equation at a point, recorded."""
    n = len(unknowns)
    return Trace(lambda tensors: equation(tensors[:n], tensors[n:]), [*unknowns, *parameters])


def _transposed(trace: Trace, name: str, vectors: Vectors) -> Callable[[Any], Any]:
    """The product of the equation's transposed Jacobian by the unknowns with a vector."""
    captured = trace.look(name)

    def product(v: Any) -> Any:
        totals, _others = trace.pulled(trace.roots(vectors.leaves(v.reshape(-1))), captured, None, keep=True)
        return vectors.vector(totals[: len(vectors.specs)])

    return product


class Implicit(Rerun):
    """What the tape knows of a function given implicitly: its equation."""

    __slots__ = ("captured", "count", "equation", "linear_solver", "samples")

    def __init__(
        self,
        equation: Equation,
        count: int,
        captured: Captured,
        name: str,
        linear_solver: Solver | None,
        trace: Trace,
    ) -> None:
        super().__init__(name)
        self.equation, self.count, self.captured, self.linear_solver = equation, count, captured, linear_solver
        self.samples = [sample(_array_of(out)) for out in trace.outs]  # what is left at the solution: nearly nothing

    def _require_same(self, trace: Trace, unknowns: Leaves) -> None:
        """Raise ChangedDataError where the equation isn't what it was when it was solved."""
        self.captured.require_same(trace.look(self.name), trace.start)
        size = max((float(np.max(np.absolute(_array_of(x)), initial=0.0)) for x in unknowns), default=0.0)
        for was, out in zip(self.samples, trace.outs, strict=True):
            now = sample(_array_of(out))
            bound = math.sqrt(np.finfo(was.dtype).eps) * (1 + size + np.max(np.absolute(was), initial=0.0))
            if not np.max(np.absolute(now - was), initial=0.0) <= bound:
                raise ChangedDataError(
                    f"{self.name}: at the solution, the equation now leaves {np.max(np.absolute(now)):.3e}, and left "
                    f"{np.max(np.absolute(was)):.3e} when it was solved: something that it reads was changed since"
                )

    def pairs(self, g: Any, y: Any, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Pairs (parent, cotangent)."""
        unknowns = list(y) if type(y) is tuple else [y]
        parameters = list(operands[: len(operands) - len(self.captured.entries)])
        gs = list(g) if type(g) is tuple else [g]
        gs = [np.zeros(x.shape, x.dtype)[()] if c is None else c for c, x in zip(gs, unknowns, strict=True)]
        lift = mode_of(y, gs, lifted, held)
        trace = _traced(self.equation, unknowns, parameters)
        self._require_same(trace, unknowns)
        if lift is None:
            adjoint = self._adjoint(trace, unknowns, gs)
        else:
            adjoint = self._adjoint_given(unknowns, parameters, gs, lift)
        totals, others = trace.pulled(trace.roots(adjoint), self.captured, lift)
        totals = [*totals[self.count :], *(others.get(position) for position in self.captured.entries)]
        return ((parent, c) for parent, c in zip(wanted, totals, strict=True) if c is not None and parent is not None)

    def _adjoint(self, trace: Trace, unknowns: Leaves, gs: Leaves) -> Leaves:
        """The l with F_x^T l + g = 0."""
        vectors = Vectors([spec_of(x) for x in unknowns])
        matvec = _transposed(trace, self.name, vectors)
        return vectors.leaves(solved(matvec, -vectors.vector(gs), vectors.eps, self.name, self.linear_solver))

    def _adjoint_given(self, unknowns: Leaves, parameters: Leaves, gs: Leaves, lift: Any) -> Leaves:
        """The same as tensors, given implicitly by that equation."""
        n, m = len(unknowns), len(parameters)
        everything = [*unknowns, *parameters, *gs]
        recording = [i for i, value in enumerate(everything) if type(value) is Tensor and value._entry is not None]
        constants = [_plain(value) for value in everything]

        def transposed(adjoint: Leaves, tensors: Leaves) -> Leaves:
            values = list(constants)
            for i, tensor in zip(recording, tensors, strict=True):
                values[i] = tensor
            trace = _traced(self.equation, values[:n], values[n : n + m])
            captured = trace.look(self.name)
            totals, _others = trace.pulled(trace.roots(adjoint), captured, lift)
            return [g if total is None else total + g for total, g in zip(totals[:n], values[n + m :], strict=True)]

        trace = _traced(self.equation, constants[:n], constants[n : n + m])
        solution = self._adjoint(trace, constants[:n], constants[n + m :])
        return given(
            transposed,
            solution,
            [everything[i] for i in recording],
            f"the derivative of {self.name}",
            self.linear_solver,
        )


def _array_of(value: Any) -> Any:
    return np.asarray(value._value if type(value) is Tensor else value)


def _plain(value: Any) -> Any:
    return value._value if type(value) is Tensor else value
