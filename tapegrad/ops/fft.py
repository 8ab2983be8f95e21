"""numpy.fft: rules for the Fourier transforms, each the adjoint of another.

A transform is linear, so its cotangent comes by its adjoint, which is one transform of the same length:
of ``fft`` it is ``ifft`` with the other normalisation, of ``rfft`` a real transform back, of ``hfft`` one
forth. The transforms of real data hold half of a spectrum, whose inner terms stand for two terms each:
so they count twice (``inner_scaled``). The transforms over several axes are made of those over one, as
NumPy itself makes them; nothing is kept, so that they cost no memory.

Van Loan 1992, "Computational Frameworks for the Fast Fourier Transform"; the conventions are NumPy's.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp, plain, primitive
from tapegrad.shapes import scattered

plain(np.fft.fftfreq, np.fft.rfftfreq)

# The adjoint of a transform that isn't scaled is one back that isn't; NumPy calls that by the other name.
OTHER: Any = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def fitted(c: Any, n: int, axis: int) -> Any:
    """The adjoint of cropping and of padding with zeros: the axis brought to the length ``n``."""
    present = c.shape[axis]
    if present == n:
        return c
    lead = (slice(None),) * (axis % c.ndim)
    if present > n:
        return c[(*lead, slice(n))]
    return scattered(c, (*lead, slice(present)), (*c.shape[: len(lead)], n, *c.shape[len(lead) + 1 :]))


@primitive
def inner_scaled(h: Any, factor: float, n: int, axis: int) -> Any:
    """Half of a spectrum times ``factor``, but for the terms that stand for themselves alone.

    h : array, complex, with ``n // 2 + 1`` terms along ``axis``
    factor : what the inner terms are multiplied by; they stand for their mirror images as well
    n : the length of the real data; where it is even, the last term is its own mirror image
    Returns an array of the shape and dtype of ``h``.

    >>> inner_scaled(np.array([1.0, 1.0, 1.0]), 2.0, 4, 0)
    array([1., 2., 1.])
    """
    out = h * factor
    lead = (slice(None),) * (axis % h.ndim)
    for i in (0, n // 2) if n % 2 == 0 else (0,):
        out[(*lead, i)] = h[(*lead, i)]
    return out


@defvjp(
    inner_scaled,
    cases=Cases(
        calls=(
            call((2, 3), factor=0.5, n=4, axis=1),
            call((3, 2), factor=2.0, n=5, axis=-2),
            call((1,), factor=2.0, n=1, axis=0),
            call((2,), factor=2.0, n=2, axis=0),
        )
    ),
)
def inner_scaled_vjp(g: Any, _y: Any, _h: Any, *, factor: float, n: int, axis: int) -> Any:
    """A diagonal of real numbers is its own adjoint."""
    return inner_scaled(g, factor, n, axis)


# ---------------------------------------------------------------- over one axis

ONE_AXIS = (
    call((5,)),
    call((2, 4)),
    call((2, 3), axis=0),
    call((3, 2, 2), axis=-3, norm="backward"),
    call((2, 4), norm="ortho"),
    call((2, 5), axis=1, norm="forward"),
    call((2, 5, 2), n=3, axis=1),
    call((4, 2), n=7, axis=0, norm="ortho"),
    call((2, 3), n=4, norm="forward"),
    call((2, 4), n=1),
    call((2, 4), n=2),
    call((0, 3)),
)


@defvjp(np.fft.fft, cases=Cases(calls=(*ONE_AXIS, call((1,)))))
def fft_vjp(
    g: Any, _y: Any, _a: Any, *, _n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar = F^H g, the inverse transform without its 1/n; what was cropped gets 0, what was padded is cropped."""
    return fitted(np.fft.ifft(g, None, axis, OTHER[norm]), _a.shape[axis], axis)


