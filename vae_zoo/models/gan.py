"""What adversarial models of images share: a generator and a discriminator that are trained in turn."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam

from vae_zoo.conditional import at_least_float32
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.base import Evaluated, WithoutCodes, WithoutDensity, inference
from vae_zoo.models.decoding import TwoSided
from vae_zoo.optimizers import OptimizerFactory

Judged = tuple[Tensor, ...]  # what a discriminator makes of images, (B, ...) each: a logit, an energy and a code


class Adversarial(TwoSided, AlternatingModel, WithoutDensity, WithoutCodes):
    """A generator G against a discriminator D, by turns, first the discriminator, on the same G(z).

    It has no encoder and no density; its noise is the code. Concrete subclasses set the attributes.

    Attributes:
        generator: noise (B, D) -> (B, C, H, W) in [-1, 1].
        discriminator: is given images (B, C, H, W) in [-1, 1].
        beta1: decay of the mean gradient in Adam, which both have where they are given no optimizer.
        generator_lr: learning rate of the generator.
        discriminator_lr: likewise of the discriminator.
        generator_optimizer: called with the parameters, gives the generator's optimizer; None is Adam with `beta1`.
        discriminator_optimizer: likewise the discriminator's.
    """

    monitor = None  # neither loss says how good the samples are
    generator: nn.Module
    discriminator: nn.Module
    beta1: float
    generator_lr: float
    discriminator_lr: float
    generator_optimizer: OptimizerFactory | None
    discriminator_optimizer: OptimizerFactory | None

    @abstractmethod
    def judge(self, x: Tensor) -> Judged:
        """Return what the discriminator makes of images (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def discriminator_losses(self, real: Judged, fake: Judged) -> Tensor:
        """Return what the discriminator's turn lowers, (B,), of what it makes of images and of generated ones."""

    @abstractmethod
    def generator_losses(self, fake: Judged) -> Tensor:
        """Return what the generator's turn lowers, (B,), of what the discriminator makes of generated images."""

    @abstractmethod
    def figures(self, real: Judged, fake: Judged) -> dict[str, Tensor]:
        """Return what else is logged, by name, (B,) each."""

    @abstractmethod
    def remember(self, real: Judged, fake: Judged) -> None:
        """Keep what later steps need of what the discriminator made of a training batch; without gradients."""

    def turns(self) -> list[Turn]:
        """One for each side: discriminator, generator."""
        sides = (
            (self.discriminator, self.discriminator_optimizer, self.discriminator_lr),
            (self.generator, self.generator_optimizer, self.generator_lr),
        )
        return [Turn(side.parameters(), given or adam(lr, self.beta1), lr) for side, given, lr in sides]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take one step of each optimizer."""
        x, _ = batch
        optimizers: Any = self.optimizers()
        discrimination, generation = optimizers
        images = self._generate(self.prior().rsample(torch.Size([len(x)])))  # B C H W

        real, fake = self.judge(x), self.judge(images.detach())
        discriminator_loss = self.discriminator_losses(real, fake).mean()
        discrimination.zero_grad()
        self.manual_backward(discriminator_loss)
        self.step_uncounted(discrimination)

        generator_loss, towards_real = fooling(
            self.discriminator, images, lambda x: self.generator_losses(self.judge(x)).mean()
        )
        generation.zero_grad()
        self.manual_backward(images, towards_real)
        with torch.no_grad():
            figures = self.figures(real, fake)
            self.remember(real, fake)
        self.log_training(discriminator_loss=discriminator_loss, generator_loss=generator_loss, **figures)
        generation.step()

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Evaluate images (B, C, H, W), and as many samples: both losses, and what else is logged.

        Here batch normalisation takes its running statistics, and in training those of each batch.
        """
        x, y = self.checked(x, y)
        real, fake = self.judge(x), self.judge(self._generate(self.prior().rsample(torch.Size([len(x)]))))
        losses = {
            "discriminator_loss": self.discriminator_losses(real, fake),
            "generator_loss": self.generator_losses(fake),
        }
        return Evaluated(figures={**losses, **self.figures(real, fake)}, trace=None)

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the images (B, C, H, W) in [0, 1] of noise (B, D); there are neither labels nor a temperature."""
        self.refuse_temperature(temperature)
        z, _ = self.checked_codes(z)
        return self._generate(z)

    @property
    def draws(self) -> nn.Module:
        """The generator."""
        return self.generator

    def see(self, x: Tensor, y: Tensor | None = None) -> None:
        """Judge images (B, C, H, W)."""
        self.judge(x)

    def _generate(self, z: Tensor) -> Tensor:
        """The images (B, C, H, W) in [0, 1] of noise (B, D)."""
        return to_unit(self.generator(z))


def to_unit(x: Tensor) -> Tensor:
    """Map Tanh's [-1, 1] to [0, 1], in float32 or wider."""
    return (at_least_float32(x) + 1) / 2


def pooled(maps: list[Tensor]) -> Tensor:
    """Return maps (B, F, H, W), each max-pooled to 4 x 4, in a row (B, 16 sum F) (Radford et al. 2015, section 5.1)."""
    return torch.cat([adaptive_max_pool2d(each, 4).flatten(1) for each in maps], 1)


def adam(lr: float, beta1: float) -> OptimizerFactory:
    """Return a factory of Adam as adversarial networks are trained by it (Radford et al. 2015, section 4)."""
    return partial(Adam, lr=lr, betas=(beta1, 0.999), fused=True)


def fooling(discriminator: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return a generator's loss, and its gradient at the images: the discriminator's parameters get none of it.

    Args:
        discriminator: whose running statistics stay those of its own turn.
        images: generated, (B, C, H, W).
        loss: of images; a number.
    """
    images = images.detach().requires_grad_()
    with _batch_statistics_only(discriminator):
        value = loss(images)
    (gradient,) = torch.autograd.grad(value, images)  # B C H W
    return value, gradient


@contextmanager
def _batch_statistics_only(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch and leave the running statistics alone: they are of the network's own turn."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]  # synchronised ones, too
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
