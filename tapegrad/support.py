"""What is differentiable, as tables: ``python -m tapegrad.support README.md`` renews the ones there.

A row stands for a function that a user calls. What it is made of (``clip`` is three primitives, by which bounds there
are) has no row of its own, but says how far the row may be trusted: the lowest order, and whether any
part runs on NumPy alone. SciPy's functions have a table of their own, which is left alone where there is no SciPy.
"""

import importlib.util
import inspect
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tapegrad.nn
from tapegrad.cases import Cases
from tapegrad.kinds import Elementwise, Known, Primitive
from tapegrad.primitive import TABLE, complete

# What NumPy's own functions take besides, and no rule has a part in: said once, above the tables.
EVERYWHERE = frozenset({"out", "casting", "order", "subok", "like", "device"})


class Row(NamedTuple):
    """A function as a reader looks it up.

    form : its operands, in brackets those it is constant in, in square ones those that must not record; after a
        semicolon its other parameters
    numbers : "complex" where complex numbers have a derivative as well, else "real"
    order : the highest order of derivative that is tested
    arrays : "any" where its rule runs on any array library, else "NumPy"
    """

    family: str
    name: str
    kind: str
    form: str
    numbers: str
    order: str
    arrays: str
    note: str


# Imported before the table is asked for the rest: it then has the rules for SciPy's functions, too.
SPECIAL: Any = importlib.import_module("scipy.special") if importlib.util.find_spec("scipy") else None
complete()

HEAD = ("function", "kind", "form", "numbers", "order", "arrays", "note")


def rows() -> list[Row]:
    """A row for each public function of NumPy's or ours that a gradient passes through, by family and name."""
    inner: dict[str, list[Known]] = {}
    for known in TABLE.values():
        if public_name(known) is None:
            inner.setdefault(known.name.split(" ")[0], []).append(known)
    found = [
        _row(known, public_name(known) or "", inner.get(known.name, []))
        for known in TABLE.values()
        if known.kind in ("primitive", "composite") and public_name(known)
    ]
    return sorted([*found, *_rows_of_networks()], key=lambda row: (row.family.lower(), row.name))


def rows_of_scipy() -> list[Row]:
    """A row for each ufunc of scipy.special that has a rule, by name."""
    found = [
        _row(known, known.name, [])
        for known in TABLE.values()
        if known.name.startswith("scipy.special.")
        and isinstance(known, Elementwise)
        and isinstance(known.function, np.ufunc)
        and hasattr(SPECIAL, known.name.rsplit(".", 1)[1])
    ]
    return sorted(found, key=lambda row: row.name)


def public_name(known: Known) -> str | None:
    """What a user writes to call the function; None of one that only other functions call.

    >>> public_name(TABLE[np.add.reduce]), public_name(TABLE[operator.getitem])
    ('np.add.reduce', 'x[index]')
    """
    if known.function is operator.getitem:
        return "x[index]"
    if known.name.startswith("np."):
        return _emath(known.name) if _at(known.name) == known.function else None
    name = getattr(known.function, "__name__", "")
    return f"tg.nn.{name}" if getattr(tapegrad.nn, name, None) is known.function else None


def _at(name: str) -> Any:
    """The object that a dotted name stands for; None where there isn't one."""
    found: Any = np
    for part in name.split(".")[1:]:
        found = getattr(found, part, None)
    return found


def _emath(name: str) -> str:
    """emath is the public name of a module whose functions say that they come from elsewhere."""
    return re.sub(r"^np\.lib\.(scimath|_scimath_impl)\.", "np.emath.", name)


def _row(known: Known, name: str, inner: list[Known]) -> Row:
    cases = [k.cases for k in (known, *inner) if k.cases is not None]
    notes = [known.note or (known.cases.note if known.cases else "")]
    notes = notes if notes[0] else [*dict.fromkeys(k.note for k in inner if k.note)]
    return Row(family_of(known), name, known.kind, form_of(known), *_facts(cases), "; ".join(notes))


def _facts(cases: Iterable[Cases]) -> tuple[str, str, str]:
    """Numbers, order and arrays: no more than the least of the parts; nothing where nothing is said."""
    parts = list(cases)
    if not parts:
        return "", "", ""
    return (
        "complex" if all(c.complex for c in parts) else "real",
        str(min(c.order for c in parts)),
        "any" if all(c.neutral for c in parts) else "NumPy",
    )


def family_of(known: Known) -> str:
    """The subject of the module where the rule stands, as the module's first line has it.

    >>> family_of(TABLE[np.sum]), family_of(TABLE[np.add])
    ('Reductions', 'Elementwise')
    """
    made_by: Any = known.run
    if isinstance(known, Primitive):
        made_by = known.rule
    elif isinstance(known, Elementwise):
        # Numbers alone, as of np.add, don't say where they were written: the ufuncs' own module.
        made_by = next((s.value for s in known.slopes if s is not None and callable(s.value)), None)
    return _subject(getattr(made_by, "__module__", None) or "tapegrad.ops.elementwise")


def _subject(module: str) -> str:
    if module.startswith("tapegrad.nn"):
        return "tapegrad.nn"
    return re.split(r"[:.](?=\s|$)", (sys.modules[module].__doc__ or module).strip(), maxsplit=1)[0]


