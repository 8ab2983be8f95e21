"""The first rules of the state machine: tensors are made, computed with, viewed and written to."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

import tapegrad as tg
from tapegrad.testing.cells import Cell, constant_cells, leaf_cells, passed
from tapegrad.testing.twins import Family, Node, Twin, Twins, assigned, is_alone

SHAPES = ((), (1,), (3,), (2, 3), (2, 2))
UNARY: dict[str, Callable[[Any], Any]] = {
    "sin": np.sin,
    "tanh": np.tanh,
    "halved": lambda a: a * 0.5,
    "negative": lambda a: -a,
    "squared": lambda a: a * a,
    "exp": lambda a: np.exp(np.sin(a)),
    "copy": lambda a: a + 0.0,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / (b * b + 1.0),
    "@": lambda a, b: a @ b,
}
REDUCED: dict[str, Callable[[Any], Any]] = {
    "sum": np.sum,
    "mean over axis 0": lambda a: np.sum(a, axis=0) * 0.5,
    "sum over the last axis": lambda a: np.sum(a, axis=-1),
}
VIEWS: dict[str, Callable[[Any], Any]] = {
    "T": lambda a: a.T,
    "[::-1]": lambda a: a[::-1],
    "[1:]": lambda a: a[1:],
    "[0]": lambda a: a[0],
    "[0, ...]": lambda a: a[0, ...],
    "[..., -1:]": lambda a: a[..., -1:],
    "[:, None]": lambda a: a[:, None],
}
INDICES: dict[str, Any] = {
    "[...]": ...,
    "[0]": 0,
    "[-1]": -1,
    "[1:]": slice(1, None),
    "[::2]": slice(None, None, 2),
    "[..., 0]": (..., 0),
    "[[0, -1]]": [0, -1],
}
floats = st.integers(-8, 8).map(lambda n: n / 4)
keys = {
    name: st.sampled_from(list(table))
    for name, table in (("unary", UNARY), ("binary", BINARY), ("reduced", REDUCED), ("views", VIEWS), ("at", INDICES))
}


class Making(Twins, RuleBasedStateMachine):
    """Tensors of all kinds, and their twins."""

    twins: Bundle[Any] = Bundle("twins")

    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        Twins.__init__(self)

    @initialize(target=twins, shape=st.sampled_from(SHAPES), values=st.lists(floats, min_size=6, max_size=6))
    def first(self, shape: tuple[int, ...], values: list[float]) -> Any:
        """Two leaves of one shape, their product, and their sum: what arrives there, arrives at both."""
        a, b = self.new_leaf(shape, values), self.new_leaf(shape, values[::-1])
        return multiple(a, b, self.called(BINARY["*"], a, b), self.called(BINARY["+"], a, b))

    @rule(target=twins, shape=st.sampled_from(SHAPES), values=st.lists(floats, min_size=6, max_size=6))
    def leaf(self, shape: tuple[int, ...], values: list[float]) -> Any:
        """A leaf."""
        return self.new_leaf(shape, values)

    def new_leaf(self, shape: tuple[int, ...], values: list[float]) -> Twin:
        """A leaf of as many of the values as it has elements."""
        array = np.array(values[: int(np.prod(shape, dtype=int))]).reshape(shape)
        node = Node(leaf=True)
        twin = Twin(tg.tensor(array), leaf_cells(array), Family(node, leaf=True), node)
        array[...] = 99.0  # The tensor has a copy.
        self.made.append(twin)
        return twin

    @rule(target=twins, shape=st.sampled_from(SHAPES[2:]), value=floats)
    def buffer(self, shape: tuple[int, ...], value: float) -> Any:
        """A tensor that doesn't record, to be written to."""
        tensor = tg.tensor(np.full(shape, value), requires_grad=False)
        return self.keep(tensor, constant_cells(np.full(shape, value, object)), records=False)

    @rule(target=twins, name=keys["unary"], a=twins)
    def unary(self, name: str, a: Twin) -> Any:
        """An elementwise function."""
        return self.called(UNARY[name], a)

    @rule(target=twins, name=keys["binary"], a=twins, b=twins)
    def binary(self, name: str, a: Twin, b: Twin) -> Any:
        """An operator, where the shapes fit."""
        return self.called(BINARY[name], a, b)

    @rule(target=twins, name=keys["reduced"], a=twins)
    def reduced(self, name: str, a: Twin) -> Any:
        """A sum."""
        return self.called(REDUCED[name], a)

    @rule(target=twins, a=twins)
    def detached(self, a: Twin) -> Any:
        """The value alone, in memory of its own."""
        return self.keep(a.tensor.detach(), passed(a.model), records=False)

    # -------------------------------- views and writes

    @rule(target=twins, name=keys["views"], a=twins)
    def view(self, name: str, a: Twin) -> Any:
        """A view, or an element. (One taken under ``no_grad`` doesn't record, and writes to it would go unrecorded.)"""
        if is_alone(a) or not self.recording or (model := self.model_of(VIEWS[name], a)) is None:
            return multiple()
        tensor = VIEWS[name](a.tensor)
        if isinstance(model, np.ndarray):
            return self.keep(tensor, model, a, view=True, records=self.records(a))
        return self.keep(tensor, passed(model), a)

    @rule(at=keys["at"], a=twins, b=twins, factor=floats)
    def write(self, at: str, a: Twin, b: Twin, factor: float) -> None:
        """Assign to a part; to a leaf's it is refused, and nothing changes."""
        index = INDICES[at]
        if is_alone(a):
            return
        if self.model_of(lambda x, y: assigned(x, index, passed(y), True), a, b) is None:
            return
        if self.recording and a.family.leaf:
            self.refuses(lambda: a.tensor.__setitem__(index, b.tensor * factor), a)
            return
        a.tensor[index] = b.tensor * factor
        self.wrote(a, index, passed(b.model * factor), b)

    @rule(target=twins, name=keys["unary"], ats=st.lists(keys["at"], min_size=1, max_size=3), a=twins, b=twins)
    def use_and_write(self, name: str, ats: list[str], a: Twin, b: Twin) -> Any:
        """What was computed before a write keeps the values, and the gradient, of that time."""
        used = []
        for at in ats:
            made = self.called(UNARY[name], a)
            used += [made] if isinstance(made, Twin) else []
            self.write(at, a, b, 0.5)
        return multiple(*used)

    @rule(name=st.sampled_from("+*"), a=twins, b=twins)
    def in_place(self, name: str, a: Twin, b: Twin) -> None:
        """``a += b``, ``a *= b``."""
        result = self.model_of(BINARY[name], a, b)
        if is_alone(a) or result is None or np.shape(result) != np.shape(a.model):
            return
        operation = a.tensor.__iadd__ if name == "+" else a.tensor.__imul__
        if self.recording and a.family.leaf:
            self.refuses(lambda: operation(b.tensor), a)
            return
        if operation(b.tensor) is not a.tensor:
            raise self.fault(f"{name}= made another tensor")
        self.wrote(a, ..., result, a, b)

    @rule(at=keys["at"], a=twins, value=floats)
    def write_constant(self, at: str, a: Twin, value: float) -> None:
        """Assign a number."""
        index = INDICES[at]
        if is_alone(a):
            return
        if self.model_of(lambda x: assigned(x, index, Cell(value), True), a) is None:
            return
        if self.recording and a.family.leaf:
            self.refuses(lambda: a.tensor.__setitem__(index, value), a)
            return
        a.tensor[index] = value
        self.wrote(a, index, Cell(value))
