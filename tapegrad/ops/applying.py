"""Applying: functions of the user's that NumPy calls on parts of an array; and changes of dtype."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import DTypeError, ShapeError
from tapegrad.primitive import composite, defvjp, primitive

# ---------------------------------------------------------------- on parts


def _fitting(result: Any, dtype: Any, name: str) -> Any:
    """What a function returned, in the dtype of the array that NumPy writes it to."""
    result = result if hasattr(result, "dtype") else np.asarray(result)
    if result.dtype == dtype:
        return result
    if getattr(result, "requires_grad", False) and not np.can_cast(result.dtype, dtype, "same_kind"):
        raise DTypeError(
            f"{name}: a function returned {result.dtype} that records, and NumPy makes {dtype} of it; "
            f"give the first array that dtype"
        )
    return result.astype(dtype)


# Rows by number: to look a random mask up again and again is ten times slower.


@partial(primitive, name="np.piecewise")
def rows_at(x: Any, places: Any) -> tuple[Any, ...]:
    """The rows of ``x`` at each array of places. Of all of them together, none names a row twice.

    >>> rows_at(np.array([5.0, 6.0, 7.0]), [np.array([2]), np.array([0, 1])])
    (array([7.]), array([5., 6.]))
    """
    return tuple(x.take(p, axis=0) for p in places)


@partial(primitive, name="np.piecewise")
def rows_put(parts: Any, places: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of ``shape``, but for the rows of each part, which stand at its places.

    >>> rows_put([np.array([7.0]), np.array([5.0])], [np.array([2]), np.array([0])], (3,))
    array([5., 0., 7.])
    """
    y = np.zeros(shape, np.result_type(*(part.dtype for part in parts)))
    for part, p in zip(parts, places, strict=True):
        y[p] = part
    return y


_PLACES = [np.array([2, 0]), np.array([], np.intp), np.array([3])]


@defvjp(rows_at, cases=Cases(calls=(call((4,), places=_PLACES), call((4, 2), places=_PLACES))))
def rows_at_vjp(g: Any, _y: Any, _x: Any, *, places: Any) -> Any:
    """Each part put back; nobody used the others."""
    used = [(part, p) for part, p in zip(g, places, strict=True) if part is not None]
    return rows_put([part for part, _p in used], [p for _part, p in used], _x.shape)


@defvjp(
    rows_put,
    cases=Cases(
        calls=(
            call([(2,), (0,), (1,)], places=_PLACES, shape=(5,)),
            call([(2, 2), (0, 2), (1, 2)], places=_PLACES, shape=(4, 2)),
        )
    ),
)
def rows_put_vjp(g: Any, _y: Any, *_parts: Any, places: Any, _shape: Any) -> Any:
    """Each part is read where it was put."""
    return rows_at(g, places)


@composite(
    np.piecewise,
    note="each function is called on its own part alone",
    cases=Cases(
        calls=(
            call((4,), [np.array([True, False, True, False])], [np.sin, np.cos]),
            call((4,), np.array([[True, True, False, False], [False, True, True, False]]), [np.exp, 2.0]),
            call((2, 2), [np.array([[True, False], [False, True]])], [np.square]),
            call((3, 2), [np.array([True, False, True])], [np.sin, 1]),
            call((), [True, False], [np.sin, np.cos]),
            call((4,), np.array([True, True, False, True]), [np.tanh, np.negative]),
        ),
        analytic=False,
    ),
)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """The parts where each condition holds, handed to its function, and put together; 0 where none holds."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    masks = _masks(condlist, x.ndim)
    if len(masks) == len(funclist) - 1:
        masks = np.concatenate([masks, ~np.any(masks, axis=0, keepdims=True)])
    elif len(masks) != len(funclist):
        raise ValueError(
            f"np.piecewise: with {len(masks)} condition(s), either {len(masks)} or {len(masks) + 1} functions "
            f"are expected; got {len(funclist)}"
        )
    held, rest = x.shape[: masks.ndim - 1], x.shape[masks.ndim - 1 :]
    if masks.shape[1:] != held:
        raise IndexError(f"np.piecewise: conditions of shape {masks.shape[1:]} don't fit x of shape {x.shape}")
    rows = x.reshape((math.prod(held), *rest))
    owned = _owned(masks)
    places = [np.flatnonzero(own) for own in owned]
    disjoint = sum(p.size for p in places) == np.count_nonzero(masks)
    taken = rows_at(rows, places) if disjoint else [rows_at(rows, [np.flatnonzero(m)])[0] for m in masks]
    parts = []
    for values, mask, own, function in zip(taken, masks, owned, funclist, strict=True):
        part = _fitting(_part(function, values, args, kw), x.dtype, "np.piecewise")
        if part.shape != values.shape:
            part = np.broadcast_to(part, values.shape)
        parts.append(part if disjoint else part[own[mask]])
    return rows_put(parts, places, rows.shape).reshape(x.shape)


def _part(function: Any, values: Any, args: Any, kw: Any) -> Any:
    """What belongs on a part, in any shape that broadcasts to it; a function isn't called on nothing."""
    if not callable(function):
        return function
    return function(values, *args, **kw) if values.shape[0] else values


