"""Strategies: each yields what it promises, what matters can be reached, and what is found is small and round."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.cases import DISTINCT, NONZERO, POSITIVE, REAL, Cases, Domain, call
from tapegrad.errors import ArgumentError
from tapegrad.kinds import Elementwise, Known
from tapegrad.primitive import TABLE, defvjp, elementwise, look_up, primitive
from tapegrad.testing import GradientError, UndecidedError, check_grads, strategies
from tapegrad.testing.draw import checked, trials_of
from tapegrad.testing.pullbacks import parts_of
from tapegrad.testing.rules import FORWARD_ROUNDING, near
from tapegrad.testing.strategies.growth import IN_PLACE
from tapegrad.testing.strategies.matrices import KINDS
from tapegrad.testing.strategies.values import round_values

KINKED = Domain(-2.0, 2.0, avoid=(-1.0, 0.5), margin=0.25)
FLOATS = (np.float16, np.float32, np.float64, np.longdouble)
COMPLEX = (np.complex64, np.complex128, np.clongdouble)
thorough = settings(max_examples=100)


def reach(strategy: Any, condition: Any) -> Any:
    """Some example that meets the condition, not the smallest."""
    return find(strategy, condition, settings=settings(max_examples=5000, database=None, phases=[Phase.generate]))


@pytest.fixture
def throw_away() -> Any:
    """Primitives of a test leave the table with it."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


# ---------------------------------------------------------------- arrays


def gaps(x: Any, domain: Domain) -> Any:
    return np.min([np.abs(np.asarray(x, np.float64) - point) for point in domain.avoid], axis=0)


@thorough
@given(st.data(), st.sampled_from([REAL, POSITIVE, NONZERO, DISTINCT, KINKED, Domain(0.37, 0.46)]))
def test_arrays_lie_in_their_domain_in_every_dtype_and_layout(data: Any, domain: Domain) -> None:
    dtype = data.draw(st.sampled_from([*FLOATS, *COMPLEX]))
    x = data.draw(strategies.arrays_in(domain, dtype=dtype))
    assert x.dtype == dtype
    assert x.ndim <= 3
    for part in (x.real, x.imag) if x.dtype.kind == "c" else (x,):
        wide = part.astype(np.float64)
        assert np.all((domain.low <= wide) & (wide <= domain.high))
        if domain.avoid:
            assert np.all(gaps(wide, domain) >= domain.margin)
        if domain.distinct and x.size > 1:
            assert np.min(np.diff(np.sort(wide, axis=None))) >= domain.margin * 0.99


@thorough
@given(strategies.arrays_in(KINKED, distance=(1e-6, 1e-3)), strategies.arrays_in(KINKED, distance=0.5))
def test_the_distance_from_kinks_is_kept(close: Any, far: Any) -> None:
    assert np.all((gaps(close, KINKED) >= 1e-6) & (gaps(close, KINKED) <= 1e-3))
    assert np.all(gaps(far, KINKED) >= 0.5)


@given(strategies.arrays_in(KINKED, (3,), distance=(0.0, 0.0)))
def test_entries_can_be_put_on_the_kinks_themselves(x: Any) -> None:
    assert set(x.tolist()) <= set(KINKED.avoid)


def test_both_sides_of_every_kink_are_reached() -> None:
    for point in KINKED.avoid:
        for side in (1, -1):
            near_it = strategies.arrays_in(KINKED, (1,), distance=(1e-6, 1e-3))
            reach(near_it, lambda x, point=point, side=side: 0 < side * (x[0] - point) < 0.01)


@thorough
@given(strategies.arrays_in(POSITIVE, hnp.array_shapes(min_side=2), ties=True))
def test_ties_are_made_on_purpose(x: Any) -> None:
    assert len(np.unique(x)) < x.size


@thorough
@given(strategies.arrays_in(REAL, (2, 4), ties=False), strategies.arrays_in(DISTINCT, (5,), ties=True))
def test_ties_are_avoided_and_made_whatever_the_domain_says(apart: Any, tied: Any) -> None:
    assert len(np.unique(apart)) == 8
    assert len(np.unique(tied)) < 5


