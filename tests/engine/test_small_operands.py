"""Two small operands that aren't alike: the first call of its kind makes a plan, which the next ones follow."""

import operator

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.dispatch import call

UFUNCS = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.divide,
    operator.mod: np.remainder,
    operator.matmul: np.matmul,
    np.arctan2: np.arctan2,
    np.maximum: np.maximum,
}
SHAPES = [
    ((3, 4), (4,)),
    ((4,), (3, 4)),
    ((3, 1), (1, 4)),
    ((3, 4), ()),
    ((2, 3, 4), (3, 1)),
    ((0, 4), (4,)),
    ((2, 1), (2, 3)),
]
CALLS = [(f, *shapes) for f in UFUNCS if f is not operator.matmul for shapes in SHAPES] + [
    (operator.matmul, *shapes)
    for shapes in [((3, 4), (4, 2)), ((1, 4), (4, 2)), ((3, 1), (1, 2)), ((0, 4), (4, 2)), ((4,), (4, 2))]
]
RECORDING = ["both", "first", "second", "beside an array", "after an array"]


def operands(shapes, dtypes, recording, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(1.0, 3.0, shape).astype(dtype) for shape, dtype in zip(shapes, dtypes, strict=True))
    t = tg.tensor(a, requires_grad=recording not in ("second", "after an array"))
    u = tg.tensor(b, requires_grad=recording not in ("first", "beside an array"))
    return (a if recording == "after an array" else t, b if recording == "beside an array" else u), (t, u)


def gradients(function, given, leaves, weights):
    y = function(*given)
    for leaf in leaves:
        leaf.grad = None
    if y.size:
        np.sum(np.real(y * weights[: y.size].reshape(y.shape).astype(y.dtype))).backward()
    else:
        np.sum(np.real(y)).backward()
    return [y.numpy(), *(leaf.grad for leaf in leaves if leaf.requires_grad)]


@pytest.mark.parametrize("recording", RECORDING)
@pytest.mark.parametrize("dtypes", ["dd", "ff", "ee", "DD", "df", "fd", "dD"])
@pytest.mark.parametrize(("function", "a", "b"), CALLS)
def test_the_second_call_gives_what_the_long_way_gives(function, a, b, dtypes, recording):
    if "D" in dtypes and function in (operator.mod, np.arctan2):
        return  # NumPy has none of complex numbers.
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 64)
    for seed in range(3):
        given, leaves = operands((a, b), dtypes, recording, seed)
        found = gradients(function, given, leaves, weights)
        expected = gradients(lambda x, z: call(UFUNCS[function], (x, z), {}), given, leaves, weights)
        for one, other in zip(found, expected, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_allclose(one, other, rtol=8 * np.finfo(one.dtype).eps)


@pytest.mark.parametrize("function", [lambda t, row: t + row, lambda t, row: t * row, lambda t, row: (t * row) @ t.T])
def test_parts_of_the_result_may_be_read(function):
    # Of an array that isn't tiny, parts arrive as pieces, which a sweep takes for large until it looks closer.
    t, row = tg.tensor(np.linspace(0.5, 1.5, 400).reshape(20, 20)), tg.tensor(np.linspace(1.0, 2.0, 20))
    gradients = []
    for whole in (False, True):
        t.grad = row.grad = None
        for _ in range(2):
            y = function(t, row)
            np.sum(y * np.eye(20) if whole else y[np.arange(20), np.arange(20)]).backward()
        gradients.append((t.grad, row.grad))
    for found, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T.copy().T,
    "reversed": lambda x: x[::-1],
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
}


@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_a_product_of_matrices_is_numpys_to_the_last_bit(first, second):
    rng = np.random.default_rng(2)
    for n, k, m in [(1, 7, 3), (5, 1, 4), (6, 9, 1), (2, 3, 4), (17, 33, 5), (0, 3, 2), (3, 0, 2)]:
        for dtype in (np.float16, np.float32, np.float64, np.longdouble):
            a, b = rng.standard_normal((n, k)).astype(dtype), rng.standard_normal((k, m)).astype(dtype)
            a, t, b = LAYOUTS[first](a), LAYOUTS[second](tg.tensor(b)), LAYOUTS[second](b)
            u = tg.tensor(a)
            for _ in range(2):  # The second time by the plan.
                np.testing.assert_array_equal((a @ t).numpy(), a @ b, strict=True)
                np.testing.assert_array_equal((u @ t).numpy(), u.numpy() @ b, strict=True)
    with pytest.raises(ValueError, match="matmul"):
        tg.tensor(np.ones((2, 3))) @ tg.tensor(np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_slope_of_tanh_has_its_digits_in_the_tails(dtype):
    x = tg.tensor(np.linspace(-8.0, 8.0, 33, dtype=dtype))
    np.sum(np.tanh(x)).backward()
    exact = 1 / np.cosh(x.numpy().astype(np.longdouble)) ** 2
    # What rounds below the smallest number that has all of its digits has fewer.
    np.testing.assert_allclose(
        x.grad, exact.astype(dtype), rtol=8 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny / 512
    )
