"""Functions given by samples: gradient and trapezoid, by the values and by the places of the samples."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ops.sampling import ungradient
from tapegrad.testing.check import check_grads

RNG = np.random.default_rng(0)
F = RNG.uniform(-1, 1, (4, 5))
PLACES = np.array([0.0, 0.4, 1.5, 1.7, 3.0])


def test_ungradient_is_the_adjoint_of_gradient_at_every_length() -> None:
    for n, edge_order, axis in product(range(3, 14), (1, 2), (0, 1)):
        shape = (n, 2) if axis == 0 else (2, n)
        f, g = RNG.integers(-8, 9, (2, *shape)).astype(float)
        y = np.gradient(f, axis=axis, edge_order=edge_order)
        assert np.vdot(y, g) == np.vdot(f, ungradient(g, axis, edge_order))


@pytest.mark.parametrize("edge_order", [1, 2])
def test_gradient_by_the_places_of_the_samples(edge_order: Any) -> None:
    check_grads(lambda f, x: np.gradient(f, x, axis=1, edge_order=edge_order), F, PLACES)
    check_grads(lambda f, h, x: np.gradient(f, h, x, edge_order=edge_order), F, 0.5, PLACES)
    check_grads(lambda x: np.gradient(F, x, axis=1, edge_order=edge_order), PLACES)
    check_grads(lambda h: np.gradient(F, h, edge_order=edge_order), 0.5)
    # Where the places are evenly spaced NumPy takes another road to the value; the derivative is the same.
    check_grads(lambda f, x: np.gradient(f, x, axis=1, edge_order=edge_order), F, np.arange(5.0), order=1)


def test_gradient_of_complex_values() -> None:
    check_grads(lambda f, x: np.gradient(f, x, axis=0, edge_order=2), F + 1j * F[::-1], PLACES[:4])
    check_grads(lambda f, h: np.gradient(f, h, axis=(0, 1)), F + 1j * F[::-1], 0.3)


def test_gradient_of_integers_by_places_does_not_wrap_around() -> None:
    f, x = np.array([200, 3, 250], np.uint8), tg.tensor([0.0, 1.0, 3.0])
    np.sum(np.gradient(f, x)).backward()
    check_grads(lambda x: np.gradient(f.astype(float), x), x.numpy())
    reference = tg.tensor(x.numpy())
    np.sum(np.gradient(f.astype(float), reference)).backward()
    np.testing.assert_array_equal(x.grad, reference.grad)


def test_gradient_keeps_float32() -> None:
    f = tg.tensor(F.astype(np.float32))
    for y in (np.gradient(f, 0.1, axis=0), np.gradient(f, PLACES, axis=1)):
        assert y.dtype == np.float32
        np.sum(y).backward()
        assert f.grad.dtype == np.float32


def test_gradient_refuses_what_numpy_refuses() -> None:
    f = tg.tensor(F)
    for args, form, error in (
        ((1.0, 2.0, 3.0), {}, TypeError),
        ((), {"edge_order": 3}, ValueError),
        ((), {"axis": (0, 0)}, ValueError),
        ((PLACES,), {"axis": 0}, ValueError),
        ((), {"axis": 2}, ValueError),
    ):
        for data in (f, F):
            with pytest.raises(error):
                np.gradient(data, *args, **form)  # type: ignore[call-overload]


def test_trapezoid_by_values_places_and_steps() -> None:
    check_grads(lambda y, x: np.trapezoid(y, x), F, PLACES)
    check_grads(lambda y, x: np.trapezoid(y, x, axis=0), F, PLACES[:4])
    check_grads(lambda y, x: np.trapezoid(y, x), F[0], np.sort(F))
    check_grads(lambda y, dx: np.trapezoid(y, dx=dx), F, 0.3)
    check_grads(lambda x: np.trapezoid(F, x), PLACES)
    check_grads(lambda y, x: np.trapezoid(y, x), F + 1j * F[::-1], PLACES + 1j * PLACES[::-1])


def test_a_step_for_each_pair() -> None:
    check_grads(lambda y, dx: np.trapezoid(y, dx=dx), F, np.diff(PLACES))


def test_trapezoid_refuses_an_axis_that_is_another_one_of_x() -> None:
    with pytest.raises(ValueError, match="count it from the end"):
        np.trapezoid(tg.tensor(F[0, :3]), np.ones((3, 2)), axis=0)
