"""``checkpoint``: a function of which only the arguments are kept, and which is run again in the sweep back."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.containers import leaves_of, rebuilt
from tapegrad.dispatch import callers_line, fact, make
from tapegrad.entries import POSITIONS, Entry, Where, leaf_of
from tapegrad.errors import UnexpectedArgumentError, WriteError
from tapegrad.kinds import name_of
from tapegrad.pieces import Step
from tapegrad.recording import STATE
from tapegrad.storage import Alias
from tapegrad.tensor import Tensor, lifted
from tapegrad.transforms.arguments import require_callable
from tapegrad.transforms.memory.copies import fresh, kept
from tapegrad.transforms.memory.draws import States, drawn, put_back, sources_of, states_of
from tapegrad.transforms.memory.reruns import Captured, Rerun, Trace, identity, mode_of, require_alike, sample
from tapegrad.transforms.runs import held


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` itself, but of what it records only its arguments are kept: the sweep back runs it again.

    f : of containers of anything to a container of anything, among it tensors. It must be a function of its
        arguments and of what it closes over: it may read tensors from outside, whose gradients aren't lost, but write
        to none but its own. What it draws from NumPy's generators, it draws again.
    Returns a function with the arguments of ``f``. Tensors that come out are values of their own, also
    where ``f`` returned a view of an argument.

    The memory of a call is that of its arguments and results; the price is one more run of ``f``. Calls may nest. At
    higher orders the derivative of ``f`` is itself run again rather than kept.

    Tensors and plain arrays among the arguments may be written to between the call and ``backward()``: the values at
    the time of the call count. Arrays are copied, except files that are mapped for reading (``numpy.memmap``). One
    over 4 KiB that many calls are given is held once, and each call looks through it for changes; ``f`` can't
    write to it when it is run again. As a tensor that doesn't record, it costs neither the copy nor the look.

    Where ``f`` itself turns out to have changed (a variable that it closes over was bound anew, say), ChangedDataError
    is raised; it is told by the results, so a change that leaves these as they were goes unseen. WriteError, where it
    writes to an argument. UnexpectedArgumentError for an iterator, which can't be run through twice. What
    ``f`` raises passes unchanged; in the sweep back with a note that says where it was called.

    >>> import numpy as np, tapegrad as tg
    >>> @tg.checkpoint
    ... def block(x):
    ...     for _ in range(100):
    ...         x = np.sin(x)
    ...     return x
    >>> x = tg.tensor([0.0, 1.0])
    >>> y = block(x)
    >>> y.sum().backward()
    >>> x.grad[0]
    np.float64(1.0)

    Griewank & Walther 2008, chapter 12.
    """
    require_callable("checkpoint", f)

    @functools.wraps(f)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not STATE.get().enabled:
            return f(*args, **kwargs)
        return run_checkpointed(f, args, kwargs, f"checkpoint: {name_of(f)}", callers_line())

    return checkpointed


def run_checkpointed(
    f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str, where: Where
) -> Any:
    """``f(*args, **kwargs)``, recorded as one entry. ``name`` is what errors call it, ``where`` the user's call."""
    call = Call(f, args, kwargs, name)
    draws = states_of(call.sources)
    start = next(POSITIONS)
    tensors = [make(t._value, identity(t._spec, t._entry), t._spec) for t in call.recording]
    out = call.run_first(tensors)
    for t in tensors:
        if type(t._kin) is Alias:
            raise WriteError(f"{name} writes to an argument of shape {t.shape}; work on a copy, and return it")
    outs, structure = leaves_of(out)
    made = [i for i, leaf in enumerate(outs) if _is_of_the_run(leaf, start)]
    if not made:
        return out
    captured = Captured(name)
    stops = {t._entry[0] for t in tensors}
    captured.look([outs[i]._entry for i in made], start, stops)
    parents = [t._entry for t in call.recording] + list(captured.entries.values())
    if not parents:
        return out
    operands = [t._value for t in call.recording] + captured.specs()
    known = Again(call, drawn(draws), captured, start, [(i, outs[i]) for i in made], where)
    results = recorded(known, [own(outs[i]._value) for i in made], operands, parents, np.zeros(()), where)
    for i, result in zip(made, results, strict=True):
        outs[i] = result
    return rebuilt(structure, outs)


def _is_of_the_run(leaf: Any, start: int) -> bool:
    """Whether a result was recorded in the run; otherwise it is handed on as it is."""
    if type(leaf) is not Tensor or leaf._entry is None:
        return False
    return leaf._entry[0] <= start and leaf_of(leaf._entry) is None


def own(value: Any) -> Any:
    """A value that doesn't keep alive a larger array of which it is a part."""
    base = getattr(value, "base", None)
    return value.copy() if isinstance(base, np.ndarray) and base.nbytes > value.nbytes else value


def recorded(
    known: Step, values: Sequence[Any], operands: Sequence[Any], parents: Sequence[Entry], y: Any, where: Where
) -> list[Any]:
    """The results of a step with these values, as tensors.

    y : what the pull is handed for the output: an array or several, which come as tensors if the sweep records itself
    """
    node: Entry = [next(POSITIONS), known, y, (), None, where, *operands, *parents]
    for tape in STATE.get().tapes:
        tape.observe(fact(node, values[0]))
    if len(values) == 1:
        return [make(values[0], node)]
    return [make(value, [next(POSITIONS), i, len(values), node]) for i, value in enumerate(values)]


class Call:
    """A call of a function, with arguments as they are now."""

    def __init__(self, f: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], name: str) -> None:
        self.f, self.name, self.keys = f, name, tuple(kwargs)
        self.given: list[Any] = [*args, *kwargs.values()]
        self.recording: list[Any] = []  # the tensors among the arguments, until the first run
        self.arguments = []  # structure and leaves of each; a place holder for what records
        everything: list[Any] = []
        for argument in self.given:
            leaves, structure = leaves_of(argument)
            everything += leaves
            self.arguments.append((structure, [self._kept(leaf) for leaf in leaves]))
        self.sources = sources_of(f, everything)

    def _kept(self, leaf: Any) -> Any:
        if type(leaf) is Tensor and leaf._entry is not None:
            self.recording.append(leaf)
            return _RECORDING
        if hasattr(leaf, "__next__"):
            raise UnexpectedArgumentError(
                f"{self.name} was given a {type(leaf).__name__}, which can be run through only once; pass a list"
            )
        return kept(leaf)

    def run_first(self, tensors: Sequence[Any]) -> Any:
        """What the function returns, with these tensors in the place of those that record."""
        following = iter(tensors)
        arguments = []
        for (structure, leaves), argument in zip(self.arguments, self.given, strict=True):
            if not any(leaf is _RECORDING for leaf in leaves):
                arguments.append(argument)  # The user's own: lists may be added to.
            else:
                pairs = zip(leaves, leaves_of(argument)[0], strict=True)
                whole = [next(following) if k is _RECORDING else leaf for k, leaf in pairs]
                arguments.append(rebuilt(structure, whole))
        return self._run(arguments)

    def forget_tensors(self) -> None:
        """Hold the values of the arguments only, from now on."""
        self.recording, self.given = [], []

    def run_again(self, tensors: Sequence[Any]) -> list[Any]:
        """The leaves of what it returns, once more."""
        return leaves_of(self._run(self.arguments_with(tensors)))[0]

    def arguments_with(self, tensors: Sequence[Any]) -> list[Any]:
        """The arguments, with these tensors for those that record. Nothing that is kept can be spoiled by a run."""
        following = iter(tensors)
        return [
            rebuilt(structure, [next(following) if leaf is _RECORDING else fresh(leaf) for leaf in leaves])
            for structure, leaves in self.arguments
        ]

    def _run(self, arguments: list[Any]) -> Any:
        first = len(arguments) - len(self.keys)
        return self.f(*arguments[:first], **dict(zip(self.keys, arguments[first:], strict=True)))


_RECORDING: Any = object()


class Again(Rerun):
    """What the tape knows of a checkpointed call: how to run it again, and pull back through that."""

    __slots__ = ("call", "captured", "draws", "made", "samples", "specs", "start", "where")

    def __init__(
        self, call: Call, draws: States, captured: Captured, start: int, made: Sequence[tuple[int, Any]], where: Where
    ) -> None:
        super().__init__(call.name)
        call.forget_tensors()
        self.call, self.draws, self.captured, self.start = call, draws, captured, start
        self.where = where
        self.made = [i for i, _out in made]
        self.specs = [out._spec for _i, out in made]
        self.samples = [sample(out._value) for _i, out in made]

    def pairs(self, g: Any, y: Any, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Pairs (parent, cotangent)."""
        gs = g if type(g) is tuple else (g,)
        lift = mode_of(y, gs, lifted, held)
        inputs = operands[: len(operands) - len(self.captured.entries)]
        if lift is None:
            totals, others = self._pulled(inputs, gs, None)
        else:  # The pull is itself a function that is checkpointed.

            def pulled(inputs: Sequence[Any], gs: Sequence[Any]) -> Any:
                return self._pulled(inputs, gs, lift)

            inputs = [make(a, None) if type(a) is np.ndarray else a for a in inputs]  # Nobody's but ours: no copies.
            name = f"the derivative of {self.name}"
            totals, others = run_checkpointed(pulled, (inputs, gs), {}, name, self.where)
        totals = [*totals, *(others.get(position) for position in self.captured.entries)]
        return ((parent, c) for parent, c in zip(wanted, totals, strict=True) if c is not None and parent is not None)

    def _pulled(self, inputs: Sequence[Any], gs: Sequence[Any], lift: Any) -> tuple[list[Any], dict[int, Any]]:
        with put_back(self.draws):
            trace = Trace(self.call.run_again, inputs)
        ends = trace.ends(self.made, self.specs, self.name)
        found = trace.look(self.name, ends)
        self.captured.require_same(found, trace.start, self.start)
        require_alike(self.samples, trace.outs, self.made, self.name)
        trace.outs = ()  # From here on the sweep alone holds what was recorded.
        roots = list(zip(ends, gs, strict=True))
        del ends
        return trace.pulled(roots, self.captured, lift)
