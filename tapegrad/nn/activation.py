"""Activations: what stands between the layers of a network, and what turns scores into probabilities."""

from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, Cases, call
from tapegrad.errors import DTypeError
from tapegrad.kinds import pullback
from tapegrad.primitive import defvjp, elementwise, primitive
from tapegrad.shapes import select


@primitive
def relu(x: Any) -> Any:
    """The larger of ``x`` and 0, elementwise.

    x : real, any shape
    Returns the shape and dtype of ``x``. The derivative at 0 is 0; nan stays nan, and passes a gradient.
    Raises DTypeError for complex numbers.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])

    Nair & Hinton 2010.
    """
    return np.maximum(_real("relu", x), 0)


elementwise(
    relu,
    pullback(lambda g, y, _x: select(~(y <= 0), g)),
    cases=Cases(
        domain=NONZERO,
        complex=False,
        analytic=False,
        neutral=False,
        examples=((call(np.array([-1.0, 0.0, -0.0, 2.0, np.inf])), (np.array([0.0, 0, 0, 1, 1]),)),),
        note="derivative 0 at 0",
    ),
)


@primitive
def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """``x`` where it is positive, elsewhere ``negative_slope * x``.

    x : real, any shape
    negative_slope : float, the derivative at 0 too
    Returns the shape and dtype of ``x``. Raises DTypeError for complex numbers.

    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 0.0, 2.0]), 0.1)
    array([-0.1,  0. ,  2. ])

    Maas, Hannun & Ng 2013.
    """
    x = _real("leaky_relu", x)
    return np.maximum(x, 0) + negative_slope * np.minimum(x, 0)


@defvjp(
    leaky_relu,
    cases=Cases(
        domain=NONZERO,
        complex=False,
        analytic=False,
        calls=(
            call((2, 3)),
            call((4,), negative_slope=0.3),
            call((4,), negative_slope=-1.5),
            call((), negative_slope=-1.5),
            call((0, 2)),
        ),
        examples=((call(np.array([-1.0, 0.0, 2.0]), negative_slope=0.5), (np.array([0.5, 0.5, 1.0]),)),),
        note="derivative negative_slope at 0",
    ),
)
def leaky_relu_vjp(g: Any, _y: Any, x: Any, *, negative_slope: float = 0.01) -> Any:
    """g where x > 0, elsewhere negative_slope g."""
    return np.where(x > 0, g, g * negative_slope)


@primitive
def sigmoid(x: Any) -> Any:
    """The logistic function 1 / (1 + exp(-x)), elementwise.

    x : float or complex, any shape; it never overflows
    Returns the shape and dtype of ``x``, float64 for integers.

    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])

    Verhulst 1838.
    """
    # Where exp(-x) is infinite the quotient is 0, which is right.
    with np.errstate(over="ignore", under="ignore"):
        return 1 / (1 + np.exp(-_floating(x)))


elementwise(sigmoid, lambda y, _x: y * (1 - y), cases=Cases())


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, elementwise: a smooth ``relu``.

    x : real, any shape
    beta : float, how sharply it bends
    threshold : where ``beta * x`` is above, the result is ``x`` itself, as in other libraries (at the
        default 2e-9 less than the logarithm; ``np.inf`` for no such place)
    Returns the shape and dtype of ``x``, float64 for integers. Raises DTypeError for complex numbers.

    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0]))
    array([0.00000000e+00, 6.93147181e-01, 1.00000000e+03])

    Dugas et al. 2001.
    """
    z = x if beta == 1 else np.multiply(x, beta)
    y = softplus_unit(z)
    if beta != 1:
        y = y / beta
    linear = np.greater(z, threshold)
    return np.where(linear, x, y) if linear.any() else y


@primitive
def softplus_unit(x: Any) -> Any:
    """log(1 + exp(x)), elementwise, without overflow."""
    x = _floating(_real("softplus", x))
    with np.errstate(under="ignore"):
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


elementwise(softplus_unit, lambda _y, x: sigmoid(x), cases=Cases(complex=False, analytic=False))


@primitive
def softmax(x: Any, axis: Any) -> Any:
    """exp(x) / sum(exp(x)): positive numbers that sum to 1 along ``axis``.

    x : real; a row of which all elements are minus infinity gives nan
    axis : int, a tuple of ints, or None for all axes
    Returns the shape and dtype of ``x``, float64 for integers. Raises DTypeError for complex numbers,
    NumPy's AxisError for an axis that isn't there.

    >>> import numpy as np
    >>> softmax(np.array([[0.0, 0.0], [1000.0, -1000.0]]), axis=1)
    array([[0.5, 0.5],
           [1. , 0. ]])

    Bridle 1990.
    """
    x = _floating(_real("softmax", x))
    with np.errstate(under="ignore", invalid="ignore"):
        p = np.exp(x - _maximum(x, axis))
        return p / np.add.reduce(p, axis=axis, keepdims=True)


_ROWS = (
    call((3, 4), axis=1),
    call((3, 4), axis=-1),
    call((3, 4), axis=0),
    call((2, 3, 4), axis=1),
    call((2, 3), axis=(0, 1)),
    call((2, 3), axis=None),
    call((3, 1), axis=1),
    call((0, 3), axis=1),
    call((3, 0), axis=1),
)


@defvjp(
    softmax,
    cases=Cases(
        complex=False,
        analytic=False,
        calls=_ROWS,
        # Rows of other sizes.
        examples=(
            (
                call(np.array([[1000.0, 1000.0], [-1000.0, -1000.0]]), axis=1),
                (np.array([[0.25, -0.25], [0.25, -0.25]]),),
                np.array([1, 0]),
            ),
        ),
    ),
)
def softmax_vjp(g: Any, y: Any, _x: Any, *, axis: Any) -> Any:
    """x_bar = y (g - sum(g y))."""
    return y * (g - np.sum(g * y, axis=axis, keepdims=True))


@primitive
def log_softmax(x: Any, axis: Any) -> Any:
    """log(softmax(x)) along ``axis``, also where the softmax itself is too small for a float.

    x : real; a row of which all elements are minus infinity gives nan
    axis : int, a tuple of ints, or None for all axes
    Returns the shape and dtype of ``x``, float64 for integers. Raises DTypeError for complex numbers,
    NumPy's AxisError for an axis that isn't there.

    >>> import numpy as np
    >>> log_softmax(np.array([1000.0, 0.0, -1000.0]), axis=0)
    array([    0., -1000., -2000.])

    Blanchard, Higham & Higham 2021.
    """
    x = _floating(_real("log_softmax", x))
    with np.errstate(under="ignore", invalid="ignore", divide="ignore"):  # The log of an empty sum is -inf.
        z = x - _maximum(x, axis)
        return z - np.log(np.add.reduce(np.exp(z), axis=axis, keepdims=True))


@defvjp(log_softmax, cases=Cases(complex=False, analytic=False, calls=_ROWS))
def log_softmax_vjp(g: Any, y: Any, _x: Any, *, axis: Any) -> Any:
    """x_bar = g - exp(y) sum(g)."""
    return g - np.exp(y) * np.sum(g, axis=axis, keepdims=True)


def _maximum(x: Any, axis: Any) -> Any:
    # Of nothing it is minus infinity, which then meets nothing.
    return np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)


def _real(name: str, x: Any) -> Any:
    x = np.asarray(x)
    if x.dtype.kind not in "fiu":
        raise DTypeError(f"{name}: x has dtype {x.dtype}; real numbers are expected")
    return x


def _floating(x: Any) -> Any:
    x = np.asarray(x)
    return x.astype(np.float64) if x.dtype.kind in "biu" else x
