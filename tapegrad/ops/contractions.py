"""Contractions: products of two or more operands, summed over what they share.

All are linear in each operand, so the cotangent of an operand is again a contraction: of g with the
conjugates of the others. They are marked multilinear, which gives them the strong zero (pulls.py).
"""

import functools
import math
import operator
import string
from typing import Any

import numpy as np

from tapegrad.cases import Cases, call
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, mH, select, unbroadcast

Shape = tuple[int, ...]


# ---------------------------------------------------------------- matmul


@defvjp(
    np.matmul,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2, 3), (3, 4)),
            call((3,), (3,)),
            call((3,), (3, 2)),
            call((2, 3), (3,)),
            call((2, 2, 3), (3, 2)),
            call((2, 2, 3), (3,)),
            call((2, 3), (4, 3, 2)),
            call((3,), (2, 3, 2)),
            call((2, 2, 3), (2, 3, 2)),
            call((2, 1, 2, 3), (3, 3, 2)),
            call((1, 2, 3), (4, 3, 1)),
            call((2, 1), (1, 3)),
            call((2, 3), (3, 2), dtype=np.complex128),
            call((0, 3), (3, 2)),
            call((2, 0), (0, 3)),
            call((2, 0, 3), (3, 2)),
            call((0,), (0,)),
            call((2, 2, 0), (0, 3)),
        ),
    ),
)
def matmul_vjp(
    g: Any, _y: Any, a: Any, b: Any, *, _dtype: Any = None, _casting: Any = "same_kind", _order: Any = "K"
) -> Any:
    """a_bar = g b^H, b_bar = a^H g, summed over the axes along which an operand was broadcast."""
    if a.ndim == 2 and b.ndim == 2:
        # The method dot: on small matrices three times quicker than @.
        return lambda: g.dot(conj(b.T)), lambda: conj(a.T).dot(g)
    if a.ndim == 1 and b.ndim == 1:
        return lambda: g * conj(b), lambda: g * conj(a)
    # A vector is a matrix with one row, or one column.
    A = a if a.ndim > 1 else a.reshape((1, *a.shape))
    B = b if b.ndim > 1 else b.reshape((*b.shape, 1))
    batch = g.shape[: g.ndim - (a.ndim > 1) - (b.ndim > 1)]
    G = g.reshape((*batch, A.shape[-2], B.shape[-1]))
    return lambda: _left(G, A, B).reshape(a.shape), lambda: _right(G, A, B).reshape(b.shape)


def _left(G: Any, A: Any, B: Any) -> Any:
    """G B^H, summed to the shape of A; a single matrix on either side makes it one product of matrices."""
    if B.ndim == 2:
        return (_rows(G) @ mH(B)).reshape(A.shape)
    if A.ndim == 2:
        summed = (*range(G.ndim - 2), G.ndim - 1)
        return np.tensordot(G, conj(B), axes=(summed, summed))
    return unbroadcast(G @ mH(B), A.shape)


def _right(G: Any, A: Any, B: Any) -> Any:
    """A^H G, summed to the shape of B; of a single matrix B, as one product of matrices."""
    if B.ndim == 2:
        return mH(_rows(A)) @ _rows(G)
    return unbroadcast(mH(A) @ G, B.shape)


def _rows(x: Any) -> Any:
    """A batch of matrices as one matrix, with all of their rows."""
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


@composite(np.linalg.matmul)
def linalg_matmul(x1: Any, x2: Any, /) -> Any:
    """``np.matmul``."""
    return np.matmul(x1, x2)


# ---------------------------------------------------------------- dot, inner, outer, tensordot


def ndim_of(x: Any) -> int:
    """The number of axes; of a Python number 0."""
    return getattr(x, "ndim", 0)


@defvjp(
    np.dot,
    multilinear=True,
    cases=Cases(
        calls=(
            call((3,), (3,)),
            call((2, 3), (3, 4)),
            call((2, 3), (3,)),
            call((3,), (3, 2)),
            call((2, 2, 3), (3,)),
            call((2, 3), (2, 3, 2)),
            call((3,), (2, 3, 2)),
            call((2, 1, 3), (2, 2, 3, 2)),
            call((), ()),
            call((), (2, 3)),
            call((2, 3), ()),
            call((2, 3), 2.0),
            call((0,), (0,)),
            call((2, 0), (0, 3)),
            call((0, 3), (2, 3, 1)),
        ),
    ),
)
def dot_vjp(g: Any, _y: Any, a: Any, b: Any, *, _out: Any = None) -> Any:
    """a_bar = g b^H, b_bar = a^H g; the last axis of a against the last but one of b."""
    if ndim_of(a) == 0 or ndim_of(b) == 0:
        return lambda: unbroadcast(g * conj(b), a.shape), lambda: unbroadcast(g * conj(a), b.shape)
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul_vjp(g, _y, a, b)
    return tensordot_vjp(g, _y, a, b, axes=(-1, max(b.ndim - 2, 0)))


@composite(np.inner, cases=Cases(calls=(call((3,), (3,)), call((2, 3), (4, 3)), call((2, 3), (3,)), call((), (3,)))))
def inner(a: Any, b: Any, /) -> Any:
    """``np.dot`` of vectors and scalars; else the last axes of both summed together."""
    a, b = (x if hasattr(x, "ndim") else np.asarray(x) for x in (a, b))
    if min(a.ndim, b.ndim) == 0 or max(a.ndim, b.ndim) == 1:
        return np.dot(a, b)
    return np.tensordot(a, b, axes=(-1, -1))


