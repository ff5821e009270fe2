"""``vae-zoo data``: data sets."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.data.shapes import draw_shapes


def run(command: str, arguments: Sequence[str]) -> None:
    """Run ``vae-zoo data shapes``."""
    parser = argparse.ArgumentParser(prog="vae-zoo data", description="Make a data set.", allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    shapes = kinds.add_parser("shapes", help="draw the embedded data set: coloured shapes in COCO format")
    shapes.add_argument("--out", type=Path, required=True, help="folder to make")
    shapes.add_argument("--n", type=int, default=13_000, help="number of pictures (default %(default)s)")
    shapes.add_argument("--seed", type=int, default=0, help="of all that is random (default %(default)s)")
    options = parser.parse_args(arguments)
    draw_shapes(options.out, options.n, options.seed)
    print(f"drew {options.n} pictures; train on them with --data.root {options.out}")
