"""The state machine finds nothing wrong in the library, and finds what is planted in it."""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

import tapegrad as tg
from tapegrad import hooks, recording, storage, tape
from tapegrad.entries import Leaf
from tapegrad.errors import TapegradError
from tapegrad.primitive import TABLE
from tapegrad.storage import Storage
from tapegrad.testing.cells import Cell, leaf_cells, passed, pulled, values_of
from tapegrad.testing.check import GradientError
from tapegrad.testing.stateful import Boom, GradientMachine
from tapegrad.transforms import runs

tensor = importlib.import_module("tapegrad.tensor")  # The package's attribute of this name is the function.


def searched(machine: Any = GradientMachine, examples: int = 200, steps: int = 40) -> None:
    """Run the machine, without making smaller what fails: that it fails is the point here."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            phases=list(settings.default.phases)[:3],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_library_agrees_with_its_model() -> None:
    searched()


# ---------------------------------------------------------------- planted in the engine


def a_view_is_lost(patch: pytest.MonkeyPatch) -> None:
    right = Storage.make_stale

    def wrong(self: Storage) -> None:
        if len(self.fresh) > 1:
            self.fresh.popitem()
        right(self)

    patch.setattr(Storage, "make_stale", wrong)


def an_entry_is_stale(patch: pytest.MonkeyPatch) -> None:
    right = Storage.entry_of

    def wrong(self: Storage, place: Any, own: bool = False) -> Any:
        entry = right(self, place, own)
        if entry is not None and len(entry) == 8 and self.opened is not None:
            entry[7] = self.opened
        return entry

    patch.setattr(Storage, "entry_of", wrong)


def gradients_alias(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tensor, "owned_arrays", lambda totals: [(leaf, np.asarray(total)) for leaf, total in totals])


def gradients_are_added_in_place(patch: pytest.MonkeyPatch) -> None:
    def wrong(totals: Any) -> None:
        for leaf, total in totals:
            if isinstance(leaf.grad, np.ndarray) and isinstance(total, np.ndarray):
                leaf.grad += total
            else:
                leaf.grad = total if leaf.grad is None else leaf.grad + total

    patch.setattr(tensor, "deposit", wrong)


def no_grad_leaks_after_an_exception(patch: pytest.MonkeyPatch) -> None:
    right = recording.Mark.__exit__

    def wrong(self: Any, *exception: object) -> None:
        if exception[0] is None:
            right(self, *exception)

    patch.setattr(recording.Mark, "__exit__", wrong)


def the_last_mark_is_left_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recording.Mark, "__exit__", lambda self, *_: recording._set(recording._MARKS.get()[:-1]))


def what_is_lent_is_written(patch: pytest.MonkeyPatch) -> None:
    right = storage.refresh

    def wrong(which: Any) -> None:
        right(which)
        which._kin.storage.lent = False

    patch.setattr(tensor, "refresh", wrong)


def only_one_hook_of_a_value_runs(patch: pytest.MonkeyPatch) -> None:
    right = hooks.Hooks.run

    def wrong(self: Any, g: Any) -> Any:
        if len(self.functions) > 1:
            self.functions.popitem()
        return right(self, g)

    patch.setattr(hooks.Hooks, "run", wrong)


def hooks_stay_when_removed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hooks.Handle, "remove", lambda self: None)


def exceptions_lose_gradients(patch: pytest.MonkeyPatch) -> None:
    right, leaves = tape.replay, []

    def remembered(spec: Any) -> Any:
        leaves.append(Leaf(spec))
        return leaves[-1]

    def wrong(roots: Any, *rest: Any) -> Any:
        try:
            return right(roots, *rest)
        except BaseException:
            for leaf in leaves:
                leaf.grad = None
            raise

    patch.setattr(tensor, "Leaf", remembered)
    patch.setattr(tensor, "replay", wrong)


def freed_graphs_replay_as_zeros(patch: pytest.MonkeyPatch) -> None:
    right = tape.replay

    def wrong(roots: Any, *rest: Any) -> Any:
        return [] if len(roots[0][0]) == 1 else right(roots, *rest)

    patch.setattr(tensor, "replay", wrong)


def seeds_are_kept(patch: pytest.MonkeyPatch) -> None:
    right = tensor.Tensor._seed

    def wrong(self: Any, grad: Any, recorded: bool) -> Any:
        return right(self, grad, recorded) if recorded or grad is None else np.asarray(grad)

    patch.setattr(tensor.Tensor, "_seed", wrong)
    patch.setattr(tensor, "owned_arrays", lambda totals: [(leaf, np.asarray(total)) for leaf, total in totals])


def detached_tensors_share_memory(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any) -> Any:
        return self[...] if self.shape and not self.requires_grad else right(self)

    right = tensor.Tensor.detach
    patch.setattr(tensor.Tensor, "detach", wrong)


def transforms_forget_closures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(runs, "reaches_older", lambda entries, start: False)


def recording_is_one_switch_for_all_threads(patch: pytest.MonkeyPatch) -> None:
    class Shared:
        state = recording.ON

        def get(self) -> Any:
            return self.state

        def set(self, state: Any) -> None:
            self.state = state

    shared = Shared()
    for name, module in list(sys.modules.items()):
        if name.startswith("tapegrad.") and getattr(module, "STATE", None) is recording.STATE:
            patch.setattr(module, "STATE", shared)


def gradients_of_threads_are_lost(patch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2)

    def wrong(totals: Any) -> None:
        sums = [(leaf, total if leaf.grad is None else leaf.grad + total) for leaf, total in totals]
        if threading.current_thread() is not threading.main_thread():
            meeting.wait(10)
        for leaf, total in sums:
            leaf.grad = np.asarray(total) if isinstance(total, np.generic) else total

    patch.setattr(tensor, "deposit", wrong)


Plant = Callable[[pytest.MonkeyPatch], None]

# The machine's own error; or an error of the library's at what should have worked.
FOUND = (GradientError, TapegradError, Boom)

PLANTS: tuple[Plant, ...] = (
    a_view_is_lost,
    an_entry_is_stale,
    gradients_alias,
    gradients_are_added_in_place,
    no_grad_leaks_after_an_exception,
    the_last_mark_is_left_first,
    what_is_lent_is_written,
    only_one_hook_of_a_value_runs,
    hooks_stay_when_removed,
    exceptions_lose_gradients,
    freed_graphs_replay_as_zeros,
    seeds_are_kept,
    detached_tensors_share_memory,
    transforms_forget_closures,
    recording_is_one_switch_for_all_threads,
    gradients_of_threads_are_lost,
)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    before = recording._MARKS.get(), recording.STATE.get()
    try:
        with pytest.raises(FOUND):
            searched(examples=1000)
    finally:
        recording._MARKS.set(before[0])
        recording.STATE.set(before[1])


# ---------------------------------------------------------------- extended by a user


def extended(slope: float) -> type[GradientMachine]:
    """A machine that tries a primitive of a user's own among all the rest."""

    @tg.primitive
    def cubed(x: Any) -> Any:
        return x**3

    @tg.defvjp(cubed)
    def cubed_vjp(g: Any, _y: Any, x: Any) -> Any:
        return g * slope * x * x

    class Mine(GradientMachine):
        @rule(target=GradientMachine.twins, a=GradientMachine.twins)
        def cube(self, a: Any) -> Any:
            return self.called(cubed, a, reference=lambda x: x * x * x)

    return Mine


