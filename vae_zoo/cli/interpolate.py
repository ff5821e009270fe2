"""``vae-zoo interpolate``: interpolations between pairs of images."""

from collections.abc import Sequence

from vae_zoo.cli.pictures import add_images, begin, encoder, images, make_parser, write
from vae_zoo.errors import UserError, require


def run(arguments: Sequence[str]) -> None:
    """Interpolate, and write the picture."""
    parser = make_parser("interpolate", "Interpolate between pairs of images.", 8, "pairs of images")
    add_images(parser)
    options = parser.parse_args(arguments)
    require(2, columns=options.columns)
    model, checkpoint, label = begin(options)
    autoencoder = encoder(model, "interpolate")
    if label is None and model.labels:
        raise UserError(f"{type(model).__name__} needs the label of what lies between; give it with --label")
    x, y = images(options, 2 * options.n, label, model, checkpoint)
    n = len(x) // 2
    require(1, **{"the number of pairs of images": n})
    between = autoencoder.interpolate(x[:n], x[n : 2 * n], None if y is None else y[:n], steps=options.columns)
    write(between.split(options.columns), options, model)
