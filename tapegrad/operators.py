"""Operators: Python's, on a tensor. Arithmetic takes a road; comparisons are constant; in place is refused or new."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad.ops  # noqa: F401 - the rules of NumPy's own functions, which the roads look up
from tapegrad.errors import DTypeError
from tapegrad.pairs import binary, general, two
from tapegrad.primitive import TABLE
from tapegrad.recording import TRACERS, from_data
from tapegrad.roads import road_of, unary
from tapegrad.writing import in_place


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison, or an operator on bits: constant, so on plain arrays, with NumPy's own errors."""

    def operate(a: Any, b: Any) -> Any:
        if hasattr(type(b), "__array_ufunc__") and not isinstance(b, (type(a), np.ndarray, np.generic)):
            return NotImplemented
        if isinstance(b, (np.ma.MaskedArray, np.matrix)):
            raise DTypeError(f"comparison: {type(b).__name__} is refused as an operand; pass a plain array")
        y = compare(a._value, b._value if type(b) is type(a) else b)
        return from_data(y, a, b) if TRACERS else y

    return operate


# NumPy itself takes these roads for Python numbers: its value, its speed.
_POWERS = {2: np.square, 1: np.positive, -1: np.reciprocal, 0.5: np.sqrt}


class Operators:
    """Every operator of ndarray, its reflected form, and its form in place."""

    __slots__ = ()

    _value: Any
    _spec: Any
    _entry: Any

    __hash__ = None  # type: ignore[assignment]

    __eq__ = _compared(operator.eq)
    __ne__ = _compared(operator.ne)
    __lt__ = _compared(operator.lt)
    __le__ = _compared(operator.le)
    __gt__ = _compared(operator.gt)
    __ge__ = _compared(operator.ge)
    __and__ = _compared(operator.and_)
    __or__ = _compared(operator.or_)
    __xor__ = _compared(operator.xor)
    __lshift__ = _compared(operator.lshift)
    __rshift__ = _compared(operator.rshift)
    __rand__ = _compared(lambda a, b: b & a)
    __ror__ = _compared(lambda a, b: b | a)
    __rxor__ = _compared(lambda a, b: b ^ a)
    __rlshift__ = _compared(lambda a, b: b << a)
    __rrshift__ = _compared(lambda a, b: b >> a)
    __floordiv__ = _compared(operator.floordiv)
    __rfloordiv__ = _compared(lambda a, b: b // a)

    def __invert__(self) -> Any:
        return from_data(~self._value, self) if TRACERS else ~self._value

    __neg__ = unary(np.negative)
    __pos__ = unary(np.positive)
    __abs__ = unary(np.absolute)
    __add__, __radd__ = binary(np.add, operator.add)
    __sub__, __rsub__ = binary(np.subtract, operator.sub)
    __mul__, __rmul__ = binary(np.multiply, operator.mul)
    __truediv__, __rtruediv__ = binary(np.divide, operator.truediv)
    __mod__, __rmod__ = binary(np.remainder, operator.mod)
    _power, __rpow__ = binary(np.power)  # the operator itself has cases of its own, by NumPy's release

    def __pow__(self, exponent: Any) -> Any:
        if type(exponent) in (int, float) and self._spec.dtype.kind in "fc":
            quick = _POWERS.get(exponent)
            if quick is not None:
                return road_of(TABLE[quick])(self)
        return self._power(exponent)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    __matmul__ = two(TABLE[np.matmul], operator.matmul)

    def __rmatmul__(self, other: Any) -> Any:
        return general(np.matmul, other, self)

    __iadd__ = in_place(operator.add, "+=")
    __isub__ = in_place(operator.sub, "-=")
    __imul__ = in_place(operator.mul, "*=")
    __itruediv__ = in_place(operator.truediv, "/=")
    __ifloordiv__ = in_place(operator.floordiv, "//=")
    __imod__ = in_place(operator.mod, "%=")
    __ipow__ = in_place(operator.pow, "**=")
    __imatmul__ = in_place(operator.matmul, "@=")
    __iand__ = in_place(operator.and_, "&=")
    __ior__ = in_place(operator.or_, "|=")
    __ixor__ = in_place(operator.xor, "^=")
    __ilshift__ = in_place(operator.lshift, "<<=")
    __irshift__ = in_place(operator.rshift, ">>=")
