"""What every rule in the table has to keep: one check a promise, each on one call of one function.

A check raises GradientError where the promise is broken. tests/test_rules.py runs all of them over the
whole table, tests/test_planted.py on rules that are wrong on purpose; both mean the same thing by
"wrong" because it is said here. All of them take a ``Trial`` (draw.py): the function and the call.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.kinds import Elementwise, Primitive
from tapegrad.testing.check import (
    FORWARD_ROUNDING,
    GRADIENT_ROUNDING,
    GradientError,
    compare_with_differences,
    complex_step,
    outputs,
    random_like,
    random_seeds,
    vjp,
    vjp_function,
)
from tapegrad.testing.draw import Trial, elementwise_trial, invoke
from tapegrad.testing.laws import (
    nothing_is_changed,
    nothing_is_shared,
    pullback_is_linear,
    recording_keeps_the_value,
    replay_is_recording,
)
from tapegrad.testing.laws.subject import near

Check = Callable[[Trial], None]

REAL_KINDS: tuple[tuple[Any, ...], ...] = ((np.float32,), (np.float64,), (np.float32, np.float64))
COMPLEX_KINDS: tuple[tuple[Any, ...], ...] = (
    (np.complex128,),
    (np.complex64,),
    (np.float64, np.complex128),
    (np.complex128, np.float32),
)
WIDE = (np.float64, np.complex128)
# Where slopes are infinite, nan, or overflow on the way.
EXTREMES = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 1e300, -1e300, 1e-300)


# ---------------------------------------------------------------- what a check is made of


def rng_of(trial: Trial) -> np.random.Generator:
    """The same random numbers for the same trial, in every run."""
    return np.random.default_rng(list(str(trial).encode()))


def dtypes_of(trial: Trial, wide: bool = False) -> list[tuple[Any, ...]]:
    """The dtypes to draw the operands with, in turn; mixed ones for two operands and more.

    wide : only double precision, where differences tell something
    """
    kinds = REAL_KINDS + (COMPLEX_KINDS if trial.cases.complex else ())
    if wide:
        kinds = tuple(k for k in kinds if all(dtype in WIDE for dtype in k))
    return [k for k in kinds if len(k) <= max(1, len(trial.slots))]


def errors_of(trial: Trial, arrays: Sequence[Any]) -> Any:
    """``np.errstate`` that raises for everything, unless the function itself warns on these arrays."""
    try:
        with np.errstate(all="raise"):
            trial.run(*arrays)
    except FloatingPointError:
        return np.errstate(all="ignore")
    return np.errstate(all="raise")


def pull(trial: Trial, arrays: Sequence[Any], seeds: Sequence[Any], wanted: Sequence[bool] | None = None) -> list[Any]:
    """The gradients of the arrays that are wanted (of all, if None), in order; the others are constants."""
    wanted = wanted or [True] * len(arrays)

    def run(*leaves: Any) -> Any:
        rest = iter(leaves)
        return trial.run(*(next(rest) if want else a for a, want in zip(arrays, wanted, strict=True)))

    with errors_of(trial, arrays):
        return list(vjp(run, [a for a, want in zip(arrays, wanted, strict=True) if want], seeds).values())


def fault(trial: Trial, message: str) -> GradientError:
    """The error for a broken promise: which call, and how."""
    shapes = ", ".join(str(slot.shape) for slot in trial.slots)
    return GradientError(f"{trial} (operands {shapes}; parameters {trial.call.parameters}): {message}")


def keeps(law: Callable[..., None], trial: Trial, arrays: Sequence[Any], **how: Any) -> None:
    """The call keeps a law (laws/), with these operands; nothing on the way warns unless the function does."""
    if not arrays:  # Its operands are all constants: there is nothing to differentiate.
        return
    with errors_of(trial, arrays):
        try:
            law(trial.run, *arrays, **how)
        except GradientError as error:
            error.add_note(str(fault(trial, f"with operands of dtypes {[str(a.dtype) for a in arrays]}")))
            raise


# ---------------------------------------------------------------- values and derivatives


def check_value(trial: Trial) -> None:
    """A recorded call gives NumPy's value, shape and dtype: to the bit where the same function runs."""
    rng = rng_of(trial)
    rtol = 0.0 if trial.known.run is trial.known.function else None
    for dtypes in dtypes_of(trial):
        keeps(recording_keeps_the_value, trial, trial.draw(rng, *dtypes), rtol=rtol)


