"""What a law is asked of: a function and its arguments, with what can be differentiated laid out in a list."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.containers import leaves_of, paths, rebuilt
from tapegrad.errors import ArgumentError, TapegradError
from tapegrad.kinds import name_of
from tapegrad.testing.check import FORWARD_ROUNDING, GRADIENT_ROUNDING, GradientError
from tapegrad.testing.pullbacks import differentiable, random_like

Function = Callable[..., Any]


class InapplicableError(TapegradError, ValueError):
    """A law that says nothing about this function, or about these arguments."""


@contextmanager
def explained() -> Iterator[None]:
    """Where Hypothesis finds too few examples, it says so; what to change is added here."""
    from hypothesis.errors import FailedHealthCheck, Unsatisfiable

    try:
        yield
    except (FailedHealthCheck, Unsatisfiable) as error:
        error.add_note(
            "Too few examples were valid: make what is valid rather than filter what isn't. arrays_in(Domain(low, "
            "high, avoid=(...))) keeps a distance from kinks and poles, matrices(kind) has matrices of a kind, and "
            ".map(...) turns what was drawn into what fits"
        )
        raise


class Subject:
    """A function and its arguments, as every law wants them.

    inputs : copies of the arguments' floating and complex arrays and numbers, in order; what else the
        arguments hold stays as it is
    """

    def __init__(self, law: str, f: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        if not callable(f):
            raise ArgumentError(f"{law}: the first argument is the function; got {type(f).__name__}")
        self.law, self.name = law, name_of(f)
        self.f = functools.partial(f, **kwargs) if kwargs else f
        leaves, self.structure = leaves_of(tuple(args))
        self.leaves = [leaf.numpy() if isinstance(leaf, tg.Tensor) else leaf for leaf in leaves]
        # What holds no tensor stays as it is: the gradient is to be like it.
        held = any(isinstance(leaf, tg.Tensor) for leaf in leaves)
        self.args: tuple[Any, ...] = tuple(rebuilt(self.structure, self.leaves)) if held else tuple(args)
        self.chosen = [i for i, leaf in enumerate(self.leaves) if differentiable(leaf)]
        if not self.chosen:
            given = ", ".join(type(a).__name__ for a in args) or "none at all"
            raise ArgumentError(
                f"{law}: no argument of {self.name} can be differentiated; pass floats, complex numbers or arrays "
                f"of them; got {given}"
            )
        places = [p for k, a in enumerate(args) for p in paths(leaves_of(a)[1], f"argument {k}")]
        self.places = [places[i] for i in self.chosen]
        self.inputs = [_array(self.leaves[i]) for i in self.chosen]
        self.rng = np.random.default_rng(0)

    def arguments(self, values: Sequence[Any]) -> Any:
        """The arguments, with these in the places of the inputs."""
        leaves = list(self.leaves)
        for i, value in zip(self.chosen, values, strict=True):
            leaves[i] = value
        return rebuilt(self.structure, leaves)

    def call(self, values: Sequence[Any]) -> Any:
        """The function itself, on these in the places of the inputs."""
        return self.f(*self.arguments(values))

    def outs(self, values: Sequence[Any]) -> list[Any]:
        """What can be differentiated of the function's result: arrays or tensors, in order."""
        return self.outs_of(self.call(values))

    def outs_of(self, result: Any) -> list[Any]:
        """What can be differentiated of this result; ArgumentError where there is nothing."""
        outs = [y if hasattr(y, "dtype") else np.asarray(y) for y in leaves_of(result)[0] if differentiable(y)]
        if not outs:
            shown = "None" if result is None else repr(result)[:80]
            raise ArgumentError(
                f"{self.law}: {self.name} returned {shown}; a law of derivatives wants a floating or complex array, "
                f"or a container of them"
            )
        return outs

    def parts(self, result: Any) -> list[tuple[str, Any]]:
        """All that a result holds, as plain arrays: pairs (what an error calls it, array)."""
        leaves, structure = leaves_of(result)
        arrays = [leaf.numpy() if isinstance(leaf, tg.Tensor) else np.asarray(leaf) for leaf in leaves]
        return list(zip(paths(structure, "the result"), arrays, strict=True))

    def plain(self) -> list[Any]:
        """The outputs on plain arrays; of an input without axes, a scalar of NumPy's goes in."""
        return self.outs([x if x.ndim else x[()] for x in self.inputs])

    def seeds(self) -> list[Any]:
        """A random cotangent for each output."""
        return [random_like(y, self.rng) for y in self.plain()]

    def tangents(self) -> list[Any]:
        """A random tangent for each input."""
        return [random_like(x, self.rng) for x in self.inputs]

    def rounding(self) -> float:
        """The relative rounding of the narrowest dtype among inputs and outputs."""
        return max(float(np.finfo(a.dtype).eps) for a in (*self.inputs, *self.plain()))

    def tolerance(self, rtol: float | None, roundings: float = GRADIENT_ROUNDING) -> float:
        """``rtol``, or so many roundings."""
        return roundings * self.rounding() if rtol is None else rtol

    def pull(self, seeds: Sequence[Any], inputs: Sequence[Any] | None = None) -> list[Any]:
        """The gradient of each input, for those cotangents of the outputs."""
        return Recording(self, self.inputs if inputs is None else inputs).pull(seeds)

    def fault(self, message: str) -> GradientError:
        """The error of a law that is broken."""
        operands = ", ".join(f"{x.dtype}{list(x.shape)}" for x in self.inputs)
        return GradientError(f"{self.law}: {self.name}({operands}): {message}")

    def require(self, what: str, given: Any, right: Any, rtol: float, scale: float | None = None) -> None:
        """Raise where two arrays aren't the same within ``rtol``, relative to ``scale`` or the largest entry."""
        if given.shape != right.shape:
            raise self.fault(f"{what}: shape {given.shape} instead of {right.shape}")
        if not close(given, right, rtol, scale):
            raise self.fault(f"{what}: {worst(given, right)}")

    def constants(self) -> Iterator[tuple[str, Any]]:
        """The plain arrays that aren't inputs: among the arguments, the keywords, and what the function closes over."""
        for leaf in (leaf for i, leaf in enumerate(self.leaves) if i not in self.chosen):
            yield "a constant among the arguments", leaf
        function = self.f
        if isinstance(function, functools.partial):
            for name, value in function.keywords.items():
                yield f"{name}=", value
            function = function.func
        for cell in getattr(inspect.unwrap(function), "__closure__", None) or ():
            yield "an array that the function closes over", cell.cell_contents


