"""Ways between codes, and how evenly pictures change on them."""

import torch
from torch import Tensor

from vae_zoo.errors import UserError, require
from vae_zoo.models.decoding import Decoding
from vae_zoo.models.latent import spherical

HOW = ("spherical", "linear", "prior")


def between(
    model: Decoding, a: Tensor, b: Tensor, steps: int = 8, how: str = "spherical", y: Tensor | None = None
) -> Tensor:
    """Return codes from `a` to `b`.

    spherical: on the great circle (White 2016), near which draws of N(0, I) in many dimensions lie.
    linear:    (1 - t) a + t b; its middle, the mean of two codes, is nearer to the origin than draws of the prior are.
    prior:     F^-1((1 - t) F(a) + t F(b)), F the prior's distribution function of each number.

    Args:
        model: whose prior it is.
        a: codes (B, D), or maps.
        b: as many others.
        steps: S, at least 2.
        how: one of `HOW`.
        y: labels (B,) of what lies between, or (1,), for the prior of a model that takes them.

    Returns:
        (S, B, D): the first are `a`, the last `b`.

    Raises:
        UserError: if `how` is none of these, the prior's numbers are not independent of each other, or a code is so far
            out that the prior does not tell it from infinity.
    """
    require(2, steps=steps)
    if a.shape != b.shape:
        raise UserError(f"a way needs two ends of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device=a.device).view(-1, *[1] * a.ndim)
    if how == "spherical":
        found = spherical(a, b, t.flatten())
    elif how == "linear":
        found = torch.lerp(a.double(), b.double(), t).to(a)
    elif how == "prior":  # in 64 bits, where the distribution function 5 sigma from the centre is not yet 1
        found = model.icdf(torch.lerp(model.cdf(a.double(), y), model.cdf(b.double(), y), t), y).to(a)
        if not found[1:-1].isfinite().all():
            raise UserError("a code lies too far out to be on a way in the prior's measure; take spherical or linear")
    else:
        raise UserError(f"a way is {', '.join(HOW)}, got {how!r}")
    return torch.cat([a[None], found[1:-1], b[None]])  # the ends to the bit


def path(model: Decoding, stations: Tensor, steps: int = 8, how: str = "spherical", y: Tensor | None = None) -> Tensor:
    """Return codes on the way from station to station, (M, D) -> ((M - 1) (steps - 1) + 1, D), see `between`."""
    if len(stations) < 2:
        raise UserError(f"a chain needs two codes or more, got {len(stations)}")
    parts = between(model, stations[:-1], stations[1:], steps, how, y).transpose(0, 1)  # M-1 S D
    return torch.cat([parts[:, :-1].flatten(0, 1), stations[-1:]])


def smoothness(x: Tensor) -> float:
    """Return the longest step over the mean step on a way of pictures (S, C, H, W): 1 if all are of one length.

    A step is the root mean square of the change of the pixels. A model that has memorised pictures stays at one and
    jumps to the next (Radford et al. 2015, section 6.1), which makes this large; it is nan where nothing changes.
    """
    require(2, pictures=len(x))
    steps = (x[1:] - x[:-1]).flatten(1).double().square().mean(1).sqrt()
    return float(steps.max() / steps.mean())
