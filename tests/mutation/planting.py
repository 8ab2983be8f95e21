"""Planting: which functions are rules, and how one of them is replaced by a mutant, in this process.

A mutant is compiled by itself, and its code is put in the place of the code of every live function that was made of
the same lines: the rule, the closures, the copies under other names. What the table derived from the rule is derived
again.
"""

import ast
import dis
import functools
import gc
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import tapegrad
from tapegrad.kinds import Elementwise, Known, Primitive, pullback, ratio, refused
from tapegrad.primitive import complete

from .mutators import changes

PACKAGE = Path(tapegrad.__file__).parent
RULES = (f"{PACKAGE}/ops/", f"{PACKAGE}/nn/")  # where helpers of rules are mutated too; elsewhere, the rules alone


class Mutant(NamedTuple):
    """One change of one function."""

    key: str  # module, function, mutator, and the source before and after: the same whatever stands around it
    module: str  # of a slope that is a number: the function
    statement: str  # its first line
    lines: frozenset[str]  # the source of the statement that is changed, line by line; of a number, none
    plant: Callable[[], None]  # puts it in its place, for good: to be called in a process of its own


def mutants(knowns: list[Known]) -> Iterator[Mutant]:
    """Every mutant of the rules of those functions, and of what these rules call, module by module."""
    users = _users(knowns)
    names = _names_of(knowns)
    for file, functions in itertools.groupby(sorted(_reached(knowns), key=_file), _file):
        yield from _of_file(file, {_key(f.__code__) for f in functions}, users, names)
    for known in knowns:
        if isinstance(known, Elementwise):
            yield from _of_numbers(known)


def _file(function: Any) -> str:
    return str(function.__code__.co_filename)


# ---------------------------------------------------------------- which functions


def _rules(known: Known) -> list[Any]:
    """The functions that the table itself holds."""
    if isinstance(known, Primitive):
        return [known.rule]
    if isinstance(known, Elementwise):
        values = [slope.value for slope in known.slopes if slope is not None]
        return [f for f in (*values, _own_pull(known)) if callable(f)]
    return [known.run]


def _own_pull(known: Elementwise) -> Any:
    """The rule that was given beside the slopes, or None."""
    first = known.slopes[0]
    return None if first is None or known.pull is first.pull else known.pull


def relative(file: str) -> str:
    """A file of ours, wherever the package lies."""
    return file.removeprefix(f"{PACKAGE}/")


def files_of(known: Known) -> set[str]:
    """The files that a function's rule, or each of its slopes, is written in, from the package on."""
    return {_file(rule).removeprefix(f"{PACKAGE}/") for rule in _rules(known) if isinstance(rule, FunctionType)}


def _reached(knowns: list[Known]) -> list[Any]:
    """The rules, and what they call of our own."""
    found: dict[int, Any] = {}
    todo = [rule for known in knowns for rule in _rules(known)]
    start = {id(f) for f in todo}
    while todo:
        function = todo.pop()
        if isinstance(function, functools.partial):
            todo.append(function.func)
        elif isinstance(function, type) and function.__module__.startswith(("tapegrad.ops.", "tapegrad.nn.")):
            members = vars(function).values()
            todo += [getattr(m, "fget", None) or getattr(m, "func", None) or getattr(m, "__func__", m) for m in members]
        if not isinstance(function, FunctionType) or id(function) in found:
            continue
        if not (
            _file(function).startswith(RULES) or (id(function) in start and _file(function).startswith(str(PACKAGE)))
        ):
            wrapped = getattr(function, "on_arrays", None)
            if wrapped is not None and _file(function).startswith(str(PACKAGE)):
                todo.append(wrapped)
            continue
        found[id(function)] = function
        todo += [function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__]
        todo += [cell.cell_contents for cell in function.__closure__ or ()]
    return [f for f in found.values() if not f.__module__.endswith(".testing")]


