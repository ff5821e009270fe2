"""The workflow that all models share. Each step is written once, here; a model's own file holds only its mathematics.

GenerativeModel       can `sample`; is measured, in validation and test; a checkpoint says how to build it again.
  Alternating         is trained by turns, with an optimizer for each.
  SketchModel         draws sketches in place of images.
  Autoencoder         also has codes: encode, decode, reconstruct, predict.
    LatentVariableModel   also has densities: terms, an objective, log_prob.
      EvidenceModel       whose objective is the evidence lower bound, with a KL that may be weighted.
"""

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypedDict, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Adam, Optimizer

from vae_zoo import drawing, objectives
from vae_zoo.distributions import Conditional, kl_per_dimension
from vae_zoo.errors import UserError, require
from vae_zoo.objectives import Terms


class Measured(TypedDict):
    """What one evaluation batch gave: callbacks receive it from `validation_step` and `test_step`.

    Attributes:
        per_image: by name, one number for each image, (B,): loss, mse, elbo ... in nats, mse in squared pixel units.
        codes: the posteriors' centres, (B, D).
        draws: one draw from each posterior, (B, D): all together, the codes that the decoder was trained on.
        kl: the summands of KL(q(z|x) || p(z)), one for each latent dimension, (B, D).
        x_hat: the images decoded from the codes, (B, C, H, W).

    What a model does not have is None.
    """

    per_image: dict[str, Tensor]
    codes: Tensor | None
    draws: Tensor | None
    kl: Tensor | None
    x_hat: Tensor | None


P = ParamSpec("P")
R = TypeVar("R")


