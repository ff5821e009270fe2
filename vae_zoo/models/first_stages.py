"""What draws the sketch of a StackGAN: a generator of noise and the text, or a variational autoencoder."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn import Parameter

from vae_zoo import objectives
from vae_zoo.distributions import Gaussian, GaussianPosterior, LikelihoodFactory, StandardNormal
from vae_zoo.errors import require, require_not_negative, require_positive, require_share
from vae_zoo.matching import ConditioningAugmentation, MatchingDiscriminator, Paired
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.stages import AdversarialStage, Stage
from vae_zoo.networks import ConvDecoder, ConvEncoder, DCGANGenerator, DecoderFactory, EncoderFactory, Shape
from vae_zoo.trace import Trace

FirstStageFactory = Callable[[Shape, int], Stage]


class GANStage(AdversarialStage):
    """Stage I: transposed convolutions make a picture of noise and the text (Zhang et al. 2016, section 3.3).

    The paper's generator doubles by repeating pixels; this one is the DCGAN's.

    Args:
        shape: (C, h, w) of the pictures; h = w is a power of two, at least 8.
        features: F, numbers that say what a text says.
        latent: numbers of z.
        augmented: numbers of c; 128 is the paper's.
        width: channels of both networks' largest map.
        kl_weight: of the augmentation's KL in nats; 1/64 is the authors' program's, for 128 numbers of c.
        generator_lr: learning rate of the generator.
        discriminator_lr: that of the discriminator, and of what reads the texts.
        beta1: decay of the mean gradient in Adam.

    Raises:
        UserError: if the pictures are of another size, or a number is too small.
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        latent: int = 100,
        augmented: int = 32,
        width: int = 32,
        kl_weight: float = 1 / 64,
        generator_lr: float = 2e-4,
        discriminator_lr: float = 2e-4,
        beta1: float = 0.5,
    ) -> None:
        super().__init__()
        require(1, latent=latent, augmented=augmented)
        require_share(beta1=beta1)
        require_not_negative(kl_weight=kl_weight)
        require_positive(generator_lr=generator_lr, discriminator_lr=discriminator_lr)
        self.augmentation = ConditioningAugmentation(features, augmented)
        self.generator = DCGANGenerator(latent + augmented, shape, width)
        self.discriminator = MatchingDiscriminator(shape, features, width)
        self.latent, self.augmented, self.noise = latent, augmented, latent + augmented
        self.kl_weight, self.beta1 = kl_weight, beta1
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr

    def paint(self, z: Tensor, c: Tensor, sketch: Tensor | None) -> Tensor:
        """Return pictures in [-1, 1]; there is no sketch yet."""
        return self.generator(torch.cat([z, c], 1))


class VAEStage(Stage):
    """A variational autoencoder of pictures x given texts, whose blurred samples are then refined.

    log p(x|phi) >= E_{q(z|x)}[log p(x|z, phi)] - KL(q(z|x) || N(0, I)): the decoder is given phi beside z, and -ELBO
    trains all of it, with what reads the texts (Sohn et al. 2015, eq. 4). A picture is the likelihood's mean.

    Args:
        shape: (C, h, w) of the pictures.
        features: F, numbers that say what a text says.
        latent: numbers of z.
        encoder: called with (shape, 2 * latent), gives the network to mu and log sigma^2.
        decoder: called with (latent + features, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z, phi).
        lr: learning rate.

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    def __init__(
        self,
        shape: Shape,
        features: int,
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        require(1, latent=latent)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(encoder(shape, 2 * latent))
        self.prior = StandardNormal(latent)
        self.likelihood = likelihood(decoder(latent + features, shape))
        self.noise, self.lr = latent, lr

    def forward(self, code: Tensor, text: Tensor, sketch: Tensor | None = None) -> Tensor:
        """Return the likelihood's mean (B, C, h, w)."""
        return self._likelihood(code, text).mean

    def turns(self, text: Iterable[Parameter]) -> list[Turn]:
        """One."""
        return [Turn([*self.parameters(), *text], None, self.lr)]

    def learn(
        self, model: AlternatingModel, optimizers: list[Any], paired: Paired, sketch: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the gradient of -ELBO."""
        (optimizer,) = optimizers
        figures = self.figures(paired)
        optimizer.zero_grad()
        model.manual_backward(figures["loss"].mean())
        return figures

    def figures(self, paired: Paired, sketch: Tensor | None = None) -> dict[str, Tensor]:
        """Return the loss and the bound with its parts, in nats."""
        q = self.posterior(paired.x)
        trace = Trace(paired.x, None, q, self.prior(), lambda z, _: self._likelihood(z, paired.text))
        elbo = objectives.elbo(trace)
        return {"loss": -elbo, "elbo": elbo, "reconstruction": trace.log_px.mean(0), "kl": trace.kl}

    def _likelihood(self, z: Tensor, text: Tensor) -> Distribution:
        return self.likelihood(torch.cat([z, text.to(z.dtype).expand(*z.shape[:-1], -1)], -1))
