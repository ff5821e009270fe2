"""Let a training that is resumed inside an epoch go on with the noise that was next."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.errors import UserError


class Noise(Callback):
    """Keep the state of torch's generators in each checkpoint, that of every process.

    A model seeds the noise of an epoch at its first batch; a training that goes on inside an epoch needs what comes
    after. A validation inside an epoch leaves it as it was, so that it is the same whether the checkpoint was made
    before or after that. With another number of processes than before, noise begins anew.
    """

    def __init__(self) -> None:
        self._found: list[Any] = []  # of each process, from a checkpoint
        self._own: Any = None  # from before a validation
        self._last: Any = None  # of the CPU, from the end of the last batch

    def state_dict(self) -> dict[str, Any]:
        """Return the states; all processes are here when a checkpoint is made."""
        own = self._own or _state()
        states = [own]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states = [own] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, own)
        return {"states": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until the first batch."""
        states = state_dict.get("states")
        self._found = states if isinstance(states, list) else []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the state: a validation's loader draws a number of it before a callback is told of it."""
        self._last = torch.get_rng_state()  # in a few microseconds

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the state until the next batch of the training."""
        self._own = None if self._last is None else _state() | {"cpu": self._last}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the state where an epoch is gone on with; at its first batch the model seeds.

        Raises:
            UserError: if that in a checkpoint is none.
        """
        own = self._found[trainer.global_rank] if len(self._found) == trainer.world_size else self._own
        self._found, self._own, self._last = [], None, None
        if own is None or not batch_idx:
            return
        try:
            torch.set_rng_state(own["cpu"].cpu())
            if "cuda" in own and pl_module.device.type == "cuda":
                torch.cuda.set_rng_state(own["cuda"].cpu(), pl_module.device)
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            raise UserError(f"the checkpoint's state of the noise is damaged ({error}); use another one") from None


def _state() -> dict[str, Any]:
    own: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        own["cuda"] = torch.cuda.get_rng_state()
    return own
