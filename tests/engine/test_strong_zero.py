"""The strong zero as the engine meets it: a zero cotangent gives zero, whatever road the sweep is on.

Small entries are passed without a look, large ones with a look now and then, and where something isn't
finite the sweep goes back and looks at every slope. A user may see no difference.
"""

import numpy as np
import pytest
from engine_tools import EPS, LARGE, tiled
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg

SIZES = [5, LARGE]
BASE = [0.0, 1.0, 4.0, 0.0, 9.0]
POSITIVE = np.array([False, True, True, False, True])
ROOT_SLOPES = [0.0, 0.5, 0.25, 0.0, 0.5 / 3]


def masked(x, value):
    """The value where x is positive, else 0: what the strong zero is for."""
    return np.where(x.numpy() > 0, value, 0.0)


def lengthened(t, length):
    """The same value after a number of recorded operations, whose slopes are 1."""
    for _ in range(length):
        t = t * 1.0
    return t


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", [0, 3, 20])
@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_masked_root_has_gradient_zero_at_zero(size, before, after):
    x = tg.tensor(tiled(BASE, size))
    np.sum(lengthened(masked(x, np.sqrt(lengthened(x, before))), after)).backward()
    np.testing.assert_allclose(x.grad, tiled(ROOT_SLOPES, size), rtol=4 * EPS)


@pytest.mark.parametrize("size", SIZES)
def test_a_masked_root_has_a_finite_second_derivative(size):
    x = tg.tensor(tiled(BASE, size))
    np.sum(masked(x, np.sqrt(x))).backward(create_graph=True)
    slope = x.grad
    np.testing.assert_allclose(slope.numpy(), tiled(ROOT_SLOPES, size), rtol=4 * EPS)
    x.zero_grad()
    np.sum(slope).backward()
    with np.errstate(divide="ignore"):
        curvature = np.where(POSITIVE, -0.25 * np.asarray(BASE) ** -1.5, 0.0)
    np.testing.assert_allclose(x.grad, tiled(curvature, size), rtol=8 * EPS)


@pytest.mark.parametrize("size", SIZES)
def test_a_retained_graph_gives_the_same_again(size):
    x = tg.tensor(tiled(BASE, size))
    loss = np.sum(lengthened(masked(x, np.sqrt(lengthened(x, 12))), 12))
    found = []
    for retain in (True, True, False):
        loss.backward(retain_graph=retain)
        found.append(x.grad)
        x.zero_grad()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found[0], tiled(ROOT_SLOPES, size), rtol=4 * EPS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["above", "below", "leaf", "root"])
def test_a_hook_runs_once_and_sees_no_nan_that_the_strong_zero_spares(size, place):
    seen = []
    x = tg.tensor(tiled(BASE, size))
    low = x * 1.0
    high = masked(x, np.sqrt(low))
    loss = np.sum(lengthened(high, 12))
    {"above": high, "below": low, "leaf": x, "root": loss}[place].register_hook(lambda g: seen.append(g.copy()))
    loss.backward()
    assert len(seen) == 1
    assert np.isfinite(seen[0]).all()
    np.testing.assert_allclose(x.grad, tiled(ROOT_SLOPES, size), rtol=4 * EPS)


@pytest.mark.parametrize("size", SIZES)
def test_hooks_run_once_where_what_is_pending_is_rightly_infinite(size):
    # Here the slope of the root is wanted at zero: infinity is the answer, and no reason to sweep twice.
    calls = []
    x = tg.tensor(tiled(BASE, size))
    high = np.sqrt(x * 1.0)
    low = high * 2.0
    for name, t in (("low", low), ("high", high), ("leaf", x)):
        t.register_hook(lambda _g, name=name: calls.append(name))
    np.sum(lengthened(low, 10)).backward()
    assert calls == ["low", "high", "leaf"]
    expected = np.where(POSITIVE, 2 * np.asarray(ROOT_SLOPES), np.inf)
    np.testing.assert_allclose(x.grad, tiled(expected, size), rtol=4 * EPS)


