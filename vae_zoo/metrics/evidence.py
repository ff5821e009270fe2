"""Log p(x) without an encoder's help: by annealing, with a bound on its error, and by draws of the posterior."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from vae_zoo import evidence
from vae_zoo.errors import require
from vae_zoo.metrics.base import Measure, own_noise, precision, why_none
from vae_zoo.metrics.density import GREY, no_density_of
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated
from vae_zoo.models.decoding import DirectedImageModel

UNDIRECTED = "it is no decoder of codes with a prior"


class EvidenceFigure(Measure):
    """The mean over the first test images of what `values` finds, which takes too long for all of them.

    Its draws follow from the run's seed, and no random state of others is touched.

    Attributes:
        images: how many, of each process's share.
        reason: why there is no figure.
    """

    images: int
    total: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reason = "it was not measured"
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.left = 0

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Count from the first image on."""
        self.left = self.images

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Measure a batch, or what is left to measure."""
        x, y = x[: self.left], y[: self.left]
        if not len(x):
            return
        if lacking := why_none(model, ("density", "pixels")):
            self.reason = lacking
        elif not isinstance(model, DirectedImageModel):
            self.reason = UNDIRECTED
        elif no_density_of(model, x):
            self.reason = GREY
        else:
            with own_noise(model, self.images - self.left), precision(model):
                found = self.values(model, x, y if model.labels else None)
            self.total += found.sum().to(self.total)
            self.seen += len(x)
        self.left -= len(x)

    @abstractmethod
    def values(self, model: DirectedImageModel, x: Tensor, y: Tensor | None) -> Tensor:
        """Return the figure of each image of a batch (B, C, H, W), (B,)."""

    def compute(self) -> float | str:
        """Return the mean, or the reason why there is none."""
        return float(self.total / self.seen) if self.seen else self.reason


class NLLByAIS(EvidenceFigure):
    """Mean of -log p(x), in nats, by annealed importance sampling (Neal 2001; Wu et al. 2017), too high on average.

    Args:
        samples: chains for each image.
        temperatures: between prior and posterior.
        leapfrogs: of the Hamiltonian move at each temperature.
        images: how many of the test images.

    Raises:
        UserError: if a number is less than 1.
    """

    name = "nll_by_ais"

    def __init__(self, samples: int = 10, temperatures: int = 500, leapfrogs: int = 10, images: int = 100) -> None:
        super().__init__()
        require(1, samples=samples, temperatures=temperatures, leapfrogs=leapfrogs, images=images)
        self.samples, self.temperatures, self.leapfrogs, self.images = samples, temperatures, leapfrogs, images

    def values(self, model: DirectedImageModel, x: Tensor, y: Tensor | None) -> Tensor:
        """Anneal the chains of each image."""
        return -model.anneal(x, y, samples=self.samples, temperatures=self.temperatures, leapfrogs=self.leapfrogs)


class AISGap(EvidenceFigure):
    """Mean distance, in nats, between two bounds of log p(x) that annealing finds from below and from above.

    Of x ~ p(x|z), z ~ p(z), as many as images: there z is a draw of the posterior, from which chains go down to the
    prior, and 1 / p(x) is estimated, too (bidirectional Monte Carlo, Grosse et al. 2015; Wu et al. 2017). On
    such images this is, in expectation, an upper bound on the error of `NLLByAIS` with the same settings.

    Args:
        samples: chains each way for each image.
        temperatures: between prior and posterior.
        leapfrogs: of the Hamiltonian move at each temperature.
        images: how many.

    Raises:
        UserError: if a number is less than 1.
    """

    name = "ais_gap"

    def __init__(self, samples: int = 10, temperatures: int = 500, leapfrogs: int = 10, images: int = 100) -> None:
        super().__init__()
        require(1, samples=samples, temperatures=temperatures, leapfrogs=leapfrogs, images=images)
        self.samples, self.temperatures, self.leapfrogs, self.images = samples, temperatures, leapfrogs, images

    def values(self, model: DirectedImageModel, x: Tensor, y: Tensor | None) -> Tensor:
        """Draw images, and anneal their chains both ways."""
        z = model.sample_prior(len(x), y)
        drawn = model.likelihood(z, y).sample()
        steps = evidence.tuned(model.joint(drawn, y), self.temperatures, self.leapfrogs)
        bounds = []
        for down in (False, True):
            log_w = []
            for _ in range(self.samples):  # one chain of each image at a time: memory does not depend on their number
                joint = model.joint(drawn, y)
                log_w.append(evidence.annealed(joint, z if down else joint.draw(), steps, self.leapfrogs, down))
            bounds.append(evidence.log_mean_exp(torch.stack(log_w)))
        below, above = bounds[0], -bounds[1]
        return above - below


class NLLByPosterior(EvidenceFigure):
    """Mean of -log p(x), in nats, by draws of the posterior alone (Kingma & Welling 2014, appendix D).

    See `vae_zoo.evidence.harmonic`: of use for a few latent dimensions only.

    Args:
        draws: of the posterior, for each image.
        burn_in: moves before the first one.
        leapfrogs: of the Hamiltonian move between two.
        images: how many of the test images.

    Raises:
        UserError: if a number is too small.
    """

    name = "nll_by_posterior"

    def __init__(self, draws: int = 200, burn_in: int = 100, leapfrogs: int = 10, images: int = 100) -> None:
        super().__init__()
        require(4, draws=draws)
        require(1, leapfrogs=leapfrogs, images=images)
        require(0, burn_in=burn_in)
        self.draws, self.burn_in, self.leapfrogs, self.images = draws, burn_in, leapfrogs, images

    def values(self, model: DirectedImageModel, x: Tensor, y: Tensor | None) -> Tensor:
        """Draw codes of each image."""
        return -evidence.harmonic(model.joint(x, y), self.draws, self.burn_in, self.leapfrogs)
