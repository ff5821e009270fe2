"""Precision, recall, density and coverage: which samples lie among the data, and which data among the samples."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from vae_zoo.errors import require
from vae_zoo.metrics.distances import FeatureFigure
from vae_zoo.metrics.labels import label_network
from vae_zoo.metrics.samples import Look
from vae_zoo.models import GenerativeModel
from vae_zoo.neighbours import coverage, inside_balls


class _Manifold(FeatureFigure):
    """A figure of the balls around images, each reaching to the k-th nearest of its own set.

    Args:
        features: see `FeatureFigure`; by default the features of `label_network`.
        k: neighbours inside a ball.
    """

    def __init__(self, features: Callable[..., Any] | None, k: int) -> None:
        super().__init__(features)
        require(1, k=k)
        self.k = k

    def default(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return the features of the network that tells the data's labels apart."""
        return label_network(data, model.device)

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Return the figure of features (N, F) each."""
        return self.of(real, fake, self.k) if len(real) > self.k else f"it needs more than {self.k} images"

    @abstractmethod
    def of(self, real: Tensor, fake: Tensor, k: int) -> float:
        """Return the figure of features (N, F) each, N above k."""


class Precision(_Manifold):
    """Share of the samples that lie among the test images, see `precision`."""

    name = "precision"

    def __init__(self, features: Callable[..., Any] | None = None, k: int = 3) -> None:
        super().__init__(features, k)

    def of(self, real: Tensor, fake: Tensor, k: int) -> float:
        """Return the precision of features (N, F) each."""
        return precision(real, fake, k)


class Recall(_Manifold):
    """Share of the test images that lie among the samples, see `recall`."""

    name = "recall"

    def __init__(self, features: Callable[..., Any] | None = None, k: int = 3) -> None:
        super().__init__(features, k)

    def of(self, real: Tensor, fake: Tensor, k: int) -> float:
        """Return the recall of features (N, F) each."""
        return recall(real, fake, k)


class Density(_Manifold):
    """How densely the samples lie among the test images, see `density`."""

    name = "density"

    def __init__(self, features: Callable[..., Any] | None = None, k: int = 5) -> None:
        super().__init__(features, k)

    def of(self, real: Tensor, fake: Tensor, k: int) -> float:
        """Return the density of features (N, F) each."""
        return density(real, fake, k)


class Coverage(_Manifold):
    """Share of the test images that have a sample beside them, see `coverage`."""

    name = "coverage"

    def __init__(self, features: Callable[..., Any] | None = None, k: int = 5) -> None:
        super().__init__(features, k)

    def of(self, real: Tensor, fake: Tensor, k: int) -> float:
        """Return the coverage of features (N, F) each."""
        return coverage(real, fake, k)


def precision(real: Tensor, fake: Tensor, k: int = 3) -> float:
    """Share of samples inside a ball of any image (Kynkaanniemi et al. 2019, eq. 1 and 2): how real they look.

    The ball around an image reaches to the k-th nearest of the other images, and that one is inside.

    Args:
        real: features of N images, (N, F), N above k.
        fake: of M samples, (M, F).
        k: neighbours inside a ball.

    Raises:
        UserError: if N is too small, or a feature is not finite.
    """
    balls, _ = inside_balls(fake, real, k)
    return float((balls > 0).double().mean())


def recall(real: Tensor, fake: Tensor, k: int = 3) -> float:
    """Share of images inside a ball of any sample (Kynkaanniemi et al. 2019, eq. 1 and 2): how complete they are.

    It is the precision with the sets exchanged: the balls are around M samples, M above k.
    """
    return precision(fake, real, k)


def density(real: Tensor, fake: Tensor, k: int = 5) -> float:
    """Mean number of images' balls that a sample is inside of, divided by k (Naeem et al. 2020).

    Its expectation is 1 for two sets of one distribution; it is above 1 where samples crowd where images do.

    Args:
        real: features of N images, (N, F), N above k.
        fake: of M samples, (M, F).
        k: neighbours inside a ball.
    """
    balls, _ = inside_balls(fake, real, k)
    return float(balls.double().mean()) / k
