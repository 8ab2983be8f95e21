"""Losses: what a network is told about its errors."""

import math
from typing import Any, NamedTuple

import numpy as np

from tapegrad.cases import DISTINCT, Cases, call
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.nn.activation import softmax
from tapegrad.primitive import constant, defvjp, primitive
from tapegrad.shapes import select

REDUCTIONS = ("mean", "sum", "none")


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared differences of ``input`` and ``target``, of which the mean, the sum, or each.

    input, target : real, of one shape
    reduction : "mean", "sum", or "none" for an array of that shape
    Returns a scalar or an array, dtype of the operands. Raises ShapeError where the shapes differ,
    ArgumentError for another reduction, DTypeError for complex numbers.

    >>> import numpy as np
    >>> mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    np.float64(2.0)

    Gauss 1809.
    """
    _known("mse_loss", reduction)
    if np.shape(input) != np.shape(target):
        raise ShapeError(
            f"mse_loss: input has shape {np.shape(input)} but target {np.shape(target)}; they must be the same"
        )
    difference = np.subtract(input, target)
    if difference.dtype.kind == "c":
        raise DTypeError("mse_loss: complex numbers; give it their real and imaginary parts")
    squares = np.square(difference)
    if reduction == "none":
        return squares
    return np.sum(squares) if reduction == "sum" else np.mean(squares)


# ---------------------------------------------------------------- cross-entropy


@primitive
def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Minus the logarithm of the probability that ``softmax(logits)`` gives to the right class.

    logits : (N, C), or (C,), or (N, C, ...) with the classes in axis 1; float, of any size
    target : integer labels from 0 to C - 1, (N,), or (), or (N, ...)
    weight : (C,), of each class; None for ones
    ignore_index : the label of samples that don't count
    reduction : "mean" (by weight), "sum", or "none" for a loss of each sample, the shape of ``target``
    label_smoothing : from 0 to 1, the part of the target that is spread evenly over all classes
    Returns a scalar or an array, dtype of the logits. The mean of no samples is nan.
    Raises DTypeError for labels that aren't integers and logits that aren't real; ArgumentError for labels
    out of range, another reduction, or a smoothing out of range; ShapeError where shapes don't fit.

    >>> import numpy as np
    >>> logits = np.array([[1000.0, -1000.0], [0.0, 0.0]])
    >>> cross_entropy(logits, np.array([0, 1]), reduction="none")
    array([0.        , 0.69314718])

    Bridle 1990; label smoothing: Szegedy et al. 2016.
    """
    logits = _scores("cross_entropy", logits)
    known = _labelled(logits.shape, logits.dtype, target, weight, ignore_index, reduction, label_smoothing)
    rows = _rows(logits)
    with np.errstate(under="ignore", invalid="ignore"):
        z = rows - np.maximum.reduce(rows, axis=1, keepdims=True, initial=-np.inf)
        logarithm = np.log(np.add.reduce(np.exp(z), axis=1))
        losses = (logarithm - z[np.arange(len(z)), known.labels]) * known.scale
        if label_smoothing:
            losses += (logarithm * np.sum(known.spread) - z @ known.spread) * known.share
    if known.ignored is not None:
        losses[known.ignored] = 0
    if reduction == "none":
        return losses.reshape(np.shape(target))
    return np.add.reduce(losses) if known.counts else losses.dtype.type(np.nan)


