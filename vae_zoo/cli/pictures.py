"""What sample, reconstruct and interpolate share: their options, the images they read, the picture they write."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import save_image

from vae_zoo.callbacks.pictures import captioned, grid
from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.data.files import PICTURES
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Decoding
from vae_zoo.writing import whole

MOVING = {".gif", ".webp"}


def make_parser(command: str, description: str, n: int = 64, things: str = "images") -> argparse.ArgumentParser:
    """Return a parser with the options that all three have."""
    parser = argparse.ArgumentParser(prog=f"vae-zoo {command}", description=description, allow_abbrev=False)
    add_checkpoint(parser)
    picture = Path(f"{command}.png")
    parser.add_argument("--out", type=Path, default=picture, help=".png, or .svg of sketches (default %(default)s)")
    parser.add_argument("--n", type=int, default=n, help=f"number of {things} (default %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="images in a row (default %(default)s)")
    parser.add_argument("--label", help="the label, its name or number, for a model that takes labels")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    return parser


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which images to encode."""
    parser.add_argument(
        "--images", type=Path, nargs="+", help="picture files, folders or zips (default: the run's test images)"
    )


def add_temperature(parser: argparse.ArgumentParser) -> None:
    """Add the option for models that sample at a temperature."""
    parser.add_argument("--temperature", type=float, help="of sketches: 0 the likeliest lines, 1 the model's own")


def begin(options: argparse.Namespace, moving: bool = False) -> tuple[GenerativeModel, Path, int | None]:
    """Seed the noise, and return the model, its checkpoint and the number of the label.

    Raises:
        UserError: if one of the options cannot be.
    """
    require(1, n=options.n, columns=options.columns)
    require(0, seed=options.seed)
    if options.out.suffix.lower() in PICTURES - {".png"} - (MOVING if moving else set()):
        more = f", or in {' or '.join(sorted(MOVING))}, which move" if moving else ""
        raise UserError(f"--out {options.out}: it ends in .png, or in .svg for sketches{more}")
    model, checkpoint = load_trained(options)
    torch.manual_seed(options.seed)
    return model, checkpoint, label_of(options, model, checkpoint)


def encoder(model: GenerativeModel, command: str) -> Autoencoder:
    """Return the model, or refuse one without an encoder."""
    if not isinstance(model, Autoencoder):
        raise UserError(f"{type(model).__name__} has no encoder, so it cannot {command}")
    return model


def decoder(model: GenerativeModel, command: str) -> Decoding:
    """Return the model, or refuse one without codes."""
    if not isinstance(model, Decoding):
        raise UserError(f"{type(model).__name__} has no codes, so it cannot {command}")
    return model


def images(
    options: argparse.Namespace, n: int, label: int | None, model: GenerativeModel, checkpoint: Path
) -> tuple[Tensor, Tensor | None]:
    """Return the first `n` images of the files that are given, or test images of the model's run, and their labels."""
    if options.images is None:
        data = data_of_run(checkpoint, model, "say which pictures with --images", options.trust)
        x, y = next(data.batches("test", n))
        return x, y if label is None else torch.full((len(x),), label)
    if label is None and model.labels:
        raise UserError(f"{type(model).__name__} needs the pictures' label; give it with --label")
    x, _ = read_pictures(options.images, model.hparams["shape"], n)
    return x, None if label is None else torch.full((len(x),), label)


def write(rows: Sequence[Tensor], options: argparse.Namespace, model: GenerativeModel) -> None:
    """Write rows of what the model makes to the file that the options name."""
    svg = options.out.suffix == ".svg" and model.svg(rows)
    with whole(options.out) as temporary:
        if svg:
            temporary.write_text(svg)
        else:
            save_image(grid([model.pictures(row) for row in rows]), temporary, format="png")
    print(f"wrote {options.out}")


def write_captioned(rows: Sequence[tuple[str, Tensor]], out: Path) -> None:
    """Write rows of pictures with a name before each, as a PNG."""
    if out.suffix.lower() == ".svg":
        raise UserError(f"--out {out}: rows with names are written to a .png")
    with whole(out) as temporary:
        save_image(captioned(rows), temporary, format="png")
    print(f"wrote {out}")


def moves(out: Path) -> bool:
    """Whether a file of this name shows one frame after the other."""
    return out.suffix.lower() in MOVING


def write_moving(frames: Sequence[Tensor], options: argparse.Namespace) -> None:
    """Write frames of images, (B, C, H, W) each, forwards and backwards, as a ``.webp`` or ``.gif``."""
    pictures = [to_pil_image(grid(frame.split(options.columns))) for frame in (*frames, *frames[-2:0:-1])]
    with whole(options.out) as temporary:
        kind = options.out.suffix[1:].upper()
        pictures[0].save(temporary, kind, save_all=True, append_images=pictures[1:], duration=120, loop=0)
    print(f"wrote {options.out}")


def label_of(options: argparse.Namespace, model: GenerativeModel, checkpoint: Path) -> int | None:
    """Return the number of the label that is given by its name or number, None if none is."""
    given = options.label
    if given is None:
        return None
    if not model.labels:
        raise UserError(f"--label {given}: {type(model).__name__} takes no labels")
    numbers = [str(i) for i in range(model.labels)]
    names = trained_labels(read(checkpoint)) or numbers
    for known in (names, numbers):
        if given in known:
            return known.index(given)
    raise UserError(f"--label {given}: the model was trained with the labels {', '.join(names)}, or 0 to {numbers[-1]}")
