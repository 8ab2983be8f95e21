"""tg.debug(): every check in full, and the same results."""

import contextlib
import sys

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ChangedDataError

BIG = 1 << 16


def this_line():
    return sys._getframe(1).f_lineno


def test_results_are_the_same_under_debug():
    def run():
        x, w = tg.tensor([0.0, 1.5]), tg.tensor([[1.0, 2.0], [3.0, 4.0]])
        np.sum(np.where(x.numpy() > 0, np.sqrt(x), 0.0) @ w + 1.0 / w[0]).backward()
        return np.append(x.grad, w.grad)

    plain = run()
    with tg.debug():
        np.testing.assert_array_equal(run(), plain)


def test_debug_ends_with_its_block():
    with tg.debug():
        pass
    x, factor = tg.tensor(np.ones(BIG)), np.ones(BIG)
    loss = np.sum(x * factor)
    factor[3] = 2.0  # Not among the elements that are looked at by default.
    loss.backward()


@pytest.mark.parametrize("place", [0, 1, 3, 1000, BIG - 2, BIG - 1])
def test_debug_sees_a_change_of_any_element(place):
    x, factor = tg.tensor(np.ones(BIG)), np.ones(BIG)
    with tg.debug():
        loss = np.sum(x * factor)
    factor[place] = 2.0
    with pytest.raises(ChangedDataError, match=r"np\.multiply"):
        loss.backward()


def test_debug_sees_a_change_of_any_place_of_an_index():
    x, index = tg.tensor(np.ones(BIG)), np.arange(BIG)
    with tg.debug():
        loss = np.sum(x[index])
    index[1001] = 0
    with pytest.raises(ChangedDataError, match="getitem"):
        loss.backward()


@pytest.mark.parametrize("debugging", [False, True])
@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_an_error_in_a_rule_names_the_line_that_recorded_it(with_rule, options, debugging):
    def rule(_g, _y, _a):
        raise KeyError("on purpose")

    faulty = with_rule(lambda a: a * 1.0, rule)
    x = tg.tensor([1.0, 2.0])
    with tg.debug() if debugging else contextlib.nullcontext():  # Of a rule of the user's own, always.
        y, line = faulty(x), this_line()
    with pytest.raises(KeyError) as caught:
        np.sum(y).backward(**options)
    (note,) = caught.value.__notes__
    assert f"{__file__}:{line}" in note


def test_an_error_in_a_rule_of_ours_names_debug_as_the_way_to_its_line():
    x, factor = tg.tensor(np.ones(BIG)), np.ones(BIG)
    loss = np.sum(x * factor)
    factor[:] = 2.0
    with pytest.raises(ChangedDataError) as caught:
        loss.backward()
    assert any("tapegrad.debug()" in note for note in caught.value.__notes__)


def test_the_line_is_the_users_where_an_operation_was_recorded_within_numpy(with_rule):
    x, factor = tg.tensor(np.ones(BIG)), np.ones(BIG)
    with tg.debug():
        loss, line = np.sum(np.multiply(x, factor)), this_line()
    factor[:] = 2.0
    with pytest.raises(ChangedDataError) as caught:
        loss.backward()
    assert any(f"{__file__}:{line}" in note for note in caught.value.__notes__)


def test_debug_and_no_grad_go_together():
    x = tg.tensor([1.0])
    with tg.debug(), tg.no_grad():
        assert not (x * 2.0).requires_grad
    with tg.no_grad(), tg.debug():
        assert not (x * 2.0).requires_grad


def test_debug_decorates_a_function(with_rule):
    x, factor = tg.tensor(np.ones(BIG)), np.ones(BIG)

    @tg.debug()
    def loss():
        return np.sum(x * factor)

    value = loss()
    factor[3] = 2.0
    with pytest.raises(ChangedDataError):
        value.backward()