class Recording:
    """One recorded run of a subject's function, on leaves of its own."""

    def __init__(self, subject: Subject, inputs: Sequence[Any]) -> None:
        self.subject = subject
        self.leaves = [tg.tensor(x) for x in inputs]
        self.outs = subject.outs(self.leaves)

    def pull(self, seeds: Sequence[Any], retain: bool = True, create_graph: bool = False) -> list[Any]:
        """The gradients for these cotangents; zeros where nothing arrives. The leaves are as before afterwards."""
        subject = self.subject
        if len(self.outs) != len(seeds):
            raise subject.fault(f"it returned {len(seeds)} arrays in one call and {len(self.outs)} in the next")
        pairs = zip(self.outs, seeds, strict=True)
        roots = [(y, seed) for y, seed in pairs if isinstance(y, tg.Tensor) and y.requires_grad]
        for k, (y, seed) in enumerate(roots):
            keep = retain or create_graph or k + 1 < len(roots)
            y.backward(seed, retain_graph=keep, create_graph=create_graph)
        gradients = []
        for leaf in self.leaves:
            gradients.append(np.zeros(leaf.shape, leaf.dtype) if leaf.grad is None else leaf.grad)
            leaf.grad = None
        return gradients


def _array(leaf: Any) -> Any:
    """A copy of an argument's value, in its order in memory."""
    return np.array(leaf, order="K")


def close(given: Any, right: Any, rtol: float, scale: float | None = None) -> bool:
    """Whether two arrays agree within ``rtol``, relative to ``scale`` or to the largest finite entry of ``right``."""
    if scale is None:
        scale = float(np.max(np.abs(right), initial=0.0, where=np.isfinite(right)))
    with np.errstate(all="ignore"):
        return bool(np.allclose(given, right, rtol=rtol, atol=rtol * scale, equal_nan=True))


def near(a: Any, b: Any, roundings: float) -> bool:
    """Whether two arrays agree within so many roundings of their narrower dtype, at their largest entry."""
    return close(a, b, roundings * max(float(np.finfo(a.dtype).eps), float(np.finfo(b.dtype).eps)))


def worst(given: Any, right: Any) -> str:
    """The entry where two arrays of one shape differ most, and both values there."""
    with np.errstate(all="ignore"):
        apart = np.abs(np.asarray(given) - np.asarray(right))
    alike = (np.isnan(given) & np.isnan(right)) | (np.asarray(given) == np.asarray(right))
    apart = np.where(alike, 0.0, np.where(np.isfinite(apart), apart, np.inf))
    index = tuple(int(k) for k in np.unravel_index(int(np.argmax(apart)), apart.shape))
    where = f"at index {index} " if index else ""
    return f"{where}{np.asarray(given)[index]!r} instead of {np.asarray(right)[index]!r}"


def bytes_of(arrays: Sequence[Any]) -> list[bytes]:
    """What the arrays hold, to the bit."""
    return [np.asarray(a.numpy() if isinstance(a, tg.Tensor) else a).tobytes() for a in arrays]


VALUE_ROUNDING = FORWARD_ROUNDING
