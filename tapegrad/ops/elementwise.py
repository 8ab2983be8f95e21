"""Elementwise: the slopes of NumPy's ufuncs and their like."""

import math
from typing import Any

import numpy as np

from tapegrad.cases import DISTINCT, NONZERO, POSITIVE, REAL, UNIT, Cases, Domain, call
from tapegrad.primitive import defvjp, elementwise, pullback, ratio
from tapegrad.shapes import conj, select

# Arithmetic.
elementwise(np.add, 1, 1, cases=Cases())
elementwise(np.subtract, 1, -1, cases=Cases())
elementwise(np.multiply, lambda _y, _a, b: b, lambda _y, a, _b: a, cases=Cases())
elementwise(np.divide, ratio(lambda _y, _a, b: b), lambda y, _a, b: -y / b, cases=Cases(domain=NONZERO))
elementwise(np.negative, -1, cases=Cases())
elementwise(np.positive, 1, cases=Cases())
elementwise(np.reciprocal, lambda y, _x: -y * y, cases=Cases(domain=NONZERO))
elementwise(np.square, lambda _y, x: 2 * x, cases=Cases())
elementwise(np.sqrt, lambda y, _x: 0.5 / y, cases=Cases(domain=POSITIVE))
elementwise(np.absolute, lambda _y, x: conj(np.sign(x)), cases=Cases(domain=NONZERO, analytic=False, note="0 at 0"))
elementwise(np.remainder, 1, lambda _y, a, b: -np.floor(a / b), cases=Cases(domain=(REAL, POSITIVE), complex=False))
elementwise(np.power, lambda _y, a, b: b * a ** (b - 1), lambda y, a, _b: y * np.log(a), cases=Cases(domain=(POSITIVE, REAL)))

# Exponentials, logarithms, circles.
elementwise(np.exp, lambda y, _x: y, cases=Cases())
elementwise(np.log, ratio(lambda _y, x: x), cases=Cases(domain=POSITIVE))
elementwise(np.sin, lambda _y, x: np.cos(x), cases=Cases())
elementwise(np.cos, lambda _y, x: -np.sin(x), cases=Cases())
elementwise(np.tanh, lambda y, _x: 1 - y * y, cases=Cases())
elementwise(np.conjugate, pullback(lambda g, _y, _x: conj(g)), cases=Cases(analytic=False))
elementwise(np.real, 1, cases=Cases(analytic=False))
elementwise(np.imag, -1j, cases=Cases(analytic=False))


@defvjp(np.where, cases=Cases(calls=()))
def where_vjp(g: Any, _y: Any, c: Any, _a, _b):
    return None, lambda: np.where(c,g,0), lambda: np.where(c,0,g)
