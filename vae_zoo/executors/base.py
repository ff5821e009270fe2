"""What is to be carried out, and what carries it out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

LOST = "lost"  # in place of an exit status, of a job whose process, worker or node was ended from outside


@dataclass(frozen=True)
class Job:
    """Commands of ``vae-zoo`` for one run, one after the other until one fails, each in a process of its own.

    Attributes:
        folder: of the run, which is there; all machines see it under this path.
        commands: without the word ``vae-zoo``.
        epochs: the run is finished when its results are of so many.
        cwd: the folder that relative paths in the commands begin at.
    """

    folder: Path
    commands: tuple[tuple[str, ...], ...]
    epochs: int
    cwd: Path


class Handle(ABC):
    """One job that was started."""

    @abstractmethod
    def status(self) -> int | str | None:
        """Return the exit status of its last command; `LOST`; or None as long as it waits or runs."""

    @abstractmethod
    def cancel(self) -> None:
        """End it. What it has written stays."""


class Executor(ABC):
    """An engine that jobs are started on.

    Attributes:
        jobs: how many are started at a time; None: all, and the engine lets them wait.
        retries: how often a job is started again that was lost without having finished another epoch.
    """

    jobs: int | None
    retries: ClassVar[int] = 3

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Get ready, before the first job.

        Args:
            folder: of the comparison or the search.

        Raises:
            UserError: if the engine cannot be reached.
            ModuleNotFoundError: if its package is not installed.
        """

    @abstractmethod
    def start(self, job: Job) -> Handle:
        """Start a job, or let it wait until there is room for it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what `open` got hold of."""
