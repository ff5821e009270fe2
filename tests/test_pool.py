"""Jobs of a comparison: lost ones begin again, leaving cancels them, and a table shows all."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from tests.jobs import Scripted, made_job
from vae_zoo.errors import UserError
from vae_zoo.executors import LOST, Executor
from vae_zoo.executors.pool import Board, Pool, Row, last_words
from vae_zoo.runs import Run


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
