"""numpy.fft: each gradient is the adjoint, in the dtypes that NumPy keeps; what NumPy refuses is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.ops.fft import inner_scaled
from tapegrad.testing.check import check_grads

NORMS = (None, "backward", "ortho", "forward")
OF_ANY = (np.fft.fft, np.fft.ifft, np.fft.irfft, np.fft.hfft)
OF_REALS = (np.fft.rfft, np.fft.ihfft)
SEVERAL = (np.fft.fftn, np.fft.ifftn, np.fft.irfftn, np.fft.fft2, np.fft.ifft2, np.fft.irfft2)
SEVERAL_OF_REALS = (np.fft.rfftn, np.fft.rfft2)


def drawn(shape: Any, dtype: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, shape)
    return (x + 1j * rng.uniform(-1, 1, shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def assert_adjoint(f: Any, x: Any) -> None:
    """The value is NumPy's to the bit, and Re<f(x), u> = Re<x, cotangent>, in the dtype of x."""
    t, expected = tg.tensor(x), f(x)
    y = f(t)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(y.numpy(), expected)
    u = drawn(y.shape, y.dtype, 1)
    y.backward(u)
    assert (t.grad.shape, t.grad.dtype) == (x.shape, x.dtype)
    bound = 64 * np.finfo(x.dtype).eps * np.linalg.norm(expected.ravel()) * np.linalg.norm(u.ravel())
    assert abs(np.vdot(expected, u).real - np.vdot(x, t.grad).real) <= bound
    # The products above hold for any multiple on the kernel of f; a second cotangent tells them apart.
    gram = sum(np.vdot(f(drawn(x.shape, x.dtype, k)), u).real - np.vdot(drawn(x.shape, x.dtype, k), t.grad).real
               for k in range(2, 5))  # fmt: skip
    assert abs(gram) <= 16 * bound + 1e-30


@given(
    st.sampled_from(OF_ANY + OF_REALS),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 9)),
    st.integers(-2, 1),
    st.sampled_from(NORMS),
    st.sampled_from([np.float32, np.float64, np.complex64, np.complex128, np.longdouble]),
)
def test_the_gradient_of_a_transform_is_its_adjoint(
    f: Any, length: int, n: Any, axis: int, norm: Any, dtype: Any
) -> None:
    if f in OF_REALS and np.dtype(dtype).kind == "c":
        dtype = np.float64
    if f in (np.fft.irfft, np.fft.hfft) and n is None:
        length += 1  # Of one term alone they would make data of length 0.
    shape = (length, 3) if axis % 2 == 0 else (2, length)
    assert_adjoint(lambda x: f(x, n, axis, norm), drawn(shape, dtype))


@given(
    st.sampled_from(SEVERAL + SEVERAL_OF_REALS),
    st.sampled_from([(0, 1), (-1, -2), (2, 0), (1, 2)]),
    st.one_of(st.none(), st.tuples(*[st.sampled_from([-1, 1, 2, 3, 4, 5])] * 2)),
    st.sampled_from(NORMS),
    st.booleans(),
)
def test_so_it_is_over_several_axes(f: Any, axes: Any, s: Any, norm: Any, real: bool) -> None:
    x = drawn((3, 4, 3), np.float64 if real or f in SEVERAL_OF_REALS else np.complex64)
    assert_adjoint(lambda x: f(x, s, axes, norm), x)


@pytest.mark.parametrize("f", [np.fft.fftn, np.fft.ifftn], ids=lambda f: f.__name__)
def test_a_repeated_axis_is_transformed_again(f: Any) -> None:
    assert_adjoint(lambda x: f(x, axes=(1, 0, 1)), drawn((3, 4), np.complex128))
    assert_adjoint(lambda x: f(x, s=(5, 3), axes=(0, 0)), drawn((4, 2), np.float64))


def test_what_irfft_does_not_read_gets_no_gradient() -> None:
    for n, alone in ((6, [0, 3]), (5, [0])):
        x = tg.tensor(drawn((n // 2 + 1,), np.complex128))
        np.sum(np.fft.irfft(x, n) ** 2).backward()
        assert [k for k in range(len(x.grad)) if x.grad[k].imag == 0] == alone


def test_parsevals_theorem_holds_for_the_gradient() -> None:
    x = tg.tensor(drawn((8,), np.float64))
    np.sum(np.abs(np.fft.rfft(x, norm="ortho")) ** 2 * np.array([1, 2, 2, 2, 1])).backward()
    np.testing.assert_allclose(x.grad, 2 * x.numpy(), rtol=1e-13)


def test_order_three_goes_through_the_family() -> None:
    check_grads(lambda x: np.fft.irfft(np.fft.rfft(x, 5) ** 3, 4), drawn((4,), np.float64), order=3)


def test_inner_scaled_leaves_the_mirror_images_of_themselves() -> None:
    np.testing.assert_array_equal(inner_scaled(np.ones((1, 4)), 2.0, 7, 1), [[1, 2, 2, 2]])
    np.testing.assert_array_equal(inner_scaled(np.ones((4, 1)), 2.0, 6, 0), [[1], [2], [2], [1]])


def test_what_numpy_refuses_is_refused() -> None:
    x, z = tg.tensor(np.ones(3)), tg.tensor(np.ones(3, complex))
    for f in (lambda: np.fft.fft(x, 0), lambda: np.fft.fft(tg.tensor(np.ones((2, 0)))), lambda: np.fft.irfft(x[:1])):
        with pytest.raises(ValueError, match="Invalid number of FFT data points"):
            f()
    with pytest.raises(ValueError, match="Invalid norm value"):
        np.fft.fft(x, norm="unitary")
    with pytest.raises(ValueError, match="Shape and axes have different lengths"):
        np.fft.fftn(x, (3,), (0, 0))
    with pytest.raises(TypeError):
        np.fft.rfft(z)
    with pytest.raises(TypeError):
        np.fft.fft(x, length=3)


@pytest.mark.parametrize("f", SEVERAL + SEVERAL_OF_REALS, ids=lambda f: f.__name__)
def test_lengths_without_axes_warn_as_numpy_does(f: Any) -> None:
    axes = {"axes": None} if f.__name__.endswith("2") else {}
    for x in (np.ones((4, 4)), tg.tensor(np.ones((4, 4)))):
        with pytest.warns(DeprecationWarning, match="`axes` should not be `None`"):
            assert f(x, s=(3, 4), **axes).ndim == 2


def test_frequencies_are_plain() -> None:
    np.testing.assert_array_equal(np.fft.fftfreq(4), [0, 0.25, -0.5, -0.25])
