"""Cumulative functions: running sums and running products along an axis.

The gradient of a running sum runs backwards. That of a running product is a prefix times a sum over
suffixes, and this sum is a linear recurrence, a primitive of its own: its adjoint is one again, so that
every order is exact where factors are zero.
"""

from itertools import accumulate
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp, primitive
from tapegrad.shapes import cast, conj

_SIDES = (
    call((5,)),
    call((2, 3)),
    call((2, 3), axis=0),
    call((2, 3), axis=-1),
    call((2, 3, 2), axis=1),
    call(()),
    call((), axis=0),
    call((0,)),
    call((2, 0), axis=0),
    call((2, 0), axis=1),
    call((2, 3), axis=1, dtype=np.complex128),
)
_STANDARD = (
    call((5,)),
    call((5,), axis=None, include_initial=True),
    call((2, 3), axis=0),
    call((2, 3), axis=-1, include_initial=True),
    call((2, 3, 2), axis=1, include_initial=True, dtype=np.complex128),
    call((0,), include_initial=True),
    call((2, 0), axis=0, include_initial=False),
)


def _part(x: Any, axis: int, part: slice) -> Any:
    return x[(*(slice(None),) * (axis % x.ndim), part)]


_FIRST, _BUT_FIRST, _BUT_LAST = slice(0, 1), slice(1, None), slice(0, -1)

# ---------------------------------------------------------------- sums


def _sums_to_come(g: Any, axis: int, mine: bool = False) -> Any:
    """The sum of each element and all after it. A seam: plain arrays are written from the end, not flipped.

    mine : whether ``g`` is a temporary, which may be written to
    """
    if type(g) is not np.ndarray:
        return np.flip(np.cumsum(np.flip(g, axis), axis), axis)
    out = g if mine else np.empty_like(g)
    np.cumsum(np.flip(g, axis), axis, out=np.flip(out, axis))
    return out


@defvjp(np.cumsum, cases=Cases(calls=_SIDES))
def cumsum_vjp(g: Any, _y: Any, _a: Any, *, axis: int | None = None, _dtype: Any = None, _out: Any = None) -> Any:
    """a_bar_i = sum of g_k over k >= i."""
    c = _sums_to_come(g, axis or 0)
    return c if c.shape == _a.shape else c.reshape(_a.shape)


@primitive
def recurrence(links: Any, values: Any, axis: int = 0) -> Any:
    """s_0 = values_0, s_i = values_i + links_{i-1} s_{i-1}: a linear recurrence along an axis.

    links : array, one shorter along ``axis`` than ``values``, else of its shape
    Returns an array of the shape of ``values``. About 4 n multiplications, in log2 n rounds.

    >>> recurrence(np.array([2.0, 0.0]), np.array([1.0, 1.0, 1.0]))
    array([1., 3., 1.])

    Pairs of steps are steps of the same kind (Blelloch 1990, Prefix sums and their applications, 1.4).
    """
    links, values = np.moveaxis(links, axis, 0), np.moveaxis(values, axis, 0)
    s = _in_pairs(links, values)
    # The links of pairs are products, which may overflow where no partial sum does.
    if not np.isfinite(s).all():
        s = _step_by_step(links, values)
    return np.moveaxis(s, 0, axis)


def _in_pairs(a: Any, b: Any) -> Any:
    n = b.shape[0]
    if n < 2:
        return b
    half = n // 2
    over, into = a[0::2], a[1::2]  # from an even place to the odd one after it; from there to the next even one
    odd = _in_pairs(into[: half - 1] * over[1:], b[1::2] + over * b[: 2 * half : 2])
    even = np.concatenate([b[:1], b[2::2] + into * odd[: into.shape[0]]])
    mixed = np.stack([even[:half], odd], axis=1).reshape(2 * half, *b.shape[1:])
    return np.concatenate([mixed, even[half:]]) if n % 2 else mixed


