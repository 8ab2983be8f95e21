"""What is differentiable, as a table: ``python -m tapegrad.support README.md`` renews the one there."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import tapegrad.nn
from tapegrad.primitive import TABLE, Known


def rows() -> Iterable[tuple[str, ...]]:
    """Rows (function, kind, order, arrays, note) for each function that a gradient passes through.

    order : the highest order of derivative that is tested
    arrays : "any" where the rule runs on any array library, else "NumPy"
    """
    for known in sorted(TABLE.values(), key=lambda k: k.name):
        cases = known.cases
        if known.kind == "composite" and _is_public(known):
            yield f"`{known.name}`", known.kind, "", "", known.note
        elif known.kind == "primitive" and _is_public(known) and cases is not None:
            yield f"`{known.name}`", known.kind, str(cases.order), "any" if cases.neutral else "NumPy", known.note


def _is_public(known: Known) -> bool:
    """Whether a user calls the function: NumPy's, or one that tapegrad.nn names."""
    module = getattr(known.function, "__module__", "") or ""
    return not module.startswith("tapegrad") or hasattr(tapegrad.nn, known.function.__name__)


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
