"""``vae-zoo explore --html``: a trained decoder to play with, in a page that needs nothing but a browser."""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import trained_labels
from vae_zoo.cli.pictures import add_images, decoder, images, label_of
from vae_zoo.cli.trained import data_of_run, load_trained
from vae_zoo.errors import UserError
from vae_zoo.latent.traversal import MEASURED
from vae_zoo.marks import refuse_foreign
from vae_zoo.models import Autoencoder
from vae_zoo.page.page import write_page
from vae_zoo.runs import of_checkpoint

ONLY = ("images", "label", "pictures", "sliders")  # options that are of this form


def add_page(parser: argparse.ArgumentParser) -> None:
    """Add the options of a page without a server."""
    parser.add_argument("--html", type=Path, help="write the decoder as one .html that needs no server, and no network")
    add_images(parser)
    parser.add_argument("--label", help="of --images, for a model that takes labels")
    parser.add_argument("--pictures", type=int, default=8, help="images in the --html to choose (default %(default)s)")
    parser.add_argument("--sliders", type=int, default=12, help="numbers to change in it (default %(default)s)")


def refuse_page_options(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse options that are of a page without a server alone."""
    if name := next((name for name in ONLY if getattr(options, name) != parser.get_default(name)), None):
        raise UserError(f"--{name} is of the page that --html writes; give --html FILE, or leave it out")


def write(options: argparse.Namespace) -> None:
    """Write the page of the model that ``--ckpt_path`` names."""
    if options.html.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--html {options.html}: it ends in .html")
    refuse_foreign(options.html)
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