def _step_by_step(a: Any, b: Any) -> Any:
    """The recurrence as it is written; what isn't finite counts as 0 where it meets an exact 0."""
    n, width = b.shape[0], int(np.prod(b.shape[1:]))
    dtype = np.result_type(a, b)
    links, rows = a.reshape(n - 1, width), b.reshape(n, width).astype(dtype)
    if width < 32 and dtype.char in "fdFD":  # Python's numbers are ten times quicker than rows so short.
        columns = [
            list(accumulate(zip([0.0, *link], row, strict=True), _step, initial=0.0))[1:]
            for link, row in zip(links.T.tolist(), rows.T.tolist(), strict=True)
        ]
        return np.array(columns, dtype).T.reshape(b.shape)
    s = [rows[0]]
    for link, row in zip(links, rows[1:], strict=True):
        s.append(row + np.where(s[-1] == 0, 0, link) * s[-1])
    return np.stack(s).reshape(b.shape)


def _step(s: Any, link_and_value: tuple[Any, Any]) -> Any:
    link, value = link_and_value
    return value + link * s if s else value


@defvjp(
    recurrence,
    cases=Cases(
        calls=(
            call((4,), (5,)),
            call((5,), (6,)),
            call((6,), (7,)),
            call((0,), (1,)),
            call((2, 2), (2, 3), axis=-1),
            call((2, 3, 2), (3, 3, 2), axis=0),
            call((1, 0), (2, 0)),
        ),
        examples=(
            # The product of the links overflows, the recurrence doesn't.
            (
                call(
                    np.array([[1.0, 1e200, 1e200, 1e-200], [1, 1, 1, 1]]).T,
                    np.array([[1e-300, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).T,
                ),
                (
                    np.array([[np.inf, 1e-100, 1e-100, 1e100], [4, 3, 2, 1]]).T,
                    np.array([[np.inf, np.inf, 1e200, 1, 1], [5, 4, 3, 2, 1]]).T,
                ),
            ),
            # What isn't finite counts as 0 where it meets an exact 0.
            (call(np.array([2.0]), np.array([np.inf, 1.0])), (np.zeros(1), np.array([1.0, 0.0])), np.array([1.0, 0.0])),
            (
                call(np.full((32, 2), [np.inf, 2.0]).T, np.full((32, 3), [0.0, 1.0, 0.0]).T),
                (np.full((32, 2), [0.0, 1.0]).T, np.full((32, 3), [np.inf, 3.0, 1.0]).T),
            ),
            (
                call(np.full((32, 3), [1.0, np.inf, 2.0]).T, np.full((32, 4), [1.0, -1.0, 3.0, 0.0]).T),
                (np.full((32, 3), [np.inf, 0.0, 3.0]).T, np.full((32, 4), [np.inf, np.inf, 3.0, 1.0]).T),
            ),
            # The same for many at once, which goes row by row.
            (
                call(np.full((32, 3), [1.0, 1e200, 1e200]).T, np.full((32, 4), [1e-300, 1e-300, 0.0, 0.0]).T),
                (np.full((32, 3), [np.inf, 2e-100, 2e-100]).T, np.full((32, 4), [np.inf, np.inf, 1e200, 1.0]).T),
            ),
        ),
    ),
)
def recurrence_vjp(g: Any, s: Any, links: Any, _values: Any, *, axis: int = 0) -> Any:
    """values_bar is the recurrence of g the other way round; links_bar_i = conj(s_i) values_bar_{i+1}."""
    c = np.flip(recurrence(np.flip(conj(links), axis), np.flip(g, axis), axis), axis)
    return lambda: _strong(_part(c, axis, _BUT_FIRST), conj(_part(s, axis, _BUT_LAST))), c


def _strong(g: Any, slope: Any) -> Any:
    """g * slope, and 0 where g is 0 and the slope isn't finite."""
    return g * np.where((g == 0) & ~np.isfinite(slope), 0, slope)


# ---------------------------------------------------------------- products


def _pull_products(g: Any, y: Any, x: Any, axis: int) -> Any:
    """x_bar_i = (product of x_j over j < i) * S_i, where S_i = sum over k >= i of g_k times the x_j of i < j <= k.

    So S_i = g_i + x_{i+1} S_{i+1}. All of one shape; ``y`` is the running product of ``x``.
    """
    x, y = conj(x if x.dtype == y.dtype else cast(x, y.dtype)), conj(y)
    if g.size == 0:
        return g
    quick = _divided_sums(g, y, x, axis)
    if quick is not None:
        return quick
    # A factor that isn't finite, and after which no cotangent comes, counts as 0.
    live = _sums_to_come((g != 0).astype(np.intp), axis) > 0
    x = np.where(live | np.isfinite(x), x, 0)
    links = np.flip(_part(x, axis, _BUT_FIRST), axis)
    suffixes = np.flip(recurrence(links, np.flip(g, axis), axis), axis)
    before = np.concatenate([np.ones_like(_part(y, axis, _FIRST)), _part(y, axis, _BUT_LAST)], axis=axis)
    return _strong(suffixes, before)


def _divided_sums(g: Any, y: Any, x: Any, axis: int) -> Any:
    """The same by dividing by the factor; None where it wouldn't be exact, or derivatives will be taken of it.

    A seam: four times quicker, on plain arrays without zeros whose products stay far from under- and overflow.
    """
    if type(g) is not np.ndarray or type(y) is not np.ndarray or y.dtype.char not in "fdFD":
        return None
    size = y if y.dtype.kind == "f" else np.abs(y)
    low, high = np.minimum.reduce(size, axis=None), np.maximum.reduce(size, axis=None)
    if low <= 0 and size is y:  # Most products are positive: this spares them a pass.
        size = np.abs(y)
        low, high = np.minimum.reduce(size, axis=None), np.maximum.reduce(size, axis=None)
    tiny = float(np.finfo(y.dtype).tiny) ** 0.5
    if not (low > tiny and high < 1 / tiny):
        return None
    c = _sums_to_come(g * y, axis, mine=True)
    # What isn't finite stays so in all sums that follow, the last of which stand first. (No factor is 0 or infinite.)
    if not np.isfinite(_part(c, axis, _FIRST)).all():
        return None
    c /= x
    return c


_AT_ZEROS = (
    (call(np.array([2.0, 0.0, 3.0])), (np.array([1.0, 8.0, 0.0]),)),
    (call(np.array([2.0, 0.0, 0.0, 3.0])), (np.array([1.0, 2.0, 0.0, 0.0]),)),
    (call(np.array([0.0, 2.0, 3.0])), (np.array([9.0, 0.0, 0.0]),)),
    (call(np.array([1e-200, 1e-200])), (np.array([1.0, 1e-200]),)),
    (call(np.array([np.inf, 2.0])), (np.array([1.0, 0.0]),), np.array([1.0, 0.0])),
    (call(np.array([2.0, np.nan, 3.0])), (np.array([np.nan, 6.0, np.nan]),), np.array([0.0, 0.0, 1.0])),
    (call(np.array([np.nan, 2.0])), (np.array([3.0, np.nan]),)),
    (call(np.array([2.0, np.nan, 3.0])), (np.array([np.nan, 8.0, np.nan]),)),
)


@defvjp(np.cumprod, cases=Cases(calls=_SIDES, examples=_AT_ZEROS, note="exact at zeros, at every order"))
def cumprod_vjp(g: Any, y: Any, a: Any, *, axis: int | None = None, _dtype: Any = None, _out: Any = None) -> Any:
    """a_bar_i = sum over k >= i of g_k times the product of the other factors of y_k."""
    c = _pull_products(g, y, a.reshape(g.shape), axis or 0)
    return c if c.shape == a.shape else c.reshape(a.shape)


# ---------------------------------------------------------------- the array standard's functions


if hasattr(np, "cumulative_sum"):  # NumPy 2.1

    @defvjp(np.cumulative_sum, cases=Cases(calls=_STANDARD))
    def cumulative_sum_vjp(
        g: Any,
        _y: Any,
        _x: Any,
        *,
        axis: int | None = None,
        _dtype: Any = None,
        _out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        """x_bar_i = sum of g_k over k >= i; the initial 0 is a constant."""
        axis = axis or 0
        return _sums_to_come(_part(g, axis, _BUT_FIRST) if include_initial else g, axis)

    @defvjp(
        np.cumulative_prod,
        cases=Cases(calls=_STANDARD, examples=_AT_ZEROS, note="exact at zeros, at every order"),
    )
    def cumulative_prod_vjp(
        g: Any,
        y: Any,
        x: Any,
        *,
        axis: int | None = None,
        _dtype: Any = None,
        _out: Any = None,
        include_initial: bool = False,
    ) -> Any:
        """x_bar_i = sum over k >= i of g_k times the product of the other factors of y_k."""
        axis = axis or 0
        if include_initial:
            g, y = _part(g, axis, _BUT_FIRST), _part(y, axis, _BUT_FIRST)
        return _pull_products(g, y, x, axis)
