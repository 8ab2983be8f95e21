"""Order statistics: medians, percentiles, quantiles. What NumPy picks is gathered from the data, in stable order.

Each is a gather of one or two elements per result (ranks.py) and, for the methods that interpolate, a line
between them. A slice with a nan gives nan, which comes of its last nan.
"""

import functools
import warnings
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, Cases, Domain, call
from tapegrad.errors import WriteError
from tapegrad.ops.ranks import Rows, as_rows, beside_nans, inexact
from tapegrad.ops.reductions import NO_VALUE
from tapegrad.ops.sorting import as_array, held, in_order
from tapegrad.primitive import composite


def _refuse_out(name: str, out: Any) -> None:
    if out is not None:
        raise WriteError(f"{name}: out= of or from a tensor can't be recorded; assign the result instead")


# ---------------------------------------------------------------- medians

_AXES = (
    call((5,)),
    call((6,)),
    call((3, 4)),
    call((3, 4), axis=0),
    call((3, 4), axis=-1, keepdims=True),
    call((3, 4), axis=None, keepdims=True),
    call((2, 3, 4), axis=(0, -1)),
    call((2, 3, 2), axis=(2, 0), keepdims=True),
    call(()),
    call((1,)),
    call((0, 3), axis=1),
)
_NAN_NOTE = "0 at a nan, and in a slice of nans alone"


