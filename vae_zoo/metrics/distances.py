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
from vae_zoo.metrics.base import Measure, precision
from vae_zoo.metrics.codes import ONE_IMAGE, gathered
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated

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


class _Distance(Measure):
    """A distance between the features of the test images and those of as many samples.

    Args:
        features: any module, (B, 3, H, W) in [0, 1] -> (B, F); grey images come as three equal channels. None is
            `Inception`: a download, and the only choice that papers' figures compare with.
    """

    real: list[Tensor]
    fake: list[Tensor]

    # With `nn.Module | None`, or types in place of the dots, --help would list all modules of torch, 700 lines.
    def __init__(self, features: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.features = features
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("fake", [], dist_reduce_fx="cat")

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Load Inception, if there is no other network."""
        if self.features is None:
            self.features = Inception(f"evaluation.{self.name}")
        if isinstance(self.features, nn.Module):
            self.features.eval().to(model.device)

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Collect the features of a batch, and of as many samples."""
        assert self.features is not None
        with precision(model):
            samples = model.sample(len(x), y if model.labels else None)
        for state, images in ((self.real, model.pictures(x)), (self.fake, model.pictures(samples))):
            state.append(self.features(images.float().expand(-1, 3, -1, -1)).flatten(1))  # B F

    def compute(self) -> float | str:
        """Return the distance."""
        real, fake = gathered(self.real), gathered(self.fake)
        return self.distance(real, fake) if len(real) > 1 else ONE_IMAGE

    @abstractmethod
    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Return the distance between two sets of features, (N, F) each."""


class FID(_Distance):
    """Squared Frechet distance between the test images and samples, see `fid`. It falls with their number."""

    name = "fid"

    def distance(self, real: Tensor, fake: Tensor) -> float:
        """Return the distance between two sets of features, (N, F) each."""
        return fid(real, fake)


class KID(_Distance):
    """Kernel distance between the test images and samples, see `kid`."""

    name = "kid"

    def distance(self, real: Tensor, fake: Tensor) -> float:
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