SPECIAL = {
    "zeros": lambda x: (x == 0) & ~np.signbit(x.real),
    "negative_zeros": lambda x: (x == 0) & np.signbit(x.real),
    "tiny": lambda x: (x != 0) & (np.abs(x) < 4 * float(np.finfo(x.dtype).smallest_normal)),
    "huge": lambda x: np.abs(x) >= 0.99 * np.sqrt(np.finfo(x.dtype).max),
}


@thorough
@given(st.data(), st.sampled_from(sorted(SPECIAL)), st.sampled_from([np.float32, np.float64, np.complex128]))
def test_special_numbers_come_where_they_are_asked_for_and_only_there(data: Any, kind: str, dtype: Any) -> None:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
    x = data.draw(strategies.arrays_in(POSITIVE, shapes, dtype, **{kind: True}))
    assert SPECIAL[kind](x).any()
    assert not (x.real < 0).any(), "the signs are the domain's"
    plain = data.draw(strategies.arrays_in(POSITIVE, shapes, dtype))
    assert not any(special(plain).any() for special in SPECIAL.values())


def test_all_special_numbers_come_together_with_a_tie() -> None:
    everything = dict.fromkeys(SPECIAL, True)
    x = find(strategies.arrays_in(shape=(6,), ties=True, **everything), lambda x: True)
    assert all(special(x).any() for special in SPECIAL.values())
    assert len(np.unique(x)) < 6


def test_negative_zeros_are_reached_in_complex_numbers() -> None:
    x = find(strategies.arrays_in(shape=(1,), dtype=np.complex128, negative_zeros=True), lambda x: True)
    assert np.signbit(x.real).all()


@thorough
@given(st.data(), st.sampled_from(strategies.LAYOUTS))
def test_layouts_are_as_asked(data: Any, layout: str) -> None:
    shapes = hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=3)
    x = data.draw(strategies.arrays_in(shape=shapes, layouts=[layout]))
    held = {
        "C": x.flags.c_contiguous,
        "F": x.flags.f_contiguous,
        "strided": not x.flags.forc and min(x.strides) > x.itemsize,
        "reversed": max(x.strides) < 0,
        "broadcast": 0 in x.strides and not x.flags.writeable,
    }
    assert held[layout]


def test_every_layout_is_met_and_every_shape() -> None:
    def met(condition: Any, **how: Any) -> Any:
        return find(strategies.arrays_in(**how), condition)

    assert met(lambda x: min(x.strides, default=0) < 0).shape == (2,)
    assert met(lambda x: not x.flags.c_contiguous).size <= 4
    assert met(lambda x: 0 in x.strides and x.size > 1, layouts=strategies.LAYOUTS).shape == (2,)
    assert met(lambda x: x.size == 0).shape == (0,)
    assert met(lambda x: x.ndim == 3).shape == (1, 1, 1)


def test_arrays_shrink_to_what_is_small_and_round() -> None:
    assert find(strategies.arrays_in(), lambda x: True).tolist() == 0
    assert find(strategies.arrays_in(POSITIVE), lambda x: x.size > 1).tolist() == [1.0, 1.0]
    assert find(strategies.arrays_in(shape=(3,)), lambda x: x[1] > 0.7).tolist() == [0.0, 1.0, 0.0]
    assert find(strategies.arrays_in(shape=(3,)), lambda x: x.sum() < -1.05).tolist() in ([0, 0, -1.1], [0, 0, -2])
    x = find(strategies.arrays_in(dtype=np.complex64), lambda x: x.ndim == 1 and np.any(x.imag > 0.1))
    assert x.tolist() == [1j]


