"""Where trainings run: shares of a machine, one job a run, lost workers, and engines that are reached or not."""

import argparse
import fcntl
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console

from tests import fake_slurm
from tests.conftest import call
from tests.run_folders import made_run
from vae_zoo.cli import trainings
from vae_zoo.cli.engines import executor_of
from vae_zoo.errors import UserError
from vae_zoo.executors import LOST, Executor, Handle, Job, Local, Ray, Slurm, worker
from vae_zoo.executors.local import share
from vae_zoo.executors.pool import Board, Pool, Row, last_words
from vae_zoo.executors.slurm import Work
from vae_zoo.runs import Run

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


@pytest.fixture
def at_once(monkeypatch):
    """Look at jobs without waiting."""
    monkeypatch.setattr("vae_zoo.executors.pool.time", SimpleNamespace(sleep=lambda _: None, monotonic=time.monotonic))


def results(pool):
    """Look until nothing runs."""
    found = []
    while pool.running:
        found += pool.look()
    return found


def test_a_lost_job_is_started_again_but_not_for_ever(tmp_path, at_once):
    job = made_job(tmp_path / "run")
    engine = Scripted([LOST, LOST, 0])
    with Pool(engine, tmp_path, "compare") as pool:
        pool.start(job)
        assert results(pool) == [(job, 0)] and engine.started == [job] * 3
    engine = Scripted([LOST] * 9)
    with Pool(engine, tmp_path, "compare") as pool:
        pool.start(job)
        assert results(pool) == [(job, LOST)] and len(engine.started) == 1 + Executor.retries
    assert "was lost time and again" in last_words(Run(job.folder), LOST)


def test_a_job_that_comes_further_each_time_may_be_lost_any_number_of_times(tmp_path, at_once, monkeypatch):
    job, engine = made_job(tmp_path / "run"), Scripted([LOST] * 9 + [0])
    monkeypatch.setattr(Run, "epoch", property(lambda run: len(engine.started)))
    with Pool(engine, tmp_path, "compare") as pool:
        pool.start(job)
        assert results(pool) == [(job, 0)] and len(engine.started) == 10


def test_leaving_cancels_what_was_started_and_nothing_else(tmp_path, at_once):
    jobs = [made_job(tmp_path / name) for name in "abc"]
    engine = Scripted([0, None, None], jobs=3)
    with pytest.raises(KeyboardInterrupt), Pool(engine, tmp_path, "compare") as pool:
        for job in jobs:
            assert pool.has_room
            pool.start(job)
        assert not pool.has_room
        pool.look()
        assert pool.running.keys() == {*jobs[1:]}
        pool.cancel(jobs[1])
        raise KeyboardInterrupt
    assert engine.cancelled == jobs[1:] and engine.closed


def test_each_job_is_cancelled_even_if_ctrl_c_comes_again(tmp_path, at_once, monkeypatch):
    engine, cancelled = Scripted([None] * 3), []

    def cancel(job):
        cancelled.append(job)
        if len(cancelled) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(engine, "cancelled", SimpleNamespace(append=cancel))
    with pytest.raises(KeyboardInterrupt), Pool(engine, tmp_path, "compare") as pool:
        for name in "abc":
            pool.start(made_job(tmp_path / name))
        raise KeyboardInterrupt
    assert len(cancelled) == 3 and engine.closed
    with Pool(Scripted([]), tmp_path, "compare"):  # the folder is free
        pass


@pytest.mark.parametrize(
    "log, command",
    [(b"", None), (b"$ vae-zoo ", None), (b"$ vae-zoo fit --a\nx\n$ vae-zoo test --a\n", "test"), (b"\xff\n", None)],
)
def test_which_command_runs_is_read_from_the_log(log, command, tmp_path, at_once):
    job = made_job(tmp_path / "run")
    with Pool(Scripted([None]), tmp_path, "compare") as pool:
        pool.start(job)
        assert pool.command_of(job) is None
        Run(job.folder).log_file.write_bytes(log)
        assert pool.command_of(job) == command


@pytest.mark.slow
def test_one_command_works_in_a_folder(tmp_path):
    with Pool(Scripted([]), tmp_path, "tune"), pytest.raises(UserError, match="another vae-zoo tune is at work in"):
        Pool(Scripted([]), tmp_path, "tune").__enter__()


def test_the_table_shows_all_runs_or_counts_those_that_it_has_no_room_for():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=12)
    rows = [Row(f"run {i}", "finished" if i < 20 else "training" if i < 22 else "waiting", i % 5) for i in range(30)]
    with Board(console, 5) as board:
        board.show(rows, "about 3 min left")
        board.live.refresh()
    drawn = screen.getvalue()
    assert "run 20" in drawn and "run 21" in drawn and "run 22" in drawn  # those that train come first
    assert "and 23 more: 3 waiting, 20 finished" in drawn and "epochs 60/150, about 3 min left" in drawn
    screen.truncate(0)
    with Board(console, 5) as board:
        board.show(rows[:5], "")
        board.live.refresh()
    assert all(f"run {i}" in screen.getvalue() for i in range(5)) and "more" not in screen.getvalue()


def test_executors_are_named_as_one_types_them():
    assert isinstance(executor_of([]), Local) and executor_of(["--executor.jobs=3"]).jobs == 3
    ray = executor_of(["--executor=ray", "--executor.address=ray://host:10001", "--executor.gpus=0.5"])
    assert isinstance(ray, Ray) and (ray.address, ray.gpus, ray.jobs) == ("ray://host:10001", 0.5, None)
    slurm = executor_of(["--executor=Slurm", "--executor.partition=gpu", "--executor.setup=[module load cuda]"])
    assert slurm.parameters["slurm_partition"] == "gpu" and slurm.parameters["slurm_setup"] == ["module load cuda"]
    assert isinstance(executor_of(["--executor=tests.test_executors.Scripted", "--executor.statuses=[0]"]), Scripted)
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
