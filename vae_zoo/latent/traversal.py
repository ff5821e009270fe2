"""One number of a code at a time, and all of a code of two."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vae_zoo.errors import UserError, require, require_not_negative, require_share
from vae_zoo.models import Autoencoder
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import Decoding

MEASURED = 256  # items by which the commands put the numbers of a code in order


@inference
def informative(model: Autoencoder, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, str]:
    """Return how much each number of a code tells of an item, (D,), and what that figure is called.

    It is the mean KL(q(z_d|x) || p(z_d)) in nats where the KL is a sum over dimensions, and the variance of the centres
    elsewhere.

    Args:
        model: with an encoder.
        batches: of items and their labels.

    Raises:
        UserError: if there is no batch, or one is none of the model's data.
    """
    kls, centres = [], []
    for x, y in batches:
        trace = model.trace(*model.checked(x, y))
        centres.append(trace.centre.flatten(1))
        if model.density and trace.kl_per_dimension is not None:
            kls.append(trace.kl_per_dimension)
    if not centres:
        raise UserError("there is nothing to encode")
    return (torch.cat(kls).mean(0), "KL, nats") if kls else (torch.cat(centres).var(0, correction=0), "variance")


def traverse(
    model: Decoding,
    start: Tensor,
    dimensions: Sequence[int],
    steps: int = 9,
    low: float = 0.01,
    high: float = 0.99,
    y: Tensor | None = None,
) -> Tensor:
    """Return codes that differ from one in a single number, which goes through the prior's quantiles.

    Args:
        model: whose prior it is.
        start: the code (D,), or maps.
        dimensions: R, which numbers; of maps, counted in a row.
        steps: S, at least 2.
        low: the probability below the first.
        high: the probability below the last; those between are equally spaced.
        y: the label (1,), for the prior of a model that takes them.

    Returns:
        (R, S, D).

    Raises:
        UserError: if there is no such dimension, or the prior's numbers are not independent of each other.
    """
    require(2, steps=steps)
    require_share(low=low, high=high)
    if not 0 < low < high < 1:
        raise UserError(f"low and high must be above 0, below 1 and in this order, got {low} and {high}")
    for dimension in dimensions:
        require(0, start.numel() - 1, dimension=dimension)
    u = torch.linspace(low, high, steps, dtype=torch.float64, device=start.device)
    quantiles = model.icdf(u.view(-1, *[1] * start.ndim).expand(-1, *start.shape), y).flatten(1)  # S D
    found = start.flatten().repeat(len(dimensions), steps, 1)  # R S D
    for row, dimension in enumerate(dimensions):
        found[row, :, dimension] = quantiles[:, dimension].to(found)
    return found.view(len(dimensions), steps, *start.shape)


def manifold(model: Decoding, steps: int = 20, y: Tensor | None = None) -> Tensor:
    """Return the codes of a grid over a space of two numbers, at equal shares of the prior in each.

    Kingma & Welling 2014, figure 4: coordinates linear on the unit square, through the inverse of the prior's
    distribution function. The second number grows upwards.

    Args:
        model: with codes of two numbers.
        steps: S, codes on a side.
        y: the label (1,), for the prior of a model that takes them.

    Returns:
        (S, S, 2): rows from the top, columns from the left.

    Raises:
        UserError: if a code has another number of numbers, or they are not independent of each other in the prior.
    """
    require(2, steps=steps)
    if tuple(model.code_shape) != (2,):
        raise UserError(
            f"a manifold is drawn of a code of 2 numbers, and this model's has {model.code_shape.numel()}; vae-zoo "
            "traverse shows one at a time"
        )
    u = (torch.arange(steps, dtype=torch.float64, device=model.device) + 0.5) / steps
    rows, columns = torch.meshgrid(u.flip(0), u, indexing="ij")
    return model.icdf(torch.stack([columns, rows], -1), y).to(next(model.parameters()))


@inference
def spread(model: Decoding, z: Tensor, scale: float, y: Tensor | None = None) -> Tensor:
    """Return codes (B, D) whose distance from the prior's mean is scaled, m + scale (z - m): a temperature of draws.

    Args:
        model: whose prior it is.
        z: codes, or maps.
        scale: 0 is the prior's mean, 1 leaves them as they are.
        y: labels (B,), or (1,), for the prior of a model that takes them.

    Raises:
        UserError: if the scale is negative or no finite number.
    """
    require_not_negative(scale=scale)
    if scale == 1:
        return z  # to the bit
    mean = model.prior(model.checked_labels(y, 1 if y is None else len(y))).mean
    return mean + scale * (z - mean)


@inference
def extent(
    model: Decoding, codes: Tensor | None = None, draws: int = 1000, y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value of each number of a code, (D,), or maps, each.

    Args:
        model: whose prior's draws are looked at.
        codes: of pictures (N, D), which may lie farther out; they are looked at, too.
        draws: of the prior.
        y: the label (1,), for the prior of a model that takes them.
    """
    require(1, draws=draws)
    z = model.sample_prior(draws, None if y is None else y.expand(draws))
    z = z if codes is None else torch.cat([z, codes.to(z)])
    return z.amin(0), z.amax(0)
