"""Damaged pictures in, reconstructions out: what a model restores, and what it would draw under another label."""

from collections.abc import Callable

import torch
from torch import Tensor

from vae_zoo.errors import UserError, require, require_not_negative, require_share
from vae_zoo.models import Autoencoder


def gaussian(x: Tensor, amount: float) -> Tensor:
    """Return images (B, C, H, W) in [0, 1] with normal noise of this standard deviation, cut to [0, 1]."""
    require_not_negative(amount=amount)
    return (x + amount * torch.randn_like(x)).clamp(0, 1)


def salt_and_pepper(x: Tensor, amount: float) -> Tensor:
    """Return images in which this share of the pixels is black or white, each with one half."""
    require_share(amount=amount)
    drawn = torch.rand_like(x[:, :1])  # B 1 H W
    return torch.where(drawn < amount, (drawn < amount / 2).to(x), x)


def occluded(x: Tensor, amount: float) -> Tensor:
    """Return images with a grey square at a random place, whose side is this share of the shorter side."""
    require_share(amount=amount)
    height, width = x.shape[-2:]
    side = round(amount * min(height, width))
    found = x.clone()
    for image in found:
        top, left = (int(torch.randint(length - side + 1, ())) for length in (height, width))
        image[:, top : top + side, left : left + side] = 0.5
    return found


DAMAGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "gaussian": gaussian,
    "salt_and_pepper": salt_and_pepper,
    "occluded": occluded,
}


def psnr(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio (B,) in dB of images (B, C, H, W) in [0, 1]: -10 log10 of the MSE."""
    return -10 * (x - x_hat).square().flatten(1).mean(1).log10()


def relabel(model: Autoencoder, x: Tensor, y: Tensor) -> Tensor:
    """Return pictures decoded under every label, their codes kept: the style stays, the content changes.

    Kingma et al. 2014 (semi-supervised), figure 1b, and Sohn et al. 2015.

    Args:
        model: that takes labels.
        x: pictures (B, C, H, W).
        y: their labels (B,).

    Returns:
        (B, L, C, H, W), L labels.

    Raises:
        UserError: if the model takes no labels.
    """
    if not model.labels:
        raise UserError(f"{type(model).__name__} takes no labels; CVAE does")
    z = model.encode(x, y)  # B D
    every = torch.arange(model.labels, device=z.device)
    made = model.decode(z.repeat_interleave(model.labels, 0), every.repeat(len(z)))
    return made.unflatten(0, (len(z), model.labels))


def restore(model: Autoencoder, damaged: Tensor, y: Tensor | None = None, *, passes: int = 1) -> Tensor:
    """Return what a model makes of damaged pictures (B, C, H, W): its reconstruction, of that again, and so on."""
    require(1, passes=passes)
    x = damaged
    for _ in range(passes):
        x = model.reconstruct(x, y)
    return x
