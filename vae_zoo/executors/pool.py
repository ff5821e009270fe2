"""The jobs of one comparison or search while they are carried out, and the table that shows them."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from filelock import FileLock, Timeout
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from vae_zoo.errors import UserError
from vae_zoo.executors.base import LOST, Executor, Handle, Job
from vae_zoo.executors.worker import refuse_links
from vae_zoo.runs import Run

POLL = 0.2  # seconds between two looks at the jobs
REPORT = 60.0  # seconds between two lines on the progress, where there is no terminal to draw a table in
STAGES = {"fit": "training", "test": "testing"}  # what a command is called in the table
SHOWN_FIRST = ("testing", "training", "waiting", "failed")


def refuse_others(folder: Path, *own: str) -> None:
    """Refuse a folder of something else to work in.

    Args:
        folder: of a comparison or a search.
        own: patterns of what has been left there if one was at work.

    Raises:
        UserError: if it is a file, or has folders in it and nothing of its own.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out: {folder} is a file, not a folder")
    there = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
    if there and not any(path for pattern in own for path in folder.glob(pattern)):
        raise UserError(f"out: {folder} has {there[0]} in it, which is of something else; choose another --out")


@dataclass
class _Started:
    handle: Handle
    offset: int  # of the log, where this start's lines begin
    epoch: int
    losses: int


class Pool:
    """Jobs on an executor, in a folder that no other process works in meanwhile.

    Leaving the context cancels the jobs that are not finished, and nothing else.

    Args:
        executor: that carries them out.
        folder: of the comparison or the search.
        command: that works there, for the error if there are two.

    Raises:
        UserError: on entering it, if another process is at work in the folder, or the engine cannot be reached.
    """

    def __init__(self, executor: Executor, folder: Path, command: str) -> None:
        self.executor, self.folder, self.command = executor, folder, command
        self.running: dict[Job, _Started] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(timeout=5)
        except Timeout:
            raise UserError(
                f"another vae-zoo {self.command} is at work in {self.folder}; wait for it, or stop it"
            ) from None
        try:
            self.executor.open(self.folder)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with ExitStack() as stack:  # from the last to the first, and each, even if another fails or Ctrl-C comes again
            stack.callback(self._lock.release)
            stack.callback(self.executor.close)
            for started in self.running.values():
                stack.callback(started.handle.cancel)

    @property
    def has_room(self) -> bool:
        """Whether the executor takes another job."""
        return self.executor.jobs is None or len(self.running) < self.executor.jobs

    def start(self, job: Job) -> None:
        """Start a job, or let it wait in the engine's queue."""
        self._start(job, losses=0)

    def _start(self, job: Job, losses: int) -> None:
        job.folder.mkdir(parents=True, exist_ok=True)
        run = Run(job.folder)
        refuse_links(run)
        offset = run.log_file.stat().st_size if run.log_file.exists() else 0
        epoch = run.epoch
        self.running[job] = _Started(self.executor.start(job), offset, epoch, losses)

    def look(self) -> list[tuple[Job, int | str]]:
        """Wait for a moment, and return the jobs that have ended since the last look, with their exit statuses.

        A job that was lost with its worker or node is started again, and goes on from its last epoch; not for ever,
        if it never comes to finish one: then `LOST` is its status.
        """
        time.sleep(max(POLL, len(self.running) / 100))
        ended = []
        for job, started in list(self.running.items()):
            status = started.handle.status()
            if status is None:
                continue
            del self.running[job]
            losses = 0 if Run(job.folder).epoch > started.epoch else started.losses
            if status == LOST and losses < self.executor.retries:
                self._start(job, losses + 1)
            else:
                ended.append((job, status))
        return ended

    def command_of(self, job: Job) -> str | None:
        """Return which command of a running job is being carried out, None if it still waits."""
        try:
            with open(Run(job.folder).log_file, "rb") as log:
                log.seek(self.running[job].offset)
                _, begun, last = log.read().rpartition(b"$ vae-zoo ")
        except FileNotFoundError:
            return None
        words = last.split(maxsplit=1) if begun else []  # none, while the line is being written
        return words[0].decode(errors="replace") if words else None

    def cancel(self, job: Job) -> None:
        """End a running job."""
        self.running.pop(job).handle.cancel()


def last_words(run: Run, status: int | str) -> str:
    """Return the last line that the commands of a run printed, or that it was lost."""
    if status == LOST:
        return "its process or its machine was lost time and again; is there enough memory?"
    said = run.log_file.read_text(errors="replace") if run.log_file.exists() else ""
    lines = said.split("$ vae-zoo ")[-1].strip().splitlines()[1:]
    return lines[-1] if lines else "it said nothing"


class Row(NamedTuple):
    """A line of the table: a run, what it is doing, and how many of its epochs are done."""

    name: str
    state: str
    done: int
    note: str = ""


class Board:
    """The progress of all runs: a table on a terminal, elsewhere a line a minute.

    Args:
        console: to print on.
        epochs: of each run.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        self.console, self.epochs, self.said = console, epochs, time.monotonic()
        self.live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def show(self, rows: Sequence[Row], told: str) -> None:
        """Show how far the runs are.

        Args:
            rows: of all runs.
            told: what else is to be said, such as the time that is left.
        """
        total = f"epochs {sum(row.done for row in rows)}/{self.epochs * len(rows)}"
        if self.console.is_terminal:
            self.live.update(self._drawn(rows, ", ".join(filter(None, (total, told)))))
        elif time.monotonic() - self.said > REPORT:
            self.said = time.monotonic()
            self.console.print(", ".join(filter(None, (total, told))))

    def _drawn(self, rows: Sequence[Row], told: str) -> Table:
        """Those that work first, as many as the terminal has lines for, and the others counted."""
        first = sorted(rows, key=lambda row: SHOWN_FIRST.index(row.state) if row.state in SHOWN_FIRST else 9)
        room = max(3, self.console.height - 4)
        shown, rest = (first, []) if len(first) <= room else (first[: room - 1], first[room - 1 :])
        if rest:
            counted = Counter(row.state for row in rest)
            told = f"and {len(rest)} more: {', '.join(f'{n} {state}' for state, n in counted.items())}\n{told}"
        table = Table("run", "", "", "epochs", "", box=None, caption=told, caption_justify="left")
        for name, state, done, note in shown:
            table.add_row(name, state, ProgressBar(self.epochs, done, width=20), f"{done}/{self.epochs}", note)
        return table
