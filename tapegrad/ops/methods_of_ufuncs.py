"""Methods of ufuncs: reduce, accumulate, reduceat and outer, of every ufunc of two operands.

NumPy hands ``np.hypot.reduce(t)`` over as the method of the ufunc; bound methods compare and hash by ufunc and
name, so they stand in the table as functions do. Most are composites of the ufunc itself (folds.py).

``at`` writes, and is with the writes.
"""

from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, NONZERO, POSITIVE, REAL, Cases, Domain, call
from tapegrad.errors import ArgumentError
from tapegrad.kinds import Function
from tapegrad.ops.folds import ASSOCIATIVE, accumulate_of, in_loop, one_axis, reduce_of, refuse_out
from tapegrad.ops.joining import parted
from tapegrad.ops.reductions import NO_VALUE, divided
from tapegrad.primitive import composite, constant, defvjp
from tapegrad.shapes import cast, conj, restore_axes, scattered, select

# ---------------------------------------------------------------- segments, tables


def segments(indices: Any, n: int, name: str) -> tuple[Any, Any]:
    """Where each segment of a reduceat starts and stops, of n elements: from each index to the next, or one alone.

    >>> segments([0, 3, 1], 4, "np.add.reduceat")
    (array([0, 3, 1]), array([3, 4, 4]))
    """
    starts = np.asarray(indices)
    if starts.ndim != 1 or (starts.size and starts.dtype.kind not in "iu"):
        raise ArgumentError(f"{name}: its indices are integers in one row; got {starts.dtype} of shape {starts.shape}")
    if starts.size and not (starts.min() >= 0 and starts.max() < n):
        raise IndexError(f"{name}: indices from 0 to {n - 1} were expected; got {starts.min()} to {starts.max()}")
    starts = starts.astype(np.intp)
    following = np.append(starts[1:], n)
    return starts, np.where(following > starts, following, starts + 1)


