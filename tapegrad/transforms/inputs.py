"""Inputs: the arguments of a run as tensors of its own, and results in the likeness of those arguments.

Every array in the arguments of the function becomes a new tensor with an entry of its own. Of a plain array it
is a leaf. Of a tensor that records for somebody else, an outer transform or a tape of the user's, it is an
identity on that tensor's entry: the sweep of this run stops there and takes the cotangent as its result,
while that of the owner goes on through it. No input is ever shared, so that nested derivatives by the same
variable can't be confused, and no ``.grad`` is touched.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.containers import built, leaves_like, paths, taken_apart
from tapegrad.dispatch import make
from tapegrad.entries import POSITIONS, Entry, Leaf
from tapegrad.errors import ArgumentError, DTypeError, ShapeError
from tapegrad.primitive import TABLE
from tapegrad.recording import STATE
from tapegrad.shapes import Spec, cast, spec_of
from tapegrad.tensor import Tensor
from tapegrad.transforms.leaves import made_of, own_tensor, remade, require_differentiable

_IDENTITY = TABLE[np.positive]


class Inputs:
    """The inputs of one run, a tensor for each leaf of the arguments; and results as those arguments are."""

    __slots__ = ("leaves", "made", "name", "numbers", "records", "structures", "targets", "tensors")

    def __init__(self, name: str, arguments: Sequence[Any], numbers: Sequence[int]) -> None:
        self.name, self.numbers = name, numbers  # numbers: of the arguments, as the user counts them
        values: list[Any] = []
        self.structures = [taken_apart(argument, values) for argument in arguments]
        self.leaves: list[Leaf] = []
        self.tensors: list[Any] = []
        self.targets: dict[int, Leaf] = {}
        self.records = False  # whether any of them records for somebody else
        enabled = STATE.get().enabled
        for i, value in enumerate(values):
            if type(value) is not float and (type(value) is not np.ndarray or value.dtype.kind not in "fc"):
                require_differentiable(name, value, lambda i=i: self.places()[i])  # type: ignore[misc]
            outer = value._entry if type(value) is Tensor and enabled else None
            array = _array_of(value)
            spec = spec_of(array)
            leaf = Leaf(spec)
            if outer is None:
                entry: Entry = [next(POSITIONS), leaf]
            else:
                entry = _identity(spec, outer)
                self.records = True
            self.leaves.append(leaf)
            self.targets[entry[0]] = leaf
            self.tensors.append(make(array, entry, spec))
        self.made = [made_of(value) for value in values]

    def built(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """A tuple as the arguments are, of other leaves."""
        following = iter(leaves)
        return tuple([built(structure, following) for structure in self.structures])

    def places(self) -> list[str]:
        """What an error calls each input."""
        parts = zip(self.numbers, self.structures, strict=True)
        return [path for number, part in parts for path in paths(part, f"argument {number}")]

    def like(self, trees: Sequence[Any], what: str) -> list[Any]:
        """The leaves of tangents that must be as the arguments are, each cast to the dtype of its input."""
        if len(trees) != len(self.numbers):
            raise ArgumentError(f"{self.name}: {len(trees)} {what}s were given for {len(self.numbers)} primals")
        found = []
        for number, part, tree in zip(self.numbers, self.structures, trees, strict=True):
            found += leaves_like(part, tree, self.name, f"{what} {number}")
        places = (place.replace("argument", what, 1) for place in self.places())
        return [
            fitted(self.name, leaf, input.spec, place, "its primal")
            for leaf, input, place in zip(found, self.leaves, places, strict=True)
        ]

    def results(self, totals: Sequence[Any], as_tensors: bool) -> tuple[Any, ...]:
        """A tuple as the arguments are, of what arrived at the inputs; None is 0."""
        results = []
        for leaf, made, total in zip(self.leaves, self.made, totals, strict=True):
            if total is None:
                total = np.zeros(leaf.spec.shape, leaf.spec.dtype)
            results.append(own_tensor(total) if as_tensors else remade(total, made))
        return self.built(results)


def _array_of(value: Any) -> Any:
    """The value of an input, which nobody else will write to: a copy, of what the user owns."""
    if type(value) is Tensor:
        return value._value  # A write through that tensor leaves it as it is: storage.py.
    array = np.array(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.shape else array[()]


def _identity(spec: Spec, outer: Entry) -> Entry:
    """An entry of the value of another one: the other's sweep passes it, while a run's own stops at it."""
    if spec.dtype.kind == "c":
        return [next(POSITIONS), _IDENTITY, spec, (), None, None, spec, outer]
    return [next(POSITIONS), _IDENTITY, spec, spec, outer]


def fitted(name: str, value: Any, spec: Any, place: str, what: str) -> Any:
    """A cotangent or tangent that the user gave, in the dtype that it must have: a Tensor, or an array of our own.

    Raises DTypeError and ShapeError where it doesn't fit ``what``.
    """
    if isinstance(value, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{name}: {place} is a {type(value).__name__}, which is refused; pass a plain array")
    if type(value) is not Tensor:
        value = np.array(value)
    if value.dtype.kind not in "biufc":
        raise DTypeError(f"{name}: {place} has dtype {value.dtype}; it must cast to the {spec.dtype} of {what}")
    if value.shape != spec.shape:
        raise ShapeError(f"{name}: {place} has shape {value.shape}; it must have that of {what}, {spec.shape}")
    if spec.dtype.kind in "fc" and not np.can_cast(value.dtype, spec.dtype, "same_kind"):
        raise DTypeError(f"{name}: {place} of dtype {value.dtype} doesn't cast to the {spec.dtype} of {what}")
    return cast(value, spec.dtype) if value.dtype != spec.dtype else value
