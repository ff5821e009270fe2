"""What training costs: time per epoch, images per second, waiting for data, memory."""

import ctypes
import resource
import statistics
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.callbacks.environment import machine
from vae_zoo.errors import UserError

FIGURES = ("seconds_per_epoch", "images_per_second", "data_wait_share", "peak_memory_mb", "train_seconds")


class Timing(Callback):
    """Measure training time alone: no validation or images, and no checkpoints but those inside an epoch.

    The device is synchronised where an epoch begins and ends. The first epoch, which warms up, is left out unless it
    is the only one; of the others the median counts. An epoch that was cut short counts nowhere. What is measured
    travels in the checkpoint.

    Logged after each epoch: timing/seconds_per_epoch, images_per_second, data_wait_share, peak_memory_mb,
    train_seconds. data_wait_share is the share of the time between one step's end and the next one's begin: fetching
    the batch, moving it to the device, and Lightning's own work; so it bounds the wait for data from above.
    peak_memory_mb, of 10^6 bytes, is of the same stretch of time: the device's allocations, or the whole process's
    memory on a CPU; only Linux can reset that peak, elsewhere it is the highest so far.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.machines: list[str] = []
        self._begin: float | None = None  # None in an epoch that was begun by another process
        self._step_end = self._pause = self._waited = self._paused = self._peak = 0.0
        self._images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the machine; a training that went on elsewhere has several."""
        self._begin = None
        self.machines = sorted({*self.machines, machine(trainer)})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        synchronise(pl_module.device)
        forget_peak_memory(pl_module.device)
        self._begin = self._step_end = perf_counter()
        self._waited = self._paused = self._peak = 0.0
        self._images = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the time since the last step as waiting."""
        self._waited += perf_counter() - self._step_end

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images; after the last batch, stop the clock before validation begins."""
        self._images += len(batch[0]) * trainer.world_size
        if batch_idx + 1 == trainer.num_training_batches and self._begin is not None:
            synchronise(pl_module.device)
            seconds = perf_counter() - self._begin - self._paused
            epoch = {"seconds": seconds, "waited": self._waited, "images": float(self._images)}
            self.epochs.append(epoch | {"peak_memory_mb": max(self._peak, peak_memory(pl_module.device))})
        self._step_end = perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, for a validation in the middle of an epoch."""
        synchronise(pl_module.device)
        self._peak = max(self._peak, peak_memory(pl_module.device))
        self._pause = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        forget_peak_memory(pl_module.device)
        self._step_end = perf_counter()
        self._paused += self._step_end - self._pause

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what is known so far, at once: a run that is killed after its checkpoint must not lack it."""
        figures = {f"timing/{name}": value for name, value in summarise(self.epochs).items() if value is not None}
        for logger in trainer.loggers if figures else []:
            logger.log_metrics({**figures, "epoch": trainer.current_epoch}, trainer.global_step - 1)
            logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Return the measured epochs, plain numbers, and the machines."""
        return {"epochs": self.epochs, "machines": self.machines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the epochs measured before a resume."""
        self.epochs = checked_epochs(state_dict["epochs"])
        self.machines = [str(each) for each in state_dict.get("machines", [])]


def checked_epochs(epochs: Any) -> list[dict[str, float]]:
    """Return measured epochs that a checkpoint holds, or raise a UserError if they are none."""
    try:
        if all(0 < each["seconds"] < 1e9 and each["images"] >= 0 and each["waited"] >= 0 for each in epochs):
            return [dict(each, peak_memory_mb=float(each["peak_memory_mb"])) for each in epochs]
    except (TypeError, KeyError, ValueError):
        pass
    raise UserError("the checkpoint's measured epochs are damaged; use another checkpoint")


def summarise(epochs: list[dict[str, float]]) -> dict[str, float | None]:
    """Reduce the measured epochs to the figures of `Timing`, None each if there is no epoch."""
    if not epochs:
        return dict.fromkeys(FIGURES)
    warm = epochs[1:] or epochs
    return {
        "seconds_per_epoch": statistics.median(epoch["seconds"] for epoch in warm),
        "images_per_second": statistics.median(epoch["images"] / epoch["seconds"] for epoch in warm),
        "data_wait_share": sum(epoch["waited"] for epoch in warm) / sum(epoch["seconds"] for epoch in warm),
        "peak_memory_mb": max(epoch["peak_memory_mb"] for epoch in epochs),
        "train_seconds": sum(epoch["seconds"] for epoch in epochs),
    }


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told to."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def forget_peak_memory(device: torch.device) -> None:
    """Begin to look for the peak anew, where the system can: what came before training does not count."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what was freed and kept
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """The device's allocations, or the whole process on a CPU, at their highest since `forget_peak_memory`, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    with suppress(OSError, KeyError):  # on Linux ru_maxrss is a parent's, if that was larger when this process began
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["VmHWM"].removesuffix(" kB")) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
