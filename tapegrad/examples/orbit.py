"""An ion engine's thrust from Earth to Mars, by way of an integrator: ``python -m tapegrad.examples.orbit``.

A spacecraft has just escaped from Earth: it shares Earth's place and velocity, and the Sun alone pulls at it. Its
engine pushes all the way, with a thrust that is constant for some days at a time. It is to arrive where Mars is
then, and as fast as Mars, with the least integral of the squared acceleration.

The flight is plain NumPy: leapfrog, which is symplectic, so that its energy doesn't drift. The derivatives of the
arrival by every push come back through all of its steps with ``tg.jacobian``; SciPy's SLSQP does the rest.
Two checks need no derivative: the energy gained must be the work of the engine, and SciPy's DOP853,
flying the same thrust to 12 digits, must arrive as well. The planets move on JPL's mean ellipses.
"""

import argparse
import datetime
import math
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
    command_line,
    picture,
    plain_frame,
    progress,
    run,
    save,
)

# Lengths in astronomical units and times in days, but where another unit is named.
SUN = 0.01720209895**2  # gravity of the Sun, au³/day² (Gauss's constant)
KM, DAY = 149_597_870.7, 86_400.0  # kilometres in an au, seconds in a day
SPEED = KM / DAY  # km/s in an au/day
PUSH = 1e-6 / (KM / DAY**2)  # au/day² in a mm/s²
PER_STRETCH = 20  # steps of the integrator in each stretch of constant thrust

# Semi-major axis (au), eccentricity; then in degrees inclination, mean longitude, longitudes of the perihelion and
# of the ascending node: at J2000, and their change in a century (Standish, JPL, for the years 1800 to 2050).
EARTH = (
    (1.00000261, 0.01671123, -0.00001531, 100.46457166, 102.93768193, 0.0),
    (0.00000562, -0.00004392, -0.01294668, 35999.37244981, 0.32327364, 0.0),
)
MARS = (
    (1.52371034, 0.09339410, 1.84969142, -4.55343205, -23.94362959, 49.55953891),
    (0.00001847, 0.00007882, -0.00813131, 19140.30268499, 0.44441088, -0.29257343),
)


# ---------------------------------------------------------------- the planets


class State(NamedTuple):
    """A place (..., 3) in au and a velocity (..., 3) in au/day, about the Sun, on the axes of the ecliptic."""

    r: Any
    v: Any


def planet(elements: Sequence[Sequence[float]], days: float) -> State:
    """Where a planet is, so many days after J2000 (noon of 1 January 2000), and how fast it moves."""
    start, change = elements
    a, e, *degrees = np.array(start) + np.array(change) * (days / 36525)
    inclination, longitude, perihelion, node = np.deg2rad(degrees)
    mean = longitude - perihelion
    anomaly = mean
    for _ in range(20):  # Kepler's equation by Newton's method: for ellipses this round, 5 rounds would do.
        anomaly -= (anomaly - e * np.sin(anomaly) - mean) / (1 - e * np.cos(anomaly))
    minor, rate = a * math.sqrt(1 - e * e), math.sqrt(SUN / a**3) / (1 - e * np.cos(anomaly))
    place = np.array([a * (np.cos(anomaly) - e), minor * np.sin(anomaly), 0])
    velocity = np.array([-a * np.sin(anomaly), minor * np.cos(anomaly), 0]) * rate
    axes = about_z(node) @ about_x(inclination) @ about_z(perihelion - node)
    return State(axes @ place, axes @ velocity)


def about_z(angle: float) -> Array:
    """A rotation about the third axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def about_x(angle: float) -> Array:
    """A rotation about the first axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


# ---------------------------------------------------------------- the flight


class Flight(NamedTuple):
    """What is given: the days of departure (after J2000) and of flight, and the states at both ends."""

    departure: float
    days: float
    start: State
    goal: State


def planned(departure: datetime.date, days: float) -> Flight:
    """A flight from Earth at noon of a day to Mars."""
    day = float((departure - datetime.date(2000, 1, 1)).days)
    return Flight(day, days, planet(EARTH, day), planet(MARS, day + days))


def flown(thrust: Any, flight: Flight) -> list[State]:
    """The states at the start and after each step, given the acceleration (stretches, 3) of each stretch, in mm/s².

    Leapfrog: half a step straight on, a kick by the Sun and the engine, half a step straight on.
    """
    h = flight.days / (len(thrust) * PER_STRETCH)
    r, v = flight.start
    states = [flight.start]
    for push in thrust * (h * PUSH):
        for _ in range(PER_STRETCH):
            middle = r + (h / 2) * v
            v = v + push - middle * ((h * SUN) * (middle @ middle) ** -1.5)
            r = middle + (h / 2) * v
            states.append(State(r, v))
    return states


def miss(thrust: Any, flight: Flight) -> Any:
    """By how much the arrival differs from Mars: three lengths in au, and three speeds by that of a circle at 1 au."""
    r, v = flown(thrust.reshape(-1, 3), flight)[-1]
    return np.concatenate((r - flight.goal.r, (v - flight.goal.v) / math.sqrt(SUN)))


