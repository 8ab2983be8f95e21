"""Derivatives in a direction: ``jvp`` and ``linearize``, by the transpose of the transpose.

There is no forward mode. A sweep back is linear in its cotangent; recorded as a program of that cotangent
alone, it can be swept back itself, and this gives the derivative in the direction that one starts from. So every
rule serves both ways.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tapegrad.transforms.arguments import require_callable, tuple_of
from tapegrad.transforms.runs import Run, Transposed


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The value of ``f``, and its derivative in a direction.

    f : of containers of floating or complex arrays to a container of arrays
    primals : a tuple of its arguments
    tangents : a tuple alike, with the same containers and shapes, and dtypes that cast
    has_aux : ``f`` returns (value, aux), and aux comes third
    Returns (out, tangent): the tangent has the containers and shapes of ``out``.
    Raises DTypeError, ShapeError or ArgumentError for primals and tangents that don't fit.

    It costs a run of ``f``, a sweep back that records itself, and a sweep back through that record, whatever the number
    of outputs: about two gradients of ``f`` on large arrays, four on small ones.

    >>> import numpy as np, tapegrad as tg
    >>> tg.jvp(lambda x: np.array([2.0, 3.0]) * x**2, (np.array([1.0, 2.0]),), (np.array([1.0, 0.5]),))
    (array([ 2., 12.]), array([4., 6.]))
    """
    primals, tangents = tuple_of("jvp", "primals", primals), tuple_of("jvp", "tangents", tangents)
    run = _run("jvp", f, primals, has_aux)
    fitting = run.inputs.like(tangents, "tangent")
    tangent = Transposed(run)(fitting, keep=False)
    return (run.value(), tangent, run.aux()) if has_aux else (run.value(), tangent)


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of ``f``, and its derivative at the primals as a function of the direction; see ``jvp``.

    Returns (out, f_jvp), and aux after them with ``has_aux``. ``f_jvp(*tangents)`` may be called any number of times,
    at the cost of one sweep back.

    >>> import numpy as np, tapegrad as tg
    >>> out, f_jvp = tg.linearize(lambda x, y: np.sin(x) * y, 0.0, 2.0)
    >>> f_jvp(1.0, 0.0), f_jvp(0.0, 1.0)
    (np.float64(2.0), np.float64(0.0))
    """
    run = _run("linearize", f, primals, has_aux)
    transposed = Transposed(run)

    def f_jvp(*tangents: Any) -> Any:
        """The derivative in the direction of the tangents, one for each primal."""
        return transposed(run.inputs.like(tangents, "tangent"), keep=True)

    return (run.value(), f_jvp, run.aux()) if has_aux else (run.value(), f_jvp)


def _run(name: str, f: Callable[..., Any], primals: Sequence[Any], has_aux: bool) -> Run:
    require_callable(name, f)
    return Run(name, f, primals, {}, range(len(primals)), has_aux)
