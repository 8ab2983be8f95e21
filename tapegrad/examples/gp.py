"""Hyperparameters of a Gaussian process, by gradients: ``python -m tapegrad.examples.gp``.

The data are scikit-learn's own: of 442 people with diabetes, ten measurements and how far the disease went on within
a year (Efron, Hastie, Johnstone, Tibshirani 2004). The kernel is a linear one and a squared exponential
one, with a length for each measurement, beside noise: 13 hyperparameters. SciPy's L-BFGS-B takes them to where the
marginal likelihood is largest; that is plain NumPy, and its gradient, through ``np.linalg.cholesky`` and
``np.linalg.solve``, is ``tg.value_and_grad``'s. The same process by scikit-learn's GaussianProcessRegressor,
whose gradients are written by hand, and linear regression stand beside it on a third held out.
(The disease goes on nearly linearly with what was measured: the three predict about equally well.)

Rasmussen & Williams 2006, chapters 2 and 5.
"""

import argparse
import math
import sys
import warnings
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
    progress,
    run,
    save,
)

Hyper = dict[str, Any]  # logarithms: of lengths (10,), of variances (0-d) linear, smooth and noise
# Where each is looked for: from a 30th to 1,000 times the spread of a measurement, and variances from 1e-4 to 100.
BOUNDS = {"lengths": (0.03, 1e3), "linear": (1e-4, 1e2), "smooth": (1e-4, 1e2), "noise": (1e-4, 1e2)}
NAMES = {
    "age": "age",
    "sex": "sex",
    "bmi": "body mass index",
    "bp": "blood pressure",
    "s1": "total cholesterol",
    "s2": "LDL cholesterol",
    "s3": "HDL cholesterol",
    "s4": "cholesterol / HDL",
    "s5": "log triglycerides",
    "s6": "blood sugar",
}


# ---------------------------------------------------------------- the people


class People(NamedTuple):
    """Measurements (n, 10) and progressions (n,), both standardised: to learn from, and to test on."""

    train: Array
    train_progress: Array
    test: Array
    test_progress: Array
    mean: float  # of the progression, in the data's own units, and its standard deviation
    spread: float
    names: Sequence[str]


def load_people(seed: int) -> People:
    """The people, a third held out; everything with mean 0 and variance 1 among those to learn from."""
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    data = load_diabetes(scaled=False)
    train, test, y, y_test = train_test_split(data.data, data.target, test_size=1 / 3, random_state=seed)
    # Of those to learn from alone: the test must not leak into what is learned.
    middle, width, mean, spread = train.mean(axis=0), train.std(axis=0), float(y.mean()), float(y.std())
    return People(
        (train - middle) / width,
        (y - mean) / spread,
        (test - middle) / width,
        (y_test - mean) / spread,
        mean,
        spread,
        [NAMES[name] for name in data.feature_names],
    )


# ---------------------------------------------------------------- the process


def first_guess() -> Hyper:
    """Hyperparameters to start from."""
    return {"lengths": np.full(10, math.log(3.0)), "linear": math.log(0.1), "smooth": 0.0, "noise": math.log(0.5)}


def kernel(hyper: Hyper, a: Array, b: Array) -> Any:
    """The covariances (n, m) of the process at n and m people, without the noise."""
    lengths = np.exp(hyper["lengths"])
    a_scaled, b_scaled = a / lengths, b / lengths
    squares = np.sum(a_scaled**2, axis=1)[:, None] + np.sum(b_scaled**2, axis=1) - 2 * a_scaled @ b_scaled.T
    return np.exp(hyper["linear"]) * (a @ b.T) + np.exp(hyper["smooth"] - squares / 2)


def noisy(hyper: Hyper, a: Array) -> Any:
    """The covariances (n, n) of what is measured of n people."""
    return kernel(hyper, a, a) + np.exp(hyper["noise"]) * np.eye(len(a))


def loss(hyper: Hyper, x: Array, y: Array) -> Any:
    """The negative logarithm of the marginal likelihood: y^T K^-1 y / 2 + log det K / 2 + n log(2 pi) / 2."""
    root = np.linalg.cholesky(noisy(hyper, x))
    white = np.linalg.solve(root, y)
    return white @ white / 2 + np.sum(np.log(np.diagonal(root))) + len(y) / 2 * math.log(2 * math.pi)


class Learned(NamedTuple):
    """The hyperparameters, and the loss at the start and after each iteration."""

    hyper: Hyper
    losses: list[float]


