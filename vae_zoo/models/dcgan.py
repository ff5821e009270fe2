"""The deep convolutional generative adversarial network (Radford et al. 2015)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d
from torch.optim import Adam

from vae_zoo import objectives
from vae_zoo.conditional import at_least_float32
from vae_zoo.distributions import UniformNoise
from vae_zoo.errors import require, require_positive, require_share
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.base import Evaluated, WithoutCodes, WithoutDensity, inference
from vae_zoo.models.decoding import TwoSided
from vae_zoo.networks import DCGANDiscriminator, DCGANGenerator, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory

WON = 0.99  # a discriminator that is so sure for a whole epoch teaches the generator nothing


class DCGAN(TwoSided, AlternatingModel, WithoutDensity, WithoutCodes):
    """Deep convolutional GAN (Radford et al. 2015; Goodfellow et al. 2014, section 3).

    discriminator:  min -E_x log D(x) - E_z log(1 - D(G(z))),  z uniform on [-1, 1]^latent
    generator:      min -E_z log D(G(z)), the loss that does not saturate

    By turns, first the discriminator, on the same G(z). It has no encoder and no density; its noise is the code. A run
    logs D(x) and D(G(z)), and warns after an epoch in which one side has won.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two, at least 16.
        latent: numbers of noise per image.
        width: channels of both networks' largest map; 128 at 64 x 64 pixels is the paper's.
        generator_lr: learning rate of the generator, unless its optimizer is given one of its own.
        discriminator_lr: likewise of the discriminator.
        beta1: decay of the mean gradient in Adam, which both have where they are given no optimizer.
        generator_optimizer: called with the parameters, gives the generator's optimizer; None is Adam with `beta1`.
        discriminator_optimizer: likewise the discriminator's.
        lr_scheduler: called with each of the optimizers, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedules count, "epoch" or "step".

    Raises:
        UserError: if the images are of another size, or a number is too small.
    """

    monitor = None  # neither loss says how good the samples are
    tiny = {"shape": (3, 16, 16), "latent": 5, "width": 4}
    _belief: Tensor

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 100,
        width: int = 32,
        generator_lr: float = 2e-4,
        discriminator_lr: float = 2e-4,
        beta1: float = 0.5,
        generator_optimizer: OptimizerFactory | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent, width=width)
        require_share(beta1=beta1)
        require_positive(generator_lr=generator_lr, discriminator_lr=discriminator_lr)
        self.generator = DCGANGenerator(latent, shape, width)
        self.discriminator = DCGANDiscriminator(shape, width)
        self.prior = UniformNoise(latent)
        self.beta1 = beta1
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.lr_scheduler, self.lr_interval = lr_scheduler, lr_interval
        self.register_buffer("_belief", torch.zeros(3), persistent=False)  # sums of D(x) and D(G(z)), and batches

    def turns(self) -> list[Turn]:
        """One for each side: discriminator, generator."""
        sides = (
            (self.discriminator, self.discriminator_optimizer, self.discriminator_lr),
            (self.generator, self.generator_optimizer, self.generator_lr),
        )
        adam = partial(Adam, betas=(self.beta1, 0.999), fused=True)
        return [Turn(side.parameters(), given or partial(adam, lr=lr), lr) for side, given, lr in sides]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Take one step of each optimizer."""
        x, _ = batch
        optimizers: Any = self.optimizers()
        discrimination, generation = optimizers
        fake = self._generate(self.prior().rsample(torch.Size([len(x)])))  # B C H W

        real_logit, fake_logit = self._logit(x), self._logit(fake.detach())  # B, B
        discriminator_loss = objectives.discriminator_loss(real_logit, fake_logit).mean()
        discrimination.zero_grad()
        self.manual_backward(discriminator_loss)
        self.step_uncounted(discrimination)

        image = fake.detach().requires_grad_()  # so that the discriminator's parameters get no gradient from this turn
        with _batch_statistics_only(self.discriminator):
            generator_loss = objectives.generator_loss(self._logit(image)).mean()
        (towards_real,) = torch.autograd.grad(generator_loss, image)  # B C H W
        generation.zero_grad()
        self.manual_backward(fake, towards_real)
        d_x, d_g_z = real_logit.detach().sigmoid().mean(), fake_logit.detach().sigmoid().mean()
        self._belief += torch.stack([d_x, d_g_z, torch.ones_like(d_x)])
        self.log_training(discriminator_loss=discriminator_loss, generator_loss=generator_loss, d_x=d_x, d_g_z=d_g_z)
        generation.step()

    def on_train_epoch_end(self) -> None:
        """Warn if one side has won."""
        d_x, d_g_z, batches = self.trainer.strategy.reduce(self._belief, reduce_op="sum").tolist()
        d_x, d_g_z = d_x / batches, d_g_z / batches
        self._belief.zero_()
        if d_x > WON and d_g_z < 1 - WON:
            said = "the discriminator has won, the generator learns no more; lower discriminator_lr"
        elif d_g_z > WON or d_x < 1 - WON:
            said = "the generator has won, the discriminator is wrong throughout; lower generator_lr"
        else:
            return
        rank_zero_warn(f"epoch {self.current_epoch + 1}: D(x) is {d_x:.3f} and D(G(z)) {d_g_z:.3f}: {said}")

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Evaluate images (B, C, H, W): D(x), D of as many samples, and both losses.

        Here D normalises by its running statistics, of real and generated batches alike, and in training by those of
        each batch, which tell it more: D(x) and D(G(z)) are nearer to each other here.
        """
        x, y = self.checked(x, y)
        real, fake = self._logit(x), self._logit(self._generate(self.prior().rsample(torch.Size([len(x)]))))  # B, B
        figures = {
            "discriminator_loss": objectives.discriminator_loss(real, fake),
            "generator_loss": objectives.generator_loss(fake),
            "d_x": real.sigmoid(),
            "d_g_z": fake.sigmoid(),
        }
        return Evaluated(figures=figures, trace=None)

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the images (B, C, H, W) in [0, 1] of noise (B, D); there are neither labels nor a temperature."""
        self.refuse_temperature(temperature)
        z, _ = self.checked_codes(z)
        return self._generate(z)

    @inference
    def features(self, x: Tensor) -> Tensor:
        """Return the discriminator's maps of all hidden layers, each max-pooled to 4 x 4, in a row (B, F).

        Radford et al. 2015, section 5.1: F is 16 (width + 2 width + 4 width ...).
        """
        x, _ = self.checked(x)
        maps = self.discriminator.feature_maps(2 * x - 1)
        return torch.cat([adaptive_max_pool2d(each, 4).flatten(1) for each in maps], 1)  # B F

    @property
    def sees(self) -> nn.Module:
        """The discriminator."""
        return self.discriminator

    @property
    def draws(self) -> nn.Module:
        """The generator."""
        return self.generator

    def see(self, x: Tensor, y: Tensor | None = None) -> None:
        """Judge images (B, C, H, W)."""
        self._logit(x)

    def _generate(self, z: Tensor) -> Tensor:
        """The images (B, C, H, W) in [0, 1] of noise (B, D); Tanh's range is mapped to theirs here alone."""
        return (at_least_float32(self.generator(z)) + 1) / 2

    def _logit(self, x: Tensor) -> Tensor:
        """The logit of D (B,) of images (B, C, H, W) in [0, 1]."""
        return at_least_float32(self.discriminator(2 * x - 1)).squeeze(1)


@contextmanager
def _batch_statistics_only(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch and leave the running statistics alone: they are of the network's own turn."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
