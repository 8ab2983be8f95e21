"""backward(): what it adds up, what may be repeated, what it leaves alone when it fails, any order."""

import numpy as np
import pytest
from engine_tools import EPS, Dual, error_bound, records_now, run_program, slope_of_program, tiled
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.errors import ArgumentError, DTypeError, RecordingError, ShapeError

# ---------------------------------------------------------------- one sweep


def test_a_scalar_result_needs_no_seed():
    x = tg.tensor([1.0, 2.0, 3.0])
    np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_of_any_shape_needs_no_seed(shape):
    x = tg.tensor(np.full(shape, 3.0))
    (x * x).backward()
    np.testing.assert_array_equal(x.grad, np.full(shape, 6.0))


def test_a_seed_weighs_the_elements_of_the_result():
    x = tg.tensor([1.0, 2.0])
    (x * x).backward(np.array([10.0, 100.0]))
    np.testing.assert_array_equal(x.grad, [20.0, 400.0])


def test_a_leaf_is_its_own_root():
    x = tg.tensor([1.0, 2.0])
    x.backward(np.array([5.0, 7.0]))
    np.testing.assert_array_equal(x.grad, [5.0, 7.0])


def test_an_empty_tensor_gets_an_empty_gradient():
    x = tg.tensor(np.zeros((0, 3)))
    np.sum(x * x).backward()
    assert x.grad.shape == (0, 3)


def test_a_leaf_that_the_root_does_not_depend_on_keeps_none():
    x, z = tg.tensor([1.0]), tg.tensor([1.0])
    np.sum(x * 2).backward()
    assert z.grad is None


def test_a_leaf_that_cancels_out_gets_zeros():
    x = tg.tensor([1.0, 2.0])
    np.sum(x - x).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0])


@pytest.mark.parametrize(
    ("program", "slope"),
    [
        (lambda x: x * x, 6.0),
        (lambda x: x + x, 2.0),
        (lambda x: x / x, 0.0),
        (lambda x: x * x * x, 27.0),
        (lambda x: (x + x) * (x - 1.0), 10.0),
        (lambda x: np.multiply(x, x), 6.0),
    ],
)
def test_an_operation_with_one_leaf_for_both_operands_adds_both(program, slope):
    x = tg.tensor(3.0)
    program(x).backward()
    assert x.grad == slope


def test_a_tower_of_diamonds_takes_each_entry_once():
    # There are 2**60 paths from the root to the leaf: only a sweep that sums before it goes on comes to an end.
    x = tg.tensor([1.0])
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad == 2.0**60


def test_branches_of_different_length_are_summed_before_they_go_on():
    x = tg.tensor(0.5)
    a = np.sin(x)
    long = a
    for _ in range(5):
        long = long * 2.0
    (long + a).backward()
    assert x.grad == pytest.approx(33 * np.cos(0.5), rel=4 * EPS)


@pytest.mark.parametrize(
    "constant",
    [2, 2.0, True, np.float64(2.0), np.int32(2), np.array(2.0), np.array([2, 3]), np.array([True, False]), [2.0, 3.0]],
    ids=repr,
)
def test_constants_may_stand_on_either_side(constant):
    x = tg.tensor([5.0, 7.0])
    np.sum(x * constant + constant * x - constant + (constant - x)).backward()
    np.testing.assert_array_equal(x.grad, np.broadcast_to(2.0 * np.asarray(constant) - 1.0, (2,)))


def test_tensors_that_do_not_record_are_constants():
    x, c = tg.tensor([5.0, 7.0]), tg.tensor([2.0, 3.0], requires_grad=False)
    np.sum(c * x + x * c + c).backward()
    np.testing.assert_array_equal(x.grad, [4.0, 6.0])
    assert c.grad is None


def test_float32_leaves_get_float32_gradients_from_a_float64_program():
    x = tg.tensor([1.0, 2.0], np.float32)
    y = x * np.array([3.0, 4.0])
    assert y.dtype == np.float64
    np.sum(y).backward()
    assert x.grad.dtype == np.float32


def test_a_sweep_runs_where_nothing_is_recorded():
    x = tg.tensor([1.0, 2.0])
    y = np.sum(x * x)
    with tg.no_grad():
        y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


