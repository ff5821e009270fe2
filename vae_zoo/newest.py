"""Which run is meant: the newest one, or the next."""

import os
from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from itertools import count
from pathlib import Path

from vae_zoo.errors import UserError
from vae_zoo.runs import Run

RUNS = Path("runs")
EVERY = (RUNS / "*" / "*", RUNS / "*")  # run folders: those that are numbered, and those that a --run_dir names
NEWEST = ("last", "auto")  # what the newest checkpoint may be called


def newest_checkpoint(*runs: Path) -> Path | None:
    """Return the newest run's last checkpoint, None if there is no run; `runs` may have * for any name."""
    there = (Path(path) for pattern in runs for path in glob(str(Run(pattern).checkpoint())))
    return max(there, key=lambda path: path.stat().st_mtime, default=None)


def find_checkpoint(given: str, runs: Sequence[Path] = EVERY, folders: bool = False) -> Path:
    """Turn ``last`` or ``auto``, both the newest run's, or a file's name into a path.

    Args:
        given: what ``--ckpt_path`` says.
        runs: which run folders to look in, with * for any name.
        folders: whether it may be a folder that a model was exported to.

    Raises:
        UserError: if there is no such file or run.
    """
    if given in NEWEST:
        if (newest := newest_checkpoint(*runs)) is None:
            raise UserError(f"there is no trained model in {runs[0]}; train one with vae-zoo fit, or give --ckpt_path")
        if first_process():
            print(f"using {newest}")
        return newest
    if Run(Path(given)).checkpoint().is_file():
        raise UserError(f"--ckpt_path {given} is the folder of a run; give its {Run(Path(given)).checkpoint()}")
    if Path(given).is_dir() and not folders:
        raise UserError(
            f"--ckpt_path {given} is a folder; give a checkpoint file, which alone says what a run was trained for"
        )
    if not Path(given).exists():
        raise UserError(f"--ckpt_path {given}: there is no such checkpoint file")
    return Path(given)


def first_process() -> bool:
    """Whether this is the first process of a training on all machines, which alone writes and speaks.

    Whatever started it has put its numbers, which are 0 in the first alone, into the environment: torchrun RANK, srun
    SLURM_PROCID, Lightning LOCAL_RANK beside a NODE_RANK that the user gives. Lightning itself knows only later.
    """
    return not any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def new_run(model: str) -> Run:
    """Make the folder of the next run of a model, ``version_N``, which no other process then takes."""
    numbers = [int(path.name[8:]) for path in (RUNS / model).glob("version_*") if path.name[8:].isdigit()]
    for number in count(max(numbers, default=-1) + 1):
        folder = (RUNS / model / f"version_{number}").resolve()
        if not first_process():
            return Run(folder)
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            return Run(folder)
    raise AssertionError
