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
import inspect
import operator
import sys
import threading
import typing
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tapegrad.cases import Cases
from tapegrad.errors import RegistrationError
from tapegrad.residuals import NEVER, answer_of, answering, checked_pair, with_fresh_residuals

Function = Callable[..., Any]


class Slope:
    """The derivative of an elementwise function by one operand, in one of four forms.

    - ``number``: the same everywhere, as the 1 and -1 of a subtraction;
    - ``slope``: ``f(y, *operands)``, and the cotangent is ``g * conj(slope)``;
    - ``ratio``: ``f(y, *operands)``, and the cotangent is ``g / conj(f)``: saves a pass;
    - ``pullback``: ``f(g, y, *operands)``, the cotangent itself: for what isn't holomorphic, or selects.

    ``pull(g, y, *operands)`` is the cotangent for real operands that nothing was broadcast to, without
    the strong zero: what the sweep calls while it trusts (tape.py). pulls.py has the rest.
    """

    __slots__ = ("form", "pull", "reads", "reads_y", "value")

    def __init__(self, form: str, value: Any, arity: int) -> None:
        self.form, self.value = form, value
        if form == "number":
            self.reads_y, self.reads = False, (False,) * arity
        else:
            # What inspect.signature says, read off the code: thirty times quicker, for 200 slopes at import.
            names = list(value.__code__.co_varnames[form == "pullback" : value.__code__.co_argcount])
            if len(names) != arity + 1:
                raise RegistrationError(
                    f"a {form} of a function of {arity} operands takes the output and the operands; got {names}"
                )
            self.reads_y, *reads = (not name.startswith("_") for name in names)
            self.reads = tuple(reads)
        self.pull = _trusting_pull(form, value, arity)


_ARGUMENTS: dict[bytes, Function] = {
    (lambda y, _a, _b: y).__code__.co_code: lambda g, y, _a, _b: g * y,
    (lambda _y, a, _b: a).__code__.co_code: lambda g, _y, a, _b: g * a,
    (lambda _y, _a, b: b).__code__.co_code: lambda g, _y, _a, b: g * b,
}


def _trusting_pull(form: str, value: Any, arity: int) -> Function:
    # Written out for one and two operands: *operands would cost 60 ns a call.
    if form == "pullback":
        return value  # type: ignore[no-any-return]
    if form == "number":
        return _scaling(value, arity)
    if arity == 1:
        if form == "ratio":
            return lambda g, y, x: g / value(y, x)
        return lambda g, y, x: g * value(y, x)
    if arity == 2:
        # A slope that is one of its arguments, as those of a product are, needs no call.
        if form == "slope" and value.__code__.co_code in _ARGUMENTS:
            return _ARGUMENTS[value.__code__.co_code]
        if form == "ratio":
            return lambda g, y, a, b: g / value(y, a, b)
        return lambda g, y, a, b: g * value(y, a, b)
    combine = operator.truediv if form == "ratio" else operator.mul
    return lambda g, *primals: combine(g, value(*primals))


def _scaling(number: Any, arity: int) -> Function:
    if arity == 2:  # Written out, as above.
        if number == 1:
            return lambda g, _y, _a, _b: g
        if number == -1:
            return lambda g, _y, _a, _b: -g
        return lambda g, _y, _a, _b: g * number
    if number == 1:
        return lambda g, *_primals: g
    if number == -1:
        return lambda g, *_primals: -g
    return lambda g, *_primals: g * number


class _Marked:
    """A slope in another form than the usual one: see ``ratio`` and ``pullback``."""

    def __init__(self, form: str, function: Function) -> None:
        self.form, self.function = form, function


def ratio(function: Function) -> _Marked:
    """The slope is 1 / function(y, *operands); the cotangent is formed by one division."""
    return _Marked("ratio", function)


def pullback(function: Function) -> _Marked:
    """function(g, y, *operands) is the cotangent itself, before broadcasting is undone."""
    return _Marked("pullback", function)


# In the place of a slope: there is a derivative by this operand, but not in closed form. A recording one is refused.
refused = _Marked("refused", lambda: None)


class Known:
    """What the table says of a function: its kind, and what it takes to act on it."""

    __slots__ = ("arity", "cases", "function", "kind", "name", "note", "reflected", "road", "run", "users")

    def __init__(self, kind: str, function: Any, run: Any = None, note: str = "", cases: Cases | None = None) -> None:
        self.kind, self.function, self.note, self.cases = kind, function, note, cases
        self.name = name_of(function)
        self.arity: Any = None  # how many operands; None where they come in a sequence
        self.users = False  # whether it isn't ours: what it is handed is guarded, and it may take containers
        self.run = run  # on plain arrays; of a composite, the function that is run instead
        self.road: Any = None  # a quick way to record it (roads.py), once there is one
        self.reflected: Any = None  # the same for an array and a tensor, in this order


