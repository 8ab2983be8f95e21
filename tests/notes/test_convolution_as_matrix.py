"""Appendix A: a convolution Z = A * beta as a linear map of vec(beta), and of vec(A), with their matrices.

A is (3, 4), beta (2, 2), padding (1, 1) and stride (1, 2); so Z has 1 + (3 + 2 - 2)/1 = 4 rows and
1 + floor((4 + 2 - 2)/2) = 3 columns. Rows and columns are counted from 1, and the kernel isn't turned:

    z_ij = sum over r, s of beta_rs a_(i + r - 2)(2j + s - 3),   with a = 0 outside of A.

vec stacks columns. E_rs has a 1 at (r, s) and zeros elsewhere, and is of the shape of what it stands for.
"""

import numpy as np
import pytest
from formulas import close, convolved, draw, image_jacobian, jacobian, kernel_jacobian, places_columnwise, unit, vec

import tapegrad as tg
from tapegrad import nn

PADDING, STRIDE = (1, 1), (1, 2)


class Appendix:
    """A and beta as arrays and as leaves, and the recorded Z = A * beta, all of them (1, 1, rows, columns)."""

    def __init__(self, seed=0):
        self.a, self.beta = draw(seed, (3, 4), (2, 2))
        self.A, self.Beta = tg.tensor(self.a.reshape(1, 1, 3, 4)), tg.tensor(self.beta.reshape(1, 1, 2, 2))
        self.Z = nn.conv2d(self.A, self.Beta, stride=STRIDE, padding=PADDING)


def star(a, beta):
    """The notes' A * beta: padded and strided as throughout this appendix."""
    return convolved(a, beta, PADDING, STRIDE)


def written_out(a, beta):
    """The twelve entries of Z."""
    (a11, a12, a13, a14), (a21, a22, a23, a24), (a31, a32, a33, a34) = a
    (b11, b12), (b21, b22) = beta
    # fmt: off
    z11 =                               b22 * a11
    z12 =                   b21 * a12 + b22 * a13
    z13 =                   b21 * a14
    z21 =       b12 * a11             + b22 * a21
    z22 = b11 * a12 + b12 * a13 + b21 * a22 + b22 * a23
    z23 = b11 * a14             + b21 * a24
    z31 =       b12 * a21             + b22 * a31
    z32 = b11 * a22 + b12 * a23 + b21 * a32 + b22 * a33
    z33 = b11 * a24             + b21 * a34
    z41 =       b12 * a31
    z42 = b11 * a32 + b12 * a33
    z43 = b11 * a34
    # fmt: on
    return np.array([[z11, z12, z13], [z21, z22, z23], [z31, z32, z33], [z41, z42, z43]])


def test_the_twelve_entries_of_Z_as_written_out():
    """z11 = beta22 a11, ..., z32 = beta11 a22 + beta12 a23 + beta21 a32 + beta22 a33, ..., z43 = beta11 a34."""
    it = Appendix()
    close(it.Z.data[0, 0], written_out(it.a, it.beta))
    close(star(it.a, it.beta), written_out(it.a, it.beta))


def test_the_gradients_of_the_twelve_entries_written_out_in_numpy_are_those_of_conv2d():
    """The entries as expressions of tensors, each recorded by itself, give the same dA and dbeta as the convolution."""
    it = Appendix()
    (dz,) = draw(1, (4, 3))
    it.Z.backward(dz.reshape(1, 1, 4, 3))
    a = [[tg.tensor(v) for v in row] for row in it.a]
    beta = [[tg.tensor(v) for v in row] for row in it.beta]
    entries = written_out_on_tensors(a, beta)
    loss = sum(dz[i][j] * entries[i][j] for i in range(4) for j in range(3))
    loss.backward()
    close(it.A.grad[0, 0], np.array([[v.grad for v in row] for row in a]))
    close(it.Beta.grad[0, 0], np.array([[v.grad for v in row] for row in beta]))


def written_out_on_tensors(a, beta):
    """z_ij by its formula, of nested lists of 0-d tensors: no array comes between."""
    return [
        [
            sum(
                beta[r][s] * a[i + r - 1][2 * j + s - 1]
                for r in range(2)
                for s in range(2)
                if 0 <= i + r - 1 < 3 and 0 <= 2 * j + s - 1 < 4
            )
            for j in range(3)
        ]
        for i in range(4)
    ]


def test_columns_of_dZ_by_dbeta_are_vec_of_A_convolved_with_E_rs():
    """d vec Z / d vec beta = [vec(A * E_11), vec(A * E_21), vec(A * E_12), vec(A * E_22)], a 12 x 4 matrix."""
    it = Appendix()
    found = jacobian(it.Z, it.Beta, vec)
    assert found.shape == (12, 4)
    for column, (r, s) in enumerate([(1, 1), (2, 1), (1, 2), (2, 2)]):
        close(found[:, column], vec(star(it.a, unit((2, 2), (r - 1, s - 1)))))
    close(found, kernel_jacobian(it.a, (2, 2), PADDING, STRIDE))


def test_columns_of_dZ_by_dA_are_vec_of_E_rs_convolved_with_beta():
    """d vec Z / d vec A = [vec(E_11 * beta), vec(E_21 * beta), ..., vec(E_34 * beta)], a 12 x 12 matrix."""
    it = Appendix()
    found = jacobian(it.Z, it.A, vec)
    assert found.shape == (12, 12)
    for column, place in enumerate(places_columnwise((3, 4))):
        close(found[:, column], vec(star(unit((3, 4), place), it.beta)))
    close(found, image_jacobian((3, 4), it.beta, PADDING, STRIDE))


def entry_of_the_jacobian(it, z_place, leaf, place):
    """dz/d(leaf) for two places counted from 1."""
    it.Z.backward(unit((1, 1, 4, 3), (0, 0, z_place[0] - 1, z_place[1] - 1)), retain_graph=True)
    return leaf.grad[0, 0, place[0] - 1, place[1] - 1]


def test_dz32_by_dbeta21_is_a32():
    """In z32 = beta11 a22 + beta12 a23 + beta21 a32 + beta22 a33 the factor of beta21 is a32."""
    it = Appendix()
    close(entry_of_the_jacobian(it, (3, 2), it.Beta, (2, 1)), it.a[3 - 1, 2 - 1])


def test_dz32_by_da23_is_beta12():
    """In z32 = beta11 a22 + beta12 a23 + beta21 a32 + beta22 a33 the factor of a23 is beta12."""
    it = Appendix()
    close(entry_of_the_jacobian(it, (3, 2), it.A, (2, 3)), it.beta[1 - 1, 2 - 1])


@pytest.mark.parametrize("wanted", ["A", "beta"])
def test_vec_Z_is_the_matrix_times_the_vector(wanted):
    """Z is linear in each: vec Z = (d vec Z / d vec beta) vec beta = (d vec Z / d vec A) vec A."""
    it = Appendix()
    leaf, values = (it.A, it.a) if wanted == "A" else (it.Beta, it.beta)
    close(jacobian(it.Z, leaf, vec) @ vec(values), vec(it.Z.data))


def test_gradients_are_the_transposed_matrices_times_vec_dZ():
    """vec dA = (d vec Z / d vec A)^T vec dZ, and so for beta: what backward() computes without the matrices."""
    it = Appendix()
    (dz,) = draw(2, (1, 1, 4, 3))
    it.Z.backward(dz)
    close(vec(it.A.grad), image_jacobian((3, 4), it.beta, PADDING, STRIDE).T @ vec(dz))
    close(vec(it.Beta.grad), kernel_jacobian(it.a, (2, 2), PADDING, STRIDE).T @ vec(dz))
