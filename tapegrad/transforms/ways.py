"""Ways: how a call, and its rule, read with one more axis in front (batches.py).

``WAYS`` says what becomes of the parameters; ``OWN`` has the functions that are pulled back in a way of their own.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.nn.linear import linear_output, linear_shifted
from tapegrad.pieces import FEW, Pieces, scatter_add_all
from tapegrad.shapes import Shape, Spec, cast, conj, mH, scatter_add, scattered, unbroadcast

Parameters = dict[str, Any]
Way = Callable[[Parameters, Any], Parameters | None]  # of the parameters and the first operand; None: row by row

# ---------------------------------------------------------------- how a call reads with an axis in front


def _same(p: Parameters, _x: Any) -> Parameters:
    """Nothing in the parameters counts axes from the front."""
    return p


def _matrices(p: Parameters, x: Any) -> Parameters | None:
    return p if x.ndim > 1 else None


def _later(axis: Any) -> Any:
    """An axis, or several, with another one in front."""
    if isinstance(axis, (tuple, list)):
        return tuple(_later(a) for a in axis)
    return axis + 1 if axis >= 0 else axis


def _reduced(p: Parameters, x: Any) -> Parameters:
    """``axis=None`` means all axes."""
    axis = p["axis"]
    return p | {"axis": tuple(range(1, x.ndim + 1)) if axis is None else _later(axis)}


def _shifted(*names: str) -> Way:
    """These parameters are axes; where one is None, the array is flattened."""

    def way(p: Parameters, _x: Any) -> Parameters | None:
        if any(p[name] is None for name in names):
            return None
        return p | {name: _later(p[name]) for name in names}

    return way


def _in_c_order(p: Parameters, _x: Any) -> Parameters | None:
    return p if p["order"] == "C" else None


def _permuted(p: Parameters, x: Any) -> Parameters:
    axes = p["axes"]
    n = x.ndim
    return {"axes": (0, *((a % n + 1 for a in axes) if axes is not None else range(n, 0, -1)))}


def _padded(p: Parameters, x: Any) -> Parameters | None:
    if p["stat_length"] is not None or isinstance(p["pad_width"], dict):
        return None
    width = np.broadcast_to(p["pad_width"], (x.ndim, 2)).tolist()
    return p | {"pad_width": ((0, 0), *map(tuple, width))}


def _indexed(p: Parameters, _x: Any) -> Parameters | None:
    index = behind(p["index"])
    return None if index is None else p | {"index": index}


def _all_indexed(p: Parameters, _x: Any) -> Parameters | None:
    indices = [behind(index) for index in p["indices"]]
    return None if any(index is None for index in indices) else p | {"indices": indices}


def behind(index: Any) -> tuple[Any, ...] | None:
    """The index of each row, with another axis in front; None where that would put axes elsewhere."""
    index = index if type(index) is tuple else (index,)
    advanced = [isinstance(i, (np.ndarray, list, np.generic, bool)) for i in index]
    if any(advanced):
        if any(np.ndim(i) == 0 and np.asarray(i).dtype == bool for i in index if i is not None and i is not ...):
            return None
        # Integers beside arrays count as arrays. Where slices part them, their axes go to the front.
        places = [k for k, i in enumerate(index) if advanced[k] or isinstance(i, int)]
        if places[-1] - places[0] >= len(places):
            return None
    return (slice(None), *index)


WAYS: dict[Any, Way] = {}


def _enter(way: Way, *functions: Any) -> None:
    for function in functions:
        WAYS[function] = way


_enter(_reduced, np.sum, np.mean, np.prod, np.max, np.min, np.amax, np.amin, np.var, np.std, np.flip)
_enter(_reduced, np.nansum, np.nanmean, np.nanprod, np.nanmax, np.nanmin)
_enter(_shifted("axis"), np.concatenate, np.stack, np.cumsum, np.cumprod, np.diff, np.roll, np.take, np.repeat)
_enter(_shifted("axis"), np.fft.fft, np.fft.ifft, np.fft.rfft, np.fft.irfft, np.fft.hfft, np.fft.ihfft)
_enter(_shifted("axis1", "axis2"), np.swapaxes, np.diagonal, np.trace)
_enter(_shifted("source", "destination"), np.moveaxis)
_enter(_shifted("axes"), np.rot90)
_enter(_same, np.squeeze, np.expand_dims, np.copy, np.matrix_transpose, np.nan_to_num, cast)
_enter(_in_c_order, np.reshape, np.ravel)
_enter(_permuted, np.transpose)
_enter(_padded, np.pad)
_enter(_matrices, np.tril, np.triu, np.linalg.inv, np.linalg.cholesky, np.linalg.det, np.linalg.slogdet)
_enter(_matrices, np.linalg.eigh, np.linalg.eig, np.linalg.svd, np.linalg.qr)
_enter(_indexed, scatter_add)
_enter(_all_indexed, scatter_add_all)


# ---------------------------------------------------------------- ways of their own
#
# own(g, y, operands, parameters, parents) -> triples (parent, cotangents, operand), or None: not in this case

Triples = list[tuple[Any, Any, Any]]


def _wanted(parents: Sequence[Any], cs: Sequence[Callable[[], Any]], operands: Sequence[Any]) -> Triples:
    return [(p, c(), o) for p, c, o in zip(parents, cs, operands, strict=True) if p is not None]


def _getitem(g: Any, _y: Any, operands: Sequence[Any], p: Parameters, parents: Sequence[Any]) -> Triples | None:
    (x,) = operands
    index = behind(p["index"])
    if index is None:
        return None
    shape = (len(g), *x.shape)
    c = Pieces(Spec(shape, x.dtype), [(index, g)]) if x.size > FEW else scattered(g, index, shape)
    return [(parents[0], c, x)]


def _broadcast_to(g: Any, _y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples:
    (x,) = operands
    return [(parents[0], _summed(g, len(g), x.shape), x)]


def _summed(c: Any, n: int, shape: Shape) -> Any:
    """The sum over what each row was broadcast along."""
    return unbroadcast(c, (n, *(1,) * (c.ndim - 1 - len(shape)), *shape)).reshape(n, *shape)


def _matmul(g: Any, _y: Any, operands: Sequence[Any], p: Parameters, parents: Sequence[Any]) -> Triples | None:
    a, b = operands
    if p.get("axes") is not None:
        return None
    return _product(g, a, b, operands, parents)


def _dot(g: Any, y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples | None:
    a, b = operands
    return _product(g, a, b, operands, parents) if {np.ndim(a), np.ndim(b)} <= {1, 2} else None


def _product(g: Any, a: Any, b: Any, operands: Sequence[Any], parents: Sequence[Any]) -> Triples:
    """As the rule of ``np.matmul``: a_bar = g b^H, b_bar = a^H g, a vector being a matrix of one row or column."""
    n = len(g)
    rows = a.shape if a.ndim > 1 else (1, *a.shape)
    columns = b.shape if b.ndim > 1 else (*b.shape, 1)
    batch = g.shape[: g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    G = g.reshape(*batch, rows[-2], columns[-1])

    def left() -> Any:
        B = b.reshape(columns)
        c = G @ mH(B) if b.ndim > 2 else (G.reshape(-1, columns[-1]) @ mH(B)).reshape(*G.shape[:-1], -1)
        return _summed(c, n, rows).reshape(n, *a.shape)

    def right() -> Any:
        if a.ndim == 2 and b.ndim == 1:  # All rows in one product; of a function that ends here, not even that.
            return conj(a).astype(g.dtype) if _is_identity(g) else g @ conj(a)
        return _summed(mH(a.reshape(rows)) @ G, n, columns).reshape(n, *b.shape)

    return _wanted(parents, (left, right), operands)


def _is_identity(g: Any) -> bool:
    """Whether these are the cotangents that a Jacobian starts with: much quicker to see than to multiply with."""
    n = len(g)
    return bool(
        g.shape == (n, n) and g[0, 0] == 1 == g[-1, -1] and np.count_nonzero(g) == n and (g.diagonal() == 1).all()
    )


def _linear(g: Any, _y: Any, operands: Sequence[Any], _p: Parameters, parents: Sequence[Any]) -> Triples:
    x, weight = operands[:2]
    n = len(g)
    G = g.reshape(n, -1, g.shape[-1])
    cs: list[Callable[[], Any]] = [
        lambda: (g.reshape(-1, g.shape[-1]) @ conj(weight)).reshape(n, *x.shape),
        lambda: G.swapaxes(1, 2) @ conj(x.reshape(-1, x.shape[-1])),
        lambda: G.sum(1),
    ]
    return _wanted(parents, cs[: len(operands)], operands)


OWN: dict[Any, Callable[..., Triples | None]] = {
    operator.getitem: _getitem,
    np.broadcast_to: _broadcast_to,
    np.matmul: _matmul,
    np.dot: _dot,
    linear_output: _linear,
    linear_shifted: _linear,
}
