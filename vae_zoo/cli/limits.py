"""What the Trainer may be told, and what Lightning refuses by itself, each in a sentence."""

import math
import traceback
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Trainer

from vae_zoo.errors import UserError

# The least value of each number, where Lightning looks at none or says nothing of what is wrong.
LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
    "val_check_interval": 0,
}
PRECISIONS = {None, "32", "32-true", "bf16", "bf16-mixed", "16", "16-mixed"}
LIGHTNING = f"{Path(lightning.__file__).parent}/"
RESTORING = "connectors/checkpoint_connector.py"


def check(trainer: Any) -> None:
    """Refuse settings of the Trainer that no training can have.

    Raises:
        UserError: that names the first of them.
    """
    for name, least in LEAST.items():
        value = trainer[name]
        if isinstance(value, int | float) and not least <= value < math.inf:
            raise UserError(f"trainer.{name} must be at least {least}, got {value}")
    if (None if trainer.precision is None else str(trainer.precision)) not in PRECISIONS:
        raise UserError(f"trainer.precision {trainer.precision}: it is 32-true, or bf16-mixed for more speed")
    if str(trainer.devices) in ("0", "-1") and trainer.accelerator == "cpu":
        raise UserError(f"trainer.devices {trainer.devices}: with a CPU it is a number of processes, 1 or more")


def check_synchronised(trainer: Trainer, synchronised: bool) -> None:
    """Refuse to synchronise batch normalisation on a CPU, which PyTorch cannot.

    Raises:
        UserError: that says so.
    """
    if synchronised and trainer.strategy.root_device.type == "cpu":
        raise UserError(
            "trainer.sync_batchnorm: PyTorch synchronises batch normalisation between GPUs alone; leave it out, and "
            "each process normalises by its share of a batch"
        )


def refusal(error: BaseException) -> UserError | None:
    """Return as a UserError what Lightning itself refuses; None for an error that comes from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, UserError) and any(frame.filename.endswith(RESTORING) for frame in frames):
        return UserError(f"ckpt_path: the checkpoint cannot be restored ({type(error).__name__}: {error})")
    return UserError(f"trainer: {' '.join(str(error).split())}") if frames[-1].filename.startswith(LIGHTNING) else None
