"""``vae-zoo manifold``: what a space of two numbers decodes to, as a grid."""

from collections.abc import Sequence

from vae_zoo.cli.pictures import begin, decoder, make_parser, repeated, require_label, write
from vae_zoo.latent import manifold


def run(arguments: Sequence[str]) -> None:
    """Decode the grid, and write the picture."""
    text = "Decode a grid over a code of two numbers."
    parser = make_parser("manifold", text, 20, "images on a side", columns=None, svg=True, numbers=False)
    options = parser.parse_args(arguments)
    model, _, label = begin(options)
    makes = decoder(model, "draw a manifold")
    require_label(model, label)
    codes = manifold(makes, options.n, repeated(label, 1))
    rows = [makes.decode(row, repeated(label, len(row))) for row in codes]
    write(rows, options, model)
