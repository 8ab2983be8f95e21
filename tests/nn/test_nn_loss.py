"""Losses against loops over their definition, far out, and at their kinks; what they refuse."""

import itertools
import math

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.nn import cross_entropy, hinge_loss, mse_loss, softmax

RNG = np.random.default_rng(0)


def gradient(f, x):
    a = tg.tensor(x)
    f(a).backward()
    return a.grad


# ---------------------------------------------------------------- cross-entropy


def in_loops(logits, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """The definition, sample by sample and class by class; logits (N, C)."""
    classes = logits.shape[1]
    weight = np.ones(classes) if weight is None else weight
    losses, counted = [], 0.0
    for row, label in zip(logits, target, strict=True):
        if label == ignore_index:
            losses.append(0.0)
            continue
        log_p = [v - math.log(sum(math.exp(u) for u in row)) for v in row]
        spread = sum(-weight[c] * log_p[c] for c in range(classes)) / classes
        losses.append((1 - label_smoothing) * -weight[label] * log_p[label] + label_smoothing * spread)
        counted += weight[label]
    return {"none": np.array(losses), "sum": sum(losses), "mean": sum(losses) / counted}[reduction]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, np.array([0.5, 2.0, 0.0, 1.5])])
@pytest.mark.parametrize("ignore_index", [-100, 1])
def test_cross_entropy_is_the_loops(reduction, label_smoothing, weight, ignore_index):
    logits, target = RNG.standard_normal((6, 4)), np.array([0, 1, 3, 2, 1, 0])
    parameters = {
        "weight": weight, "ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing
    }  # fmt: skip
    expected = in_loops(logits, target, **parameters)
    np.testing.assert_allclose(cross_entropy(logits, target, **parameters), expected, rtol=1e-13)
    recorded = cross_entropy(tg.tensor(logits), target, **parameters)
    np.testing.assert_allclose(recorded.numpy(), expected, rtol=1e-13)


def test_its_gradient_is_softmax_less_the_target():
    logits, target = RNG.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    expected = (softmax(logits, 1) - np.eye(3)[target]) / 5
    np.testing.assert_allclose(gradient(lambda x: cross_entropy(x, target), logits), expected, rtol=1e-13, atol=1e-16)


def test_its_hessian_is_that_of_the_log_partition_function():
    logits, u = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 3))
    x = tg.tensor(logits)
    cross_entropy(x, np.array([0, 2])).backward(create_graph=True)
    first, x.grad = x.grad, None
    (first * u).sum().backward()
    p = softmax(logits, 1)
    expected = [(np.diag(q) - np.outer(q, q)) @ v / 2 for q, v in zip(p, u, strict=True)]
    np.testing.assert_allclose(x.grad, expected, rtol=1e-12, atol=1e-16)


def test_it_is_exact_at_logits_of_a_thousand():
    logits = np.array([[1000.0, -1000.0], [-1000.0, 1000.0], [1000.0, 1000.0]])
    target = np.array([0, 0, 1])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(cross_entropy(logits, target, reduction="none"), [0, 2000, math.log(2)])
        g = gradient(lambda x: cross_entropy(x, target, reduction="sum"), logits)
    np.testing.assert_array_equal(g, [[0, 0], [-1, 1], [0.5, -0.5]])


def test_a_class_that_is_ruled_out_has_no_gradient():
    logits = np.array([[0.0, -np.inf, 0.0]])
    assert cross_entropy(logits, np.array([0])) == math.log(2)
    np.testing.assert_array_equal(gradient(lambda x: cross_entropy(x, np.array([0])), logits), [[-0.5, 0, 0.5]])
    assert cross_entropy(logits, np.array([1])) == np.inf


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_classes_stand_in_axis_1_of_more_axes(reduction):
    logits, target = RNG.standard_normal((2, 3, 4, 5)), RNG.integers(0, 3, (2, 4, 5))
    rows, labels = np.moveaxis(logits, 1, -1).reshape(-1, 3), target.reshape(-1)
    expected = in_loops(rows, labels, reduction=reduction, label_smoothing=0.1)
    present = cross_entropy(logits, target, reduction=reduction, label_smoothing=0.1)
    np.testing.assert_allclose(present, np.reshape(expected, present.shape), rtol=1e-13)
    assert present.shape == (target.shape if reduction == "none" else ())


