"""``python -m tapegrad.testing``: random programs (``fuzz``), and a test file for a function (``write``)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 where nothing is wrong."""
    parser = argparse.ArgumentParser("python -m tapegrad.testing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _fuzz(commands.add_parser("fuzz", help="run random NumPy programs and compare gradients with differences"))
    _write(commands.add_parser("write", help="write a test file for a function of yours"))
    given = parser.parse_args(arguments)
    status: int = given.run(given, parser)
    return status


def _fuzz(parser: argparse.ArgumentParser) -> None:
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--minutes", type=float, help="how long to run (a minute, if neither is given)")
    amount.add_argument("--programs", type=int, help="how many programs to run")
    parser.add_argument("--jobs", type=int, default=1, help="how many processes; 0: this one itself")
    parser.add_argument("--only", metavar="FAMILY", help="a family of functions, or the name of one")
    parser.add_argument("--seed", type=int, default=0, help="of the campaign; each has counts of its own")
    parser.add_argument("--lines", type=int, default=6, help="lines of a program, at most")
    parser.add_argument("--stray", type=float, default=0.05, help="share of programs led out of their domains")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it first: its own primitives take part",
    )
    parser.add_argument("--into", type=Path, default=Path(".tapegrad-fuzz"), help="folder for counts and failures")
    parser.set_defaults(run=_run_fuzz)


def _run_fuzz(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from tapegrad.testing import fuzz
    from tapegrad.testing.worker import Options

    if given.jobs < 0 or given.lines < 1 or not 0 <= given.stray <= 1:
        parser.error("--lines is at least 1, --jobs at least 0, --stray is between 0 and 1")
    if given.minutes is not None and not given.minutes > 0:
        parser.error(f"--minutes is how long to run; got {given.minutes:g}")
    if given.programs is not None and given.programs < 1:
        parser.error(f"--programs is how many to run, at least 1; got {given.programs}")
    options = Options(given.seed, given.only, given.lines, given.stray, tuple(given.modules))
    sys.path.insert(0, "")  # As `python -c` has it: what is imported may stand in this folder.
    try:
        return fuzz.main(given.minutes, given.programs, given.jobs, options, given.into)
    except (ValueError, ImportError) as error:
        parser.error(str(error))


def _write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("function", metavar="package.module:function", help="the function to test")
    parser.add_argument("-o", "--output", type=Path, help="the file to write; without it, the file is printed")
    parser.set_defaults(run=_run_write)


def _run_write(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from tapegrad.testing import ghostwriter

    sys.path.insert(0, "")  # As `python -c` has it: the package may stand in this folder.
    try:
        text = ghostwriter.written(given.function)
    except ghostwriter.GhostwriterError as error:
        parser.error(str(error))
    if given.output is None:
        print(text, end="")
    else:
        given.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