def test_a_sweep_makes_no_warnings():
    # Warnings are errors in these tests; and the caller's own settings must come back.
    x = tg.tensor([0.0, 1.0])
    with np.errstate(all="raise"):
        np.sum(np.sqrt(x) * 1e300).backward()
    np.testing.assert_array_equal(x.grad, [np.inf, 0.5e300])


def test_adding_to_a_gradient_makes_no_warnings():
    x = tg.tensor([1.0])
    for _ in range(2):
        np.sum(x * 1e308).backward()
    np.testing.assert_array_equal(x.grad, [np.inf])


# ---------------------------------------------------------------- seeds


def test_a_seed_of_another_shape_is_refused_with_both_shapes():
    x = tg.tensor([1.0, 2.0])
    for seed in (np.ones(3), np.ones((1, 2)), 1.0):
        with pytest.raises(ShapeError, match=r"\(2,\)"):
            (x * x).backward(seed)
    assert x.grad is None


def test_a_seed_that_would_lose_its_imaginary_part_is_refused():
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(DTypeError, match="complex128"):
        (x * x).backward(np.array([1j, 0.0]))
    assert x.grad is None


@pytest.mark.parametrize("seed", [np.array(["a", "b"]), np.array([None, None])], ids=["string", "object"])
def test_a_seed_that_is_no_number_is_refused(seed):
    with pytest.raises(DTypeError):
        tg.tensor([1.0, 2.0]).backward(seed)


@pytest.mark.parametrize(
    "seed",
    [[1, 2], (1, 2), np.array([1, 2]), np.array([1, 2], np.float16), np.array([1, 2], np.uint8), tg.tensor([1, 2])],
    ids=repr,
)
def test_seeds_that_cast_are_cast_to_the_dtype_of_the_result(seed):
    x = tg.tensor([3.0, 4.0])
    (x * 2.0).backward(seed)
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])
    assert x.grad.dtype == np.float64


def test_a_boolean_seed_selects():
    x = tg.tensor([3.0, 4.0])
    (x * 2.0).backward(np.array([True, False]))
    np.testing.assert_array_equal(x.grad, [2.0, 0.0])


def test_a_float64_seed_is_cast_for_a_float32_result():
    x = tg.tensor([3.0, 4.0], np.float32)
    (x * 2).backward(np.array([1.0, 2.0]))
    assert x.grad.dtype == np.float32


def test_a_masked_seed_is_refused():
    # Its mask would be dropped in silence.
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(DTypeError, match="MaskedArray"):
        (x * 2).backward(np.ma.array([1.0, 2.0], mask=[True, False]))


def test_several_elements_need_a_seed_and_the_error_says_what_to_do():
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(ArgumentError, match=r"\(2,\).*sum it.*grad="):
        (x * x).backward()
    assert x.grad is None


def test_no_element_needs_a_seed_too():
    with pytest.raises(ArgumentError, match=r"\(0,\)"):
        (tg.tensor(np.zeros(0)) * 2).backward()


def test_a_complex_result_needs_a_seed():
    z = tg.tensor(1.0 + 2.0j)
    with pytest.raises(ArgumentError, match="complex"):
        (z * z).backward()
    (z * z).backward(np.array(1.0 + 0.0j))
    # conj(2 z): the direction in which the real part of z**2 rises.
    assert z.grad == 2.0 - 4.0j


def test_a_tensor_that_records_nothing_has_no_backward():
    for t in (tg.tensor([1]), tg.tensor(1.0, requires_grad=False), tg.tensor([1.0]).detach()):
        with pytest.raises(RecordingError, match="records nothing"):
            t.backward()


# ---------------------------------------------------------------- again, and in part


def test_gradients_add_up_over_sweeps():
    x = tg.tensor([1.0, 2.0])
    for _ in range(3):
        np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, [6.0, 12.0])


def test_a_retained_graph_can_be_replayed_any_number_of_times():
    x = tg.tensor([1.0, 2.0])
    y = np.sum(np.sin(x) * x)
    y.backward(retain_graph=True)
    once = x.grad
    for _ in range(3):
        y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad, once + once + once + once + once)