def test_arrays_compose_with_other_strategies() -> None:
    pairs = st.tuples(strategies.arrays_in(shape=hnp.array_shapes(max_dims=1)), st.booleans())
    x, flag = find(pairs, lambda pair: pair[1] and len(pair[0]) > 1)
    assert (x.tolist(), flag) == ([0.0, 0.0], True)
    kinds = strategies.arrays_in(dtype=hnp.floating_dtypes(sizes=(32, 64)))
    assert find(kinds, lambda x: x.dtype == np.float32).dtype == np.float32
    whole = find(strategies.arrays_in(dtype=np.int64, shape=(2,)), lambda x: x[0] < 0)
    assert (whole.dtype, whole.tolist()) == (np.int64, [-1, 0])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"domain": Domain(0.0, 1.0, avoid=(0.5,), margin=2.0)}, r"holds no float64 at a distance of 2 from"),
        ({"domain": Domain(0.2, 0.8), "dtype": np.int64}, "holds no int64; widen its bounds"),
        ({"domain": Domain(0.0, math.inf)}, "low and high are finite"),
        ({"domain": Domain(1.0, 0.0)}, "low is the lower"),
        ({"distance": 0.1}, "avoids no point"),
        ({"domain": KINKED, "distance": (0.5, 0.1)}, "in ascending order; got"),
        ({"dtype": "U3"}, "floats, complex numbers or integers; got <U3"),
        ({"shape": (2, -1)}, r"tuple of ints of at least 0, or a strategy of such; got \(2, -1\)"),
        ({"layouts": ["Z"]}, "layouts are some of .* got"),
        ({"domain": DISTINCT, "layouts": ["broadcast"]}, "distinct can't be broadcast"),
    ],
)
def test_a_domain_without_arrays_says_what_to_change(how: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        strategies.arrays_in(**how)


def test_too_many_distinct_entries_are_refused() -> None:
    with pytest.raises(ArgumentError, match="are to be distinct; widen its bounds, take a smaller shape"):
        find(strategies.arrays_in(Domain(0.0, 3.0), (9,), np.int64, ties=False), lambda x: True)


def test_round_values_are_found_in_domains_of_any_size() -> None:
    for low, high in ((0.0, 0.0), (1.0, 1.0 + 1e-12), (-1e300, 1e300), (1e-300, 2e-300), (3.0, 3.0)):
        values = round_values(Domain(low, high), np.dtype(np.float64))
        assert np.all((low <= values) & (values <= high))
        assert len(set(values.tolist())) == len(values)


# ---------------------------------------------------------------- several operands


@thorough
@given(strategies.broadcastable_operands(3))
def test_operands_broadcast(operands: Any) -> None:
    np.broadcast_shapes(*(x.shape for x in operands))


@thorough
@given(strategies.broadcastable_operands(2, [POSITIVE, KINKED], [np.float32, np.complex128], result=(2, 3)))
def test_operands_broadcast_to_what_is_asked_each_in_its_domain(operands: Any) -> None:
    a, b = operands
    assert np.broadcast_shapes(a.shape, b.shape, (2, 3)) == (2, 3)
    assert (a.dtype, b.dtype) == (np.float32, np.complex128)
    assert np.all(a > 0.29)


@pytest.mark.parametrize(
    "condition",
    [
        lambda a, b: a.ndim > b.ndim,
        lambda a, b: a.ndim < b.ndim,
        lambda a, b: a.ndim == b.ndim == 2 and a.shape[0] == 1 < b.shape[0] and b.shape[1] == 1 < a.shape[1],
        lambda a, b: 0 in a.shape and 1 in b.shape,
        lambda a, b: a.shape == b.shape and a.size > 3,
    ],
)
def test_every_way_to_broadcast_is_reached(condition: Any) -> None:
    reach(strategies.broadcastable_operands(), lambda pair: condition(*pair))


def test_operands_without_a_domain_each_are_refused() -> None:
    with pytest.raises(ArgumentError, match="one domain and one dtype for each of 3 operands"):
        strategies.broadcastable_operands(3, [REAL, REAL])
    with pytest.raises(ArgumentError, match="count is an int of at least 1; got 0"):
        strategies.broadcastable_operands(0)


# ---------------------------------------------------------------- matrices


def singular_values(a: Any) -> Any:
    return np.linalg.svd(a, compute_uv=False)


def has_repeated(values: Any) -> bool:
    return bool(np.min(np.diff(np.sort(values))) < 1e-10)


PROMISES = {
    "general": lambda a: True,
    "regular": lambda a: np.linalg.cond(a) < 10,
    "symmetric": lambda a: np.array_equal(a, a.conj().T),
    "spd": lambda a: np.allclose(a, a.conj().T) and np.linalg.eigvalsh(a)[0] > 0.49,
    "orthogonal": lambda a: np.allclose(a.conj().T @ a, np.eye(a.shape[1]), atol=1e-12),
    "singular": lambda a: np.linalg.matrix_rank(a) < min(a.shape),
    "repeated_spectrum": lambda a: np.allclose(a, a.conj().T) and has_repeated(np.linalg.eigvalsh(a)),
    "ill_conditioned": lambda a: 1e5 < np.linalg.cond(a) < 1e7,
    "triangular": lambda a: not np.triu(a, 1).any() and np.all(np.abs(np.diag(a)) >= 0.5),
    "diagonal": lambda a: not (a - np.diag(np.diag(a))).any() and np.all(np.abs(np.diag(a)) >= 0.5),
    # All eigenvectors of a diagonalizable matrix together have full rank.
    "defective": lambda a: singular_values(np.linalg.eig(a)[1])[-1] < 1e-3,
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data())
def test_matrices_are_of_their_kind(kind: str, data: Any) -> None:
    dtype = data.draw(st.sampled_from([np.float64, np.complex128]))
    a = data.draw(strategies.matrices(kind, dtype=dtype))
    assert a.dtype == dtype
    assert a.shape[0] == a.shape[1] >= 1
    assert PROMISES[kind](a)


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_shrink_to_a_round_one(kind: str) -> None:
    a = find(strategies.matrices(kind, 2), lambda a: True)
    assert np.array_equal(a, np.round(a)) or kind == "ill_conditioned"
    smaller = find(strategies.matrices(kind), lambda a: True)
    assert smaller.shape == ((2, 2) if kind in ("repeated_spectrum", "ill_conditioned", "defective") else (1, 1))


@given(st.data())
def test_oblong_and_stacked_matrices_are_of_their_kind(data: Any) -> None:
    q = data.draw(strategies.matrices("orthogonal", 2, 4, batch=(3,)))
    assert q.shape == (3, 4, 2)
    assert all(map(PROMISES["orthogonal"], q))
    a = data.draw(strategies.matrices("repeated_spectrum", 4, 3))
    assert a.shape == (3, 4)
    assert has_repeated(singular_values(a))
    assert np.linalg.matrix_rank(data.draw(strategies.matrices("singular", 4, 2))) < 2
    assert data.draw(strategies.matrices("spd", 3, dtype=np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    "condition",
    [
        lambda q: np.linalg.det(q) < 0,
        lambda q: np.linalg.det(q) > 0 and not np.array_equal(np.abs(q), np.eye(2)),
    ],
)
def test_rotations_and_reflections_are_reached(condition: Any) -> None:
    reach(strategies.matrices("orthogonal", 2), condition)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"kind": "nice"}, "kind is one of general, regular.* got 'nice'"),
        ({"kind": "spd", "n": 2, "m": 3}, "'spd' is square, leave m out"),
        ({"kind": "orthogonal", "n": 3, "m": 2}, "3 columns can't be orthonormal in 2 rows"),
        ({"kind": "defective", "n": 1}, "n for defective is an int of at least 2"),
        ({"dtype": np.float16}, "of 32 bits or more"),
    ],
)
def test_matrices_that_there_are_none_of_are_refused(how: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        strategies.matrices(**how)


# ---------------------------------------------------------------- indices and axes


@settings(max_examples=300)
@given(st.data())
def test_indices_are_valid_for_their_shape(data: Any) -> None:
    shape = data.draw(strategies.shapes())
    index = data.draw(strategies.indices(shape))
    x = tg.tensor(np.ones(shape))
    y = x[index]
    assert y.shape == np.ones(shape)[index].shape
    np.sum(y).backward()
    counts = np.zeros(shape)
    np.add.at(counts, index, 1)
    assert np.array_equal(x.grad, counts)


def parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def is_array(item: Any, dtype: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype == dtype


@pytest.mark.parametrize(
    "condition",
    [
        lambda index: isinstance(index, int) and index < 0,
        lambda index: any(isinstance(i, slice) and (i.step or 1) < 0 and i.start is not None for i in parts(index)),
        lambda index: parts(index).count(None) == 2 if not any(map(is_any_array, parts(index))) else False,
        lambda index: index is ...,
        lambda index: len(parts(index)) > 1 and parts(index)[0] is ...,
        lambda index: any(is_array(i, np.intp) and len(set(i.flat)) < i.size for i in parts(index)),
        lambda index: any(is_array(i, np.intp) and i.ndim == 2 for i in parts(index)),
        lambda index: sum(is_array(i, np.intp) for i in parts(index)) == 2,
        lambda index: any(is_array(i, bool) and i.ndim == 2 and i.any() for i in parts(index)),
        lambda index: any(is_array(i, bool) for i in parts(index)) and any(is_array(i, np.intp) for i in parts(index)),
        # Arrays that a slice stands between: NumPy then puts their axes in front.
        lambda index: [is_any_array(i) for i in parts(index)] == [True, False, True],
        lambda index: any(isinstance(i, slice) for i in parts(index)) and any(is_any_array(i) for i in parts(index)),
    ],
)
def test_every_kind_of_index_and_mixture_is_reached(condition: Any) -> None:
    reach(strategies.indices((2, 3, 2)), condition)


def is_any_array(item: Any) -> bool:
    return isinstance(item, np.ndarray)


@given(st.data())
def test_the_kinds_of_indices_can_be_chosen(data: Any) -> None:
    for kind, of in (("int", int), ("slice", slice), ("integers", np.ndarray), ("mask", np.ndarray)):
        index = data.draw(strategies.indices((2, 3), kinds=[kind]))
        assert any(isinstance(i, of) for i in parts(index))
        assert all(isinstance(i, (of, slice)) for i in parts(index))


def test_indices_shrink_to_the_first_entry() -> None:
    assert find(strategies.indices((2, 3)), lambda index: True) == 0
    assert find(strategies.indices((2, 3), kinds=["int", "slice"]), lambda index: len(parts(index)) == 2) == (0, 0)
    with pytest.raises(ArgumentError, match="kinds are some of"):
        strategies.indices((2,), kinds=["fancy"])


@thorough
@given(st.data())
def test_axes_are_valid(data: Any) -> None:
    shape = data.draw(strategies.shapes(min_side=1))
    axis = data.draw(strategies.axes(shape))
    np.sum(np.ones(shape), axis=axis)


@pytest.mark.parametrize(
    "condition",
    [
        lambda axis: axis is None,
        lambda axis: axis == 1,
        lambda axis: axis == -2,
        lambda axis: axis == (),
        lambda axis: axis == (1, -2) or axis == (-1, 0),
    ],
)
def test_every_form_of_axis_is_reached(condition: Any) -> None:
    reach(strategies.axes(2), condition)


def test_axes_that_there_are_none_of_are_refused() -> None:
    with pytest.raises(ArgumentError, match="an array of 0 axes has none that fit"):
        strategies.axes((), none=False, tuples=False)


# ---------------------------------------------------------------- contractions


@thorough
@given(strategies.einsum_calls(dtype=st.sampled_from([np.float64, np.complex128])))
def test_einsum_calls_have_right_values_and_gradients(drawn: Any) -> None:
    assert_right(drawn)


@pytest.mark.parametrize(
    "condition",
    [
        lambda terms, given: any(len(set(t)) < len(t) for t in terms[:-1] if "." not in t),
        lambda terms, given: len(terms) == 4,
        lambda terms, given: any("..." in t for t in terms) and any("..." not in t for t in terms),
        lambda terms, given: "->" not in given[0] and len(given) == 3,
        lambda terms, given: "->" in given[0] and len(terms[-1]) == 2 and terms[-1][0] > terms[-1][1],
        lambda terms, given: any(0 in x.shape for x in given[1:]),
        lambda terms, given: len(given) > 2 and "i" in terms[0] and "i" in terms[1] and "i" not in terms[-1],
    ],
)
def test_every_sort_of_einsum_is_reached(condition: Any) -> None:
    def fits(drawn: Any) -> Any:
        return condition(drawn.operands[0].replace("->", ",").split(","), drawn.operands)

    reach(strategies.einsum_calls(), fits)


@pytest.mark.parametrize("function", [np.convolve, np.correlate, tg.nn.conv2d])
@settings(max_examples=20)
@given(data=st.data())
def test_convolution_calls_have_right_values_and_gradients(function: Any, data: Any) -> None:
    assert_right(data.draw(strategies.convolution_calls(function, max_side=4)))


@pytest.mark.parametrize(
    "condition",
    [
        lambda call: call.parameters.get("groups") == 2,
        lambda call: call.parameters.get("stride") == (1, 2),
        lambda call: call.parameters.get("padding") == 2 and call.parameters.get("dilation") == 2,
        lambda call: len(call.arrays) == 3,
        lambda call: call.function is np.correlate and len(call.arrays[0]) < len(call.arrays[1]),
    ],
)
def test_every_sort_of_convolution_is_reached(condition: Any) -> None:
    reach(strategies.convolution_calls(), condition)


def test_other_functions_are_no_convolutions() -> None:
    with pytest.raises(ArgumentError, match=r"np.convolve, np.correlate or tapegrad.nn.conv2d"):
        strategies.convolution_calls(np.sum)
    with pytest.raises(ArgumentError, match="at least one operand"):
        find(strategies.einsum_calls(max_operands=0), lambda drawn: True)


# ---------------------------------------------------------------- containers


def leaves(tree: Any) -> list[Any]:
    if dataclasses.is_dataclass(tree):
        return leaves([getattr(tree, field.name) for field in dataclasses.fields(tree)])
    if isinstance(tree, dict):
        return leaves(list(tree.values()))
    if isinstance(tree, (list, tuple)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [] if tree is None else [tree]


def depth(tree: Any) -> int:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else []
    return 1 + max(map(depth, inner), default=0) if isinstance(tree, (dict, list, tuple)) else 0


@thorough
@given(strategies.containers(max_leaves=4))
def test_containers_can_be_differentiated(tree: Any) -> None:
    assert len(leaves(tree)) <= 4
    if not leaves(tree):
        return

    def total(tree: Any) -> Any:
        return sum(np.sum(leaf * leaf) for leaf in leaves(tree))

    gradient = tg.grad(total)(tree)
    assert type(gradient) is type(tree)
    for c, leaf in zip(leaves(gradient), leaves(tree), strict=True):
        assert np.array_equal(c, 2 * leaf)


@pytest.mark.parametrize(
    "condition",
    [
        lambda tree: isinstance(tree, dict) and len(tree) == 2,
        lambda tree: depth(tree) == 3,
        lambda tree: hasattr(tree, "_fields"),
        lambda tree: dataclasses.is_dataclass(tree),
        lambda tree: isinstance(tree, list) and None in [x for x in tree if x is None],
        lambda tree: tree == (),
    ],
)
def test_every_kind_of_container_is_reached(condition: Any) -> None:
    reach(strategies.containers(), condition)


def test_containers_hold_what_they_are_given_and_shrink() -> None:
    assert find(strategies.containers(st.just(3.0), empty=False), lambda tree: True) == (3.0,)
    with pytest.raises(ArgumentError, match="max_leaves is an int of at least 1"):
        strategies.containers(max_leaves=0)


# ---------------------------------------------------------------- calls


def plain(result: Any) -> list[Any]:
    return [part.numpy() if isinstance(part, tg.Tensor) else np.asarray(part) for part in parts_of(result)]


def assert_right(drawn: Any, order: int = 2) -> bool:
    """Recorded, the call gives NumPy's value; and its gradients agree with differences: whether these can tell."""
    with np.errstate(all="ignore"):
        expected = plain(drawn(*drawn.arrays))
        given_ = plain(drawn(*(tg.tensor(a) if a.dtype.kind in "fc" else a for a in drawn.arrays)))
    for y, right in zip(given_, expected, strict=True):
        assert (y.shape, y.dtype) == (right.shape, right.dtype), repr(drawn)
        same = y.dtype.kind in "fc" and near(y, right, FORWARD_ROUNDING)
        assert same or np.array_equal(y, right), repr(drawn)
    if not any(a.dtype.kind in "fc" for a in drawn.arrays):
        return True
    try:
        check_grads(drawn, *drawn.arrays, order=order)
    except UndecidedError:
        return False
    return True


TO_CALL = [k for k in checked() if any(not trial.call.parameters.get(IN_PLACE) for trial in trials_of(k))]


@pytest.mark.parametrize("known", TO_CALL, ids=lambda known: known.name)
def test_values_and_gradients_are_right_at_calls_of_every_function(known: Known) -> None:
    assert known.cases is not None
    order, decided = min(2, known.cases.order), []

    @settings(max_examples=6, phases=[Phase.generate])
    @given(strategies.calls(known.function))
    def run(drawn: Any) -> None:
        decided.append(assert_right(drawn, order))

    run()
    assert sum(decided) >= len(decided) / 2, "differences seldom tell: the calls lie too near to kinks"


def test_calls_shrink_to_the_smallest_and_roundest() -> None:
    assert repr(find(strategies.calls(np.multiply), lambda c: True)) == "np.multiply(np.array(1.0), np.array(2.0))"
    drawn = find(strategies.calls(np.sum), lambda c: c.parameters.get("keepdims") and c.parameters.get("axis") == 0)
    assert repr(drawn) == "np.sum(np.array([[1.0]]), axis=0, keepdims=True)"
    drawn = find(strategies.calls(np.matmul), lambda c: c(*c.arrays).size == 4 and len(c.arrays) == 2)
    assert sum(a.size for a in drawn.arrays) <= 6


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX, np.int64])
def test_every_dtype_that_a_function_takes_is_drawn(dtype: Any) -> None:
    reach(strategies.calls(np.multiply), lambda c: any(a.dtype == dtype for a in c.arrays))


@settings(max_examples=30)
@given(st.data())
def test_functions_that_share_their_cases_keep_their_own_calls(data: Any) -> None:
    for f in (np.max, np.amax, np.min):
        assert data.draw(strategies.calls(f)).function is f


def test_a_call_that_is_refused_in_another_layout_is_drawn_in_order() -> None:
    drawn = reach(strategies.calls(np.ravel), lambda c: c.parameters.get("order") == "K" and c.arrays[0].ndim > 1)
    assert drawn.arrays[0].flags.c_contiguous
    check_grads(drawn, *drawn.arrays)


def test_dtypes_are_mixed_left_out_and_chosen() -> None:
    find(strategies.calls(np.matmul), lambda c: len({a.dtype for a in c.arrays}) == 2)
    wanted = strategies.calls(np.add, dtypes=[np.float32])
    with pytest.raises(ArgumentError, match="dtypes are some of floats"):
        strategies.calls(np.add, dtypes=["U3"])
    assert find(wanted, lambda c: True).arrays[0].dtype == np.float32
    refused = strategies.calls(np.linalg.inv)  # LAPACK has no half precision.
    assert find(refused, lambda c: c.arrays[0].size > 1).arrays[0].dtype == np.float64


@pytest.mark.parametrize(
    "condition",
    [
        lambda c: c.arrays[0].shape != (2, 3) and c.arrays[0].size > 6,
        lambda c: c.arrays[0].size == 0,
        lambda c: c.arrays[0].ndim == 3,
        lambda c: min(c.arrays[0].strides, default=0) < 0,
        lambda c: repr(c.parameters) not in {repr(t.call.parameters) for t in trials_of(look_up(np.sum))},
    ],
)
def test_shapes_parameters_and_layouts_beyond_those_of_the_cases_are_reached(condition: Any) -> None:
    reach(strategies.calls(np.sum), condition)


@given(strategies.calls(np.hypot), strategies.calls(np.add, generic=False))
def test_operands_of_elementwise_functions_are_broadcast(generic: Any, any_: Any) -> None:
    for drawn in (generic, any_):
        np.broadcast_shapes(*(a.shape for a in drawn.arrays))
    sizes = np.concatenate([np.abs(a.astype(float)).ravel() for a in generic.arrays if a.dtype.kind == "f"] + [[]])
    assert 0 not in sizes


def test_ties_come_where_calls_needn_t_be_generic() -> None:
    find(strategies.calls(np.add, generic=False), lambda c: c.arrays[0].size == 2 and len(set(c.arrays[0].flat)) == 1)


def test_calls_are_functions_of_their_arrays_and_read_as_programs() -> None:
    drawn = find(strategies.calls(np.concatenate), lambda c: len(c.arrays) == 2 and c.parameters.get("axis") == -1)
    assert np.array_equal(eval(repr(drawn)), drawn(*drawn.arrays))
    assert np.array_equal(drawn(*(2 * a for a in drawn.arrays)), 2 * drawn(*drawn.arrays))


def test_a_wrong_rule_is_found_and_shrunk(throw_away: Any) -> None:
    f = primitive(lambda x, w: x * w)
    # The right one is x.
    elementwise(f, lambda _y, _x, w: w, lambda _y, x, w: x + (w > 1.5), cases=Cases(complex=False))

    def is_wrong(drawn: Any) -> bool:
        try:
            check_grads(drawn, *drawn.arrays, order=1)
        except GradientError:
            return True
        return False

    smallest = find(strategies.calls(f), is_wrong)
    x, w = smallest.arrays
    assert (x.shape, w.shape) == ((), ())
    assert (x.tolist(), w.tolist()) == (1.0, 2.0)


def test_a_report_on_a_call_ends_with_a_program_that_runs(throw_away: Any) -> None:
    drawn = find(strategies.calls(np.cumsum), lambda c: c.parameters.get("axis") == 0)
    assert drawn.source == "def call(x0):\n    return np.cumsum(x0, axis=0)"
    scope: dict[str, Any] = {"np": np}
    exec(drawn.source, scope)
    assert np.array_equal(scope["call"](*drawn.arrays), drawn(*drawn.arrays))
    assert find(strategies.calls(tg.nn.relu), lambda c: True).source.startswith("from tapegrad.nn.activation import")
    f = primitive(lambda x: x + 0)
    elementwise(f, 1, cases=Cases())
    assert find(strategies.calls(f), lambda c: True).source is None


def test_a_users_primitive_is_called_as_its_cases_say(throw_away: Any) -> None:
    @primitive
    def cubed(x: Any, scale: float = 1.0) -> Any:
        return scale * x**3

    @defvjp(cubed, cases=Cases(calls=(call((2, 3), scale=2.0), call((4,)))))
    def _cubed_vjp(g: Any, _y: Any, x: Any, *, scale: float = 1.0) -> Any:
        return 3 * scale * g * x * x

    shapes = {find(strategies.calls(cubed), lambda c, n=n: c.arrays[0].ndim == n).arrays[0].shape for n in (1, 2)}
    assert shapes == {(4,), (2, 3)}, "a user's function may not check what it is handed"
    assert find(strategies.calls(cubed, grow=True), lambda c: c.arrays[0].ndim == 2).arrays[0].shape == (1, 1)


def test_a_domain_in_which_the_function_returns_nan_is_named(throw_away: Any) -> None:
    root = primitive(lambda x: np.sqrt(x))
    elementwise(root, lambda y, _x: 0.5 / y, cases=Cases(domain=Domain(-1.0, 1.0), complex=False))
    says = r"gives array\(nan\), though its cases say that it is valid; narrow the domain .*Domain\(low=-1.0, high=1.0"
    with pytest.raises(ArgumentError, match=says):
        find(strategies.calls(root), lambda c: np.isnan(c(*c.arrays)).any())


def test_a_case_that_isn_t_a_valid_call_is_named(throw_away: Any) -> None:
    @primitive
    def total(x: Any, axis: Any = None) -> Any:
        return np.sum(x, axis=axis)

    @defvjp(total, cases=Cases(calls=(call((2, 3), axis=5),)))
    def _total_vjp(g: Any, _y: Any, x: Any, *, _axis: Any = None) -> Any:
        return np.broadcast_to(g, x.shape)

    with pytest.raises(ArgumentError, match=r"axis=5\) raises AxisError.* or mend their call number 0"):
        find(strategies.calls(total), lambda c: True)


def test_functions_without_calls_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"np.floor stands in the table as constant, with no call among its cases"):
        strategies.calls(np.floor)
    with pytest.raises(ArgumentError, match=r"isn't in the table; give it a rule with defvjp"):
        strategies.calls(parts)


@pytest.mark.parametrize("known", [k for k in TO_CALL if isinstance(k, Elementwise)][::8], ids=lambda known: known.name)
def test_no_example_of_an_elementwise_function_is_filtered_out(known: Known) -> None:
    # A strategy that rejects many of its own draws would fail the health check of its users.
    drawn = []

    @settings(max_examples=20)
    @given(strategies.calls(known.function))
    def run(c: Any) -> None:
        drawn.append(c)

    run()
    assert len(drawn) == 20
    assert look_up(known.function) is known
