"""The diffusivity of a steel plate, found from how it warms up: ``python -m tapegrad.examples.heat``.

A plate of 100 mm by 100 mm consists of two steels that run into one another. Through it runs the heat equation

    du/dt = div(a grad u),    a(x, y) from 4.2 mm²/s (stainless steel) to 11.7 mm²/s (carbon steel);

the two have nearly the same heat capacity by volume, so the diffusivity a is all that differs. The plate is
warmed four times, through each of its edges in turn, for 140 s; the other edges are insulated. An infrared
camera takes 20 pictures each time, with noise of 0.1 K. Which steel is where?

The simulation is plain NumPy: finite volumes and 500 explicit steps. The gradient of the misfit comes back
through all of them, while ``tg.checkpoint`` keeps only the temperatures at the 20 pictures; SciPy's L-BFGS-B
does the rest. The pictures themselves are simulated on a grid twice as fine with a quarter of the time
step, so that finding the plate isn't merely the same simulation turned round.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.examples.common import (
    BLUE,
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

SIDE = 100.0  # of the plate, mm
STAINLESS, CARBON = 4.2, 11.7  # diffusivities, mm²/s (Cengel & Ghajar 2015, table A-3)
DURATION, IMAGES = 140.0, 20  # seconds, pictures of the camera in each warming
CELLS, STEPS = 24, 500  # cells along a side, and the steps of time that go with them
POWER = 50e3  # through the heated edge, W/m²
CAPACITY = 3.8e6  # heat capacity by volume, J/m³K
WARMING = POWER / CAPACITY * 1e3  # the same power as a flow of temperature, K mm/s
NOISE = 0.1  # standard deviation of a pixel of the camera, K
# The field is a sum of MODES x MODES cosines, whose weights fall as those of a Gaussian random field of this length.
MODES, LENGTH, CONTRAST = 10, 25.0, 1.0  # -, mm, -
# What the pictures tell of a cosine of amplitude 1, very roughly, as an inverse variance: it only sets the units in
# which L-BFGS-B is given the weights, so that none of them is far more certain than the others.
TOLD = 1e5


# ---------------------------------------------------------------- the plate


def modes(n: int) -> Array:
    """The cosines (n, MODES) at the middles of n cells, each with its standard deviation; in all, the variance is 1."""
    numbers = np.pi * np.arange(MODES) / SIDE
    variances = np.exp(-((LENGTH * numbers) ** 2) / 4)
    places = (np.arange(n) + 0.5) * (SIDE / n)
    shares = np.where(numbers > 0, 0.5, 1.0) * variances  # The mean of cos² is 1/2.
    return np.asarray(np.cos(np.outer(places, numbers)) * np.sqrt(variances / shares.sum()))


def diffusivity(weights: Any, n: int) -> Any:
    """The field (n, n) in mm²/s, rows from below, given its weights (MODES, MODES), each normal with variance 1."""
    across = modes(n)
    share = (1 + np.tanh(CONTRAST * (across @ weights @ across.T))) / 2  # of carbon steel
    return STAINLESS + (CARBON - STAINLESS) * share


def step(u: Any, up: Any, right: Any, warming: Array) -> Any:
    """The temperatures (4, n, n) a step later: what flows into a cell stays there, and nothing leaves at the edges.

    up, right are the conductances of the faces between cells; warming is what the heaters add in a step.
    """
    upward = np.diff(up * np.diff(u, axis=1), axis=1, prepend=0, append=0)
    rightward = np.diff(right * np.diff(u, axis=2), axis=2, prepend=0, append=0)
    return u + upward + rightward + warming


def simulated(field: Any, steps: int) -> list[Any]:
    """The temperatures (4, n, n) above the start, in K, at each of the IMAGES pictures, for each heated edge.

    The faces between two cells conduct by the harmonic mean of theirs, as resistances in a row do (Patankar 1980).
    """
    n = field.shape[0]
    size, time = SIDE / n, DURATION / steps
    up = 2 * time / size**2 / (1 / field[1:] + 1 / field[:-1])
    right = 2 * time / size**2 / (1 / field[:, 1:] + 1 / field[:, :-1])
    warming = np.zeros((4, n, n))
    warming[0, :, 0] = warming[1, 0, :] = warming[2, :, -1] = warming[3, -1, :] = WARMING * time / size

    @tg.checkpoint
    def until_the_next(u: Any, up: Any, right: Any) -> Any:
        for _ in range(steps // IMAGES):
            u = step(u, up, right, warming)
        return u

    images = [np.zeros((4, n, n))]
    for _ in range(IMAGES):
        images.append(until_the_next(images[-1], up, right))
    return images[1:]


def steps_for(n: int) -> int:
    """Steps of time that n x n cells need: with STEPS at CELLS, explicit steps are stable by a fifth to spare."""
    return IMAGES * math.ceil(STEPS / IMAGES * (n / CELLS) ** 2)


def photographed(rng: np.random.Generator, weights: Array, n: int) -> Array:
    """What the camera sees of a plate, (IMAGES, 4, n, n) in K, simulated on a grid twice as fine."""
    fine = np.stack(simulated(diffusivity(weights, 2 * n), 4 * steps_for(n)))
    seen = fine.reshape(IMAGES, 4, n, 2, n, 2).mean(axis=(3, 5))
    return np.asarray(seen + NOISE * rng.standard_normal(seen.shape))


# ---------------------------------------------------------------- finding it


def loss(weights: Any, seen: Array) -> Any:
    """The negative logarithm of the posterior density, but for a constant: misfit by the noise, and the weights."""
    n = seen.shape[-1]
    images = simulated(diffusivity(weights, n), steps_for(n))
    misfit = sum(np.sum((image - s) ** 2) for image, s in zip(images, seen, strict=True))
    return misfit / (2 * NOISE**2) + np.sum(weights**2) / 2


class Found(NamedTuple):
    """The most probable weights (MODES, MODES), and the loss at the start and after each iteration."""

    weights: Array
    losses: list[float]


def find(seen: Array, iterations: int) -> Found:
    """Go down the gradient of the loss with L-BFGS-B, and show how it goes in a progress bar."""
    from scipy.optimize import minimize

    losses: list[float] = []
    value_and_gradient = tg.value_and_grad(loss)
    spread = np.sqrt(np.mean(modes(seen.shape[-1]) ** 2, axis=0))
    units = 1 / np.sqrt(1 + TOLD * np.outer(spread, spread) ** 2)

    def fallen(steps: Array) -> Any:
        value, gradient = value_and_gradient(steps.reshape(units.shape) * units, seen)
        losses[:] = losses or [float(value)]
        return value, (gradient * units).ravel()

    with progress(iterations, "iteration") as bar:

        def note(intermediate_result: Any) -> None:
            losses.append(float(intermediate_result.fun))
            bar.set_postfix_str(f"loss {losses[-1]:,.0f}")
            bar.update()

        options = {"maxiter": iterations, "maxcor": 20}
        answer = minimize(fallen, np.zeros(units.size), jac=True, method="L-BFGS-B", callback=note, options=options)
        bar.total = bar.n  # It may have converged in fewer.
    return Found(answer.x.reshape(units.shape) * units, losses)


def rms(a: Array) -> float:
    """The root of the mean square."""
    return math.sqrt(float(np.mean(a**2)))


# ---------------------------------------------------------------- the picture


def draw(path: Path, weights: Array, seen: Array, found: Found, title: str) -> None:
    """The true field, the one found and the error; a camera's picture, what is left unexplained, and the losses."""
    n = seen.shape[-1]
    true, taken = diffusivity(weights, 4 * n), diffusivity(found.weights, 4 * n)  # Smooth, as the cosines are.
    last = simulated(diffusivity(found.weights, n), steps_for(n))[-1]
    figure = picture(15, 9, title)
    fields, below = figure.subplots(2, 3)
    scale = {"cmap": "viridis", "vmin": STAINLESS, "vmax": CARBON}
    draw_map(fields[0], true, "True diffusivity", "mm²/s", **scale)
    draw_map(fields[1], taken, f"Found from {seen[:, :, 0, 0].size} noisy pictures", "mm²/s", **scale)
    draw_map(fields[2], taken - true, f"Error: {rms(taken - true):.3f} mm²/s rms", "mm²/s", **about_0(taken - true))
    draw_map(below[0], seen[-1, 0], f"A picture: warmed from the left for {DURATION:.0f} s", "K", cmap="inferno")
    rest = seen[-1, 0] - last[0]
    draw_map(below[1], rest, f"What the plate found leaves of it: {rms(rest):.3f} K rms", "K", **about_0(rest))
    draw_losses(below[2], found.losses, seen.size)
    save(figure, path)


