"""What is differentiable, as a table: ``python -m tapegrad.support README.md`` renews the one there."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import tapegrad  # noqa: F401 - registers every rule
from tapegrad.primitive import TABLE, Elementwise, Known, Primitive, name_of


def rows() -> Iterable[tuple[str, ...]]:
    """Rows (function, kind, order, arrays, note) for each function that a gradient passes through.

    order : the highest order of derivative that is tested
    arrays : "any" where the rule runs on any array library, else "NumPy"
    """
    for known in sorted(TABLE.values(), key=lambda k: k.name):
        if known.kind == "composite" or (isinstance(known, Primitive | Elementwise) and _is_ours(known)):
            cases = known.cases
            order = str(cases.order) if cases else ""
            arrays = ("any" if cases.neutral else "NumPy") if cases else ""
            yield f"`{known.name}`", known.kind, order, arrays, known.note


def _is_ours(known: Known) -> bool:
    # Rules and forms that someone else's module registered are none of ours; adjoints and helpers
    # with a leading underscore are not for users.
    module = getattr(known.function, "__module__", "") or ""
    return not module.startswith("tapegrad") or not name_of(known.function).rsplit(".", 1)[-1].startswith("_")


def counts() -> dict[str, int]:
    """How many functions of each kind stand in the table."""
    kinds = [known.kind for known in TABLE.values()]
    return {kind: kinds.count(kind) for kind in ("primitive", "composite", "constant", "plain", "unsupported")}


def markdown() -> str:
    """The table in Markdown, with a line that counts the kinds."""
    head = ("function", "kind", "order", "arrays", "note")
    lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows())]
    tally = ", ".join(f"{n} {kind}" for kind, n in counts().items())
    return "\n".join([f"{tally}.", "", *lines])


def renewed(text: str) -> str:
    """``text`` with the table between its two marks made anew."""
    table = f"<!-- table -->\n{markdown()}\n<!-- /table -->"
    return re.sub(r"<!-- table -->.*<!-- /table -->", lambda _match: table, text, flags=re.DOTALL)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(renewed(path.read_text()))
    else:
        print(markdown())
