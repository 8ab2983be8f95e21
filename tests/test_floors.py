"""Imports go down only, and bring in nothing that a user didn't ask for."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tapegrad

ROOT = Path(tapegrad.__file__).parent

# From the ground up: a module imports only from floors below its own, or from its own package's.
FLOORS = (
    ("errors", "cases", "methods"),
    ("residuals",),
    ("kinds",),
    ("primitive",),
    ("shapes", "recording", "entries", "borrowed", "hooks", "containers"),
    ("nested", "owed"),
    ("pieces",),
    ("pulls", "gradients", "conversions"),
    ("ops", "careful", "storage"),
    ("tape",),
    ("dispatch",),
    ("nn", "pairs", "writing"),
    ("roads",),
    ("attributes", "operators"),
    ("tensor",),
    ("custom", "optim", "transforms"),
    ("tapegrad",),
    ("testing", "examples", "support"),
)
# What rules may know, whatever lies below them: neither tensors nor the tape.
RULES_KNOW = {
    "ops": {"errors", "cases", "kinds", "primitive", "shapes", "ops"},
    "nn": {"errors", "cases", "kinds", "primitive", "shapes", "ops", "nn"},
}
# Only these may import what isn't NumPy's or Python's own: it comes with an extra.
WITH_EXTRAS = (
    "testing/strategies",
    "testing/laws",
    "testing/programs",
    "testing/plugin",
    "testing/stateful",
    "testing/making",
    "testing/twins",
    "examples/",
)
HEAVY = ("hypothesis", "matplotlib", "sklearn", "tqdm", "torch", "scipy", "autograd", "mygrad")

MODULES = sorted(ROOT.rglob("*.py"))


def unit(parts: tuple[str, ...]) -> str:
    """What a floor is named by: the module or package right under tapegrad; itself for tapegrad."""
    return parts[1] if len(parts) > 1 else "tapegrad"


def floor_of(name: str) -> int:
    """The floor of a unit, counted from the ground."""
    found = [i for i, floor in enumerate(FLOORS) if name in floor]
    assert found, f"tapegrad.{name} stands on no floor: name it in FLOORS"
    return found[0]


def dotted(path: Path) -> tuple[str, ...]:
    """The name of a module, as a tuple: ('tapegrad', 'ops', 'joining')."""
    parts = ("tapegrad", *path.relative_to(ROOT).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(source: str, at: tuple[str, ...], package: bool = False) -> Iterator[tuple[str, ...]]:
    """Every module that the source imports, also inside functions, as tuples of names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = at[: len(at) - node.level + package] if node.level else ()
            name = (*base, *(node.module.split(".") if node.module else ()))
            if name == ("tapegrad",):  # `from tapegrad import tape` imports a module, or a public name.
                for alias in node.names:
                    is_module = (ROOT / f"{alias.name}.py").exists() or (ROOT / alias.name).is_dir()
                    yield (*name, alias.name) if is_module else name
            else:
                yield name


def upward(source: str, at: tuple[str, ...], package: bool = False) -> list[str]:
    """The imports of a module that don't go down."""
    here = unit(at)
    wrong = []
    for name in imports(source, at, package):
        if name[0] != "tapegrad":
            continue
        there = unit(name)
        if here in RULES_KNOW:
            if there not in RULES_KNOW[here]:
                wrong.append(".".join(name))
        elif there != here and floor_of(there) >= floor_of(here):
            wrong.append(".".join(name))
    return wrong


def foreign(source: str, at: tuple[str, ...]) -> list[str]:
    """The imports of a module that are neither ours, nor NumPy's, nor Python's own."""
    tops = {name[0] for name in imports(source, at)}
    return sorted(tops - {"tapegrad", "numpy"} - set(sys.stdlib_module_names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(dotted(path)))
def test_imports_go_down(path: Path) -> None:
    assert upward(path.read_text(), dotted(path), path.name == "__init__.py") == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: ".".join(dotted(path)))
def test_only_extras_import_more_than_numpy(path: Path) -> None:
    if not str(path.relative_to(ROOT)).startswith(WITH_EXTRAS):
        assert foreign(path.read_text(), dotted(path)) == []


def test_every_module_stands_on_a_floor() -> None:
    assert {unit(dotted(path)) for path in MODULES} <= {name for floor in FLOORS for name in floor}


def test_no_module_stands_on_two_floors() -> None:
    names = [name for floor in FLOORS for name in floor]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("at", "source"),
    [
        (("tapegrad", "ops", "sorting"), "from tapegrad.tensor import Tensor"),
        (("tapegrad", "ops", "sorting"), "def f():\n    import tapegrad.tape"),
        (("tapegrad", "ops", "sorting"), "import tapegrad as tg"),
        (("tapegrad", "ops", "sorting"), "from tapegrad import nn"),
        (("tapegrad", "ops", "sorting"), "from ..recording import STATE"),
        (("tapegrad", "nn", "loss"), "from tapegrad import no_grad"),
        (("tapegrad", "shapes"), "from tapegrad.pulls import finite"),
        (("tapegrad", "primitive"), "from . import shapes"),
        (("tapegrad", "tensor"), "from tapegrad import grad"),
        (("tapegrad", "tape"), "from tapegrad.tensor import Tensor"),
        (("tapegrad", "optim"), "from tapegrad.testing import check_vjp"),
    ],
)
def test_an_upward_import_is_found(at: tuple[str, ...], source: str) -> None:
    assert upward(source, at)


@pytest.mark.parametrize(
    ("at", "source"),
    [
        (("tapegrad", "ops", "sorting"), "from tapegrad.shapes import mT\nfrom tapegrad.ops.joining import split"),
        (("tapegrad", "testing", "check"), "import tapegrad as tg"),
        (("tapegrad", "tensor"), "import tapegrad.ops\nfrom tapegrad import dispatch"),
        (("tapegrad", "ops", "joining"), "from .shaping import split\nfrom ..shapes import mT"),
    ],
)
def test_a_downward_import_is_not(at: tuple[str, ...], source: str) -> None:
    assert upward(source, at) == []


def test_a_foreign_import_is_found() -> None:
    assert foreign("import scipy.linalg\nimport numpy.linalg, ast", ("tapegrad", "ops", "linalg")) == ["scipy"]


def test_importing_tapegrad_imports_nothing_heavy() -> None:
    code = f"import sys, tapegrad, tapegrad.nn, tapegrad.testing; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