def test_one_sample_needs_no_axis_of_samples():
    logits = RNG.standard_normal(4)
    np.testing.assert_allclose(cross_entropy(logits, 2), in_loops(logits[None], [2]), rtol=1e-14)
    np.testing.assert_allclose(
        gradient(lambda x: cross_entropy(x, 2), logits), softmax(logits, 0) - np.eye(4)[2], rtol=1e-13
    )


def test_ignored_samples_count_nowhere_even_if_they_are_nan():
    logits = RNG.standard_normal((3, 4))
    spoiled = logits.copy()
    spoiled[1] = np.nan
    target = np.array([0, -100, 2])
    assert cross_entropy(spoiled, target) == cross_entropy(logits[[0, 2]], target[[0, 2]])
    g = gradient(lambda x: cross_entropy(x, target), spoiled)
    np.testing.assert_array_equal(g[1], np.zeros(4))
    assert np.isfinite(g).all()


def test_the_mean_of_no_samples_is_nan_and_their_sum_zero():
    assert np.isnan(cross_entropy(np.zeros((2, 3)), np.array([-100, -100])))
    assert np.isnan(cross_entropy(np.zeros((0, 3)), np.zeros(0, int)))
    assert cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="sum") == 0


@pytest.mark.parametrize(
    "labels", [[0, 2], (0, 2), np.array([0, 2], np.uint8), np.array([0, 2], ">i4"), tg.tensor([0, 2])]
)
def test_labels_may_be_any_integers(labels):
    logits = RNG.standard_normal((2, 3))
    assert cross_entropy(logits, np.array([0, 2])) == cross_entropy(tg.tensor(logits), labels).item()


@pytest.mark.parametrize("f", [cross_entropy, hinge_loss])
def test_float32_is_kept(f):
    x = tg.tensor(RNG.standard_normal((3, 4)), dtype=np.float32)
    loss = f(x, np.array([0, 1, 2]))
    assert loss.dtype == np.float32
    loss.backward()
    assert x.grad.dtype == np.float32


def test_float32_is_kept_with_all_options():
    x = tg.tensor(RNG.standard_normal((3, 4)), dtype=np.float32)
    loss = cross_entropy(x, np.array([0, 1, 2]), np.ones(4), label_smoothing=0.1, reduction="none")
    assert loss.dtype == np.float32
    loss.sum().backward()
    assert x.grad.dtype == np.float32


