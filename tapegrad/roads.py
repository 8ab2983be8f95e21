"""Roads: quick ways for the common calls, each a function that does all of dispatch in a few lines.

- ``unary``: elementwise, of one real operand;
- ``two``, ``binary`` (pairs.py): elementwise, and rules, of two operands without parameters;
- ``single``, ``sequence``: rules of one operand, or of a sequence of them, with parameters that nobody
  can change, or small arrays, which are copied;
- ``several``: rules of three operands or more, tensors and arrays, without parameters.

Whatever is out of the ordinary goes the long way, through dispatch.py: a user's own primitives, whose
arrays are guarded; constants to watch; complex numbers in ``unary``; a tape that looks on.
"""

from collections.abc import Callable
from operator import getitem
from typing import Any

import numpy as np

from tapegrad.borrowed import ATOMS, COPIED, Watched, fixed, keep
from tapegrad.dispatch import call, close_road, make, read
from tapegrad.entries import POSITIONS
from tapegrad.kinds import Elementwise, Primitive
from tapegrad.pairs import binary, two
from tapegrad.primitive import ROADS, TABLE
from tapegrad.recording import ON, STATE
from tapegrad.shapes import SPECS, spec_of
from tapegrad.storage import Alias, current, link

Tensor: Any = None  # tensor.py names the class here, and what makes an empty one, as in dispatch.py
blank: Any = None

state = STATE.get  # Looked up once: 35 ns of every operation.


def road_of(known: Any) -> Callable[..., Any]:
    """The road of a primitive for calls with a tensor as first operand; made at the first call."""
    if known.road is None:
        known.road = _paved(known)
    road: Callable[..., Any] = known.road
    return road


def roads_of(function: Any) -> Any:
    """What ``ROADS`` holds of a function from now on; None where that isn't a primitive."""
    known = TABLE.get(function)
    if known is None or known.kind != "primitive":
        return None
    road = road_of(known)
    roads = ROADS[function] = road, known.reflected, known.arity  # There is a reflected one once there is a road.
    return roads


def _paved(known: Any) -> Callable[..., Any]:
    function = known.function
    if isinstance(known, Primitive) and not known.users:
        if known.arity is None:
            return sequence(known)
        if known.arity == 1:
            return single(known)
        if known.arity == 2 and not known.parameters:
            two(known, _on_arrays(known))
            return known.road  # type: ignore[no-any-return]
        if known.arity > 2:
            return several(known)
    elif isinstance(known, Elementwise) and (isinstance(function, np.ufunc) or hasattr(function, "on_arrays")):
        if known.arity == 1 and not known.constant_for_real:
            return _but_of_half(function, unary(function))
        if known.arity == 2 and isinstance(function, np.ufunc) and None not in known.slopes:
            return _but_of_half(function, binary(function)[0])
    return lambda *args, **kwargs: call(function, args, kwargs)


def _but_of_half(function: Any, road: Callable[..., Any]) -> Callable[..., Any]:
    """The road, which keeps the dtype; float16 goes the long way where a ufunc makes float32 of it, as SciPy's do."""
    if not isinstance(function, np.ufunc) or any(loop.startswith("e") for loop in function.types):
        return road
    return lambda a, *rest: call(function, (a, *rest), {}) if a.dtype.char == "e" else road(a, *rest)


def _on_arrays(known: Any) -> Callable[..., Any]:
    """What a primitive runs on plain arrays: of one of our own, what stands below ``@primitive``."""
    run: Callable[..., Any] = getattr(known.run, "on_arrays", known.run)
    return run


def unary(function: Any) -> Callable[..., Any]:
    """The operator of an elementwise function of one operand, which keeps a real dtype."""
    known = TABLE[function]
    assert isinstance(known, Elementwise)
    keeps_y, (keeps_x,) = known.keeps([True])
    run = _on_arrays(known)

    def operate(a: Any) -> Any:
        try:
            spec, x, parent = a._spec, a._array, a._node
        except AttributeError:
            spec, x, parent = current(a)
        if state() is not ON or not spec.real:
            return call(function, (a,), {})
        y = run(x)
        t = blank()
        t._array = y
        t._spec = spec
        t._kin = None
        if parent is None:
            t._node = None
        else:
            t._node = [next(POSITIONS), known, y if keeps_y else spec, x if keeps_x else spec, parent]
        return t

    known.road = operate
    return operate