def _names(code: CodeType) -> set[str]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}  # not the attributes
    return own.union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def _users(knowns: list[Known]) -> dict[Any, list[Known]]:
    """The key of a code -> the functions whose rule it is."""
    users: dict[Any, list[Known]] = {}
    for known in knowns:
        for rule in _rules(known):
            if isinstance(rule, FunctionType):
                users.setdefault(_key(rule.__code__), []).append(known)
    return users


def _names_of(knowns: list[Known]) -> dict[Any, str]:
    """The key of a lambda's code -> what it is called: the slope of which function."""
    names: dict[Any, str] = {}
    for known in knowns:
        for i, rule in enumerate(_rules(known)):
            if isinstance(rule, FunctionType):
                names.setdefault(_key(rule.__code__), f"{own_name(known)}[{i}]")
    return names


# ---------------------------------------------------------------- their source


def _key(code: CodeType) -> Any:
    """What tells a code from every other of its file."""
    return code.co_filename, code.co_name, code.co_firstlineno, tuple(code.co_positions())


def _of_file(file: str, reached: set[Any], users: dict[Any, list[Known]], names: dict[Any, str]) -> Iterator[Mutant]:
    source = Path(file).read_text()
    text = source.splitlines()
    module = ".".join(Path(file).relative_to(PACKAGE.parent).with_suffix("").parts)
    seen: dict[str, int] = {}
    for node in _outermost(ast.parse(source)):
        code = _compiled(node, file)
        everywhere = ((0, 0), (sys.maxsize, 0))  # or, of a function that only makes rules, in these
        inner = [_span(c) for c in _all_codes(code) if _key(c) in reached]
        spans = [everywhere] if _key(code) in reached else inner
        if not spans:
            continue
        name = names.get(_key(code), "<lambda>") if isinstance(node, ast.Lambda) else node.name
        for change in changes(node, _exchange(node, users.get(_key(code)))):
            if not any(first <= change.at <= last for first, last in spans):
                continue
            key = f"{module.removeprefix('tapegrad.')} {name} | {change.mutator} | {change.before} -> {change.after}"
            seen[key] = seen.get(key, 0) + 1
            if seen[key] > 1:
                key += f" #{seen[key]}"
            first, last = change.lines
            lines = frozenset(line.strip() for line in text[first - 1 : last])
            statement = text[first - 1].strip()
            yield Mutant(key, module, statement, lines, functools.partial(_swap, node, change.tree, file))


def _outermost(node: Any) -> Iterator[Any]:
    """The functions that stand in no other, in order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.Lambda)):
            yield child
            if isinstance(child, ast.FunctionDef):
                for decorator in child.decorator_list:
                    yield from _outermost(ast.Expr(decorator))
        else:
            yield from _outermost(child)


def _exchange(node: Any, knowns: list[Known] | None) -> list[str]:
    """Of a rule, the names of its output and operands, as far as there is one."""
    if knowns is None or any(isinstance(k, Known) and k.kind == "composite" for k in knowns):
        return []
    arguments = [a.arg for a in node.args.args]
    pulls_back = isinstance(knowns[0], Primitive) or arguments[0] in ("g", "_g")
    operands = knowns[0].arity
    return arguments[1 if pulls_back else 0 :] if operands is not None and node.args.vararg is None else []


# ---------------------------------------------------------------- codes


def _compiled(node: Any, file: str) -> CodeType:
    """The code of a function that stands in no other."""
    # Attributes of what is imported compile to other code than those of anything else.
    statement = ast.fix_missing_locations(ast.Expr(node)) if isinstance(node, ast.Lambda) else node
    code = compile(ast.Module([*_imports(file), statement], []), file, "exec")
    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
    return [c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name][-1]


@functools.cache
def _imports(file: str) -> list[Any]:
    return [n for n in ast.parse(Path(file).read_text()).body if isinstance(n, (ast.Import, ast.ImportFrom))]


def _all_codes(code: CodeType) -> list[CodeType]:
    """It, and those within it, in the order of the source."""
    return [code, *(c for inner in code.co_consts if isinstance(inner, CodeType) for c in _all_codes(inner))]


@functools.cache
def live() -> dict[str, list[tuple[FunctionType, Any]]]:
    """Every function of ours that there is, and the key of its code, by file; to be asked before anything runs."""
    found: dict[str, list[tuple[FunctionType, Any]]] = {}
    for function in [o for o in gc.get_objects() if isinstance(o, FunctionType)]:
        if function.__code__.co_filename.startswith(str(PACKAGE)):
            found.setdefault(_file(function), []).append((function, _key(function.__code__)))
    return found


def _span(code: CodeType) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where its source begins and ends: line and column."""
    places = [p for p in code.co_positions() if None not in p and (p[2], p[3]) != (0, 0)]
    return min((p[0], p[2]) for p in places), max((p[1], p[3]) for p in places)


