"""Grids: points between two ends, and coordinates over several axes."""

import math
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import POSITIVE, Cases, call
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import cast, conj, unbroadcast

_ENDS = (
    call((), ()),
    call((), (), num=4, endpoint=False),
    call((2, 1), (3,), num=3),
    call((3,), (3,), num=4, axis=-1),
    call((), 2.0, num=5),
    call(1, (2,), num=3, axis=1),
    call((), (), num=1),
    call((), (), num=1, endpoint=False),
    call((), (2,), num=0),
    call((), (), num=3, dtype=np.complex128),
)


def _share(g: Any, num: int, endpoint: bool, axis: int) -> tuple[Any, Any]:
    """The sums over the points of g times what the first end has in them, and the second."""
    # Counted in double precision, or more: float16 has no 4001.
    w = np.linspace(np.result_type(g.real.dtype, np.float64).type(0), 1, num, endpoint)
    first, second = 1 - w, w
    if w.dtype != g.real.dtype:
        first, second = cast(first, g.real.dtype), cast(second, g.real.dtype)
    lead = (slice(None),) * (axis % g.ndim)
    # The ends themselves stay out of each other's sums: 0 times inf would be nan.
    last = num - 1 if endpoint and num > 1 else num
    return (
        _weighted_sum(first[:last], g[(*lead, slice(0, last))], axis % g.ndim),
        _weighted_sum(second[1:], g[(*lead, slice(1, None))], axis % g.ndim),
    )


def _weighted_sum(w: Any, g: Any, axis: int) -> Any:
    # Products of a vector and a matrix, where it is one: np.tensordot would copy it, or multiply matrices.
    if axis == 0 and g.ndim <= 2:
        return w @ g
    return g @ w if axis == g.ndim - 1 else np.tensordot(w, g, axes=((0,), (axis,)))


@defvjp(
    np.linspace,
    cases=Cases(
        calls=(
            *_ENDS,
            call((), (), num=3, retstep=True),
            call((2,), (), num=3, endpoint=False, retstep=True, axis=-1),
            call((), (2,), num=2, retstep=True),
        ),
        examples=(
            # The ends have no part in each other.
            (call(0.0, 1.0, num=3), (1.5, np.inf), np.array([1.0, 1.0, np.inf])),
            (call(0.0, 1.0, num=3), (np.inf, 1.5), np.array([np.inf, 1.0, 1.0])),
            (call(0.0, 1.0, num=2), (1.0, np.inf), np.array([1.0, np.inf])),
            (call(1.0, 2.0, num=1, retstep=True), (1.0, 0.0)),
            # As exact as the ends are.
            (
                call(np.longdouble(0), np.longdouble(1), num=4),
                (np.longdouble(2) / 3, np.longdouble(1) / 3),
                np.array([0, 1, 0, 0]),
            ),
        ),
    ),
)
def linspace_vjp(
    g: Any,
    _y: Any,
    _start: Any,
    _stop: Any,
    *,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    _dtype: Any = None,
    axis: int = 0,
    _device: Any = None,
) -> Any:
    """y_k = (1 - w_k) start + w_k stop, with w_k = k / n; and of the step, 1 / n of the difference."""
    g, g_step = g if retstep else (g, None)
    parts = num - 1 if endpoint else num
    first, second = (np.zeros_like(g_step),) * 2 if g is None else _share(g, num, endpoint, axis)
    if g_step is not None and parts > 0:  # Of one point there is no step: it is nan.
        step = g_step / parts
        first, second = first - step, second + step
    return (
        lambda: unbroadcast(first, _start.shape),
        lambda: unbroadcast(second, _stop.shape),
    )


@defvjp(
    np.geomspace,
    cases=Cases(domain=POSITIVE, calls=_ENDS, note="between complex ends along the spiral that NumPy takes"),
)
def geomspace_vjp(
    g: Any,
    y: Any,
    start: Any,
    stop: Any,
    *,
    num: int = 50,
    endpoint: bool = True,
    _dtype: Any = None,
    axis: int = 0,
) -> Any:
    """y_k = start^(1 - w_k) stop^w_k, so that its logarithm is what np.linspace gives of the logarithms."""
    first, second = _share(g * conj(y), num, endpoint, axis)
    return (
        lambda: unbroadcast(first / conj(start), start.shape),
        lambda: unbroadcast(second / conj(stop), stop.shape),
    )


@partial(primitive, name="np.logspace")
def powers_between(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """``np.logspace`` to a base that is a number."""
    return np.logspace(start, stop, num, endpoint, base, dtype, axis)


@defvjp(powers_between, cases=Cases(domain=POSITIVE, calls=(*_ENDS, call((), (), num=3, base=2.0))))
def powers_between_vjp(
    g: Any,
    y: Any,
    _start: Any,
    _stop: Any,
    *,
    num: int = 50,
    endpoint: bool = True,
    base: float = 10.0,
    _dtype: Any = None,
    axis: int = 0,
) -> Any:
    """y_k = base^((1 - w_k) start + w_k stop), whose slope is y_k log(base)."""
    first, second = _share(g * conj(y), num, endpoint, axis)
    slope = math.log(base)
    return (
        lambda: unbroadcast(first * slope, _start.shape),
        lambda: unbroadcast(second * slope, _stop.shape),
    )


@composite(
    np.logspace,
    cases=Cases(
        domain=POSITIVE,
        calls=(
            *_ENDS,
            call((), (), num=3, base=2.0),
            call((2,), (), num=3, base=np.array(3.0)),
            call((), (), num=3, base=np.array([2.0, 3.0]), axis=-1),
        ),
    ),
    note="base= may be a tensor, and has a gradient then",
)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """The base to the powers that np.linspace gives."""
    if isinstance(base, (int, float)):
        return powers_between(start, stop, num, endpoint, base, dtype, axis)
    if np.ndim(base):
        ndim = max(np.ndim(start), np.ndim(stop), np.ndim(base))
        start, stop, base = (_lengthened(x, ndim) for x in (start, stop, base))
        base = np.expand_dims(base, axis)
    y = np.power(base, np.linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else y.astype(dtype, copy=False)


def _lengthened(x: Any, ndim: int) -> Any:
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


@composite(
    np.meshgrid,
    cases=Cases(
        calls=(
            call((2,), (3,)),
            call((2,), (3,), (1,), indexing="ij"),
            call((2,), (3,), (2,), sparse=True),
            call((2,), (), copy=False),
            call((2, 2), (3,), sparse=True, copy=False),
            call((3,)),
        )
    ),
)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Each array along an axis of its own, repeated along the others."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"np.meshgrid: indexing is 'xy' or 'ij'; got {indexing!r}")
    order = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        order[:2] = 1, 0
    grids: Any = [
        np.reshape(x, tuple(-1 if i == axis else 1 for i in range(len(xi)))) for x, axis in zip(xi, order, strict=True)
    ]
    if not sparse:
        grids = np.broadcast_arrays(*grids)
    # In C order, as NumPy's: in its own, what repeats would be laid out by columns, and slow beside other arrays.
    return tuple(np.copy(x, order="C") for x in grids) if copy else grids