def test_a_users_own_primitive_is_tried_among_the_rest(own_rules: None) -> None:
    searched(extended(3.0), examples=60)
    with pytest.raises(GradientError, match=r"\.grad is|a tensor holds"):
        searched(extended(3.1))


@pytest.fixture
def own_rules() -> Iterator[None]:
    """What a test registers leaves the table with it."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


# ---------------------------------------------------------------- the model by itself


def test_cells_have_the_derivatives_of_the_calculus() -> None:
    x = np.array([0.5, 1.5])
    right = {
        np.sin: np.cos(x), np.cos: -np.sin(x), np.exp: np.exp(x), np.log: 1 / x, np.sqrt: 0.5 / np.sqrt(x),
        np.tanh: 1 - np.tanh(x) ** 2, np.reciprocal: -1 / x**2,
    }  # fmt: skip
    for f, slopes in right.items():
        cells = leaf_cells(x)
        made = f(cells)
        np.testing.assert_allclose(values_of(made), f(x), rtol=1e-14)
        for i, slope in enumerate(slopes):
            (total,) = pulled([(made[i], Cell(1.0))]).values()
            np.testing.assert_allclose(total.value, slope, rtol=1e-14)


def test_cells_have_derivatives_of_derivatives() -> None:
    cells = leaf_cells(np.array([2.0]))
    (first,) = pulled([(np.sum(cells**3), Cell(1.0))]).values()
    (second,) = pulled([(first, Cell(1.0))]).values()
    (third,) = pulled([(second, Cell(1.0))]).values()
    assert (first.value, second.value, third.value) == (12.0, 12.0, 6.0)


def test_cells_that_were_overwritten_are_still_those_that_were_used() -> None:
    cells = leaf_cells(np.array([2.0, 3.0]))
    buffer = passed(cells)
    used = buffer * buffer
    buffer[0] = Cell(9.0)
    totals = pulled([(used[0], Cell(1.0)), (buffer[0] * buffer[1], Cell(1.0))])
    assert sorted(total.value for total in totals.values()) == [4.0, 9.0]
