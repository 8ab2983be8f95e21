"""Reductions."""

from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp
from tapegrad.shapes import expand_like


@defvjp(np.sum, cases=Cases(calls=(call((3, 4)), call((3, 4), axis=1))))
def sum_vjp(g: Any, _y: Any, _a: Any, *, axis: Any = None, _dtype: Any = None, keepdims: bool = False) -> Any:
    return expand_like(g, _a, axis, keepdims)
