"""Section 3.1: the whole 3-layer network, every gradient by explicit chained Jacobians against backward().

    Z1 = X * K1 + b1,   A1 = activation(Z1),   P1 = pool(A1)
    Z2 = P1 * K2 + b2,  A2 = activation(Z2),   P2 = pool(A2)
    y = vec(P2)^T W + b,    L = cross-entropy of softmax(y) against the label

* is the convolution of appendix A with padding and stride by axis, several channels summed; sizes follow
the floor formula. vec stacks the columns of each channel, channel after channel.

**Layout.** The chain rule is in Jacobians: that of a loss is a row, dL/d vec K of shape (1, number of
entries of K), and a row times the Jacobian of what comes before is the next row. A gradient has the layout of
what it belongs to: ∇K has K's shape, so that K := K - alpha ∇K can be written; it is the Jacobian
transposed and un-stacked, ∇K = unvec((dL/d vec K)^T). ``backward()`` gives gradients.

Padding: the note's max-pool pads with zeros, ours with minus infinity. After ReLU or the sigmoid nothing is
negative, so the values agree; where ReLU's zeros tie with padded zeros, the pixel has the slope 0, whoever wins.
"""

import numpy as np
import pytest
from formulas import (
    average_pool_jacobian,
    block_diagonal,
    close,
    convolved,
    draw,
    image_jacobian,
    kernel_jacobian,
    max_pool_jacobian,
    output_shape,
    padded,
    unvec,
    vec,
    windows,
)

import tapegrad as tg
from tapegrad import nn

IMAGE, CHANNELS, CLASSES = (7, 9), (2, 2, 3), 4
# kernel, padding, stride, each (rows, columns)
CONVOLUTIONS = [((3, 2), (1, 0), (1, 2)), ((2, 2), (0, 1), (2, 1))]
POOLS = [((3, 2), (1, 1), (2, 1)), ((2, 2), (0, 1), (1, 2))]
NAMES = ("K1", "b1", "K2", "b2", "W", "b", "X")

variants = pytest.mark.parametrize(
    ("activation", "pool"), [("relu", "max"), ("relu", "average"), ("sigmoid", "max"), ("sigmoid", "average")]
)


def sizes():
    """Of Z1, P1, Z2, P2, by 1 + floor((H + 2P - HH)/S)."""
    out, size = [], IMAGE
    for convolution, pool in zip(CONVOLUTIONS, POOLS, strict=True):
        for kernel, padding, stride in (convolution, pool):
            size = output_shape(size, kernel, padding, stride)
            out.append(size)
    return out


def draw_network(seed, images):
    """The arrays of the network by name, the images X (images, channels, rows, columns), and their labels."""
    features = CHANNELS[2] * sizes()[-1][0] * sizes()[-1][1]
    kernels = [kernel for kernel, _padding, _stride in CONVOLUTIONS]
    arrays = draw(
        seed,
        (CHANNELS[1], CHANNELS[0], *kernels[0]),
        (CHANNELS[1],),
        (CHANNELS[2], CHANNELS[1], *kernels[1]),
        (CHANNELS[2],),
        (features, CLASSES),
        (CLASSES,),
        (images, CHANNELS[0], *IMAGE),
    )
    return dict(zip(NAMES, arrays, strict=True)), np.random.default_rng(seed).integers(0, CLASSES, images)


# ---------------------------------------------------------------- in tapegrad


def recorded(leaves, labels, activation, pool):
    """The loss of the network on tensors, and every layer on the way."""
    layers, h = {}, leaves["X"]
    for i, ((_kernel, padding, stride), pooling) in enumerate(zip(CONVOLUTIONS, POOLS, strict=True), 1):
        z = nn.conv2d(h, leaves[f"K{i}"], leaves[f"b{i}"], stride=stride, padding=padding)
        a = nn.relu(z) if activation == "relu" else 1 / (1 + np.exp(-z))
        size, pads, strides = pooling
        h = nn.max_pool2d(a, size, strides, pads) if pool == "max" else nn.avg_pool2d(a, size, strides, pads)
        layers |= {f"Z{i}": z, f"A{i}": a, f"P{i}": h}
    features = np.reshape(np.swapaxes(h, -1, -2), (h.shape[0], -1))  # vec of each image
    layers["y"] = features @ leaves["W"] + leaves["b"]
    layers["L"] = nn.cross_entropy(layers["y"], labels)
    return layers


# ---------------------------------------------------------------- by hand


def diagonal(blocks):
    """The blocks down the diagonal, zeros elsewhere."""
    out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)))
    top = left = 0
    for block in blocks:
        out[top : top + block.shape[0], left : left + block.shape[1]] = block
        top, left = top + block.shape[0], left + block.shape[1]
    return out


