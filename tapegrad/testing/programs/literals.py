"""Values and functions as Python source that makes them again."""

import functools
import importlib.util
import operator
import sys
from types import ModuleType
from typing import Any

import numpy as np


class UnprintableError(ValueError):
    """There is no literal for the value: a program can't hold it."""


def literal(value: Any) -> str:
    """Python source for a value, with ``np`` for NumPy: equal to the bit, of the same dtype and shape.

    Raises UnprintableError for what has none.

    >>> literal([np.array([1.0, 2.5]), (slice(None, None, -1), None), np.float32(0.5), np.sin])
    '[np.array([1.0, 2.5]), (slice(None, None, -1), None), np.float32(0.5), np.sin]'
    """
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({_number(value.item())})"
    if isinstance(value, (bool, int, str, bytes, type(None))):
        return repr(value)
    if isinstance(value, (float, complex)):
        return _number(value)
    if value is Ellipsis:
        return "..."
    if type(value) in (list, tuple):
        parts = ", ".join(map(literal, value))
        if type(value) is list:
            return f"[{parts}]"
        return f"({parts},)" if len(value) == 1 else f"({parts})"
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        fields = ", ".join(f"{name}={literal(part)}" for name, part in value._asdict().items())
        return f"{expression_of(type(value))}({fields})"
    if type(value) is dict:
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, slice):
        given = (value.start, value.stop, value.step)
        return f"slice({', '.join(map(literal, given))})"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.str!r})"
    return expression_of(value)


def _number(value: Any) -> str:
    if isinstance(value, complex):
        # repr() of a complex number with nan, inf or -0.0 parts doesn't read back.
        plain = repr(value)
        if "n" in plain or "-0" in plain:
            return f"complex({_number(value.real)}, {_number(value.imag)})"
        return plain
    if isinstance(value, float):
        if value != value:
            return "np.nan"
        if value in (float("inf"), float("-inf")):
            return "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def _array(a: Any) -> str:
    if a.dtype.kind not in "biufcUS":
        raise UnprintableError(f"an array of dtype {a.dtype}")
    if a.size > 1 and a.dtype.kind != "U" and (a == a.flat[0]).all() and not (a == 0).all():
        return f"np.full({a.shape}, {_items(a.flat[0].item())}{_dtype(a)})"
    if a.size == 0 or (a.size > 1 and not a.any() and not np.signbit(a.real).any() and a.dtype.kind != "U"):
        return f"np.zeros({a.shape}{_dtype(a)})"
    return f"np.array({_items(a.tolist())}{_dtype(a)})"


def _dtype(a: Any) -> str:
    if a.size and a.dtype in (np.dtype(float), np.dtype(complex), np.dtype(bool), np.dtype(int)):
        # np.full and np.zeros make floats of ints unless told.
        return "" if a.dtype.kind in "fc" else f", dtype={_SPELLED[a.dtype.kind]}"
    return f", dtype=np.dtype({a.dtype.str!r})" if a.dtype.name not in dir(np) else f", dtype=np.{a.dtype.name}"


_SPELLED = {"b": "bool", "i": "int"}


def _items(value: Any) -> str:
    return "[" + ", ".join(map(_items, value)) + "]" if isinstance(value, list) else literal(value)


# ---------------------------------------------------------------- functions


@functools.cache
def expression_of(function: Any) -> str:
    """How a program names a function, a class or a type: by a public path where there is one.

    >>> expression_of(np.linalg.inv), expression_of(np.add.reduce), expression_of(np.float64)
    ('np.linalg.inv', 'np.add.reduce', 'np.float64')
    """
    if function in (bool, int, float, complex, list, tuple, slice):
        return str(function.__name__)
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ufunc):
        return f"{expression_of(owner)}.{function.__name__}"
    if function is operator.getitem:
        return "operator.getitem"
    for name, module in _modules():
        for attribute in (getattr(function, "__name__", ""), str(getattr(function, "__qualname__", "")).split(".")[-1]):
            if attribute and vars(module).get(attribute) is function:
                return _path(name, attribute, function)
    for name, module in _modules():
        for attribute, value in vars(module).items():
            if value is function:
                return _path(name, attribute, function)
    own = sys.modules.get(str(getattr(function, "__module__", "")))  # A user's, as like as not.
    name = getattr(function, "__name__", "")
    if own is not None and getattr(own, name, None) is function:
        return f"{own.__name__}.{name}"
    raise UnprintableError(f"{function!r} has no name in a module")


def _path(module: str, attribute: str, function: Any) -> str:
    """The path of a function in a module, also where a function has taken the module's name in its package."""
    value = sys.modules[module.replace("np", "numpy", 1) if module.split(".")[0] == "np" else module.split(".")[0]]
    for part in module.split(".")[1:] if module.split(".")[0] != "np" else ():
        value = getattr(value, part, None)  # type: ignore[assignment]
    if getattr(value, attribute, None) is function:
        return f"{module}.{attribute}"
    return f'importlib.import_module("{module}").{attribute}'


def _modules() -> list[tuple[str, ModuleType]]:
    """The modules that programs may name, those that a user knows first."""
    names = ["numpy", "numpy.linalg", "numpy.fft", "numpy.lib.stride_tricks", "numpy.lib.scimath", "scipy.special"]
    names += sorted(name for name in sys.modules if name.startswith("tapegrad.nn"))
    names += sorted(name for name in sys.modules if name.startswith("tapegrad.") and ".testing" not in name)
    names += ["numpy.lib.array_utils", "scipy.special._ufuncs"]
    found = [(name, sys.modules[name]) for name in names if name in sys.modules]
    return [("np" + name[5:] if name.startswith("numpy") else name, module) for name, module in found]


def imports_of(source: str) -> list[str]:
    """The import lines that a source needs, which names modules in full, but for ``np`` and ``tg``.

    >>> imports_of("tapegrad.nn.activation.relu(np.ones(3))")
    ['import numpy as np', 'import tapegrad.nn.activation']
    """
    lines = ["import numpy as np"]
    if "operator." in source:
        lines.insert(0, "import operator")
    words = {word for word in source.replace("(", " ").replace(",", " ").replace("[", " ").split() if "." in word}
    modules = set()
    for word in words:
        path = word.split(".")
        if path[0] in sys.modules and path[0] != "operator":
            while path and ".".join(path) not in sys.modules and not _is_module(".".join(path)):
                path.pop()
            modules.add(".".join(path))
    lines += [f"import {name}" for name in sorted(modules)]
    if any(word.startswith("tg.") for word in words):
        lines.append("import tapegrad as tg")
    if any(word.startswith("np.lib.") for word in words):
        lines.append("import numpy.lib.stride_tricks")
    return lines


@functools.cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
