"""Convolution as spraying: forward, dx and dW by adding whole scaled kernels to a canvas; in 1-D and 2-D.

Reading a convolution backwards, a pixel is not something that outputs look at but something that *sprays*
itself onto the outputs: pixel x_i under a kernel w adds w_r x_i to y_(i-r), so what it sprays is the
kernel turned round. In the gradient it turns round once more: dL/dy_k adds dL/dy_k w_r to dL/dx_(k+r),
which sprays the kernel as it is. A stride leaves out outputs, and putting zeros where they would have been
(dilating dL/dy) gives the same gradient as the convolution with stride 1.
"""

import numpy as np
import pytest
from formulas import close, convolved, dilated, draw, output_shape, output_size, padded, rotated, unpadded

import tapegrad as tg
from tapegrad import nn


def spray(values, kernel):
    """A canvas on which every value has added itself times the kernel; value (0, 0) with the kernel's corner at (0, 0).

    The canvas is as large as that needs: the sum of both sizes, less one.
    """
    canvas = np.zeros(tuple(n + k - 1 for n, k in zip(values.shape, kernel.shape, strict=True)))
    for place in np.ndindex(*values.shape):
        under = tuple(slice(p, p + k) for p, k in zip(place, kernel.shape, strict=True))
        canvas[under] += values[place] * kernel
    return canvas


# ---------------------------------------------------------------- 1-D

# length, kernel, padding, stride. In "leftover" the last pixel is under no kernel.
SIGNALS = {
    "plain": (7, 3, 0, 1),
    "even kernel": (6, 2, 0, 1),
    "padded": (6, 3, 1, 1),
    "padded by the whole kernel less one": (5, 4, 3, 1),
    "stride 2": (7, 3, 0, 2),
    "padded stride 3": (8, 5, 2, 3),
    "stride beyond the kernel": (9, 2, 0, 3),
    "leftover": (8, 3, 0, 2),
}
signals = pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS.keys())


class Line:
    """A recorded 1-D convolution (a conv2d of height 1) with a random dy pulled back; plain arrays beside it."""

    def __init__(self, signal, seed=0):
        length, kernel, self.padding, self.stride = signal
        x, self.w, self.dy = draw(seed, (length,), (kernel,), (output_size(*signal),))
        self.x = np.pad(x, self.padding)
        X, W = tg.tensor(x.reshape(1, 1, 1, -1)), tg.tensor(self.w.reshape(1, 1, 1, -1))
        Y = nn.conv2d(X, W, stride=(1, self.stride), padding=(0, self.padding))
        Y.backward(self.dy.reshape(Y.shape))
        self.y, self.X_grad, self.W_grad = Y.data[0, 0, 0], X.grad[0, 0, 0], W.grad[0, 0, 0]
        # S - 1 zeros between neighbours: where a stride of 1 would have had its other outputs.
        self.dilated_dy = np.zeros((len(self.dy) - 1) * self.stride + 1)
        self.dilated_dy[:: self.stride] = self.dy

    def onto_the_signal(self, padded_dx):
        """dx out of that of the padded signal; what no kernel reached, at its end, is 0."""
        reached = np.pad(padded_dx, (0, len(self.x) - len(padded_dx)))
        return reached[self.padding : len(self.x) - self.padding]


def correlated(x, w):
    """y_k = sum over r of w_r x_(k+r), at every k where the kernel fits."""
    return np.array([sum(w[r] * x[k + r] for r in range(len(w))) for k in range(len(x) - len(w) + 1)])


@signals
def test_1d_forward_is_spraying_every_pixel_with_the_rotated_kernel(signal):
    """y = the canvas of x_i sprayed with w turned round, without its first and last HH - 1; every S-th of it."""
    line = Line(signal)
    canvas = spray(line.x, line.w[::-1])
    at_stride_one = canvas[len(line.w) - 1 : len(line.x)]
    close(line.y, at_stride_one[:: line.stride])


@signals
def test_1d_dx_is_spraying_dy_with_the_kernel(signal):
    """dx = the canvas of dL/dy_k (dilated where there is a stride) sprayed with w as it is; padding taken off."""
    line = Line(signal)
    close(line.X_grad, line.onto_the_signal(spray(line.dilated_dy, line.w)))


@signals
def test_1d_dx_is_the_full_correlation_of_dy_with_the_rotated_kernel(signal):
    """dx = dL/dy (dilated), with HH - 1 zeros at both ends, under the kernel turned round at stride 1."""
    line = Line(signal)
    full = correlated(np.pad(line.dilated_dy, len(line.w) - 1), line.w[::-1])
    close(line.X_grad, line.onto_the_signal(full))


