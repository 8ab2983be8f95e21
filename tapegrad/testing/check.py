"""Check gradients against numbers that owe nothing to any rule: NumPy only.

A gradient check is as good as its tolerance. Here nobody chooses one. Central differences at four
halved steps are extrapolated to step 0 (Richardson 1911), which gives a derivative *and* how far to
trust it: the last two extrapolates differ by about the truncation error, and rounding of the values
adds ``eps * |f| / step``. The two make a bar around the numeric value; a gradient outside of the bar
is wrong. Where the bar is too wide to tell, the check says so rather than pass.

A function with an output of any shape is projected on a random cotangent u: the vjp of u is compared
with the derivative of Re<u, f(x)>, one coordinate of x at a time, and for large x along random
directions as well. Complex arguments are moved along both of their parts; the cotangent is the
adjoint under Re<a, b>, so its parts are the derivatives along 1 and along i.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.errors import TapegradError

Function = Callable[..., Any]

LEVELS = 4  # steps to a tableau, each half of the one before: truncation of order step**8
TRIES = 12  # tableaus, each with steps SHRINK times smaller than the one before
SHRINK = 16.0
FORWARD_ROUNDING = 16.0  # bound on the rounding of a value, and of its extrapolation, in units of eps
GRADIENT_ROUNDING = 64.0  # bound on the rounding of a gradient, in units of eps times its largest entry
ACCEPTED = 1e-5  # of |f| / step: a wider bar says that the steps are too large for the function
TELLING = 1e-3  # of the gradient's scale: a wider bar tells nothing
NOTHING = 1e-11  # of |f|: so narrow a bar around 0 lets a gradient of 0, to rounding, pass
COORDINATES = 50  # an argument with more elements is probed at a sample of them, and along directions
DIRECTIONS = 2


class GradientError(TapegradError, AssertionError):
    """A gradient that isn't the derivative."""


class UndecidedError(GradientError):
    """Differences can't tell: the function has a kink or a pole here, or rounds too much."""


# ---------------------------------------------------------------- what a user calls


def check_vjp(f: Function, *args: Any, **kwargs: Any) -> None:
    """Compare the gradients of ``f`` by ``backward()`` with central differences.

    f : function of arrays (and of tensors), which returns an array or a sequence of arrays, any shapes
    args : arrays and Python numbers; those of dtype float and complex are checked, others left alone.
        What is narrower than float64 is checked in float64; that its gradient has its own shape and
        dtype is checked as it stands.
    kwargs : passed to ``f`` as they are
    Raises GradientError where a gradient is wrong, UndecidedError where differences can't tell.

    >>> import numpy as np
    >>> check_vjp(lambda x, y: np.sin(x) * y, np.array([1.0, 2.0]), 3.0)

    Ridders 1982 for the extrapolation.
    """
    check_grads(f, *args, order=1, **kwargs)


