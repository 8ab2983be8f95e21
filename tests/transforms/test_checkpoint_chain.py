"""``checkpoint_chain``: the gradients of the plain loop, in bounded memory, with the fewest evaluations."""

import functools
import gc
import glob
import os
import sys
import tempfile
import threading
import tracemalloc
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transform_tools import EPS

import tapegrad as tg
from tapegrad.errors import ArgumentError, ChangedDataError, RecordingError, UnexpectedArgumentError
from tapegrad.transforms.memory.schedule import evaluations, split

WAYS = pytest.mark.parametrize("ways", [{}, {"snapshots": 1}, {"snapshots": 3}, {"snapshots": 100}, {"disk": True}])
W = np.linspace(-1, 1, 9).reshape(3, 3) / 2
V = np.array([0.3, -0.7, 1.1])


def plain(step: Any, state: Any, xs: Any, **_ways: Any) -> Any:
    for x in xs:
        state = step(state, x)
    return state


def close(a: Any, b: Any) -> bool:
    # The same operations on the same numbers; only sums of cotangents may go in another order.
    return np.allclose(a, b, rtol=1e3 * EPS, atol=1e3 * EPS)


class Moving(NamedTuple):
    v: Any
    parts: Any


def gradients(chain: Any, n: int, **ways: Any) -> list[Any]:
    """By the first state, by rows of a tensor, and by what the steps close over; and constants on the way."""
    w, v, energy, xs = tg.tensor(W), tg.tensor(V), tg.tensor(2.0), tg.tensor(np.cos(np.arange(3.0 * n).reshape(n, 3)))

    def step(state: Any, x: Any) -> Any:
        v = np.tanh(w @ state.v) + x
        return Moving(v, {"energy": state.parts["energy"] + np.sum(v * v), "count": state.parts["count"] + 1})

    last = chain(step, Moving(v, {"energy": energy, "count": 0}), xs, **ways)
    assert last.parts["count"] == n
    (np.sum(last.v**3) + last.parts["energy"] ** 2).backward()
    return [t.grad for t in (w, v, energy, xs)]


@WAYS
@pytest.mark.parametrize("n", [1, 2, 3, 10, 17])
def test_gradients_are_those_of_the_loop(n: int, ways: Any) -> None:
    for a, b in zip(gradients(tg.checkpoint_chain, n, **ways), gradients(plain, n), strict=True):
        assert close(a, b)


