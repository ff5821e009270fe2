"""``vae-zoo report``: compare the runs in a folder."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.cli.parser import Parser
from vae_zoo.compare.columns import MOST
from vae_zoo.compare.report import write_report
from vae_zoo.errors import printable


def run(arguments: Sequence[str]) -> None:
    """Write the report."""
    parser = Parser(prog="vae-zoo report", description="Compare runs.", allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="folder with runs in it, such as a comparison's, or runs")
    parser.add_argument(
        "--base", metavar="NAME", help="model that the others are compared with (default: the comparison's)"
    )
    parser.add_argument(
        "--draw",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"models whose curves and pictures are shown (default: all, or of more than {MOST} the base and the best)",
    )
    options = parser.parse_args(arguments)
    report(options.folder, options.base, options.draw)


def report(folder: Path, base: str | None = None, draw: Sequence[str] = ()) -> None:
    """Write a report, and say what it says and where it is."""
    verdict, files = write_report(folder, base, draw)
    print(printable("\n".join(verdict)))  # which names models and folders
    for file in files:
        print(f"{file.suffix[1:]:13} {os.path.relpath(file)}")
    print(f"TensorBoard   tensorboard --logdir {shlex.quote(os.path.relpath(folder))}")
