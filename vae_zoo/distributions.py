"""Conditionals: modules whose forward returns a distribution. All log-densities are sums in nats per image.

`Terms` of an image model are made of three of them: the posterior q(z|x), the prior p(z) and the likelihood p(x|z).
A likelihood owns its decoder and the activation at the decoder's end.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, kl_divergence

from vae_zoo.errors import UserError, require, require_positive


class Conditional(nn.Module, ABC):
    """A conditional distribution: called with what is given (a label last, and optional), returns a distribution."""

    def __call__(self, *given: Tensor | None) -> Distribution:
        """Return the distribution given these tensors."""
        return super().__call__(*given)

    @abstractmethod
    def forward(self, *given: Any, **names: Any) -> Distribution:
        """Make the distribution; finals name what they are given."""


def wide(x: Tensor) -> Tensor:
    """Return `x` in float32 or wider: log-densities of a thousand pixels have no place in 16 bits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normal(mean: Tensor, sigma: Tensor) -> Independent:
    """N(mean, diag(sigma^2)) over the last dimension. No argument checks: each would synchronise with the device."""
    return Independent(Normal(mean, sigma, validate_args=False), 1, validate_args=False)


class Autoregressive(Distribution, ABC):
    """A distribution over (..., D) whose log-density is a sum over dimensions, each given others."""

    @abstractmethod
    def log_prob_per_dimension(self, value: Tensor) -> Tensor:
        """Return the summands of `log_prob`, (..., D)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in nats, (...)."""
        return self.log_prob_per_dimension(value).sum(-1)


def kl_per_dimension(q: Distribution, p: Distribution, z: Tensor) -> Tensor | None:
    """The summands of KL(q || p), one for each dimension, (B, D), for a diagonal normal p; None for any other.

    Each in closed form if q is a diagonal normal, too. For an autoregressive q, the mean over its draws z (K, B, D) of
    the summands of log q - log p: their sum estimates the KL, but one by one they may be negative.
    """
    match q, p:
        case Independent(base_dist=Normal() as q_base), Independent(base_dist=Normal() as p_base):
            return kl_divergence(q_base, p_base)  # B D
        case Autoregressive(), Independent(base_dist=Normal() as p_base):
            return (q.log_prob_per_dimension(z) - p_base.log_prob(z)).mean(0)  # B D
    return None


class GaussianPosterior(Conditional):
    """q(z|x) = N(mu(x), diag(sigma(x)^2)): mu and log sigma^2 are the encoder's two halves (Kingma & Welling, eq. 9).

    Args:
        encoder: (B, C, H, W) -> (B, 2 D).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return q(z|x) with batch shape (B,) and event shape (D,)."""
        mean, log_variance = wide(self.encoder(x)).chunk(2, -1)  # B D, B D
        return normal(mean, (log_variance / 2).exp())


