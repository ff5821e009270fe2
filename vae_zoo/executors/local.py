"""Processes on this machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

from vae_zoo.errors import require
from vae_zoo.executors.base import LOST, Executor, Handle, Job
from vae_zoo.executors.worker import written

T = TypeVar("T")


class _Process(Handle):
    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process

    def status(self) -> int | str | None:
        """Return the exit status, `LOST` where it was killed, None as long as it runs."""
        status = self.process.poll()
        return LOST if status is not None and status < 0 else status

    def cancel(self) -> None:
        """Kill it; its command ends with it."""
        self.process.kill()
        self.process.wait()


class Local(Executor):
    """Processes on this machine, each with its share of the cores and of the GPUs.

    Of several jobs at a time each is held to its own cores, where the system can (on Linux), so that none takes another
    one's time, and sees its own GPUs alone. Where there are more jobs than GPUs, they take turns in sharing them.

    Args:
        jobs: how many at a time.
    """

    def __init__(self, jobs: int = 1) -> None:
        require(1, jobs=jobs)
        self.jobs: int = jobs
        self.seats: list[_Process | None] = [None] * jobs

    def open(self, folder: Path) -> None:
        """Look for the cores and GPUs there are."""
        self.cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [*range(os.cpu_count() or 1)]
        self.gpus = _gpus() if self.jobs > 1 else []

    def start(self, job: Job) -> _Process:
        """Start a job in a process."""
        seat = next(i for i, there in enumerate(self.seats) if there is None or there.status() is not None)
        environment, cores = dict(os.environ), share(self.cores, seat, self.jobs)
        if self.jobs > 1:
            environment.setdefault("OMP_NUM_THREADS", str(len(cores)))
        if len(self.gpus) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share(self.gpus, seat, self.jobs))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vae_zoo.executors", written(job)],  # -P: no modules from this folder
            stdin=subprocess.PIPE,  # whose end tells the worker that this process is gone
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the others
        )
        if self.jobs > 1 and sys.platform == "linux":
            os.sched_setaffinity(process.pid, cores)  # before it has started any thread
        self.seats[seat] = _Process(process)
        return self.seats[seat]  # type: ignore[return-value]  # which it is not None

    def close(self) -> None:
        """Do nothing: each process ends by itself, or is cancelled."""


def share(things: list[T], seat: int, seats: int) -> list[T]:
    """Return what one of several seats has of some things: an equal part, or, where they are too few, one of them."""
    return things[seat * len(things) // seats : (seat + 1) * len(things) // seats] or [things[seat % len(things)]]


def _gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each for each in named.split(",") if each]
    import torch  # here, since a worker need not wait for it

    return [str(i) for i in range(torch.cuda.device_count())]
