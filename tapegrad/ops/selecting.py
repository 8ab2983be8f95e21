"""Selecting: what picks one of its operands at each place, and hands it the whole cotangent there.

What wasn't picked gets 0, also where the cotangent is inf or nan: a mask selects, it never multiplies.
At a tie the total is still 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import REAL, Cases, Domain, call
from tapegrad.errors import ArgumentError, UnexpectedArgumentError, WriteError
from tapegrad.kinds import pullback
from tapegrad.ops.elementwise import in_dtype
from tapegrad.primitive import composite, defvjp, elementwise, primitive
from tapegrad.shapes import select

# Values beside whole numbers, and values beside halves: two of them are never closer than 0.1.
WHOLES = Domain(-2.2, 2.2, avoid=(-1.5, -0.5, 0.5, 1.5), margin=0.3)
HALVES = Domain(-1.7, 1.7, avoid=(-1.0, 0.0, 1.0), margin=0.3)
LOW, MIDDLE, HIGH = Domain(-1.2, -0.8), Domain(-2.0, 2.0, avoid=(-1.0, 1.0), margin=0.3), Domain(0.8, 1.2)

# ---------------------------------------------------------------- the larger, the smaller


def _share(g: Any, mine: Any, others: Any) -> Any:
    """The cotangent where an operand was picked, half of it where the other was as well.

    A seam: of large plain arrays one look tells that there is no tie, which spares three passes.
    """
    picked, both = select(mine, g), mine & others
    if type(picked) is np.ndarray and type(both) is np.ndarray and not both.any():
        return picked
    return np.where(both, 0.5 * g, picked)


def _same_or_nan(y: Any, x: Any) -> Any:
    return (x == y) | (x != x)  # A nan operand makes the result nan.


def _same_or_all_nan(y: Any, x: Any) -> Any:
    return (x == y) | (y != y)  # The result is nan where both operands are.


def _picks(function: Any, picked: Callable[[Any, Any], Any]) -> None:
    lower = float(function(2.0, 3.0) == 2.0)
    elementwise(
        function,
        pullback(lambda g, y, a, b: _share(g, picked(y, a), picked(y, b))),
        pullback(lambda g, y, a, b: _share(g, picked(y, b), picked(y, a))),
        cases=Cases(
            domain=(WHOLES, HALVES),
            analytic=False,
            examples=(
                (call(np.array([1.0, 2.0]), np.array([1.0, 2.0])), (np.full(2, 0.5), np.full(2, 0.5))),
                (
                    call(np.array([1.0, 2.0]), np.array([1.0, 3.0])),
                    (np.array([0.5, lower]), np.array([0.5, 1 - lower])),
                ),
                (call(np.array([np.inf, np.nan]), np.array([np.inf, np.nan])), (np.full(2, 0.5), np.full(2, 0.5))),
            ),
            note="half to each at a tie",
        ),
    )


_picks(np.maximum, _same_or_nan)
_picks(np.minimum, _same_or_nan)
_picks(np.fmax, _same_or_all_nan)
_picks(np.fmin, _same_or_all_nan)
elementwise(
    np.heaviside,
    None,
    pullback(lambda g, _y, a, _b: select(a == 0, g)),
    cases=Cases(
        complex=False,
        analytic=False,
        examples=((call(np.array([0.0, 1.0, np.nan]), np.full(3, 0.5)), (np.zeros(3), np.array([1.0, 0.0, 0.0]))),),
        note="constant in x1; to x2 where x1 is 0",
    ),
)

# ---------------------------------------------------------------- where


@partial(primitive, name="np.where")
def where_of_three(condition: Any, x: Any, y: Any) -> Any:
    """``np.where`` with two arrays to choose from."""
    return np.where(condition, x, y)


def _is_mask(c: Any) -> bool:
    # Compared with a number, a mask would be cast to integers first. (A bool of Python's has no dtype.)
    return getattr(c, "dtype", None) == np.bool_


elementwise(
    where_of_three,
    None,
    pullback(lambda g, _y, c, _a, _b: select(c if _is_mask(c) else c != 0, g)),
    pullback(lambda g, _y, c, _a, _b: select(~c if _is_mask(c) else c == 0, g)),
    cases=Cases(
        analytic=False,
        calls=(
            call(np.array([True, False, True]), (3,), (2, 3)),
            call(np.array([[True], [False]]), (2, 3), ()),
            call(np.array([0, 2, 0]), (3,), 1.5),
            call(np.array([0, 2, 0]), np.array([True, False, True]), (3,)),
            call(np.array([np.nan, 0.0]), 0.0, (2,)),
            call(True, (2,), (2, 2)),
            call(np.False_, (2,), ()),
        ),
        note="strong: what wasn't chosen gets 0, whatever its slope",
    ),
)


@composite(
    np.where,
    cases=Cases(
        analytic=False,
        calls=(call(np.array([True, False, True]), (3,), (2, 3)), call(np.array([False, True]), (2,), 0)),
    ),
    note="with the condition alone, constant: its indices",
)
def where(condition: Any, *choices: Any) -> Any:
    """The choice of two; or, with the condition alone, ``np.nonzero``."""
    if not choices:
        return np.nonzero(condition)
    if len(choices) != 2:
        raise ArgumentError(f"np.where: either both x and y are given, or neither; got {len(choices)} of them")
    return where_of_three(condition, *choices)


# ---------------------------------------------------------------- clip


@partial(primitive, name="np.clip")
def clip_from(x: Any, low: Any) -> Any:
    """``np.clip`` with a lower bound alone."""
    return np.clip(x, low, None)


@partial(primitive, name="np.clip")
def clip_to(x: Any, high: Any) -> Any:
    """``np.clip`` with an upper bound alone."""
    return np.clip(x, None, high)


@partial(primitive, name="np.clip")
def clip_between(x: Any, low: Any, high: Any) -> Any:
    """``np.clip`` with both bounds; where they have crossed, the upper one counts."""
    return np.clip(x, low, high)


# At a bound the cotangent goes to x. So it does where x is nan: it isn't beyond a bound.
elementwise(
    clip_from,
    pullback(lambda g, _y, x, low: select(~(x < low), g)),
    pullback(lambda g, _y, x, low: select(x < low, g)),
    cases=Cases(
        domain=(WHOLES, HALVES),
        analytic=False,
        examples=((call(np.array([1.0, 0.0, 2.0, np.nan]), 1.0), (np.array([1.0, 0, 1, 1]), 1.0)),),
        note="at a bound, to x",
    ),
)
elementwise(
    clip_to,
    pullback(lambda g, _y, x, high: select(~(x > high), g)),
    pullback(lambda g, _y, x, high: select(x > high, g)),
    cases=Cases(
        domain=(WHOLES, HALVES),
        analytic=False,
        examples=((call(np.array([1.0, 0.0, 2.0, np.nan]), 1.0), (np.array([1.0, 1, 0, 1]), 1.0)),),
        note="at a bound, to x",
    ),
)
# The ufunc is what ``array.clip(tensor, tensor)`` calls, by no public name.
for _clip in (clip_between, np._core.umath.clip):  # type: ignore[attr-defined]
    elementwise(
        _clip,
        pullback(lambda g, _y, x, low, high: select(~((x < low) | (x > high)), g)),
        pullback(lambda g, _y, x, low, high: select((x < low) & ~(low > high), g)),
        pullback(lambda g, _y, x, low, high: select((x > high) | (low > high), g)),
        cases=Cases(
            domain=(MIDDLE, LOW, HIGH),
            analytic=False,
            examples=(
                (call(np.array([-1.0, 1.0]), -1.0, 1.0), (np.ones(2), 0.0, 0.0)),
                (call(np.array([-3.0, 0.0, 3.0, 5.0, np.nan]), -1.0, 1.0), (np.array([0.0, 1, 0, 0, 1]), 1.0, 2.0)),
                (call(np.array([-3.0, 0.0, 3.0]), 1.0, -1.0), (np.zeros(3), 0.0, 3.0)),
                (call(np.array([-3.0, 0.0, 3.0]), 0.0, 0.0), (np.array([0.0, 1, 0]), 1.0, 1.0)),
            ),
            note="at a bound, to x",
        ),
    )

_UNSET: Any = object()
# In NumPy 2.1 (as unstack) np.clip got them, and may be told no bound at all; Tensor.clip has them before that.
_BOUNDS_BY_NAME = (
    (
        call((2, 3), None, None),
        call((2, 3), min=-1.0),
        call((3,), max=np.array([1.0, 0.9, 1.1])),
        call((3,), min=-1.0, max=1.0),
    )
    if hasattr(np, "unstack")
    else ()
)


@composite(
    np.clip,
    note="at a bound, to x; crossed bounds give it to the upper",
    cases=Cases(
        domain=(MIDDLE, LOW, HIGH),
        analytic=False,
        calls=(
            call((2, 3), -1.0, 1.0),
            call((2, 3), (3,), ()),
            call((2, 3), None, 1.0),
            call((2, 3), -1.0, None),
            call((2,), (2,), None, dtype=np.complex128),
            *_BOUNDS_BY_NAME,
        ),
    ),
)
def clip(
    a: Any, a_min: Any = _UNSET, a_max: Any = _UNSET, out: Any = None, *, min: Any = _UNSET, max: Any = _UNSET,
    dtype: Any = None, casting: Any = "same_kind",
) -> Any:  # fmt: skip
    """One of three functions, by which bounds there are; with none of them, a copy."""
    if out is not None:
        raise WriteError("np.clip: out= of or from a tensor can't be recorded; assign the result instead")
    by_position, by_keyword = a_min is not _UNSET or a_max is not _UNSET, min is not _UNSET or max is not _UNSET
    if by_position and (by_keyword or a_min is _UNSET or a_max is _UNSET):
        raise UnexpectedArgumentError("np.clip: its bounds are a_min and a_max, both of them, or else min and max")
    given = (None if bound is _UNSET else bound for bound in ((a_min, a_max) if by_position else (min, max)))
    a, low, high = (in_dtype(x, dtype, casting) for x in (a, *given))
    if low is None:
        return np.positive(a) if high is None else clip_to(a, high)
    return clip_from(a, low) if high is None else clip_between(a, low, high)


# ---------------------------------------------------------------- nan_to_num


def _replaced(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not copy:
        raise WriteError("np.nan_to_num: copy=False would write to a tensor; assign the result instead")
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


@defvjp(
    np.nan_to_num,
    forward=_replaced,
    cases=Cases(
        analytic=False,
        domain=REAL,
        calls=(call((2, 3)), call((3,), nan=1.0, posinf=2.0, neginf=-2.0), call(())),
        examples=(
            (call(np.array([np.nan, np.inf, -np.inf, 1.0])), (np.array([0.0, 0.0, 0.0, 1.0]),)),
            (call(np.array([complex(np.nan, 1), complex(1, np.inf)])), (np.array([0, 1]),)),
            (call(np.array([complex(np.nan, 1), complex(1, np.inf)])), (np.array([1j, 1]),), 1 + 1j),
        ),
        note="0 where a value was replaced",
    ),
)
def nan_to_num_vjp(
    g: Any, _y: Any, x: Any, *, _copy: Any = True, _nan: Any = 0.0, _posinf: Any = None, _neginf: Any = None
) -> Any:
    """x_bar = g where x is finite, else 0; of complex numbers, part by part."""
    if x.dtype.kind != "c":
        return select(np.isfinite(x), g)
    return select(np.isfinite(np.real(x)), np.real(g)) + 1j * select(np.isfinite(np.imag(x)), np.imag(g))
