"""A test file for a user's function: ``python -m tapegrad.testing write package.module:function``.

Annotations and defaults say what a parameter may be; what they leave open is tried. The function is
called with arrays of several shapes and domains, until one set of them gives finite values of floats
that differences can follow; the file then draws from those. What fits no test is left out with its
reason, for the reader to see.
"""

import importlib
import inspect
import itertools
import re
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, POSITIVE, REAL, UNIT, Domain
from tapegrad.errors import TapegradError
from tapegrad.testing.check import GradientError, UndecidedError
from tapegrad.testing.laws import LAWS, laws
from tapegrad.testing.pullbacks import outputs

TRIES = 2000  # combinations of shapes and domains
MANY = 3  # parameters; with more of them, less is tried of each
POINTS = 4  # at which a combination has to work
SHAPES: tuple[tuple[int, ...], ...] = ((3,), (), (3, 3), (2, 3), (3, 2), (2, 3, 4))
DOMAINS: tuple[Domain, ...] = (REAL, POSITIVE, UNIT, NONZERO, Domain(0.1, 0.9))
INTEGERS = (2, 1, 0, 3)
REFUSALS = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, AssertionError)


class GhostwriterError(TapegradError, ValueError):
    """No test can be written for what was named."""


@dataclass(frozen=True)
class Guess:
    """What a parameter may be: arrays or numbers of a domain, or one value.

    kind : "array", "spd" (a positive definite matrix), "float", "complex", "constant"
    """

    kind: str
    domain: Domain = REAL
    shape: tuple[int, ...] = ()
    dtype: type = np.float64
    value: Any = None

    def draw(self, rng: np.random.Generator) -> Any:
        """An example."""
        if self.kind == "constant":
            return self.value
        drawn = self.domain.draw(rng, self.shape, self.dtype)
        if self.kind == "spd":
            return drawn @ drawn.T + np.eye(len(drawn))
        return drawn if self.kind == "array" else drawn.item()

    @property
    def source(self) -> str:
        """The strategy, as Python source."""
        if self.kind == "constant":
            return f"st.just({self.value!r})"
        if self.kind == "spd":
            return f'matrices("spd", {self.shape[0]})'
        domain = _spelled(self.domain)
        if self.kind == "array":
            dtype = "" if self.dtype is np.float64 else f", np.{self.dtype.__name__}"
            return f"arrays_in({domain}, {self.shape}{dtype})"
        return f"arrays_in({domain}, (){', np.complex128' if self.kind == 'complex' else ''}).map(lambda x: x.item())"


def _spelled(domain: Domain) -> str:
    avoid = f", avoid={domain.avoid}, margin={domain.margin}" if domain.avoid else ""
    return f"Domain({domain.low}, {domain.high}{avoid})"


# ---------------------------------------------------------------- what is named


def found(name: str) -> Callable[..., Any]:
    """The function of that name: ``package.module:function``, or a method ``package.module:Class.method``.

    Raises GhostwriterError where there is none.
    """
    module_name, _colon, path = name.partition(":")
    if not module_name or not path:
        raise GhostwriterError(f"write package.module:function, with a colon; got {name!r}")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise GhostwriterError(f"there is no module {module_name!r} here: {error}") from error
    for part in path.split("."):
        if not hasattr(value, part):
            known = [n for n, v in vars(value).items() if callable(v) and not n.startswith("_")]
            raise GhostwriterError(f"{module_name} has no {path!r}; it has {', '.join(known[:20])}")
        value = getattr(value, part)
    if not callable(value) or inspect.isclass(value):
        raise GhostwriterError(f"{name} is a {type(value).__name__}, not a function")
    return typing.cast("Callable[..., Any]", value)


