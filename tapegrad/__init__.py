"""Reverse-mode automatic differentiation for NumPy, on a tape.

>>> import numpy as np, tapegrad as tg
>>> x = tg.tensor([1.0, 2.0, 3.0])
>>> np.sum(x**2).backward()
>>> x.grad
array([2., 4., 6.])
"""

import importlib
from typing import TYPE_CHECKING

from tapegrad.errors import TapegradError
from tapegrad.primitive import defvjp, later, primitive
from tapegrad.recording import Tape, debug, enable_grad, no_grad
from tapegrad.tensor import Tensor, tensor

if TYPE_CHECKING:
    from tapegrad import nn, optim
    from tapegrad.custom import custom_gradient, stop_gradient, straight_through
    from tapegrad.transforms import (
        checkpoint,
        checkpoint_chain,
        elementwise_grad,
        fixed_point,
        flatten,
        ggnvp,
        grad,
        hessian,
        hvp,
        jacobian,
        jvp,
        linearize,
        register_container,
        root,
        sparsity,
        value_and_grad,
        vjp,
    )

__all__ = [
    "Tape",
    "TapegradError",
    "Tensor",
    "checkpoint",
    "checkpoint_chain",
    "custom_gradient",
    "debug",
    "defvjp",
    "elementwise_grad",
    "enable_grad",
    "fixed_point",
    "flatten",
    "ggnvp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "register_container",
    "root",
    "sparsity",
    "stop_gradient",
    "straight_through",
    "tensor",
    "value_and_grad",
    "vjp",
]
__version__ = "0.1.0"

later("tapegrad.nn")


def __getattr__(name: str) -> object:
    # Imported when they are asked for.
    if name in ("nn", "optim", "testing", "transforms"):
        return importlib.import_module(f"tapegrad.{name}")
    if name in ("custom_gradient", "stop_gradient", "straight_through"):
        value = globals()[name] = getattr(importlib.import_module("tapegrad.custom"), name)
        return value
    if name in __all__:  # A transform: whatever else is public stands here already.
        value = globals()[name] = getattr(importlib.import_module("tapegrad.transforms"), name)
        return value
    raise AttributeError(f"module 'tapegrad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # Also what hasn't been asked for yet.
