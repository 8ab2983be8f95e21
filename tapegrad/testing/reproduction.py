"""Programs of a few lines that show a wrong gradient again, with NumPy and tapegrad alone.

A function is named by an import where it has one; else its source is copied, with the values that it
uses. What has neither is left for the reader to fill in, and said so.
"""

import ast
import builtins
import linecache
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from tapegrad.containers import leaves_of
from tapegrad.kinds import Primitive, name_of
from tapegrad.primitive import look_up

LARGEST = 60  # elements of an array that a program prints in full
DEPTH = 4  # functions of functions whose source is copied


def called(f: Any) -> str:
    """What a report calls a function."""
    name = getattr(f, "__name__", None) or type(f).__name__
    if name == "<lambda>":
        return "the lambda"
    named = name_of(f)
    return named if named.startswith("np.") else str(name)


def program(f: Any, args: Sequence[Any], kwargs: dict[str, Any], i: int, seed: Any, direction: Any, step: float) -> str:
    """The gradient of ``f`` by argument ``i`` at one entry, by ``backward()`` and by a central difference.

    seed : the cotangent of its one output
    direction : zero but at the entry
    """
    lines, name = source_of(f)
    u, x = "u", f"x{i}"
    index = ", ".join(str(k) for k in np.argwhere(direction)[0]) or "()"
    given = [f"x{k}" if isinstance(a, np.ndarray) else literal(a) for k, a in enumerate(args)]
    rest = "".join(f", {key}={literal(value)}" for key, value in kwargs.items())

    def applied(at: str) -> str:
        return f"{name}({', '.join(at if k == i else a for k, a in enumerate(given))}{rest})"

    h, unit = f"2.0**{round(math.log2(step))}", "1j * " if np.any(np.imag(direction)) else ""
    part = ".imag" if unit else ".real" if args[i].dtype.kind == "c" else ""
    pairing = f"{u} * " if seed.dtype.kind == "f" else f"np.conj({u}) * "
    change = f"{pairing}({applied(f'{x} + d')} - {applied(f'{x} - d')})"
    change = f"np.sum({change})" if seed.dtype.kind == "f" else f"np.real(np.sum({change}))"
    return "\n".join(
        [
            *headed(lines, [*args, *kwargs.values()]),
            *(f"x{k} = {literal(a)}" for k, a in enumerate(args) if isinstance(a, np.ndarray)),
            f"{u} = {literal(seed)}",
            f"t = tg.tensor({x})",
            f"{applied('t')}.backward({u})",
            f'print("backward   ", t.grad[{index}]{part})',
            f"d = np.zeros({args[i].shape}{', complex' if args[i].dtype.kind == 'c' else ''})",
            f"d[{index}] = {unit}{h}",
            f'print("differences", {change} / (2 * {h}))',
        ]
    )


def checking_program(f: Any, args: Sequence[Any], kwargs: dict[str, Any], order: int) -> str:
    """The check itself, on these arguments."""
    lines, name = source_of(f)
    rest = "".join(f", {key}={literal(value)}" for key, value in kwargs.items())
    arguments = "".join(f", x{k}" for k in range(len(args)))
    call = f"check_vjp({name}{arguments}{rest})"
    if order > 1:
        call = f"check_grads({name}{arguments}, order={order}{rest})"
    lines = [f"from tapegrad.testing import {call.split('(')[0]}", *lines]
    given = (f"x{k} = {literal(a)}" for k, a in enumerate(args))
    return "\n".join([*headed(lines, [*args, *kwargs.values()]), *given, call])


def headed(lines: Sequence[str], given: Any) -> list[str]:
    """The lines of a function's source, under its imports and those of every program.

    given : the arguments; of large arrays among them a program says that they aren't the ones that failed
    """
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    rest = [line for line in lines if line not in imports]
    head = [*dict.fromkeys(["import numpy as np", "import tapegrad as tg", *imports]), ""]
    if any(isinstance(leaf, np.ndarray) and leaf.size > LARGEST for leaf in leaves_of(given)[0]):
        head.append(f"# Arrays of more than {LARGEST} elements are drawn here, in the range of those that were given.")
    return [*head, *rest, *([""] if rest else [])]


def literal(value: Any) -> str:
    """Python source of a value, to the bit; for what has none, or is too large, a place to fill in."""
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({_number(value.item())})"
    if isinstance(value, (float, complex)):
        return _number(value)
    if type(value) in (list, tuple):
        parts = ", ".join(map(literal, value)) + ("," if type(value) is tuple and len(value) == 1 else "")
        return f"[{parts}]" if type(value) is list else f"({parts})"
    if type(value) is dict:
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (bool, int, str, bytes, slice, type(None), type(...))):
        return repr(value)
    if callable(value):
        return source_of(value)[1]
    return f"...  # fill in: {type(value).__name__}"


def _number(value: complex) -> str:
    if isinstance(value, complex):
        plain = repr(value)  # With nan, inf or -0.0 in it, it wouldn't read back.
        special = "n" in plain or "-0" in plain
        return f"complex({_number(value.real)}, {_number(value.imag)})" if special else plain
    return repr(value) if math.isfinite(value) else "np.nan" if math.isnan(value) else f"{'-' * (value < 0)}np.inf"


