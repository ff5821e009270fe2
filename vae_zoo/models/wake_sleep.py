"""The wake-sleep algorithm for the networks of a VAE (Hinton et al. 1995)."""

from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import Gaussian, GaussianPosterior, LikelihoodFactory, PriorFactory, StandardNormal
from vae_zoo.errors import require, require_positive
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.latent import ImageAutoencoder, WithDensity
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory
from vae_zoo.trace import Trace


class WakeSleep(AlternatingModel, ImageAutoencoder, WithDensity):
    """Wake-sleep (Hinton et al. 1995; as the baseline of Kingma & Welling 2014, section 5).

    wake, of the decoder:   max log p(x|z) + log p(z),  x from the data, z ~ q(z|x)
    sleep, of the encoder:  max log q(z|x),             z ~ p(z), x ~ p(x|z): a dream

    Neither gradient passes through a draw, so codes and likelihood may be of any kind. Waking lowers
    KL(p_data(x) q(z|x) || p(x, z)) over the decoder, as a VAE does; sleeping lowers KL(p(x, z) || p(x) q(z|x)), the
    other way round, and on dreams, not data: the two together climb no bound. What is measured is the
    evidence lower bound, so that it compares with a VAE's.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z), from which dreams are drawn.
        prior: called with latent, shape and posterior, gives p(z).
        samples: K, draws of z per image while awake, and in validation; dreams are as many as images.
        lr: learning rate of the wake phase, unless its optimizer is given one of its own.
        sleep_lr: that of the sleep phase.
        optimizer: called with the parameters, gives the optimizer of the wake phase; None is Adam.
        sleep_optimizer: that of the sleep phase.
        lr_scheduler: called with each of the optimizers, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedules count, "epoch" or "step".

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
        prior: PriorFactory = StandardNormal,
        samples: int = 1,
        lr: float = 1e-3,
        sleep_lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        sleep_optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent, samples=samples)
        require_positive(lr=lr, sleep_lr=sleep_lr)
        self.posterior = GaussianPosterior(encoder(shape, 2 * latent))
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = likelihood(decoder(latent, shape))
        self.samples, self.lr, self.sleep_lr = samples, lr, sleep_lr
        self.optimizer, self.sleep_optimizer = optimizer, sleep_optimizer
        self.lr_scheduler, self.lr_interval = lr_scheduler, lr_interval

    def turns(self) -> list[Turn]:
        """One for each phase: wake, sleep."""
        return [
            Turn([*self.likelihood.parameters(), *self.prior.parameters()], self.optimizer, self.lr),
            Turn(self.posterior.parameters(), self.sleep_optimizer, self.sleep_lr),
        ]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Wake, then sleep: one step of each optimizer."""
        x, _ = batch
        optimizers: Any = self.optimizers()
        waking, sleeping = optimizers
        with torch.no_grad():
            z = self.posterior(x).rsample(torch.Size([self.samples]))  # K B D
        wake_loss = -self.log_joint(x, z).mean()
        waking.zero_grad()
        self.manual_backward(wake_loss)
        self.step_uncounted(waking)

        with torch.no_grad():
            z = self.sample_prior(len(x))  # B D
            dream = self.likelihood(z).sample()  # B C H W
        sleep_loss = -self.posterior(dream).log_prob(z).mean()
        sleeping.zero_grad()
        self.manual_backward(sleep_loss)
        self.log_training(wake_loss=wake_loss, sleep_loss=sleep_loss)
        sleeping.step()

    def bounds(self, trace: Trace) -> dict[str, Tensor]:
        """Return minus the evidence lower bound as the loss, and the bound with its two parts."""
        evidence = self.evidence(trace)
        return {"loss": -evidence["elbo"], **evidence}
