"""The convolution layer: forward as loops, and dw, db and dx as the notes' loops, against ``backward()``.

Images X are (N, C, H, W), kernels w (F, C, HH, WW), biases b (F,), outputs Y (N, F, H', W'). In the
loops, n counts images, f kernels, c channels, (k, l) the places of the output, (i, j) those of the
image and (r, s) those of a kernel; dy is dL/dY.
"""

import itertools

import numpy as np
import pytest
from formulas import close, convolved, draw, output_shape, output_size, padded, unit, unpadded

import tapegrad as tg
from tapegrad import nn

# (H, W), (HH, WW), padding, stride. In "leftover" the last stride doesn't fit: a row and a column of
# the padded image are under no kernel.
SETTINGS = {
    "plain": ((5, 4), (3, 2), (0, 0), (1, 1)),
    "same": ((4, 5), (3, 3), (1, 1), (1, 1)),
    "stride 2": ((5, 5), (3, 3), (0, 0), (2, 2)),
    "padded stride 2": ((5, 7), (3, 3), (1, 1), (2, 2)),
    "per axis": ((6, 5), (2, 3), (0, 2), (2, 1)),
    "leftover": ((6, 6), (3, 3), (1, 0), (2, 2)),
    "gaps": ((5, 5), (1, 2), (0, 1), (2, 3)),
}
N, C, F = 2, 3, 4

settings = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS.keys())


class Layer:
    """One recorded convolution, with a random dy pulled back: arrays x, w, b, dy and leaves X, W, B."""

    def __init__(self, setting, seed=0):
        size, kernel, self.padding, self.stride = setting
        self.out = output_shape(size, kernel, self.padding, self.stride)
        self.x, self.w, self.b, self.dy = draw(seed, (N, C, *size), (F, C, *kernel), (F,), (N, F, *self.out))
        self.X, self.W, self.B = tg.tensor(self.x), tg.tensor(self.w), tg.tensor(self.b)
        self.Y = nn.conv2d(self.X, self.W, self.B, stride=self.stride, padding=self.padding)
        self.Y.backward(self.dy)

    def places(self):
        """n, f, k, l of every output."""
        return np.ndindex(*self.dy.shape)


@settings
def test_the_forward_is_four_loops_over_images_kernels_and_output_places(setting):
    """y[n,f,k,l] = sum of (the sub-image of the padded x under the kernel at (k, l)) times w[f], plus b[f]."""
    layer = Layer(setting)
    x, (S, T) = padded(layer.x, layer.padding), layer.stride
    _, _, HH, WW = layer.w.shape
    y = np.zeros(layer.dy.shape)
    for n in range(N):
        for f in range(F):
            for k in range(layer.out[0]):
                for l in range(layer.out[1]):  # noqa: E741 - the notes' letter
                    y[n, f, k, l] = np.sum(x[n, :, k * S : k * S + HH, l * T : l * T + WW] * layer.w[f]) + layer.b[f]
    close(layer.Y.data, y)


@settings
def test_dw_sums_dy_over_strided_sub_images(setting):
    """dw[f,c,r,s] = sum over n of sum(dy[n,f] times every S-th pixel of the padded x[n,c], from (r, s) on)."""
    layer = Layer(setting)
    x, (S, T), (H, W) = padded(layer.x, layer.padding), layer.stride, layer.out
    dw = np.zeros(layer.w.shape)
    for f, c, r, s in np.ndindex(*dw.shape):
        for n in range(N):
            sub_image = x[n, c, r : r + S * H : S, s : s + T * W : T]
            dw[f, c, r, s] += np.sum(layer.dy[n, f] * sub_image)
    close(layer.W.grad, dw)


@settings
def test_db_sums_dy_over_images_and_places(setting):
    """db[f] = sum over n, k, l of dy[n,f,k,l]."""
    layer = Layer(setting)
    db = np.zeros(F)
    for n, f, k, l in layer.places():  # noqa: E741
        db[f] += layer.dy[n, f, k, l]
    close(layer.B.grad, db)


