"""Items: what the steps of a chain go along, one a step, with the tensors among them that record."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.containers import Shape, leaves_of, rebuilt
from tapegrad.errors import DTypeError, UnexpectedArgumentError
from tapegrad.tensor import Tensor
from tapegrad.transforms.memory.copies import fresh, kept


class _Nested:
    """An item that is a container, or a tensor that records: ``slots`` says which operand each such leaf is."""

    __slots__ = ("leaves", "slots", "structure")

    def __init__(self, structure: Shape, leaves: list[Any], slots: list[int]) -> None:
        self.structure, self.leaves, self.slots = structure, leaves, slots


_RECORDING: Any = object()


class Items:
    """The items as they are now: of a sequence, or the rows of an array or a tensor.

    ``tensors`` are those that record, in order; of a recording tensor's rows, the tensor. After the first run they
    are operands of the entry, whose values (or tensors, where the sweep records itself) the methods are given.
    """

    def __init__(self, xs: Any) -> None:
        self.tensors: list[Any] = []
        self.rows: Any = None  # the array of which the items are rows
        self.stacked = False  # whether the rows are those of a recording tensor
        self.steps: Sequence[Any] = ()
        if isinstance(xs, (np.ma.MaskedArray, np.matrix)):
            raise DTypeError(f"checkpoint_chain: xs is a {type(xs).__name__}, which is refused; pass a plain array")
        if type(xs) is Tensor or isinstance(xs, np.ndarray):
            if not xs.shape:
                raise UnexpectedArgumentError("checkpoint_chain: xs has no axis to go along; pass a sequence")
            self.n = xs.shape[0]
            self._take_rows(xs)
            return
        if isinstance(xs, (dict, str, bytes)) or not hasattr(xs, "__iter__"):
            raise UnexpectedArgumentError(
                f"checkpoint_chain: xs is a {type(xs).__name__}; pass a sequence with an item for each step"
            )
        self.steps = xs if type(xs) is range else [self._kept(x) for x in xs]
        self.n = len(self.steps)

    def _take_rows(self, xs: Any) -> None:
        if type(xs) is Tensor and xs._entry is not None:
            self.stacked = True
            self.tensors.append(xs)
        else:
            self.rows = kept(xs)

    def _kept(self, x: Any) -> Any:
        leaves, structure = leaves_of(x)
        slots = []
        for i, leaf in enumerate(leaves):
            if type(leaf) is Tensor and leaf._entry is not None:
                slots.append(len(self.tensors))
                self.tensors.append(leaf)
                leaves[i] = _RECORDING
            else:
                leaves[i] = kept(leaf)
        return leaves[0] if structure is None and not slots else _Nested(structure, leaves, slots)

    def recording(self, t: int, operands: Sequence[Any]) -> list[Any]:
        """Of the operands, arrays or tensors, those that are leaves of item ``t``."""
        if self.stacked:
            return [operands[0][t]]
        return [operands[slot] for slot in self.slots(t)]

    def slots(self, t: int) -> list[int]:
        """Which operands item ``t`` has; of a recording tensor's rows, the row isn't an operand by itself."""
        item = None if self.stacked or self.rows is not None else self.steps[t]
        return item.slots if type(item) is _Nested else []

    def item(self, t: int, tensors: Sequence[Any]) -> Any:
        """Item ``t``, with these tensors for its leaves that record; a step may do with it what it likes."""
        if self.stacked:
            return tensors[0]
        if self.rows is not None:
            return fresh(self.rows[t])
        item = self.steps[t]
        if type(item) is not _Nested:
            return fresh(item)
        following = iter(tensors)
        return rebuilt(item.structure, [next(following) if leaf is _RECORDING else fresh(leaf) for leaf in item.leaves])

    def part(self, start: int, stop: int, operands: Sequence[Any]) -> Any:
        """The recording leaves of some of the items, together: see ``of_part``."""
        if self.stacked:
            return operands[0][start:stop]
        return [self.recording(t, operands) for t in range(start, stop)]

    def of_part(self, part: Any, i: int) -> list[Any]:
        """The recording leaves of item ``i`` of a part."""
        return [part[i]] if self.stacked else part[i]


class Totals:
    """What has arrived at the items, and at what the steps close over."""

    def __init__(self, items: Items, operands: Sequence[Any]) -> None:
        self.items = items
        self.captured: dict[int, Any] = {}
        self._sums: set[int] = set()  # positions whose total is an array made here
        self._of_items: list[Any] = [None] * len(operands)
        if items.stacked:
            self._of_items = [np.zeros(operands[0].shape, operands[0].dtype)]

    def of_items(self) -> list[Any]:
        """The cotangents of the items' operands; None where nothing arrived."""
        return self._of_items

    def add_item(self, t: int, cotangents: Sequence[Any]) -> None:
        """Add those of the recording leaves of item ``t``."""
        if self.items.stacked:
            if cotangents[0] is not None:
                self._of_items[0][t] = cotangents[0]
            return
        for slot, c in zip(self.items.slots(t), cotangents, strict=True):
            self._of_items[slot] = c

    def add_captured(self, cotangents: dict[int, Any]) -> None:
        """Add those of what the steps close over, by position."""
        for position, c in cotangents.items():
            if position not in self.captured:
                self.captured[position] = c
            elif position in self._sums:
                self.captured[position] += c
            else:
                self.captured[position] = self.captured[position] + c
                self._sums.add(position)
