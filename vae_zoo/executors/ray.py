"""A Ray cluster: one that is there, or one on this machine alone."""

import logging
import os
from pathlib import Path
from typing import Any

from vae_zoo.errors import UserError, require, require_positive
from vae_zoo.executors.base import LOST, Executor, Handle, Job
from vae_zoo.executors.worker import work


class _Task(Handle):
    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def status(self) -> int | str | None:
        """Return the exit status, `LOST` with its worker or node, None as long as it waits or runs."""
        import ray

        ready, _ = ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        try:
            return ray.get(self.reference)
        except ray.exceptions.RayTaskError as error:
            raise UserError(str(error.cause)) from error
        except ray.exceptions.RayError:
            _refuse_gone()
            return LOST

    def cancel(self) -> None:
        """End it, and its command with it."""
        import ray

        ray.cancel(self.reference, force=True)


class Ray(Executor):
    """Tasks on a `Ray <https://docs.ray.io>`_ cluster, ``pip install 'vae_zoo[ray]'``.

    All nodes need this package, and see the comparison's folder, the data and the current folder under the same paths.

    Args:
        address: of the cluster, ``ray://HOST:10001`` or ``HOST:6379``; None: what RAY_ADDRESS says, or else a cluster
            on this machine alone, which ends with the command.
        jobs: how many are in its queue at a time; None: all.
        cpus: cores of a job.
        gpus: GPUs of a job; None: one, where the cluster has any.
    """

    def __init__(
        self, address: str | None = None, jobs: int | None = None, cpus: int = 1, gpus: float | None = None
    ) -> None:
        require(1, jobs=jobs, optional=True)
        require(1, cpus=cpus)
        if gpus:
            require_positive(gpus=gpus)
        self.address, self.jobs, self.cpus, self.gpus = address, jobs, cpus, gpus

    def open(self, folder: Path) -> None:
        """Connect to the cluster, or start one."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else a cluster that is started here calls home
        import ray

        address = self.address or os.environ.get("RAY_ADDRESS") or "local"  # Ray itself would look for an old one, too
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # which of many depends on what is wrong with the address
            raise UserError(f"executor.address: the Ray cluster {address} cannot be reached: {error}") from error
        gpus = self.gpus if self.gpus is not None else int("GPU" in ray.cluster_resources())
        # What is lost is started again by whoever started it, who knows whether it had come any further.
        self._work = ray.remote(num_cpus=self.cpus, num_gpus=gpus, max_retries=0)(_work)

    def start(self, job: Job) -> _Task:
        """Let a job wait for its cores and GPUs."""
        return _Task(self._work.remote(job, self.cpus))

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()


def _refuse_gone() -> None:
    """Raise a UserError if there is no cluster any more."""
    import ray

    try:
        alive = any(node["Alive"] for node in ray.nodes())
    except Exception:  # which of many depends on what was going on
        alive = False
    if not alive:
        raise UserError("the Ray cluster is gone; start it again, and the same command goes on from the last epochs")


def _work(job: Job, cpus: int) -> int | str:
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    return work(job)
