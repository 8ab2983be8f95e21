"""Random programs of reads, writes, views and arithmetic, to run on arrays and on tensors alike.

A program is a list of steps (what, the number of an array, details). Each acts on a list of arrays; a
step that NumPy refuses isn't taken. A program that fails is made smaller by leaving out steps.

On complex arrays of an imaginary step, what is constant (``detach``, writes under ``no_grad``) loses its
imaginary part, so that the complex step has the gradient that tensors should have.
"""

import contextlib
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tapegrad as tg

Step = tuple[Any, ...]


def run(steps: Sequence[Step], x: Any) -> list[Any]:
    """The arrays of a program that starts from ``x``; a fresh copy comes first."""
    arrays = [x * 1.0]
    for step in steps:
        take(step, arrays)
    return arrays


def take(step: Step, arrays: list[Any]) -> None:
    """One step."""
    what, at, *details = step
    STEPS[what](arrays, at, *details)


def dropped(a: Any) -> Any:
    """The value as a constant: with no derivative."""
    return a.detach() if isinstance(a, tg.Tensor) else a.real.astype(a.dtype)


# Views (and copies, where NumPy has no view), as programs name them.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "T": lambda a: a.T,
    "reshape(-1)": lambda a: a.reshape(-1),
    "reshape(-1, order=F)": lambda a: a.reshape(-1, order="F"),
    "[::-1]": lambda a: a[::-1],
    "[..., None]": lambda a: a[..., None],
    "[:]": lambda a: a[:],
    "swapaxes": lambda a: a.swapaxes(0, -1),
    "ravel": np.ravel,
    "diagonal": np.diagonal,
    "squeeze": np.squeeze,
    "flip": np.flip,
    "reshape(reversed)": lambda a: a.reshape(a.shape[::-1]),
    "expand_dims": lambda a: np.expand_dims(a, 0),
    "broadcast_to": lambda a: np.broadcast_to(a, (2, *a.shape)),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "rot90": np.rot90,
    "windows": lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    "atleast_2d": np.atleast_2d,
    "0-d": lambda a: a[(*(0,) * a.ndim, ...)],
    "middle": lambda a: a[tuple(slice(1, -1) for _ in a.shape)],
    "last of list": lambda a: list(a)[-1],
    "copy": np.copy,
}
PARTS: dict[str, Callable[[Any], Any]] = {"real": lambda a: a.real, "imag": lambda a: a.imag}  # of complex arrays

IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": lambda a, b: operator.itruediv(a, b * b + 2.0),
}

AT: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": np.add.at,
    "subtract": np.subtract.at,
    "multiply": np.multiply.at,
}


def _in_place(arrays: list[Any], at: int, symbol: str, other: int) -> None:
    arrays[at] = IN_PLACE[symbol](arrays[at], arrays[other])


def _in_place_at(arrays: list[Any], at: int, index: Any, symbol: str, other: int) -> None:
    a = arrays[at]
    a[index] = IN_PLACE[symbol](a[index], arrays[other])  # What a[index] += ... comes to.


def _write(arrays: list[Any], at: int, index: Any, other: int, factor: float) -> None:
    arrays[at][index] = arrays[other] * factor


def _write_as_it_is(arrays: list[Any], at: int, index: Any, other: int) -> None:
    arrays[at][index] = arrays[other]


def _write_constant(arrays: list[Any], at: int, index: Any, value: float) -> None:
    arrays[at][index] = value


def _write_unrecorded(arrays: list[Any], at: int, index: Any, other: int) -> None:
    a = arrays[at]
    if isinstance(a, tg.Tensor):
        with tg.no_grad():
            a[index] = arrays[other] * 0.5
    else:
        a[index] = dropped(arrays[other] * 0.5)


def _in_place_unrecorded(arrays: list[Any], at: int, other: int) -> None:
    a = arrays[at]
    if isinstance(a, tg.Tensor):
        with tg.no_grad():
            a *= arrays[other]
    else:
        a *= arrays[other]
        a[...] = dropped(a)


def _view_written_unrecorded(arrays: list[Any], at: int, view: str) -> None:
    """A view taken and written under no_grad."""
    with tg.no_grad() if isinstance(arrays[at], tg.Tensor) else contextlib.nullcontext():
        part = VIEWS[view](arrays[at])
        part[...] = 0.25


def _ufunc_at(arrays: list[Any], at: int, name: str, index: Any, other: int) -> None:
    a, b = arrays[at], arrays[other] * 0.9
    if b.ndim and b.shape != a[index].shape:
        raise ValueError("NumPy is wrong about values with fewer axes than the index")
    _require_writeable(a)
    AT[name](a, index, b)


def _where(arrays: list[Any], at: int, mask: Any, first: int, second: int) -> None:
    np.add(arrays[first], arrays[second], out=arrays[at], where=mask)