def _swap(node: Any, changed: Callable[[], Any], file: str) -> None:
    """Put the changed code in the place of the other, in every function that has it."""
    old, new = _all_codes(_compiled(node, file)), _all_codes(_compiled(changed(), file))
    same_shape = [c.co_name for c in old] == [c.co_name for c in new]
    pairs = list(zip(old, new, strict=True)) if same_shape else [(old[0], new[0])]
    replaced = {_key(a): b for a, b in pairs}
    swapped = set()
    for function, key in live().get(file, ()):
        if (code := replaced.get(key)) is not None:
            function.__code__ = code
            swapped.add(id(function))
    assert swapped, f"no live function has the code of {ast.unparse(node)}"
    for known in complete().values():
        if isinstance(known, (Primitive, Elementwise)) and any(id(rule) in swapped for rule in _rules(known)):
            _derive_again(known)


def _derive_again(known: Any) -> None:
    """What the table read off the rule when it was entered: what is kept, and the forms that are called."""
    if isinstance(known, Primitive):
        known.__init__(known.function, known.rule, known.cases, known.multilinear, known.run)  # type: ignore[misc]
    else:
        _with_slopes(known, [_given(slope, i in known.refused) for i, slope in enumerate(known.slopes)])


def _with_slopes(known: Any, slopes: list[Any]) -> None:
    known.__init__(known.function, slopes, known.cases, known.constant_for_real, known.quotient, _own_pull(known))


def _given(slope: Any, is_refused: bool) -> Any:
    """A slope as it was given to ``elementwise``."""
    if slope is None:
        return refused if is_refused else None
    return {"ratio": ratio, "pullback": pullback}.get(slope.form, lambda value: value)(slope.value)


# ---------------------------------------------------------------- slopes that are numbers, and their forms


def _of_numbers(known: Elementwise) -> Iterator[Mutant]:
    for i, slope in enumerate(known.slopes):
        if slope is None:
            continue
        others: list[tuple[str, Any, Any]] = []
        if slope.form == "number":
            others = [("number", value, value) for value in (-slope.value, 2 * slope.value, 0)]
        elif slope.form == "ratio":
            others = [("factor for divisor", "", slope.value)]
        elif slope.form == "slope":
            others = [("divisor for factor", "", ratio(slope.value))]
        for mutator, shown, value in others:
            before = slope.value if slope.form == "number" else ""
            key = f"{own_name(known)}[{i}] | {mutator} | {before} -> {shown}"
            yield Mutant(key, own_name(known), "", frozenset(), functools.partial(_with_slope, known, i, value))


def _with_slope(known: Elementwise, i: int, value: Any) -> None:
    slopes = [_given(s, k in known.refused) for k, s in enumerate(known.slopes)]
    slopes[i] = value
    _with_slopes(known, slopes)


def own_name(known: Known) -> str:
    """The name of a function, and of a part of it that users don't see, its own."""
    wrapped = getattr(known.function, "__wrapped__", None)
    return (
        known.name if wrapped is None or known.name.endswith(wrapped.__name__) else f"{known.name} ({wrapped.__name__})"
    )
