"""Carry out a job on this machine."""

import fcntl
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

from vae_zoo.errors import UserError
from vae_zoo.executors.base import LOST, Job
from vae_zoo.runs import Run

STOPPED = 130  # exit status of a command that was asked to end, as a cluster does before it takes a machine away


def work(job: Job) -> int | str:
    """Run a job's commands, and return the exit status of the last one, or `LOST` where a signal ended it.

    A run is worked on by one job at a time, on all machines that see its folder: where another one is at work, which
    outlived the comparison that had started it, this one waits, and then has nothing to do or goes on from there.

    Raises:
        UserError: if this machine does not see the run's folder, or something there is a link.
    """
    run = Run(job.folder)
    if not job.folder.is_dir() or not job.cwd.is_dir():
        missing = job.cwd if job.folder.is_dir() else job.folder
        raise UserError(
            f"{socket.gethostname()} has no folder {missing}; --out, the data and the folder that the command is typed "
            "in must be on a path that all machines share"
        )
    refuse_links(run)
    with open(run.lock_file, "a") as lock, open(run.log_file, "a") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if run.results and run.results["epochs"] == job.epochs:
            return 0
        for command in job.commands:
            print("$ vae-zoo", shlex.join(command), file=log, flush=True)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vae_zoo.executors.child", *command],  # -P: no modules from this folder
                stdin=subprocess.PIPE,  # whose end tells the child that this process is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=job.cwd,
                pass_fds=[lock.fileno()],  # so that the lock is held until the last of both is gone
                start_new_session=True,
            )
            if status := process.wait():
                return LOST if status < 0 or status == STOPPED else status
    return 0


def refuse_links(run: Run) -> None:
    """Raise a UserError if what a job itself writes to is a link."""
    for path in (run.log_file, run.lock_file):
        if path.is_symlink():
            raise UserError(f"{path} is a link, and nothing is written to where it leads; remove it")


def end_with_parent() -> None:
    """End this process, from a thread of its own, when the other end of its standard input is gone.

    The parent, which has it, never writes: it is gone when the parent is, however that ended.
    """

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def written(job: Job) -> str:
    """Return a job as a text, which `read` reads."""
    return json.dumps([str(job.folder), job.commands, job.epochs, str(job.cwd)])


def read(text: str) -> Job:
    """Return the job that was `written`."""
    folder, commands, epochs, cwd = json.loads(text)
    return Job(Path(folder), tuple(map(tuple, commands)), epochs, Path(cwd))
