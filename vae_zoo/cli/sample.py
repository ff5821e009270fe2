"""``vae-zoo sample``: from a trained model to a PNG, or an SVG of sketches."""

from collections.abc import Sequence

from vae_zoo.callbacks.pictures import in_turn
from vae_zoo.cli.pictures import add_temperature, begin, make_parser, repeated, write
from vae_zoo.errors import UserError
from vae_zoo.models.decoding import Described, Staged


def run(arguments: Sequence[str]) -> None:
    """Sample, and write the picture."""
    parser = make_parser("sample", "Sample from a trained model.", svg=True, numbers=False)
    add_temperature(parser)
    parser.add_argument("--numbers", action="store_true", help="each sample's number below it, for arithmetic")
    parser.add_argument("--stages", action="store_true", help="of a StackGAN: a row of sketches above one of pictures")
    parser.add_argument("--text", help='what to draw, for a model that reads texts: "a red circle over a blue star"')
    options = parser.parse_args(arguments)
    if options.text is not None and options.label is not None:
        raise UserError("--text and --label both say what to draw; give one of them")
    if options.numbers and options.out.suffix == ".svg":
        raise UserError("--numbers are written into a .png")
    model, _, label = begin(options)
    if options.text is not None:
        if not isinstance(model, Described):
            raise UserError(f"--text: {type(model).__name__} is not told what to draw by a text; StackGAN is")
        model.describe([options.text])
        label = 0
    y = repeated(label, options.n)
    if options.stages:
        if not isinstance(model, Staged):
            raise UserError(f"--stages: {type(model).__name__} draws in one stage")
        if options.numbers or options.temperature is not None:
            raise UserError("--stages go with neither --numbers nor --temperature")
        write(in_turn(model.sample_stages(options.n, y), options.columns), options, model)
        return
    x = model.sample(options.n, y, temperature=options.temperature)
    write(x.split(options.columns), options, model, options.numbers)