def learn(people: People, iterations: int) -> Learned:
    """Take the hyperparameters to the largest marginal likelihood with L-BFGS-B, and show it in a progress bar."""
    from scipy.optimize import minimize

    start, rebuild = tg.flatten(first_guess())
    data = (people.train, people.train_progress)

    def flat_loss(vector: Any) -> Any:
        return loss(rebuild(vector), *data)

    bounds, _ = tg.flatten(
        {name: np.log(np.broadcast_to(BOUNDS[name], (*np.shape(at), 2))) for name, at in first_guess().items()}
    )
    losses = [float(flat_loss(start))]
    with progress(iterations, "iteration") as bar:

        def note(intermediate_result: Any) -> None:
            losses.append(float(intermediate_result.fun))
            bar.set_postfix_str(f"log marginal likelihood {-losses[-1]:.3f}")
            bar.update()

        answer = minimize(
            tg.value_and_grad(flat_loss),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds.reshape(-1, 2),
            callback=note,
            options={"maxiter": iterations, "ftol": 1e-12, "gtol": 1e-5},
        )
        bar.total = bar.n  # It may have converged in fewer.
    return Learned(rebuild(answer.x), losses)


class Predicted(NamedTuple):
    """Means (n,) and standard deviations (n,) of the progression, standardised, noise included."""

    mean: Array
    deviation: Array


def predict(hyper: Hyper, people: People) -> Predicted:
    """What the process says of the people who were held out."""
    across = kernel(hyper, people.test, people.train)
    covariance = noisy(hyper, people.train)
    mean = across @ np.linalg.solve(covariance, people.train_progress)
    known = np.sum(across * np.linalg.solve(covariance, across.T).T, axis=1)
    return Predicted(mean, np.sqrt(np.diagonal(noisy(hyper, people.test)) - known))


# ---------------------------------------------------------------- the baselines


class Reference(NamedTuple):
    """What scikit-learn makes of the same process: its lengths (10,), and its log marginal likelihood."""

    predicted: Predicted
    lengths: Array
    log_likelihood: float


def reference(people: People) -> Reference:
    """The same process, by scikit-learn, within the same bounds."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    start = {name: np.exp(at) for name, at in first_guess().items()}
    process = GaussianProcessRegressor(
        ConstantKernel(start["linear"], BOUNDS["linear"]) * DotProduct(0.0, "fixed")
        + ConstantKernel(start["smooth"], BOUNDS["smooth"]) * RBF(start["lengths"], BOUNDS["lengths"])
        + WhiteKernel(start["noise"], BOUNDS["noise"]),
        alpha=0.0,
    )
    with warnings.catch_warnings():
        # It warns of a length at its bound: a measurement that tells nothing ends there, and may.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(people.train, people.train_progress)
    mean, deviation = process.predict(people.test, return_std=True)
    lengths = process.kernel_.k1.k2.k2.length_scale
    return Reference(Predicted(mean, deviation), lengths, float(process.log_marginal_likelihood_value_))


def linear_regression(people: People) -> Predicted:
    """Least squares, with the deviation of its residuals, for the degrees of freedom that they have."""
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(people.train, people.train_progress)
    rest = people.train_progress - model.predict(people.train)
    freedom = len(rest) - people.train.shape[1] - 1
    return Predicted(model.predict(people.test), np.full(len(people.test), math.sqrt(rest @ rest / freedom)))


class Score(NamedTuple):
    """Of the held-out people: the root mean square error, and the mean log density, in the data's own units."""

    error: float
    log_likelihood: float


def score(predicted: Predicted, people: People) -> Score:
    """How well the progression of the held-out people was predicted."""
    rest = people.test_progress - predicted.mean
    error = math.sqrt(float(np.mean(rest**2))) * people.spread
    deviation = predicted.deviation
    densities = -((rest / deviation) ** 2) / 2 - np.log(deviation * people.spread) - math.log(2 * math.pi) / 2
    return Score(error, float(np.mean(densities)))


# ---------------------------------------------------------------- the picture


def draw(
    path: Path, people: People, learned: Learned, theirs: Reference, scores: dict[str, tuple[Predicted, Score]]
) -> None:
    """Predictions beside the truth, the relevance of each measurement, the ascent, the calibration, and the scores."""
    figure = picture(15, 9, f"A Gaussian process of {len(people.train)} people with diabetes")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.5))
    predictions, table = left.subplots(2, 1, height_ratios=(1, 0.32))
    ours = predict(learned.hyper, people)
    draw_predictions(predictions, ours, people)
    draw_scores(table, scores)
    upper, lower = right.subfigures(2, 1, height_ratios=(1, 1))
    draw_relevance(upper.subplots(), people.names, np.exp(-learned.hyper["lengths"]), 1 / theirs.lengths)
    ascent, calibration = lower.subplots(1, 2)
    draw_ascent(ascent, learned.losses, theirs.log_likelihood)
    draw_calibration(calibration, ours, people)
    save(figure, path)