class Primitive(Known):
    """A function with a rule ``rule(g, y, *operands, **parameters)`` for any number of operands."""

    __slots__ = (
        "multilinear",
        "operands",
        "pack",
        "parameters",
        "pull",
        "read",
        "reads",
        "reads_y",
        "residuals",
        "rule",
    )
    guests = False  # whether any rule is a user's

    def __init__(
        self,
        function: Any,
        rule: Function,
        cases: Cases | None = None,
        multilinear: bool = False,
        forward: Any = None,
    ) -> None:
        super().__init__("primitive", function, forward or function, cases.note if cases else "", cases)
        self.rule, self.multilinear, self.residuals = rule, multilinear, False
        self.users = cases is None or not str(getattr(rule, "__module__", "")).startswith("tapegrad.")
        Primitive.guests = Primitive.guests or self.users
        self._read_signature(list(inspect.signature(rule).parameters.values()))
        with_residuals = getattr(function, "with_residuals", None)
        if with_residuals is not None:
            self._keep_residuals(with_residuals)

    def _read_signature(self, signature: Sequence[inspect.Parameter]) -> None:
        if len(signature) < 3:
            raise RegistrationError(
                f"{self.name}: a rule takes (g, y, *operands, **parameters); got {_names(signature)}"
            )
        for p in signature:
            if p.kind is p.VAR_KEYWORD:
                raise RegistrationError(
                    f"{self.name}: a rule names its parameters; **{p.name} would swallow those it doesn't know"
                )
        _g, y, *rest = signature
        operands: list[inspect.Parameter] = []
        parameters: list[inspect.Parameter] = []
        for p in rest:
            (operands if p.kind is not p.KEYWORD_ONLY and p.default is p.empty else parameters).append(p)
        variadic = any(p.kind is p.VAR_POSITIONAL for p in operands)
        if not operands or (variadic and len(operands) > 1):
            raise RegistrationError(
                f"{self.name}: a rule takes its operands by position, or all of them as *operands; "
                f"got {_names(signature)}"
            )
        self.arity = None if variadic else len(operands)
        self.operands = tuple(p.name.lstrip("_") for p in operands)
        self.parameters = tuple(p.name.lstrip("_") for p in parameters)
        self.read = frozenset(p.name for p in parameters if not p.name.startswith("_"))
        self.pack, self.pull = _packing(self.rule, parameters)
        self.reads_y = not y.name.startswith("_")
        self.reads = tuple(not p.name.startswith("_") for p in operands)
        expected = getattr(self.function, "nin", self.arity)
        if expected != self.arity:
            raise RegistrationError(f"{self.name} has {expected} operands, its rule {self.arity}")

    def _keep_residuals(self, function: Function) -> None:
        """Run the function that returns (output, residuals), and have the rule read these."""
        if "residuals" not in self.read:
            raise RegistrationError(
                f"{self.name} returns residuals; its rule takes them by keyword: (..., *, residuals)"
            )
        if self.multilinear or self.run is not self.function:
            raise RegistrationError(f"{self.name} returns residuals; its rule can't have multilinear= or forward= too")
        self.run, self.residuals = function, True
        # All of it is kept, for the day when the rule is itself differentiated.
        self.reads_y, self.reads = True, (True,) * len(self.reads)
        self.read = frozenset(self.parameters)
        self.pull = with_fresh_residuals(self.name, function, self.parameters, self.pull, self.pack)
        self.parameters = tuple(name for name in self.parameters if name != "residuals")

    def keeps(self, wanted: Sequence[bool]) -> tuple[bool, Sequence[bool]]:
        """Whether the output and each operand are kept, given which operands record."""
        return self.reads_y, self.reads if self.arity is not None else self.reads * len(wanted)