def about_0(field: Array) -> dict[str, Any]:
    """A scale of colours about 0."""
    largest = float(np.abs(field).max())
    return {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}


def draw_map(axes: Any, field: Array, title: str, unit: str, **scale: Any) -> None:
    """A field on the plate."""
    shown = axes.imshow(field, origin="lower", extent=(0, SIDE, 0, SIDE), **scale)
    axes.set(title=title, xlabel="x (mm)", ylabel="y (mm)")
    axes.figure.colorbar(shown, ax=axes, shrink=0.85, label=unit)


def draw_losses(axes: Any, losses: Sequence[float], measured: int) -> None:
    """The loss after each iteration, and what the noise alone comes to."""
    axes.semilogy(losses, "o-", color=BLUE, markersize=3.5, linewidth=1.2)
    axes.axhline(measured / 2, color=RED, linestyle="--", linewidth=1)
    axes.text(len(losses) - 1, measured / 2.1, "the noise alone", color=RED, ha="right", va="top", fontsize=9)
    axes.set(title="L-BFGS-B by tg.value_and_grad", xlabel="iteration", ylabel="loss")
    axes.set_ylim(measured / 3.2)
    axes.set_box_aspect(0.95)  # as high as the maps beside it
    plain_frame(axes)


# ---------------------------------------------------------------- the command


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; argparse itself says what is wrong with it, and exits."""
    parser = command_line(
        "heat", "Find the diffusivity of a steel plate from pictures of how it warms up, and draw it."
    )
    add_number(parser, "--cells", CELLS, 8, 64, "cells along a side; the steps of time grow with their square")
    add_number(parser, "--iterations", 40, 1, 10_000, "of L-BFGS-B at most")
    add_seed(parser, "of the plate and the noise")
    return parser.parse_args(given)


def work(options: argparse.Namespace) -> str:
    """Find the plate and draw it; the result is the error of the field, and the misfit beside the noise."""
    rng = np.random.default_rng(options.seed)
    weights = rng.standard_normal((MODES, MODES))
    seen = photographed(rng, weights, options.cells)
    found = find(seen, options.iterations)
    true, taken = (diffusivity(w, options.cells) for w in (weights, found.weights))
    steps = steps_for(options.cells)
    misfit = rms(np.stack(simulated(taken, steps)) - seen)
    title = f"The diffusivity of a steel plate, from gradients through {steps} steps of the heat equation"
    draw(options.out, weights, seen, found, title)
    return f"diffusivity error {rms(taken - true):.3f} mm²/s rms, misfit {misfit:.4f} K with noise of {NOISE} K"


def main(given: Sequence[str] | None = None) -> int:
    """Find, draw, and print the error of what was found; returns the exit code."""
    return run(work, arguments(given))


if __name__ == "__main__":
    sys.exit(main())
