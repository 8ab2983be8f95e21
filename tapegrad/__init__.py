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

__all__ = [
    "Tape",
    "TapegradError",
    "Tensor",
    "debug",
    "defvjp",
    "enable_grad",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "tensor",
]
__version__ = "0.1.0"

later("tapegrad.nn")


def __getattr__(name: str) -> object:
    if name in ("nn", "optim", "testing"):  # Imported when they are asked for.
        return importlib.import_module(f"tapegrad.{name}")
    raise AttributeError(f"module 'tapegrad' has no attribute {name!r}")