def check_first_order(trial: Trial) -> None:
    """Every cotangent lies within the bar of the differences, for real, complex and mixed operands."""
    for dtypes in dtypes_of(trial, wide=True):
        arrays = trial.draw(rng_of(trial), *dtypes)
        _against_differences(trial, trial.run, arrays, _eps(trial, arrays), 12)


def check_second_order(trial: Trial) -> None:
    """So does every cotangent of the rule itself, which is differentiated by operands and by cotangent.

    Also at a cotangent of 0, where a rule that tests ``g == 0`` has lost the derivative by g.
    """
    if trial.cases.order < 2:
        return
    kinds = dtypes_of(trial, wide=True)
    for dtypes in kinds if isinstance(trial.known, Elementwise) else [k for k in kinds if len(k) == 1]:
        rng = rng_of(trial)
        arrays = trial.draw(rng, *dtypes)
        seeds = random_seeds(trial.run, arrays, rng)
        pulled_back, eps = vjp_function(trial.run, len(arrays)), _eps(trial, arrays)
        _against_differences(trial, pulled_back, [*arrays, *seeds], eps, 2)
        _against_differences(trial, pulled_back, [*arrays, *(0 * seed for seed in seeds)], eps, 0)


def check_together(trial: Trial) -> None:
    """Cotangents of several outputs that come to the rule at once give what they give one after the other.

    At both orders: the other checks sweep once for each output, so that the rule meets the rest as None.
    """
    for dtypes in dtypes_of(trial, wide=True):
        rng = rng_of(trial)
        arrays = trial.draw(rng, *dtypes)
        seeds = random_seeds(trial.run, arrays, rng)
        if len(seeds) < 2:
            return

        def weighted(*both: Any, count: int = len(arrays)) -> Any:
            made = outputs(trial.run(*both[:count]))
            return sum(np.sum(np.real(np.conj(u) * y)) for u, y in zip(both[count:], made, strict=True))

        both, one = [*arrays, *seeds], [np.array(1.0)]
        together = vjp(weighted, both, one)
        for i, alone in enumerate(pull(trial, arrays, seeds)):
            if not near(together[i], alone, GRADIENT_ROUNDING):
                raise fault(trial, f"operand {i}: {together[i]!r} of all outputs at once, one by one {alone!r}")
        if trial.cases.order > 1:
            _against_differences(trial, vjp_function(weighted, len(both)), [*both, *one], _eps(trial, arrays), 2)


def _against_differences(trial: Trial, f: Any, arrays: Sequence[Any], eps: float, coordinates: int) -> None:
    try:
        compare_with_differences(f, arrays, eps, rng_of(trial), coordinates)
    except GradientError as error:
        error.add_note(str(fault(trial, f"with operands of dtypes {[str(a.dtype) for a in arrays]}")))
        raise


def _eps(trial: Trial, arrays: Sequence[Any]) -> float:
    made = [*outputs(trial.run(*arrays)), *arrays]
    return max((float(np.finfo(y.dtype).eps) for y in made), default=float(np.finfo(np.float64).eps))


def check_complex_step(trial: Trial) -> None:
    """Where the function is analytic, real cotangents agree with the complex step, to rounding."""
    if not (trial.cases.analytic and trial.cases.complex):
        return
    rng = rng_of(trial)
    arrays = trial.draw(rng, np.float64)
    seeds = random_seeds(trial.run, arrays, rng)
    if any(seed.dtype.kind == "c" for seed in seeds):
        return  # Re<u, f> of a complex result isn't analytic.
    eps = _eps(trial, arrays)
    for i, gradient in enumerate(pull(trial, arrays, seeds)):
        direction = random_like(arrays[i], rng)

        def projected(x: Any, i: int = i) -> Any:
            there = [x if k == i else a for k, a in enumerate(arrays)]
            return sum(np.sum(u * y) for u, y in zip(seeds, outputs(trial.run(*there)), strict=True))

        expected = float(complex_step(projected, arrays[i], direction))
        given = float(np.sum(gradient * direction))
        scale = float(np.sum(np.abs(gradient * direction))) + sum(float(np.sum(np.abs(u))) for u in seeds)
        if not abs(given - expected) <= GRADIENT_ROUNDING * eps * scale:
            raise fault(
                trial, f"operand {i}: the complex step gives {expected!r} along a direction, backward {given!r}"
            )


