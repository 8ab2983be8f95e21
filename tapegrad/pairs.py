"""Pairs: the quick road for two operands: tensors, a tensor and an array, a tensor and a number.

What is to be done for two shapes that don't agree is found out once, at their first call, and kept as a plan. Small
operands of one real dtype get an entry in the form for two (tape.py), with pulls that undo broadcasting, or that are
written out for two matrices; all others get one in the form for anything.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.borrowed import Watched, keep
from tapegrad.dispatch import call, close_road, make
from tapegrad.entries import POSITIONS
from tapegrad.kinds import Elementwise, Primitive
from tapegrad.owed import of_matrices, of_rows
from tapegrad.primitive import TABLE
from tapegrad.recording import ON, STATE
from tapegrad.shapes import Spec, spec_of, summing
from tapegrad.storage import current

Pull = Callable[[Any, Any, Any, Any], Any]  # of (g, y, a, b)

Tensor: Any = None  # tensor.py names the class here, and what makes an empty one, as in dispatch.py
blank: Any = None

state = STATE.get


class Pair:
    """What an entry in the form for two holds of its function: how to pull back, to operands of their shapes.

    ``later_a`` and ``later_b`` do the same for many entries at once, where that pays (owed.py).
    """

    __slots__ = ("known", "later_a", "later_b", "pull_a", "pull_b")

    def __init__(self, known: Any, pull_a: Pull, pull_b: Pull, later_a: Any = None, later_b: Any = None) -> None:
        self.known, self.pull_a, self.pull_b, self.later_a, self.later_b = known, pull_a, pull_b, later_a, later_b


def two(known: Any, run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The operator of a primitive of two operands, and no parameters; of any shapes and dtypes."""
    function = known.function
    elementwise = isinstance(known, Elementwise)
    alike = Pair(known, *(slope.pull for slope in known.slopes)) if elementwise else None
    by_a, by_b, by_both = ((y, a, b) for y, (a, b) in map(known.keeps, ((True, False), (False, True), (True, True))))
    # By the spec of one and of the other, where an entry may have the form for two: what makes the result, its spec,
    # and what stands in the entry. For an array, one to be copied, its shape stands there; its dtype is the tensor's.
    plans: dict[Any, dict[Any, tuple[Callable[[Any, Any], Any], Spec, Any]]] = {}
    none: dict[Any, Any] = {}
    count = 0  # of plans

    def operate(a: Any, b: Any) -> Any:
        try:
            spec_a, x, parent_a = a._spec, a._array, a._node
        except AttributeError:
            spec_a, x, parent_a = current(a)
        if type(b) is Tensor:
            try:
                spec_b, z, parent_b = b._spec, b._array, b._node
            except AttributeError:
                spec_b, z, parent_b = current(b)
            if spec_a is spec_b and alike is not None and spec_a.real:
                make_y = run
                spec = spec_a
                pair = alike
            else:
                plan = plans.get(spec_a, none).get(spec_b)
                if plan is None:
                    if state() is not ON or parent_a is parent_b is None:
                        return general(function, a, b)
                    return record(a, b, x, z, spec_a, spec_b, parent_a, parent_b)
                make_y, spec, pair = plan
        elif (type(b) is float or type(b) is int) and alike is not None and spec_a.real:
            z = spec_a.numbers.get(b) if spec_a.ndim else b
            if z is None:
                z = _number(b, spec_a)
            parent_b = None
            make_y = run
            spec = spec_b = spec_a
            pair = alike
        elif type(b) is np.ndarray:
            return beside(a, b)
        else:
            return general(function, a, b)
        if state() is not ON:
            return general(function, a, b)
        y = make_y(x, z)
        t = blank()
        t._array = y
        t._spec = spec
        t._kin = None
        if parent_a is not None:
            keeps_y, keeps_a, keeps_b = by_a if parent_b is None else by_both
        elif parent_b is not None:
            keeps_y, keeps_a, keeps_b = by_b
        else:
            t._node = None
            return t
        t._node = [
            next(POSITIONS),
            pair,
            y if keeps_y else spec,
            x if keeps_a else spec_a,
            z if keeps_b else spec_b,
            parent_a,
            parent_b,
        ]
        return t

    def beside(a: Any, b: Any) -> Any:
        """A tensor and a plain array, in either order."""
        first = type(a) is Tensor
        t, array = (a, b) if first else (b, a)
        try:
            spec_t, value, parent = t._spec, t._array, t._node
        except AttributeError:
            spec_t, value, parent = current(t)
        x, z = (value, array) if first else (array, value)
        if parent is None or state() is not ON:
            return general(function, a, b)
        plan = None
        if array.dtype is spec_t.dtype:
            shape = array.shape
            plan = plans.get(spec_t, none).get(shape) if first else plans.get(shape, none).get(spec_t)
        if plan is None:
            if array.dtype.char not in "fdFD":
                return general(function, a, b)
            specs = (spec_t, spec_of(array), parent, None) if first else (spec_of(array), spec_t, None, parent)
            return record(a, b, x, z, *specs)
        make_y, spec, pair = plan
        y = make_y(x, z)
        keeps_y, keeps_a, keeps_b = by_a if first else by_b
        t = blank()
        t._array = y
        t._spec = spec
        t._kin = None
        if first:
            kept, other = value if keeps_a else spec_t, array.copy() if keeps_b else spec_of(array)
            t._node = [next(POSITIONS), pair, y if keeps_y else spec, kept, other, parent, None]
        else:
            kept, other = value if keeps_b else spec_t, array.copy() if keeps_a else spec_of(array)
            t._node = [next(POSITIONS), pair, y if keeps_y else spec, other, kept, None, parent]
        return t

    def record(a: Any, b: Any, x: Any, z: Any, spec_a: Any, spec_b: Any, parent_a: Any, parent_b: Any) -> Any:
        """Operands that are met for the first time, or whose entry is in the form for anything."""
        # Of complex scalars the operator rounds otherwise than the ufunc.
        y = function(x, z) if elementwise else run(x, z)
        try:
            spec = spec_of(y)
        except AttributeError:  # Several outputs, or a number.
            close_road(known)
            return call(function, (a, b), {})
        if not spec.floating:
            return y
        keeps_y, keeps_a, keeps_b = by_b if parent_a is None else by_a if parent_b is None else by_both
        watched: Watched = []
        x = x if type(a) is Tensor else keep(x, watched, False) if keeps_a else None
        z = z if type(b) is Tensor else keep(z, watched, False) if keeps_b else None
        kept = (x if keeps_a else spec_a, z if keeps_b else spec_b, parent_a, parent_b)
        plan = None if watched or (not elementwise and spec.ndim != 2) else _plan(known, run, spec_a, spec_b, spec)
        if plan is None:
            return make(y, [next(POSITIONS), known, y if keeps_y else spec, (), watched or None, None, *kept], spec)
        key_a, key_b = spec_a if type(a) is Tensor else spec_a.shape, spec_b if type(b) is Tensor else spec_b.shape
        nonlocal count
        count += 1
        if count > 4096:
            plans.clear()
            count = 1
        plans.setdefault(key_a, {})[key_b] = plan
        return make(y, [next(POSITIONS), plan[2], y if keeps_y else spec, *kept], spec)

    def road(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        return call(function, (a, b, *args), kwargs) if args or kwargs else operate(a, b)

    if known.reflected is None:
        known.reflected = beside
    if known.road is None:
        known.road = road
    return operate


def binary(
    ufunc: np.ufunc, run: Callable[[Any, Any], Any] | None = None
) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """The operator of an elementwise function of two operands, and its reflected form.

    run : does the same on arrays, and is quicker on scalars
    """
    known: Any = TABLE[ufunc]
    pair = Pair(known, *(slope.pull for slope in known.slopes))
    run = run or ufunc
    operate = known.road = two(known, run)
    keeps_y, (keeps_a, keeps_b) = known.keeps([False, True])

    def reflected(b: Any, a: Any) -> Any:
        spec, parent = b._spec, b._entry
        if type(a) is not float and type(a) is not int:
            return general(ufunc, a, b)
        if parent is None or not spec.real or state() is not ON:
            return call(ufunc, (a, b), {})
        x = spec.numbers.get(a) if spec.ndim else a
        if x is None:
            x = _number(a, spec)
        z = b._value
        y = run(x, z)
        kept = (x if keeps_a else spec, z if keeps_b else spec)
        return make(y, [next(POSITIONS), pair, y if keeps_y else spec, *kept, None, parent], spec)

    return operate, reflected


def _number(number: float, spec: Spec) -> Any:
    """A Python number as an array of a tensor's dtype: a ufunc takes it 190 ns quicker."""
    array = np.array(number, spec.dtype)
    array.flags.writeable = False
    # 0.0 and -0.0 are one key; nan is none.
    if number and number == number and len(spec.numbers) < 64:
        spec.numbers[number] = array
    return array


def _plan(known: Any, run: Callable[[Any, Any], Any], a: Spec, b: Spec, y: Spec) -> Any:
    """What to do with small operands of one real dtype and these shapes: (function, spec of the result, pair).

    The pulls undo broadcasting, too. None where an entry can't have the form for two.
    """
    if not y.few or not a.dtype is b.dtype is y.dtype:
        return None
    if isinstance(known, Primitive):
        product, pull_a, pull_b = known.of_matrices
        if product is None or not a.ndim == b.ndim == 2:
            return None
        # Of a vector, and where BLAS has no part in it, the two may round in another order.
        same = y.dtype.char in "fd" and min(*a.shape, *b.shape) > 1
        return (product if same else run), y, Pair(known, pull_a, pull_b, *of_matrices(a, b))
    pull_a, pull_b = (slope.pull for slope in known.slopes)
    later = of_rows(pull_a, y, a), of_rows(pull_b, y, b)
    return run, y, Pair(known, _summed(pull_a, y, a), _summed(pull_b, y, b), *later)


def _summed(pull: Pull, y: Spec, operand: Spec) -> Pull:
    if operand.shape == y.shape:
        return pull
    total = summing(y, operand.shape)
    return lambda g, y, a, b: total(pull(g, y, a, b))


def general(ufunc: Any, a: Any, b: Any) -> Any:
    """The long way for an operator, which another library's array may want to answer instead."""
    for operand in (a, b):
        if hasattr(type(operand), "__array_ufunc__") and not isinstance(operand, (Tensor, np.ndarray, np.generic)):
            return NotImplemented  # Another library's array: it may know what to do.
    return call(ufunc, (a, b), {})