def _reduced(arrays: list[Any], at: int, name: str, other: int, axis: int) -> None:
    b = arrays[other]
    if name == "cumsum" and (b.shape != arrays[at].shape or not b.shape or not b.size):
        raise ValueError("NumPy takes more shapes than it should, and is lost")
    getattr(np, name)(b, axis=axis, out=arrays[at])


def _matmul(arrays: list[Any], at: int, b: int, c: int) -> None:
    if not len(arrays[at].shape) == len(arrays[b].shape) == len(arrays[c].shape) == 2:
        raise ValueError("NumPy puts a result of shape (1, n, m) into an array of shape (n, m)")
    np.matmul(arrays[b], arrays[c], out=arrays[at])


def _scan(arrays: list[Any], at: int, other: int) -> None:
    a, b = arrays[at], arrays[other]
    for i in range(1, len(a)):
        a[i] = np.sin(a[i - 1]) * 0.5 + b[i]


def _sort(arrays: list[Any], at: int, axis: int) -> None:
    arrays[at].sort(axis=axis)


def _copyto(arrays: list[Any], at: int, other: int, mask: Any) -> None:
    _require_writeable(arrays[at])
    np.copyto(arrays[at], arrays[other], where=mask)


def _require_writeable(a: Any) -> None:
    if isinstance(a, np.ndarray) and not a.flags.writeable:
        raise ValueError("NumPy sometimes writes here, to what is read-only")


def _detach(arrays: list[Any], at: int) -> None:
    _require_writeable(arrays[at])
    arrays.append(np.copy(dropped(arrays[at])))  # (The order in memory is the copy's, on both sides.)


def _swap(arrays: list[Any], at: int) -> None:
    a = arrays[at]
    a[[0, -1]] = a[[-1, 0]]


def _fill_diagonal(arrays: list[Any], at: int, other: int) -> None:
    np.fill_diagonal(arrays[at], arrays[other].copy())


def _put(arrays: list[Any], at: int, ind: Any, other: int) -> None:
    if isinstance(arrays[at], np.generic):
        raise TypeError("NumPy puts it into a copy")
    np.put(arrays[at], ind, arrays[other] * 1.1)


def _put_along_axis(arrays: list[Any], at: int, other: int) -> None:
    a = arrays[at]
    numbers = np.argsort(np.cos(np.arange(a.size)).reshape(a.shape), axis=0)[:2]
    np.put_along_axis(a, numbers, arrays[other][:1] * 0.8, axis=0)


STEPS: dict[str, Callable[..., Any]] = {
    "view": lambda arrays, at, name: arrays.append((VIEWS | PARTS)[name](arrays[at])),
    "read": lambda arrays, at, index: arrays.append(arrays[at][index]),
    "buffer": lambda arrays, at: arrays.append(np.zeros_like(arrays[at])),
    "combine": lambda arrays, at, b: arrays.append(arrays[at] * 0.7 + np.sin(arrays[b]) * 0.5),
    "detach": _detach,
    "drop": lambda arrays, at: arrays.__setitem__(at, arrays[at] * 0.5),
    "write": _write,
    "write as it is": _write_as_it_is,
    "write a constant": _write_constant,
    "write unrecorded": _write_unrecorded,
    "in place": _in_place,
    "in place at": _in_place_at,
    "in place unrecorded": _in_place_unrecorded,
    "view written unrecorded": _view_written_unrecorded,
    "at": _ufunc_at,
    "out": lambda arrays, at, b, c: np.multiply(arrays[b], arrays[c], out=arrays[at]),
    "matmul out": _matmul,
    "where": _where,
    "reduced": _reduced,
    "put": _put,
    "copyto": _copyto,
    "putmask": lambda arrays, at, mask, b: np.putmask(arrays[at], mask, arrays[b] * 0.9),
    "place": lambda arrays, at, mask, b: np.place(arrays[at], mask, arrays[b] * 0.9),
    "put_along_axis": _put_along_axis,
    "fill_diagonal": _fill_diagonal,
    "scan": _scan,
    "sort": _sort,
    "swap": _swap,
    "overlap": lambda arrays, at: _in_place(arrays_of(arrays[at]), 0, "+=", 1),
}


def arrays_of(a: Any) -> list[Any]:
    """Two views of an array that overlap."""
    return [a[1:], a[:-1]]


