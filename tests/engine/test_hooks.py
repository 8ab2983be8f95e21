"""Hooks: when they run, what they see, what becomes of what they return."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import RecordingError, RuleError


def test_a_hook_sees_the_whole_cotangent_once():
    seen = []
    x = tg.tensor([1.0, 2.0])
    y = x * 2.0
    y.register_hook(lambda g: seen.append(g.copy()))
    np.sum(y * 3.0 + y * 4.0 + y).backward()
    np.testing.assert_array_equal(seen, [[8.0, 8.0]])


@pytest.mark.parametrize("uses", [1, 2, 5])
def test_a_hook_on_a_leaf_sees_the_sum_over_all_uses(uses):
    seen = []
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: seen.append(g.copy()))
    np.sum(sum((x * 3.0 for _ in range(uses - 1)), x * 3.0)).backward()
    np.testing.assert_array_equal(seen, [[3.0 * uses] * 2])


def test_a_hook_on_the_root_sees_the_seed():
    seen = []
    y = tg.tensor([1.0, 2.0]) * 2.0
    y.register_hook(lambda g: seen.append(g.copy()))
    y.backward(np.array([5.0, 7.0]))
    np.testing.assert_array_equal(seen, [[5.0, 7.0]])


@pytest.mark.parametrize("place", ["leaf", "way", "root"])
def test_what_a_hook_returns_replaces_the_cotangent(place):
    x = tg.tensor([1.0, 2.0])
    y = x * 2.0
    z = y * 3.0
    {"leaf": x, "way": y, "root": z}[place].register_hook(lambda g: g * 10.0)
    z.backward(np.ones(2))
    np.testing.assert_array_equal(x.grad, [60.0, 60.0])


def test_a_hook_that_returns_none_changes_nothing():
    x = tg.tensor([1.0])
    x.register_hook(lambda g: None)
    (x * 2.0).backward()
    assert x.grad == 2.0


def test_hooks_run_in_order_of_registration_each_on_what_the_one_before_made():
    order = []
    x = tg.tensor([1.0])
    for i, factor in enumerate((2.0, None, 5.0)):
        x.register_hook(lambda g, i=i, factor=factor: order.append((i, g.item())) or (factor and g * factor))
    (x * 1.0).backward()
    assert order == [(0, 1.0), (1, 2.0), (2, 2.0)]
    assert x.grad == 10.0


def test_a_removed_hook_runs_no_more():
    calls = []
    x = tg.tensor([1.0])
    first = x.register_hook(lambda g: calls.append("first"))
    x.register_hook(lambda g: calls.append("second"))
    (x * 1.0).backward()
    first.remove()
    first.remove()
    (x * 1.0).backward()
    assert calls == ["first", "second", "second"]


def test_a_hook_may_remove_itself():
    calls = []
    x = tg.tensor([1.0])
    handle = x.register_hook(lambda g: (calls.append(1), handle.remove())[1])
    x.register_hook(lambda g: calls.append(2))
    for _ in range(2):
        (x * 1.0).backward()
    assert calls == [1, 2, 2]


def test_one_function_may_be_registered_twice():
    x = tg.tensor([1.0])
    handles = [x.register_hook(double) for _ in range(2)]
    (x * 1.0).backward()
    assert x.grad == 4.0
    handles[0].remove()
    x.zero_grad()
    (x * 1.0).backward()
    assert x.grad == 2.0


def double(g):
    return g * 2.0


def test_hooks_run_in_every_sweep():
    calls = []
    x = tg.tensor([1.0])
    y = x * 2.0
    y.register_hook(lambda g: calls.append(1))
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert len(calls) == 3


def test_a_hook_registered_on_a_graph_that_stands_already_runs():
    calls = []
    x = tg.tensor([1.0])
    y = np.sin(x)
    z = np.sum(y * 2.0)
    y.register_hook(lambda g: calls.append(g.item()))
    z.backward()
    assert calls == [2.0]


def test_a_sweep_that_does_not_reach_the_value_does_not_run_its_hook():
    calls = []
    x = tg.tensor([1.0])
    y, z = x * 2.0, x * 3.0
    y.register_hook(calls.append)
    z.backward()
    assert calls == []


def test_a_hook_belongs_to_the_value_not_to_the_name():
    calls = []
    x = tg.tensor([1.0])
    y = np.sum(x * 2.0)
    y.register_hook(lambda g: calls.append(g.item()))
    y = y * 5.0
    y.backward()
    assert calls == [5.0]


def test_a_hook_stays_on_a_leaf_that_is_updated():
    calls = []
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: calls.append(1))
    with tg.no_grad():
        x -= 0.5
    np.sum(x * x).backward()
    assert calls == [1]
    np.testing.assert_array_equal(x.grad, [1.0, 3.0])


def test_a_hook_on_one_of_several_outputs_sees_that_output(with_rule):
    def rule(g, _y, _a):
        return (0.0 if g[0] is None else g[0] * 2.0) + (0.0 if g[1] is None else g[1] * 3.0)

    both = with_rule(lambda a: (a * 2.0, a * 3.0), rule)
    seen = []
    x = tg.tensor([1.0, 1.0])
    twice, thrice = both(x)
    thrice.register_hook(lambda g: seen.append(g.copy()) or g * 10.0)
    np.sum(twice * 5.0 + thrice * 7.0).backward()
    np.testing.assert_array_equal(seen, [[7.0, 7.0]])
    np.testing.assert_array_equal(x.grad, [220.0, 220.0])


# ---------------------------------------------------------------- what it sees


def test_a_hook_gets_a_read_only_array_of_shape_and_dtype_of_the_value():
    seen = []
    for t in (tg.tensor(1.0), tg.tensor([[1.0, 2.0]], np.float32), tg.tensor([1j])):
        y = t * 2
        y.register_hook(seen.append)
        np.sum(y.real).backward()
        g = seen.pop()
        assert type(g) is np.ndarray
        assert (g.shape, g.dtype) == (t.shape, t.dtype)
        with pytest.raises(ValueError, match="read-only"):
            g[...] = 0


def test_what_a_hook_saw_stays_what_it_was():
    seen = []
    x = tg.tensor([1.0, 2.0])
    y = x + 0.0
    y.register_hook(seen.append)
    np.sum(y * 3.0 + x * 4.0 + x).backward()
    x.grad[...] = 99.0
    np.testing.assert_array_equal(seen, [[3.0, 3.0]])


def test_under_create_graph_a_hook_gets_and_gives_tensors():
    kinds = []

    def hook(g):
        kinds.append(type(g))
        return g * g

    x = tg.tensor([3.0])
    x.register_hook(hook)
    (x * x).backward(create_graph=True)
    slope = x.grad
    assert kinds == [tg.Tensor]
    assert slope.item() == 36.0
    # The gradient is (2x)**2 now, and its own derivative 8x; the hook then squares that.
    x.zero_grad()
    slope.backward()
    assert x.grad.item() == 24.0**2


# ---------------------------------------------------------------- what it returns


@pytest.mark.parametrize(
    "returned",
    [np.ones(3), np.ones((1, 2)), np.ones(2) * 1j, np.ones(2, int), np.array(["a", "b"]), 1.0, "text"],
    ids=repr,
)
@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_what_is_no_cotangent_is_refused(returned, options):
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: returned)
    with pytest.raises(RuleError, match="register_hook"):
        np.sum(x * 2.0).backward(**options)
    assert x.grad is None


def test_another_precision_is_cast():
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: g.astype(np.float32))
    np.sum(x * 2.0).backward()
    assert x.grad.dtype == np.float64


def test_a_hook_may_return_one_buffer_again_and_again():
    buffer = np.zeros(2)

    def hook(g):
        return np.multiply(g, 2.0, out=buffer)

    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    x.register_hook(hook)
    z.register_hook(hook)
    np.sum(x * 3.0 + z * 5.0).backward()
    np.testing.assert_array_equal(x.grad, [6.0, 6.0])
    np.testing.assert_array_equal(z.grad, [10.0, 10.0])
    assert not np.shares_memory(x.grad, buffer)


def test_a_gradient_shares_no_memory_with_what_a_hook_returned():
    given = np.array([5.0, 6.0])
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: given)
    np.sum(x * 2.0).backward()
    given[:] = 0.0
    np.testing.assert_array_equal(x.grad, [5.0, 6.0])


def test_under_create_graph_an_array_that_a_hook_returns_becomes_a_constant_tensor_of_our_own():
    given = np.array([5.0, 6.0])
    x = tg.tensor([1.0, 2.0])
    x.register_hook(lambda g: given)
    np.sum(x * 2.0).backward(create_graph=True)
    given[:] = 0.0
    assert type(x.grad) is tg.Tensor
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 6.0])


@pytest.mark.parametrize("recording", [False, True])
def test_a_tensor_that_a_hook_returns_in_a_plain_sweep_counts_by_its_value(recording):
    # As a seed that is a tensor does: only a recorded sweep (create_graph) carries a gradient of gradients.
    x, scale = tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0], requires_grad=recording)
    y = x * 3.0
    y.register_hook(lambda g: g * scale)
    np.sum(y).backward()
    assert type(x.grad) is np.ndarray
    np.testing.assert_array_equal(x.grad, [30.0, 60.0])


def test_under_create_graph_the_tensor_that_a_hook_returns_is_differentiated():
    x, scale = tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0])
    y = x * 3.0
    y.register_hook(lambda g: g * scale)
    np.sum(y).backward(create_graph=True)
    np.sum(x.grad).backward()
    np.testing.assert_array_equal(scale.grad, [3.0, 3.0])


# ---------------------------------------------------------------- where none can be


def test_a_tensor_that_records_nothing_takes_no_hook():
    with pytest.raises(RecordingError, match="records nothing"):
        tg.tensor([1]).register_hook(print)


def test_a_tensor_that_was_replayed_takes_no_hook():
    y = tg.tensor([1.0]) * 2.0
    y.backward()
    with pytest.raises(RecordingError, match="freed"):
        y.register_hook(print)


def test_a_hooked_tensor_that_was_replayed_takes_no_further_hook():
    y = tg.tensor([1.0]) * 2.0
    y.register_hook(lambda g: None)
    y.backward()
    with pytest.raises(RecordingError, match="freed"):
        y.register_hook(print)


def test_hooks_leave_is_leaf_and_repr_as_they_are():
    x = tg.tensor([1.0])
    y = x * 2.0
    before = repr(x), repr(y)
    x.register_hook(print)
    y.register_hook(print)
    assert (repr(x), repr(y)) == before
    assert x.is_leaf
    assert not y.is_leaf
    assert x.grad is None


def test_an_exception_in_a_hook_passes_unchanged():
    error = KeyError("on purpose")

    def hook(_g):
        raise error

    x = tg.tensor([1.0])
    y = np.sin(x)
    y.register_hook(hook)
    with pytest.raises(KeyError) as caught:
        y.backward()
    assert caught.value is error
    assert x.grad is None


def test_the_note_on_an_exception_in_a_hook_speaks_of_a_hook():
    def hook(_g):
        raise KeyError("on purpose")

    y = np.sin(tg.tensor([1.0]))
    y.register_hook(hook)
    with pytest.raises(KeyError) as caught:
        y.backward()
    assert any("hook" in note for note in caught.value.__notes__)


def test_a_hook_sees_one_array_where_parts_of_its_value_were_read() -> None:
    seen = []
    x = tg.tensor(np.ones(1000))  # More elements than a sweep adds up part by part.
    y = x * 1
    y.register_hook(lambda g: seen.append(g.shape))
    (y[3] * 2 + y[5]).backward(create_graph=True)
    with tg.debug():
        (y[3] * 2 + y[5]).backward()
    assert seen == [(1000,), (1000,)]
