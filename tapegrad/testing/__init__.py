"""Checks of gradients: ``check_vjp`` and ``check_grads`` against differences, on NumPy alone."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tapegrad.testing.check import GradientError, UndecidedError, check_grads, check_vjp, complex_step

__all__ = ["GradientError", "UndecidedError", "check_grads", "check_vjp", "complex_step"]


def __getattr__(name: str) -> object:
    # pytest imports this package at every start, for the sake of the plugin in it.
    if name in __all__:
        return getattr(importlib.import_module("tapegrad.testing.check"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
