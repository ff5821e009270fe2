"""The door of a model: what comes from outside is looked at once, at the top of each public method."""

import sys
from abc import ABC, abstractmethod
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerStatus
from torch import Tensor

from vae_zoo.conditional import check_labels
from vae_zoo.errors import UserError
from vae_zoo.hyperparameters import check_kinds


class Door(LightningModule, ABC):
    """A LightningModule that refuses what is none of its data in a sentence.

    Attributes:
        labels: how many labels there are, which its methods then need; 0 if it takes none.
    """

    labels: int = 0

    def save_hyperparameters(self, *arguments: Any, frame: FrameType | None = None, **options: Any) -> None:
        """Save the constructor's arguments, as Lightning does.

        Raises:
            UserError: if one is not of the kind that the constructor declares.
        """
        constructor = frame or sys._getframe(1)
        check_kinds(
            type(self).__init__, constructor.f_locals
        )  # hparams are what the command line says, not what it made
        super().save_hyperparameters(*arguments, frame=constructor, **options)

    @abstractmethod
    def check(self, x: Any, values: bool = True) -> None:
        """Refuse what is no batch of the model's data; a model of other data than its base's says here which.

        Args:
            x: given.
            values: whether the numbers are looked at, too, for which Python waits for the device.

        Raises:
            UserError: that says what it is instead, and what to do.
        """

    def checked(
        self, x: Tensor, y: Tensor | None = None, *, values: bool | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return data from outside as the model computes with them: of its type and on its device.

        Every public method begins with this. While a Trainer runs, it looks at the numbers of the first batch alone.

        Args:
            x: the data.
            y: their labels, which a model that takes none does not look at.
            values: whether the numbers are looked at; None is all the time but while a Trainer runs.

        Raises:
            UserError: if this is no batch of the model's data, or labels are missing or none of the model's.
        """
        reads = self.is_outside if values is None else values
        self.check(x, values=False)
        x = x.to(next(self.parameters()))
        if reads:
            self.check(x)
        return x, self.checked_labels(y, len(x), reads)

    def checked_labels(self, y: Tensor | None, n: int, values: bool | None = None) -> Tensor | None:
        """Return labels of `n` items on the model's device, or raise a UserError, see `checked`."""
        if not self.labels:
            return y
        reads = self.is_outside if values is None else values
        read = y.cpu() if reads and isinstance(y, Tensor) else y
        return check_labels(read, self.labels, n).to(self.device)

    @property
    def is_outside(self) -> bool:
        """Whether no Trainer runs, and nothing is compiled, so that it costs little to wait for the device."""
        running = self._trainer is not None and self._trainer.state.status == TrainerStatus.RUNNING
        return not running and not torch.compiler.is_compiling()

    def check_first(self, batch: Any) -> None:
        """Refuse the first batch of a training, validation, test or prediction if it is none of the model's data."""
        if not isinstance(batch, (tuple, list)):
            raise UserError(f"a batch must be a pair (x, y) of data and labels, got a {type(batch).__name__}")
        self.checked(*batch, values=True)
