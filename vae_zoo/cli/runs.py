"""Run folders, ``runs/<model>/version_N``, and the checkpoints in them."""

from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from vae_zoo.data.module import SplitDataModule
from vae_zoo.errors import UserError

RUNS = Path("runs")


def find_checkpoint(given: str, runs: Path = RUNS / "*" / "*") -> Path | None:
    """Turn ``last`` or ``auto``, both the newest run's, or a file's name into a path; None for ``auto`` without a run.

    Args:
        given: what ``--ckpt_path`` says.
        runs: which run folders to look in, with * for any name.

    Raises:
        UserError: if there is no such file, or no run for ``last``.
    """
    if given in ("last", "auto"):
        found = map(Path, glob(str(runs / "checkpoints" / "last.ckpt")))
        newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None and given == "last":
            raise UserError(f"there is no trained model in {runs}; train one with vae-zoo fit, or give --ckpt_path")
        return newest
    if not Path(given).is_file():
        raise UserError(f"--ckpt_path {given}: there is no such checkpoint file")
    return Path(given)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint file holds, on the CPU; it is not executed."""
    return torch.load(path, map_location="cpu", weights_only=True)


def trained_labels(saved: dict[str, Any]) -> list[str] | None:
    """Return the names of the labels that a checkpoint was trained with, None if it does not say."""
    return saved.get("callbacks", {}).get("Evaluation", {}).get("labels")


def remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that was refused; one with a run in it stays."""
    with suppress(OSError):
        folder.rmdir()


def run_folder(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, None if it lies elsewhere."""
    folder = checkpoint.resolve().parent
    return folder.parent if folder.name == "checkpoints" else None


def data_of_run(checkpoint: Path, otherwise: str) -> SplitDataModule:
    """Return the data, set up, of the run that a checkpoint belongs to.

    Args:
        checkpoint: its file.
        otherwise: what to do if it lies in no run folder, for the error.
    """
    folder = run_folder(checkpoint)
    if folder is None or not (folder / "config.yaml").is_file():
        raise UserError(f"{checkpoint} is not in a run folder with a config.yaml; {otherwise}")
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    data = yaml.safe_load((folder / "config.yaml").read_text())["data"]
    datamodule = parser.instantiate(parser.parse_object({"data": data})).data
    datamodule.prepare_data()
    datamodule.setup("test")
    return datamodule