@composite(
    np.median,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(*_AXES, call((4,), overwrite_input=True, out=None)),
        examples=(
            (call(np.array([2.0, 1.0, 2.0, 2.0, 3.0])), (np.array([0, 0, 1.0, 0, 0]),)),
            (call(np.array([2.0, 2.0, 2.0, 2.0])), (np.array([0, 0.5, 0.5, 0]),)),
            (call(np.array([[np.nan, 1.0, np.nan, 2.0], [1, 2, 3, 4]]), axis=1), ([[0, 0, 1, 0], [0, 0.5, 0.5, 0]],)),
        ),
        note="by the stable order; a nan result comes of the last nan",
        neutral=False,
    ),
)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: Any = False, keepdims: Any = False) -> Any:
    """The mean of the one or two in the middle. ``overwrite_input`` is a permission, which isn't used."""
    _refuse_out("np.median", out)
    a = as_array(a)
    if a.size == 0:
        return np.mean(a, axis=axis, keepdims=bool(keepdims))  # Nan, with NumPy's warning, or nothing.
    rows = as_rows(a, axis)
    n = rows.values.shape[1]
    ranks = np.array([[n // 2]] if n % 2 else [[n // 2 - 1], [n // 2]])
    y = np.mean(rows.picked(beside_nans(rows.values, ranks)), axis=0)
    return y.reshape(rows.kept if keepdims else rows.shape)


@composite(
    np.nanmedian,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(*_AXES[:-1], call((4,), overwrite_input=True, out=None)),
        examples=(
            (
                call(np.array([[np.nan, 1.0, np.nan, 2.0], [3, 2, 3, 3]]), axis=1),
                ([[0, 0.5, 0, 0.5], [0.5, 0, 0.5, 0]],),
            ),
        ),
        note=_NAN_NOTE,
        neutral=False,
    ),
)
def nanmedian(a: Any, axis: Any = None, out: Any = None, overwrite_input: Any = False, keepdims: Any = NO_VALUE) -> Any:
    """The median of the numbers in each slice."""
    _refuse_out("np.nanmedian", out)
    a = as_array(a)
    keepdims = False if keepdims is NO_VALUE else bool(keepdims)
    if a.size == 0:
        return np.nanmean(a, axis=axis, keepdims=keepdims)
    if not inexact(a) or not np.isnan(a).any():
        return median(a, axis, keepdims=keepdims)
    rows = as_rows(a, axis)
    n = _counted(rows.values)
    middle = rows.picked(np.maximum(np.stack([(n - 1) // 2, n // 2]), 0))
    # Not their mean: of an odd number both are the same, whose sum could overflow.
    y = _nan_where(n == 0, middle[0] * 0.5 + middle[1] * 0.5)
    return y.reshape(rows.kept if keepdims else rows.shape)


def _counted(rows: Any) -> Any:
    """How many numbers stand in each row; NumPy's warning for each that has none."""
    n = np.count_nonzero(~np.isnan(rows), axis=1)
    for _ in range(np.count_nonzero(n == 0)):
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=4)
    return n


def _nan_where(empty: Any, y: Any) -> Any:
    return np.where(empty, np.asarray(np.nan, y.dtype), y) if empty.any() else y


# ---------------------------------------------------------------- quantiles

# The virtual index n q + alpha + q (1 - alpha - beta) - 1 of the continuous methods (Hyndman & Fan 1996).
_CONTINUOUS = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3.0, 1 / 3.0),
    "normal_unbiased": (3 / 8.0, 3 / 8.0),
}

# Until NumPy 2.4 a Python number q, and the 100 of percentiles, had the dtype of the data.
_BY_THE_DATA = np.lib.NumpyVersion(np.__version__) < "2.4.0"


@functools.cache
def _odd_at_halves() -> int:
    """Which of two equally near observations "closest_observation" takes: NumPy 2.0 and later ones differ."""
    return int(np.quantile(np.arange(4.0), 0.375, method="closest_observation"))


def _rank(n: Any, q: Any, method: str) -> Any:
    """The rank of the methods that take one element; None of the others."""
    if method == "lower":
        return np.floor((n - 1) * q)
    if method == "higher":
        return np.ceil((n - 1) * q)
    if method == "nearest":
        return np.around((n - 1) * q)
    if method == "inverted_cdf":
        return np.ceil(n * q - 1)
    if method == "closest_observation":
        index = n * q - 1.5
        below = np.floor(index)
        return np.where((index == below) & (below % 2 == _odd_at_halves()), below, below + 1)
    return None


def _between(n: Any, q: Any, method: str) -> tuple[Any, Any]:
    """The rank below, and how far from it to the next: a share that ``q`` has a gradient through, or a constant."""
    last = n - 1
    if method == "averaged_inverted_cdf":
        index = held(n * q - 1)
        below = np.clip(np.floor(index), 0, last)
        return below, np.where(index == np.floor(index), 0.5, 1.0) * ((index >= 0) & (index < last))
    if method == "midpoint":
        index = held((n - 1) * q)
        return np.floor(index), np.where(index == np.floor(index), 0.0, 0.5)
    if method == "linear":
        index = (n - 1) * q
    else:
        alpha, beta = _CONTINUOUS[method]
        index = n * q + (alpha + q * (1 - alpha - beta)) - 1
    index = np.clip(index, 0, last)
    below = np.floor(index)
    return below, index - below


def _quantiles(
    name: str, a: Any, q: Any, per: int, axis: Any, out: Any, method: str, keepdims: Any, weights: Any
) -> Any:
    """Quantiles as all four functions give them; ``per`` is 1, or 100 for percentiles."""
    _refuse_out(name, out)
    a = as_array(a)
    # A call of NumPy's own on one element refuses what it refuses (q out of range, unknown methods, complex data),
    # and says whether q takes part weakly: which numbers do so differs between its versions.
    probe: Any = np.percentile if per == 100 else np.quantile
    one = None if weights is None else np.ones(1)
    levels = held(q)[()] if type(q) is not np.ndarray and hasattr(q, "dtype") else held(q)  # 0-d tensors are scalars.
    weak = probe(np.zeros(1, a.dtype), levels, method=method, weights=one).dtype == a.dtype
    q = _shares(a, q, per)
    skip = name.startswith("np.nan")
    if a.size == 0 and skip:
        return np.nanmean(a, axis=axis, keepdims=bool(keepdims))
    rows = as_rows(a, axis)
    shape = (*q.shape, *(rows.kept if keepdims else rows.shape))
    if rows.values.shape[1] == 0:
        probe(held(a), held(q) * per, axis=axis, method=method, weights=held(weights))  # Raises.
    if a.size == 0:
        return np.zeros_like(a, shape=shape, dtype=a.dtype if weak else np.result_type(a.dtype, held(q).dtype))
    if weights is not None:
        y = _weighted(name, rows, held(q), axis, held(weights))
    else:
        n: Any = rows.values.shape[1]
        if skip and inexact(a) and np.isnan(a).any():
            n = _counted(rows.values)
        y = _interpolated(rows, n, q.reshape((-1, 1)), method, weak)
    return y.reshape(shape)


def _shares(a: Any, q: Any, per: int) -> Any:
    """``q`` as an array of numbers from 0 to 1, rounded as NumPy rounds them."""
    if _BY_THE_DATA and a.dtype.kind == "f":
        if per == 1:
            return np.asarray(q, a.dtype) if isinstance(q, (int, float)) else as_array(q)
        return as_array((q if isinstance(q, (int, float)) else as_array(q)) / a.dtype.type(per))
    q = as_array(q)
    return q / per if per != 1 else q


def _interpolated(rows: Rows, n: Any, q: Any, method: str, weak: bool) -> Any:
    """The quantiles (m, r) of rows (r, n), of which ``n`` says how many elements count, in all or in each."""
    # NumPy counts with Python integers, which take part weakly: q decides the precision.
    kind = q.dtype if q.dtype.kind == "f" else np.dtype(float)
    count = max(n, 1) if type(n) is int else np.maximum(n, 1).astype(kind)
    share: Any = None
    rank = _rank(count, held(q), method)
    if rank is None and method == "linear" and q.dtype.kind in "iu":
        rank = (count - 1) * held(q)  # NumPy interpolates nothing here.
    if rank is None:
        rank, share = _between(count, q, method)
    last = np.asarray(count - 1).astype(np.intp)
    rank = np.clip(rank, 0, last).astype(np.intp)
    above = np.minimum(rank + 1, last)
    ranks = rank if share is None else np.concatenate([rank, above])
    if np.ndim(n) == 0:
        ranks = beside_nans(rows.values, ranks)
    y = rows.picked(ranks)
    if share is not None:
        precision = rows.data.dtype if weak and rows.data.dtype.kind == "f" else kind
        if share.dtype != precision:
            share = share.astype(precision)
        low, high = y[: rank.shape[0]], y[rank.shape[0] :]
        gap = high - low
        # From the nearer end, as NumPy does: the far one is met exactly.
        y = np.where(held(share) >= 0.5, high - gap * (1 - share), low + gap * share)
    return y if np.ndim(n) == 0 else _nan_where(n == 0, y)


def _weighted(name: str, rows: Rows, q: Any, axis: Any, weights: Any) -> Any:
    """The elements where the weights, added up in stable order, reach q: NumPy is asked for it, of the ranks."""
    values, (_sorted, order) = held(rows.data), in_order(rows.values, 1)
    ranks = np.empty(order.shape)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=float)[None], axis=1)
    ranks = np.where(np.isnan(values), np.nan, rows.restored(ranks))
    function = np.nanquantile if name.startswith("np.nan") else np.quantile
    reached = function(ranks, q, axis=axis, method="inverted_cdf", weights=weights).reshape(-1, len(order))
    missing = np.isnan(reached)
    y = rows.picked(np.where(missing, order.shape[1] - 1, reached).astype(np.intp))
    # Without the nans, there may be nothing left; with them, the last is one.
    return _nan_where(missing, y) if function is np.nanquantile else y


METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased", "lower", "higher", "midpoint", "nearest",
)  # fmt: skip
_WEIGHTS = np.array([[0.5, 1.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0], [0.2, 0.3, 0.1, 3.0]])


