"""Logistic regression by Newton's method, without the Hessian: ``python -m tapegrad.examples.logistic``.

The data are scikit-learn's own: 30 measured features of the cell nuclei of 569 breast tumours, and
whether each is malignant or benign (Wolberg, Street, Mangasarian 1995). The loss is plain NumPy. SciPy's
Newton method is given the loss with ``tg.value_and_grad`` and products of its Hessian with a
vector by ``tg.hvp``: it solves each Newton step by conjugate gradients, and no matrix is ever made.
The answer is compared with that of scikit-learn's LogisticRegression, whose loss this is.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
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
    run,
    save,
)

# ---------------------------------------------------------------- the tumours


class Tumours(NamedTuple):
    """Features (n, 30), standardised, and labels (n,), 1 malignant and -1 benign: to learn from, and to test on."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array
    names: Sequence[str]


def load_tumours(seed: int) -> Tumours:
    """The tumours, a third of each kind held out; features with mean 0 and variance 1."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    labels = 1.0 - 2.0 * data.target  # scikit-learn's 0 is malignant.
    train, test, train_labels, test_labels = train_test_split(
        data.data, labels, test_size=1 / 3, stratify=labels, random_state=seed
    )
    # Of the training tumours alone: the test must not leak into what is learned.
    mean, spread = train.mean(axis=0), train.std(axis=0)
    return Tumours(
        (train - mean) / spread, train_labels, (test - mean) / spread, test_labels, [str(n) for n in data.feature_names]
    )


# ---------------------------------------------------------------- the regression


def scores(parameters: Any, features: Array) -> Any:
    """The logarithm of the odds (n,) that a tumour is malignant; parameters are 30 weights and the intercept."""
    return features @ parameters[:-1] + parameters[-1]


def loss(parameters: Any, features: Array, labels: Array, strength: float) -> Any:
    """The negative log likelihood and the penalty, as scikit-learn has them: strength is its C."""
    weights = parameters[:-1]
    return 0.5 * weights @ weights + strength * np.sum(np.logaddexp(0, -labels * scores(parameters, features)))


class Fitted(NamedTuple):
    """Parameters (31,), and the norm of the gradient at the start and after each iteration."""

    parameters: Array
    norms: list[float]


def fit(tumours: Tumours, strength: float, method: str) -> Fitted:
    """The parameters of least loss by a method of ``scipy.optimize.minimize``."""
    from scipy.optimize import minimize

    data = (tumours.train, tumours.train_labels, strength)
    start = np.zeros(tumours.train.shape[1] + 1)
    gradient = tg.grad(loss)
    norms = [float(np.linalg.norm(gradient(start, *data)))]

    def product(parameters: Array, direction: Array, *data: Any) -> Any:
        """The Hessian times a direction; what isn't differentiated is closed over."""
        return tg.hvp(lambda p: loss(p, *data), (parameters,), (direction,))[0]

    def note(parameters: Array) -> None:
        norms.append(float(np.linalg.norm(gradient(parameters, *data))))

    # The penalty bends the loss at least as a parabola with second derivative 1: where the gradient is 1e-6,
    # no weight is further than 1e-6 from the best. That gradient alone is to end the search, not a small change (ftol).
    tight = {"gtol": 1e-6, "maxiter": 1000} | ({"ftol": 0} if method == "L-BFGS-B" else {})
    answer = minimize(
        tg.value_and_grad(loss),
        start,
        data,
        method,
        jac=True,
        hessp=product if method == "trust-ncg" else None,
        callback=note,
        options=tight,
    )
    return Fitted(answer.x, norms)