@pytest.mark.parametrize("place", range(24))
def test_a_hook_may_stand_anywhere_on_a_long_chain(place):
    # The sweep stops to look every few large entries: somewhere on the chain, that falls on the hook.
    calls = []
    x = tg.tensor(np.ones(LARGE))
    y = x
    for i in range(24):
        y = y * 1.0
        if i == place:
            y.register_hook(lambda g: calls.append(1) or g * 3.0)
    np.sum(y).backward()
    assert calls == [1]
    np.testing.assert_array_equal(x.grad, np.full(LARGE, 3.0))


@pytest.mark.parametrize("place", range(12))
@pytest.mark.parametrize("infinite", [False, True])
def test_two_hooks_in_a_row_run_once_each_wherever_the_sweep_goes_back(place, infinite):
    calls = []
    x = tg.tensor(tiled(BASE, LARGE))
    y = lengthened(x, place)
    y.register_hook(lambda g: calls.append("first"))
    z = np.sqrt(y)
    z = z if infinite else masked(x, z)
    z.register_hook(lambda g: calls.append("second") or g * 2.0)
    np.sum(lengthened(z, 12 - place)).backward()
    assert calls == ["second", "first"]
    slopes = np.where(POSITIVE, 2 * np.asarray(ROOT_SLOPES), np.inf if infinite else 0.0)
    np.testing.assert_allclose(x.grad, tiled(slopes, LARGE), rtol=4 * EPS)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masking", [True, False])
def test_a_leaf_that_was_reached_before_the_sweep_goes_back_counts_once(size, masking):
    x = tg.tensor(tiled(BASE, size))
    root = np.sqrt(x)
    newer = tg.tensor(np.ones(size))  # Newer than the root: its gradient arrives before the nan is met.
    np.sum((masked(x, root) if masking else root) + lengthened(newer, 12) * 3.0).backward()
    np.testing.assert_array_equal(newer.grad, np.full(size, 3.0))


@pytest.mark.parametrize("size", SIZES)
def test_a_hook_may_make_a_cotangent_infinite(size):
    calls = []

    def hook(g):
        calls.append(1)
        return g * np.inf

    x, z = tg.tensor(tiled(BASE, size) + 1.0), tg.tensor(np.ones(size))
    y = x * 2.0
    y.register_hook(hook)
    z.register_hook(lambda _g: calls.append(2))
    np.sum(y + z * 3.0).backward()
    np.testing.assert_array_equal(x.grad, np.full(size, np.inf))
    np.testing.assert_array_equal(z.grad, np.full(size, 3.0))
    assert sorted(calls) == [1, 2]


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda x: np.log(x),
        lambda x: 1.0 / x,
        lambda x: x / (x * 0.0),
        lambda x: x * np.array(np.inf),
        lambda x: x * np.array(np.nan),
        lambda x: np.array(np.inf) / x,
        lambda x: x**-2.0,
        lambda x: x**0.5,
        lambda x: np.exp(x * np.inf),
        lambda x: np.sqrt(x) * np.sqrt(x) * np.log(x),
    ],
    ids=["log", "reciprocal", "0/0", "inf", "nan", "inf/x", "power -2", "power .5", "exp inf", "product"],
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("order", [1, 2])
def test_what_is_masked_away_never_spoils_a_gradient(spoiled, size, order):
    x = tg.tensor(tiled([0.0, 0.0, 0.0], size))
    with np.errstate(all="ignore"):
        loss = np.sum(np.where(np.zeros(size, bool), spoiled(x), x * x))
        loss.backward(create_graph=order == 2)
        if order == 2:
            slope = x.grad
            x.zero_grad()
            np.sum(slope).backward()
    np.testing.assert_array_equal(x.grad, np.full(size, 0.0 if order == 1 else 2.0))


@pytest.mark.parametrize(
    ("program", "slopes"),
    [
        (np.sqrt, [0.0, 0.25]),
        (np.log, [0.0, 0.25]),
        (lambda x: 1.0 / x, [0.0, -0.0625]),
        (lambda x: x**0.5, [0.0, 0.25]),
    ],
    ids=["sqrt", "log", "reciprocal", "power"],
)
def test_a_cotangent_that_is_zero_keeps_its_own_derivative(program, slopes):
    # The gradient is linear in the seed. Where the slope is finite, its derivative by the seed is that
    # slope, though the seed be 0; where it is infinite, the strong zero makes it a constant.
    x, seed = tg.tensor([0.0, 4.0]), tg.tensor([0.0, 0.0])
    with np.errstate(divide="ignore"):
        program(x).backward(seed, create_graph=True)
    np.sum(x.grad).backward()
    np.testing.assert_allclose(seed.grad, slopes, rtol=4 * EPS)


