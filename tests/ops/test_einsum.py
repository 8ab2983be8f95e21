"""What einsum promises: adjoints for every kind of subscripts, either calling form, products of matrices."""

from typing import Any

import numpy as np
import pytest
from ops_tools import INF, assert_adjoint, drawn, dtypes

import tapegrad as tg
from tapegrad.ops.einsum import contract, explicit_terms, matmul_plan

EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ba,ac", (2, 3), (3, 4)),
    ("ba", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->ji", (2, 2, 3)),
    ("iji->j", (2, 3, 2)),
    ("iii", (2, 2, 2)),
    ("ijij->ji", (2, 3, 2, 3)),
    ("iijj->", (2, 2, 3, 3)),
    ("ii,ij->j", (2, 2), (2, 3)),
    ("ii,jj->ij", (2, 2), (3, 3)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("ij,kl->il", (2, 3), (5, 4)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("ij,jk->ik", (2, 3), (1, 4)),
    ("ij,j->i", (2, 3), (1,)),
    ("ij,j->", (2, 1), (3,)),
    ("ij,ij->ij", (1, 3), (2, 1)),
    ("...j,jk->...k", (5, 2, 3), (3, 4)),
    ("...j,jk", (2, 3), (3, 4)),
    ("...,...", (2, 1, 3), (4, 1)),
    ("...ij,...jk->...ik", (5, 1, 2, 3), (6, 3, 4)),
    ("i...->...", (2, 3)),
    ("...i->i...", (2, 3, 4)),
    ("a...a->...a", (2, 3, 2)),
    ("i,ij,j->", (2,), (2, 3), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("i,i,i->i", (3,), (3,), (1,)),
    (",i->i", (), (3,)),
    ("i , j -> j i", (2,), (3,)),
    ("ij,jk->ik", (2, 0), (0, 3)),
    ("ij->i", (0, 3)),
    ("ii->", (0, 0)),
    ("ij,jk->ik", (1, 0), (1, 3)),
]


@dtypes
@pytest.mark.parametrize("case", EINSUMS, ids=str)
def test_einsum_has_its_adjoint_in_every_operand(case: Any, dtypes: Any) -> None:
    subscripts, *shapes = case
    rng = np.random.default_rng(7)
    arrays = [drawn(rng, shape, dtypes[i % 2]) for i, shape in enumerate(shapes)]
    assert_adjoint(lambda *operands: np.einsum(subscripts, *operands), arrays, rng)


@pytest.mark.parametrize("optimize", [True, "greedy", "optimal", ["einsum_path", (0, 1), (0, 1)]], ids=str)
def test_an_einsum_may_be_optimized(optimize: Any) -> None:
    rng = np.random.default_rng(8)
    arrays = [drawn(rng, shape, np.float64) for shape in ((2, 3), (3, 4), (4, 5))]
    assert_adjoint(lambda *operands: np.einsum("ij,jk,kl->il", *operands, optimize=optimize), arrays, rng)


def test_einsum_takes_its_other_keywords() -> None:
    x = tg.tensor(np.ones((2, 3), np.float32))
    y = np.einsum("ij->j", x, dtype=np.float64, order="F", casting="same_kind")
    assert y.dtype == np.float64
    y.backward(np.ones(3))
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("letters", "numbers"),
    [
        (("ij,jk->ik",), ([0, 1], [1, 2], [0, 2])),
        (("ij,jk",), ([0, 1], [1, 2])),
        (("ji,kj",), ([1, 0], [2, 1])),
        (("...j,jk->...k",), ([Ellipsis, 1], [1, 2], [Ellipsis, 2])),
        (("ab,bc",), ((30, 31), (31, 3))),
    ],
    ids=str,
)
def test_numbered_subscripts_mean_what_numpy_says(letters: Any, numbers: Any) -> None:
    rng = np.random.default_rng(9)
    a, b = drawn(rng, (3, 3), np.float64), drawn(rng, (3, 3), np.float64)
    output = numbers[2:]
    assert_adjoint(lambda x, y: np.einsum(x, numbers[0], y, numbers[1], *output), [a, b], rng)


def test_the_same_tensor_twice_gets_both_its_shares() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    np.einsum("i,i->", x, x).backward()
    np.testing.assert_array_equal(x.grad, [2, 4, 6])


def test_the_trace_pulls_back_to_the_identity() -> None:
    x = tg.tensor(np.ones((3, 3)))
    np.einsum("ii", x).backward()
    np.testing.assert_array_equal(x.grad, np.eye(3))


def test_what_lies_off_the_diagonal_gets_zero_from_an_infinite_cotangent() -> None:
    x = tg.tensor(np.ones((2, 2)))
    np.einsum("ii->i", x).backward(np.array([INF, 1.0]))
    np.testing.assert_array_equal(x.grad, [[INF, 0], [0, 1]])


def test_a_tape_names_einsum_by_what_was_called() -> None:
    with tg.Tape() as tape:
        np.einsum("ij->ji", tg.tensor(np.ones((2, 2))))
    assert next(iter(tape)).primitive.split()[0] == "np.einsum"


# ---------------------------------------------------------------- einsum as a product of matrices

LARGE = [
    ("ij,jk->ik", (20, 30), (30, 25)),
    ("ji,jk->ki", (30, 20), (30, 25)),
    ("ij,ij->", (80, 90), (80, 90)),
    ("ij,j->i", (80, 90), (90,)),
    ("j,ij->i", (90,), (80, 90)),
    ("bij,kbj->bki", (5, 12, 20), (9, 5, 20)),
    ("abij,jcia->bc", (3, 8, 5, 6), (6, 7, 5, 3)),
    ("...j,jk", (5, 6, 20), (20, 30)),
    ("bhqd,bhkd->bhqk", (2, 3, 10, 8), (2, 3, 12, 8)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_large_contractions_go_by_products_of_matrices_to_the_same_value(case: Any, dtype: Any) -> None:
    subscripts, a_shape, b_shape = case
    rng = np.random.default_rng(10)
    a, b = drawn(rng, a_shape, dtype), drawn(rng, b_shape, dtype)
    assert matmul_plan(subscripts, a_shape, b_shape) is not None
    given, expected = contract([a, b], subscripts), np.einsum(subscripts, a, b)
    bound = np.einsum(subscripts, np.abs(a), np.abs(b)) * 16 * np.finfo(dtype).eps
    assert np.all(np.abs(given - expected) <= bound)
    assert type(given) is type(expected)
    assert given.dtype == expected.dtype


def test_large_contractions_lie_in_memory_as_is_asked() -> None:
    y = np.einsum("ij,jk->ik", tg.tensor(np.ones((20, 30))), np.ones((30, 25)), order="F")
    assert y.numpy().flags.f_contiguous


@pytest.mark.parametrize(
    "case",
    [
        ("ij,ij->ij", (80, 90), (80, 90)),
        ("bj,bj->b", (80, 90), (80, 90)),
        ("ij,jk->k", (40, 40), (40, 40)),
        ("ii,ij->j", (80, 80), (80, 80)),
        ("ij,jk->ik", (40, 1), (50, 60)),
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("ij,jk->z", (40, 40), (40, 40)),
        ("ij,jk,kl", (40, 40), (40, 40)),
        ("ij,jk", (40, 40, 40), (40, 40)),
        ("i$,jk", (40, 40), (40, 40)),
    ],
    ids=str,
)
def test_other_contractions_are_left_to_numpy(case: Any) -> None:
    assert matmul_plan(*case) is None


@pytest.mark.parametrize("case", EINSUMS, ids=str)
def test_subscripts_written_out_mean_the_same(case: Any) -> None:
    subscripts, *shapes = case
    arrays = [np.random.default_rng(11).normal(size=shape) for shape in shapes]
    terms, output = explicit_terms(subscripts, tuple(len(shape) for shape in shapes))
    np.testing.assert_array_equal(
        np.einsum(",".join(terms) + "->" + output, *arrays), np.einsum(subscripts, *arrays), strict=True
    )
