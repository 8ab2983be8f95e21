"""Products of second derivatives with a vector, without the matrix: ``hvp`` and ``ggnvp``."""

from collections.abc import Callable, Sequence
from typing import Any

from tapegrad.tensor import Tensor, lifted
from tapegrad.transforms.arguments import require_callable, tuple_of
from tapegrad.transforms.reverse import one_real
from tapegrad.transforms.runs import Run, Transposed, swept


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Hessian of ``f`` at ``primals`` times ``tangents``, by a sweep back through a recorded sweep back.

    f : of containers of floating or complex arrays to an array of one real element
    primals : a tuple of its arguments
    tangents : a tuple alike, with the same containers and shapes, and dtypes that cast
    Returns a tuple as the primals are. Raises as ``grad`` and ``jvp`` do.

    The Hessian being symmetric, its product with a vector is the cotangent of the primals, given the vector for a
    cotangent of the gradient. It costs about three gradients on large arrays, seven on small ones.

    >>> import numpy as np, tapegrad as tg
    >>> tg.hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.ones(2),))
    (array([ 6., 12.]),)

    Pearlmutter 1994.
    """
    return _hvp("hvp", f, tuple_of("hvp", "primals", primals), tuple_of("hvp", "tangents", tangents))


def _hvp(name: str, f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    require_callable(name, f)
    run = Run(name, f, primals, {}, range(len(primals)))
    seed = one_real(run)
    inputs = run.inputs
    fitting = inputs.like(tangents, "tangent")
    gradient = run.pulled([seed], lifted)
    lift = run.lift(fitting)
    roots = [
        (g._entry, tangent)
        for g, tangent in zip(gradient, fitting, strict=True)
        if type(g) is Tensor and g._entry is not None
    ]
    del gradient, seed
    totals = swept(roots, inputs.leaves, inputs.targets, lift, False, run.older)
    return inputs.results(totals, lift is not None)


def ggnvp(f: Callable[..., Any], loss: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The generalised Gauss-Newton matrix of ``loss(f(*primals))`` times ``tangents``: J^T H J v.

    J is the Jacobian of ``f``, H the Hessian of ``loss`` by what ``f`` returned. For a convex loss the matrix is
    positive semidefinite, which the Hessian of the whole needn't be.

    f : of containers of floating or complex arrays to a container of them
    loss : of what ``f`` returns, one argument, to an array of one real element
    primals, tangents : tuples as of ``hvp``
    Returns a tuple as the primals are. Raises as ``jvp`` and ``hvp`` do.

    >>> import numpy as np, tapegrad as tg
    >>> tg.ggnvp(lambda x: x**2, lambda z: np.sum(z**2), (np.array([1.0, 2.0]),), (np.ones(2),))
    (array([ 8., 32.]),)

    Schraudolph 2002.
    """
    primals, tangents = tuple_of("ggnvp", "primals", primals), tuple_of("ggnvp", "tangents", tangents)
    require_callable("ggnvp", f)
    require_callable("ggnvp", loss)
    run = Run("ggnvp", f, primals, {}, range(len(primals)))
    outward = Transposed(run)(run.inputs.like(tangents, "tangent"), keep=True)
    (product,) = _hvp("ggnvp", loss, (run.value(),), (outward,))
    seeds = run.seeds_like(product, "the product with the loss's Hessian")
    lift = run.lift(seeds)
    return run.inputs.results(run.pulled(seeds, lift), lift is not None)
