"""Runs: a transform runs its function once, on inputs of its own, and sweeps back from what came out.

**Lifting.** Where an input records for somebody else, or the function reached anything that was recorded
before it was called, the derivative is itself a function of that. Its sweep is then recorded, and tensors
come out. Otherwise nothing outside can depend on it: plain arrays come out. So they do under ``no_grad``.

**Sweeps that record only their cotangents** (``held``) make the transpose of a derivative into a program: the
operands count as constants, the entries made are linear in the cotangent, and pulling back through them is
the derivative in the forward direction.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.containers import leaves_like, leaves_of, paths, rebuilt
from tapegrad.dispatch import make
from tapegrad.entries import POSITIONS, Entry, Leaf, Lift, reaches_older
from tapegrad.errors import ArgumentError, DTypeError
from tapegrad.gradients import owned_arrays
from tapegrad.recording import STATE, enable_grad, tracer
from tapegrad.shapes import Spec, spec_of
from tapegrad.tape import replay
from tapegrad.tensor import Tensor, lifted
from tapegrad.transforms.inputs import Inputs, fitted
from tapegrad.transforms.leaves import made_of, own_tensor, plain, remade


def held(value: Any, _entry: Entry | None) -> Any:
    """What an entry saved, as a constant: the lift of a sweep that records nothing but its cotangents."""
    return value


class Run:
    """One run of a function: its inputs, what came out, and sweeps back from there."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        numbers: Sequence[int],
        has_aux: bool = False,
    ) -> None:
        self.name = name
        enabled = STATE.get().enabled
        start = next(POSITIONS)
        self.inputs = Inputs(name, [args[i] for i in numbers], numbers)
        given = list(args)
        for i, tensors in zip(numbers, self.inputs.built(self.inputs.tensors), strict=True):
            given[i] = tensors
        if enabled:
            out = function(*given, **kwargs)
        else:
            with enable_grad():
                out = function(*given, **kwargs)
        self._aux: list[Any] = []
        if has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise ArgumentError(f"{name}: with has_aux=True the function returns (value, aux); got {shown(out)}")
            out, aux = out
            self._aux, self._aux_structure = leaves_of(aux)
        self.outs, self.structure = leaves_of(out)
        self.specs = [self._spec(i, leaf) for i, leaf in enumerate(self.outs)]
        # Their entries as they are now: the caller may write to what comes out. None where constant.
        self.entries = [leaf._entry if type(leaf) is Tensor else None for leaf in self.outs]
        ends = [*self.entries, *(leaf._entry for leaf in self._aux if type(leaf) is Tensor)]
        # Whether anything older than the inputs was reached: then no sweep may go on past the inputs.
        # (Who follows values has to see all that comes out: it may depend on the values of what was recorded before.)
        older = self.inputs.records or reaches_older([entry for entry in ends if entry is not None], start)
        self.older = older or tracer() is not None
        self.lifting = self.older and enabled

    def _spec(self, i: int, leaf: Any) -> Spec:
        """The spec of one output; DTypeError where it is nothing to differentiate."""
        if type(leaf) is Tensor:
            return leaf._spec
        if (
            not isinstance(leaf, (np.ndarray, np.generic, int, float, complex))
            or np.asarray(leaf).dtype.kind not in "biufc"
        ):
            place = paths(self.structure, "the function's result")[i]
            raise DTypeError(
                f"{self.name}: {place} is {shown(leaf)}; only arrays and numbers have derivatives (what isn't to be "
                f"differentiated is returned as aux, with has_aux=True)"
            )
        return spec_of(np.asarray(leaf))

    def value(self) -> Any:
        """What the function returned; of plain arrays, unless the run is lifting."""
        return rebuilt(self.structure, self.outs if self.lifting else [plain(leaf) for leaf in self.outs])

    def aux(self) -> Any:
        """What else it returned."""
        return rebuilt(self._aux_structure, self._aux if self.lifting else [plain(leaf) for leaf in self._aux])

    def seeds_like(self, tree: Any, place: str) -> list[Any]:
        """The leaves of a cotangent that must be as the output is, each cast to the dtype of its output."""
        given = leaves_like(self.structure, tree, self.name, place)
        places = paths(self.structure, place)
        return [
            fitted(self.name, leaf, spec, at, "the output")
            for leaf, spec, at in zip(given, self.specs, places, strict=True)
        ]

    def lift(self, given: Sequence[Any]) -> Lift | None:
        """How a sweep with these seeds is to record itself, if at all."""
        if not STATE.get().enabled:
            return None
        if self.lifting:
            return lifted
        return held if any(type(seed) is Tensor and seed._entry is not None for seed in given) else None

    def pulled(self, seeds: Sequence[Any], lift: Lift | None, keep: bool = False) -> list[Any]:
        """The cotangents of the inputs, given one for each output: None where nothing arrived.

        seeds : arrays or tensors of the outputs' shapes and dtypes; None where there is none
        lift : as of replay; then the cotangents are tensors, otherwise arrays of the caller's own
        """
        pairs = zip(self.entries, seeds, strict=True)
        roots = [(entry, seed) for entry, seed in pairs if entry is not None and seed is not None]
        return swept(roots, self.inputs.leaves, self.inputs.targets, lift, keep, self.older)