@settings
def test_dx_is_nine_loops_with_a_condition_on_the_indices(setting):
    """dx[n,c,i,j] = sum over f, k, l, r, s of dy[n,f,k,l] w[f,c,r,s], where i + P = kS + r and j + Q = lT + s."""
    layer = Layer(setting)
    (P, Q), (S, T), (H, W) = layer.padding, layer.stride, layer.out
    _, _, HH, WW = layer.w.shape
    dx = np.zeros(layer.x.shape)
    for n in range(N):
        for c in range(C):
            for i in range(layer.x.shape[2]):
                for j in range(layer.x.shape[3]):
                    for f in range(F):
                        for k in range(H):
                            for l in range(W):  # noqa: E741
                                for r in range(HH):
                                    for s in range(WW):
                                        if i + P == k * S + r and j + Q == l * T + s:
                                            dx[n, c, i, j] += layer.dy[n, f, k, l] * layer.w[f, c, r, s]
    close(layer.X.grad, dx)


@settings
def test_dx_is_the_masked_version_of_the_nine_loops(setting):
    """dx[n,:,i,j] = sum over f, k, l of dy[n,f,k,l] times w[f] under the two masks r = i + P - kS, s = j + Q - lT.

    The condition on the indices leaves at most one r and one s for given i, j, k, l: a mask of a single 1 along
    the rows of the kernel and one along its columns, or of none where that index lies outside of the kernel.
    """
    layer = Layer(setting)
    (P, Q), (S, T), (H, W) = layer.padding, layer.stride, layer.out
    _, _, HH, WW = layer.w.shape
    dx = np.zeros(layer.x.shape)
    for n in range(N):
        for i, j in np.ndindex(*layer.x.shape[2:]):
            for f, k, l in itertools.product(range(F), range(H), range(W)):  # noqa: E741
                row_mask = (np.arange(HH) == i + P - k * S).reshape(1, HH, 1)
                column_mask = (np.arange(WW) == j + Q - l * T).reshape(1, 1, WW)
                w_masked = np.sum(layer.w[f] * row_mask * column_mask, axis=(1, 2))
                dx[n, :, i, j] += layer.dy[n, f, k, l] * w_masked
    close(layer.X.grad, dx)


@settings
def test_dw_is_a_sum_of_Z_transposed_X_over_output_places_for_each_kernel_offset(setting):
    """dw[:,:,r,s] = sum over (k, l) of Z^T X: the affine layer's dW, with Z = dy at (k, l), N x F, and X the pixels
    of the padded images at (kS + r, lT + s), N x C.
    """
    layer = Layer(setting)
    x, (S, T) = padded(layer.x, layer.padding), layer.stride
    dw = np.zeros(layer.w.shape)
    for r, s in np.ndindex(*layer.w.shape[2:]):
        for k, l in np.ndindex(*layer.out):  # noqa: E741
            Z, X = layer.dy[:, :, k, l], x[:, :, k * S + r, l * T + s]
            dw[:, :, r, s] += Z.T @ X
    close(layer.W.grad, dw)


@settings
def test_dx_is_a_sum_of_Z_W_over_output_places_for_each_kernel_offset(setting):
    """The padded dx at (kS + r, lT + s) collects Z W: the affine layer's dX, with Z = dy at (k, l), N x F, and
    W = w[:,:,r,s], F x C.
    """
    layer = Layer(setting)
    S, T = layer.stride
    dx = np.zeros(padded(layer.x, layer.padding).shape)
    for r, s in np.ndindex(*layer.w.shape[2:]):
        for k, l in np.ndindex(*layer.out):  # noqa: E741
            Z, W = layer.dy[:, :, k, l], layer.w[:, :, r, s]
            dx[:, :, k * S + r, l * T + s] += Z @ W
    close(layer.X.grad, unpadded(dx, layer.padding))


@settings
def test_the_output_has_size_one_plus_H_plus_2P_minus_HH_over_S(setting):
    """H' = 1 + (H + 2P - HH)/S, rounded down where the last stride doesn't fit: as many places as the kernel finds."""
    layer = Layer(setting)
    for axis in (0, 1):
        H, HH = layer.x.shape[2 + axis], layer.w.shape[2 + axis]
        P, S = layer.padding[axis], layer.stride[axis]
        places = [start for start in range(0, H + 2 * P, S) if start + HH <= H + 2 * P]
        assert layer.Y.shape[2 + axis] == 1 + (H + 2 * P - HH) // S == len(places)


