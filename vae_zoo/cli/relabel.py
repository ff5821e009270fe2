"""``vae-zoo relabel``: real pictures under every label."""

from collections.abc import Sequence

import torch

from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.pictures import add_images, begin, encoder, images, make_parser, write_captioned
from vae_zoo.latent import relabel


def run(arguments: Sequence[str]) -> None:
    """Relabel, and write the picture."""
    parser = make_parser(
        "relabel", "Decode pictures under every label, their codes kept.", 8, "pictures", columns=None, numbers=False
    )
    add_images(parser)
    options = parser.parse_args(arguments)
    model, checkpoint, label = begin(options)
    autoencoder = encoder(model, "relabel")
    x, y = images(options, options.n, label, model, checkpoint)
    made = relabel(autoencoder, x, y if y is not None else torch.zeros(len(x), dtype=torch.int64))
    names = trained_labels(read(checkpoint)) or [str(number) for number in range(model.labels)]
    rows = [("picture", x), *((name, made[:, number]) for number, name in enumerate(names))]
    write_captioned([(name, model.pictures(row)) for name, row in rows], options.out)
