"""Whether a picture fits its text: a discriminator of both, and a text's numbers that are augmented."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vae_zoo.conditional import Conditional, at_least_float32, diagonal_normal
from vae_zoo.networks import Network, Shape, StridedMaps, initialise_dcgan


class Paired(NamedTuple):
    """Pictures with texts, right and wrong ones.

    Attributes:
        x: the pictures, (B, C, H, W) in [0, 1].
        text: phi(y), what is said of each, (B, F).
        wrong: what is said of another one, (B, F).
        differs: whether that is something else, (B,).
    """

    x: Tensor
    text: Tensor
    wrong: Tensor
    differs: Tensor


class ConditioningAugmentation(Conditional):
    """c ~ N(mu(phi), diag(sigma(phi)^2)): many conditions for one text (Zhang et al. 2016, section 3.2).

    Args:
        features: F, numbers of phi.
        width: numbers of c.
    """

    part = "augmentation"

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * width)

    def forward(self, text: Tensor) -> Distribution:
        """Return the distribution of c (B, width) given phi (B, F)."""
        mean, log_variance = at_least_float32(self.linear(text)).chunk(2, 1)  # B width, B width
        return diagonal_normal(mean, (log_variance / 2).exp())


def kl_to_standard(q: Distribution) -> Tensor:
    """KL(q || N(0, I)), (B,), in nats, of a diagonal normal q."""
    return kl_divergence(q, diagonal_normal(torch.zeros_like(q.mean), torch.ones_like(q.mean)))


class MatchingDiscriminator(nn.Module):
    """A picture and a text to the logit of "real, and fitting" (Zhang et al. 2016, section 3.3).

    Strided convolutions make maps of 4 x 4 of the picture; the text, compressed, stands beside each of their places;
    a convolution of 1 x 1 looks at both.

    Args:
        shape: (C, H, W) of the pictures; H = W is a power of two, at least 8.
        features: F, numbers of phi.
        width: channels after the first layer.
        text_width: numbers that the text is compressed to.

    Shapes: (B, C, H, W) in [-1, 1], (B, F) -> (B,).
    """

    def __init__(self, shape: Shape, features: int, width: int = 32, text_width: int = 32) -> None:
        super().__init__()
        self.maps = StridedMaps(shape, width)
        self.compress = Network(nn.Linear(features, text_width), nn.LeakyReLU(0.2))
        self.verdict = Network(
            nn.Conv2d(self.maps.features + text_width, self.maps.features, 1, bias=False),
            nn.BatchNorm2d(self.maps.features),
            nn.LeakyReLU(0.2),
            nn.Conv2d(self.maps.features, 1, 4),
            nn.Flatten(0),
        )
        initialise_dcgan(self.verdict)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Return the logits (B,)."""
        return self.judge(self.maps(x), text)

    def judge(self, maps: Tensor, text: Tensor) -> Tensor:
        """Return the logits (B,) of a picture's maps (B, F', 4, 4) and a text (B, F)."""
        beside = self.compress(text)[:, :, None, None].expand(-1, -1, *maps.shape[2:])  # B text_width 4 4
        return at_least_float32(self.verdict(torch.cat([maps, beside], 1)))