def form_of(known: Known) -> str:
    """The operands of a function and its other parameters.

    >>> form_of(TABLE[np.mean]), form_of(TABLE[np.copysign])
    ('a; axis, dtype, keepdims, where', 'x1, (x2); dtype')
    """
    if isinstance(known, Elementwise):
        pairs = enumerate(zip(known.operands, known.slopes, strict=True))
        operands = [f"[{x}]" if i in known.refused else x if slope else f"({x})" for i, (x, slope) in pairs]
        return _form(operands, known.parameters)
    if isinstance(known, Primitive):
        return _form([f"*{known.operands[0]}"] if known.arity is None else known.operands, known.parameters)
    calls = known.cases.calls if known.cases else ()
    drawn = max((i for c in calls for i, operand in enumerate(c.operands) if _is_drawn(operand)), default=-1)
    return _form_of_signature(known.run, drawn)


def _is_drawn(operand: Any) -> bool:
    """Whether a call of the cases has a shape there, or a sequence with one: an operand that gets a gradient."""
    if type(operand) is list:
        return any(map(_is_drawn, operand))
    return type(operand) is tuple and all(type(n) is int for n in operand)


def _form_of_signature(function: Callable[..., Any], drawn: int = -1) -> str:
    """Of a function in Python: its operands have no default, or the cases draw them, up to position ``drawn``."""
    operands: list[str] = []
    parameters: list[str] = []
    for i, p in enumerate(inspect.signature(function).parameters.values()):
        if p.kind is p.VAR_KEYWORD:
            continue
        if p.kind is p.VAR_POSITIONAL:
            operands.append(f"*{p.name}")
        elif p.kind is not p.KEYWORD_ONLY and (p.default is p.empty or i <= drawn):
            operands.append(p.name)
        else:
            parameters.append(p.name)
    return _form(operands, parameters)


def _form(operands: Iterable[str], parameters: Iterable[str]) -> str:
    rest = ", ".join(name for name in parameters if name not in EVERYWHERE)
    return ", ".join(operands).replace("*", r"\*") + (f"; {rest}" if rest else "")


def _rows_of_networks() -> Iterator[Row]:
    """Those of tapegrad.nn that are Python written around primitives: what they say is said of these."""
    for name, function in vars(tapegrad.nn).items():
        if inspect.isfunction(function) and not name.startswith("_") and function not in TABLE:
            near = [k for k in TABLE.values() if getattr(k.function, "__module__", "") == function.__module__]
            own = [k for k in near if k.function.__name__.startswith(name)] or near
            facts = _facts(k.cases for k in own if k.cases is not None)
            notes = dict.fromkeys(k.note for k in own if k.note and k.kind == "primitive")
            yield Row(
                "tapegrad.nn", f"tg.nn.{name}", "composite", _form_of_signature(function), *facts, "; ".join(notes)
            )


def counts() -> dict[str, int]:
    """How many public functions there are of each kind."""
    kinds = [known.kind for known in TABLE.values() if public_name(known)]
    return {kind: kinds.count(kind) for kind in ("primitive", "composite", "constant", "plain", "unsupported")}


def lists() -> Iterator[str]:
    """The functions without a derivative, those of a kind together, and of these those with the same reason."""
    titles = {
        "constant": "Constant (derivative zero wherever it exists)",
        "plain": "Plain (an answer about an array)",
        "unsupported": "Unsupported (raises where a gradient would have to pass)",
    }
    for kind, title in titles.items():
        by_note: dict[str, list[str]] = {}
        for known in TABLE.values():
            name = public_name(known)
            if known.kind == kind and name:
                by_note.setdefault(known.note, []).append(name)
        yield f"**{title}**"
        yield ""
        for note, names in sorted(by_note.items()):
            yield f"- {note + ': ' if note else ''}{', '.join(f'`{name}`' for name in sorted(names))}"
        yield ""


def markdown() -> str:
    """All of it in Markdown: a line that counts the kinds, a table a family, the lists."""
    lines = [", ".join(f"{n} {kind}" for kind, n in counts().items()) + "."]
    family = ""
    for row in rows():
        if row.family != family:
            family = row.family
            lines += ["", f"**{family}**", "", _line(HEAD), _line(("---",) * len(HEAD))]
        lines.append(_line((f"`{row.name}`", *row[2:])))
    return "\n".join([*lines, "", *lists()]).rstrip("\n")


def markdown_of_scipy() -> str:
    """The table of scipy.special's functions, in Markdown."""
    lines = [_line(HEAD), _line(("---",) * len(HEAD))]
    return "\n".join([*lines, *(_line((f"`{row.name}`", *row[2:])) for row in rows_of_scipy())])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def renewed(text: str) -> str:
    """``text`` with the tables between their marks made anew; that of SciPy's functions where there is SciPy."""
    tables = {"table": markdown()}
    if SPECIAL is not None:
        tables["scipy"] = markdown_of_scipy()
    for mark, table in tables.items():
        before, start, rest = text.partition(f"<!-- {mark} -->\n")
        _old, end, after = rest.partition(f"<!-- /{mark} -->")
        text = f"{before}{start}{table}\n{end}{after}" if end else text
    return text


if __name__ == "__main__":
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(renewed(path.read_text()))
    else:
        print(markdown())
