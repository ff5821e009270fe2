"""``vae-zoo erase``: remove the filters of a decoder that draw what is marked in some pictures."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae_zoo.cli.pictures import (
    begin,
    in_parts,
    make_parser,
    repeated,
    require_label,
    two_sided,
    write_captioned,
    write_numbers,
)
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.coco import COCODataModule
from vae_zoo.data.masks import category_masks, read_masks
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError, require
from vae_zoo.latent import Drawers, change, choose, convolutions, without
from vae_zoo.models import Autoencoder
from vae_zoo.models.decoding import TwoSided

MARKED = 150  # pictures of a category, as many as are marked in the paper
CONTROLS = 10  # sets of as many random filters, over which their effect is averaged; the first is shown
IMAGES = "marked picture files, folders or zips; without an encoder, numbers of samples in the grid of this --seed"


def run(arguments: Sequence[str]) -> None:
    """Choose filters, remove them, and write the picture and the numbers."""
    parser = make_parser("erase", "Remove the filters that draw something.", 8, "pictures to show", columns=None)
    parser.add_argument("--images", nargs="+", metavar="PATH", help=IMAGES)
    parser.add_argument("--masks", type=Path, nargs="+", metavar="PATH", help="of the same names, white where it is")
    parser.add_argument("--category", help="in place of both: pictures of COCO that show it, and where they do")
    parser.add_argument("--coco", type=Path, metavar="ROOT", help="the data set (default: the run's own test images)")
    parser.add_argument("--layer", help="what it is given is removed; list: the names (default: the last convolution)")
    parser.add_argument("--most", type=int, help="remove this many at most (default: all of positive weight)")
    options = parser.parse_args(arguments)
    require(1, most=options.most, optional=True)
    given, checkpoint, label = begin(options)
    model = two_sided(given, "draw without filters")
    if options.layer == "list":
        print("\n".join(convolutions(model, model.draws)))
        return
    require_label(model, label)
    x, z, masks = _marked(options, model, checkpoint, label)
    y = repeated(label, len(z))
    drawers = choose(model, z, masks, y, layer=options.layer, seed=options.seed)
    chosen = drawers.filters(options.most)
    if not chosen:
        raise UserError("no filter draws more of what is marked than of the rest")
    rng = np.random.default_rng(options.seed)
    others = [sorted(rng.choice(len(drawers.weights), len(chosen), replace=False).tolist()) for _ in range(CONTROLS)]
    before = _decoded(model, z, y, drawers, [])
    effects: dict[str, tuple[float, float]] = {}
    where = masks[:, None].to(before)
    rows = [("marked", (before if x is None else x) * (0.25 + 0.75 * where)), ("before", before)]
    for name, sets in (("chosen", [chosen]), ("random", others)):
        removed = (_decoded(model, z, y, drawers, filters) for filters in sets)  # of many, one at a time
        first = next(removed)
        measured = [change(before, first, masks), *(change(before, after, masks) for after in removed)]
        inside, outside = (float(each) for each in np.mean(measured, 0))
        effects[name] = inside, outside
        rows.append((f"without {len(chosen)} {name}: {inside:.3f} in, {outside:.3f} out", first))
    write_captioned([(name, pictures[: options.n]) for name, pictures in rows], options.out)
    said = {
        "model": type(model).__name__,
        "layer": drawers.layer,
        "marked": len(z),
        "accuracy": drawers.accuracy,
        "filters": chosen,
        "of": len(drawers.weights),
        "weights": drawers.weights.tolist(),
        "random_filters": others,
        "change": {name: {"inside": both[0], "outside": both[1]} for name, both in effects.items()},
    }
    write_numbers(options.out, "erase", said)
    ratios = {name: inside / max(outside, 1e-12) for name, (inside, outside) in effects.items()}
    print(
        f"{drawers.layer}: the filters tell what is marked from the rest with accuracy {drawers.accuracy:.2f}, where "
        f"0.5 is chance{', so they hardly draw it' if drawers.accuracy < 0.6 else ''}; {len(chosen)} of "
        f"{len(drawers.weights)} were chosen; without them the marked pixels change {ratios['chosen']:.2f} times as "
        f"much as the others, without as many random filters {ratios['random']:.2f} times"
    )


def _marked(
    options: argparse.Namespace, model: TwoSided, checkpoint: Path, label: int | None
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Pictures, None where they are samples; their codes; and where in them it is."""
    shape = model.hparams["shape"]
    if not (options.category or (options.images and options.masks)):
        raise UserError("say what to erase: give --images with --masks, or a --category of COCO")
    if not isinstance(model, Autoencoder):
        if options.category or not all(word.isdecimal() for word in options.images):
            raise UserError(
                f"{type(model).__name__} has no encoder: --images are numbers of samples, as vae-zoo sample draws "
                "them, and a mask has the number of its sample, such as 12.png"
            )
        numbers = [int(word) for word in options.images]
        torch.manual_seed(options.seed)
        z = model.sample_prior(max(64, max(numbers) + 1))[numbers]
        return None, z, read_masks([str(number) for number in numbers], options.masks, shape)
    if options.category:
        x, masks = _of_category(options, model, checkpoint)
    else:
        x, names = read_pictures([Path(word) for word in options.images], shape)
        masks = read_masks(names, options.masks, shape)
    return x, in_parts(model.encode, x, repeated(label, len(x))), masks


def _of_category(options: argparse.Namespace, model: TwoSided, checkpoint: Path) -> tuple[Tensor, Tensor]:
    """Pictures of a COCO data set, or of the run's test images."""
    shape = model.hparams["shape"]
    if options.coco:
        return category_masks(options.coco, options.category, shape, MARKED)
    data = data_of_run(checkpoint, model, "say which data with --coco", options.trust)
    if not isinstance(data, COCODataModule):
        raise UserError(f"{type(data).__name__} has no segmentations; name a COCO data set with --coco")
    annotations = data.test_annotations or data.annotations
    tests = set(data.split["test"])
    return category_masks(
        data.root, options.category, shape, MARKED, annotations=annotations, image_dir=data.image_dir, ids=tests
    )


def _decoded(model: TwoSided, z: Tensor, y: Tensor | None, drawers: Drawers, filters: Sequence[int]) -> Tensor:
    """Pictures of codes, without some filters, on the CPU."""
    with without(model, drawers.layer, filters) if filters else nullcontext():
        return in_parts(model.decode, z, y)
