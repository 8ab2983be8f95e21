"""A network of three layers learns to read handwritten digits: ``python -m tapegrad.examples.digits``.

The images are scikit-learn's own, 1,797 scans of 8 x 8 pixels, so nothing is downloaded. Two
convolution layers, each with ReLU and pooling, and a fully-connected layer; stochastic gradient
descent with momentum on two thirds of the images, and the test on the third that was held out.
The end is a picture: the loss, the kernels, who was taken for whom, and the digits it got wrong.

Everything that differentiates is in ``scores`` and in the four lines of ``step``.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad import nn, optim
from tapegrad.examples.common import (
    BLUE,
    FAINT,
    INK,
    RED,
    Array,
    add_number,
    add_seed,
    command_line,
    picture,
    plain_frame,
    progress,
    run,
    save,
)

Pool = Callable[..., Any]

POOLS: dict[str, Pool] = {"max": nn.max_pool2d, "avg": nn.avg_pool2d}
BATCH = 32  # images for each step
RATE = 0.05  # learning rate at the start; it falls to 0 along a line
MOMENTUM = 0.9


# ---------------------------------------------------------------- the digits


class Digits(NamedTuple):
    """Images (n, 1, 8, 8) in float32, and labels (n,), int: to learn from, and to test on."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array


def load_digits(seed: int) -> Digits:
    """The digits, a third of each kind held out; pixels about 0, as the first layer likes them."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        images.reshape(-1, 1, 8, 8).astype(np.float32) / 8, labels, test_size=1 / 3, stratify=labels, random_state=seed
    )
    mean = train.mean()  # Of the training images alone: the test must not leak into what is learned.
    return Digits(train - mean, train_labels, test - mean, test_labels)


def minibatches(rng: np.random.Generator, images: Array, labels: Array) -> Iterator[tuple[Array, Array]]:
    """All images with their labels, ``BATCH`` at a time, in a new random order."""
    order = rng.permutation(len(images))
    for start in range(0, len(images), BATCH):
        chosen = order[start : start + BATCH]
        yield images[chosen], labels[chosen]


# ---------------------------------------------------------------- the network


def initial_parameters(rng: np.random.Generator) -> list[tg.Tensor]:
    """Kernels and biases of two convolutions, weights and biases of the last layer.

    The weights are normal with variance 2 / (inputs of one output), so that the signal keeps its size
    through the layers (He et al. 2015).
    """

    def weights(*shape: int) -> Any:
        scale = math.sqrt(2 / math.prod(shape[1:]))
        return tg.tensor(rng.standard_normal(shape, dtype=np.float32) * scale)

    def biases(n: int) -> Any:
        return tg.tensor(np.zeros(n, np.float32))

    return [weights(16, 1, 3, 3), biases(16), weights(32, 16, 3, 3), biases(32), weights(10, 32 * 3 * 3), biases(10)]


def scores(parameters: Sequence[tg.Tensor], images: Array, pool: Pool) -> Any:
    """The network: images (n, 1, 8, 8) to scores (n, 10); the highest says which digit it is."""
    kernels1, biases1, kernels2, biases2, weights, biases = parameters
    hidden = pool(nn.relu(nn.conv2d(images, kernels1, biases1, padding=1)), 2)  # (n, 16, 4, 4)
    hidden = pool(nn.relu(nn.conv2d(hidden, kernels2, biases2, padding=2)), 2)  # (n, 32, 3, 3)
    return nn.linear(hidden.reshape(len(images), -1), weights, biases)


def step(parameters: Sequence[tg.Tensor], optimizer: optim.SGD, images: Array, labels: Array, pool: Pool) -> float:
    """One step down the gradient of the loss of a minibatch; returns that loss."""
    loss = nn.cross_entropy(scores(parameters, images, pool), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.item())


@tg.no_grad()
def tested(parameters: Sequence[tg.Tensor], digits: Digits, pool: Pool) -> tuple[float, Array]:
    """The mean loss on the held-out images, and what each of them is taken for."""
    given = scores(parameters, digits.test, pool)
    return float(nn.cross_entropy(given, digits.test_labels).item()), np.argmax(given.numpy(), axis=1)


def accuracy(taken: Array, labels: Array) -> float:
    """How many of the images are taken for what they are, in per cent."""
    return 100 * float(np.mean(taken == labels))


class Learned(NamedTuple):
    """What training comes to: the parameters, the losses after each epoch, what each test image is taken for."""

    parameters: list[tg.Tensor]
    train_losses: list[float]
    test_losses: list[float]
    taken: Array


def train(digits: Digits, pool: Pool, epochs: int, seed: int) -> Learned:
    """Learn from the training images for some epochs, and show how it goes in a progress bar."""
    rng = np.random.default_rng(seed)
    parameters = initial_parameters(rng)
    optimizer = optim.SGD(parameters, lr=RATE, momentum=MOMENTUM)
    learned = Learned(parameters, [], [], np.empty(0, int))
    steps = math.ceil(len(digits.train) / BATCH)
    with progress(epochs * steps, "step") as bar:
        for epoch in range(epochs):
            optimizer.lr = RATE * (1 - epoch / epochs)
            losses = []
            for images, labels in minibatches(rng, digits.train, digits.train_labels):
                losses.append(step(parameters, optimizer, images, labels, pool))
                bar.update()
            # The test is only shown: nothing of it takes part in learning, nor in when to stop.
            test_loss, taken = tested(parameters, digits, pool)
            learned = learned._replace(taken=taken)
            learned.train_losses.append(float(np.mean(losses)))
            learned.test_losses.append(test_loss)
            bar.set_description(f"epoch {epoch + 1}/{epochs}")
            correct = accuracy(taken, digits.test_labels)
            bar.set_postfix_str(f"loss {learned.train_losses[-1]:.3f}, test accuracy {correct:.1f} %")
    return learned


# ---------------------------------------------------------------- the picture

COLUMNS, MOST = 8, 40  # wrong digits in a row, and in all


def draw(path: Path, digits: Digits, learned: Learned, title: str) -> None:
    """The loss, the kernels, the confusion matrix, and below them the digits it got wrong, in one picture."""
    wrong = np.flatnonzero(learned.taken != digits.test_labels)
    rows = math.ceil(min(len(wrong), MOST) / COLUMNS)
    above, below = 5.2, 0.8 + 1.6 * rows  # heights, in inches
    figure = picture(15, above + below)
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(above, below)).ravel()
    top.suptitle(title, fontsize=15, color=INK)
    losses, kernels, confusion = top.subplots(1, 3, width_ratios=(1.1, 1, 1.1))
    draw_losses(losses, learned)
    draw_kernels(kernels, learned.parameters[0].numpy())
    draw_confusion(confusion, digits.test_labels, learned.taken)
    draw_mistakes(bottom, rows, digits, learned.taken, wrong)
    save(figure, path)


def draw_losses(axes: Any, learned: Learned) -> None:
    """The mean loss of each epoch, on the images that it learns from and on those held out."""
    epochs = np.arange(1, len(learned.train_losses) + 1)
    axes.semilogy(epochs, learned.train_losses, "o-", color=BLUE, markersize=4, label="training images")
    axes.semilogy(epochs, learned.test_losses, "s-", color=RED, markersize=4, label="test images")
    axes.set(title="Loss", xlabel="epoch", ylabel="mean cross-entropy")
    axes.set_xlim(0.5, len(epochs) + 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    plain_frame(axes)
    axes.legend(frameon=False)


def draw_kernels(axes: Any, kernels: Array) -> None:
    """The kernels (16, 1, 3, 3) of the first layer side by side, on one scale of colours about 0."""
    tiles = np.pad(kernels.reshape(4, 4, 3, 3), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    mosaic = tiles.transpose(0, 2, 1, 3).reshape(16, 16)[:-1, :-1]
    largest = np.abs(kernels).max()
    shown = axes.imshow(mosaic, cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes.set_title("The 16 kernels of the first layer")
    axes.set_axis_off()
    axes.figure.colorbar(shown, ax=axes, shrink=0.72, label="weight")


def draw_confusion(axes: Any, labels: Array, taken: Array) -> None:
    """How often each digit was taken for which; what is off the diagonal is wrong."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, taken), 1)
    axes.imshow(counts, cmap="Blues")
    for (true, guess), count in np.ndenumerate(counts):
        right = true == guess
        color = "white" if count > counts.max() / 2 else FAINT if count == 0 else INK if right else RED
        weight = "bold" if count and not right else "normal"
        axes.text(guess, true, count or "·", ha="center", va="center", color=color, weight=weight, fontsize=10)
    axes.set(title="Confusion matrix", xlabel="taken for", ylabel="true digit", xticks=range(10), yticks=range(10))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_mistakes(figure: Any, rows: int, digits: Digits, taken: Array, wrong: Array) -> None:
    """The test images that were taken for something else, with what they are and what they were taken for."""
    shown = wrong[:MOST]
    first = f"the first {MOST} of " if len(wrong) > MOST else ""
    figure.suptitle(f"Wrong: {first}{len(wrong)} of {len(taken)} test images", fontsize=13, color=INK)
    if rows == 0:
        return
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, i in zip(grid, shown, strict=False):
        axes.imshow(digits.test[i, 0], cmap="gray_r")
        axes.set_title(f"true {digits.test_labels[i]}, taken for {taken[i]}", fontsize=10, color=INK)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(FAINT)


