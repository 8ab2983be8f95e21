"""Laws of ownership: what a gradient may change, share, and depend on: nothing but its arguments."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.testing.laws.subject import VALUE_ROUNDING, Function, Recording, Subject, bytes_of, close, worst


def nothing_is_changed(f: Function, *args: Any, constants: Sequence[Any] = (), **kwargs: Any) -> None:
    """No operand, no cotangent and no constant is changed, by the function or by its gradient.

    Each output's cotangent is also held by a second tensor while the rules run, which must not see it change.

    f, args, kwargs : as of ``check_grads``; the arrays that the function closes over are watched as well
    constants : further arrays to watch
    Raises GradientError, and says what was changed.

    >>> import numpy as np
    >>> nothing_is_changed(np.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    """
    subject = Subject("nothing_is_changed", f, args, kwargs)
    given = [x.copy() for x in subject.inputs]
    beside = [(what, a) for what, a in subject.constants() if isinstance(a, np.ndarray)]
    beside += [("a constant", a) for a in constants]
    named = [*zip(subject.places, given, strict=True), *beside]
    before = bytes_of([a for _what, a in named])
    seeds = [np.asarray(seed) for seed in subject.seeds()]
    of_seeds = bytes_of(seeds)
    subject.call(given)
    _require_same(subject, "the function changes", named, before)

    run = Recording(subject, given)
    pairs = [(y, s) for y, s in zip(run.outs, seeds, strict=True) if isinstance(y, tg.Tensor) and y.requires_grad]
    others = [tg.tensor(np.zeros(y.shape, y.dtype)) for y, _seed in pairs]
    sums = [(y + other, seed) for (y, seed), other in zip(pairs, others, strict=True)]
    for total, seed in sums:
        total.backward(seed, retain_graph=True)
    for other, (_y, seed) in zip(others, pairs, strict=True):
        if other.grad.tobytes() != seed.tobytes():
            raise subject.fault("a rule changes the cotangent that it is given, which others hold as well")
    _require_same(subject, "the gradient changes", named, before)
    values = [(place, leaf.numpy()) for place, leaf in zip(subject.places, run.leaves, strict=True)]
    _require_same(subject, "the gradient changes the value of", values, bytes_of(given))
    if bytes_of(seeds) != of_seeds:
        raise subject.fault("the gradient changes the array given to backward")


def _require_same(subject: Subject, says: str, named: Sequence[tuple[str, Any]], before: Sequence[bytes]) -> None:
    for (what, _array), was, now in zip(named, before, bytes_of([a for _what, a in named]), strict=True):
        if was != now:
            raise subject.fault(f"{says} {what}")


def nothing_is_shared(f: Function, *args: Any, constants: Sequence[Any] = (), **kwargs: Any) -> None:
    """No gradient shares memory with an operand, a cotangent, a constant or another gradient, and all are writable.

    f, args, constants, kwargs : as of ``nothing_is_changed``
    Raises GradientError where one does.

    >>> import numpy as np
    >>> nothing_is_shared(np.add, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    """
    subject = Subject("nothing_is_shared", f, args, kwargs)
    run, seeds = Recording(subject, subject.inputs), subject.seeds()
    values = [out.numpy() for out in (*run.leaves, *run.outs) if isinstance(out, tg.Tensor)]
    beside = [a for _what, a in subject.constants() if isinstance(a, np.ndarray)]
    others = [*subject.inputs, *seeds, *values, *beside, *constants]
    first = run.pull(seeds)
    for what in shared(first, others):
        raise subject.fault(what)
    for what in shared(run.pull(seeds), [*others, *first]):  # What was given out before is the caller's.
        raise subject.fault(what)


def shared(gradients: Sequence[Any], others: Sequence[Any]) -> Iterator[str]:
    """What is wrong with whose memory these gradients are; nothing, as a rule."""
    for i, gradient in enumerate(gradients):
        if any(np.shares_memory(gradient, other) for other in (*gradients[:i], *others)):
            yield "a gradient shares memory with an operand, a cotangent or another gradient"
        if not gradient.flags.writeable:
            yield "a gradient is read-only: it is somebody else's memory"


def twice_is_the_same(f: Function, *args: Any, **kwargs: Any) -> None:
    """The same call twice gives the same values and the same gradients, to the bit.

    f, args, kwargs : as of ``check_grads``
    Raises GradientError where it doesn't; a function that draws random numbers must draw the same ones.

    >>> import numpy as np
    >>> twice_is_the_same(np.sin, np.array([1.0, 2.0]))
    """
    subject = Subject("twice_is_the_same", f, args, kwargs)
    first, second = subject.plain(), subject.plain()
    if len(first) != len(second):
        raise subject.fault(f"it returned {len(first)} arrays in one call and {len(second)} in the next")
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        if a.shape != b.shape:
            raise subject.fault(f"output {k} has shape {a.shape} in one call and {b.shape} in the next")
        if np.asarray(a).tobytes() != np.asarray(b).tobytes():
            raise subject.fault(
                f"called twice, output {k} is {worst(b, a)}; a function that isn't deterministic has no gradient to "
                f"check: give it a generator of its own, seeded inside"
            )
    seeds = subject.seeds()
    _require_equal(subject, "two recordings", subject.pull(seeds), subject.pull(seeds))


def replay_is_recording(f: Function, *args: Any, **kwargs: Any) -> None:
    """Replayed with ``retain_graph``, and again, and a last time without, one recording gives what a new one gives.

    f, args, kwargs : as of ``check_grads``
    Raises GradientError where the gradients differ in a single bit.

    >>> import numpy as np
    >>> replay_is_recording(np.tanh, np.array([1.0, 2.0]))
    """
    subject = Subject("replay_is_recording", f, args, kwargs)
    seeds = subject.seeds()
    fresh = Recording(subject, subject.inputs).pull(seeds, retain=False)
    run = Recording(subject, subject.inputs)
    for number, retain in enumerate((True, True, False), 1):
        what = f"replay number {number} of one recording, beside a new one,"
        _require_equal(subject, what, run.pull(seeds, retain=retain), fresh)


def _require_equal(subject: Subject, what: str, given: Sequence[Any], right: Sequence[Any]) -> None:
    for place, a, b in zip(subject.places, given, right, strict=True):
        if a.tobytes() != b.tobytes():
            raise subject.fault(f"{place}: {what} differ: {worst(a, b)}")


def recording_keeps_the_value(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """The value with recording is the value without: its structure, shapes and dtypes, and its numbers.

    f, args, kwargs : as of ``check_grads``
    rtol : how far apart the numbers may be, relative to the largest; 0 asks for the same bits; None: 16
        roundings of each output's own dtype
    Raises GradientError where it isn't.

    >>> import numpy as np
    >>> recording_keeps_the_value(np.sin, np.array([1.0, 2.0]), rtol=0.0)
    """
    subject = Subject("recording_keeps_the_value", f, args, kwargs)
    plain = subject.parts(subject.call([x if x.ndim else x[()] for x in subject.inputs]))
    made = subject.parts(subject.call([tg.tensor(x) for x in subject.inputs]))
    with tg.no_grad():
        unrecorded = subject.parts(subject.call([tg.tensor(x) for x in subject.inputs]))
    for when, given in (("while recording", made), ("under no_grad", unrecorded)):
        if [what for what, _part in given] != [what for what, _part in plain]:
            raise subject.fault(f"{when} its outputs are {[w for w, _ in given]}, else {[w for w, _ in plain]}")
        for (what, y), (_what, right) in zip(given, plain, strict=True):
            if y.shape != right.shape or y.dtype != right.dtype:
                raise subject.fault(
                    f"{what} has shape {y.shape} and dtype {y.dtype} {when}, else {right.shape} and {right.dtype}"
                )
            inexact = right.dtype.kind in "fc"
            tolerance = VALUE_ROUNDING * float(np.finfo(right.dtype).eps) if inexact and rtol is None else rtol
            same = close(y, right, tolerance) if inexact and tolerance else np.array_equal(y, right, equal_nan=inexact)
            if not same:
                raise subject.fault(f"{what} {when} is {worst(y, right) if inexact else y!r}")
