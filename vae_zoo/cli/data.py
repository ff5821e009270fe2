"""``vae-zoo data``: data sets."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from vae_zoo.cli import UsageError
from vae_zoo.cli.parser import Parser
from vae_zoo.data.download import COCO, download_coco
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.data.sharding import write_shards
from vae_zoo.data.sources import find_source
from vae_zoo.data.streaming import LARGEST_SIDE
from vae_zoo.errors import amount, require


def run(arguments: Sequence[str]) -> None:
    """Run ``vae-zoo data shapes``, ``sketches``, ``coco`` or ``shard``."""
    parser = Parser(prog="vae-zoo data", description="Make a data set.", allow_abbrev=False)
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
    _add_shard(kinds.add_parser("shard", help="write any pictures into shards, to be streamed by StreamingImages"))
    options = parser.parse_args(arguments)
    if options.kind == "shard":
        _shard(options)
        return
    if options.kind == "sketches":
        generate_sketches(options.out, options.n, options.seed)
        said = amount(options.n, "sketch", "sketches")
        print(f"wrote {said} to {options.out}; to train on this: --data.path {quote(str(options.out))}")
        return
    if options.kind == "shapes":
        generate_shapes(options.out, options.n, options.seed)
    else:
        download_coco(options.out, options.n, options.seed, options.url, options.jobs)
    said = amount(options.n, "picture")
    print(f"wrote {said} to {options.out}; to train on this: --data.root {quote(str(options.out))}")


def _add_shard(shard: argparse.ArgumentParser) -> None:
    shard.description = "Write pictures into shards, decoded to one size, or as the files that they are."
    sources = "a folder or zip of pictures, COCO or not; .tar files of WebDataset's; or hf:NAME, of Hugging Face's"
    shard.add_argument("root", metavar="ROOT", help=sources)
    shard.add_argument("--out", required=True, help="folder to make, or its address: s3://, gs:// or r2://")
    kept = shard.add_mutually_exclusive_group()
    kept.add_argument(
        "--image_size", type=int, nargs="+", default=[64], metavar="N", help="side, or height and width (64)"
    )
    kept.add_argument("--files", action="store_true", help="keep the files, which each training decodes")
    shard.add_argument("--channels", type=int, choices=(1, 3), default=3, help="1 is grey, 3 RGB (default %(default)s)")
    shard.add_argument("--val", type=float, default=0.05, help="share to validate on (default %(default)s)")
    shard.add_argument("--test", type=float, default=0.05, help="share to test on (default %(default)s)")
    shard.add_argument("--seed", type=int, default=0, help="of the split and the order (default %(default)s)")
    shard.add_argument("--chunk_mb", type=int, default=16, help="megabytes of a chunk (default %(default)s)")
    shard.add_argument("--max_unreadable", type=float, default=0.05, help="share left out (default %(default)s)")
    shard.add_argument("--annotations", help="COCO file (default: the one in ROOT or ROOT/annotations)")
    shard.add_argument("--split", default="train", help="of a data set of Hugging Face's (default %(default)s)")
    shard.add_argument("--image", help="its column of pictures (default: the only one)")
    shard.add_argument("--label", help="its column of labels; of .tar files, the ending of labels (default cls)")


def _shard(options: argparse.Namespace) -> None:
    if len(options.image_size) > 2:
        raise UsageError(f"--image_size takes one number, or height and width, got {len(options.image_size)}")
    height, width = options.image_size[0], options.image_size[-1]
    require(1, LARGEST_SIDE, image_size=height)
    require(1, LARGEST_SIDE, image_size=width)
    source = find_source(options.root, options.annotations, options.split, options.image, options.label, options.seed)
    counts = write_shards(
        source.pictures,
        options.out,
        None if options.files else (options.channels, height, width),
        options.val,
        options.test,
        options.seed,
        options.chunk_mb,
        options.max_unreadable,
        source.total,
    )
    told = ", ".join(f"{n} {part}" for part, n in counts.items())
    size = " --data.image_size N" if options.files else ""
    print(f"{told} pictures are in {options.out}")
    print(f"train on them with --data StreamingImages --data.root {quote(options.out)}{size}")
