"""The run that callbacks write to, the data that they may consult, and the model."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.data.module import DataModule
from vae_zoo.models import GenerativeModel
from vae_zoo.runs import Run


class RunFolder(Callback):
    """Says where the run's files go, whatever logger there is, and how many processes train; the command adds it.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes = 1

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the processes."""
        self._processes = trainer.world_size

    def state_dict(self) -> dict[str, Any]:
        """Return how many processes there are, without which a training does not go on to the same numbers."""
        return {"processes": self._processes}


def run_of(trainer: Trainer) -> Run | None:
    """Return the run to write to: that of a `RunFolder`, else the logger's folder.

    None where there is neither, and on all processes but the first.
    """
    folder = trainer.log_dir  # all processes must ask for it, since the first one tells the others
    said = next((c.folder for c in trainer.callbacks if isinstance(c, RunFolder)), None)  # type: ignore[attr-defined]
    where = said or (Path(folder) if folder and trainer.loggers else None)
    return Run(where) if where and trainer.is_global_zero else None


def data_of(trainer: Trainer) -> DataModule | None:
    """Return the data module; None where a Trainer was given loaders alone."""
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, and does not declare it


def model_of(pl_module: LightningModule) -> GenerativeModel:
    """Return the model, which must be one of this package's kind."""
    if not isinstance(pl_module, GenerativeModel):
        raise TypeError(f"the callbacks of vae_zoo need a vae_zoo model, got {type(pl_module).__name__}")
    return pl_module
