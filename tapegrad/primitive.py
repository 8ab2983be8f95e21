"""THE table: what tapegrad knows of each function, and how to tell it more.

A function stands in it once, as one of five kinds:

- *primitive*: it has a rule (``elementwise`` or ``defvjp``);
- *composite*: it is written in functions that stand here themselves;
- *constant*: its derivative is zero wherever it exists, so plain arrays come out;
- *plain*: it answers a question about an array, or never sees one;
- *unsupported*: a gradient can't pass, for the reason given.

A function that isn't here raises where a gradient would have to pass. Nothing here knows of tensors
or of a tape; nothing patches NumPy.
"""

import functools
import importlib
import sys
import threading
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

from tapegrad.cases import Cases
from tapegrad.errors import RegistrationError
from tapegrad.kinds import Creation, Elementwise, Function, Known, Primitive, name_of
from tapegrad.residuals import NEVER, answer_of, answering, checked_pair

TABLE: dict[Any, Known] = {}
# By primitive that NumPy brought to us before: its roads for a tensor as first operand and for an array, and how many
# operands it has. They are attributes of what the table holds, too, but to look them up there takes 90 ns more.
ROADS: dict[Any, tuple[Any, Any, Any]] = {}
_LATER: list[str] = []  # modules that enter more in it, imported when it is first asked for what it hasn't
_BESIDE: dict[str, str] = {}  # the same, but not before the user has imported a module that isn't ours
_LOADING = threading.RLock()


def later(*modules: str, beside: str = "") -> None:
    """Put off the import of modules that enter functions in the table until one of these is met.

    beside : the module whose functions they are, where it isn't ours to import: until it is loaded as well
    """
    if beside:
        _BESIDE.update(dict.fromkeys(modules, beside))
    else:
        _LATER.extend(modules)


def complete() -> dict[Any, Known]:
    """The table, with everything entered that was put off."""
    with _LOADING:
        while _LATER:
            importlib.import_module(_LATER.pop())
        for module in [module for module, other in _BESIDE.items() if other in sys.modules]:
            importlib.import_module(module)
            _BESIDE.pop(module, None)
    return TABLE


def look_up(function: Any) -> Known | None:
    """What the table says of a function; None where it has no entry."""
    known = TABLE.get(function)
    return complete().get(function) if known is None else known


def _register(known: Known) -> None:
    if known.cases is None and known.kind == "primitive" and name_of(known.function).startswith(("np.", "scipy.")):
        complete()  # A user's rule for one of NumPy's functions, or SciPy's: it may have one of ours.
    if known.function in TABLE:
        there = TABLE[known.function]
        raise RegistrationError(f"{known.name} stands in the table already, as {there.kind}")
    TABLE[known.function] = known


def elementwise(
    function: Any,
    *slopes: Any,
    cases: Cases,
    constant_for_real: bool = False,
    quotient: bool = False,
    pull: Function | None = None,
) -> None:
    """Give an elementwise function a slope for each operand: a number, a function of the output and
    the operands, ``ratio(...)`` or ``pullback(...)``; None where it is constant in that operand.

    constant_for_real : real operands make it a constant, only complex ones have a derivative (``sign``)
    quotient : the cotangent of the second operand is that of the first times -y, which is quicker than its slope
    pull : ``f(g, y, x)``, the cotangent of one small real operand, where that is quicker than its slope times g
    """
    _register(Elementwise(function, slopes, cases, constant_for_real, quotient, pull))


def defvjp(
    function: Any,
    cases: Cases | None = None,
    *,
    multilinear: bool = False,
    forward: Any = None,
    of_matrices: tuple[Any, Any, Any] = (None, None, None),
) -> Callable[[Function], Function]:
    """Give a dispatched function its rule: ``@defvjp(np.linalg.inv)`` above the rule.

    The rule is ``rule(g, y, *operands, **parameters)``. It returns a tuple with a cotangent for each
    operand (of a single operand, also the bare cotangent): an array of the operand's shape, None where
    the function is constant in it, or a callable that is called only where the operand records.
    ``g`` is the cotangent of the output ``y``; of a function with several outputs both are tuples, and
    ``g`` holds None for those that nobody used. Operands are the rule's parameters without a default;
    those with one, and those after ``*``, are the function's own parameters, in its own order. What
    the rule names with a leading underscore it doesn't read, so that it isn't kept: for an operand
    or the output a placeholder arrives, with shape, dtype, ndim and size; a parameter may be None.
    The rule is plain NumPy; it conjugates for itself.

    cases : on what to try the rule; required of the rules of this package
    multilinear : the function is linear in each operand by itself; the strong zero then holds for it
    forward : a quicker form of the function for plain arrays, with the same parameters
    of_matrices : what a function of two operands comes to on two small matrices of float32 or float64, no vectors, to
        the last bit; and its rule on small real matrices, written out as ``f(g, y, a, b)`` for either operand
    Raises RegistrationError where the function has a rule, or the rule's signature makes no sense.

    >>> import numpy as np, tapegrad as tg
    >>> @tg.primitive
    ... def cube(x):
    ...     return x * x * x
    >>> @tg.defvjp(cube)
    ... def cube_vjp(g, _y, x):
    ...     return g * 3 * np.conj(x) ** 2
    >>> x = tg.tensor([1.0, 2.0])
    >>> np.sum(cube(x)).backward()
    >>> x.grad
    array([ 3., 12.])
    """

    def register(rule: Function) -> Function:
        _register(Primitive(function, rule, cases, multilinear, forward, of_matrices))
        return rule

    return register


