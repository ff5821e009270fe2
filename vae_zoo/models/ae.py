"""The autoencoder (Hinton & Salakhutdinov 2006)."""

import torch
from torch import Tensor

from vae_zoo.distributions import Gaussian, LikelihoodFactory, PointPosterior, PriorFactory, StandardNormal
from vae_zoo.errors import require, require_not_negative, require_positive
from vae_zoo.models.base import JointModel
from vae_zoo.models.latent import ReconstructionModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class AE(JointModel, ReconstructionModel):
    """Autoencoder (Hinton & Salakhutdinov 2006): the floor for the reconstruction error.

    loss = -log p(x | z = f(x)), which is half the squared error, up to a constant, for the default Gaussian.
    Its codes follow no prior, and it has no density: `sample` decodes draws of N(0, I) all the same, to show what
    that costs, and there is no `log_prob`.

    With `noise` it is a denoising autoencoder (Vincent et al. 2008): in training the encoder is given x with noise on
    it, and the decoder is to make x of it.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of code dimensions.
        encoder: called with (shape, latent), gives the network f.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        prior: called with latent, shape and posterior, gives what `sample` draws codes from; no training changes it.
        noise: standard deviation of the noise on the encoder's input in training, in units of a pixel in [0, 1].
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    regularised = False

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        prior: PriorFactory = StandardNormal,
        noise: float = 0.0,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, latent=latent)
        require_positive(lr=lr)
        require_not_negative(noise=noise)
        self.noise = noise
        self.posterior = PointPosterior(encoder(shape, latent))
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = likelihood(decoder(latent, shape))
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return -log p(x | f(x)), averaged over the batch, in nats."""
        x, y = batch
        trace = self.trace(x + self.noise * torch.randn_like(x) if self.noise else x, y)
        trace.x = x  # without the noise
        loss = -trace.log_px.mean()
        self.log_training(loss=loss, reconstruction=-loss)
        return loss
