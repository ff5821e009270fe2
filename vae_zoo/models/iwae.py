"""The importance-weighted autoencoder (Burda et al. 2016)."""

from typing import Any, cast

import torch
from torch import Size, Tensor

from vae_zoo import objectives
from vae_zoo.distributions import Gaussian, GaussianPosterior, LikelihoodFactory, StandardNormal, normal
from vae_zoo.errors import require, require_positive
from vae_zoo.models.base import LatentVariableModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.objectives import Terms


class IWAE(LatentVariableModel):
    """Importance-weighted autoencoder (Burda et al. 2016, eq. 8).

    log p(x) >= E[log 1/K sum_k w_k],  w_k = p(x|z_k) p(z_k) / q(z_k|x),  z_k ~ q(z|x) independently

    The encoder runs once for each image, the decoder K times. The gradient is that of the bound: the sum of
    w_k / sum_j w_j times grad log w_k. Its signal-to-noise ratio in the encoder falls with K; `dreg` replaces the
    encoder's gradient by sum_k (w_k / sum_j w_j)^2 (d log w_k / d z_k) (d z_k / d phi), with the same mean and a ratio
    that rises (doubly reparameterised gradients, IWAE-DReG of Tucker et al. 2019). The loss stays the bound.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        samples: K, draws of z per image in training and validation.
        dreg: train the encoder by doubly reparameterised gradients.
        lr: Adam's learning rate.

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    objective = staticmethod(objectives.iwae)

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        samples: int = 5,
        dreg: bool = False,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, latent=latent, samples=samples)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(encoder(shape, 2 * latent))
        self.prior = StandardNormal(latent)
        self.likelihood = likelihood(decoder(latent, shape))
        self.samples, self.dreg, self.lr = samples, dreg, lr

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int = 1) -> Terms:
        """Draw K = `samples` codes for each image (B, C, H, W) and return the log-terms, each (K, B) in nats."""
        if not (self.dreg and self.training and torch.is_grad_enabled()):
            return super().terms(x, y, samples)
        q = self.posterior(x, y)
        base, z = cast(Any, q).base_dist, q.rsample(Size([samples]))  # z: K B D
        # Of log q(z|x) only the path through z is kept; there the bound's gradient brings one factor
        # w_k / sum_j w_j, and the hook the other.
        terms, _ = self._score(x, y, normal(base.loc.detach(), base.scale.detach()), z)
        weights = terms.log_w.detach().softmax(0).unsqueeze(-1)  # K B 1
        z.register_hook(lambda gradient: gradient * weights)
        return terms