class Point(Distribution):
    """All mass at one point (..., D). It has draws and a mean, and no density."""

    def __init__(self, point: Tensor) -> None:
        super().__init__(point.shape[:-1], point.shape[-1:], validate_args=False)
        self._point = point

    @property
    def mean(self) -> Tensor:
        """The point, (..., D)."""
        return self._point

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Return the point, (*sample_shape, ..., D)."""
        return self._point.expand(*sample_shape, *self._point.shape)


class PointPosterior(Conditional):
    """The code of a deterministic encoder: z = f(x).

    Args:
        encoder: (B, C, H, W) -> (B, D).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return f(x) with batch shape (B,) and event shape (D,)."""
        return Point(wide(self.encoder(x)))


class StandardNormal(Conditional):
    """p(z) = N(0, I).

    Args:
        latent: D, the number of latent dimensions.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent), persistent=False)
        self.register_buffer("sigma", torch.ones(latent), persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        return normal(self.get_buffer("mean"), self.get_buffer("sigma"))


PriorFactory = Callable[[int], Conditional]


class GaussianMixture(Conditional):
    """p(z) = 1/M sum_m N(c_m, sigma^2 I): the centres c_m stand on a circle in the first two dimensions.

    Makhzani et al. 2015, section 2.3, in two dimensions; with more, the others are N(0, 1).

    Args:
        latent: D, at least 2.
        components: M.
        radius: of the circle.
        sigma: standard deviation of a component in the circle's two dimensions.

    Raises:
        UserError: if there is no such mixture.
    """

    def __init__(self, latent: int, components: int = 10, radius: float = 4.0, sigma: float = 0.5) -> None:
        super().__init__()
        require(2, latent=latent)
        require(1, components=components)
        require_positive(sigma=sigma)
        angles = torch.arange(components) * (2 * math.pi / components)
        centres, sigmas = torch.zeros(components, latent), torch.ones(components, latent)
        centres[:, 0], centres[:, 1], sigmas[:, :2] = radius * angles.cos(), radius * angles.sin(), sigma
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("sigmas", sigmas, persistent=False)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z) with event shape (D,)."""
        centres = self.get_buffer("centres")
        which = Categorical(logits=torch.zeros_like(centres[:, 0]), validate_args=False)
        return MixtureSameFamily(which, normal(centres, self.get_buffer("sigmas")), validate_args=False)


class Labelled(Conditional):
    """A conditional that is also given a label: the label's embedding is put beside what is given.

    Args:
        conditional: takes what is given with the embedding beside it, as further channels or numbers.
        labels: number of labels.
        size: of an embedding: (N,) to stand beside codes (..., D), or (C, H, W) to stand beside images.
    """

    def __init__(self, conditional: Conditional, labels: int, size: tuple[int, ...]) -> None:
        super().__init__()
        require(1, labels=labels)
        self.conditional, self.labels, self.size = conditional, labels, size
        self.embedding = nn.Embedding(labels, math.prod(size))

    def forward(self, given: Tensor, y: Tensor | None = None) -> Distribution:
        """Return the distribution given (..., B, *event) and the labels y (B,), whole numbers from 0."""
        if given.ndim <= len(self.size):
            raise UserError(f"images and codes come as a batch, got {tuple(given.shape)}; for one image, x[None]")
        if given.shape[1 - len(self.size) :] != torch.Size(self.size)[1:] and len(self.size) > 1:
            wanted, got = tuple(self.size[1:]), tuple(given.shape[1 - len(self.size) :])
            raise UserError(f"this model was built for images of {wanted} (height, width), got {got}; resize them")
        beside = self.embedding(check_labels(y, self.labels, given.shape[-len(self.size) - 1])).unflatten(-1, self.size)
        beside = beside.to(given.dtype).expand(*given.shape[: -len(self.size)], *self.size)
        return self.conditional(torch.cat([given, beside], -len(self.size)))


class LabelledNormal(Conditional):
    """p(z|y) = N(mu_y, diag(sigma_y^2)), a learned normal for each label (Sohn et al. 2015), N(0, I) at first.

    Args:
        latent: D.
        labels: number of labels.
    """

    def __init__(self, latent: int, labels: int) -> None:
        super().__init__()
        require(1, latent=latent, labels=labels)
        self.labels = labels
        self.embedding = nn.Embedding(labels, 2 * latent)
        nn.init.zeros_(self.embedding.weight)

    def forward(self, y: Tensor | None = None) -> Distribution:
        """Return p(z|y) with batch shape (B,) and event shape (D,)."""
        mean, log_variance = wide(self.embedding(check_labels(y, self.labels))).chunk(2, -1)  # B D, B D
        return normal(mean, (log_variance / 2).exp())


def check_labels(y: Tensor | None, labels: int, n: int | None = None) -> Tensor:
    """Return the labels (B,), or raise a UserError if there are none, not `n`, or others than 0 ... labels - 1."""
    if y is None:
        raise UserError("this model needs the labels y of the images, (B,) whole numbers, as the last argument")
    if not isinstance(y, Tensor) or y.dtype not in (torch.int64, torch.int32):
        raise UserError(
            f"labels y must be a tensor of whole numbers (int64), got {getattr(y, 'dtype', type(y).__name__)}"
        )
    if y.ndim != 1 or n not in (None, len(y)):
        wanted = "(B,)" if n is None else f"({n},), one for each image"
        raise UserError(f"labels y must have the shape {wanted}, got {tuple(y.shape)}")
    if y.device.type == "cpu" and y.numel() and not 0 <= int(y.min()) <= int(y.max()) < labels:
        # Elsewhere the check would synchronise with the device, which makes one of its own.
        raise UserError(f"labels y must lie in 0 ... {labels - 1}, got {int(y.min())} ... {int(y.max())}")
    return y


class Likelihood(Conditional):
    """p(x|z) of images with values in [0, 1]; finals are built around a decoder that ends without an activation.

    Attributes:
        decoder: (N, D) -> (N, C, H, W).
        discrete: True for a probability of the 256 pixel values, so that bits per dimension are defined.
        binary: True for a probability of black and white pixels, no density of grey ones.
    """

    decoder: nn.Module
    discrete: bool = False
    binary: bool = False

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """Return p(x|z) for codes (..., D): batch shape (...), event shape (C, H, W)."""
        out = self.decoder(z.flatten(0, -2))  # N C H W
        return self.distribution(wide(out).unflatten(0, z.shape[:-1]))  # ... C H W

    @abstractmethod
    def distribution(self, out: Tensor) -> Distribution:
        """Make the distribution over images from the decoder's output (..., C, H, W)."""


