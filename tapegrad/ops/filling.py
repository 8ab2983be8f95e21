"""Filling: new arrays of a value, or of several that are broadcast. The value gets the sum of all."""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import unbroadcast


@partial(primitive, name="np.full_like")
def filled(a: Any, fill_value: Any) -> Any:
    """``np.full_like``, of the shape and the dtype that ``a`` has."""
    return np.full_like(a, fill_value)


@defvjp(
    filled,
    cases=Cases(
        calls=(
            call(np.zeros((2, 3)), (3,)),
            call(np.zeros(2), ()),
            call(np.zeros((2, 2)), (2, 1)),
            call(np.zeros((0, 2)), (2,)),
            call(np.zeros((2, 2), np.complex128), (2,)),
            call(np.zeros(2, np.float32), (2,)),
        ),
        complex=False,  # NumPy refuses complex values for a real array.
    ),
)
def filled_vjp(g: Any, _y: Any, _a: Any, _fill_value: Any) -> Any:
    """fill_value_bar = the sum of g over what it was broadcast to."""
    return None, lambda: unbroadcast(g, _fill_value.shape)


def _full(shape: Any, fill_value: Any, *args: Any, **kwargs: Any) -> Any:
    # Operands are numbers and arrays by now.
    return np.full(tuple(map(int, shape)) if np.ndim(shape) else int(shape), fill_value, *args, **kwargs)


@defvjp(
    np.full,
    forward=_full,
    # NumPy brings np.full here by like= alone, which is no argument of a call: what the gradient is, is tested in
    # tests/ops/test_filling.py, at both orders. A call without it can only show that the value is right.
    cases=Cases(calls=(call(np.array([2, 3]), 2.5),), note="by like= alone"),
)
def full_vjp(
    g: Any, _y: Any, _shape: Any, _fill_value: Any, *, _dtype: Any = None, _order: Any = "C", _device: Any = None
) -> Any:
    """The value gets the sum of all, as of ``full_like``."""
    return filled_vjp(g, _y, _shape, _fill_value)


@composite(np.full_like, note="a tensor that records if its value does; constant in the first operand")
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """An empty tensor in the likeness of ``a``, filled."""
    return filled(np.empty_like(a, dtype, order, subok, shape, device=device), fill_value)
