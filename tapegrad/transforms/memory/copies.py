"""Copies of what the user owns, as it is when a function is called that is to be run again.

An array that a thousand calls are given, a matrix of weights say, is held once: a large copy is shared by all
calls that were given the same bits at the same place. Each call looks through the array to see whether it
still is what was copied. A copy goes with the last call that holds it.
"""

from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tapegrad.borrowed import COPIED
from tapegrad.dispatch import make
from tapegrad.shapes import read_only
from tapegrad.tensor import Tensor

_BLOCK = 1 << 16  # words that are compared at a time
# By place in memory and layout. Two threads that miss one at the same time make two, and either is right.
_LARGE: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def copied(leaf: Any) -> Any:
    """A copy of an array; anything else as it is."""
    if not isinstance(leaf, np.ndarray) or (type(leaf) is np.memmap and leaf.mode == "r"):
        return leaf  # A file mapped for reading: perhaps more than fits in memory, and nobody writes to it from here.
    return leaf.copy("K")


def kept(leaf: Any) -> Any:
    """What a leaf of the arguments is now, whatever is written to it later: a tensor's value, a copy of an array."""
    if type(leaf) is Tensor:
        return make(leaf._value, None, leaf._spec)
    if type(leaf) is np.memmap and leaf.mode != "r":
        leaf = np.asarray(leaf)
    if not _is_large(leaf) or leaf.dtype.hasobject:
        return copied(leaf)
    key = (leaf.__array_interface__["data"][0], leaf.shape, leaf.strides, leaf.dtype)
    copy = _LARGE.get(key)
    if copy is None or not _same_bits(copy, leaf):
        copy = _LARGE[key] = leaf.copy("K")
    return copy


def fresh(leaf: Any) -> Any:
    """A kept leaf, to be handed to a run: nothing that is done to it changes what is kept."""
    if type(leaf) is Tensor:
        return make(leaf._value, None, leaf._spec)
    return read_only(leaf) if _is_large(leaf) else copied(leaf)


def _is_large(leaf: Any) -> bool:
    return type(leaf) is np.ndarray and leaf.nbytes > COPIED


def _same_bits(copy: Any, array: Any) -> bool:
    """Whether an array is what it was, to the bit: also nan, and the sign of a zero."""
    if copy.flags.f_contiguous:  # In the order of the memory, where that can be.
        copy, array = copy.T, array.T
    a, b = _words(copy), _words(array)
    return all(np.array_equal(a[i : i + _BLOCK], b[i : i + _BLOCK]) for i in range(0, a.size, _BLOCK))


def _words(array: Any) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint64 if flat.nbytes % 8 == 0 else np.uint8)
