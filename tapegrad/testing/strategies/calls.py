"""Calls of what is in the table: made of the cases that stand beside each rule."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapegrad.cases import Domain
from tapegrad.errors import ArgumentError
from tapegrad.kinds import Elementwise, Known, name_of
from tapegrad.primitive import look_up
from tapegrad.testing.draw import Trial, elementwise_trial, trials_of
from tapegrad.testing.pullbacks import random_seeds, vjp
from tapegrad.testing.strategies.arrays import OWNED, broadcastable_shapes, laid_out
from tapegrad.testing.strategies.drawn import DrawnCall
from tapegrad.testing.strategies.growth import IN_PLACE, KEPT, grown, is_public, is_valid, outcome
from tapegrad.testing.strategies.source import WIDEST, Source, is_special

REALS = (np.float64, np.float32, np.float16, np.longdouble)
COMPLEXES = (np.complex128, np.complex64, np.clongdouble)
PLAIN = "fdFDbhilqBHILQ"  # dtypes that whatever takes float64 takes


def calls(
    function: Any,
    *,
    dtypes: Sequence[Any] | None = None,
    generic: bool = True,
    grow: bool | None = None,
    layouts: Sequence[str] = OWNED,
) -> st.SearchStrategy[DrawnCall]:
    """Valid calls of a function in the table, made of its cases.

    function : a primitive, or a composite with cases: NumPy's or a user's own, registered with
        ``defvjp(..., cases=Cases(...))``
    dtypes : of the operands, each drawn by itself; None: all floats that the function takes, complex
        numbers where its cases say so, and integers beside them
    generic : whether no number comes twice in a call, and no 0, as long as the domain has others: so
        that nothing ties and no norm is at its kink. False: ties and zeros come as they come
    grow : whether shapes and parameters are changed from those of the cases where NumPy says that the
        call stays valid; None: where the function is NumPy's own, which checks what it is handed. The
        operands of elementwise functions are broadcast in any case
    layouts : as for ``arrays_in``
    A drawn call is a function of its arrays: hand ``call, *call.arrays`` to ``check_grads``.
    Raises ArgumentError for a function that has no cases; and, as it draws, where a call of the cases is
    itself invalid, or gives nan in the domain: with what to change.

    >>> from hypothesis import find
    >>> find(calls(np.add), lambda call: call(*call.arrays).size > 1)
    np.add(np.array(1.0), np.array([2.0, -0.1]))
    >>> find(calls(np.cumsum), lambda call: True)
    np.cumsum(np.array([1.0]))
    """
    known = look_up(function)
    trials = _trials(known, function)
    assert known is not None
    if dtypes is not None and not (dtypes and all(np.dtype(d).kind in "fciu" for d in dtypes)):
        raise ArgumentError(f"calls: dtypes are some of floats, complex numbers or integers; got {dtypes!r}")
    kinds = _dtypes(known) if dtypes is None else [np.dtype(d) for d in dtypes]
    if known.function in KEPT:
        grow, layouts = False, layouts[:1]
    return _calls(Recipe(known, trials, kinds, generic, is_public(known) if grow is None else grow, tuple(layouts)))


def _trials(known: Known | None, function: Any) -> list[Trial]:
    name = name_of(function)
    if known is None:
        raise ArgumentError(
            f"calls: {name} isn't in the table; give it a rule with defvjp({name}, cases=Cases(...)), "
            "or draw its arguments with arrays_in"
        )
    trials = [trial for trial in trials_of(known) if not trial.call.parameters.get(IN_PLACE)]
    if not trials:
        raise ArgumentError(
            f"calls: {name} stands in the table as {known.kind}, with no call among its cases; give its rule "
            "cases=Cases(calls=(call((2, 3)), ...)), or draw its arguments with arrays_in"
        )
    return trials


def _dtypes(known: Known) -> list[np.dtype[Any]]:
    assert known.cases is not None
    return [np.dtype(d) for d in (*REALS, *(COMPLEXES if known.cases.complex else ()), np.int64)]


class Recipe(NamedTuple):
    """What calls of a function are made of."""

    known: Known
    trials: Sequence[Trial]
    dtypes: Sequence[np.dtype[Any]]
    generic: bool
    grow: bool
    layouts: Sequence[str]

    def __repr__(self) -> str:  # Hypothesis prints it, and of all those trials there is a lot to print.
        return self.known.name


@st.composite
def _calls(draw: st.DrawFn, recipe: Recipe) -> DrawnCall:
    known, dtypes = recipe.known, recipe.dtypes
    given = trial = draw(st.sampled_from(recipe.trials))
    if isinstance(known, Elementwise) and trial.number == 0:
        given = trial = elementwise_trial(known, *draw(broadcastable_shapes(known.arity)))
    elif recipe.grow:
        trial = draw(st.sampled_from(grown(trial)))
    kinds = _drawn_kinds(draw, len(trial.slots), dtypes)
    # Nothing that is drawn ties with what the call holds itself.
    source = Source(draw, recipe.generic, beside=trial.constants)
    arrays = [_array(source, trial, k, kind) for k, kind in enumerate(kinds)]
    if outcome(trial.run, arrays) is not None or not _pulls_back(trial, arrays):
        # Not every function takes every dtype: half precision is none of LAPACK's. All take float64.
        arrays = [np.real(a).astype(np.float64 if np.dtype(np.float64) in dtypes else dtypes[0]) for a in arrays]
        wrong = outcome(trial.run, arrays)
        if wrong is not None and (trial is not given or (wrong.startswith("raises") and is_valid(trial))):
            reject()  # The call is valid, but not of these very values: a matrix that happens to be singular.
        if wrong is not None:
            raise ArgumentError(_complaint(trial, arrays, wrong))
    strewn = [laid_out(a, draw(st.sampled_from(recipe.layouts))) for a in arrays]
    if not all(a.flags.c_contiguous for a in strewn) and outcome(trial.run, strewn) is not None:
        strewn = arrays  # Not every call takes every layout: what follows memory, as order="K", is refused.
    return _made(trial, strewn)


def _pulls_back(trial: Trial, arrays: Sequence[NDArray[Any]]) -> bool:
    """Whether the rule takes the dtypes, too: that of a product may call LAPACK."""
    if all(a.dtype.char in PLAIN for a in arrays):
        return True
    try:
        with np.errstate(all="ignore"):
            vjp(trial.run, arrays, random_seeds(trial.run, arrays, np.random.default_rng(0)))
    except TypeError:
        return False
    return True


def _drawn_kinds(draw: st.DrawFn, count: int, dtypes: Sequence[np.dtype[Any]]) -> list[np.dtype[Any]]:
    """A dtype for each operand: the same for all or different ones, not all of integers if there are others."""
    wide = [d for d in dtypes if d.kind in "fc"] or list(dtypes)
    first = draw(st.sampled_from(wide))
    if count < 2 or not draw(st.booleans()):
        return [first] * count
    kinds = [draw(st.sampled_from(dtypes)) for _ in range(count)]
    return kinds if any(kind in wide for kind in kinds) else [first, *kinds[1:]]


def _array(source: Source, trial: Trial, k: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    slot = trial.slots[k]
    domain = trial.cases.domain_of(slot.operand if slot.item is None else slot.item)
    if dtype.kind in "iu" and not _has_integers(domain, math.prod(slot.shape)):
        dtype = WIDEST
    return source.array(domain, slot.shape, dtype)


def _has_integers(domain: Domain, size: int) -> bool:
    """Whether the domain has any, and as many as are to be distinct."""
    if is_special(domain):
        return False
    whole = range(math.ceil(domain.low), math.floor(domain.high) + 1)
    kept = sum(all(abs(k - point) >= domain.margin for point in domain.avoid) for k in whole)
    return kept >= (max(1, size) if domain.distinct else 1)


def _complaint(trial: Trial, arrays: Sequence[NDArray[Any]], wrong: str) -> str:
    call = _made(trial, arrays)
    return (
        f"calls({call.__name__}): {call!r} {wrong}, though its cases say that it is valid; narrow the domain of the "
        f"cases, which is {trial.cases.domain}, or mend their call number {trial.number}"
    )


def _made(trial: Trial, arrays: Sequence[NDArray[Any]]) -> DrawnCall:
    operands = [list(o) if type(o) is list else o for o in trial.call.operands]
    for slot, array in zip(trial.slots, arrays, strict=True):
        if slot.item is None:
            operands[slot.operand] = array
        else:
            operands[slot.operand][slot.item] = array
    places = tuple((slot.operand, slot.item) for slot in trial.slots)
    return DrawnCall(trial.known.function, tuple(operands), trial.call.parameters, places)
