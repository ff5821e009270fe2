"""``vae-zoo explore``: a trained decoder to play with, in a page that needs nothing but a browser."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.pictures import add_images, decoder, images, label_of
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.errors import UserError
from vae_zoo.models import Autoencoder
from vae_zoo.page.page import write_page
from vae_zoo.runs import Run, of_checkpoint

MEASURED = 256  # images by which the numbers of a code are put in order


def run(arguments: Sequence[str]) -> None:
    """Write the page."""
    text = "Write a page that decodes in any browser: sliders, ways between pictures, samples."
    parser = argparse.ArgumentParser(prog="vae-zoo explore", description=text, allow_abbrev=False)
    parser.add_argument("run", nargs="?", type=Path, help="a run folder, in place of --ckpt_path")
    add_checkpoint(parser)
    parser.add_argument("--html", type=Path, required=True, help="the page, one .html that needs no other file")
    add_images(parser)
    parser.add_argument("--label", help="the label of --images, for a model that takes labels")
    parser.add_argument("--pictures", type=int, default=8, help="images in the page, to choose (default %(default)s)")
    parser.add_argument("--sliders", type=int, default=12, help="numbers of a code to change (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.html.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html {options.html}: it ends in .html")
    if options.run:
        if options.ckpt_path != "last":
            raise UserError(f"{options.run} and --ckpt_path {options.ckpt_path} are two models; give one")
        options.ckpt_path = Run(options.run).checkpoint()
        if not options.ckpt_path.is_file():
            raise UserError(f"{options.run} is no run folder with a trained model; there is no {options.ckpt_path}")
    model, checkpoint = load_trained(options)
    torch.manual_seed(0)  # of the codes by which the page is compared with the model
    makes, label = decoder(model, "be explored"), label_of(options, model, checkpoint)
    x = y = None
    if isinstance(model, Autoencoder) and model.pixels:
        try:
            x, y = _pictures(options, label, model, checkpoint)
        except (UserError, OSError) as error:
            if options.images or label is not None:
                raise
            print(f"the page has no pictures to choose: {error}")
    elif options.images and model.pixels:
        raise UserError(f"{type(model).__name__} has no encoder, so there is nothing to do with --images")
    of = of_checkpoint(checkpoint)
    title = f"{type(model).__name__}, {of.name if of and of.exists else checkpoint.stem}"
    names = trained_labels(read(checkpoint)) if model.labels else None
    found = write_page(makes, options.html, title, x, y, names or (), options.pictures, options.sliders)
    print(
        f"wrote {options.html}, {found['bytes'] / 1e6:.1f} MB with weights of {found['bits']} bits, which change no "
        f"pixel by more than {found['difference']:.1g} of 1"
    )


def _pictures(
    options: argparse.Namespace, label: int | None, model: Autoencoder, checkpoint: Path
) -> tuple[Tensor, Tensor | None]:
    """Images that are given, or the run's test images, evenly from the first to the last, and their labels."""
    if options.images or label is not None:
        return images(options, MEASURED, label, model, checkpoint)
    data = data_of_run(checkpoint, model, "say which pictures with --images", options.trust)
    n = len(data.parts["test"])
    rows = torch.linspace(0, n - 1, min(n, MEASURED), dtype=torch.float64).long().tolist()
    return next(data.batches("test", MEASURED, rows))
