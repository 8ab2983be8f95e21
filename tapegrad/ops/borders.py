"""Borders: ``np.pad``, whose adjoint hands each element of a border back to where it came from."""

from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, Cases, call
from tapegrad.errors import NotDifferentiableError
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import scattered, select, sum_axes

_UNSET: Any = object()
_STATISTICS: dict[str, Any] = {"maximum": np.max, "median": np.median, "minimum": np.min}


@partial(primitive, name="np.pad")
def padded(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """``np.pad`` in the modes that are linear in the array (or affine, where the border holds constants)."""
    return np.pad(array, pad_width, mode, **options)  # type: ignore[call-overload]


PADDINGS = (
    call((2, 3), pad_width=1),
    call((2, 3), pad_width=((0, 2), (1, 0)), constant_values=3.0),
    call((3,), pad_width=(1, 2), mode="constant"),
    call((), pad_width=1),
    call((0, 2), pad_width=1),
    *(
        call(shape, pad_width=width, mode=mode)
        for mode in ("edge", "reflect", "symmetric", "wrap", "linear_ramp", "mean")
        for shape, width in (((2, 3), ((1, 0), (2, 1))), ((3,), 1), ((2, 2), (0, 5)), ((1, 2), ((3,), (1,))))
    ),
    *(
        call(shape, pad_width=width, mode=mode, reflect_type="odd")
        for mode in ("reflect", "symmetric")
        for shape, width in (((2, 3), ((1, 0), (2, 1))), ((4,), (2, 9)), ((2, 2), (0, 5)), ((1, 2), ((3,), (1,))))
    ),
    call((3,), pad_width=2, mode="linear_ramp", end_values=(1, -1)),
    call((4, 3), pad_width=2, mode="mean", stat_length=((1, 2), (3, 9))),
    call((3,), pad_width=1, mode="mean", stat_length=2),
    # A width for each axis by name came with NumPy 2.3.
    *(
        (call((2, 3), pad_width={-1: (1, 2)}), call((2, 3, 2), pad_width={0: 3, 1: (0, 1)}, mode="edge"))
        if np.lib.NumpyVersion(np.__version__) >= "2.3.0"
        else ()
    ),
)


@composite(
    np.pad,
    cases=Cases(
        domain=DISTINCT,
        analytic=False,
        calls=(
            *PADDINGS,
            *(call((2, 3), pad_width=((1, 0), (2, 1)), mode=mode) for mode in ("maximum", "minimum")),
            call((3,), pad_width=2, mode="maximum", stat_length=2),
            # Not along both axes: of evenly spaced numbers, two means may be equal.
            call((5,), pad_width=(1, 2), mode="median"),
            call((3, 2), pad_width=((2, 1), (0, 0)), mode="median", stat_length=((3, 1), (1, 1))),
            call((4,), pad_width=(0, 2), mode="minimum", stat_length=(3,)),
        ),
    ),
    note="a maximum, minimum or median in the border pulls as the function of that name",
)
def pad(
    array: Any, pad_width: Any, mode: Any = "constant", *, stat_length: Any = _UNSET,
    constant_values: Any = _UNSET, end_values: Any = _UNSET, reflect_type: Any = _UNSET,
) -> Any:  # fmt: skip
    """Linear in most modes; where a statistic fills the border, joined to it axis by axis."""
    if callable(mode):
        raise NotDifferentiableError(
            "np.pad: a function as mode= writes to the array that it is given, which has no rule; "
            "join a border of your own with np.concatenate"
        )
    given = {
        "stat_length": stat_length, "constant_values": constant_values,
        "end_values": end_values, "reflect_type": reflect_type,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not _UNSET}
    floating = hasattr(array, "dtype") and array.dtype.kind in "fc"
    if mode in _STATISTICS and floating and set(options) <= {"stat_length"}:
        return _with_statistics(array, pad_width, _STATISTICS[mode], options.get("stat_length"))
    return padded(array, pad_width=pad_width, mode=mode, **options)


def _with_statistics(array: Any, pad_width: Any, statistic: Any, stat_length: Any) -> Any:
    """NumPy pads axis 0 first, and its border is padded along with the rest."""
    widths = _pairs(pad_width, array.ndim)
    lengths = _pairs(stat_length, array.ndim) if stat_length is not None else [(n, n) for n in array.shape]
    if any(width < 0 for pair in widths for width in pair):
        raise ValueError("index can't contain negative values")
    for axis, (width, length) in enumerate(zip(widths, lengths, strict=True)):
        n = array.shape[axis]
        if n == 0 and any(width):
            raise ValueError(f"can't extend empty axis {axis} using modes other than 'constant' or 'empty'")
        if min(length) <= 0 and array.size and statistic is not np.median:
            raise ValueError("stat_length of 0 yields no value for padding")
        lead = (slice(None),) * axis
        runs = (slice(0, length[0]), slice(max(0, n - length[1]), n))
        low, high = (
            [_repeated(statistic(array[(*lead, run)], axis=axis, keepdims=True), axis, times)] if times else []
            for run, times in zip(runs, width, strict=True)
        )
        if low or high:
            array = np.concatenate([*low, array, *high], axis=axis)
    return array


def _repeated(border: Any, axis: int, times: int) -> Any:
    return np.broadcast_to(border, (*border.shape[:axis], times, *border.shape[axis + 1 :]))


@defvjp(
    padded,
    cases=Cases(
        calls=PADDINGS,
        examples=(
            # 2 a - b: the third element has no part in it.
            (
                call(np.array([1.0, 2.0, 4.0]), pad_width=(1, 0), mode="reflect", reflect_type="odd"),
                (np.array([np.inf, -np.inf, 1.0]),),
                np.array([np.inf, 1.0, 1.0, 1.0]),
            ),
            # Of a single element there is no end to reflect about: the border repeats it.
            (
                call(np.array([2.0]), pad_width=(1, 0), mode="reflect", reflect_type="odd"),
                (np.array([np.inf]),),
                np.array([np.inf, 1.0]),
            ),
        ),
    ),
)
def pad_vjp(
    g: Any,
    _y: Any,
    _array: Any,
    *,
    pad_width: Any,
    mode: Any = "constant",
    stat_length: Any = None,
    _constant_values: Any = 0,
    _end_values: Any = 0,
    reflect_type: str = "even",
) -> Any:
    """What is inside; and along each axis in turn, each element of the border where it came from."""
    shape = _array.shape
    widths = _pairs(pad_width, len(shape))
    if mode == "constant" or mode == "empty":
        return g[tuple(slice(before, before + n) for n, (before, _) in zip(shape, widths, strict=True))]
    lengths = _pairs(stat_length, len(shape)) if stat_length is not None else [(n, n) for n in shape]
    for axis in range(len(shape)):
        if any(widths[axis]):
            g = _unpadded(g, axis, shape[axis], widths[axis], mode, lengths[axis], reflect_type == "odd")
    return g


def _pairs(given: Any, ndim: int) -> list[tuple[int, int]]:
    """``pad_width`` and its like, in any of NumPy's forms, as a pair for each axis."""
    if isinstance(given, dict):  # NumPy 2.3
        chosen = {axis % ndim: np.broadcast_to(pair, (2,)) for axis, pair in given.items()}
        return [tuple(chosen.get(axis, (0, 0))) for axis in range(ndim)]
    return [(int(before), int(after)) for before, after in np.broadcast_to(given, (ndim, 2))]


def _unpadded(g: Any, axis: int, n: int, width: tuple[int, int], mode: Any, length: tuple[int, int], odd: bool) -> Any:
    """The adjoint of padding one axis from length ``n``."""
    before = width[0]
    lead = (slice(None),) * axis
    inside = g[(*lead, slice(before, before + n))]
    if mode == "mean":
        low = _mean_adjoint(g[(*lead, slice(0, before))], axis, n, slice(0, length[0]))
        high = _mean_adjoint(g[(*lead, slice(before + n, None))], axis, n, slice(max(0, n - length[1]), n))
        return inside + low + high
    border = np.concatenate([g[(*lead, slice(0, before))], g[(*lead, slice(before + n, None))]], axis=axis)
    if mode == "linear_ramp":
        ramp = _border(np.pad(np.ones(n), width, mode), n, before).astype(g.real.dtype)
        border = border * ramp.reshape(-1, *(1,) * (g.ndim - axis - 1))
        mode = "edge"
    places = _border(np.pad(np.arange(n), width, mode), n, before)
    if odd and mode in ("reflect", "symmetric") and n > 1:
        return inside + _odd_adjoint(border, axis, n, places, width, mode)
    return inside + scattered(border, (*lead, places), inside.shape)


def _border(line: Any, n: int, before: int) -> Any:
    return np.concatenate([line[:before], line[before + n :]])


def _odd_adjoint(border: Any, axis: int, n: int, places: Any, width: tuple[int, int], mode: Any) -> Any:
    """Of reflections about the ends, 2 end - x.

    However often it was reflected, an element of the border is a multiple of the first element, one of
    the last, and what the even reflection puts there, times what is left of 1 (constants stay constant).
    NumPy itself says how many of the first and of the last.
    """
    ends = np.zeros((2, n))
    ends[0, 0] = ends[1, -1] = 1
    first, last = (_border(np.pad(end, width, mode, reflect_type="odd"), n, width[0]) for end in ends)
    c: Any = 0
    for factor, where in (
        (first, np.zeros_like(places)), (last, np.full_like(places, n - 1)), (1 - first - last, places)
    ):  # fmt: skip
        factor = factor.astype(border.real.dtype).reshape(-1, *(1,) * (border.ndim - axis - 1))
        shape = (*border.shape[:axis], n, *border.shape[axis + 1 :])
        c = c + scattered(select(factor != 0, border * factor), (*(slice(None),) * axis, where), shape)
    return c


def _mean_adjoint(border: Any, axis: int, n: int, run: slice) -> Any:
    """Each element of the run got an equal share in every element of the border."""
    places = np.arange(n)[run]
    total = sum_axes(border, (axis,), True) / max(len(places), 1)
    chosen = np.isin(np.arange(n), places).reshape(-1, *(1,) * (border.ndim - axis - 1))
    return select(chosen, total)