def check_grads(f: Function, *args: Any, order: int = 2, rtol: float | None = None, **kwargs: Any) -> None:
    """Compare the derivatives of ``f`` up to ``order`` with central differences.

    Each order takes the one before for its function: order 2 checks ``(x, u) -> vjp(x, u)``, recorded by
    ``backward(u, create_graph=True)``, so that the rules themselves are differentiated.

    f, args, kwargs : as for ``check_vjp``
    order : the highest order checked, at least 1
    rtol : the relative rounding error of one evaluation of ``f``; None: that of the narrowest dtype
        that ``f`` returns
    Raises GradientError and UndecidedError, as ``check_vjp``.

    >>> import numpy as np
    >>> check_grads(np.multiply, np.array([1.0, 2.0]), np.array([3.0, 4.0]), order=3)
    """
    check_kinds(f, *args, **kwargs)
    wide = [widened(a) for a in args]
    g: Function = functools.partial(f, **kwargs)
    eps = rtol or max((np.finfo(y.dtype).eps for y in outputs(_values(g, wide))), default=np.finfo(float).eps)
    rng = np.random.default_rng(0)
    for k in range(1, order + 1):
        compare_with_differences(g, wide, float(eps), rng, COORDINATES if k == 1 else COORDINATES // 4)
        if k < order:
            seeds = random_seeds(g, wide, rng)
            g, wide = vjp_function(g, len(wide)), [*wide, *seeds]


def check_kinds(f: Function, *args: Any, **kwargs: Any) -> None:
    """Raise GradientError unless each gradient has the shape and the dtype of its argument.

    >>> import numpy as np
    >>> check_kinds(np.add, np.ones((2, 3), np.float32), np.ones(3))
    """
    given = [np.asarray(a) if differentiable(a) else a for a in args]
    seeds = random_seeds(functools.partial(f, **kwargs), given, np.random.default_rng(0))
    for i, gradient in vjp(functools.partial(f, **kwargs), given, seeds).items():
        argument = given[i]
        if gradient.shape != argument.shape or gradient.dtype != argument.dtype:
            surplus = gradient.ndim > argument.ndim or (
                gradient.ndim == argument.ndim and gradient.size > argument.size
            )
            raise GradientError(
                f"argument {i} has shape {argument.shape} and dtype {argument.dtype}, its gradient "
                f"{gradient.shape} and {gradient.dtype}" + ("; not summed over a broadcast axis" if surplus else "")
            )


def complex_step(f: Function, x: Any, direction: Any = 1.0) -> Any:
    """The derivative of ``f`` at the real ``x`` along ``direction``, exact to rounding.

    f : analytic function of an array, that takes complex arrays: of shape s to any shape
    x : array of shape s, float
    direction : array that broadcasts to s, float
    Returns an array of the shape of ``f(x)``. There is no difference of near numbers to lose digits in.

    >>> import numpy as np
    >>> complex_step(np.sin, np.array([0.0, 1.0])) - np.cos([0.0, 1.0])
    array([0., 0.])

    Squire & Trapp 1998, "Using complex variables to estimate derivatives of real functions".
    """
    step = 1e-20  # Its square is lost against 1 even in extended precision, and far from underflow.
    with np.errstate(all="ignore"):
        y = f(np.asarray(x) + 1j * step * np.asarray(direction))
        return np.imag(y) / step


# ---------------------------------------------------------------- pulling back


def differentiable(value: Any) -> bool:
    """Whether a gradient is taken by this argument: floats and complex numbers, arrays of them."""
    if isinstance(value, (np.ndarray, np.generic, tg.Tensor)):
        return bool(value.dtype.kind in "fc")
    return isinstance(value, (float, complex))


def widened(value: Any) -> Any:
    """A differentiable argument in float64 or complex128; any other as it is."""
    if not differentiable(value) or isinstance(value, tg.Tensor):
        return value
    array = np.asarray(value)
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def outputs(result: Any) -> list[Any]:
    """The floating and complex arrays (or tensors) among the outputs of a function, in order."""
    return [y if hasattr(y, "dtype") else np.asarray(y) for y in parts_of(result) if differentiable(y)]


def parts_of(result: Any) -> Iterator[Any]:
    """What a result holds, in order: itself, or what its lists and tuples hold.

    >>> list(parts_of((1, [2, (3,)])))
    [1, 2, 3]
    """
    if isinstance(result, (tuple, list)):
        for part in result:
            yield from parts_of(part)
    else:
        yield result


def random_seeds(f: Function, args: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """A cotangent for each output of ``f``: of its shape and dtype, of size about 1 and away from 0."""
    return [random_like(y, rng) for y in outputs(_values(f, args))]


def random_like(y: Any, rng: np.random.Generator) -> Any:
    """An array of the shape and dtype of ``y``, its entries (both parts of them) of size 0.5 to 1.5."""

    def draw() -> Any:
        return rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)

    return np.asarray(draw() + 1j * draw() if y.dtype.kind == "c" else draw()).astype(y.dtype)


def vjp(f: Function, args: Sequence[Any], seeds: Sequence[Any], create_graph: bool = False) -> dict[int, Any]:
    """The gradients of ``f`` for those cotangents of its outputs: position of an argument -> gradient.

    Arguments that are tensors must be leaves, whose ``.grad`` is None; arrays are made into leaves. A
    gradient that nothing reaches is zeros.
    """
    leaves = [a if isinstance(a, tg.Tensor) or not differentiable(a) else tg.tensor(a) for a in args]
    for y, seed in zip(outputs(f(*leaves)), seeds, strict=True):
        if isinstance(y, tg.Tensor) and y.requires_grad:
            y.backward(seed, retain_graph=True, create_graph=create_graph)
    gradients = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, tg.Tensor) and leaf.requires_grad:
            gradients[i] = np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad
            leaf.grad = None
    return gradients


def vjp_function(f: Function, count: int) -> Function:
    """``(*args, *seeds) -> gradients``, of arrays or of tensors that record, for an ``f`` of ``count`` arguments."""

    def pulled_back(*both: Any) -> tuple[Any, ...]:
        recorded = any(isinstance(a, tg.Tensor) for a in both)
        return tuple(vjp(f, both[:count], both[count:], create_graph=recorded).values())

    return pulled_back


