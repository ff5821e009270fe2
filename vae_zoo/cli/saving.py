"""What a training saves: its settings, and the checkpoints of the last epoch and of the best one."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from torch import Tensor

from vae_zoo.runs import Run
from vae_zoo.writing import whole


class SaveConfig(SaveConfigCallback):
    """Write config.yaml to the run folder, whatever the logger is. A run that goes on writes it anew."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file."""
        path = Run(Path(trainer.default_root_dir)).config_file
        with whole(path) as temporary:
            self.parser.save(self.config, temporary, skip_unset=False, multifile=False)


class OneCheckpoint(ModelCheckpoint):
    """Lightning's, but of one name, which no state that is restored can change; and a run folder may be renamed.

    Args:
        folder: of the checkpoints.
        name: of the file, without its suffix.
        settings: of Lightning's class.
    """

    def __init__(self, folder: Path, name: str, **settings: Any) -> None:
        super().__init__(folder, name, enable_version_counter=False, **settings)
        self.path = folder / f"{name}.ckpt"

    @property
    def state_key(self) -> str:
        """The key that checkpoints of earlier versions have."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was best, wherever it lay: Lightning removes what is no longer best, by the path given."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        own: dict[str, Any] = {name: str(self.path) if state_dict[name] else "" for name in paths}
        own["best_k_models"] = {str(self.path): value for value in state_dict["best_k_models"].values()}
        super().load_state_dict({**state_dict, **own, "dirpath": self.dirpath})


class BestCheckpoint(OneCheckpoint):
    """That of the best epoch, which is never one whose figure is not finite.

    Args:
        folder: of the checkpoints.
        monitor: the figure that is lowest at the best epoch.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(folder, "best", monitor=monitor, save_on_train_epoch_end=False)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the best checkpoint of a training that was killed before its first epoch's end, and begins anew."""
        if trainer.is_global_zero and not trainer.ckpt_path:
            self.path.unlink(missing_ok=True)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the epoch is the best so far."""
        return current is not None and math.isfinite(current) and super().check_monitor_top_k(trainer, current)