Z = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("logits", "target", "parameters", "error", "message"),
    [
        (Z, [0, 3], {}, ArgumentError, "cross_entropy: label 3 (number 1) is out of range for 3 classes"),
        (Z, [-1, 0], {}, ArgumentError, "cross_entropy: label -1 (number 0) is out of range for 3 classes"),
        (Z, [-1, 5], {"ignore_index": -1}, ArgumentError,
         "cross_entropy: label 5 (number 1) is out of range for 3 classes"),
        (Z, [0.0, 1.0], {}, DTypeError,
         "cross_entropy: target has dtype float64; integer class labels are expected"),
        (Z, [True, False], {}, DTypeError, "cross_entropy: target has dtype bool; integer class labels are expected"),
        (Z, [0, 1, 2], {}, ShapeError, "cross_entropy: target has shape (3,) but scores (2, 3) expect (2,)"),
        (Z[0], [0], {}, ShapeError, "cross_entropy: target has shape (1,) but scores (3,) expect ()"),
        (np.array(1.0), 0, {}, ShapeError, "cross_entropy: the scores have no axis of classes; got shape ()"),
        (Z, [0, 1], {"weight": np.ones(2)}, ShapeError,
         "cross_entropy: weight has shape (2,) but logits (2, 3) expect (3,)"),
        (Z, [0, 1], {"reduction": "avg"}, ArgumentError,
         "cross_entropy: reduction is one of 'mean', 'sum', 'none'; got 'avg'"),
        (Z, [0, 1], {"label_smoothing": 1.5}, ArgumentError,
         "cross_entropy: label_smoothing is from 0 to 1; got 1.5"),
        (Z + 1j, [0, 1], {}, DTypeError,
         "cross_entropy: the scores have dtype complex128; real numbers are expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_cross_entropy_is_refused(logits, target, parameters, error, message):
    for operand in (logits, tg.tensor(logits)):
        with pytest.raises(error) as caught:
            cross_entropy(operand, np.array(target), **parameters)
        assert str(caught.value) == message


# ---------------------------------------------------------------- hinge


def test_hinge_loss_is_the_loops():
    scores, labels = RNG.standard_normal((5, 4)), np.array([0, 3, 1, 2, 0])
    loss, slope = 0.0, np.zeros((5, 4))
    for i, j in itertools.product(range(5), range(4)):
        excess = scores[i, j] - scores[i, labels[i]] + 0.7
        if j != labels[i] and excess > 0:
            loss += excess / 5
            slope[i, j] += 1 / 5
            slope[i, labels[i]] -= 1 / 5
    np.testing.assert_allclose(hinge_loss(scores, labels, 0.7), loss, rtol=1e-14)
    np.testing.assert_allclose(gradient(lambda s: hinge_loss(s, labels, 0.7), scores), slope, rtol=1e-14)


def test_hinge_loss_has_derivative_zero_at_its_kinks_and_no_second_derivative():
    scores = np.array([[1.0, 0.0, 1.0]])
    x = tg.tensor(scores)
    hinge_loss(x, np.array([0])).backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), [[-1, 0, 1]])
    assert not x.grad.requires_grad


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (Z, [0, 3], ArgumentError, "hinge_loss: label 3 (number 1) is out of range for 3 classes"),
        (Z, [-100, 0], ArgumentError, "hinge_loss: label -100 (number 0) is out of range for 3 classes"),
        (Z, [0.5, 1], DTypeError, "hinge_loss: labels has dtype float64; integer class labels are expected"),
        (Z, [[0, 1]], ShapeError, "hinge_loss: labels has shape (1, 2) but scores (2, 3) expect (2,)"),
        (Z[0], [0], ShapeError, "hinge_loss: scores has 1 axes but 2 are expected, (N, C); got (3,)"),
        (Z + 1j, [0, 1], DTypeError, "hinge_loss: the scores have dtype complex128; real numbers are expected"),
    ],
)
def test_what_does_not_fit_hinge_loss_is_refused(scores, labels, error, message):
    for operand in (scores, tg.tensor(scores)):
        with pytest.raises(error) as caught:
            hinge_loss(operand, np.array(labels))
        assert str(caught.value) == message


# ---------------------------------------------------------------- squares


def test_mse_loss_is_the_mean_of_squares_and_its_gradient_twice_the_difference():
    a, b = RNG.standard_normal((2, 3, 4))
    np.testing.assert_allclose(mse_loss(a, b), np.sum((a - b) ** 2) / 12, rtol=1e-14)
    np.testing.assert_allclose(mse_loss(a, b, "sum"), np.sum((a - b) ** 2), rtol=1e-14)
    np.testing.assert_array_equal(mse_loss(a, b, reduction="none"), (a - b) ** 2)
    np.testing.assert_allclose(gradient(lambda x: mse_loss(x, b), a), 2 * (a - b) / 12, rtol=1e-14)
    np.testing.assert_allclose(gradient(lambda x: mse_loss(a, x), b), 2 * (b - a) / 12, rtol=1e-14)


def test_mse_loss_refuses_shapes_that_would_broadcast():
    with pytest.raises(ShapeError) as caught:
        mse_loss(tg.tensor([1.0, 2.0]), np.zeros((2, 1)))
    assert str(caught.value) == "mse_loss: input has shape (2,) but target (2, 1); they must be the same"


def test_mse_loss_refuses_other_reductions_and_complex_numbers():
    with pytest.raises(ArgumentError, match="mse_loss: reduction is one of 'mean', 'sum', 'none'; got None"):
        mse_loss(Z, Z, None)
    with pytest.raises(DTypeError, match="mse_loss: complex numbers"):
        mse_loss(tg.tensor([1j]), np.zeros(1))