def _packing(rule: Function, parameters: Sequence[inspect.Parameter]) -> tuple[Function, Function]:
    """How an entry holds the parameters of a call (as a dict they would take 200 bytes more).

    Returns pack(given), which makes of a dict by NumPy's names what the entry holds, and
    pull(g, y, operands, packed), which calls the rule. Packed are the values in order, as many as
    were given; of a function with one parameter, its value alone.
    """
    if not parameters:
        return (lambda _given: ()), (lambda g, y, operands, _packed: rule(g, y, *operands))
    names = tuple(p.name for p in parameters)
    public = tuple(p.name.lstrip("_") for p in parameters)
    defaults = tuple(None if p.default is p.empty else p.default for p in parameters)
    if len(names) == 1:
        name, default = names[0], parameters[0].default
        return (
            lambda given: given.get(public[0], defaults[0]),
            lambda g, y, operands, packed: (
                rule(g, y, *operands) if packed is default else rule(g, y, *operands, **{name: packed})
            ),
        )
    # What a rule doesn't read isn't handed to it, unless it has no default: a call by keywords is dear.
    needed = [(i, p.name) for i, p in enumerate(parameters) if not p.name.startswith("_") or p.default is p.empty]
    first = names[0] if needed and needed[0][0] == 0 else None

    def pull(g: Any, y: Any, operands: Any, packed: Any) -> Any:
        count = len(packed)
        if count > 1:
            return rule(g, y, *operands, **{name: packed[i] for i, name in needed if i < count})
        if count and first:
            return rule(g, y, *operands, **{first: packed[0]})
        return rule(g, y, *operands)

    return (lambda given: tuple(map(given.get, public, defaults))), pull


class Elementwise(Known):
    """A function that acts on each element by itself, with a slope for each operand."""

    __slots__ = ("constant_for_real", "operands", "parameters", "pull", "pull_a", "pull_b", "refused", "slopes")

    def __init__(self, function: Any, slopes: Sequence[Any], cases: Cases, constant_for_real: bool = False) -> None:
        super().__init__("primitive", function, function, cases.note, cases)
        self.arity = len(slopes)
        self.slopes = tuple(_slope(s, len(slopes)) for s in slopes)
        self.refused = tuple(i for i, s in enumerate(slopes) if s is refused)
        self.constant_for_real = constant_for_real
        is_ufunc = isinstance(function, np.ufunc)
        self.parameters = ("dtype", "casting", "order") if is_ufunc else ()
        self.operands = ("x",) if self.arity == 1 else tuple(f"x{i + 1}" for i in range(len(self.slopes)))
        expected = getattr(function, "nin", self.arity)
        if expected != self.arity:
            raise RegistrationError(f"{self.name} has {expected} operands, its rule {self.arity}")
        pulls = [slope.pull if slope else None for slope in self.slopes]
        self.pull = self.pull_a = pulls[0]
        self.pull_b = pulls[-1]

    def keeps(self, wanted: Sequence[bool]) -> tuple[bool, Sequence[bool]]:
        """Whether the output and each operand are kept, given which operands record."""
        used = [slope for slope, want in zip(self.slopes, wanted, strict=True) if want and slope]
        return (
            any(slope.reads_y for slope in used),
            tuple(any(slope.reads[i] for slope in used) for i in range(len(self.slopes))),
        )


def _slope(given: Any, arity: int) -> Slope | None:
    if given is None or given is refused:
        return None
    if isinstance(given, _Marked):
        return Slope(given.form, given.function, arity)
    return Slope("slope" if callable(given) else "number", given, arity)


class Creation(Known):
    """Makes a new array in the likeness of one: a tensor comes out, also where nothing in it is one."""

    __slots__ = ()


TABLE: dict[Any, Known] = {}
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


def elementwise(function: Any, *slopes: Any, cases: Cases, constant_for_real: bool = False) -> None:
    """Give an elementwise function a slope for each operand: a number, a function of the output and
    the operands, ``ratio(...)`` or ``pullback(...)``; None where it is constant in that operand.

    constant_for_real : real operands make it a constant, only complex ones have a derivative (``sign``)
    """
    _register(Elementwise(function, slopes, cases, constant_for_real))


def defvjp(
    function: Any, cases: Cases | None = None, *, multilinear: bool = False, forward: Any = None
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
        _register(Primitive(function, rule, cases, multilinear, forward))
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


def name_of(function: Any) -> str:
    """What a user calls the function: ``np.linalg.inv``, ``np.add.reduce``, ``tapegrad.nn.relu``.

    >>> name_of(np.linalg.inv)
    'np.linalg.inv'
    """
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or repr(function)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"np.{owner.__name__}.{function.__name__}"
    if isinstance(function, np.ufunc):
        name = function.__name__
        for module, short in (("numpy", "np"), ("scipy.special", ""), ("scipy.special._ufuncs", "scipy.special")):
            if getattr(sys.modules.get(module), name, None) is function:
                return f"{short or module}.{name}"
        return name
    module = getattr(function, "__module__", None) or ""
    if module == "numpy" or module.startswith("numpy."):
        return f"np{module[len('numpy') :]}.{name}"
    if module in ("_operator", "operator"):
        return name
    return f"{module}.{name}" if module not in ("", "builtins", "__main__") else name


def _names(signature: Iterable[inspect.Parameter]) -> str:
    return "(" + ", ".join(str(p) for p in signature) + ")"
