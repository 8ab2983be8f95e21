"""The examples, run as a user runs them, and what they find held against mathematics and other programs."""

import datetime
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import sklearn.model_selection  # noqa: F401 - their import changes warning filters, which no test may
from matplotlib.image import imread

import tapegrad as tg
from tapegrad.examples import digits, gp, heat, logistic, orbit

NUMBER = r"(-?\d+(?:\.\d+)?(?:e-\d+)?)"
LAST_LINE = re.compile(f"test accuracy {NUMBER} %")
# Each example in a short form: its options, its last line, and what its progress bar tells.
SHORT = {
    "digits": (["--epochs", "2", "--seed", "1"], LAST_LINE, "accuracy"),
    "gp": (["--iterations", "8"], re.compile(f"held-out log likelihood {NUMBER}, rms error {NUMBER}"), "likelihood"),
    "heat": (
        ["--cells", "8", "--iterations", "20"],
        re.compile(f"diffusivity error {NUMBER} mm²/s rms, misfit {NUMBER} K with noise of 0.1 K"),
        "loss",
    ),
    "logistic": (
        ["--seed", "1"],
        re.compile(f"coefficients within {NUMBER} of scikit-learn's, test accuracy {NUMBER} %"),
        "",
    ),
    "orbit": (
        ["--stretches", "12"],
        re.compile(f"speed changed by {NUMBER} km/s, {NUMBER} km from Mars by DOP853, energy balanced to {NUMBER}"),
        "km from Mars",
    ),
}
OPTIONS = {
    "digits": ("--pool", "--epochs", "--seed"),
    "gp": ("--iterations", "--seed"),
    "heat": ("--cells", "--iterations", "--seed"),
    "logistic": ("--strength", "--seed"),
    "orbit": ("--departure", "--days", "--stretches", "--iterations"),
}

