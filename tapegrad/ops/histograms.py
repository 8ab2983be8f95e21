"""Histograms: counts are constant; a gradient passes through weights, and through edges that come of the data.

NumPy finds the edges and the counts. With weights that record, the same bins are found by
``searchsorted``, and the weights are added up by one primitive.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, Cases, Domain, call
from tapegrad.ops.sorting import as_array, held
from tapegrad.primitive import composite, constant, defvjp, primitive
from tapegrad.shapes import cast


@partial(primitive, name="np.bincount")
def binned(weights: Any, index: Any, n: int, dtype: Any, sums: Any = None) -> Any:
    """The sum of the weights in each of ``n`` bins, formed in double precision; what is in bin n or beyond is left out.

    weights : array (m,)
    index : integers (m,), none negative
    sums : that very result where it is known already, to save the work
    Returns (n,) of ``dtype``.

    >>> binned(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), 3, np.float64)
    array([2., 5., 0.])
    """
    if sums is not None:
        return sums
    if weights.dtype.kind == "c":
        real, imaginary = np.bincount(index, weights.real, n), np.bincount(index, weights.imag, n)
        sums = real + 1j * imaginary
    else:
        sums = np.bincount(index, weights, n)
    return sums[:n].astype(dtype, copy=False)


@partial(primitive, name="np.bincount")
def from_bins(g: Any, index: Any, dtype: Any) -> Any:
    """What each weight gets of its bin, and 0 beyond the last bin.

    >>> from_bins(np.array([2.0, 5.0]), np.array([1, 0, 2]), np.float64)
    array([5., 2., 0.])
    """
    beyond = int(index.max(initial=-1)) + 1 - len(g)
    if beyond > 0:
        g = np.concatenate([g, np.zeros(beyond, g.dtype)])
    return g.take(index).astype(dtype, copy=False)


_BINS = np.array([1, 0, 3, 1, 4])


@defvjp(
    binned,
    cases=Cases(
        calls=(
            call((5,), index=_BINS, n=3, dtype=np.complex128),
            call((5,), index=_BINS, n=6, dtype=np.complex128),
            call((0,), index=_BINS[:0], n=2, dtype=np.complex128),
        ),
        analytic=False,
        neutral=False,
    ),
)
def binned_vjp(g: Any, _y: Any, _weights: Any, *, index: Any, _n: Any, _dtype: Any, _sums: Any = None) -> Any:
    """The cotangent of its bin."""
    return from_bins(g, index, g.dtype)


@defvjp(
    from_bins,
    cases=Cases(
        calls=(
            call((5,), index=_BINS, dtype=np.complex128),
            call((4,), index=_BINS, dtype=np.complex128),
            call((2,), index=_BINS, dtype=complex),
            call((2,), index=_BINS[:0], dtype=complex),
        ),
        neutral=False,
    ),
)
def from_bins_vjp(g: Any, _y: Any, _g: Any, *, index: Any, _dtype: Any) -> Any:
    """The sum over each bin: the other half of the pair."""
    return binned(g, index, _g.shape[0], g.dtype)


@partial(primitive, name="np.histogram_bin_edges")
def edges_between(first: Any, last: Any, count: int, dtype: Any) -> Any:
    """``np.linspace(first, last, count)``: edges of bins of equal width.

    >>> edges_between(0.0, 1.0, 3, np.float64)
    array([0. , 0.5, 1. ])
    """
    return np.linspace(first, last, count, dtype=dtype)


@defvjp(
    edges_between,
    cases=Cases(
        domain=(Domain(-2.0, -1.0), Domain(1.0, 2.0)), complex=False, calls=(call((), (), count=4, dtype=np.float64),)
    ),
)
def edges_between_vjp(g: Any, _y: Any, _first: Any, _last: Any, *, count: Any, _dtype: Any) -> Any:
    """Each edge is a mean of both ends, weighted by its distance to the other."""
    share = np.arange(count) / (count - 1)
    return lambda: np.sum(g * (1 - share)), lambda: np.sum(g * share)


@primitive
def bins_of(a: Any, edges: Any) -> Any:
    """The bin of each element; n, the number of bins, where it lies in none. The last bin has both its edges."""
    n = len(edges) - 1
    index = np.searchsorted(edges, a, side="right") - 1
    index[a == edges[-1]] = n - 1
    index[index < 0] = n
    return index


constant(bins_of)


def _edges_of(a: Any, bins: Any, span: Any, edges: Any) -> Any:
    """The edges that NumPy found, as they depend on the data (their ends), or on ``bins`` (the edges themselves)."""
    if np.ndim(bins) == 1 and not isinstance(bins, str):
        return as_array(bins)
    if span is not None or type(a) is np.ndarray or a.size == 0 or a.dtype.kind not in "f":
        return edges
    first, last = np.min(a), np.max(a)
    if held(first) == held(last):
        first, last = first - 0.5, last + 0.5
    return edges_between(first, last, len(edges), edges.dtype)


# The distinct values -2, -1.2, -0.4, 0.4, 1.2, 2 lie far from these.
_WIDE = np.array([-3.0, -0.8, 0.8, 3.0])


@composite(
    np.histogram_bin_edges,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        analytic=False,
        calls=(
            call((5,)),
            call((2, 3), bins=3),
            call((5,), bins="sturges"),
            call((5,), bins=2, range=None, weights=np.ones(5)),
            call((5,), bins=2, range=(-1.5, 2.5)),
        ),
        examples=((call(np.array([1.0, 3.0, 2.0]), bins=2), (np.array([1.5, 1.5, 0.0]),)),),
        note="the ends are the smallest and the largest element; how many bins there are is constant",
        neutral=False,
    ),
)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Equal steps from the smallest element to the largest; edges that were given, as they are."""
    a = as_array(a)
    function: Any = np.histogram_bin_edges
    return _edges_of(a, bins, range, function(held(a), held(bins), range, held(weights)))


