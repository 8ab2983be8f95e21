"""Size: a million entries, a hundred thousand uses, and nothing left behind.

No test here asks a clock. Work is counted in calls, memory in bytes that Python's own account shows.
"""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest
from counting import calls_during

import tapegrad as tg
from tapegrad import pairs

MILLION = 10**6


@pytest.fixture
def uncollected():
    """Without the cyclic collector: it goes over every entry again and again, and finds nothing."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def bytes_of(make):
    """The bytes that what ``make()`` returns keeps allocated."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = make()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    del kept
    return after - before


def chain(x, length, step):
    y = x
    for _ in range(length):
        y = step(y)
    return y


# ---------------------------------------------------------------- a million


def test_a_million_operations_are_recorded_replayed_and_freed(uncollected):
    x = tg.tensor([1.0])
    y = chain(x, MILLION // 2, lambda t: (t + 1.0) - 1.0)
    y.backward()
    assert x.grad == 1.0


def test_a_million_operations_are_freed_without_a_sweep(uncollected):
    # Each entry holds the one before: were they freed by recursion, this would crash.
    y = chain(tg.tensor([1.0]), MILLION, lambda t: -t)
    alive = weakref.ref(y)
    del y
    assert alive() is None


@pytest.mark.parametrize(
    "step",
    [
        lambda t: t + np.ones((1, 1)),
        lambda t: np.sum(t, axis=0, keepdims=True),
        lambda t: t.reshape(1, 1),
        lambda t: t[0:1],
        lambda t: np.where(True, t, 0.0),
        lambda t: t * (t * 0.0 + 1.0),
        lambda t: np.concatenate([t, t])[:1],
    ],
    ids=["constant", "sum", "reshape", "getitem", "where", "diamond", "concatenate"],
)
@pytest.mark.parametrize("swept", [False, True])
def test_long_chains_of_every_kind_of_entry_are_freed_without_recursion(step, swept, uncollected):
    x = tg.tensor([[1.0]])
    y = chain(x, 20_000, step)
    if swept:
        np.sum(y).backward()
        assert x.grad.item() != 0.0
    alive = weakref.ref(y)
    del y
    assert alive() is None


def test_a_long_chain_with_hooks_is_swept_and_freed(uncollected):
    calls = []

    def step(t):
        t = t * 1.0
        t.register_hook(calls.append)
        return t

    x = tg.tensor([1.0])
    chain(x, 20_000, step).backward()
    assert len(calls) == 20_000
    y = chain(x, 20_000, step)
    del y


def test_a_long_chain_under_debug_is_swept_and_freed(uncollected):
    x = tg.tensor([1.0])
    with tg.debug():
        chain(x, 5_000, lambda t: t * np.ones(1)).backward()
    assert x.grad == 1.0


def test_a_long_chain_has_a_second_derivative(uncollected):
    x = tg.tensor([1.5])
    chain(x * x, 20_000, lambda t: t * 1.0).backward(create_graph=True)
    slope = x.grad
    x.zero_grad()
    slope.backward()
    assert x.grad == 2.0


# ---------------------------------------------------------------- linear


PROGRAMS = {
    "chain": lambda n: chain(tg.tensor([1.0]), n, np.sin),
    "general chain": lambda n: np.sum(chain(tg.tensor([[1.0]]), n, lambda t: t + tg.tensor([1.0]))),
    "fan-out": lambda n: fan_out(tg.tensor([1.0]), n),
    "many leaves": lambda n: sum_of([tg.tensor([1.0]) for _ in range(n)]),
    "hooked leaves": lambda n: sum_of([hooked(tg.tensor([1.0])) for _ in range(n)]),
    "hooked chain": lambda n: chain(tg.tensor([1.0]), n, lambda t: hooked(t * 1.0)),
    "hooked branches": lambda n: hooked_branches(tg.tensor([1.0]), n),
    "large leaves": lambda n: sum_of([tg.tensor(np.ones(1 << 15)) for _ in range(n)]),
    "large branches": lambda n: np.sum(fan_out(tg.tensor(np.ones(1 << 15)), n)),
}


def hooked(t):
    t.register_hook(lambda g: None)
    return t


def fan_out(x, n):
    total = x * 1.0
    for _ in range(n - 1):
        total = total + x
    return total


def sum_of(tensors):
    total = tensors[0]
    for t in tensors[1:]:
        total = total * t
    return np.sum(total)


def hooked_branches(x, n):
    branches = [hooked(x * 1.0) for _ in range(n)]
    return sum_of(branches)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("options", [{}, {"retain_graph": True}, {"create_graph": True}], ids=str)
def test_a_sweep_takes_calls_in_proportion_to_the_entries(name, options):
    n = 100 if "large" in name else 200
    counts = []
    for size in (n, 2 * n, 4 * n):
        root = PROGRAMS[name](size)
        counts.append(calls_during(lambda root=root: root.backward(**options)))
    # Twice as much of the program adds the same number of calls per entry, whatever a sweep costs at least.
    first, second = counts[1] - counts[0], counts[2] - counts[1]
    assert second <= 2.2 * first, counts


def test_a_fan_out_of_a_hundred_thousand_uses(uncollected):
    x = tg.tensor([1.0, 2.0])
    np.sum(fan_out(x, 10**5)).backward()
    np.testing.assert_array_equal(x.grad, [1e5, 1e5])


def test_a_fan_in_of_many_leaves(uncollected):
    leaves = [tg.tensor([1.0]) for _ in range(20_000)]
    np.sum(np.concatenate(leaves) * np.arange(20_000.0)).backward()
    assert [t.grad.item() for t in leaves] == list(range(20_000))


# ---------------------------------------------------------------- memory


ENTRIES = {
    # Nothing here keeps an array, so that all bytes are the entries' own.
    "x + y": lambda t, x: t + x,
    "x + 1": lambda t, x: t + 1.0,
    "x * -1": lambda t, x: t * -1.0,
    "broadcast": lambda t, x: t + x[0],
    "reshape": lambda t, x: t.reshape(2, 3),
    "sum": lambda t, x: np.sum(t, axis=2),
    "getitem": lambda t, x: t[0:2],
    "transpose": lambda t, x: t.T,
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_takes_at_most_250_bytes_besides_the_arrays(name):
    x = tg.tensor(np.ones((2, 3)))
    step = ENTRIES[name]
    if name == "broadcast":
        row = tg.tensor(np.ones(3))
        step = lambda t, _x: t + row  # noqa: E731
    if name == "sum":
        step = lambda t, _x: np.sum(t, axis=0, keepdims=True)  # noqa: E731
        x = tg.tensor(np.ones((1, 3)))
    chain(x, 200, lambda t: step(t, x))  # What is made once and kept (interned numbers, roads) is there now.
    sizes = {n: bytes_of(lambda n=n: chain(x, n, lambda t: step(t, x))) for n in (2_000, 6_000)}
    per_entry = (sizes[6_000] - sizes[2_000]) / 4_000
    assert per_entry <= 250


def test_an_entry_that_keeps_an_array_takes_at_most_250_bytes_besides():
    x = tg.tensor(np.ones(100))
    array = np.ones(100).nbytes + np.ones(0).__sizeof__()
    sizes = [bytes_of(lambda n=n: chain(x, n, np.sin)) for n in (1_000, 3_000)]
    assert (sizes[1] - sizes[0]) / 2_000 <= 250 + array


def test_evaluating_without_a_sweep_leaves_memory_flat(uncollected):
    x = tg.tensor(np.ones(10))

    def evaluate(times):
        for _ in range(times):
            np.sum(np.sin(x) * x + 1.0)

    evaluate(100)
    tracemalloc.start()
    try:
        evaluate(1_000)
        before = tracemalloc.get_traced_memory()[0]
        evaluate(10_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # Less than a tenth of a byte for each evaluation: nothing is kept of any.
    assert grown < 1_000
    evaluate(90_000)


def test_training_steps_leave_memory_flat(uncollected):
    x, data = tg.tensor(np.ones((3, 2))), np.ones((5, 3))

    def train(times):
        for _ in range(times):
            np.sum((data @ x) ** 2).backward()
            with tg.no_grad():
                x.__isub__(0.001 * x.grad)
            x.zero_grad()

    train(4_000)  # Python keeps up to 2,000 tuples of each length to use again: until it has, memory grows.
    tracemalloc.start()
    try:
        train(100)
        before = tracemalloc.get_traced_memory()[0]
        train(2_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 1_000


def test_adding_large_arrays_keeps_none_of_them():
    x, term = tg.tensor(np.ones(50_000)), np.ones(50_000)
    alive = weakref.ref(term)
    array = 50_000 * 8
    y = x + term
    del term
    assert alive() is None
    # Ten sums in a row: the last one's value is all that stays.
    assert bytes_of(lambda: chain(y, 10, lambda t: t + t - x)) < 1.5 * array


def test_a_product_with_a_constant_keeps_the_constant_alone():
    array = 50_000 * 8
    x, factor = tg.tensor(np.ones(50_000)), np.ones(50_000)
    assert bytes_of(lambda: chain(x, 10, lambda t: t * factor)) < 1.5 * array


@pytest.mark.parametrize("hooked", [False, True])
def test_arrays_are_freed_as_the_sweep_passes(hooked):
    length, array = 100, 20_000 * 8
    present = []
    x = tg.tensor(np.ones(20_000))
    first = x * 1.0
    y = chain(first, length, np.sin)
    if hooked:
        first.register_hook(lambda _g: present.append(tracemalloc.get_traced_memory()[0]))
    loss = np.sum(y)
    del y
    tracemalloc.start()
    try:
        loss.backward()
    finally:
        tracemalloc.stop()
    held = bytes_of(lambda: chain(x, length, np.sin))
    assert held > 0.9 * length * array  # So much was recorded.
    if hooked:
        # All that was recorded after it is gone: the account, which began afterwards, shows only what
        # the sweep itself holds.
        assert present[0] < 12 * array


@pytest.mark.parametrize("retain", [False, True])
def test_a_saved_array_dies_before_the_sweep_is_over_unless_retained(with_rule, retain):
    saved = []

    def rule(g, _y, a):
        saved.append(weakref.ref(a.base))  # A rule of a user's gets a view.
        return g

    remember = with_rule(lambda a: a + 0.0, rule)
    x = tg.tensor(np.ones(1 << 15))
    first = x * 1.0
    found = []
    first.register_hook(lambda _g: found.append([reference() is None for reference in saved]))
    loss = np.sum(chain(first, 40, remember))
    loss.backward(retain_graph=retain)
    assert len(found[0]) == 40
    # The operand of the oldest is the hooked value itself, which a frame may still hold.
    assert all(found[0][:-1]) != retain


def peak_of_a_sweep(length, step):
    """The most memory in arrays that a sweep over a chain which saved nothing takes beyond the start."""
    size = 20_000
    loss = np.sum(chain(tg.tensor(np.ones(size)), length, step))
    gc.collect()
    tracemalloc.start()
    try:
        loss.backward()
        return tracemalloc.get_traced_memory()[1] / (8 * size)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [50, 400])
@pytest.mark.parametrize(
    "step",
    [lambda t: t * 1.5 * (1 / 1.5), lambda t: hooked(t * 1.5) * (1 / 1.5)],
    ids=["plain", "hooked"],
)
def test_a_sweep_takes_the_memory_of_a_few_arrays_however_long(length, step):
    assert peak_of_a_sweep(length, step) < 12


@pytest.mark.parametrize("length", [20, 80])
def test_a_sweep_over_many_large_leaves_frees_as_it_goes(length):
    # It makes a gradient for each leaf, and may let go of a saved array for each: the peak stays.
    size = 20_000
    leaves = [tg.tensor(np.ones(size)) for _ in range(length)]
    gc.collect()
    tracemalloc.start()
    try:
        y = tg.tensor(np.ones(size))
        for leaf in leaves:
            y = y * leaf
        loss = np.sum(y)
        del y
        recorded = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        loss.backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert recorded > 0.9 * length * 8 * size
    assert peak - recorded < 14 * 8 * size


def test_the_plans_of_many_lengths_are_kept(monkeypatch):
    """A weight beside sequences of 200 lengths: what to do is found out once for each, not at every turn."""
    plan, made = pairs._plan, []
    monkeypatch.setattr(pairs, "_plan", lambda *given: made.append(given) or plan(*given))
    w, sequences = tg.tensor(np.ones((3, 7))), [tg.tensor(np.ones((n, 3))) for n in range(2, 202)]
    for _ in range(4):
        for x in sequences:
            x @ w
    assert len(made) <= 2 * len(sequences)  # Twice, where plans of other tests filled the table meanwhile.
