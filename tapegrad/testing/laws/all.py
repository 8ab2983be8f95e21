"""``laws``: every law that applies to a function, at arguments or at all that a strategy draws."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tapegrad.errors import ArgumentError
from tapegrad.testing.check import GradientError, UndecidedError
from tapegrad.testing.laws.agreement import (
    batch_agrees,
    checkpoint_agrees,
    float32_agrees,
    in_place_agrees,
    rows_agree,
)
from tapegrad.testing.laws.calculus import (
    derivatives_are_right,
    gradients_are_like_arguments,
    hessian_is_symmetric,
    jvp_is_the_adjoint,
    pullback_is_linear,
    ties_total_one,
    zeros_give_zeros,
)
from tapegrad.testing.laws.ownership import (
    nothing_is_changed,
    nothing_is_shared,
    recording_keeps_the_value,
    replay_is_recording,
    twice_is_the_same,
)
from tapegrad.testing.laws.subject import InapplicableError, explained

Law = Callable[..., None]

# In this order: what another law takes for granted comes before it, so that the first to be broken tells most.
LAWS: tuple[Law, ...] = (
    twice_is_the_same,
    recording_keeps_the_value,
    nothing_is_changed,
    gradients_are_like_arguments,
    derivatives_are_right,
    pullback_is_linear,
    zeros_give_zeros,
    jvp_is_the_adjoint,
    hessian_is_symmetric,
    nothing_is_shared,
    replay_is_recording,
    in_place_agrees,
    rows_agree,
    batch_agrees,
    checkpoint_agrees,
    float32_agrees,
    ties_total_one,
)
SECOND_ORDER = (jvp_is_the_adjoint, hessian_is_symmetric)  # these run rules on tensors


class Report(NamedTuple):
    """What became of each law."""

    held: tuple[str, ...]
    inapplicable: dict[str, str]  # why it says nothing here
    left_out: dict[str, str]  # the reason that was given

    def __str__(self) -> str:
        rows = [(name, "holds") for name in self.held]
        rows += [(name, f"doesn't apply: {why}") for name, why in self.inapplicable.items()]
        rows += [(name, f"left out: {why}") for name, why in self.left_out.items()]
        width = max(len(name) for name, _what in rows)
        return "\n".join(f"{name:<{width}}  {what}" for name, what in rows)


def laws(
    f: Callable[..., Any],
    *args: Any,
    given: Any = None,
    only: Sequence[str | Law] = (),
    without: Mapping[str, str] | None = None,
    also: Sequence[Law] = (),
    order: int = 2,
    in_place: Callable[..., Any] | None = None,
    batched: Sequence[int] = (),
    **kwargs: Any,
) -> Report:
    """Every law that applies to ``f``, at these arguments or at all that a strategy draws.

    f : function of floating and complex arrays, of containers of them, and of whatever else, to the like
    args, kwargs : what to call it with; keyword arguments are constant
    given : in the place of args, a strategy of Hypothesis's for the tuple of them (what isn't a tuple is the
        only argument); the settings are those of the current profile
    only : the laws to ask for, by name or themselves; none named: all of ``LAWS``
    without : laws to leave out, each by its name with the reason
    also : laws of your own: functions that take ``f`` and its arguments, raise GradientError where they are broken
        and InapplicableError where they say nothing
    order : 1 leaves out what takes a second derivative
    in_place, batched : told to the laws ``in_place_agrees`` and ``batch_agrees``
    Returns a Report: which held, which say nothing here and why, which were left out and why.
    Raises GradientError, of the first law that is broken, with a note for each other one; UndecidedError where
    differences can't tell (of a strategy: at every example); ArgumentError for a name that is no law's.

    >>> import numpy as np
    >>> print(laws(np.sin, np.array([1.0, 2.0]), only=["pullback_is_linear", "ties_total_one"]))
    pullback_is_linear  holds
    ties_total_one      doesn't apply: np.sin doesn't move as its inputs do: f(x + c) isn't f(x) + c
    >>> laws(np.sin, np.array([1.0]), only=["rows_agree"], without={"rows_agree": "no Jacobians here"}).left_out
    {'rows_agree': 'no Jacobians here'}
    """
    options: dict[str, Any] = {"order": order, "in_place": in_place, "batched": batched}
    left_out = _left_out(without or {}, also)
    asked = [law for law in (*_named(only), *also) if law.__name__ not in left_out]
    if order < 2:
        left_out |= {law.__name__: f"order={order}" for law in asked if law in SECOND_ORDER}
        asked = [law for law in asked if law not in SECOND_ORDER]
    outcome = Outcome()
    if given is None:
        outcome.ask(f, args, kwargs, asked, options)
        if outcome.undecided:
            raise next(iter(outcome.undecided.values()))
    else:
        if args:
            raise ArgumentError("laws: arguments and a strategy for them; give one or the other")
        _draw(given, lambda drawn: outcome.ask(f, drawn if type(drawn) is tuple else (drawn,), kwargs, asked, options))
        for name, error in outcome.undecided.items():
            if name not in outcome.held:
                raise error
    held = tuple(law.__name__ for law in asked if law.__name__ in outcome.held)
    silent = {name: why for name, why in outcome.inapplicable.items() if name not in held}
    return Report(held, silent, left_out)


class Outcome:
    """What became of the laws so far, over all examples."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.inapplicable: dict[str, str] = {}
        self.undecided: dict[str, UndecidedError] = {}

    def ask(
        self, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], asked: Sequence[Law], options: Any
    ) -> None:
        """Every law at these arguments; the error of the first that is broken."""
        broken: list[tuple[str, GradientError]] = []
        for law in asked:
            name = law.__name__
            known = inspect.signature(law).parameters
            try:
                law(f, *args, **{key: value for key, value in options.items() if key in known}, **kwargs)
            except InapplicableError as why:
                self.inapplicable[name] = str(why)
            except UndecidedError as error:
                self.undecided[name] = error
            except GradientError as error:
                broken.append((name, error))
            except Exception as error:
                error.add_note(f"raised under the law {name}; it is left out by without={{{name!r}: 'the reason'}}")
                raise
            else:
                self.held.add(name)
        if broken:
            (name, first), *others = broken
            first.add_note(f"the law {name} is broken; it is left out by without={{{name!r}: 'the reason'}}")
            for other, its in others:
                first.add_note(f"and so is {other}: {its}")
            raise first


