"""Storage: tensors that share memory, as NumPy's views do, and what a write through one means to the rest.

An ordinary tensor pays nothing for any of this. Three things can stand in its slot ``_kin``:

- None: its memory is nobody else's;
- a list of weak references: other tensors are views of it; or, of a view, the tensor it is a view of.
  Nobody has written yet: each has a value and an entry of its own, made when the view was taken;
- an ``Alias``, from the first write on: the family then shares a ``Storage``, a flat buffer with the
  entry of its present state, and each tensor is a layout in it.

**A write** goes into the buffer, makes an entry for the next state, and takes the value and the entry
away from every tensor of the family that has them: these slots are then empty, and Python asks
``Tensor.__getattr__`` when somebody next looks. ``refresh`` fills them: the value as it is now, and a
read entry on the present state. So a write is seen through every alias, and no operation has to ask
beforehand whether its operand was written: an empty slot says so.

**What was saved is never overwritten.** A value that ``refresh`` gives out may be kept by an entry. If it
is at least half of the buffer, it is the buffer itself, which is marked ``lent``: the next write copies
the buffer first. If it is smaller, it is a copy. So every copy of the buffer is paid for by a use of at
least half of it, and n writes of single elements are linear in n.
"""

import weakref
from typing import Any

import numpy as np

from tapegrad.entries import POSITIONS, Entry, leaf_of
from tapegrad.gradients import LOCK
from tapegrad.pieces import OPEN, READ, Layout, Place, Places, strided
from tapegrad.shapes import Spec, spec_of


