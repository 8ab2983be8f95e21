"""Whether operations are recorded: no_grad and enable_grad, entered and left in any order, anywhere."""

import asyncio
import contextvars
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_tools import records_now
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg


def test_operations_are_recorded_by_default():
    assert records_now()


def test_nothing_is_recorded_under_no_grad():
    x = tg.tensor([1.0, 2.0])
    with tg.no_grad():
        for y in (x * 2.0, x + x, np.sin(x), np.sum(x), x[0], x.reshape(2, 1), x @ x, 2.0 - x):
            assert not y.requires_grad
            assert type(y) is tg.Tensor


def test_enable_grad_records_within_no_grad():
    with tg.no_grad(), tg.enable_grad():
        assert records_now()


def test_a_leaf_made_under_no_grad_records_afterwards():
    with tg.no_grad():
        x = tg.tensor([1.0])
    assert (x * 2.0).requires_grad


def test_what_was_computed_under_no_grad_is_a_constant():
    x = tg.tensor([1.0, 2.0])
    with tg.no_grad():
        scale = x * 10.0
    np.sum(x * scale).backward()
    np.testing.assert_array_equal(x.grad, [10.0, 20.0])


def test_an_exception_ends_the_mark():
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert records_now()


def test_exits_need_not_come_in_the_order_of_entries():
    off, on = tg.no_grad(), tg.enable_grad()
    off.__enter__()
    on.__enter__()
    assert records_now()
    off.__exit__(None, None, None)
    assert records_now()
    on.__exit__(None, None, None)
    assert records_now()
    on.__enter__()
    off.__enter__()
    on.__exit__(None, None, None)
    assert not records_now()
    off.__exit__(None, None, None)
    assert records_now()


def test_one_object_may_be_entered_again_within_itself():
    off = tg.no_grad()
    with off:
        with tg.enable_grad():
            with off:
                assert not records_now()
            assert records_now()  # The exit took away the mark that was left last.
        assert not records_now()
    assert records_now()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), max_size=16))
def test_what_holds_is_told_by_the_last_mark_that_remains(actions):
    """Marks are entered and left at random; a plain list says what must hold."""
    marks, expected = [], []
    for enter, on, which in actions:
        if enter:
            mark = tg.enable_grad() if on else tg.no_grad()
            mark.__enter__()
            marks.append(mark)
            expected.append(on)
        elif marks:
            marks.pop(which % len(marks)).__exit__(None, None, None)
            expected.pop(which % len(expected))
        assert records_now() == (expected[-1] if expected else True)
    for mark in marks:
        mark.__exit__(None, None, None)
    assert records_now()


def test_leaving_a_mark_that_was_never_entered_does_nothing():
    with tg.no_grad():
        tg.no_grad().__exit__(None, None, None)
        assert not records_now()


# ---------------------------------------------------------------- functions


def test_a_decorated_function_holds_while_it_runs():
    @tg.no_grad()
    def inside(a, *, b):
        """What it says."""
        return records_now(), a, b

    assert inside(1, b=2) == (False, 1, 2)
    assert records_now()
    assert inside.__name__ == "inside"
    assert inside.__doc__ == "What it says."


def test_a_decorated_function_may_call_itself():
    @tg.no_grad()
    def countdown(n):
        return [records_now(), *(countdown(n - 1) if n else [])]

    assert countdown(3) == [False] * 4
    assert records_now()


def test_a_decorated_function_that_raises_ends_its_mark():
    @tg.no_grad()
    def inside():
        raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert records_now()


def test_enable_grad_decorates_too():
    with tg.no_grad():
        assert tg.enable_grad()(records_now)()


# ---------------------------------------------------------------- generators


def test_a_decorated_generator_holds_only_while_its_own_frame_runs():
    @tg.no_grad()
    def numbers():
        for _ in range(3):
            yield records_now()

    between = []
    for held in numbers():
        assert not held
        between.append(records_now())
    assert between == [True, True, True]