def pooled_by_hand(a, pool, kernel, padding, stride):
    """A pooled by the note's definition, with zeros for padding."""
    out = np.zeros((a.shape[0], *output_shape(a.shape, kernel, padding, stride)))
    filled = padded(a, padding)
    for p, q, top, left in windows(a.shape[1:], kernel, padding, stride):
        block = filled[:, top : top + kernel[0], left : left + kernel[1]]
        out[:, p, q] = block.max(axis=(1, 2)) if pool == "max" else block.mean(axis=(1, 2))
    return out


class ByHand:
    """The network on one image in plain NumPy: the forward, and each Jacobian of one layer by the one before."""

    def __init__(self, arrays, image, label, activation, pool):
        self.arrays, self.label = arrays, label
        self.layers, self.jacobians = {}, {}
        h = image
        for i, (convolution, pooling) in enumerate(zip(CONVOLUTIONS, POOLS, strict=True), 1):
            h = self.convolution_layer(i, h, convolution, pooling, activation, pool)
        self.y = vec(h) @ arrays["W"] + arrays["b"]
        self.probabilities = np.exp(self.y) / np.sum(np.exp(self.y))
        self.loss = -np.log(self.probabilities[label])

    def convolution_layer(self, i, h, convolution, pooling, activation, pool):
        """Layer i on h: its Z, A and P, with dZ/dK, dZ/db, dZ/dh, dA/dZ and dP/dA."""
        (kernel, padding, stride), K, b = convolution, self.arrays[f"K{i}"], self.arrays[f"b{i}"]
        outs, ins = K.shape[:2]
        Z = np.stack([sum(convolved(h[c], K[o, c], padding, stride) for c in range(ins)) + b[o] for o in range(outs)])
        if activation == "relu":
            A, slope = np.where(Z > 0, Z, 0), np.where(Z > 0, 1.0, 0.0)
        else:
            A = 1 / (1 + np.exp(-Z))
            slope = A * (1 - A)
        P = pooled_by_hand(A, pool, *pooling)
        size, pads, strides = pooling
        if pool == "max":
            dP_dA = diagonal([max_pool_jacobian(channel, size, pads, strides) for channel in A])
        else:
            dP_dA = block_diagonal(average_pool_jacobian(A.shape[1:], size, pads, strides), outs)
        # Z_o = sum over c of h_c * K_oc, plus b_o: kernels of another o take no part in it.
        of_kernels = np.hstack([kernel_jacobian(h[c], kernel, padding, stride) for c in range(ins)])
        self.layers |= {f"Z{i}": Z, f"A{i}": A, f"P{i}": P}
        self.jacobians |= {
            f"dZ{i}/dK": block_diagonal(of_kernels, outs),
            f"dZ{i}/db": block_diagonal(np.ones((Z[0].size, 1)), outs),
            f"dZ{i}/dh": np.block(
                [[image_jacobian(h.shape[1:], K[o, c], padding, stride) for c in range(ins)] for o in range(outs)]
            ),
            f"dA{i}/dZ": np.diag(vec(slope)),
            f"dP{i}/dA": dP_dA,
        }
        return P

    def rows(self):
        """dL/d vec of everything, as rows (1, number of entries), from the loss back to the image."""
        J = self.jacobians
        dL_dy = (self.probabilities - np.eye(CLASSES)[self.label]).reshape(1, CLASSES)
        dL_dP2 = dL_dy @ self.arrays["W"].T
        dL_dZ2 = dL_dP2 @ J["dP2/dA"] @ J["dA2/dZ"]
        dL_dP1 = dL_dZ2 @ J["dZ2/dh"]
        dL_dZ1 = dL_dP1 @ J["dP1/dA"] @ J["dA1/dZ"]
        return {
            "K1": dL_dZ1 @ J["dZ1/dK"],
            "b1": dL_dZ1 @ J["dZ1/db"],
            "K2": dL_dZ2 @ J["dZ2/dK"],
            "b2": dL_dZ2 @ J["dZ2/db"],
            "W": dL_dy @ block_diagonal(vec(self.layers["P2"]).reshape(1, -1), CLASSES),
            "b": dL_dy @ np.eye(CLASSES),
            "X": dL_dZ1 @ J["dZ1/dh"],
        }


def gradient(row, shape):
    """∇K = unvec((dL/d vec K)^T): the row of a Jacobian in the layout of what it belongs to."""
    column = row.T[:, 0]
    return column if len(shape) == 1 else unvec(column, shape)


