"""The stages of a StackGAN: what draws a sketch of a text, and what refines it.

Stage               a part of a model that draws pictures of texts, and knows how it is trained.
  AdversarialStage    a generator against a discriminator that also sees the text.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import Parameter

from vae_zoo import objectives
from vae_zoo.matching import ConditioningAugmentation, MatchingDiscriminator, Paired, kl_to_standard
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.gan import adam, fooling, to_unit


class Stage(nn.Module, ABC):
    """Draws pictures (B, C, H, W) in [0, 1] of a code and a text, and of a sketch if it refines one.

    Attributes:
        noise: numbers of the code, which is drawn from N(0, I).
    """

    noise: int

    @abstractmethod
    def forward(self, code: Tensor, text: Tensor, sketch: Tensor | None = None) -> Tensor:
        """Return the pictures of codes (B, noise), texts (B, F) and sketches (B, C, h, w)."""

    @abstractmethod
    def turns(self, text: Iterable[Parameter]) -> list[Turn]:
        """Say what is trained, in order.

        Args:
            text: parameters of what reads the texts, which are trained with this stage.
        """

    @abstractmethod
    def learn(
        self, model: AlternatingModel, optimizers: list[Any], paired: Paired, sketch: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Take a step of each optimizer but the last, which is ready for its step, and return figures to log.

        Args:
            model: whose part this is.
            optimizers: of the turns, in order.
            paired: pictures and texts.
            sketch: of each picture's text, (B, C, h, w), for a stage that refines it.
        """

    @abstractmethod
    def figures(self, paired: Paired, sketch: Tensor | None = None) -> dict[str, Tensor]:
        """Measure the stage by pictures and texts: by name, (B,) each."""

    def codes_for(self, x: Tensor) -> Tensor:
        """Draw a code for each of these pictures (B, C, H, W), (B, noise)."""
        return torch.randn(len(x), self.noise, device=x.device, dtype=x.dtype)


class AdversarialStage(Stage):
    """Conditioned on c ~ N(mu(phi), diag(sigma(phi)^2)), where phi is what the text says (Zhang et al. 2016, eqs. 1-6).

    discriminator:  min -log D(x, phi) - 1/2 [log(1 - D(x, phi')) + log(1 - D(G(z, c), phi))]
    generator:      min -log D(G(z, c), phi) + kl_weight KL(N(mu, diag(sigma^2)) || N(0, I))

    phi' is the text of another picture. The generator's is the loss that does not saturate. The code is z and the noise
    of the augmentation. Only the discriminator's turn, which tells right texts from wrong ones, trains what reads them.
    Concrete subclasses set the attributes.

    Attributes:
        latent: numbers of z.
        augmented: numbers of c.
        kl_weight: of the KL, in nats.
    """

    augmentation: ConditioningAugmentation
    generator: nn.Module
    discriminator: MatchingDiscriminator
    latent: int
    augmented: int
    kl_weight: float
    generator_lr: float
    discriminator_lr: float
    beta1: float

    @abstractmethod
    def paint(self, z: Tensor, c: Tensor, sketch: Tensor | None) -> Tensor:
        """Return pictures in [-1, 1] of z (B, latent), c (B, augmented) and sketches in [0, 1]."""

    def forward(self, code: Tensor, text: Tensor, sketch: Tensor | None = None) -> Tensor:
        """Return the pictures (B, C, H, W) in [0, 1]."""
        return self._drawn(code, text, sketch)[0]

    def turns(self, text: Iterable[Parameter]) -> list[Turn]:
        """One for each side: discriminator, with what reads the texts, and generator, with the augmentation."""
        critic = [*self.discriminator.parameters(), *text]
        painter = [*self.generator.parameters(), *self.augmentation.parameters()]
        return [
            Turn(parameters, adam(lr, self.beta1), lr)
            for parameters, lr in ((critic, self.discriminator_lr), (painter, self.generator_lr))
        ]

    def learn(
        self, model: AlternatingModel, optimizers: list[Any], paired: Paired, sketch: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Take a step of the discriminator, then compute the generator's gradient, on the same pictures."""
        discrimination, generation = optimizers
        text = paired.text.detach()
        images, q = self._drawn(self.codes_for(paired.x), text, sketch)

        real, wrong, fake = self._judged(paired, images.detach())
        discriminator_loss = objectives.matching_loss(real, wrong, fake, paired.differs).mean()
        discrimination.zero_grad()
        model.manual_backward(discriminator_loss)
        model.step_uncounted(discrimination)

        generator_loss, towards_real = fooling(
            self.discriminator,
            images,
            lambda x: objectives.generator_loss(self.discriminator(2 * x - 1, text)).mean(),
        )
        kl = kl_to_standard(q).mean()
        generation.zero_grad()
        # Its gradient is that of both losses; the pictures' is known already, and the two meet in the augmentation.
        model.manual_backward((images * towards_real).sum() + self.kl_weight * kl)
        return {
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss + self.kl_weight * kl,
            **self._beliefs(real, wrong, fake, kl),
        }

    def figures(self, paired: Paired, sketch: Tensor | None = None) -> dict[str, Tensor]:
        """Return both losses, D of pictures, of pictures with wrong texts and of generated ones, and the KL."""
        images, q = self._drawn(self.codes_for(paired.x), paired.text, sketch)
        (real, wrong, fake), kl = self._judged(paired, images), kl_to_standard(q)
        return {
            "discriminator_loss": objectives.matching_loss(real, wrong, fake, paired.differs),
            "generator_loss": objectives.generator_loss(fake) + self.kl_weight * kl,
            **self._beliefs(real, wrong, fake, kl),
        }

    def _beliefs(self, real: Tensor, wrong: Tensor, fake: Tensor, kl: Tensor) -> dict[str, Tensor]:
        d = {"d_x": real, "d_wrong": wrong, "d_g_z": fake}
        return {**{name: logit.sigmoid() for name, logit in d.items()}, "augmentation_kl": kl}

    def _drawn(self, code: Tensor, text: Tensor, sketch: Tensor | None) -> tuple[Tensor, Distribution]:
        """Pictures (B, C, H, W), and the distribution of c that they were made of."""
        z, eps = code.split([self.latent, self.augmented], 1)
        q = self.augmentation(text)
        return to_unit(self.paint(z, q.mean + q.stddev * eps, sketch)), q

    def _judged(self, paired: Paired, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (B,) of pictures, of pictures with wrong texts, and of generated ones."""
        maps = self.discriminator.maps(2 * paired.x - 1)
        right, wrong = (self.discriminator.judge(maps, text) for text in (paired.text, paired.wrong))
        return right, wrong, self.discriminator(2 * images - 1, paired.text)
