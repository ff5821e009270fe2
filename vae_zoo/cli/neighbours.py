"""``vae-zoo neighbours``: the nearest to a picture by code, and in pixels, side by side."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import torch
from torch import Tensor

from vae_zoo.cli.codes import read_codes
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import with_texts, write_captioned, write_numbers
from vae_zoo.cli.trained import add_checkpoint, load_trained
from vae_zoo.data.pictures import picture_batches, read_pictures
from vae_zoo.errors import UserError, require
from vae_zoo.latent import Nearest
from vae_zoo.marks import refuse_foreign
from vae_zoo.models import Autoencoder

SHOWN = 16  # of the pictures, in the PNG; the figures are of all
Found = dict[str, tuple[Tensor, Tensor]]  # "code" and "pixels": distances (Q, n) and numbers (Q, n)


@torch.no_grad()
def run(arguments: Sequence[str]) -> None:
    """Search, and write the picture and the numbers."""
    parser = Parser(
        prog="vae-zoo neighbours",
        description="Show the nearest to pictures by code, and in pixels. A picture is no neighbour of itself.",
        allow_abbrev=False,
    )
    parser.add_argument("pictures", type=Path, nargs="+", help="picture files, folders or zips")
    parser.add_argument("--among", type=Path, nargs="+", required=True, help="the set: files, folders or zips")
    parser.add_argument("--codes", type=Path, help="what vae-zoo encode wrote of the set, so that it is not encoded")
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, default=Path("neighbours.png"), help="a .png (default %(default)s)")
    parser.add_argument("--n", type=int, default=8, help="number of neighbours (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=256, help="pictures at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, n=options.n, batch_size=options.batch_size)
    if options.out.suffix.lower() != ".png":
        raise UserError(f"--out {options.out}: it ends in .png")
    refuse_foreign(options.out, options.out.with_suffix(".json"))
    model, _ = load_trained(options)
    if isinstance(model, Autoencoder) and model.labels:
        raise UserError(f"{type(model).__name__} is given the label, which its codes then do not tell; use another")
    x, queries = read_pictures(options.pictures, model.hparams["shape"])
    codes, coded = read_codes(options.codes, model) if options.codes else (None, [])
    features = torch.cat([model.features(part) for part in x.split(options.batch_size)])
    by_code, by_pixels = Nearest(features, options.n), Nearest(x, options.n)
    places = [os.path.realpath(name) for name in queries]
    names: list[str] = []
    kept: dict[int, Tensor] = {}  # the neighbours' pictures, as far as they are shown
    for pictures, more in picture_batches(options.among, model.hparams["shape"], options.batch_size):
        rows = range(len(names), len(names) + len(more))
        names += more
        if codes is None:
            z = model.features(pictures)
        else:
            _compare(options.codes, coded[rows.start : rows.stop], more)
            z = codes[rows.start : rows.stop]
        here = [os.path.realpath(name) for name in more]
        itself = torch.tensor([[place == other for other in here] for place in places])  # Q B
        by_code.show(z, itself)
        by_pixels.show(pictures, itself)
        kept |= dict(zip(rows, pictures, strict=True))
        wanted = torch.cat([by_code.indices[:SHOWN], by_pixels.indices[:SHOWN]]).flatten().tolist()
        kept = {row: kept[row].clone() for row in wanted if row >= 0}
    if codes is not None and len(codes) != len(names):
        raise UserError(f"{options.codes} has {len(codes)} codes, and --among has {len(names)} pictures")
    found: Found = {"code": by_code.found(), "pixels": by_pixels.found()}
    shown = []
    for query, picture in enumerate(x[:SHOWN]):
        for how, (distances, numbers) in found.items():
            row = torch.stack([picture, *(kept[number] for number in numbers[query].tolist())])
            texts = [f"by {how}", *(f"{distance:.4g}" for distance in distances[query].tolist())]
            shown.append((PurePath(queries[query]).name[-24:], with_texts(row, texts)))
    write_captioned(shown, options.out)
    figures = {"model": type(model).__name__, "among": len(names), "n": options.n, **_figures(found, queries, names)}
    listed = [
        {"name": query}
        | {
            how: [
                {"name": names[number], "distance": distance}
                for number, distance in zip(numbers[row].tolist(), distances[row].tolist(), strict=True)
            ]
            for how, (distances, numbers) in found.items()
        }
        for row, query in enumerate(queries)
    ]
    write_numbers(options.out, "neighbours", figures | {"pictures": listed})


def _compare(path: Path, coded: Sequence[str], names: Sequence[str]) -> None:
    """Refuse codes that are of other pictures, or in another order."""
    if list(coded) != list(names):
        wrong = next((name for name, other in zip(names, [*coded, *names], strict=False) if name != other), names[-1])
        raise UserError(
            f"{path} has the codes of other pictures than --among, or in another order: see {wrong}; write it anew "
            "with vae-zoo encode and the same paths"
        )


def _figures(found: Found, queries: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """How far the two kinds of neighbours are the same, and have the query's label, where folders are labels; told."""
    code, pixels = (numbers for _, numbers in found.values())
    figures = {
        "first_is_the_same": float((code[:, 0] == pixels[:, 0]).double().mean()),
        "shared": float((code[:, :, None] == pixels[:, None]).any(1).double().mean()),
    }
    print(
        f"of {len(queries)} pictures {figures['first_is_the_same']:.0%} have the same nearest by code and in pixels; "
        f"of the {code.shape[1]} nearest {figures['shared']:.0%} are the same"
    )
    labels, own = ([PurePath(name).parent.name for name in these] for these in (names, queries))
    known = [row for row, label in enumerate(own) if label in labels]
    if len(set(labels)) > 1 and known:
        for how, (_, numbers) in found.items():
            figures[f"label_{how}"] = sum(
                labels[number] == own[row] for row in known for number in numbers[row].tolist()
            ) / (len(known) * code.shape[1])
        there = {os.path.realpath(name) for name in names}
        itself = [os.path.realpath(queries[row]) in there for row in known]  # which is no neighbour
        shares = [
            (labels.count(own[row]) - same) / (len(labels) - same) for row, same in zip(known, itself, strict=True)
        ]
        figures["label_chance"] = sum(shares) / len(shares)
        print(
            f"the picture's folder is that of {figures['label_code']:.1%} of the neighbours by code, of "
            f"{figures['label_pixels']:.1%} in pixels, and of {figures['label_chance']:.1%} of the others in the set"
        )
    return figures
