"""Statistics: ranges, averages, covariances, correlations."""

import warnings
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.cases import DISTINCT, POSITIVE, REAL, Cases, call
from tapegrad.errors import NotDifferentiableError, WriteError
from tapegrad.ops.reductions import NO_VALUE
from tapegrad.ops.sorting import as_array, held
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import cast, conj, mH, select

# ---------------------------------------------------------------- ranges and averages


@composite(
    np.ptp,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(
            call((4,)),
            call((2, 3), axis=1),
            call((2, 3), axis=-2, keepdims=True),
            call((2, 3, 2), axis=(0, -1)),
            call((2, 3), axis=None, keepdims=True, out=None),
        ),
        examples=(
            (call(np.array([1.0, 3.0, 3.0, 2.0])), (np.array([-1.0, 0.5, 0.5, 0]),)),
            (call(np.ones(3)), (np.zeros(3),)),
        ),
        note="the tied share equally",
    ),
)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO_VALUE) -> Any:
    """The largest less the smallest."""
    if out is not None:
        raise WriteError("np.ptp: out= of or from a tensor can't be recorded; assign the result instead")
    keepdims = keepdims is not NO_VALUE and bool(keepdims)
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@composite(
    np.average,
    cases=Cases(
        domain=(REAL, POSITIVE),
        calls=(
            call((2, 3)),
            call((2, 3), axis=0, keepdims=True),
            call((2, 3), axis=1, returned=True),
            call((2, 3), axis=None, weights=None),
            call((2, 3), axis=1, weights=np.array([1.0, 2.0, 3.0])),
            call((2, 3), axis=(1, 0), weights=np.ones((3, 2)), returned=True),
        ),
        note="weights= may be a tensor, and has a gradient then",
    ),
)
def average(a: Any, axis: Any = None, weights: Any = None, returned: Any = False, *, keepdims: Any = NO_VALUE) -> Any:
    """The mean, or the sum of the weighted by the sum of the weights."""
    a = as_array(a)
    kept = keepdims is not NO_VALUE and bool(keepdims)
    axes = None if axis is None else normalize_axis_tuple(axis, a.ndim, argname="axis")
    if weights is None:
        y = np.mean(a, axis=axes, keepdims=kept)
        return (y, np.full(y.shape, a.size / y.size, y.dtype)[()]) if returned else y
    w = _weights_along(as_array(weights), a, axes)
    dtype = np.result_type(a.dtype, w.dtype, *(["f8"] if a.dtype.kind in "biu" else []))
    total = np.sum(w, axis=axes, dtype=dtype, keepdims=kept)
    if (held(total) == 0).any():
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    y = np.sum(np.multiply(a, w, dtype=dtype), axis=axes, keepdims=kept) / total
    return (y, np.broadcast_to(total, y.shape) + 0) if returned else y


def _weights_along(w: Any, a: Any, axes: Any) -> Any:
    """Weights of the shape of ``a``; or those of its axes that are averaged, at length 1 along the others."""
    if w.shape == a.shape:
        return w
    if axes is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    if w.shape != tuple(a.shape[i] for i in axes):
        raise ValueError("Shape of weights must be consistent with shape of a along specified axis.")
    w = w.transpose(tuple(int(i) for i in np.argsort(axes)))
    return w.reshape(tuple(n if i in axes else 1 for i, n in enumerate(a.shape)))


# ---------------------------------------------------------------- covariances


@partial(primitive, name="np.cov")
def scatter(x: Any) -> Any:
    """``d @ d^H`` of the rows less their means, as np.dot forms it: half the work of a product of two arrays.

    >>> scatter(np.array([[1.0, 3.0]]))
    array([[2.]])
    """
    d = x - np.mean(x, axis=1, keepdims=True)
    return np.dot(d, conj(d.T))


@defvjp(
    scatter,
    cases=Cases(
        calls=(call((2, 3)), call((1, 4)), call((3, 2))),
        # Missing data that counts, for its own variance alone, and that counts for nothing.
        examples=(
            (call(np.array([[1.0, 3.0], [np.nan, 2.0]])), (np.full((2, 2), np.nan),), np.diag([0, 1])),
            (
                call(np.array([[1.0, 3.0], [np.nan, 2.0], [2.0, 4.0]])),
                (np.array([[-4.0, 4.0], [0.0, 0.0], [-8.0, 8.0]]),),
                np.array([[1, 0, 2], [0, 0, 0], [0, 0, 3]]),
            ),
        ),
        analytic=False,
    ),
)
def scatter_vjp(g: Any, _y: Any, x: Any) -> Any:
    """x_bar = (g + g^H) d, in one product. Its rows sum to 0 already, as those of d do: the means add nothing.

    A row of missing data that meets only zero cotangents counts as 0. Its mean tells, which isn't finite either.
    """
    both = g + mH(g)
    mean = np.mean(x, axis=1, keepdims=True)
    met = np.any(both != 0, axis=0)[:, None]
    return np.matmul(both, select(met | np.isfinite(mean), x - mean))


_FREQUENCIES, _SHARES = np.array([1, 3, 0, 2]), np.array([0.5, 1.0, 2.0, 0.3])


