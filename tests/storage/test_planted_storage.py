"""Wrong versions of the storage, each of which the random programs must notice."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from test_writing_programs import X, differs_by_roots, differs_in_gradient, differs_in_value
from writing_programs import random_program

import tapegrad as tg
from tapegrad import pieces, storage, writing
from tapegrad.pieces import Account, Layout, strided
from tapegrad.storage import Alias, Storage

TENSOR = import_module("tapegrad.tensor")  # (tapegrad.tensor itself is the function.)
Plant = Callable[[pytest.MonkeyPatch], None]


def lent_buffers_are_written(patch: pytest.MonkeyPatch) -> None:
    right = writing._write

    def wrong(alias: Alias, *args: Any) -> None:
        alias.storage.lent = False
        right(alias, *args)

    patch.setattr(writing, "_write", wrong)


def lending_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = storage.refresh

    def wrong(tensor: Any) -> None:
        right(tensor)
        tensor._kin.storage.lent = False

    patch.setattr(TENSOR, "refresh", wrong)


def small_values_are_views(patch: pytest.MonkeyPatch) -> None:
    right = storage.refresh

    def wrong(tensor: Any) -> None:
        lent = tensor._kin.storage.lent
        right(tensor)
        if not lent and not tensor._kin.storage.lent:
            tensor._array = strided(tensor._kin.storage.buffer, tensor._kin.layout)

    patch.setattr(TENSOR, "refresh", wrong)


def one_alias_stays_fresh(patch: pytest.MonkeyPatch) -> None:
    right = Storage.make_stale

    def wrong(self: Storage) -> None:
        if len(self.fresh) > 2:
            self.fresh.popitem()
        right(self)

    patch.setattr(Storage, "make_stale", wrong)


def writes_leave_their_part(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pieces, "_clear", lambda buffer, place: None)


def reads_come_from_the_first_state(patch: pytest.MonkeyPatch) -> None:
    right = Storage.entry_of

    def wrong(self: Storage, place: Any, own: bool = False) -> Any:
        entry = right(self, place, own)
        if entry is not None and len(entry) == 8 and self.opened is not None:
            entry[7] = self.opened
        return entry

    patch.setattr(Storage, "entry_of", wrong)


def every_repeated_write_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(storage, "_last", lambda numbers: None)


def the_first_write_wins(patch: pytest.MonkeyPatch) -> None:
    right = storage._last

    def wrong(numbers: Any) -> Any:
        winners = right(np.flip(numbers))
        return None if winners is None else np.flip(winners)

    patch.setattr(storage, "_last", wrong)


def broadcast_views_keep_one_cotangent(patch: pytest.MonkeyPatch) -> None:
    right = pieces._summed

    def wrong(layout: Layout, part: Any) -> Any:
        again = [i for i, (n, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)) if not stride]
        return right(layout, part)[0], part[tuple(0 if i in again else slice(None) for i in range(part.ndim))]

    patch.setattr(pieces, "_summed", wrong)


def windows_count_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(storage, "_overlap", lambda steps, reach: False)


def whole_writes_keep_what_was_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writing, "_covers", lambda layout, storage: False)
    patch.setattr(pieces, "_clear", lambda buffer, place: None)


def every_write_is_whole(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writing, "_go_on", _forgetting(writing._go_on))


def _forgetting(right: Any) -> Any:
    return lambda storage, place, written, parent, before: right(storage, place, written, parent, None)


def constants_keep_the_old_gradient(patch: pytest.MonkeyPatch) -> None:
    right = writing._go_on

    def wrong(storage: Any, place: Any, written: Any, parent: Any, before: Any) -> None:
        if parent is not None:
            right(storage, place, written, parent, before)

    patch.setattr(writing, "_go_on", wrong)


def parts_that_wait_are_lost(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Account, other: Account) -> Account:
        return other if len(other.parts) > len(self.parts) else self

    patch.setattr(Account, "__add__", wrong)


def what_is_broadcast_is_not_summed(patch: pytest.MonkeyPatch) -> None:
    right = pieces._as_written

    def wrong(c: Any, value: Any) -> Any:
        return right(c, value) if c.shape == value.shape else right(c, value) / 2

    patch.setattr(pieces, "_as_written", wrong)


def no_grad_writes_are_not_noted(patch: pytest.MonkeyPatch) -> None:
    right = Storage.make_stale

    def wrong(self: Storage) -> None:
        right(self)
        if not tg.recording.STATE.get().enabled:
            self.state = self.opened

    patch.setattr(Storage, "make_stale", wrong)


def layouts_forget_the_offset(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Alias, view: Any) -> Layout:
        return Layout(self.layout.offset, view.shape, view.strides, view.dtype)

    patch.setattr(Alias, "layout_of", wrong)


PLANTS: tuple[Plant, ...] = (
    lent_buffers_are_written,
    lending_is_forgotten,
    small_values_are_views,
    one_alias_stays_fresh,
    writes_leave_their_part,
    reads_come_from_the_first_state,
    every_repeated_write_counts,
    the_first_write_wins,
    broadcast_views_keep_one_cotangent,
    windows_count_once,
    whole_writes_keep_what_was_before,
    every_write_is_whole,
    constants_keep_the_old_gradient,
    parts_that_wait_are_lost,
    what_is_broadcast_is_not_summed,
    no_grad_writes_are_not_noted,
    layouts_forget_the_offset,
)


def is_noticed(steps: Any) -> bool:
    try:
        return differs_in_value(steps) or differs_in_gradient(steps) or differs_by_roots(steps)
    except (ValueError, IndexError, TypeError, AttributeError, AssertionError, RuntimeError):
        return True


@pytest.fixture(scope="module")
def programs() -> Any:
    with np.errstate(all="ignore"):
        return [random_program(seed, 25, X) for seed in range(150)]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_noticed(plant: Plant, programs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.errstate(all="ignore"):
        plant(monkeypatch)
        assert any(is_noticed(steps) for steps in programs)