@primitive
def cross_entropy_slope(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """The derivative of ``cross_entropy`` (of each sample's own loss, where they aren't reduced) by the logits."""
    known = _labelled(logits.shape, logits.dtype, target, weight, ignore_index, reduction, label_smoothing)
    rows = _rows(logits)
    with np.errstate(under="ignore", invalid="ignore"):
        slope = np.exp(rows - np.maximum.reduce(rows, axis=1, keepdims=True, initial=-np.inf))
        slope *= (known.total / np.add.reduce(slope, axis=1))[:, None]
    if label_smoothing:
        slope -= known.share[:, None] * known.spread
    slope[np.arange(len(slope)), known.labels] -= known.scale
    if known.ignored is not None:
        slope[known.ignored] = 0
    if logits.ndim <= 2:
        return slope.reshape(logits.shape)
    return np.moveaxis(slope.reshape(*np.shape(target), logits.shape[1]), -1, 1)


class _Labelled(NamedTuple):
    """What the labels of M samples say, in numbers: loss = scale (lse - z[label]) + share sum(spread (lse - z))."""

    labels: Any  # (M,), 0 for ignored samples
    scale: Any  # (M,), weight of the label, by the reduction; 0 for ignored samples
    share: Any  # (M,), what the reduction takes of each sample; 0 for ignored ones
    spread: Any  # (C,), the weight of each class in what is spread evenly; None where nothing is
    total: Any  # (M,), sum of all weights on a sample
    ignored: Any  # (M,) bools, or None where there are none
    counts: bool  # whether anything has a weight


def _labelled(
    shape: tuple[int, ...],
    dtype: Any,
    target: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> _Labelled:
    _known("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"cross_entropy: label_smoothing is from 0 to 1; got {label_smoothing!r}")
    classes = shape[_class_axis(shape)]
    labels = _integers("cross_entropy", "target", target, shape[:1] + shape[2:] if len(shape) > 1 else (), shape)
    labels, ignored = _in_range("cross_entropy", labels, classes, ignore_index)
    if weight is not None and np.shape(weight) != (classes,):
        raise ShapeError(f"cross_entropy: weight has shape {np.shape(weight)} but logits {shape} expect {(classes,)}")
    if weight is None and ignored is None and not label_smoothing:  # The common case, in few steps.
        scale = np.full(labels.shape, 1 / max(labels.size, 1) if reduction == "mean" else 1, dtype)
        return _Labelled(labels, scale, scale, None, scale, None, reduction != "mean" or labels.size > 0)
    weights = np.ones(classes, dtype) if weight is None else np.asarray(weight, dtype)
    share = np.ones(labels.shape, dtype)
    if ignored is not None:
        share[ignored] = 0
    scale = share if weight is None else share * weights[labels]
    number = np.add.reduce(scale)
    if reduction == "mean" and number:
        scale = scale / number
        share = scale if weight is None else share / number
    spread = weights * (label_smoothing / max(classes, 1))
    scale = scale * (1 - label_smoothing) if label_smoothing else scale
    total = scale + share * np.add.reduce(spread) if label_smoothing else scale
    return _Labelled(labels, scale, share, spread, total, ignored, reduction != "mean" or bool(number))


@defvjp(
    cross_entropy,
    cases=Cases(
        complex=False,
        analytic=False,
        neutral=False,
        calls=(
            call((3, 4), target=np.array([0, 3, 1])),
            call((3, 4), target=np.array([0, 3, 1], np.uint8), reduction="sum"),
            call((3, 4), target=np.array([2, 2, 0]), reduction="none"),
            call((3, 4), target=np.array([2, -100, 0]), label_smoothing=0.1),
            call((3, 4), target=np.array([2, 1, 0]), weight=np.array([0.5, 2.0, 1.0, 0.0]), ignore_index=1),
            call((3, 4), target=np.array([2, 1, 0]), weight=np.array([0.5, 2.0, 1.0, 3.0]), label_smoothing=0.3),
            call((2, 3, 2, 2), target=np.array([[[0, 1], [2, 0]], [[1, 1], [2, -100]]])),
            call((2, 3, 2), target=np.array([[0, 1], [2, 0]]), reduction="none", label_smoothing=0.2),
            call((4,), target=2),
            call((3, 1), target=np.array([0, -100, 0])),
            call((0, 3), target=np.zeros(0, int), reduction="sum"),
            call((0, 0), target=np.zeros(0, int), reduction="sum", label_smoothing=0.1),
            call((0, 3), target=np.zeros(0, int)),
        ),
        examples=(
            (
                call(np.array([[1000.0, -1000.0], [-1000.0, -900.0]]), target=np.array([0, 0]), reduction="sum"),
                (np.array([[0.0, 0.0], [-1.0, 1.0]]),),
            ),
            (call(np.zeros((1, 2)), target=np.array([1])), (np.array([[0.5, -0.5]]),)),
            (call(np.zeros((2, 2)), target=np.array([1, 0])), (np.array([[0.25, -0.25], [-0.25, 0.25]]),)),
            (call(np.zeros((1, 2)), target=np.array([1]), reduction="sum"), (np.array([[0.5, -0.5]]),)),
            (call(np.zeros((2, 2)), target=np.array([1, -100])), (np.array([[0.5, -0.5], [0.0, 0.0]]),)),
            (call(np.zeros((2, 2)), target=np.array([1, 0]), ignore_index=0), (np.array([[0.5, -0.5], [0.0, 0.0]]),)),
            # By hand: all probabilities are 1/4, and the last sample doesn't count.
            (
                call(np.zeros((3, 4)), target=np.array([2, 1, -100]), label_smoothing=0.2),
                (np.array([[0.1, 0.1, -0.3, 0.1], [0.1, -0.3, 0.1, 0.1], [0, 0, 0, 0]]),),
            ),
            (
                call(
                    np.zeros((3, 4)),
                    target=np.array([2, 1, -100]),
                    weight=np.array([0.5, 2.0, 1.0, 3.0]),
                    label_smoothing=0.2,
                ),
                (
                    np.array([[0.25625, 0.18125, -0.56875, 0.13125], [0.45625, -1.21875, 0.43125, 0.33125], [0] * 4])
                    / 3,
                ),
            ),
            (
                call(np.zeros((2, 2)), target=np.array([1, 0]), weight=np.array([1.0, 3.0])),
                (np.array([[3.0, -3.0], [-1.0, 1.0]]) / 8,),
            ),
            (
                call(np.zeros((2, 2)), target=np.array([1, 0]), weight=np.array([1.0, 3.0]), reduction="sum"),
                (np.array([[3.0, -3.0], [-1.0, 1.0]]) / 2,),
            ),
        ),
    ),
)
def cross_entropy_vjp(
    g: Any,
    _y: Any,
    logits: Any,
    *,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Softmax less the target, as weighted in the loss; its own primitive, so that it is formed in one piece."""
    slope = cross_entropy_slope(logits, target, weight, ignore_index, reduction, label_smoothing)
    return (np.expand_dims(g, _class_axis(logits.shape)) if reduction == "none" else g) * slope


@defvjp(
    cross_entropy_slope,
    cases=Cases(
        complex=False,
        analytic=False,
        calls=(
            call((3, 4), target=np.array([0, 3, 1])),
            call((3, 4), target=np.array([2, -100, 0]), label_smoothing=0.1, reduction="none"),
            call((3, 4), target=np.array([2, 1, 0]), weight=np.array([0.5, 2.0, 1.0, 3.0]), label_smoothing=0.3),
            call((2, 3, 2), target=np.array([[0, 1], [2, 0]]), reduction="sum"),
            call((4,), target=2),
        ),
        # What doesn't count may be missing.
        examples=(
            (
                call(np.array([[0.0, 0.0], [np.nan, 1.0]]), target=np.array([1, -100])),
                (np.array([[0.25, -0.25], [0.0, 0.0]]),),
                np.array([1.0, 0.0]),
            ),
        ),
    ),
)
def cross_entropy_slope_vjp(
    g: Any,
    _y: Any,
    logits: Any,
    *,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """x_bar = total p (g - sum(g p)) with p = softmax(x): what is subtracted from p is constant."""
    axis = _class_axis(logits.shape)
    known = _labelled(logits.shape, logits.dtype, target, weight, ignore_index, reduction, label_smoothing)
    total = np.expand_dims(known.total.reshape(np.shape(target)), axis)
    p = softmax(logits, axis)
    return select(total != 0, total * p * (g - np.sum(g * p, axis=axis, keepdims=True)))


# ---------------------------------------------------------------- hinge


@primitive
def hinge_loss(scores: Any, labels: Any, margin: float = 1.0) -> Any:
    """The multiclass hinge: the mean over samples of sum_{j != y} max(0, s_j - s_y + margin).

    scores : (N, C), real
    labels : (N,), integers from 0 to C - 1
    margin : float, by how much the right class is to lead
    Returns a scalar, dtype of the scores. The derivative at a kink is 0. The mean of no samples is nan.
    Raises DTypeError for labels that aren't integers and scores that aren't real, ArgumentError for labels
    out of range, ShapeError where shapes don't fit.

    >>> import numpy as np
    >>> hinge_loss(np.array([[3.0, 5.0, -1.5]]), np.array([0]))
    np.float64(3.0)

    Weston & Watkins 1999; CS231n, linear classification.
    """
    scores = _scores("hinge_loss", scores)
    excess, _labels = _excess(scores, labels, margin)
    if not len(scores):
        return scores.dtype.type(np.nan)
    return np.add.reduce(excess, axis=None) / len(scores)


@primitive
def hinge_slope(scores: Any, labels: Any, margin: float = 1.0) -> Any:
    """The derivative of ``hinge_loss`` by the scores; it is the same between two kinks."""
    excess, correct = _excess(scores, labels, margin)
    slope = (excess > 0).astype(scores.dtype)
    slope[np.arange(len(slope)), correct] = -np.add.reduce(slope, axis=1)
    slope /= len(slope)
    return slope


constant(hinge_slope, note="the same between two kinks")


def _excess(scores: Any, labels: Any, margin: float) -> tuple[Any, Any]:
    """max(0, s_j - s_y + margin), 0 for the right classes themselves; and the right classes."""
    if scores.ndim != 2:
        raise ShapeError(f"hinge_loss: scores has {scores.ndim} axes but 2 are expected, (N, C); got {scores.shape}")
    correct = _integers("hinge_loss", "labels", labels, scores.shape[:1], scores.shape)
    correct, _ignored = _in_range("hinge_loss", correct, scores.shape[1], None)
    everyone = np.arange(len(correct))
    excess = scores - scores[everyone, correct][:, None]
    excess += margin
    np.maximum(excess, 0, out=excess)
    excess[everyone, correct] = 0
    return excess, correct


@defvjp(
    hinge_loss,
    cases=Cases(
        domain=DISTINCT,
        complex=False,
        analytic=False,
        neutral=False,
        calls=(
            call((3, 4), labels=np.array([0, 3, 1]), margin=0.77),
            call((5, 3), labels=np.array([0, 2, 1, 1, 0], np.int8), margin=0.37),
            call((2, 1), labels=np.array([0, 0])),
        ),
        examples=(
            # On a kink the derivative is 0: s_1 - s_0 + margin = 0.
            (call(np.array([[1.0, 0.0, 2.0]]), labels=np.array([0])), (np.array([[-1.0, 0.0, 1.0]]),)),
            (call(np.array([[1.0, 0.5, 2.0]]), labels=np.array([0])), (np.array([[-2.0, 1.0, 1.0]]),)),
            (call(np.array([[1.0, 0.0, 2.0]]), labels=np.array([0])), (np.array([[-np.inf, 0, np.inf]]),), np.inf),
        ),
        note="derivative 0 at a kink",
    ),
)
def hinge_loss_vjp(g: Any, _y: Any, scores: Any, *, labels: Any, margin: float = 1.0) -> Any:
    """1 / N for each class that violates the margin, and minus their number / N for the right class."""
    slope = hinge_slope(scores, labels, margin)
    return select(slope != 0, g * slope)


# ---------------------------------------------------------------- arguments


def _class_axis(shape: tuple[int, ...]) -> int:
    return 0 if len(shape) == 1 else 1


def _rows(logits: Any) -> Any:
    """Logits (N, C, ...) as rows (M, C)."""
    if logits.ndim > 2:
        logits = np.moveaxis(logits, 1, -1)
    return logits.reshape(math.prod(logits.shape[:-1]), logits.shape[-1])


def _known(name: str, reduction: Any) -> None:
    if reduction not in REDUCTIONS:
        raise ArgumentError(f"{name}: reduction is one of {', '.join(map(repr, REDUCTIONS))}; got {reduction!r}")


def _scores(name: str, x: Any) -> Any:
    """Scores of classes as floats."""
    x = np.asarray(x)
    if x.dtype.kind not in "fiu":
        raise DTypeError(f"{name}: the scores have dtype {x.dtype}; real numbers are expected")
    if not x.ndim:
        raise ShapeError(f"{name}: the scores have no axis of classes; got shape ()")
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _integers(name: str, argument: str, labels: Any, shape: tuple[int, ...], scores: tuple[int, ...]) -> Any:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{name}: {argument} has dtype {labels.dtype}; integer class labels are expected")
    if labels.shape != shape:
        raise ShapeError(f"{name}: {argument} has shape {labels.shape} but scores {scores} expect {shape}")
    return labels.reshape(-1)


def _in_range(name: str, labels: Any, classes: int, ignore_index: int | None) -> tuple[Any, Any]:
    """The labels with 0 for those that are ignored, and which those are: bools, or None if there are none."""
    # Negative labels are large ones when read as unsigned, so that one pass finds all that is wrong.
    largest = np.maximum.reduce(labels.view(labels.dtype.str.replace("i", "u")), initial=0)
    if largest < classes and (ignore_index is None or not 0 <= ignore_index < classes):
        return labels, None
    ignored = None
    if ignore_index is not None:
        found = labels == ignore_index
        if found.any():
            ignored, labels = found, np.where(found, 0, labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        i = int(wrong[0])
        raise ArgumentError(f"{name}: label {labels[i]} (number {i}) is out of range for {classes} classes")
    return labels, ignored
