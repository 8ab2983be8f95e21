"""What the examples share: the command line, the packages that they need, and the picture at the end."""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

INK, FAINT, BLUE, RED = "#222222", "#999999", "#3b6fb6", "#c0392b"
# module -> its name on PyPI
EXTRAS = {
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
    "tqdm": "tqdm",
}


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """A parser for ``python -m tapegrad.examples.NAME``, with the option ``--out``."""
    parser = argparse.ArgumentParser(prog=f"python -m tapegrad.examples.{name}", description=description)
    parser.add_argument(
        "--out",
        type=picture_path,
        default=Path(f"{name}.png"),
        metavar="FILE",
        help="where to write the picture (default: %(default)s)",
    )
    return parser


def add_number(
    parser: argparse.ArgumentParser, option: str, default: float, least: float, most: float, what: str
) -> None:
    """Add an option that is a number between two bounds, both included: a whole one if its default is."""
    kind = whole_number if isinstance(default, int) else real_number
    parser.add_argument(
        option, type=kind(least, most), default=default, metavar="N", help=f"{what} (default: %(default)s)"
    )


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the option ``--seed``, of all that is random."""
    add_number(parser, "--seed", 0, 0, 2**32 - 1, what)


def whole_number(least: float, most: float) -> Callable[[str], int]:
    """A type for argparse: a whole number between two bounds, both included."""
    return _number(int, "whole number", least, most)


def real_number(least: float, most: float) -> Callable[[str], float]:
    """A type for argparse: a number between two bounds, both included."""
    return _number(float, "number", least, most)


def _number(kind: Callable[[str], Any], kind_name: str, least: float, most: float) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a {kind_name} is expected, got {text!r}") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"a number from {least} to {most} is expected, got {number}")
        return number

    return parsed


def picture_path(text: str) -> Path:
    """A type for argparse: where a picture can be written, found out before the work."""
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"a name that ends in .png is expected, got {text!r}")
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no file can be written there: {text!r}")
    return path


def missing_extras() -> list[str]:
    """The packages of ``tapegrad[examples]`` that aren't here."""
    missing = []
    for module, package in EXTRAS.items():
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(package)
    return missing


def run(work: Callable[[argparse.Namespace], str], options: argparse.Namespace) -> int:
    """Do the work, which leaves a picture and returns the result, and print that last; returns the exit code."""
    missing = missing_extras()
    if missing:
        print(f'{" and ".join(missing)} missing; install with: pip install "tapegrad[examples]"', file=sys.stderr)
        return 1
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # On products as small as these, the threads of BLAS wait more than they work.
        result = work(options)
    print(f"picture in {options.out}")
    print(result)
    return 0


def progress(total: int, unit: str) -> Any:
    """A progress bar on stderr, a context manager."""
    from tqdm import tqdm

    return tqdm(total=total, unit=unit)


def picture(width: float, height: float, title: str = "") -> Any:
    """A white figure, width and height in inches, that lays out its own parts."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1)  # inches around each part
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    if title:
        figure.suptitle(title, fontsize=15, color=INK)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure to a file."""
    figure.savefig(path, dpi=110)


def plain_frame(axes: Any) -> None:
    """Leave a plot its left and lower edge, and a faint grid."""
    axes.grid(which="both", color=FAINT, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