@composite(
    np.histogram,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        analytic=False,
        calls=(
            call((6,), bins=3),
            call((6,), bins=3, density=True),
            call((2, 3), bins=_WIDE, range=None, density=True, weights=np.ones((2, 3))),
            call((6,), bins=2, range=(-1.5, 2.5), density=False, weights=None),
            call((6,), bins="sturges"),
        ),
        note="counts are constant; weights= has a gradient, and so have edges that are taken from the data",
        neutral=False,
    ),
)
def histogram(a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    """The sum of the weights in each bin, and the edges."""
    a = as_array(a)
    function: Any = np.histogram
    if weights is None or type(as_array(weights)) is np.ndarray:
        counts, found = function(held(a), held(bins), range, weights=weights)
    else:
        counts, found = None, histogram_bin_edges(held(a), held(bins), range, held(weights))
        if weights.shape != a.shape:
            raise ValueError("weights should have the same shape as a.")
    edges = _edges_of(a, bins, range, found)
    if counts is None:
        counts = binned(np.ravel(weights), bins_of(held(a).reshape(-1), found), len(found) - 1, weights.dtype)
    if not density:
        return counts, edges
    widths = edges[1:] - edges[:-1]
    widths = widths if widths.dtype == np.float64 else cast(widths, np.float64)  # As NumPy's are.
    return counts / widths / np.sum(counts), edges


@composite(
    np.histogramdd,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        analytic=False,
        calls=(
            call([(5,), (5,)], bins=3, density=True),
            call((6, 2), bins=[3, 4], range=None, weights=np.arange(1.0, 7.0)),
            call((4, 2), bins=(_WIDE, 2), range=[None, (-1.5, 2.5)], density=False),
        ),
        neutral=False,
    ),
    note="as np.histogram",
)
def histogramdd(sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    """The sum of the weights in each box, and the edges along each axis."""
    if getattr(sample, "ndim", 1) == 2:
        columns = [sample[:, i] for i in np.arange(sample.shape[1])]
    else:
        columns = [np.ravel(as_array(x)) for x in sample]
    dims = len(columns)
    bins = list(bins) if hasattr(bins, "__len__") else [bins] * dims
    spans = [None] * dims if range is None else range
    recorded = weights is not None and type(as_array(weights)) is not np.ndarray
    points = np.stack([held(x) for x in columns], axis=1)
    columns = [x if x.dtype == points.dtype else cast(x, points.dtype) for x in columns]
    function: Any = np.histogramdd
    given = None if recorded else weights
    counts, found = function(points, [held(b) for b in bins], range, weights=given)
    edges = [_edges_of(*each) for each in zip(columns, bins, spans, found, strict=True)]
    if recorded:
        shape = counts.shape
        index = [bins_of(held(x), e) for x, e in zip(columns, found, strict=True)]
        inside = np.all([i < n for i, n in zip(index, shape, strict=True)], axis=0)
        flat = np.ravel_multi_index(index, shape, mode="clip")
        counts = binned(weights, np.where(inside, flat, counts.size), counts.size, np.dtype(float)).reshape(shape)
    if not density:
        return counts, tuple(edges) if isinstance(found, tuple) else edges
    total = np.sum(counts)
    for i, e in enumerate(edges):
        counts = counts / (e[1:] - e[:-1]).reshape(tuple(-1 if k == i else 1 for k in np.arange(dims)))
    return counts / total, tuple(edges) if isinstance(found, tuple) else edges


@composite(
    np.histogram2d,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        analytic=False,
        calls=(
            call((5,), (5,), bins=3, density=True),
            call((5,), (5,), bins=[3, 7], range=None),
            call((5,), (5,), bins=_WIDE, weights=np.arange(1.0, 6.0), density=True),
            call((5,), (5,), bins=[_WIDE, 3], density=False),
        ),
        note="as np.histogram",
        neutral=False,
    ),
)
def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None) -> Any:
    """The sum of the weights in each rectangle, and the edges along both axes."""
    if len(x) != len(y):
        raise ValueError("x and y must have the same length.")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [as_array(bins)] * 2  # The edges along both axes.
    counts, edges = histogramdd([x, y], bins, range, density, weights)
    return counts, edges[0], edges[1]


@composite(
    np.bincount,
    cases=Cases(
        complex=False,
        calls=(
            call(np.array([1, 0, 3, 1]), weights=None),
            call(np.array([1, 0, 3, 1]), (4,), minlength=6),
            call(np.array([2, 2]), (2,), minlength=1),
        ),
        analytic=False,
        note="of the weights; constant in x",
        neutral=False,
    ),
)
def bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Any:
    """The sum of the weights of each number."""
    counts = np.bincount(held(x), held(weights), minlength)  # Refuses what it refuses.
    if counts.dtype.kind != "f" or type(as_array(weights)) is np.ndarray:
        return counts  # Of nothing NumPy gives integers, whatever the weights.
    return binned(weights, np.asarray(held(x)).astype(np.intp), len(counts), counts.dtype, counts)
