"""Monte Carlo EM, a decoder without an encoder (Kingma & Welling 2014, section 5 and appendix E)."""

from typing import Any

import torch
from torch import Tensor

from vae_zoo import evidence, hmc, processes
from vae_zoo.distributions import Gaussian, LikelihoodFactory, PriorFactory, StandardNormal
from vae_zoo.errors import UserError, require, require_positive, require_share
from vae_zoo.models.adversarial import AlternatingModel, Turn
from vae_zoo.models.base import Evaluated, WithoutCodes, inference
from vae_zoo.models.decoding import DirectedImageModel
from vae_zoo.networks import ConvDecoder, DecoderFactory, Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory


class MCEM(AlternatingModel, DirectedImageModel, WithoutCodes):
    """Monte Carlo EM (Wei & Tanner 1990) with Hamiltonian Monte Carlo, as in Kingma & Welling 2014, appendix E.

    E: for each image z ~ p(z|x), by Hamiltonian moves along grad_z log p(z) + log p(x|z)
    M: a few steps of max log p(x|z) + log p(z), of the decoder

    There is no encoder. The paper does not say where chains begin; here they begin at a draw of the prior, since a
    batch has no memory, and make `moves` moves of `leapfrogs` steps, whose length is tuned to the acceptance. With too
    few moves to reach the posterior, the decoder is trained on codes that are too near to the prior.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of latent dimensions.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        prior: called with latent, shape and None, for there is no posterior, gives p(z).
        moves: of each chain, for a batch.
        leapfrogs: steps of a move; 10 is the paper's.
        acceptance: the mean probability with which a move is to be accepted; .9 is the paper's.
        updates: steps of the optimizer for a batch; 5 is the paper's.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if the decoder cannot make images of `shape`, or a number is out of range.
    """

    tiny = {name: value for name, value in DirectedImageModel.tiny.items() if name != "encoder"} | {"leapfrogs": 3}
    step_size: Tensor

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        prior: PriorFactory = StandardNormal,
        moves: int = 5,
        leapfrogs: int = 10,
        acceptance: float = 0.9,
        updates: int = 5,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        require(1, latent=latent, moves=moves, leapfrogs=leapfrogs, updates=updates)
        require_share(acceptance=acceptance)
        require_positive(lr=lr)
        self.prior = prior(latent, shape, None)
        self.likelihood = likelihood(decoder(latent, shape))
        self.moves, self.leapfrogs, self.acceptance, self.updates = moves, leapfrogs, acceptance, updates
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval
        self.register_buffer("step_size", torch.tensor(evidence.FIRST_STEP))

    def turns(self) -> list[Turn]:
        """One, of all parameters."""
        return [Turn(self.parameters(), self.optimizer, self.lr)]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Draw a code for each image, then take the updates."""
        x, _ = batch
        optimizer: Any = self.optimizers()
        z, probability = self._posterior_draws(x)
        step = hmc.adapted(self.step_size, processes.mean(probability.mean()), self.acceptance, rate=0.1)
        self.step_size.copy_(step)
        for update in range(self.updates):
            loss = -self.log_joint(x, z).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            if update < self.updates - 1:
                self.step_uncounted(optimizer)
        self.log_training(loss=loss, acceptance=probability, step_size=step)
        optimizer.step()

    @inference  # a likelihood with running statistics is to leave them alone
    def _posterior_draws(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, D) of images, and the mean probability with which each one's moves were accepted, (B,)."""
        joint, probabilities = self.joint(x), []
        density = joint.at(1.0)
        state = hmc.at(density, joint.draw())
        for _ in range(self.moves):
            state, probability = hmc.move(density, state, self.step_size, self.leapfrogs)
            probabilities.append(probability)
        return state.z, torch.stack(probabilities).mean(0)

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Measure images (B, C, H, W): -log p(x, z), which training lowers, of codes drawn as there; it is no bound."""
        x, y = self.checked(x, y)
        z, _ = self._posterior_draws(x)
        return Evaluated(figures={"loss": -self.log_joint(x, z)}, trace=None)

    def log_prob(
        self, x: Tensor, y: Tensor | None = None, *, samples: int = 100, temperatures: int = 100, chunk: int = 512
    ) -> Tensor:
        """Estimate log p(x) by annealed importance sampling, from below (Neal 2001; Wu et al. 2017).

        Args:
            x: images (B, C, H, W) in [0, 1].
            y: not used.
            samples: K, chains for each image; the bound tightens with K.
            temperatures: T, from the prior to the posterior; the bound tightens with T.
            chunk: images decoded at a time, though at least one for each of x.

        Returns:
            (B,) in nats, float64, on the CPU.

        Raises:
            UserError: if a number is less than 1.
        """
        return self.anneal(x, samples=samples, temperatures=temperatures, leapfrogs=self.leapfrogs, chunk=chunk)

    def features(self, x: Tensor) -> Tensor:
        """Refuse: there are no features.

        Raises:
            UserError: always.
        """
        raise UserError("MCEM has no encoder or discriminator, so it has no features")
