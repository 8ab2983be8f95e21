"""Cases: where a primitive is differentiable, and on what to try it.

They stand beside each rule, and everything that goes through all primitives reads them: the tests,
the benchmarks, the table in the README.
"""

from typing import Any, NamedTuple

import numpy as np


class Domain(NamedTuple):
    """An interval to draw from, at a distance from the points where a function has a kink or a pole.

    low, high : float, bounds of the values drawn (of both parts, where they are complex)
    avoid : points that no value comes closer to than ``margin``
    distinct : whether any two values differ by at least ``margin`` (no ties)

    >>> Domain(-1.0, 1.0, avoid=(0.0,), margin=0.5).draw(np.random.default_rng(0), (2,), np.float64)
    array([ 0.7739..., -0.9604...])
    """

    low: float = -2.0
    high: float = 2.0
    avoid: tuple[float, ...] = ()
    margin: float = 0.1
    distinct: bool = False

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array of ``shape`` and ``dtype`` inside the domain."""
        dtype = np.dtype(dtype)
        if dtype.kind == "c":
            real, imaginary = (self._draw_real(rng, shape) for _ in range(2))
            return (real + 1j * imaginary).astype(dtype)
        return self._draw_real(rng, shape).astype(dtype)

    def _draw_real(self, rng: Any, shape: tuple[int, ...]) -> Any:
        if self.distinct:
            size = int(np.prod(shape))
            values = rng.permutation(np.linspace(self.low, self.high, size)).reshape(shape)
        else:
            values = rng.uniform(self.low, self.high, shape)
        for point in self.avoid:
            close = np.abs(values - point) < self.margin
            side = np.where(values >= point, 1.0, -1.0)
            side = np.where(point + self.margin > self.high, -1.0, side)
            side = np.where(point - self.margin < self.low, 1.0, side)
            values = np.where(close, point + side * (self.margin + np.abs(values - point)), values)
        return values


REAL = Domain()
POSITIVE = Domain(0.3, 2.5)
NONZERO = Domain(-2.0, 2.0, avoid=(0.0,), margin=0.3)
UNIT = Domain(-0.8, 0.8)
DISTINCT = Domain(-2.0, 2.0, distinct=True)


class Call(NamedTuple):
    """One call to try: operands, and NumPy's own parameters by name.

    An operand that is a tuple of ints is a shape, to be drawn from the domain; a list holds the
    operands of a function that takes a sequence; anything else is a constant, used as it is.
    """

    operands: tuple[Any, ...]
    parameters: dict[str, Any]


def call(*operands: Any, **parameters: Any) -> Call:
    """A call to try, written as one writes the call itself.

    >>> call((2, 3), axis=0)
    Call(operands=((2, 3),), parameters={'axis': 0})
    """
    return Call(operands, parameters)


class Cases(NamedTuple):
    """Where a primitive is differentiable, and on what to try it.

    domain : a Domain for all operands, or a tuple with one for each
    calls : calls to try; an elementwise function needs none
    examples : calls on exact points (every operand a constant), where a bug once was or a convention
        holds, with the cotangents expected for a cotangent of ones: pairs (Call, tuple of arrays); a third
        element is another cotangent, as where one of 0 must count for nothing, or a list of one for each output
    complex : whether complex operands are accepted
    analytic : whether the complex step gives the derivative (holomorphic, and NumPy takes complex)
    order : the highest order of derivative that may be asked for
    note : a convention or a kink that a user should know, for the README
    neutral : whether the rule runs on any array library, or on NumPy alone
    """

    domain: Domain | tuple[Domain, ...] = REAL
    calls: tuple[Call, ...] = ()
    examples: tuple[tuple[Call, tuple[Any, ...]] | tuple[Call, tuple[Any, ...], Any], ...] = ()
    complex: bool = True
    analytic: bool = True
    order: int = 2
    note: str = ""
    neutral: bool = True

    def domain_of(self, operand: int) -> Domain:
        """The domain of the operand at that position."""
        if isinstance(self.domain, Domain):
            return self.domain
        return self.domain[min(operand, len(self.domain) - 1)]
