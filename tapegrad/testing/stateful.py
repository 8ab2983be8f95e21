"""A state machine that uses tapegrad in every order that there is, beside a model: for Hypothesis to break.

``GradientMachine`` records, replays, writes, takes views, switches recording on and off, hooks in, raises
exceptions, differentiates within, and goes into threads, in an order that Hypothesis chooses. Each tensor has a twin:
the same NumPy program run on an array of ``Cell`` (cells.py), whose gradient is the chain rule one number at a time.
Whatever both know must agree; what fails shrinks to the fewest steps that fail, printed as a program.

To try primitives of your own among all this, add rules:

>>> import numpy as np, tapegrad as tg
>>> from hypothesis import settings
>>> from hypothesis.stateful import rule, run_state_machine_as_test
>>> from tapegrad.testing.stateful import GradientMachine
>>> @tg.primitive
... def cubed(x):
...     return x**3
>>> @tg.defvjp(cubed)
... def cubed_vjp(g, _y, x):
...     return g * 3 * x * x
>>> class Mine(GradientMachine):
...     @rule(target=GradientMachine.twins, a=GradientMachine.twins)
...     def cube(self, a):
...         return self.called(cubed, a, reference=lambda x: x * x * x)
>>> run_state_machine_as_test(Mine, settings=settings(max_examples=5, derandomize=True, database=None))

``reference`` is the same function written in NumPy that runs on arrays of objects.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, rule

import tapegrad as tg
from tapegrad.errors import RecordingError
from tapegrad.testing.cells import Cell
from tapegrad.testing.making import UNARY, Making, floats, keys
from tapegrad.testing.twins import LARGEST, Family, Node, Twin, in_threads

MARKS: dict[str, Callable[[], Any]] = {"no_grad": tg.no_grad, "enable_grad": tg.enable_grad, "debug": tg.debug}


class Boom(Exception):  # noqa: N818 - what a user's own exception may be called
    """What the machine raises in the middle of things."""


class GradientMachine(Making):
    """Every part of tapegrad that keeps state, in any order, beside a model. Subclass it and add rules."""

    twins = Making.twins

    def __init__(self) -> None:
        super().__init__()
        self.probe = tg.tensor(1.0)
        # Whatever an earlier run may have left on, this one starts with recording.
        self.start = tg.enable_grad()
        self.start.__enter__()

    # -------------------------------- gradients

    @rule(a=twins, seed=floats, retain=st.booleans())
    def backward(self, a: Twin, seed: float, retain: bool) -> None:
        """Replay; where some of it was freed earlier, it either raises and changes nothing, or is right."""
        if not a.tensor.requires_grad:
            self.require_constant(a.model)
            return
        g = self.seed_of(a, seed)
        before = [leaf.tensor.grad for leaf in self.leaves()]
        try:
            a.tensor.backward(g, retain_graph=retain)
        except RecordingError:
            if not self.line_may_be_spent(a):
                raise
            self.has_grads_as_before(before)
            return
        if a.node.replayed and not a.family.written:
            raise self.fault("a recording that was freed was replayed")
        self.bring(self.arriving(a, g))
        g[...] = 99.0  # The seed was the caller's.
        if not retain:
            a.node.replayed = not a.node.leaf
            for node in Node.line(a.node, a.family.state):
                node.spent = not node.leaf

    @rule(target=twins, a=twins, seed=floats)
    def backward_recorded(self, a: Twin, seed: float) -> Any:
        """Replay and record that; the gradients are tensors to go on with."""
        if not a.tensor.requires_grad or self.line_may_be_spent(a):
            return multiple()
        self.zero_grads()
        g = self.seed_of(a, seed)
        a.tensor.backward(g, create_graph=True)
        arrived, found = self.arriving(a, g), []
        for leaf in self.leaves():
            slots = [(leaf.owner, i) for i in range(leaf.tensor.size)]
            tensor, leaf.tensor.grad = leaf.tensor.grad, None
            if tensor is None or max((abs(arrived[s].value) for s in slots if s in arrived), default=0.0) > LARGEST:
                continue
            cells = [arrived.get(s, Cell(0.0)) for s in slots]
            model = np.array([*cells, None], object)[:-1].reshape(leaf.tensor.shape)
            if not tensor.requires_grad:
                self.require_constant(model)
            node = Node(a.node, a.family.state, leaf.node)
            twin = Twin(tensor, model, Family(node, records=tensor.requires_grad), node)
            self.made.append(twin)
            found.append(twin)
        return multiple(*found)

    @rule()
    def zero_grads(self) -> None:
        """Forget all gradients; who took one keeps it."""
        for leaf in self.leaves():
            leaf.tensor.zero_grad()
            leaf.gradient = None

    @rule(a=twins)
    def hold(self, a: Twin) -> None:
        """Keep what the library gives out: it stays what it is, whatever happens later."""
        grads = [leaf.tensor.grad for leaf in self.leaves()]
        given = [a.tensor.numpy(), *(g for g in grads if isinstance(g, np.ndarray))]
        self.held += [(array, array.copy()) for array in given]

    @rule(a=twins)
    def look(self, a: Twin) -> None:
        """Compare one tensor. (All are compared in the end; a look may change what is copied when.)"""
        self.look_at(a)

    # -------------------------------- hooks

    @rule(a=twins, factor=st.sampled_from([0.5, -1.0, 2.0]))
    def hook(self, a: Twin, factor: float) -> None:
        """A hook that replaces the cotangent. (In the model it belongs to the cells: not to those of a view.)"""
        if not a.tensor.requires_grad or a.view or a.family.written or self.line_may_be_spent(a) or self.shares(a):
            return
        handle = a.tensor.register_hook(lambda g: g * factor)
        for c in a.cells:
            c.hooks.append(factor)
        a.hooks.append((handle, factor))

    @rule(a=twins)
    def unhook(self, a: Twin) -> None:
        """Take the last hook away."""
        if a.hooks and not a.family.written:
            handle, factor = a.hooks.pop()
            handle.remove()
            for c in a.cells:
                del c.hooks[len(c.hooks) - 1 - c.hooks[::-1].index(factor)]

    # -------------------------------- recording on and off

    @rule(names=st.lists(st.sampled_from(list(MARKS)), min_size=1, max_size=3))
    def enter(self, names: list[str]) -> None:
        """Enter contexts, one within the other."""
        for name in names[: 4 - len(self.marks)]:
            mark = MARKS[name]()
            mark.__enter__()
            self.marks.append((name, mark))

    @rule(which=st.integers(0, 3))
    def leave(self, which: int) -> None:
        """Leave one, in any order."""
        if self.marks:
            _name, mark = self.marks.pop(which % len(self.marks))
            mark.__exit__(None, None, None)

    # -------------------------------- exceptions

    @rule(name=st.sampled_from(list(MARKS)), a=twins)
    def exception_within(self, name: str, a: Twin) -> None:
        """An exception passes through a context, and leaves no trace of it."""
        with contextlib.suppress(Boom), MARKS[name]():
            np.sin(a.tensor)
            raise Boom

    @rule(a=twins)
    def exception_in_transform(self, a: Twin) -> None:
        """An exception in a function that is being differentiated."""

        def fails(x: Any) -> Any:
            np.sum(x * a.tensor)
            raise Boom

        with contextlib.suppress(Boom):
            tg.grad(fails)(np.ones(a.tensor.shape))

    @rule(a=twins, b=twins, seed=floats)
    def exception_in_sweep(self, a: Twin, b: Twin, seed: float) -> None:
        """A hook raises in the middle of a sweep: no gradient changes, and the sweep can be made again."""
        if not (a.tensor.requires_grad and b.tensor.requires_grad) or b.view or b.family.written:
            return
        if self.line_may_be_spent(a) or self.line_may_be_spent(b):
            return

        def fails(_g: Any) -> Any:
            raise Boom

        handle = b.tensor.register_hook(fails)
        before = [leaf.tensor.grad for leaf in self.leaves()]
        g = self.seed_of(a, seed)
        try:
            a.tensor.backward(g, retain_graph=True)
        except Boom:
            self.has_grads_as_before(before)
            handle.remove()
            a.tensor.backward(g, retain_graph=True)
        handle.remove()
        self.bring(self.arriving(a, g))

    # -------------------------------- transforms

    @rule(target=twins, a=twins)
    def transform(self, a: Twin) -> Any:
        """``tg.grad`` at a tensor: of a function of it alone."""
        model = self.model_of(lambda x: np.sin(x) + x * np.cos(x), a)
        if model is None:
            return multiple()
        return self.transformed(tg.grad(lambda x: np.sum(np.sin(x) * x))(a.tensor), model, a)

    @rule(target=twins, a=twins, b=twins)
    def transform_of_closure(self, a: Twin, b: Twin) -> Any:
        """``tg.grad`` of a function that closes over another tensor."""
        model = self.model_of(lambda x, y: np.cos(x) * y, a, b)
        if model is None or a.tensor.shape != b.tensor.shape:
            return multiple()
        return self.transformed(tg.grad(lambda x: np.sum(np.sin(x) * b.tensor))(a.tensor), model, a, b)

    # -------------------------------- threads

    @rule(target=twins, name=keys["unary"], a=twins)
    def unary_in_a_thread(self, name: str, a: Twin) -> Any:
        """Another thread records, whatever this one does."""
        model = self.model_of(UNARY[name], a)
        if model is None:
            return multiple()
        (result,) = in_threads(lambda: UNARY[name](a.tensor))
        return self.keep(result, model, a, records=self.records(a))

    @rule(a=twins, seed=floats)
    def backward_in_threads(self, a: Twin, seed: float) -> None:
        """Two threads replay one recording at once: the gradients add up."""
        if not a.tensor.requires_grad or self.line_may_be_spent(a):
            return
        g = self.seed_of(a, seed)
        in_threads(*[lambda: a.tensor.backward(g, retain_graph=True)] * 2)
        self.bring(self.arriving(a, g), times=2)

    # -------------------------------- what always holds

    @invariant()
    def records_as_the_marks_say(self) -> None:
        """Recording is on or off as the contexts that are left say."""
        if (self.probe * 2.0).requires_grad != self.recording:
            raise self.fault(f"recording is {'off' if self.recording else 'on'}, against what the contexts say")

    @invariant()
    def what_was_given_out_stays(self) -> None:
        """No array that was given out changes."""
        for array, copy in self.held:
            if not np.array_equal(array, copy):
                raise self.fault(f"an array that was given out held {copy!r}, and now {array!r}")

    @invariant()
    def gradients_are_right(self) -> None:
        """Every ``.grad`` is what the model says, and shares memory with nothing."""
        present = []
        for leaf in self.leaves():
            given = leaf.tensor.grad
            expected = np.zeros(leaf.tensor.size) if leaf.gradient is None else leaf.gradient
            if given is None and not np.any(expected):
                continue
            array = np.asarray(given.detach().numpy() if isinstance(given, tg.Tensor) else given)
            if given is None or self.differs(array, expected.reshape(leaf.tensor.shape)):
                raise self.fault(f".grad is {given!r}, and should be {expected.reshape(leaf.tensor.shape)!r}")
            present.append(array)
        for a, b in itertools.combinations(present, 2):
            if np.shares_memory(a, b):
                raise self.fault("two gradients share memory")

    def teardown(self) -> None:
        """In the end all are compared, and the contexts left."""
        try:
            if sys.exc_info()[0] is None:
                for twin in self.made:
                    self.look_at(twin)
                self.share_nothing()
        finally:
            while self.marks:
                self.marks.pop()[1].__exit__(None, None, None)
            self.start.__exit__(None, None, None)