LikelihoodFactory = Callable[[nn.Module], Likelihood]


class Pixels(Distribution):
    """A distribution over whole images (..., C, H, W), independent pixels: `mean` is an image, `log_prob` is (...)."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__(mean.shape[:-3], mean.shape[-3:], validate_args=False)
        self._mean = mean

    @property
    def mean(self) -> Tensor:
        """E[x|z], (..., C, H, W), in [0, 1]."""
        return self._mean


class GaussianPixels(Pixels):
    """N(mean, sigma^2 I) with one sigma for all pixels: log p = -|x - mean|^2 / 2 sigma^2 - n log(sigma sqrt(2 pi))."""

    def __init__(self, mean: Tensor, log_sigma: Tensor) -> None:
        super().__init__(mean)
        self.log_sigma = log_sigma

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of images (..., C, H, W) in nats, (...)."""
        squares = (value - self._mean).square().sum((-3, -2, -1))  # ...
        constant = self._event_shape.numel() * (self.log_sigma + math.log(2 * math.pi) / 2)
        return -squares / 2 * (-2 * self.log_sigma).exp() - constant


class Gaussian(Likelihood):
    """N(x; sigmoid(decoder(z)), sigma^2 I) with a fixed sigma; sigma = 1 makes the loss half the squared error.

    Args:
        decoder: (N, D) -> (N, C, H, W), no activation at its end.
        sigma: standard deviation of a pixel, in units of the [0, 1] range.

    Raises:
        UserError: if sigma is not positive.
    """

    def __init__(self, decoder: nn.Module, sigma: float = 1.0) -> None:
        super().__init__()
        require_positive(sigma=sigma)
        self.decoder = decoder
        self.register_buffer("log_sigma", torch.tensor(math.log(sigma)), persistent=False)

    def distribution(self, out: Tensor) -> Distribution:
        """Make the Gaussian over images from the decoder's output."""
        return GaussianPixels(out.sigmoid(), self.get_buffer("log_sigma"))


class LearnedGaussian(Likelihood):
    """N(x; sigmoid(decoder(z)), sigma^2 I) with one sigma, a parameter of the model, shared by all pixels.

    Args:
        decoder: (N, D) -> (N, C, H, W), no activation at its end.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def distribution(self, out: Tensor) -> Distribution:
        """Make the Gaussian over images from the decoder's output."""
        return GaussianPixels(out.sigmoid(), wide(self.log_sigma))