# Runs an example, its first argument, in an interpreter that finds none of the packages named in the second.
WITHOUT = """
import importlib, sys

class Absent:
    names = sys.argv[2].split(",")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.exit(importlib.import_module(f"tapegrad.examples.{sys.argv[1]}").main([]))
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command of a fresh interpreter, whose warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def assert_is_a_picture(path: Path) -> None:
    pixels = imread(path)
    height, width, channels = pixels.shape
    assert 1000 < width < 3000
    assert 500 < height < 3000
    assert channels in (3, 4)
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 100  # Drawn on, not blank.


# -------------------------------- what holds for each of them


@pytest.fixture(params=sorted(SHORT))
def name(request) -> str:
    return request.param


def test_the_command_ends_with_the_result_and_leaves_a_picture(name, tmp_path):
    given, last_line, told = SHORT[name]
    done = run("-m", f"tapegrad.examples.{name}", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert last_line.fullmatch(done.stdout.splitlines()[-1]), done.stdout
    assert told in done.stderr  # by the progress bar
    assert_is_a_picture(tmp_path / f"{name}.png")


def test_help_names_every_option(name, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"tapegrad.examples.{name}").main(["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    for option in (*OPTIONS[name], "--out", "--help"):
        assert option in told


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("digits", ["--pool", "median"], "median"),
        ("digits", ["--epochs", "0"], "from 1 to"),
        ("digits", ["--epochs", "2.5"], "whole number"),
        ("digits", ["--seed", "-1"], "from 0 to"),
        ("digits", ["--seed", "4294967296"], "from 0 to"),
        ("digits", ["--out", "digits.doc"], ".png"),
        ("digits", ["--out", "no/such/folder/digits.png"], "no file can be written there"),
        ("digits", ["--colour"], "--colour"),
        ("gp", ["--iterations", "0"], "from 1 to"),
        ("heat", ["--cells", "7"], "from 8 to"),
        ("logistic", ["--strength", "0"], "from 0.0001 to"),
        ("logistic", ["--strength", "nan"], "from 0.0001 to"),
        ("logistic", ["--strength", "strong"], "a number is expected"),
        ("orbit", ["--departure", "tomorrow"], "2026-10-01"),
        ("orbit", ["--departure", "1799-12-31"], "from 1800 to 2050"),
        ("orbit", ["--days", "99"], "from 100"),
    ],
)
def test_a_bad_value_is_an_error_of_the_command_line(name, given, told, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"tapegrad.examples.{name}").main(given)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "absent", "named"),
    [
        ("digits", "matplotlib", "matplotlib"),
        ("digits", "sklearn", "scikit-learn"),
        ("digits", "tqdm", "tqdm"),
        ("digits", "sklearn,tqdm", "scikit-learn and tqdm"),
        ("gp", "sklearn", "scikit-learn"),
        ("heat", "tqdm", "tqdm"),
        ("logistic", "matplotlib", "matplotlib"),
        ("orbit", "scipy", "scipy and scikit-learn"),  # The latter needs the former.
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_installs_it(name, absent, named, tmp_path):
    done = run("-c", WITHOUT, name, absent, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{named} ")
    assert line.endswith('pip install "tapegrad[examples]"')
    assert list(tmp_path.iterdir()) == []


# -------------------------------- digits


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_either_pool_learns_in_process(pool, tmp_path, capsys):
    out = tmp_path / f"{pool}.png"
    assert digits.main(["--pool", pool, "--epochs", "1", "--out", str(out)]) == 0
    assert LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert_is_a_picture(out)


def test_the_same_seed_learns_the_same():
    held = digits.load_digits(7)
    pool = digits.POOLS["max"]
    first, second = (digits.train(held, pool, epochs=1, seed=7) for _ in range(2))
    assert first.test_losses == second.test_losses
    np.testing.assert_array_equal(first.taken, second.taken)


def test_a_third_of_each_digit_is_held_out():
    held = digits.load_digits(0)
    assert held.train.shape == (1198, 1, 8, 8)
    assert held.test.shape == (599, 1, 8, 8)
    assert held.train.dtype == held.test.dtype == np.float32
    of_each = np.bincount(held.train_labels) + np.bincount(held.test_labels)
    np.testing.assert_allclose(np.bincount(held.test_labels), of_each / 3, atol=1)  # Whole images only.


@pytest.mark.parametrize("wrong", [0, 1, 41])
def test_the_picture_has_room_for_any_number_of_wrong_digits(wrong, tmp_path):
    held = digits.load_digits(0)
    taken = held.test_labels.copy()
    taken[:wrong] = (taken[:wrong] + 1) % 10
    parameters = digits.initial_parameters(np.random.default_rng(0))
    learned = digits.Learned(parameters, [1.0, 0.5], [1.0, 0.6], taken)
    digits.draw(tmp_path / "digits.png", held, learned, "a title")
    assert_is_a_picture(tmp_path / "digits.png")


# -------------------------------- heat


def differences(f, at, step=1e-4):
    """The Jacobian of f, flattened, by central differences: what the examples' derivatives are held against."""
    columns = []
    for i in range(at.size):
        moved = np.zeros(at.size)
        moved[i] = step
        moved = moved.reshape(at.shape)
        columns.append((f(at + moved) - f(at - moved)).ravel() / (2 * step))
    return np.stack(columns, axis=1)


def test_the_diffusivity_found_is_as_wrong_as_noise_and_grid_make_it():
    n, rng = 10, np.random.default_rng(0)
    weights = rng.standard_normal((heat.MODES, heat.MODES))
    seen = heat.photographed(rng, weights, n)

    def pictures(weights):
        return np.stack(heat.simulated(heat.diffusivity(weights, n), heat.steps_for(n)))

    # Linear theory about the truth: the posterior's covariance, and where its mode goes with what the simulation
    # leaves unexplained there (the noise, and the difference of the two grids).
    J = differences(pictures, weights)
    covariance = np.linalg.inv(J.T @ J / heat.NOISE**2 + np.eye(weights.size))
    unexplained = (seen - pictures(weights)).ravel()
    shift = covariance @ (J.T @ unexplained / heat.NOISE**2 - weights.ravel())
    error = (differences(lambda w: heat.diffusivity(w, n), weights) @ shift).reshape(n, n)

    found = heat.find(seen, 50)
    actual = heat.diffusivity(found.weights, n) - heat.diffusivity(weights, n)
    assert heat.rms(error) < 0.1  # mm²/s, of 4.2 to 11.7
    # What isn't linear in so small an error is a few per cent of it.
    assert heat.rms(actual - error) < 0.1 * heat.rms(error)


def test_the_plate_keeps_the_heat_that_it_is_given():
    field = heat.diffusivity(np.random.default_rng(1).standard_normal((heat.MODES, heat.MODES)), 8)
    images = heat.simulated(field, heat.steps_for(8))
    given = heat.WARMING * heat.DURATION / heat.SIDE * np.arange(1, heat.IMAGES + 1) / heat.IMAGES
    # Exact but for the rounding of some thousand additions.
    np.testing.assert_allclose(np.mean(images, axis=(2, 3)), np.stack([given] * 4, axis=1), rtol=1e-12)


