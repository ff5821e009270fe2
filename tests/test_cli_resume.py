"""A training that goes on, and the folders of runs."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import CONFIG, call, every_config, only_run, options, options_for
from vae_zoo.callbacks import RunFolder
from vae_zoo.runs import Run

pytestmark = pytest.mark.slow


def test_a_second_run_gets_a_folder_of_its_own_and_auto_resumes(shapes, run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    config = CONFIG
    arguments = options(data__root=shapes, trainer__max_epochs=1)
    assert call("fit", "--config", config, *arguments) == 0
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]
    arguments = options(data__root=shapes, trainer__max_epochs=8)
    assert call("fit", "--config", config, *arguments, "--ckpt_path", run / "checkpoints" / "last.ckpt") == 0
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]
    epochs = [row["epoch"] for row in csv.DictReader((run / "metrics.csv").open()) if row["val/mse"]]
    assert epochs == list("01234567")  # the six of before are kept
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(state["callbacks"]["Timing"]["epochs"]) == 8
    assert (run / "images" / "samples_0008.png").exists()


@every_config
def test_a_run_that_goes_on_ends_at_the_same_numbers(config, shapes, doodles, tmp_path, monkeypatch):
    """Weights, curve and results to the bit, as if the run had not been cut off."""
    monkeypatch.chdir(tmp_path)
    weights, tables = [], []
    for folder, epochs in (("whole", [3]), ("cut", [1, 3])):
        for last in epochs:
            changes = {"trainer__max_epochs": last, "run_dir": folder, "ckpt_path": "auto"}
            words = options_for(config, data__root=shapes, data__path=doodles, **changes)
            assert call("fit", "--config", config, *words) == 0
            columns = Path(f"{folder}/metrics.csv").read_text().splitlines()[0].split(",")
            with open(f"{folder}/metrics.csv", "a") as file:  # what a training writes before it is killed
                file.write(",".join("99" if column == "step" else str(last) for column in columns) + "\r\n")
        saved = torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)
        weights.append([saved["state_dict"], saved["optimizer_states"]])
        with open(f"{folder}/metrics.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < 3]
        tables.append([{k: v for k, v in row.items() if not k.startswith("timing")} for row in rows])
    assert str(weights[0]) == str(weights[1]) and all(
        torch.equal(a, b) for a, b in zip(weights[0][0].values(), weights[1][0].values(), strict=True)
    )
    assert tables[0] == tables[1] and len({row["epoch"] for row in tables[0]}) == 3


def test_a_run_that_goes_on_inside_an_epoch_keeps_the_lines_before(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    often = {"filename": "last", "every_n_train_steps": 2, "enable_version_counter": False}
    saves = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": often}
    saves["init_args"]["save_on_train_epoch_end"] = False
    Path("often.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [saves]}}))
    settings = {"data__root": shapes, "data__batch_size": 8, "trainer__max_epochs": 3, "trainer__log_every_n_steps": 1}
    settings |= {"ckpt_path": "auto", "run_dir": "run"}
    words = ["fit", "--config", CONFIG, "--config", "often.yaml", *options(**settings)]

    def dies(callback, trainer, *_):
        if trainer.global_step == 9:  # of six an epoch; the checkpoint before it is at 8
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "on_train_batch_start", dies)
        assert call(*words) == 130
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 8
    assert call(*words) == 0
    with open("run/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(18))
    epochs = torch.load("run/checkpoints/last.ckpt", weights_only=True)["callbacks"]["Timing"]["epochs"]
    assert [epoch["images"] for epoch in epochs] == [48, 48]  # the one that was cut counts nowhere
    assert sum(epoch["seconds"] for epoch in epochs) < 60


def test_a_run_folder_of_ones_own(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, run_dir="mine/7")
    assert call("fit", "--config", CONFIG, *words) == 0
    assert Path("mine/7/metrics.csv").is_file() and Path("mine/7/images/samples_0002.png").is_file()
    assert not Path("runs").exists()
    assert call("fit", "--config", CONFIG, *words) == 1
    assert "mine/7 has a run in it, see its checkpoints/last.ckpt; give --ckpt_path auto" in capsys.readouterr().err
    # The config.yaml of a run is for other folders, too; a test finds the run in its folder.
    assert yaml.safe_load(Path("mine/7/config.yaml").read_text())["run_dir"] is None
    assert call("test", "--run_dir", "mine/7") == 0
    assert Path("mine/7/results.json").is_file()
    # When training goes on, the results of the earlier epoch are removed.
    words = options(data__root=shapes, run_dir="mine/7", ckpt_path="auto", trainer__max_epochs=3)
    assert call("fit", "--config", CONFIG, *words) == 0
    assert not Path("mine/7/results.json").exists()


def test_auto_starts_where_nothing_was_trained(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CONFIG
    arguments = options(data__root=shapes, trainer__max_epochs=1)
    assert call("fit", "--config", config, *arguments, "--ckpt_path", "auto") == 0
    assert call("fit", "--config", config, *options(data__root=shapes), "--ckpt_path", "auto") == 0
    assert torch.load(only_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


def test_a_run_folder_may_be_renamed(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    renamed = run.rename(run.with_name("the good one"))
    (renamed / "results.json").unlink()
    assert call("test", "--ckpt_path", renamed / "checkpoints" / "best.ckpt") == 0
    assert (renamed / "results.json").exists()


def test_a_checkpoint_that_does_not_fit_the_data(run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["test", "--ckpt_path", run / "checkpoints" / "last.ckpt", "--data.image_size", "48"]
    assert call(*arguments) == 1
    assert "trained on images of 32 x 32 pixels, and data.image_size is 48" in capsys.readouterr().err
    arguments[-2:] = ["--data.channels", "1"]
    assert call(*arguments) == 1
    assert re.search(r"trained on data of shape \(3, 32, 32\), these have \(1, 32, 32\)", capsys.readouterr().err)


@pytest.mark.parametrize(
    "change, message",
    [
        (["--model", "AE"], "model.class is 'AE' here, but 'VAE' in the checkpoint"),
        (["--model.latent", "8"], "model.latent is 8 here, but 64 in the checkpoint"),
        (["--model.encoder.width", "8"], "model.encoder.init_args.width is 8 here, but 32 in the checkpoint"),
        (["--model.likelihood", "Bernoulli"], "model.likelihood.class_path is 'vae_zoo.likelihoods.Bernoulli' here"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_command(change, message, run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = ["--ckpt_path", run / "checkpoints" / "last.ckpt"]
    arguments = ["fit", "--config", CONFIG, *options(data__root=shapes), *change, *checkpoint]
    assert call(*arguments) == 1
    assert message in capsys.readouterr().err


def test_what_is_finished_is_left_alone_and_says_so(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    words = options(data__root=shapes, trainer__max_epochs=6)
    assert call("fit", "--config", "vae", *words, "--ckpt_path", "auto") == 0
    assert "trained for 6 epochs, and trainer.max_epochs is 6" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_ctrl_c_says_how_to_go_on(shapes, tmp_path, monkeypatch):
    words = ["fit", "--config", "vae", *options(data__root=shapes, trainer__max_epochs=1000)]
    command = [str(Path(sys.executable).with_name("vae-zoo")), *map(str, words)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.2)
        if any(tmp_path.glob("runs/vae/*/checkpoints/last.ckpt")):
            break
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 130 and "Traceback" not in said
    again = re.search(r"vae-zoo (fit --config \S+/config.yaml --ckpt_path \S+/last.ckpt)", said)
    epoch = Run(only_run(tmp_path)).epoch
    monkeypatch.chdir(tmp_path)
    assert call(*again[1].split(), "--trainer.max_epochs", epoch + 2) == 0
    assert torch.load(only_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == epoch + 1


@pytest.mark.parametrize(
    "logger", [["false"], ["CSVLogger", "--trainer.logger.save_dir", "elsewhere"]], ids=["none", "another"]
)
def test_the_run_folder_does_not_depend_on_the_logger(logger, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, run_dir="mine")
    assert call("fit", "--config", "vae", *words, "--trainer.logger", *logger) == 0
    assert call("test", "--run_dir", "mine") == 0
    here = {str(path.relative_to("mine")) for path in Path("mine").rglob("*") if path.is_file()}
    assert {"config.yaml", "split.json", "results.json", "checkpoints/last.ckpt", "images/samples_0002.png"} <= here
    assert not list(Path().glob("elsewhere/**/*.png"))
    assert ("metrics.csv" in here) == (logger != ["false"])


def test_a_test_on_images_that_were_trained_on_is_told(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call("test") == 0 and "trained on" not in capsys.readouterr().err
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(
        json.dumps(split | {"train": split["train"] + split["test"][:3], "sha256": "0" * 64})
    )
    assert call("test") == 0
    assert f"3 of {len(split['test'])} test images have the ids of images that the run was" in capsys.readouterr().err
