"""Figures of samples: of what a network makes of the test images, and of as many samples."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.metrics.base import Measure, own_noise, precision, why_none
from vae_zoo.metrics.codes import ONE_IMAGE, gathered
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated

Look = Callable[[Tensor], Tensor]
NO_DATA = "there is no data module to take training images from"


class SampleFigure(Measure):
    """A figure of the test images and of as many samples: of what a network makes of each.

    All figures of a test have the same samples, drawn once for each batch, with the labels of the test images where a
    model takes labels. Their noise follows from the run's seed and the number of images before them, and no random
    state of others is touched.

    Attributes:
        needs: what a model must declare to have the figure, see `WHY_NONE`.
        look: what is looked at, (B, 3, H, W) in [0, 1] -> (B, F); grey images come as three equal channels.
        reason: why there is no figure, where nothing is looked at.
    """

    needs: tuple[str, ...] = ("pixels",)
    look: Look | None
    real: list[Tensor]
    fake: list[Tensor]
    shown: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.look, self.reason = None, "it was not measured"
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("fake", [], dist_reduce_fx="cat")
        self.add_state("shown", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Get the network ready, before anything is tested."""
        found = why_none(model, self.needs) or self.network(model, data)
        if isinstance(found, str):
            self.look, self.reason = None, found
            return
        if isinstance(found, nn.Module):
            found.eval().to(model.device)
        self.look = found

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Look at a batch, and at as many samples."""
        if self.look is None:
            return
        memo = evaluated.setdefault("memo", {})
        if "samples" not in memo:
            with own_noise(model, int(self.shown)), precision(model):
                samples = model.sample(len(x), y if model.labels else None)
            memo["samples"] = model.pictures(samples) if samples.isfinite().all() else None
        if self.look not in memo:
            both = model.pictures(x), memo["samples"]
            memo[self.look] = [None if images is None else self.seen(images) for images in both]
        real, fake = memo[self.look]
        self.real.append(real)
        self.fake.append(torch.full_like(real, torch.nan) if fake is None else fake)
        self.shown += len(x)

    def seen(self, images: Tensor) -> Tensor:
        """Return what the network makes of images (B, C, H, W), (B, F)."""
        assert self.look is not None
        return self.look(images.float().expand(-1, 3, -1, -1)).flatten(1).float()

    def compute(self) -> float | str:
        """Return the figure, or the reason why there is none."""
        if not len(self.real):
            return self.reason
        real, fake = gathered(self.real), gathered(self.fake)
        if not (real.isfinite().all() and fake.isfinite().all()):
            return math.nan
        if len(real) < 2:
            return ONE_IMAGE
        with torch.random.fork_rng([]):  # some of torchmetrics' draw
            return self.figure(real, fake)

    @abstractmethod
    def network(self, model: GenerativeModel, data: Any) -> Look | str:
        """Return what looks at the images, or the reason why there is nothing that could; see `begin`."""

    @abstractmethod
    def figure(self, real: Tensor, fake: Tensor) -> float | str:
        """Return the figure of N test images and N samples, (N, F) each, N at least 2; or why there is none."""
