"""Transforms: functions that make of a function its derivative."""

from tapegrad.containers import register_container
from tapegrad.transforms.forward import jvp, linearize
from tapegrad.transforms.jacobians import hessian, jacobian
from tapegrad.transforms.leaves import flatten
from tapegrad.transforms.products import ggnvp, hvp
from tapegrad.transforms.reverse import elementwise_grad, grad, value_and_grad, vjp

__all__ = [
    "elementwise_grad",
    "flatten",
    "ggnvp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "register_container",
    "value_and_grad",
    "vjp",
]
