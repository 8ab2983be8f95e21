"""Laws of agreement: two ways to the same gradient, which must lead to the same."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.containers import leaves_of, rebuilt
from tapegrad.errors import ArgumentError
from tapegrad.testing.check import GRADIENT_ROUNDING
from tapegrad.testing.laws.subject import Function, InapplicableError, Recording, Subject, worst

ROWS = 64  # of a Jacobian, so many at most are compared
NEARBY = 4  # points nearby, at which a function shows its own rounding
SPREADS = 8.0  # of the values there, so many are allowed


def in_place_agrees(f: Function, *args: Any, in_place: Function | None = None, **kwargs: Any) -> None:
    """The form that writes in place has the value and the gradients of the form that doesn't.

    in_place : a function of the same arguments that writes its result into the first one (which comes as a tensor
        that may be written); None: ``f`` with ``out=``, where it takes that, once into a new array, and once
        into its own first operand where the result has its shape and dtype
    f, args, kwargs : as of ``check_grads``
    Raises GradientError where the two differ, InapplicableError where there is no such form.

    >>> import numpy as np
    >>> in_place_agrees(np.multiply, np.array([1.0, 2.0]), 3.0)
    >>> def doubled_in_place(x):
    ...     x *= 2
    >>> in_place_agrees(lambda x: x * 2, np.array([1.0, 2.0]), in_place=doubled_in_place)
    """
    subject = Subject("in_place_agrees", f, args, kwargs)
    forms: dict[str, Function] = {}
    if in_place is not None:
        forms["in place"] = functools.partial(_written_first, in_place, kwargs)
    elif takes_out(f):
        (y, *others) = subject.plain()
        if others or len(leaves_of(subject.call(subject.inputs))[0]) != 1:
            raise InapplicableError(f"{subject.name} has several outputs")
        forms["with out="] = functools.partial(_written_out, f, kwargs, y.shape, y.dtype)
        first = subject.args[0]
        if isinstance(first, np.ndarray) and first.shape == y.shape and first.dtype == y.dtype and y.ndim:
            forms["with out= its own first operand"] = functools.partial(_written_over, f, kwargs)
    else:
        raise InapplicableError(f"{subject.name} takes no out=; tell its form in place by in_place=")
    seeds = subject.seeds()
    values, gradients = _both(subject, f, kwargs, seeds)
    for form, other in forms.items():
        given, pulled = _both(subject, other, {}, seeds)
        for k, (y, right) in enumerate(zip(given, values, strict=True)):
            subject.require(f"output {k} {form}", y, right, subject.tolerance(None))
        for place, c, right in zip(subject.places, pulled, gradients, strict=True):
            subject.require(f"{place}: the gradient {form}", c, right, subject.tolerance(None))


def takes_out(f: Function) -> bool:
    """Whether a function can be told an array to write into."""
    if isinstance(f, np.ufunc):
        return f.nout == 1
    try:
        found = inspect.signature(f).parameters.get("out")
    except (TypeError, ValueError):
        return False
    return found is not None and found.default is None


def _written_first(in_place: Function, kwargs: dict[str, Any], first: Any, *rest: Any) -> Any:
    target = first.copy() if hasattr(first, "copy") else tg.tensor(first, requires_grad=False)
    result = in_place(target, *rest, **kwargs)
    return target if result is None else result


def _written_out(f: Function, kwargs: dict[str, Any], shape: Any, dtype: Any, *args: Any) -> Any:
    buffer = tg.tensor(np.full(shape, 7.0, dtype), requires_grad=False)[...]
    f(*args, out=buffer, **kwargs)
    return buffer


def _written_over(f: Function, kwargs: dict[str, Any], first: Any, *rest: Any) -> Any:
    target = first.copy()
    f(target, *rest, out=target, **kwargs)
    return target


def _both(subject: Subject, f: Function, kwargs: dict[str, Any], seeds: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Values and gradients of another function of the subject's arguments."""
    leaves = [tg.tensor(x) for x in subject.inputs]
    outs = subject.outs_of(f(*subject.arguments(leaves), **kwargs))
    for y, seed in zip(outs, seeds, strict=True):
        if isinstance(y, tg.Tensor) and y.requires_grad:
            y.backward(seed, retain_graph=True)
    values = [y.numpy() if isinstance(y, tg.Tensor) else y for y in outs]
    return values, [np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad for leaf in leaves]