# ---------------------------------------------------------------- cotangents as arrays


def check_cotangents(trial: Trial) -> None:
    """Each cotangent has its operand's shape and dtype, and is finite where the operands are."""
    for dtypes in dtypes_of(trial):
        rng = rng_of(trial)
        arrays = trial.draw(rng, *dtypes)
        for i, (c, a) in enumerate(zip(pull(trial, arrays, random_seeds(trial.run, arrays, rng)), arrays, strict=True)):
            if c.shape != a.shape or c.dtype != a.dtype:
                raise fault(trial, f"operand {i}: a cotangent of shape {c.shape}, {c.dtype} for {a.shape}, {a.dtype}")
            if not np.isfinite(c).all():
                raise fault(trial, f"operand {i}: a cotangent that isn't finite, {c!r}, at {arrays!r}")


def check_ownership(trial: Trial) -> None:
    """Nothing handed over is changed; no cotangent shares memory with anything; twice is the same."""
    for dtypes in dtypes_of(trial, wide=True):
        arrays = trial.draw(rng_of(trial), *dtypes)
        keeps(nothing_is_changed, trial, arrays, constants=trial.constants)
        keeps(nothing_is_shared, trial, arrays, constants=trial.constants)
        keeps(replay_is_recording, trial, arrays)


def check_linearity(trial: Trial) -> None:
    """The rule is linear in the cotangent (with real factors, as Re<a, b> asks)."""
    for dtypes in dtypes_of(trial, wide=True):
        keeps(pullback_is_linear, trial, trial.draw(rng_of(trial), *dtypes))


def check_constants(trial: Trial) -> None:
    """With any one operand recorded and the others constant, its cotangent is what it is with all recorded."""
    count = len(trial.slots)
    for dtypes in dtypes_of(trial, wide=True):
        rng = rng_of(trial)
        arrays = trial.draw(rng, *dtypes)
        seeds = random_seeds(trial.run, arrays, rng)
        for i, together in enumerate(pull(trial, arrays, seeds) if count > 1 else ()):
            (alone,) = pull(trial, arrays, seeds, [k == i for k in range(count)])
            if alone.dtype != together.dtype or not near(alone, together, FORWARD_ROUNDING):
                raise fault(trial, f"operand {i}: {alone!r} with the others constant, else {together!r}")


def check_examples(trial: Trial) -> None:
    """The examples of the cases give the cotangents that they say, also where the rule itself is recorded."""
    for recorded in (False, True) if trial.cases.order > 1 else (False,):
        for example in trial.cases.examples:
            _check_example(trial, recorded, *example)


def _check_example(trial: Trial, recorded: bool, example: Any, expected: Sequence[Any], cotangent: Any = 1) -> None:
    leaves: list[Any] = []
    operands = [[_leaf(v, leaves) for v in o] if type(o) is list else _leaf(o, leaves) for o in example.operands]
    with np.errstate(all="ignore"):
        ys = outputs(invoke(trial.known, operands, example.parameters))
        for y, seed in zip(ys, cotangent if type(cotangent) is list else [cotangent] * len(ys), strict=True):
            if isinstance(y, tg.Tensor) and y.requires_grad:
                y.backward(np.full(y.shape, seed, y.dtype), retain_graph=True, create_graph=recorded)
    if len(expected) != len(leaves):
        raise fault(trial, f"{example} has {len(leaves)} operands, and cotangents are given for {len(expected)}")
    for leaf, right in zip(leaves, expected, strict=True):
        if right is None or not isinstance(leaf, tg.Tensor):
            continue
        given = np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad
        given = given.numpy() if isinstance(given, tg.Tensor) else given
        right = np.asarray(right, leaf.dtype)
        if given.shape != right.shape or not near(given, right, GRADIENT_ROUNDING):
            raise fault(trial, f"{example} gives {given!r} instead of {right!r}")


