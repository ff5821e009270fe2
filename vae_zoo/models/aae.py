"""The adversarial autoencoder (Makhzani et al. 2015)."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from vae_zoo import objectives
from vae_zoo.distributions import (
    Gaussian,
    GaussianPosterior,
    LikelihoodFactory,
    PointPosterior,
    PriorFactory,
    StandardNormal,
    wide,
)
from vae_zoo.errors import require, require_positive
from vae_zoo.models.base import Alternating, Autoencoder
from vae_zoo.networks import (
    ConvDecoder,
    ConvEncoder,
    DecoderFactory,
    Discriminator,
    DiscriminatorFactory,
    EncoderFactory,
    Shape,
)


class AAE(Alternating, Autoencoder):
    """Adversarial autoencoder (Makhzani et al. 2015): a discriminator, not a KL, makes the codes follow the prior.

    reconstruction, of encoder and decoder:  min -log p(x|z),  z ~ q(z|x)
    discriminator:                           min -E_{p(z)} log D(z) - E_{q(z)} log(1 - D(z))
    generator, of the encoder:               min -E_{q(z)} log D(z)

    Each has an optimizer. In a step the discriminator goes first; the encoder's two updates share one forward pass. The
    model has no density, so there is no `log_prob`.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2; with (shape, latent) if it
            is deterministic.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        discriminator: called with latent, gives the network to the logit of "a draw of the prior".
        prior: called with latent, gives p(z).
        stochastic: draw z ~ N(mu(x), diag(sigma(x)^2)); else z = f(x).
        lr: Adam's learning rate for the reconstruction.
        discriminator_lr: that of the discriminator.
        generator_lr: that of the encoder against the discriminator.
        gradient_penalty: weight of half the squared slope of the discriminator's logit at draws of the prior (Mescheder
            et al. 2018, eq. 9), which lets the codes settle on the prior where they would circle around it. Not in
            Makhzani et al.: 0 is their paper's.

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        discriminator: DiscriminatorFactory = Discriminator,
        prior: PriorFactory = StandardNormal,
        stochastic: bool = True,
        lr: float = 1e-3,
        discriminator_lr: float = 1e-3,
        generator_lr: float = 1.5e-4,
        gradient_penalty: float = 30.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent)
        require(0, gradient_penalty=gradient_penalty)
        require_positive(lr=lr, discriminator_lr=discriminator_lr, generator_lr=generator_lr)
        self.posterior = (
            GaussianPosterior(encoder(shape, 2 * latent)) if stochastic else PointPosterior(encoder(shape, latent))
        )
        self.prior = prior(latent)
        self.likelihood = likelihood(decoder(latent, shape))
        self.discriminator = discriminator(latent)
        self.lr, self.discriminator_lr, self.generator_lr = lr, discriminator_lr, generator_lr
        self.gradient_penalty = gradient_penalty

    def configure_optimizers(self) -> list[Optimizer]:
        """One for each phase: reconstruction, discriminator, generator."""
        encoder = list(self.posterior.parameters())
        return [
            Adam([*encoder, *self.likelihood.parameters()], lr=self.lr, fused=True),
            Adam(self.discriminator.parameters(), lr=self.discriminator_lr, fused=True),
            Adam(encoder, lr=self.generator_lr, fused=True),
        ]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take one step of each optimizer."""
        x, y = batch
        optimizers: Any = self.optimizers()
        reconstruction, discrimination, generation = optimizers
        encoder = list(self.posterior.parameters())
        z = self.posterior(x, y).rsample()  # B D

        prior = self.sample_prior(len(x)).requires_grad_()  # B D
        real, fake = self.discriminator(prior), self.discriminator(z.detach())  # B 1, B 1
        discriminator_loss = objectives.discriminator_loss(wide(real), wide(fake)).mean()
        (slope,) = torch.autograd.grad(real.sum(), prior, create_graph=True)  # B D
        penalty = self.gradient_penalty / 2 * slope.square().sum(-1).mean()
        discrimination.zero_grad()
        self.manual_backward(discriminator_loss + penalty)
        self.step_uncounted(discrimination)

        code = z.detach().requires_grad_()  # so that the discriminator's parameters get no gradient from this phase
        generator_loss = objectives.generator_loss(wide(self.discriminator(code))).mean()
        (towards_prior,) = torch.autograd.grad(generator_loss, code)  # B D
        # Both gradients of the encoder before either of its updates: a step would change the weights below the graph.
        generation.zero_grad()
        self.manual_backward(z, towards_prior, retain_graph=True)
        adversarial = [parameter.grad for parameter in encoder]

        loss = -self.likelihood(z, y).log_prob(x).mean()
        reconstruction.zero_grad()
        self.manual_backward(loss)
        correct = torch.cat([real > 0, fake < 0]).float()
        self.log_training(
            loss=loss,
            reconstruction=-loss,
            discriminator_loss=discriminator_loss,
            generator_loss=generator_loss,
            discriminator_accuracy=correct,
        )
        reconstruction.step()
        for parameter, gradient in zip(encoder, adversarial, strict=True):
            parameter.grad = gradient
        self.step_uncounted(generation)
