"""Jobs of executors that take a second, what became of them, and an executor that does as it is told."""

import os
import time
from pathlib import Path

from vae_zoo.executors import Executor, Handle, Job

QUICK = (("data", "shapes", "--n", "4", "--out", "made"),)
WRONG = (("fit", "--nonsense", "1"),)


def made_job(folder, commands=QUICK, epochs=1):
    """A job whose commands are carried out in the folder's parent."""
    folder.mkdir(exist_ok=True)
    return Job(folder, commands, epochs, folder.parent)


def ended(handle, seconds=120):
    """Wait for a job's end, and return its status."""
    end = time.monotonic() + seconds
    while (status := handle.status()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return status


def processes_of(folder):
    """The command lines of processes whose command names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(folder).encode() in word for word in words):
            found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


class Scripted(Executor):
    """An engine whose jobs end as they are told to.

    Args:
        statuses: of the jobs, in the order in which they are started; None never ends.
        jobs: at a time.
    """

    def __init__(self, statuses: list[int | str | None], jobs: int | None = None):
        self.statuses, self.jobs = [*statuses], jobs
        self.started, self.cancelled, self.closed = [], [], False

    def open(self, folder):
        self.folder = folder

    def start(self, job):
        self.started.append(job)
        status = self.statuses.pop(0)
        engine = self

        class Started(Handle):
            def status(self):
                return status

            def cancel(self):
                engine.cancelled.append(job)

        return Started()

    def close(self):
        self.closed = True