def loss(chain: Any, **ways: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        return np.sin(state) * x + np.roll(state, 1)

    return lambda v, c: np.sum(np.sin(chain(step, v, [c, 2.0 * c, 0.5, c[0], {"a": c}["a"], 1.5, c], **ways)))


@pytest.mark.parametrize("ways", [{}, {"snapshots": 2}])
def test_derivatives_of_higher_order(ways: Any) -> None:
    def second(f: Any) -> Any:
        return lambda x: np.sum(np.sin(tg.grad(f, (0, 1))(x, x * 2)[0]) + tg.grad(f, (0, 1))(x, x * 2)[1] ** 2)

    checkpointed, whole = loss(tg.checkpoint_chain, **ways), loss(plain)
    assert close(tg.grad(second(checkpointed))(V), tg.grad(second(whole))(V))
    assert close(tg.hessian(lambda x: checkpointed(x, V))(V), tg.hessian(lambda x: whole(x, V))(V))
    third = [tg.grad(lambda x, f=f: np.sum(tg.grad(second(f))(x) ** 2))(V) for f in (checkpointed, whole)]
    assert close(*third)
    tangents = (np.array([1.0, 0.0, -2.0]), np.array([0.5, 1.0, 1.0]))
    assert close(tg.jvp(checkpointed, (V, V), tangents)[1], tg.jvp(whole, (V, V), tangents)[1])
    assert close(tg.hvp(checkpointed, (V, V), tangents), tg.hvp(whole, (V, V), tangents))


def test_a_gradient_of_a_gradient_reaches_what_the_steps_close_over() -> None:
    def gradient(chain: Any) -> Any:
        w, v = tg.tensor(W), tg.tensor(V)
        y = chain(lambda s, x: np.tanh(w @ s) * x, v, np.array([1.0, 2.0, 3.0, 1.0, 2.0]))
        np.sum(y**2).backward(create_graph=True)
        g = w.grad
        w.zero_grad(), v.zero_grad()
        np.sum(np.sin(g)).backward()
        return w.grad, v.grad

    for a, b in zip(gradient(tg.checkpoint_chain), gradient(plain), strict=True):
        assert close(a, b)


# -------------------------------- the schedule


@functools.cache
def fewest(n: int, k: int) -> int:
    """The least number of evaluations to get on, by trying every place for the next snapshot."""
    if n == 1:
        return 0
    if k == 1:
        return n * (n - 1) // 2
    return min(m + fewest(n - m, k - 1) + fewest(m, k) for m in range(1, n))


def test_the_formula_is_the_least_over_all_schedules() -> None:
    assert all(evaluations(n, k) == fewest(n, k) for n in range(1, 61) for k in range(1, 12))


def test_the_split_stays_within_the_bounds() -> None:
    assert all(1 <= split(n, k) < n for n in range(2, 200) for k in range(2, 20))


@given(st.integers(1, 60), st.integers(1, 12))
def test_steps_are_evaluated_as_rarely_as_can_be(n: int, k: int) -> None:
    count = 0

    def step(state: Any, x: Any) -> Any:
        nonlocal count
        count += 1
        return state * x

    x = tg.tensor(1.0)
    y = tg.checkpoint_chain(step, x, np.full(n, 1.1), snapshots=k)
    assert count == n
    y.backward()
    # To get on, to record each, and once for the value of the last.
    assert count == fewest(n, k) + n + 1
    assert np.isclose(x.grad, 1.1**n, rtol=n * EPS)


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_no_more_snapshots_are_held_than_allowed(k: int, disk: bool) -> None:
    size, n = 10_000, 25
    highest = 0
    folder = tempfile.mkdtemp()

    def step(state: Any, _x: Any) -> Any:
        nonlocal highest
        held = len(glob.glob(f"{folder}/*/*")) if disk else tracemalloc.get_traced_memory()[0] // (8 * size)
        highest = max(highest, held)
        return state * 1.01

    x = tg.tensor(np.ones(size))
    tracemalloc.start()
    try:
        y = np.sum(tg.checkpoint_chain(step, x, range(n), snapshots=k, disk=folder if disk else None))
        y.backward()
    finally:
        tracemalloc.stop()
    # On disk the first, which is the user's, isn't; the state that a sweep begins with is. In memory there are
    # the state at work, its cotangent and what one step records beside them.
    assert highest <= (k if disk else k + 5)
    del y
    gc.collect()
    assert os.listdir(folder) == []
    os.rmdir(folder)


@pytest.mark.parametrize("ways", [{"snapshots": 10}, {}])
def test_memory_doesnt_grow_with_the_number_of_steps(ways: Any) -> None:
    size = 2000
    k = tg.tensor(np.ones(size))

    def step(state: Any, dt: Any) -> Any:
        q, p = state
        p = p - dt * k * np.sin(q)
        return q + dt * p, p

    def peak(n: int) -> float:
        tracemalloc.start()
        try:
            q, _p = tg.checkpoint_chain(step, (tg.tensor(np.ones(size)), np.zeros(size)), np.full(n, 0.01), **ways)
            np.sum(q).backward()
            return tracemalloc.get_traced_memory()[1] / (8 * size)
        finally:
            tracemalloc.stop()

    peak(4)  # What is made once, by whoever is first.
    few, many = peak(100), peak(900)
    # With a budget, the same (where its snapshots stand makes a difference of an array or two); without, as the
    # square root: 3 times.
    assert many < (few + 4 if ways else 3.8 * few)


def test_a_hundred_thousand_steps() -> None:
    rate = tg.tensor(1.0)
    n = 100_000
    y = tg.checkpoint_chain(lambda y, _: y - rate * y / n, 1.0, range(n))
    y.backward()
    # y = (1 - r / n)^n; n roundings of 1 part in 2^53 each.
    assert np.isclose(rate.grad, -((1 - 1 / n) ** (n - 1)), rtol=n * EPS)


# -------------------------------- states, items, captured tensors


@WAYS
def test_steps_may_write_to_their_state(ways: Any) -> None:
    def gradient(chain: Any) -> Any:
        u, k = tg.tensor(np.linspace(0, 1, 8)), tg.tensor(0.1)

        def step(state: Any, x: Any) -> Any:
            state["u"][1:-1] += k * x * (state["u"][2:] - 2 * state["u"][1:-1] + state["u"][:-2])
            state["u"] *= 1.01
            state["count"] += 1
            return state

        state = {"u": u * u, "count": np.zeros(2)}
        last = chain(step, state, [1.0, 2.0, 1.0, 0.5, 1.5], **ways)
        assert np.array_equal(last["count"], [5, 5])
        np.sum(last["u"] ** 2).backward()
        return u.grad, k.grad

    for a, b in zip(gradient(tg.checkpoint_chain), gradient(plain), strict=True):
        assert close(a, b)


def test_the_first_state_isnt_written_to() -> None:
    v, count = tg.tensor(V) * 1, np.zeros(1)

    def step(state: Any, _x: Any) -> Any:
        state[0][0] = 5.0
        state[1][0] += 1
        return state

    last = tg.checkpoint_chain(step, (v, count), range(3))
    assert np.array_equal(v.numpy(), V)
    assert (count[0], last[1][0]) == (0, 3)


@WAYS
def test_tensors_come_in_later(ways: Any) -> None:
    a = tg.tensor(2.0)
    y = tg.checkpoint_chain(lambda s, t: s * a if t == 2 else s + 1.0, 1.0, range(5), **ways)
    y.backward()
    assert (y.item(), a.grad) == (8, 3)


def test_items_are_containers_of_tensors() -> None:
    items = [{"a": tg.tensor(float(i)), "b": (2.0, None, np.ones(2))} for i in range(9)]

    def gradient(chain: Any, **ways: Any) -> Any:
        step = lambda s, x: np.sin(s) * x["a"] + x["b"][0] * x["b"][2][1]  # noqa: E731
        chain(step, 1.0, items, **ways).backward()
        found = [item["a"].grad for item in items]
        for item in items:
            item["a"].zero_grad()
        return found

    assert close(gradient(tg.checkpoint_chain, snapshots=2), gradient(plain))
    assert close(gradient(tg.checkpoint_chain), gradient(plain))


def test_an_item_may_stand_for_several_steps() -> None:
    x = tg.tensor(2.0)
    tg.checkpoint_chain(lambda s, x: s * x, 1.0, [x] * 5, snapshots=2).backward()
    assert x.grad == 5 * 2**4


@pytest.mark.parametrize("xs", [iter([1.0, 2.0, 3.0]), (1.0, 2.0, 3.0), np.array([1.0, 2.0, 3.0]), zip([1, 2, 3])])
def test_items_come_from_any_sequence(xs: Any) -> None:
    a = tg.tensor(2.0)
    y = tg.checkpoint_chain(lambda s, x: s * a * (x[0] if isinstance(x, tuple) else x), 1.0, xs)
    assert y.item() == 48
    y.backward()
    assert a.grad == 72


@pytest.mark.parametrize("xs", [5, {"a": 1.0}, "abc", np.float64(1.0), np.array(1.0)])
def test_what_isnt_a_sequence_is_refused(xs: Any) -> None:
    with pytest.raises(UnexpectedArgumentError, match="checkpoint_chain: xs"):
        tg.checkpoint_chain(lambda s, _x: s, tg.tensor(1.0), xs)


def test_no_steps_give_the_first_state() -> None:
    x = tg.tensor(V)
    assert tg.checkpoint_chain(lambda s, _x: s * 2, x, []) is x


@WAYS
def test_nothing_is_recorded_where_nothing_records(ways: Any) -> None:
    assert tg.checkpoint_chain(lambda s, x: s * x, 1.0, [2.0, 3.0], **ways) == 6
    with tg.no_grad():
        y = tg.checkpoint_chain(lambda s, x: s * x, tg.tensor(1.0), tg.tensor([2.0, 3.0]), **ways)
    assert not y.requires_grad
    assert y.item() == 6


@pytest.mark.parametrize("kind", ["recorded", "written"])
def test_gradients_reach_recorded_tensors_that_steps_close_over(kind: str) -> None:
    def gradient(chain: Any, **ways: Any) -> Any:
        leaf = tg.tensor(W)
        w = leaf * leaf
        if kind == "written":
            w = np.zeros((3, 3), like=leaf)
            w[:2] = leaf[1:]
            w[2] = leaf[0] * 2
        y = chain(lambda s, x: np.tanh(w @ s) + x, tg.tensor(V), [1.0, 2.0, 3.0, 4.0], **ways)
        (np.sum(y**2) + np.sum(w**2)).backward()
        return leaf.grad

    assert close(gradient(tg.checkpoint_chain), gradient(plain))
    assert close(gradient(tg.checkpoint_chain, snapshots=2), gradient(plain))


def test_what_is_carried_out_of_a_step_is_not_lost_in_silence() -> None:
    path = []

    def step(state: Any, _x: Any) -> Any:
        path.append(state)
        return state * 2

    x = tg.tensor(1.0)
    tg.checkpoint_chain(step, x, range(3))
    with pytest.raises(RecordingError, match="as a part of its state"):
        sum(path).backward()  # type: ignore[attr-defined]


# -------------------------------- randomness, changes, sweeps


@WAYS
def test_draws_are_the_same_again(ways: Any) -> None:
    def gradient(chain: Any) -> Any:
        rng, own = np.random.default_rng(3), np.random.default_rng(4)
        x = tg.tensor(V)
        y = chain(
            lambda s, _x: {"v": s["v"] * rng.normal(size=3) + s["own"].normal() * np.sin(s["v"]), "own": s["own"]},
            {"v": x, "own": own},
            range(7),
            **ways,
        )
        np.sum(y["v"] ** 2).backward()
        return x.grad, rng.normal(), own.normal()

    for a, b in zip(gradient(tg.checkpoint_chain), gradient(plain), strict=True):
        assert close(a, b)


def test_draws_are_the_same_at_second_order() -> None:
    def gradient(chain: Any) -> Any:
        def f(x: Any) -> Any:
            rng = np.random.default_rng(3)
            return np.sum(np.sin(chain(lambda s, _x: np.sin(s) * rng.normal(size=3), x, range(5))))

        return tg.hessian(f)(V)

    assert close(gradient(tg.checkpoint_chain), gradient(plain))


def test_tensors_written_to_after_the_call_count_as_they_were() -> None:
    v, xs = tg.tensor(V), tg.tensor(np.array([2.0, 3.0]))
    y = np.sum(tg.checkpoint_chain(lambda s, x: s * x, v, xs, snapshots=1))
    with tg.no_grad():
        v *= 7.0
        xs[...] = 0.0
    y.backward()
    assert np.array_equal(v.grad, np.full(3, 6.0))
    assert close(xs.grad, np.sum(V) * np.array([3.0, 2.0]))


@WAYS
def test_items_and_state_changed_after_the_call_count_as_they_were(ways: Any) -> None:
    v, few, many, large = tg.tensor(1.0), [2.0, 3.0], np.full(1000, 1.001), np.linspace(0.0, 1.0, 1000)
    y = tg.checkpoint_chain(lambda s, x: s * x, v, few, **ways)
    few[0] = 0.0
    y.backward()
    assert v.grad == 6
    y = tg.checkpoint_chain(lambda s, x: s * x, v, many, **ways)
    many[...] = 0.0
    y.backward()
    assert close(v.grad, 6 + 1.001**1000)
    items = [{"a": large}, {"a": large[::-1]}, {"a": large}]
    y, _a = tg.checkpoint_chain(lambda s, x: (s[0] * x["a"][1] + s[1][2], s[1] * 2), (v, large), items, **ways)
    large[...] = 0.0
    y.backward()
    assert close(v.grad, 6 + 1.001**1000 + 998 / 999**3)


def test_a_step_that_changed_is_found_out() -> None:
    factor = [2.0]
    x = tg.tensor(1.0)
    y = tg.checkpoint_chain(lambda s, _x: s * factor[0], x, range(4))
    factor[0] = 3.0
    with pytest.raises(ChangedDataError, match="run again"):
        y.backward()
    assert x.grad is None


@WAYS
def test_a_graph_can_be_retained(ways: Any) -> None:
    x = tg.tensor(V)
    y = np.sum(tg.checkpoint_chain(lambda s, _x: np.sin(s) * 2, x, range(9), **ways))
    y.backward(retain_graph=True)
    once = x.grad
    y.backward()
    assert close(x.grad, 2 * once)
    with pytest.raises(RecordingError):
        y.backward()


def test_an_exception_passes_unchanged_and_leaves_nothing() -> None:
    error, rng, failing = ValueError("mine"), np.random.default_rng(0), [False]

    def step(state: Any, t: Any) -> Any:
        draw = rng.normal()
        if failing[0] and t == 2:
            raise error
        return state * draw

    x = tg.tensor(1.0)
    y = tg.checkpoint_chain(step, x, range(5), snapshots=2)
    state = rng.bit_generator.state
    failing[0] = True
    with pytest.raises(ValueError, match="mine") as caught:
        y.backward()
    assert caught.value is error
    assert x.grad is None
    assert rng.bit_generator.state == state
    failing[0] = False
    y.backward()
    assert np.isclose(x.grad, y.item(), rtol=10 * EPS)


def test_threads_share_steps() -> None:
    w = tg.tensor(W)
    wrong = []
    step = lambda s, x: np.tanh(w @ s) + x  # noqa: E731
    right = tg.grad(lambda v: np.sum(plain(step, v, range(12))))(V)

    def work(k: int) -> None:
        got = tg.grad(lambda v: np.sum(tg.checkpoint_chain(step, v, range(12), snapshots=k)))(V)
        if not close(got.numpy(), right.numpy()):
            wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# -------------------------------- options


@pytest.mark.parametrize("snapshots", [0, -1, 2.5, "3"])
def test_a_budget_below_one_is_refused(snapshots: Any) -> None:
    with pytest.raises(ArgumentError, match="snapshots="):
        tg.checkpoint_chain(lambda s, _x: s, tg.tensor(1.0), range(3), snapshots=snapshots)


def test_the_folder_of_the_snapshots_is_removed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        x = tg.tensor(np.ones(10_000))
        y = np.sum(tg.checkpoint_chain(lambda s, _x: s * 1.1, x, range(9), disk=folder))
        assert glob.glob(f"{folder}/*/*")
        y.backward()
        assert np.allclose(x.grad, 1.1**9)
        del y
        gc.collect()
        assert os.listdir(folder) == []


@pytest.mark.parametrize("missing", [(), ("tqdm",), ("tqdm", "rich")])
def test_a_bar_is_tqdms_or_richs_or_named(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = []

    class Progress:
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def add_task(self, what: str, total: int) -> int:
            ticks.append((what, total))
            return 0

        def advance(self, task: int) -> None:
            ticks.append(task)

    rich = ModuleType("rich.progress")
    rich.Progress = Progress  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rich.progress", None if "rich" in missing else rich)  # type: ignore[arg-type]
    if "tqdm" in missing:
        monkeypatch.setitem(sys.modules, "tqdm", None)  # type: ignore[arg-type]
    x = tg.tensor(1.0)
    run = lambda: tg.checkpoint_chain(lambda s, _x: s * 2, x, range(5), snapshots=2, progress=True)  # noqa: E731
    if "rich" in missing:
        with pytest.raises(ArgumentError, match=r"tapegrad\[examples\]"):
            run()
        return
    run().backward()
    assert x.grad == 32
    if missing:
        work = fewest(5, 2) + 5 - 4
        assert ticks == [("forward", 5), *[0] * 5, ("backward", work), *[0] * work]
    else:
        shown = capsys.readouterr().err
        assert "forward: 100%" in shown
        assert "backward: 100%" in shown