def _named(only: Sequence[str | Law]) -> list[Law]:
    """The laws that were named; all, if none was."""
    by_name = {law.__name__: law for law in LAWS}
    for law in only:
        if isinstance(law, str) and law not in by_name:
            raise ArgumentError(f"laws: there is no law {law!r}; there are {', '.join(by_name)}")
    return [by_name[law] if isinstance(law, str) else law for law in only] or list(LAWS)


def _left_out(without: Mapping[str, str], also: Sequence[Law]) -> dict[str, str]:
    """The laws to leave out, each with a reason."""
    names = [law.__name__ for law in (*LAWS, *also)]
    for name, reason in dict(without).items():
        if name not in names:
            raise ArgumentError(f"laws: there is no law {name!r} to leave out; there are {', '.join(names)}")
        if not isinstance(reason, str) or not reason:
            raise ArgumentError(f"laws: {name} is left out without a reason; without={{{name!r}: 'the reason'}}")
    return dict(without)


def _draw(strategy: Any, ask: Callable[[Any], None]) -> None:
    """Ask at every example of a strategy."""
    import hypothesis

    if not isinstance(strategy, hypothesis.strategies.SearchStrategy):
        raise ArgumentError(f"laws: given is a {type(strategy).__name__}; a strategy of Hypothesis's was expected")

    @hypothesis.given(strategy)
    def at(drawn: Any) -> None:
        ask(drawn)

    with explained():
        at()
