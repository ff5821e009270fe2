"""The conditional variational autoencoder (Sohn et al. 2015)."""

from vae_zoo.distributions import (
    ConditionedOnLabel,
    Gaussian,
    GaussianPosterior,
    LabelPrior,
    LikelihoodFactory,
    PriorFactory,
    StandardNormal,
)
from vae_zoo.errors import UserError, require, require_not_negative, require_positive
from vae_zoo.models.latent import EvidenceModel
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape, check_shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class CVAE(EvidenceModel):
    """Conditional variational autoencoder of images x with labels y (Sohn et al. 2015, eq. 4).

    log p(x|y) >= E_{q(z|x,y)}[log p(x|z,y)] - KL(q(z|x,y) || p(z|y)),  p(z|y) = N(0, I) or learned

    (there x is what is given and y what is modelled; here x is the image, as everywhere else).

    The label is embedded twice: as one more channel of the image, for the encoder, and as numbers beside the code, for
    the decoder. Every method takes the labels, (B,) whole numbers from 0, as its last positional argument.

    Args:
        shape: (C, H, W) of the images.
        labels: number of labels; the command line takes it from the data.
        latent: D, the number of latent dimensions.
        encoder: called with ((C + 1, H, W), 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent + label_width, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z, y).
        prior: called with latent, shape and posterior, gives p(z).
        label_width: numbers of a label's embedding for the decoder.
        learned_prior: learn a diagonal normal p(z|y) for each label, in place of N(0, I).
        samples: K, draws of z per image in training and validation; the bound is averaged over them.
        beta: weight of the KL in the loss.
        free_bits: nats per latent dimension that cost nothing in the loss (Kingma et al. 2016, eq. 15).
        warmup: epochs in which the weight of the KL rises to beta, in equal steps, as it is from then on.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small; at a call, if the labels
            are missing or out of range.
    """

    conditional = True

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        labels: int = 10,
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        prior: PriorFactory = StandardNormal,
        label_width: int = 16,
        learned_prior: bool = False,
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
        require(1, labels=labels, latent=latent, samples=samples, label_width=label_width)
        require(0, warmup=warmup)
        require_not_negative(beta=beta, free_bits=free_bits)
        require_positive(lr=lr)
        channels, height, width = check_shape(shape)
        q = GaussianPosterior(encoder((channels + 1, height, width), 2 * latent))
        self.posterior = ConditionedOnLabel(q, labels, (1, height, width))
        self.prior = prior(latent, shape, self.posterior)
        if learned_prior:
            if not isinstance(self.prior, StandardNormal):
                raise UserError(f"learned_prior takes the place of N(0, I), but prior is a {type(self.prior).__name__}")
            self.prior = LabelPrior(latent, labels)
        self.likelihood = ConditionedOnLabel(likelihood(decoder(latent + label_width, shape)), labels, (label_width,))
        self.labels, self.samples = labels, samples
        self.beta, self.free_bits, self.warmup = beta, free_bits, warmup
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval
