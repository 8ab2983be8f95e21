"""Mutators: what may be wrong with a rule, one place at a time, as changes of its syntax tree."""

import ast
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .places import at_place, copy_with, depth, header, lines_of, places, position, replaced


class Change(NamedTuple):
    """One change of a function: which mutator made it, where, and what the function is then."""

    mutator: str
    before: str  # the source that was changed, as ast.unparse writes it
    after: str
    at: tuple[int, int]  # line and column
    lines: tuple[int, int]  # the first and the last line of the statement around it
    tree: Callable[[], Any]  # makes the whole function, changed


SWAPPED: dict[type, list[type]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
# Of these the second operand, or both, may be left out: a term or a factor is forgotten.
TERMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.MatMult, ast.Pow, ast.BitAnd, ast.BitOr)
ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult, ast.FloorDiv)
COMMUTE = {
    "add", "multiply", "maximum", "minimum", "hypot", "logaddexp", "max", "min", "result_type", "swapaxes", "equal",
}  # fmt: skip
OTHER_NAME = {
    "real": "imag", "imag": "real", "sin": "cos", "cos": "sin", "sinh": "cosh", "cosh": "sinh", "maximum": "minimum",
    "minimum": "maximum", "argmax": "argmin", "argmin": "argmax", "floor": "ceil", "ceil": "floor", "triu": "tril",
    "tril": "triu", "zeros_like": "ones_like", "ones_like": "zeros_like", "all": "any", "any": "all", "max": "min",
    "min": "max", "expm1": "exp", "log1p": "log", "logical_and": "logical_or", "logical_or": "logical_and",
    "mH": "mT", "skew": "hermitian_part", "hermitian_part": "skew", "sum": "mean", "fft": "ifft", "ifft": "fft",
}  # fmt: skip
# Calls that aren't arithmetic: without them nothing but a crash is left.
KEPT_CALLS = {
    "range", "len", "int", "float", "bool", "complex", "tuple", "list", "dict", "set", "isinstance", "type", "zip",
    "enumerate", "getattr", "hasattr", "repr", "str", "next", "iter", "dtype", "frozenset",
    "index", "asarray", "ascontiguousarray", "errstate",
}  # fmt: skip


def changes(function: ast.AST, exchange: Sequence[str] = ()) -> Iterator[Change]:
    """Every change of a function (a def or a lambda).

    exchange : for a rule the names, in order, of its output and operands: each is also mistaken for the next, with
        its underscore gone where it has one
    """
    yield from _replacements(function)
    yield from _mistaken(function, exchange)


def _replacements(function: ast.AST) -> Iterator[Change]:
    seen = set()
    for place, lines in places(function):
        old = at_place(function, place)
        before = ast.unparse(old)
        others = list(_alternatives(old, at_place(function, place[:-1]), function))
        if isinstance(function, ast.Lambda) and old is function.body and not isinstance(old, (ast.UnaryOp, ast.Tuple)):
            others.append(("sign", _negative(old)))
        for mutator, new in others:
            after = ast.unparse(new)
            # Two places may come to the same statement: of x - 1 the number and the operand.
            with replaced(function, place, new):
                source = place[:1], ast.unparse(at_place(function, place[: depth(function, place)]))
            if after != before and source not in seen:
                seen.add(source)
                yield Change(
                    mutator, before, after, position(old, lines), lines, partial(copy_with, function, place, new)
                )


# ---------------------------------------------------------------- alternatives


def _alternatives(node: Any, parent: Any, function: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in the place of a node, and what that mutator is called."""
    if isinstance(node, ast.BinOp):
        yield from _of_operation(node)
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.operand, ast.Constant) or not isinstance(node.op, ast.USub):
            yield {ast.USub: "sign dropped", ast.Invert: "mask inverted"}.get(type(node.op), "negated"), node.operand
        else:
            for value in _numbers(-node.operand.value):
                yield "number", ast.Constant(value)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in SWAPPED.get(type(node.ops[0]), ()):
            yield "comparison", ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield "and for or", ast.BoolOp(SWAPPED[type(node.op)][0](), node.values)
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node, parent)
    elif isinstance(node, ast.Call):
        yield from _of_call(node)
    elif isinstance(node, ast.IfExp):
        yield "branches exchanged", ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.If):
        negated = ast.UnaryOp(ast.Not(), node.test)
        yield "condition negated", ast.If(negated, node.body, node.orelse)
    elif isinstance(node, ast.Subscript):
        yield from _of_subscript(node)
    elif isinstance(node, ast.Slice):
        yield from _of_slice(node)
    elif isinstance(node, ast.Attribute):
        yield from _of_attribute(node, parent)
    elif isinstance(node, ast.AugAssign):
        yield "statement dropped", ast.Pass()
        for other in SWAPPED.get(type(node.op), ()):
            yield "operator", ast.AugAssign(node.target, other(), node.value)
    elif isinstance(node, ast.Assign):
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name) and _bound_before(function, node):
            yield "statement dropped", ast.Pass()
    elif isinstance(node, ast.Expr):
        yield "statement dropped", ast.Pass()
    elif isinstance(node, (ast.Return, ast.Lambda)):
        yield from _of_result(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == "keepdims":
        yield "keepdims", ast.UnaryOp(ast.Not(), node)


def _of_operation(node: ast.BinOp) -> Iterator[tuple[str, Any]]:
    for other in SWAPPED.get(type(node.op), ()):
        yield "operator", ast.BinOp(node.left, other(), node.right)
    if isinstance(node.op, ORDERED):
        yield "operands exchanged", ast.BinOp(node.right, node.op, node.left)
    if isinstance(node.op, TERMS):
        yield "operand dropped", node.left
        if not isinstance(node.op, ast.Pow):
            yield "operand dropped", node.right


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1] if abs(value) in (1, 2) else [value + 1] if abs(value) < 16 else [0]
    if isinstance(value, float):
        return [1.0] if value == 0 else [2 * value, 0.0]
    return [-value]  # imaginary


def _of_constant(node: ast.Constant, parent: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node.value, (bool, int, float, complex)):
        keyword = parent.arg if isinstance(parent, ast.keyword) else None
        if keyword == "strict" or (isinstance(parent, ast.Compare) and isinstance(node.value, bool)):
            return  # Of ``where is True`` the comparison is changed.
        for value in _numbers(node.value):
            yield keyword if keyword in ("axis", "keepdims") else "number", ast.Constant(value)


def _called(node: Any) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _of_call(node: ast.Call) -> Iterator[tuple[str, Any]]:
    name, args = _called(node.func), node.args
    plain = not any(isinstance(a, ast.Starred) for a in args)
    if name in ("where", "select") and plain and args:
        yield "mask inverted", ast.Call(node.func, [ast.UnaryOp(ast.Invert(), args[0]), *args[1:]], node.keywords)
    if name == "where" and plain and len(args) == 3:
        yield "branch taken everywhere", args[1]
        yield "branch taken everywhere", args[2]
    elif name == "select" and len(args) == 2:
        yield "mask dropped", args[1]
    elif name == "range" and plain and args:
        yield "off by one", ast.Call(node.func, [*args[:-1], _plus(args[-1])], node.keywords)
    elif plain and len(args) >= 2 and name not in KEPT_CALLS and name not in COMMUTE:
        yield "operands exchanged", ast.Call(node.func, [args[1], args[0], *args[2:]], node.keywords)
    if name not in KEPT_CALLS | {"where", "select"} and plain and args:
        yield f"{name} dropped", args[0]
    elif not args and isinstance(node.func, ast.Attribute) and name not in KEPT_CALLS:
        yield f"{name} dropped", node.func.value
    for k, keyword in enumerate(node.keywords):
        if keyword.arg in (None, "strict"):
            continue
        rest = [*node.keywords[:k], *node.keywords[k + 1 :]]
        yield f"{keyword.arg}= dropped", ast.Call(node.func, args, rest)
        if keyword.arg == "axis":
            none = ast.keyword("axis", ast.Constant(None))
            yield "axis", ast.Call(node.func, args, [*node.keywords[:k], none, *node.keywords[k + 1 :]])


def _of_subscript(node: ast.Subscript) -> Iterator[tuple[str, Any]]:
    if isinstance(node.slice, ast.Tuple):
        items = node.slice.elts
        for i, (a, b) in enumerate(itertools.pairwise(items)):
            if (isinstance(a, ast.Constant) and a.value is None) != (isinstance(b, ast.Constant) and b.value is None):
                exchanged = ast.Tuple([*items[:i], b, a, *items[i + 2 :]], ast.Load())
                yield "axis", ast.Subscript(node.value, exchanged, node.ctx)


def _of_slice(node: ast.Slice) -> Iterator[tuple[str, Any]]:
    for end in ("lower", "upper"):
        bound = getattr(node, end)
        if bound is not None and not isinstance(bound, ast.Constant):
            yield (
                "off by one",
                ast.Slice(**{"lower": node.lower, "upper": node.upper, "step": node.step, end: _plus(bound)}),
            )


def _plus(node: Any) -> ast.BinOp:
    return ast.BinOp(node, ast.Add(), ast.Constant(1))


def _of_attribute(node: ast.Attribute, parent: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(node.ctx, ast.Load):
        return
    if node.attr == "T":
        yield "T dropped", node.value
    elif node.attr in OTHER_NAME:
        yield "other function", ast.Attribute(node.value, OTHER_NAME[node.attr], node.ctx)


def _of_result(node: Any) -> Iterator[tuple[str, Any]]:
    """Another sign of a cotangent, or none."""
    value = node.value if isinstance(node, ast.Return) else node.body

    def with_value(new: Any) -> Any:
        return ast.Return(new) if isinstance(node, ast.Return) else ast.Lambda(node.args, new)

    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return
    if isinstance(value, ast.Tuple):
        for i, part in enumerate(value.elts):
            if isinstance(part, (ast.Constant, ast.Starred)):
                continue
            for mutator, new in (("sign", _negative(part)), ("cotangent dropped", ast.Constant(None))):
                if not (mutator == "sign" and isinstance(part, ast.Lambda)):
                    yield mutator, with_value(ast.Tuple([*value.elts[:i], new, *value.elts[i + 1 :]], ast.Load()))
    elif not isinstance(value, (ast.Lambda, ast.UnaryOp)):
        yield "sign", with_value(_negative(value))


def _negative(node: Any) -> ast.UnaryOp:
    return ast.UnaryOp(ast.USub(), node)


def _bound_before(function: Any, statement: ast.Assign) -> bool:
    """Whether the name that is assigned has a value already."""
    name = statement.targets[0].id  # type: ignore[attr-defined]
    arguments = function.args
    bound = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.lineno < statement.lineno:
            bound.add(node.id)
    return name in bound


# ---------------------------------------------------------------- one operand mistaken for another


def _mistaken(function: Any, names: Sequence[str]) -> Iterator[Change]:
    """Everywhere that a rule reads one of its operands, or the output: another of them instead."""
    if len(names) < 2:
        return
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    taken = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    for node in ast.walk(function.body if isinstance(function, ast.Lambda) else ast.Module(function.body, [])):
        if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in following):
            continue
        other = following[node.id]
        public = other.lstrip("_")
        if public == other or public not in taken:
            before, at = f"{node.id} in {_context(function, node)}", position(node, (0, 0))
            tree = partial(_copy_with_name, function, at, other, public)
            yield Change("mistaken operand", before, public, at, _statement(function, node), tree)


def _copy_with_name(function: Any, at: tuple[int, int], other: str, public: str) -> Any:
    """The function with another name at one place; where that had an underscore it has none now, everywhere."""
    tree = copy.deepcopy(function)
    for n in ast.walk(tree):
        if isinstance(n, ast.Name) and (n.id == other or (n.lineno, n.col_offset) == at):
            n.id = public
        elif isinstance(n, ast.arg) and n.arg == other:
            n.arg = public
    return tree


def _context(function: Any, node: ast.Name) -> str:
    """The smallest expression around a name, to tell its places apart."""
    around = [
        n for n in ast.walk(function)
        if isinstance(n, ast.expr) and n is not node and any(child is node for child in ast.iter_child_nodes(n))
    ]  # fmt: skip
    return ast.unparse(around[0]) if around else ast.unparse(node)


def _statement(function: Any, node: ast.Name) -> tuple[int, int]:
    if isinstance(function, ast.Lambda):
        return lines_of(function.body)
    inner = [
        s for s in ast.walk(function)
        if isinstance(s, ast.stmt) and s is not function and s.lineno <= node.lineno <= s.end_lineno  # type: ignore[operator]
    ]  # fmt: skip
    return header(min(inner, key=lambda s: s.end_lineno - s.lineno)) if inner else lines_of(function)
