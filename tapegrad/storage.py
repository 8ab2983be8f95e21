"""Storage: tensors that share memory, as NumPy's views do, and what a write through one means to the rest.

An ordinary tensor pays nothing for any of this. Three things can stand in its slot ``_kin``:

- None: its memory is nobody else's;
- a list of weak references: other tensors are views of it; or, of a view, the tensor it is a view of.
  Nobody has written yet: each has a value and an entry of its own, made when the view was taken;
- an ``Alias``, from the first write on: the family then shares a ``Storage``, a flat buffer with the
  entry of its present state, and each tensor is a layout in it.

**A write** goes into the buffer, makes an entry for the next state, and takes the value and the entry
away from every tensor of the family that has them: the slots ``_array`` and ``_node`` are then empty, and
whoever looks next finds that out by an AttributeError, which costs nothing as long as it isn't raised.
``refresh`` fills them: the value as it is now, and a read entry on the present state. So a write is seen
through every alias, and no operation has to ask beforehand whether its operand was written. (The
properties ``_value`` and ``_entry`` do this for all but the quickest roads.)

**What was saved is never overwritten.** A value that ``refresh`` gives out may be kept by an entry. If it
is at least half of the buffer, it is the buffer itself, which is marked ``lent``: the next write copies
the buffer first. If it is smaller, it is a copy. So every copy of the buffer is paid for by a use of at
least half of it, and n writes of single elements are linear in n.
"""

import operator
import threading
from typing import Any
from weakref import ref

import numpy as np

from tapegrad.entries import POSITIONS, Entry, leaf_of
from tapegrad.gradients import LOCK
from tapegrad.pieces import OPEN, READ, Layout, Place, Places, step, strided
from tapegrad.recording import TRACERS, tracer
from tapegrad.shapes import Spec, spec_of


class _Lasting(list[Any]):
    """An entry that no sweep empties: of a leaf's storage, which is read again after every sweep."""

    __slots__ = ()

    def __delitem__(self, _part: Any) -> None:
        pass