@pytest.mark.parametrize("rows", [3, LARGE // 4 + 1])
def test_masked_rows_with_missing_data_do_not_spoil_the_weights(rows):
    data = tiled([1.0, 2.0, 3.0, 4.0], 4 * rows).reshape(rows, 4)
    known = np.arange(rows) % 3 != 1
    clean, missing = np.where(known[:, None], data, 0.0), np.where(known[:, None], data, np.nan)
    found = []
    for given_data in (clean, missing):
        w = tg.tensor(np.ones((4, 2)))
        np.sum(np.where(known[:, None], given_data @ w, 0.0) ** 2).backward()
        found.append(w.grad)
    np.testing.assert_array_equal(found[0], found[1])


def test_a_rule_that_cannot_bear_nan_never_meets_one_that_the_strong_zero_spares(with_rule):
    def rule(g, _y, _a):
        if not np.isfinite(g).all():
            raise FloatingPointError("this rule was given what isn't finite")
        return g

    x = tg.tensor(BASE)
    np.sum(masked(x, np.sqrt(with_rule(lambda a: a * 1.0, rule)(x)))).backward()
    np.testing.assert_allclose(x.grad, ROOT_SLOPES, rtol=4 * EPS)


def test_an_error_in_a_rule_passes_where_something_is_infinite_too(with_rule):
    def rule(_g, _y, _a):
        raise KeyError("on purpose")

    x = tg.tensor(BASE)
    with pytest.raises(KeyError, match="on purpose"):
        np.sum(np.sqrt(with_rule(lambda a: a * 1.0, rule)(x))).backward()
    assert x.grad is None


def test_float32_stays_float32_where_the_sweep_looks_at_every_slope():
    x = tg.tensor(np.array(BASE, np.float32))
    with np.errstate(invalid="ignore"):
        np.sum(masked(x, np.sqrt(x) / (x * np.float32(1.0)))).backward()
    assert x.grad.dtype == np.float32
    assert np.isfinite(x.grad).all()


def test_a_complex_sweep_looks_too():
    z = tg.tensor(np.array([0.0 + 0.0j, 4.0 + 0.0j]))
    np.sum(np.where(np.array([False, True]), np.sqrt(z), 0.0).real).backward()
    np.testing.assert_allclose(z.grad, [0.0, 0.25], rtol=4 * EPS)


STEPS = st.lists(
    st.tuples(st.sampled_from(["root", "log", "quotient", "mean", "product"]), st.integers(0, 20), st.integers(0, 20)),
    min_size=1,
    max_size=12,
)


def guarded_program(steps, x):
    """A program in which everything that is infinite somewhere is masked away there."""
    values = [x, x * 0.5]
    for step, i, j in steps:
        a, b = values[i % len(values)], values[j % len(values)]
        positive = a.numpy() > 0
        values.append(
            {
                "root": lambda a, b, positive: np.where(positive, np.sqrt(a), b),
                "log": lambda a, b, positive: np.where(positive, np.log(a) * 0.1, b),
                "quotient": lambda a, b, positive: np.where(positive, b / (a + 1.0), a) * 0.5,
                "mean": lambda a, b, positive: (a + b) * 0.5,
                "product": lambda a, b, positive: np.where(positive, a * b, 0.0),
            }[step](a, b, positive)
        )
    return values[-1]


@settings(max_examples=40)
@given(STEPS)
def test_large_programs_with_masked_infinities_have_the_gradients_of_small_ones(steps):
    found = []
    with np.errstate(all="ignore"):
        for size in SIZES:
            x = tg.tensor(tiled(BASE, size))
            np.sum(guarded_program(steps, x)).backward()
            assert x.grad is None or np.isfinite(x.grad).all()
            found.append(x.grad)
    if found[0] is not None:
        np.testing.assert_array_equal(found[1], tiled(found[0], LARGE))
