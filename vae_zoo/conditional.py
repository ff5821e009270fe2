"""Conditionals: modules whose forward returns a distribution. All log-densities are sums in nats per image."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vae_zoo.errors import UserError


class Conditional(nn.Module, ABC):
    """A conditional distribution: called with what is given (a label last, and optional), returns a distribution.

    Attributes:
        discrete: of a likelihood: it is a probability of the 256 pixel values, so that bits per dimension are defined.
        binary: of a likelihood: it is a probability of black and white pixels, and no density of grey ones.
    """

    discrete: bool = False
    binary: bool = False

    def __call__(self, *given: Tensor | None) -> Distribution:
        """Return the distribution given these tensors."""
        return super().__call__(*given)

    @abstractmethod
    def forward(self, *given: Any, **names: Any) -> Distribution:
        """Make the distribution; concrete subclasses name what they are given."""


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 or wider: log-densities of a thousand pixels have no place in 16 bits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def diagonal_normal(mean: Tensor, sigma: Tensor, event_dims: int = 1) -> Independent:
    """N(mean, diag(sigma^2)) over the last dimensions. No argument checks: each would synchronise with the device."""
    return Independent(Normal(mean, sigma, validate_args=False), event_dims, validate_args=False)


def check_labels(y: Tensor | None, labels: int, n: int | None = None) -> Tensor:
    """Return the labels (B,), or raise a UserError if there are none, not `n`, or others than 0 ... labels - 1."""
    if y is None:
        raise UserError("this model needs the labels y of the images, (B,) whole numbers, as the last argument")
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.int32):
        got = f"tensor of {y.dtype}" if isinstance(y, Tensor) else repr(y) if isinstance(y, int) else type(y).__name__
        raise UserError(f"labels y must be a tensor of whole numbers (int64), got {got}")
    if y.ndim != 1 or n not in (None, y.shape[0]):
        wanted = "(B,)" if n is None else f"({n},), one for each image"
        raise UserError(f"labels y must have the shape {wanted}, got {tuple(y.shape)}")
    # Elsewhere the check would synchronise with the device, which makes one of its own.
    if y.device.type == "cpu" and y.numel() and not torch.compiler.is_compiling():
        low, high = y.aminmax()
        if not 0 <= int(low) <= int(high) < labels:
            raise UserError(f"labels y must lie in 0 ... {labels - 1}, got {int(low)} ... {int(high)}")
    return y