def guesses(parameter: inspect.Parameter, annotation: Any) -> list[Guess]:
    """What a parameter may be, the likeliest first, by its annotation and its default."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    default = parameter.default
    if default is not inspect.Parameter.empty and not isinstance(default, (float, complex, np.ndarray)):
        return [Guess("constant", value=default)]
    dtypes: list[type] = [np.complex128] if re.search("complex", text) else [np.float64]
    if re.search("float32", text):
        dtypes = [np.float32]
    if annotation in (bool, str, bytes) or annotation is type(None):
        return [Guess("constant", value=annotation())] if annotation is not type(None) else [Guess("constant")]
    if annotation is int or re.fullmatch(r"(np\.)?int(eger|p|\d*)", text):
        return [Guess("constant", value=n) for n in INTEGERS]
    if annotation is float or isinstance(default, float):
        return [Guess("float", domain) for domain in DOMAINS]
    if annotation is complex or isinstance(default, complex):
        return [Guess("complex", domain, dtype=np.complex128) for domain in DOMAINS]
    shapes = [default.shape] if isinstance(default, np.ndarray) else SHAPES
    found = [Guess("array", domain, shape, dtype) for dtype in dtypes for domain in DOMAINS for shape in shapes]
    if not isinstance(default, np.ndarray):
        found.append(Guess("spd", shape=(3, 3)))
    if annotation in (inspect.Parameter.empty, Any):  # Nobody said that it is an array.
        found += [Guess("constant", value=n) for n in INTEGERS]
    return found


# ---------------------------------------------------------------- what works


def fitting(f: Callable[..., Any], choices: Sequence[Sequence[Guess]]) -> tuple[Guess, ...]:
    """The first combination of guesses at which the function gives finite floats, whose derivatives can be told.

    Raises GhostwriterError where none does, with what was raised at the first.
    """
    said: list[str] = []
    undecided = None
    for combination in itertools.islice(_combinations(choices), TRIES):
        problem = _problem(f, combination)
        if problem is None:
            if _telling(f, combination):
                return combination
            undecided = undecided or combination
        elif problem not in said:
            said.append(problem)
    if undecided:
        return undecided
    tried = "; ".join(said[:4]) or "there is nothing to differentiate by"
    raise GhostwriterError(
        f"no arguments were found that it takes. What it said: {tried}. Annotate its parameters, or write it into a "
        "function of arrays: no container can be guessed"
    )


def _combinations(choices: Sequence[Sequence[Guess]]) -> Iterator[tuple[Guess, ...]]:
    """All combinations, those first in which parameters are alike and the domains are wide."""
    few = len(choices) <= MANY
    counts = [range(len(options) if few else min(len(options), 2 * len(SHAPES))) for options in choices]
    ranked = sorted(
        itertools.islice(itertools.product(*counts), 60 * TRIES),
        key=lambda places: (max(places, default=0), len(set(places)), sum(places)),
    )
    for places in ranked:
        combination = tuple(options[k] for options, k in zip(choices, places, strict=True))
        if any(guess.kind != "constant" for guess in combination):
            yield combination


def _points(combination: Sequence[Guess]) -> Iterator[list[Any]]:
    """Arguments to try: of any numbers, of round ones, and all the same, as the strategies draw them too."""
    rng = np.random.default_rng(0)
    for k in range(POINTS):
        point = []
        for guess in combination:
            drawn = guess.draw(rng)
            if guess.kind not in ("constant", "spd") and k:
                low, high = guess.domain.low, guess.domain.high
                middle = drawn * 0 + (0.0 if low <= 0 <= high else (low + high) / 2)
                rounded = np.clip(np.round(np.real(drawn)), low, high).astype(guess.dtype)
                if not guess.domain.avoid:
                    drawn = rounded if k == 1 else middle if k == 2 else drawn
                drawn = drawn if guess.kind == "array" or not isinstance(drawn, np.ndarray) else drawn.item()
            point.append(drawn)
        yield point


def _problem(f: Callable[..., Any], combination: Sequence[Guess]) -> str | None:
    """What is wrong with these arguments; None if nothing is."""
    for point in _points(combination):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                made = outputs(f(*point))
        except REFUSALS as error:
            return f"{type(error).__name__}: {error}"
        if not made:
            return "it returns no floats"
        if not all(np.isfinite(np.asarray(y)).all() for y in made):
            return "it returns nan or inf"
    return None


def _telling(f: Callable[..., Any], combination: Sequence[Guess]) -> bool:
    """Whether differences can tell; that a gradient is wrong is for the test to find."""
    rng = np.random.default_rng(1)
    for _ in range(2):
        try:
            laws(f, *(guess.draw(rng) for guess in combination), only=["derivatives_are_right"], order=1)
        except UndecidedError:
            return False
        except (GradientError, *REFUSALS):
            return True
    return True


def _not_applying(f: Callable[..., Any], combination: Sequence[Guess]) -> dict[str, str]:
    """The laws that say nothing about the function, with the reason."""
    silent: dict[str, str] = {}
    rng = np.random.default_rng(2)
    point = [guess.draw(rng) for guess in combination]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for law in LAWS:
            try:
                silent |= laws(f, *point, only=[law]).inapplicable
            except (GradientError, *REFUSALS):
                continue  # Whether it is broken is for the test to say.
    return silent


# ---------------------------------------------------------------- the file


def written(name: str) -> str:
    """A test file for the function of that name.

    name : ``package.module:function``
    Raises GhostwriterError where nothing of that name can be tested, and says why.

    >>> print(written("tapegrad.nn:softplus"))
    \"""Gradients of tapegrad.nn.softplus...
    """
    f = found(name)
    parameters = _parameters(f, name)
    if not parameters:
        raise GhostwriterError(f"{name} takes no arguments by position: there is nothing to differentiate by")
    try:
        hints: dict[str, Any] = typing.get_type_hints(f)
    except (NameError, TypeError, AttributeError):
        hints = {}
    choices = [guesses(p, hints.get(p.name, p.annotation)) for p in parameters]
    try:
        combination = fitting(f, choices)
    except GhostwriterError as error:
        raise GhostwriterError(f"{name}: {error}") from None
    module, _colon, path = name.partition(":")
    return _file(module, path, parameters, combination, _not_applying(f, combination))