def test_a_uniform_plate_warms_as_a_slab_does():
    n = 32
    images = heat.simulated(np.full((n, n), heat.CARBON), heat.steps_for(n))
    # Carslaw & Jaeger 1959, section 3.8, equation 3: a slab warmed from one side, insulated on the other.
    side, time = heat.SIDE, heat.DURATION
    x = side - (np.arange(n) + 0.5) * side / n  # from the insulated side
    k = np.arange(1, 200)[:, None] * math.pi
    waves = (-1.0) ** np.arange(1, 200)[:, None] / k**2 * np.exp(-heat.CARBON * time * (k / side) ** 2)
    uneven = (3 * (x / side) ** 2 - 1) / 6 - 2 * np.sum(waves * np.cos(k * x / side), axis=0)
    exact = heat.WARMING * time / side + heat.WARMING * side / heat.CARBON * uneven
    # Cells of finite size: the error is of second order, (1/32)^2 of the temperature, about 60 K at the most.
    np.testing.assert_allclose(images[-1][0], np.tile(exact, (n, 1)), atol=exact.max() / n**2)


# -------------------------------- gp


@pytest.fixture(scope="module")
def people():
    return gp.load_people(0)


def test_the_marginal_likelihood_and_its_gradient_are_scikit_learns(people):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

    hyper = gp.first_guess()
    at = {name: np.exp(value) for name, value in hyper.items()}
    kernel = (
        ConstantKernel(at["linear"]) * DotProduct(0.0, "fixed")
        + ConstantKernel(at["smooth"]) * RBF(at["lengths"])
        + WhiteKernel(at["noise"])
    )
    process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(people.train, people.train_progress)
    expected, slopes = process.log_marginal_likelihood(kernel.theta, eval_gradient=True)
    value, gradient = tg.value_and_grad(gp.loss)(hyper, people.train, people.train_progress)
    vector = np.concatenate([np.atleast_1d(gradient[name]) for name in ("linear", "smooth", "lengths", "noise")])
    # Condition number about 500 / 0.5, of both methods.
    np.testing.assert_allclose(-value, expected, rtol=1e-11)
    np.testing.assert_allclose(-vector, slopes, rtol=1e-9, atol=1e-9)


def test_the_process_learned_is_scikit_learns(people):
    learned, theirs = gp.learn(people, 100), gp.reference(people)
    # Both end where the likelihood's change in a step is lost; ours looks closer (ftol 1e-12, theirs 2e-9 of 300).
    assert -learned.losses[-1] > theirs.log_likelihood - 1e-6
    assert -learned.losses[-1] == pytest.approx(theirs.log_likelihood, abs=1e-3)
    ours, others = (gp.score(p, people) for p in (gp.predict(learned.hyper, people), theirs.predicted))
    np.testing.assert_allclose(ours, others, rtol=1e-4)


def test_the_process_predicts_about_as_well_as_linear_regression(people):
    ours = gp.score(gp.predict(gp.learn(people, 20).hyper, people), people)
    linear = gp.score(gp.linear_regression(people), people)
    # What 148 people can't tell apart: the standard error of a mean log density is about 0.06.
    assert ours.log_likelihood > linear.log_likelihood - 0.06
    assert ours.error < 1.05 * linear.error
    assert ours.error < 0.8 * people.spread  # Far better than the mean alone.


# -------------------------------- orbit


@pytest.fixture(scope="module")
def flight():
    return orbit.planned(datetime.date(2026, 9, 1), 450.0)


@pytest.fixture(scope="module")
def thrust(flight):
    return orbit.find(flight, 12, 100)


def stacked(thrust, flight):
    return orbit.State(*map(np.stack, zip(*orbit.flown(thrust, flight), strict=True)))


def test_the_planets_stand_where_they_were_seen():
    # On 27 August 2003 Mars was closer than for 60,000 years, 55.758 million km; the elements are good to a
    # thousandth here, being those of the Earth and Moon together, and means over centuries.
    day = (datetime.date(2003, 8, 27) - datetime.date(2000, 1, 1)).days
    apart = [
        np.linalg.norm(orbit.planet(orbit.EARTH, t).r - orbit.planet(orbit.MARS, t).r) for t in (day - 5, day, day + 5)
    ]
    assert apart[1] * orbit.KM == pytest.approx(55.758e6, rel=2e-3)
    assert apart[1] < min(apart[0], apart[2])


