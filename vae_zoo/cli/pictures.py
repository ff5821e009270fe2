"""What commands with a picture share: their options, the images they read, the picture and numbers they write."""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice, repeat
from pathlib import Path
from typing import Any

import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from vae_zoo.callbacks.pictures import caption, captioned, grid
from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError, require
from vae_zoo.marks import WRITTEN, refuse_foreign
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Decoding, TwoSided
from vae_zoo.rendering import pil
from vae_zoo.writing import whole, write_json

MOVING = {".gif", ".webp"}
WIDE_ENOUGH = 48  # pixels, for a text of six digits below a picture
LARGE_ENOUGH = 96  # pixels, for what moves, which a viewer does not enlarge


def make_parser(
    command: str,
    description: str,
    n: int = 64,
    things: str = "images",
    columns: int | None = 8,
    svg: bool = False,
    numbers: bool = True,
) -> argparse.ArgumentParser:
    """Return a parser with the options that commands with a picture have.

    Args:
        command: its name.
        description: what it does.
        n: the default of ``--n``.
        things: what there are `n` of.
        columns: the default of ``--columns``; None leaves the option out.
        svg: whether sketches can be drawn.
        numbers: whether it also writes a .json beside the picture.
    """
    parser = Parser(prog=f"vae-zoo {command}", description=description, allow_abbrev=False)
    add_checkpoint(parser)
    picture, kinds = Path(f"{command}.png"), ".png, or .svg of sketches" if svg else ".png"
    parser.add_argument("--out", type=Path, default=picture, help=f"{kinds} (default %(default)s)")
    parser.set_defaults(svg=svg, numbers=numbers)
    parser.add_argument("--n", type=int, default=n, help=f"number of {things} (default %(default)s)")
    if columns:
        parser.add_argument("--columns", type=int, default=columns, help="images in a row (default %(default)s)")
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
    require(1, n=options.n, columns=vars(options).get("columns", 1))
    require(0, seed=options.seed)
    endings = {".png"} | ({".svg"} if options.svg else set()) | (MOVING if moving else set())
    new = not options.out.suffix and not options.out.exists()  # a name without an ending, and nothing that is replaced
    if options.out.suffix.lower() not in endings and not new:
        more = ", or in .svg for sketches" if options.svg else ""
        more += f", or in {' or '.join(sorted(MOVING))}, which move" if moving else ""
        raise UserError(f"--out {options.out}: it ends in .png{more}")
    refuse_foreign(options.out, *[options.out.with_suffix(".json")] * options.numbers)
    model, checkpoint = load_trained(options)
    torch.manual_seed(options.seed)
    return model, checkpoint, label_of(options, model, checkpoint)


def encoder(model: GenerativeModel, command: str) -> Autoencoder:
    """Return the model, or refuse one without an encoder."""
    if not isinstance(model, Autoencoder):
        raise UserError(f"{type(model).__name__} has no encoder, so it cannot {command}")
    return model


def two_sided(model: GenerativeModel, command: str) -> TwoSided:
    """Return the model, or refuse one whose networks do not see or draw images."""
    if not isinstance(model, TwoSided):
        raise UserError(f"{type(model).__name__} has no networks that see and draw pixels, so it cannot {command}")
    return model


def decoder(model: GenerativeModel, command: str) -> Decoding:
    """Return the model, or refuse one without codes."""
    if not isinstance(model, Decoding):
        raise UserError(f"{type(model).__name__} has no codes, so it cannot {command}")
    return model


