"""Checks of gradients: ``check_vjp`` and ``check_grads`` against differences, on NumPy alone."""

from tapegrad.testing.check import GradientError as GradientError
from tapegrad.testing.check import UndecidedError as UndecidedError
from tapegrad.testing.check import check_grads as check_grads
from tapegrad.testing.check import check_vjp as check_vjp
from tapegrad.testing.check import complex_step as complex_step
