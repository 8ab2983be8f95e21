"""What the user owns and a rule will read: copied where small, watched where large.

An entry may hold an array that the user can still write to. Up to ``COPIED`` bytes it is copied when
recorded. A larger one is kept as it is, with a fingerprint of ``SAMPLED`` of its elements, which is
compared when a rule is about to read it: a write that touched none of them goes unseen, unless
``tg.debug()`` fingerprints in full.
"""

import operator
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.errors import ChangedDataError

COPIED = 4096  # bytes
SAMPLED = 64  # elements
# Types whose values nobody can change.
ATOMS = frozenset(
    {int, bool, float, complex, str, bytes, type(None), type(Ellipsis), type, np.intp, np.int32, np.bool_}
)


Watched = list[tuple[Any, int, bool]]  # arrays, their fingerprints, whether those are in full


def require_unchanged(watched: Watched, name: str) -> None:
    """Raise ChangedDataError where an array isn't what it was when ``name`` was recorded."""
    for array, mark, in_full in watched:
        if fingerprint(array, in_full) != mark:
            raise ChangedDataError(
                f"{name}: an array of shape {array.shape} and dtype {array.dtype} that its rule reads was "
                f"changed after it was recorded; pass a copy, or write to it after backward()"
            )


def fingerprint(array: Any, in_full: bool) -> int:
    """A checksum of the array's elements: all of them, or SAMPLED ones spread over it."""
    if in_full or array.size <= SAMPLED:
        return zlib.crc32(np.ascontiguousarray(array).tobytes())
    flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
    last = array.size - 1
    return zlib.crc32(flat[:: last // SAMPLED].tobytes(), zlib.crc32(flat[last:].tobytes()))


def fixed(value: Any) -> bool:
    """Whether a parameter is something that nobody can change: numbers, strings, tuples and slices of them."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is tuple:
        return ATOMS.issuperset(map(type, value)) or all(map(fixed, value))
    return kind is slice and ATOMS.issuperset((type(value.start), type(value.stop), type(value.step)))


def keep(value: Any, watched: Watched, in_full: bool) -> Any:
    """``value`` as an entry may hold it; containers are gone through, large arrays noted in ``watched``."""
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is np.ndarray:
        if value.nbytes <= COPIED:
            return value.copy()
        watched.append((value, fingerprint(value, in_full), in_full))
        return value
    if kind is slice:
        return slice(*(None if v is None else operator.index(v) for v in (value.start, value.stop, value.step)))
    if isinstance(value, tuple):
        return like(value, [keep(v, watched, in_full) for v in value])
    if kind is list:
        return [keep(v, watched, in_full) for v in value]
    if kind is dict:
        return {k: keep(v, watched, in_full) for k, v in value.items()}
    return value


def like(value: tuple[Any, ...], parts: Sequence[Any]) -> tuple[Any, ...]:
    """The parts as a tuple of the kind of ``value``: NumPy's named tuples stay such."""
    make_tuple = getattr(type(value), "_make", tuple)
    return make_tuple(parts)
