"""Laws of the calculus: what holds between derivatives of one function, whatever the function is."""

from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.containers import leaves_of
from tapegrad.testing.check import GRADIENT_ROUNDING, check_grads
from tapegrad.testing.laws.subject import Function, InapplicableError, Recording, Subject
from tapegrad.transforms.leaves import made_of

FEW = 24  # outputs whose totals are looked at one by one


def derivatives_are_right(f: Function, *args: Any, order: int = 2, rtol: float | None = None, **kwargs: Any) -> None:
    """The derivatives agree with differences, to this order: it is ``check_grads``.

    f, args, order, rtol, kwargs : as of ``check_grads``
    Raises GradientError where they don't, UndecidedError where differences can't tell.

    >>> import numpy as np
    >>> derivatives_are_right(np.sin, np.array([1.0, 2.0]))
    """
    check_grads(f, *args, order=order, rtol=rtol, **kwargs)


def pullback_is_linear(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """The pullback is linear in its cotangent, with real factors, as Re<a, b> asks.

    f, args, kwargs : as of ``check_grads``
    rtol : how far apart two gradients may be, relative to the largest entry; None: 64 roundings of the
        narrowest dtype
    Raises GradientError where it isn't.

    >>> import numpy as np
    >>> pullback_is_linear(np.sin, np.array([1.0, 2.0]))
    """
    subject = Subject("pullback_is_linear", f, args, kwargs)
    u, v = subject.seeds(), subject.seeds()
    both = [np.asarray(2 * a - 3 * b).astype(a.dtype) for a, b in zip(u, v, strict=True)]
    tolerance = subject.tolerance(rtol)
    pulled = zip(*(subject.pull(seeds) for seeds in (u, v, both)), strict=True)
    for place, (a, b, mixed) in zip(subject.places, pulled, strict=True):
        with np.errstate(all="ignore"):
            expected = np.asarray(2 * a - 3 * b)
        scale = float(np.max(np.abs(a) + np.abs(b), initial=0.0, where=np.isfinite(expected)))
        subject.require(f"{place}: the gradient for 2u - 3v isn't that of u twice less that of v three times",
                        mixed, expected, tolerance, scale)  # fmt: skip


def zeros_give_zeros(f: Function, *args: Any, order: int = 2, **kwargs: Any) -> None:
    """A cotangent of zeros gives zeros, exactly, also where a slope is infinite or nan: the strong zero.

    order : 2 asks it of the derivative of the pullback as well, with a zero cotangent before it or after it
    Raises GradientError where anything but 0 comes out.

    >>> import numpy as np
    >>> zeros_give_zeros(np.sqrt, np.array([0.0, 1.0]))
    """
    subject = Subject("zeros_give_zeros", f, args, kwargs)
    with np.errstate(all="ignore"):
        zeros = [np.zeros(y.shape, y.dtype) for y in subject.plain()]
        _require_zeros(subject, "a cotangent of 0", subject.pull(zeros))
        if order < 2:
            return
        ones = [np.ones(y.shape, y.dtype) for y in zeros]
        for what, first, second in (("a first", zeros, 1.0), ("a second", ones, 0.0)):
            run = Recording(subject, subject.inputs)
            pulled = run.pull([tg.tensor(seed) for seed in first], create_graph=True)
            for c in pulled:
                if isinstance(c, tg.Tensor) and c.requires_grad:
                    c.backward(np.full(c.shape, second, c.dtype), retain_graph=True)
            gradients = [np.zeros(()) if leaf.grad is None else leaf.grad for leaf in run.leaves]
            _require_zeros(subject, f"{what} cotangent of 0 at order two", gradients)


def _require_zeros(subject: Subject, what: str, gradients: list[Any]) -> None:
    for place, gradient in zip(subject.places, gradients, strict=True):
        bad = np.argwhere(np.asarray(gradient) != 0)
        if len(bad):
            index = tuple(int(k) for k in bad[0])
            raise subject.fault(f"{place}: {what} gives {np.asarray(gradient)[index]!r} at index {index}, not 0")


def jvp_is_the_adjoint(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """<Jv, u> = <v, J^T u>, with Jv by ``tg.jvp`` and J^T u by ``backward``, under Re<a, b>.

    f, args, rtol, kwargs : as of ``pullback_is_linear``
    Raises GradientError where it isn't so.

    >>> import numpy as np
    >>> jvp_is_the_adjoint(np.matmul, np.eye(2), np.array([1.0, 2.0]))
    """
    subject = Subject("jvp_is_the_adjoint", f, args, kwargs)
    u, v = subject.seeds(), subject.tangents()
    _out, moved = tg.jvp(lambda *xs: subject.outs(xs), tuple(subject.inputs), tuple(v))
    pulled = subject.pull(u)
    ahead, back = _inner(u, moved), _inner(v, pulled)
    scale = _size(u, moved) + _size(v, pulled)
    if np.isfinite(scale) and not abs(ahead - back) <= subject.tolerance(rtol) * scale:
        raise subject.fault(f"<Jv, u> = {ahead!r}, and <v, J^T u> = {back!r}")


def hessian_is_symmetric(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """<Hv, w> = <v, Hw>, for the Hessian of <u, f> at a random cotangent u, by ``tg.hvp``.

    f, args, rtol, kwargs : as of ``pullback_is_linear``
    Raises GradientError where it isn't so.

    >>> import numpy as np
    >>> hessian_is_symmetric(np.multiply, np.array([1.0, 2.0]), 3.0)
    """
    subject = Subject("hessian_is_symmetric", f, args, kwargs)
    u, v, w = subject.seeds(), subject.tangents(), subject.tangents()

    def loss(*xs: Any) -> Any:
        return sum(np.real(np.sum(np.conj(a) * y)) for a, y in zip(u, subject.outs(xs), strict=True))

    by_v, by_w = (tg.hvp(loss, tuple(subject.inputs), tuple(t)) for t in (v, w))
    left, right = _inner(by_v, w), _inner(v, by_w)
    scale = _size(by_v, w) + _size(v, by_w)
    if np.isfinite(scale) and not abs(left - right) <= subject.tolerance(rtol) * scale:
        raise subject.fault(f"<Hv, w> = {left!r}, and <v, Hw> = {right!r}: the Hessian isn't symmetric")


def _inner(a: Any, b: Any) -> float:
    """The real inner product of two lists of arrays."""
    with np.errstate(all="ignore"):
        return float(sum(np.sum(np.real(np.conj(x) * y)) for x, y in zip(a, b, strict=True)))


def _size(a: Any, b: Any) -> float:
    """How large an inner product is at most."""
    with np.errstate(all="ignore"):
        return float(sum(np.sum(np.abs(x) * np.abs(y)) for x, y in zip(a, b, strict=True)))


def gradients_are_like_arguments(f: Function, *args: Any, **kwargs: Any) -> None:
    """Every gradient has the shape, the dtype and the structure of its argument, by ``backward`` and by ``tg.vjp``.

    f, args, kwargs : as of ``pullback_is_linear``
    Raises GradientError where one hasn't.

    >>> import numpy as np
    >>> gradients_are_like_arguments(lambda p: p["a"] * p["b"], {"a": np.ones(2, np.float32), "b": 2.0})
    """
    subject = Subject("gradients_are_like_arguments", f, args, kwargs)
    args = subject.args
    seeds = subject.seeds()
    for place, x, gradient in zip(subject.places, subject.inputs, subject.pull(seeds), strict=True):
        if gradient.shape != x.shape or gradient.dtype != x.dtype:
            raise subject.fault(
                f"{place} has shape {x.shape} and dtype {x.dtype}, its gradient {gradient.shape} and {gradient.dtype}"
            )
    # Arguments all of whose leaves are inputs; the others can't be handed to a transform.
    whole = [k for k, a in enumerate(args) if leaves_of(a)[0] and all(map(_is_input, leaves_of(a)[0]))]

    def of_some(*some: Any) -> list[Any]:
        given = list(args)
        for k, a in zip(whole, some, strict=True):
            given[k] = a
        return subject.outs_of(subject.f(*given))

    _out, pullback = tg.vjp(of_some, *(args[k] for k in whole))
    for k, gradient in zip(whole, pullback(seeds), strict=True):
        (leaves, structure), (given, made) = leaves_of(args[k]), leaves_of(gradient)
        if _kinds(structure) != _kinds(made):
            raise subject.fault(f"argument {k} is a {_said(args[k])}, its gradient a {_said(gradient)}")
        for leaf, g in zip(leaves, given, strict=True):
            if made_of(g) is not made_of(leaf) or np.shape(g) != np.shape(leaf) or g.__class__ != _plain_class(leaf):
                raise subject.fault(f"argument {k}: the gradient of {_said(leaf)} is {_said(g)}")


def _is_input(leaf: Any) -> bool:
    return isinstance(leaf, (float, complex)) or getattr(getattr(leaf, "dtype", None), "kind", "") in ("f", "c")


def _plain_class(leaf: Any) -> type:
    return np.ndarray if isinstance(leaf, (np.ndarray, tg.Tensor)) else type(leaf)


def _kinds(structure: Any) -> Any:
    """A structure without what builds it."""
    return structure and (structure.kind, structure.keys, tuple(_kinds(part) for part in structure.parts))


def _said(value: Any) -> str:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    return type(value).__name__ + ("" if dtype is None else f" of {dtype}, shape {shape}")


def ties_total_one(f: Function, *args: Any, rtol: float | None = None, **kwargs: Any) -> None:
    """Where the function moves as its inputs do (``f(x + c) = f(x) + c``), each output's gradients add up to 1.

    So for whatever selects: ``max``, ``median``, ``sort``, ``maximum``. It is asked at the arguments, and at
    the same with ties: rounded, and all equal.

    f, args, rtol, kwargs : as of ``pullback_is_linear``
    Raises GradientError where they don't, InapplicableError where the function doesn't move so.

    >>> import numpy as np
    >>> ties_total_one(np.max, np.array([1.0, 3.0, 3.0]))
    """
    subject = Subject("ties_total_one", f, args, kwargs)
    if any(x.dtype.kind == "c" for x in subject.inputs) or not all(x.size for x in subject.inputs):
        raise InapplicableError(f"{subject.name} has complex or empty arguments, which aren't in order")
    tolerance = subject.tolerance(rtol, GRADIENT_ROUNDING)
    if not _moves_along(subject, subject.inputs, tolerance):
        raise InapplicableError(f"{subject.name} doesn't move as its inputs do: f(x + c) isn't f(x) + c")
    first = subject.inputs[0].flat[0]
    tied = [np.rint(x).astype(x.dtype) for x in subject.inputs]
    equal = [np.full(x.shape, first, x.dtype) for x in subject.inputs]
    for there in (subject.inputs, tied, equal):
        run = Recording(subject, there)
        for k, y in enumerate(run.outs):
            for i in range(min(y.size, FEW)):
                seeds = [np.zeros(z.shape, z.dtype) for z in run.outs]
                seeds[k].flat[i] = 1.0
                total = float(sum(np.sum(c) for c in run.pull(seeds)))
                if not abs(total - 1.0) <= tolerance * max(1, sum(x.size for x in there)):
                    raise subject.fault(
                        f"element {i} of output {k} moves as its inputs do, and its gradients add up to {total!r}, "
                        f"not 1, at {there!r}"
                    )


def _moves_along(subject: Subject, there: list[Any], tolerance: float) -> bool:
    """Whether every output moves by c as all inputs do."""
    here = [np.asarray(y) for y in subject.outs(there)]
    for c in (0.25, -3.5):
        moved = [np.asarray(y) for y in subject.outs([(x + c).astype(x.dtype) for x in there])]
        for a, b in zip(here, moved, strict=True):
            size = 1.0 + float(np.max(np.abs(a), initial=0.0))
            if not a.size or a.shape != b.shape or not np.all(np.abs(b - a - c) <= tolerance * size):
                return False
    return True