# ---------------------------------------------------------------- the command


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; argparse itself says what is wrong with it, and exits."""
    parser = command_line(
        "digits", "Train a network of three layers on scikit-learn's handwritten digits, and draw what it learned."
    )
    parser.add_argument("--pool", choices=sorted(POOLS), default="max", help="how to pool (default: %(default)s)")
    add_number(parser, "--epochs", 25, 1, 10_000, "times to go through all training images")
    add_seed(parser, "of the split, the first weights and the order")
    return parser.parse_args(given)


def learn(options: argparse.Namespace) -> str:
    """Train and draw; the result is the accuracy on the held-out third."""
    digits = load_digits(options.seed)
    learned = train(digits, POOLS[options.pool], options.epochs, options.seed)
    correct = accuracy(learned.taken, digits.test_labels)
    epochs = f"{options.epochs} epoch{'s' if options.epochs > 1 else ''}"
    title = (
        f"{len(digits.train):,} digits learned in {epochs} with {options.pool}-pooling: test accuracy {correct:.1f} %"
    )
    draw(options.out, digits, learned, title)
    return f"test accuracy {correct:.1f} %"


def main(given: Sequence[str] | None = None) -> int:
    """Train, draw, and print the accuracy on the held-out third; returns the exit code."""
    return run(learn, arguments(given))


if __name__ == "__main__":
    sys.exit(main())
