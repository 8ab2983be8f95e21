"""Places in the syntax tree of a function: which there are, and what the tree is with something else in one."""

import ast
import contextlib
import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[tuple[str, int | None], ...]


def depth(function: Any, place: Place) -> int:
    """How much of a place leads to the innermost statement."""
    depths = [n for n in range(1, len(place)) if isinstance(at_place(function, place[:n]), ast.stmt)]
    return depths[-1] if depths else 1


@contextlib.contextmanager
def replaced(function: Any, place: Place, new: Any) -> Iterator[None]:
    parent, (field, i) = at_place(function, place[:-1]), place[-1]
    old = getattr(parent, field) if i is None else getattr(parent, field)[i]
    put(parent, field, i, new)
    yield
    put(parent, field, i, old)


def put(parent: Any, field: str, i: int | None, new: Any) -> None:
    if i is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[i] = new


def copy_with(function: Any, place: Place, new: Any) -> Any:
    tree, new = copy.deepcopy(function), copy.deepcopy(new)
    old = at_place(tree, place)
    ast.copy_location(new, old)
    put(at_place(tree, place[:-1]), *place[-1], new)
    return ast.fix_missing_locations(tree)


def places(function: Any) -> Iterator[tuple[Place, tuple[int, int]]]:
    """Every node of the body, and the lines of the statement that it stands in."""
    if isinstance(function, ast.Lambda):
        yield from _within(function.body, (("body", None),), lines_of(function.body))
        return
    for i, statement in enumerate(function.body):
        if i == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # the docstring
        yield from _within(statement, (("body", i),), lines_of(statement))


def _within(node: Any, place: Place, lines: tuple[int, int]) -> Iterator[tuple[Place, tuple[int, int]]]:
    if isinstance(node, (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.withitem)):
        return
    if isinstance(node, ast.If) and all(isinstance(s, ast.Raise) for s in node.body) and not node.orelse:
        return  # A refusal is no part of a derivative: tests of their own have them.
    if isinstance(node, ast.stmt):
        lines = header(node)
    if isinstance(node, ast.Assign) and any(isinstance(n, ast.JoinedStr) for n in ast.walk(node.value)):
        return  # What a refusal says.
    yield place, lines
    if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "func", None), ast.Name):
        return  # A check of arguments by a function of its own: another refusal.
    for field, value in ast.iter_fields(node):
        if field in ("decorator_list", "annotation", "returns", "args") and not isinstance(node, ast.Call):
            continue
        if isinstance(value, ast.AST):
            yield from _within(value, (*place, (field, None)), lines)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                if isinstance(item, ast.AST):
                    if (
                        i == 0
                        and field == "body"
                        and isinstance(item, ast.Expr)
                        and isinstance(item.value, ast.Constant)
                    ):
                        continue
                    yield from _within(item, (*place, (field, i)), lines)


def lines_of(node: Any) -> tuple[int, int]:
    return node.lineno, node.end_lineno


def position(node: Any, lines: tuple[int, int]) -> tuple[int, int]:
    """Line and column of a node; of one that has none, as a slice, those of its first part that has."""
    placed = next((n for n in ast.walk(node) if hasattr(n, "lineno")), None)
    return (placed.lineno, placed.col_offset) if placed is not None else (lines[0], 0)


def header(statement: Any) -> tuple[int, int]:
    """The lines of a statement; of one that holds others, those before the first of them."""
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return statement.lineno, max(statement.lineno, body[0].lineno - 1)
    return lines_of(statement)


def at_place(node: Any, place: Place) -> Any:
    for field, i in place:
        node = getattr(node, field) if i is None else getattr(node, field)[i]
    return node
