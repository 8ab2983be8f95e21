"""Grids between ends that are tensors."""

import numpy as np
import pytest

import tapegrad as tg


@pytest.mark.parametrize("retstep", [False, True])
def test_one_point_is_the_start_and_has_no_step(retstep: bool) -> None:
    start, stop = tg.tensor(1.0), tg.tensor(3.0)
    made = np.linspace(start, stop, 1, retstep=retstep)
    (made[0] if retstep else made).backward(np.ones(1))
    assert start.grad == 1.0
    assert stop.grad is None or stop.grad == 0.0


def test_the_step_alone_has_a_gradient() -> None:
    start, stop = tg.tensor(1.0), tg.tensor(3.0)
    np.linspace(start, stop, 5, retstep=True)[1].backward()
    assert (start.grad, stop.grad) == (-0.25, 0.25)


def test_an_infinite_cotangent_at_one_end_does_not_reach_the_other() -> None:
    start, stop = tg.tensor(1.0), tg.tensor(3.0)
    np.linspace(start, stop, 3).backward(np.array([np.inf, 1.0, 1.0]))
    assert (start.grad, stop.grad) == (np.inf, 1.5)


def test_geomspace_of_negative_and_of_complex_ends() -> None:
    for ends in ((-1.0, -8.0), (1 + 1j, -2 + 0.5j)):
        start, stop = map(tg.tensor, ends)
        y = np.geomspace(start, stop, 4)
        np.testing.assert_allclose(y.numpy(), np.geomspace(*ends, 4), rtol=1e-15)
        y[1:3].backward(np.array([1.0, 1.0], y.dtype))
        w = np.array([1, 2]) / 3
        inner = np.geomspace(*ends, 4)[1:3]
        np.testing.assert_allclose(start.grad, np.conj(np.sum(inner * (1 - w) / ends[0])), rtol=1e-13)
        np.testing.assert_allclose(stop.grad, np.conj(np.sum(inner * w / ends[1])), rtol=1e-13)


def test_logspace_has_a_gradient_by_its_base() -> None:
    base = tg.tensor(3.0)
    np.sum(np.logspace(0.0, 2.0, 3, base=base)).backward()
    np.testing.assert_allclose(base.grad, 1 + 2 * 3.0)


def test_meshgrid_refuses_another_indexing() -> None:
    with pytest.raises(ValueError, match="'xy' or 'ij'"):
        np.meshgrid(tg.tensor([1.0]), indexing="yx")  # type: ignore[call-overload]
