"""Contractions: which axes of the operands of a product are those of its output, and which are summed over.

Where one operand of a product of matrices is a constant, its zeros are known, and link nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.transforms.sparse.matrices import Factors, beside_each_other, csr, labelled

# A rule takes a Call (links.py), and returns factors for each operand, or None.


def _by_labels(call: Any, operands: Sequence[Sequence[Any]], out: Sequence[Any]) -> list[Factors]:
    return [labelled(call.shape(i), labels, call.shapes[0], out) for i, labels in enumerate(operands)]


def _stack(ndim: int) -> list[Any]:
    """Labels of leading axes, which are counted from the right, since they are broadcast."""
    return [f"stack {i}" for i in range(ndim, 0, -1)]


def _of_cores(a: Sequence[str], b: Sequence[str], out: Sequence[str]) -> Callable[[Any], Any]:
    """Stacks of vectors or matrices, whose last axes have these labels."""

    def rule(call: Any) -> Any:
        if call.parameters.get("axes") is not None or call.parameters.get("keepdims") is True:
            return None
        if call.parameters.get("axis", -1) not in (-1, None):
            return None
        ndims = len(call.shape(0)) - len(a), len(call.shape(1)) - len(b)
        labels = [*_stack(ndims[0]), *a], [*_stack(ndims[1]), *b]
        return _by_labels(call, labels, [*_stack(len(call.shapes[0]) - len(out)), *out])

    return rule


def _matmul(call: Any) -> Any:
    a, b = len(call.shape(0)), len(call.shape(1))
    left, right = ["k"] if a == 1 else ["i", "k"], ["k"] if b == 1 else ["k", "j"]
    known = _by_a_known_matrix(call) if call.parameters.get("axes") is None else None
    return known or _of_cores(left, right, [*left[:-1], *right[1:]])(call)


def _dot(call: Any) -> Any:
    a, b = len(call.shape(0)), len(call.shape(1))
    if a == 0 or b == 0:
        labels = list(range(a + b))
        return _by_labels(call, [labels[:a], labels[a:]], labels)
    first, second = [f"a {i}" for i in range(a)], [f"b {i}" for i in range(b)]
    first[-1] = second[-2 if b > 1 else -1] = "k"
    out = [label for label in (*first, *second) if label != "k"]
    return _by_a_known_matrix(call) or _by_labels(call, [first, second], out)


def _by_a_known_matrix(call: Any) -> Any:
    """Of a product of a constant and an operand, none of more than two axes: the constant's own zeros count."""
    if any(len(call.shape(i)) not in (1, 2) for i in (0, 1)):
        return None
    left, right = call.constant(0), call.constant(1)
    if left is not None:
        after = call.shape(1)[1] if len(call.shape(1)) == 2 else 1
        return [(), beside_each_other(csr(np.atleast_2d(left) != 0), 1, after)]
    if right is not None:
        matrix = right if right.ndim == 2 else right[:, None]
        before = call.shape(0)[0] if len(call.shape(0)) == 2 else 1
        return [beside_each_other(csr(matrix.T != 0), before, 1), ()]
    return None


def _tensordot(call: Any) -> Any:
    axes, a, b = call.parameters["axes"], len(call.shape(0)), len(call.shape(1))
    if isinstance(axes, (int, np.integer)):
        axes = range(a - int(axes), a), range(int(axes))
    pairs = list(zip(*(np.atleast_1d(part).tolist() for part in axes), strict=True))
    first, second = [f"a {i}" for i in range(a)], [f"b {i}" for i in range(b)]
    for number, (i, j) in enumerate(pairs):
        first[i] = second[j] = f"k {number}"
    return _by_labels(call, [first, second], [label for label in (*first, *second) if label[0] != "k"])


def _outer(call: Any) -> Any:
    a, b = len(call.shape(0)), len(call.shape(1))
    labels = list(range(a + b))
    if call.known.name == "np.outer" and (a, b) != (1, 1):  # Of the elements in a row.
        return None
    return _by_labels(call, [labels[:a], labels[a:]], labels)


def _linear(call: Any) -> Any:
    rows = _stack(len(call.shape(0)) - 1)
    operands = [*rows, "k"], ["j", "k"], ["j"]
    weight = call.constant(1)
    found = _by_labels(call, operands[: len(call.operands)], [*rows, "j"])
    if weight is not None:
        before = int(np.prod(call.shape(0)[:-1], dtype=np.intp))
        found[0] = beside_each_other(csr(weight != 0), before, 1)
    return found


def _einsum(call: Any) -> Any:
    subscripts = call.parameters["subscripts"]
    if not isinstance(subscripts, str):
        return None
    inputs, arrow, out = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    labels = [_letters(term, len(call.shape(i))) for i, term in enumerate(terms)]
    if arrow:
        result = _letters(out, len(call.shapes[0]))
    else:
        letters = inputs.replace(",", "").replace(".", "")
        once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        result = [*_stack(len(call.shapes[0]) - len(once)), *once]
    return _by_labels(call, labels, result)


def _letters(term: str, ndim: int) -> list[Any]:
    """A label for each axis; those of an ellipsis are counted from the right."""
    before, dots, after = term.partition("...")
    return [*before, *(_stack(ndim - len(before) - len(after)) if dots else ()), *after]


LABELS: dict[str, Callable[[Any], Any]] = {
    "np.matmul": _matmul,
    "np.dot": _dot,
    "np.vecdot": _of_cores("k", "k", ""),
    "np.matvec": _of_cores("ik", "k", "i"),
    "np.vecmat": _of_cores("k", "kj", "j"),
    "np.tensordot": _tensordot,
    "np.outer": _outer,
    "np.multiply.outer": _outer,
    "np.einsum": _einsum,
    "tapegrad.nn.linear.linear_output": _linear,
    "tapegrad.nn.linear.linear_shifted": _linear,
}