@defvjp(np.fft.ifft, cases=Cases(calls=(*ONE_AXIS, call((1,)))))
def ifft_vjp(
    g: Any, _y: Any, _a: Any, *, _n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar = F g / n, as for fft."""
    return fitted(np.fft.fft(g, None, axis, OTHER[norm]), _a.shape[axis], axis)


@defvjp(np.fft.rfft, cases=Cases(calls=(*ONE_AXIS, call((1,))), complex=False, analytic=False))
def rfft_vjp(
    g: Any, _y: Any, _a: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar_j = Re sum over k <= n/2 of g_k w^(-jk); irfft sums inner terms twice, so they come in halved."""
    n = _a.shape[axis] if n is None else n
    c = np.fft.irfft(inner_scaled(g, 0.5, n, axis), n, axis, OTHER[norm])
    return fitted(c, _a.shape[axis], axis)


HALF = "the imaginary parts of the first term, and for even n of the last, take no part, and get 0"


@defvjp(np.fft.irfft, cases=Cases(calls=ONE_AXIS, analytic=False, note=HALF))
def irfft_vjp(
    g: Any, _y: Any, _a: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar = rfft of g, the inner terms twice."""
    n = g.shape[axis] if n is None else n
    c = inner_scaled(np.fft.rfft(g, n, axis, OTHER[norm]), 2.0, n, axis)
    return fitted(c, _a.shape[axis], axis)


@defvjp(np.fft.hfft, cases=Cases(calls=ONE_AXIS, analytic=False, note=HALF))
def hfft_vjp(
    g: Any, _y: Any, _a: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar = ihfft of g, the inner terms twice: hfft is irfft of the conjugate."""
    n = g.shape[axis] if n is None else n
    c = inner_scaled(np.fft.ihfft(g, n, axis, OTHER[norm]), 2.0, n, axis)
    return fitted(c, _a.shape[axis], axis)


@defvjp(np.fft.ihfft, cases=Cases(calls=(*ONE_AXIS, call((1,))), complex=False, analytic=False))
def ihfft_vjp(
    g: Any, _y: Any, _a: Any, *, n: int | None = None, axis: int = -1, norm: Any = None, _out: Any = None
) -> Any:
    """a_bar = hfft of g, the inner terms halved."""
    n = _a.shape[axis] if n is None else n
    c = np.fft.hfft(inner_scaled(g, 0.5, n, axis), n, axis, OTHER[norm])
    return fitted(c, _a.shape[axis], axis)


# ---------------------------------------------------------------- over several axes

TWO_AXES = (
    call((2, 3)),
    call((2, 3, 2)),
    call((2, 3), s=(3, 2), axes=(0, 1)),
    call((2, 5), s=(-1, 4), axes=(-2, -1), norm="ortho"),
    call((2, 3, 2), axes=(2, 0), norm="forward"),
    call((3, 2), s=[4, -1], axes=[1, 0], norm="backward"),
)
ALL_AXES = (
    *TWO_AXES,
    call((4,)),
    call((2, 3, 2), axes=(1,)),
    call((3, 4), axes=(1, 1)),
    call((3, 4), s=(3, 5), axes=(1, -1), norm="ortho"),
)


def _lengths(
    a: Any, s: Sequence[int] | None, axes: Sequence[int] | None, halved: bool = False
) -> tuple[list[Any], list[int]]:
    """The lengths and the axes of a transform over several, as NumPy reads them; ``halved``: of irfftn."""
    if s is None:
        axes = list(range(-a.ndim, 0)) if axes is None else list(axes)
        lengths = [a.shape[axis] for axis in axes]
        if halved:
            lengths[-1] = (lengths[-1] - 1) * 2
        return lengths, axes
    s = list(s)
    if axes is None:
        warnings.warn(
            "`axes` should not be `None` if `s` is not `None` (Deprecated in NumPy 2.0); "
            "pass the axes that the lengths are for",
            DeprecationWarning,
            stacklevel=4,
        )
        axes = range(-len(s), 0)
    axes = list(axes)
    if len(s) != len(axes):
        raise ValueError("Shape and axes have different lengths.")
    if None in s:
        warnings.warn("`None` in `s` is deprecated in NumPy 2.0; pass the length", DeprecationWarning, stacklevel=4)
    return [a.shape[axis] if n == -1 else n for n, axis in zip(s, axes, strict=True)], axes


def _over_axes(function: Any, a: Any, lengths: Sequence[Any], axes: Sequence[int], norm: Any, out: Any) -> Any:
    """``function`` over one axis after the other, the last one first."""
    for i in reversed(range(len(axes))):
        a = function(a, lengths[i], axes[i], norm, **({} if i or out is None else {"out": out}))
    return a


@composite(np.fft.fftn, cases=Cases(calls=ALL_AXES))
def fftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    """``fft`` over each of the axes."""
    return _over_axes(np.fft.fft, a, *_lengths(a, s, axes), norm, out)


@composite(np.fft.ifftn, cases=Cases(calls=ALL_AXES))
def ifftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    """``ifft`` over each of the axes."""
    return _over_axes(np.fft.ifft, a, *_lengths(a, s, axes), norm, out)


@composite(np.fft.fft2, cases=Cases(calls=TWO_AXES))
def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    """``fftn`` over the last two axes."""
    return _over_axes(np.fft.fft, a, *_lengths(a, s, axes), norm, out)


@composite(np.fft.ifft2, cases=Cases(calls=TWO_AXES))
def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    """``ifftn`` over the last two axes."""
    return _over_axes(np.fft.ifft, a, *_lengths(a, s, axes), norm, out)


def _real_forth(a: Any, s: Any, axes: Any, norm: Any, out: Any) -> Any:
    lengths, axes = _lengths(a, s, axes)
    if len(axes) == 1:
        return _over_axes(np.fft.rfft, a, lengths, axes, norm, out)
    half = np.fft.rfft(a, lengths[-1], axes[-1], norm)
    return _over_axes(np.fft.fft, half, lengths[:-1], axes[:-1], norm, out)


def _real_back(a: Any, s: Any, axes: Any, norm: Any, out: Any) -> Any:
    lengths, axes = _lengths(a, s, axes, halved=True)
    for n, axis in zip(lengths[:-1], axes[:-1], strict=True):
        a = np.fft.ifft(a, n, axis, norm)
    return np.fft.irfft(a, lengths[-1], axes[-1], norm, **({} if out is None else {"out": out}))


@composite(np.fft.rfftn, cases=Cases(calls=ALL_AXES[:-2], complex=False, analytic=False))
def rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    """``rfft`` over the last of the axes, ``fft`` over the others."""
    return _real_forth(a, s, axes, norm, out)


@composite(np.fft.rfft2, cases=Cases(calls=TWO_AXES, complex=False, analytic=False))
def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    """``rfftn`` over the last two axes."""
    return _real_forth(a, s, axes, norm, out)


@composite(np.fft.irfftn, cases=Cases(calls=ALL_AXES[:-2], analytic=False, note=HALF))
def irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Any:
    """``irfft`` over the last of the axes, ``ifft`` over the others."""
    return _real_back(a, s, axes, norm, out)


@composite(np.fft.irfft2, cases=Cases(calls=TWO_AXES, analytic=False, note=HALF))
def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Any:
    """``irfftn`` over the last two axes."""
    return _real_back(a, s, axes, norm, out)


# ---------------------------------------------------------------- the middle first, the middle last

SHIFTED = Cases(
    calls=(
        call((5,)),
        call((4, 3)),
        call((4, 3), axes=0),
        call((2, 3, 4), axes=(0, -1)),
        call((3, 2), axes=[-2]),
        call((5,), axes=(0, 0)),
        call((0, 2)),
    )
)


def _halves(x: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Half of the length of each of the axes, and the axes."""
    axes = tuple(range(x.ndim)) if axes is None else tuple(axes) if np.ndim(axes) else (axes,)
    return tuple(x.shape[axis] // 2 for axis in axes), axes


@composite(np.fft.fftshift, cases=SHIFTED)
def fftshift(x: Any, axes: Any = None) -> Any:
    """Each axis rolled by half of its length."""
    halves, axes = _halves(x, axes)
    return np.roll(x, halves, axes)


@composite(np.fft.ifftshift, cases=SHIFTED)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """Rolled back."""
    halves, axes = _halves(x, axes)
    return np.roll(x, tuple(-half for half in halves), axes)
