"""Growth: from the calls in the cases of a function to other calls of it that are as valid.

What is valid is asked of NumPy, and of the table: a call counts where NumPy makes it without an error or
a warning, of finite numbers finite ones, and where recording it isn't refused. Sizes are exchanged
throughout a call, so that what had to agree goes on agreeing; axes are put in front; a parameter is
borrowed from another case.
"""

import math
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.cases import Call
from tapegrad.errors import TapegradError
from tapegrad.kinds import Known
from tapegrad.testing.draw import Trial, trials_of
from tapegrad.testing.pullbacks import parts_of

MANY = 6  # calls with a borrowed parameter, at most
INVALID = (ValueError, TypeError, IndexError, KeyError, ArithmeticError, RuntimeError, Warning, TapegradError)
NO_FLOATS = "returns no floats"

# Their cases are where there is one right answer. What reads one triangle of a matrix has the symmetric gradient, which
# differences by single entries don't see; singular vectors have phases, and nan where a loss feels these; and NumPy 2.4
# miscounts the folds of some ufuncs along axes that are contiguous in memory.
KEPT = frozenset(
    {
        np.linalg.cholesky,
        np.linalg.eigh,
        np.linalg.eigvalsh,
        np.linalg.svd,
        *(getattr(ufunc, method) for ufunc in (np.power, np.arctan2) for method in ("reduce", "reduceat")),
    }
)
OF_ONE_TRIANGLE = ("hermitian", "UPLO", "upper")
IN_PLACE = "overwrite_input"  # where True, NumPy changes what it is handed: no call for a law
NOT_BORROWED = (*OF_ONE_TRIANGLE, IN_PLACE)

Shape = tuple[int, ...]
_GROWN: dict[tuple[int, int], tuple[Trial, tuple[Trial, ...]]] = {}


def grown(trial: Trial) -> tuple[Trial, ...]:
    """Calls like this one that are valid, the smallest first and those of empty arrays last; itself among them."""
    key = id(trial.known), trial.number  # Held with the answer, so that nothing else gets the same id.
    if key not in _GROWN:
        found = {repr(trial.call): trial}
        for candidate in _candidates(trial):
            if repr(candidate.call) not in found and is_valid(candidate):
                found[repr(candidate.call)] = candidate
        _GROWN[key] = trial, tuple(sorted(found.values(), key=_extent))
    return _GROWN[key][1]


def is_public(known: Known) -> bool:
    """Whether NumPy has the function under its name, and so checks what it is handed.

    Our own primitives, that rules and composites are made of, trust their callers.
    """
    if known.function is operator.getitem:
        return True
    root, *path = known.name.split(".")
    found: Any = np if root == "np" else None
    for name in path:
        found = getattr(found, name, None)
    return found is not None and bool(found == known.function)


def is_valid(trial: Trial) -> bool:
    """Whether NumPy makes the call, and recording it isn't refused."""
    try:
        valid = outcome(trial.run, trial.draw(np.random.default_rng(0), np.float64)) is None
    except INVALID:
        return False
    shapes = [slot.shape for slot in trial.slots]
    if not valid or not any(0 in shape for shape in shapes):
        return valid
    # Of arrays of nothing NumPy takes indices that are out of their bounds.
    return is_valid(_with_shapes(trial, [tuple(n or 1 for n in shape) for shape in shapes]))


def outcome(run: Callable[..., Any], arrays: Sequence[Any]) -> str | None:
    """What is wrong with a call: what NumPy or the recording objects, or that it gives nan; None: nothing."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        try:
            # Scalars where there are no axes: NumPy's functions take them for what they are.
            values = [np.asarray(part) for part in parts_of(run(*arrays))]
            run(*(tg.tensor(a) if a.dtype.kind in "fc" else a for a in arrays))
        except INVALID as error:
            return f"raises {type(error).__name__}: {error}"
    if arrays and not any(value.dtype.kind in "fc" for value in values):
        return NO_FLOATS
    if all(np.isfinite(a).all() for a in arrays):
        for value in values:
            if value.dtype.kind in "fc" and not np.isfinite(value).all():
                return f"gives {value!r}"
    return None


def _extent(trial: Trial) -> tuple[bool, int, int]:
    sizes = [math.prod(slot.shape) for slot in trial.slots]
    return 0 in sizes, sum(sizes), sum(len(slot.shape) for slot in trial.slots)


def _candidates(trial: Trial) -> Iterator[Trial]:
    """Calls that may be valid."""
    shapes = [slot.shape for slot in trial.slots]
    for others in _shapes_like(shapes):
        if trial.known.name.startswith("np.fft.") and any(0 in shape for shape in others):
            continue  # Of no entries NumPy's irfft and hfft return memory as they find it.
        yield _with_shapes(trial, others)
    for parameters in _borrowed(trial):
        yield Trial(trial.known, trial.cases, Call(trial.call.operands, parameters), trial.number)


def _shapes_like(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    sizes = sorted({n for shape in shapes for n in shape})
    exchanges: list[dict[int, int]] = [dict.fromkeys(sizes, 1), {n: n + 1 for n in sizes}]
    exchanges += [{n: new} for n in sizes for new in (0, 1, 2, n + 2)]
    if len(sizes) > 1:
        exchanges.append(dict(zip(sizes, reversed(sizes), strict=True)))
    for exchange in exchanges:
        yield [tuple(exchange.get(n, n) for n in shape) for shape in shapes]
    for n in (2, 1, 0):
        yield [(n, *shape) for shape in shapes]
    for k, shape in enumerate(shapes if len(shapes) > 1 else ()):
        for other in (shape[1:], (2, *shape), (1, *shape), (*[1] * len(shape),)):
            yield [*shapes[:k], other, *shapes[k + 1 :]]


def _with_shapes(trial: Trial, shapes: Sequence[Shape]) -> Trial:
    operands = [list(o) if type(o) is list else o for o in trial.call.operands]
    for slot, shape in zip(trial.slots, shapes, strict=True):
        if slot.item is None:
            operands[slot.operand] = shape
        else:
            operands[slot.operand][slot.item] = shape
    return Trial(trial.known, trial.cases, Call(tuple(operands), trial.call.parameters), trial.number)


def _borrowed(trial: Trial) -> Iterator[dict[str, Any]]:
    """The parameters of the call, with one more of another call's, or with it in the place of its own; or one less."""
    own = trial.call.parameters
    others = [other.call.parameters for other in trials_of(trial.known) if other.number != trial.number]
    pairs = [
        pair for parameters in others for pair in parameters.items() if pair[0] not in (*OF_ONE_TRIANGLE, IN_PLACE)
    ]
    rng = np.random.default_rng(trial.number)
    for k in rng.permutation(len(pairs))[:MANY]:
        name, value = pairs[k]
        yield {**own, name: value}
    for name in own if not own.keys() & OF_ONE_TRIANGLE else ():
        yield {key: value for key, value in own.items() if key != name}
