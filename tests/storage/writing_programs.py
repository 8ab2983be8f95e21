"""Random programs of reads, writes, views and arithmetic, to run on arrays and on tensors alike.

A program is a list of steps (what, *which arrays by number, details). Each acts on a list of arrays; a
step that NumPy refuses isn't taken. A program that fails is made smaller by leaving out steps.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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
    a = arrays[at]
    if what == "view":
        arrays.append(VIEWS[details[0]](a))
    elif what == "read":
        arrays.append(a[details[0]])
    elif what == "buffer":
        arrays.append(np.zeros_like(a))
    elif what == "combine":
        arrays.append(a * 0.7 + np.sin(arrays[details[0]]) * 0.5)
    elif what == "write":
        index, other, factor = details
        a[index] = arrays[other] * factor
    elif what == "write as it is":
        index, other = details
        a[index] = arrays[other]
    elif what == "constant":
        a[details[0]] = details[1]
    elif what == "in place at":
        a[details[0]] *= details[1]
    elif what == "add in place at":
        a[details[0]] += arrays[details[1]]
    elif what == "in place":
        a += arrays[details[0]]
        arrays[at] = a
    elif what == "out":
        np.multiply(arrays[details[0]], arrays[details[1]], out=a)
    elif what == "where":
        mask, first, second = details
        np.add(arrays[first], arrays[second], out=a, where=mask)
    elif what == "drop":
        arrays[at] = arrays[at] * 0.5
    else:
        raise AssertionError(what)


# Views (and copies, where NumPy has no view), as programs name them.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "T": lambda a: a.T,
    "reshape(-1)": lambda a: a.reshape(-1),
    "[::-1]": lambda a: a[::-1],
    "[..., None]": lambda a: a[..., None],
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
}


def random_index(rng: Any, shape: tuple[int, ...]) -> Any:
    """Something to index an array of this shape with: of every kind."""
    kind = rng.integers(8)
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
    return (..., int(rng.integers(shape[-1]))) if shape[-1] else ...


def random_step(rng: Any, arrays: list[Any]) -> Step:
    """A step that may or may not be possible."""
    count = len(arrays)
    a, b, c = (int(i) for i in rng.integers(count, size=3))
    kind = int(rng.integers(13))
    index = random_index(rng, arrays[a].shape)
    if kind in (0, 1):
        return "view", a, str(rng.choice(list(VIEWS)))
    if kind == 2:
        return "read", a, index
    if kind == 3:
        return "buffer", a
    if kind == 4:
        return "combine", a, b
    if kind == 5:
        return "write", a, index, b, float(rng.uniform(0.5, 1.5))
    if kind == 6:
        return "write as it is", a, index, b
    if kind == 7:
        return "constant", a, index, float(rng.uniform(-1, 1))
    if kind == 8:
        return "in place at", a, index, float(rng.uniform(0.5, 1.5))
    if kind == 9:
        return "add in place at", a, index, b
    if kind == 10:
        return "in place", a, b
    if kind == 11:
        return "out", a, b, c
    return "where", a, rng.random(arrays[a].shape) < 0.5, b, c


def overlaps_a_mask(step: Step, arrays: list[Any]) -> bool:
    """Whether NumPy itself computes this wrongly: a mask, and a value in the same memory."""
    what, at, *details = step
    if what not in ("write as it is", "add in place at") or getattr(details[0], "dtype", None) != bool:
        return False
    return np.may_share_memory(arrays[at], arrays[details[1]])


def random_program(seed: int, length: int, x: Any) -> list[Step]:
    """Steps that all work, from a seed."""
    rng = np.random.default_rng(seed)
    steps: list[Step] = []
    arrays = [x * 1.0]
    while len(steps) < length:
        step = random_step(rng, arrays)
        if overlaps_a_mask(step, arrays):
            continue
        before = [array.copy() for array in arrays]
        try:
            take(step, arrays)
        except (ValueError, IndexError, TypeError):
            arrays = run(steps, x)
            assert all(map(np.array_equal, arrays, before))
            continue
        if max(array.size for array in arrays) > 200 or not all(np.isfinite(array).all() for array in arrays):
            arrays = run(steps, x)
            continue
        steps.append(step)
    return steps


def loss(arrays: Sequence[Any]) -> Any:
    """A number that every array has a part in, each element in its own way."""
    total = 0.0
    for i, a in enumerate(arrays):
        weights = np.cos(np.arange(a.size).reshape(a.shape) + i)
        total = total + np.sum(a * weights) + np.sum(a * a) * 0.1
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
