"""Windows: an array seen through one that slides, and its adjoint, each half the derivative of the other."""

from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.errors import WriteError
from tapegrad.primitive import defvjp, primitive
from tapegrad.shapes import normalized_axes

_WINDOWS = (
    call((5,), window_shape=3),
    call((5,), window_shape=(1,)),
    call((4, 5), window_shape=(2, 3)),
    call((4, 5), window_shape=2, axis=0),
    call((4, 5), window_shape=(3,), axis=-1),
    call((2, 4, 3), window_shape=(3, 2), axis=(1, -1)),
    call((6,), window_shape=(2, 3), axis=(0, 0)),
    call((3, 0), window_shape=2, axis=0),
    call((2, 3), window_shape=(), axis=()),
)


def _windows(x: Any, window_shape: Any, axis: Any = None, subok: bool = False, writeable: bool = False) -> Any:
    if writeable:
        raise WriteError("np.lib.stride_tricks.sliding_window_view: writeable=True would write to a tensor unseen")
    return np.lib.stride_tricks.sliding_window_view(x, window_shape, axis, subok=subok)


@defvjp(np.lib.stride_tricks.sliding_window_view, forward=_windows, cases=Cases(calls=_WINDOWS))
def sliding_window_view_vjp(
    g: Any, _y: Any, _x: Any, *, window_shape: Any, axis: Any = None, _subok: bool = False, _writeable: bool = False
) -> Any:
    """Each element gets the sum over the windows that show it: the other half of the pair."""
    return windows_added(g, _x.shape, window_shape, axis)


@primitive
def windows_added(g: Any, shape: tuple[int, ...], window_shape: Any, axis: Any = None) -> Any:
    """The adjoint of ``sliding_window_view``: each window added to zeros of ``shape`` where it lies.

    g : array of the shape of ``sliding_window_view(zeros(shape), window_shape, axis)``
    Returns an array of ``shape`` and the dtype of ``g``.

    >>> windows_added(np.ones((3, 2)), (4,), 2)
    array([1., 2., 2., 1.])
    """
    axes = normalized_axes(axis, len(shape))
    sizes = tuple(window_shape) if np.ndim(window_shape) else (window_shape,)
    # An axis may have several windows: the last comes off first.
    for along, size in reversed(list(zip(axes, sizes, strict=True))):
        out = np.zeros((*g.shape[:along], g.shape[along] + size - 1, *g.shape[along + 1 : -1]), g.dtype)
        _add_windows(np.moveaxis(out, along, -1), np.moveaxis(g, along, -2))
        g = out
    return g if axes else g.copy()


_IN_CACHE = 1 << 15  # elements of a part, which is read once for each of its places or shifts


def _add_windows(out: Any, g: Any) -> None:
    """out[..., i + j] += g[..., i, j], part by part, along the shorter of the two."""
    places, size = g.shape[-2:]
    if g.size > _IN_CACHE and max(g.shape) > 1:
        cut = g.shape.index(max(g.shape))
        half = g.shape[cut] // 2
        if cut < g.ndim - 2:
            lead = (slice(None),) * cut
            for part in (slice(0, half), slice(half, None)):
                _add_windows(out[(*lead, part)], g[(*lead, part)])
        elif cut == g.ndim - 2:
            _add_windows(out[..., : half + size - 1], g[..., :half, :])
            _add_windows(out[..., half:], g[..., half:, :])
        else:
            _add_windows(out[..., : places + half - 1], g[..., :half])
            _add_windows(out[..., half:], g[..., half:])
    elif size < places:
        for j in range(size):
            out[..., j : j + places] += g[..., j]
    else:
        for i in range(places):
            out[..., i : i + size] += g[..., i, :]


@defvjp(
    windows_added,
    cases=Cases(
        calls=(
            call((3, 2), shape=(4,), window_shape=2),
            call((2, 3), shape=(4,), window_shape=(3,), axis=-1),
            call((2, 2, 2, 3), shape=(3, 4), window_shape=(2, 3)),
            call((3, 2, 3), shape=(6,), window_shape=(2, 3), axis=(0, 0)),
            # More than a cache holds, cut along each kind of axis.
            call((180, 190), shape=(369,), window_shape=190),
            call((190, 180), shape=(369,), window_shape=180),
            call((2, 1, 100, 14, 13), shape=(2, 1, 100, 26), window_shape=13, axis=3),
            call((2, 3), shape=(2, 3), window_shape=(), axis=()),
        )
    ),
)
def windows_added_vjp(g: Any, _y: Any, _g: Any, *, _shape: Any, window_shape: Any, axis: Any = None) -> Any:
    """The windows: the other half of the pair."""
    return np.lib.stride_tricks.sliding_window_view(g, window_shape, axis)
