"""``vae-zoo interpolate``: what lies between images, or between draws of the prior."""

from collections.abc import Sequence

import torch

from vae_zoo.cli.pictures import (
    add_images,
    begin,
    decoder,
    images,
    in_parts,
    make_parser,
    moves,
    repeated,
    require_label,
    write,
    write_moving,
    write_numbers,
)
from vae_zoo.errors import UserError, require
from vae_zoo.latent import HOW, between, path, smoothness
from vae_zoo.models import Autoencoder


def run(arguments: Sequence[str]) -> None:
    """Interpolate, write the picture and how evenly it changes."""
    parser = make_parser(
        "interpolate", "Interpolate between pairs of images, or along a chain.", 8, "pairs of images", svg=True
    )
    add_images(parser)
    parser.add_argument("--how", choices=HOW, default="spherical", help="the way between codes (default %(default)s)")
    parser.add_argument("--chain", action="store_true", help="one way through all images, in their order")
    options = parser.parse_args(arguments)
    require(2, columns=options.columns)
    model, checkpoint, label = begin(options, moving=True)
    makes = decoder(model, "interpolate")
    require_label(model, label)
    one = repeated(label, 1)
    if isinstance(model, Autoencoder):
        codes = model.encode(*images(options, 2 * options.n, label, model, checkpoint, decodes=True))
    elif options.images:
        raise UserError(f"{type(model).__name__} has no encoder, and walks from noise to noise; leave --images out")
    else:
        codes = makes.sample_prior(2 * options.n)
    if options.chain:
        ways = path(makes, codes, options.columns, options.how, one)[None]  # 1 S D
    else:
        n, alone = divmod(len(codes), 2)
        if n and alone and options.images:
            raise UserError(f"--images are {len(codes)}, of which one has no partner; leave one out, or say --chain")
        require(1, **{"the number of pairs of images": n})
        ways = between(makes, codes[:n], codes[n : 2 * n], options.columns, options.how, one).transpose(0, 1)  # n S D
    y = repeated(label, len(ways) * ways.shape[1])
    x = in_parts(makes.decode, ways.flatten(0, 1), y)
    rows = x.split(ways.shape[1])
    pictures = [model.pictures(row) for row in rows]
    found = [smoothness(row) for row in pictures]
    if moves(options.out):
        write_moving([*torch.stack(pictures, 1)], options)
    else:
        write(x.split(options.columns), options, model)
    write_numbers(options.out, "interpolate", {"how": options.how, "longest_over_mean_step": found})
    print(f"the longest step is {sum(found) / len(found):.2f} times the mean one")
