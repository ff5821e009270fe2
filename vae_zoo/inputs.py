"""Data at a model's door: a batch of floats of the right shape and range, or a sentence on what it is instead."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_zoo.errors import UserError

ROUNDING = 1e-5  # by which float32 arithmetic may leave [0, 1]


def check_floats(what: str, x: Any, shape: str, dims: int) -> None:
    """Raise a UserError if this is no batch of floats; the numbers themselves are not looked at.

    Args:
        what: they are, in the plural, for the error.
        x: given.
        shape: that they must have, for the error.
        dims: how many dimensions that is.
    """
    if isinstance(x, np.ndarray):
        raise UserError(f"{what} must be a tensor, got a NumPy array; torch.from_numpy(x) makes one of it")
    if not isinstance(x, Tensor):
        raise UserError(f"{what} must be a tensor {shape}, got a {type(x).__name__}")
    if x.layout is not torch.strided or x.is_quantized or x.is_nested or x.is_meta:
        raise UserError(f"{what} must be an ordinary dense tensor, got one that is sparse, quantized, nested or meta")
    if x.ndim != dims:
        raise UserError(f"{what} must be a batch {shape}, got {tuple(x.shape)}; for a single one, x[None]")
    if not x.is_floating_point():
        raise UserError(f"{what} must be floats, got {_kind(x)}; x.float() makes them")
    if not x.shape[0]:  # and not len(x), which torch.export takes for a constant
        raise UserError(f"{what} must be a batch of one or more, got none, {tuple(x.shape)}")


def check_images(x: Any, shape: Sequence[int]) -> None:
    """Raise a UserError if this is no batch of float images (B, C, H, W); the numbers are not looked at.

    Args:
        x: given.
        shape: (C, H, W) that a model was built for.
    """
    if isinstance(x, Tensor) and x.ndim == 4 and x.numel() and not (x.is_floating_point() or x.is_complex()):
        low, high = (int(value) for value in (x.min(), x.max()))
        remedy = "divide them by 255" if x.dtype == torch.uint8 or high > 1 else "x.float() makes them"
        raise UserError(f"images must be floats in [0, 1]; these are {_kind(x)} from {low} to {high}: {remedy}")
    check_floats("images", x, "(B, C, H, W)", 4)
    if x.shape[1:] != torch.Size(shape):
        raise UserError(
            f"this model was built for images of shape {tuple(shape)} (channels, height, width), "
            f"got {tuple(x.shape[1:])}; resize them or build it with shape={tuple(x.shape[1:])}"
        )


def check_range(x: Tensor) -> None:
    """Raise a UserError if a number of these images is outside [0, 1], or none; waits for the device."""
    low, high = torch.stack([x.amin(), x.amax()]).tolist()  # of numbers one of which is NaN, both are
    if -ROUNDING <= low and high <= 1 + ROUNDING:
        return
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError("images must be finite numbers in [0, 1], and among these there is a NaN or an infinity")
    remedy = "x.clamp(0, 1) cuts off what is outside"
    if low >= 0 and 2 < high <= 255:
        remedy = "divide them by 255"
    elif -1 <= low and high <= 1:
        remedy = "(x + 1) / 2 brings [-1, 1] there"
    raise UserError(f"images must be floats in [0, 1]; these are from {low:.4g} to {high:.4g}: {remedy}")


def check_finite(what: str, x: Tensor) -> None:
    """Raise a UserError if a number is NaN or infinite; waits for the device."""
    if not x.isfinite().all():
        raise UserError(f"{what} must be finite numbers, and among these there is a NaN or an infinity")


def _kind(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