def _array(a: Any) -> str:
    dtype = "" if a.dtype in (np.float64, np.complex128) and a.size else f", dtype=np.{a.dtype.name}"
    if a.size == 0:
        return f"np.zeros({a.shape}{dtype})"
    if a.dtype.kind not in "biufc":
        return f"np.full({a.shape}, ...)  # fill in: dtype {a.dtype}"
    if a.size > LARGEST:
        low, high = _number(float(np.min(a.real))), _number(float(np.max(a.real)))
        drawn = f"np.random.default_rng(0).uniform({low}, {high}, {a.shape})"
        drawn = f"({drawn} + 1j * {drawn.replace('rng(0)', 'rng(1)')})" if a.dtype.kind == "c" else drawn
        return drawn + (f".astype(np.{a.dtype.name})" if dtype else "")

    def items(part: Any) -> str:
        return "[" + ", ".join(map(items, part)) + "]" if isinstance(part, list) else _item(part)

    return f"np.array({items(a.tolist())}{dtype})"


def _item(part: Any) -> str:
    return _number(part) if isinstance(part, (float, complex)) else repr(part)


# ---------------------------------------------------------------- functions


def source_of(f: Any, within: tuple[Any, ...] = ()) -> tuple[list[str], str]:
    """Lines that make the function, and the name it then has.

    within : the functions whose source is being copied
    """
    named = name_of(f)
    if named.startswith("np.") and _resolved(np, named.split(".")[1:]) is f:
        return [], named
    name, module = str(getattr(f, "__qualname__", "")), sys.modules.get(str(getattr(f, "__module__", "")))
    if module is not None and name.isidentifier() and getattr(module, name, None) is f:
        home = module.__name__
        if home == "__main__":
            home = Path(str(getattr(module, "__file__", None) or "<typed in>")).stem
        if home.replace(".", "").isidentifier():
            return [f"from {home} import {name}"], name
    text = getattr(f, "source", None)
    if isinstance(text, str) and "def " in text:  # A program that prints itself (testing.programs).
        return text.splitlines(), text.split("def ", 1)[1].split("(", 1)[0]
    copied = _primitive(f, within) or _copied(f, within)
    return copied or ([f"f = ...  # fill in: {named or repr(f)}"], "f")


def _resolved(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = getattr(value, step, None)
    return value


def _primitive(f: Any, within: tuple[Any, ...]) -> tuple[list[str], str] | None:
    """The source of a user's own primitive, and of its rule."""
    known, inner = look_up(f), getattr(f, "__wrapped__", None)
    if not isinstance(known, Primitive) or inner is None or f in within:
        return None
    function = _copied(inner, (*within, f))
    rule = _copied(known.rule, (*within, f), "rule")
    if function is None or rule is None:
        return None
    (lines, name), (more, rule_name) = function, rule
    return [*lines, f"{name} = tg.primitive({name})", *more, f"tg.defvjp({name})({rule_name})"], name


def _copied(f: Any, within: tuple[Any, ...], name: str = "f") -> tuple[list[str], str] | None:
    """The source of a function that can't be imported, after what it uses; None where there is none.

    name : given to it, where it is a lambda
    """
    node = _node_of(f) if isinstance(f, FunctionType) and f not in within and len(within) < DEPTH else None
    if node is None:
        return None
    lines = [line for n, value in _used(f, node) for line in _assigned(n, value, (*within, f))]
    if isinstance(node, ast.Lambda):
        return [*lines, f"{name} = {ast.unparse(node)}"], name
    node = ast.FunctionDef(**{**vars(node), "decorator_list": [], "returns": None})
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return [*lines, *ast.unparse(node).splitlines()], node.name


def _node_of(function: FunctionType) -> ast.Lambda | ast.FunctionDef | None:
    """The function in the syntax tree of its file; of lambdas on one line, the innermost that its code lies in."""
    code: CodeType = function.__code__
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except SyntaxError:  # What a notebook's cell or a generated file may hold.
        return None
    spots = {(line, column) for line, _, column, _ in code.co_positions() if line is not None and column}
    best: tuple[int, ast.Lambda | ast.FunctionDef] | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            if code.co_firstlineno in (node.lineno, *(d.lineno for d in node.decorator_list)):
                return node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
            body = node.body
            start, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
            inside = sum(start <= spot < end for spot in spots)
            if inside and (best is None or inside >= best[0]):
                best = inside, node
    return best[1] if best else None


def _used(function: FunctionType, node: ast.Lambda | ast.FunctionDef) -> Iterator[tuple[str, Any]]:
    """The names that the body takes from outside, and their values."""
    body = node.body if isinstance(node.body, list) else [node.body]
    found = (n for part in body for n in ast.walk(part) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    own = set(_variables(function.__code__))
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for name in dict.fromkeys(n.id for n in found):
        if name in own:
            continue
        if name in cells:
            yield name, cells[name].cell_contents
        elif name in function.__globals__ and not hasattr(builtins, name):
            yield name, function.__globals__[name]


def _variables(code: CodeType) -> Iterator[str]:
    """The names that a function binds itself, and the functions in it."""
    yield from code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _variables(constant)


def _assigned(name: str, value: Any, within: tuple[Any, ...]) -> list[str]:
    """Lines after which the name has the value."""
    if isinstance(value, ModuleType):
        return [f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"]
    if any(value is f for f in within):
        return []
    if callable(value):
        lines, made = source_of(value, within)
        return lines if made == name else [*lines, f"{name} = {made}"]
    return [f"{name} = {literal(value)}"]
