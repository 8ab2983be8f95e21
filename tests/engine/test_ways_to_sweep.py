"""Every way to sweep one program gives the same gradients: trusting, careful, retained, recorded, large, hooked.

The programs mix every kind of entry (quick and general, several outputs, hooks anywhere) with slopes that
are infinite where they are masked away, so that the sweep settles, goes back and looks again at any point.
"""

import contextlib

import numpy as np
import pytest
from engine_tools import EPS, tiled
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg

PERIOD = 6
SIZES = [2 * PERIOD, 3000 * PERIOD]
LEAVES = [[0.0, 0.5, -0.3, 0.9, 0.0, 0.25], [0.9, 0.0, 0.5, 0.0, -0.7, 0.1]]


def sine_and_square_rule(g, _y, a):
    return (a * 0.0 if g[0] is None else g[0] * np.cos(a)) + (a * 0.0 if g[1] is None else g[1] * a)


def sure(a):
    """Where a is well above 0: a constant of the program."""
    return a.numpy() > 0.25


def halved(a):
    return a.reshape(2, -1).sum(axis=0) * 0.5


# Each takes two values and gives one or more. None makes a value larger than 1 of values that aren't, or
# multiplies a cotangent by more than 4: what is steeper is masked away.
STEPS = {
    "mean": lambda a, b: [(a + b) * 0.5],
    "difference": lambda a, b: [a * 0.5 - b * 0.5],
    "product": lambda a, b: [a * b],
    "negative": lambda a, _b: [-a],
    "root": lambda a, b: [np.where(sure(a), np.sqrt(a), b)],
    "log": lambda a, _b: [np.where(sure(a), np.log(a) * 0.5, 0.0)],
    "quotient": lambda a, b: [np.where(sure(a), b * 0.25 / a, a)],
    "spoiled": lambda a, b: [np.where(np.ones(a.shape, bool), a, a / (b * 0.0))],
    "reversed": lambda a, _b: [a[::-1]],
    "rows": lambda a, b: [(a.reshape(2, -1) * b.reshape(2, -1)[:1]).reshape(-1)],
    "joined": lambda a, b: [np.concatenate([a, b])[: a.size]],
    "sums": lambda a, b: [np.concatenate([halved(a), halved(b)])],
}
PROGRAMS = st.lists(
    st.tuples(
        st.sampled_from([*STEPS, "both"]),
        st.integers(0, 40),
        st.integers(0, 40),
        st.sampled_from([None, None, "look", "halve"]),
    ),
    min_size=1,
    max_size=14,
)
WAYS = ["plain", "debug", "retained", "recorded"]


def run(program, both, size, way):
    """The gradients of the leaves, and how often each hook ran."""
    leaves = [tg.tensor(tiled(values, size)) for values in LEAVES]
    values, calls = list(leaves), []
    for step, i, j, hook in program:
        a, b = values[i % len(values)], values[j % len(values)]
        for value in both(a) if step == "both" else STEPS[step](a, b):
            if hook:
                calls.append(0)
                value.register_hook(counting(calls, len(calls) - 1, 0.5 if hook == "halve" else None))
            # More entries, of slope 1, so that a large program is looked at on its way more than once.
            values.append(value * 1.0 * 1.0)
    root = np.sum(values[-1]) + np.sum(values[len(values) // 2])
    if way == "retained":
        root.backward(retain_graph=True)
        for leaf in leaves:
            leaf.zero_grad()
        calls[:] = [0] * len(calls)
    with tg.debug() if way == "debug" else contextlib.nullcontext():
        root.backward(create_graph=way == "recorded")
    return [None if t.grad is None else np.array(getattr(t.grad, "data", t.grad)) for t in leaves], calls


def counting(calls, index, factor):
    def hook(g):
        calls[index] += 1
        assert np.isfinite(g.numpy() if type(g) is tg.Tensor else g).all()
        return None if factor is None else g * factor

    return hook


@pytest.mark.parametrize("size", SIZES, ids=["small", "large"])
@settings(max_examples=40)
@given(PROGRAMS)
def test_every_way_to_sweep_gives_the_same(with_rule, size, program):
    both = with_rule(lambda a: (np.sin(a), a * a * 0.5), sine_and_square_rule)
    with np.errstate(all="ignore"):
        found = {way: run(program, both, size, way) for way in WAYS}
    gradients, calls = found["plain"]
    assert set(calls) <= {0, 1}
    for way in WAYS[1:]:
        assert found[way][1] == calls, way
        for got, right in zip(found[way][0], gradients, strict=True):
            assert (got is None) == (right is None)
            if right is not None:
                assert np.isfinite(right).all()
                # The ways add the shares of a cotangent in different orders, and so round differently.
                np.testing.assert_allclose(got, right, rtol=0, atol=64 * EPS * 4.0 ** len(program))
