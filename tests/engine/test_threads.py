"""Threads: they record and replay at once, and may share graphs and leaves."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tapegrad as tg

WORKERS = 4


@pytest.fixture
def impatient():
    """Let Python change threads a thousand times more often than usual, so that races come to light."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work, count=WORKERS):
    """Run ``work(i)`` in that many threads, all of which start together; the results in order."""
    start = threading.Barrier(count)

    def one(i):
        start.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return [job.result() for job in [pool.submit(one, i) for i in range(count)]]


def program(x, w):
    y = x
    for _ in range(20):
        y = np.sin(y) * w + y
    return np.sum(y)


def test_threads_record_and_replay_at_once(impatient):
    def work(i):
        found = []
        for round_ in range(10):
            x, w = tg.tensor([0.1 * i, 0.2, 0.3]), tg.tensor([0.5, 0.1 * round_, 0.25])
            program(x, w).backward()
            found.append((x.grad, w.grad))
        return found

    one_by_one = [work(i) for i in range(WORKERS)]
    np.testing.assert_array_equal(at_once(work), one_by_one)


def test_threads_that_replay_one_graph_add_up_exactly(impatient):
    x, w = tg.tensor([0.1, 0.2, 0.3]), tg.tensor([0.5, 0.75, 0.25])
    loss = np.sum(x * w * 2.0)
    loss.backward(retain_graph=True)
    once_x, once_w = x.grad, w.grad
    x.zero_grad()
    w.zero_grad()
    at_once(lambda _i: [loss.backward(retain_graph=True) for _ in range(64)] and None)
    # Every partial sum of k equal shares is rounded alike in any order: the same adds in one thread.
    for leaf, once in ((x, once_x), (w, once_w)):
        expected = once
        for _ in range(64 * WORKERS - 1):
            expected = expected + once
        np.testing.assert_array_equal(leaf.grad, expected)


def test_threads_with_graphs_of_their_own_share_leaves_exactly(impatient):
    # NumPy lets other threads run while it adds arrays as long as these.
    w = tg.tensor(np.ones(5000))

    def work(i):
        for _ in range(256):
            np.sum(w * float(i + 1)).backward()

    at_once(work)
    np.testing.assert_array_equal(w.grad, np.full(5000, 256.0 * sum(range(1, WORKERS + 1))))


def test_threads_extend_one_graph_at_once(impatient):
    x = tg.tensor([0.5, 1.5])
    shared = np.sin(x) * x
    losses = at_once(lambda i: [np.sum(shared * float(i + 1)) for _ in range(16)])
    at_once(lambda i: [loss.backward(retain_graph=True) for loss in losses[i]] and None)
    slope = np.sin([0.5, 1.5]) + np.array([0.5, 1.5]) * np.cos([0.5, 1.5])
    np.testing.assert_allclose(x.grad, 16 * sum(range(1, WORKERS + 1)) * slope, rtol=1e-13)  # 64 sums round


def test_threads_take_higher_derivatives_at_once(impatient):
    def work(i):
        x = tg.tensor([1.0 + i])
        (x**4).backward(create_graph=True)
        slope = x.grad
        x.zero_grad()
        slope.backward()
        return x.grad.item()

    assert at_once(work) == [12.0 * (1.0 + i) ** 2 for i in range(WORKERS)]


def test_of_threads_that_free_one_graph_at_once_one_succeeds_and_the_others_are_told(impatient):
    for _ in range(20):
        x = tg.tensor([0.5, 1.5])
        loss = program(x, tg.tensor([1.0, 1.0]))

        def work(_i, loss=loss):
            try:
                loss.backward()
            except tg.TapegradError:
                return 0
            return 1

        assert sum(at_once(work)) >= 1
        assert x.grad is not None


def test_hooks_registered_from_many_threads_all_run(impatient):
    x = tg.tensor([1.0])
    y = x * 2.0
    calls = []
    at_once(lambda i: [y.register_hook(lambda g, i=i: calls.append(i)) for _ in range(16)] and None)
    y.backward()
    assert sorted(calls) == sorted(list(range(WORKERS)) * 16)


def test_a_graph_recorded_in_one_thread_can_be_replayed_in_another():
    x = tg.tensor([1.0, 2.0])
    loss = np.sum(x * x)
    at_once(lambda _i: loss.backward(), 1)
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
