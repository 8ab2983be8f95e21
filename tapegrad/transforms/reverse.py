"""Derivatives by one sweep back: ``grad``, ``value_and_grad``, ``elementwise_grad``, ``vjp``."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tapegrad.containers import paths
from tapegrad.errors import ArgumentError, DTypeError
from tapegrad.shapes import seed_like
from tapegrad.tensor import Tensor
from tapegrad.transforms.arguments import Argnums, Chosen, require_callable
from tapegrad.transforms.runs import Run, shown


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the gradient of ``f``, a function of anything to one real number.

    f : of containers of floating or complex arrays, and whatever else, to an array of one real element
    argnums : which of the positional arguments to differentiate by, counted from 0, or from the end if
        negative; of a tuple, the gradient is a tuple. Keyword arguments are never differentiated.
    has_aux : ``f`` returns (value, aux), and the result is (gradient, aux)
    Returns a function with the arguments of ``f``, which is given Python floats as float64. Its result has the
    containers, shapes and dtypes of the arguments; it consists of plain arrays, or of Tensors where an argument, or
    something that ``f`` closes over, records (for an outer derivative, say). No ``.grad`` is touched.
    Raises DTypeError where an argument isn't floating (pass 3.0, not 3), ArgumentError where the result
    of ``f`` isn't one real number.

    >>> import numpy as np, tapegrad as tg
    >>> tg.grad(lambda p: np.sum(p["w"] ** 2) * p["b"])({"w": np.array([1.0, 2.0]), "b": 3.0})
    {'w': array([ 6., 12.]), 'b': 5.0}
    >>> tg.grad(tg.grad(lambda x: x**3))(2.0)
    12.0

    Griewank & Walther 2008, chapter 3.
    """
    derivative = gradient_of("grad", f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        run, result = derivative(args, kwargs)
        return (result, run.aux()) if has_aux else result

    return gradient


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives (value, gradient) of ``f``; see ``grad``.

    has_aux : ``f`` returns (value, aux), and the result is ((value, aux), gradient)

    >>> import numpy as np, tapegrad as tg
    >>> tg.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """
    derivative = gradient_of("value_and_grad", f, argnums, has_aux)

    @functools.wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        run, result = derivative(args, kwargs)
        return ((run.value(), run.aux()) if has_aux else run.value()), result

    return value_and_gradient


def gradient_of(
    name: str, f: Callable[..., Any], argnums: Argnums, has_aux: bool
) -> Callable[[Sequence[Any], dict[str, Any]], tuple[Run, Any]]:
    """``grad`` for a transform of this name: of args and kwargs to the run and the gradient."""
    require_callable(name, f)
    choose = Chosen(name, argnums)

    def derivative(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Run, Any]:
        run = Run(name, f, args, kwargs, choose(args), has_aux)
        return run, gathered(run, [one_real(run)], choose)

    return derivative


def gathered(run: Run, seeds: Sequence[Any], choose: Chosen) -> Any:
    """One sweep back from a run, which isn't needed afterwards: the cotangents as the chosen arguments are."""
    lift = run.lift(())
    results = run.inputs.results(run.pulled(seeds, lift), lift is not None)
    return results[0] if choose.single else results


def one_real(run: Run) -> Any:
    """The seed of a gradient; ArgumentError where the output isn't one real number."""
    if run.structure is not None or run.specs[0].size != 1:
        what = (
            f"returned {shown(run.outs[0])}" if run.structure is None else f"returned a {run.structure.kind.__name__}"
        )
        raise ArgumentError(
            f"{run.name}: the function {what}; a gradient is that of one real number: sum it, or see "
            f"vjp, jacobian, or elementwise_grad (what else is to come out is returned as aux, with has_aux=True)"
        )
    if run.specs[0].dtype.kind == "c":
        raise ArgumentError(
            f"{run.name}: the function returned a complex number, which has no gradient by itself; take the real part "
            f"of it, its abs, or see vjp and jvp"
        )
    return _ones(run.outs[0])


def _ones(out: Any) -> Any:
    return seed_like(out._value) if type(out) is Tensor else None


def elementwise_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that gives the derivative of ``f``, an elementwise function, at each element.

    It is the gradient of the sum of what ``f`` returns: of a function that isn't elementwise, the sums of the
    Jacobian's columns.

    f : of real floating arrays to one real array
    argnums : as of ``grad``
    Returns a function with the arguments of ``f``; what it returns has their shapes and dtypes.
    Raises DTypeError for complex arguments and results (see ``vjp`` and ``jvp``), ArgumentError
    where ``f`` returns a container.

    >>> import numpy as np, tapegrad as tg
    >>> tg.elementwise_grad(lambda x: x**3)(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    require_callable("elementwise_grad", f)
    choose = Chosen("elementwise_grad", argnums)

    @functools.wraps(f)
    def derivative(*args: Any, **kwargs: Any) -> Any:
        run = Run("elementwise_grad", f, args, kwargs, choose(args))
        require_real(run)
        if run.structure is not None:
            raise ArgumentError(
                f"elementwise_grad: the function returned a {run.structure.kind.__name__}; an array is expected"
            )
        return gathered(run, [_ones(run.outs[0])], choose)

    return derivative


def require_real(run: Run) -> None:
    """Raise DTypeError where an input or an output is complex: its derivative is no matrix of complex numbers."""
    outs = paths(run.structure, "the function's result")
    places = [(leaf.spec, place) for leaf, place in zip(run.inputs.leaves, run.inputs.places(), strict=True)]
    for spec, place in [*places, *zip(run.specs, outs, strict=True)]:
        if spec.dtype.kind == "c":
            raise DTypeError(
                f"{run.name}: {place} is complex; the derivative of what needn't be holomorphic is no complex matrix: "
                f"use vjp or jvp"
            )


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of ``f``, and the function that multiplies cotangents with its Jacobian from the left.

    f : of containers of floating or complex arrays to a container of arrays
    primals : its arguments, all of which are differentiated
    has_aux : ``f`` returns (value, aux), and aux comes third
    Returns (out, pullback). ``pullback(g)`` takes a cotangent with the containers and shapes of ``out``, of dtypes that
    cast to its dtypes, and returns a tuple with one for each primal. It may be called any number of times.
    Of complex numbers, the pullback is the adjoint under the real inner product Re<a, b>.
    Raises DTypeError, ShapeError or ArgumentError for primals and cotangents that don't fit.

    >>> import numpy as np, tapegrad as tg
    >>> out, pullback = tg.vjp(lambda a, x: a @ x, np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    >>> out
    array([3., 7.])
    >>> pullback(np.array([1.0, 0.0]))
    (array([[1., 1.],
           [0., 0.]]), array([1., 2.]))

    Griewank & Walther 2008, chapter 3.
    """
    require_callable("vjp", f)
    run = Run("vjp", f, primals, {}, range(len(primals)), has_aux)

    def pullback(g: Any) -> Any:
        """The cotangents of the primals, a tuple, given that of the output."""
        seeds = run.seeds_like(g, "the cotangent")
        lift = run.lift(seeds)
        return run.inputs.results(run.pulled(seeds, lift, keep=True), lift is not None)

    return (run.value(), pullback, run.aux()) if has_aux else (run.value(), pullback)
