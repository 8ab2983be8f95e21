"""Convolution and correlation of one-dimensional arrays: a closed family of two.

The cotangents of ``convolve`` are correlations of g with the other operand, those of ``correlate`` a
convolution and a correlation: what was "full" is pulled back by "valid", and the other way round.
Both are bilinear (``correlate`` conjugates its second operand), hence the strong zero.
"""

from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp
from tapegrad.shapes import scattered

NAMED = {0: "v", 1: "s", 2: "f"}  # NumPy also takes the number of a mode


def _initial(mode: Any) -> str:
    """A mode by its first letter, which is all that NumPy looks at."""
    return NAMED[mode] if mode in NAMED else str(mode)[0].lower()


def _vector(x: Any) -> Any:
    return x.reshape(-1) if hasattr(x, "reshape") else np.reshape(x, -1)  # The latter of a Python number.


def _completed(g: Any, n: int, m: int, start: int) -> Any:
    """The cotangent of mode "same" as one of mode "full", of which it is the part from ``start``."""
    return scattered(g, slice(start, start + g.shape[0]), (n + m - 1,))


PAIRS = (
    ((4,), (3,)), ((3,), (4,)), ((5,), (2,)), ((2,), (5,)), ((3,), (3,)), ((2,), (2,)), ((1,), (3,)), ((4,), (1,)),
    ((1,), (1,)),
)  # fmt: skip
MODES = ("full", "same", "valid")
EACH_MODE = tuple(call(a, v, mode=mode) for mode in MODES for a, v in PAIRS)


@defvjp(
    np.convolve,
    multilinear=True,
    cases=Cases(
        calls=(*EACH_MODE, call((4,), (3,)), call((), (3,)), call((2,), ()), call((3,), 2.0), call((3,), [1.0, 2.0]))
    ),
)
def convolve_vjp(g: Any, _y: Any, a: Any, v: Any, *, mode: Any = "full") -> Any:
    """a_bar_k = sum over i of g_i conj(v_(i-k)): g correlated with v; v_bar likewise."""
    A, V, kind = _vector(a), _vector(v), _initial(mode)
    n, m = A.shape[0], V.shape[0]
    if kind == "s":
        g, kind = _completed(g, n, m, (min(n, m) - 1) // 2), "f"
    # The longer operand meets all of the shorter in each valid output, so that it gets the "full" form.
    return (
        lambda: np.correlate(g, V, "full" if kind == "v" and n >= m else "valid").reshape(np.shape(a)),
        lambda: np.correlate(g, A, "full" if kind == "v" and n < m else "valid").reshape(np.shape(v)),
    )


@defvjp(
    np.correlate,
    multilinear=True,
    # It conjugates its second operand, but for real ones that makes no difference to the complex step.
    cases=Cases(calls=(*EACH_MODE, call((4,), (3,)), call((3,), [1.0, 2.0], mode="full")), analytic=False),
)
def correlate_vjp(g: Any, _y: Any, a: Any, v: Any, *, mode: Any = "valid") -> Any:
    """a_bar = g convolved with v; v_bar_n = sum over k of conj(g_k) a_(n+k): a correlated with g."""
    n, m, kind = a.shape[0], v.shape[0], _initial(mode)
    if kind == "s":
        # NumPy correlates the shorter with the longer by turning the result round: the middle of an even one moves.
        g, kind = _completed(g, n, m, (m - 1) // 2 if n >= m else n // 2), "f"
    return (
        lambda: np.convolve(g, v, "full" if kind == "v" and n >= m else "valid"),
        lambda: np.correlate(a, g, "full" if kind == "v" and n < m else "valid"),
    )
