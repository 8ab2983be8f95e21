"""numpy.emath: roots, logarithms and inverse functions that turn complex where their argument needs it.

Each is the function of the same name, of the argument as it is or made complex: whether one element
needs it decides for all, as in NumPy. The gradient of a real argument is real all the same.
"""

from typing import Any

import numpy as np

from tapegrad.cases import NONZERO, POSITIVE, UNIT, Cases, Domain, call
from tapegrad.kinds import Function
from tapegrad.primitive import composite
from tapegrad.shapes import cast

BEYOND = Domain(1.2, 3.0)
# What NumPy makes complex64 of; anything else becomes complex128, float16 and longdouble too.
_SHORT = "fbhBHF"


def _as_array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x)


def _complex_where(x: Any, needed: Function) -> Any:
    """``x``, made complex if it holds a real number for which that is needed."""
    x = _as_array(x)
    if not np.any(np.isreal(x) & needed(x)):
        return x
    dtype = np.dtype(np.complex64 if x.dtype.char in _SHORT else np.complex128)
    return x if x.dtype == dtype else cast(x, dtype)


def _below_zero(x: Any) -> Any:
    return x < 0


def _beyond_one(x: Any) -> Any:
    return np.absolute(x) > 1


def _widened(function: Function, needed: Function) -> Function:
    def run(x: Any) -> Any:
        return function(_complex_where(x, needed))

    return run


def _extended(domain: Domain) -> Cases:
    return Cases(domain, calls=(call((2, 3)), call(()), call((0,))), analytic=False)


_function: Any
for _function in (np.sqrt, np.log, np.log2, np.log10):
    composite(getattr(np.emath, _function.__name__), cases=_extended(NONZERO), note="complex below 0")(
        _widened(_function, _below_zero)
    )
for _function, _domain in ((np.arccos, UNIT), (np.arcsin, BEYOND), (np.arctanh, BEYOND)):
    composite(getattr(np.emath, _function.__name__), cases=_extended(_domain), note="complex beyond 1 and -1")(
        _widened(_function, _beyond_one)
    )


@composite(
    np.emath.logn,
    note="complex below 0",
    cases=Cases((BEYOND, NONZERO), calls=(call((3,), (2, 3)), call(2, (3,)), call((2,), 3.0)), analytic=False),
)
def logn(n: Any, x: Any) -> Any:
    """log x / log n."""
    x = _complex_where(x, _below_zero)
    return np.log(x) / np.log(_complex_where(n, _below_zero))


@composite(
    np.emath.power,
    note="complex below 0",
    cases=Cases(
        (NONZERO, POSITIVE),
        calls=(
            call((2, 3), 2),
            call((3,), -2),
            call((3,), np.array([-1, 2, 0])),
            call((2, 3), (3,)),
            call(2, (3,)),
            call((2,), 0.5),
        ),
        analytic=False,
    ),
)
def power(x: Any, p: Any) -> Any:
    """x to the power p; NumPy makes floats of integer exponents where one is below 0."""
    x, p = _complex_where(x, _below_zero), _as_array(p)
    return np.power(x, p * 1.0 if np.any(np.isreal(p) & (p < 0)) else p)
