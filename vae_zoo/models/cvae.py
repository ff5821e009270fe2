"""The conditional variational autoencoder (Sohn et al. 2015)."""

import torch
from torch import Tensor

from vae_zoo.distributions import (
    Gaussian,
    GaussianPosterior,
    Labelled,
    LabelledNormal,
    LikelihoodFactory,
    StandardNormal,
    check_labels,
)
from vae_zoo.errors import UserError, require, require_positive
from vae_zoo.models.base import EvidenceModel, inference
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape, check_shape


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
        label_width: numbers of a label's embedding for the decoder.
        learned_prior: learn a diagonal normal p(z|y) for each label, in place of N(0, I).
        samples: draws of z per image in training; the bound is averaged over them.
        beta: weight of the KL in the loss.
        free_bits: nats per latent dimension that cost nothing in the loss (Kingma et al. 2016, eq. 15).
        warmup: epochs in which the weight of the KL rises to beta, in equal steps, as it is from then on.
        lr: Adam's learning rate.

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small; at a call, if the labels
            are missing or out of range.
    """

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        labels: int = 10,
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        label_width: int = 16,
        learned_prior: bool = False,
        samples: int = 1,
        beta: float = 1.0,
        free_bits: float = 0.0,
        warmup: int = 0,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, labels=labels, latent=latent, samples=samples, label_width=label_width)
        require(0, beta=beta, free_bits=free_bits, warmup=warmup)
        require_positive(lr=lr)
        channels, height, width = check_shape(shape)
        q = GaussianPosterior(encoder((channels + 1, height, width), 2 * latent))
        self.posterior = Labelled(q, labels, (1, height, width))
        self.prior = LabelledNormal(latent, labels) if learned_prior else StandardNormal(latent)
        self.likelihood = Labelled(likelihood(decoder(latent + label_width, shape)), labels, (label_width,))
        self.labels, self.samples, self.lr = labels, samples, lr
        self.beta, self.free_bits, self.warmup = beta, free_bits, warmup

    def features(self, x: Tensor) -> Tensor:
        """Refuse: the encoder is given the label, so that the codes need not hold it.

        Raises:
            UserError: always.
        """
        raise UserError("CVAE's encoder is given the label, so a classifier of its codes would say nothing")

    @inference
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw images of the labels y (n,), or of labels drawn uniformly, (n, C, H, W) in [0, 1]."""
        if y is None:
            y = torch.randint(self.labels, (n,), device=self.device)
        return super().sample(n, check_labels(y, self.labels, n))
