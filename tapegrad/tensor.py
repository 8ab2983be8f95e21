"""Tensor: an array that records what is done to it.

NumPy reaches a tensor by two doors, ``__array_ufunc__`` (NEP 13) and ``__array_function__`` (NEP 18);
operators and methods come in beside them. All lead to a road (roads.py), or the long way (dispatch.py).
"""

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from tapegrad import careful, dispatch, pairs, roads
from tapegrad.attributes import Attributes
from tapegrad.borrowed import COPIED
from tapegrad.conversions import Conversions
from tapegrad.dispatch import call, make, view_of
from tapegrad.entries import POSITIONS, Entry, Leaf, leaf_of, unhooked
from tapegrad.errors import ArgumentError, ConversionError, DTypeError, RecordingError, ShapeError
from tapegrad.gradients import LOCK, deposit, owned_arrays
from tapegrad.hooks import Handle, Hooks
from tapegrad.kinds import Primitive, name_of
from tapegrad.methods import ArrayMethods
from tapegrad.operators import Operators
from tapegrad.ops.writing import at
from tapegrad.pieces import strided
from tapegrad.primitive import ROADS, TABLE
from tapegrad.recording import STATE, enable_grad, tracer
from tapegrad.roads import roads_of, single
from tapegrad.shapes import Spec, cast, read_only, seed_like, spec_of
from tapegrad.storage import Alias, alias_of, alone, refresh
from tapegrad.tape import replay
from tapegrad.writing import gather, setitem

_reshape = single(TABLE[np.reshape])
_transpose = single(TABLE[np.transpose])


