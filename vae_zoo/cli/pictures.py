"""``vae-zoo sample`` and ``vae-zoo reconstruct``: from a checkpoint to a PNG."""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import cast

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torchvision.utils import make_grid, save_image

import vae_zoo
from vae_zoo.callbacks.images import reconstruction_grid
from vae_zoo.cli.runs import find_checkpoint, read_checkpoint, run_folder, trained_labels
from vae_zoo.data.cache import decode
from vae_zoo.data.files import Files
from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.networks import Shape


def run(command: str, arguments: Sequence[str]) -> None:
    """Run ``vae-zoo sample`` or ``vae-zoo reconstruct``."""
    parser = argparse.ArgumentParser(prog=f"vae-zoo {command}", allow_abbrev=False)
    parser.add_argument("--ckpt_path", default="last", help="a checkpoint, or last: the newest run's (default)")
    parser.add_argument("--out", type=Path, default=Path(f"{command}.png"), help="PNG to write (default %(default)s)")
    parser.add_argument("--n", type=int, default=64, help="number of images (default %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="images in a row (default %(default)s)")
    parser.add_argument("--label", help="the label, its name or number, for a model that takes labels")
    if command == "sample":
        parser.add_argument("--seed", type=int, default=0, help="of the noise (default %(default)s)")
    else:
        parser.add_argument(
            "--images", type=Path, nargs="+", help="picture files, folders or zips (default: the run's test images)"
        )
    options = parser.parse_args(arguments)
    require(1, n=options.n, columns=options.columns)
    checkpoint = cast(Path, find_checkpoint("last" if options.ckpt_path == "auto" else options.ckpt_path))
    model = vae_zoo.load(checkpoint)
    y = None if options.label is None else torch.full((options.n,), _label(options.label, model, checkpoint))
    if command == "sample":
        torch.manual_seed(options.seed)
        grid = make_grid(model.sample(options.n, y), options.columns, pad_value=1)
    else:
        if not isinstance(model, Autoencoder):
            raise UserError(f"{type(model).__name__} has no encoder, so it cannot reconstruct")
        if options.images:
            x = _read(options.images, options.n, model.hparams["shape"])
            if y is None and "labels" in model.hparams:
                raise UserError(f"{type(model).__name__} needs the pictures' label; give it with --label")
        else:
            x, labels = _test_images(checkpoint, options.n)
            y = labels if y is None else y
        grid = reconstruction_grid(x, model.reconstruct(x, None if y is None else y[: len(x)]), options.columns)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_image(grid, options.out, format="png")
    print(f"wrote {options.out}")


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


def _test_images(checkpoint: Path, n: int) -> tuple[Tensor, Tensor]:
    """The first `n` test images, and their labels, of the run that the checkpoint belongs to."""
    folder = run_folder(checkpoint)
    if folder is None or not (folder / "config.yaml").is_file():
        raise UserError(f"{checkpoint} is not in a run folder with a config.yaml; say which pictures with --images")
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    data = yaml.safe_load((folder / "config.yaml").read_text())["data"]
    datamodule = parser.instantiate(parser.parse_object({"data": data})).data
    datamodule.setup("test")
    batches = (datamodule.on_after_batch_transfer(batch, 0) for batch in datamodule.test_dataloader())
    x, y = zip(*islice(batches, -(-n // datamodule.batch_size)), strict=True)
    return torch.cat(x)[:n], torch.cat(y)[:n]
