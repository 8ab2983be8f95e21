"""Functions given by samples: gradient, trapezoid.

The places of the samples take part as well as the values. The rules are written in the slopes between
neighbours, in which both have short derivatives.
"""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.errors import ShapeError
from tapegrad.ops.differences import as_array, part, undiff, zeros_along
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, expand_like, unbroadcast

# ---------------------------------------------------------------- gradient


def _interior(g: Any, axis: int, edge_order: Any) -> tuple[Any, Any, Any]:
    """The cotangents of the first slope, of the interior, and of the last slope.

    With ``edge_order`` 2 the value at an edge is twice its slope less the value beside it.
    """
    first, inner, last = part(g, None, 1, axis), part(g, 1, -1, axis), part(g, -1, None, axis)
    if edge_order == 1:
        return first, inner, last
    if inner.shape[axis] == 1:
        inner = inner - first - last
    else:
        ends = part(inner, None, 1, axis) - first, part(inner, -1, None, axis) - last
        inner = np.concatenate([ends[0], part(inner, 1, -1, axis), ends[1]], axis=axis)
    return 2 * first, inner, 2 * last


@primitive
def ungradient(g: Any, axis: int, edge_order: Any = 1, factor: float = 1.0) -> Any:
    """The adjoint of ``np.gradient`` along one axis, for samples 1 apart, times ``factor``.

    g : array of any shape but (), float or complex; the axis has length ``edge_order + 1`` at least
    Returns an array of the shape and dtype of ``g``.

    >>> ungradient(np.array([1.0, 2.0, 4.0]), 0)
    array([-2., -3.,  5.])
    """
    if g.shape[axis] < 8:
        return _ungradient(g, axis, edge_order) * factor
    # Only the three values at each end are out of the ordinary, and nothing beyond seven tells on them.
    out = np.empty(g.shape, g.dtype)
    inner = part(out, 1, -1, axis)
    np.subtract(part(g, None, -2, axis), part(g, 2, None, axis), out=inner)
    inner *= 0.5 * factor
    part(out, None, 3, axis)[...] = part(_ungradient(part(g, None, 7, axis), axis, edge_order) * factor, None, 3, axis)
    part(out, -3, None, axis)[...] = part(
        _ungradient(part(g, -7, None, axis), axis, edge_order) * factor, -3, None, axis
    )
    return out


def _ungradient(g: Any, axis: int, edge_order: Any) -> Any:
    first, inner, last = _interior(g, axis, edge_order)
    row = np.concatenate([-first, first, 0.5 * inner, last, -last], axis=axis)
    return part(row, None, -2, axis) - part(row, 2, None, axis)


@defvjp(
    ungradient,
    cases=Cases(
        calls=(
            call((3, 2), axis=0, edge_order=2),
            call((2, 9), axis=1, edge_order=2),
            call((8,), axis=-1, factor=0.5),
            call((2,), axis=0, factor=-2.0),
        ),
        neutral=False,
    ),
)
def ungradient_vjp(g: Any, _y: Any, _g: Any, *, axis: int, edge_order: Any = 1, factor: float = 1.0) -> Any:
    """The gradient itself."""
    return np.gradient(g, 1 / factor, axis=axis, edge_order=edge_order)


@partial(primitive, name="np.gradient")
def gradient_by_step(f: Any, step: Any, axis: int, edge_order: Any) -> Any:
    """``np.gradient`` along one axis, the samples all ``step`` apart."""
    return np.gradient(f, step, axis=axis, edge_order=edge_order)


STEPS = Domain(0.5, 1.5)


@defvjp(
    gradient_by_step,
    cases=Cases(
        domain=(Domain(), STEPS),
        calls=(
            call((5,), (), axis=0, edge_order=1),
            call((2,), (), axis=0, edge_order=1),
            call((3, 2), 0.5, axis=0, edge_order=1),
            call((2, 3), (), axis=1, edge_order=2),
            call((4, 2), (), axis=0, edge_order=2),
            call((2, 6), 2.0, axis=-1, edge_order=2),
            call((11, 2), 0.25, axis=0, edge_order=2),
            call((9,), (), axis=0, edge_order=1),
        ),
        examples=(
            # (Where f is real, NumPy takes no complex step: hence complex=False.)
            (
                call(np.array([1 + 2j, 3 - 1j]), 1 + 1j, axis=0, edge_order=1),
                (np.array([-1 - 1j, 1 + 1j]), 3 - 2j),
            ),
        ),
        complex=False,
    ),
)
def gradient_by_step_vjp(g: Any, y: Any, _f: Any, step: Any, *, axis: int, edge_order: Any) -> Any:
    """f_bar = differences of g at a distance of two, edges at their ends; step_bar = -sum(g conj(y)) / step."""

    def by_f() -> Any:
        # A plain number goes along into the one pass.
        if type(step) is float or type(step) is int:
            return ungradient(g, axis, edge_order, 1 / step)
        return ungradient(g, axis, edge_order) / conj(step)

    return by_f, lambda: -np.sum(g * conj(y)) / conj(step)


