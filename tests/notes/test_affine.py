"""The affine layer, Y = XW + b: the notes' Jacobians in block form, and what they make of Z = dL/dY."""

import numpy as np
import pytest
from formulas import block_diagonal, close, draw, jacobian, rows, unit, vec

import tapegrad as tg

N, D, C = 4, 3, 5


def affine(seed=0, n=N):
    """Leaves X, W, b, the recorded Y = XW + b, and a Z of Y's shape."""
    x, w, b, z = draw(seed, (n, D), (D, C), (C,), (n, C))
    X, W, b = tg.tensor(x), tg.tensor(w), tg.tensor(b)
    return X, W, b, X @ W + b, z


def test_dY_by_dW_is_C_diagonal_blocks_X_when_columns_are_stacked():
    """d vec Y / d vec W = diag(X, ..., X), C times: column c of Y is X times column c of W."""
    X, W, _b, Y, _z = affine()
    close(jacobian(Y, W, vec), block_diagonal(X.data, C))


def test_dY_by_dX_is_N_diagonal_blocks_W_transposed_when_rows_are_stacked():
    """d(rows of Y) / d(rows of X) = diag(W^T, ..., W^T), N times: row n of Y is row n of X times W."""
    X, W, _b, Y, _z = affine()
    close(jacobian(Y, X, rows), block_diagonal(W.data.T, N))


def test_dY_by_db_is_C_stacked_columns_of_ones():
    """d vec Y / d b: block c of the stacked columns holds N ones in column c, for b_c is added N times."""
    _X, _W, b, Y, _z = affine()
    expected = np.zeros((C * N, C))
    for c in range(C):
        expected[c * N : (c + 1) * N, c] = 1
    # b is one row, and its vec is itself.
    close(jacobian(Y, b, lambda a: vec(a) if a.ndim == 2 else a), expected)


def test_dL_by_dW_is_X_transposed_Z():
    """dL/dW = X^T Z, summed entry by entry over the samples: sum over n of x_nd z_nc."""
    X, W, _b, Y, z = affine()
    Y.backward(z)
    expected = np.zeros((D, C))
    for n in range(N):
        for d in range(D):
            for c in range(C):
                expected[d, c] += X.data[n, d] * z[n, c]
    close(W.grad, expected)
    close(W.grad, X.data.T @ z)


def test_dL_by_dX_is_Z_times_W_transposed():
    """dL/dX = Z W^T: sum over c of z_nc w_dc."""
    X, W, _b, Y, z = affine()
    Y.backward(z)
    expected = np.zeros((N, D))
    for n in range(N):
        for d in range(D):
            for c in range(C):
                expected[n, d] += z[n, c] * W.data[d, c]
    close(X.grad, expected)
    close(X.grad, z @ W.data.T)


def test_dL_by_db_is_the_column_sums_of_Z():
    """dL/db = 1^T Z: sum over n of z_nc."""
    _X, _W, b, Y, z = affine()
    Y.backward(z)
    close(b.grad, np.array([sum(z[n, c] for n in range(N)) for c in range(C)]))


def test_the_block_jacobians_times_Z_are_the_three_products():
    """(vec Z)^T d vec Y / d vec W = (vec X^T Z)^T, and so for X (rows stacked) and b: the note's last step."""
    X, W, b, Y, z = affine()
    Y.backward(z)
    close(W.grad, (vec(z) @ block_diagonal(X.data, C)).reshape(C, D).T)
    close(X.grad, (rows(z) @ block_diagonal(W.data.T, N)).reshape(N, D))
    close(b.grad, vec(z) @ np.kron(np.eye(C), np.ones((N, 1))))


def row_vector(seed=1):
    """One sample: leaves x, W, b as vectors and a matrix, and the recorded y = xW + b."""
    x, w, b, z = draw(seed, (D,), (D, C), (C,), (C,))
    x, W, b = tg.tensor(x), tg.tensor(w), tg.tensor(b)
    return x, W, b, x @ W + b, z


def by_unit_seeds(y, leaf):
    """dy/d leaf, slice i from the seed e_i: an array of shape (C, *leaf.shape)."""
    slices = []
    for i in range(C):
        leaf.zero_grad()
        y.backward(unit((C,), (i,)), retain_graph=True)
        slices.append(leaf.grad)
    return np.stack(slices)


def test_of_one_row_vector_dy_by_dx_is_W_transposed():
    """dy/dx = W^T, of shape C x D, for y_c = sum over d of x_d w_dc + b_c."""
    x, W, _b, y, _z = row_vector()
    close(by_unit_seeds(y, x), np.array([[W.data[d, c] for d in range(D)] for c in range(C)]))


def test_of_one_row_vector_dy_by_dW_is_a_CxDxC_tensor_with_x_in_column_i_of_slice_i():
    """dy_i/dw_dc = x_d where c = i, else 0."""
    x, W, _b, y, _z = row_vector()
    expected = np.zeros((C, D, C))
    for i in range(C):
        expected[i, :, i] = x.data
    close(by_unit_seeds(y, W), expected)


def test_of_one_row_vector_dy_by_db_is_the_identity():
    """dy_i/db_c = 1 where i = c, else 0."""
    _x, _W, b, y, _z = row_vector()
    close(by_unit_seeds(y, b), np.eye(C))


def test_of_one_row_vector_z_against_the_tensor_is_the_outer_product_x_transposed_z():
    """dL/dW = sum over i of z_i (dy_i/dW) = x^T z: each slice is x in its own column, weighed by z_i."""
    x, W, _b, y, z = row_vector()
    y.backward(z)
    tensor = np.zeros((C, D, C))
    for i in range(C):
        tensor[i, :, i] = x.data
    close(W.grad, sum(z[i] * tensor[i] for i in range(C)))
    close(W.grad, np.outer(x.data, z))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_batch_form_is_the_same_product_as_row_by_row(n):
    """X^T Z = sum over n of x_n^T z_n, Z W^T has rows z_n W^T, 1^T Z = sum of z_n: one row after another.

    The rows of a batch share W and b, so what each gives them adds up, and a product of matrices is that
    sum; the rows of X are nobody else's, so their gradients stand below each other.
    """
    X, W, b, Y, z = affine(seed=2, n=n)
    Y.backward(z)
    of_W, of_b, of_X = np.zeros((D, C)), np.zeros(C), []
    for x_n, z_n in zip(X.data, z, strict=True):
        x, W_n, b_n = tg.tensor(x_n), tg.tensor(W.data), tg.tensor(b.data)
        (x @ W_n + b_n).backward(z_n)
        close(W_n.grad, np.outer(x_n, z_n))
        close(x.grad, W.data @ z_n)
        of_W, of_b = of_W + W_n.grad, of_b + b_n.grad
        of_X.append(x.grad)
    close(W.grad, of_W)
    close(b.grad, of_b)
    close(X.grad, np.stack(of_X))