def test_a_second_sweep_raises_and_names_retain_graph():
    x = tg.tensor([1.0, 2.0])
    y = np.sum(x * x)
    y.backward()
    with pytest.raises(RecordingError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


def test_a_second_sweep_raises_where_nothing_was_saved_too():
    x = tg.tensor(1.0)
    y = x + 1.0
    y.backward()
    with pytest.raises(RecordingError, match="retain_graph=True"):
        y.backward()
    with pytest.raises(RecordingError, match="retain_graph=True"):
        (y + 1.0).backward()


@pytest.mark.parametrize("options", [{}, {"retain_graph": True}, {"create_graph": True}], ids=str)
def test_a_second_root_over_a_freed_part_raises_and_changes_nothing(options):
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    shared = x + 1.0
    first, second = np.sum(shared * shared), np.sum(shared * z)
    first.backward()
    before = x.grad.copy()
    with pytest.raises(RecordingError, match="retain_graph=True"):
        second.backward(**options)
    np.testing.assert_array_equal(x.grad, before)
    assert z.grad is None


@pytest.mark.parametrize("size", [2, (1 << 14) + 3])
def test_what_is_spent_is_found_before_anything_is_freed(size):
    # Twenty large entries lie between the root and what is spent: a sweep that freed as it went would
    # have freed some of them before it found out.
    x = tg.tensor(np.ones(size))
    low = x * 2.0
    np.sum(low).backward()
    above = tg.tensor(np.ones(size))
    middle = [above]
    for _ in range(20):
        middle.append(np.sin(middle[-1]))
    root = np.sum(middle[-1] + low)
    with pytest.raises(RecordingError):
        root.backward()
    np.sum(middle[-1]).backward()
    assert above.grad is not None


@pytest.mark.parametrize("options", [{}, {"retain_graph": True}, {"create_graph": True}], ids=str)
def test_what_is_spent_is_found_before_a_hook_runs(options):
    x = tg.tensor([1.0])
    low = x * 2.0
    low.backward()
    seen = []
    high = low * 3.0
    high.register_hook(seen.append)
    with pytest.raises(RecordingError):
        high.backward(**options)
    assert seen == []


def test_roots_can_be_replayed_one_after_another():
    x = tg.tensor([1.0, 2.0])
    shared = np.sin(x)
    first, second = np.sum(shared), np.sum(shared * shared)
    first.backward(retain_graph=True)
    second.backward()
    s, c = np.sin([1.0, 2.0]), np.cos([1.0, 2.0])
    np.testing.assert_allclose(x.grad, c + 2 * s * c, rtol=8 * EPS)


def test_roots_that_share_only_leaves_need_no_retain_graph():
    x = tg.tensor([1.0, 2.0])
    first, second = np.sum(x * x), np.sum(x * 3)
    first.backward()
    second.backward()
    np.testing.assert_array_equal(x.grad, [5.0, 7.0])


def test_a_value_on_the_way_can_be_a_root():
    x = tg.tensor([1.0, 2.0])
    middle = x * 2.0
    root = np.sum(middle * middle)
    middle.backward(np.ones(2), retain_graph=True)
    root.backward()
    np.testing.assert_array_equal(x.grad, [10.0, 18.0])


def test_a_freed_part_can_be_used_as_a_constant():
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    y = x * 2.0
    np.sum(y).backward()
    np.sum(y.detach() * z).backward()
    np.testing.assert_array_equal(z.grad, [2.0, 4.0])


def test_retain_graph_false_contradicts_create_graph():
    x = tg.tensor([1.0])
    y = x * x
    with pytest.raises(ArgumentError, match=r"create_graph=True.*retain_graph=False"):
        y.backward(retain_graph=False, create_graph=True)
    y.backward()
    assert x.grad == 2.0


# ---------------------------------------------------------------- all or nothing


class TroubleError(Exception):
    """Raised by the rules and hooks of these tests."""


def raising_rule(_g, _y, _a):
    raise TroubleError("on purpose")


def raising_hook(_g):
    raise TroubleError("on purpose")


@pytest.mark.parametrize("options", [{}, {"retain_graph": True}, {"create_graph": True}], ids=str)
@pytest.mark.parametrize("where", ["rule", "hook"])
def test_after_an_exception_every_grad_is_as_before(with_rule, where, options):
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    np.sum(x * 7.0).backward()
    before = x.grad
    if where == "rule":
        faulty = with_rule(lambda a: a * 1.0, raising_rule)(x)
    else:
        faulty = x * 1.0
        faulty.register_hook(raising_hook)
    # z is the newest leaf and its share is ready before the trouble begins.
    loss = np.sum(np.sin(faulty) + x) + np.sum(z * z)
    with pytest.raises(TroubleError, match="on purpose"):
        loss.backward(**options)
    assert x.grad is before
    np.testing.assert_array_equal(before, [7.0, 7.0])
    assert z.grad is None


@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_after_an_exception_recording_goes_on_as_before(with_rule, options):
    faulty = with_rule(lambda a: a * 1.0, raising_rule)
    first, second = np.sum(faulty(tg.tensor([1.0]))), np.sum(faulty(tg.tensor([1.0])))
    with pytest.raises(TroubleError):
        first.backward(**options)
    assert records_now()
    with tg.no_grad():
        with pytest.raises(TroubleError):
            second.backward(**options)
        assert not records_now()


def test_after_an_exception_the_callers_error_state_holds(with_rule):
    faulty = with_rule(lambda a: a * 1.0, raising_rule)
    with np.errstate(divide="raise", over="warn"):
        before = np.geterr()
        with pytest.raises(TroubleError):
            np.sum(faulty(tg.tensor([1.0]))).backward()
        assert np.geterr() == before


def test_a_sweep_that_failed_can_be_repeated_if_the_graph_was_retained(with_rule):
    fail = [True]

    def rule(g, _y, _a):
        if fail[0]:
            raise TroubleError("on purpose")
        return g

    x = tg.tensor([1.0, 2.0])
    loss = np.sum(with_rule(lambda a: a * 1.0, rule)(x) * x)
    with pytest.raises(TroubleError):
        loss.backward(retain_graph=True)
    fail[0] = False
    loss.backward()
    np.testing.assert_array_equal(x.grad, [2.0, 4.0])


def test_a_failing_operation_leaves_no_entry():
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0, 3.0])
    np.sum(x).backward()
    before = x.grad
    with tg.Tape() as tape:
        y = x * 2.0
        with pytest.raises(ValueError, match="broadcast"):
            y + z
        with pytest.raises(IndexError):
            y[5]
        with pytest.raises(TypeError):
            np.sin(y, no_such_keyword=1)
        assert len(tape) == 1
        np.sum(y)
        assert len(tape) == 2
    assert x.grad is before


