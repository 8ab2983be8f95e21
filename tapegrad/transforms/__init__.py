"""Transforms: functions that make of a function its derivative."""

import importlib
from typing import TYPE_CHECKING

from tapegrad.containers import register_container
from tapegrad.transforms.forward import jvp, linearize
from tapegrad.transforms.jacobians import hessian, jacobian
from tapegrad.transforms.leaves import flatten
from tapegrad.transforms.products import ggnvp, hvp
from tapegrad.transforms.reverse import elementwise_grad, grad, value_and_grad, vjp

if TYPE_CHECKING:
    from tapegrad.transforms.implicit import fixed_point, root
    from tapegrad.transforms.memory.chains import checkpoint_chain
    from tapegrad.transforms.memory.checkpointing import checkpoint
    from tapegrad.transforms.sparse.patterns import sparsity

__all__ = [
    "checkpoint",
    "checkpoint_chain",
    "elementwise_grad",
    "fixed_point",
    "flatten",
    "ggnvp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "register_container",
    "root",
    "sparsity",
    "value_and_grad",
    "vjp",
]

# Imported when they are asked for.
_LATER = {
    "checkpoint": "memory.checkpointing",
    "checkpoint_chain": "memory.chains",
    "fixed_point": "implicit",
    "root": "implicit",
    "sparsity": "sparse.patterns",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'tapegrad.transforms' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"tapegrad.transforms.{_LATER[name]}"), name)
    return value