class _MadeElsewhere(type):
    """The class of Tensor, which refuses its call: that is for users, and would make a tensor of nothing."""

    def __call__(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("tensors are made by tapegrad.tensor(data)")


class Tensor(Operators, Attributes, Conversions, ArrayMethods, metaclass=_MadeElsewhere):
    """An array that records what is done to it; made by ``tapegrad.tensor``.

    It behaves as the ndarray of its value in NumPy's functions, operators and methods.
    """

    # _frozen is filled only on a leaf with requires_grad switched off: its entry, which keeps the gradient.
    # _kin says whose memory else this is, and whether it was written: storage.py.
    __slots__ = ("__weakref__", "_array", "_frozen", "_kin", "_node", "_spec")

    _array: Any
    _node: Entry | None
    _frozen: Entry | None
    _kin: Any
    _spec: Spec

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Tensor can't be subclassed: operations look for exactly this class")

    @property
    def _value(self) -> Any:
        try:
            return self._array
        except AttributeError:  # A write through another name took it away.
            refresh(self)
            return self._array

    @_value.setter
    def _value(self, value: Any) -> None:
        self._array = value

    @property
    def _entry(self) -> Entry | None:
        try:
            return self._node
        except AttributeError:
            refresh(self)
            return self._node

    @_entry.setter
    def _entry(self, entry: Entry | None) -> None:
        self._node = entry

    def _strided(self, layout: Any) -> Any:
        """The view of this layout, of a tensor that is a flat buffer (pieces.py)."""
        alias = alias_of(self)
        return view_of(alias, strided(alias.array(), layout))

    # -------------------------------- NumPy's doors

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, first: Any, /, *rest: Any, **kwargs: Any) -> Any:
        roads = ROADS.get(ufunc)
        if roads is None:
            roads = roads_of(ufunc)
        if roads is not None and not kwargs and method == "__call__":
            kind = type(first)
            if kind is Tensor:
                if not rest:  # Written out: a call without * is 60 ns quicker.
                    return roads[0](first)
                return roads[0](first, rest[0]) if len(rest) == 1 else roads[0](first, *rest)
            if kind is ndarray and roads[1] is not None:
                return roads[1](first, rest[0])
        inputs = (first, *rest)
        if method == "at":
            return at(ufunc, *inputs)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        for operand in inputs:
            if hasattr(type(operand), "__array_ufunc__") and not isinstance(operand, (Tensor, np.ndarray, np.generic)):
                return NotImplemented
        return call(function, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for kind in types:
            if kind is not Tensor and kind is not ndarray and not _is_plain(kind, function):
                return NotImplemented
        roads = ROADS.get(function)
        if roads is None:
            roads = roads_of(function)
        if roads is not None and args:
            road, _, arity = roads
            kind = type(args[0])
            if kind is list or kind is tuple if arity is None else len(args) >= arity and (arity > 2 or kind is Tensor):
                return road(*args, **kwargs)
        return call(function, args, kwargs)

    # -------------------------------- gradients

    @property
    def requires_grad(self) -> bool:
        """Whether operations on the tensor are recorded. Settable on leaves."""
        return self._entry is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if bool(value) == self.requires_grad:
            return
        if not self.is_leaf:
            raise RecordingError(
                "requires_grad: only a leaf can be changed; use .detach() for a tensor that doesn't record"
            )
        kin = self._kin
        if type(kin) is Tensor or (type(kin) is Alias and not kin.own):
            raise RecordingError("requires_grad: this tensor is a view; switch that of the tensor that it is a view of")
        if not alone(self):
            kin = alias_of(self)  # So that the views follow.
        array, entry = np.asarray(self._value), self._entry
        if value:
            entry = getattr(self, "_frozen", None) or _leaf_entry(self._spec, "requires_grad=True")
        else:
            self._frozen, entry = entry, None
        if type(kin) is Alias:
            kin.storage.make_stale()
            kin.storage.adopt(entry, kin.layout, self._spec)
            kin.storage.keep(self, array, entry)
        self._entry, self._value = entry, array

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user rather than recorded."""
        return self._entry is None or leaf_of(self._entry) is not None

    @property
    def grad(self) -> Any:
        """The gradient that ``backward()`` has added up here: None, or an array of this shape and dtype.

        Raises RecordingError on a recorded tensor: only leaves keep theirs.
        """
        leaf = self._leaf("grad")
        return None if leaf is None else leaf.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        leaf = self._leaf("grad")
        if value is None:
            if leaf is not None:
                leaf.grad = None
            return
        if leaf is None:
            raise RecordingError("grad: this tensor doesn't record; make it with requires_grad=True")
        if getattr(value, "shape", None) != self.shape:
            raise ShapeError(f"grad: a gradient has shape {self.shape}; got {getattr(value, 'shape', type(value))}")
        if value.dtype.kind != self.dtype.kind:
            raise DTypeError(f"grad: a gradient has dtype {self.dtype}; got {value.dtype}")
        if type(value) is Tensor and value._entry is not None:
            leaf.grad = _own_tensor(cast(value, self.dtype))
        else:
            leaf.grad = np.array(value._value if type(value) is Tensor else value, self.dtype)

    def _leaf(self, what: str) -> Leaf | None:
        entry = self._entry or getattr(self, "_frozen", None)
        if entry is None:
            return None
        leaf = leaf_of(entry)
        if leaf is None:
            raise RecordingError(
                f"{what}: this tensor was recorded, and only leaves (made by tapegrad.tensor) keep a gradient; "
                f"see it on its way with register_hook. An update such as p = p - rate * p.grad makes a recorded "
                f"tensor: write 'with tapegrad.no_grad(): p -= rate * p.grad'"
            )
        return leaf

    def zero_grad(self) -> None:
        """Forget the gradient so far."""
        self.grad = None

    def backward(self, grad: Any = None, *, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Replay the tape in reverse from here, and add to the ``.grad`` of every leaf this depends on.

        grad : the cotangent to start with, of this tensor's shape, and a dtype that casts to its dtype;
            may be left out where this is one real element
        retain_graph : keep what was recorded, to replay it again; None means ``create_graph``
        create_graph : record the replay itself, for derivatives of the gradient (``.grad`` is a Tensor)
        Raises RecordingError where nothing was recorded or an earlier replay freed it, ArgumentError,
        ShapeError or DTypeError for a seed that can't be; no ``.grad`` is changed then.

        >>> import numpy as np, tapegrad as tg
        >>> x = tg.tensor([1.0, 2.0, 3.0])
        >>> np.sum(x * x).backward()
        >>> x.grad
        array([2., 4., 6.])

        Griewank & Walther 2008, chapter 3.
        """
        if retain_graph is None:
            retain_graph = create_graph
        elif create_graph and not retain_graph:
            raise ArgumentError("backward: create_graph=True needs what was recorded; retain_graph=False would free it")
        entry = self._entry
        if entry is None:
            raise RecordingError("backward: this tensor records nothing; no operand of it had requires_grad=True")
        if not create_graph and (found := tracer()) is not None:
            found.left(self, "backward() without create_graph=True")
        seed = self._seed(grad, create_graph)
        if create_graph:
            with enable_grad():
                deposit([(leaf, _own_tensor(total)) for leaf, total in replay([(entry, seed)], True, lifted)])
        else:
            deposit(owned_arrays(replay([(entry, seed)], retain_graph)))

    def _seed(self, grad: Any, recorded: bool) -> Any:
        spec = self._spec
        if grad is None:
            if spec.size != 1:
                raise ArgumentError(
                    f"backward: the result has shape {spec.shape}; only one element has a gradient by itself: "
                    f"sum it, or pass grad= of that shape"
                )
            if spec.dtype.kind == "c":
                raise ArgumentError(
                    "backward: a complex result has no gradient by itself; pass grad=, or take a real part"
                )
            seed = seed_like(self._value)
            return make(seed, None) if recorded else seed
        if isinstance(grad, (np.ma.MaskedArray, np.matrix)):
            raise DTypeError(f"backward: grad is a {type(grad).__name__}; pass a plain array")
        value = grad._value if type(grad) is Tensor else np.asarray(grad)
        if value.shape != spec.shape:
            raise ShapeError(f"backward: grad has shape {value.shape}, the result {spec.shape}; they must be the same")
        if value.dtype.kind not in "biufc" or not np.can_cast(value.dtype, spec.dtype, "same_kind"):
            raise DTypeError(f"backward: grad of dtype {value.dtype} doesn't cast to the result's {spec.dtype}")
        if recorded:
            return cast(grad, spec.dtype) if type(grad) is Tensor else make(np.array(value, spec.dtype), None)
        if value.nbytes > COPIED and value.dtype == spec.dtype and not (Hooks.used or Primitive.guests):
            return read_only(value)  # No code of the user's runs in the sweep, and the sweep writes to nothing given.
        return np.array(value, spec.dtype)

    def detach(self) -> Any:
        """The same value in a tensor that doesn't record; no gradient passes. Neither sees a write to the other."""
        return make(_writeable(self._value), None, self._spec)

    def register_hook(self, function: Callable[[Any], Any]) -> Handle:
        """Call ``function(cotangent)`` in every replay that reaches this value, with the whole cotangent.

        It gets a read-only array (a Tensor under ``create_graph``); what it returns, if not None,
        replaces the cotangent. Returns a handle with ``remove()``.

        >>> import tapegrad as tg
        >>> x = tg.tensor([1.0, 2.0])
        >>> y = x * 3
        >>> handle = y.register_hook(print)
        >>> y.sum().backward()
        [1. 1.]
        """
        if type(self._kin) is Alias:
            gather(self)
        entry = self._entry
        if entry is None:
            raise RecordingError("register_hook: this tensor records nothing, so no cotangent ever reaches it")
        if len(unhooked(entry)) == 1:
            raise RecordingError("register_hook: this tensor was replayed and freed; no cotangent will reach it again")
        with LOCK:
            if len(entry) != 3:
                entry[:] = [entry[0], Hooks(self._spec, _shown, _taken), entry[:]]
        handle: Handle = entry[1].add(function)
        return handle

    # -------------------------------- copies

    def _leafy(self, what: str) -> bool:
        if not self.is_leaf:
            raise RecordingError(
                f"{what}: this tensor was recorded, and its tape can't be copied; "
                f"use .copy() (recorded) or .detach() (its value)"
            )
        return self._entry is not None

    def __copy__(self) -> Any:
        return _restored(*self._state("copy.copy"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _restored(*self._state("copy.deepcopy"))

    def __reduce__(self) -> Any:
        return _restored, self._state("pickle")

    def _state(self, what: str) -> tuple[Any, bool, Any]:
        """What a copy is made of: value, whether it records, the gradient's value."""
        records = self._leafy(what)
        grad = self.grad
        return np.array(self._value), records, None if grad is None else np.array(getattr(grad, "_value", grad))

    # -------------------------------- shape, index, dtype

    def reshape(self, *shape: Any, order: Any = "C", copy: bool | None = None) -> Any:
        """``np.reshape``; the shape as a tuple, or as arguments."""
        target = shape[0] if len(shape) == 1 else shape
        if order == "C" and copy is None:
            return _reshape(self, target)
        return call(np.reshape, (self, target), {"order": order} | ({} if copy is None else {"copy": copy}))

    def transpose(self, *axes: Any) -> Any:
        """``np.transpose``; the axes as a tuple, or as arguments."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None)
        return _transpose(self) if order is None else _transpose(self, order)

    def flatten(self, order: Any = "C") -> Any:
        """A copy with one axis."""
        return np.copy(np.ravel(self, order))

    def copy(self, order: Any = "C") -> Any:
        """A copy; recorded, where the tensor records."""
        return call(np.copy, (self,), {"order": order})

    def astype(
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        """The values in another dtype; to integers or bools it is constant, and a plain array."""
        if not np.can_cast(self.dtype, dtype, casting):
            raise TypeError(
                f"Cannot cast array data from {self.dtype!r} to {np.dtype(dtype)!r} according to the rule {casting!r}"
            )
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        return cast(self, np.dtype(dtype))

    __getitem__ = single(TABLE[operator.getitem])

    sum = single(TABLE[np.sum])
    mean = single(TABLE[np.mean])
    prod = single(TABLE[np.prod])
    max = single(TABLE[np.max])
    min = single(TABLE[np.min])
    squeeze = single(TABLE[np.squeeze])
    swapaxes = single(TABLE[np.swapaxes])

    # -------------------------------- writing

    __setitem__ = setitem

    def fill(self, value: Any) -> None:
        """Write the value to every place."""
        self[...] = value

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None) -> None:
        """Sort in place: ``np.sort``, written back."""
        self[...] = np.sort(self, axis, kind, order, stable=stable)

    def partition(self, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None) -> None:
        """Partition in place: ``np.partition``, written back."""
        self[...] = np.partition(self, kth, axis, kind, order)

    def put(self, indices: Any, values: Any, mode: Any = "raise") -> None:
        """``np.put`` on this tensor."""
        np.put(self, indices, values, mode)  # type: ignore[arg-type]


dispatch.Tensor = pairs.Tensor = roads.Tensor = Tensor
# Calling a class is quicker than object.__new__; this is the call that the class refuses to users.
dispatch.blank = pairs.blank = roads.blank = type.__call__.__get__(Tensor)
careful.make = make


def tensor(data: Any, dtype: Any = None, requires_grad: bool | None = None) -> Any:
    """A tensor with a copy of ``data``.

    data : anything that ``np.array`` makes numbers or bools of, of any shape
    dtype : a NumPy dtype; None takes that of the data
    requires_grad : whether operations on it are recorded; None: float and complex data are,
        int and bool data are not
    Raises DTypeError for data of other kinds, and for ints that should record; ConversionError for
    data that holds a recording tensor.

    >>> import tapegrad as tg
    >>> tg.tensor([1.0, 2.0])
    tensor([1., 2.], dtype=float64, leaf)
    >>> tg.tensor([1, 2])
    tensor([1, 2], dtype=int64)
    """
    if type(data) is Tensor:
        if data._entry is not None and STATE.get().enabled:
            raise ConversionError(
                "tensor: the data is a recording tensor; use it as it is, .copy() it, or .detach() it first"
            )
        data = data._value
    if isinstance(data, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"tensor: {type(data).__name__} is refused; pass a plain array")
    value = np.array(data, dtype)
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if value.dtype.kind not in "biufc":
        raise DTypeError(f"tensor: data of dtype {value.dtype}; a tensor holds floats, complex numbers, ints or bools")
    spec = spec_of(value)
    if requires_grad is None:
        requires_grad = value.dtype.kind in "fc"
    if not requires_grad:
        return make(value, None, spec)
    # NumPy computes ten times quicker with a scalar than with a 0-d array. (_rebinding knows a leaf.)
    return make(value if spec.ndim else value[()], _leaf_entry(spec, "tensor"), spec)


def _is_plain(kind: type, function: Any) -> bool:
    """Whether operands of this type count as arrays; those of other libraries may know an answer of their own."""
    if issubclass(kind, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{name_of(function)}: {kind.__name__} is refused as an operand; pass a plain array")
    return issubclass(kind, ndarray)


def _leaf_entry(spec: Spec, what: str) -> Entry:
    if spec.dtype.kind not in "fc":
        raise DTypeError(
            f"{what}: dtype {spec.dtype} can't record; only floats and complex numbers have gradients: 3.0, not 3"
        )
    return [next(POSITIONS), Leaf(spec)]


def _restored(value: Any, records: bool, grad: Any) -> Any:
    """A copy of a leaf, or of a tensor that doesn't record."""
    twin = tensor(value, requires_grad=records or grad is not None)
    twin.grad = grad
    twin.requires_grad = records  # A leaf that was switched off keeps its gradient.
    return twin


def _shown(g: Any) -> Any:
    """A cotangent as a hook sees it: read-only, or a tensor where the sweep is recorded."""
    if type(g) is Tensor:
        return g
    return read_only(np.asarray(g))


def _taken(replaced: Any, g: Any) -> Any:
    """What a hook returned, as the sweep goes on with it: ours alone, of the kind and dtype of ``g``."""
    if type(g) is Tensor:
        return cast(replaced, g.dtype) if type(replaced) is Tensor else make(np.array(replaced, g.dtype), None)
    return np.array(replaced._value if type(replaced) is Tensor else replaced, g.dtype)


def lifted(value: Any, entry: Entry | None) -> Any:
    """What an entry saved, as something that records: the sweep's ``lift``. Constants and specs stay."""
    if entry is None or isinstance(value, Spec):
        return value
    if isinstance(value, tuple):  # Several outputs: each by an entry of its own.
        return tuple(
            part
            if isinstance(part, Spec) or part.dtype.kind not in "fc"
            else make(part, [next(POSITIONS), i, len(value), entry])
            for i, part in enumerate(value)
        )
    return make(value, entry)


def _own_tensor(total: Any) -> Any:
    """The gradient of a recorded sweep as a tensor of the leaf's own: two leaves may have been given one."""
    if type(total) is Tensor:
        return make(_writeable(total._value), total._entry, total._spec)
    return make(np.array(total), None)


def _writeable(value: Any) -> Any:
    """A value that a tensor of its own may be written through: a copy of one that repeats by strides."""
    return value.copy() if type(value) is np.ndarray and not value.flags.writeable else value