@composite(np.vdot, cases=Cases(calls=(call((3,), (3,)), call((2, 3), (3, 2)), call((), ())), analytic=False))
def vdot(a: Any, b: Any, /) -> Any:
    """The dot product of all elements, those of ``a`` conjugated."""
    return np.dot(np.conj(np.reshape(a, -1)), np.reshape(b, -1))


@defvjp(
    np.outer,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2,), (3,)),
            call((2, 2), (1, 3)),
            call((), (3,)),
            call((3,), 2.0),
            call((0,), (3,)),
            call((), ()),
        )
    ),
)
def outer_vjp(g: Any, _y: Any, a: Any, b: Any, *, _out: Any = None) -> Any:
    """a_bar = g conj(b), b_bar = g^T conj(a), both laid out as the operands were."""
    return (
        lambda: (g @ conj(np.reshape(b, (-1,)))).reshape(a.shape),
        lambda: (conj(np.reshape(a, (-1,))) @ g).reshape(b.shape),
    )


@composite(np.linalg.outer)
def linalg_outer(x1: Any, x2: Any, /) -> Any:
    """``np.outer`` of vectors."""
    x1, x2 = (x if hasattr(x, "ndim") else np.asarray(x) for x in (x1, x2))
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"Input arrays must be one-dimensional, but they are {x1.ndim=} and {x2.ndim=}.")
    return np.outer(x1, x2)


def summed_axes(axes: Any, a_ndim: int, b_ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ``axes`` of tensordot (an int, or a pair of ints or sequences) as axes of a and of b, counted from 0.

    >>> summed_axes(2, 3, 4), summed_axes((-1, [0]), 3, 4)
    (((1, 2), (0, 1)), ((2,), (0,)))
    """
    if not np.iterable(axes):
        count = operator.index(axes)
        return tuple(range(a_ndim - count, a_ndim)), tuple(range(count))
    in_a, in_b = (tuple(np.atleast_1d(np.asarray(given, int)).tolist()) for given in axes)
    return tuple(i % a_ndim for i in in_a), tuple(i % b_ndim for i in in_b)


def _ranked(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The positions in ``axes`` from its least to its greatest; of a permutation, its inverse."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


@defvjp(
    np.tensordot,
    multilinear=True,
    cases=Cases(
        calls=(
            call((2, 3, 2), (3, 2, 2)),
            call((2, 3), (3, 2), axes=1),
            call((2,), (3,), axes=0),
            call((2, 3, 4), (4, 2), axes=(-1, 0)),
            call((2, 3, 4), (4, 1, 2), axes=([0, 2], [2, 0])),
            call((2, 3, 4), (3, 1, 4), axes=((-1, 1), (-1, -3))),
            call((2, 3), (3, 2), axes=([0, 1], [1, 0])),
            call((2, 3), 2.0, axes=0),
            call((), (2,), axes=0),
            call((2, 0), (0, 3), axes=1),
            call((0, 2), (2, 3), axes=1),
        ),
    ),
)
def tensordot_vjp(g: Any, _y: Any, a: Any, b: Any, *, axes: Any = 2) -> Any:
    """a_bar = g against the free axes of conj(b), b_bar = conj(a) against g's; then their axes put in order."""
    in_a, in_b = summed_axes(axes, ndim_of(a), ndim_of(b))
    free_a = tuple(i for i in range(ndim_of(a)) if i not in in_a)
    free_b = tuple(i for i in range(ndim_of(b)) if i not in in_b)
    of_a, of_b = tuple(range(len(free_a))), tuple(range(len(free_a), g.ndim))

    def a_bar() -> Any:
        c = np.tensordot(g, conj(b), axes=(of_b, free_b))
        return c.transpose(_ranked(free_a + tuple(in_a[j] for j in _ranked(in_b))))

    def b_bar() -> Any:
        c = np.tensordot(conj(a), g, axes=(free_a, of_a))
        return c.transpose(_ranked(tuple(in_b[j] for j in _ranked(in_a)) + free_b))

    return a_bar, b_bar


@composite(np.linalg.tensordot)
def linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """``np.tensordot``."""
    return np.tensordot(x1, x2, axes=axes)


# ---------------------------------------------------------------- einsum

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


@primitive
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


# So that errors and tapes name what the user called.
contract.__module__, contract.__qualname__ = "numpy", "einsum (contraction)"


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
            call("i,i", (3,), np.array([1.0, 2.0, 3.0])),
        ),
    ),
)
def einsum(
    *operands: Any, out: Any = None, optimize: Any = False,
    dtype: Any = None, order: str = "K", casting: Any = "safe",
) -> Any:  # fmt: skip
    """Either calling form of einsum as ``contract`` of a sequence of operands."""
    if isinstance(operands[0], str):
        subscripts, operands = operands[0], operands[1:]
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
    cases=Cases(calls=tuple(call(list(shapes), subscripts=subscripts) for subscripts, shapes in EINSUMS)),
)
def contract_vjp(
    g: Any, _y: Any, *operands: Any, subscripts: str, _out: Any = None, optimize: Any = False,
    _dtype: Any = None, _order: str = "K", _casting: Any = "safe",
) -> Any:  # fmt: skip
    """The cotangent of an operand contracts g with the conjugates of the others, to the operand's subscripts."""
    terms, output = explicit_terms(subscripts, tuple(ndim_of(o) for o in operands))
    # A path that was given is one for the operands, not for these; found anew, it is as quick.
    search = optimize is not False
    return tuple(
        functools.partial(_contracted_without, i, g, operands, terms, output, search) for i in range(len(operands))
    )


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
