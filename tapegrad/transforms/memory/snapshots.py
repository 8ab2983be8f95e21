"""Snapshots: states of a chain of steps, in memory or on disk, from which it can go on again."""

import importlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tapegrad.borrowed import COPIED
from tapegrad.containers import leaves_of, rebuilt
from tapegrad.dispatch import make
from tapegrad.entries import POSITIONS, Entry, Leaf
from tapegrad.errors import ArgumentError, RecordingError
from tapegrad.pieces import Step
from tapegrad.shapes import spec_of
from tapegrad.tensor import Tensor
from tapegrad.transforms.memory.copies import copied
from tapegrad.transforms.memory.draws import States


def _refuse(*_pull: Any) -> Any:
    raise RecordingError(
        "checkpoint_chain: a tensor that was made inside of a step was used outside; the steps' graph isn't kept: let "
        "the step return it as a part of its state"
    )


# What the tensors of a state come from, while a step runs on them only to get on: no sweep may pass.
_SPEC = spec_of(np.float64(0))
_NOWHERE: Entry = [next(POSITIONS), Leaf(_SPEC)]
CUT: Entry = [next(POSITIONS), Step("a step of checkpoint_chain", _refuse), _SPEC, (), None, None, _SPEC, _NOWHERE]


def cut(tree: Any) -> Any:
    """A container whose recording tensors are cut from what they came from, but record nevertheless."""
    leaves, structure = leaves_of(tree)
    if not any(type(leaf) is Tensor and leaf._entry is not None for leaf in leaves):
        return tree
    return rebuilt(structure, [_cut_leaf(leaf) for leaf in leaves])


def _cut_leaf(leaf: Any) -> Any:
    if type(leaf) is not Tensor or leaf._entry is None:
        return leaf
    return make(leaf._value, CUT, leaf._spec)


class Folder:
    """A temporary folder for arrays; it goes with this object, at the latest."""

    def __init__(self, where: str | os.PathLike[str] | None) -> None:
        self.path = tempfile.mkdtemp(prefix="tapegrad-", dir=where)
        self.count = 0
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def put(self, array: Any) -> "OnDisk":
        """A copy of the array, on disk."""
        self.count += 1
        return OnDisk(self, os.path.join(self.path, f"{self.count}.bin"), array)


class OnDisk:
    """An array on disk; its file goes with this object."""

    def __init__(self, folder: Folder, path: str, array: Any) -> None:
        self.folder, self.path, self.shape, self.dtype = folder, path, array.shape, array.dtype
        mapped = np.memmap(path, array.dtype, "w+", shape=array.shape)
        mapped[...] = array
        mapped.flush()
        weakref.finalize(self, _remove, path)

    def get(self) -> Any:
        """The array, in memory."""
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape))


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.remove(path)


class _Value:
    """The value of a tensor in a snapshot, and whether the tensor recorded."""

    __slots__ = ("array", "records")

    def __init__(self, array: Any, records: bool) -> None:
        self.array, self.records = array, records


class Snapshot:
    """A state, where in the chain it stood, and the states of the random generators there."""

    __slots__ = ("draws", "leaves", "position", "structure")

    def __init__(self, position: int, state: Any, draws: States, folder: Folder | None = None) -> None:
        self.position, self.draws = position, draws
        leaves, self.structure = leaves_of(state)
        self.leaves = [_kept(leaf, folder) for leaf in leaves]

    def state(self) -> Any:
        """The state, for a step to go on from: nothing that is done to it changes the snapshot."""
        return rebuilt(self.structure, [_again(leaf) for leaf in self.leaves])


def _kept(leaf: Any, folder: Folder | None) -> Any:
    if type(leaf) is Tensor:
        value = leaf._value
        on_disk = folder is not None and value.nbytes > COPIED
        return _Value(folder.put(value) if folder is not None and on_disk else value, leaf._entry is not None)
    on_disk = folder is not None and type(leaf) is np.ndarray and leaf.nbytes > COPIED and _plain(leaf)
    return folder.put(leaf) if folder is not None and on_disk else copied(leaf)


def _plain(array: Any) -> bool:
    return array.dtype.kind in "biufc"


def _again(leaf: Any) -> Any:
    if type(leaf) is _Value:
        array = leaf.array.get() if type(leaf.array) is OnDisk else leaf.array
        return make(array, CUT if leaf.records else None)
    if type(leaf) is OnDisk:
        return leaf.get()
    return copied(leaf)


@contextmanager
def progress_bar(wanted: bool, what: str, total: int) -> Iterator[Any]:
    """A function to call after each of ``total`` steps: it moves a bar of tqdm's, or of rich's; or does nothing."""
    if not wanted:
        yield _nothing
        return
    tqdm = _installed("tqdm")
    if tqdm is not None:
        with tqdm.tqdm(total=total, desc=what) as bar:
            yield bar.update
        return
    rich = _installed("rich.progress")
    if rich is None:
        raise ArgumentError(
            "checkpoint_chain: progress=True needs tqdm or rich, and neither is installed; tqdm comes with the extra: "
            "pip install 'tapegrad[examples]'"
        )
    with rich.Progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _nothing() -> None:
    pass


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
