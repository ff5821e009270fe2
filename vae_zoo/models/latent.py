"""What models with codes share.

Autoencoder             encode, decode, reconstruct, interpolate, predict.
  ImageAutoencoder        decodes codes to the likelihood's mean.
    ReconstructionModel     is trained to reconstruct, and has no density.
  WithDensity             has log p(x), estimated by draws of the posterior.
    LatentVariableModel     is trained on an objective of what was drawn.
      EvidenceModel           of images, trained on the evidence lower bound, with a KL that may be weighted.
"""

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_zoo import objectives
from vae_zoo.conditional import Conditional
from vae_zoo.distributions import InitialisedPrior
from vae_zoo.errors import UserError, require
from vae_zoo.likelihoods import means_of
from vae_zoo.models.base import Evaluated, JointModel, WithoutDensity, inference
from vae_zoo.models.decoding import Directed, DirectedImageModel, TwoSided
from vae_zoo.objectives import Figures
from vae_zoo.results import NO_FIGURES
from vae_zoo.trace import Trace

# No objective may replace these, the model's own figures and what else stands in results.json.
OWN_FIGURES = {"loss", "elbo", "reconstruction", "kl", "mse", "mse_sampled", "nll"} | NO_FIGURES


class Autoencoder(Directed):
    """A model with codes. Concrete subclasses set the attributes, and say how they are trained.

    Codes are vectors of D numbers, (B, D), or maps, (B, C', H', W').

    Attributes:
        posterior: q(z|x), a point where the encoder is deterministic.
        samples: K, draws of z per image in training and validation.
    """

    posterior: Conditional
    samples: int = 1

    @abstractmethod
    def bounds(self, trace: Trace) -> dict[str, Tensor]:
        """Return the loss and the nats that it consists of, by name, (B,) each."""

    @abstractmethod
    def reconstruction_errors(self, trace: Trace) -> dict[str, Tensor]:
        """Return how far reconstructions are from x, by name, (B,) each; nothing where there is no such measure."""

    def trace(self, x: Tensor, y: Tensor | None = None, samples: int = 1) -> Trace:
        """Draw K = `samples` codes for each image (B, C, H, W); all that is trained or measured derives from them."""
        return Trace(x, y, self.posterior(x, y), self.prior(y), self.likelihood, samples)

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Measure images (B, C, H, W): the loss with its parts, and the reconstructions' errors."""
        x, y = self.checked(x, y)
        trace = self.trace(x, y, self.samples)
        return Evaluated(figures={**self.bounds(trace), **self.reconstruction_errors(trace)}, trace=trace)

    def setup(self, stage: str) -> None:
        """Show training images to a prior that begins with some; a checkpoint that is resumed then replaces them."""
        super().setup(stage)
        if stage == "fit" and isinstance(self.prior, InitialisedPrior) and not self.prior.initialised:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if data is None:
                raise UserError("the prior begins with training images; give trainer.fit a datamodule")
            x, _ = next(data.batches("train", self.prior.initial_images))
            self.prior.initialise(x.to(self.device))
            self.prior.initialised.fill_(True)

    @inference
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the posterior's centres (B, D) of images (B, C, H, W) in [0, 1]."""
        x, y = self.checked(x, y)
        return self.posterior(x, y).mean

    @inference
    def reconstruct(self, x: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the images (B, C, H, W) decoded from the centres of `x`; without a temperature nothing is random."""
        return self.decode(self.encode(x, y), y, temperature=temperature)

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
        (a, y), (b, _) = self.checked(a, y), self.checked(b, y)
        if len(a) != len(b):
            raise UserError(f"interpolate needs pairs, as many images b as a, got {len(b)} and {len(a)}")
        codes = spherical(self.encode(a, y), self.encode(b, y), torch.linspace(0, 1, steps, device=self.device))
        return self.decode(codes.transpose(0, 1).flatten(0, 1), None if y is None else y.repeat_interleave(steps))

    def features(self, x: Tensor) -> Tensor:
        """Return the codes (B, F) of images (B, C, H, W).

        Raises:
            UserError: if the encoder is given the label.
        """
        if self.labels:
            raise UserError(
                f"{type(self).__name__}'s encoder is given the label, so a classifier of its codes would say nothing"
            )
        return self.encode(x).flatten(1)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the codes (B, D)."""
        if batch_idx == 0:
            self.check_first(batch)
        x, y = batch
        return self.encode(x, y)


class ImageAutoencoder(TwoSided, DirectedImageModel, Autoencoder):
    """An autoencoder of images."""

    @property
    def sees(self) -> nn.Module:
        """The posterior, which owns the encoder."""
        return self.posterior

    @property
    def draws(self) -> nn.Module:
        """The likelihood, which owns the decoder."""
        return self.likelihood

    def see(self, x: Tensor, y: Tensor | None = None) -> None:
        """Encode images (B, C, H, W)."""
        self.posterior(x, y)

    def reconstruction_errors(self, trace: Trace) -> dict[str, Tensor]:
        """Return the mean squared error over pixels and channels, decoded from the centre and from the draws."""

        def error(x_hat: Tensor) -> Tensor:
            return (trace.x - x_hat).square().mean((-3, -2, -1))  # B

        # One draw at a time, so that the differences of all draws are never in memory at once.
        sampled = torch.stack([error(x_hat) for x_hat in means_of(trace.px)])  # K B
        return {"mse": error(trace.x_hat), "mse_sampled": sampled.mean(0)}


class ReconstructionModel(ImageAutoencoder, WithoutDensity):
    """A model trained to reconstruct: its loss is -log p(x|z), and nothing is paid for what a code tells."""

    def bounds(self, trace: Trace) -> dict[str, Tensor]:
        """Return -log p(x|z) as the loss."""
        log_px = trace.log_px.mean(0)  # B
        return {"loss": -log_px, "reconstruction": log_px}


class WithDensity(Autoencoder):
    """p(x, z) = p(z) p(x|z) with an approximate posterior q(z|x), which may be drawn from and has a density."""

    def evidence(self, trace: Trace) -> dict[str, Tensor]:
        """Return the evidence lower bound and its two parts, (B,) each, in nats."""
        return {"elbo": objectives.elbo(trace), "reconstruction": trace.log_px.mean(0), "kl": trace.kl}

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
        x, y = self.checked(x, y)
        step = max(1, chunk // max(1, len(x)))
        total = torch.full((len(x),), -math.inf, dtype=torch.float64)  # B; on the CPU: not all devices have float64
        trace = None
        for done in range(0, samples, step):
            k = min(step, samples - done)
            trace = trace.redraw(k) if trace else self.trace(x, y, k)
            total = torch.logaddexp(total, trace.log_w.cpu().double().logsumexp(0))
        return total - math.log(samples)


class LatentVariableModel(WithDensity, JointModel):
    """A model trained by one optimizer on an objective of what was drawn.

    The loss is minus the mean over the batch of the objective, one objective for training and validation. What is
    logged as elbo is the evidence lower bound whatever the objective is.
    """

    whole_step = "_loss"

    @abstractmethod
    def objective(self, trace: Trace) -> Tensor | tuple[Tensor, Figures]:
        """Reduce what was drawn to a bound (B,) in nats, whose mean over the batch training raises.

        Further figures may be returned with it, by name, (B,) each: they are logged in training and validation, and
        their means over the test images stand in results.json.
        """

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return minus the objective, averaged over the batch, in nats."""
        loss, trace, further = self._loss(*batch)
        self.log_training(loss=loss, reconstruction=trace.log_px, kl=lambda: trace.kl, **further)
        return loss

    def _loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Trace, Figures]:
        """All arithmetic of a training step."""
        trace = self.trace(x, y, self.samples)
        bound, further = self._reduce(trace)
        return -bound.mean(), trace, further

    def bounds(self, trace: Trace) -> dict[str, Tensor]:
        """Return the loss, the elbo with its two parts, and the objective's further figures."""
        bound, further = self._reduce(trace)
        return {"loss": -bound, **self.evidence(trace), **further}

    def _reduce(self, trace: Trace) -> tuple[Tensor, Figures]:
        """The objective's bound (B,), and its further figures."""
        reduced = self.objective(trace)
        bound, further = (reduced, {}) if isinstance(reduced, Tensor) else reduced
        if taken := further.keys() & OWN_FIGURES:
            raise UserError(f"objective: a further figure cannot be called {min(taken)!r}, which has another meaning")
        return bound, further


class EvidenceModel(ImageAutoencoder, LatentVariableModel):
    """A model trained on the evidence lower bound. The KL may be weighted; what is logged as elbo stays the bound.

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

    @abstractmethod  # nothing else is left for a concrete subclass to say, and this class is none
    def __init__(self) -> None:
        super().__init__()

    def objective(self, trace: Trace) -> Tensor:
        """Reduce what was drawn to the bound, or what beta, free bits and warm-up make of it, (B,) in nats."""
        if not (self.warmup and self.training and self._trainer):  # without a Trainer there are no epochs
            return objectives.weighted_elbo(trace, self.beta, self.free_bits, together=self.training)
        weight = ((self.epoch + 1) / (self.warmup + 1)).clamp(max=1)
        return objectives.weighted_elbo(trace, weight * self.beta, self.free_bits, together=True)


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate on the great circle, its radius from |a| to |b| (B, D).

    ((1 - t) |a| + t |b|) (sin((1 - t) w) a / |a| + sin(t w) b / |b|) / sin w, w the angle between a and b. White 2016
    leaves out the lengths, which are nearly equal in many dimensions; in few, the way between codes that are nearly
    opposite would lead a thousand times as far out. Straight where there is no circle, the two being parallel.

    Args:
        a: (B, D), or maps, at t = 0.
        b: likewise, at t = 1.
        t: (S,).

    Returns:
        (S, B, D).
    """
    ends = a.flatten(1), b.flatten(1)
    u, v = (F.normalize(end) for end in ends)  # B D
    # Near 0 and pi, too, where the cosine's rounding is most of the angle.
    angle = 2 * torch.atan2((u - v).norm(dim=1, keepdim=True), (u + v).norm(dim=1, keepdim=True))  # B 1
    t = t.to(a.dtype).view(-1, 1, 1)  # S 1 1
    start, stop = (end.norm(dim=1, keepdim=True) for end in ends)  # B 1
    length = torch.lerp(start, stop, t)  # S B 1
    straight = (sine := angle.sin()) < 1e-3
    circle = length * (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / sine.masked_fill(straight, 1)
    return torch.where(straight, torch.lerp(*ends, t), circle).unflatten(2, a.shape[1:])