@composite(
    np.cov,
    cases=Cases(
        analytic=False,
        calls=(
            call((3, 4)),
            call((4,)),
            call((4, 3), rowvar=False),
            call((2, 4), (1, 4)),
            call((2, 4), (4,)),
            call((4, 2), (4, 1), rowvar=False),
            call((4,), (4,), rowvar=False, bias=True),
            call((2, 4), bias=True),
            call((2, 4), ddof=0),
            call((2, 4), ddof=2, dtype=np.complex128),
            call((2, 4), fweights=_FREQUENCIES),
            call((2, 4), aweights=_SHARES),
            call((2, 4), fweights=_FREQUENCIES, aweights=_SHARES, ddof=0),
            call((2, 4), None, fweights=_FREQUENCIES, aweights=_SHARES),
        ),
        note="aweights= may be a tensor, and has a gradient then; fweights are constant",
    ),
)
def cov(
    m: Any, y: Any = None, rowvar: Any = True, bias: Any = False, ddof: Any = None, fweights: Any = None,
    aweights: Any = None, *, dtype: Any = None,
) -> Any:  # fmt: skip
    """Centred rows times their conjugates, by the number of samples; weighted, by what is left of the weights."""
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    x = _variables(m, y, rowvar, dtype)
    if x.shape[0] == 0:
        return cast(np.real(x).reshape((0, 0)), np.float64)  # NumPy's is of float64, whatever x is of.
    if ddof is None:
        ddof = 1 if bias == 0 else 0
    w = _sample_weights(x.shape[1], fweights, aweights)
    if w is None:
        degrees = x.shape[1] - ddof
    else:
        mean, total = average(x, axis=1, weights=w, returned=True)
        x, total = x - mean[:, None], total[0]
        lost = ddof if aweights is None or ddof == 0 else ddof * np.sum(w * aweights) / total
        degrees = total - lost
    if held(degrees) <= 0:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
        degrees = degrees * 0.0
    c = scatter(x) if w is None else np.dot(x, conj((x * w).T))
    return np.squeeze(c * np.true_divide(1, degrees))


def _variables(m: Any, y: Any, rowvar: Any, dtype: Any) -> Any:
    """One variable a row, one sample a column."""
    m = as_array(m)
    y = None if y is None else as_array(y)
    for name, given in (("m", m), ("y", y)):
        if given is not None and given.ndim > 2:
            raise ValueError(f"{name} has more than 2 dimensions")
    if dtype is None:
        dtype = np.result_type(m.dtype, np.float64, *([] if y is None else [y.dtype]))
    x = _two_dimensional(m, dtype)
    if not rowvar and m.ndim != 1:
        x = x.T
    if y is None or x.shape[0] == 0:
        return x
    y = _two_dimensional(y, dtype)
    return np.concatenate([x, y if rowvar or y.shape[0] == 1 else y.T])


def _two_dimensional(x: Any, dtype: Any) -> Any:
    if x.dtype != dtype:
        x = cast(x, np.dtype(dtype))
    return x if x.ndim == 2 else x.reshape((1, -1))


def _sample_weights(n: int, fweights: Any, aweights: Any) -> Any:
    """The product of both kinds of weights, each checked as NumPy does; None without any."""
    w = None
    if fweights is not None:
        if getattr(fweights, "requires_grad", False):
            raise NotDifferentiableError(
                "np.cov: fweights are counts, through which no gradient passes; pass aweights, or fweights.detach()"
            )
        w = np.asarray(held(fweights), dtype=float)
        if not np.all(w == np.around(w)):
            raise TypeError("fweights must be integer")
        _check_weights("fweights", w, n)
    if aweights is not None:
        a = as_array(aweights)
        a = cast(a, np.dtype(float)) if a.dtype != float else a
        _check_weights("aweights", held(a), n)
        w = a if w is None else w * a
    return w


def _check_weights(name: str, w: Any, n: int) -> None:
    if w.ndim > 1:
        raise RuntimeError(f"cannot handle multidimensional {name}")
    if w.shape[0] != n:
        raise RuntimeError(f"incompatible numbers of samples and {name}")
    if (w < 0).any():
        raise ValueError(f"{name} cannot be negative")


@composite(
    np.corrcoef,
    cases=Cases(
        analytic=False,
        calls=(
            call((3, 4)),
            call((4, 3), rowvar=False),
            call((2, 4), (4,)),
            call((4, 2), (4, 1), rowvar=False, dtype=np.complex128),
            call((2, 5), None),
        ),
        note="constant on the diagonal",
    ),
)
def corrcoef(
    x: Any, y: Any = None, rowvar: Any = True, bias: Any = NO_VALUE, ddof: Any = NO_VALUE, *, dtype: Any = None
) -> Any:
    """The covariances by both deviations. ``bias`` and ``ddof`` cancel; NumPy 2.4 has them no more."""
    for given in (bias, ddof):
        if given is not NO_VALUE:
            refuse: Any = np.corrcoef
            refuse(np.array([[0.0, 1.0]]), None, True, given)  # A warning of NumPy's, or its refusal.
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    diagonal = np.arange(c.shape[0])
    deviations = np.sqrt(np.real(c[diagonal, diagonal]))
    c = c / deviations[:, None] / deviations[None, :]
    if c.dtype.kind != "c":
        return np.clip(c, -1, 1)
    return np.clip(np.real(c), -1, 1) + 1j * np.clip(np.imag(c), -1, 1)
