"""Links: which elements of an operation's operands each element of its output may depend on, at any point.

What an entry of the tape keeps is enough to tell. Of most operations that keep nothing of their operands, the rule
itself tells it (fingerprints.py); for the others it is written down here, by name: which axes they share with
their operands, and along which they are dense. What isn't known is dense: links may be too many, never too few.

Links are matrices of bools in compressed rows, shape (size of the output, size of the operand), as a
product of factors: the links of a matrix product have n^3 elements, but two factors of n^2.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.kinds import Elementwise, Primitive
from tapegrad.shapes import normalized_axes
from tapegrad.transforms.sparse.contractions import LABELS
from tapegrad.transforms.sparse.fingerprints import fingerprints
from tapegrad.transforms.sparse.matrices import Factors, by_index, csr, dense, has_tensor, labelled
from tapegrad.transforms.sparse.stencils import STENCILS
from tapegrad.transforms.sparse.traced import Moving


class Call:
    """One operation as the tape has it."""

    def __init__(
        self,
        known: Any,
        y: Any,
        operands: Sequence[Any],
        packed: Any,
        active: Sequence[bool],
    ) -> None:
        self.known, self.y, self.operands, self.packed = known, y, operands, packed
        self.active = active  # which operands depend on the input at all
        self.shapes = [part.shape for part in y] if isinstance(y, tuple) else [y.shape]

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Its parameters by name, where not given with their defaults; tensors where they were found by the data.

        (None for what the rule doesn't read.)
        """
        names = self.known.parameters
        if len(names) == 1:
            return {names[0]: self.packed}
        signature = inspect.signature(self.known.rule).parameters
        found = {p.name.lstrip("_"): p.default for p in signature.values() if p.name.lstrip("_") in names}
        return {**found, **dict(zip(names, self.packed, strict=False))}

    @property
    def steady(self) -> bool:
        """Whether its parameters and its other operands are the same at every point."""
        return not isinstance(self.known, Moving)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of an operand."""
        return getattr(self.operands[i], "shape", ())

    def constant(self, i: int) -> Any:
        """The value of an operand, where it is the same at every point and is known; else None."""
        value = self.operands[i]
        return value if self.steady and not self.active[i] and isinstance(value, np.ndarray) else None


# Parameters of which the links below hold whatever they are, or say where they were found by the data.
FOUND = ("index", "indices", "where", "conditions", "places", "order")
Links = list[list[Factors]]  # for each output, for each operand; of operands that aren't active, anything


def links(call: Call) -> Links:
    """The links of an operation."""
    known = call.known
    if not call.steady and any(has_tensor(value) for name, value in call.parameters.items() if name not in FOUND):
        return _dense(call)  # An axis, say.
    if type(known) is Elementwise and len(call.shapes) == 1:
        return [_same(call)]
    if not isinstance(known, Primitive) or known.cases is None:  # A user's own: it may do anything.
        return _dense(call)
    found = _by_name(HANDLERS, call)
    if found is not None:
        return found
    if call.steady and _is_linear(call):
        found = fingerprints(known, call.y, call.operands, call.packed, call.active)
        if found is not None:
            return found
    return _by_name(LAST_RESORTS, call) or _dense(call)


def _by_name(rules: dict[str, Callable[[Call], Any]], call: Call) -> Links | None:
    rule = rules.get(call.known.name)
    found = None if rule is None else rule(call)
    return found if found is None or len(call.shapes) > 1 else [found]


def _is_linear(call: Call) -> bool:
    """Whether what the rule does is the same whatever the active operands are."""
    known = call.known
    if known.multilinear:
        return sum(call.active) == 1
    reads_y, reads = known.keeps(call.active)
    read = any(read and active for read, active in zip(reads, call.active, strict=True))
    return not (reads_y or known.residuals or read)


def _dense(call: Call) -> Links:
    return [[dense(shape, call.shape(i)) for i in range(len(call.operands))] for shape in call.shapes]


def _same(call: Call) -> list[Factors]:
    """Elementwise, of operands that are broadcast."""
    return [_broadcast(call.shape(i), call.shapes[0]) if live else () for i, live in enumerate(call.active)]


def _broadcast(shape: tuple[int, ...], to: tuple[int, ...]) -> Factors:
    if shape == to:
        return ()
    count = len(shape)
    return labelled(shape, range(-count, 0), to, range(-len(to), 0))


# ---------------------------------------------------------------- one operand, and axes


def _kept(call: Call) -> Any:
    """The same elements in the same order, in another shape or not."""
    return None if call.parameters.get("order", "C") == "F" else [()]


def _along(call: Call) -> Any:
    """Dense along an axis or several, each row by itself; every operand has the axes of the output."""
    axis, (out,) = call.parameters["axis"], call.shapes
    if axis is None or any(len(call.shape(i)) != len(out) for i in range(len(call.operands))):
        return None
    axes = normalized_axes(axis, len(out))
    labels = [f"dense {i}" if i in axes else i for i in range(len(out))]
    return [labelled(call.shape(i), labels, out, range(len(out))) for i in range(len(call.operands))]


def _reduced(call: Call) -> Any:
    """Reduced over axes; a second operand of the same axes (a mean) is read as the first one is."""
    (out,), shape = call.shapes, call.shape(0)
    gone = normalized_axes(call.parameters.get("axis"), len(shape))
    labels: list[Any] = [i for i in range(len(shape)) if i not in gone]
    if call.parameters.get("keepdims") is True:
        labels = [i if i not in gone else f"gone {i}" for i in range(len(shape))]
    if len(labels) != len(out) or any(len(call.shape(i)) != len(shape) for i in range(len(call.operands))):
        return None
    return [labelled(call.shape(i), range(len(shape)), out, labels) for i in range(len(call.operands))]


def _summed(call: Call) -> Any:
    """A sum; of selected elements, the rule knows of which."""
    return None if isinstance(call.parameters.get("where"), np.ndarray) else _reduced(call)


def _leading(but: int) -> Callable[[Call], Any]:
    """All but the last axes are shared: those of a stack of matrices, say."""

    def rule(call: Call) -> Any:
        found = []
        for out in call.shapes:
            row = []
            for i in range(len(call.operands)):
                shape = call.shape(i)
                count = len(shape) - but
                if count < 1 or out[:count] != shape[:count]:
                    return None
                row.append(
                    labelled(shape, [*range(count), *"uv"[:but]], out, [*range(count), *"wxyz"[: len(out) - count]])
                )
            found.append(row)
        return found if len(found) > 1 else found[0]

    return rule


def _values_at(i: int) -> Callable[[Call], Any]:
    """Elementwise in operand i; the others are read everywhere."""

    def rule(call: Call) -> Any:
        (out,) = call.shapes
        return [
            _broadcast(call.shape(k), out) if k == i else dense(out, call.shape(k)) for k in range(len(call.operands))
        ]

    return rule


# ---------------------------------------------------------------- indices


def _indexed(call: Call) -> Any:
    return [by_index(call.shape(0), call.parameters["index"])]


def _added(call: Call) -> Any:
    """The adjoint of indexing, of one part or of several."""
    (out,), given = call.shapes, call.parameters
    indices = given["indices"] if "indices" in given else [given["index"]]
    return [tuple(csr(factor.T) for factor in reversed(by_index(out, index))) for index in indices]


def _taken(call: Call) -> Any:
    axis, (out,), shape = call.parameters["axis"], call.shapes, call.shape(0)
    if axis is None:
        return None
    axis = axis % len(shape)
    more = len(out) - len(shape)
    labels = [*range(axis), *(f"index {i}" for i in range(more + 1)), *range(axis + 1, len(shape))]
    return [labelled(shape, range(len(shape)), out, labels)]


HANDLERS: dict[str, Callable[[Call], Any]] = {
    "getitem": _indexed,
    "np.sum": _summed,
    "np.mean": _summed,
    "np.interp": _values_at(0),
    "np.polyval": _values_at(1),
    "np.vander": _leading(0),
    **dict.fromkeys(
        ("np.reshape", "np.ravel", "np.squeeze", "np.expand_dims", "np.copy", "tapegrad.shapes.cast"), _kept
    ),
    **dict.fromkeys(
        (
            "np.nan_to_num",
            "np.unwrap",
            "np.ldexp",
            "np.choose",
            "np.select",
            "tapegrad.nn.activation.leaky_relu",
            "tapegrad.ops.bessel.bessel_over_power",
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            *("np.max", "np.amax", "np.min", "np.amin", "np.prod", "np.var", "np.std", "np.trapezoid"),
            *("np.nansum", "np.nanprod", "np.nanmean", "np.nanmax", "np.nanmin", "np.fmax.reduce", "np.fmin.reduce"),
            *("np.nanvar (about a mean)", "np.nanstd (about a mean)", "np.linalg.norm"),
        ),
        _reduced,
    ),
    **dict.fromkeys(
        (
            *("np.sort", "np.cumulative_sum", "np.cumulative_prod", "tapegrad.ops.cumulative.recurrence"),
            *("tapegrad.nn.activation.softmax", "tapegrad.nn.activation.log_softmax"),
            *("np.fft.fft", "np.fft.ifft", "np.fft.rfft", "np.fft.irfft", "np.fft.hfft", "np.fft.ihfft"),
            "tapegrad.ops.fft.inner_scaled",
        ),
        _along,
    ),
    **dict.fromkeys(
        (
            *("np.linalg.cholesky", "np.linalg.qr", "np.linalg.eigh", "np.linalg.eig", "np.linalg.svd"),
            *("np.linalg.inv", "np.linalg.pinv", "np.linalg.solve", "np.linalg.det", "np.linalg.slogdet"),
        ),
        _leading(2),
    ),
    **LABELS,
    **STENCILS,
}
# Where the rule itself couldn't tell.
LAST_RESORTS: dict[str, Callable[[Call], Any]] = {
    "np.sum": _reduced,
    "np.mean": _reduced,
    "np.take": _taken,
    **dict.fromkeys(("tapegrad.shapes.scatter_add", "tapegrad.pieces.scatter_add_all"), _added),
    **dict.fromkeys(("np.take_along_axis", "np.add.reduceat"), _along),
}