@pytest.mark.parametrize("elements", [orbit.EARTH, orbit.MARS])
def test_a_planets_velocity_is_the_derivative_of_its_place(elements):
    day, h = 9000.0, 0.01
    slope = (orbit.planet(elements, day + h).r - orbit.planet(elements, day - h).r) / (2 * h)
    # The velocity is that on an ellipse about the Sun alone; the perihelion's slow turn and Gauss's constant, of which
    # JPL's mean motions know nothing, are below 1e-4 of it.
    np.testing.assert_allclose(orbit.planet(elements, day).v, slope, atol=1e-4 * np.linalg.norm(slope))


def test_the_thrust_leads_to_mars_and_is_as_fast(thrust, flight):
    # SLSQP is to stop at 1e-12, in au and in the speed of a circle at 1 au (30 km/s): a meter, and less than a mm/s.
    away = orbit.miss(thrust, flight)
    assert np.linalg.norm(away[:3]) * orbit.KM < 1
    assert np.linalg.norm(away[3:]) < 1e-6


def test_no_smaller_thrust_leads_there(thrust, flight):
    # Where a sum of squares is least under constraints, the vector is a combination of their gradients (Lagrange).
    J = differences(lambda x: orbit.miss(x, flight), thrust, 1e-3)
    along = J.T @ np.linalg.lstsq(J.T, thrust.ravel())[0]
    # SLSQP stops where the sum changes by 1e-12; the distance is about the root of that.
    np.testing.assert_allclose(thrust.ravel(), along, atol=1e-5)


def test_the_jacobian_of_the_arrival_is_that_of_central_differences(thrust, flight):
    given = tg.jacobian(orbit.miss)(thrust.ravel(), flight)
    # Steps of 1e-3 mm/s²: the third derivative's part is 1e-6 of it, and rounding less.
    np.testing.assert_allclose(given, differences(lambda x: orbit.miss(x, flight), thrust, 1e-3), rtol=1e-4, atol=1e-5)


def test_leapfrog_is_of_second_order(thrust, flight):
    exact = orbit.flown_exactly(thrust, flight)
    halved = np.repeat(thrust, 2, axis=0)  # The same thrust in twice as many stretches, and steps.
    errors = [np.linalg.norm(orbit.flown(x, flight)[-1].r - exact.r) for x in (thrust, halved)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


def test_the_energy_gained_is_the_work_of_the_engine(thrust, flight):
    halved = np.repeat(thrust, 2, axis=0)
    off = [np.abs(orbit.unbalance(x, stacked(x, flight), flight)).max() for x in (thrust, halved)]
    assert off[0] < 1e-3
    assert off[0] / off[1] == pytest.approx(4, rel=0.05)  # Nothing but the integrator's error is left.


def test_without_thrust_the_energy_does_not_drift(flight):
    coasting = orbit.Flight(flight.departure, 100 * 365.25, flight.start, flight.goal)
    energies = orbit.energies(stacked(np.zeros((100, 3)), coasting))
    years = energies[1:].reshape(100, orbit.PER_STRETCH)
    swing = np.ptp(years, axis=1)  # within each year
    assert np.ptp(years.mean(axis=1)) < 0.1 * swing.mean()


# -------------------------------- logistic


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_coefficients_are_scikit_learns(strength):
    tumours = logistic.load_tumours(3)
    newton = logistic.fit(tumours, strength, "trust-ncg")
    np.testing.assert_allclose(newton.parameters, logistic.reference(tumours, strength), atol=1e-6)
    assert newton.norms[-1] < 1e-6


def test_newton_converges_faster_than_linearly():
    norms = logistic.fit(logistic.load_tumours(0), 1.0, "trust-ncg").norms
    # The last two steps each shrink the gradient by more than the one before did, and by more than 30.
    first, second = norms[-3] / norms[-2], norms[-2] / norms[-1]
    assert second > first > 30


def test_a_third_of_the_tumours_is_held_out():
    tumours = logistic.load_tumours(0)
    assert tumours.train.shape == (379, 30)
    assert tumours.test.shape == (190, 30)
    assert set(tumours.test_labels) == {-1.0, 1.0}
    np.testing.assert_allclose(tumours.train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(tumours.train.std(axis=0), 1, rtol=1e-12)
