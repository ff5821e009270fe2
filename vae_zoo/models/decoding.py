"""What models with a prior and a decoder share, with or without an encoder: a latent space that one can walk in.

Decoding                decodes codes, and samples by decoding draws of the prior.
  Directed                p(x, z) = p(z) p(x|z).
    DirectedImageModel      decodes codes to the likelihood's mean.
  Staged                  makes pictures in stages.
  TwoSided                has a network that sees images and one that draws them.
"""

import functools
import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from vae_zoo.conditional import Conditional
from vae_zoo.distributions import Prior
from vae_zoo.errors import UserError, require
from vae_zoo.evidence import Joint, annealed, tuned
from vae_zoo.inputs import check_finite, check_floats
from vae_zoo.models.base import GenerativeModel, ImageModel, inference


class Decoding(GenerativeModel):
    """A model that makes x of a code z, whose prior p(z) is known. Concrete subclasses set the attribute.

    Codes are vectors of D numbers, (B, D), or maps, (B, C', H', W').

    Attributes:
        prior: p(z), whose draws `sample` decodes.
    """

    prior: Prior

    @abstractmethod
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the images (B, C, H, W) in [0, 1] that stand for codes (B, D)."""

    @inference
    def sample_prior(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draw `n` codes (n, D) from the prior p(z)."""
        require(1, n=n)
        y = None if y is None else self.checked_labels(y, n)
        prior = self.prior(y).expand(torch.Size([n]))
        # Of a normal distribution both draw the same numbers, but sample waits for a GPU to look at sigma.
        return prior.rsample() if prior.has_rsample else prior.sample()

    @inference
    def sample(self, n: int, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Draw codes from the prior and decode them, (n, C, H, W) in [0, 1].

        Args:
            n: how many.
            y: labels (n,), for a model that takes them; by default they are drawn uniformly.
            temperature: for a model that has one; by default 1, the model's own.
        """
        z, y = self._drawn(n, y)
        if temperature is None and self.has_temperature:
            temperature = 1.0
        return self.decode(z, y, temperature=temperature)

    def _drawn(self, n: int, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`n` codes of the prior, and labels, drawn uniformly where there are some and none are given."""
        require(1, n=n)
        if self.labels and y is None:
            y = torch.randint(self.labels, (n,), device=self.device)
        return self.sample_prior(n, y), y

    @inference
    def cdf(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return for each number of codes (B, D) the prior's probability of a smaller one, in [0, 1]."""
        return self._each(y).cdf(z)

    @inference
    def icdf(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes (B, D) that have these probabilities: the prior's quantiles."""
        return self._each(y).icdf(u)

    def _each(self, y: Tensor | None) -> Independent:
        """The prior of each number of a code by itself.

        Raises:
            UserError: if the prior is none of numbers that are independent, or a label is missing.
        """
        prior = self.prior(self.checked_labels(y, 1 if y is None else len(y)))
        if not isinstance(prior, Independent):
            raise UserError(f"{type(self.prior).__name__} has no quantiles by dimension; StandardNormal has")
        return prior.base_dist

    def checked_codes(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return codes from outside, and their labels, as the model computes with them, see `checked`.

        Raises:
            UserError: if these are no codes of the model's, or labels are missing or none of the model's.
        """
        shape = self.code_shape
        check_floats("codes", z, f"(B, {', '.join(map(str, shape))})", 1 + len(shape))
        if z.shape[1:] != shape:
            raise UserError(f"codes must be (B, {', '.join(map(str, shape))}) for this model, got {tuple(z.shape)}")
        if self.is_outside:
            check_finite("codes", z)
        return z.to(next(self.parameters())), self.checked_labels(y, z.shape[0])  # len(z) could not be exported

    @functools.cached_property
    def code_shape(self) -> torch.Size:
        """The shape of a code: (D,), or of maps (C', H', W')."""
        y = torch.zeros(1, dtype=torch.int64, device=self.device) if self.labels else None
        return self.prior(y).event_shape


class Directed(Decoding):
    """A directed model p(x, z) = p(z) p(x|z). Concrete subclasses set the attributes.

    Attributes:
        likelihood: p(x|z), whose mean is what a code is decoded to.
    """

    likelihood: Conditional

    def log_joint(self, x: Tensor, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return log p(x, z) = log p(z) + log p(x|z) in nats, (...), of images (B, C, H, W) and codes (..., B, D)."""
        return self.prior(y).log_prob(z) + self.likelihood(z, y).log_prob(x)

    def joint(self, x: Tensor, y: Tensor | None = None, *, chains: int = 1) -> Joint:
        """Return p(x, z) as a function of z, of K = `chains` codes for each image, (K B, D), one set after another."""
        with torch.inference_mode(False):  # in which a Trainer validates, and there are no gradients
            x = x.repeat(chains, *[1] * (x.ndim - 1))  # K B C H W
            y = None if y is None else y.repeat(chains)
        return Joint(
            draw=lambda: self.sample_prior(len(x), y),
            log_prior=lambda z: self.prior(y).log_prob(z),
            log_likelihood=lambda z: self.likelihood(z, y).log_prob(x),
        )

    @inference
    def anneal(
        self,
        x: Tensor,
        y: Tensor | None = None,
        *,
        samples: int = 100,
        temperatures: int = 100,
        leapfrogs: int = 10,
        chunk: int = 512,
    ) -> Tensor:
        """Estimate log p(x), from below, by annealed importance sampling, which needs no encoder (Neal 2001).

        log 1/K sum_k w_k of chains from the prior to the posterior, see `vae_zoo.evidence.annealed`. It takes T (L + 1)
        gradients of the decoder for each of the K chains, and for one more, by which the steps are chosen.

        Args:
            x: images (B, C, H, W) in [0, 1].
            y: labels (B,), for a model that takes them.
            samples: K, chains for each image; the bound tightens with K.
            temperatures: T, between prior and posterior; the bound tightens with T.
            leapfrogs: L, steps of the move at each temperature.
            chunk: chains at a time, though at least one for each of x; memory does not depend on K.

        Returns:
            (B,) in nats, float64, on the CPU.

        Raises:
            UserError: if a number is less than 1.
        """
        require(1, samples=samples, temperatures=temperatures, leapfrogs=leapfrogs, chunk=chunk)
        x, y = self.checked(x, y)
        each = max(1, chunk // max(1, len(x)))
        steps = tuned(self.joint(x, y), temperatures, leapfrogs)
        total = torch.full((len(x),), -math.inf, dtype=torch.float64)  # B
        for done in range(0, samples, each):
            joint = self.joint(x, y, chains=min(each, samples - done))
            log_w = annealed(joint, joint.draw(), steps, leapfrogs).view(-1, len(x))  # K B
            total = torch.logaddexp(total, log_w.logsumexp(0))
        return total - math.log(samples)


class DirectedImageModel(ImageModel, Directed):
    """A directed model of images."""

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Return the likelihood's mean, (B, C, H, W) in [0, 1], for codes (B, D)."""
        self.refuse_temperature(temperature)
        z, y = self.checked_codes(z, y)
        return self.likelihood(z, y).mean


class Staged(Decoding):
    """A model that makes pictures in stages, each from the one before."""

    @abstractmethod
    def decode_stages(
        self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None
    ) -> tuple[Tensor, ...]:
        """Return what each stage makes of codes (B, D), at last what `decode` returns, (B, C, H, W) in [0, 1] each."""

    @inference
    def sample_stages(self, n: int, y: Tensor | None = None) -> tuple[Tensor, ...]:
        """Draw codes from the prior, as `sample` does, and return what each stage makes of them, (n, C, H, W) each."""
        return self.decode_stages(*self._drawn(n, y))


class Described(GenerativeModel):
    """A model whose labels stand for texts, which may be others than those it was trained on."""

    @abstractmethod
    def describe(self, texts: Sequence[str]) -> None:
        """Let the labels 0, 1 ... stand for these texts instead."""


class TwoSided(ImageModel, Decoding):
    """A model of images with a network that sees them and one that draws them: one may look at the filters of both."""

    @property
    @abstractmethod
    def sees(self) -> nn.Module:
        """The network that is given images: an encoder, or a discriminator."""

    @property
    @abstractmethod
    def draws(self) -> nn.Module:
        """The network that `decode` makes images by: a decoder, or a generator."""

    @abstractmethod
    def see(self, x: Tensor, y: Tensor | None = None) -> None:
        """Run the network that sees on images (B, C, H, W) in [0, 1], with gradients, for hooks in it."""
