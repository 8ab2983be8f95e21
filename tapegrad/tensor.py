"""Tensor: an array that records what is done to it.

NumPy reaches a tensor by two doors, ``__array_ufunc__`` (NEP 13) and ``__array_function__`` (NEP 18);
operators and methods come in beside them. All lead to ``call``, which does what the table says of the
function; for a primitive, ``apply`` runs it on the arrays and records it. Beside that there is one
quick road, for elementwise functions of one real operand, or of two that agree in shape and dtype (or
a Python number for one of them): ``_unary`` and ``_binary`` make, for each ufunc, a function that does
all of it in a few lines.

On every road an operand is looked at in one place, ``type(x) is Tensor``: that is where views and
written buffers (storage.py) will be told from tensors whose memory is nobody else's.
"""

import operator
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Self

import numpy as np

import tapegrad.ops  # noqa: F401 - the rules of NumPy's own functions
from tapegrad.borrowed import keep_all
from tapegrad.conversions import Conversions
from tapegrad.errors import (
    ArgumentError,
    ConversionError,
    DTypeError,
    NotDifferentiableError,
    RecordingError,
    ShapeError,
    UnexpectedArgumentError,
    WriteError,
)
from tapegrad.hooks import Handle, Hooks
from tapegrad.methods import ArrayMethods
from tapegrad.primitive import TABLE, Creation, Elementwise, Known, Primitive, name_of
from tapegrad.recording import ON, STATE, Fact, enable_grad, no_grad
from tapegrad.shapes import Spec, cast, seed_like, spec_of
from tapegrad.tape import POSITIONS, Entry, Leaf, Located, leaf_of, replay, unhooked

_new = object.__new__
_LOCK = threading.Lock()  # `.grad +=` of a leaf is one step


# ---------------------------------------------------------------- calls


def make(value: Any, entry: Entry | None, spec: Spec | None = None) -> "Tensor":
    """A tensor of a value that nobody else will write to."""
    t = _new(Tensor)
    t._value = value
    t._entry = entry
    t._spec = spec or spec_of(value)
    return t


