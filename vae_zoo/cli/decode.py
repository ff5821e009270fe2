"""``vae-zoo decode``: a picture for each code of a file."""

from collections.abc import Sequence
from pathlib import Path

from torchvision.utils import save_image

from vae_zoo.cli.codes import read_codes
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import decoder, label_of, repeated, require_label
from vae_zoo.cli.trained import add_checkpoint, load_trained
from vae_zoo.errors import UserError, amount, require
from vae_zoo.writing import whole


def run(arguments: Sequence[str]) -> None:
    """Decode, and write the pictures."""
    parser = Parser(prog="vae-zoo decode", description="Decode codes.", allow_abbrev=False)
    parser.add_argument("codes", type=Path, help="an .npz with an array z (N, D), such as vae-zoo encode writes")
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, default=Path("decoded"), help="folder to fill (default %(default)s)")
    parser.add_argument("--label", help="the label, its name or number, for a model that takes labels")
    parser.add_argument("--batch_size", type=int, default=256, help="codes at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size)
    model, checkpoint = load_trained(options)
    makes, label = decoder(model, "decode"), label_of(options, model, checkpoint)
    require_label(model, label)
    z, _ = read_codes(options.codes, model)
    files = [options.out / f"{number:06}.png" for number in range(len(z))]
    if there := next((file for file in files if file.exists()), None):
        raise UserError(f"{there} is there already; give another --out")
    for first in range(0, len(z), options.batch_size):
        part = z[first : first + options.batch_size]
        x = makes.decode(part, repeated(label, len(part)))
        for picture, file in zip(model.pictures(x), files[first : first + len(part)], strict=True):
            with whole(file) as temporary:
                save_image(picture, temporary, format="png")
    print(f"wrote {amount(len(files), 'picture')} to {options.out}")
