"""The VAE with an inverse autoregressive flow (Kingma et al. 2016)."""

from vae_zoo.distributions import Gaussian, LikelihoodFactory, PriorFactory, StandardNormal
from vae_zoo.errors import require, require_not_negative, require_positive
from vae_zoo.flows import FlowPosterior
from vae_zoo.models.latent import EvidenceModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class IAFVAE(EvidenceModel):
    """Variational autoencoder whose posterior is an inverse autoregressive flow (Kingma et al. 2016, eq. 10 to 15).

    z_0 ~ N(mu(x), diag(sigma(x)^2)),  z_t = sigma_t z_{t-1} + (1 - sigma_t) m_t,  [m_t, s_t] = MADE_t(z_{t-1}, h(x)),
    log q(z_T|x) = log q(z_0|x) - sum_t sum_d log sigma_{t,d},  sigma_t = sigmoid(s_t)

    Dimension d of m_t and s_t depends on the dimensions of z_{t-1} before d alone, so the Jacobian is triangular; the
    order is reversed between steps. The KL has no closed form: log q - log p of the draws estimates it. To sample
    images the flow is not needed.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        encoder: called with (shape, 2 * latent + context), gives the network to mu, log sigma^2 and h.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        prior: called with latent, shape and posterior, gives p(z).
        steps: T, steps of the flow; 0 is the VAE with a sampled KL.
        context: width of h.
        hidden: width of a step's hidden layers, at least D.
        depth: hidden layers of a step.
        samples: K, draws of z per image in training and validation; the bound is averaged over them.
        beta: weight of the KL in the loss.
        free_bits: nats per latent dimension that cost nothing in the loss (eq. 15).
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
        steps: int = 4,
        context: int = 64,
        hidden: int = 256,
        depth: int = 2,
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
        require(1, latent=latent, samples=samples, context=context)
        require(0, steps=steps, warmup=warmup)
        require_not_negative(beta=beta, free_bits=free_bits)
        require_positive(lr=lr)
        self.posterior = FlowPosterior(encoder(shape, 2 * latent + context), latent, context, steps, hidden, depth)
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = likelihood(decoder(latent, shape))
        self.samples = samples
        self.beta, self.free_bits, self.warmup = beta, free_bits, warmup
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval
