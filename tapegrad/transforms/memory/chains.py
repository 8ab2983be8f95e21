"""``checkpoint_chain``: a long chain of steps, swept back with a few snapshots of it."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.containers import leaves_of, rebuilt
from tapegrad.dispatch import callers_line, make
from tapegrad.entries import POSITIONS, Entry
from tapegrad.errors import ArgumentError
from tapegrad.kinds import name_of
from tapegrad.recording import STATE
from tapegrad.tensor import Tensor, lifted
from tapegrad.transforms.arguments import require_callable
from tapegrad.transforms.memory.checkpointing import own, recorded, run_checkpointed
from tapegrad.transforms.memory.copies import copied
from tapegrad.transforms.memory.draws import States, drawn, put_back, restore, sources_of, states_of
from tapegrad.transforms.memory.items import Items, Totals
from tapegrad.transforms.memory.reruns import Captured, Rerun, Trace, identity, mode_of, require_alike, sample
from tapegrad.transforms.memory.schedule import evaluations, split
from tapegrad.transforms.memory.snapshots import CUT, Folder, Snapshot, cut, progress_bar
from tapegrad.transforms.runs import held


def checkpoint_chain(
    step: Callable[[Any, Any], Any],
    state: Any,
    xs: Any,
    *,
    snapshots: int | None = None,
    disk: bool | str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Any:
    """The last state of ``for x in xs: state = step(state, x)``, of which the sweep back keeps only snapshots.

    step : a function of its arguments and of what it closes over, which may draw from NumPy's generators. It may
        write to the state that it is given, but to nothing else that records
    state : a container of anything, with the tensors that a step is to be differentiated by; it isn't written to
    xs : an item for each of n steps, each a container of anything: a sequence, or the rows of an array or tensor.
        Of both, the values at the time of the call count: tensors may be written to later, arrays are copied as
        ``checkpoint`` copies its arguments
    snapshots : how many states may be kept at a time, the first included, k >= 1. The steps evaluated
        only to get on from one are then as few as can be (Revolve), ``r n - C(k + r, r - 1)`` in all for the
        least r with ``n <= C(k + r, k)``, beside n recorded and the last one's value. None: about sqrt(n) are
        kept, and as many steps are recorded at a time; each step is evaluated twice.
    disk : True, or the folder in which a temporary one is made: snapshots of arrays over 4 KiB are files there
    progress : show a bar, forward and in the sweep back
    Returns the last state. Gradients reach the first state, the items, and what the step closes over.
    Raises what ``checkpoint`` raises; ArgumentError for a budget below 1, and for a bar
    where neither tqdm nor rich is installed; RecordingError in the sweep back where a tensor made
    in a step was carried out of it but by the state.

    The budget holds for first derivatives. A sweep that is recorded, for higher ones, keeps about sqrt(n) states and
    their cotangents. A second sweep (``retain_graph=True``) begins from the first state again.

    >>> import numpy as np, tapegrad as tg
    >>> rate = tg.tensor(0.5)
    >>> y = tg.checkpoint_chain(lambda y, dt: y - dt * rate * y, np.float64(1.0), np.full(1000, 0.002), snapshots=8)
    >>> y.backward()
    >>> np.round(y.item(), 4), np.round(rate.grad, 4)
    (np.float64(0.3677), np.float64(-0.7361))

    Griewank & Walther 2000, Algorithm 799: Revolve.
    """
    require_callable("checkpoint_chain", step)
    if snapshots is not None and (not isinstance(snapshots, (int, np.integer)) or snapshots < 1):
        raise ArgumentError(f"checkpoint_chain: snapshots={snapshots!r}; at least one is needed, the first state")
    items = Items(xs)
    if not STATE.get().enabled or not items.n:
        with progress_bar(progress, "forward", items.n) as tick:
            for t in range(items.n):
                state = step(state, items.item(t, [tensor.detach() for tensor in items.recording(t, items.tensors)]))
                tick()
        return state
    chain = Chain(step, items, snapshots, disk, progress)
    return chain.evaluate(state)


class Chain(Rerun):
    """What the tape knows of a chain: its steps in blocks, each recorded at once, and snapshots between them."""

    __slots__ = (
        "block",
        "blocks",
        "budget",
        "captured",
        "draws",
        "first",
        "folder",
        "items",
        "made",
        "progress",
        "samples",
        "snapshots",
        "sources",
        "step",
        "where",
    )

    def __init__(self, step: Callable[..., Any], items: Items, budget: int | None, disk: Any, progress: bool) -> None:
        super().__init__(f"checkpoint_chain: {name_of(step)}")
        self.step, self.items, self.progress = step, items, progress
        self.block = 1 if budget is not None else math.isqrt(items.n - 1) + 1
        self.blocks = -(-items.n // self.block)
        self.budget = int(budget) if budget is not None else self.blocks
        self.folder = Folder(None if disk is True else disk) if disk else None
        self.captured, self.where = Captured(self.name), callers_line()
        self.snapshots: list[Snapshot] | None = None  # those of the forward run, until a sweep takes them
        self.draws: States = []  # at the start, of the sources that the steps draw from
        self.made: list[int] = []
        self.samples: list[Any] = []

    # -------------------------------- forward

    def evaluate(self, state: Any) -> Any:
        """The last state, recorded where anything is to be differentiated by."""
        leaves, structure = leaves_of(state)
        self.sources = sources_of(self.step, [*leaves, self.items.steps])
        starting = states_of(self.sources)
        given = [leaf for leaf in leaves if type(leaf) is Tensor and leaf._entry is not None]
        self.first = Snapshot(0, state, [])
        live, self.snapshots = self._forward(self.first, self.items.tensors, self.captured)
        self.draws = drawn(starting)
        self._forget_still_sources()
        leaves, structure = leaves_of(live)
        self.made = [i for i, leaf in enumerate(leaves) if type(leaf) is Tensor and leaf._entry is not None]
        tensors = [*given, *self.items.tensors]
        parents = [tensor._entry for tensor in tensors] + list(self.captured.entries.values())
        operands = [tensor._value for tensor in tensors] + self.captured.specs()
        self.items.tensors = []
        if not self.made or not parents:
            return live
        values = [own(leaves[i]._value) for i in self.made]
        self.samples = [sample(value) for value in values]
        for leaf in self.first.leaves:  # They are among the operands.
            if getattr(leaf, "records", False):
                leaf.array = None
        results = recorded(self, values, operands, parents, np.zeros(()), self.where)
        for i, result in zip(self.made, results, strict=True):
            leaves[i] = result
        return rebuilt(structure, leaves)

    def _forward(
        self, first: Snapshot, operands: Sequence[Any], captured: Captured | None
    ) -> tuple[Any, list[Snapshot]]:
        """All the steps, only for their values: the last state, and the snapshots to be taken on the way."""
        taken: list[Snapshot] = []
        state, position = first.state(), 0
        with progress_bar(self.progress and captured is not None, "forward", self.items.n) as tick:
            while (slots := self.budget - len(taken)) > 1 and self.blocks - position > 1:
                stop = position + split(self.blocks - position, slots)
                state = self._advance(state, position, stop, operands, tick, captured)
                position = stop
                taken.append(Snapshot(position, state, states_of(self.sources), self.folder))
            if captured is not None:  # In a sweep, nobody asks for the last state.
                last = self.blocks - 1
                if position < last:  # Where a sweep begins; not of the budget, but the state that it works on.
                    state = self._advance(state, position, last, operands, tick, captured)
                    taken.append(Snapshot(last, state, states_of(self.sources), self.folder))
                state = self._advance(state, last, self.blocks, operands, tick, captured)
        return state, taken

    def _advance(
        self, state: Any, start: int, stop: int, operands: Sequence[Any], tick: Any, captured: Captured | None = None
    ) -> Any:
        """The state before block ``stop``, from that before block ``start``; of each step only the value is kept."""
        for t in self._steps(start, stop):
            began = next(POSITIONS)
            x = cut_items(self.items, t, operands)
            state = self.step(cut(state), x)
            if captured is not None:
                ends = [t._entry for t in leaves_of(state)[0] if type(t) is Tensor and t._entry is not None]
                captured.look(ends, began, (CUT[0],), new_leaves=False)
            tick()
        return cut(state)

    def _steps(self, start: int, stop: int) -> range:
        return range(start * self.block, min(stop * self.block, self.items.n))

    def _forget_still_sources(self) -> None:
        """Of the generators' states, keep those of the ones that the steps draw from."""
        self.sources = [source for source, _state in self.draws]
        moving = {id(source) for source in self.sources}
        for snapshot in self.snapshots or ():
            snapshot.draws = [(source, state) for source, state in snapshot.draws if id(source) in moving]

    # -------------------------------- back

    def pairs(self, g: Any, y: Any, operands: Sequence[Any], wanted: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Pairs (parent, cotangent)."""
        gs = g if type(g) is tuple else (g,)
        lift = mode_of(y, gs, lifted, held)
        inputs = operands[: len(operands) - len(self.captured.entries)]
        if lift is None:
            totals, others = self._reversed(inputs, gs)
        else:
            with put_back(self.draws):
                trace = Trace(self._in_blocks, inputs)
            roots = [(trace.outs[i]._entry, c) for i, c in zip(self.made, gs, strict=True)]
            self.captured.require_same(trace.look(self.name, [end for end, _c in roots]), trace.start)
            totals, others = trace.pulled(roots, self.captured, lift)
        totals = [*totals, *(others.get(position) for position in self.captured.entries)]
        return ((parent, c) for parent, c in zip(wanted, totals, strict=True) if c is not None and parent is not None)

    def _begun(self, values: Sequence[Any]) -> tuple[Snapshot, Sequence[Any]]:
        """The first snapshot with its values, which are among the operands; and the operands of the items."""
        first = Snapshot(0, (), self.draws)
        following = iter(values)
        first.structure = self.first.structure
        for leaf in self.first.leaves:
            records = getattr(leaf, "records", False)
            first.leaves.append(type(leaf)(next(following), True) if records else leaf)
        return first, list(following)

    def _reversed(self, inputs: Sequence[Any], gs: Sequence[Any]) -> tuple[list[Any], dict[int, Any]]:
        """The cotangents of the inputs, and of what was captured, by the schedule of fewest evaluations."""
        first, operands = self._begun(inputs)
        totals = Totals(self.items, operands)
        seeds = {i: g for i, g in zip(self.made, gs, strict=True) if g is not None}
        work = self.items.n + evaluations(self.blocks, self.budget) * self.block - (self.blocks - 1) * self.block
        with put_back(self.draws), progress_bar(self.progress, "backward", work) as tick:
            taken, self.snapshots = self.snapshots, None
            if taken is None:
                _state, taken = self._forward(first, operands, None)
            stack, end = [first, *taken], self.blocks
            del taken
            while end and seeds:
                top = stack[-1]
                restore(top.draws)
                state = top.state()
                slots = self.budget - len(stack) + 1
                if end - top.position > 1 and slots > 1:
                    stop = top.position + split(end - top.position, slots)
                    state = self._advance(state, top.position, stop, operands, tick)
                    stack.append(Snapshot(stop, state, states_of(self.sources), self.folder))
                    continue
                end -= 1
                state = self._advance(state, top.position, end, operands, tick)
                if top.position == end:
                    stack.pop()
                del top
                seeds = self._pull_block(state, end, operands, seeds, totals, tick)
        recording = [i for i, leaf in enumerate(self.first.leaves) if getattr(leaf, "records", False)]
        return [*(seeds.get(i) for i in recording), *totals.of_items()], totals.captured

    def _pull_block(
        self, state: Any, block: int, operands: Sequence[Any], seeds: dict[int, Any], totals: Totals, tick: Any
    ) -> dict[int, Any]:
        """Record a block of steps and sweep it back: of cotangents by leaf of its last state, those of its first."""
        leaves, structure = leaves_of(state)
        recording = [i for i, leaf in enumerate(leaves) if type(leaf) is Tensor and leaf._entry is not None]
        steps = self._steps(block, block + 1)
        of_items = [self.items.recording(t, operands) for t in steps]
        values = [leaves[i]._value for i in recording] + [value for some in of_items for value in some]

        def call(tensors: list[Any]) -> list[Any]:
            for i, tensor in zip(recording, tensors, strict=False):
                leaves[i] = tensor
            state, following = rebuilt(structure, leaves), iter(tensors[len(recording) :])
            for t, some in zip(steps, of_items, strict=True):
                state = self.step(state, self.items.item(t, [next(following) for _ in some]))
                tick()
            return leaves_of(state)[0]

        trace = Trace(call, values, writable=True)
        which = sorted(seeds)
        ends = trace.ends(which, [seeds[i] for i in which], self.name)
        self.captured.require_same(trace.look(self.name, ends), trace.start)
        if block == self.blocks - 1:
            require_alike(self.samples, trace.outs, self.made, self.name)
        trace.outs = ()
        roots = [(end, seeds[i]) for end, i in zip(ends, which, strict=True)]
        del ends
        arrived, others = trace.pulled(roots, self.captured, None)
        totals.add_captured(others)
        following = iter(arrived[len(recording) :])
        for t, some in zip(steps, of_items, strict=True):
            totals.add_item(t, [next(following) for _ in some])
        return {i: c for i, c in zip(recording, arrived, strict=False) if c is not None}

    # -------------------------------- higher orders

    def _in_blocks(self, tensors: list[Any]) -> list[Any]:
        """The chain as checkpointed blocks, which the tape can sweep at any order: the leaves of the last state."""
        first, operands = self._begun(tensors)
        state = rebuilt(first.structure, [_as_given(leaf) for leaf in first.leaves])
        length = math.isqrt(self.items.n - 1) + 1
        for start in range(0, self.items.n, length):
            stop = min(start + length, self.items.n)
            arguments = (self.step, state, self.items.part(start, stop, operands), start, stop)
            state = run_checkpointed(self._run_part, arguments, {}, self.name, self.where)
        return leaves_of(state)[0]

    def _run_part(self, step: Callable[..., Any], state: Any, part: Any, start: int, stop: int) -> Any:
        leaves, structure = leaves_of(state)
        leaves = [_own_identity(leaf) for leaf in leaves]  # A step may write to it.
        state = rebuilt(structure, leaves)
        for t in range(start, stop):
            state = step(state, self.items.item(t, self.items.of_part(part, t - start)))
        return state


def cut_items(items: Items, t: int, operands: Sequence[Any]) -> Any:
    """Item ``t`` for a step that is run only for its value."""
    arrays = [o._value if type(o) is Tensor else o for o in items.recording(t, operands)]
    return items.item(t, [make(array, CUT) for array in arrays])


def _as_given(leaf: Any) -> Any:
    if not hasattr(leaf, "records"):
        return copied(leaf)
    return leaf.array if type(leaf.array) is Tensor else make(leaf.array, None)


def _own_identity(leaf: Any) -> Any:
    if type(leaf) is not Tensor or leaf._entry is None:
        return copied(leaf)
    entry: Entry = identity(leaf._spec, leaf._entry)
    return make(leaf._value, entry, leaf._spec)
