"""``checkpoint`` and ``checkpoint_chain`` of plain arrays: as they were at the call, and one copy for many calls."""

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.transforms.memory.copies import _LARGE

N = 1200  # elements of a large array: over 4 KiB of anything that has four bytes
LARGE = 1 << 17  # elements: 1 MiB


def weighted(x: Any, a: Any) -> Any:
    """The sum of the elements, each with a weight of its own, times x."""
    return x * np.sum(np.asarray(a).reshape(-1) * np.arange(1, np.size(a) + 1))


def layouts() -> dict[str, Any]:
    whole = np.linspace(1.0, 2.0, 4 * N)
    square = np.linspace(1.0, 2.0, 3600).reshape(60, 60)
    bits = np.arange(5000) % 3
    return {
        "float64": whole[:N].copy(),
        "float32, an odd number": whole[: N + 1].astype(np.float32),
        "longdouble": whole[:N].astype(np.longdouble),
        "int64": np.arange(N),
        "uint8, an odd number": bits.astype(np.uint8)[:4999].copy(),
        "bool": bits > 0,
        "a view": whole[N : 3 * N],
        "every second": whole[::2],
        "reversed": whole[::-1],
        "transposed": square.T,
        "columns": square[:, ::3],
        "rows, transposed": square[::3].T,
        "permuted": np.linspace(0.0, 1.0, 6000).reshape(20, 30, 10).transpose(1, 0, 2),
        "swapped bytes": whole[:N].astype(">f8"),
        "objects": np.array([float(v) for v in range(1, N + 1)], object),
    }


@pytest.mark.parametrize("kind", layouts())
@pytest.mark.parametrize("place", ["argument", "keyword", "dict", "beside a tensor"])
def test_large_arrays_count_as_they_were(kind: str, place: str) -> None:
    a, x = layouts()[kind], tg.tensor(2.0)
    if kind == "objects":
        f = tg.checkpoint(lambda x, a: x * sum(a.tolist()))
        right = float(sum(a.tolist()))
    else:
        f = tg.checkpoint(weighted)
        right = float(weighted(1.0, a))
    if place == "argument":
        y = f(x, a)
    elif place == "keyword":
        y = f(x, a=a)
    elif place == "dict":
        y = tg.checkpoint(lambda x, d: f(x, d["a"][0]))(x, {"a": [a, "name"]})
    else:
        y = tg.checkpoint(lambda d: f(d["x"], d["a"]))({"x": x, "a": a})
    a[...] = 0
    y.backward()
    np.testing.assert_allclose(x.grad, right, rtol=1e-6 if a.dtype == np.float32 else 1e-12)


def test_complex_arrays_count_as_they_were() -> None:
    a, x = np.linspace(0.0, 1.0, N) * (1 + 2j), tg.tensor(2.0)
    right, y = np.sum(a.imag), np.sum(np.imag(tg.checkpoint(lambda x, a: x * a)(x, a)))
    a[...] = 0
    y.backward()
    np.testing.assert_allclose(x.grad, right, rtol=1e-12)


def test_each_call_has_the_values_that_it_was_given() -> None:
    buffer, x = np.empty(N), tg.tensor(1.0)
    f, total = tg.checkpoint(lambda x, a: x * np.sum(a)), 0.0
    for i in (1.0, 2.0, 2.0, 3.0, 1.0):
        buffer[...] = i
        total = total + i * f(x, buffer)
    buffer[...] = 0.0
    total.backward()
    assert x.grad == N * (1 + 4 + 4 + 9 + 1)


@pytest.mark.parametrize("place", [0, 1, 37, N - 2, N - 1])
@pytest.mark.parametrize("value", [7.0, -0.0, np.nan])
def test_a_change_of_a_single_element_between_calls_is_seen(place: int, value: float) -> None:
    def f(x: Any, a: Any) -> Any:
        return x * np.where(np.signbit(a), 1.0, np.where(np.isnan(a), 2.0, a))[place]

    x, a = tg.tensor(1.0), np.zeros(N)
    y = tg.checkpoint(f)(x, a)
    a[place] = value
    z = tg.checkpoint(f)(x, a)
    a[...] = 5.0
    (y + 10 * z).backward()
    assert x.grad == 10 * {"7.0": 7.0, "-0.0": 1.0, "nan": 2.0}[str(value)]


