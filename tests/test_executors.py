"""Where trainings run: shares of a machine, one job a run, lost workers, and how an executor is named."""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import call
from tests.jobs import QUICK, WRONG, Scripted, ended, made_job, processes_of
from tests.run_folders import made_run
from vae_zoo.cli import trainings
from vae_zoo.cli.engines import executor_of
from vae_zoo.errors import UserError
from vae_zoo.executors import LOST, Job, Local, Ray, Slurm, worker
from vae_zoo.executors.local import share
from vae_zoo.executors.slurm import Work
from vae_zoo.runs import Run


def environment_of(pid):
    """The environment of a process, which the system shows some moments after its start."""
    end = time.monotonic() + 20
    while not (found := Path(f"/proc/{pid}/environ").read_bytes()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found.split(b"\0")


@pytest.mark.parametrize("things, seats", [(8, 1), (8, 2), (8, 3), (2, 2), (1, 4), (3, 5)])
def test_shares_are_equal_and_nobody_goes_without(things, seats):
    shares = [share([*range(things)], seat, seats) for seat in range(seats)]
    assert {thing for each in shares for thing in each} == {*range(things)}
    sizes = sorted(map(len, shares))
    assert sizes[0] >= 1 and sizes[-1] - sizes[0] <= 1
    if things >= seats:
        assert sum(sizes) == things  # nothing is given twice


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which cores a process is held to")
def test_each_process_has_its_own_cores_and_gpu(tmp_path, monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core cannot be shared out")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    local = Local(jobs=2)
    local.open(tmp_path)
    handles = [local.start(made_job(tmp_path / name)) for name in "ab"]
    try:
        held = [os.sched_getaffinity(handle.process.pid) for handle in handles]
        assert not held[0] & held[1] and held[0] | held[1] == {*cores}
        told = [environment_of(handle.process.pid) for handle in handles]
        for environment, gpu, own in zip(told, (b"3", b"5"), held, strict=True):
            assert b"CUDA_VISIBLE_DEVICES=" + gpu in environment
            assert b"OMP_NUM_THREADS=%d" % len(own) in environment
        handles[0].cancel()
        third = local.start(made_job(tmp_path / "c"))  # takes the seat that is free
        assert os.sched_getaffinity(third.process.pid) == held[0]
    finally:
        for handle in (*handles, third):
            handle.cancel()


@pytest.mark.slow
def test_a_job_runs_its_commands_until_one_fails_and_leaves_a_finished_run_alone(tmp_path):
    job = made_job(tmp_path / "run", (*QUICK, *WRONG, *QUICK))
    assert worker.work(job) == 2
    log = Run(job.folder).log_file.read_text()
    assert log.count("$ vae-zoo data") == 1 and "there is no option" in log or "nonsense" in log
    assert (tmp_path / "made").is_dir()  # relative paths begin where the command was typed
    finished = made_run(tmp_path, "base")
    again = Job(finished.folder, WRONG, finished.tested["epochs"], tmp_path)
    assert worker.work(again) == 0 and not finished.log_file.read_text()


@pytest.mark.slow
def test_two_jobs_never_work_on_one_run_at_once(tmp_path):
    local = Local()
    local.open(tmp_path)
    job = made_job(tmp_path / "run")
    with open(Run(job.folder).lock_file, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        handle = local.start(job)
        time.sleep(2)
        assert handle.status() is None and not Run(job.folder).log_file.read_text()
    assert ended(handle) == 0


@pytest.mark.slow
@pytest.mark.parametrize("who", ["worker", "command"])
def test_a_process_that_is_killed_is_lost(who, tmp_path):
    local = Local()
    local.open(tmp_path)
    long = (("data", "shapes", "--n", "100000", "--out", str(tmp_path / "long")),)
    handle = local.start(made_job(tmp_path / "run", long))
    while len(found := processes_of(tmp_path / "long")) < 2:
        time.sleep(0.1)
    (command,) = {*found} - {handle.process.pid}
    os.kill(handle.process.pid if who == "worker" else command, signal.SIGKILL)
    assert ended(handle) == LOST
    assert ended(local.start(made_job(tmp_path / "run"))) == 0  # its seat is free


@pytest.mark.parametrize("status, said", [(0, 0), (1, 1), (2, 2), (130, LOST), (-15, LOST)])
def test_a_command_that_a_signal_ended_is_lost_and_leaves_no_status(status, said, tmp_path, monkeypatch):
    ends = ["-c", f"import os, sys; sys.exit({status}) if {status} >= 0 else os.kill(os.getpid(), -({status}))"]
    started = subprocess.Popen
    monkeypatch.setattr(worker.subprocess, "Popen", lambda words, **how: started([sys.executable, *ends], **how))
    job = made_job(tmp_path / "run")
    assert worker.work(job) == said
    Work(job, tmp_path / "status")()
    assert (tmp_path / "status").exists() == (said != LOST)


def test_what_a_worker_refuses(tmp_path):
    with pytest.raises(UserError, match="has no folder .*nowhere; --out, the data and .* that all machines share"):
        worker.work(Job(tmp_path / "nowhere", QUICK, 1, tmp_path))
    job = made_job(tmp_path / "run")
    Run(job.folder).log_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="log.txt is a link"):
        worker.work(job)
    assert not (tmp_path / "elsewhere").exists()
    assert worker.read(worker.written(job)) == job


def test_executors_are_named_as_one_types_them():
    assert isinstance(executor_of([]), Local) and executor_of(["--executor.jobs=3"]).jobs == 3
    ray = executor_of(["--executor=ray", "--executor.address=ray://host:10001", "--executor.gpus=0.5"])
    assert isinstance(ray, Ray) and (ray.address, ray.gpus, ray.jobs) == ("ray://host:10001", 0.5, None)
    slurm = executor_of(["--executor=Slurm", "--executor.partition=gpu", "--executor.setup=[module load cuda]"])
    assert slurm.parameters["slurm_partition"] == "gpu" and slurm.parameters["slurm_setup"] == ["module load cuda"]
    assert isinstance(executor_of(["--executor=tests.jobs.Scripted", "--executor.statuses=[0]"]), Scripted)
    assert isinstance(executor_of(["--executor.class_path=Slurm", "--executor.init_args.gpus=0"]), Slurm)


@pytest.mark.parametrize(
    "given", ["slurm", {"class_path": "vae_zoo.executors.Slurm", "init_args": {"partition": "gpu", "cpus": 8}}]
)
def test_what_is_typed_counts_more_than_the_executor_of_the_yaml(given, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"executor": given}))
    parser = argparse.ArgumentParser(allow_abbrev=False)
    trainings.add_arguments(parser, "none")

    def executor(*words):
        return trainings.parse(parser, ["--config", str(path), *words], []).executor

    assert isinstance(executor("--executor", "local"), Local)
    assert executor("--executor", "ray", "--executor.cpus", "3").cpus == 3
    same = executor("--executor", "slurm", "--executor.cpus", "2")
    expected = None if given == "slurm" else "gpu"
    assert same.cpus == 2 and same.parameters.get("slurm_partition") == expected


