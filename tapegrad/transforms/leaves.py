"""Leaves: which can be differentiated, what a result is made of, and all of them in one vector."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.containers import built, leaves_of, paths
from tapegrad.dispatch import make
from tapegrad.errors import DTypeError, ShapeError
from tapegrad.shapes import cast
from tapegrad.tensor import Tensor


def flatten(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """All the numbers of a container in one vector, as optimisers want them, and the way back.

    tree : a container of floating or complex arrays and Python floats, of any shapes
    Returns (vector, unflatten). The vector is a new array, shape (n,), of the dtype that the leaves have in
    common (of nothing at all, float64); a Tensor where a leaf is one that records. ``unflatten(vector)`` builds
    the same container of copies, each leaf of its own dtype; of Tensors, where the vector is one.
    Raises DTypeError for leaves that aren't floats or complex numbers; ``unflatten`` raises ShapeError and DTypeError
    for another vector than fits.

    >>> import numpy as np, tapegrad as tg
    >>> vector, unflatten = tg.flatten({"w": np.array([[1.0, 2.0]]), "b": 3.0})
    >>> vector
    array([1., 2., 3.])
    >>> unflatten(vector * 2)
    {'w': array([[2., 4.]]), 'b': 6.0}
    """
    leaves, structure = leaves_of(tree)
    for i, leaf in enumerate(leaves):
        require_differentiable("flatten", leaf, lambda i=i: paths(structure, "tree")[i])  # type: ignore[misc]
    values: list[Any] = [leaf if type(leaf) is Tensor else np.asarray(leaf) for leaf in leaves]
    specs = [(value.shape, value.dtype, made_of(leaf)) for value, leaf in zip(values, leaves, strict=True)]
    dtype = np.result_type(*(dtype for _shape, dtype, _made in specs)) if specs else np.dtype(np.float64)
    rows = [cast(value.reshape(-1), dtype) for value in values]
    joined: Any = np.concatenate(rows) if rows else np.zeros(0)
    vector = joined.numpy().copy() if type(joined) is Tensor and not joined.requires_grad else joined
    total = sum(math.prod(shape) for shape, _dtype, _made in specs)

    def unflatten(vector: Any) -> Any:
        if type(vector) is not Tensor:
            vector = np.asarray(vector)
        if vector.shape != (total,):
            raise ShapeError(f"unflatten: the vector has shape {vector.shape}; the container has ({total},) numbers")
        parts, start = [], 0
        for shape, dtype, made in specs:
            if not np.can_cast(vector.dtype, dtype, "same_kind") and vector.dtype.kind not in "biu":
                raise DTypeError(f"unflatten: a vector of dtype {vector.dtype} doesn't cast to a leaf's {dtype}")
            stop = start + math.prod(shape)
            part = cast(vector[start:stop].reshape(shape), dtype)
            parts.append(part if type(part) is Tensor else remade(part, made))
            start = stop
        return built(structure, iter(parts))

    return vector, unflatten


def require_differentiable(name: str, leaf: Any, place: Callable[[], str]) -> None:
    """Raise DTypeError where a leaf is no floating or complex array or number. ``place`` is asked for then."""
    kind = type(leaf)
    if kind is float or kind is complex:
        return
    if kind in (int, bool):
        raise DTypeError(f"{name}: {place()} is {leaf!r}, which has no derivative; pass {float(leaf)}")
    if kind is not Tensor and not isinstance(leaf, (np.ndarray, np.generic)):
        raise DTypeError(
            f"{name}: {place()} is a {kind.__name__}, neither an array or a float nor a container of them; "
            f"a class of your own becomes one by tapegrad.register_container"
        )
    if isinstance(leaf, (np.ma.MaskedArray, np.matrix)):
        raise DTypeError(f"{name}: {place()} is a {kind.__name__}, which is refused; pass a plain array")
    if leaf.dtype.kind in "biu":
        raise DTypeError(f"{name}: {place()} has dtype {leaf.dtype}, which has no derivative; pass floats: 3.0, not 3")
    if leaf.dtype.kind not in "fc":
        raise DTypeError(f"{name}: {place()} has dtype {leaf.dtype}; only floats and complex numbers have derivatives")


ARRAY, SCALAR, NUMBER = "array", "a scalar of NumPy's", "a number of Python's"


def made_of(leaf: Any) -> str:
    """What a leaf is: an array (or a tensor of one), a scalar of NumPy's, or a number of Python's."""
    if type(leaf) is Tensor:
        leaf = leaf._value
    return ARRAY if isinstance(leaf, np.ndarray) else SCALAR if isinstance(leaf, np.generic) else NUMBER


def remade(value: Any, made: str) -> Any:
    """An array of no axes as what its leaf was made of; every other array as it is."""
    if value.shape != ():
        return value
    if made is ARRAY:
        return np.asarray(value)
    return value.item() if made is NUMBER else value[()]


def plain(leaf: Any) -> Any:
    """A leaf of a result without its tape: an array that is the caller's own, a scalar, or whatever it is."""
    if type(leaf) is not Tensor:
        return leaf
    value = leaf._value
    return value if isinstance(value, np.generic) else value.copy("K")


def own_tensor(total: Any) -> Any:
    """A result of a recorded sweep as a tensor of the caller's own: two inputs may have been given one."""
    if type(total) is not Tensor:
        return make(np.array(total), None)
    value = total._value
    if type(value) is np.ndarray and not value.flags.writeable:
        value = value.copy()
    return make(value, total._entry, total._spec)