def _places(starts: Any, stops: Any) -> tuple[Any, Any]:
    """The elements of all segments in a row, and the number of the segment that each is in."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    number = np.repeat(np.arange(len(starts)), lengths)
    return np.arange(ends[-1] if len(ends) else 0) - (ends - lengths - starts)[number], number


def _reduceat(ufunc: np.ufunc) -> Function:
    name = f"np.{ufunc.__name__}.reduceat"

    def reduceat(array: Any, indices: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        refuse_out(name, out)
        x = in_loop(ufunc, array, dtype)
        axis = one_axis(name, axis, x.ndim)
        starts, stops = segments(indices, x.shape[axis], name)
        x = np.moveaxis(x, axis, 0)
        if not starts.size:
            return np.moveaxis(x[:0], 0, axis)
        places, _number = _places(starts, stops)
        ends = np.cumsum(stops - starts)
        # The segments end to end: what overlaps is there more than once, what no segment takes isn't.
        bounds = tuple(zip((ends - stops + starts).tolist(), ends.tolist(), strict=True))
        parts = parted(x[places], bounds, 0)
        y = np.concatenate([p if p.shape[0] == 1 else ufunc.reduce(p, axis=0, keepdims=True) for p in parts])
        return np.moveaxis(y, 0, axis)

    return reduceat


USUAL = {"dtype": None, "casting": "same_kind", "order": "K"}


def _outer(ufunc: np.ufunc) -> Function:
    def outer(
        A: Any, B: Any, /, *, dtype: Any = None, casting: Any = "same_kind", order: Any = "K", **others: Any
    ) -> Any:  # fmt: skip
        # Python's numbers don't take part weakly here: NumPy makes arrays of them first.
        A, B = (a if hasattr(a, "dtype") else np.asarray(a) for a in (A, B))
        given = {"dtype": dtype, "casting": casting, "order": order}
        unusual = {name: value for name, value in given.items() if value != USUAL[name]}
        return ufunc(A.reshape(A.shape + (1,) * B.ndim) if B.ndim else A, B, **unusual, **others)

    return outer


# ---------------------------------------------------------------- those with a rule of their own


def _ignoring_nan_cases(sign: float) -> Cases:
    ties = sign * np.array([1.0, np.nan, 3.0, 3.0])
    return Cases(
        domain=DISTINCT,
        calls=(
            *_REDUCE_CALLS,
            call((2, 3), axis=(0, -1), keepdims=True),
            call((2, 3), dtype=np.complex128),
            call((), axis=0),
        ),
        examples=(
            (call(ties), (np.array([0, 0, 0.5, 0.5]),)),
            (call(ties, initial=3.0 * sign), (np.array([0, 0, 1, 1]) / 3,)),
            (call(ties, initial=np.nan), (np.array([0, 0, 0.5, 0.5]),)),
            (call(ties, initial=-9.0 * sign, where=np.array([True] * 3 + [False])), (np.array([0.0, 0, 1, 0]),)),
            (call(np.full(2, np.nan)), (np.full(2, 0.5),)),
            (call(np.full(2, np.nan), initial=np.nan), (np.ones(2) / 3,)),
            # As the loop has them, 0.1 in single precision is tied with itself.
            (call(sign * np.array([0.1, 0.05]), dtype=np.float32, initial=0.1 * sign), (np.array([0.5, 0]),)),
        ),
        analytic=False,
        note="the tied share equally, a winning initial= included; nan only where all are",
    )


def _ignoring_nan_vjp(
    g: Any, y: Any, array: Any, *, axis: Any = 0, _dtype: Any = None, _out: Any = None,
    keepdims: Any = False, initial: Any = NO_VALUE, where: Any = True,
) -> Any:  # fmt: skip
    """a_bar = g / (number of the tied) at each of the tied; where the result is nan, all are."""
    y = restore_axes(y, array.shape, axis, keepdims)
    a = array if array.dtype == y.dtype else cast(array, y.dtype)
    tied = (a == y) | np.isnan(y)
    if where is not True:
        tied = tied & where
    n = np.sum(tied, axis=axis, keepdims=True) if tied.ndim else tied.astype(np.intp)
    if initial is not NO_VALUE and initial is not None:
        start = y.dtype.type(initial)
        n = n + ((y == start) | np.isnan(y))
    return select(tied, divided(restore_axes(g, array.shape, axis, keepdims), n))


def running_choice_vjp(g: Any, y: Any, _array: Any, *, axis: Any = 0, _dtype: Any = None, _out: Any = None) -> Any:
    """Where the result changes, that element was chosen: it gets every g from there to the next change."""
    if g.size == 0:
        return g
    y, g = np.moveaxis(y, axis, -1), np.moveaxis(g, axis, -1)
    before, after = y[..., :-1], y[..., 1:]
    changed = (after != before) & ((after == after) | (before == before))  # From nan to nan is no change.
    chosen = np.concatenate([np.ones((*g.shape[:-1], 1), bool), changed], axis=-1)
    sums = np.add.reduceat(g.reshape(-1), np.flatnonzero(chosen))
    return np.moveaxis(scattered(sums, chosen, g.shape), -1, axis)


def _add_reduceat(array: Any, indices: Any, *parameters: Any, **named: Any) -> Any:
    # Of an empty list, which NumPy takes, an array of floats was made, which it doesn't.
    return np.add.reduceat(array, indices if indices.size else indices.astype(np.intp), *parameters, **named)


def add_reduceat_vjp(
    g: Any, _y: Any, _array: Any, indices: Any, *, axis: Any = 0, _dtype: Any = None, _out: Any = None
) -> Any:
    """Each element gets the g of every segment that it is in."""
    axis = one_axis("np.add.reduceat", axis, _array.ndim)
    starts, stops = segments(indices, _array.shape[axis], "np.add.reduceat")
    if len(starts) and np.all(starts[1:] > starts[:-1]):  # One after another: nothing adds up.
        spread = np.repeat(g, stops - starts, axis=axis)
        if not starts[0]:
            return spread, None
        before = np.zeros_like(g, shape=(*_array.shape[:axis], starts[0], *_array.shape[axis + 1 :]))
        return np.concatenate([before, spread], axis=axis), None
    places, number = _places(starts, stops)
    lead = (slice(None),) * axis
    return scattered(g[(*lead, number)], (*lead, places), _array.shape), None


def _multiply_outer(A: Any, B: Any, **parameters: Any) -> Any:
    return np.multiply.outer(A, B, **{name: value for name, value in parameters.items() if value != USUAL[name]})


def multiply_outer_vjp(
    g: Any, _y: Any, A: Any, B: Any, *, _dtype: Any = None, _casting: Any = "same_kind", _order: Any = "K"
) -> Any:
    """A_bar = g conj(B), B_bar = conj(A) g, summed as products of a matrix and a vector."""
    a, b = np.reshape(A, (-1,)), np.reshape(B, (-1,))  # Either may be a number.
    G = g.reshape((a.shape[0], b.shape[0]))
    return lambda: (G @ conj(b)).reshape(A.shape), lambda: (conj(a) @ G).reshape(B.shape)


# ---------------------------------------------------------------- registration

_MASK = np.array([[True, False, True], [False, True, True]])
_REDUCE_CALLS = (
    call((3, 2)),
    call((2, 3), axis=-1, keepdims=True),
    call((2, 3), axis=1, initial=0.7),
    call((2, 3), axis=0, initial=0.7, where=_MASK),
)
_CALLS: dict[str, Any] = {
    "reduce": (*_REDUCE_CALLS, call((0, 2), initial=0.7), call((), axis=0)),
    "accumulate": (call((3, 2)), call((2, 4), axis=-1), call((0, 2)), call((1, 2))),
    "reduceat": (
        call((5, 2), np.array([0, 2, 4])),
        call((2, 5), np.array([1, 1, 4, 2]), axis=-1),
        call((3,), np.array([], int)),
        call((3, 5, 2), np.array([1, 3]), axis=1),
    ),
    "outer": (call((2,), (3,)), call((2, 1), (2,)), call((), (2,)), call((2,), 1.2)),
}
# With a dtype that takes what the ufunc takes: complex numbers, or only real ones.
_WITH_DTYPE: dict[str, Any] = {
    "reduce": lambda dtype: call((3, 2), dtype=dtype),
    "accumulate": lambda dtype: call((5,), dtype=dtype),
    "reduceat": lambda dtype: call((5,), np.array([3, 0]), dtype=dtype),
    "outer": lambda dtype: call((2,), (2,), dtype=dtype, casting="unsafe", order="F"),
}


def _calls(method: str, dtype: Any) -> Any:
    return *_CALLS[method], _WITH_DTYPE[method](dtype)


# Where order doesn't matter, any axes will do.
_ANY_AXES = (call((2, 3), axis=None), call((2, 3, 2), axis=(0, -1), keepdims=True), call((2, 3), axis=(), initial=0.7))
# NumPy 2.4 folds these wrongly along the last axis in memory, and in segments of three or more, where it runs
# AVX-512: power.reduce([a, b, c]) comes to a**c. Ours are right; the cases stay where NumPy's own are, too.
_MISCOUNTED = frozenset({np.power, np.arctan2})
_ALONG_FIRST: dict[str, Any] = {
    "reduce": (
        call((3, 2)),
        call((3, 2), axis=-2, keepdims=True),
        call((3, 2), initial=0.7),
        call((3, 2), initial=0.7, where=_MASK.T),
        call((3, 2), dtype=np.longdouble),
    ),
    "reduceat": (call((5, 2), np.array([0, 2, 4])), call((4, 2), np.array([1, 1, 3, 2]), axis=0, dtype=np.longdouble)),
}
_GENERIC: dict[str, Any] = {"reduce": reduce_of, "accumulate": accumulate_of, "reduceat": _reduceat, "outer": _outer}


def _running_choice_cases(ufunc: np.ufunc) -> Cases:
    sign = 1.0 if ufunc in (np.maximum, np.fmax) else -1.0
    missing = np.array([np.nan, np.nan, 1.0, np.nan])
    ignores_nan = ufunc in (np.fmax, np.fmin)
    return Cases(
        domain=DISTINCT,
        calls=_calls("accumulate", np.complex128),
        examples=(
            (call(sign * np.array([2.0, 2.0, 1.0, 2.0, 3.0])), (np.array([4.0, 0.0, 0.0, 0.0, 1.0]),)),
            (call(missing), (np.array([2.0, 0.0, 2.0, 0.0]) if ignores_nan else np.array([4.0, 0.0, 0.0, 0.0]),)),
            (call(missing[2:]), (np.array([2.0, 0.0]) if ignores_nan else np.array([1.0, 1.0]),)),
        ),
        analytic=False,
        note="of several tied, the first",
        neutral=False,
    )


# Whole quotients, at which remainders jump, are far from those of any two of these.
_APART = Domain(1.03, 2.9, distinct=True)
_QUOTIENT = (Domain(2.6, 3.4), Domain(1.15, 1.25))
_BELOW_ABOVE = (Domain(-2.0, -0.2), Domain(0.2, 2.0))


def _register(
    ufunc: np.ufunc,
    domain: Any,
    methods: Any = ("reduce", "accumulate", "reduceat", "outer"),
    complex: bool = False,
    analytic: bool = False,
    outer: Any = None,
) -> None:
    """Give a ufunc its methods; ``outer``: the domains of two operands, where they aren't that of one."""
    for method in methods:
        calls = _calls(method, np.complex128 if complex else np.float64)
        if ufunc in _MISCOUNTED:
            calls = _ALONG_FIRST.get(method, calls)
        if method == "reduce" and ufunc in ASSOCIATIVE:
            calls += _ANY_AXES
        cases = Cases(outer if outer and method == "outer" else domain, calls, complex=complex, analytic=analytic)
        composite(getattr(ufunc, method), cases=cases)(_GENERIC[method](ufunc))


