"""The importance-weighted autoencoder (Burda et al. 2016)."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from vae_zoo import objectives
from vae_zoo.distributions import Gaussian, GaussianPosterior, LikelihoodFactory, PriorFactory, StandardNormal
from vae_zoo.errors import UserError, require, require_positive
from vae_zoo.models.latent import ImageAutoencoder, LatentVariableModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory
from vae_zoo.trace import Trace


class IWAE(ImageAutoencoder, LatentVariableModel):
    """Importance-weighted autoencoder (Burda et al. 2016, eq. 8).

    log p(x) >= E[log 1/K sum_k w_k],  w_k = p(x|z_k) p(z_k) / q(z_k|x),  z_k ~ q(z|x) independently

    The encoder runs once for each image, the decoder K times. The gradient is that of the bound: the sum of
    w_k / sum_j w_j times grad log w_k. Its signal-to-noise ratio in the encoder falls with K; `dreg` replaces the
    encoder's gradient by sum_k (w_k / sum_j w_j)^2 (d log w_k / d z_k) (d z_k / d phi), with the same mean and a ratio
    that rises (doubly reparameterised gradients, IWAE-DReG of Tucker et al. 2019). The loss stays the bound. With
    `OptimalGaussian` both are gradients at a fixed sigma, and not quite those of the bound, see there.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        prior: called with latent, shape and posterior, gives p(z).
        samples: K, draws of z per image in training and validation.
        chunk: of the K draws, how many to decode at a time. Each chunk is decoded once more for its gradient, which is
            the same, and at a validation for its images, and memory no longer grows with K. None is all at once.
        dreg: train the encoder by doubly reparameterised gradients.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small, or `chunk` is given with
            a decoder that normalises over the batch.
    """

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        prior: PriorFactory = StandardNormal,
        samples: int = 5,
        chunk: int | None = None,
        dreg: bool = False,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, latent=latent, samples=samples, chunk=1 if chunk is None else chunk)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(encoder(shape, 2 * latent))
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = likelihood(decoder(latent, shape))
        if chunk and any(isinstance(module, _BatchNorm) for module in self.likelihood.modules()):
            raise UserError("chunk: a decoder with batch normalisation sees the whole batch at once; leave chunk out")
        self.likelihood.chunk = chunk
        self.samples, self.dreg = samples, dreg
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval

    def objective(self, trace: Trace) -> Tensor:
        """Reduce what was drawn to the bound, (B,) in nats."""
        doubly = self.dreg and self.training and torch.is_grad_enabled()
        return objectives.iwae_dreg(trace) if doubly else objectives.iwae(trace)
