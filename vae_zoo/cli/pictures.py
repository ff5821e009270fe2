"""``vae-zoo sample``, ``reconstruct`` and ``interpolate``: from a checkpoint to a PNG, or an SVG of sketches."""

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torchvision.utils import save_image

import vae_zoo
from vae_zoo.callbacks.images import grid, pairs
from vae_zoo.cli.runs import data_of_run, find_checkpoint, read_checkpoint, trained_labels
from vae_zoo.data.cache import decode
from vae_zoo.data.files import PICTURES, Files
from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.networks import Shape


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of the three commands."""
    parser = argparse.ArgumentParser(prog=f"vae-zoo {command}", allow_abbrev=False)
    things = "pairs of images" if command == "interpolate" else "images"
    default = 8 if command == "interpolate" else 64
    parser.add_argument("--ckpt_path", default="last", help="a checkpoint, or last: the newest run's (default)")
    parser.add_argument(
        "--out", type=Path, default=Path(f"{command}.png"), help=".png, or .svg of sketches (default %(default)s)"
    )
    parser.add_argument("--n", type=int, default=default, help=f"number of {things} (default %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="images in a row (default %(default)s)")
    parser.add_argument("--label", help="the label, its name or number, for a model that takes labels")
    if command != "interpolate":
        parser.add_argument("--temperature", type=float, help="of sketches: 0 the likeliest lines, 1 the model's own")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    if command != "sample":
        parser.add_argument(
            "--images", type=Path, nargs="+", help="picture files, folders or zips (default: the run's test images)"
        )
    options = parser.parse_args(arguments)
    require(1, n=options.n, columns=options.columns)
    if options.out.suffix.lower() in PICTURES - {".png"}:
        raise UserError(f"--out {options.out}: it ends in .png, or in .svg for sketches")
    checkpoint = cast(Path, find_checkpoint("last" if options.ckpt_path == "auto" else options.ckpt_path))
    model = vae_zoo.load(checkpoint)
    label = None if options.label is None else _label(options.label, model, checkpoint)
    torch.manual_seed(options.seed)
    if command == "sample":
        y = None if label is None else torch.full((options.n,), label)
        rows: Sequence[Tensor] = model.sample(options.n, y, **_temperature(options, model)).split(options.columns)
    elif not isinstance(model, Autoencoder):
        raise UserError(f"{type(model).__name__} has no encoder, so it cannot {command}")
    elif command == "reconstruct":
        x, y = _images(options.images, options.n, label, model, checkpoint)
        rows = pairs(x, model.reconstruct(x, y, **_temperature(options, model)), options.columns)
    else:
        require(2, columns=options.columns)
        if label is None and "labels" in model.hparams:
            raise UserError(f"{type(model).__name__} needs the label of what lies between; give it with --label")
        x, y = _images(options.images, 2 * options.n, label, model, checkpoint)
        half = len(x) // 2
        require(1, **{"the number of pairs of images": half})
        between = model.interpolate(
            x[:half], x[half : 2 * half], None if y is None else y[:half], steps=options.columns
        )
        rows = between.split(options.columns)
    svg = options.out.suffix == ".svg" and model.svg(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if svg:
        options.out.write_text(svg)
    else:
        save_image(grid([model.pictures(row) for row in rows]), options.out, format="png")
    print(f"wrote {options.out}")


def _temperature(options: argparse.Namespace, model: GenerativeModel) -> dict[str, float]:
    if options.temperature is None:
        return {}
    if "temperature" not in inspect.signature(model.sample).parameters:
        raise UserError(f"--temperature {options.temperature}: {type(model).__name__} has none")
    return {"temperature": options.temperature}


def _images(
    paths: list[Path] | None, n: int, label: int | None, model: GenerativeModel, checkpoint: Path
) -> tuple[Tensor, Tensor | None]:
    """The first `n` images of these files, or test images of the model's run, and their labels."""
    if paths is None:
        data = data_of_run(checkpoint, "say which pictures with --images")
        x, y = next(data.batches("test", n))
        return x, y if label is None else torch.full((len(x),), label)
    shape = model.hparams["shape"]
    if len(shape) != 3:
        raise UserError(f"--images: {type(model).__name__} reads sketches, not pictures; it takes its run's test set")
    if label is None and "labels" in model.hparams:
        raise UserError(f"{type(model).__name__} needs the pictures' label; give it with --label")
    x = _read(paths, n, shape)
    return x, None if label is None else torch.full((len(x),), label)


def _label(given: str, model: GenerativeModel, checkpoint: Path) -> int:
    """The number of a label that is given by its name or number."""
    if "labels" not in model.hparams:
        raise UserError(f"--label {given}: {type(model).__name__} takes no labels")
    numbers = [str(i) for i in range(model.hparams["labels"])]
    names = trained_labels(read_checkpoint(checkpoint)) or numbers
    for known in (names, numbers):
        if given in known:
            return known.index(given)
    raise UserError(f"--label {given}: the model was trained with the labels {', '.join(names)}, or 0 to {numbers[-1]}")


def _read(paths: list[Path], n: int, shape: Shape) -> Tensor:
    """The first `n` pictures of these files, folders and zips, (N, C, H, W) in [0, 1]."""
    contents = []
    for path in paths:
        if path.is_dir() or path.suffix == ".zip":
            files = Files(path)
            contents += [(f"{path}/{name}", files.read(name)) for name in files.pictures()[:n]]
        elif path.is_file():
            contents.append((str(path), path.read_bytes()))
        else:
            raise UserError(f"--images {path}: there is no such file or folder")
    if not contents:
        raise UserError(f"--images: there is no picture in {', '.join(map(str, paths))}")
    pictures = []
    for name, content in contents[:n]:
        try:
            pictures.append(torch.from_numpy(decode(content, shape).copy()))
        except Exception as error:  # a damaged file can make a decoder raise anything
            raise UserError(f"--images {name} is not a picture that can be read: {error}") from error
    return torch.stack(pictures).permute(0, 3, 1, 2).float() / 255
