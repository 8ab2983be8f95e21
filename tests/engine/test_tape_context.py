"""tg.Tape: the facts of what a block recorded, to look at."""

import gc
import threading
import weakref

import numpy as np

import tapegrad as tg


def test_an_empty_tape_has_no_entries_and_is_true():
    with tg.Tape() as tape:
        pass
    assert len(tape) == 0
    assert list(tape) == []
    assert tape
    assert str(tape).split() == ["#", "primitive", "operands", "shape", "dtype", "bytes", "held"]


def test_a_tape_prints_a_table():
    x = tg.tensor([1.0, 2.0, 3.0])
    with tg.Tape() as tape:
        np.sum(np.sin(x) ** 2)
    assert str(tape).splitlines() == [
        " #  primitive  operands  shape  dtype    bytes held",
        " 1  np.sin     leaf      (3,)   float64          24",
        " 2  np.square  #1        (3,)   float64          24",
        " 3  np.sum     #2        ()     float64           0",
    ]


def test_operands_are_told_apart():
    x = tg.tensor([1.0, 2.0])
    earlier = np.sin(x)
    with tg.Tape() as tape:
        y = x * earlier
        y + 1.0
    operands = [line.split("  ")[2:] for line in str(tape).splitlines()]
    assert "leaf, earlier" in str(tape)
    assert "#1, constant" in str(tape), operands


def test_facts_come_in_order():
    x = tg.tensor(np.ones((2, 3)), np.float32)
    with tg.Tape() as tape:
        y = np.exp(x)
        np.sum(y, axis=0)
    first, second = tape
    assert (first.primitive, first.shape, first.dtype, first.operands) == ("np.exp", (2, 3), np.float32, ("leaf",))
    assert (second.primitive, second.shape, second.operands) == ("np.sum", (3,), (first.position,))
    assert first.position < second.position


def test_bytes_are_those_that_the_rule_will_read():
    x, c = tg.tensor(np.ones(1000)), np.ones(1000)
    with tg.Tape() as tape:
        x + c
        x * c
        np.sin(x)
        x * x
    assert [fact.nbytes for fact in tape] == [0, 8000, 8000, 16000]


def test_bytes_of_several_outputs_count(with_rule):
    def rule(g, y, _a):
        return sum(part for part in g if part is not None) * y[0]

    both = with_rule(lambda a: (np.exp(a), np.exp(a)), rule)
    with tg.Tape() as tape:
        both(tg.tensor(np.ones(10)))
    (fact,) = tape
    assert fact.nbytes == 160


def test_bytes_of_an_index_count():
    x = tg.tensor(np.ones(1000))
    with tg.Tape() as tape:
        x[np.arange(500)]
    (fact,) = tape
    assert fact.nbytes == 500 * np.dtype(np.intp).itemsize


def test_a_tape_sees_only_its_own_block():
    x = tg.tensor([1.0])
    y = x * 2.0
    with tg.Tape() as tape:
        y = np.sin(y)
    np.cos(y)
    assert [fact.primitive for fact in tape] == ["np.sin"]


def test_tapes_may_be_nested():
    x = tg.tensor([1.0])
    with tg.Tape() as outer:
        y = x * 2.0
        with tg.Tape() as inner:
            y = np.sin(y)
        np.cos(y)
    assert [fact.primitive for fact in inner] == ["np.sin"]
    assert [fact.primitive for fact in outer] == ["np.multiply", "np.sin", "np.cos"]


def test_tapes_may_end_in_any_order():
    x = tg.tensor([1.0])
    first, second = tg.Tape(), tg.Tape()
    first.__enter__()
    second.__enter__()
    np.sin(x)
    first.__exit__(None, None, None)
    np.cos(x)
    second.__exit__(None, None, None)
    assert [fact.primitive for fact in first] == ["np.sin"]
    assert [fact.primitive for fact in second] == ["np.sin", "np.cos"]


def test_what_is_not_recorded_is_not_on_the_tape():
    x, n = tg.tensor([1.0]), tg.tensor([1])
    with tg.Tape() as tape:
        with tg.no_grad():
            x * 2.0
        n * 2
        np.greater(x, 0)
        np.floor(x)
    assert len(tape) == 0


def test_a_tape_sees_no_other_thread():
    x = tg.tensor([1.0])
    with tg.Tape() as tape:
        thread = threading.Thread(target=lambda: np.sin(x))
        thread.start()
        thread.join()
    assert len(tape) == 0


def test_a_tape_sees_a_recorded_sweep():
    x = tg.tensor([1.0])
    y = np.sin(x)
    with tg.Tape() as tape:
        y.backward(create_graph=True)
    assert "np.cos" in [fact.primitive for fact in tape]


def test_a_plain_sweep_leaves_nothing_on_the_tape():
    x = tg.tensor([1.0])
    y = np.sin(x)
    with tg.Tape() as tape:
        y.backward()
    assert len(tape) == 0


def test_a_tape_keeps_nothing_alive():
    with tg.Tape() as tape:
        x, c = tg.tensor(np.ones(3000)), np.ones(3000)
        y = x * c
        alive = [weakref.ref(x), weakref.ref(y), weakref.ref(c)]
        del x, y, c
        gc.collect()
        assert [reference() for reference in alive] == [None] * 3
    assert len(tape) == 1


def test_a_program_gives_the_same_with_a_tape_looking_on():
    found = []
    for looking in (False, True):
        x, w = tg.tensor([0.5, 1.5]), tg.tensor([[1.0, 2.0], [3.0, 4.0]])
        if looking:
            with tg.Tape():
                loss = np.sum(np.sin(x * w) ** 2 + 1.0 / w - x)
                loss.backward()
        else:
            loss = np.sum(np.sin(x * w) ** 2 + 1.0 / w - x)
            loss.backward()
        found.append((loss.item(), x.grad, w.grad))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_several_outputs_show_as_one_entry_and_as_operands(with_rule):
    def rule(g, _y, _a):
        return sum(part for part in g if part is not None)

    both = with_rule(lambda a: (a * 1.0, a * 1.0), rule)
    with tg.Tape() as tape:
        first, second = both(tg.tensor([1.0, 2.0]))
        first * second
    assert len(tape) == 2
    node, product = tape
    assert product.operands == (node.position, node.position)
