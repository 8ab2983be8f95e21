"""What a tensor takes over from ndarray by calling NumPy on itself: it knows neither tape nor rule."""

from collections.abc import Callable
from typing import Any

import numpy as np


def _method(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """The method of ndarray that does what the function does, with the array as its first argument."""
    called = name or function.__name__

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__array_function__(function, (), (self, *args), kwargs)  # What NumPy would do, sooner.

    if isinstance(function, np.ufunc):

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return function(self, *args, **kwargs)

    method.__name__, method.__qualname__ = called, f"Tensor.{called}"
    method.__doc__ = f"``np.{function.__name__}`` of this tensor."
    return method


class ArrayMethods:
    """ndarray's methods and comparisons, each the NumPy function of the same name."""

    __slots__ = ()

    all = _method(np.all)
    any = _method(np.any)
    argmax = _method(np.argmax)
    argmin = _method(np.argmin)
    argpartition = _method(np.argpartition)
    argsort = _method(np.argsort)
    choose = _method(np.choose)
    cumprod = _method(np.cumprod)
    cumsum = _method(np.cumsum)
    diagonal = _method(np.diagonal)
    dot = _method(np.dot)
    nonzero = _method(np.nonzero)
    ravel = _method(np.ravel)
    repeat = _method(np.repeat)
    round = _method(np.round)
    searchsorted = _method(np.searchsorted)
    std = _method(np.std)
    take = _method(np.take)
    trace = _method(np.trace)
    var = _method(np.var)

    def conj(self) -> Any:
        """``np.conj`` of this tensor; of a real one, itself."""
        kind = self.dtype.kind  # type: ignore[attr-defined]
        return np.conj(self) if kind == "c" else self  # type: ignore[call-overload]

    conjugate = conj

    def clip(self, min: Any = None, max: Any = None, **kwargs: Any) -> Any:
        """``np.clip(self, min, max)``; either bound may be left out."""
        return self.__array_function__(np.clip, (), (self, min, max), kwargs)  # type: ignore[attr-defined]

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """``np.compress(condition, self, axis)``."""
        return np.compress(condition, self, axis=axis)  # type: ignore[call-overload]
