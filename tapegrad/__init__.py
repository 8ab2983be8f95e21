"""Reverse-mode automatic differentiation for NumPy, on a tape.

>>> import numpy as np, tapegrad as tg
>>> x = tg.tensor([1.0, 2.0, 3.0])
>>> np.sum(x**2).backward()
>>> x.grad
array([2., 4., 6.])
"""

import importlib

from tapegrad.errors import TapegradError
from tapegrad.primitive import defvjp, primitive
from tapegrad.recording import Tape, debug, enable_grad, no_grad
from tapegrad.tensor import Tensor, tensor

# After Tensor, whose module registers the rules of NumPy's functions.
from tapegrad import nn, optim  # isort: skip

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


def __getattr__(name: str) -> object:
    if name == "testing":  # Only when asked for: nothing at run time needs it.
        return importlib.import_module("tapegrad.testing")
    raise AttributeError(f"module 'tapegrad' has no attribute {name!r}")
