"""What makes several processes train a model as one would on all of the batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from vae_zoo import processes


class Parallel(LightningModule, ABC):
    """A LightningModule that several processes train together, each on its share of a batch.

    DistributedDataParallel averages the gradients. Buffers are what each process makes of them, and those of the first
    one are measured and saved: a model whose buffers follow the whole batch asks `vae_zoo.processes` for it.
    """

    @abstractmethod
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        """Return the loss, averaged over the batch, in nats; None where the model steps its optimizers itself."""

    def setup(self, stage: str) -> None:
        """Let DistributedDataParallel leave the buffers alone.

        It would copy the first process's at each batch, of a validation, too, where one process may have a batch more.
        """
        super().setup(stage)
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs.setdefault("broadcast_buffers", False)

    def on_validation_start(self) -> None:
        """Take over the first process's buffers."""
        self._take_over_buffers()

    def _take_over_buffers(self) -> None:
        """Have the buffers that a checkpoint holds as the first process has them."""
        saved = self.state_dict().keys() if not processes.alone() else ()
        processes.take_over([buffer for name, buffer in self.named_buffers() if name in saved])

    def log_training(self, **values: Tensor | Callable[[], Tensor]) -> None:
        """Log the means as train/NAME, at those steps whose values reach a logger; elsewhere the call costs nothing.

        Args:
            values: by name, a tensor, or a function that computes it; the mean is over all processes, too.
        """
        trainer: Any = self._trainer  # None for a model that is not being trained
        every = trainer.log_every_n_steps if trainer else 0  # 0 is never
        if not every or (trainer.global_step + 1) % every:
            return
        with torch.no_grad():
            found = {name: value() if callable(value) else value for name, value in values.items()}
            means = {f"train/{name}": value.detach().mean() for name, value in found.items()}
            if not processes.alone():  # all figures in one message
                means = dict(zip(means, processes.mean(torch.stack([*means.values()])), strict=True))
            self.log_dict(means)