def single(known: Any) -> Callable[..., Any]:
    """The operator of a primitive of one tensor, with parameters that are numbers, strings and such."""
    function, run, names, pack = known.function, _on_arrays(known), known.parameters, known.pack
    keeps_y, (keeps_x,) = known.reads_y, known.reads

    def operate(a: Any, *args: Any, **kwargs: Any) -> Any:
        if type(a._kin) is Alias:
            return read(a, *args) if function is getitem else call(function, (a, *args), kwargs)
        parent = a._node  # There is one: no alias, so no write took it away.
        if parent is None or state() is not ON:
            return call(function, (a, *args), kwargs)
        x = a._array
        if not args and not kwargs:
            packed = nothing
            y = run(x)
        elif not kwargs and len(args) == 1 and names:  # By itself: 500 ns quicker than what follows.
            value = args[0]
            kind = type(value)
            if kind not in ATOMS and not (kind is tuple and ATOMS.issuperset(map(type, value))) and not fixed(value):
                if kind is not np.ndarray or value.nbytes > COPIED:
                    return call(function, (a, value), kwargs)
                value = value.copy()
            packed = value if len(names) == 1 else (value,)
            y = run(x, value)
        else:
            known_by_name = not args and known_names.issuperset(kwargs) if kwargs else len(args) <= len(names)
            if not known_by_name or not all(map(fixed, args or kwargs.values())):
                return call(function, (a, *args), kwargs)
            packed = pack(kwargs) if kwargs else args
            y = run(x, *args, **kwargs)
        try:
            spec = SPECS.get((y.shape, y.dtype)) or spec_of(y)
        except AttributeError:  # Several outputs, or a number.
            close_road(known)
            return call(function, (a, *args), kwargs)
        if not spec.floating:
            return y
        t = blank()
        t._array = y
        t._spec = spec
        t._kin = None
        t._node = [next(POSITIONS), known, y if keeps_y else spec, x if keeps_x else a._spec, packed, parent]
        base = y.base
        if base is not None or y is x:
            link(a, x, t, y, base)
        return t

    operate.__name__, operate.__doc__ = function.__name__, f"``{known.name}`` of this tensor."
    nothing = pack({}) if len(names) == 1 else ()
    known_names = frozenset(names) - {"out"}
    known.road = operate
    return operate


def sequence(known: Any) -> Callable[..., Any]:
    """The operator of a primitive of a sequence of tensors."""
    function, run, names, pack = known.function, _on_arrays(known), known.parameters, known.pack
    keeps_y, (keeps_x,) = known.reads_y, known.reads

    def operate(operands: Any, *args: Any, **kwargs: Any) -> Any:
        packed = nothing
        if args or kwargs:
            if (args and kwargs) or len(args) > len(names) or not known_names.issuperset(kwargs):
                return call(function, (operands, *args), kwargs)
            if not all(map(fixed, args or kwargs.values())):
                return call(function, (operands, *args), kwargs)
            packed = pack(kwargs) if kwargs else args[0] if len(names) == 1 else args
        values, kept, parents = [], [], []
        try:
            for operand in operands:
                if type(operand) is not Tensor:
                    return call(function, (operands, *args), kwargs)
                values.append(operand._array)
                kept.append(operand._spec)
                parents.append(operand._node)
        except AttributeError:  # A written one, whose value is still to be looked up.
            return call(function, (operands, *args), kwargs)
        if None in parents or state() is not ON:
            return call(function, (operands, *args), kwargs)
        y = run(values, *args, **kwargs) if args or kwargs else run(values)
        if type(y) is not np.ndarray:
            return call(function, (operands, *args), kwargs)
        spec = SPECS.get((y.shape, y.dtype)) or spec_of(y)
        if not spec.floating:
            return y
        if keeps_x:
            kept = values
        t = blank()
        t._array = y
        t._spec = spec
        t._kin = None
        t._node = [next(POSITIONS), known, y if keeps_y else spec, packed, None, None, *kept, *parents]
        return t

    nothing = pack({}) if len(names) == 1 else ()
    known_names = frozenset(names) - {"out"}
    return operate


def several(known: Any) -> Callable[..., Any]:
    """The operator of a primitive of three operands or more, tensors and plain arrays, without parameters."""
    function, run, arity, reads, keeps_y = known.function, _on_arrays(known), known.arity, known.reads, known.reads_y

    def operate(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != arity or state() is not ON:
            return call(function, args, kwargs)
        values, kept, parents = [], [], []
        watched: Watched = []
        try:
            for operand, read in zip(args, reads, strict=True):
                if type(operand) is Tensor:
                    values.append(operand._array)
                    kept.append(operand._array if read else operand._spec)
                    parents.append(operand._node)
                elif type(operand) is np.ndarray and operand.dtype.char in "fdFD":
                    values.append(operand)
                    kept.append(keep(operand, watched, False) if read else spec_of(operand))
                    parents.append(None)
                else:
                    return call(function, args, kwargs)
        except AttributeError:  # A written one, whose value is still to be looked up.
            return call(function, args, kwargs)
        y = run(*values)
        if type(y) is not np.ndarray or y.base is not None or y.dtype.kind not in "fc" or not any(parents):
            return call(function, args, kwargs)
        spec = spec_of(y)
        entry = [next(POSITIONS), known, y if keeps_y else spec, nothing, watched or None, None, *kept, *parents]
        return make(y, entry, spec)

    nothing = known.pack({}) if len(known.parameters) == 1 else ()
    return operate
