"""What was drawn for a batch: the codes, and the distributions that they came from."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

T = TypeVar("T")


class derived(Generic[T]):  # noqa: N801  a decorator, as `property` is
    """A property that is computed when it is first asked for, and kept.

    As `functools.cached_property`, but for the lock that Python 3.11 takes there, which `torch.compile` cannot trace.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function, self.__doc__ = function, function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "derived[T]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object, owner: type) -> Any:
        """Compute the value; the next look finds it in the instance."""
        if instance is None:
            return self
        value = instance.__dict__[self.function.__name__] = self.function(instance)
        return value


class Autoregressive(Distribution, ABC):
    """A distribution over (..., D) whose log-density is a sum over dimensions, each given others."""

    @abstractmethod
    def log_prob_per_dimension(self, value: Tensor) -> Tensor:
        """Return the summands of `log_prob`, (..., D)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, (...)."""
        return self.log_prob_per_dimension(value).sum(-1)


class Trace:
    """K codes z for each of B images, with q(z|x), p(z) and p(x|z). What is derived is computed when it is asked for.

    Codes are vectors of D numbers or, of a spatial code, maps; D below stands for either. All logarithms are in nats.

    Args:
        x: the images, (B, C, H, W), or sketches, (B, T, 5).
        y: their labels, (B,), if there are any.
        q: the posterior q(z|x), batch shape (B,).
        prior: p(z), or p(z|y) with the batch shape (B,).
        likelihood: called with codes and labels, gives p(x|z).
        samples: K, draws from q for each image.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None,
        q: Distribution,
        prior: Distribution,
        likelihood: Callable[[Tensor, Tensor | None], Distribution],
        samples: int = 1,
    ) -> None:
        self.x, self.y, self.q, self.prior, self.likelihood = x, y, q, prior, likelihood
        self.z = q.rsample(torch.Size([samples]))  # K B D

    def redraw(self, samples: int) -> "Trace":
        """Draw K = `samples` new codes for each image from the same distributions."""
        return Trace(self.x, self.y, self.q, self.prior, self.likelihood, samples)

    @derived
    def px(self) -> Distribution:
        """p(x|z), batch shape (K, B)."""
        return self.likelihood(self.z, self.y)

    @derived
    def log_px(self) -> Tensor:
        """Log p(x|z), (K, B)."""
        return self.px.log_prob(self.x)

    @derived
    def log_pz(self) -> Tensor:
        """Log p(z), (K, B)."""
        return self.prior.log_prob(self.z)

    @derived
    def log_qz(self) -> Tensor:
        """Log q(z|x), (K, B)."""
        return self.q.log_prob(self.z)

    @derived
    def log_w(self) -> Tensor:
        """The log importance weights log p(x|z) + log p(z) - log q(z|x), (K, B)."""
        return self.log_px + self.log_pz - self.log_qz

    @derived
    def kl_per_dimension(self) -> Tensor | None:
        """The summands of KL(q(z|x) || p(z)), one for each dimension, (B, D), for a diagonal normal prior; else None.

        Each is in closed form if q is a diagonal normal, too. For an autoregressive q it is the mean over the draws of
        the summands of log q - log p: their sum estimates the KL, but one by one they may be negative.
        """
        match self.q, self.prior:
            case Independent(base_dist=Normal() as q), Independent(base_dist=Normal() as prior):
                return _kl(q, prior).flatten(1)  # B D
            case Autoregressive() as q, Independent(base_dist=Normal() as prior):
                return (q.log_prob_per_dimension(self.z) - prior.log_prob(self.z)).mean(0)  # B D
        return None

    @derived
    def kl(self) -> Tensor:
        """KL(q(z|x) || p(z)), (B,): in closed form where there is one, else the mean of log q - log p."""
        if self.kl_per_dimension is None:
            return (self.log_qz - self.log_pz).mean(0)  # B
        return self.kl_per_dimension.sum(-1)  # B

    @derived
    def centre(self) -> Tensor:
        """The code that stands for an image, (B, D): the posterior's mean, of a flow its base's mean pushed through."""
        return self.q.mean

    @derived
    def x_hat(self) -> Tensor:
        """The images decoded from the centres, (B, C, H, W)."""
        return self.likelihood(self.centre, self.y).mean


def _kl(q: Normal, p: Normal) -> Tensor:
    """KL(N(m, s^2) || N(a, b^2)) = (s^2 / b^2 + (m - a)^2 / b^2 - 1) / 2 - log s / b, each number by itself."""
    log_ratio = q.scale.log() - p.scale.log()  # of s^2 / b^2 itself the log is -inf where s^2 is below 1e-38
    return ((2 * log_ratio).exp() + ((q.loc - p.loc) / p.scale).square() - 1) / 2 - log_ratio