def test_a_decorated_generator_sees_the_same_under_an_outer_mark():
    @tg.enable_grad()
    def numbers():
        yield records_now()
        yield records_now()

    with tg.no_grad():
        it = numbers()
        assert next(it)
        assert not records_now()
    assert next(it)


def test_generators_may_be_resumed_in_turns():
    def states():
        for _ in range(3):
            yield records_now()

    off, on = tg.no_grad()(states)(), tg.enable_grad()(states)()
    assert [(a, b, records_now()) for a, b in zip(off, on, strict=True)] == [(False, True, True)] * 3


def test_what_is_sent_to_a_decorated_generator_arrives():
    @tg.no_grad()
    def echo():
        received = []
        for _ in range(3):
            received.append(((yield len(received)), records_now()))
        return received

    it = echo()
    assert next(it) == 0
    assert it.send("a") == 1
    assert it.send("b") == 2
    with pytest.raises(StopIteration) as stopped:
        it.send("c")
    assert stopped.value.value == [("a", False), ("b", False), ("c", False)]


def test_what_is_thrown_into_a_decorated_generator_arrives():
    @tg.no_grad()
    def survivor():
        try:
            yield 1
        except KeyError as error:
            yield (str(error), records_now())

    it = survivor()
    next(it)
    assert it.throw(KeyError("k")) == ("'k'", False)
    assert records_now()


def test_what_a_decorated_generator_does_not_catch_comes_out():
    @tg.no_grad()
    def fragile():
        yield 1

    it = fragile()
    next(it)
    with pytest.raises(KeyError, match="k"):
        it.throw(KeyError("k"))
    with pytest.raises(StopIteration):
        next(it)
    assert records_now()


def test_closing_a_decorated_generator_runs_its_end_under_the_mark():
    ends = []

    @tg.no_grad()
    def tidy():
        try:
            yield 1
        finally:
            ends.append(records_now())

    it = tidy()
    next(it)
    it.close()
    assert ends == [False]
    assert records_now()


def test_a_decorated_generator_that_is_dropped_is_closed():
    ends = []

    @tg.no_grad()
    def tidy():
        try:
            yield 1
        finally:
            ends.append(records_now())

    it = tidy()
    next(it)
    del it
    assert ends == [False]
    assert records_now()


def test_a_decorated_generator_passes_arguments_and_delegates():
    @tg.no_grad()
    def outer(n, *, step):
        return (yield from range(0, n, step))

    assert list(outer(6, step=2)) == [0, 2, 4]


# ---------------------------------------------------------------- tasks


def test_a_decorated_coroutine_holds_while_it_runs():
    @tg.no_grad()
    async def inside(value):
        before = records_now()
        await asyncio.sleep(0)
        return before, records_now(), value

    async def main():
        result = await inside(7)
        return result, records_now()

    assert inspect.iscoroutinefunction(inside)
    assert asyncio.run(main()) == ((False, False, 7), True)


def test_tasks_that_take_turns_do_not_see_each_others_marks():
    async def task(mark, expected):
        with mark:
            for _ in range(5):
                assert records_now() == expected
                await asyncio.sleep(0)

    async def main():
        await asyncio.gather(task(tg.no_grad(), False), task(tg.enable_grad(), True), task(tg.no_grad(), False))
        assert records_now()

    asyncio.run(main())


def test_a_task_starts_with_the_marks_of_the_one_that_started_it():
    async def child():
        return records_now()

    async def main():
        with tg.no_grad():
            started = asyncio.create_task(child())
        return await started

    assert asyncio.run(main()) is False


def test_an_asynchronous_generator_cannot_be_decorated():
    async def numbers():
        yield 1

    with pytest.raises(TypeError, match="async"):
        tg.no_grad()(numbers)


# ---------------------------------------------------------------- threads


