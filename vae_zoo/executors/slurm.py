"""A SLURM cluster, by submitit."""

import getpass
import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from vae_zoo.errors import UserError, require
from vae_zoo.executors.base import LOST, Executor, Handle, Job
from vae_zoo.executors.worker import work, written
from vae_zoo.writing import whole

FOLDER = ".slurm"  # below that of the comparison: what SLURM's jobs are made of, and print


class Work:
    """A job as SLURM runs it, which leaves its exit status in a file: nothing is unpickled that was found.

    Args:
        job: what is to be done.
        status_file: to write.
    """

    def __init__(self, job: Job, status_file: Path) -> None:
        self.job, self.status_file = job, status_file

    def __call__(self) -> None:
        """Do it."""
        try:
            status = str(work(self.job))
        except UserError as error:
            status = str(error)
        if status == LOST:  # SLURM runs it once more, or else whoever submitted it
            return
        with whole(self.status_file) as file:
            file.write_text(status)

    def checkpoint(self) -> Any:
        """Return what SLURM is to run once more where its time was over, or others had precedence."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Submitted(Handle):
    def __init__(self, job: Any, status_file: Path) -> None:
        self.job, self.status_file = job, status_file

    def status(self) -> int | str | None:
        """Return the exit status, `LOST` where the job ended without one, None as long as it waits or runs."""
        ended = self.job.done()  # asked first: the file is written before the end
        try:
            said = self.status_file.read_text()
        except FileNotFoundError:
            return LOST if ended else None
        if said.lstrip("-").isdecimal():
            return int(said)
        raise UserError(said)

    def cancel(self) -> None:
        """Cancel it."""
        self.job.cancel(check=False)


class Slurm(Executor):
    """Jobs of a SLURM cluster, by `submitit <https://github.com/facebookincubator/submitit>`_.

    ``pip install 'vae_zoo[slurm]'``. Type the command on a machine that can submit. All nodes see the comparison's
    folder, the data, the current folder and the Python environment under the same paths. A job whose time is over, or
    that is preempted, is queued again. The jobs outlive the command: one that is killed finds them in the queue when it
    is typed again.

    Args:
        partition: to submit to; None: the cluster's default.
        minutes: that a job may take.
        cpus: cores of a job.
        gpus: GPUs of a job.
        memory_gb: of a job; None: the cluster's default.
        account: to charge; None: the user's default.
        setup: lines of a shell before the job, such as ``module load cuda``.
        options: further options of ``sbatch`` by their long names, such as ``{constraint: a100}``.
        jobs: how many are in the queue at a time; None: all, or one where there is no cluster.
        cluster: "slurm"; or, to try things out without one, "local", processes of this machine, or "debug", this
            process, one job after the other.
    """

    def __init__(
        self,
        partition: str | None = None,
        minutes: int = 1440,
        cpus: int = 4,
        gpus: int = 1,
        memory_gb: int | None = None,
        account: str | None = None,
        setup: list[str] | None = None,
        options: dict[str, Any] | None = None,
        jobs: int | None = None,
        cluster: Literal["slurm", "local", "debug"] = "slurm",
    ) -> None:
        require(1, minutes=minutes, cpus=cpus)
        require(0, gpus=gpus)
        require(1, jobs=jobs, memory_gb=memory_gb, optional=True)
        self.jobs = 1 if jobs is None and cluster != "slurm" else jobs  # the others have no queue
        self.cluster, self.cpus = cluster, cpus
        self.parameters: dict[str, Any] = {"timeout_min": minutes, "cpus_per_task": cpus, "gpus_per_node": gpus}
        if memory_gb:
            self.parameters["mem_gb"] = memory_gb
        own = {"partition": partition, "account": account, "setup": setup, "additional_parameters": options}
        self.parameters |= {f"slurm_{name}": value for name, value in own.items() if value}

    def open(self, folder: Path) -> None:
        """Look for the cluster."""
        import submitit

        self.folder = folder.absolute() / FOLDER
        try:
            self._engine = submitit.AutoExecutor(folder=self.folder, cluster=self.cluster)
            self._engine.update_parameters(**self.parameters)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"executor Slurm: {' '.join(str(error).split())}") from error
        self._queued = _queue() if self.cluster == "slurm" else {}

    def start(self, job: Job) -> _Submitted:
        """Submit a job, or find the one for this run that an earlier command submitted."""
        import submitit

        name = f"vae_zoo-{hashlib.sha256(written(job).encode()).hexdigest()[:16]}"
        if number := self._queued.pop(name, None):
            return _Submitted(submitit.SlurmJob(self.folder, number), self.folder / f"{name}.status")
        status_file = self.folder / f"{name}.status"
        status_file.unlink(missing_ok=True)
        self._engine.update_parameters(name=name)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = before or str(self.cpus)
        try:
            with _errors_to(self.folder / "local.err") if self.cluster == "local" else nullcontext():
                return _Submitted(self._engine.submit(Work(job, status_file)), status_file)
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]

    def close(self) -> None:
        """Do nothing: each job ends by itself, or is cancelled."""


@contextmanager
def _errors_to(path: Path) -> Iterator[None]:
    """Let processes that are started meanwhile write their errors to a file: submitit's own speak when cancelled."""
    terminal = os.dup(2)
    try:
        with open(path, "a") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _queue() -> dict[str, str]:
    """The numbers of this user's jobs in the queue, by name."""
    command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i %j"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"executor Slurm: {command[0]} failed ({error}); is this a machine of the cluster?") from error
    return {name: number for number, _, name in (line.strip().partition(" ") for line in listed.splitlines())}
