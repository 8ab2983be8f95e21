"""Kinds: what the table can say of a function (primitive.py is the table), and how it is said.

A rule is a slope for each operand of an elementwise function, or a function of its own; from either is made what the
sweep calls. What an entry keeps of a call is decided here too, by what the rule reads.
"""

import inspect
import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.cases import Cases
from tapegrad.errors import RegistrationError
from tapegrad.residuals import with_fresh_residuals

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

    __slots__ = (
        "arity",
        "cases",
        "function",
        "kind",
        "name",
        "note",
        "reflected",
        "road",
        "run",
        "users",
    )

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
        "mixes",
        "multilinear",
        "of_matrices",
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
        of_matrices: tuple[Any, Any, Any] = (None, None, None),
    ) -> None:
        super().__init__("primitive", function, forward or function, cases.note if cases else "", cases)
        self.of_matrices = of_matrices
        self.rule, self.multilinear, self.residuals = rule, multilinear, False
        self.users = cases is None or not str(getattr(rule, "__module__", "")).startswith("tapegrad.")
        Primitive.guests = Primitive.guests or self.users
        self._read_signature(list(inspect.signature(rule).parameters.values()))
        # Whether the rule may compute with operands alone: of a product of two it multiplies each by the cotangent.
        product = multilinear and self.arity is not None and sum(self.reads) <= 2
        self.mixes = any(self.reads) and self.arity != 1 and not product and not self.users
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
        if self.users:
            self._require_callable()

    def _require_callable(self) -> None:
        """Raise RegistrationError where the function's signature shows that no call of it fits the rule."""
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # Written in C, and silent about itself.
            return
        taken = signature.parameters.values()
        count = 1 if self.arity is None else self.arity  # *operands come in one sequence.
        known = len([name for name in self.parameters if name != "residuals"])
        by_place = [p for p in taken if p.kind is p.POSITIONAL_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD]
        endless = any(p.kind is p.VAR_POSITIONAL for p in taken)
        needed = [p for p in by_place if p.default is p.empty]
        unknown = [p.name for p in taken if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        unknown = [name for name in unknown if name not in self.parameters]
        if len(needed) > count + known or (count > len(by_place) and not endless) or unknown:
            raise RegistrationError(
                f"{self.name} takes {signature}, and its rule names the operands ({', '.join(self.operands)}) and "
                f"the parameters ({', '.join(self.parameters)}): no call fits both; a rule takes (g, y, *operands), "
                f"and parameters after a *"
            )

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
        if not packed:
            return rule(g, y, *operands)
        count = len(packed)
        if count == 1:
            return rule(g, y, *operands, **{first: packed[0]}) if first else rule(g, y, *operands)
        return rule(g, y, *operands, **{name: packed[i] for i, name in needed if i < count})

    return (lambda given: tuple(map(given.get, public, defaults))), pull


class Elementwise(Known):
    """A function that acts on each element by itself, with a slope for each operand."""

    __slots__ = (
        "constant_for_real",
        "operands",
        "parameters",
        "pull",
        "quotient",
        "refused",
        "slopes",
    )

    def __init__(
        self,
        function: Any,
        slopes: Sequence[Any],
        cases: Cases,
        constant_for_real: bool = False,
        quotient: bool = False,
        pull: Function | None = None,
    ) -> None:
        super().__init__("primitive", function, function, cases.note, cases)
        self.arity = len(slopes)
        self.slopes = tuple(_slope(s, len(slopes)) for s in slopes)
        self.refused = tuple(i for i, s in enumerate(slopes) if s is refused)
        self.constant_for_real = constant_for_real
        self.quotient = quotient
        is_ufunc = isinstance(function, np.ufunc)
        self.parameters = ("dtype", "casting", "order") if is_ufunc else ()
        self.operands = ("x",) if self.arity == 1 else tuple(f"x{i + 1}" for i in range(len(self.slopes)))
        expected = getattr(function, "nin", self.arity)
        if expected != self.arity:
            raise RegistrationError(f"{self.name} has {expected} operands, its rule {self.arity}")
        self.pull = pull or (self.slopes[0].pull if self.slopes[0] else None)

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


# SciPy's own names of ufuncs that a user calls by a function around them.
_CALLED = {"_zeta": "zeta", "_riemann_zeta": "zeta"}


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
                return f"{short or module}.{_CALLED.get(name, name)}"
        return name
    module = getattr(function, "__module__", None) or ""
    if module == "numpy" or module.startswith("numpy."):
        return f"np{module[len('numpy') :]}.{name}"
    if module in ("_operator", "operator"):
        return name
    return f"{module}.{name}" if module not in ("", "builtins", "__main__") else name


def _names(signature: Iterable[inspect.Parameter]) -> str:
    return "(" + ", ".join(str(p) for p in signature) + ")"
