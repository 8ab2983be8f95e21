"""Contractions: calls of ``np.einsum``, and of convolutions in one dimension and in two."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tapegrad.nn
from tapegrad.cases import REAL, Domain
from tapegrad.errors import ArgumentError
from tapegrad.testing.strategies.arrays import Shape
from tapegrad.testing.strategies.drawn import DrawnCall
from tapegrad.testing.strategies.source import Source

LABELS = "ijkl"
MODES = ("full", "same", "valid")
CONVOLUTIONS = (np.convolve, np.correlate, tapegrad.nn.conv2d)


@st.composite
def einsum_calls(
    draw: st.DrawFn,
    max_operands: int = 3,
    max_side: int = 3,
    dtype: Any = np.float64,
    domain: Domain = REAL,
    ellipsis: bool = True,
    repeated: bool = True,
) -> DrawnCall:
    """Valid calls of ``np.einsum``: labels repeated, summed, kept and exchanged; ellipses; with and without an output.

    max_operands, max_side : how many operands, and how long their axes, at most; an axis of 1 may be
        broadcast against others of its label
    dtype : of all operands, or a strategy of dtypes, drawn for each
    ellipsis, repeated : whether operands have an ellipsis, or a label twice (a diagonal)

    >>> from hypothesis import find
    >>> find(einsum_calls(), lambda call: len(call.arrays) == 2 and "->" in call.operands[0])
    np.einsum(',->', np.array(0.0), np.array(0.0))
    """
    if max_operands < 1 or max_side < 1:
        raise ArgumentError(f"einsum_calls: at least one operand and sides of 1; got {max_operands=}, {max_side=}")
    # Sides of 0 come last, as in other shapes.
    side = st.sampled_from([*range(1, max_side + 1), 0])
    sizes = {label: draw(side) for label in LABELS}
    batch = tuple(draw(st.lists(side, max_size=2))) if ellipsis else ()
    terms, shapes = [], []
    for _ in range(draw(st.integers(1, max_operands))):
        term = draw(st.lists(st.sampled_from(LABELS), max_size=3, unique=not repeated))
        # Of a label that stands twice in one term both axes are of one length.
        ones = {label: draw(st.sampled_from([False, False, False, True])) for label in sorted(set(term))}
        shape = tuple(1 if ones[label] else sizes[label] for label in term)
        if ellipsis and draw(st.booleans()):
            at = draw(st.integers(0, len(term)))
            kept = batch[len(batch) - draw(st.integers(0, len(batch))) :]
            term, shape = [*term[:at], "...", *term[at:]], (*shape[:at], *kept, *shape[at:])
        terms.append("".join(term))
        shapes.append(shape)
    subscripts = ",".join(terms)
    if draw(st.sampled_from([True, True, False])):
        subscripts += "->" + _output(draw, subscripts)
    source = Source(draw)
    kinds = [np.dtype(draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype) for _ in shapes]
    arrays = [source.array(domain, shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    parameters = {"optimize": True} if draw(st.sampled_from([False, False, True])) else {}
    return DrawnCall(np.einsum, (subscripts, *arrays), parameters, _places(1, len(arrays)))


def _output(draw: st.DrawFn, subscripts: str) -> str:
    """Some of the labels in some order, each once; and the ellipsis, which must not be lost."""
    labels = sorted(set(subscripts) - set("., "))
    chosen = list(draw(st.permutations(labels)))[: draw(st.integers(0, len(labels)))]
    if "..." in subscripts:
        chosen.insert(draw(st.integers(0, len(chosen))), "...")
    return "".join(chosen)


def _places(first: int, count: int) -> tuple[tuple[int, None], ...]:
    return tuple((first + k, None) for k in range(count))


def convolution_calls(
    function: Any = None, *, max_side: int = 5, dtype: Any = np.float64, domain: Domain = REAL
) -> st.SearchStrategy[DrawnCall]:
    """Valid calls of ``np.convolve``, ``np.correlate`` and ``tapegrad.nn.conv2d``.

    function : one of these; None: any
    max_side : the longest signal, and the highest and widest image
    dtype : of all operands, or a strategy of dtypes, drawn for each
    Either operand of the first two may be the longer one, with every mode. Images come with strides,
    paddings and dilations, alike in both directions or not, with groups, with a bias and without.
    Raises ArgumentError for another function.

    >>> from hypothesis import find
    >>> find(convolution_calls(np.convolve), lambda call: call.parameters["mode"] == "same")
    np.convolve(np.array([0.0]), np.array([0.0]), mode='same')
    """
    if function is not None and function not in CONVOLUTIONS:
        raise ArgumentError(f"convolution_calls: np.convolve, np.correlate or tapegrad.nn.conv2d; got {function!r}")
    if max_side < 1:
        raise ArgumentError(f"convolution_calls: max_side is at least 1; got {max_side!r}")
    functions = CONVOLUTIONS if function is None else (function,)
    return st.sampled_from(functions).flatmap(
        lambda f: _images(max_side, dtype, domain) if f is tapegrad.nn.conv2d else _signals(f, max_side, dtype, domain)
    )


@st.composite
def _signals(draw: st.DrawFn, function: Any, max_side: int, dtype: Any, domain: Domain) -> DrawnCall:
    shapes = [(draw(st.integers(1, max_side)),) for _ in range(2)]
    mode = draw(st.sampled_from(MODES))
    return _convolution(draw, function, shapes, {"mode": mode}, dtype, domain)


@st.composite
def _images(draw: st.DrawFn, max_side: int, dtype: Any, domain: Domain) -> DrawnCall:
    groups = draw(st.integers(1, 2))
    channels, outputs = (draw(st.integers(1, 2)) for _ in range(2))
    padding, stride, dilation = (_pair(draw, least, 2) for least in (0, 1, 1))
    image, kernel = [], []
    for p, d in zip(padding, dilation, strict=True):
        n = draw(st.integers(1, max_side))
        image.append(n)
        # The kernel spans 1 + d (k - 1) of what is there with its padding.
        kernel.append(draw(st.integers(1, min(3, 1 + (n + 2 * p - 1) // d))))
    shapes: list[Shape] = [
        (draw(st.integers(1, 2)), channels * groups, *image),
        (outputs * groups, channels, *kernel),
    ]
    if draw(st.booleans()):
        shapes.append((outputs * groups,))
    parameters = {"stride": _plain(stride), "padding": _plain(padding), "dilation": _plain(dilation), "groups": groups}
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    given = {name: value for name, value in parameters.items() if value != usual[name]}
    return _convolution(draw, tapegrad.nn.conv2d, shapes, given, dtype, domain)


def _pair(draw: st.DrawFn, least: int, most: int) -> tuple[int, int]:
    return draw(st.integers(least, most)), draw(st.integers(least, most))


def _plain(pair: tuple[int, int]) -> Any:
    return pair[0] if pair[0] == pair[1] else pair


def _convolution(
    draw: st.DrawFn, function: Any, shapes: Sequence[Shape], parameters: dict[str, Any], dtype: Any, domain: Domain
) -> DrawnCall:
    source = Source(draw)
    kinds = [np.dtype(draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype) for _ in shapes]
    arrays = [source.array(domain, shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
    return DrawnCall(function, tuple(arrays), parameters, _places(0, len(arrays)))