def find(flight: Flight, stretches: int, iterations: int) -> Array:
    """The accelerations (stretches, 3) in mm/s² with the least sum of squares that lead to Mars, by SLSQP."""
    from scipy.optimize import minimize

    def effort(thrust: Any) -> Any:
        return np.sum(thrust**2) / 2

    with progress(iterations, "iteration") as bar:

        def note(thrust: Array) -> None:
            away = np.linalg.norm(miss(thrust, flight)[:3]) * KM
            bar.set_postfix_str(f"{away:,.0f} km from Mars")
            bar.update()

        answer = minimize(
            tg.value_and_grad(effort),
            np.zeros(3 * stretches),
            jac=True,
            method="SLSQP",
            constraints={"type": "eq", "fun": miss, "jac": tg.jacobian(miss), "args": (flight,)},
            callback=note,
            options={"maxiter": iterations, "ftol": 1e-12},
        )
        bar.total = bar.n  # It may have converged in fewer.
    return np.asarray(answer.x.reshape(stretches, 3))


# ---------------------------------------------------------------- checks and figures


def energies(states: State) -> Any:
    """The energy of each state, of motion and in the Sun's field, in km²/s²."""
    r = np.linalg.norm(states.r, axis=-1)
    return (np.sum(states.v**2, axis=-1) / 2 - SUN / r) * SPEED**2


def works(thrust: Array, states: State, flight: Flight) -> Array:
    """What the engine has done since the start, at the start and after each step, in km²/s².

    In the kick of a step, the mean velocity is that of the states before and after it, but for terms of second order
    in the step.
    """
    h = flight.days / (len(states.r) - 1)
    pushes = np.repeat(thrust, PER_STRETCH, axis=0) * (h * PUSH)
    done = np.sum(pushes * (states.v[:-1] + states.v[1:]) / 2, axis=1)
    return np.append(0, np.cumsum(done)) * SPEED**2


def unbalance(thrust: Array, states: State, flight: Flight) -> Array:
    """The energy gained less the engine's work, at each state, as a share of the energy at the start."""
    energy = energies(states)
    return np.asarray((energy - energy[0] - works(thrust, states, flight)) / abs(energy[0]))


