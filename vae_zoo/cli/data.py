"""``vae-zoo data``: data sets."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.data.download import COCO, download_coco
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.shapes import generate_shapes


def run(arguments: Sequence[str]) -> None:
    """Run ``vae-zoo data shapes``, ``sketches`` or ``coco``."""
    parser = argparse.ArgumentParser(prog="vae-zoo data", description="Make a data set.", allow_abbrev=False)
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    shapes = kinds.add_parser("shapes", help="draw the embedded pictures: coloured shapes in COCO format")
    coco = kinds.add_parser("coco", help="download a part of COCO train2017: the annotations, and N pictures")
    sketches = kinds.add_parser("sketches", help="draw the embedded sketches, circles, zigzags and stars: an .ndjson")
    for kind in (shapes, coco, sketches):
        what = ".ndjson file" if kind is sketches else "folder"
        kind.add_argument("--out", type=Path, required=True, help=f"{what} to make")
        kind.add_argument("--n", type=int, default=13_000, help="how many (default %(default)s)")
        kind.add_argument("--seed", type=int, default=0, help="of all that is random (default %(default)s)")
    coco.add_argument("--url", default=COCO, help="server (default %(default)s)")
    coco.add_argument("--jobs", type=int, default=16, help="connections at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.kind == "sketches":
        generate_sketches(options.out, options.n, options.seed)
        print(f"{options.n} sketches are in {options.out}; train on them with --data.path {options.out}")
        return
    if options.kind == "shapes":
        generate_shapes(options.out, options.n, options.seed)
    else:
        download_coco(options.out, options.n, options.seed, options.url, options.jobs)
    print(f"{options.n} pictures are in {options.out}; train on them with --data.root {options.out}")
