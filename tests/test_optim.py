"""SGD: its update rule, what it skips, what it refuses."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ArgumentError, RecordingError
from tapegrad.optim import SGD

RNG = np.random.default_rng(0)
OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "nesterov": True, "weight_decay": 0.2},
]


def by_hand(p, gradients, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    velocity = None
    for g in gradients:
        g = g + weight_decay * p
        if momentum:
            velocity = g if velocity is None else momentum * velocity + g
            g = g + momentum * velocity if nesterov else velocity
        p = p - lr * g
    return p


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_four_steps_follow_the_update_rule(options):
    start, gradients = RNG.standard_normal((2, 3)), RNG.standard_normal((4, 2, 3))
    p = tg.tensor(start)
    optimizer = SGD([p], 0.1, **options)
    for g in gradients:
        p.grad = g
        optimizer.step()
        optimizer.zero_grad()
    np.testing.assert_allclose(p.numpy(), by_hand(start, gradients, 0.1, **options), rtol=1e-14)


def test_a_step_keeps_the_tensor_a_leaf_and_goes_on_recording():
    p = tg.tensor([3.0, -2.0])
    optimizer = SGD([p], 0.25)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = np.sum(p * p)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert p.is_leaf
    assert p.requires_grad
    assert losses == [13.0, 13.0 / 4, 13.0 / 16]


def test_a_number_is_a_parameter_too():
    p = tg.tensor(4.0)
    optimizer = SGD([p], 0.5, momentum=0.5)
    for _ in range(2):
        optimizer.zero_grad()
        (p * 2.0).backward()
        optimizer.step()
    assert p.item() == 4 - 0.5 * 2 - 0.5 * (0.5 * 2 + 2)


def test_parameters_without_a_gradient_stay_with_their_velocity():
    p, q = tg.tensor([1.0]), tg.tensor([1.0])
    optimizer = SGD([p, q], 0.1, momentum=0.9, weight_decay=0.5)
    p.grad = np.array([1.0])
    optimizer.step()
    assert q.numpy() == 1
    assert p.numpy() != 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_float32_stays_float32(options):
    p = tg.tensor([1.0, 2.0], dtype=np.float32)
    optimizer = SGD([p], np.float64(0.1), **options)
    for _ in range(2):
        p.grad = np.ones(2, np.float32)
        optimizer.step()
    assert p.dtype == p.numpy().dtype == np.float32


def test_the_rate_may_be_changed_between_steps():
    p = tg.tensor([1.0])
    optimizer = SGD([p], 1.0)
    optimizer.lr = 0.5
    p.grad = np.array([1.0])
    optimizer.step()
    assert p.numpy() == 0.5


def test_a_gradient_that_records_is_taken_by_its_value():
    p = tg.tensor([2.0])
    (p**3).sum().backward(create_graph=True)
    SGD([p], 0.5, momentum=0.9).step()
    assert p.numpy() == 2 - 0.5 * 12


def test_the_users_gradient_is_not_changed_by_momentum():
    p = tg.tensor([1.0])
    p.grad = np.array([1.0])
    optimizer = SGD([p], 0.1, momentum=0.9)
    optimizer.step()
    optimizer.step()
    assert p.grad == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, "SGD: lr is a number of at least 0; got -0.1"),
        ({"lr": float("nan")}, "SGD: lr is a number of at least 0; got nan"),
        ({"momentum": -1}, "SGD: momentum is a number of at least 0; got -1"),
        ({"weight_decay": -1}, "SGD: weight_decay is a number of at least 0; got -1"),
        ({"nesterov": True}, "SGD: nesterov=True needs a momentum above 0; got momentum=0"),
        ({"params": []}, "SGD: params is empty; there is nothing to change"),
        ({"params": tg.tensor([1.0])}, "SGD: params is a list of tensors; got one tensor, write [tensor]"),
        ({"params": [np.zeros(2)]}, "SGD: params holds a ndarray at 0; tensors are expected"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ArgumentError) as caught:
        SGD(**{"params": [tg.tensor([1.0])], "lr": 0.1, **options})
    assert str(caught.value) == message


def test_the_same_parameter_twice_is_refused():
    p = tg.tensor([1.0])
    with pytest.raises(ArgumentError, match="SGD: the same parameter stands in params twice"):
        SGD([p, p], 0.1)


@pytest.mark.parametrize("make", [lambda p: p * 2, lambda p: p.detach()])
def test_what_is_not_a_leaf_that_records_is_refused(make):
    with pytest.raises(RecordingError, match="SGD: the parameter at 0 isn't a leaf that records"):
        SGD([make(tg.tensor([1.0]))], 0.1)