def test_each_thread_has_its_own_marks():
    inside, seen = threading.Barrier(2), {}

    def other():
        inside.wait()
        seen["other"] = records_now()
        inside.wait()

    thread = threading.Thread(target=other)
    thread.start()
    with tg.no_grad():
        inside.wait()
        inside.wait()
        seen["this"] = records_now()
    thread.join()
    assert seen == {"other": True, "this": False}


def test_marks_that_threads_leave_at_different_times_do_not_mix():
    turn = threading.Barrier(2)

    def worker(mark, expected):
        with mark:
            turn.wait()
            held = records_now()
            turn.wait()
        turn.wait()
        return held == expected and records_now()

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(worker, tg.no_grad(), False), pool.submit(worker, tg.enable_grad(), True)]
        assert all(job.result() for job in jobs)


def test_a_copied_context_takes_its_marks_along():
    with tg.no_grad():
        context = contextvars.copy_context()
    assert records_now()
    assert not context.run(records_now)


# ---------------------------------------------------------------- detach, requires_grad


def test_detach_gives_the_value_without_the_record():
    x = tg.tensor([1.0, 2.0])
    y = x * 3.0
    z = y.detach()
    assert not z.requires_grad
    assert z.is_leaf
    np.testing.assert_array_equal(z.numpy(), [3.0, 6.0])
    np.sum(y * z).backward()
    np.testing.assert_array_equal(x.grad, [9.0, 18.0])


def test_a_detached_tensor_can_become_a_leaf_of_its_own():
    x = tg.tensor([1.0, 2.0])
    z = (x * 3.0).detach()
    z.requires_grad = True
    np.sum(z * z).backward()
    np.testing.assert_array_equal(z.grad, [6.0, 12.0])
    assert x.grad is None


def test_floats_record_by_default_and_integers_do_not():
    assert tg.tensor([1.0]).requires_grad
    assert tg.tensor([1.0], np.float16).requires_grad
    assert tg.tensor([1j]).requires_grad
    assert not tg.tensor([1]).requires_grad
    assert not tg.tensor([True]).requires_grad
    assert not tg.tensor([1.0], requires_grad=False).requires_grad


def test_operations_on_tensors_that_do_not_record_give_tensors_that_do_not():
    t = tg.tensor([1.0, 2.0], requires_grad=False)
    for y in (t * 2.0, np.sin(t), np.sum(t), t[0], t + tg.tensor([1, 2])):
        assert type(y) is tg.Tensor
        assert not y.requires_grad
        assert y.is_leaf


def test_requires_grad_can_be_switched_on_a_leaf():
    t = tg.tensor([1.0, 2.0], requires_grad=False)
    t.requires_grad = True
    np.sum(t * t).backward()
    np.testing.assert_array_equal(t.grad, [2.0, 4.0])
    t.requires_grad = False
    assert not (t * t).requires_grad
    t.requires_grad = False
    assert not t.requires_grad


def test_switching_requires_grad_off_and_on_loses_no_gradient():
    t = tg.tensor([1.0, 2.0])
    np.sum(t * t).backward()
    t.requires_grad = False
    t.requires_grad = True
    np.testing.assert_array_equal(t.grad, [2.0, 4.0])


def test_what_was_recorded_before_a_leaf_was_frozen_still_arrives():
    t = tg.tensor([1.0, 2.0])
    loss = np.sum(t * t)
    t.requires_grad = False
    loss.backward()
    t.requires_grad = True
    np.testing.assert_array_equal(t.grad, [2.0, 4.0])


def test_requires_grad_of_a_recorded_tensor_cannot_be_set():
    y = tg.tensor([1.0]) * 2.0
    with pytest.raises(tg.TapegradError, match="detach"):
        y.requires_grad = False
    y.requires_grad = True
    assert y.requires_grad


def test_integers_cannot_be_made_to_record():
    for t in (tg.tensor([1, 2]), tg.tensor([True])):
        with pytest.raises(TypeError, match=r"3\.0"):
            t.requires_grad = True
        assert not t.requires_grad
