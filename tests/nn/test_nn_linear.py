"""The fully-connected layer."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import ShapeError
from tapegrad.nn import linear

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_and_its_gradients_are_matrix_products(lead, biased):
    x, w, b = RNG.standard_normal((*lead, 4)), RNG.standard_normal((3, 4)), RNG.standard_normal(3)
    leaves = [tg.tensor(a) for a in ((x, w, b) if biased else (x, w))]
    y = linear(*leaves)
    g = RNG.standard_normal((*lead, 3))
    y.backward(g)
    np.testing.assert_allclose(y.numpy(), np.einsum("...i,oi->...o", x, w) + (b if biased else 0), rtol=1e-13)
    expected = [np.einsum("...o,oi->...i", g, w), g.reshape(-1, 3).T @ x.reshape(-1, 4), g.reshape(-1, 3).sum(0)]
    for leaf, c in zip(leaves, expected, strict=False):
        np.testing.assert_allclose(leaf.grad, c, rtol=1e-12, atol=1e-14)


def test_the_dtype_is_kept():
    x, w, b = (tg.tensor(np.ones(s), dtype=np.float32) for s in ((2, 3), (4, 3), (4,)))
    y = linear(x, w, b)
    assert y.dtype == np.float32
    y.sum().backward()
    assert {x.grad.dtype, w.grad.dtype, b.grad.dtype} == {np.dtype(np.float32)}


def test_missing_data_that_is_masked_later_leaves_the_gradients_alone():
    x = RNG.standard_normal((3, 2))
    x[1] = np.nan
    w, b = tg.tensor(RNG.standard_normal((4, 2))), tg.tensor(np.zeros(4))
    np.where(np.array([[True], [False], [True]]), linear(x, w, b), 0).sum().backward()
    np.testing.assert_allclose(w.grad, np.tile(x[0] + x[2], (4, 1)), rtol=1e-13)
    np.testing.assert_array_equal(b.grad, [2, 2, 2, 2])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3), (4, 5)), "linear: x has 3 features but weight expects 5; got x (2, 3), weight (4, 5)"),
        (((2, 3), (3,)), "linear: weight has 1 axes but 2 are expected, (out, in); got x (2, 3), weight (3,)"),
        (((), (4, 5)), "linear: x has no axis of features; got x (), weight (4, 5)"),
        (((2, 3), (4, 3), (3,)), "linear: bias has shape (3,) but weight (4, 3) expects (4,)"),
    ],
)
def test_what_does_not_fit_is_refused(shapes, message):
    for make in (np.ones, lambda shape: tg.tensor(np.ones(shape))):
        with pytest.raises(ShapeError) as caught:
            linear(*map(make, shapes))
        assert str(caught.value) == message
