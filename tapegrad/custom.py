"""Gradients of the user's own making: ``custom_gradient``, ``stop_gradient``, ``straight_through``.

With ``primitive`` and ``defvjp`` any function can be told its derivative, one of SciPy's as well:

>>> import numpy as np, scipy.special, tapegrad as tg, tapegrad.testing
>>> expit = tg.primitive(lambda x: scipy.special.expit(x))
>>> @tg.defvjp(expit)
... def expit_vjp(g, y, _x):
...     return g * y * (1 - y)
>>> tg.testing.check_grads(expit, np.array([-1.0, 2.0]))

(The ufunc itself needs none: tapegrad.ops.special has its rule, and those of its like.)
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.containers import leaves_of, paths, rebuilt
from tapegrad.dispatch import apply
from tapegrad.errors import DTypeError, RegistrationError, RuleError, ShapeError
from tapegrad.kinds import Primitive, name_of
from tapegrad.primitive import primitive
from tapegrad.recording import from_data
from tapegrad.residuals import answering
from tapegrad.tensor import Tensor

Function = Callable[..., Any]


def custom_gradient(function: Function) -> Function:
    """A function that returns its value and its pullback at once: ``value, pullback = function(*args, **kwargs)``.

    function : its operands are its parameters without a default, and come as arrays or containers of arrays; all
        other parameters are constant. value is an array or a tuple of arrays. ``pullback(g)`` takes the cotangent
        of the value (of several, a tuple with None for those that nobody used) and returns one for each operand,
        in a tuple; of a single operand also bare; None where there is none.
    Returns a function of the same arguments that returns the value alone.
    Raises RegistrationError where the function takes ``*args`` or ``**kwargs``: one operand may be a tuple or a dict.

    The function runs on plain arrays, so it may call anything, and so may the pullback, for first derivatives. For
    higher ones the values that the pullback closes over must depend on the operands: the function is then run once
    more, on tensors, and must give the same value (RuleError). One that can't run on tensors raises there.
    A recording tensor that isn't an operand is refused where the value or a cotangent would depend on it. What the
    pullback closes over must not have left the tape in that run, by ``.item()`` or the like: it would count as
    constant. The pullback is to be linear in g, as a derivative is: ``jvp`` relies on that (one that clips g has none).

    >>> import numpy as np, tapegrad as tg
    >>> @tg.custom_gradient
    ... def log1pexp(x):
    ...     e = np.exp(x)
    ...     return np.log1p(e), lambda g: g * (1 - 1 / (1 + e))
    >>> x = tg.tensor(100.0)
    >>> log1pexp(x).backward()
    >>> x.grad
    array(1.)
    """
    shaped: Any = primitive(function, residuals=True)
    on_arrays = shaped.on_arrays
    known = Primitive(shaped, _rule_of_pullbacks(function))

    @functools.wraps(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        if next(answering((*args, *kwargs.values())), None) is not None:
            return from_data(apply(known, args, kwargs), args, kwargs)
        return on_arrays(*args, **kwargs)

    return differentiated


def _rule_of_pullbacks(function: Function) -> Function:
    """The rule that calls what the function returned beside its value, with a signature for these operands."""

    def rule(g: Any, _y: Any, *_operands: Any, residuals: Any, **_parameters: Any) -> Any:
        if not callable(residuals):
            raise RuleError(f"{name_of(function)} returned {type(residuals).__name__} for its pullback, not a function")
        return residuals(g)

    kind = inspect.Parameter
    given = list(inspect.signature(function).parameters.values())
    for p in given:
        if p.kind in (kind.VAR_POSITIONAL, kind.VAR_KEYWORD):
            raise RegistrationError(f"{name_of(function)} takes {p}; custom_gradient wants its arguments by name")
    operands = [kind(p.name, kind.POSITIONAL_ONLY) for p in given if _is_operand(p)]
    # A name of the rule's own with a leading underscore would be taken for one that it doesn't read.
    parameters = [kind(p.name, kind.KEYWORD_ONLY, default=p.default) for p in given if not _is_operand(p)]
    first = [kind(name, kind.POSITIONAL_ONLY) for name in ("g", "_y")]
    own = kind("residuals", kind.KEYWORD_ONLY)
    rule.__signature__ = inspect.Signature([*first, *operands, *parameters, own])  # type: ignore[attr-defined]
    return rule


def _is_operand(p: inspect.Parameter) -> bool:
    return p.kind is not p.KEYWORD_ONLY and p.default is p.empty


def stop_gradient(tree: Any) -> Any:
    """The same values, through which no gradient passes, at any order.

    tree : a tensor, an array, a number, or a container of them
    Returns the like of it, with tensors that don't record in the place of those that do.

    >>> import numpy as np, tapegrad as tg
    >>> x = tg.tensor(3.0)
    >>> (x * tg.stop_gradient(x)).backward()
    >>> x.grad
    array(3.)
    """
    leaves, structure = leaves_of(tree)
    return rebuilt(structure, [leaf.detach() if type(leaf) is Tensor else leaf for leaf in leaves])


def straight_through(function: Function, surrogate: Function) -> Function:
    """A function with the value of ``function``, to the last bit, and the gradient of ``surrogate``, at any order.

    function : called with the values as plain, read-only arrays: no gradient passes through it
    surrogate : differentiable; with results of the same structure and shapes
    Returns a function of the same arguments. Raises ShapeError where the results aren't alike.

    >>> import numpy as np, tapegrad as tg
    >>> hard = tg.straight_through(np.rint, lambda x: x)
    >>> x = tg.tensor([0.2, 0.7])
    >>> y = hard(x)
    >>> y.sum().backward()
    >>> y.numpy(), x.grad
    (array([0., 1.]), array([1., 1.]))

    Bengio, Leonard & Courville 2013, https://arxiv.org/abs/1308.3432.
    """
    name = name_of(function)

    @functools.wraps(function)
    def passed(*args: Any, **kwargs: Any) -> Any:
        if next(answering((*args, *kwargs.values())), None) is None:
            return function(*args, **kwargs)
        leaves, structure = leaves_of((args, kwargs))
        arrays = [leaf.numpy() if type(leaf) is Tensor else leaf for leaf in leaves]
        plain, plain_keywords = rebuilt(structure, arrays)
        values, structure = leaves_of(function(*plain, **plain_keywords))
        slopes, other = leaves_of(surrogate(*args, **kwargs))
        if paths(structure, "") != paths(other, ""):
            raise ShapeError(
                f"straight_through: the results of {name} have the structure {paths(structure, 'y')}, "
                f"those of its surrogate {paths(other, 'y')}"
            )
        pairs = zip(values, slopes, strict=True)
        results = [_fitted(name, value, slope, arrays) for value, slope in pairs]
        return rebuilt(structure, [apply(known, pair, {}) if type(pair) is tuple else pair for pair in results])

    known = Primitive(_first, _to_the_second)
    known.name = f"straight_through({name})"
    return passed


def _fitted(name: str, value: Any, slope: Any, operands: list[Any]) -> Any:
    """The pair (value, slope), to be recorded; the value alone where its surrogate is no tensor."""
    if type(value) is Tensor:
        value = value.numpy()
    if type(slope) is not Tensor:
        return value
    made = np.asarray(value._value if type(value) is Tensor else value)
    if made.shape != slope.shape:
        raise ShapeError(f"straight_through: {name} gave shape {made.shape}, its surrogate {slope.shape}")
    if made.dtype.kind in "biu" and slope.dtype.kind in "fc":
        exact, made = made, made.astype(slope.dtype)
        if not np.array_equal(exact, made):
            raise DTypeError(
                f"straight_through: {name} gave integers that {slope.dtype} doesn't hold; make them floats"
            )
    elif made.dtype.kind == "c" and slope.dtype.kind == "f":
        raise DTypeError(f"straight_through: {name} gave {made.dtype}, its surrogate {slope.dtype}")
    elif any(isinstance(a, np.ndarray) and np.may_share_memory(a, made) for a in operands):
        made = made.copy()
    return (made if isinstance(value, np.ndarray) else made[()]), slope


def _first(value: Any, _slope: Any) -> Any:
    return value


def _to_the_second(g: Any, _y: Any, _value: Any, _slope: Any) -> Any:
    """The value is constant; all of the cotangent goes to the surrogate."""
    return None, g
