"""Checkpoints: written whole, and checked against the command line and the data that they are used with."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from vae_zoo.checkpoints import read
from vae_zoo.data.module import DataModule, Facts
from vae_zoo.errors import UserError
from vae_zoo.ids import ManyIds
from vae_zoo.runs import Run, of_checkpoint
from vae_zoo.settings import FILES, Config, arguments, class_name, conditions, differences
from vae_zoo.trust import are_texts
from vae_zoo.writing import whole

# Of a Trainer's settings, those that a training's result depends on.
HOW = {
    *("trainer.precision", "trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches"),
    *("trainer.gradient_clip_val", "trainer.gradient_clip_algorithm", "trainer.limit_train_batches"),
}


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


def refuse_other_settings(given: Config, run: Run) -> None:
    """Refuse to go on with other data settings, or another way to train, than a run began with.

    It would be one run under two settings, and be compared as if it had been under the last.

    Args:
        given: the settings of the command line.
        run: that goes on.

    Raises:
        UserError: that names the first one that differs.
    """
    before: Config = {}
    with suppress(UserError):  # a config.yaml that is damaged says nothing
        before = run.config
    ours, theirs = (
        {name: value for name, value in conditions(each, whole=True).items() if name.startswith("data") or name in HOW}
        | {"seed_everything": each.get("seed_everything")}
        for each in (given, before)
    )
    for name, here, there in differences(ours, theirs) if before else ():
        if name not in FILES:
            raise UserError(
                f"{name} is {here!r} here, and the run in {run.folder} was begun with {there!r}; leave it as it was, "
                "or give a --run_dir of its own"
            )


def refuse_other_processes(here: int, saved: dict[str, Any]) -> None:
    """Refuse to go on with another number of processes: each has its own noise and share of the images.

    Args:
        here: how many there are.
        saved: what the checkpoint holds.

    Raises:
        UserError: that names both.
    """
    there = saved.get("callbacks", {}).get("RunFolder", {}).get("processes", here)  # earlier versions do not say
    if there != here:
        raise UserError(
            f"trainer.devices x trainer.num_nodes are {here} processes here, and the run was begun with {there}; start "
            "as many, or give a --run_dir of its own"
        )


def refuse_to_replace(target: Run, checkpoint: Path, trains: bool) -> None:
    """Refuse to write what is of a checkpoint over what is of another run, or of a later state of the same one.

    Args:
        target: the run to write to.
        checkpoint: that a training goes on from, or that is measured.
        trains: whether it is a training.

    Raises:
        UserError: that says what would be lost.
    """
    last = target.checkpoint()
    if of_checkpoint(checkpoint) != target:
        if trains:
            target.refuse_trained(anew=False)
        elif target.exists:
            raise UserError(f"run_dir {target.folder} has another run in it, whose results would be replaced")
    elif trains and last.exists() and checkpoint.resolve() != last.resolve():
        raise UserError(
            f"{checkpoint} is another state of the run than its {last.name}, which would be replaced; give a --run_dir "
            "of its own to go on from there"
        )


def check_data(data: DataModule, saved: dict[str, Any], run: Run | None, goes_on: bool = False) -> None:
    """Refuse data that a checkpoint's model cannot be used with, and tell where they are not those of its training.

    Args:
        data: set up.
        saved: what the checkpoint holds.
        run: that it belongs to, if any.
        goes_on: whether the training goes on, which it does with the same data alone.

    Raises:
        UserError: if they have another shape, other labels or another scale, or a training would go on with others.
    """
    refuse_other_data(data.facts, saved)
    told = run.split if run else {}
    scale = told.get("scale")
    if isinstance(scale, float) and not math.isclose(scale, data.scale, rel_tol=1e-6):
        raise UserError(
            f"the training data's offsets were divided by {scale:.6g}, and these would be by {data.scale:.6g}: their "
            "training sketches are not those of the training"
        )
    if run is None or not data.split or told.get("sha256") == data.split_sha256:
        return
    if goes_on and "sha256" in told:
        raise UserError(
            "the data, or their split, are not those that the run was trained on; go on with these in a --run_dir of "
            "their own"
        )
    tests = data.split["test"]
    if again := run.trained_on(tests):
        about = "about " if isinstance(tests, ManyIds) or isinstance(told.get("train"), dict) else ""
        rank_zero_warn(
            f"{about}{again} of {len(tests)} test images have the ids of images that the run was trained on: the data, "
            "or their split, are no longer those of the training"
        )
    elif "sha256" in told:
        rank_zero_warn("the data, or their split, are not those that the run was trained on")


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
    told = hparams.get("captions")
    if "labels" not in hparams and not are_texts(told):
        return
    here, names = list(facts.label_names), list(told) if are_texts(told) else trained_labels(saved)
    there = names or [str(i) for i in range(hparams["labels"])]
    if there != here if names else len(there) != len(here):
        raise UserError(f"the checkpoint was trained with the labels {_listed(there)}; the data have {_listed(here)}")


def _listed(names: list[str], most: int = 10) -> str:
    """The names in a sentence, of captions the first ones."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