# ---------------------------------------------------------------- gradients of gradients


def derivatives(f, at, order):
    """f and its derivatives at a point, each by backward() through the one before."""
    x = tg.tensor(np.array(at))
    values, y = [], f(x)
    for _ in range(order):
        np.sum(y).backward(create_graph=True)
        y = x.grad
        values.append(y.numpy().copy())
        x.zero_grad()
    return values


@pytest.mark.parametrize("power", [4, 4.0])
def test_a_power_has_every_derivative(power):
    at = np.array([1.5, -2.0, 3.0]) if power == 4 else np.array([1.5, 2.0, 3.0])
    found = derivatives(lambda x: x**power, at, 5)
    expected = [4 * at**3, 12 * at**2, 24 * at, 24 + 0 * at, 0 * at]
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, right, rtol=32 * EPS)


def test_sine_comes_back_after_four_derivatives():
    at = np.array([0.3, 1.7])
    found = derivatives(np.sin, at, 4)
    for got, right in zip(found, [np.cos(at), -np.sin(at), -np.cos(at), np.sin(at)], strict=True):
        np.testing.assert_allclose(got, right, rtol=8 * EPS)


def test_a_quotient_has_its_third_derivative():
    at = np.array([0.5, 2.0])
    np.testing.assert_allclose(derivatives(lambda x: 1 / x, at, 3)[2], -6 / at**4, rtol=32 * EPS)


def test_mixed_second_derivatives_of_several_leaves():
    # f = x**2 y + y**3: the Hessian is [[2y, 2x], [2x, 6y]].
    x, y = tg.tensor(2.0), tg.tensor(5.0)
    (x**2 * y + y**3).backward(create_graph=True)
    by_x, by_y = x.grad, y.grad
    rows = []
    for first in (by_x, by_y):
        x.zero_grad()
        y.zero_grad()
        first.backward(retain_graph=True)
        rows.append([x.grad, y.grad])
    np.testing.assert_array_equal(np.array(rows, np.float64), [[10.0, 4.0], [4.0, 30.0]])


def test_a_loss_may_contain_a_gradient():
    x = tg.tensor([1.0, 2.0])
    np.sum(x**3).backward(create_graph=True)
    slope = x.grad
    x.zero_grad()
    np.sum(slope * slope).backward()
    np.testing.assert_allclose(x.grad, 36 * np.array([1.0, 2.0]) ** 3, rtol=8 * EPS)


