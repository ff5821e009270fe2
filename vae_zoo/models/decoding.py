"""What models with a prior and a decoder share, with or without an encoder: a latent space that one can walk in."""

import functools
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from vae_zoo.distributions import Prior
from vae_zoo.errors import UserError, require
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