def composite(*functions: Any, note: str = "", cases: Cases | None = None) -> Callable[[Function], Function]:
    """Say how functions are written in other functions: ``@composite(np.vstack)`` above that form."""

    def register(run: Function) -> Function:
        for function in functions:
            _register(Known("composite", function, _under_the_name_of(function, run), note, cases))
        return run

    return register


def _under_the_name_of(function: Any, run: Any) -> Any:
    """The same code under the name that a user called: Python's errors for a wrong call say that name."""
    if type(run) is not FunctionType:
        return run
    named = FunctionType(run.__code__, run.__globals__, run.__name__, run.__defaults__, run.__closure__)
    named.__kwdefaults__, named.__qualname__ = run.__kwdefaults__, name_of(function)
    named.__dict__.update(run.__dict__)
    return named


def constant(*functions: Any, note: str = "") -> None:
    """These have the derivative zero wherever it exists: they give plain arrays."""
    for function in functions:
        _register(Known("constant", function, note=note))


def creation(*functions: Any, run: Any = None, note: str = "a tensor that doesn't record") -> None:
    """These make arrays in the likeness of a tensor: constant, but a tensor comes out.

    run : for those that take tensors as data: the function that is run instead, as of a composite
    """
    for function in functions:
        _register(Creation("composite" if run else "constant", function, _under_the_name_of(function, run), note))


def plain(*functions: Any, note: str = "") -> None:
    """These answer a question about an array, or never see one: they give what NumPy gives."""
    for function in functions:
        _register(Known("plain", function, note=note))


def unsupported(*functions: Any, reason: str) -> None:
    """A gradient can't pass through these; ``reason`` is what the user is told."""
    for function in functions:
        _register(Known("unsupported", function, note=reason))


@typing.overload
def primitive(function: Function, name: str | None = None, *, residuals: bool = False) -> Function: ...
@typing.overload
def primitive(
    function: None = None, name: str | None = None, *, residuals: bool = False
) -> Callable[[Function], Function]: ...
def primitive(function: Function | None = None, name: str | None = None, *, residuals: bool = False) -> Any:
    """Make a function dispatched, as NumPy's own are (NEP 18): called with a Tensor, it records.

    Its operands come as arrays, read-only, or as containers of arrays: nested tuples, lists, dicts and
    dataclasses, and what ``tg.register_container`` was told of. It returns an array, or a tuple of arrays.
    Give it a rule with ``defvjp``.

    name : what error messages call it, where that is not its own name
    residuals : the function returns (output, residuals), and callers get the output. The residuals, whatever
        they are, reach the rule by the keyword of that name, so that it needn't compute them again. An output that
        is a view of an operand comes as a copy. In a derivative of the rule they are no constants: unless they are
        integers, bools or strings, the function is then run once more, on tensors, and must give the same output
        (RuleError). Output and operands are kept for that.

    >>> import numpy as np, tapegrad as tg
    >>> @tg.primitive
    ... def halved(x):
    ...     return x / 2
    >>> halved(np.array([1.0, 4.0]))
    array([0.5, 2. ])

    >>> @tg.primitive(residuals=True)
    ... def direction(x):
    ...     length = np.sqrt(np.sum(x * x))
    ...     return x / length, length
    >>> @tg.defvjp(direction)
    ... def direction_vjp(g, y, _x, *, residuals):
    ...     return (g - y * np.sum(y * g)) / residuals
    >>> x = tg.tensor([3.0, 4.0])
    >>> direction(x)[0].backward()
    >>> x.grad
    array([ 0.128, -0.096])
    """
    if function is None:
        return functools.partial(primitive, name=name, residuals=residuals)
    run = function
    if residuals:
        pair = checked_pair(function, name or name_of(function))
        run = functools.wraps(function)(lambda *args, **kwargs: pair(*args, **kwargs)[0])

    @functools.wraps(function)
    def dispatched(*args: Any, **kwargs: Any) -> Any:
        deep = False
        for value in (*args, *kwargs.values()) if kwargs else args:
            kind = type(value)
            if kind is list or kind is tuple:
                for part in value:
                    if type(part) not in NEVER:
                        if (answer := answer_of(part)) is not None:
                            return answer(part, dispatched, (type(part),), args, kwargs)
                        deep = True
            elif kind not in NEVER:
                if (answer := answer_of(value)) is not None:
                    return answer(value, dispatched, (kind,), args, kwargs)
                deep = True
        if deep:  # Something that may be a container.
            for value in answering((*args, *kwargs.values())):
                return answer_of(value)(value, dispatched, (type(value),), args, kwargs)
        return run(*args, **kwargs)

    if name is not None:
        dispatched.__qualname__, dispatched.__module__ = name, ""
    dispatched.on_arrays = run  # type: ignore[attr-defined]
    if residuals:
        dispatched.with_residuals = pair  # type: ignore[attr-defined]
    return dispatched