def _values(f: Function, args: Sequence[Any]) -> Any:
    with np.errstate(all="ignore"):
        return f(*args)


# ---------------------------------------------------------------- differences


class Slope(NamedTuple):
    """A derivative by differences, and the bar around it."""

    value: float
    bar: float  # absolute; infinite where no step gave a consistent answer
    size: float  # of the value: sum of |u| |f|


def slope_along(
    f: Function, args: Sequence[Any], i: int, direction: Any, u: Any, here: Any, eps: float, gradient: Any
) -> Slope:
    """The derivative of Re<u, f(args)> as argument ``i`` moves along ``direction``.

    u, here : the cotangents and the values of all outputs at ``args``, each in one row
    """
    whole = float(np.sum(np.abs(u) * np.abs(here)))
    # Moving x rounds it, by eps |x|, which the gradient turns into a rounding of the value.
    moved = float(np.sum(np.abs(args[i]) * np.abs(np.where(np.isfinite(gradient), gradient, 0)) * (direction != 0)))

    def pair(step: float) -> tuple[float, float, float]:
        """The central difference, the gap between the one-sided ones, and the size of what moved."""
        shift = step * direction
        ahead, behind = (_row(f(*args[:i], args[i] + s, *args[i + 1 :])) for s in (shift, -shift))
        change = (ahead != behind) | (ahead != here)
        ahead, behind, middle, w = ahead[change], behind[change], here[change], np.conj(u[change])
        difference = float(np.real(w * (ahead - behind)).sum())
        gap = float(np.real(w * (ahead + behind - 2 * middle)).sum())
        size = float((np.abs(w) * np.maximum(np.abs(ahead), np.abs(behind))).sum())
        return difference / (2 * step), abs(gap) / step, size

    best = Slope(math.nan, math.inf, whole)
    first = 2.0 ** math.floor(math.log2(eps) / (2 * LEVELS + 1))  # balances truncation with rounding
    with np.errstate(all="ignore"):
        for attempt in range(TRIES):
            steps = [first / SHRINK**attempt / 2**k for k in range(LEVELS)]
            central, gaps, sizes = (list(column) for column in zip(*map(pair, steps), strict=True))
            value, truncation = _extrapolated(central)
            size = max(sizes)
            rounding = FORWARD_ROUNDING * eps * (size + moved) / steps[-1]
            # Of a smooth function the gap halves with the step; at a kink it stays.
            kink = gaps[-1] if gaps[-1] > 0.75 * gaps[0] and gaps[-1] > 4 * rounding else 0.0
            bar = truncation + rounding + kink
            if size == 0.0 and math.isfinite(value):
                return Slope(0.0, bar, whole)
            if not bar <= ACCEPTED * size / steps[0] + rounding:
                continue
            if bar < best.bar:
                best = Slope(value, bar, whole)
            if best.bar < bar or truncation <= rounding:
                break
    return best


def _row(result: Any) -> Any:
    """All outputs in one row."""
    rows = [y.reshape(-1) for y in outputs(result)]
    return rows[0] if len(rows) == 1 else np.concatenate([np.empty(0), *rows])


def _extrapolated(central: list[float]) -> tuple[float, float]:
    """Richardson's extrapolate of differences at halved steps, and how much the last ones differ."""
    before, row = [0.0], [central[0]]
    for difference in central[1:]:
        before, row = row, [difference]
        for j, coarser in enumerate(before, 1):
            row.append(row[-1] + (row[-1] - coarser) / (4.0**j - 1))
    return row[-1], max(abs(row[-1] - row[-2]), abs(row[-1] - before[-1]))


# ---------------------------------------------------------------- comparing


def compare_with_differences(
    f: Function, args: Sequence[Any], eps: float, rng: np.random.Generator, coordinates: int = COORDINATES
) -> None:
    """Raise GradientError where a gradient of ``f`` lies outside of the bar of the differences.

    args : float64 and complex128 arrays, and anything that isn't differentiable
    eps : relative rounding error of one evaluation
    coordinates : of an argument with more elements, so many coordinates are probed, and directions
    """
    seeds = random_seeds(f, args, rng)
    u, here = _row(seeds), _row(_values(f, args))
    for i, gradient in vjp(f, args, seeds).items():
        bar_of = functools.partial(slope_along, f, args, i, u=u, here=here, eps=eps, gradient=gradient)
        probes = list(_probes(args[i], coordinates, rng))
        slopes = [bar_of(probe) for probe in probes]
        analytic = [float(np.sum(np.real(np.conj(gradient) * probe))) for probe in probes]
        worst = _worst(analytic, slopes, probes, gradient, args[i], eps)
        if worst is not None:
            k, undecided = worst
            kind = UndecidedError if undecided else GradientError
            where = _place(probes[k])
            says = "differences can't tell" if undecided else "the gradient is wrong"
            looks = "" if undecided else _likeness(gradient, args[i], bar_of)
            raise kind(
                f"argument {i} (shape {args[i].shape}, dtype {args[i].dtype}), {where}: {says}; "
                f"backward gives {analytic[k]!r}, differences {slopes[k].value!r} +- {slopes[k].bar:.2g}{looks}"
            )


