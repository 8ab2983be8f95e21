"""Indexing."""

import operator
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp
from tapegrad.shapes import scatter_add


@defvjp(operator.getitem, cases=Cases(calls=(call((3, 4), index=1),)))
def getitem_vjp(g: Any, _y: Any, _a: Any, *, index: Any) -> Any:
    """The adjoint of indexing adds to zeros: the other half of the pair."""
    return scatter_add(g, index, _a.shape)