def test_two_views_of_one_array_are_told_apart() -> None:
    x, whole = tg.tensor(1.0), np.arange(float(2 * N))
    first, second, square = whole[:N], whole[N:], whole.reshape(2, N)
    right = first[3] + 10 * second[3] + 100 * square.T[4, 1]
    y = tg.checkpoint(lambda x, a, b, c: x * (a[3] + 10 * b[3] + 100 * c[4, 1]))(x, first, second, square.T)
    whole[...] = 0.0
    y.backward()
    assert x.grad == right


def test_the_same_elements_in_another_order_are_another_array() -> None:
    # Not contiguous, and such that a comparison in the order of either one's own memory would find them alike.
    x, base = tg.tensor(1.0), np.zeros((60, 120))
    view = base[:, ::2].T
    f = tg.checkpoint(lambda x, a: x * a[1, 0])
    view[1, 0] = 1.0
    y = f(x, view)
    view[1, 0], view[0, 1] = 0.0, 1.0
    z = f(x, view)
    (y + 10 * z).backward()
    assert x.grad == 1


def test_the_values_of_the_call_count_at_second_order() -> None:
    x, a = tg.tensor(np.linspace(0.1, 1.0, N)), np.linspace(1.0, 2.0, N)
    right = 6 * x.numpy() * a
    y = np.sum(tg.checkpoint(lambda x, a: x**3 * a)(x, a))
    a[...] = 0.0
    y.backward(create_graph=True)
    g, x.grad = np.sum(x.grad), None
    a[...] = 1.0
    g.backward()
    np.testing.assert_allclose(x.grad, right, rtol=1e-12)


# -------------------------------- files in memory


@pytest.mark.parametrize("mode", ["r+", "c"])
@pytest.mark.parametrize("form", ["itself", "a part", "as an array"])
def test_a_mapped_file_counts_as_it_was(tmp_path: Path, mode: Any, form: str) -> None:
    np.arange(float(2 * N)).tofile(tmp_path / "data")
    mapped, x = np.memmap(tmp_path / "data", float, mode), tg.tensor(1.0)
    a = {"itself": mapped, "a part": mapped[N:], "as an array": np.asarray(mapped)}[form]
    right, y = np.sum(a), tg.checkpoint(lambda x, a: x * np.sum(a))(x, a)
    mapped[...] = 0.0
    y.backward()
    assert x.grad == right
    y = tg.checkpoint_chain(lambda s, row: s + x * row, tg.tensor(0.0), a)
    mapped[...] = 1.0
    y.backward()
    assert x.grad == right


def test_a_file_mapped_for_reading_is_not_copied(tmp_path: Path) -> None:
    np.zeros(LARGE).tofile(tmp_path / "data")
    mapped, x = np.memmap(tmp_path / "data", float, "r"), tg.tensor(1.0)
    tracemalloc.start()
    try:
        y = tg.checkpoint(lambda x, a: x * np.sum(a[:3]))(x, mapped)
        z = tg.checkpoint_chain(lambda s, t, a=mapped: s + x * a[t], tg.tensor(0.0), range(3))
        z = z + tg.checkpoint_chain(lambda s, row: s + x * row[3], tg.tensor(0.0), mapped.reshape(4, -1))
        (y + z).backward()
        assert tracemalloc.get_traced_memory()[1] < LARGE  # bytes, an eighth of the file's
    finally:
        tracemalloc.stop()


def test_a_mapped_file_in_the_state_of_a_chain_is_not_written_to(tmp_path: Path) -> None:
    mapped, x = np.memmap(tmp_path / "data", float, "w+", shape=(3,)), tg.tensor(2.0)

    def step(state: Any, _t: Any) -> Any:
        y, counts = state
        counts[0] += 1
        return y * x * counts[0], counts

    y, counts = tg.checkpoint_chain(step, (tg.tensor(1.0), mapped), range(4), snapshots=2)
    mapped[...] = 100.0
    y.backward()
    assert counts[0] == 4
    assert np.all(mapped == 100.0)
    assert x.grad == 4 * 2**3 * 24


# -------------------------------- what it costs


