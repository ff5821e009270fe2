"""Trainings on Ray and on SLURM: their status, what is lost and found again, and clusters that are not there."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import fake_slurm
from tests.jobs import QUICK, WRONG, ended, made_job, processes_of
from vae_zoo.errors import UserError
from vae_zoo.executors import LOST, Job, Ray, Slurm
from vae_zoo.runs import Run


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster on this machine."""
    pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield own.address
    own.shutdown()


@pytest.mark.slow
def test_ray(cluster, tmp_path):
    """Jobs end with their status, are lost with their worker, and their commands end with them."""
    engine = Ray(address=cluster)
    engine.open(tmp_path)
    try:
        good, bad = engine.start(made_job(tmp_path / "good")), engine.start(made_job(tmp_path / "bad", WRONG))
        assert ended(good) == 0 and ended(bad) == 2
        with pytest.raises(UserError, match="has no folder"):
            ended(engine.start(Job(tmp_path / "nowhere", QUICK, 1, tmp_path)))
        long = (("data", "shapes", "--n", "100000", "--out", str(tmp_path / "long")),)
        for end in ("kill", "cancel"):
            handle = engine.start(made_job(tmp_path / end, long))
            while not (children := processes_of(tmp_path / "long")):
                time.sleep(0.1)
            if end == "kill":
                os.kill(
                    int(Path(f"/proc/{children[0]}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL
                )
                assert ended(handle) == LOST
            else:
                handle.cancel()
            stop = time.monotonic() + 20
            while processes_of(tmp_path / "long"):
                assert time.monotonic() < stop
                time.sleep(0.1)
    finally:
        engine.close()


def test_a_ray_cluster_that_is_not_there(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="executor.address: the Ray cluster nowhere://x cannot be reached"):
        Ray(address="nowhere://x").open(tmp_path)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster in whose queue there is a job of somebody else."""
    pytest.importorskip("submitit")
    folder = fake_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    foreign = subprocess.Popen(["sleep", "100"], start_new_session=True)
    (folder / "99.job").write_text(f"other {foreign.pid}")
    yield folder
    assert foreign.poll() is None
    foreign.kill()


@pytest.mark.slow
def test_slurm(slurm, tmp_path):
    """Jobs end with their status, are found in the queue again, and only those are cancelled that are one's own."""
    engine = Slurm(gpus=0, cpus=1)
    engine.open(tmp_path)
    good, bad = engine.start(made_job(tmp_path / "good")), engine.start(made_job(tmp_path / "bad", WRONG))
    assert (ended(good), ended(bad)) == (0, 2)
    long = made_job(tmp_path / "long", (("data", "shapes", "--n", "100000", "--out", str(tmp_path / "much")),))
    first = engine.start(long)
    assert first.status() is None
    # The command is killed, and typed again.
    again = Slurm(gpus=0, cpus=1)
    again.open(tmp_path)
    found = again.start(long)
    assert found.job.job_id == first.job.job_id and found.status() is None
    assert len([*slurm.glob("*.job")]) == 4  # nothing was submitted twice
    found.cancel()
    assert (slurm / "cancelled").read_text().split() == [first.job.job_id]
    found.job.watcher.clear()
    assert ended(found) == LOST
    # It left nothing behind, and is done anew.
    more = Slurm(gpus=0, cpus=1)
    more.open(tmp_path)
    assert more.start(made_job(tmp_path / "good")).job.job_id not in (good.job.job_id, first.job.job_id)


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_queued_again(slurm, tmp_path):
    """SLURM sends a signal some time before; the command ends with the job, and is begun again."""
    engine = Slurm(gpus=0, cpus=1)
    engine.open(tmp_path)
    job = made_job(tmp_path / "long", (("data", "shapes", "--n", "100000", "--out", str(tmp_path / "much")),))
    handle = engine.start(job)
    number = handle.job.job_id

    def begun(times):
        end = time.monotonic() + 120
        while not (Run(job.folder).log_file.exists() and log().count("$ vae-zoo data") == times):
            assert time.monotonic() < end
            time.sleep(0.1)

    def log():
        return Run(job.folder).log_file.read_text()

    begun(1)
    first = (slurm / f"{number}.job").read_text()
    os.killpg(int(first.split()[1]), signal.SIGUSR2)
    begun(2)
    assert (slurm / f"{number}.job").read_text() != first and handle.status() is None
    handle.cancel()
    assert len([*slurm.glob("*.job")]) == 2  # nothing was submitted anew


@pytest.mark.slow
@pytest.mark.parametrize("where", ["local", "debug"])
def test_slurm_without_a_cluster(where, tmp_path):
    pytest.importorskip("submitit")
    engine = Slurm(gpus=0, cpus=1, cluster=where)
    assert engine.jobs == 1
    engine.open(tmp_path)
    assert ended(engine.start(made_job(tmp_path / "good"))) == 0
    assert ended(engine.start(made_job(tmp_path / "bad", WRONG))) == 2
    with pytest.raises(UserError, match="has no folder"):
        ended(engine.start(Job(tmp_path / "nowhere", QUICK, 1, tmp_path)))


def test_slurm_where_there_is_none(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="executor Slurm: .*srun"):
        Slurm().open(tmp_path)