@partial(primitive, name="np.gradient")
def gradient_by_places(f: Any, places: Any, axis: int, edge_order: Any) -> Any:
    """``np.gradient`` along one axis, the samples at those places."""
    return np.gradient(f, places, axis=axis, edge_order=edge_order)


PLACES = np.array([0.0, 0.7, 1.1, 2.0, 2.2])


class Increasing(Domain):
    """Draws places one after the other."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of ``shape`` and ``dtype``."""
        return np.cumsum(super().draw(rng, shape, dtype), axis=-1)


@defvjp(
    gradient_by_places,
    cases=Cases(
        domain=(Domain(), Increasing(0.5, 1.5)),
        calls=(
            call((5,), (5,), axis=0, edge_order=1),
            call((2, 5), (5,), axis=1, edge_order=2),
            call((5, 2), (5,), axis=0, edge_order=1),
            call((5,), PLACES, axis=0, edge_order=1),
            call((5, 2), PLACES, axis=0, edge_order=2),
            call((2, 3), PLACES[:3], axis=1, edge_order=2),
            call((2, 4), PLACES[:4], axis=-1, edge_order=2),
            call((2, 3), np.arange(3.0), axis=1, edge_order=1),
            call((2, 3), np.arange(2), axis=0, edge_order=1),
        ),
        examples=(
            # (Places are real, of complex samples too: hence complex=False.)
            (
                call(np.array([1j, 2, 0]), np.array([0.0, 1.0, 3.0]), axis=0, edge_order=1),
                (np.array([-5 - 10j, 3 + 6j, 2 + 4j]) / 3, np.array([2.0, -9.0, 7.0]) / 9),
                1 + 2j,
            ),
        ),
        complex=False,
    ),
)
def gradient_by_places_vjp(g: Any, _y: Any, f: Any, places: Any, *, axis: int, edge_order: Any) -> Any:
    """By way of the slopes s between neighbours: inside, y = (d2 s1 + d1 s2) / (d1 + d2) for steps d1, d2."""
    step = np.diff(places).reshape((-1,) + (1,) * (g.ndim - 1 - axis % g.ndim))
    d1, d2 = step[:-1], step[1:]
    first, inner, last = _interior(g, axis, edge_order)
    share = inner / (d1 + d2)
    ahead = np.concatenate([d2 * share, last], axis=axis)
    slopes_bar = (ahead + np.concatenate([first, d1 * share], axis=axis)) / step

    def by_places() -> Any:
        s = np.diff(f, axis=axis) / step
        gap = conj(part(s, 1, None, axis) - part(s, None, -1, axis))
        pull = share * gap / (d1 + d2)
        none = zeros_along(pull, 1, axis)
        by_step = np.concatenate([d2 * pull, none], axis=axis) - np.concatenate([none, d1 * pull], axis=axis)
        c = by_step - slopes_bar * conj(s)
        summed = tuple(i for i in range(g.ndim) if i != axis % g.ndim)
        return undiff(np.sum(c, axis=summed), 0)

    return lambda: undiff(slopes_bar, axis), by_places


def _gradient_cases() -> Cases:
    return Cases(
        calls=(
            call((4,)),
            call((3, 4)),
            call((3, 4), 0.5),
            call((3, 4), 0.5, np.array([0.0, 1.0, 3.0, 3.5]), edge_order=2),
            call((3, 4), axis=1),
            call((3, 4, 2), axis=(0, -2)),
            call((3, 3), 2, 0.25, axis=(1, 0), edge_order=2),
        )
    )


@composite(np.gradient, cases=_gradient_cases())
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: Any = 1) -> Any:
    """One axis after the other, by a step or by the places of the samples."""
    f = as_array(f)
    axes = tuple(range(f.ndim)) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, f.ndim)
    spacings = [1.0] * len(axes) if not varargs else list(varargs)
    if len(spacings) == 1 and np.ndim(spacings[0]) == 0:
        spacings = spacings * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"np.gradient: {len(varargs)} spacings for {len(axes)} axes; pass one for all, or one each")
    if edge_order > 2:
        raise ValueError(f"np.gradient: 'edge_order' greater than 2 not supported; got {edge_order}")
    if f.dtype.kind in "iu":  # As NumPy does, so that the rule doesn't wrap around either.
        f = f.astype(np.float64)
    along = [
        (gradient_by_places if np.ndim(by) else gradient_by_step)(f, by, a, edge_order)
        for a, by in zip(axes, spacings, strict=True)
    ]
    return along[0] if len(along) == 1 else tuple(along)


# ---------------------------------------------------------------- trapezoid


@partial(primitive, name="np.trapezoid")
def trapezoid_by_step(y: Any, axis: int) -> Any:
    """``np.trapezoid``, the samples 1 apart."""
    return _trapezoid(y, axis=axis)


_trapezoid: Any = np.trapezoid


@defvjp(
    trapezoid_by_step,
    cases=Cases(
        calls=(
            call((4,), axis=0),
            call((3, 2), axis=0),
            call((2, 2), axis=-1),
            call((2, 1), axis=1),
            call((0,), axis=0),
        )
    ),
)
def trapezoid_by_step_vjp(g: Any, _z: Any, _y: Any, *, axis: int) -> Any:
    """y_bar = g along the axis, and half of it at the two ends."""
    n = _y.shape[axis]
    if n < 2:
        return None
    whole = expand_like(g, _y, axis)
    end = 0.5 * part(whole, None, 1, axis)
    return np.concatenate([end, part(whole, 1, -1, axis), end], axis=axis)


@partial(primitive, name="np.trapezoid")
def trapezoid_by_places(y: Any, x: Any, axis: int) -> Any:
    """``np.trapezoid``, the samples at the places ``x``."""
    return _trapezoid(y, x, axis=axis)


@defvjp(
    trapezoid_by_places,
    cases=Cases(
        calls=(
            call((4,), (4,), axis=0),
            call((2,), (2,), axis=0),
            call((3, 2), (3,), axis=0),
            call((2, 3), (2, 3), axis=-1),
            call((2, 3), (1, 3), axis=1),
            call((1, 3), (2, 3), axis=1),
            call((2, 1), (1,), axis=1),
            call((3,), (2, 3), axis=-1),
            call((2, 3, 2), (3,), axis=1),
            call((3, 2, 2), (3,), axis=0),
            call((2, 3, 2, 2), (2, 3, 1, 1), axis=-3),
        )
    ),
)
def trapezoid_by_places_vjp(g: Any, _z: Any, y: Any, x: Any, *, axis: int) -> Any:
    """y_bar = g times half of the steps on either side; x_bar by the steps, which are differences of x."""
    n = y.shape[axis]
    if n < 2:
        return None, None
    if x.ndim == 1:
        shape = (-1,) + (1,) * (y.ndim - 1 - axis % y.ndim)
        places, along = x.reshape(shape), -len(shape)
    else:
        places, along = x, axis
    whole = np.expand_dims(0.5 * g, axis)

    def by_y() -> Any:
        step = conj(np.diff(places, axis=along))
        none = zeros_along(step, 1, along)
        weight = np.concatenate([none, step], axis=along) + np.concatenate([step, none], axis=along)
        return unbroadcast(whole * weight, y.shape)

    def by_x() -> Any:
        pairs = conj(part(y, 1, None, axis) + part(y, None, -1, axis))
        step_shape = tuple(m - 1 if i == along % places.ndim else m for i, m in enumerate(places.shape))
        return undiff(unbroadcast(whole * pairs, step_shape), along).reshape(x.shape)

    return by_y, by_x


TRAPEZOID = Cases(
    calls=(
        call((4,)),
        call((3, 2), dx=0.5, axis=0),
        call((2, 3), dx=np.array([0.5, 2.0])),
        call((3, 2), (3,), axis=0),
        call((2, 3), x=np.array([0.0, 1.0, 3.0])),
        call((2, 3), (2, 3)),
    )
)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The sum of the trapezoids between neighbours: their mean times their distance."""
    y = as_array(y)
    if x is not None:
        x = as_array(x)
        if x.ndim not in (1, y.ndim) and axis >= 0:
            raise ShapeError(
                f"np.trapezoid: axis {axis} is another one of y {y.shape} than of x {x.shape}; count it from the end"
            )
        if x.shape[0 if x.ndim == 1 else axis] != y.shape[axis]:
            raise ShapeError(f"np.trapezoid: along axis {axis}, x {x.shape} has not as many places as y {y.shape}")
        return trapezoid_by_places(y, x, axis)
    if np.ndim(dx):  # A step for each pair.
        return np.sum(dx * (part(y, 1, None, axis) + part(y, None, -1, axis)) / 2.0, axis)
    total = trapezoid_by_step(y, axis)
    return total if type(dx) is float and dx == 1.0 else dx * total


composite(np.trapezoid, cases=TRAPEZOID)(trapezoid)
if "trapz" in vars(np):  # until NumPy 2.3, deprecated
    composite(vars(np)["trapz"])(trapezoid)