def _leaf(operand: Any, leaves: list[Any]) -> Any:
    """An operand of an example: one of floats or complex numbers records."""
    if isinstance(operand, (float, complex, np.ndarray, np.generic)) and np.asarray(operand).dtype.kind in "fc":
        operand = tg.tensor(operand)
    leaves.append(operand)
    return operand


# ---------------------------------------------------------------- elementwise functions


def check_broadcasting(known: Elementwise, shapes: Sequence[tuple[int, ...]], dtype: Any) -> None:
    """Broadcast operands get the sum of what the operands repeated by hand get."""
    trial = elementwise_trial(known, *shapes)
    rng = rng_of(trial)
    arrays = trial.draw(rng, dtype)
    seeds = random_seeds(trial.run, arrays, rng)
    (shape,) = (y.shape for y in outputs(trial.run(*arrays)))
    full = [np.broadcast_to(a, shape).copy() for a in arrays]
    pairs = zip(pull(trial, arrays, seeds), pull(trial, full, seeds), strict=True)
    for i, (c, repeated) in enumerate(pairs):
        expected = _summed(repeated, arrays[i].shape)
        if c.shape != arrays[i].shape or c.dtype != arrays[i].dtype or not near(c, expected, GRADIENT_ROUNDING):
            raise fault(trial, f"operand {i}: broadcast, it gets {c!r} instead of {expected!r}")


def _summed(c: Any, shape: tuple[int, ...]) -> Any:
    lead = c.ndim - len(shape)
    axes = (*range(lead), *(lead + k for k, n in enumerate(shape) if n == 1 and c.shape[lead + k] != 1))
    return np.sum(c, axis=axes, keepdims=False).reshape(shape)


def check_strong_zero(known: Elementwise) -> None:
    """A cotangent of exactly 0 contributes 0, whatever the slope: at both orders, beside others that aren't 0."""
    assert known.cases is not None
    # Of several orders, SciPy adds up series, which takes hours where they end nowhere.
    extremes = [x for x in EXTREMES if len(known.refused) < 2 or not abs(x) > 2]
    for dtype in WIDE if known.cases.complex else WIDE[:1]:
        drawn = known.arity - len(known.refused)
        grid = np.meshgrid(*[np.array(extremes, dtype)] * drawn, indexing="ij")
        points = [g.ravel() for g in grid]
        trial = elementwise_trial(known, *[points[0].shape] * known.arity)
        _assert_strong(trial, points)
        # One point in the domain with a cotangent of 1, beside which the others mustn't be spoiled, nor it.
        safe = elementwise_trial(known, *[(1,)] * known.arity).draw(rng_of(trial), dtype)
        points = [np.concatenate([s, p]) for s, p in zip(safe, points, strict=True)]
        trial = elementwise_trial(known, *[points[0].shape] * known.arity)
        _assert_strong(trial, points, live=1)


def _assert_strong(trial: Trial, points: Sequence[Any], live: int = 0) -> None:
    """No operand gets anything but 0 where the cotangent is 0; the first ``live`` points have a cotangent of 1."""
    with np.errstate(all="ignore"):
        for recording in _recordings(len(points)):
            leaves = [tg.tensor(p, requires_grad=r) for p, r in zip(points, recording, strict=True)]
            for y in outputs(trial.run(*leaves)):
                if not (isinstance(y, tg.Tensor) and y.requires_grad):
                    continue
                none = np.zeros(y.shape, y.dtype)
                none[:live] = 1
                y.backward(none, retain_graph=True)
                _assert_zero(trial, "first order", leaves, points, live)
                _assert_strong_at_second_order(trial, y, leaves, points, live)


def _assert_strong_at_second_order(
    trial: Trial, y: Any, leaves: Sequence[Any], points: Sequence[Any], live: int
) -> None:
    assert trial.cases is not None
    if trial.cases.order < 2:
        return
    ones, zeros = np.ones(y.shape, y.dtype), np.zeros(y.shape, y.dtype)
    zeros[:live] = 1
    # What the first cotangent didn't let through, and then what the second doesn't.
    for what, first, second in (("a first", zeros, ones), ("a second", ones, zeros)):
        seed = tg.tensor(first)
        y.backward(seed, create_graph=True)
        pulled = [(leaf, leaf.grad) for leaf in leaves if leaf.grad is not None]
        for leaf, _c in pulled:
            leaf.grad = None
        for _leaf, c in pulled:
            if isinstance(c, tg.Tensor) and c.requires_grad:
                c.backward(
                    second.real.astype(c.dtype) if c.dtype.kind == "f" else second.astype(c.dtype), retain_graph=True
                )
        _assert_zero(trial, f"{what} cotangent of 0 at order two", leaves, points, live)
        if second is zeros and seed.grad is not None and np.any(seed.grad[live:] != 0):
            raise fault(trial, f"the cotangent gets {seed.grad[live:]!r} from {what} cotangent of 0, not 0")