def random_index(rng: Any, shape: tuple[int, ...]) -> Any:
    """Something to index an array of this shape with: of every kind."""
    kind = rng.integers(11)
    if not shape or kind == 0:
        return ...
    n = shape[0]
    if kind == 1:
        return int(rng.integers(-n, n)) if n else slice(None)
    if kind == 2:
        return tuple(int(rng.integers(m)) if m else slice(None) for m in shape)
    if kind == 3:
        return slice(int(rng.integers(n + 1)), None, int(rng.choice([1, 2])))
    if kind == 4:
        return slice(None, None, -1), *(slice(1, None) for _ in shape[1:])
    if kind == 5:
        return rng.integers(-n, n, size=int(rng.integers(1, 4))) if n else slice(None)
    if kind == 6:
        return rng.random(shape) < 0.5
    if kind == 7:
        return [int(i) for i in rng.integers(-n, n, size=2)] if n else slice(None)
    if kind == 8:
        return (rng.integers(n, size=(2, 1)), *(rng.integers(m, size=2) for m in shape[1:])) if 0 not in shape else ...
    if kind == 9:
        return slice(None), None, *(slice(None, None, -1) for _ in shape[1:])
    return (..., int(rng.integers(shape[-1]))) if shape[-1] else ...


def random_step(rng: Any, arrays: list[Any], kinds: Sequence[str]) -> Step:
    """A step that may or may not be possible."""
    a, b, c = (int(i) for i in rng.integers(len(arrays), size=3))
    what = str(rng.choice(kinds))
    shape = arrays[a].shape
    index, mask = random_index(rng, shape), rng.random(shape) < 0.5
    symbol, name = str(rng.choice(list(IN_PLACE))), str(rng.choice(list(AT)))
    views = list(VIEWS | PARTS) if arrays[0].dtype.kind == "c" else list(VIEWS)
    details: dict[str, Any] = {
        "view": [str(rng.choice(views))],
        "view written unrecorded": [str(rng.choice(list(VIEWS)))],
        "read": [index],
        "write": [index, b, float(rng.uniform(0.5, 1.5))],
        "write as it is": [index, b],
        "write a constant": [index, float(rng.uniform(-1, 1))],
        "write unrecorded": [index, b],
        "in place": [symbol, b],
        "in place at": [index, symbol, b],
        "at": [name, index, b],
        "out": [b, c],
        "matmul out": [b, c],
        "where": [mask, b, c],
        "reduced": [str(rng.choice(["sum", "mean", "prod", "cumsum"])), b, int(rng.integers(-1, 1))],
        "put": [rng.integers(-arrays[a].size, max(arrays[a].size, 1), size=3), b],
        "copyto": [b, mask],
        "putmask": [mask, b],
        "place": [mask, b],
        "sort": [int(rng.integers(-1, 1))],
    }
    if what in ("combine", "in place unrecorded", "put_along_axis", "fill_diagonal", "scan"):
        return what, a, b
    return what, a, *details.get(what, [])


def _is_mask(index: Any) -> bool:
    return isinstance(index, np.ndarray) and index.dtype.kind == "b"


def is_ambiguous(step: Step, arrays: list[Any]) -> bool:
    """Whether NumPy computes this wrongly (a mask, and a value in the same memory), or sorts equal elements."""
    what, at, *details = step
    if what == "sort":
        return len(np.unique(arrays[at].real)) < arrays[at].size
    if what not in ("write as it is", "in place at") or not _is_mask(details[0]):
        return False
    return np.may_share_memory(arrays[at], arrays[details[-1]])


# What makes constants: differences can't follow it, since they would move these too.
UNRECORDED = ("detach", "write unrecorded", "in place unrecorded", "view written unrecorded")


def random_program(seed: int, length: int, x: Any, without: Sequence[str] = ()) -> list[Step]:
    """Steps that all work, from a seed; ``without`` those of some kinds."""
    rng = np.random.default_rng(seed)
    kinds = [what for what in STEPS if what not in without]
    kinds += ["view", "view", "write", "write as it is", "in place", "in place at", "read"]
    steps: list[Step] = []
    arrays = [x * 1.0]
    while len(steps) < length:
        step = random_step(rng, arrays, kinds)
        if is_ambiguous(step, arrays):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Complex values into a real array, means of nothing.
                take(step, arrays)
            possible = all(np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e3 for array in arrays)
        except (ValueError, IndexError, TypeError, Warning):
            possible = False
        if possible and max(array.size for array in arrays) <= 200:
            steps.append(step)
        else:
            arrays = run(steps, x)
    return steps


def part_of_loss(i: int, a: Any) -> Any:
    """A number that each element of an array has a part in, in its own way."""
    weights = np.cos(np.arange(a.size).reshape(a.shape) + i)
    return np.sum(a * weights) + np.sum(a * a) * 0.1


def loss(arrays: Sequence[Any]) -> Any:
    """A number that every array has a part in."""
    total = 0.0
    for i, a in enumerate(arrays):
        total = total + part_of_loss(i, a)
    return total


def smaller(steps: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """The program with every step left out that it fails without."""
    i = len(steps) - 1
    while i >= 0:
        fewer = steps[:i] + steps[i + 1 :]
        try:
            if fails(fewer):
                steps = fewer
        except (ValueError, IndexError, TypeError):
            pass  # Without it, the rest makes no sense.
        i -= 1
    return steps