def inference(method: Callable[P, R]) -> Callable[P, R]:
    """Run a model's method in evaluation mode and without gradients, then put each module's mode back."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            with torch.no_grad():
                return method(*args, **kwargs)
        finally:
            for module in training:
                module.training = True

    return wrapper


class GenerativeModel(LightningModule, ABC):
    """A LightningModule that can draw images. Finals call `save_hyperparameters()`; checkpoints then load safely.

    Attributes:
        monitor: the figure that is lowest at the best checkpoint; None if no figure says which is best.
    """

    monitor: str | None = "val/loss"

    def on_train_start(self) -> None:
        """Remember the seed that the run was started with."""
        self._seed = torch.initial_seed()

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Seed the noise of an epoch by the run's seed, the epoch and the process, and by nothing that came before.

        A run that was cut off then goes on from the last epoch's checkpoint to the very same numbers, on any device,
        and each of several processes, which Lightning gives one seed, draws noise of its own.
        """
        if batch_idx == 0:  # a resumed run has no on_train_epoch_start
            key = (self._seed % 2**64, self.trainer.current_epoch, self.trainer.global_rank)
            torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))

    @abstractmethod
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw `n` images, (n, C, H, W) in [0, 1]; `y`, (n,), are labels, for a model that takes them."""

    def measure(self, x: Tensor, y: Tensor | None = None) -> Measured:
        """Evaluate images (B, C, H, W) in [0, 1]; a model that can only sample has no figures."""
        return Measured(per_image={}, codes=None, draws=None, kl=None, x_hat=None)

    def pictures(self, x: Tensor) -> Tensor:
        """Return what one looks at, (B, C, H, W) in [0, 1]: an image is its own picture."""
        return x

    def svg(self, rows: Sequence[Tensor]) -> str:
        """Return rows of what the model makes as an SVG document.

        Raises:
            UserError: if that is pixels.
        """
        raise UserError(f"{type(self).__name__} makes pixels, which an .svg has no use for; write a .png")

    def features(self, x: Tensor) -> Tensor:
        """Return the numbers (B, F) by which a linear classifier may tell images (B, C, H, W) apart.

        Raises:
            UserError: if the model has none.
        """
        raise UserError(f"{type(self).__name__} has no encoder or discriminator, so it has no features")

    def log_prob(self, x: Tensor, y: Tensor | None = None, *, samples: int = 100) -> Tensor:
        """Estimate log p(x) in nats, (B,), of images (B, C, H, W).

        Raises:
            UserError: if the model has no density.
        """
        raise UserError(
            f"{type(self).__name__} has no density, so no log p(x); a latent-variable model such as VAE has one"
        )

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Measured:
        """Log the batch's mean of each measure as val/NAME, weighted by the number of images."""
        return self._evaluation_step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Measured:
        """Log the batch's mean of each measure as test/NAME, weighted by the number of images."""
        return self._evaluation_step(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the codes (B, D).

        Raises:
            UserError: if the model has none.
        """
        raise UserError(f"{type(self).__name__} has no encoder, so there are no codes to predict")

    def log_training(self, **values: Tensor) -> None:
        """Log the means as train/NAME, at those steps whose values reach a logger; elsewhere the call costs nothing."""
        trainer: Any = self._trainer  # None for a model that is not being trained
        every = trainer.log_every_n_steps if trainer else 0  # 0 is never
        if every and (trainer.global_step + 1) % every == 0:
            self.log_dict({f"train/{name}": value.detach().mean() for name, value in values.items()})

    def _evaluation_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Measured:
        x, y = batch
        measured = self.measure(x, y)
        for name, value in measured["per_image"].items():
            shown = stage == "val" and name in ("loss", "mse")
            self.log(f"{stage}/{name}", value.mean(), batch_size=len(x), prog_bar=shown, sync_dist=True)
        return measured

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the hyper-parameters as plain values, so that the file loads under ``weights_only=True``.

        Raises:
            UserError: if an argument of the model is an object that plain values cannot describe.
        """
        given = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        # Lightning has dropped what cannot be pickled: without it the model would be built anew with the default.
        dropped = [name for name in inspect.signature(type(self)).parameters if name not in given]
        if dropped:
            raise UserError(_UNSPEAKABLE.format(dropped[0], "a function or an object"))
        plain = {name: _plain(name, value) for name, value in given.items()}
        # As Lightning's command line writes them, so both kinds of checkpoint load by one path.
        plain.setdefault("_class_path", f"{type(self).__module__}.{type(self).__qualname__}")
        plain.setdefault("_instantiator", "lightning.pytorch.cli.instantiate_module")
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = plain


class Autoencoder(GenerativeModel):
    """A model with codes. Finals set the attributes, and say how they are trained.

    Attributes:
        posterior: q(z|x), a point where the encoder is deterministic.
        prior: p(z), whose draws `sample` decodes.
        likelihood: p(x|z), whose mean is the reconstruction.
        lr: Adam's learning rate.
    """

    posterior: Conditional
    prior: Conditional
    likelihood: Conditional
    lr: float

    @abstractmethod
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        """Return the loss, averaged over the batch, in nats; None where the model steps its optimizers itself."""

    def measure(self, x: Tensor, y: Tensor | None = None) -> Measured:
        """Evaluate images (B, C, H, W): -log p(x|z) as the loss, squared error from the code's centre and a draw."""
        q = self.posterior(x, y)
        z = q.rsample(torch.Size([1]))  # 1 B D
        px = self.likelihood(z, y)
        log_px = px.log_prob(x).squeeze(0)  # B
        errors, x_hat = self.errors(x, self.likelihood(q.mean, y), px)
        per_image = {"loss": -log_px, "reconstruction": log_px, **errors}
        return Measured(per_image=per_image, codes=q.mean, draws=z[0], kl=None, x_hat=x_hat)

    def errors(self, x: Tensor, centre: Distribution, drawn: Distribution) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return how far reconstructions are from x (B, C, H, W), by name, (B,) each, and the reconstructions.

        Args:
            x: the images.
            centre: p(x|z) at the posteriors' centres, batch shape (B,).
            drawn: p(x|z) at draws from them, batch shape (K, B).
        """
        errors = {"mse": squared_error(x, centre.mean), "mse_sampled": squared_error(x, drawn.mean).mean(0)}
        return errors, centre.mean

    @inference
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior's centres (B, D) of images (B, C, H, W) in [0, 1]."""
        return self.posterior(x, y).mean

    @inference
    def sample_prior(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw `n` codes (n, D) from the prior p(z)."""
        require(1, n=n)
        return self.prior(y).expand(torch.Size([n])).sample()

    @inference
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw codes from the prior and return the likelihood's means, (n, C, H, W) in [0, 1]."""
        return self.decode(self.sample_prior(n, y), y)

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the likelihood's mean, (B, C, H, W) in [0, 1], for codes (B, D)."""
        return self.likelihood(z, y).mean

    @inference
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the images (B, C, H, W) decoded from the codes of `x`, nothing drawn at random."""
        return self.decode(self.encode(x, y), y)

    @inference
    def interpolate(self, a: Tensor, b: Tensor, y: Tensor | None = None, *, steps: int = 8) -> Tensor:
        """Decode codes on the great circle from those of `a` to those of `b` (White 2016), nothing drawn at random.

        Args:
            a: images (B, C, H, W) in [0, 1].
            b: as many others.
            y: labels (B,) of each pair, for a model that takes them.
            steps: S, at least 2; the first are the reconstructions of `a`, the last those of `b`.

        Returns:
            images (B S, C, H, W), the steps of a pair one after the other.
        """
        require(2, steps=steps)
        codes = spherical(self.encode(a, y), self.encode(b, y), torch.linspace(0, 1, steps, device=self.device))
        return self.decode(codes.transpose(0, 1).flatten(0, 1), None if y is None else y.repeat_interleave(steps))

    def features(self, x: Tensor) -> Tensor:
        """Return the codes (B, D) of images (B, C, H, W)."""
        return self.encode(x)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the codes (B, D)."""
        x, y = batch
        return self.encode(x, y)

    def configure_optimizers(self) -> Optimizer | list[Optimizer]:
        """Fused Adam with the other settings at their defaults (Kingma & Ba 2015)."""
        return Adam(self.parameters(), lr=self.lr, fused=True)


class LatentVariableModel(Autoencoder):
    """p(x, z) = p(z) p(x|z) with an approximate posterior q(z|x). Finals set K, too.

    The loss is minus the mean over the batch of `objective(terms)`, one objective for training and validation. What is
    logged as elbo is the evidence lower bound whatever the objective is.

    Attributes:
        samples: K, draws of z per image in training and validation.
    """

    samples: int

    @abstractmethod
    def objective(self, terms: Terms) -> Tensor:
        """Reduce the terms to a bound (B,) in nats; its mean over the batch is what training raises."""

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int = 1) -> Terms:
        """Draw K = `samples` codes for each image (B, C, H, W) and return the log-terms, each (K, B) in nats."""
        q = self.posterior(x, y)
        return self._score(x, y, q, q.rsample(torch.Size([samples])))[0]

    def _score(self, x: Tensor, y: Tensor | None, q: Distribution, z: Tensor) -> tuple[Terms, Distribution]:
        """Return the log-terms of codes z (K, B, D) drawn from q, and the likelihood p(x|z) that they give."""
        prior = self.prior(y)
        px = self.likelihood(z, y)
        return Terms(px.log_prob(x), prior.log_prob(z), q.log_prob(z), kl_per_dimension(q, prior, z)), px

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return minus the objective, averaged over the batch, in nats."""
        x, y = batch
        terms = self.terms(x, y, self.samples)
        loss = -self.objective(terms).mean()
        self.log_training(loss=loss, reconstruction=terms.log_px, kl=objectives.kl(terms))
        return loss

    def measure(self, x: Tensor, y: Tensor | None = None) -> Measured:
        """Evaluate images: loss, elbo, its two parts, squared error from the posterior's centre and from its draws."""
        q = self.posterior(x, y)
        z = q.rsample(torch.Size([self.samples]))  # K B D
        terms, px = self._score(x, y, q, z)
        errors, x_hat = self.errors(x, self.likelihood(q.mean, y), px)
        per_image = {
            "loss": -self.objective(terms),
            "elbo": objectives.elbo(terms),
            "reconstruction": terms.log_px.mean(0),
            "kl": objectives.kl(terms),
            **errors,
        }
        return Measured(per_image=per_image, codes=q.mean, draws=z[0], kl=terms.kl, x_hat=x_hat)

    @inference
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, samples: int = 100, chunk: int = 512) -> Tensor:
        """Estimate log p(x) by importance sampling, from below: the bound of Burda et al. 2016, eq. 8.

        Args:
            x: images (B, C, H, W) in [0, 1].
            y: labels (B,), for a model that takes them.
            samples: K, draws of z per image; the bound tightens with K.
            chunk: images decoded at a time, though at least one for each of x; memory does not depend on K.

        Returns:
            (B,) in nats, float64, on the CPU.

        Raises:
            UserError: if `samples` or `chunk` is less than 1, or the number of samples is given as the labels.
        """
        if isinstance(y, (int, float)):
            raise UserError(f"y are labels, (B,), got {y}; the number of samples has a name: log_prob(x, samples={y})")
        require(1, samples=samples, chunk=chunk)
        q = self.posterior(x, y)
        step = max(1, chunk // max(1, len(x)))
        total = torch.full((len(x),), -math.inf, dtype=torch.float64)  # B; on the CPU: not all devices have float64
        for done in range(0, samples, step):
            z = q.rsample(torch.Size([min(step, samples - done)]))  # k B D
            log_w = self._score(x, y, q, z)[0].log_w  # k B
            total = torch.logaddexp(total, log_w.cpu().double().logsumexp(0))
        return total - math.log(samples)


class EvidenceModel(LatentVariableModel):
    """A model trained on the evidence lower bound. Finals may weight the KL; what is logged as elbo stays the bound.

    Attributes:
        beta: weight of the KL, in training and validation; 1 is the bound.
        free_bits: nats per latent dimension that the KL may have for nothing; 0 is the bound. They are of a batch's
            mean, so a loss with free bits depends on the size of the batch.
        warmup: epochs of training in which the weight of the KL rises, in equal steps, to beta. A validation loss is
            at full weight, so that those of two epochs can be compared.
    """

    beta: float
    free_bits: float
    warmup: int

    @abstractmethod  # nothing else is left for finals to say, and this class is none
    def __init__(self) -> None:
        super().__init__()

    def objective(self, terms: Terms) -> Tensor:
        """Reduce the terms to the bound, or what beta, free bits and warm-up make of it, (B,) in nats."""
        warming = self.training and self._trainer is not None  # without a Trainer there are no epochs
        weight = min(1.0, (self.current_epoch + 1) / (self.warmup + 1)) if warming else 1.0
        return objectives.weighted_elbo(terms, weight * self.beta, self.free_bits)


class SketchModel(GenerativeModel, ABC):
    """A model of sketches (B, T, 5), see `vae_zoo.strokes`.

    Attributes:
        lr: Adam's learning rate.
    """

    lr: float

    def configure_optimizers(self) -> Optimizer:
        """Adam, not fused: under bf16-mixed Lightning clips no gradients of a fused one."""
        return Adam(self.parameters(), lr=self.lr)

    def pictures(self, x: Tensor) -> Tensor:
        """Draw sketches (B, T, 5) in black on white, (B, 1, 64, 64) in [0, 1]."""
        return drawing.rasterise(x).to(x.device)

    def svg(self, rows: Sequence[Tensor]) -> str:
        """Draw rows of sketches, (B, T, 5) each, as an SVG document."""
        return drawing.svg(rows)


class Alternating(GenerativeModel):
    """A model whose parts are trained by turns. Finals set ``automatic_optimization = False``."""

    def setup(self, stage: str) -> None:
        """Tell DistributedDataParallel that a turn gives gradients to some parameters only; it stops otherwise.

        Raises:
            UserError: if the precision is 16-mixed, whose scale of gradients changes between two turns.
        """
        if self.trainer.precision == "16-mixed":
            raise UserError("trainer.precision 16-mixed: a model trained by turns has bf16-mixed, or 32-true")
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def step_uncounted(self, optimizer: LightningOptimizer) -> None:
        """Step without moving the Trainer's `global_step`, which counts batches if each moves it once.

        Args:
            optimizer: one of `self.optimizers()`.
        """
        self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean over pixels and channels of (x - x_hat)^2, (B,), for images (B, C, H, W)."""
    return (x - x_hat).square().mean((-3, -2, -1))


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate on the great circle: (sin((1 - t) w) a + sin(t w) b) / sin w, w the angle between a and b (B, D).

    Straight where there is no circle, the two being parallel.

    Args:
        a: (B, D), at t = 0.
        b: (B, D), at t = 1.
        t: (S,).

    Returns:
        (S, B, D).
    """
    angle = F.cosine_similarity(a, b, -1).clamp(-1, 1).acos()[:, None]  # B 1
    t = t.to(a.dtype)[:, None, None]  # S 1 1
    straight = angle.sin().abs() < 1e-4
    safe = torch.where(straight, torch.ones_like(angle), angle)
    left, right = (torch.where(straight, share, (share * safe).sin() / safe.sin()) for share in (1 - t, t))  # S B 1
    return left * a + right * b


_UNSPEAKABLE = (
    "argument {!r} is {}, which a checkpoint cannot hold; give a class, or functools.partial(Class, name=value)"
)


def _plain(name: str, value: Any) -> Any:
    """Describe a hyper-parameter by plain values, a factory as the command line does: class_path and init_args."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(name, item) for item in value)
    if isinstance(value, Mapping):
        return {key: _plain(name, item) for key, item in value.items()}
    if isinstance(value, type):
        return {"class_path": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, functools.partial) and isinstance(value.func, type) and not value.args:
        return _plain(name, value.func) | {"init_args": _plain(name, value.keywords)}
    raise UserError(_UNSPEAKABLE.format(name, repr(value)))
