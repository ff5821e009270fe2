"""The adversarial autoencoder (Makhzani et al. 2015)."""

from typing import Any

import torch
from torch import Tensor

from vae_zoo import objectives
from vae_zoo.conditional import at_least_float32
from vae_zoo.distributions import (
    Gaussian,
    GaussianPosterior,
    LikelihoodFactory,
    PointPosterior,
    PriorFactory,
    StandardNormal,
)
from vae_zoo.errors import UserError, require, require_not_negative, require_positive
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.latent import ReconstructionModel
from vae_zoo.networks import (
    ConvDecoder,
    ConvEncoder,
    DecoderFactory,
    Discriminator,
    DiscriminatorFactory,
    EncoderFactory,
    Shape,
)
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class AAE(AlternatingModel, ReconstructionModel):
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
        prior: called with latent, shape and posterior, gives p(z).
        stochastic: draw z ~ N(mu(x), diag(sigma(x)^2)); else z = f(x).
        lr: learning rate of the reconstruction, unless its optimizer is given one of its own; likewise the others.
        discriminator_lr: that of the discriminator.
        generator_lr: that of the encoder against the discriminator.
        optimizer: called with the parameters, gives the optimizer of the reconstruction; None is Adam.
        discriminator_optimizer: that of the discriminator.
        generator_optimizer: that of the encoder against the discriminator.
        lr_scheduler: called with each of the optimizers, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedules count, "epoch" or "step".
        gradient_penalty: weight of half the squared slope of the discriminator's logit at draws of the prior (Mescheder
            et al. 2018, eq. 9), which lets the codes settle on the prior where they would circle around it. Not in
            Makhzani et al.: 0 is their paper's.

    Raises:
        UserError: if the networks cannot make images of `shape`, the prior is learned, or a number is too small.
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
        optimizer: OptimizerFactory | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        generator_optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent)
        require_not_negative(gradient_penalty=gradient_penalty)
        require_positive(lr=lr, discriminator_lr=discriminator_lr, generator_lr=generator_lr)
        self.posterior = (
            GaussianPosterior(encoder(shape, 2 * latent)) if stochastic else PointPosterior(encoder(shape, latent))
        )
        self.prior = prior(latent, shape, self.posterior)
        if next(self.prior.parameters(), None) is not None:
            raise UserError(f"prior: the discriminator knows a fixed one, a {type(self.prior).__name__} is learned")
        self.likelihood = likelihood(decoder(latent, shape))
        self.discriminator = discriminator(latent)
        self.lr, self.discriminator_lr, self.generator_lr = lr, discriminator_lr, generator_lr
        self.gradient_penalty = gradient_penalty
        self.optimizer, self.discriminator_optimizer = optimizer, discriminator_optimizer
        self.generator_optimizer, self.lr_scheduler, self.lr_interval = generator_optimizer, lr_scheduler, lr_interval

    def turns(self) -> list[Turn]:
        """One for each phase: reconstruction, discriminator, generator."""
        encoder = list(self.posterior.parameters())
        return [
            Turn([*encoder, *self.likelihood.parameters()], self.optimizer, self.lr),
            Turn(self.discriminator.parameters(), self.discriminator_optimizer, self.discriminator_lr),
            Turn(encoder, self.generator_optimizer, self.generator_lr),
        ]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take one step of each optimizer."""
        trace = self.trace(*batch)
        optimizers: Any = self.optimizers()
        reconstruction, discrimination, generation = optimizers
        encoder = list(self.posterior.parameters())
        z = trace.z.squeeze(0)  # B D

        prior = self.sample_prior(len(z)).requires_grad_()  # B D
        real, fake = self.discriminator(prior), self.discriminator(z.detach())  # B 1, B 1
        discriminator_loss = objectives.discriminator_loss(at_least_float32(real), at_least_float32(fake)).mean()
        (slope,) = torch.autograd.grad(real.sum(), prior, create_graph=True)  # B D
        penalty = self.gradient_penalty / 2 * slope.square().sum(-1).mean()
        discrimination.zero_grad()
        self.manual_backward(discriminator_loss + penalty)
        self.step_uncounted(discrimination)

        code = z.detach().requires_grad_()  # so that the discriminator's parameters get no gradient from this phase
        generator_loss = objectives.generator_loss(at_least_float32(self.discriminator(code))).mean()
        (towards_prior,) = torch.autograd.grad(generator_loss, code)  # B D
        # Both gradients of the encoder before either of its updates: a step would change the weights below the graph.
        generation.zero_grad()
        self.manual_backward(z, towards_prior, retain_graph=True)
        adversarial = [parameter.grad for parameter in encoder]

        loss = -trace.log_px.mean()
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