def swept(
    roots: Sequence[tuple[Entry, Any]],
    leaves: Sequence[Leaf],
    targets: dict[int, Leaf],
    lift: Lift | None,
    keep: bool,
    older: bool,
) -> list[Any]:
    """What arrives at each of the leaves, which stand at the positions of ``targets``; None where nothing does.

    older : whether the roots depend on anything older than the targets
    """
    if not roots or not leaves:
        return [None] * len(leaves)
    if lift is None:
        if (found := tracer()) is not None:
            found.left(None, "a gradient that isn't recorded")
        plain_roots = [(entry, seed._value if type(seed) is Tensor else seed) for entry, seed in roots]
        totals = owned_arrays(replay(plain_roots, keep, None, targets if older else {}))
    else:
        with enable_grad():
            tensors = [(entry, seed if type(seed) is Tensor else make(seed, None)) for entry, seed in roots]
            totals = replay(tensors, True, lift, targets)
    arrived = {id(leaf): total for leaf, total in totals}
    return [arrived.get(id(leaf)) for leaf in leaves]


class Transposed:
    """The derivative of a run transposed, recorded as a program of its cotangent; pulled back, the derivative itself.

    The cotangent that it is recorded with is ones: zeros would meet the strong zero, which is a constant.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.leaves = [Leaf(spec) for spec in run.specs]
        self.targets = {next(POSITIONS): leaf for leaf in self.leaves}
        seeds = [
            make(np.ones(leaf.spec.shape, leaf.spec.dtype)[()], [position, leaf]) if leaf.spec.floating else None
            for position, leaf in self.targets.items()
        ]
        self.cotangents = run.pulled(seeds, lifted if run.lifting else held)

    def __call__(self, tangents: Sequence[Any], keep: bool) -> Any:
        """The tangents of the outputs, given those of the inputs, fitted to them."""
        run = self.run
        roots = [
            (c._entry, tangent)
            for c, tangent in zip(self.cotangents, tangents, strict=True)
            if type(c) is Tensor and c._entry is not None
        ]
        lift = run.lift(tangents)
        totals = swept(roots, self.leaves, self.targets, lift, keep, run.lifting)
        results = []
        for out, spec, total in zip(run.outs, run.specs, totals, strict=True):
            if total is None:
                total = np.zeros(spec.shape, spec.dtype if spec.floating else np.float64)
                total = total if lift is None else make(total, None)
            results.append(remade(total, made_of(out)) if lift is None else own_tensor(total))
        return rebuilt(run.structure, results)


def shown(value: Any) -> str:
    """What an error calls a value: its type, and an array's shape and dtype."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return "None" if value is None else f"a {type(value).__name__}"
