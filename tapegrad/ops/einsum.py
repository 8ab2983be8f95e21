"""einsum: a contraction of any number of operands, spelled out by subscripts.

Linear in each operand, so the cotangent of an operand is an einsum again: of g with the conjugates of the
others. Two large operands are multiplied as matrices, forward and back.
"""

import functools
import math
import operator
import string
from functools import partial
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.ops.contractions import ndim_of
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, select

Shape = tuple[int, ...]

LETTERS = string.ascii_uppercase + string.ascii_lowercase  # in the order of NumPy's numbered subscripts
WORTH_MATMUL = 1 << 12  # multiplications: from here on a product of matrices is quicker, transpositions included


@functools.lru_cache(maxsize=1024)
def explicit_terms(subscripts: str, ndims: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """Subscripts written out: a letter for each axis of each operand, ellipses and implied output too.

    >>> explicit_terms("...ij,jk", (3, 2))
    (('Aij', 'jk'), 'Aik')
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    free = [n - len(term.replace("...", "")) for term, n in zip(terms, ndims, strict=True)]
    longest = max((f for term, f in zip(terms, free, strict=True) if "..." in term), default=0)
    # The axes under an ellipsis are aligned at their right end.
    dots = "".join([letter for letter in LETTERS if letter not in subscripts][:longest])
    letters = inputs.replace(",", "").replace(".", "")
    if not arrow:
        output = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    written = tuple(term.replace("...", dots[longest - f :]) for term, f in zip(terms, free, strict=True))
    return written, output.replace("...", dots)


@functools.lru_cache(maxsize=1024)
def matmul_plan(subscripts: str, a_shape: Shape, b_shape: Shape) -> Any:
    """How to form a contraction of two operands as one product of matrices, or of batches of them.

    None where that isn't worth it or can't be: few numbers, a broadcast axis, a repeated subscript, one
    that is summed in a single operand, nothing summed; and where NumPy will have an error to raise.
    """
    letters = set(subscripts) - set(" .,->")
    if not letters <= set(LETTERS) or subscripts.count(",") != 1:
        return None
    (s, t), out = explicit_terms(subscripts, (len(a_shape), len(b_shape)))
    if any(len(set(term)) != len(term) for term in (s, t, out)) or (len(s), len(t)) != (len(a_shape), len(b_shape)):
        return None
    sizes = dict(zip(t, b_shape, strict=True)) | dict(zip(s, a_shape, strict=True))
    batch = [x for x in s if x in t and x in out]
    summed = [x for x in s if x in t and x not in out]
    rows = [x for x in s if x not in t]
    columns = [x for x in t if x not in s]
    if (
        sorted(batch + rows + columns) != sorted(out)
        or not summed
        or any(sizes[x] != n for x, n in zip(t, b_shape, strict=True))
    ):
        return None

    def size(group: list[str]) -> int:
        return math.prod([sizes[x] for x in group])

    if math.prod(sizes.values()) < WORTH_MATMUL or (batch and size(rows) == size(columns) == 1):
        return None
    lead = (size(batch),) if batch else ()
    found = batch + rows + columns
    return (
        tuple(s.index(x) for x in batch + rows + summed),
        (*lead, size(rows), size(summed)),
        tuple(t.index(x) for x in batch + summed + columns),
        (*lead, size(summed), size(columns)),
        tuple(sizes[x] for x in found),
        tuple(found.index(x) for x in out),
    )


@partial(primitive, name="np.einsum")
def contract(
    operands: Any, subscripts: str, out: Any = None, optimize: Any = False,
    dtype: Any = None, order: str = "K", casting: Any = "safe",
) -> Any:  # fmt: skip
    """``np.einsum`` with its operands in a sequence; two large ones are multiplied as matrices.

    subscripts : as einsum's first argument
    Plain einsum adds up product by product, eight times slower than a product of matrices or more.
    """
    if len(operands) == 2 and optimize is False and dtype is None and order == "K":
        a, b = operands
        if type(a) is np.ndarray and type(b) is np.ndarray and a.dtype.char in "fdFD" and b.dtype.char in "fdFD":
            plan = matmul_plan(subscripts, a.shape, b.shape)
            if plan is not None:
                a_order, a_shape, b_order, b_shape, shape, axes = plan
                product = a.transpose(a_order).reshape(a_shape) @ b.transpose(b_order).reshape(b_shape)
                y = product.reshape(shape).transpose(axes)
                return y if y.ndim else y[()]
    keywords: dict[str, Any] = {"optimize": optimize, "dtype": dtype, "order": order, "casting": casting}
    return np.einsum(subscripts, *operands, **keywords)


EINSUMS: tuple[tuple[str, tuple[Shape, ...]], ...] = (
    ("ij,jk->ik", ((2, 3), (3, 2))),
    ("ij,jk", ((2, 3), (3, 2))),
    ("ji", ((2, 3),)),
    ("ba", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ij->j", ((2, 3),)),
    ("ii", ((3, 3),)),
    ("ii->i", ((3, 3),)),
    ("iij->ji", ((2, 2, 3),)),
    ("iii->i", ((2, 2, 2),)),
    ("ijij->", ((2, 3, 2, 3),)),
    ("ii,ij->j", ((2, 2), (2, 3))),
    ("i,i", ((3,), (3,))),
    ("i,j->ij", ((2,), (3,))),
    ("ij,ij->ij", ((2, 3), (2, 3))),
    ("bij,bjk->bik", ((2, 2, 3), (2, 3, 2))),
    ("ij,kl->il", ((2, 3), (2, 2))),
    ("ij,jk->k", ((2, 1), (3, 2))),
    ("ij,j->i", ((2, 3), (1,))),
    ("ij,j->", ((2, 3), (1,))),
    ("...j,jk->...k", ((2, 2, 3), (3, 2))),
    ("...j,jk", ((2, 3), (3, 2))),
    ("...,...", ((2, 1, 3), (2, 1))),
    ("i...->...", ((2, 3),)),
    ("a...a->...a", ((2, 3, 2),)),
    ("i,ij,j->", ((2,), (2, 3), (3,))),
    ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 2))),
    (",i", ((), (3,))),
    ("ij,jk->ik", ((2, 0), (0, 2))),
    ("ij,jk->ik", ((0, 2), (2, 2))),
    ("ij -> i", ((2, 0),)),
    ("ij,jk->ik", ((20, 20), (20, 20))),
    ("bij,kbj->bki", ((4, 12, 10), (9, 4, 10))),
)


@composite(
    np.einsum,
    cases=Cases(
        calls=(
            *(call(subscripts, *shapes) for subscripts, shapes in EINSUMS),
            call("ij,jk,kl->il", (2, 3), (3, 2), (2, 2), optimize=True),
            call("ij,jk,kl->il", (2, 3), (3, 2), (2, 2), optimize=["einsum_path", (0, 1), (0, 1)]),
            call("ij,jk", (2, 3), (3, 2), order="F", casting="same_kind", dtype=np.complex128),
            call("ij,jk", (16, 16), (16, 16), casting="same_kind", dtype=np.complex128),
            call("i,i", (3,), np.array([1.0, 2.0, 3.0])),
            call((2, 3), [0, 1], (3, 2), [1, 2]),
            call((2, 3), [0, 1], (3, 2), [1, 2], [2, 0]),
            call((3, 3), [0, 0]),
            call((2, 3, 2), [..., 0], [...]),
            call(b"ij->j", (2, 3)),
        ),
    ),
    note="in both calling forms",
)
def einsum(
    *operands: Any, out: Any = None, optimize: Any = False,
    dtype: Any = None, order: str = "K", casting: Any = "safe",
) -> Any:  # fmt: skip
    """Either calling form of einsum as ``contract`` of a sequence of operands."""
    if isinstance(operands[0], (str, bytes)):
        first = operands[0]
        subscripts, operands = first if isinstance(first, str) else first.decode(), operands[1:]
    else:
        subscripts, operands = _numbered(operands)
    return contract(
        operands, subscripts=subscripts, out=out, optimize=optimize, dtype=dtype, order=order, casting=casting
    )


def _numbered(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The form np.einsum(a, [0, 1], b, [1, 2], [0, 2]): the same in letters, and the operands."""
    pairs = len(given) // 2 * 2
    subscripts = ",".join(_lettered(sublist) for sublist in given[1:pairs:2])
    if len(given) > pairs:
        subscripts += "->" + _lettered(given[-1])
    return subscripts, given[0:pairs:2]


def _lettered(sublist: Any) -> str:
    return "".join("..." if number is Ellipsis else _letter(number) for number in sublist)


def _letter(number: Any) -> str:
    # NumPy's own errors, which it would raise for these.
    if not hasattr(number, "__index__"):
        raise TypeError("each subscript must be either an integer or an ellipsis")
    if not 0 <= operator.index(number) < len(LETTERS):
        raise ValueError("subscript is not within the valid range [0, 52)")
    return LETTERS[operator.index(number)]


@defvjp(
    contract,
    multilinear=True,
    cases=Cases(
        calls=tuple(call(list(shapes), subscripts=subscripts) for subscripts, shapes in EINSUMS),
        examples=tuple(
            (call([np.ones((n, n))] * 2, subscripts="ij,jk->ik"), (np.full((n, n), float(n)),) * 2) for n in (2, 16)
        ),
    ),
)
def contract_vjp(
    g: Any, _y: Any, *operands: Any, subscripts: str, _out: Any = None, optimize: Any = False,
    _dtype: Any = None, _order: str = "K", _casting: Any = "safe",
) -> Any:  # fmt: skip
    """The cotangent of an operand contracts g with the conjugates of the others, to the operand's subscripts."""
    terms, output = explicit_terms(subscripts, tuple(ndim_of(o) for o in operands))
    # A path that was given is one for the operands, not for these; found anew, it is as quick.
    search = optimize is not False
    return tuple(partial(_contracted_without, i, g, operands, terms, output, search) for i in range(len(operands)))


def _contracted_without(
    i: int, g: Any, operands: tuple[Any, ...], terms: tuple[str, ...], output: str, search: bool
) -> Any:
    term, shape = terms[i], operands[i].shape
    sizes = dict(zip(term, shape, strict=True))
    others = [j for j in range(len(operands)) if j != i]
    elsewhere = "".join([output, *(terms[j] for j in others)])
    # Where an axis of length 1 is stretched to the length of another operand's, it is summed.
    stretched = {
        x for j in others for x, n in zip(terms[j], getattr(operands[j], "shape", ()), strict=True)
        if sizes.get(x) == 1 and n != 1
    }  # fmt: skip
    distinct = "".join(dict.fromkeys(term))
    kept = "".join(x for x in distinct if x in elsewhere and x not in stretched)
    c = contract(
        [g, *(conj(operands[j]) for j in others)],
        subscripts=",".join([output, *(terms[j] for j in others)]) + "->" + kept,
        optimize=search,
    )
    # What stands in no other term was summed alone; each of its elements gets the same.
    lengths = dict(zip(kept, c.shape, strict=True))
    c = c.reshape(tuple(lengths.get(x, 1) for x in distinct))
    full = tuple(sizes[x] for x in distinct)
    c = c if c.shape == full else np.broadcast_to(c, full)
    return c if distinct == term else _on_diagonals(c, term, shape)


def _on_diagonals(c: Any, term: str, shape: Shape) -> Any:
    """``c``, with an axis for each distinct letter, on the diagonals that the repeated ones run along; 0 elsewhere."""
    axes = range(len(term))
    chosen: Any = True
    for axis in axes:
        first = term.index(term[axis])
        if first != axis:
            along = tuple(n if k in (first, axis) else 1 for k, n in enumerate(shape))
            chosen = chosen & np.eye(shape[axis], dtype=bool).reshape(along)
    return select(chosen, c.reshape(tuple(shape[k] if term.index(term[k]) == k else 1 for k in axes)))