def prepared(activation, pool, seed=0):
    """One image: the arrays, its label, the leaves, the recorded layers, and the network by hand."""
    arrays, labels = draw_network(seed, images=1)
    leaves = {name: tg.tensor(array) for name, array in arrays.items()}
    layers = recorded(leaves, labels, activation, pool)
    return leaves, layers, ByHand(arrays, arrays["X"][0], labels[0], activation, pool)


# ---------------------------------------------------------------- the tests


def test_every_size_follows_the_floor_formula():
    """1 + floor((H + 2P - HH)/S) by axis: (7, 9) -> Z1 (7, 4) -> P1 (4, 5) -> Z2 (2, 6) -> P2 (1, 4), by hand."""
    assert sizes() == [(7, 4), (4, 5), (2, 6), (1, 4)]
    _leaves, layers, _by_hand = prepared("relu", "max")
    assert [layers[name].shape[2:] for name in ("Z1", "P1", "Z2", "P2")] == sizes()
    assert [layers[name].shape[1] for name in ("Z1", "P1", "Z2", "P2")] == [2, 2, 3, 3]


@variants
def test_the_forward_run_layer_by_layer(activation, pool):
    """Z = h * K + b, A = activation(Z), P = pool(A), twice; y = vec(P2)^T W + b; L = -log softmax(y) of the label."""
    _leaves, layers, by_hand = prepared(activation, pool)
    for name, value in by_hand.layers.items():
        close(layers[name].data[0], value)
    close(layers["y"].data[0], by_hand.y)
    close(layers["L"].data, by_hand.loss)


@pytest.mark.parametrize("name", NAMES)
@variants
def test_each_gradient_is_the_chain_of_jacobians(activation, pool, name):
    """For instance dL/dK1 = dL/dy dy/dP2 dP2/dA2 dA2/dZ2 dZ2/dP1 dP1/dA1 dA1/dZ1 dZ1/dK1, matrices all."""
    leaves, layers, by_hand = prepared(activation, pool)
    layers["L"].backward()
    assert np.any(leaves[name].grad != 0)
    close(leaves[name].grad, gradient(by_hand.rows()[name], leaves[name].shape))


@variants
def test_the_jacobian_is_a_row_and_the_gradient_has_the_shape_of_what_it_belongs_to(activation, pool):
    """dL/d vec K has shape (1, size of K), ∇K has K's shape, and ∇K = unvec((dL/d vec K)^T)."""
    leaves, layers, by_hand = prepared(activation, pool)
    layers["L"].backward()
    for name, row in by_hand.rows().items():
        leaf = leaves[name]
        assert row.shape == (1, leaf.size)
        assert leaf.grad.shape == leaf.shape
        column = leaf.grad if leaf.ndim == 1 else vec(leaf.grad)
        close(column.reshape(-1, 1), row.T)


@variants
def test_the_gradients_of_a_batch_are_the_means_of_those_of_its_images(activation, pool):
    """L = 1/N sum over n of L_n, so ∇K = 1/N sum over n of ∇K_n; the gradient of image n is ∇X_n / N."""
    arrays, labels = draw_network(1, images=3)
    leaves = {name: tg.tensor(array) for name, array in arrays.items()}
    recorded(leaves, labels, activation, pool)["L"].backward()
    chains = [
        ByHand(arrays, image, label, activation, pool).rows() for image, label in zip(arrays["X"], labels, strict=True)
    ]
    for name in NAMES[:-1]:
        close(leaves[name].grad, gradient(sum(rows[name] for rows in chains) / 3, leaves[name].shape))
    close(leaves["X"].grad, np.stack([gradient(rows["X"], arrays["X"].shape[1:]) / 3 for rows in chains]))


@pytest.mark.parametrize("moved", [("K1",), ("K2",), ("W",), NAMES[:-1]], ids=["K1", "K2", "W", "all"])
@variants
def test_the_step_K_minus_alpha_gradient_lowers_the_loss(activation, pool, moved):
    """K := K - alpha ∇K, for one K alone and for every parameter at once, with alpha = 0.01."""
    alpha = 0.01
    arrays, labels = draw_network(2, images=3)
    leaves = {name: tg.tensor(array) for name, array in arrays.items()}
    before = recorded(leaves, labels, activation, pool)["L"]
    before.backward()
    with tg.no_grad():
        for name in moved:
            leaves[name] -= alpha * leaves[name].grad
            close(leaves[name].data, arrays[name] - alpha * leaves[name].grad)
    after = recorded(leaves, labels, activation, pool)["L"]
    assert after.item() < before.item()
