"""The energy-based generative adversarial network (Zhao et al. 2016), and the boundary equilibrium one."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from vae_zoo import processes
from vae_zoo.conditional import at_least_float32
from vae_zoo.distributions import UniformNoise
from vae_zoo.errors import require, require_not_negative, require_positive, require_share
from vae_zoo.models.base import inference
from vae_zoo.models.gan import Adversarial, Judged
from vae_zoo.networks import ConvDecoder, ConvEncoder, DCGANGenerator, DecoderFactory, EncoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class Balance(nn.Module, ABC):
    """How the discriminator weighs the energies of images and of generated ones, (B,) each."""

    @abstractmethod
    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, (B,)."""

    @abstractmethod
    def follow(self, real: Tensor, fake: Tensor) -> None:
        """Change with what a training step found; without gradients."""

    @abstractmethod
    def figures(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return what is logged, by name, (B,) each."""


BalanceFactory = Callable[[], Balance]


class Margin(Balance):
    """L_D = E(x) + max(0, m - E(G(z))): generated images of more than energy m are left alone (Zhao et al., eq. 1).

    Args:
        m: the margin, an energy, best near that of real images: far above it samples are blots, far below it smooth.

    Raises:
        UserError: if it is not positive.
    """

    def __init__(self, m: float = 0.05) -> None:
        super().__init__()
        require_positive(m=m)
        self.m = m

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss, (B,)."""
        return real + relu(self.m - fake)

    def follow(self, real: Tensor, fake: Tensor) -> None:
        """Stay."""

    def figures(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return nothing: the energies are logged, whatever the balance."""
        return {}


class Equilibrium(Balance):
    """L_D = E(x) - k E(G(z)), k <- clip(k + lambda_k (gamma E(x) - E(G(z))), 0, 1), with the means over a batch.

    So E(G(z)) / E(x) is held at gamma (Berthelot et al. 2017, section 3.3). Their measure of convergence is logged,
    E(x) + |gamma E(x) - E(G(z))| (section 3.4).

    Args:
        gamma: the ratio of energies, between 0 and 1: a lower one gives better and less diverse samples.
        lambda_k: how quickly k moves.

    Raises:
        UserError: if gamma is not between 0 and 1, or lambda_k is not positive.
    """

    k: Tensor

    def __init__(self, gamma: float = 0.5, lambda_k: float = 1e-3) -> None:
        super().__init__()
        require_share(gamma=gamma)
        require_positive(lambda_k=lambda_k)
        self.gamma, self.lambda_k = gamma, lambda_k
        self.register_buffer("k", torch.zeros(()))  # which checkpoints hold, so that a training goes on with it

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss, (B,)."""
        return real - self.k * fake

    def follow(self, real: Tensor, fake: Tensor) -> None:
        """Move k."""
        self.k.add_(self.lambda_k * processes.mean((self.gamma * real - fake).mean())).clamp_(0, 1)

    def figures(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return k, and the measure of convergence of the batch's mean energies, the same (B,) times."""
        means = torch.stack([real.mean(), fake.mean()])
        mean, generated = processes.mean(means) if self.training else means
        apart = (self.gamma * mean - generated).abs()
        return {"k": self.k.expand(len(real)), "convergence": (mean + apart).expand(len(real))}


class EnergyDiscriminator(nn.Module):
    """An autoencoder, by whose error it judges: E(x) = mean over pixels and channels of (Dec(Enc(x)) - x)^2.

    Zhao et al. 2016, eq. 4, has the norm; the mean of squares does not grow with the image.

    Args:
        encoder: (B, C, H, W) -> (B, F).
        decoder: (B, F) -> (B, C, H, W).

    Shapes: (B, C, H, W) in [-1, 1] -> (B,), (B, F).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Judged:
        """Return the energies (B,), and the codes (B, F)."""
        code = self.encoder(x)  # B F
        error = at_least_float32(self.decoder(code)) - x
        return error.square().mean((1, 2, 3)), at_least_float32(code)


def pulling_away(codes: Tensor) -> Tensor:
    """Return the mean squared cosine between two of these codes (B, F), a number, 0 if there is but one.

    1 / (B (B - 1)) sum_{i != j} (s_i . s_j / |s_i| |s_j|)^2 (Zhao et al. 2016, section 2.4).
    """
    n = len(codes)
    s = normalize(codes)  # B F
    return ((s @ s.T).square().sum() - s.square().sum(1).square().sum()) / max(1, n * (n - 1))


class EBGAN(Adversarial):
    """Energy-based GAN (Zhao et al. 2016, eqs. 1, 2 and 4): the discriminator is an autoencoder, its error the energy.

    E(x) = mean over pixels and channels of (Dec(Enc(x)) - x)^2, x in [-1, 1]
    discriminator:  min E_x E(x) + E_z max(0, m - E(G(z)))
    generator:      min E_z E(G(z)) [+ pull_away f_PT(Enc(G(z)))],  z uniform on [-1, 1]^latent

    With ``balance=Equilibrium`` it is the boundary equilibrium GAN (Berthelot et al. 2017). The discriminator's code of
    an image is no noise of the generator's, so the model has no encoder; `features` gives that code.

    Args:
        shape: (C, H, W) of the images; H = W is a power of two, at least 8.
        latent: numbers of noise per image.
        width: channels of the generator's largest map.
        hidden: F, numbers in a code of the discriminator's.
        encoder: called with (shape, hidden), gives the discriminator's encoder.
        decoder: called with (hidden, shape), gives the discriminator's decoder.
        balance: called, gives the discriminator's loss: `Margin`, `Equilibrium`.
        pull_away: weight of the pulling-away term, which keeps the codes of generated images apart; 0.1 is the paper's
            EBGAN-PT, 0 is without.
        generator_lr: learning rate of the generator, unless its optimizer is given one of its own.
        discriminator_lr: likewise of the discriminator.
        beta1: decay of the mean gradient in Adam, which both have where they are given no optimizer.
        generator_optimizer: called with the parameters, gives the generator's optimizer; None is Adam with `beta1`.
        discriminator_optimizer: likewise the discriminator's.
        lr_scheduler: called with each of the optimizers, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedules count, "epoch" or "step".

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    tiny = {**Adversarial.tiny, "width": 4, "hidden": 6}
    discriminator: EnergyDiscriminator

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 100,
        width: int = 32,
        hidden: int = 256,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        balance: BalanceFactory = Margin,
        pull_away: float = 0.0,
        generator_lr: float = 1e-3,
        discriminator_lr: float = 1e-3,
        beta1: float = 0.5,
        generator_optimizer: OptimizerFactory | None = None,
        discriminator_optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent, width=width, hidden=hidden)
        require_share(beta1=beta1)
        require_not_negative(pull_away=pull_away)
        require_positive(generator_lr=generator_lr, discriminator_lr=discriminator_lr)
        self.generator = DCGANGenerator(latent, shape, width)
        self.discriminator = EnergyDiscriminator(encoder(shape, hidden), decoder(hidden, shape))
        self.balance = balance()
        self.prior = UniformNoise(latent)
        self.pull_away, self.beta1 = pull_away, beta1
        self.generator_lr, self.discriminator_lr = generator_lr, discriminator_lr
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.lr_scheduler, self.lr_interval = lr_scheduler, lr_interval

    def judge(self, x: Tensor) -> Judged:
        """Return the energies (B,) of images (B, C, H, W) in [0, 1], and their codes (B, F)."""
        return self.discriminator(2 * x - 1)

    def discriminator_losses(self, real: Judged, fake: Judged) -> Tensor:
        """Return what the balance makes of the energies, (B,)."""
        return self.balance(real[0], fake[0])

    def generator_losses(self, fake: Judged) -> Tensor:
        """Return E(G(z)) and the weighted pulling-away term, which is the same for all of a batch, (B,)."""
        energy, codes = fake
        if not self.pull_away:
            return energy
        return energy + self.pull_away * pulling_away(processes.gather(codes) if self.training else codes)

    def figures(self, real: Judged, fake: Judged) -> dict[str, Tensor]:
        """Return E(x) and E(G(z)), and what the balance has to say, (B,) each."""
        (x, _), (g_z, _) = real, fake
        return {"energy_x": x, "energy_g_z": g_z, **self.balance.figures(x, g_z)}

    def remember(self, real: Judged, fake: Judged) -> None:
        """Let the balance follow."""
        self.balance.follow(real[0], fake[0])

    @inference
    def features(self, x: Tensor) -> Tensor:
        """Return the discriminator's codes (B, F) of images (B, C, H, W)."""
        x, _ = self.checked(x)
        _, codes = self.judge(x)
        return codes

    @property
    def sees(self) -> nn.Module:
        """The discriminator's encoder."""
        return self.discriminator.encoder
