"""Creation by like=: arrays of tensors, numbers and nested lists of them, ``np.array([t, u], like=t)``.

Without ``like=`` NumPy asks a tensor for its value, which raises while that is recorded. With it, lists
are stacked, level by level, and a tensor stays what it is where NumPy would hand back the array itself.
What holds no tensor at all is made by NumPy, and comes out as a tensor that doesn't record: dispatch
does that for all functions of kind ``Creation``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError
from tapegrad.kinds import Function
from tapegrad.primitive import composite, creation


def _is_tensor(value: Any) -> bool:
    """Whether a value answers NumPy's functions by itself; these modules don't know the class."""
    return hasattr(type(value), "__array_function__") and not isinstance(value, (np.ndarray, np.generic))


def _holds_tensor(data: Any) -> bool:
    return _is_tensor(data) or (isinstance(data, (list, tuple)) and any(map(_holds_tensor, data)))


def _stacked(data: Any) -> Any:
    """Nested sequences with tensors somewhere, as one tensor."""
    if not isinstance(data, (list, tuple)):
        return data
    if not _holds_tensor(data):
        return np.array(data)
    parts = [_stacked(part) for part in data]
    shapes = {np.shape(part) for part in parts}
    if len(shapes) > 1:
        raise ArgumentError(
            f"np.array: the parts of a sequence have one shape; got {', '.join(map(str, sorted(shapes, key=len)))}"
        )
    return np.stack(parts)


def _made(name: str, data: Any, dtype: Any, copy: Any, order: Any) -> Any:
    """The data as one array: a tensor as it is, where nothing asks for another.

    copy : True, False, or None for where it is needed
    order : "C", "F", or None and the like for any
    """
    y = _stacked(data)
    other = y is not data
    if dtype is not None and np.dtype(dtype) != y.dtype:
        y, other = y.astype(dtype), True
    if order == "F" and not _is_contiguous(y, reversed(y.shape), reversed(y.strides)):
        y, other = np.copy(y.T, order="C").T, True
    elif order == "C" and not _is_contiguous(y, y.shape, y.strides):
        y, other = np.copy(y, order="C"), True
    if copy is False and other:
        raise ArgumentError(f"{name}: copy=False, and what was given can't be taken without a copy; pass copy=None")
    return np.copy(y) if copy and not other else y


def _is_contiguous(y: Any, shape: Any, strides: Any) -> bool:
    expected = y.itemsize
    for n, stride in zip(reversed(list(shape)), reversed(list(strides)), strict=True):
        if n > 1 and stride != expected:
            return bool(y.size == 0)
        expected *= n
    return True


def _like(function: Any) -> Callable[[Function], Function]:
    """``@_like(np.array)`` above the function's form on tensors."""

    def register(run: Function) -> Function:
        creation(function, run=run, note="by like= alone: a tensor as it is, nested lists stacked")
        return run

    return register


@_like(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: Any = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    ndmax: int = 0,
) -> Any:
    """A copy of a tensor, or nested sequences stacked; with axes of length 1 in front up to ``ndmin``."""
    y = _made("np.array", object, dtype, copy, order)
    if ndmax and y.ndim > ndmax:
        raise ArgumentError(f"np.array: ndmax={ndmax} would make an array of tensors; the data has {y.ndim} axes")
    return y.reshape((1,) * (ndmin - y.ndim) + y.shape) if y.ndim < ndmin else y


def asarray(a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: Any = None) -> Any:
    """The tensor itself, where neither dtype nor order asks for another."""
    return _made("np.asarray", a, dtype, copy, order)


_like(np.asarray)(asarray)
_like(np.asanyarray)(asarray)


@_like(np.ascontiguousarray)
def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """In C order, with one axis at least."""
    y = _made("np.ascontiguousarray", a, dtype, None, "C")
    return y if y.ndim else y.reshape(1)


@_like(np.asfortranarray)
def asfortranarray(a: Any, dtype: Any = None) -> Any:
    """In Fortran order."""
    return _made("np.asfortranarray", a, dtype, None, "F")


@_like(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None) -> Any:
    """In the order that is required; of its own where that is."""
    np.require(np.empty(0), None, requirements)  # Raises where NumPy knows no such requirement.
    letters = {str(r).upper()[0] for r in requirements or ()}
    return _made("np.require", a, dtype, True if "O" in letters else None, next(iter(letters & {"C", "F"}), None))


@composite(np.asarray_chkfinite, note="it has no like=, and asks a tensor for its value; np.asarray has it")
def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Any:
    """The array itself; raises where an element isn't finite."""
    y = _made("np.asarray_chkfinite", a, dtype, None, order)
    if y.dtype.kind in "fc" and not np.isfinite(y).all():
        raise ArgumentError("np.asarray_chkfinite: the array must not contain infs or NaNs")
    return y