def test_create_graph_keeps_the_graph():
    x = tg.tensor([3.0])
    y = x * x
    y.backward(create_graph=True)
    y.backward()
    assert x.grad.item() == 12.0


def test_gradients_of_both_kinds_add_up():
    x = tg.tensor([3.0])
    (x * x).backward()
    (x * x).backward(create_graph=True)
    assert type(x.grad) is tg.Tensor
    slope = x.grad
    x.zero_grad()
    slope.backward()
    assert x.grad == 2.0  # The first sweep's share was a constant.


def test_create_graph_records_where_recording_is_off():
    x = tg.tensor([3.0])
    y = x * x
    with tg.no_grad():
        y.backward(create_graph=True)
        assert not records_now()
    slope = x.grad
    x.zero_grad()
    slope.backward()
    assert x.grad == 2.0


def test_the_seed_of_a_recorded_sweep_can_be_differentiated():
    # The gradient is linear in the seed: its derivative by the seed is the slope itself.
    x, seed = tg.tensor([1.0, 2.0]), tg.tensor([5.0, 7.0])
    (x * x).backward(seed, create_graph=True)
    slope = x.grad
    np.sum(slope).backward()
    np.testing.assert_array_equal(seed.grad, [2.0, 4.0])


def test_a_first_order_sweep_takes_a_recording_seed_by_its_value():
    x, seed = tg.tensor([1.0, 2.0]), tg.tensor([5.0, 7.0])
    (x * x).backward(seed)
    np.testing.assert_array_equal(x.grad, [10.0, 28.0])
    assert type(x.grad) is np.ndarray
    assert seed.grad is None


def test_second_derivatives_pass_through_broadcasting_and_casts():
    # f = sum over rows of (w * x)**3, w broadcast and float32: d2f/dw2 = 6 w sum(x**3).
    w, x = tg.tensor([0.5, 2.0], np.float32), tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    np.sum((w * x) ** 3).backward(create_graph=True)
    slope = w.grad
    assert slope.dtype == np.float32
    w.zero_grad()
    np.sum(slope).backward()
    expected = 6 * np.array([0.5, 2.0]) * np.sum(x.numpy() ** 3, axis=0)
    np.testing.assert_allclose(w.grad, expected, rtol=8 * np.finfo(np.float32).eps)


def test_several_outputs_keep_their_second_derivatives(with_rule):
    def rule(g, y, x):
        return (g[0] * np.cos(x) if g[0] is not None else 0) + (g[1] * y[1] if g[1] is not None else 0)

    both = with_rule(lambda a: (np.sin(a), np.exp(a)), rule)
    at = np.array([0.3, 1.2])
    x = tg.tensor(at)
    s, e = both(x)
    np.sum(s * e).backward(create_graph=True)
    slope = x.grad
    np.testing.assert_allclose(slope.numpy(), np.exp(at) * (np.sin(at) + np.cos(at)), rtol=8 * EPS)
    x.zero_grad()
    np.sum(slope).backward()
    np.testing.assert_allclose(x.grad, 2 * np.exp(at) * np.cos(at), rtol=32 * EPS)


# ---------------------------------------------------------------- sweeps in sweeps


def test_a_hook_may_sweep_another_graph_with_the_same_leaf():
    x = tg.tensor([1.0, 2.0])
    y = x * 3.0
    y.register_hook(lambda _g: np.sum(x * x).backward())
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [5.0, 7.0])


def test_a_hook_may_sweep_the_graph_that_is_being_swept():
    x = tg.tensor([1.0, 2.0])
    y = x * x
    loss = np.sum(y * 3.0)
    inner = [True]

    def hook(_g):
        if inner.pop():
            inner.append(False)
            loss.backward(retain_graph=True)
        else:
            inner.append(False)

    y.register_hook(hook)
    loss.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [12.0, 24.0])


def test_a_rule_may_run_a_sweep_of_its_own(with_rule):
    # The rule finds the derivative of its function by differentiating it: a checkpoint in small.
    def inside(a):
        return np.sin(a) * a

    def rule(g, _y, a):
        with tg.enable_grad():
            again = tg.tensor(a)
            inside(again).backward(g)
        return again.grad

    x, plain = tg.tensor([0.5, 2.0]), tg.tensor([0.5, 2.0])
    np.sum(with_rule(inside, rule)(x * 2.0) * x).backward()
    np.sum(inside(plain * 2.0) * plain).backward()
    np.testing.assert_array_equal(x.grad, plain.grad)


