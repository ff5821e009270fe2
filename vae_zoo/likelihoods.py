"""Likelihoods p(x|z) of images. Each owns its decoder and the activation at the decoder's end."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.utils.checkpoint import checkpoint

from vae_zoo import processes
from vae_zoo.conditional import Conditional, at_least_float32
from vae_zoo.errors import require_positive
from vae_zoo.softplus import softplus

__all__ = ["Bernoulli", "DiscretisedLogistic", "Gaussian", "LearnedGaussian", "Likelihood", "LikelihoodFactory"]
__all__ += ["OptimalGaussian"]


class Likelihood(Conditional):
    """p(x|z) of images with values in [0, 1], built around a decoder that ends without an activation.

    Attributes:
        decoder: (N, D) -> (N, C, H, W).
        code_dims: dimensions of a code: 1, or 3 where it consists of maps (C', H', W').
        chunk: of K draws for each image, how many to decode at a time, see `InChunks`; None is all.
    """

    decoder: nn.Module
    code_dims: int = 1
    chunk: int | None = None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """Return p(x|z) for codes (..., D): batch shape (...), event shape (C, H, W)."""
        if self.chunk and z.ndim - self.code_dims == 2 and len(z) > self.chunk:
            return InChunks(self, z.split(self.chunk))
        return self.distribution(self.decode(z))

    def decode(self, z: Tensor) -> Tensor:
        """Return the decoder's output (..., C, H, W) for codes (..., D)."""
        batch = z.shape[: -self.code_dims]
        out = self.decoder(z.flatten(0, len(batch) - 1))  # N C H W
        return at_least_float32(out).unflatten(0, batch)  # ... C H W

    @abstractmethod
    def distribution(self, out: Tensor) -> Distribution:
        """Make the distribution over images from the decoder's output (..., C, H, W)."""

    def score(self, z: Tensor, x: Tensor) -> Tensor:
        """Return what log p(x|z) is made of, (K, B), for images (B, C, H, W) and codes (K, B, D)."""
        return self.distribution(self.decode(z)).log_prob(x)

    def from_scores(self, scores: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, (K, B), from the scores of all draws."""
        return scores


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


class InChunks(Pixels):
    """p(x|z) of K draws for each image, decoded a chunk of draws at a time.

    For its gradient a chunk is decoded anew, so that the layers' outputs of only one have to be kept, whatever K is.
    """

    def __init__(self, likelihood: Likelihood, parts: Sequence[Tensor]) -> None:
        Distribution.__init__(self, torch.Size([sum(map(len, parts)), parts[0].shape[1]]), validate_args=False)
        self.likelihood, self.parts = likelihood, parts

    @property
    def mean(self) -> Tensor:
        """E[x|z], (K, B, C, H, W), in [0, 1]."""
        return torch.stack([*self.means()])

    def means(self) -> Iterator[Tensor]:
        """Yield E[x|z] of one draw after another, (B, C, H, W) each."""
        for part in self.parts:
            yield from self.likelihood.distribution(self.likelihood.decode(part)).mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of images (B, C, H, W) in nats, (K, B)."""
        scores = [checkpoint(self.likelihood.score, part, value, use_reentrant=False) for part in self.parts]
        return self.likelihood.from_scores(torch.cat(scores), value)


def means_of(px: Distribution) -> Iterable[Tensor]:
    """Return E[x|z] of each of K draws, (B, C, H, W): not all at once where they are not decoded all at once."""
    return px.means() if isinstance(px, InChunks) else px.mean


def sigma_of(px: Distribution) -> Tensor | None:
    """Return the standard deviation that all pixels share, (); None where p(x|z) is not such a Gaussian."""
    if isinstance(px, InChunks):
        px = px.likelihood.distribution(px.likelihood.decode(px.parts[0][:1]))
    return px.log_sigma.exp() if isinstance(px, GaussianPixels) else None


class GaussianPixels(Pixels):
    """N(mean, sigma^2 I) with one sigma for all pixels: log p = -|x - mean|^2 / 2 sigma^2 - n log(sigma sqrt(2 pi))."""

    def __init__(self, mean: Tensor, log_sigma: Tensor) -> None:
        super().__init__(mean)
        self.log_sigma = log_sigma

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of images (..., C, H, W) in nats, (...)."""
        return _gaussian(_squares(value, self._mean), self.log_sigma, self._event_shape.numel())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw images (*sample_shape, ..., C, H, W); a pixel may lie outside of [0, 1]."""
        mean = self._mean.expand(self._extended_shape(sample_shape))
        return mean + self.log_sigma.exp() * torch.randn_like(mean)


def _squares(x: Tensor, mean: Tensor) -> Tensor:
    """|x - mean|^2, (...)."""
    return (x - mean).square().sum((-3, -2, -1))


def _gaussian(squares: Tensor, log_sigma: Tensor, n: int) -> Tensor:
    """The log-density of n pixels in nats, (...)."""
    return -squares / 2 * (-2 * log_sigma).exp() - n * (log_sigma + math.log(2 * math.pi) / 2)


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
        return GaussianPixels(out.sigmoid(), at_least_float32(self.log_sigma))


class OptimalGaussian(Likelihood):
    """N(x; sigmoid(decoder(z)), sigma^2 I) with the sigma of maximum likelihood (Rybkin et al. 2021, sigma-VAE).

    sigma^2 = mean of (x - mean)^2 over draws, batch and pixels, in training computed from the batch at hand, of all
    processes. In evaluation that would let the density look at the image that it scores, so there sigma^2 is the
    running mean over its last 100 or so values in training, a constant. The gradient takes sigma as fixed: of the ELBO
    that is the whole gradient, since sigma is at its optimum; of the importance-weighted bound it is not, since the
    best sigma of the weighted draws is another one.

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
            return _OptimalGaussianPixels(out.sigmoid(), self)
        return GaussianPixels(out.sigmoid(), self.get_buffer("variance").log() / 2)

    def score(self, z: Tensor, x: Tensor) -> Tensor:
        """Return |x - mean|^2 in training, since sigma is that of all draws; else log p(x|z), (K, B)."""
        return _squares(x, self.decode(z).sigmoid()) if self.training else super().score(z, x)

    def from_scores(self, scores: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, (K, B), from the scores of all draws."""
        if not self.training:
            return scores
        # For the mean over draws the gradient through sigma is zero, here being at its optimum; weighted draws
        # would pull at a sigma that is none of theirs. At least a quarter of a grey level.
        n = x.shape[-3:].numel()
        variance = processes.mean(scores.detach().mean() / n).clamp(min=1e-6)
        batches, running = self.get_buffer("batches"), self.get_buffer("variance")
        batches += 1
        running += (variance - running) / batches.clamp(max=100)
        return _gaussian(scores, variance.log() / 2, n)


class _OptimalGaussianPixels(Pixels):
    """Gaussian pixels whose sigma is chosen when the images come."""

    def __init__(self, mean: Tensor, likelihood: OptimalGaussian) -> None:
        super().__init__(mean)
        self._likelihood = likelihood

    def log_prob(self, value: Tensor) -> Tensor:
        return self._likelihood.from_scores(_squares(value, self._mean), value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw images with the running sigma: without images there is no better one."""
        log_sigma = self._likelihood.get_buffer("variance").log() / 2
        return GaussianPixels(self._mean, log_sigma).rsample(sample_shape)


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
        return BernoulliPixels(out)


class BernoulliPixels(Pixels):
    """Pixels that are 1 with the probability sigmoid(logits), else 0: log p = x logits - log(1 + exp(logits))."""

    def __init__(self, logits: Tensor) -> None:
        Distribution.__init__(self, logits.shape[:-3], logits.shape[-3:], validate_args=False)
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        """The probabilities, (..., C, H, W)."""
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of images (..., C, H, W) in nats, (...)."""
        return (value * self.logits - softplus(self.logits)).sum((-3, -2, -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw images (*sample_shape, ..., C, H, W) of zeros and ones; a draw has no gradient."""
        return torch.bernoulli(self.mean.detach().expand(self._extended_shape(sample_shape)))


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
        return DiscretisedLogisticPixels(out.sigmoid(), at_least_float32(self.log_scale))


class DiscretisedLogisticPixels(Pixels):
    """A logistic of location `centre` and one scale for all pixels, rounded to k/255 and clipped to [0, 1]."""

    def __init__(self, centre: Tensor, log_scale: Tensor) -> None:
        Distribution.__init__(self, centre.shape[:-3], centre.shape[-3:], validate_args=False)
        self.centre, self.scale = centre, log_scale.exp()

    @property
    def mean(self) -> Tensor:
        """The mean of the clipped logistic before it is rounded, the integral of 1 - F over [0, 1], (..., C, H, W)."""
        # torch's softplus, since a page for the browser takes the mean apart, and knows it.
        return self.scale * (F.softplus(self.centre / self.scale) - F.softplus((self.centre - 1) / self.scale))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of images (..., C, H, W) of values k/255, in nats, (...); others are rounded."""
        # From whole numbers, so that a value's upper edge is the next one's lower edge to the bit, however small s is.
        k = (255 * value).round()
        above = -softplus((self.centre - (2 * k + 1) / 510) / self.scale)  # log F(upper edge)
        below = -softplus(((2 * k - 1) / 510 - self.centre) / self.scale)  # log (1 - F(lower edge))
        # F(u) - F(l) = F(u) (1 - F(l)) (1 - exp((l - u) / s)): no difference of nearly equal numbers.
        inside = above + below + torch.log(-torch.expm1(-1 / 255 / self.scale))
        inside = torch.where(k <= 0, above, inside)
        inside = torch.where(k >= 255, below, inside)
        return inside.sum((-3, -2, -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw images (*sample_shape, ..., C, H, W) of values k/255; a draw has no gradient."""
        with torch.no_grad():
            centre = self.centre.expand(self._extended_shape(sample_shape))
            u = torch.rand_like(centre).clamp(torch.finfo(centre.dtype).tiny, 1 - torch.finfo(centre.dtype).eps)
            return (255 * (centre + self.scale * u.logit())).round().clamp(0, 255) / 255