@signals
def test_1d_dx_with_stride_is_spraying_dy_at_every_S_th_place(signal):
    """The same without zeros: dL/dy_k sprays the kernel onto the places from kS on."""
    line = Line(signal)
    canvas = np.zeros(len(line.x))
    for k, dy_k in enumerate(line.dy):
        canvas[k * line.stride : k * line.stride + len(line.w)] += dy_k * line.w
    close(line.X_grad, line.onto_the_signal(canvas))


@signals
def test_1d_dW_is_the_image_under_dy_as_the_kernel(signal):
    """dw_r = sum over k of dL/dy_k x_(kS+r): the image convolved with dL/dy (dilated)."""
    line = Line(signal)
    close(line.W_grad, correlated(line.x, line.dilated_dy)[: len(line.w)])


@signals
def test_1d_forward_with_the_image_taken_as_the_filter(signal):
    """y = the same canvas, on which every weight of the rotated kernel sprays the image."""
    line = Line(signal)
    canvas = spray(line.w[::-1], line.x)
    close(line.y, canvas[len(line.w) - 1 : len(line.x)][:: line.stride])


@signals
def test_1d_dW_is_spraying_dy_with_the_image_taken_as_the_filter(signal):
    """dw = a stretch of the canvas of dL/dy (dilated, turned round) sprayed with the image."""
    line = Line(signal)
    canvas = spray(line.dilated_dy[::-1], line.x)
    start = len(line.dilated_dy) - 1
    close(line.W_grad, canvas[start : start + len(line.w)])


@signals
def test_1d_dW_is_the_full_correlation_of_dy_with_the_image_taken_as_the_filter(signal):
    """dw, turned round, is a stretch of the full correlation of dL/dy (dilated) with the image as its kernel."""
    line = Line(signal)
    full = correlated(np.pad(line.dilated_dy, len(line.x) - 1), line.x)
    close(line.W_grad[::-1], full[len(line.x) - len(line.w) : len(line.x)])


def test_1d_spraying_written_out():
    """x of 3 and w of 2: x2 sprays w2 x2 on y1 and w1 x2 on y2; dL/dx2 = w2 dL/dy1 + w1 dL/dy2."""
    line = Line((3, 2, 0, 1))
    (x1, x2, x3), (w1, w2), (dy1, dy2) = line.x, line.w, line.dy
    close(line.y, np.array([w1 * x1 + w2 * x2, w1 * x2 + w2 * x3]))
    close(line.X_grad, np.array([w1 * dy1, w2 * dy1 + w1 * dy2, w2 * dy2]))
    close(line.W_grad, np.array([x1 * dy1 + x2 * dy2, x2 * dy1 + x3 * dy2]))


# ---------------------------------------------------------------- 2-D, with images, channels and kernels

# (H, W), (HH, WW), padding, stride
IMAGES = {
    "plain": ((5, 4), (3, 2), (0, 0), (1, 1)),
    "padded": ((4, 5), (3, 3), (1, 1), (1, 1)),
    "stride 2": ((5, 7), (3, 3), (0, 0), (2, 2)),
    "padded stride per axis": ((6, 5), (2, 3), (1, 2), (2, 3)),
    "stride beyond the kernel": ((5, 7), (2, 1), (0, 0), (3, 3)),
    "leftover": ((6, 6), (3, 3), (0, 1), (2, 2)),
}
images = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
N, C, F = 2, 2, 3


class Plane:
    """A recorded conv2d with a random dy pulled back; x is the padded image, dilated_dy has its zeros."""

    def __init__(self, image, seed=0):
        size, kernel, self.padding, self.stride = image
        self.out = output_shape(size, kernel, self.padding, self.stride)
        x, self.w, self.dy = draw(seed, (N, C, *size), (F, C, *kernel), (N, F, *self.out))
        self.x = padded(x, self.padding)
        self.X, self.W = tg.tensor(x), tg.tensor(self.w)
        self.Y = nn.conv2d(self.X, self.W, stride=self.stride, padding=self.padding)
        self.Y.backward(self.dy)
        self.dilated_dy = dilated(self.dy, self.stride)
        # The first and the last outputs on a canvas: where the kernel lies fully on the padded image.
        h, w = kernel
        self.whole_kernel = np.s_[h - 1 : self.x.shape[2], w - 1 : self.x.shape[3]]
        self.every_stride = np.s_[:: self.stride[0], :: self.stride[1]]

    def forward(self, channel):
        """The y made of channel(x[n,c], w[f,c]) for each pair, summed over c."""
        y = np.zeros(self.dy.shape)
        for n, f, c in np.ndindex(N, F, C):
            y[n, f] += channel(self.x[n, c], self.w[f, c])
        return y

    def dx(self, channel):
        """The dx made of channel(dilated dy[n,f], w[f,c]), summed over f; what no kernel reached is 0."""
        dx = np.zeros(self.x.shape)
        for n, f, c in np.ndindex(N, F, C):
            reached = channel(self.dilated_dy[n, f], self.w[f, c])
            h, w = reached.shape
            dx[n, c, :h, :w] += reached
        return unpadded(dx, self.padding)

    def dw(self, channel):
        """The dw made of channel(dilated dy[n,f], x[n,c]), summed over n."""
        dw = np.zeros(self.w.shape)
        for n, f, c in np.ndindex(N, F, C):
            dw[f, c] += channel(self.dilated_dy[n, f], self.x[n, c])
        return dw


