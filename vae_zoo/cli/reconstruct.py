"""``vae-zoo reconstruct``: images above their reconstructions."""

from collections.abc import Sequence

from vae_zoo.callbacks.pictures import pairs
from vae_zoo.cli.pictures import add_images, add_temperature, begin, encoder, images, make_parser, write


def run(arguments: Sequence[str]) -> None:
    """Reconstruct, and write the picture."""
    parser = make_parser("reconstruct", "Show images above their reconstructions.", svg=True, numbers=False)
    add_temperature(parser)
    add_images(parser)
    options = parser.parse_args(arguments)
    model, checkpoint, label = begin(options)
    autoencoder = encoder(model, "reconstruct")
    x, y = images(options, options.n, label, model, checkpoint)
    x_hat = autoencoder.reconstruct(x, y, temperature=options.temperature)
    write(pairs(x, x_hat, options.columns), options, model)
