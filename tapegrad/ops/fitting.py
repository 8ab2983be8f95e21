"""Fitting a polynomial to points, by least squares."""

import operator
import warnings
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.ops.differences import as_array
from tapegrad.primitive import composite
from tapegrad.shapes import cast

POINTS = np.array([-1.0, -0.4, 0.3, 0.9, 1.6])


@composite(
    np.polyfit,
    cases=Cases(
        domain=(Domain(), Domain(), Domain(0.5, 2.0)),
        calls=(
            call(POINTS, (5,), deg=1),
            call(POINTS, (5, 2), deg=2),
            call(POINTS, (5,), deg=2, w=np.array([1.0, 2.0, 0.5, 1.0, 1.5])),
            call(POINTS, (5,), deg=1, full=True, rcond=1e-10),
            call(POINTS, (5,), deg=1, cov=True),
            call(POINTS, (5, 2), deg=1, cov="unscaled"),
            call((5,), np.array([1.0, -1.0, 2.0, 0.5, 0.3]), deg=1),
        ),
        complex=False,
    ),
)
def polyfit(x: Any, y: Any, deg: Any, rcond: Any = None, full: bool = False, w: Any = None, cov: Any = False) -> Any:
    """Least squares on the powers of x, each column of them scaled to length 1."""
    deg = operator.index(deg)
    x, y = as_array(x) + 0.0, as_array(y) + 0.0
    if deg < 0:
        raise ValueError("expected deg >= 0")
    if x.ndim != 1:
        raise TypeError("expected 1D vector for x")
    if x.size == 0:
        raise TypeError("expected non-empty vector for x")
    if y.ndim not in (1, 2):
        raise TypeError("expected 1D or 2D array for y")
    if x.shape[0] != y.shape[0]:
        raise TypeError("expected x and y to have same length")
    if rcond is None:
        rcond = len(x) * np.finfo(x.dtype).eps
    lhs, rhs = np.vander(x, deg + 1), y
    if w is not None:
        w = as_array(w) + 0.0
        if w.ndim != 1:
            raise TypeError("expected a 1-d array for weights")
        if w.shape[0] != y.shape[0]:
            raise TypeError("expected w and y to have the same length")
        lhs, rhs = _weighted(lhs, w[:, None]), _weighted(rhs, w[:, None] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(lhs * lhs, axis=0))
    lhs = lhs / scale
    c, residuals, rank, s = np.linalg.lstsq(lhs, rhs, rcond)
    c = (c.T / scale).T
    if rank != deg + 1 and not full:
        warnings.warn("Polyfit may be poorly conditioned", np.exceptions.RankWarning, stacklevel=3)
    if full:
        return c, residuals, rank, s, rcond
    if not cov:
        return c
    base = np.linalg.inv(np.dot(lhs.T, lhs)) / np.outer(scale, scale)
    if cov == "unscaled":
        factor: Any = 1
    else:
        if x.shape[0] <= deg + 1:
            raise ValueError("the number of data points must exceed order to scale the covariance matrix")
        factor = residuals / (x.shape[0] - (deg + 1))
    return c, (base if y.ndim == 1 else base[:, :, None]) * factor


def _weighted(rows: Any, w: Any) -> Any:
    """The product in the dtype of the rows: NumPy forms it in place."""
    product = rows * w
    if product.dtype == rows.dtype:
        return product
    if not np.can_cast(product.dtype, rows.dtype, casting="same_kind"):
        raise TypeError(f"np.polyfit: weights of dtype {w.dtype} can't multiply data of dtype {rows.dtype} in place")
    return cast(product, rows.dtype)
