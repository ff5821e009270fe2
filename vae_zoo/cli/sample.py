"""``vae-zoo sample``: from a trained model to a PNG, or an SVG of sketches."""

from collections.abc import Sequence

from vae_zoo.cli.pictures import add_temperature, begin, make_parser, repeated, write
from vae_zoo.errors import UserError


def run(arguments: Sequence[str]) -> None:
    """Sample, and write the picture."""
    parser = make_parser("sample", "Sample from a trained model.", svg=True)
    add_temperature(parser)
    parser.add_argument("--numbers", action="store_true", help="each sample's number below it, for arithmetic")
    options = parser.parse_args(arguments)
    if options.numbers and options.out.suffix == ".svg":
        raise UserError("--numbers are written into a .png")
    model, _, label = begin(options)
    y = repeated(label, options.n)
    x = model.sample(options.n, y, temperature=options.temperature)
    write(x.split(options.columns), options, model, options.numbers)