def test_calls_with_the_same_array_share_one_copy() -> None:
    a, x = np.linspace(0.0, 1.0, LARGE), tg.tensor(1.0)
    f, y = tg.checkpoint(lambda x, d: np.sin(x) * np.sum(d["a"][:100])), tg.tensor(0.0)
    tracemalloc.start()
    try:
        for _ in range(100):
            y = y + f(x, {"a": a})
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert a.nbytes < held < 1.5 * a.nbytes
    assert peak < 2 * a.nbytes
    a[...] = 0.0
    y.backward()
    np.testing.assert_allclose(x.grad, 100 * np.cos(1.0) * np.sum(np.linspace(0.0, 1.0, LARGE)[:100]), rtol=1e-12)


def test_a_chain_and_its_items_share_one_copy() -> None:
    a, x = np.linspace(0.0, 1.0, LARGE), tg.tensor(1.0)
    tracemalloc.start()
    try:
        y = tg.checkpoint_chain(lambda s, item: np.sin(s) * x + item[7], tg.tensor(0.5), [a] * 30)
        z = tg.checkpoint_chain(lambda s, row: np.sin(s) * x + row, tg.tensor(0.5), a[:LARGE:1])
        assert tracemalloc.get_traced_memory()[0] < 1.5 * a.nbytes
        del y, z
        assert tracemalloc.get_traced_memory()[0] < 0.1 * a.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("swept", [True, False])
def test_the_copy_goes_with_the_last_call(swept: bool) -> None:
    before = len(_LARGE)
    a, x = np.ones(N), tg.tensor(1.0)
    f = tg.checkpoint(lambda x, a: x * np.sum(a))
    y, z = f(x, a), f(x, a)
    assert len(_LARGE) == before + 1
    for t in (y, z):
        assert len(_LARGE) == before + 1
        if swept:
            t.backward()
    del t, y, z
    assert len(_LARGE) == before


def test_the_array_itself_is_not_kept_alive() -> None:
    x, f = tg.tensor(1.0), tg.checkpoint(lambda x, a: x * np.sum(a))
    tracemalloc.start()
    try:
        a = np.ones((2, LARGE))
        y = f(x, a[0])
        del a
        assert tracemalloc.get_traced_memory()[0] < 1.5 * 8 * LARGE
        y.backward()
    finally:
        tracemalloc.stop()


# -------------------------------- what the function does to them


def test_the_first_run_has_the_users_own_arrays() -> None:
    small, large, x = np.zeros(3), np.zeros(N), tg.tensor(2.0)
    seen = []

    def f(x: Any, some: Any) -> Any:
        seen.append(some)
        return some["x"] * (1 + some["small"][0])

    y = tg.checkpoint(f)(x, {"x": x, "small": small, "large": large})
    assert seen[0]["small"] is small
    assert seen[0]["large"] is large
    y.backward()
    assert seen[1]["small"] is not small
    assert not seen[1]["large"].flags.writeable


def test_a_small_array_that_the_function_writes_to_is_as_it_was_when_it_runs_again() -> None:
    x, counts = tg.tensor(2.0), np.zeros(3)

    def f(some: Any) -> Any:
        some["counts"][0] += 1
        return some["x"] * some["counts"][0]

    y = tg.checkpoint(f)({"x": x, "counts": counts})
    y.backward()
    assert x.grad == 1
    assert counts[0] == 1


def test_a_large_array_can_not_be_spoiled_by_a_run() -> None:
    x, a = tg.tensor(2.0), np.zeros(N)

    def f(x: Any, a: Any) -> Any:
        a[0] += 1
        return x * a[0]

    y = tg.checkpoint(f)(x, a)
    with pytest.raises(ValueError, match="read-only"):
        y.backward()
    assert x.grad is None


def test_threads_share_copies() -> None:
    shared, x = np.linspace(0.0, 1.0, 50 * N), tg.tensor(1.0)
    f = tg.checkpoint(lambda x, a, b: np.sin(x) * (np.sum(a) + b[5]))
    wrong, before = [], len(_LARGE)

    def work(i: int) -> None:
        own = np.full(N, float(i))
        for k in range(20):
            own[5] = k
            y = f(tg.tensor(1.0), shared, own) * x.detach()
            z = tg.tensor(0.5)
            y = y + f(z, shared, own)
            own[5] = -1.0
            y.backward()
            if not np.isclose(z.grad, np.cos(0.5) * (np.sum(shared) + k), rtol=1e-12):
                wrong.append((i, k))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(_LARGE) == before