_ufunc: Any
for _ufunc in (np.subtract, np.divide):
    _register(_ufunc, NONZERO, complex=True, analytic=True)
_register(np.power, POSITIVE)
_register(np.float_power, POSITIVE, ("reduce", "accumulate", "reduceat"), complex=True, analytic=True)
composite(np.float_power.outer, cases=Cases(POSITIVE, _CALLS["outer"]))(_outer(np.float_power))
for _ufunc in (np.hypot, np.arctan2, np.copysign):
    _register(_ufunc, NONZERO)
for _ufunc in (np.logaddexp, np.logaddexp2, np.nextafter):
    _register(_ufunc, REAL)
for _ufunc in (np.fmod, np.remainder):
    _register(_ufunc, _APART, outer=_QUOTIENT)
for _ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
    _register(_ufunc, DISTINCT, ("reduceat", "outer"), complex=True, outer=_BELOW_ABOVE)
    defvjp(_ufunc.accumulate, cases=_running_choice_cases(_ufunc))(running_choice_vjp)
# The reduce of maximum and minimum, and that of add and multiply, is in reductions.py.
defvjp(np.fmax.reduce, cases=_ignoring_nan_cases(1.0))(_ignoring_nan_vjp)
defvjp(np.fmin.reduce, cases=_ignoring_nan_cases(-1.0))(_ignoring_nan_vjp)