class Storage:
    """A flat buffer, and the entry of its present state (None where it records nothing)."""

    __slots__ = ("address", "buffer", "fresh", "home", "lent", "lock", "numbers", "opened", "spec", "state")

    def __init__(self, buffer: Any, home: Entry | None, layout: Layout, spec: Spec) -> None:
        self.spec = spec_of(buffer)
        # By id, weak references to tensors whose value and entry are those of now.
        self.fresh: dict[int, Any] = {}
        self.numbers: dict[Any, Any] = {}  # dtype -> the number of each element
        self.lock = threading.RLock()  # Threads may fill one buffer, each its own part.
        self.take(buffer)
        self.lent = True  # Entries may hold it.
        self.adopt(home, layout, spec)

    def take(self, buffer: Any) -> None:
        """Go on with this buffer."""
        self.buffer, self.address, self.lent = buffer, address_of(buffer), False

    def adopt(self, home: Entry | None, layout: Layout, spec: Spec) -> None:
        """Make the entry of the tensor that the buffer came from the present state."""
        opened: Entry | None = None
        if home is not None:
            kind = list if leaf_of(home) is None else _Lasting
            opened = kind(step(next(POSITIONS), OPEN, layout, spec, home))
        self.home = home, layout
        self.opened = self.state = opened

    @property
    def is_leaf(self) -> bool:
        """Whether the present state is that of a leaf."""
        home = self.home[0]
        return home is not None and self.state is self.opened and leaf_of(home) is not None

    def make_stale(self) -> None:
        """Take value and entry from every tensor that has them: a write is about to change both."""
        fresh, self.fresh = self.fresh, {}
        for reference in fresh.values():
            tensor = reference()
            if tensor is not None:
                del tensor._array, tensor._node

    def keep(self, tensor: Any, value: Any, entry: Entry | None) -> None:
        """Give a tensor its value and entry of now."""
        tensor._node, tensor._array = entry, value
        self.fresh[id(tensor)] = ref(tensor)
        count = len(self.fresh)
        if count > 32 and not count & (count - 1):
            self.fresh = {key: reference for key, reference in self.fresh.items() if reference() is not None}

    def entry_of(self, place: Place, own: bool = False) -> Entry | None:
        """The entry of what lies there, in the present state; ``own``: of the tensor that the buffer came from."""
        state = self.state
        if state is None:
            return None
        home, layout = self.home
        if own and state is self.opened and place == layout:
            return home
        return step(next(POSITIONS), READ, place, self.spec, state)

    def numbered(self, layout: Layout) -> Any:
        """The numbers of the elements in this layout, counted in elements of its dtype."""
        size = layout.dtype.itemsize
        if layout.dtype not in self.numbers:
            self.numbers[layout.dtype] = np.arange(self.buffer.nbytes // size)
        scaled = [stride // size * 8 for stride in layout.strides]
        return np.ndarray(layout.shape, np.int64, self.numbers[layout.dtype], layout.offset // size * 8, scaled)

    def places(self, layout: Layout, index: Any, writing: bool = False) -> Places:
        """The elements that an index with arrays picks from a layout, to read (each counts) or to write (the last)."""
        picked = self.numbered(layout)[index]
        if TRACERS and (found := tracer()) is not None:
            found.placed(index, picked, writing)
        count = self.buffer.nbytes // layout.dtype.itemsize
        winners = _last(picked) if writing else None
        return Places(picked, winners, Layout(0, (count,), (layout.dtype.itemsize,), layout.dtype))


def _last(numbers: Any) -> Any:
    """Where each number stands for the last time; None where none stands twice."""
    flat = numbers.reshape(-1)
    if flat.size < 2:
        return None
    unique, last = np.unique(flat[::-1], return_index=True)
    if unique.size == flat.size:
        return None
    winners = np.zeros(flat.shape, bool)
    winners[flat.size - 1 - last] = True
    return winners.reshape(numbers.shape)


class Alias:
    """Where a tensor lies in a storage."""

    __slots__ = ("layout", "own", "records", "storage", "writeable")

    def __init__(
        self, storage: Storage, layout: Layout, writeable: bool = True, records: bool = True, own: bool = False
    ) -> None:
        self.storage, self.layout, self.writeable = storage, layout, writeable
        self.records = records  # False: a view that was taken under no_grad
        self.own = own  # whether the buffer came from this very tensor

    def array(self) -> Any:
        """The elements as they are now: a view of the buffer, to be read or written at once."""
        view = strided(self.storage.buffer, self.layout)
        if not self.writeable:
            view.flags.writeable = False
        return view

    def layout_of(self, view: Any) -> Layout:
        """The layout of a view of the buffer."""
        offset = address_of(view) - self.storage.address if view.size else 0
        return Layout(offset, view.shape, view.strides, view.dtype)


# What names a view, by type: integers, slices, None and ``...``.
_BASIC = frozenset({int, slice, type(None), type(Ellipsis), np.int64, np.int32, np.intp})


def is_basic(index: Any) -> bool:
    """Whether an index names a view, where it doesn't name one element."""
    if type(index) is tuple:
        return _BASIC.issuperset(map(type, index)) or all(map(_is_basic, index))
    return _is_basic(index)


def _is_basic(item: Any) -> bool:
    if type(item) in _BASIC:
        return True
    if isinstance(item, (np.ndarray, bool, np.bool_)) or not hasattr(item, "__index__"):
        return False  # NumPy takes a bool for a mask, and copies what an array of no axes names.
    operator.index(item)
    return True


def place_of(alias: Alias, index: Any) -> Layout:
    """The layout of what a basic index names: a view, or one element as an array of no axes."""
    layout = alias.layout
    if type(index) is int and len(layout.shape) == 1 and -layout.shape[0] <= index < layout.shape[0]:
        stride = layout.strides[0]
        start = layout.offset if index >= 0 else layout.offset + stride * layout.shape[0]
        return Layout(start + stride * index, (), (), layout.dtype)
    return alias.layout_of(target_of(alias, index))


def target_of(alias: Alias, index: Any) -> Any:
    """The view that a basic index names; of one element, a 0-d array of it."""
    array = alias.array()
    target = array[index]
    if isinstance(target, np.ndarray):
        return target
    return array[(*index, ...) if type(index) is tuple else (index, ...)]


def address_of(array: Any) -> int:
    """Where the memory of an array begins."""
    address: int = array.__array_interface__["data"][0]
    return address


def refresh(tensor: Any) -> None:
    """Fill the empty slots of a tensor whose storage was written: its value now, and a read entry."""
    alias: Alias = tensor._kin
    storage = alias.storage
    with storage.lock:
        value = strided(storage.buffer, alias.layout)
        if 2 * value.size < storage.spec.size and not storage.lent:
            value = value.copy("K")  # In the same order, so that what is computed from it has NumPy's order.
        else:
            storage.lent = True
        entry = storage.entry_of(_place_of(alias), alias.own) if alias.records else None
        storage.keep(tensor, value, entry)


def current(tensor: Any) -> tuple[Any, Any, Entry | None]:
    """Spec, value and entry of a tensor, refreshed where a write took them away."""
    return tensor._spec, tensor._value, tensor._entry


def _place_of(alias: Alias) -> Place:
    """The layout; of one that overlaps itself (windows), its elements by number."""
    layout = alias.layout
    # (Where the stride is 0, what arrives is added up.)
    steps = [(abs(stride), n) for stride, n in zip(layout.strides, layout.shape, strict=True) if stride]
    return alias.storage.places(layout, ...) if _overlap(steps, layout.dtype.itemsize) else layout


def _overlap(steps: list[tuple[int, int]], reach: int) -> bool:
    """Whether axes of these strides and lengths may name a byte twice; an element has ``reach`` bytes."""
    for stride, n in sorted(steps):
        if n > 1:
            if stride < reach:
                return True
            reach += stride * (n - 1)
    return False


def link(a: Any, x: Any, view: Any, y: Any, base: Any) -> None:
    """Note that a tensor is a view of another one, where it is: which is asked of their memory.

    a, view : the tensors, with the values x and y; ``a`` isn't in a storage
    base : of y, in NumPy's sense
    """
    if base is not x and y is not x and (base is None or base is not x.base) and not np.may_share_memory(x, y):
        return
    root = a._kin
    if type(root) is not type(a):
        root = a
    family = root._kin
    if family is None:
        with LOCK:
            family = root._kin
            if family is None:
                family = root._kin = []
    view._kin = root
    family.append(ref(view))
    count = len(family)
    if count > 32 and not count & (count - 1):  # Now and then, so that it costs next to nothing.
        family[:] = [reference for reference in family if reference() is not None]


def alone(tensor: Any) -> bool:
    """Whether the tensor's memory is nobody else's: views of it that have died are forgotten."""
    kin = tensor._kin
    if type(kin) is list and all(reference() is None for reference in kin):
        tensor._kin = kin = None
    return kin is None


def alias_of(tensor: Any) -> Alias:
    """The tensor's alias; its family moves into a storage, if it isn't in one."""
    if type(tensor._kin) is not Alias:
        with LOCK:
            if type(tensor._kin) is not Alias:
                _move(tensor if tensor._kin is None or type(tensor._kin) is list else tensor._kin)
    found: Alias = tensor._kin
    return found


def _move(root: Any) -> None:
    """Move a tensor, and all that are views of it, into a storage."""
    members = [root, *(view for reference in root._kin or () if (view := reference()) is not None)]
    value = root._value = np.asarray(root._value)  # A leaf of no axes may hold a scalar in the place of its array.
    steps = [(abs(stride), n) for stride, n in zip(value.strides, value.shape, strict=True)]
    spread = value.size > 0 and _overlap(steps, value.itemsize)
    if spread and len(members) == 1:  # As detach() of a broadcast array has it: a write is to go to one element.
        value = root._value = value.copy()
        spread = False
    buffer = _flat(value)
    start = address_of(buffer)
    layout = Layout(address_of(value) - start if value.size else 0, value.shape, value.strides, value.dtype)
    storage = Storage(buffer, root._entry, layout, root._spec)
    for member in members:
        view = np.asarray(member._value)
        layout = Layout(address_of(view) - start if view.size else 0, view.shape, view.strides, view.dtype)
        writeable = not spread and (member is root or view.flags.writeable or not value.flags.writeable)
        records = member._entry is not None or root._entry is None
        member._kin = Alias(storage, layout, writeable, records, member is root)
        storage.fresh[id(member)] = ref(member)


def _flat(value: Any) -> Any:
    """The memory that an array lies in, from its first to its last byte, as one axis; no copy."""
    if value.flags.c_contiguous:
        return value.reshape(-1)
    forward = value[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in value.strides)]
    count = (
        1 + sum((n - 1) * stride for n, stride in zip(forward.shape, forward.strides, strict=True)) // value.itemsize
    )
    return np.lib.stride_tricks.as_strided(forward, (count if value.size else 0,), (value.itemsize,))