def full_correlation(a, kernel):
    """The kernel over ``a`` with as many zeros around it as let them overlap in one place only."""
    h, w = kernel.shape
    return convolved(a, kernel, padding=(h - 1, w - 1))


@images
def test_2d_forward_is_spraying_every_pixel_with_the_kernel_rotated_by_180_degrees(image):
    """y = the canvas of x_ij sprayed with the rotated w, without the borders; every S-th row and T-th column of it."""
    plane = Plane(image)
    y = plane.forward(lambda x, w: spray(x, rotated(w))[plane.whole_kernel][plane.every_stride])
    close(plane.Y.data, y)


@images
def test_2d_dx_is_spraying_dy_with_the_kernel(image):
    """dx = the canvas of dL/dy (dilated where there is a stride) sprayed with w as it is; padding taken off."""
    plane = Plane(image)
    close(plane.X.grad, plane.dx(spray))


@images
def test_2d_dx_is_the_full_correlation_of_dy_with_the_rotated_kernel(image):
    """dx = dL/dy (dilated), with HH - 1 and WW - 1 zeros around, under the rotated kernel at stride 1."""
    plane = Plane(image)
    close(plane.X.grad, plane.dx(lambda dy, w: full_correlation(dy, rotated(w))))


@images
def test_2d_dx_with_stride_is_spraying_dy_at_every_S_th_place(image):
    """The same without zeros: dL/dy_kl sprays the kernel onto the places from (kS, lT) on."""
    plane = Plane(image)
    (S, T), (h, w) = plane.stride, plane.w.shape[2:]
    dx = np.zeros(plane.x.shape)
    for n, f, k, l in np.ndindex(*plane.dy.shape):  # noqa: E741
        dx[n, :, k * S : k * S + h, l * T : l * T + w] += plane.dy[n, f, k, l] * plane.w[f]
    close(plane.X.grad, unpadded(dx, plane.padding))


@images
def test_2d_dW_is_the_image_under_dy_as_the_kernel(image):
    """dw[f,c] = sum over n of x[n,c] convolved with dL/dy[n,f] (dilated)."""
    plane = Plane(image)
    h, w = plane.w.shape[2:]
    close(plane.W.grad, plane.dw(lambda dy, x: convolved(x, dy)[:h, :w]))


@images
def test_2d_forward_with_the_image_taken_as_the_filter(image):
    """y = the same canvas, on which every weight of the rotated kernel sprays the image."""
    plane = Plane(image)
    y = plane.forward(lambda x, w: spray(rotated(w), x)[plane.whole_kernel][plane.every_stride])
    close(plane.Y.data, y)


@images
def test_2d_dW_is_spraying_dy_with_the_image_taken_as_the_filter(image):
    """dw = a window of the canvas of dL/dy (dilated, rotated) sprayed with the image."""
    plane = Plane(image)
    (h, w), (top, left) = plane.w.shape[2:], (n - 1 for n in plane.dilated_dy.shape[2:])
    close(plane.W.grad, plane.dw(lambda dy, x: spray(rotated(dy), x)[top : top + h, left : left + w]))


@images
def test_2d_dW_is_the_full_correlation_of_dy_with_the_image_taken_as_the_filter(image):
    """dw, rotated, is a window of the full correlation of dL/dy (dilated) with the image as its kernel."""
    plane = Plane(image)
    (h, w), (H, W) = plane.w.shape[2:], plane.x.shape[2:]
    dw = plane.dw(lambda dy, x: full_correlation(dy, x)[H - h : H, W - w : W])
    # The sum over n was of rotated kernels throughout, so it is turned round once, at the end.
    close(rotated(plane.W.grad), dw)


@images
def test_2d_the_convolution_at_stride_one_of_the_dilated_dy_has_the_same_gradients(image):
    """A stride only leaves out outputs: with zeros for their dL/dy, stride 1 gives the same dx and dW."""
    plane = Plane(image)
    (H, W), (S, T) = plane.dilated_dy.shape[2:], plane.stride
    X, w = tg.tensor(unpadded(plane.x, plane.padding)), tg.tensor(plane.w)
    Y = nn.conv2d(X, w, padding=plane.padding)
    close(Y.data[:, :, ::S, ::T], plane.Y.data)
    dy = np.zeros(Y.shape)
    dy[:, :, :H, :W] = plane.dilated_dy
    Y.backward(dy)
    close(plane.X.grad, X.grad)
    close(plane.W.grad, w.grad)