def rows_agree(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """``tg.jacobian``, which pulls many cotangents back at once, gives what pulling them one by one gives.

    f, args, rtol, kwargs : as of ``pullback_is_linear``; of more than 64 outputs, the first 64 are compared
    Raises GradientError where the two differ, InapplicableError for complex numbers, which have no Jacobian.

    >>> import numpy as np
    >>> rows_agree(np.cumsum, np.array([1.0, 2.0, 3.0]))
    """
    subject = Subject("rows_agree", f, args, kwargs)
    if any(a.dtype.kind == "c" for a in (*subject.inputs, *subject.plain())):
        raise InapplicableError(f"{subject.name} has complex arguments or results: they have no Jacobian")
    count = len(subject.inputs)
    tolerance = subject.tolerance(rtol)

    for k in range(len(subject.plain())):

        def one(*xs: Any, k: int = k) -> Any:
            return np.reshape(subject.outs(xs)[k], (-1,))[:ROWS]

        matrices = tg.jacobian(one, argnums=tuple(range(count)))(*subject.inputs)
        run = Recording(subject, subject.inputs)
        for row in range(min(run.outs[k].size, ROWS)):
            seeds = [np.zeros(y.shape, y.dtype) for y in run.outs]
            seeds[k].reshape(-1)[row] = 1
            for place, c, matrix in zip(subject.places, run.pull(seeds), matrices, strict=True):
                subject.require(f"{place}: row {row} of the Jacobian of output {k}", matrix[row], c, tolerance)


def batch_agrees(
    f: Function, *args: Any, batched: Sequence[int] = (), rtol: float | None = None, **kwargs: Any
) -> None:
    """A batch gives what its items give one by one: the values, and the gradients.

    batched : the positions of the arguments whose first axis is the batch; every output has it as well. The
        gradient of any other argument is the sum over the items.
    f, args, rtol, kwargs : as of ``pullback_is_linear``
    Raises GradientError where it doesn't, InapplicableError where ``batched`` isn't told.

    >>> import numpy as np
    >>> batch_agrees(lambda x, w: np.tanh(x @ w), np.ones((5, 2)), np.ones((2, 3)), batched=(0,))
    """
    if not batched:
        raise InapplicableError("which arguments are batches is told by batched=(0,)")
    subject = Subject("batch_agrees", f, args, kwargs)
    whose = [k for k, a in enumerate(args) for _leaf in leaves_of(a)[0]]
    if not all(0 <= k < len(args) for k in batched):
        raise ArgumentError(f"batch_agrees: batched={tuple(batched)}, and there are {len(args)} arguments")
    lengths = {np.shape(leaf)[:1] for leaf, k in zip(subject.leaves, whose, strict=True) if k in batched}
    if len(lengths) != 1 or lengths == {()}:
        raise ArgumentError(f"batch_agrees: the batched arguments have first axes {lengths}, which must be one")
    ((length,),) = lengths
    of_inputs = [whose[i] in batched for i in subject.chosen]
    seeds, tolerance = subject.seeds(), subject.tolerance(rtol)
    for k, y in enumerate(subject.plain()):
        if y.shape[:1] != (length,):
            raise subject.fault(f"output {k} has shape {y.shape}, and the batch {length} items")
    values, pulled = _both(subject, f, kwargs, seeds)
    sums = [np.zeros(x.shape, x.dtype) for x in subject.inputs]
    for item in range(length):
        of_one = [leaf[item] if k in batched else leaf for leaf, k in zip(subject.leaves, whose, strict=True)]
        one = Subject("batch_agrees", f, rebuilt(subject.structure, of_one), kwargs)
        given, gradients = _both(one, f, kwargs, [seed[item] for seed in seeds])
        for k, (y, right) in enumerate(zip(given, values, strict=True)):
            subject.require(f"output {k} of item {item} alone, and not as it is in the batch,", y, right[item],
                            tolerance, float(np.max(np.abs(right), initial=0.0)))  # fmt: skip
        for total, c, is_batched in zip(sums, gradients, of_inputs, strict=True):
            if is_batched:
                total[item] = c
            else:
                total += c
    for place, c, total in zip(subject.places, pulled, sums, strict=True):
        subject.require(f"{place}: the gradient of the batch, beside those of its items,", c, total, tolerance)


def checkpoint_agrees(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """``tg.checkpoint(f)`` has the values and the gradients of ``f``.

    f, args, rtol, kwargs : as of ``pullback_is_linear``
    Raises GradientError where the two differ.

    >>> import numpy as np
    >>> checkpoint_agrees(lambda x: np.sin(np.sin(x)), np.array([1.0, 2.0]))
    """
    subject = Subject("checkpoint_agrees", f, args, kwargs)
    seeds, tolerance = subject.seeds(), subject.tolerance(rtol)
    values, gradients = _both(subject, f, kwargs, seeds)
    again, pulled = _both(subject, tg.checkpoint(f), kwargs, seeds)
    for k, (y, right) in enumerate(zip(again, values, strict=True)):
        subject.require(f"output {k} when checkpointed", y, right, tolerance)
    for place, c, right in zip(subject.places, pulled, gradients, strict=True):
        subject.require(f"{place}: the gradient when checkpointed", c, right, tolerance)


def float32_agrees(f: Function, *args: Any, **kwargs: Any) -> None:
    """In float32 the gradients are those in float64, within what float32 itself rounds.

    How much that is, is asked of the function, not of its gradient: the bar is 64 roundings, what a change of the
    arguments by a few roundings makes of the gradient in float64, and, where values at points nearby lose r
    times more than a rounding, as in a difference of near numbers, that squared: a slope of them loses twice.

    f, args, kwargs : as of ``check_grads``; whatever their dtype, they are taken in both
    Raises GradientError where the two differ by more, InapplicableError where the arguments or the results
    don't fit into float32.

    >>> import numpy as np
    >>> float32_agrees(np.exp, np.array([1.0, 2.0]))
    """
    subject = Subject("float32_agrees", f, args, kwargs)
    eps = float(np.finfo(np.float32).eps)
    with np.errstate(all="ignore"):
        narrow = [_narrowed(x) for x in subject.inputs]
        wide = [_widened(x) for x in narrow]
        seeds = [_narrowed(seed) for seed in subject.seeds()]
        given, right = _pulled_in(subject, narrow, seeds), _pulled_in(subject, wide, seeds)
        largest = max((float(np.max(np.abs(c), initial=0.0)) for c in right), default=0.0)
        if not all(np.isfinite(x).all() for x in (*narrow, *right)) or largest > np.finfo(np.float32).max:
            raise InapplicableError(f"{subject.name}: the arguments or the gradients don't fit into float32")
        spreads, loss = [0.0] * len(given), 1.0
        for _ in range(NEARBY):
            near = [(x * (1 + eps * subject.rng.integers(-2, 3, x.shape))).astype(x.dtype) for x in wide]
            there = _pulled_in(subject, near, seeds)
            spreads = [max(s, _apart(a, b)) for s, a, b in zip(spreads, there, right, strict=True)]
            near = [_narrowed(x * (1 + 0.01 * subject.rng.random(x.shape))) for x in narrow]
            pairs = zip(subject.outs(near), subject.outs([_widened(x) for x in near]), strict=True)
            for y, exact in pairs:
                size = float(np.max(np.abs(exact), initial=0.0))
                loss = max(loss, _apart(y, exact) / (eps * size) if size else 1.0)
    for place, c, wider, spread in zip(subject.places, given, right, spreads, strict=True):
        scale = float(np.max(np.abs(wider), initial=0.0))
        bar = SPREADS * spread + GRADIENT_ROUNDING * eps * scale * loss**2
        if not _apart(c, wider) <= bar:
            raise subject.fault(f"{place}: in float32 the gradient is {worst(c, wider)}, more than {bar:.2g} away")


def _apart(a: Any, b: Any) -> float:
    """How far apart two arrays are at most; inf where one isn't finite."""
    apart = np.abs(np.asarray(a) - np.asarray(b))
    return float(np.max(np.where(np.isfinite(apart), apart, np.inf), initial=0.0))


def _widened(array: Any) -> Any:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _narrowed(array: Any) -> Any:
    return array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)


def _pulled_in(subject: Subject, inputs: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
    run = Recording(subject, inputs)
    if [y.shape for y in run.outs] != [seed.shape for seed in seeds]:
        raise InapplicableError(f"{subject.name} returns other shapes in another precision")
    return run.pull(seeds)
