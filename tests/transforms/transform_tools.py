"""What the tests of the transforms share: containers, random functions, and names for small functions."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

EPS = np.finfo(np.float64).eps


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Layer:
    weights: Any
    bias: Any
    name: str = field(default="layer", metadata={"static": True})


@dataclass(frozen=True, slots=True)
class Frozen:
    weights: Any
    bias: Any


class Own:
    """A class that becomes a container when it is registered."""

    def __init__(self, left: Any, right: Any, label: str) -> None:
        self.left, self.right, self.label = left, right, label


# Each makes a container of two parts; the second function takes these out again.
CONTAINERS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], tuple[Any, Any]]]] = {
    "tuple": (lambda a, b: (a, b), lambda c: (c[0], c[1])),
    "list": (lambda a, b: [a, b], lambda c: (c[0], c[1])),
    "dict": (lambda a, b: {"a": a, "b": b}, lambda c: (c["a"], c["b"])),
    "ordered dict": (lambda a, b: OrderedDict(a=a, b=b), lambda c: (c["a"], c["b"])),
    "defaultdict": (lambda a, b: defaultdict(list, a=a, b=b), lambda c: (c["a"], c["b"])),
    "namedtuple": (Pair, lambda c: (c.first, c.second)),
    "dataclass": (Layer, lambda c: (c.weights, c.bias)),
    "frozen dataclass": (Frozen, lambda c: (c.weights, c.bias)),
    "registered": (lambda a, b: Own(a, b, "kept"), lambda c: (c.left, c.right)),
    "nested": (
        lambda a, b: {"x": [(a,), None], "y": Layer({"z": b}, ())},
        lambda c: (c["x"][0][0], c["y"].weights["z"]),
    ),
}

Function = Callable[[Any], Any]


# Smooth functions of arrays of one shape, none of which makes large numbers of small ones.
UNARY: dict[str, Function] = {
    "sin": np.sin,
    "tanh": np.tanh,
    "gaussian": lambda x: np.exp(-(x**2)),
    "square": lambda x: x * x,
    "log": lambda x: np.log(2 + x * x),
    "reversed": lambda x: x[::-1],
    "picked": lambda x: x[np.array([2, 0, 0, 1])],
    "cumulative": lambda x: np.cumsum(x) / 4,
    "centred": lambda x: x - np.mean(x),
    "mixed": lambda x: np.linspace(-1, 1, 16).reshape(4, 4) @ x,
    "masked": lambda x: np.where(np.array([True, False, True, True]), x, x * 0.5),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (2 + b * b),
    "outer": lambda a, b: np.sum(np.outer(a, b), axis=0) / 4,
    "written": lambda a, b: written(a, b),
}


def written(a: Any, b: Any) -> Any:
    y = np.zeros(4, like=a)
    y[:2] = a[2:]
    y[1:] += b[:3]
    return y


@st.composite
def functions(draw: Any) -> Function:
    """A random smooth function of an array of shape (4,) to one of that shape."""
    steps = draw(
        st.lists(
            st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5
        )
    )

    def function(x: Any) -> Any:
        made = [x]
        for name, i, j in steps:
            a, b = made[i % len(made)], made[j % len(made)]
            made.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        return made[-1]

    function.__name__ = " ".join(f"{name}({i},{j})" for name, i, j in steps)
    return function


def vectors(n: int = 4) -> Any:
    """Arrays of shape (n,), with numbers between -1.5 and 1.5 of few digits."""
    return st.lists(st.integers(-12, 12), min_size=n, max_size=n).map(lambda values: np.array(values) / 8.0)
