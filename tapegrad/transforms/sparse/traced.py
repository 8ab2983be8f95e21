"""Tracing: what depends on the values of a function's input, while its pattern is being found.

The tape says what a result depends on smoothly. It doesn't say why the function did what it did: an order that
``argsort`` found, a mask, a branch. These leave the tape as plain arrays, bools and numbers, and stand on it as if
they were constants. So while a function is traced, nothing plain leaves a tensor: comparisons, functions of
derivative zero, ``detach`` and ``numpy()`` give tensors that don't record, and whatever is computed from these is one
again. A tensor that is used as an index, a mask or a constant matrix is thereby known to be found by the data, and
a plain array not to be.

What can't be followed, since Python or a plain array takes it, counts for all that it may do: ``bool()``, ``float()``,
``item()``, ``np.asarray``; and selections whose length depends on the values, because whatever comes after
may depend on that length. The function's pattern is then dense, with a warning that says where.
"""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.borrowed import like
from tapegrad.dispatch import call, callers_line, make, plain, records
from tapegrad.entries import POSITIONS, line_of
from tapegrad.kinds import Creation, Primitive, name_of
from tapegrad.ops.sorting import held
from tapegrad.primitive import look_up
from tapegrad.recording import TRACERS, Mark, tracer
from tapegrad.residuals import floating, inside
from tapegrad.tensor import Tensor

# Answers of the kind "plain" that depend on values.
_ANSWERS = frozenset({np.allclose, np.isclose, np.array_equal, np.array_equiv, np.min_scalar_type})
# What gives as many elements as the values make it; or those of one argument do, by place and name.
_OF_ANY_LENGTH = frozenset(
    {
        *(np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.unique_all, np.unique_counts, np.unique_inverse),
        *(np.unique_values, np.intersect1d, np.union1d, np.setdiff1d, np.setxor1d, np.trim_zeros),
        *(np.histogram_bin_edges, np.ix_),
    }
)
_BY_ARGUMENT: dict[Any, tuple[int, str]] = {
    np.compress: (0, "condition"),
    np.extract: (0, "condition"),
    np.bincount: (0, "x"),
    np.repeat: (1, "repeats"),
    np.delete: (1, "obj"),
    np.insert: (1, "obj"),
    np.pad: (1, "pad_width"),
    np.tile: (1, "reps"),
}
# What writes into its first argument; a plain array would keep the values.
_WRITING = frozenset({np.copyto, np.put, np.putmask, np.place, np.put_along_axis, np.fill_diagonal})
# Of our own, what asks for values and marks what it finds by them (found_in), or asks to refuse.
_OPEN = tuple(f"tapegrad.ops.{name}" for name in ("ranks.", "quantiles.", "statistics.", "histograms.bincount"))
# Rules may take a shorter way for some values, with the same links; two need a number, or read a table.
_OURS = ("tapegrad.ops.", "tapegrad.nn.", "tapegrad.shapes.", "tapegrad.pulls.", "tapegrad.residuals.")
_HARMLESS = ("tapegrad.ops.reductions.extremum_vjp", "tapegrad.ops.interpolation.")


class Tracer(Mark):
    """Follows what depends on the values of a tensor, as long as it is entered."""

    traces = True

    def __init__(self) -> None:
        self.tracer = self
        self.oldest = next(POSITIONS)  # What is recorded from now on depends on the input.
        self.escape: tuple[str, str] | None = None  # how a value got away for the first time, and where
        self.moved: dict[int, Any] = {}  # by id, plain arrays that are known to be found by the data
        self.constant: dict[
            int, Any
        ] = {}  # by id, values of tensors that are known not to be (a write makes a new one)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, traced by this very tracer."""

        def traced(*args: Any, **kwargs: Any) -> Any:
            try:
                with self:
                    return function(*args, **kwargs)
            except (TypeError, AttributeError) as error:
                error.add_note(
                    "while tapegrad looked for a sparsity pattern: comparisons, indices and whatever else is computed "
                    "from the values of the input are tensors then, which aren't hashable"
                )
                raise

        return traced

    def __enter__(self) -> "Tracer":
        outer = tracer()
        if outer is not None:
            outer.left(None, "a pattern that is found inside of the function")
        TRACERS.append(self)
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        TRACERS.remove(self)

    def depends(self, value: Any) -> bool:
        """Whether there is a tensor in it that depends on the data.

        A tensor that records does, if it is newer than the input; one that doesn't may have been made of anything,
        unless it was seen to be made of constants.
        """
        if type(value) is Tensor:
            entry = value._entry
            return entry[0] <= self.oldest if entry is not None else id(value._value) not in self.constant
        return type(value) is not np.ndarray and any(map(self.depends, inside(value)))

    def handed_out(self, value: Any) -> Any:
        """What was computed from such tensors, as tensors that don't record."""
        if isinstance(value, tuple):
            return like(value, [self.handed_out(part) for part in value])
        if type(value) is list:
            return [self.handed_out(part) for part in value]
        if type(value) in (bool, int, float, complex):
            value = np.asarray(value)[()]
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
            return make(value, None)
        if value is not None and type(value) is not Tensor:
            self.left(None, f"what gave a {type(value).__name__}")
        return value

    def called(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """``function(*args, **kwargs)``, as dispatch has it; what would be plain is handed out."""
        known = look_up(function)
        creates = type(known) is Creation and function is not np.fromfunction  # (which calls who knows what)
        prototypes = 1 if creates and name_of(function).endswith("_like") else 0
        if not self.depends((args[prototypes:], kwargs)):
            y = call(function, args, kwargs, followed=True)
            if creates and type(y) is Tensor:
                self.constant[id(y._value)] = y._value
            return y
        if function is held:
            if not _caller("tapegrad.ops.sorting", "tapegrad.primitive").startswith(_OPEN):
                self.left(None, "a function of NumPy's")
            return call(function, args, kwargs, followed=True)
        place, name = _BY_ARGUMENT.get(function, (len(args), ""))
        if function in _OF_ANY_LENGTH or self.depends((args[place : place + 1], kwargs.get(name))):
            self.left(None, f"{name_of(function)}, which gives as many elements as they make it,")
        if isinstance(function, np.ufunc) and self.depends(kwargs.get("where")):
            self.left(None, f"{name_of(function)} with where=")
        if function in _WRITING and type(args[0]) is np.ndarray and not records((args, kwargs)):
            self.left(None, name_of(function))
            return function(*plain(args), **plain(kwargs))
        y = call(function, args, kwargs, followed=True)
        kind = None if known is None else known.kind
        # (What a composite returns, it has from other functions.)
        return y if kind == "composite" or (kind == "plain" and function not in _ANSWERS) else self.handed_out(y)

    # ------------------------------------------------ what stands on the tape

    def unwrapped(self, tensor: Any, array: Any, name: str) -> Any:
        """The array of a tensor that is used as a parameter of this name; a scalar, where that is what it would be."""
        if not self.depends(tensor):
            return array
        if array.shape == () and name != "index":
            array = array[()]
        self.moved[id(array)] = array
        return array

    def placed(self, index: Any, numbers: Any, writing: bool) -> None:
        """An index is used on a buffer that was written: these are the elements that it names, by number."""
        if not writing:
            self._require_a_length(index)
        self.follow(index, numbers)

    def follow(self, index: Any, *arrays: Any) -> None:
        """If there is something in the index that was found by the data, so were the arrays."""
        if self.has_moved(index):
            self.moved.update((id(array), array) for array in arrays)

    def has_moved(self, value: Any) -> bool:
        """Whether there is something in a parameter that was found by the data."""
        if isinstance(value, (tuple, list)):
            return any(map(self.has_moved, value))
        return any(map(self.has_moved, value.values())) if type(value) is dict else id(value) in self.moved

    def _require_a_length(self, index: Any) -> None:
        """A mask that was found by the data selects who knows how much."""
        items = index if type(index) is tuple else (index,)
        if any(self.has_moved(item) and np.asarray(item).dtype.kind == "b" for item in items):
            self.left(None, "a mask, which selects as many elements as they make it,")

    def marked(self, value: Any) -> Any:
        """A parameter with tensors in the place of arrays that were found by the data."""
        if isinstance(value, tuple):
            return like(value, [self.marked(part) for part in value])
        if type(value) is list:
            return [self.marked(part) for part in value]
        if type(value) is dict:
            return {name: self.marked(part) for name, part in value.items()}
        if id(value) in self.moved:
            return make(value, None)
        return value.copy() if type(value) is np.ndarray else value

    def kept(self, known: Any, operands: Sequence[Any], parameters: dict[str, Any]) -> Any:
        """What an entry keeps in the place of a primitive: one that knows which constants were found by the data."""
        if type(known) is not Primitive:
            return known
        # Those that its rule reads.
        _y, reads = known.keeps([True] * len(operands))
        pairs = zip(operands, reads, strict=True)
        constant = [
            read and type(operand) is Tensor and operand._entry is None and self.depends(operand)
            for operand, read in pairs
        ]
        opaque = known.residuals and not floating(parameters["residuals"])
        if not opaque and not self.has_moved(parameters) and not any(constant):
            return known
        if known.function is operator.getitem:
            self._require_a_length(parameters["index"])
        given = {name: self.marked(value) for name, value in parameters.items() if name in known.read}
        return Moving(known, constant, known.pack(given), self, opaque)

    # ------------------------------------------------ what gets away

    def left(self, tensor: Any, call: str) -> None:
        """A value of this tensor (None: of some that depends on the data) got away by this call."""
        if self.escape is not None or not (tensor is None or self.depends(tensor)):
            return
        if not _caller("tapegrad.conversions").startswith(_HARMLESS + _OURS if call == "bool()" else _HARMLESS):
            self.escape = call, line_of(callers_line())


def _caller(*but: str) -> str:
    """The function that called us, with its module: none of these modules, nor what leads here."""
    frame: Any = sys._getframe(1)
    skipped = (__name__, "tapegrad.dispatch", "tapegrad.tensor", *but)
    while frame.f_back is not None and frame.f_globals.get("__name__", "") in skipped:
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_name}"


class Moving(Primitive):
    """A primitive with constants that were found by the data; in a sweep that is traced its rule gets them as such."""

    __slots__ = ("marked",)

    def __init__(self, known: Primitive, constant: Sequence[bool], marked: Any, owner: Tracer, opaque: bool) -> None:
        for kind in type(known).__mro__:
            for name in getattr(kind, "__slots__", ()):
                setattr(self, name, getattr(known, name))
        self.marked = marked  # the parameters that its entry keeps, with tensors for those that were so found
        self.function = None  # So that the sweep knows no other way than the rule.

        def pull(g: Any, y: Any, operands: Any, packed: Any) -> Any:
            if tracer() is not owner:
                return known.pull(g, y, operands, packed)
            if opaque:
                owner.left(None, f"the rule of {known.name}, whose residuals are integers,")
            given = [
                make(operand, None) if moving else operand for moving, operand in zip(constant, operands, strict=True)
            ]
            return known.pull(g, y, given, marked)

        self.pull = pull
