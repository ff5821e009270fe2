"""``vae-zoo data``: data sets."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.data.download import COCO, download_coco
from vae_zoo.data.shapes import draw_shapes


def run(command: str, arguments: Sequence[str]) -> None:
    """Run ``vae-zoo data shapes`` or ``vae-zoo data coco``."""
    parser = argparse.ArgumentParser(prog="vae-zoo data", description="Make a data set.", allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    shapes = kinds.add_parser("shapes", help="draw the embedded data set: coloured shapes in COCO format")
    coco = kinds.add_parser("coco", help="download a part of COCO train2017: the annotations, and N pictures")
    for kind in (shapes, coco):
        kind.add_argument("--out", type=Path, required=True, help="folder to make")
        kind.add_argument("--n", type=int, default=13_000, help="number of pictures (default %(default)s)")
        kind.add_argument("--seed", type=int, default=0, help="of all that is random (default %(default)s)")
    coco.add_argument("--url", default=COCO, help="server (default %(default)s)")
    coco.add_argument("--jobs", type=int, default=16, help="connections at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.kind == "shapes":
        draw_shapes(options.out, options.n, options.seed)
    else:
        download_coco(options.out, options.n, options.seed, options.url, options.jobs)
    print(f"{options.n} pictures are in {options.out}; train on them with --data.root {options.out}")
