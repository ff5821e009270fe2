"""Conditionals: modules whose forward returns a distribution. All log-densities are sums in nats per image."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vae_zoo.errors import UserError
from vae_zoo.networks import Network


class Conditional(nn.Module, ABC):
    """A conditional distribution: called with what is given (a label last, and optional), returns a distribution.

    Attributes:
        discrete: of a likelihood: it is a probability of the 256 pixel values, so that bits per dimension are defined.
        binary: of a likelihood: it is a probability of black and white pixels, and no density of grey ones.
        part: what its own parameters, those outside of its networks, are called in a comparison; None: as the model
            calls it.
    """

    discrete: bool = False
    binary: bool = False
    part: str | None = None

    def __call__(self, *given: Tensor | None) -> Distribution:
        """Return the distribution given these tensors."""
        return super().__call__(*given)

    @abstractmethod
    def forward(self, *given: Any, **names: Any) -> Distribution:
        """Make the distribution; concrete subclasses name what they are given."""


def parts(model: nn.Module) -> dict[str, int]:
    """Count a model's parameters by part: a network by its name in the model, other parameters as their owner says."""
    found: dict[str, int] = {}
    for path, parameter in model.named_parameters():
        part = _part(model, path.split("."))
        found[part] = found.get(part, 0) + parameter.numel()
    return found


def _part(model: nn.Module, names: list[str]) -> str:
    """The part that the parameter of these names belongs to."""
    for depth in range(len(names) - 1, 0, -1):
        owner = model.get_submodule(".".join(names[:depth]))
        if isinstance(owner, Network):
            return names[depth - 1]
        if isinstance(owner, Conditional) and owner.part:
            return owner.part
    return names[0]


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