def draw_predictions(axes: Any, predicted: Predicted, people: People) -> None:
    """What each held-out person's progression was, beside what was predicted, with two deviations to each side."""
    true, mean = (people.mean + people.spread * y for y in (people.test_progress, predicted.mean))
    order = np.argsort(mean)
    width = 2 * people.spread * predicted.deviation
    axes.fill_between(mean[order], (mean - width)[order], (mean + width)[order], color=BLUE, alpha=0.15, linewidth=0)
    outside = np.abs(true - mean) > width
    for chosen, color, name in ((~outside, BLUE, "within 2 deviations"), (outside, RED, "outside")):
        axes.plot(mean[chosen], true[chosen], "o", color=color, markersize=4, label=f"{name}: {np.sum(chosen)}")
    ends = [float(mean.min()), float(mean.max())]
    axes.plot(ends, ends, "--", color=INK, linewidth=1)
    axes.set(
        title="Progression of the people held out",
        xlabel="predicted (the data's score)",
        ylabel="measured after a year",
    )
    axes.legend(frameon=False)
    plain_frame(axes)


def draw_scores(axes: Any, scores: dict[str, tuple[Predicted, Score]]) -> None:
    """A table of the errors and the log likelihoods."""
    axes.set_axis_off()
    rows = [[name, f"{s.error:.2f}", f"{s.log_likelihood:.4f}"] for name, (_, s) in scores.items()]
    heads = ["held-out people", "rms error", "log likelihood, mean"]
    table = axes.table(rows, colLabels=heads, loc="center", cellLoc="center", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(11)
    table.scale(1, 1.7)


def draw_relevance(axes: Any, names: Sequence[str], ours: Array, theirs: Array) -> None:
    """The inverse length of each measurement: how fast the progression changes with it."""
    order = np.argsort(ours)
    rows = np.arange(len(order))
    axes.barh(rows, ours[order], color=BLUE, alpha=0.75, label="tg.value_and_grad and SciPy")
    axes.plot(theirs[order], rows, "o", color=INK, markersize=5, label="scikit-learn")
    axes.set_yticks(rows, [names[i] for i in order])
    axes.set(title="Relevance of the measurements", xlabel="1 / length (per standard deviation)")
    axes.legend(frameon=False, loc="lower right")
    plain_frame(axes)


def draw_ascent(axes: Any, losses: Sequence[float], theirs: float) -> None:
    """The log marginal likelihood after each iteration, and where scikit-learn ended."""
    axes.plot([-loss for loss in losses], "o-", color=BLUE, markersize=3.5, linewidth=1.2)
    axes.axhline(theirs, color=INK, linestyle="--", linewidth=1, label="scikit-learn's")
    axes.set(title="Log marginal likelihood", xlabel="iteration of L-BFGS-B")
    axes.legend(frameon=False, loc="center right")
    plain_frame(axes)


def draw_calibration(axes: Any, predicted: Predicted, people: People) -> None:
    """How many of the people held out lie in the interval that is to hold so many."""
    from scipy.stats import norm

    away = np.abs(people.test_progress - predicted.mean) / predicted.deviation
    promised = np.linspace(0, 1, 101)
    held = np.mean(away[:, None] <= norm.ppf((1 + promised) / 2), axis=0)
    axes.plot(100 * promised, 100 * held, color=BLUE, linewidth=1.6)
    axes.plot([0, 100], [0, 100], "--", color=FAINT, linewidth=1)
    axes.set(title="Calibration", xlabel="an interval to hold (%)", ylabel="holds of the people held out (%)")
    axes.set_aspect("equal")
    plain_frame(axes)


# ---------------------------------------------------------------- the command


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; argparse itself says what is wrong with it, and exits."""
    parser = command_line(
        "gp", "Learn the hyperparameters of a Gaussian process on scikit-learn's diabetes data, and draw it."
    )
    add_number(parser, "--iterations", 100, 1, 10_000, "of L-BFGS-B at most")
    add_seed(parser, "of the split")
    return parser.parse_args(given)


def work(options: argparse.Namespace) -> str:
    """Learn and draw; the result is the held-out log likelihood and error, and those of both baselines."""
    people = load_people(options.seed)
    learned = learn(people, options.iterations)
    theirs = reference(people)
    given = {
        "Gaussian process": predict(learned.hyper, people),
        "scikit-learn's process": theirs.predicted,
        "linear regression": linear_regression(people),
    }
    scores = {name: (predicted, score(predicted, people)) for name, predicted in given.items()}
    draw(options.out, people, learned, theirs, scores)
    for name, (_, (error, density)) in list(scores.items())[1:]:
        print(f"{name}: held-out log likelihood {density:.4f}, rms error {error:.2f}")
    _, (error, density) = scores["Gaussian process"]
    return f"held-out log likelihood {density:.4f}, rms error {error:.2f}"


def main(given: Sequence[str] | None = None) -> int:
    """Learn, draw, and print the scores on the held-out third; returns the exit code."""
    return run(work, arguments(given))


if __name__ == "__main__":
    sys.exit(main())
