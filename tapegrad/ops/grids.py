"""Grids: points between two ends, and coordinates over several axes."""

from typing import Any

import numpy as np

from tapegrad.cases import POSITIVE, Cases, call
from tapegrad.primitive import composite, defvjp
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
    parts = max(num - 1 if endpoint else num, 1)
    axis = axis % g.ndim
    real = g.real.dtype
    # Counted in double precision: float16 has no 4001.
    w = cast(np.arange(num, dtype=np.result_type(real, np.float64)) / parts, real)
    lead = (slice(None),) * axis
    # The ends themselves stay out of each other's sums: 0 times inf would be nan.
    last = num - 1 if endpoint and num > 1 else num
    return (
        np.tensordot(1 - w[:last], g[(*lead, slice(0, last))], axes=((0,), (axis,))),
        np.tensordot(w[1:], g[(*lead, slice(1, None))], axes=((0,), (axis,))),
    )


@defvjp(
    np.linspace,
    cases=Cases(
        calls=(
            *_ENDS,
            call((), (), num=3, retstep=True),
            call((2,), (), num=3, endpoint=False, retstep=True, axis=-1),
        )
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
    step = None if g_step is None or parts < 1 else g_step / parts  # Of one point there is no step: it is nan.
    if g is None:
        return (
            (None, None)
            if step is None
            else (lambda: unbroadcast(-step, _start.shape), lambda: unbroadcast(step, _stop.shape))
        )
    first, second = _share(g, num, endpoint, axis)
    if step is not None:
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
    return tuple(np.copy(x) for x in grids) if copy else grids
