"""Optimisers: they change parameters in place by their gradients."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, RecordingError
from tapegrad.tensor import Tensor
from tapegrad.writing import renew


class SGD:
    """Gradient descent, with momentum and weight decay if wanted.

    params : leaves that record, of any shapes; an iterable, gone through once
    lr : float, the step as a multiple of the gradient; may be changed between steps
    momentum : float, how much of the last step's direction is kept
    nesterov : look ahead along the momentum; it takes a momentum above 0
    weight_decay : float, this multiple of the parameter is added to its gradient
    Raises ArgumentError for negative numbers, no parameters, the same one twice, or nesterov without
    momentum; RecordingError for a parameter that isn't a leaf that records.

    A step of a parameter p with gradient g, velocity v (at first g itself):

        g = g + weight_decay p;  v = momentum v + g;  p = p - lr (g + momentum v  if nesterov, else v)

    >>> import numpy as np, tapegrad as tg
    >>> from tapegrad.optim import SGD
    >>> p = tg.tensor([1.0, 2.0])
    >>> optimizer = SGD([p], lr=0.25)
    >>> np.sum(p * p).backward()
    >>> optimizer.step()
    >>> p
    tensor([0.5, 1. ], dtype=float64, leaf)

    Polyak 1964; Nesterov 1983; in the form of Sutskever et al. 2013.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:  # nan as well
                raise ArgumentError(f"SGD: {name} is a number of at least 0; got {value!r}")
        if nesterov and not momentum:
            raise ArgumentError("SGD: nesterov=True needs a momentum above 0; got momentum=0")
        if isinstance(params, Tensor):
            raise ArgumentError("SGD: params is a list of tensors; got one tensor, write [tensor]")
        self.params = list(params)
        _check(self.params)
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay
        self._velocities: list[Any] = [None] * len(self.params)

    def step(self) -> None:
        """Change each parameter by its gradient; those that have none stay as they are."""
        lr = float(self.lr)
        for i, p in enumerate(self.params):
            g = p.grad
            if g is not None:
                change = lr * self._direction(i, p, g.numpy() if isinstance(g, Tensor) else g)
                # Into the array of the change: one array fewer, and it becomes the parameter's own.
                renew(p, np.subtract(p._value, change, out=change if isinstance(change, np.ndarray) else None))

    def _direction(self, i: int, p: Tensor, g: Any) -> Any:
        if self.weight_decay:
            g = g + float(self.weight_decay) * p.numpy()
        if not self.momentum:
            return g
        momentum, v = float(self.momentum), self._velocities[i]
        if v is None:
            v = self._velocities[i] = g.copy()
        else:
            v *= momentum
            v += g
        return g + momentum * v if self.nesterov else v

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters, so that the next ``backward()`` starts anew."""
        for p in self.params:
            p.zero_grad()


def _check(params: list[Any]) -> None:
    if not params:
        raise ArgumentError("SGD: params is empty; there is nothing to change")
    for i, p in enumerate(params):
        if not isinstance(p, Tensor):
            raise ArgumentError(f"SGD: params holds a {type(p).__name__} at {i}; tensors are expected")
        if not (p.is_leaf and p.requires_grad):
            raise RecordingError(f"SGD: the parameter at {i} isn't a leaf that records; make it with tapegrad.tensor")
    if len({id(p) for p in params}) < len(params):
        raise ArgumentError("SGD: the same parameter stands in params twice")
