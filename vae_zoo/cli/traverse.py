"""``vae-zoo traverse``: one number of a code at a time, from one end of the prior to the other."""

from collections.abc import Sequence

import torch

from vae_zoo.cli.pictures import (
    add_images,
    begin,
    decoder,
    images,
    in_parts,
    make_parser,
    repeated,
    require_label,
    write_captioned,
)
from vae_zoo.errors import UserError, require
from vae_zoo.latent import informative, traverse
from vae_zoo.latent.traversal import MEASURED
from vae_zoo.models import Autoencoder


def run(arguments: Sequence[str]) -> None:
    """Traverse, and write the picture."""
    parser = make_parser(
        "traverse", "Change one number of a code at a time.", 10, "numbers of the code, a row each", numbers=False
    )
    add_images(parser)
    parser.add_argument("--low", type=float, default=0.01, help="the prior's probability below the first column")
    parser.add_argument("--high", type=float, default=0.99, help="and below the last one (default %(default)s)")
    options = parser.parse_args(arguments)
    require(2, columns=options.columns)
    model, checkpoint, label = begin(options)
    makes = decoder(model, "traverse")
    require_label(model, label)
    one = repeated(label, 1)
    if isinstance(model, Autoencoder):
        x, y = images(options, MEASURED, label, model, checkpoint, decodes=True)
        told, what = informative(model, [(x, y)])
        start = model.encode(x[:1], None if y is None else y[:1])[0]
        order = told.argsort(descending=True, stable=True).tolist()
        captions = {dimension: f"{dimension}: {what} {told[dimension]:.3g}" for dimension in order}
    elif options.images:
        raise UserError(f"{type(model).__name__} has no encoder, and starts in the prior's middle; leave --images out")
    else:
        start = makes.icdf(torch.full((1, *makes.code_shape), 0.5), one)[0]
        order = list(range(start.numel()))
        captions = {dimension: str(dimension) for dimension in order}
    rows = order[: options.n]
    codes = traverse(makes, start, rows, options.columns, options.low, options.high, one)
    y = repeated(label, len(codes) * codes.shape[1])
    pictures = model.pictures(in_parts(makes.decode, codes.flatten(0, 1), y)).split(options.columns)
    write_captioned([(captions[row], picture) for row, picture in zip(rows, pictures, strict=True)], options.out)
