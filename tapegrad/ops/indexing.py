"""Indexing: one pair, each half the derivative of the other.

Whatever NumPy takes as an index comes as the parameter ``index``: integers, slices, None, ``...``, masks,
integer arrays (lists count as these), and tuples of all of them. What was not selected gets 0.
"""

import operator
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import defvjp
from tapegrad.shapes import scattered

_MASK = np.array([[True, False, True, True], [False, False, False, True], [True, True, False, False]])


def _indexed(a: Any, index: Any) -> Any:
    if type(index) is np.ndarray and index.size > 64 and index.dtype.kind in "iu" and a.ndim > 1:
        return a.take(index, 0)  # The same, and half as long again slower by brackets.
    return a[index]


@defvjp(
    operator.getitem,
    forward=_indexed,  # operator.getitem takes no keywords.
    cases=Cases(
        calls=(
            call((3, 4), index=1),
            call((3, 4), index=-1),
            call((3, 4), index=(2, -1)),
            call((3, 4), index=(slice(None), 2)),
            call((3, 4), index=slice(None, None, -2)),
            call((3, 4), index=(slice(5, None, -1), slice(1, -1))),
            call((3, 4), index=slice(2, 2)),
            call((3, 4), index=(None, 1, ..., None)),
            call((3, 4), index=...),
            call((3, 4), index=()),
            call((3, 4), index=(1, 2, ...)),
            call((), index=()),
            call((), index=...),
            call((), index=None),
            call((3,), index=True),
            call((3, 4), index=np.intp(1)),
            call((3, 4), index=np.array(-1)),
            call((3, 4), index=np.array([0, 2, 0, -1])),
            call((3, 4), index=[2, 2, 0]),
            call((3, 4), index=np.array([[0, 1], [1, 1]])),
            call((3, 4), index=(np.array([0, 2, 0]), np.array([1, 1, -3]))),
            call((3, 4), index=(slice(None), np.array([3, 3, 0]))),
            call((3, 4), index=(np.array([[0], [2]]), np.array([1, 3]))),
            call((2, 3, 4), index=(np.array([0, 1, 1]), slice(None, None, -1), np.array([0, 2, 2]))),
            call((2, 3, 4), index=(0, slice(1, None), [0, 0])),
            call((2, 3, 4), index=(None, ..., [1, 1], None)),
            call((3, 4), index=np.array([], np.intp)),
            call((0, 4), index=(slice(None), [0, 0])),
            call((3, 4), index=_MASK),
            call((3, 4), index=_MASK[:, 0]),
            call((3, 4), index=(slice(None), _MASK[0])),
            call((2, 3, 4), index=(1, _MASK)),
            call((3, 4), index=(_MASK[:, 0], [1, 1])),
            call((3, 4), index=np.zeros((3, 4), bool)),
        ),
        examples=(
            (call(np.array([1.0, 2.0, 3.0]), index=np.array([2, 0, 2, 2])), (np.array([1.0, 0.0, 3.0]),)),
            (call(np.array([1.0, np.inf, np.nan]), index=0), (np.array([1.0, 0.0, 0.0]),)),
        ),
        note="places that an index names more than once add up",
    ),
)
def getitem_vjp(g: Any, _y: Any, _a: Any, *, index: Any) -> Any:
    """The adjoint of indexing adds to zeros: the other half of the pair."""
    return scattered(g, index, _a.shape)
