"""The variational autoencoder (Kingma & Welling 2014)."""

from vae_zoo.distributions import Gaussian, GaussianPosterior, LikelihoodFactory, PriorFactory, StandardNormal
from vae_zoo.errors import require, require_not_negative, require_positive
from vae_zoo.models.latent import EvidenceModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class VAE(EvidenceModel):
    """Variational autoencoder (Kingma & Welling 2014, eq. 10).

    log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z)),  q(z|x) = N(mu(x), diag(sigma(x)^2)),  p(z) = N(0, I),
    with z = mu + sigma * eps, eps ~ N(0, I), so that the gradient reaches the encoder, and the KL in closed form:
    1/2 sum_d (mu_d^2 + sigma_d^2 - log sigma_d^2 - 1). Beta other than 1 is the beta-VAE of Higgins et al. 2017.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        prior: called with latent, shape and posterior, gives p(z).
        samples: K, draws of z per image in training and validation; the bound is averaged over them.
        beta: weight of the KL in the loss.
        free_bits: nats per latent dimension that cost nothing in the loss (Kingma et al. 2016, eq. 15).
        warmup: epochs in which the weight of the KL rises to beta, in equal steps, as it is from then on.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

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
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup: int = 0,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, latent=latent, samples=samples)
        require(0, warmup=warmup)
        require_not_negative(beta=beta, free_bits=free_bits)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(encoder(shape, 2 * latent))
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = likelihood(decoder(latent, shape))
        self.samples = samples
        self.beta, self.free_bits, self.warmup = beta, free_bits, warmup
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval
