"""Applying: functions of the user's that NumPy calls on parts of an array; and changes of dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import DTypeError, ShapeError
from tapegrad.primitive import composite

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
        masks = [*masks, ~np.any(masks, axis=0)]
    elif len(masks) != len(funclist):
        raise ValueError(
            f"np.piecewise: with {len(masks)} condition(s), either {len(masks)} or {len(masks) + 1} functions "
            f"are expected; got {len(funclist)}"
        )
    # Where conditions overlap, the last one counts. 0 is for the places where none holds.
    owner = np.zeros(x.shape, np.intp)
    for i, mask in enumerate(masks, 1):
        owner[mask] = i
    parts = [np.zeros(np.count_nonzero(owner == 0), x.dtype)]
    for i, (mask, function) in enumerate(zip(masks, funclist, strict=True), 1):
        part = _part(function, x[mask], args, kw)
        if part is not None:
            parts.append(np.broadcast_to(_fitting(part, x.dtype, "np.piecewise"), x[mask].shape)[owner[mask] == i])
    return np.concatenate(parts)[_places(owner)].reshape(x.shape)


def _masks(condlist: Any, ndim: int) -> list[Any]:
    if np.isscalar(condlist) or (np.ndim(condlist[0]) == 0 and ndim != 0):
        condlist = [condlist]
    return [np.asarray(condition, bool) for condition in condlist]


def _part(function: Any, values: Any, args: Any, kw: Any) -> Any:
    """What belongs on a part, in any shape that broadcasts to it; a function isn't called on nothing."""
    if not callable(function):
        return function
    return function(values, *args, **kw) if values.size else None


def _places(owner: Any) -> Any:
    """Where in the parts, one after another, each element of the whole stands."""
    order = np.argsort(owner, axis=None, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places


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
