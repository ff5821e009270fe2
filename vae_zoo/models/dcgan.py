"""The deep convolutional generative adversarial network (Radford et al. 2015)."""

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from vae_zoo import objectives
from vae_zoo.conditional import at_least_float32
from vae_zoo.distributions import UniformNoise
from vae_zoo.errors import require, require_positive, require_share
from vae_zoo.models.base import inference
from vae_zoo.models.gan import Adversarial, Judged, pooled
from vae_zoo.networks import DCGANDiscriminator, DCGANGenerator, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory

WON = 0.99  # a discriminator that is so sure for a whole epoch teaches the generator nothing


class DCGAN(Adversarial):
    """Deep convolutional GAN (Radford et al. 2015; Goodfellow et al. 2014, section 3).

    discriminator:  min -E_x log D(x) - E_z log(1 - D(G(z))),  z uniform on [-1, 1]^latent
    generator:      min -E_z log D(G(z)), the loss that does not saturate

    By turns, first the discriminator, on the same G(z). It has no encoder and no density; its noise is the code. A run
    logs D(x) and D(G(z)), and warns after an epoch in which one side has won.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two, at least 8.
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

    tiny = {"shape": (3, 16, 16), "latent": 5, "width": 4}
    discriminator: DCGANDiscriminator
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

    def judge(self, x: Tensor) -> Judged:
        """Return the logit of D, (B,), of images (B, C, H, W) in [0, 1]."""
        return (at_least_float32(self.discriminator(2 * x - 1)).squeeze(1),)

    def discriminator_losses(self, real: Judged, fake: Judged) -> Tensor:
        """Return -log D(x) - log(1 - D(G(z))), (B,)."""
        return objectives.discriminator_loss(*real, *fake)

    def generator_losses(self, fake: Judged) -> Tensor:
        """Return -log D(G(z)), (B,)."""
        return objectives.generator_loss(*fake)

    def figures(self, real: Judged, fake: Judged) -> dict[str, Tensor]:
        """Return D(x) and D(G(z)), (B,) each.

        In an evaluation D normalises by its running statistics, of real and generated batches alike, and in training by
        those of each batch, which tell it more: the two are nearer to each other there.
        """
        (real_logit,), (fake_logit,) = real, fake
        return {"d_x": real_logit.sigmoid(), "d_g_z": fake_logit.sigmoid()}

    def remember(self, real: Judged, fake: Judged) -> None:
        """Add to the epoch's sums."""
        d_x, d_g_z = (value.mean() for value in self.figures(real, fake).values())
        self._belief += torch.stack([d_x, d_g_z, torch.ones_like(d_x)])

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

    @inference
    def features(self, x: Tensor) -> Tensor:
        """Return the discriminator's maps of all hidden layers, each max-pooled to 4 x 4, in a row (B, F).

        Radford et al. 2015, section 5.1: F is 16 (width + 2 width + 4 width ...).
        """
        x, _ = self.checked(x)
        return pooled(self.discriminator.feature_maps(2 * x - 1))

    @property
    def sees(self) -> nn.Module:
        """The discriminator."""
        return self.discriminator
