"""A training that is killed at any of its writes goes on to the weights and the curve that it would have had."""

import itertools
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import call, config_that, options_for
from tests.forking import Forked
from vae_zoo.curves import read_rows
from vae_zoo.runs import Run

pytestmark = pytest.mark.slow
MODEL = config_that(automatic_optimization=True, monitor="val/loss", encodes=True, density=False)


def die_at(moment, folder, log):
    """Kill this process when a training has renamed so many files in its folder into their places, and wants another.

    A file is renamed when it is whole, so between two such moments nothing changes but what is appended.
    """
    done = itertools.count()
    rename = os.replace

    def replace(source, target, **given):
        if Path(target).is_relative_to(folder) and Path(target).suffix != ".png":
            if next(done) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            with open(log, "a") as file:
                print(Path(target).name, file=file)
        rename(source, target, **given)

    os.replace = replace
    Path.replace = replace


class Dying(Forked):
    """The command in a fork that is killed at that moment; at none if it is None."""

    def __init__(self, moment, folder, log, words, file):
        self.dies = moment, folder, log
        super().__init__([sys.executable, "-m", "vae_zoo.cli", *words], file)

    def run(self):
        die_at(*self.dies)
        super().run()


def words_for(folder, shapes):
    changes = {"trainer__max_epochs": 2, "run_dir": folder, "ckpt_path": "auto", "trainer__log_every_n_steps": 1}
    return ["fit", "--config", MODEL, *options_for(MODEL, data__root=shapes, **changes)]


def train(folder, shapes, moment, output):
    with open(output, "w") as file:
        return Dying(moment, folder, folder.with_suffix(".writes"), words_for(folder, shapes), file).wait()


def left_by(folder):
    """Weights and optimizers to the bit, the curve but for the clock, and what TensorBoard shows of it."""
    saved = torch.load(Run(folder).checkpoint(), weights_only=True)
    best = torch.load(Run(folder).checkpoint("best"), weights_only=True)
    rows = [
        {name: value for name, value in row.items() if not name.startswith("timing")}
        for row in read_rows(Run(folder).metrics_file)
    ]
    timed = [row["epoch"] for row in read_rows(Run(folder).metrics_file) if row["timing/train_seconds"]]
    shown = EventAccumulator(str(folder)).Reload()
    steps = [event.step for event in shown.Scalars("train/loss")]
    weights = [{k: v.tolist() for k, v in each["state_dict"].items()} for each in (saved, best)]
    return weights, str(saved["optimizer_states"]), rows, timed, sorted(set(steps))


def test_killed_at_each_write_it_goes_on_to_the_same_end(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = tmp_path / "output"
    assert train(tmp_path / "whole", shapes, None, output) == 0, output.read_text()
    writes = (tmp_path / "whole.writes").read_text().split()
    assert writes[:2] == ["config.yaml", "split.json"] and writes[-1] == "last.ckpt"
    assert writes.count("best.ckpt") == writes.count("last.ckpt") == 2 and "metrics.csv" in writes
    whole = left_by(tmp_path / "whole")
    for moment, name in enumerate(writes):
        folder = tmp_path / f"{moment}"
        assert train(folder, shapes, moment, output) == -signal.SIGKILL
        if moment:  # before, it is no run, and a stranger's file would have it refused
            (folder / "notes.txt").write_text("mine")
        assert train(folder, shapes, None, output) == 0, output.read_text()
        assert left_by(folder) == whole, name
        assert not moment or (folder / "notes.txt").read_text() == "mine"


def test_a_damaged_last_checkpoint_is_told_and_not_overwritten(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = words_for(tmp_path / "run", shapes)
    assert call(*words) == 0
    last = Run(tmp_path / "run").checkpoint()
    last.write_bytes(content := last.read_bytes()[:1000])
    assert call(*words) == 1
    assert "last.ckpt is not a checkpoint of a vae_zoo model" in capsys.readouterr().err
    assert last.read_bytes() == content