def _owned(masks: Any) -> list[Any]:
    """Where each condition holds, and none that comes after it."""
    owned, later = [], np.zeros(masks.shape[1:], bool)
    for mask in masks[::-1]:
        owned.append(mask & ~later)
        later = later | mask
    return owned[::-1]


def _masks(condlist: Any, ndim: int) -> Any:
    """The conditions as one array (n, ...)."""
    if np.isscalar(condlist) or (np.ndim(condlist[0]) == 0 and ndim != 0):
        condlist = [condlist]
    return np.asarray(condlist, bool)


@composite(
    np.apply_along_axis,
    cases=Cases(
        calls=(
            call(np.cumsum, 0, (2, 3)),
            call(np.sum, -1, (2, 3)),
            call(np.diag, 1, (2, 3, 2)),
            call(np.square, 0, (3,)),
        )
    ),
)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """The function on each row along an axis, its results side by side."""
    arr = arr if hasattr(arr, "dtype") else np.asarray(arr)
    rows = np.moveaxis(arr, axis, -1)
    lead, n = rows.shape[:-1], rows.shape[-1]
    if 0 in lead:
        raise ValueError(f"np.apply_along_axis: axes other than {axis} have to have elements; got shape {arr.shape}")
    # Cut apart at once, not row by row: that would be quadratic in the number of rows.
    count = arr.size // n if n else int(np.prod(lead))
    results = [func1d(row.reshape(n), *args, **kwargs) for row in np.split(rows.reshape(count, n), count)]
    first = results[0] if hasattr(results[0], "dtype") else np.asarray(results[0])
    joined = np.stack([_fitting(result, first.dtype, "np.apply_along_axis") for result in results])
    joined = joined.reshape(lead + first.shape)
    axis, width = axis % arr.ndim, first.ndim
    return joined.transpose((*range(axis), *range(len(lead), len(lead) + width), *range(axis, len(lead))))


@composite(
    np.apply_over_axes,
    cases=Cases(calls=(call(np.sum, (2, 3, 2), axes=(0, -1)), call(np.cumsum, (2, 3), axes=1))),
)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """The function along one axis after another; what it drops is put back with length 1."""
    value = a if hasattr(a, "dtype") else np.asarray(a)
    ndim = value.ndim
    for axis in np.atleast_1d(axes).tolist():
        result = func(value, axis % ndim)
        if result.ndim != value.ndim:
            result = np.expand_dims(result, axis % ndim)
        if result.ndim != value.ndim:
            raise ShapeError(f"np.apply_over_axes: the function made {result.shape} of {value.shape} over axis {axis}")
        value = result
    return value


# ---------------------------------------------------------------- dtypes


@composite(
    np.real_if_close,
    cases=Cases(calls=(call((2, 3)), call((3,), tol=0.5), call((3,), tol=1e20)), analytic=False),
    note="whether it is close is decided by the values; the real part then",
)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part, where the imaginary part is nothing but rounding."""
    a = a if hasattr(a, "dtype") else np.asarray(a)
    if a.dtype.kind != "c":
        return a
    bound = tol * np.finfo(a.dtype).eps if tol > 1 else tol
    return np.real(a) if np.all(np.less(np.abs(np.imag(a)), bound)) else a


@composite(
    np.astype,
    cases=Cases(
        calls=(
            call((2, 3), np.float32),
            call((3,), np.complex128, copy=False),
            *((call((3,), np.float64, device="cpu"),) if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else ()),
        ),
        complex=False,
    ),
)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """The same values in another dtype."""
    if device is not None and device != "cpu":
        raise ValueError(f"np.astype: device is 'cpu' or None; got {device!r}")
    return x.astype(dtype, copy=copy)
