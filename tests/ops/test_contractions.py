"""What contractions promise: adjoints in every form of the call, NumPy's values and errors, missing data kept apart."""

from typing import Any

import numpy as np
import pytest
from ops_tools import EPS, INF, NAN, assert_adjoint, drawn, dtypes, hessian

import tapegrad as tg
from tapegrad.errors import WriteError
from tapegrad.ops.einsum import contract
from tapegrad.primitive import TABLE

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


# ---------------------------------------------------------------- all of them


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