def flown_exactly(thrust: Array, flight: Flight) -> State:
    """The state at the arrival by DOP853 with tolerances of 1e-12, which knows nothing of leapfrog."""
    from scipy.integrate import solve_ivp

    state = np.concatenate(flight.start)
    for push in thrust:

        def slope(_t: float, y: Array, push: Array = push) -> Array:
            return np.concatenate((y[3:], push * PUSH - SUN * y[:3] / np.linalg.norm(y[:3]) ** 3))

        state = solve_ivp(slope, (0, flight.days / len(thrust)), state, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return State(state[:3], state[3:])


def change_of_speed(thrust: Array, flight: Flight) -> float:
    """The integral of the acceleration's magnitude, in km/s: what decides on the propellant."""
    return float(np.linalg.norm(thrust, axis=1).mean()) * flight.days * DAY * 1e-6


def hohmann() -> float:
    """The two pulses, in km/s, from a circle as large as Earth's orbit to one as large as Mars', in one plane."""
    a, b = EARTH[0][0], MARS[0][0]
    first = math.sqrt(SUN / a) * (math.sqrt(2 * b / (a + b)) - 1)
    second = math.sqrt(SUN / b) * (1 - math.sqrt(2 * a / (a + b)))
    return (first + second) * SPEED


# ---------------------------------------------------------------- the picture


def draw(path: Path, thrust: Array, states: State, flight: Flight, title: str) -> None:
    """The flight among the orbits with its thrust, the thrust over time by its parts, and the energy."""
    figure = picture(15, 8.2, title)
    left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    draw_flight(left.subplots(), thrust, states, flight)
    pushes, energy, balance = right.subplots(3, 1, sharex=True, height_ratios=(1.25, 1, 0.8))
    days = np.linspace(0, flight.days, len(states.r))
    draw_thrust(pushes, thrust, states, flight)
    energy.plot(days, energies(states), color=INK, linewidth=1.6, label="energy")
    energy.plot(
        days, energies(states)[0] + works(thrust, states, flight), "--", color=RED, label="at the start + engine's work"
    )
    energy.set(title="Energy about the Sun", ylabel="km²/s²")
    balance.plot(days, unbalance(thrust, states, flight), color=INK, linewidth=1)
    balance.set(title="Energy gained less work done", ylabel="of the energy\nat the start", xlabel="days of flight")
    balance.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    energy.legend(frameon=False)
    for axes in (pushes, energy, balance):
        axes.set_xlim(0, flight.days)
        plain_frame(axes)
    save(figure, path)


def draw_flight(axes: Any, thrust: Array, states: State, flight: Flight) -> None:
    """Both orbits and the flight between them seen from above, with an arrow for each stretch's acceleration."""
    for elements, color, name in ((EARTH, BLUE, "Earth"), (MARS, RED, "Mars")):
        year = 2 * math.pi * math.sqrt(elements[0][0] ** 3 / SUN)
        orbit = np.array([planet(elements, flight.departure + t).r for t in np.linspace(0, year, 361)])
        axes.plot(orbit[:, 0], orbit[:, 1], color=color, linewidth=1, alpha=0.6)
        for time, filled, when in ((0.0, "none", "departure"), (flight.days, color, "arrival")):
            r = planet(elements, flight.departure + time).r
            label = f"{name} at the {when}"
            axes.plot(r[0], r[1], "o", color=color, markerfacecolor=filled, markersize=9, label=label, linestyle="none")
    axes.plot(states.r[:, 0], states.r[:, 1], color=INK, linewidth=1.8, label="spacecraft")
    middles = states.r[PER_STRETCH // 2 :: PER_STRETCH]
    axes.quiver(
        middles[:, 0],
        middles[:, 1],
        thrust[:, 0],
        thrust[:, 1],
        color="#d58a1d",
        angles="xy",
        scale_units="xy",
        scale=2.2 * np.linalg.norm(thrust, axis=1).max(),
        width=0.0035,
        zorder=3,
        label="acceleration by the engine",
    )
    axes.plot(0, 0, "*", color="#e0b000", markersize=16, label="Sun", linestyle="none")
    axes.set_aspect("equal")
    axes.set(
        title="Seen from the ecliptic's north", xlabel="x (au)", ylabel="y (au)", xlim=(-1.8, 1.8), ylim=(-2.1, 1.8)
    )
    axes.legend(frameon=False, loc="lower center", ncols=2, fontsize=9)
    axes.grid(color=FAINT, alpha=0.25)


def draw_thrust(axes: Any, thrust: Array, states: State, flight: Flight) -> None:
    """The acceleration of each stretch: along the flight, to its left, and to the north."""
    middle = slice(PER_STRETCH // 2, None, PER_STRETCH)
    along = states.v[middle] / np.linalg.norm(states.v[middle], axis=1, keepdims=True)
    normal = np.cross(states.r[middle], states.v[middle])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    edges = np.linspace(0, flight.days, len(thrust) + 1)
    axes.stairs(np.linalg.norm(thrust, axis=1), edges, color=FAINT, fill=True, alpha=0.3, label="magnitude")
    for direction, color, name in (
        (along, INK, "along the flight"),
        (np.cross(normal, along), RED, "towards the Sun's side"),
        (normal, BLUE, "north of its plane"),
    ):
        axes.stairs(np.sum(thrust * direction, axis=1), edges, baseline=None, color=color, linewidth=1.5, label=name)
    axes.set(title="Acceleration by the engine", ylabel="mm/s²")
    axes.legend(frameon=False, ncols=2, fontsize=9)


# ---------------------------------------------------------------- the command


def departure_day(text: str) -> datetime.date:
    """A type for argparse: a day for which the planets' elements hold."""
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a day such as 2026-10-01 is expected, got {text!r}") from None
    if not 1800 <= day.year < 2048:
        raise argparse.ArgumentTypeError(f"the elements hold from 1800 to 2050; got {day}")
    return day


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; argparse itself says what is wrong with it, and exits."""
    parser = command_line("orbit", "Find the thrust that takes a spacecraft from Earth to Mars, and draw the flight.")
    parser.add_argument(
        "--departure",
        type=departure_day,
        default=datetime.date(2026, 9, 1),
        metavar="DAY",
        help="from Earth, at noon (default: %(default)s)",
    )
    add_number(parser, "--days", 450.0, 100.0, 700.0, "of flight")
    add_number(parser, "--stretches", 60, 4, 1000, f"of constant thrust, each of {PER_STRETCH} steps")
    add_number(parser, "--iterations", 100, 1, 10_000, "of SLSQP at most")
    return parser.parse_args(given)


def work(options: argparse.Namespace) -> str:
    """Find the thrust and draw it; the result is the change of speed, where DOP853 arrives, and the balance."""
    flight = planned(options.departure, options.days)
    thrust = find(flight, options.stretches, options.iterations)
    states = State(*map(np.stack, zip(*flown(thrust, flight), strict=True)))
    away = float(np.linalg.norm(flown_exactly(thrust, flight).r - flight.goal.r)) * KM
    balance = float(np.abs(unbalance(thrust, states, flight)).max())
    spent = change_of_speed(thrust, flight)
    title = (
        f"Earth to Mars in {flight.days:.0f} days from {options.departure}, by an engine that pushes "
        f"{np.linalg.norm(thrust, axis=1).max():.2f} mm/s² at most"
    )
    draw(options.out, thrust, states, flight, title)
    print(f"two pulses between circles would change the speed by {hohmann():.2f} km/s (Hohmann)")
    return f"speed changed by {spent:.2f} km/s, {away:.0f} km from Mars by DOP853, energy balanced to {balance:.0e}"


def main(given: Sequence[str] | None = None) -> int:
    """Find, draw, and print what the flight costs and how well it is known; returns the exit code."""
    return run(work, arguments(given))


if __name__ == "__main__":
    sys.exit(main())