class Storage:
    """A flat buffer, and the entry of its present state (None where it records nothing)."""

    __slots__ = ("address", "buffer", "fresh", "home", "lent", "numbers", "opened", "spec", "state")

    def __init__(self, buffer: Any, home: Entry | None, layout: Layout, spec: Spec) -> None:
        self.spec = spec_of(buffer)
        self.fresh: list[Any] = []  # weak references to tensors whose value and entry are those of now
        self.numbers: dict[Any, Any] = {}  # dtype -> the number of each element
        self.take(buffer)
        self.lent = True  # Entries may hold it.
        self.adopt(home, layout, spec)

    def take(self, buffer: Any) -> None:
        """Go on with this buffer."""
        self.buffer, self.address, self.lent = buffer, address_of(buffer), False

    def adopt(self, home: Entry | None, layout: Layout, spec: Spec) -> None:
        """Make the entry of the tensor that the buffer came from the present state."""
        opened: Entry | None = None if home is None else [next(POSITIONS), OPEN, layout, spec, home]
        self.home = home, layout
        self.opened = self.state = opened

    @property
    def is_leaf(self) -> bool:
        """Whether the present state is that of a leaf."""
        home = self.home[0]
        return home is not None and self.state is self.opened and leaf_of(home) is not None

    def make_stale(self) -> None:
        """Take value and entry from every tensor that has them: a write is about to change both."""
        for reference in self.fresh:
            tensor = reference()
            if tensor is not None:
                del tensor._value, tensor._entry
        self.fresh.clear()

    def entry_of(self, place: Place) -> Entry | None:
        """The entry of what lies there, in the present state."""
        state = self.state
        if state is None:
            return None
        home, layout = self.home
        if state is self.opened and type(place) is Layout and place == layout:
            return home
        return [next(POSITIONS), READ, place, self.spec, state]

    def numbered(self, layout: Layout) -> Any:
        """The numbers of the elements in this layout, counted in elements of its dtype."""
        size = layout.dtype.itemsize
        if layout.dtype not in self.numbers:
            self.numbers[layout.dtype] = np.arange(self.buffer.nbytes // size)
        scaled = [stride // size * 8 for stride in layout.strides]
        return np.ndarray(layout.shape, np.int64, self.numbers[layout.dtype], layout.offset // size * 8, scaled)

    def places(self, layout: Layout, index: Any) -> Places:
        """The elements that an index with arrays picks from a layout."""
        picked = self.numbered(layout)[index]
        flat = picked.reshape(-1)
        _, last = np.unique(flat[::-1], return_index=True)
        winners = None
        if len(last) < len(flat):
            winners = np.zeros(flat.shape, bool)
            winners[len(flat) - 1 - last] = True
            winners = winners.reshape(picked.shape)
        count = self.buffer.nbytes // layout.dtype.itemsize
        return Places(picked, winners, Layout(0, (count,), (layout.dtype.itemsize,), layout.dtype))


class Alias:
    """Where a tensor lies in a storage."""

    __slots__ = ("layout", "records", "storage", "writeable")

    def __init__(self, storage: Storage, layout: Layout, writeable: bool = True, records: bool = True) -> None:
        self.storage, self.layout, self.writeable = storage, layout, writeable
        self.records = records  # False: a view that was taken under no_grad

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
        return _BASIC.issuperset(map(type, index)) or all(map(is_basic, index))
    return type(index) in _BASIC or isinstance(index, np.integer)


def target_of(alias: Alias, index: Any) -> Any:
    """The view that a basic index names; of one element, a 0-d array of it."""
    target = alias.array()[index]
    if isinstance(target, np.ndarray):
        return target
    return alias.array()[(*index, ...) if type(index) is tuple else (index, ...)]


def address_of(array: Any) -> int:
    """Where the memory of an array begins."""
    address: int = array.__array_interface__["data"][0]
    return address


def refresh(tensor: Any) -> None:
    """Fill the empty slots of a tensor whose storage was written: its value now, and a read entry."""
    alias: Alias = tensor._kin
    storage = alias.storage
    value = strided(storage.buffer, alias.layout)
    if 2 * value.size < storage.spec.size and not storage.lent:
        value = value.copy()
    else:
        storage.lent = True
    tensor._entry = storage.entry_of(_place_of(alias)) if alias.records else None
    tensor._value = value
    storage.fresh.append(weakref.ref(tensor))


def _place_of(alias: Alias) -> Place:
    """The layout; of one that overlaps itself (``broadcast_to``, windows), its elements by number."""
    layout = alias.layout
    reach = layout.dtype.itemsize
    for stride, n in sorted(zip(map(abs, layout.strides), layout.shape, strict=True)):
        if n > 1:
            if stride < reach:
                return alias.storage.places(layout, ...)._replace(last=None)
            reach = stride * (n - 1) + reach
    return layout


def link(a: Any, view: Any) -> None:
    """Note that a tensor is a view of another one, where it is: which is asked of their memory.

    ``a`` isn't in a storage.
    """
    x, y = a._value, view._value
    base = y.base
    if y is not x and base is not x and (base is not x.base or base is None) and not np.may_share_memory(x, y):
        return
    root = a._kin if type(a._kin) is type(a) else a
    if root._kin is None:
        with LOCK:
            if root._kin is None:
                root._kin = []
    family = root._kin
    family.append(weakref.ref(view))
    view._kin = root
    if len(family) > 32 and not len(family) & (len(family) - 1):  # Now and then, so that it costs next to nothing.
        family[:] = [reference for reference in family if reference() is not None]


def alias_of(tensor: Any) -> Alias:
    """The tensor's alias; its family moves into a storage, if it isn't in one."""
    alias = tensor._kin
    if type(alias) is Alias:
        return alias
    root = tensor._kin if type(tensor._kin) is type(tensor) else tensor
    members = [root, *(view for reference in root._kin or () if (view := reference()) is not None)]
    value = np.asarray(root._value)
    buffer = _flat(value)
    start = address_of(buffer)
    layout = Layout(address_of(value) - start if value.size else 0, value.shape, value.strides, value.dtype)
    storage = Storage(buffer, root._entry, layout, root._spec)
    spread = value.size > 0 and 0 in [stride for n, stride in zip(value.shape, value.strides, strict=True) if n > 1]
    for member in members:
        view = np.asarray(member._value)
        layout = Layout(address_of(view) - start if view.size else 0, view.shape, view.strides, view.dtype)
        writeable = not spread and (member is root or view.flags.writeable or not value.flags.writeable)
        records = member._entry is not None or root._entry is None
        member._kin = Alias(storage, layout, writeable, records)
        storage.fresh.append(weakref.ref(member))
    found: Alias = tensor._kin
    return found


def _flat(value: Any) -> Any:
    """The memory that an array lies in, from its first to its last byte, as one axis; no copy."""
    if value.flags.c_contiguous:
        return value.reshape(-1)
    forward = value[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in value.strides)]
    count = (
        1 + sum((n - 1) * stride for n, stride in zip(forward.shape, forward.strides, strict=True)) // value.itemsize
    )
    return np.lib.stride_tricks.as_strided(forward, (count if value.size else 0,), (value.itemsize,))
