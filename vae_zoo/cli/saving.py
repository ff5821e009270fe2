"""The checkpoint of the best epoch."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, but an epoch whose figure is not finite is never best, and a run folder may be renamed.

    Args:
        folder: of the checkpoints.
        monitor: the figure that is lowest at the best epoch.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(folder, "best", monitor=monitor, save_on_train_epoch_end=False, enable_version_counter=False)

    @property
    def state_key(self) -> str:
        """The key that checkpoints of earlier versions have."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the best checkpoint of a training that was killed before its first epoch's end, and begins anew."""
        if trainer.is_global_zero and not trainer.ckpt_path:
            (Path(str(self.dirpath)) / "best.ckpt").unlink(missing_ok=True)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the epoch is the best so far."""
        return current is not None and math.isfinite(current) and super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was best, wherever it lay; Lightning would forget it and overwrite it with the next epoch."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved: dict[str, Any] = {name: here(state_dict[name]) for name in paths}
        moved["best_k_models"] = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "dirpath": self.dirpath})