def reference(tumours: Tumours, strength: float) -> Array:
    """The parameters (31,) as scikit-learn finds them, by a Newton method of its own."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=500)
    model.fit(tumours.train, tumours.train_labels)
    return np.append(model.coef_[0], model.intercept_)


def accuracy(parameters: Array, tumours: Tumours) -> float:
    """How many of the held-out tumours are taken for what they are, in per cent."""
    return 100 * float(np.mean(np.sign(scores(parameters, tumours.test)) == tumours.test_labels))


# ---------------------------------------------------------------- the picture


def draw(path: Path, tumours: Tumours, newton: Fitted, other: Fitted, theirs: Array, title: str) -> None:
    """The weights beside scikit-learn's, how both methods converge, and the held-out tumours' scores."""
    figure = picture(15, 8.4, title)
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    draw_weights(left.subplots(1, 2, sharey=True, width_ratios=(2.2, 1)), tumours.names, newton.parameters, theirs)
    convergence, separation = right.subplots(2, 1)
    draw_convergence(convergence, newton, other)
    draw_scores(separation, scores(newton.parameters, tumours.test), tumours.test_labels)
    save(figure, path)


def draw_weights(pair: Any, names: Sequence[str], ours: Array, theirs: Array) -> None:
    """Each feature's weight as found here and by scikit-learn, and by how much the two differ."""
    weights, differences = pair
    order = np.argsort(ours[:-1])
    rows = np.arange(len(order))
    weights.barh(rows, ours[order], color=np.where(ours[order] > 0, RED, BLUE), alpha=0.75, label="tg.hvp and SciPy")
    weights.plot(theirs[order], rows, "o", color=INK, markersize=4, label="scikit-learn")
    weights.set_yticks(rows, [names[i] for i in order], fontsize=9)
    weights.set(title="Weights of the standardised features", xlabel="weight (log odds of malignant)")
    weights.set_ylim(-0.8, len(rows) - 0.2)
    weights.legend(frameon=False, loc="lower right")
    apart = np.maximum(np.abs(ours - theirs)[order], 1e-13)  # A logarithmic axis has no zero.
    differences.semilogx(apart, rows, "o", color=INK, markersize=4)
    differences.set(title="|difference|", xlabel="of the two weights", xlim=(5e-14, 1e-4))
    differences.axvline(1e-6, color=FAINT, linestyle="--", linewidth=1)
    differences.text(1e-6, len(rows) - 0.4, " 1e-6", color=FAINT, fontsize=9, va="top")
    differences.tick_params(left=False)
    for axes in pair:
        plain_frame(axes)


def draw_convergence(axes: Any, newton: Fitted, other: Fitted) -> None:
    """The norm of the gradient after each iteration, with second derivatives and without."""
    for fitted, style, color, name in (
        (newton, "o-", RED, "Newton and conjugate gradients (tg.hvp)"),
        (other, ".-", BLUE, "L-BFGS-B (gradients only)"),
    ):
        axes.semilogy(fitted.norms, style, color=color, markersize=5, linewidth=1.2, label=name)
    axes.set(title="Convergence", xlabel="iteration", ylabel="norm of the gradient")
    axes.legend(frameon=False)
    plain_frame(axes)


def draw_scores(axes: Any, given: Array, labels: Array) -> None:
    """How the scores of the held-out tumours lie, of either kind."""
    limit = float(np.abs(given).max()) * 1.02
    bins = np.linspace(-limit, limit, 41)
    for label, color, name in ((-1, BLUE, "benign"), (1, RED, "malignant")):
        axes.hist(given[labels == label], bins, color=color, alpha=0.65, label=f"{name} ({np.sum(labels == label)})")
    axes.axvline(0, color=FAINT, linestyle="--", linewidth=1)
    axes.set(title="Held-out tumours", xlabel="score (log odds of malignant)", ylabel="tumours")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    plain_frame(axes)


# ---------------------------------------------------------------- the command


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; argparse itself says what is wrong with it, and exits."""
    parser = command_line(
        "logistic", "Fit logistic regression to scikit-learn's breast tumours by Newton's method, and compare."
    )
    add_number(parser, "--strength", 1.0, 1e-4, 1e4, "the weight of the data against the penalty, scikit-learn's C")
    add_seed(parser, "of the split")
    return parser.parse_args(given)


def work(options: argparse.Namespace) -> str:
    """Fit and draw; the result is how far scikit-learn's parameters are, and the accuracy on the held-out third."""
    tumours = load_tumours(options.seed)
    newton, other = (fit(tumours, options.strength, method) for method in ("trust-ncg", "L-BFGS-B"))
    theirs = reference(tumours, options.strength)
    correct = accuracy(newton.parameters, tumours)
    apart = np.abs(newton.parameters - theirs).max()
    iterations = len(newton.norms) - 1
    title = (
        f"Logistic regression of {len(tumours.train)} breast tumours in {iterations} Newton iterations: "
        f"held-out accuracy {correct:.1f} %"
    )
    draw(options.out, tumours, newton, other, theirs, title)
    return f"coefficients within {apart:.0e} of scikit-learn's, test accuracy {correct:.1f} %"


def main(given: Sequence[str] | None = None) -> int:
    """Fit, draw, and print how far scikit-learn's answer is and the accuracy; returns the exit code."""
    return run(work, arguments(given))


if __name__ == "__main__":
    sys.exit(main())