def _parameters(f: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """What is passed by position: without what has a default that can't be differentiated by."""
    try:
        signature = inspect.signature(f)
    except ValueError:  # A ufunc, before NumPy 2.4.
        count = getattr(f, "nin", 0)
        return [inspect.Parameter(f"x{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(count)]
    taken = []
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            raise GhostwriterError(f"{name} needs {p.name} by keyword; wrap it in a function that gives it one")
        if p.kind is p.VAR_POSITIONAL:
            taken.append(p.replace(name=p.name, kind=p.POSITIONAL_ONLY))
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            if p.default is not p.empty and not isinstance(p.default, (float, complex, np.ndarray)):
                break  # What comes after it has a default as well.
            taken.append(p)
    return taken


def _file(
    module: str,
    path: str,
    parameters: Sequence[inspect.Parameter],
    combination: Sequence[Guess],
    silent: Mapping[str, str],
) -> str:
    sources = [guess.source for guess in combination]
    text = " ".join(sources)
    drawn = [name for name in ("arrays_in", "matrices") if f"{name}(" in text]
    rows = "\n".join(f"    {s},  # {p.name}" for p, s in zip(parameters, sources, strict=True))
    asked = "\n".join(f'    "{law.__name__}",' for law in LAWS if law.__name__ not in silent)
    reasons = "".join(f"# {law} says nothing here: {' '.join(why.split())[:70]}\n" for law, why in silent.items())
    imports = [
        *(["import numpy as np"] if "np." in text else []),
        *(["from hypothesis import strategies as st"] if "st." in text else []),
        *([""] if "np." in text or "st." in text else []),
        *(["from tapegrad.cases import Domain"] if "Domain(" in text else []),
        *([f"from tapegrad.testing.strategies import {', '.join(drawn)}"] if drawn else []),
        "",
        f"from {module} import {path.split('.')[0]}",
    ]
    head = f'"""Gradients of {module}.{path}: written by `python -m tapegrad.testing write`, to be read and changed."""'
    return (
        head
        + "\n\n"
        + "\n".join(imports)
        + "\n\n# For each argument, what to draw it from: here the function was seen to give finite values.\n"
        + f"ARGUMENTS = (\n{rows}\n)\n\n# What is asked of its gradients (tapegrad.testing.laws).\n"
        + f"LAWS = (\n{asked}\n)\n{reasons}\n\n"
        + f"def test_gradients_of_{path.replace('.', '_')}(gradcheck):\n"
        + f"    gradcheck({path}, *ARGUMENTS, laws=LAWS)\n"
    )