@pytest.mark.parametrize(
    "words, message",
    [
        (["--executor=slrm"], "^executor: there is no 'slrm'"),
        (["--executor=slurm", "--executor.partitoin=gpu"], "there is no key 'executor.partitoin'; did you mean"),
        (["--executor.jobs=0"], "^executor: jobs must be at least 1, got 0$"),
        (["--executor=slurm", "--executor.minutes=soon"], "executor.minutes: "),
        (["--executor=ray", "--executor.gpus=-1"], "^executor: gpus must be positive, got -1.0$"),
    ],
)
def test_what_is_no_executor(words, message):
    with pytest.raises(UserError, match=message):
        executor_of(words)


@pytest.mark.parametrize("engine, package", [("ray", "ray"), ("slurm", "submitit")])
def test_an_absent_engine_is_one_sentence(engine, package, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert call("data", "shapes", "--out", "shapes", "--n", "30", monkeypatch=monkeypatch) == 0
    words = ["--configs", "vae", "--data.root", "shapes", "--data.n_train", "8", "--data.n_test", "4"]
    words += ["--data.cache_dir", "cache", "--executor", engine]
    assert call("compare", *words, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith(f"vae-zoo compare: there is no module {package}; pip install {package}")
    assert not any("Traceback" in line for line in said)
