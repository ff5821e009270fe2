"""``vae-zoo denoise``: damaged pictures, what a model makes of them, and the PSNR before and after."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from vae_zoo.cli.pictures import (
    add_images,
    begin,
    encoder,
    images,
    in_parts,
    make_parser,
    write_captioned,
    write_numbers,
)
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError
from vae_zoo.latent import DAMAGES, psnr, restore


def run(arguments: Sequence[str]) -> None:
    """Damage, restore, and write the picture and the numbers."""
    parser = make_parser("denoise", "Damage pictures and let a model restore them.", 8, "pictures")
    add_images(parser)
    parser.add_argument("--damage", choices=DAMAGES, default="gaussian", help="of what kind (default %(default)s)")
    parser.add_argument("--amount", type=float, default=0.2, help="sigma, share or side of it (default %(default)s)")
    parser.add_argument("--mask", type=Path, help="a picture in place of that: what is black in it is missing, grey")
    parser.add_argument("--passes", type=int, default=1, help="how often to reconstruct (default %(default)s)")
    options = parser.parse_args(arguments)
    model, checkpoint, label = begin(options)
    autoencoder = encoder(model, "denoise")
    x, y = images(options, options.n, label, model, checkpoint)
    if not model.pixels:
        raise UserError(f"{type(model).__name__} makes sketches, and noise on pixels is none of theirs")
    if options.mask:
        mask, _ = read_pictures(options.mask, model.hparams["shape"])
        damaged = torch.where(mask[:1].mean(1, keepdim=True) < 0.5, torch.full_like(x, 0.5), x)
    else:
        damaged = DAMAGES[options.damage](x, options.amount)
    restored = in_parts(partial(restore, autoencoder, passes=options.passes), damaged, y)
    clean = in_parts(autoencoder.reconstruct, x, y)
    before, after, best = (float(psnr(x, each).mean()) for each in (damaged, restored, clean))
    rows = [("picture", x), (f"damaged: {before:.1f} dB", damaged), (f"restored: {after:.1f} dB", restored)]
    rows += [(f"of the whole: {best:.1f} dB", clean)]
    write_captioned([(name, images_[: options.columns]) for name, images_ in rows], options.out)
    what = "mask" if options.mask else options.damage
    found = {
        "damage": what,
        "amount": None if options.mask else options.amount,
        "psnr_before": before,
        "psnr_after": after,
        "psnr_clean": best,
    }
    write_numbers(options.out, "denoise", found)
    print(
        f"PSNR {before:.2f} dB before, {after:.2f} dB after; the reconstruction of the whole picture has {best:.2f} dB"
    )
