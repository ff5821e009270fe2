"""A measure: one figure of results.json, or the reason why there is none."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated, seed_of

WHY_NONE = {
    "density": "it has no density",
    "encodes": "it has no encoder",
    "pixels": "it makes sketches, which have no pixels",
}


def why_none(model: GenerativeModel, needs: Sequence[str]) -> str | None:
    """Return why a model has no figure that needs all this, see `WHY_NONE`; None if it declares to have it."""
    declared: dict[str, Any] = {**model.traits}
    return next((why for trait, why in WHY_NONE.items() if trait in needs and not declared[trait]), None)


class Measure(Metric, ABC):
    """One figure, measured over the test set; the list of them stands under ``evaluation.metrics`` in a yaml.

    A measure of your own is a subclass, named in the yaml by its class path.

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


class ImageFigure(Measure):
    """The mean over images of what `values` finds for each of them.

    Attributes:
        needs: what a model must declare to have the figure, see `WHY_NONE`.
    """

    needs: tuple[str, ...] = ()
    total: Tensor
    images: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reason = "it was not measured"
        for name in ("total", "images", "missing"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    @abstractmethod
    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return the figure of each image of a batch, (B,), or the reason why there is none; see `update`."""

    def given(self, evaluated: Evaluated) -> Tensor | str:
        """Return what the model itself, or a measure before this one in the list, says of each image."""
        return evaluated["figures"].get(self.name, self.reason)

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Add a batch's values, and show them to the measures after this one in the list."""
        found = why_none(model, self.needs) or self.values(model, x, y, evaluated)
        if isinstance(found, str):
            self.reason = found
            self.missing += len(x)
            return
        if found.shape != (len(x),):
            raise UserError(
                f"{type(self).__name__}.values must return a figure of each of {len(x)} images, ({len(x)},), got "
                f"{tuple(found.shape)}"
            )
        evaluated["figures"][self.name] = found
        self.total += found.mean() * len(x)
        self.images += len(x)

    def compute(self) -> float | str:
        """Return the mean, or the reason why an image has no value."""
        return self.reason if self.missing or not self.images else (self.total / self.images).item()


class ModelFigure(ImageFigure):
    """The mean over images of a figure that the model gives by itself, such as one of its objective.

    Args:
        name: of the figure.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return what the model says."""
        return self.given(evaluated)


def precision(model: GenerativeModel) -> AbstractContextManager:
    """Return the context of the model's steps, such as autocast, for what is computed outside of one."""
    trainer = model._trainer
    return trainer.precision_plugin.test_step_context() if trainer else nullcontext()


@contextmanager
def own_noise(model: GenerativeModel, shown: int) -> Iterator[None]:
    """Draw noise that follows from the run's seed and the number of images before, and that nobody else notices."""
    seed = seed_of(torch.initial_seed() % 2**64, shown)
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