def _assert_zero(trial: Trial, when: str, leaves: Sequence[Any], points: Sequence[Any], live: int) -> None:
    for i, leaf in enumerate(leaves):
        if leaf.grad is not None:
            bad = np.flatnonzero(leaf.grad[live:] != 0) + live
            if bad.size:
                where = tuple(p[bad[0]] for p in points)
                raise fault(trial, f"{when}: operand {i} gets {leaf.grad[bad[0]]} at {where} from a cotangent of 0")
            if live and not np.isfinite(leaf.grad[:live]).all():
                raise fault(trial, f"{when}: operand {i} gets {leaf.grad[:live]} where nothing is infinite")
            leaf.grad = None


def _recordings(count: int) -> list[tuple[bool, ...]]:
    """All operands recording, and each of them alone."""
    alone = [tuple(k == i for k in range(count)) for i in range(count)]
    return [(True,) * count] + (alone if count > 1 else [])


# ---------------------------------------------------------------- multilinear functions


def check_missing_data(trial: Trial) -> None:
    """An entry that isn't finite, and meets only zero cotangents, counts as 0: at both orders.

    Which outputs an entry meets is asked of the function itself: it is linear in each operand, so
    those that aren't 0 when the operand is 0 but for this entry.
    """
    if not (isinstance(trial.known, Primitive) and trial.known.multilinear):
        return
    rng = rng_of(trial)
    arrays = trial.draw(rng, np.float64)
    for i, operand in enumerate(arrays):
        if operand.size == 0:
            continue
        place = int(rng.integers(operand.size))
        alone = np.zeros(operand.shape)
        alone.flat[place] = 1.0
        (touched,) = outputs(trial.run(*(alone if k == i else np.ones(a.shape) for k, a in enumerate(arrays))))
        seed = random_like(np.asarray(touched), rng) * (touched == 0)
        for missing in (np.nan, np.inf, -np.inf):
            spoiled, clean = operand.copy(), operand.copy()
            spoiled.flat[place], clean.flat[place] = missing, 0.0
            _assert_counts_as_zero(
                trial,
                i,
                [spoiled if k == i else a for k, a in enumerate(arrays)],
                [clean if k == i else a for k, a in enumerate(arrays)],
                seed,
                missing,
            )


def _assert_counts_as_zero(
    trial: Trial, i: int, spoiled: Sequence[Any], clean: Sequence[Any], seed: Any, missing: float
) -> None:
    with np.errstate(all="ignore"):
        given = vjp(trial.run, spoiled, [seed])
        right = vjp(trial.run, clean, [seed])
        for k, c in given.items():
            if not near(c, right[k], FORWARD_ROUNDING):
                raise fault(trial, f"{missing} in operand {i} meets no cotangent, and operand {k} gets {c!r}")
        leaves = [tg.tensor(a) for a in spoiled]
        recorded = vjp(trial.run, leaves, [tg.tensor(seed)], create_graph=True)
        for c in recorded.values():
            if isinstance(c, tg.Tensor) and c.requires_grad:
                c.backward(np.ones(c.shape), retain_graph=True)
        for k, leaf in enumerate(leaves):
            if leaf.grad is not None and not np.isfinite(leaf.grad).all():
                raise fault(trial, f"{missing} in operand {i} spoils operand {k} at order two: {leaf.grad!r}")


CHECKS: tuple[Check, ...] = (
    check_value,
    check_first_order,
    check_second_order,
    check_complex_step,
    check_cotangents,
    check_ownership,
    check_linearity,
    check_constants,
    check_examples,
    check_missing_data,
    check_together,
)


def check_trial(trial: Trial) -> None:
    """Every check, on one call."""
    for check in CHECKS:
        check(trial)
