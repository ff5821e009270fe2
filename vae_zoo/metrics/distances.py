"""FID and KID: distances between the test images and as many samples, each set given by its features."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.kid import KernelInceptionDistance

from vae_zoo.errors import UserError
from vae_zoo.metrics.samples import Look, SampleFigure
from vae_zoo.models import GenerativeModel

SUBSET = 1_000  # images in each of KID's 100 subsets
OWN = "or give evaluation.features a network of your own"


class Inception(nn.Module):
    """The features of FID and KID: the last pooling layer of Szegedy et al. 2016, 2048 numbers, as torchmetrics has it.

    The weights (95 MB) are downloaded once, to PyTorch's hub folder.

    Args:
        asked: the argument that needs it, for the errors.

    Raises:
        UserError: if torch-fidelity, which holds the network, or the weights cannot be had.
    """

    def __init__(self, asked: str) -> None:
        super().__init__()
        try:
            self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"])
        except ModuleNotFoundError as error:
            raise UserError(f"{asked} needs torch-fidelity: pip install 'vae_zoo[fid]', {OWN}") from error
        except OSError as error:  # a URLError is one, too
            raise UserError(
                f"{asked} needs the weights of Inception, which could not be downloaded ({error}); "
                f"try again with a connection, {OWN}"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (B, 2048) of images (B, 3, H, W) in [0, 1]."""
        # Rounded as in a picture that is saved; torchmetrics would cut off, and make samples half a grey level darker.
        return self.network((255 * x).round().to(torch.uint8))


class FeatureFigure(SampleFigure):
    """A figure of the features of the test images and of those of as many samples.

    Args:
        features: any module, (B, 3, H, W) in [0, 1] -> (B, F); grey images come as three equal channels. None is what
            `default` gives.
    """

    # With `nn.Module | None`, or types in place of the dots, --help would list all modules of torch, 700 lines.
    def __init__(self, features: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.features = features

    def network(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return the user's network, or the default."""
        return self.default(model, data) if self.features is None else self.features

    @abstractmethod
    def default(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return the network where the user gives none, or the reason why there is none."""


class _Distance(FeatureFigure):
    """A distance between features, by default those of `Inception`: the only ones that papers' figures compare with."""

    needs = ()

    def default(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return Inception, loaded once."""
        self.features = Inception(f"evaluation.{self.name}")
        return self.features


class FID(_Distance):
    """Squared Frechet distance between the test images and samples, see `fid`. It falls with their number."""

    name = "fid"

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Return the distance between two sets of features, (N, F) each."""
        return fid(real, fake)


class KID(_Distance):
    """Kernel distance between the test images and samples, see `kid`."""

    name = "kid"

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Return the distance between two sets of features, (N, F) each."""
        return kid(real, fake)


def fid(real: Tensor, fake: Tensor) -> float:
    """Squared Frechet distance between the normals fitted to two sets of features (Heusel et al. 2017, eq. 6).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), covariances with N - 1, in float64.

    Args:
        real: features of N images, (N, F), N at least 2.
        fake: of M images, (M, F), M at least 2. The estimate falls with N and M: compare equal numbers only.
    """
    # The dummy image tells it F. Features of all processes come in, so there is nothing to synchronise.
    metric = FrechetInceptionDistance(nn.Identity(), input_img_size=(1, 1, real.shape[1]), sync_on_compute=False)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute())


def kid(real: Tensor, fake: Tensor) -> float:
    """Unbiased squared MMD between two sets of features, kernel (a.b / F + 1)^3 (Binkowski et al. 2018, section 4).

    Zero in expectation where both have one distribution. The mean over 100 random subsets of 1000 images of each set;
    of sets no larger than that, over all images at once.

    Args:
        real: features of N images, (N, F), N at least 2.
        fake: of N images, (N, F).
    """
    with warnings.catch_warnings(action="ignore"):  # that it keeps all features
        metric = KernelInceptionDistance(
            nn.Identity(),
            subsets=100 if len(real) > SUBSET else 1,
            subset_size=min(SUBSET, len(real)),
            sync_on_compute=False,
        )
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return float(metric.compute()[0])
