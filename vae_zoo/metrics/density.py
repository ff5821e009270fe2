"""Figures of densities: the evidence lower bound, its KL, the negative log-likelihood."""

import math

import torch
from torch import Tensor

from vae_zoo.errors import require
from vae_zoo.metrics.base import NO_CODES, NO_DENSITY, MeanFigure, precision
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import Evaluated

GREY = "the pixels are grey, of which a Bernoulli's cross entropy is no density"


class _Density(MeanFigure):
    """A figure in nats, which is none if the likelihood is of black and white pixels and an image is grey."""

    grey: Tensor

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.add_state("grey", torch.tensor(False), dist_reduce_fx="max")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        if isinstance(model, Autoencoder) and model.likelihood.binary:
            self.grey = self.grey | ~((x == 0) | (x == 1)).all()
        super().update(model, x, y, evaluated)

    def why_none(self, model: GenerativeModel) -> str:
        return NO_DENSITY if not model.density else NO_CODES if not model.encodes else self.reason

    def compute(self) -> float | str:
        return GREY if self.grey else super().compute()


class ELBO(_Density):
    """Mean over images of the evidence lower bound, in nats."""

    def __init__(self) -> None:
        super().__init__("elbo")


class KL(MeanFigure):
    """Mean over images of KL(q(z|x) || p(z)), in nats."""

    def __init__(self) -> None:
        super().__init__("kl")

    def why_none(self, model: GenerativeModel) -> str:
        """Return what the model lacks."""
        return NO_DENSITY if not model.density else NO_CODES if not model.encodes else self.reason


class NLL(_Density):
    """Mean over images of -log p(x), in nats: importance-weighted (Burda et al. 2016), or exact where a model has it.

    Args:
        samples: K, importance samples; 0 leaves the estimate out. None is what ``evaluation.nll_samples`` says.
    """

    def __init__(self, samples: int | None = None) -> None:
        super().__init__("nll")
        require(0, samples=samples or 0)
        self.samples = samples
        self.add_state("estimated", torch.tensor(False), dist_reduce_fx="max")

    estimated: Tensor

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Estimate a batch."""
        if model.density and self.name not in evaluated["figures"]:
            if self.samples:
                with precision(model):
                    nll = -model.log_prob(x, y, samples=self.samples).float()
                evaluated["figures"][self.name] = nll.to(x.device)
                self.estimated = torch.tensor(True, device=x.device)
            else:
                self.reason = "not asked for: evaluation.nll_samples is 0"
        super().update(model, x, y, evaluated)

    def why_none(self, model: GenerativeModel) -> str:
        """Return what the model lacks, or that it was not asked for."""
        return self.reason if model.density else NO_DENSITY


class BitsPerDim(_Density):
    """The NLL in bits per pixel and channel, for a probability of 8-bit pixels. In the list it stands after `NLL`."""

    def __init__(self) -> None:
        super().__init__("bits_per_dim")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Convert a batch's NLL."""
        nll = evaluated["figures"].get("nll")
        if isinstance(model, Autoencoder) and model.density and not model.likelihood.discrete:
            self.reason = "only for a probability of 8-bit pixels, which the likelihood is not"
        elif nll is None:
            self.reason = "evaluation.metrics has no NLL before it, or evaluation.nll_samples is 0"
        elif model.pixels:
            evaluated["figures"][self.name] = bits_per_dim(nll, x.shape[1:])
        else:
            self.reason = "only for a probability of 8-bit pixels, and it makes sketches"
        super().update(model, x, y, evaluated)

    def why_none(self, model: GenerativeModel) -> str:
        """Return what the model lacks."""
        return self.reason if model.density else NO_DENSITY


def bits_per_dim(nll: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convert negative log-probabilities in nats per image to bits per pixel and channel: nll / (C H W log 2).

    Args:
        nll: of a probability of 8-bit images, in nats per image.
        shape: (C, H, W).
    """
    return nll / (math.prod(shape) * math.log(2))
