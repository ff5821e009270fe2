"""Checkpoints: written whole, and checked against the command line and the data that they are used with."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from vae_zoo.checkpoints import read
from vae_zoo.data.module import Facts
from vae_zoo.errors import UserError
from vae_zoo.settings import Config, arguments, class_name, differences
from vae_zoo.writing import whole


class WholeCheckpoints(TorchCheckpointIO):
    """Rename a checkpoint into place when it is whole: a training that is killed while it saves leaves the last one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save under another name in the same folder, and rename."""
        with whole(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read and verify; nothing is executed."""
        return read(path)


def trained_labels(saved: dict[str, Any]) -> list[str] | None:
    """Return the names of the labels that a checkpoint was trained with, None if it does not say."""
    found = saved.get("callbacks", {}).get("Evaluation", {}).get("labels")
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else None


def finished_epochs(saved: dict[str, Any]) -> int:
    """Return how many epochs a checkpoint has seen to their end, 0 if it is of weights alone."""
    loop = saved.get("loops", {}).get("fit_loop")
    try:
        return int(loop["epoch_progress"]["current"]["processed"]) if loop else 0
    except (KeyError, TypeError) as error:
        raise UserError(f"the checkpoint's record of its epochs is damaged ({error}); use another one") from None


def refuse_another_model(given: Config, saved: dict[str, Any]) -> None:
    """Refuse a model other than the checkpoint's, which Lightning would take silently.

    Args:
        given: the settings of the command line.
        saved: what the checkpoint holds.

    Raises:
        UserError: that names the first argument that differs.
    """
    hparams = saved["hyper_parameters"]
    here = {"class": class_name(given["model"]), **arguments(given, "model")}
    there = {"class": class_name(hparams["_class_path"]), **hparams}
    for path, ours, theirs in differences(here, there, "model"):
        raise UserError(
            f"{path} is {ours!r} here, but {theirs!r} in the checkpoint; leave it out, or train a new model"
        )


def refuse_another_size(given: Config, shape: Any) -> None:
    """Refuse images of another size than the model's before they are decoded, which could fill a disk.

    Args:
        given: all settings.
        shape: of what the model is for, (C, H, W) of images.

    Raises:
        UserError: that names both.
    """
    size = arguments(given, "data").get("image_size")
    sides = [size, size] if isinstance(size, int) else size
    if sides and isinstance(shape, list | tuple) and list(sides) != list(shape[1:]):
        raise UserError(
            f"the checkpoint was trained on images of {' x '.join(map(str, shape[1:]))} pixels, and data.image_size is "
            f"{size}"
        )


def refuse_other_data(facts: Facts, saved: dict[str, Any]) -> None:
    """Refuse data of another shape or with other labels than the checkpoint's model was trained on.

    Raises:
        UserError: that names both.
    """
    hparams = saved["hyper_parameters"]
    shape = hparams.get("shape", facts.shape)
    if not isinstance(shape, list | tuple) or tuple(shape) != tuple(facts.shape):
        shown = tuple(shape) if isinstance(shape, list | tuple) else shape
        raise UserError(
            f"the checkpoint was trained on data of shape {shown}, these have {tuple(facts.shape)}; set "
            "--data.image_size and --data.channels, or --data.max_length, as they were"
        )
    if "labels" not in hparams:
        return
    here, names = list(facts.label_names), trained_labels(saved)
    there = names or [str(i) for i in range(hparams["labels"])]
    if there != here if names else len(there) != len(here):
        raise UserError(
            f"the checkpoint was trained with the labels {', '.join(there)}; the data have {', '.join(here)}"
        )