def call(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What ``function(*args, **kwargs)`` comes to where some of the arguments are tensors."""
    known = TABLE.get(function)
    if known is None or known.kind == "unsupported":
        if any(_records(value) for value in (*args, *kwargs.values())):
            why = known.note if known else "it has no rule; give it one with tapegrad.defvjp"
            raise NotDifferentiableError(f"{name_of(function)} can't be differentiated: {why}")
        return _wrapped(function(*_plain(args), **_plain(kwargs)))
    if known.kind == "primitive":
        return apply(known, args, kwargs)
    if known.kind == "composite":
        return known.run(*args, **kwargs)
    if kwargs.get("out") is not None:
        raise WriteError(f"{known.name}: out= can't be a tensor, nor be written from one, yet")
    result = function(*_plain(args), **_plain(kwargs))
    return _wrapped(result) if type(known) is Creation else result


def apply(known: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run a primitive on the arrays of its operands, and record it if any of them records."""
    operands, parameters = _bound(known, args, kwargs)
    state = STATE.get()
    values, parents, mine = [], [], []
    for operand in operands:
        if type(operand) is Tensor:
            values.append(operand._value)
            parents.append(operand._entry)
            mine.append(True)
        else:
            values.append(_constant(operand, known))
            parents.append(None)
            mine.append(type(values[-1]) is not np.ndarray)
    if parameters:
        parameters = {name: _static(value, known, name) for name, value in parameters.items()}
    y = known.run(*values, **parameters) if known.arity is not None else known.run(values, **parameters)
    recorded = state.enabled and any(parent is not None for parent in parents)
    if not recorded:
        return _wrapped(y)
    if type(known) is Elementwise:
        parents = [p if s is not None else None for p, s in zip(parents, known.slopes, strict=True)]
        if known.constant_for_real:
            parents = [p if v.dtype.kind == "c" else None for p, v in zip(parents, values, strict=True)]
        if not any(parent is not None for parent in parents):
            return y  # Constant in all that records: a plain array, as the table's constants give.
    kinds = {part.dtype.kind for part in y} if isinstance(y, tuple) else {y.dtype.kind}
    if not kinds & {"f", "c"}:
        return y
    reads_y, reads = known.keeps([parent is not None for parent in parents])
    saved = tuple(
        v if read or not hasattr(v, "dtype") else spec_of(v) for v, read in zip(values, reads, strict=True)
    )
    if parameters or not all(mine):
        untouchable = [own or not read for own, read in zip(mine, reads, strict=True)]
        saved, parameters = keep_all(saved, untouchable, parameters, state.debugging)
    if parameters and not isinstance(known, Elementwise):
        parameters = {known.renamed.get(name, name): value for name, value in parameters.items()}
    if state.debugging:
        parameters = Located(parameters)
        parameters.where = _callers_line()
    if isinstance(y, tuple):
        specs = tuple(spec_of(part) for part in y)
        entry = [next(POSITIONS), known, y if reads_y else specs, saved, parameters, tuple(parents)]
        result: Any = _outputs(y, entry)
    else:
        spec = spec_of(y)
        entry = [next(POSITIONS), known, y if reads_y else spec, saved, parameters, tuple(parents)]
        result = make(y, entry, spec)
    for tape in state.tapes:
        tape.observe(_fact(entry, y))
    return result


def _bound(known: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """The arguments of a call told apart: operands in order, parameters by name."""
    arity = known.arity
    if arity is None:
        if not args:
            raise UnexpectedArgumentError(f"{known.name}: its operands come first, in a sequence")
        operands, rest = tuple(args[0]), args[1:]
    else:
        operands, rest = args[:arity], args[arity:]
        if len(operands) < arity:
            kwargs = dict(kwargs)
            missing = known.operands[len(operands) :]
            if any(name not in kwargs for name in missing):
                raise UnexpectedArgumentError(f"{known.name} takes {known.operands}; {missing} is missing")
            operands = (*operands, *(kwargs.pop(name) for name in missing))
    names = known.parameters
    if not rest and not kwargs:
        return operands, kwargs
    if len(rest) > len(names):
        raise UnexpectedArgumentError(f"{known.name} got {len(args)} arguments; its rule knows {names}")
    parameters = dict(zip(names, rest, strict=False))
    for name, value in kwargs.items():
        if name == "out":
            if value is not None and value != (None,):
                raise WriteError(f"{known.name}: out= of or from a tensor can't be recorded; assign the result instead")
        elif name not in names:
            raise UnexpectedArgumentError(
                f"{known.name}: its rule doesn't know the argument {name}={value!r}; it knows {names}"
            )
        elif name in parameters:
            raise UnexpectedArgumentError(f"{known.name} got two values for argument {name!r}")
        else:
            parameters[name] = value
    return operands, parameters


def _constant(operand: Any, known: Known) -> Any:
    """An operand that isn't a tensor, as an array or a number; what can't be one is refused."""
    if isinstance(operand, (bool, int, float, complex)) and not isinstance(operand, np.generic):
        return operand  # Python numbers take part weakly (NEP 50), so they stay what they are.
    if isinstance(operand, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{known.name}: {type(operand).__name__} is refused as an operand; pass a plain array")
    value = operand if isinstance(operand, (np.ndarray, np.generic)) else np.asarray(operand)
    if value.dtype.kind not in "biufc":
        raise DTypeError(f"{known.name}: an operand of dtype {value.dtype}; numbers and bools are differentiated")
    return value


def _static(value: Any, known: Known, name: str) -> Any:
    """A parameter without tensors: plain arrays for those that don't record, an error for those that do."""
    kind = type(value)
    if kind is Tensor:
        if value._entry is not None and STATE.get().enabled:
            raise NotDifferentiableError(
                f"{known.name}: no gradient passes through {name}=; use {name}=tensor.detach().numpy() if it is constant"
            )
        return value.numpy()
    if kind is tuple or kind is list:
        return kind(_static(v, known, name) for v in value)
    return value


def _records(value: Any) -> bool:
    if type(value) is Tensor:
        return value._entry is not None and STATE.get().enabled
    return type(value) in (tuple, list) and any(_records(v) for v in value)


def _plain(value: Any) -> Any:
    """The same arguments with arrays for tensors."""
    kind = type(value)
    if kind is Tensor:
        return value.numpy()
    if kind is tuple or kind is list:
        return kind(_plain(v) for v in value)
    if kind is dict:
        return {k: _plain(v) for k, v in value.items()}
    return value


def _wrapped(y: Any) -> Any:
    """A result that doesn't record: numbers in a tensor, anything else as it is."""
    if isinstance(y, tuple):
        parts = [_wrapped(part) for part in y]
        return type(y)._make(parts) if hasattr(type(y), "_make") else tuple(parts)
    if isinstance(y, (np.ndarray, np.generic)) and y.dtype.kind in "biufc":
        return make(y, None)
    return y


def _outputs(y: tuple[Any, ...], node: Entry) -> Any:
    """Several outputs: each has an entry of its own, through which its cotangent finds the node."""
    outputs = [
        make(part, [next(POSITIONS), i, len(y), node]) if part.dtype.kind in "fc" else part
        for i, part in enumerate(y)
    ]
    return type(y)._make(outputs) if hasattr(type(y), "_make") else tuple(outputs)


def _fact(entry: Entry, y: Any) -> Fact:
    _position, known, kept, operands, parameters, parents = entry
    held = sum(v.nbytes for v in (kept, *operands) if isinstance(v, np.ndarray))
    names = tuple(_operand_name(p) for p in parents)
    first = y[0] if isinstance(y, tuple) else y
    return Fact(-entry[0], known.name, names, first.shape, first.dtype, held)


def _operand_name(parent: Entry | None) -> int | str:
    if parent is None:
        return "constant"
    if leaf_of(parent) is not None:
        return "leaf"
    entry = unhooked(parent)
    return -(entry[3] if len(entry) == 4 else entry)[0]


def _callers_line() -> str:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("tapegrad.", "numpy.")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# ---------------------------------------------------------------- the quick road


def _unary(ufunc: np.ufunc) -> Callable[..., Any]:
    """The operator of an elementwise function of one operand."""
    known = TABLE[ufunc]
    assert isinstance(known, Elementwise)
    keeps_y, (keeps_x,) = known.keeps([True])

    def operate(a: Any) -> Any:
        spec, x, parent = a._spec, a._value, a._entry
        if STATE.get() is not ON or not spec.real:
            return call(ufunc, (a,), {})
        y = ufunc(x)
        t = _new(Tensor)
        t._value = y
        t._spec = spec
        if parent is None:
            t._entry = None
        else:
            t._entry = [next(POSITIONS), known, y if keeps_y else spec, x if keeps_x else spec, parent]
        return t

    return operate


def _binary(
    ufunc: np.ufunc, run: Callable[[Any, Any], Any] | None = None
) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The operator of an elementwise function of two operands, and its reflected form.

    run : does the same on arrays, and is quicker on scalars
    """
    known = TABLE[ufunc]
    assert isinstance(known, Elementwise)
    run = run or ufunc
    y_by_a, (a_by_a, b_by_a) = known.keeps([True, False])
    y_by_b, (a_by_b, b_by_b) = known.keeps([False, True])
    y_by_both, a_by_both, b_by_both = y_by_a or y_by_b, a_by_a or a_by_b, b_by_a or b_by_b

    def operate(a: Any, b: Any) -> Any:
        spec, x, parent_a = a._spec, a._value, a._entry
        if type(b) is Tensor:
            if b._spec is not spec:
                return call(ufunc, (a, b), {})
            z, parent_b = b._value, b._entry
        elif (type(b) is float or type(b) is int) and spec.real:
            parent_b = None
            z = spec.numbers.get(b) if spec.ndim else b
            if z is None:
                z = _number(b, spec)
        else:
            return _general(ufunc, a, b)
        if STATE.get() is not ON or not spec.real:
            return call(ufunc, (a, b), {})
        y = run(x, z)
        t = _new(Tensor)
        t._value = y
        t._spec = spec
        if parent_a is None:
            if parent_b is None:
                t._entry = None
            else:
                t._entry = [
                    next(POSITIONS),
                    known,
                    y if y_by_b else spec,
                    x if a_by_b else spec,
                    z if b_by_b else spec,
                    None,
                    parent_b,
                ]
        elif parent_b is None:
            t._entry = [
                next(POSITIONS),
                known,
                y if y_by_a else spec,
                x if a_by_a else spec,
                z if b_by_a else spec,
                parent_a,
                None,
            ]
        else:
            t._entry = [
                next(POSITIONS),
                known,
                y if y_by_both else spec,
                x if a_by_both else spec,
                z if b_by_both else spec,
                parent_a,
                parent_b,
            ]
        return t

    def reflected(b: Any, a: Any) -> Any:
        spec, parent_b = b._spec, b._entry
        if type(a) is not float and type(a) is not int:
            return _general(ufunc, a, b)
        if parent_b is None or not spec.real or STATE.get() is not ON:
            return call(ufunc, (a, b), {})
        x = spec.numbers.get(a) if spec.ndim else a
        if x is None:
            x = _number(a, spec)
        z = b._value
        y = run(x, z)
        entry = [
            next(POSITIONS),
            known,
            y if y_by_b else spec,
            x if a_by_b else spec,
            z if b_by_b else spec,
            None,
            parent_b,
        ]
        return make(y, entry, spec)

    return operate, reflected


def _number(number: float, spec: Spec) -> Any:
    """A Python number as an array of a tensor's dtype: a ufunc takes it 190 ns quicker."""
    array = np.array(number, spec.dtype)
    array.flags.writeable = False
    # 0.0 and -0.0 are one key; nan is none.
    if number and number == number and len(spec.numbers) < 64:
        spec.numbers[number] = array
    return array


def _general(ufunc: np.ufunc, a: Any, b: Any) -> Any:
    for operand in (a, b):
        if type(operand) is not Tensor and not isinstance(operand, (np.ndarray, np.generic)):
            if hasattr(type(operand), "__array_ufunc__"):
                return NotImplemented  # Another library's array: it may know what to do.
    return call(ufunc, (a, b), {})


def _compared(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison, or an operator on bits: constant, so on plain arrays, with NumPy's own errors."""

    def operate(a: Any, b: Any) -> Any:
        if hasattr(type(b), "__array_ufunc__") and not isinstance(b, (Tensor, np.ndarray, np.generic)):
            return NotImplemented
        return compare(a._value, b._value if type(b) is Tensor else b)

    return operate


def _rebinding(operate: Callable[[Any, Any], Any], symbol: str) -> Callable[[Any, Any], Any]:
    """An in-place operator."""

    def in_place(a: Any, b: Any) -> Any:
        if isinstance(a._value, np.generic) and not (a._entry and leaf_of(a._entry)):
            return operate(a, b)  # NumPy's scalars are immutable: the name is bound anew.
        state = STATE.get()
        if state.enabled and (a._entry is not None or _records(b)):
            raise WriteError(
                f"{symbol} would write to a recording tensor; write x = x {symbol[:-1]} ..., "
                f"or update a leaf inside 'with tapegrad.no_grad():'"
            )
        with no_grad():
            result = operate(a, b)
        value = result._value if type(result) is Tensor else result
        if value.shape != a._spec.shape:
            raise ShapeError(f"{symbol}: a result of shape {value.shape} doesn't fit a tensor of shape {a._spec.shape}")
        if not np.can_cast(value.dtype, a._spec.dtype, "same_kind"):
            raise DTypeError(f"{symbol}: a result of dtype {value.dtype} can't be cast to {a._spec.dtype}")
        # A new buffer, never a write into the old one: entries may hold that, and .data was given out.
        value = np.asarray(value, a._spec.dtype)
        a._value = value if a._spec.ndim else value[()]
        return a

    return in_place


# ---------------------------------------------------------------- the class


class Tensor(Conversions, ArrayMethods):
    """An array that records what is done to it; made by ``tapegrad.tensor``.

    It behaves as the ndarray of its value in NumPy's functions, operators and methods.
    """

    __slots__ = ("__weakref__", "_entry", "_spec", "_value")

    _value: Any
    _entry: Entry | None
    _spec: Spec

    def __init__(self) -> None:
        raise TypeError("tensors are made by tapegrad.tensor(data)")

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Tensor can't be subclassed: operations look for exactly this class")

    # -------------------------------- NumPy's doors

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if not kwargs and method == "__call__" and type(inputs[0]) is Tensor:
            operation = OPERATIONS.get(ufunc)
            if operation is not None:
                return operation(*inputs)
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        for operand in inputs:
            if hasattr(type(operand), "__array_ufunc__") and not isinstance(operand, (Tensor, np.ndarray, np.generic)):
                return NotImplemented
        return call(function, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for kind in types:
            if kind is not Tensor and not issubclass(kind, np.ndarray):
                return NotImplemented
            if issubclass(kind, (np.ma.MaskedArray, np.matrix)):
                raise DTypeError(f"{name_of(function)}: {kind.__name__} is refused as an operand; pass a plain array")
        return call(function, args, kwargs)

    # -------------------------------- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._spec.shape

    @property
    def dtype(self) -> Any:
        """The NumPy dtype of the elements."""
        return self._spec.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._spec.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._spec.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self._spec.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next, along each axis."""
        return np.asarray(self._value).strides

    @property
    def T(self) -> Any:  # noqa: N802
        """The axes in reverse."""
        return call(np.transpose, (self,), {})

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two axes swapped."""
        if self._spec.ndim < 2:
            raise ShapeError(f"mT takes matrices, of two axes or more; got shape {self._spec.shape}")
        return call(np.swapaxes, (self, -1, -2), {})

    @property
    def real(self) -> Any:
        """The real part; of a real tensor, itself."""
        return call(np.real, (self,), {}) if self._spec.dtype.kind == "c" else self

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return call(np.imag, (self,), {})

    @property
    def flat(self) -> Any:
        """The elements in a row, to read: index it, iterate over it."""
        return self.reshape(-1)

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
            raise RecordingError("requires_grad: only a leaf can be changed; use .detach() for a tensor that doesn't record")
        self._entry = _leaf_entry(self._spec, "requires_grad=True") if value else None
        self._value = np.asarray(self._value)

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
        if getattr(value, "shape", None) != self.shape or value.dtype.kind != self.dtype.kind:
            given = f"shape {getattr(value, 'shape', None)} and dtype {getattr(value, 'dtype', type(value).__name__)}"
            raise ShapeError(f"grad: a gradient has shape {self.shape} and dtype {self.dtype}; got {given}")
        leaf.grad = value if type(value) is Tensor else np.array(value, self.dtype)

    def _leaf(self, what: str) -> Leaf | None:
        if self._entry is None:
            return None
        leaf = leaf_of(self._entry)
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
        seed = self._seed(grad, create_graph)
        if create_graph:
            with enable_grad():
                _deposit(replay(entry, seed, True, make_lifted), True)
        else:
            _deposit(replay(entry, seed, retain_graph), False)

    def _seed(self, grad: Any, recorded: bool) -> Any:
        spec = self._spec
        if grad is None:
            if spec.size != 1:
                raise ArgumentError(
                    f"backward: the result has shape {spec.shape}; only one element has a gradient by itself: "
                    f"sum it, or pass grad= of that shape"
                )
            if spec.dtype.kind == "c":
                raise ArgumentError("backward: a complex result has no gradient by itself; pass grad=, or take a real part")
            seed = seed_like(self._value)
            return make(seed, None) if recorded else seed
        value = grad._value if type(grad) is Tensor else np.asarray(grad)
        if value.shape != spec.shape:
            raise ShapeError(f"backward: grad has shape {value.shape}, the result {spec.shape}; they must be the same")
        if value.dtype.kind not in "biufc" or not np.can_cast(value.dtype, spec.dtype, "same_kind"):
            raise DTypeError(f"backward: grad of dtype {value.dtype} doesn't cast to the result's {spec.dtype}")
        if recorded:
            return cast(grad, spec.dtype) if type(grad) is Tensor else make(np.array(value, spec.dtype), None)
        return np.array(value, spec.dtype)

    def detach(self) -> Self:
        """The same value in a tensor that doesn't record; no gradient passes."""
        return make(self._value, None, self._spec)

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
        entry = self._entry
        if entry is None:
            raise RecordingError("register_hook: this tensor records nothing, so no cotangent ever reaches it")
        if len(entry) == 1:
            raise RecordingError("register_hook: this tensor was replayed and freed; no cotangent will reach it again")
        with _LOCK:
            if len(entry) != 3:
                entry[:] = [entry[0], Hooks(self._spec, _shown), entry[:]]
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

    def __copy__(self) -> Self:
        return _restored(np.array(self._value), self._leafy("copy.copy"), self.grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return _restored(np.array(self._value), self._leafy("copy.deepcopy"), self.grad)

    def __reduce__(self) -> Any:
        return _restored, (np.array(self._value), self._leafy("pickle"), self.grad)

    # -------------------------------- shape, index, dtype

    def reshape(self, *shape: Any, order: Any = "C", copy: bool | None = None) -> Any:
        """``np.reshape``; the shape as a tuple, or as arguments."""
        target = shape[0] if len(shape) == 1 else shape
        if order == "C" and copy is None:
            return call(np.reshape, (self, target), {})
        return call(np.reshape, (self, target), {"order": order} | ({} if copy is None else {"copy": copy}))

    def transpose(self, *axes: Any) -> Any:
        """``np.transpose``; the axes as a tuple, or as arguments."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None)
        return call(np.transpose, (self,), {} if order is None else {"axes": order})

    def flatten(self, order: Any = "C") -> Any:
        """A copy with one axis."""
        return call(np.ravel, (self,), {"order": order})

    def copy(self, order: Any = "C") -> Any:
        """A copy; recorded, where the tensor records."""
        return call(np.copy, (self,), {})

    def astype(self, dtype: Any, order: Any = "K", casting: Any = "unsafe", subok: bool = True, copy: bool = True) -> Any:
        """The values in another dtype; to integers or bools it is constant, and a plain array."""
        if not np.can_cast(self.dtype, dtype, casting):
            raise TypeError(f"Cannot cast array data from {self.dtype!r} to {np.dtype(dtype)!r} according to the rule {casting!r}")
        return cast(self, np.dtype(dtype))

    def __getitem__(self, index: Any) -> Any:
        return call(operator.getitem, (self, index), {})

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise WriteError(
            "t[index] = value can't be recorded yet; build the result with np.where, np.concatenate or np.stack"
        )

    def _written(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise WriteError("this method writes to its array, which can't be recorded yet; use NumPy's function that returns a result")

    fill = sort = partition = put = resize = byteswap = setfield = setflags = _written

    # -------------------------------- operators

    __hash__ = None  # type: ignore[assignment]

    __eq__ = _compared(operator.eq)  # type: ignore[assignment]
    __ne__ = _compared(operator.ne)  # type: ignore[assignment]
    __lt__ = _compared(operator.lt)
    __le__ = _compared(operator.le)
    __gt__ = _compared(operator.gt)
    __ge__ = _compared(operator.ge)
    __and__ = _compared(operator.and_)
    __or__ = _compared(operator.or_)
    __xor__ = _compared(operator.xor)
    __lshift__ = _compared(operator.lshift)
    __rshift__ = _compared(operator.rshift)
    __rand__ = _compared(lambda a, b: b & a)
    __ror__ = _compared(lambda a, b: b | a)
    __rxor__ = _compared(lambda a, b: b ^ a)
    __rlshift__ = _compared(lambda a, b: b << a)
    __rrshift__ = _compared(lambda a, b: b >> a)
    __floordiv__ = _compared(operator.floordiv)
    __rfloordiv__ = _compared(lambda a, b: b // a)

    def __invert__(self) -> Any:
        return ~self._value

    __neg__ = _unary(np.negative)
    __pos__ = _unary(np.positive)
    __abs__ = _unary(np.absolute)
    __add__, __radd__ = _binary(np.add, operator.add)
    __sub__, __rsub__ = _binary(np.subtract, operator.sub)
    __mul__, __rmul__ = _binary(np.multiply, operator.mul)
    __truediv__, __rtruediv__ = _binary(np.divide, operator.truediv)
    __mod__, __rmod__ = _binary(np.remainder, operator.mod)
    _power, __rpow__ = _binary(np.power, operator.pow)

    def __pow__(self, exponent: Any) -> Any:
        # NumPy itself takes these roads for Python numbers: its value, its speed.
        if type(exponent) in (int, float) and self._spec.dtype.kind in "fc":
            quick = _POWERS.get(exponent)
            if quick is not None:
                return OPERATIONS[quick](self)
        return self._power(exponent)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __matmul__(self, other: Any) -> Any:
        return _general(np.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _general(np.matmul, other, self)

    __iadd__ = _rebinding(__add__, "+=")
    __isub__ = _rebinding(__sub__, "-=")
    __imul__ = _rebinding(__mul__, "*=")
    __itruediv__ = _rebinding(__truediv__, "/=")
    __ifloordiv__ = _rebinding(__floordiv__, "//=")
    __imod__ = _rebinding(__mod__, "%=")
    __ipow__ = _rebinding(__pow__, "**=")
    __imatmul__ = _rebinding(__matmul__, "@=")


_POWERS = {2: np.square, 1: np.positive, -1: np.reciprocal, 0.5: np.sqrt}

# What np.f(tensor) calls for an elementwise ufunc: the quick road, by a tensor on its left or on its right.
OPERATIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: Tensor.__add__,
    np.subtract: Tensor.__sub__,
    np.multiply: Tensor.__mul__,
    np.divide: Tensor.__truediv__,
    np.remainder: Tensor.__mod__,
    np.power: Tensor._power,
    np.negative: Tensor.__neg__,
    np.positive: Tensor.__pos__,
    np.absolute: Tensor.__abs__,
}
for _known in list(TABLE.values()):
    _ufunc = _known.function
    if isinstance(_known, Elementwise) and isinstance(_ufunc, np.ufunc) and _ufunc not in OPERATIONS:
        if _known.arity == 1 and not _known.constant_for_real:
            OPERATIONS[_ufunc] = _unary(_ufunc)
        elif _known.arity == 2 and None not in _known.slopes:
            OPERATIONS[_ufunc] = _binary(_ufunc)[0]


def tensor(data: Any, dtype: Any = None, requires_grad: bool | None = None) -> Tensor:
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
    if value.dtype.kind not in "biufc":
        raise DTypeError(f"tensor: data of dtype {value.dtype}; a tensor holds floats, complex numbers, ints or bools")
    spec = spec_of(value)
    if requires_grad is None:
        requires_grad = value.dtype.kind in "fc"
    if not requires_grad:
        return make(value, None, spec)
    # NumPy computes ten times quicker with a scalar than with a 0-d array. (_rebinding knows a leaf.)
    return make(value if spec.ndim else value[()], _leaf_entry(spec, "tensor"), spec)


def _leaf_entry(spec: Spec, what: str) -> Entry:
    if spec.dtype.kind not in "fc":
        raise DTypeError(f"{what}: dtype {spec.dtype} can't record; only floats and complex numbers have gradients: 3.0, not 3")
    return [next(POSITIONS), Leaf(spec)]


def _restored(value: Any, records: bool, grad: Any) -> Any:
    """A copy of a leaf, or of a tensor that doesn't record."""
    twin = tensor(value, requires_grad=records)
    if grad is not None:
        twin.grad = grad
    return twin


def _shown(g: Any) -> Any:
    """A cotangent as a hook sees it, and what a hook returned as a cotangent."""
    if type(g) is Tensor:
        return g
    shown = np.asarray(g).view()
    shown.flags.writeable = False
    return shown


def make_lifted(value: Any, entry: Entry | None) -> Any:
    """What an entry saved, as a tensor that records: the sweep's ``lift``. Constants and specs stay."""
    if entry is None or isinstance(value, Spec):
        return value
    if isinstance(value, tuple):
        return tuple(value)
    return make(value, entry)


def _deposit(totals: Sequence[tuple[Leaf, Any]], recorded: bool) -> None:
    """Add what a sweep brought to the leaves: all of it, at its very end."""
    owned = [(leaf, total if recorded else _owned(total)) for leaf, total in totals]
    with _LOCK:
        sums = [(leaf, total if leaf.grad is None else leaf.grad + total) for leaf, total in owned]
        for leaf, total in sums:
            leaf.grad = total


def _owned(total: Any) -> Any:
    """The array itself where nobody else can hold it, else a copy."""
    return np.array(total)
