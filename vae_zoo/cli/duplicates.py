"""``vae-zoo duplicates``: near-doubles among pictures, in groups; nothing is deleted."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import with_texts, write_captioned, write_numbers
from vae_zoo.data.pictures import picture_batches
from vae_zoo.errors import UserError, require, require_share
from vae_zoo.latent.duplicates import AGREEMENT, BITS, CODE, SHAPE, find_duplicates
from vae_zoo.marks import refuse_foreign

SHOWN, WIDEST = 12, 12  # groups in the PNG, and pictures of each


def run(arguments: Sequence[str]) -> None:
    """Search, and write the groups and a picture of the first ones."""
    parser = Parser(
        prog="vae-zoo duplicates",
        description="Find near-doubles among pictures, by hashes of 128 bits. Nothing is deleted.",
        allow_abbrev=False,
    )
    parser.add_argument("paths", type=Path, nargs="+", help="picture files, folders or zips")
    parser.add_argument("--out", type=Path, default=Path("duplicates.json"), help=".json (default %(default)s)")
    parser.add_argument(
        "--bits", type=int, default=BITS, help="of 128 in which hashes may differ; 0 for millions (default %(default)s)"
    )
    parser.add_argument(
        "--agreement", type=float, default=AGREEMENT, help="least correlation of fine structure (default %(default)s)"
    )
    parser.add_argument("--mirrored", action="store_true", help="also what is alike when it is mirrored")
    parser.add_argument("--seed", type=int, default=0, help="of the autoencoder that hashes (default %(default)s)")
    options = parser.parse_args(arguments)
    require(0, seed=options.seed)
    require(0, CODE, bits=options.bits)  # before pictures are read, which may be millions
    require_share(agreement=options.agreement)
    if options.out.suffix.lower() != ".json":
        raise UserError(f"--out {options.out}: it ends in .json; a picture of the first groups is written beside it")
    refuse_foreign(options.out, sheet := options.out.with_suffix(".png"))
    names: list[str] = []
    with tempfile.TemporaryFile() as file:  # 3 KB a picture, so that the memory does not grow with their number
        with Progress(TextColumn("{task.completed} pictures"), TimeElapsedColumn(), transient=True) as progress:
            task = progress.add_task("", total=None)
            for x, read in picture_batches(options.paths, SHAPE, 256):
                file.write((255 * x).round().to(torch.uint8).contiguous().numpy().tobytes())
                names += read
                progress.update(task, completed=len(names))
        file.flush()
        pictures = torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(len(names), *SHAPE)))
        found = find_duplicates(pictures, options.bits, options.agreement, options.mirrored, options.seed)
        numbers = {
            "pictures": len(names),
            "bits": options.bits,
            "agreement": options.agreement,
            "mirrored": options.mirrored,
            "groups": [[names[row] for row in group] for group in found],
        }
        write_numbers(options.out, "duplicates", numbers)
        sheet.unlink(missing_ok=True)  # of an earlier search
        if found:
            rows = [(f"{len(group)} pictures", pictures[group[:WIDEST]] / 255) for group in found[:SHOWN]]
            shown = [(name, with_texts(x, [""] * len(x))) for name, x in rows]
            write_captioned(shown, sheet)
    more = sum(map(len, found)) - len(found)
    print(
        f"near-doubles among {len(names)} pictures: {len(found)} group{'' if len(found) == 1 else 's'}, {more} beyond "
        "the first of each. Nothing has been deleted"
    )
