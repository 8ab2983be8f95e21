"""What contractions promise: adjoints in every form of the call, NumPy's values and errors, missing data kept apart."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import WriteError
from tapegrad.ops.contractions import contract, explicit_terms, matmul_plan
from tapegrad.primitive import TABLE

EPS = float(np.finfo(np.float64).eps)
NAN, INF = np.nan, np.inf


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """Normal numbers of that shape; of a complex dtype, both parts."""
    real, imaginary = rng.normal(size=shape), rng.normal(size=shape)
    return np.asarray(real + 1j * imaginary if np.dtype(dtype).kind == "c" else real).astype(dtype)


def inner_product(a: Any, b: Any) -> float:
    """Re<a, b>, the inner product under which cotangents are adjoints."""
    return float(np.sum(np.conj(a) * b).real)


def assert_adjoint(f: Callable[..., Any], arrays: Sequence[Any], rng: np.random.Generator) -> None:
    """Each cotangent c of a multilinear f has Re<c, d> = Re<u, f(.., d, ..)>, exactly but for rounding."""
    leaves = [tg.tensor(a) for a in arrays]
    y = f(*leaves)
    np.testing.assert_allclose(y.numpy(), f(*arrays), rtol=1e3 * EPS, atol=1e3 * EPS)
    assert y.shape == f(*arrays).shape
    u = drawn(rng, y.shape, y.dtype)
    y.backward(u)
    for i, (leaf, a) in enumerate(zip(leaves, arrays, strict=True)):
        assert leaf.grad.shape == a.shape
        assert leaf.grad.dtype == a.dtype
        d = drawn(rng, a.shape, a.dtype)
        moved = f(*(d if k == i else other for k, other in enumerate(arrays)))
        scale = np.sum(np.abs(u)) * (1 + np.max(np.abs(moved), initial=0))
        assert abs(inner_product(leaf.grad, d) - inner_product(u, moved)) <= 1e2 * EPS * scale


DTYPES = [(np.float64, np.float64), (np.complex128, np.complex128), (np.float64, np.complex128)]
dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=["real", "complex", "mixed"])


def hessian(f: Callable[[Any], Any], x: Any) -> Any:
    """The matrix of second derivatives of a scalar f at a vector."""
    leaf = tg.tensor(x)
    f(leaf).backward(create_graph=True)
    recorded, rows = leaf.grad, []
    for row in np.eye(len(x)):
        leaf.grad = None
        recorded.backward(row, retain_graph=True)
        rows.append(leaf.grad)
    return np.stack(rows)


# ---------------------------------------------------------------- matmul, dot, tensordot, outer

MATMULS = [
    ((3,), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3,)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((5, 6, 2, 3), (3,)),
    ((2, 3), (5, 3, 4)),
    ((3,), (5, 6, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (6, 3, 4)),
    ((1, 2, 3), (5, 3, 4)),
    ((5, 2, 3), (1, 3, 4)),
    ((5, 2, 1), (5, 1, 4)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
    ((4, 2, 0), (0, 3)),
    ((0, 2, 3), (3, 2)),
    ((2, 3), (0, 3, 2)),
]


@dtypes
@pytest.mark.parametrize(("a", "b"), MATMULS, ids=str)
def test_matmul_has_its_adjoint_in_every_broadcasting_form(a: Any, b: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(0)
    assert_adjoint(np.matmul, [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])], rng)


def test_the_operator_the_function_and_linalg_give_the_same() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    gradients = []
    for product in (lambda x, y: x @ y, np.matmul, np.linalg.matmul, lambda x, y: np.linalg.tensordot(x, y, axes=1)):
        x, y = tg.tensor(a), tg.tensor(b)
        np.sum(product(x, y)).backward()
        gradients.append((x.grad, y.grad))
    for given in gradients[1:]:
        np.testing.assert_array_equal(given[0], gradients[0][0])
        np.testing.assert_array_equal(given[1], gradients[0][1])


def test_the_gradient_of_a_weight_is_one_product_of_matrices_over_the_whole_batch() -> None:
    rng = np.random.default_rng(1)
    x, u = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2))
    w = tg.tensor(rng.normal(size=(3, 2)))
    (x @ w).backward(u)
    np.testing.assert_array_equal(w.grad, x.reshape(20, 3).T @ u.reshape(20, 2))


def test_products_in_float32_have_gradients_in_float32() -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    for f in (np.matmul, np.dot, lambda x, y: np.einsum("ij,jk", x, y), lambda x, y: np.tensordot(x, y, 1)):
        x, y = tg.tensor(a), tg.tensor(b)
        f(x, y).backward(np.ones((2, 2), np.float32))
        assert x.grad.dtype == y.grad.dtype == np.float32


DOTS = [
    ((), ()),
    ((), (2, 3)),
    ((2, 3), ()),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3,)),
    ((5, 2, 3), (3, 4)),
    ((3,), (5, 3, 4)),
    ((2, 3), (5, 6, 3, 4)),
    ((5, 2, 3), (6, 3, 4)),
    ((2, 0), (0, 3)),
    ((5, 2, 0), (6, 0, 4)),
]


@dtypes
@pytest.mark.parametrize(("a", "b"), DOTS, ids=str)
def test_dot_has_its_adjoint_in_every_form(a: Any, b: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(2)
    assert_adjoint(np.dot, [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])], rng)


def test_dot_takes_python_numbers_and_lists() -> None:
    x = tg.tensor([1.0, 2.0])
    (np.sum(np.dot(x, 3.0)) + np.sum(np.dot(2.0, x)) + np.dot([10.0, 20.0], x)).backward()
    np.testing.assert_array_equal(x.grad, [15, 25])


@dtypes
@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((2, 3), (4, 3)), ((5, 2, 3), (3,)), ((), (3,))], ids=str)
def test_inner_has_its_adjoint(a: Any, b: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(3)
    assert_adjoint(np.inner, [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])], rng)


@dtypes
@pytest.mark.parametrize(("a", "b"), [((3,), (3,)), ((2, 3), (3, 2)), ((), ())], ids=str)
def test_vdot_conjugates_its_first_operand_forward_and_back(a: Any, b: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(4)
    assert_adjoint(np.vdot, [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])], rng)


@dtypes
@pytest.mark.parametrize(("a", "b"), [((2,), (3,)), ((2, 2), (3, 1)), ((), (3,)), ((0,), (3,))], ids=str)
def test_outer_ravels_its_operands_and_lays_their_cotangents_out_again(a: Any, b: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(5)
    assert_adjoint(np.outer, [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])], rng)


def test_linalg_outer_takes_vectors_alone_as_numpys_does() -> None:
    x = tg.tensor([1.0, 2.0])
    np.sum(np.linalg.outer(x, [3.0, 4.0])).backward()
    np.testing.assert_array_equal(x.grad, [7, 7])
    with pytest.raises(
        ValueError, match=r"Input arrays must be one-dimensional, but they are x1\.ndim=2 and x2\.ndim=1"
    ):
        np.linalg.outer(x.reshape(1, 2), [1.0])


TENSORDOTS = [
    ((2, 3, 4), (3, 4, 2), 2),
    ((2, 3), (3, 4), 1),
    ((2,), (3,), 0),
    ((2, 3, 4), (4, 2), (-1, 0)),
    ((2, 3, 4), (4, 5, 2), ([0, 2], [2, 0])),
    ((2, 3, 4), (4, 5, 2), ([2, 0], [0, 2])),
    ((2, 3, 4), (3, 5, 4), ((-1, 1), (-1, -3))),
    ((2, 3), (3, 2), ([0, 1], [1, 0])),
    ((2, 3), (2, 3), (np.array([0, 1]), np.array([0, 1]))),
    ((2, 0), (0, 3), 1),
    ((), (2,), 0),
]


@dtypes
@pytest.mark.parametrize(("a", "b", "axes"), TENSORDOTS, ids=str)
def test_tensordot_has_its_adjoint_whatever_the_form_of_its_axes(a: Any, b: Any, axes: Any, dtypes: Any) -> None:
    rng = np.random.default_rng(6)
    operands = [drawn(rng, a, dtypes[0]), drawn(rng, b, dtypes[1])]
    assert_adjoint(lambda x, y: np.tensordot(x, y, axes=axes), operands, rng)


# ---------------------------------------------------------------- einsum

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


@pytest.mark.parametrize("call", ["einsum", "matmul", "dot", "tensordot", "outer"])
def test_the_hessian_of_a_quadratic_form_is_the_matrix_and_its_transpose(call: str) -> None:
    A = np.array([[1.0, 2.0, 0.5], [0.0, 3.0, -1.0], [4.0, 1.0, 2.0]])
    forms = {
        "einsum": lambda x: np.einsum("i,ij,j->", x, A, x),
        "matmul": lambda x: x @ (A @ x),
        "dot": lambda x: np.dot(np.dot(x, A), x),
        "tensordot": lambda x: np.tensordot(x, np.tensordot(A, x, axes=1), axes=1),
        "outer": lambda x: np.sum(np.outer(x, x) * A),
    }
    np.testing.assert_allclose(hessian(forms[call], np.array([1.0, -2.0, 0.5])), A + A.T, rtol=16 * EPS)


def test_numpys_own_errors_come_unchanged() -> None:
    x = tg.tensor(np.ones((2, 3)))
    plain = x.numpy()
    for wrong in (
        lambda t: np.einsum("ij->k", t),
        lambda t: np.einsum("i->", t),
        lambda t: np.einsum("ij,jk", t, np.ones((4, 2))),
        lambda t: np.einsum("ij,ij,ij", t, plain),
        lambda t: np.einsum("i$", t),
        lambda t: np.einsum("ii", t),
        lambda t: np.einsum(t, [0, 99]),
        lambda t: np.einsum(t, [0, "a"]),
        lambda t: np.matmul(t, np.ones((2, 3))),
        lambda t: np.dot(t, np.ones((2, 3))),
        lambda t: np.tensordot(t, np.ones((2, 3)), axes=1),
    ):
        with pytest.raises((ValueError, TypeError)) as numpys:
            wrong(plain)
        with pytest.raises(type(numpys.value)) as ours:
            wrong(x)
        assert str(ours.value) == str(numpys.value)


def test_out_is_refused() -> None:
    x = tg.tensor(np.ones((2, 2)))
    with pytest.raises(WriteError, match=r"np\.einsum"):
        np.einsum("ij->ji", x, out=np.zeros((2, 2)))
    with pytest.raises(WriteError, match=r"np\.matmul"):
        np.matmul(x, x, out=np.zeros((2, 2)))


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


# ---------------------------------------------------------------- missing data

PRODUCTS = [
    ("matmul", lambda x, w: x @ w),
    ("dot", np.dot),
    ("tensordot", lambda x, w: np.tensordot(x, w, axes=1)),
    ("einsum", lambda x, w: np.einsum("ij,jk->ik", x, w)),
]


@pytest.mark.parametrize("missing", [NAN, INF])
@pytest.mark.parametrize("product", [p for _name, p in PRODUCTS], ids=[name for name, _p in PRODUCTS])
def test_rows_of_missing_data_that_are_masked_later_do_not_spoil_the_weights(product: Any, missing: float) -> None:
    x = np.array([[1.0, 2.0, 3.0], [missing, 1.0, 1.0], [4.0, 5.0, 6.0]])
    w = tg.tensor(np.ones((3, 2)))
    good = np.array([[True], [False], [True]])
    with np.errstate(invalid="ignore"):
        np.sum(np.where(good, product(x, w), 0.0)).backward()
    np.testing.assert_array_equal(w.grad, [[5, 5], [7, 7], [9, 9]])


def test_missing_data_that_meets_a_cotangent_is_seen() -> None:
    x = np.array([[1.0, 2.0], [NAN, 1.0]])
    w = tg.tensor(np.ones((2, 2)))
    np.sum(x @ w).backward()
    assert np.isnan(w.grad[0]).all()
    np.testing.assert_array_equal(w.grad[1], [3, 3])


def test_all_contractions_are_marked_multilinear() -> None:
    for function in (np.matmul, np.dot, np.tensordot, np.outer, contract):
        assert TABLE[function].multilinear
