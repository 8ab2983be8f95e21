"""Writing and views: what random programs can't say. Each claim was once wrong, or easily would be."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import DTypeError, ImmutableError, TapegradError, WriteError
from tapegrad.optim import SGD


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours.numpy() if isinstance(ours, tg.Tensor) else ours, theirs, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- leaves


def test_a_leaf_whose_views_were_written_is_swept_again_and_again() -> None:
    w, expected = tg.tensor([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])
    view, optimizer = w[1:], SGD([w], lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        (np.sum(w[1:] ** 2) + np.sum(view * 3)).backward()
        gradient = np.array([0.0, 2 * expected[1] + 3, 2 * expected[2] + 3])
        same(w.grad, gradient)
        optimizer.step()
        expected -= 0.1 * gradient
        same(w, expected)
        same(view, expected[1:])
        assert w.is_leaf


def test_two_losses_of_views_of_a_written_leaf_are_swept_one_after_the_other() -> None:
    w = tg.tensor([1.0, 2.0, 3.0])
    view = w[1:]
    with tg.no_grad():
        w -= 0.5
    first, second = np.sum(view), np.sum(w[:2] ** 2)
    first.backward()
    second.backward()
    same(w.grad, [1.0, 4.0, 1.0])


def test_an_update_of_a_leaf_whose_views_have_died_moves_nothing_into_a_storage() -> None:
    w = tg.tensor(np.ones((2, 3)))
    for _ in range(3):
        np.sum(w.T).backward()
        with tg.no_grad():
            w -= 0.1 * w.grad
    assert w._kin is None


def test_a_view_of_all_of_a_written_leaf_is_no_leaf() -> None:
    x = tg.tensor([1.0, 2.0])
    first = x[1:]
    with tg.no_grad():
        first[...] = 5.0
    assert x.is_leaf
    assert not x[...].is_leaf
    same(x, [1.0, 5.0])


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_copy_of_a_written_leaf_shares_nothing(twin: Callable[[Any], Any]) -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    view = x[1:]
    with tg.no_grad():
        x[0] = 9.0
    other = twin(x)
    with tg.no_grad():
        other[1] = 4.0
    same(x, [9.0, 2.0, 3.0])
    assert other.is_leaf
    with pytest.raises(TapegradError, match=r"\.copy\(\)"):
        twin(view)


def test_hooks_on_a_written_leaf_see_what_came_by_its_views() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    view = x[1:]
    with tg.no_grad():
        x *= 2.0
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(g.copy()))
    (x[1] * 3 + np.sum(view) + np.sum(x)).backward()
    assert len(seen) == 1
    same(seen[0], [1.0, 5.0, 2.0])


# ---------------------------------------------------------------- refusals


def test_refusals_name_the_cause_and_the_mend() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y, whole = x * 1.0, tg.tensor([1, 2, 3])
    with pytest.raises(WriteError, match=r"x\.copy\(\).*no_grad"):
        x[0] = 1.0
    with pytest.raises(WriteError, match="read-only"):
        np.broadcast_to(y, (2, 3))[0] = 1.0
    with pytest.raises(DTypeError, match=r"int64.*float dtype"):
        whole[0] = x[0]
    with pytest.raises(DTypeError, match=r"complex.*\.real"):
        y[0] = x[0] * 1j
    with pytest.raises(ImmutableError, match="immutable"):
        x[0][...] = 1.0
    with pytest.raises(WriteError, match=r"value\.copy\(\)"):
        y[np.array([True, True, False])] = y[1::-1]
    with pytest.raises(WriteError, match="like=x"):
        np.add(x, 1.0, out=np.zeros(3))


def test_a_refused_write_changes_nothing() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y = x * 1.0
    view = y[:]
    y[0] = 2.0
    for index, value, error in (
        (7, 1.0, IndexError),
        (slice(2), [1.0, 2.0, 3.0], ValueError),
        (slice(None), ["7", "x", "3"], ValueError),
        (np.array([0, 5]), 1.0, IndexError),
    ):
        with pytest.raises(error):
            y[index] = value
        same(y, [2.0, 2.0, 3.0])
        same(view, [2.0, 2.0, 3.0])
    np.sum(y).backward()
    same(x.grad, [0.0, 1.0, 1.0])


def test_a_view_taken_under_no_grad_records_nothing_and_refuses_what_would() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y = x * 2.0
    with tg.no_grad():
        view = y[1:]
    y[1] = 5.0
    same(view, [5.0, 6.0])
    assert not view.requires_grad
    with pytest.raises(WriteError, match="no_grad"):
        view[0] = x[0]
    with tg.no_grad():
        view[0] = 1.0
    np.sum(y).backward()
    same(x.grad, [2.0, 0.0, 2.0])


# ---------------------------------------------------------------- indices


def test_a_mask_may_take_what_lies_between_its_targets() -> None:
    y, a = tg.tensor(np.arange(12.0).reshape(4, 3)) * 1.0, np.arange(12.0).reshape(4, 3)
    mask = np.array([True, False, True, False])
    y[:, 0][mask] = y[:, 1][:2]
    a[:, 0][mask] = a[:, 1][:2]
    same(y, a)


@pytest.mark.parametrize("index", [((0, 1),), [0, 2], (True,), [True, False, True], np.int8(1), np.array(1), (..., 2)])
def test_what_numpy_takes_for_an_index_is_read_and_written_alike(index: Any) -> None:
    x, a = tg.tensor([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])
    y = x * 1.0
    for array in (y, a):
        array[0] = 4.0
        part = array[index]
        array[index] = 9.0
        if isinstance(array, np.ndarray):
            same(y[index], array[index])
    same(y, a)
    assert part.shape == y[index].shape


def test_an_object_that_stands_for_an_integer_names_a_view() -> None:
    class One:
        def __index__(self) -> int:
            return 1

    y = tg.tensor(np.ones((2, 3))) * 1.0
    y[0, 0] = 2.0
    row = y[One()]
    row[...] = 7.0
    same(y[1], [7.0, 7.0, 7.0])


# ---------------------------------------------------------------- order in memory


def test_in_place_operators_keep_the_order_in_memory() -> None:
    y, a = tg.tensor(np.arange(6.0).reshape(2, 3)).T * 1.0, np.arange(6.0).reshape(2, 3).T * 1.0
    for array in (y, a):
        array += np.ones((3, 2))
        array.reshape(-1)[0] = 100.0  # A copy: the array is in Fortran's order.
    same(y, a)


def test_what_is_computed_from_a_small_view_has_its_order() -> None:
    y, a = tg.tensor(np.arange(24.0).reshape(4, 6)) * 1.0, np.arange(24.0).reshape(4, 6)
    results = []
    for array in (y, a):
        array[0, 0] = 3.0
        result = array[:2, :2].T * 2.0
        result.reshape(-1)[0] = 77.0
        results.append(result)
    same(*results)


# ---------------------------------------------------------------- out=


@pytest.mark.parametrize("function", [np.sum, np.mean, np.cumsum, np.prod, np.add.reduce])
def test_out_decides_the_dtype_that_is_added_up_in(function: Any) -> None:
    a = (np.arange(1000) * 0.1).astype(np.float32)
    t = tg.tensor(a)
    shape = (1000,) if function is np.cumsum else ()
    theirs, ours = np.zeros(shape), np.zeros(shape, like=t)
    function(a, out=theirs)
    assert function(t, out=ours) is ours
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_out_with_where_keeps_what_was_there_also_of_two_results() -> None:
    x = tg.tensor([5.0, 7.0, 9.0])
    mask = np.array([True, False, True])
    outs = np.full(3, -1.0, like=x), np.full(3, -2.0, like=x)
    expected = np.full(3, -1.0), np.full(3, -2.0)
    np.divmod(x, 2.0, out=outs, where=mask)
    np.divmod([5.0, 7.0, 9.0], 2.0, out=expected, where=mask)
    same(outs[0], expected[0])
    same(outs[1], expected[1])
    np.sum(outs[1]).backward()
    same(x.grad, [1.0, 0.0, 1.0])


def test_a_division_where_the_divisor_is_not_zero() -> None:
    a, b = tg.tensor([1.0, 2.0]), tg.tensor([0.0, 4.0])
    quotient = np.divide(a, b, out=np.zeros_like(a), where=b.numpy() != 0)
    np.sum(quotient).backward()
    same(quotient, [0.0, 0.5])
    same(a.grad, [0.0, 0.25])
    same(b.grad, [0.0, -0.125])


def test_casting_of_out_is_numpys() -> None:
    t, whole = tg.tensor([1.5, 2.5]), tg.tensor([0, 0])
    with tg.no_grad():
        with pytest.raises(DTypeError, match="same_kind"):
            np.add(t, 1.0, out=whole)
        with pytest.raises(DTypeError, match="same_kind"):
            np.add(t, 1.0, out=np.zeros(2, int))
        np.add(t, 1.0, out=whole, casting="unsafe")
    same(whole, [2, 3])


# ---------------------------------------------------------------- functions that write


@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.divide, np.maximum, np.hypot])
@pytest.mark.parametrize("value", ["scalar", "each"])
def test_ufunc_at_changes_a_place_as_often_as_it_is_named(ufunc: Any, value: str) -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(-5, 5, size=(4, 6))
    b = 1.5 if value == "scalar" else rng.uniform(1, 2, (4, 6))
    x, a = tg.tensor(np.arange(1.0, 6.0)), np.arange(1.0, 6.0)
    y = x * 1.0
    ufunc.at(y, index, b)
    ufunc.at(a, index, np.broadcast_to(b, index.shape))
    np.testing.assert_allclose(y.numpy(), a, rtol=1e-12)  # Sums are added up in another order.


def test_ufunc_at_of_rows_has_the_gradient_of_each_of_them() -> None:
    x, rows = tg.tensor(np.ones((3, 2))), tg.tensor(np.arange(6.0).reshape(3, 2))
    y = x * 1.0
    np.add.at(y, np.array([0, 2, 0]), rows)
    (y * np.array([[1.0], [10.0], [100.0]])).backward(np.ones((3, 2)))
    same(y, [[5.0, 7.0], [1.0, 1.0], [3.0, 4.0]])
    same(rows.grad, [[1.0, 1.0], [100.0, 100.0], [1.0, 1.0]])


def test_putting_out_of_range_is_refused() -> None:
    y = tg.tensor(np.ones((2, 2))) * 1.0
    with pytest.raises(IndexError, match="7"):
        np.put_along_axis(y, np.array([7]), 1.0, None)
    with pytest.raises(IndexError, match="-5"):
        np.put(y, [-5], 1.0)
    with pytest.raises(IndexError, match="axis"):
        np.add.at(y, [2], 1.0)


def test_copyto_casts_numbers_as_numpy_does() -> None:
    whole = tg.tensor([1, 2])
    with pytest.raises(TypeError, match="same_kind"):
        np.copyto(whole, 2.5)
    np.copyto(whole, 7, where=[True, False])
    same(whole, [7, 2])


# ---------------------------------------------------------------- complex, threads, what was given out


def test_parts_of_a_complex_array_are_views_of_it() -> None:
    z = tg.tensor([1 + 2j, 3 - 1j])
    w = z * 1.0
    w.real[0] = 5.0
    w.imag[1] = np.abs(z[0]) ** 2
    same(w, [5 + 2j, 3 + 5j])
    np.sum(np.abs(w) ** 2).backward()
    # The loss is 25 + b^2 + c^2 + (a^2 + b^2)^2 of z = (a + ib, c + id).
    same(z.grad, [4 * 5 * 1 + 1j * (2 * 2 + 4 * 5 * 2), 6.0])


@pytest.mark.parametrize("written", [False, True])
def test_what_was_given_out_stays_what_it_was(written: bool) -> None:
    y = tg.tensor([1.0, 2.0, 3.0, 4.0]) * 1.0
    if written:
        y[3] = 4.0
    given = [y.numpy(), y.data, y[:1].numpy(), y[:3].numpy(), y.detach()]
    before = [np.array(a.numpy() if isinstance(a, tg.Tensor) else a) for a in given]
    y[0] = y[0] * 3 + 1
    y[1:3] = 0.0
    y += 1.0
    for a, b in zip(given, before, strict=True):
        same(a, b)
    given[-1][0] = 55.0
    assert y.numpy()[0] == 5.0


def test_threads_may_fill_one_array() -> None:
    n, parts = 400, 4
    x = tg.tensor(np.ones(n))
    y = np.zeros(n, like=x)

    def fill(start: int) -> None:
        for i in range(start, start + n // parts):
            y[i] = x[i] * 2.0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=fill, args=(start,)) for start in range(0, n, n // parts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    np.sum(y).backward()
    same(x.grad, np.full(n, 2.0))


def test_threads_may_look_at_one_written_view() -> None:
    y = tg.tensor(np.ones(50)) * 1.0
    views = [y[i : i + 3] for i in range(40)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for value in range(20):
            y[0] = float(value)
            threads = [threading.Thread(target=lambda: [np.sum(v) for v in views]) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    same(views[0], [19.0, 1.0, 1.0])


def test_an_array_alias_can_be_the_root_of_a_sweep() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    y = x * 2.0
    y[0] = x[2]
    y.backward(np.array([1.0, 10.0, 100.0]), retain_graph=True)
    same(x.grad, [0.0, 20.0, 201.0])
    x.grad = None
    y[1:].backward(np.ones(2))
    same(x.grad, [0.0, 2.0, 2.0])


def test_a_buffer_overwritten_as_a_whole_forgets_what_was_swept() -> None:
    x = tg.tensor([1.0, 2.0])
    y = np.zeros(2, like=x)
    for _ in range(3):
        y[...] = x * 2.0
        np.sum(y**2).backward()
    same(x.grad, [24.0, 48.0])


@pytest.mark.parametrize(
    ("function", "before", "shape"),
    [
        (np.sum, (0, None), (3,)),
        (np.mean, (0, None), (3,)),
        (np.max, (0,), (3,)),
        (np.median, (0,), (3,)),
        (np.ptp, (0,), (3,)),
        (np.std, (0, None), (3,)),
        (np.clip, (1.0, 4.0), (2, 3)),
        (np.cumsum, (0, None), (2, 3)),
        (np.dot, (np.eye(3),), (2, 3)),
        (np.take, ([0, 2], 1), (2, 2)),
    ],
)
def test_out_may_be_given_by_its_position(function, before, shape):
    x, z = (tg.tensor(np.arange(6.0).reshape(2, 3) + 0.5) for _ in range(2))
    buffer = np.zeros(shape, like=x)
    assert function(x, *before, buffer) is buffer
    y = function(z, *before)
    np.testing.assert_array_equal(buffer.numpy(), y.numpy())
    np.sum(buffer**2).backward()
    np.sum(y**2).backward()
    np.testing.assert_array_equal(x.grad, z.grad)


def test_a_leaf_without_axes_is_written_as_an_array():
    x = tg.tensor(0.0)
    with tg.no_grad():
        x[...] = 2.0
    (x * x).backward()
    assert (x.is_leaf, x.item(), x.grad) == (True, 2.0, 4.0)
    z = x.reshape(1)
    with tg.no_grad():
        x.fill(5.0)
        z[0] += 2.0
    assert x.item() == 7.0
    x.grad = None
    (x * x).backward()
    assert x.grad == 14.0


def test_ufunc_at_reads_its_values_before_it_writes():
    array, index = np.array([-1.7, 0.1, 1.5]), np.array([0, 0, -2])
    x = tg.tensor(array)
    y = x * 1.0
    np.multiply.at(y, index, y)
    np.multiply.at(array, index, array)
    np.testing.assert_array_equal(y.numpy(), array)
    y[0].backward()  # x0 * x0 * x1
    np.testing.assert_allclose(x.grad, [2 * -1.7 * 0.1, 1.7**2, 0.0], 1e-15)
