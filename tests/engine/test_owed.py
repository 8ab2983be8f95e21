"""Weights met at every step of a loop: their cotangents' sums are made a block at a time, and are the same sums."""

import contextlib

import numpy as np
import pytest
from engine_tools import LARGE
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.owed import BLOCK, Owed

SIDE = 20  # of square weights, with more elements than those of which parts are put together at once

ROWS = np.linspace(-0.5, 0.5, 3 * SIDE).reshape(3, SIDE)
INPUT = np.linspace(-0.5, 0.5, SIDE * SIDE).reshape(SIDE, SIDE)
HELD = []  # tensors that outlive the step they were made in


def leaves(dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = {"u": (SIDE, SIDE), "w": (SIDE, SIDE), "b": (SIDE,), "h": (SIDE, SIDE)}
    return {name: tg.tensor((rng.normal(size=shape) * 0.2).astype(dtype)) for name, shape in shapes.items()}


# Each makes a state of a state and the weights; none lets it grow.
STEPS = {
    "right": lambda h, t: np.tanh(h @ t["u"]),
    "left": lambda h, t: np.tanh(t["w"] @ h),
    "layer": lambda h, t: np.tanh(h @ t["u"] + t["b"]),
    "bias": lambda h, t: np.sin(h + t["b"]),
    "scale": lambda h, t: np.sin(h * t["b"]),
    "beside an array": lambda h, t: h * 0.5 + np.mean(ROWS @ t["u"]) - np.mean(t["w"] @ ROWS.T),
    "input": lambda h, t: np.tanh(INPUT @ t["w"] + h @ t["u"] + t["b"]),
    "input second": lambda h, t: np.tanh(h @ t["u"] + INPUT @ t["w"]),
    "input from the left": lambda h, t: np.tanh(t["u"] @ INPUT + t["w"] @ h),
    "input used twice": lambda h, t: _twice(INPUT @ t["w"], h @ t["u"]),
    "input and a detour": lambda h, t: _detour(INPUT @ t["w"], h @ t["u"]),
    "input held": lambda h, t: np.tanh(_held(INPUT @ t["w"]) + h @ t["u"]),
    "input of before": lambda h, t: np.tanh((HELD[-1] if HELD else _held(INPUT @ t["w"])) + h @ t["u"]),
    "both the same": lambda h, t: h * 0.5 + np.tanh(t["u"] @ t["u"]) * 0.1,
    "an element": lambda h, t: h * t["u"][0, 0],
    "all of it": lambda h, t: np.sin(h + t["u"]),
    "masked": lambda h, _t: np.where(h.numpy() > 0, np.sqrt(h), h),
    "large": lambda h, _t: h + np.mean(np.sin(np.tile(np.sum(h), LARGE))),
}


def _twice(p, q):
    return np.tanh(p + q) * np.cos(p)


def _detour(p, q):
    r = np.sin(q)  # newer than q, and on another way to it than p + q
    return 0.5 * np.tanh(p + q) + 0.1 * r


def _held(p):
    HELD.append(p)
    return p


def gradients(steps, way):
    HELD.clear()
    t = leaves()
    h = t["h"]
    for step in steps:
        h = STEPS[step](h, t)
    root = np.sum(h * h)
    if way == "again":
        root.backward(retain_graph=True)
        for leaf in t.values():
            leaf.zero_grad()
    with tg.debug() if way == "careful" else contextlib.nullcontext():
        root.backward()
    return [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad for leaf in t.values()]


@settings(max_examples=120)
@given(st.lists(st.sampled_from(list(STEPS)), max_size=6), st.lists(st.sampled_from(list(STEPS)), max_size=3))
def test_a_loop_gives_what_a_careful_sweep_gives(loop, rest):
    steps = [*loop * (BLOCK // 2), *rest]
    with np.errstate(all="ignore"):
        right = gradients(steps, "careful")
        for way in ("plain", "again"):
            for got, c in zip(gradients(steps, way), right, strict=True):
                assert np.isfinite(c).all()
                np.testing.assert_allclose(got, c, rtol=1e-9, atol=1e-10 * (1 + np.abs(c).max()))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("step", ["right", "left", "layer", "bias"])
def test_every_dtype_gives_what_it_can_hold(step, dtype):
    found, exact = [], []
    for results, kind in ((found, dtype), (exact, np.longdouble)):
        t = leaves(kind)
        h = t["h"]
        for _ in range(2 * BLOCK + 3):
            h = STEPS[step](h, t)
        np.sum(h * h).backward()
        results += [leaf.grad for leaf in t.values() if leaf.grad is not None]
    for c, right in zip(found, exact, strict=True):
        assert c.dtype == dtype
        np.testing.assert_allclose(c, right, rtol=0, atol=300 * np.finfo(dtype).eps * np.abs(right).max())


def test_a_block_is_one_product(monkeypatch):
    made = []
    whole = Owed.whole

    def counted(self):
        made.append(len(self.kept))
        return whole(self)

    monkeypatch.setattr(Owed, "whole", counted)
    t = leaves()
    h = t["h"]
    for _ in range(100):
        h = np.tanh(h @ t["u"])
    np.sum(h).backward()
    # The first two are added as they are; the last block is what is left.
    assert [n for n in made if n] == [BLOCK] * (98 // BLOCK) + [98 % BLOCK]


def test_what_is_owed_waits_where_a_hook_reads():
    t = leaves()
    u = t["u"] * 1.0
    seen = []
    u.register_hook(lambda g: seen.append(np.array(g.data)))
    h = t["h"]
    for _ in range(BLOCK + 5):
        h = np.tanh(h @ u)
    np.sum(h).backward()
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], t["u"].grad)


def test_a_hook_sees_the_whole_cotangent_where_another_way_leads_to_it():
    t = leaves()
    h, seen = t["h"], []
    for _ in range(BLOCK):
        p, q = INPUT @ t["w"], h @ t["u"]
        q.register_hook(lambda g: seen.append(g))
        h = _detour(p, q)
        del p
    np.sum(h).backward()
    assert len(seen) == BLOCK
