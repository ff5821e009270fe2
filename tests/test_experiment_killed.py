"""A comparison with trainings: killed at any moment it goes on, and one that fails ends no other."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import REPOSITORY, SMALL, call
from tests.forking import Forked, forks
from vae_zoo.executors import local, worker
from vae_zoo.runs import Run


def compare(*arguments, cwd, shapes, **options):
    """A comparison of seconds, as words."""
    words = SMALL | {"data.root": shapes, "data.cache_dir": cwd / "cache"} | options
    words |= {f"model.{network}.init_args.width": 4 for network in ("encoder", "decoder")}
    del words["trainer.max_epochs"]
    return ["compare", *arguments, *(word for name, value in words.items() for word in (f"--{name}", str(value)))]


class Moments:
    """When a comparison of vae, then aae is killed, each moment as a function that says whether it has come."""

    def __init__(self, out, monkeypatch):
        self.vae, self.aae = (Run(out / "OptimalGaussian" / name / "seed_0") for name in ("vae", "aae"))
        self.report, self.tear = out / "report.html", out.with_name("tear")
        save = TorchCheckpointIO.save_checkpoint

        def torn(io, checkpoint, path, *given):
            """Save a checkpoint; of the last one, if it is asked for, half, and wait to be killed."""
            save(io, checkpoint, path, *given)
            if "last" in str(path) and self.tear.exists():
                os.truncate(path, os.path.getsize(path) // 2)
                self.tear.unlink()
                time.sleep(100)

        monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", torn)

    def new(self, path):
        """Whether a file is of the training that was started last: what is there stays there."""
        return path.exists() and path.stat().st_mtime > self.started

    def begins(self):
        return self.new(self.vae.log_file)

    def is_in_the_first_epoch(self):
        return self.new(self.vae.split_file)

    def is_after_an_epoch(self):
        return self.vae.epoch >= 1

    def writes_a_checkpoint(self):
        if not hasattr(self, "asked"):
            self.asked = self.tear.touch()
        return not self.tear.exists()

    def tests(self):
        return "$ vae-zoo test" in self.vae.log_file.read_text()

    def is_between_two_runs(self):
        return self.vae.results_file.exists()

    def is_in_another_run(self):
        return self.aae.epoch >= 1

    def is_about_to_report(self):
        return self.aae.results_file.exists()


def kill(process, output, number, moment):
    """Send a signal at a moment, and return what was said."""
    moment.__self__.started = time.time()
    while not moment():
        assert process.poll() is None, output.read_text()
        time.sleep(0.002)
    process.send_signal(number)
    process.wait()
    return output.read_text()


def figures_of(folder):
    """All that the report is made of but what depends on the clock."""
    found = {}
    for path in sorted(folder.rglob("results.json")):
        results = json.loads(path.read_text())
        del results["timing"], results["git_revision"]
        curve = [(point.epoch, point.value) for point in Run(path.parent).curve()]
        assert all(math.isfinite(point.seconds) for point in Run(path.parent).curve())
        curve.append({picture.name: picture.read_bytes() for picture in path.parent.glob("images/*")})
        weights = torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        total = sum(weight.double().sum().item() for weight in weights.values())
        found[str(path.parent.relative_to(folder))] = (results, curve, total)
    return found


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_numbers(shapes, tmp_path, monkeypatch):
    """The command as typed in a shell once, then forks of this process, which start in a tenth of the time."""
    configs = [str(REPOSITORY / "configs" / f"{name}.yaml") for name in ("vae", "aae")]
    words = ["--configs", *configs, "--likelihoods", "OptimalGaussian", "--epochs", "4"]
    moments, output = Moments(tmp_path / "cut", monkeypatch), tmp_path / "output"
    cut = compare(*words, "--out", tmp_path / "cut", cwd=tmp_path, shapes=shapes)
    with open(output, "w") as file:
        typed = [Path(sys.executable).with_name("vae-zoo"), *map(str, cut)]
        process = subprocess.Popen(typed, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT)
    kill(process, output, signal.SIGKILL, moments.is_in_the_first_epoch)
    assert process.returncode == -signal.SIGKILL

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "subprocess", forks)
    monkeypatch.setattr(worker, "subprocess", forks)

    def started(words):
        with open(output, "w") as file:
            return Forked([sys.executable, "-m", "vae_zoo.cli", *words], file)

    def done(words):
        assert started(words).wait() == 0, output.read_text()
        return output.read_text()

    whole = done(compare(*words, "--out", tmp_path / "whole", cwd=tmp_path, shapes=shapes))
    assert "vae, OptimalGaussian, seed 0: test MSE" in whole and "report.html" in whole

    kill(started(cut), output, signal.SIGKILL, moments.begins)
    kill(started(cut), output, signal.SIGKILL, moments.is_in_the_first_epoch)
    kill(started(cut), output, signal.SIGKILL, moments.is_after_an_epoch)
    kill(started(cut), output, signal.SIGKILL, moments.writes_a_checkpoint)
    kill(started(cut), output, signal.SIGKILL, moments.tests)
    kill(started(cut), output, signal.SIGKILL, moments.is_between_two_runs)
    process = started(cut)
    assert "the same command goes on" in kill(process, output, signal.SIGINT, moments.is_in_another_run)
    assert process.returncode == 130
    kill(started(cut), output, signal.SIGKILL, moments.is_about_to_report)

    assert "2 of 2 runs are finished" in done(cut) and moments.report.exists()
    ours, theirs = figures_of(tmp_path / "cut"), figures_of(tmp_path / "whole")
    assert ours == theirs and len(ours) == 2 and len(ours["OptimalGaussian/vae/seed_0"][1]) == 4 + 1
    # Nothing was trained twice to the end: the logs have a line for each start.
    log = moments.aae.log_file.read_text()
    assert log.count("$ vae-zoo fit") == 2 and log.count("$ vae-zoo test") == 1

    # What is finished is left alone.
    before = moments.vae.results_file.stat().st_mtime
    assert "2 of 2 runs are finished" in done(cut)
    assert moments.vae.results_file.stat().st_mtime == before

    # More epochs go on from there.
    cut[cut.index("--epochs") + 1] = "5"
    assert "2 of 2 runs" not in done([*cut, "--jobs", "2"])
    assert {results["epochs"] for results, _, _ in figures_of(tmp_path / "cut").values()} == {5}
    assert "5 epochs" in (tmp_path / "cut" / "report.md").read_text()

    # TensorBoard: all runs under one folder, the same tags, and the final figures among the hyper-parameters.
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "whole"))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) >= {"OptimalGaussian/vae/seed_0", "OptimalGaussian/aae/seed_0"}
    for run in ("OptimalGaussian/vae/seed_0", "OptimalGaussian/aae/seed_0"):
        tags = multiplexer.GetAccumulator(run).Tags()
        assert {"val/mse", "timing/seconds_per_epoch", "test/mse"} <= set(tags["scalars"])
        metadata = multiplexer.GetAccumulator(run).SummaryMetadata("_hparams_/session_start_info")
        start = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
        assert {"latent", "lr"} <= set(start.hparams)


@pytest.mark.slow
def test_a_training_ends_with_the_process_that_started_it(tmp_path):
    command = [sys.executable, "-m", "vae_zoo.executors.child", "fit", "--config", "vae", "--data.root", "nowhere"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate() == (None, b"") and process.returncode == 1  # before it has looked for its data


@pytest.mark.slow
def test_one_crash_does_not_end_the_rest_but_a_misspelt_key_does(shapes, tmp_path, monkeypatch, capfd):
    """A model that fails is told at the end; a key that no run understands, at once, in its own words."""
    monkeypatch.setattr(local, "subprocess", forks)
    monkeypatch.setattr(worker, "subprocess", forks)
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    wrong = Path("configs/vae.yaml").read_text().replace("samples: 1 ", "samples: 0 ")  # its own argument: refused late
    Path("configs/broken.yaml").write_text(wrong)
    words = ["--configs", "configs/broken.yaml", "configs/ae.yaml", "--likelihoods", "Gaussian", "--epochs", "1"]
    assert call(*compare(*words, cwd=tmp_path, shapes=shapes), monkeypatch=monkeypatch) == 1
    out, err = capfd.readouterr()
    assert "broken, Gaussian, seed 0: failed, see comparison/default/Gaussian/broken/seed_0/log.txt" in out
    assert "ae, Gaussian, seed 0: test MSE" in out and "report.html" in out
    assert "1 of 2 runs failed; the same command tries them once more" in err

    words = ["--configs", "configs/ae.yaml", "--out", "misspelt", "--epochs", "1"]
    assert call(*compare(*words, cwd=tmp_path, shapes=shapes, **{"data.n_trian": 3}), monkeypatch=monkeypatch) == 2
    assert "did you mean 'data.n_train'?" in capfd.readouterr().err
    assert not Path("misspelt").exists()
