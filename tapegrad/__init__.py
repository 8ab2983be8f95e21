"""Reverse-mode automatic differentiation for NumPy, on a tape."""

from tapegrad.errors import TapegradError as TapegradError
from tapegrad.primitive import defvjp as defvjp
from tapegrad.primitive import primitive as primitive
from tapegrad.recording import Tape as Tape
from tapegrad.recording import debug as debug
from tapegrad.recording import enable_grad as enable_grad
from tapegrad.recording import no_grad as no_grad
from tapegrad.tensor import Tensor as Tensor
from tapegrad.tensor import tensor as tensor
