"""What a run was made by: versions, device, source, seed."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer


def global_seed() -> int | None:
    """Return the seed that Lightning was given, None if none."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed else None


def environment(trainer: Trainer) -> dict[str, Any]:
    """Return versions, device, threads and precision."""
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("vae_zoo", "torch", "torchvision", "lightning")},
        "device": _device(trainer),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
    }


def machine(trainer: Trainer) -> str:
    """Return what determines how fast a training is: the device, and the threads."""
    return f"{_device(trainer)} ({torch.get_num_threads()} threads)"


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """Return the revision of the source that runs; None where git does not track it, as in site-packages."""
    here = Path(__file__)
    track, describe = ["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty", "--exclude=*"]
    try:
        for command in (track, [*describe, "--abbrev=40"]):
            git = ["git", "-C", str(here.parent), *command]
            said = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        return said
    except (OSError, subprocess.CalledProcessError):
        return None