@pytest.mark.parametrize(
    ("H", "HH", "P", "S", "expected"),
    [
        (5, 3, 0, 2, 2),
        (5, 3, 0, 1, 3),
        (5, 3, 1, 1, 5),
        (5, 3, 1, 2, 3),
        (32, 5, 2, 1, 32),
        (7, 3, 0, 2, 3),
        (4, 4, 0, 3, 1),
    ],
)
def test_sizes_of_some_convolutions_as_numbers(H, HH, P, S, expected):
    """1 + (H + 2P - HH)/S in numbers; P = (HH - 1)/2 at stride 1 keeps the size."""
    y = nn.conv2d(tg.tensor(np.ones((1, 1, H, H))), tg.tensor(np.ones((1, 1, HH, HH))), stride=S, padding=P)
    assert y.shape == (1, 1, expected, expected)
    assert output_size(H, HH, P, S) == expected


def five_by_five():
    """A 5x5 image, a 3x3 kernel and a bias, as leaves, and their convolution at stride 2."""
    x, w, b = draw(3, (5, 5), (3, 3), (1,))
    X, W, B = tg.tensor(x.reshape(1, 1, 5, 5)), tg.tensor(w.reshape(1, 1, 3, 3)), tg.tensor(b)
    return x, w, b, X, W, B, nn.conv2d(X, W, B, stride=2)


def test_five_by_five_under_three_by_three_at_stride_two_gives_two_by_two():
    """1 + (5 - 3)/2 = 2 along both axes."""
    *_, Y = five_by_five()
    assert Y.shape == (1, 1, 2, 2)


def test_y11_term_by_term():
    """y11 = w11 x11 + w12 x12 + ... + w33 x33 + b, and y12, y21, y22 begin at x13, x31 and x33."""
    x, w, b, *_, Y = five_by_five()
    (x11, x12, x13, x14, x15), (x21, x22, x23, x24, x25), (x31, x32, x33, x34, x35), row4, row5 = x
    (x41, x42, x43, x44, x45), (x51, x52, x53, x54, x55) = row4, row5
    (w11, w12, w13), (w21, w22, w23), (w31, w32, w33) = w
    (b,) = b
    # fmt: off
    y11 = w11*x11 + w12*x12 + w13*x13 + w21*x21 + w22*x22 + w23*x23 + w31*x31 + w32*x32 + w33*x33 + b
    y12 = w11*x13 + w12*x14 + w13*x15 + w21*x23 + w22*x24 + w23*x25 + w31*x33 + w32*x34 + w33*x35 + b
    y21 = w11*x31 + w12*x32 + w13*x33 + w21*x41 + w22*x42 + w23*x43 + w31*x51 + w32*x52 + w33*x53 + b
    y22 = w11*x33 + w12*x34 + w13*x35 + w21*x43 + w22*x44 + w23*x45 + w31*x53 + w32*x54 + w33*x55 + b
    # fmt: on
    close(Y.data, np.array([[[[y11, y12], [y21, y22]]]]))


def test_the_derivatives_of_y11_term_by_term():
    """dy11/dx_ij = w_ij for i, j up to 3, else 0; dy11/dw_ij = x_ij; dy11/db = 1."""
    x, w, _b, X, W, B, Y = five_by_five()
    Y.backward(unit(Y.shape, (0, 0, 0, 0)))
    by_x = np.zeros((5, 5))
    by_x[:3, :3] = w
    close(X.grad[0, 0], by_x)
    close(W.grad[0, 0], np.array([[x[i, j] for j in range(3)] for i in range(3)]))
    close(B.grad, np.ones(1))


def test_the_centre_pixel_x33_takes_part_in_all_four_outputs():
    """dL/dx33 = z11 w33 + z12 w31 + z21 w13 + z22 w11."""
    _x, w, _b, X, _W, _B, Y = five_by_five()
    (z,) = draw(4, (2, 2))
    Y.backward(z.reshape(1, 1, 2, 2))
    (z11, z12), (z21, z22) = z
    (w11, _, w13), _, (w31, _, w33) = w
    close(X.grad[0, 0, 2, 2], z11 * w33 + z12 * w31 + z21 * w13 + z22 * w11)


def test_a_convolution_of_several_channels_is_the_sum_of_theirs():
    """Y[n,f] = sum over c of x[n,c] * w[f,c], plus b[f]: the form in which the appendix takes it up."""
    layer = Layer(SETTINGS["per axis"])
    y = np.zeros(layer.dy.shape)
    for n, f in np.ndindex(N, F):
        channels = [convolved(layer.x[n, c], layer.w[f, c], layer.padding, layer.stride) for c in range(C)]
        y[n, f] = sum(channels) + layer.b[f]
    close(layer.Y.data, y)
