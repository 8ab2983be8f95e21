"""Fingerprints: what a linear operation does to elements, told from what its own rule does to random numbers.

A rule that reads neither the output nor the operands is a constant matrix, applied from the left. Most such
operations move elements, repeat them, or add them up: the matrix has at most one element in each row, or in each
column. Then products with three vectors tell it all. With random r, and j r_j, and another random t, an element
that comes from j alone is a multiple of r_j, of j r_j and of t_j by one factor: the first two tell j,
and the third proves it. Elements that are sums of several fail the proof (with probability one), and the question
is left to others.

Products with the matrix from the right come of the rule recorded and pulled back itself, as in ``jvp``.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.dispatch import make
from tapegrad.entries import POSITIONS, Leaf
from tapegrad.recording import enable_grad, no_grad
from tapegrad.shapes import Spec
from tapegrad.tensor import Tensor
from tapegrad.transforms.runs import swept
from tapegrad.transforms.sparse.matrices import Factors, csr

EXACT = 1e-9  # relative: a few roundings, and far from what a sum of two gives by chance


def fingerprints(
    known: Any, y: Any, operands: Sequence[Any], packed: Any, active: Sequence[bool]
) -> list[list[Factors]] | None:
    """The links of an operation whose rule is the same at every point; None where they aren't of this kind.

    Returns, for each output, factors for each operand; anything for those that aren't active.
    """
    outs = [_real(part) for part in (y if isinstance(y, tuple) else (y,))]
    _y, reads = known.keeps(active)
    each = zip(operands, active, reads, strict=True)
    # A multilinear rule may read an operand, for the cotangent of another one.
    given = [np.ones(o.shape) if live and read else _real(o) if live else o for o, live, read in each]
    placeholder = tuple(outs) if isinstance(y, tuple) else outs[0]
    m = sum(spec.size for spec in outs)
    ends = np.cumsum([0, *(spec.size for spec in outs)])

    def pulled(vector: Any) -> list[Any]:
        """The cotangents of the operands, given that of all the outputs in one vector."""
        parts = [_shaped(vector[i:j], spec) for i, j, spec in zip(ends[:-1], ends[1:], outs, strict=True)]
        with no_grad():
            return _called(known, parts if isinstance(y, tuple) else parts[0], placeholder, given, packed, active)

    found: list[Any] = [None] * len(operands)
    vectors = _vectors(m)
    with np.errstate(all="ignore"):
        totals = [pulled(vector) for vector in vectors]
        for i, live in enumerate(active):
            if live:
                origins = _origins([total[i] for total in totals], vectors, given[i].size)
                if origins is not None:
                    there = np.flatnonzero(origins >= 0)
                    found[i] = csr((np.ones(there.size, bool), (origins[there], there)), (m, given[i].size))
        if any(live and found[i] is None for i, live in enumerate(active)):
            _from_the_right(known, outs, placeholder, given, packed, active, found)
    if any(live and found[i] is None for i, live in enumerate(active)):
        return None
    return [
        [(matrix[i:j],) if live else () for matrix, live in zip(found, active, strict=True)]
        for i, j in itertools.pairwise(ends)
    ]


def _from_the_right(
    known: Any, outs: Any, placeholder: Any, given: Any, packed: Any, active: Sequence[bool], found: list[Any]
) -> None:
    """Fill in what is found where each element of the outputs comes from one element of an operand."""
    leaves = [Leaf(spec) for spec in outs]
    targets = {next(POSITIONS): leaf for leaf in leaves}
    with enable_grad():
        seeds = [make(_shaped(np.ones(leaf.spec.size), leaf.spec), [at, leaf]) for at, leaf in targets.items()]
        g = tuple(seeds) if isinstance(placeholder, tuple) else seeds[0]
        cotangents = _called(known, g, placeholder, given, packed, active)
    for i, c in enumerate(cotangents):
        if not active[i] or found[i] is not None or type(c) is not Tensor or c._entry is None:
            continue
        size = given[i].size
        vectors, products = _vectors(size), []
        for vector in vectors:
            totals = swept([(c._entry, _shaped(vector, given[i]))], leaves, targets, None, True, False)
            products.append(
                np.concatenate(
                    [np.zeros(spec.size) if t is None else t.reshape(-1) for t, spec in zip(totals, outs, strict=True)]
                )
            )
        m = sum(spec.size for spec in outs)
        origins = _origins(products, vectors, m)
        if origins is not None:
            there = np.flatnonzero(origins >= 0)
            found[i] = csr((np.ones(there.size, bool), (there, origins[there])), (m, size))


def _called(known: Any, g: Any, y: Any, operands: Any, packed: Any, active: Sequence[bool]) -> list[Any]:
    """What the rule returns, for the active operands."""
    result = known.pull(g, y, operands, packed)
    parts = list(result) if type(result) is tuple else [result]
    return [
        (part() if callable(part) and not hasattr(part, "dtype") else part) if live else None
        for part, live in zip(parts, active, strict=True)
    ]


def _vectors(n: int) -> list[Any]:
    random = np.random.default_rng(n)
    first, third = random.uniform(1, 2, n), random.uniform(1, 2, n)
    return [first, first * np.arange(1, n + 1), third]


def _origins(products: Sequence[Any], vectors: Sequence[Any], size: int) -> Any:
    """Where each element comes from: a number, or -1 where from nowhere; None where not all can be told."""
    if products[0] is None:
        return np.full(size, -1)
    a, b, c = (np.asarray(product).reshape(-1) for product in products)
    if a.dtype.kind != "f" or a.size != size:
        return None
    nothing = (a == 0) & (b == 0) & (c == 0)
    places = np.where(nothing, 1, b) / np.where(nothing, 1, a)
    r, _jr, t = vectors
    if not np.isfinite(places).all() or (places.size and not len(r)):
        return None
    origins = np.rint(places).astype(np.intp) - 1
    if not nothing.all() and (origins[~nothing].min() < 0 or origins[~nothing].max() >= len(r)):
        return None
    origins = np.where(nothing, -1, origins)
    j = origins[~nothing]
    left, right = c[~nothing] * r[j], a[~nothing] * t[j]
    near = np.abs(places[~nothing] - (j + 1)) <= EXACT * (j + 1)
    return origins if (near & (np.abs(left - right) <= EXACT * np.abs(right))).all() else None


def _real(value: Any) -> Any:
    """A placeholder in double precision, in which places can be told from each other."""
    return Spec(value.shape, np.dtype(np.float64))


def _shaped(vector: Any, spec: Any) -> Any:
    return vector.reshape(spec.shape) if spec.shape else vector[0]