def _quantile_cases(per: int, note: str, skip: bool) -> Cases:
    several = np.array([0.1, 0.6, 1.0]) * per
    inner = np.array([0.27, 0.61]) * per
    # NumPy's nan functions don't take weights along an axis, though they say so (IndexError in NumPy 2.4).
    along = call((3, 4), several, axis=0, method="inverted_cdf", weights=_WEIGHTS[:, 0], keepdims=True)
    return Cases(
        domain=(DISTINCT, Domain(0.37 * per, 0.46 * per)),
        complex=False,
        analytic=False,
        calls=(
            *(call(*c.operands, 0.3 * per, **c.parameters) for c in _AXES[:-1]),
            *(call((7, 2), inner, axis=0, method=method) for method in METHODS),
            call((5, 2), several, axis=0),
            call((2, 5), several.reshape(1, 3), axis=1, keepdims=True),
            call((3, 4), per, axis=1),
            call((3, 4), np.array([0, per]), axis=1),
            call((4,), 0.5 * per, overwrite_input=True, out=None),
            call((3, 4), 0.4 * per, axis=1, method="inverted_cdf", weights=_WEIGHTS),
            call((3, 4), several, method="inverted_cdf", weights=_WEIGHTS),
            *(() if skip else (along,)),
            # By q itself, where it lies between two ranks.
            call((4,), ()),
            call((4, 2), (2,), axis=0),
            call((4,), (), method="weibull"),
            call((4,), (), method="midpoint"),
            call((4,), (), method="lower"),
            call(np.array([3.0, 1.0, 7.0, 2.0]), (2,)),
        ),
        examples=(
            (call(np.array([2.0, 1.0, 2.0, 2.0]), 0.5 * per), (np.array([0.5, 0, 0.5, 0]), None)),
            (call(np.array([2.0, 1.0, 4.0]), 1.0 * per, method="lower"), (np.array([0, 0, 1.0]), None)),
        ),
        note=note,
        neutral=False,
    )


def _register(function: Any, per: int, note: str) -> None:
    name = f"np.{function.__name__}"

    @composite(function, cases=_quantile_cases(per, note, "nan" in name), note=note)
    def quantile(
        a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: Any = False, method: Any = "linear",
        keepdims: Any = False, *, weights: Any = None,
    ) -> Any:  # fmt: skip
        return _quantiles(name, a, q, per, axis, out, method, keepdims is not NO_VALUE and keepdims, weights)


_NOTE = "by the stable order; q has a gradient where the method interpolates; constant in weights="
for _function, _per in ((np.quantile, 1), (np.percentile, 100)):
    _register(_function, _per, _NOTE)
for _function, _per in ((np.nanquantile, 1), (np.nanpercentile, 100)):
    _register(_function, _per, f"{_NOTE}; {_NAN_NOTE}")
