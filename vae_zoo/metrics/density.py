"""Figures of densities: the evidence lower bound, its KL and that one's share, the negative log-likelihood."""

import math

import torch
from torch import Tensor

from vae_zoo.errors import require
from vae_zoo.likelihoods import sigma_of
from vae_zoo.metrics.base import ImageFigure, precision
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated
from vae_zoo.models.decoding import Directed

GREY = "the pixels are grey, of which a Bernoulli's cross entropy is no density"


class ELBO(ImageFigure):
    """Mean over images of the evidence lower bound, in nats."""

    name, needs = "elbo", ("density", "encodes")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return the model's own, of images that its likelihood is a density of."""
        return GREY if no_density_of(model, x) else self.given(evaluated)


class KL(ImageFigure):
    """Mean over images of KL(q(z|x) || p(z)), in nats."""

    name, needs = "kl", ("density", "encodes")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return the model's own."""
        return self.given(evaluated)


class KLShare(ImageFigure):
    """100 KL / (KL + |x - x_hat|^2 / (2 sigma^2)), in percent, of a Gaussian likelihood; x_hat is decoded from draws.

    That is the KL's share of -ELBO without n log(sigma sqrt(2 pi)), which no code can change, with the sigma that the
    model evaluates with; sums over the pixels, means over the images.
    """

    name, needs = "kl_share", ("density", "encodes", "pixels")
    error: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("error", torch.zeros(()), dist_reduce_fx="sum")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's KL, and sum the other part."""
        trace, figures = evaluated["trace"], evaluated["figures"]
        sigma = sigma_of(trace.px) if trace else None
        if sigma is None:
            return "only for a Gaussian likelihood with one sigma for all pixels"
        self.error += figures["mse_sampled"].mean() * x[0].numel() / (2 * sigma**2) * len(x)
        return figures["kl"]

    def compute(self) -> float | str:
        """Return the share."""
        kl = super().compute()
        if isinstance(kl, str):
            return kl
        whole = kl + (self.error / self.images).item()
        return 100 * kl / whole if whole else "both the KL and the squared error are zero"


class NLL(ImageFigure):
    """Mean over images of -log p(x), in nats: importance-weighted (Burda et al. 2016), or exact where a model has it.

    Args:
        samples: K, importance samples; 0 leaves the estimate out. None is what ``evaluation.nll_samples`` says.
    """

    name, needs = "nll", ("density",)

    def __init__(self, samples: int | None = None) -> None:
        super().__init__()
        require(0, samples=samples or 0)
        self.samples, self.estimated = samples, False

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's own, or an estimate."""
        if self.name in evaluated["figures"]:
            return self.given(evaluated)
        if not self.samples:
            return "not asked for: evaluation.nll_samples is 0"
        if no_density_of(model, x):
            return GREY
        self.estimated = True
        with precision(model):
            nll = -model.log_prob(x, y, samples=self.samples).float()
        return nll.to(x.device)  # where processes can gather it


class BitsPerDim(ImageFigure):
    """The NLL in bits per pixel and channel, for a probability of 8-bit pixels. In the list it stands after `NLL`."""

    name, needs = "bits_per_dim", ("density",)

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Convert each image's NLL."""
        nll = evaluated["figures"].get("nll")
        if not (isinstance(model, Directed) and model.likelihood.discrete):
            return "only for a probability of 8-bit pixels, which the likelihood is not"
        if nll is None:
            return "evaluation.metrics has no NLL before it, or evaluation.nll_samples is 0"
        return bits_per_dim(nll, x.shape[1:])


def no_density_of(model: GenerativeModel, x: Tensor) -> bool:
    """Whether a model's likelihood is of black and white pixels, and some of these are grey."""
    return isinstance(model, Directed) and model.likelihood.binary and not bool(((x == 0) | (x == 1)).all())


def bits_per_dim(nll: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convert negative log-probabilities in nats per image to bits per pixel and channel: nll / (C H W log 2).

    Args:
        nll: of a probability of 8-bit images, in nats per image.
        shape: (C, H, W).
    """
    return nll / (math.prod(shape) * math.log(2))
