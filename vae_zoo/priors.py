"""Priors that are fitted to the codes of a trained model, see `vae_zoo.latent.fit_mixture` and `fit_flow`."""

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, Categorical, Distribution, MixtureSameFamily, MultivariateNormal
from torch.distributions import TransformedDistribution as Transformed

from vae_zoo.conditional import Conditional
from vae_zoo.distributions import Prior
from vae_zoo.errors import require
from vae_zoo.networks import Shape


class FittedMixture(Prior):
    """p(z) = sum_m pi_m N(mu_m, L_m L_m^T): normals with full covariances, all N(0, I) until they are fitted.

    A density of the codes that is estimated after the training (Ghosh et al. 2020, section 4). Its numbers are buffers,
    which no training changes.

    Args:
        latent: D.
        shape: not used.
        posterior: not used.
        components: M.

    Attributes:
        logits: (M,), log pi_m up to a constant.
        mean: (M, D).
        scale: (M, D, D), L_m, lower triangular.
    """

    logits: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(
        self, latent: int, shape: Shape = (), posterior: Conditional | None = None, components: int = 10
    ) -> None:
        super().__init__()
        require(1, latent=latent, components=components)
        self.register_buffer("logits", torch.zeros(components))
        self.register_buffer("mean", torch.zeros(components, latent))
        self.register_buffer("scale", torch.eye(latent).repeat(components, 1, 1))

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        weights = Categorical(logits=self.logits, validate_args=False)
        each = MultivariateNormal(self.mean, scale_tril=self.scale, validate_args=False)
        return MixtureSameFamily(weights, each, validate_args=False)


class FlowPrior(Prior):
    """p(z) by affine coupling layers, a RealNVP (Dinh et al. 2017), by zuko.

    The flow is of (z - centre) / spread. It can also be trained with a model, as any learned prior.

    Args:
        latent: D, at least 2.
        shape: not used.
        posterior: not used.
        transforms: coupling layers.
        width: of the two hidden layers of each network.

    Raises:
        ModuleNotFoundError: if zuko is not installed, an extra, vae_zoo[flow].
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        latent: int,
        shape: Shape = (),
        posterior: Conditional | None = None,
        transforms: int = 6,
        width: int = 128,
    ) -> None:
        super().__init__()
        from zuko.flows import NICE  # whose transformations are affine, as those of the RealNVP are

        require(2, latent=latent)
        require(1, transforms=transforms, width=width)
        self.flow: nn.Module = NICE(latent, transforms=transforms, hidden_features=(width, width))
        self.register_buffer("centre", torch.zeros(latent))
        self.register_buffer("spread", torch.ones(latent))

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        return Transformed(self.flow(), AffineTransform(self.centre, self.spread, 1), validate_args=False)
