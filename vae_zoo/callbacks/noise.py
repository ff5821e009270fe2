"""Let a training that is resumed inside an epoch go on with the noise that was next."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Noise(Callback):
    """Keep the state of torch's generators in each checkpoint, that of every process.

    A model seeds the noise of an epoch at its first batch; a training that goes on inside an epoch needs what comes
    after. With another number of processes than before, noise begins anew.
    """

    def __init__(self) -> None:
        self._found: list[Any] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the states; all processes are here when a checkpoint is made."""
        own: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            own["cuda"] = torch.cuda.get_rng_state()
        states = [own]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states = [own] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, own)
        return {"states": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the states until the first batch."""
        states = state_dict.get("states")
        self._found = states if isinstance(states, list) else []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restore the state where an epoch is gone on with; at its first batch the model seeds."""
        if self._found and batch_idx and len(self._found) == trainer.world_size:
            own = self._found[trainer.global_rank]
            torch.set_rng_state(own["cpu"].cpu())
            if "cuda" in own and pl_module.device.type == "cuda":
                torch.cuda.set_rng_state(own["cuda"].cpu(), pl_module.device)
        self._found = []