def images(
    options: argparse.Namespace,
    n: int,
    label: int | None,
    model: GenerativeModel,
    checkpoint: Path,
    decodes: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return the first `n` images of the files that are given, or test images of the model's run, and their labels.

    Args:
        options: of the command.
        n: how many, at most.
        label: that was given: of the pictures in files, never of the run's own.
        model: that is to encode them.
        checkpoint: its file.
        decodes: whether the label is that of what is decoded, so that it may be given for the run's images, too.
    """
    if options.images is None:
        if label is not None and not decodes:
            raise UserError("--label is that of --images; the run's test images have labels of their own")
        data = data_of_run(checkpoint, model, "say which pictures with --images", options.trust)
        return next(data.batches("test", n))
    require_label(model, label)
    x, _ = read_pictures(options.images, model.hparams["shape"], n)
    return x, repeated(label, len(x))


def write(rows: Sequence[Tensor], options: argparse.Namespace, model: GenerativeModel, numbers: bool = False) -> None:
    """Write rows of what the model makes to the file that the options name, with numbers below them or without."""
    svg = options.out.suffix.lower() == ".svg" and model.svg(rows)
    with whole(options.out) as temporary:
        if svg:
            temporary.write_text(svg)
        else:
            pictures = [model.pictures(row) for row in rows]
            if numbers:
                names = map(str, count())
                pictures = [with_texts(row, [*islice(names, len(row))]) for row in pictures]
            save_png(grid(pictures), temporary)
    print(f"wrote {options.out}")


def write_captioned(rows: Sequence[tuple[str, Tensor]], out: Path) -> None:
    """Write rows of pictures with a name before each, as a PNG."""
    with whole(out) as temporary:
        save_png(captioned(rows), temporary)
    print(f"wrote {out}")


def save_png(picture: Tensor, path: Path) -> None:
    """Write a picture (C, H, W) in [0, 1] as a PNG with this package's mark."""
    mark = PngInfo()
    mark.add_text("Software", WRITTEN)
    pil(picture).save(path, "PNG", pnginfo=mark)


def write_numbers(out: Path, command: str, found: Mapping[str, Any]) -> None:
    """Write what was measured to the JSON file beside a picture; what is infinite or no number is null in it."""
    path = out.with_suffix(".json")
    write_json(path, {"command": command, "written": WRITTEN, **_as_json(found)})
    print(f"wrote {path}")


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def moves(out: Path) -> bool:
    """Whether a file of this name shows one frame after the other."""
    return out.suffix.lower() in MOVING


def write_moving(frames: Sequence[Tensor], options: argparse.Namespace) -> None:
    """Write frames of images, (B, C, H, W) each, forwards and backwards, as a ``.webp`` or ``.gif``."""
    frames = [enlarged(frame, LARGE_ENOUGH) for frame in frames]
    pictures = [pil(grid(frame.split(options.columns))) for frame in (*frames, *frames[-2:0:-1])]
    with whole(options.out) as temporary:
        kind = options.out.suffix[1:].upper()
        mark = {"comment": WRITTEN} if kind == "GIF" else {"xmp": WRITTEN.encode()}
        pictures[0].save(temporary, kind, save_all=True, append_images=pictures[1:], duration=120, loop=0, **mark)
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


def in_parts(
    function: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, y: Tensor | None = None, n: int = 256
) -> Tensor:
    """Return what a function makes of many items (N, ...) and their labels (N,), `n` at a time, on the CPU."""
    labels = repeat(None) if y is None else y.split(n)
    return torch.cat([function(part, label).cpu() for part, label in zip(x.split(n), labels, strict=False)])


def repeated(label: int | None, n: int) -> Tensor | None:
    """Return the label of each of `n` items, (n,); None if there is none."""
    return None if label is None else torch.full((n,), label)


def require_label(model: GenerativeModel, label: int | None) -> None:
    """Refuse to encode or decode without a label what a model takes labels of."""
    if label is None and model.labels:
        raise UserError(f"{type(model).__name__} needs the label of what it encodes or decodes; give it with --label")


def enlarged(x: Tensor, width: int) -> Tensor:
    """Return images (B, C, H, W) as many whole times as large as makes them this wide or wider."""
    scale = -(-width // x.shape[-1])
    return x.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def with_texts(x: Tensor, texts: Sequence[str]) -> Tensor:
    """Return images (B, C, H, W) with a text below each, (B, 3, H', W'); small ones are enlarged until it fits."""
    large = enlarged(x.expand(-1, 3, -1, -1).cpu(), WIDE_ENOUGH)
    below = torch.stack([caption(text, large.shape[-1], 16) for text in texts])
    return torch.cat([large, below], -2)