# ---------------------------------------------------------------- any program

PROGRAMS = st.lists(
    st.tuples(st.sampled_from(["mean", "difference", "product", "sine"]), st.integers(0, 30), st.integers(0, 30)),
    min_size=1,
    max_size=16,
)
LEAVES = [np.array([0.3, -0.9, 0.0]), np.array([1.0, 0.5, -0.25]), np.array([-0.7, 0.1, 0.6])]


def leaf_gradients(program, leaves, **options):
    tensors = [tg.tensor(x) for x in leaves]
    np.sum(run_program(program, tensors)[-1]).backward(**options)
    return tensors, [np.zeros_like(x) if t.grad is None else t.grad for t, x in zip(tensors, leaves, strict=True)]


@settings(max_examples=40)
@given(PROGRAMS)
def test_any_program_has_the_gradient_that_dual_numbers_give(program):
    _tensors, gradients = leaf_gradients(program, LEAVES)
    for i, gradient in enumerate(gradients):
        directions = [np.ones(3) if i == j else np.zeros(3) for j in range(3)]
        expected = slope_of_program(program, LEAVES, directions)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=error_bound(program))


@settings(max_examples=40)
@given(PROGRAMS)
def test_any_program_has_the_second_derivatives_that_nested_dual_numbers_give(program):
    tensors, gradients = leaf_gradients(program, LEAVES, create_graph=True)
    for t in tensors:
        t.zero_grad()
    total = sum((np.sum(g) for g in gradients if type(g) is tg.Tensor), tg.tensor(0.0))
    total.backward()
    ones, zeros = np.ones(3), np.zeros(3)
    for i, t in enumerate(tensors):
        # The outer direction is that of leaf i, the inner one all leaves together.
        outer = [Dual(x, ones if i == j else zeros) for j, x in enumerate(LEAVES)]
        expected = slope_of_program(program, outer, [Dual(ones, zeros)] * 3).slope
        found = zeros if t.grad is None else t.grad
        np.testing.assert_allclose(found, expected, rtol=0, atol=len(program) * 4 * error_bound(program))


@settings(max_examples=40)
@given(PROGRAMS)
def test_a_large_program_has_the_gradient_of_the_small_one_repeated(program):
    # The arrays are so large that the sweep stops on its way to look, and frees what it has passed.
    _small, expected = leaf_gradients(program, LEAVES)
    _large, found = leaf_gradients(program, [tiled(x, 3 * 5500) for x in LEAVES])
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, tiled(right, got.size))


@settings(max_examples=40)
@given(PROGRAMS, st.booleans())
def test_sweeps_repeat_to_the_bit(program, large):
    leaves = [tiled(x, 3 * 5500) for x in LEAVES] if large else LEAVES
    tensors = [tg.tensor(x) for x in leaves]
    root = np.sum(run_program(program, tensors)[-1])
    found = []
    for retain in (True, True, False):
        root.backward(retain_graph=retain)
        found.append([t.grad for t in tensors])
        for t in tensors:
            t.zero_grad()
    for again in found[1:]:
        for got, right in zip(again, found[0], strict=True):
            assert (got is None) == (right is None)
            if right is not None:
                np.testing.assert_array_equal(got, right)


def test_a_rule_that_gives_a_constant_can_be_recorded(with_rule):
    absorbed = with_rule(lambda a: a * 0.0, lambda _g, _y, a: np.zeros(a.shape))
    a, b = tg.tensor(np.ones((2, 3))), tg.tensor(np.ones((3, 2)))
    np.sum(absorbed(a @ b) + a @ b).backward(create_graph=True)
    np.sum(a.grad * a.grad).backward()
    np.testing.assert_array_equal(b.grad.numpy() if isinstance(b.grad, tg.Tensor) else b.grad, np.full((3, 2), 10.0))


def test_of_nothing_a_gradient_can_be_recorded():
    a, b = tg.tensor(np.ones((0, 3))), tg.tensor(np.ones((3, 2)))
    np.sum(np.compress([True, False], a @ b, axis=1)).backward(create_graph=True)
    np.testing.assert_array_equal(b.grad.numpy(), np.zeros((3, 2)))
