"""A call that was drawn: the function, its operands, and which of these are to be differentiated by."""

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tapegrad.kinds import name_of
from tapegrad.primitive import look_up
from tapegrad.testing.draw import invoke
from tapegrad.testing.reproduction import literal

Place = tuple[int, int | None]  # which operand, and which item of a sequence of them


@dataclass(frozen=True, repr=False, eq=False)
class DrawnCall:
    """A call of a function, itself a function of the arrays that were drawn for it.

    function : what is called
    operands, parameters : what with; an operand that is a list is a sequence of operands
    places : where the arrays stand among the operands

    >>> import numpy as np
    >>> product = DrawnCall(np.matmul, (np.eye(2), np.ones(2)), {}, ((0, None), (1, None)))
    >>> product(*product.arrays)
    array([1., 1.])
    >>> product
    np.matmul(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 1.0]))
    """

    function: Any
    operands: tuple[Any, ...]
    parameters: dict[str, Any]
    places: tuple[Place, ...]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays that were drawn, in order: hand them to the call, and to whatever checks it."""
        return tuple(self.operands[i] if j is None else self.operands[i][j] for i, j in self.places)

    @functools.cached_property
    def __name__(self) -> str:
        """What the function is called."""
        return name_of(self.function)

    def __call__(self, *arrays: Any) -> Any:
        """The call, with these arrays (or tensors) in the place of those drawn."""
        operands = [list(o) if type(o) is list else o for o in self.operands]
        for (i, j), array in zip(self.places, arrays, strict=True):
            if j is None:
                operands[i] = array
            else:
                operands[i][j] = array
        known = look_up(self.function)
        if known is None:
            return self.function(*operands, **self.parameters)
        return invoke(known, operands, self.parameters)

    @property
    def source(self) -> str | None:
        """The call as a function of its arrays, for a report; None where its function can't be imported."""
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        lines = []
        if not self.__name__.startswith("np."):
            if getattr(sys.modules.get(str(module)), name, None) is not self.function:
                return None
            lines = [f"from {module} import {name}"]
        names = [f"x{k}" for k in range(len(self.places))]
        called = name if lines else self.__name__
        return "\n".join([*lines, f"def call({', '.join(names)}):", f"    return {self._written(called, names)}"])

    def __repr__(self) -> str:
        return self._written(self.__name__, [written(a) for a in self.arrays])

    def _written(self, called: str, arrays: Sequence[str]) -> str:
        """The call, with these in the place of the arrays."""
        operands: list[Any] = [[*map(written, o)] if type(o) is list else written(o) for o in self.operands]
        for (i, j), array in zip(self.places, arrays, strict=True):
            if j is None:
                operands[i] = array
            else:
                operands[i][j] = array
        given = [f"[{', '.join(o)}]" if type(o) is list else o for o in operands]
        return f"{called}({', '.join([*given, *(f'{k}={written(v)}' for k, v in self.parameters.items())])})"


def written(value: Any) -> str:
    """A value as a program would have it.

    >>> import numpy as np
    >>> written([np.zeros((2, 0)), np.float32(1), np.sin, slice(1, None)])
    '[np.zeros((2, 0), dtype=np.float64), np.float32(1.0), np.sin, slice(1, None, None)]'
    """
    if type(value) in (list, tuple):
        inside = ", ".join(map(written, value))
        return f"[{inside}]" if type(value) is list else f"({inside},)" if len(value) == 1 else f"({inside})"
    return name_of(value) if callable(value) else literal(value)