_register(np.add, REAL, ("outer",), complex=True, analytic=True)
_register(np.multiply, REAL, ("reduceat",), complex=True, analytic=True)
defvjp(np.multiply.outer, multilinear=True, forward=_multiply_outer, cases=Cases(calls=_calls("outer", np.complex128)))(
    multiply_outer_vjp
)
# One past 255 is more than such an index holds.
_OTHER_SEGMENTS = (call((4,), np.array([1, 1, 3]), axis=None), call((300,), np.array([255, 3], np.uint8)))
defvjp(
    np.add.reduceat,
    forward=_add_reduceat,
    cases=Cases(calls=(*_calls("reduceat", np.complex128), *_OTHER_SEGMENTS)),
)(add_reduceat_vjp)


def _cumulated(function: Function) -> Function:
    """``ufunc.accumulate`` written in ``function``, which differs by its default axis."""

    def accumulate(array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        return function(array, axis=axis, dtype=dtype, **({} if out is None else {"out": out}))

    return accumulate


composite(np.add.accumulate, cases=Cases(calls=_calls("accumulate", np.complex128)))(_cumulated(np.cumsum))
composite(np.multiply.accumulate, cases=Cases(calls=_calls("accumulate", np.complex128)))(_cumulated(np.cumprod))

# heaviside is constant in its first operand: what counts is the last slice, where those before came to 0.
_HEAVISIDE = {
    "reduce": (call(np.array([[0.0, -1.0], [1.7, 0.3]])), (np.array([[0.0, 0.0], [1.0, 0.0]]),)),
    "accumulate": (call(np.array([0.0, 1.7])), (np.array([1.0, 1.0]),)),
    "reduceat": (call(np.array([0.0, 1.7, 0.4]), np.array([0, 2])), (np.array([0.0, 1.0, 1.0]), None)),
    "outer": (call(np.array([0.0, -1.0]), np.array([0.5, 0.7])), (np.zeros(2), np.ones(2))),
}
for _method, _example in _HEAVISIDE.items():
    composite(
        getattr(np.heaviside, _method),
        cases=Cases(NONZERO, _CALLS[_method][:1], (_example,), complex=False, analytic=False),
    )(_GENERIC[_method](np.heaviside))
composite(np.divmod.outer, cases=Cases(_QUOTIENT, (call((2,), (3,)),), complex=False, analytic=False))(
    _outer(np.divmod)
)
composite(np.ldexp.outer, cases=Cases(calls=(call((2,), np.array([1, -2])),), complex=False))(_outer(np.ldexp))

# What the ufunc itself is constant in, and what NumPy has no loop for and says so.
_CONSTANT = (
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or,
    np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift, np.gcd, np.lcm,
    np.floor_divide,
)  # fmt: skip
constant(*(getattr(_ufunc, _method) for _ufunc in _CONSTANT for _method in _GENERIC))
constant(np.ldexp.reduce, np.ldexp.accumulate, np.ldexp.reduceat)