class OptimalGaussian(Likelihood):
    """N(x; sigmoid(decoder(z)), sigma^2 I) with the sigma of maximum likelihood (Rybkin et al. 2021, sigma-VAE).

    sigma^2 = mean of (x - mean)^2 over draws, batch and pixels, in training computed from the batch at hand. In
    evaluation that would let the density look at the image that it scores, so there sigma^2 is the running mean over
    the last 100 or so training batches, a constant.

    Args:
        decoder: (N, D) -> (N, C, H, W), no activation at its end.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("variance", torch.ones(()))
        self.register_buffer("batches", torch.zeros(()))

    def distribution(self, out: Tensor) -> Distribution:
        """Make the Gaussian over images from the decoder's output."""
        if self.training:
            return _OptimalGaussianPixels(out.sigmoid(), self._track)
        return GaussianPixels(out.sigmoid(), self.get_buffer("variance").log() / 2)

    def _track(self, variance: Tensor) -> None:
        batches, running = self.get_buffer("batches"), self.get_buffer("variance")
        batches += 1
        running += (variance - running) / batches.clamp(max=100)


class _OptimalGaussianPixels(Pixels):
    """Gaussian pixels whose sigma is chosen when the images come."""

    def __init__(self, mean: Tensor, track: Callable[[Tensor], None]) -> None:
        super().__init__(mean)
        self._track = track

    def log_prob(self, value: Tensor) -> Tensor:
        # For the mean over draws the gradient through sigma is zero, here being at its optimum; weighted draws
        # would pull at a sigma that is none of theirs. At least a quarter of a grey level.
        variance = (value - self._mean).square().mean().clamp(min=1e-6).detach()
        self._track(variance)
        return GaussianPixels(self._mean, variance.log() / 2).log_prob(value)


class Bernoulli(Likelihood):
    """prod_i p_i^x_i (1 - p_i)^(1 - x_i), p = sigmoid(decoder(z)): a likelihood for binary pixels.

    Grey values between 0 and 1 are accepted; then this is the cross entropy and not a density of the image, and a
    test reports neither bound nor likelihood.

    Args:
        decoder: (N, D) -> (N, C, H, W), no activation at its end.
    """

    binary = True

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def distribution(self, out: Tensor) -> Distribution:
        """Make the Bernoulli over images from the decoder's output, the logits."""
        return Independent(BernoulliDistribution(logits=out, validate_args=False), 3, validate_args=False)


class DiscretisedLogistic(Likelihood):
    """A probability for each of the 256 values of a pixel: a logistic density summed over bins (Kingma et al. 2016).

    P(x|z) = F(x + 1/510) - F(x - 1/510), F(t) = sigmoid((t - mu) / s), mu = sigmoid(decoder(z)), x = 0, 1/255 ... 1;
    the end bins reach to minus and plus infinity, so the 256 values sum to one. The scale s is one learned parameter.

    Args:
        decoder: (N, D) -> (N, C, H, W), no activation at its end.
    """

    discrete = True

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder
        self.log_scale = nn.Parameter(torch.tensor(-2.0))  # a standard deviation of 0.25, like natural images'

    def distribution(self, out: Tensor) -> Distribution:
        """Make the discretised logistic over images from the decoder's output."""
        return DiscretisedLogisticPixels(out.sigmoid(), wide(self.log_scale))


class DiscretisedLogisticPixels(Pixels):
    """A logistic of location `centre` and one scale for all pixels, rounded to k/255 and clipped to [0, 1]."""

    def __init__(self, centre: Tensor, log_scale: Tensor) -> None:
        scale = log_scale.exp()
        # The mean of the clipped logistic: the integral of 1 - F over [0, 1].
        super().__init__(scale * (F.softplus(centre / scale) - F.softplus((centre - 1) / scale)))
        self.centre, self.scale = centre, scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of images (..., C, H, W) of values k/255, in nats, (...)."""
        above = F.logsigmoid((value + 1 / 510 - self.centre) / self.scale)  # log F(upper edge)
        below = F.logsigmoid(-(value - 1 / 510 - self.centre) / self.scale)  # log (1 - F(lower edge))
        # F(u) - F(l) = F(u) (1 - F(l)) (1 - exp((l - u) / s)): no difference of nearly equal numbers.
        inside = above + below + torch.log(-torch.expm1(-1 / 255 / self.scale))
        inside = torch.where(value < 0.5 / 255, above, inside)
        inside = torch.where(value > 254.5 / 255, below, inside)
        return inside.sum((-3, -2, -1))
