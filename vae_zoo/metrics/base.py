"""A measure: one figure of results.json, or the reason why there is none."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated

NO_CODES = "it has no encoder"
NO_PIXELS = "it makes sketches, which have no pixels"
NO_DENSITY = "it has no density"


class Measure(Metric, ABC):
    """One figure, measured over the test set; the list of them stands under ``evaluation.metrics`` in a yaml.

    A measure of your own is a subclass, named in the yaml by its class path. What it finds for each image it may add to
    ``evaluated["figures"]``, where the measures after it in the list find it.

    Attributes:
        name: the figure's key in results.json.
        in_validation: whether it is measured at each validation, too, and logged as val/NAME.
    """

    name: str
    in_validation: bool = False
    full_state_update = False

    def begin(self, model: GenerativeModel, data: Any) -> None:  # noqa: B027  most measures need no more than batches
        """Get ready for a test or validation.

        Args:
            model: that is measured.
            data: the data module, None if there is none.
        """

    @abstractmethod
    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Take a batch.

        Args:
            model: in evaluation mode, without gradients.
            x: the images (B, C, H, W).
            y: their labels (B,).
            evaluated: the model's own figures for each image, and what was drawn.
        """

    @abstractmethod
    def compute(self) -> float | str:
        """Return the figure, or the reason why there is none."""


class MeanFigure(Measure):
    """The mean over images of a figure that the model gives, or a measure before this one in the list.

    Args:
        name: of the figure.
    """

    total: Tensor
    images: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.reason = name, "it was not measured"
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Add a batch's figures (B,), or ask why there are none."""
        values = evaluated["figures"].get(self.name)
        if values is None:
            self.reason = self.why_none(model)
            return
        self.total += values.mean() * len(x)
        self.images += len(x)

    def why_none(self, model: GenerativeModel) -> str:
        """Return why a model does not give the figure."""
        return self.reason

    def compute(self) -> float | str:
        """Return the mean."""
        return (self.total / self.images).item() if self.images else self.reason


def precision(model: GenerativeModel) -> AbstractContextManager:
    """Return the context of the model's steps, such as autocast, for what is computed outside of one."""
    trainer = model._trainer
    return trainer.precision_plugin.test_step_context() if trainer else nullcontext()


def without_pixels(model: GenerativeModel) -> str | None:
    """Return why a model's reconstructions have no squared error; None if they have one."""
    return NO_CODES if not model.encodes else None if model.pixels else NO_PIXELS
