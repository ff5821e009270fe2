"""Whether samples are as sharp as the data, and whether they are copies of it."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from vae_zoo.metrics.samples import NO_DATA, Look, SampleFigure
from vae_zoo.models import GenerativeModel
from vae_zoo.neighbours import distances

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
BATCH = 256  # training images at a time
SAMPLES = 1024  # that are compared with them at a time


class Sharpness(SampleFigure):
    """`laplacian_variance` of samples over that of the test images, both means over images: 1 is as sharp as the data.

    Blur makes it smaller and noise larger, so 1 does not say that the samples are good.
    """

    name = "sharpness"

    def network(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return the variance of the Laplacian."""
        shape = model.hparams["shape"]
        small = min(shape[-2:]) <= len(LAPLACIAN)
        return f"images no larger than the Laplacian of {len(LAPLACIAN)} pixels" if small else laplacian_variance

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Divide the means."""
        of_data = real.double().mean()
        return float(fake.double().mean() / of_data) if of_data else "each test image is of one colour"


def laplacian_variance(x: Tensor) -> Tensor:
    """Variance over the pixels of an image of its luminance's Laplacian: how sharp it is (Pech-Pacheco et al. 2000).

    The luminance is .299 R + .587 G + .114 B; its Laplacian is the sum of the four neighbours less four times the pixel
    itself, at the pixels that have four.

    Args:
        x: images (B, 3, H, W), of 3 pixels a side or more.

    Returns:
        (B, 1).
    """
    luminance = torch.einsum("bchw,c->bhw", x, x.new_tensor(LUMINANCE))[:, None]  # B 1 H W
    laplacian = conv2d(luminance, x.new_tensor(LAPLACIAN)[None, None])  # B 1 H-2 W-2
    return laplacian.flatten(1).var(1, correction=0, keepdim=True)


class NearestInTraining(SampleFigure):
    """Mean distance of samples to the nearest training image, relative to what it is among unseen images.

    See `nearest_in_training`. It keeps the test images and the samples in memory.
    """

    name = "nearest_in_training"

    def network(self, model: GenerativeModel, data: Any) -> Look | str:
        """Look at the pixels as they are."""
        self._data = data
        return NO_DATA if data is None else nn.Identity()

    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Compare samples with the training images."""
        train = (self.seen(x).cpu() for x, _ in self._data.batches("train", BATCH))
        return nearest_in_training(fake, real, train, self._data.facts.n_train)


def nearest_in_training(samples: Tensor, test: Tensor, train: Iterable[Tensor], n_train: int) -> float | str:
    """Mean distance of samples to the nearest training image over that to the nearest of a set of as many images.

    In that set test images stand in for as many training images, both chosen at random, all of them if there are
    enough. So the ratio is 1 in expectation for a model that knows no more of the ones than of the others, however
    smooth its samples are; below 1 for one that remembers, and 0 where each sample is a training image.

    Args:
        samples: of a model, (S, D).
        test: images that were not trained on, (M, D).
        train: batches of the training set, (B, D).
        n_train: how many these are together.

    Returns:
        the ratio, or the reason why there is none.
    """
    random = np.random.default_rng(0)
    swapped = min(n_train, len(test))
    stays = torch.from_numpy(random.permutation(n_train) >= swapped)  # of each training image, whether it does
    among_others = _distances(samples, test[random.permutation(len(test))[:swapped]]).amin(1)  # S
    among_train = torch.full_like(among_others, torch.inf)
    shown = 0
    for batch in train:
        found = _distances(samples, batch)  # S B
        among_train = among_train.minimum(found.amin(1))
        stay = stays[shown : shown + len(batch)]
        if stay.any():
            among_others = among_others.minimum(found[:, stay].amin(1))
        shown += len(batch)
    near, usual = (float(found.double().mean()) for found in (among_train, among_others))
    if near and not usual:
        return "each sample is a test image"
    return near / usual if near else 0.0


def _distances(samples: Tensor, images: Tensor) -> Tensor:
    """The distances (S, B); only some samples are in memory in 64 bits at a time."""
    return torch.cat([distances(rows, images) for rows in samples.split(SAMPLES)])