def _probes(x: Any, coordinates: int, rng: np.random.Generator) -> Iterator[Any]:
    """Directions to move along: single coordinates, each part of a complex one; random ones of a large x."""
    scale = np.maximum(np.abs(x), 1.0)
    parts = (1.0, 1j) if x.dtype.kind == "c" else (1.0,)
    chosen = range(x.size) if x.size <= coordinates else rng.choice(x.size, coordinates // 2, replace=False)
    for k in chosen:
        for part in parts:
            direction = np.zeros(x.size, x.dtype)
            direction[k] = part * scale.flat[k]
            yield direction.reshape(x.shape)
    if x.size > coordinates:
        for _ in range(DIRECTIONS):
            yield random_like(x, rng) * scale


def _worst(
    analytic: Sequence[float], slopes: Sequence[Slope], probes: Sequence[Any], gradient: Any, x: Any, eps: float
) -> tuple[int, bool] | None:
    """The probe that is furthest outside, and whether its bar was too wide to tell; None: all are right."""
    largest = max((abs(v) for v in (*analytic, *(s.value for s in slopes)) if math.isfinite(v)), default=0.0)
    largest = max(largest, float(np.max(np.abs(gradient), initial=0.0, where=np.isfinite(gradient))))
    outside = []
    for k, (a, slope) in enumerate(zip(analytic, slopes, strict=True)):
        scale = largest * max(1.0, float(np.sqrt(np.count_nonzero(probes[k]))))
        allowed = slope.bar + GRADIENT_ROUNDING * eps * scale
        if abs(a) <= GRADIENT_ROUNDING * eps * slope.size and abs(slope.value) <= slope.bar <= NOTHING * slope.size:
            continue  # Zero, by both.
        if not slope.bar <= TELLING * scale:
            outside.append((math.inf if math.isfinite(a) else math.nan, k, True))
        elif not abs(a - slope.value) <= allowed:
            outside.append((abs(a - slope.value) / allowed if allowed else math.inf, k, False))
    if not outside:
        return None
    # What is surely wrong comes before what can't be told; nan before all.
    _excess, k, undecided = max(outside, key=lambda o: (not o[2], math.isnan(o[0]), o[0]))
    return k, undecided


def _place(probe: Any) -> str:
    """The index that a probe moves, or that it moves them all."""
    places = np.argwhere(probe)
    if len(places) != 1:
        return "along a random direction"
    index = tuple(int(k) for k in places[0])
    part = ""
    if probe.dtype.kind == "c":
        part = " (imaginary part)" if probe[index].imag else " (real part)"
    return f"index {index}{part}"


def _likeness(gradient: Any, x: Any, slope_of: Callable[[Any], Slope]) -> str:
    """What the wrong gradient looks like, beside the right one; empty where it resembles nothing."""
    if x.size > COORDINATES:
        return ""
    right = np.zeros(x.size, x.dtype)
    bar = 0.0
    for k in range(x.size):
        for part in (1.0, 1j) if x.dtype.kind == "c" else (1.0,):
            direction = np.zeros(x.size, x.dtype)
            direction[k] = part
            slope = slope_of(direction.reshape(x.shape))
            right[k] += part * slope.value
            bar = max(bar, slope.bar)
    right = right.reshape(x.shape)
    near = max(bar, TELLING * float(np.max(np.abs(right), initial=0.0)))
    likenesses = {
        "zero everywhere": 0 * right,
        "of the wrong sign": -right,
        "half of it": right / 2,
        "twice as large": right * 2,
        "conjugated": np.conj(right),
        "transposed": right.T,
    }
    for name, like in likenesses.items():
        if like.shape != gradient.shape or np.all(np.abs(right - like) <= near):
            continue  # It doesn't fit, or is right.
        if np.all(np.abs(gradient - like) <= near):
            return f"; it is {name}"
    return ""
