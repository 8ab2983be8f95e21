"""What the sweep promises of targets, on which the transforms build: it stops there, and goes nowhere older."""

from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.entries import Leaf, reaches_older
from tapegrad.tape import replay

X = np.array([0.5, -1.0, 2.0])


def to_targets(root: Any, seed: Any, keep: bool, *targets: Any) -> dict[int, Any]:
    """What arrives at each target, by its number among them."""
    leaves = {target._entry[0]: Leaf(target._spec) for target in targets}
    numbers = {id(leaf): i for i, leaf in enumerate(leaves.values())}
    return {numbers[id(leaf)]: total for leaf, total in replay([(root._entry, seed)], keep, None, leaves)}


def test_a_sweep_stops_at_a_target_and_frees_neither_it_nor_what_is_older() -> None:
    x = tg.tensor(X)
    y = np.sin(x)
    z = y * 3.0 + y
    np.testing.assert_array_equal(to_targets(z, np.ones(3), False, y)[0], np.full(3, 4.0))
    y.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, np.cos(X))


def test_what_is_older_than_all_targets_may_be_spent() -> None:
    x = tg.tensor(X)
    spent = np.sin(x)
    spent.backward(np.ones(3))
    y = tg.tensor(X)
    z = y * spent
    np.testing.assert_array_equal(to_targets(z, np.ones(3), False, y)[0], np.sin(X))


def test_a_target_with_a_hook_arrives_as_the_hook_left_it() -> None:
    y = tg.tensor(X) * 1.0
    y.register_hook(lambda g: g * 5.0)
    np.testing.assert_array_equal(to_targets(y * 2.0, np.ones(3), False, y)[0], np.full(3, 10.0))


def test_several_targets_one_behind_the_other() -> None:
    x = tg.tensor(X)
    y = x * 2.0
    arrived = to_targets(y * 3.0 + x * 5.0, np.ones(3), True, x, y)
    np.testing.assert_array_equal(arrived[0], np.full(3, 5.0))  # Not what passes y.
    np.testing.assert_array_equal(arrived[1], np.full(3, 3.0))


def test_several_roots_add_up() -> None:
    x = tg.tensor(X)
    y = x * 2.0
    totals = replay([(y._entry, np.ones(3)), (x._entry, X), (y._entry, X)], False)
    assert len(totals) == 1
    np.testing.assert_array_equal(totals[0][1], 2.0 + 3 * X)


def test_whether_anything_older_is_reached_is_told_exactly() -> None:
    x = tg.tensor(X)
    y = x * 2.0
    z = np.concatenate([y * y, np.sin(y)])[1:] + 1.0
    for tensor, older in ((x, False), (y, True)):
        assert reaches_older([z._entry], tensor._entry[0]) is older
    assert reaches_older([x._entry], y._entry[0])
    assert not reaches_older([], 0)
