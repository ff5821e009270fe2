"""What fit, test, validate and predict leave in a run folder."""

import csv
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

import vae_zoo as package
from tests.conftest import (
    CONFIG,
    REPOSITORY,
    call,
    config_that,
    every_config,
    only_run,
    options,
    options_for,
    shared,
    vae_zoo,
)
from vae_zoo.data import COCODataModule
from vae_zoo.metrics import active_units
from vae_zoo.runs import Run

pytestmark = pytest.mark.slow


@every_config
def test_fit_checkpoint_reload_same_output_to_the_bit(config, shapes, doodles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = options_for(config, data__root=shapes, data__path=doodles)
    assert call("fit", "--config", config, *words) == 0
    run = only_run(tmp_path)
    assert run.parent.name == config.stem
    assert call("test", "--ckpt_path", run / "checkpoints" / "last.ckpt") == 0
    first = json.loads((run / "results.json").read_text())
    (run / "results.json").unlink()
    assert call("test", "--ckpt_path", "last") == 0
    again = json.loads((run / "results.json").read_text())
    assert again == first
    a, b = (package.load(run / "checkpoints" / "last.ckpt") for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = a.sample(4)
        torch.manual_seed(1)
        assert torch.equal(x, b.sample(4))
    y = torch.arange(4)
    if a.encodes:
        assert torch.equal(a.reconstruct(x, y), b.reconstruct(x, y))
    assert ((first["mse"] or 0) > 0) == (a.encodes and a.pixels)  # two sketches have no squared distance
    assert (first["code_mmd"] is not None) == (first["active_units"] is not None) == a.encodes
    bounded = a.density and a.encodes
    assert [first[name] is not None for name in ("elbo", "kl", "nll")] == [bounded, bounded, a.density]
    assert first["traits"] == a.traits
    assert all((first[name] is None) == (name in first["reasons"]) for name in ("mse", "elbo", "nll", "code_mmd"))


def test_the_run_folder_holds_what_is_promised(trained):
    run = only_run(trained[0])
    promised = {"config.yaml", "metrics.csv", "results.json", "split.json", "images", "checkpoints"}
    assert promised <= {path.name for path in run.iterdir()}
    split = json.loads((run / "split.json").read_text())
    assert {part: len(split[part]) for part in ("train", "val", "test")} == {"train": 48, "val": 12, "test": 20}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    pictures = {f"{kind}_000{epoch}.png" for kind in ("reconstructions", "samples") for epoch in (0, 5, 6)}
    assert {path.name for path in (run / "images").iterdir()} == pictures
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    validation = [row for row in rows if row["val/mse"]]
    assert [row["epoch"] for row in validation] == list("012345")
    for row in validation:
        elbo, parts = float(row["val/elbo"]), float(row["val/reconstruction"]) - float(row["val/kl"])
        assert elbo == pytest.approx(parts, rel=1e-6) and elbo == pytest.approx(-float(row["val/loss"]))
    assert float(validation[-1]["val/loss"]) < float(validation[0]["val/loss"])
    assert "images" in trained[1] and str(run.name) in trained[1]


def test_results_say_what_was_run(trained):
    results = json.loads((only_run(trained[0]) / "results.json").read_text())
    assert results["model"] == "VAE" and results["seed"] == 0 and results["nll_samples"] == 3
    assert 0 < results["mse"] < 0.2 and results["nll"] < -results["elbo"] + 1
    assert re.fullmatch("[0-9a-f]{64}", results["split_sha256"])
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", results["git_revision"] or "0" * 40)
    timing = results["timing"]
    assert set(timing) == {
        "seconds_per_epoch",
        "images_per_second",
        "data_wait_share",
        "peak_memory_mb",
        "train_seconds",
        "epoch_seconds",
    }
    assert sum(timing["epoch_seconds"]) == pytest.approx(timing["train_seconds"]) and len(timing["epoch_seconds"]) == 6
    assert results["epochs"] == 6 and results["shape"] == [3, 32, 32]
    assert timing["images_per_second"] * timing["seconds_per_epoch"] == pytest.approx(48, rel=0.2)
    assert timing["train_seconds"] > 4 * timing["seconds_per_epoch"]


def test_tensorboard_shows_everything(trained):
    run = only_run(trained[0])
    scalars, images, histograms = set(), set(), set()
    for file in run.glob("events.*"):
        events = EventAccumulator(str(file), {"images": 0}).Reload()
        tags = events.Tags()
        scalars |= set(tags["scalars"])
        images |= set(tags["images"])
        histograms |= set(tags["histograms"])
    for stage in ("train", "val"):
        assert {f"{stage}/{name}" for name in ("loss", "reconstruction", "kl")} <= scalars
    assert {"val/elbo", "val/mse", "val/active_units", "test/mse", "test/nll", "Loss/train", "Loss/val"} <= scalars
    assert not [name for name in scalars if name.startswith("hp/")]
    assert {"timing/seconds_per_epoch", "timing/images_per_second", "timing/data_wait_share"} <= scalars
    assert "latent/kl_histogram" in histograms
    assert any(b"_hparams_/session_start_info" in file.read_bytes() for file in run.glob("events.*"))
    assert {"images/reconstructions", "images/samples", "latent/kl_per_dimension"} <= images
    projector = (run / "projector_config.pbtxt").read_text()
    assert "test_codes" in projector
    (labels,) = run.glob("*/test_codes/metadata.tsv")
    names = labels.read_text().split()
    assert len(names) == 20 and set(names) <= {"circle", "square", "triangle", "pentagon", "star"}


def test_active_units_are_of_the_validation_set(trained, shapes):
    run = only_run(trained[0])
    units = [row["val/active_units"] for row in csv.DictReader((run / "metrics.csv").open())]
    data = COCODataModule(str(shapes), n_train=48, n_test=20, n_val=12, image_size=32)
    data.setup()
    x = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.val_dataloader()])
    codes = package.load(run / "checkpoints" / "last.ckpt").encode(x)
    assert float([unit for unit in units if unit][-1]) == active_units(codes)


def test_best_is_the_best_on_validation(trained):
    run = only_run(trained[0])
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/loss"]]
    best = min(rows, key=lambda row: float(row["val/loss"]))
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == int(best["epoch"])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 5


def test_validate_and_predict(trained, tmp_path):
    folder, _ = trained
    before = (only_run(folder) / "config.yaml").read_text()
    events = sorted(only_run(folder).glob("events.*"))
    assert "val/mse" in vae_zoo("validate", cwd=folder).stdout
    vae_zoo("predict", cwd=folder)
    assert sorted(only_run(folder).glob("events.*")) == events  # a run folder may be read-only
    codes = np.load(only_run(folder) / "codes.npz")
    assert codes["z"].shape == (20, 64) and codes["label"].shape == (20,)
    assert set(codes["label"]) <= {"circle", "square", "triangle", "pentagon", "star"}
    assert (only_run(folder) / "config.yaml").read_text() == before
    assert len(list(csv.DictReader((only_run(folder) / "metrics.csv").open()))) > 6


@pytest.mark.parametrize("written", [0, 1, 3])
def test_events_that_cannot_be_written_are_one_line(written, run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    write, lengths = RecordWriter.write, []

    def fails(self, data):
        lengths.append(len(data))
        if len(lengths) > written:
            raise OSError(28, "No space left on device")
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", fails)
    assert call("test") == 1
    assert capsys.readouterr().err == "vae-zoo test: [Errno 28] No space left on device\n"


def test_a_part_can_be_predicted_and_a_picture_can_have_any_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    assert call("predict", "--trainer.devices", "2") == 0
    assert np.load(run / "codes.npz")["z"].shape == (20, 64)  # of one process, that has them all
    assert call("predict", "--trainer.limit_predict_batches", "1") == 0
    codes = np.load(run / "codes.npz")
    assert codes["z"].shape == (16, 64) and codes["label"].shape == (16,)
    assert call("sample", "--n", "2", "--out", "picture") == 0
    assert Image.open("picture").format == "PNG"


def test_the_terminal_shows_no_number_that_says_nothing(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rich._console", Console(width=120, force_terminal=True, color_system=None))
    words = options(data__root=shapes, trainer__max_epochs=1, trainer__enable_progress_bar="true")
    assert call("fit", "--config", CONFIG, *words) == 0
    said = capsys.readouterr().out
    assert "val/loss" in said and "Params" in said and " parameters are trained, 0 are not" in said
    assert "v_num" not in said and "FLOPs" not in said


def test_what_was_not_measured_is_not_said_to_be_written(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    before = (run / "results.json").read_text()
    assert call("test", "--trainer.limit_test_batches", 1) == 0
    said = capsys.readouterr()
    assert "16 of 20 test images were measured, so results.json was not written" in said.err
    assert "results.json" not in said.out and (run / "results.json").read_text() == before
    assert call("test", "--trainer.limit_test_batches", 0) == 1
    assert "there are no images to test on, see trainer.limit_test_batches" in capsys.readouterr().err
    assert call("validate", "--data.n_val", 0) == 1
    assert "there are no images to validate on, see data.n_val" in capsys.readouterr().err


def test_decoding_the_pictures_does_not_change_the_run(shapes, tmp_path, monkeypatch):
    """The run that makes the cache begins with the weights of one that finds it."""
    monkeypatch.chdir(tmp_path)
    for name in ("decodes", "finds"):
        words = options(data__root=shapes, data__cache_dir=tmp_path / "cache", run_dir=name)
        assert call("fit", "--config", CONFIG, *words) == 0
    a, b = (package.load(f"{name}/checkpoints/last.ckpt").state_dict() for name in ("decodes", "finds"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_validation_on_the_test_images(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, run_dir="my own", data__val_on_test="true")
    del words[words.index("--data.n_val") : words.index("--data.n_val") + 2]
    assert call("fit", "--config", REPOSITORY / "configs" / "ae.yaml", *words) == 0
    assert "vae-zoo test --ckpt_path 'my own/checkpoints/last.ckpt'\n" in capsys.readouterr().out  # to be pasted
    assert not Path("my own/checkpoints/best.ckpt").exists()  # it would be chosen by the test images
    assert json.loads(Path("my own/split.json").read_text())["val"] == []
    assert call("test", "--run_dir", "my own") == 0
    with open("my own/metrics.csv", newline="") as file:
        last = [float(row["val/mse"]) for row in csv.DictReader(file) if row["val/mse"]][-1]
    assert json.loads(Path("my own/results.json").read_text())["mse"] == pytest.approx(last, rel=1e-5)
    words = options(data__root=shapes, data__val_on_test="true")
    assert call("fit", "--config", CONFIG, *words) == 1
    assert "data.val_on_test validates on the test images, so leave out data.n_val, got 12" in capsys.readouterr().err


@pytest.mark.parametrize("likelihood", ["LearnedGaussian", "OptimalGaussian", "Bernoulli", "DiscretisedLogistic"])
def test_a_likelihood_is_chosen_by_its_name(likelihood, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = CONFIG
    small = options(data__root=shapes, trainer__max_epochs=1)
    assert call("fit", "--config", config, "--model.likelihood", likelihood, *small) == 0
    assert call("test") == 0
    results = json.loads((only_run(tmp_path) / "results.json").read_text())
    bits = results["bits_per_dim"]
    assert (bits is not None) == (likelihood == "DiscretisedLogistic")
    assert (results["nll"] is None) == (likelihood == "Bernoulli")  # of grey pixels: no density
    assert math.isfinite(results["nll"] or 0) and 0 < results["mse"] < 0.3
    loaded = package.load(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert type(loaded.likelihood).__name__ == likelihood


@every_config
def test_bfloat16_and_compile(config, shapes, doodles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = {f"model__{network}__depth": 1 for network in ("encoder", "decoder")}
    where = {"data__root": shapes, "data__path": doodles}
    arguments = options_for(config, trainer__precision="bf16-mixed", compile="true", **where, **tiny)
    assert call("fit", "--config", config, *arguments) == 0
    rows = list(csv.DictReader((only_run(tmp_path) / "metrics.csv").open()))
    name = "val/loss" if "val/loss" in rows[0] else "val/generator_loss"
    losses = [float(row[name]) for row in rows if row[name]]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    model = package.load(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    # A game's losses need not fall, nor what two sides lower in turn.
    assert losses[1] < losses[0] or not model.automatic_optimization
    assert model.sample(2).dtype == torch.float32  # compiling changed no name
    assert call("test") == 0


@every_config
def test_fit_runs_on_real_coco(config, tmp_path, monkeypatch):
    root = shared("coco_open")
    monkeypatch.chdir(tmp_path)
    sizes = {"data__n_train": 70, "data__n_test": 25, "data__n_val": 15, "data__image_size": 64}
    arguments = options_for(config, data__root=root, **sizes)
    if "data.root" not in " ".join(arguments):  # the same pictures' outlines
        arguments = [word if word != "70" else "60" for word in arguments]  # of 110 pictures, 108 have outlines
        arguments += ["--data", "COCOSketches", "--data.root", root]
    assert call("fit", "--config", config, *arguments) == 0
    assert call("test") == 0
    results = json.loads((only_run(tmp_path) / "results.json").read_text())
    assert results["mse"] is None or 0.02 < results["mse"] < 0.12
    assert not list(root.rglob("*.npy"))  # nothing is written beside the user's pictures


@pytest.mark.parametrize("automatic, strategy", [(True, "auto"), (False, "ddp")])
def test_two_processes_fit_resume_and_test_what_one_does_and_end_without_a_word(
    automatic, strategy, shapes, tmp_path, monkeypatch
):
    """Each image of the validation and of the test counts once, though two processes cannot share them equally."""
    monkeypatch.chdir(tmp_path)
    config = config_that(automatic_optimization=automatic, encodes=True, density=automatic)
    own = {"trainer__devices": 2, "trainer__strategy": strategy, "data__n_test": 15, "data__n_val": 11}
    for epochs in (1, 2):
        words = options(data__root=shapes, trainer__max_epochs=epochs, ckpt_path="auto", **own)
        said = vae_zoo("fit", "--config", config, *words, cwd=tmp_path).stderr
        assert not re.search("gloo|Connection|peer|destroy_process_group|Traceback", said, re.I), said
    run = Run(only_run(tmp_path))
    assert len(run.curve()) == 2
    found = []
    for devices in (2, 1):
        assert "gloo" not in vae_zoo("test", "--trainer.devices", devices, cwd=tmp_path).stderr
        found.append(json.loads(run.results_file.read_text()))
    two, one = found
    assert two["mse"] == pytest.approx(one["mse"], rel=1e-5) and (two["nll"] is None) == (not automatic)
    said = vae_zoo("validate", "--trainer.devices", 1, cwd=tmp_path).stdout
    mse = re.search(r"val/mse\W+([\d.]+)", said)[1]
    assert run.curve()[-1].value == pytest.approx(float(mse), rel=1e-5)


def test_results_carry_the_seed_of_the_training(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = options(data__root=shapes, seed_everything=3, trainer__max_epochs=1)
    assert call("fit", "--config", CONFIG, *arguments) == 0
    assert call("test", "--seed_everything", 0) == 0
    assert json.loads((only_run(tmp_path) / "results.json").read_text())["seed"] == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_config
def test_fit_on_a_gpu(config, shapes, doodles, tmp_path):
    gpu = {"trainer__accelerator": "gpu", "trainer__precision": "bf16-mixed", "data__resident": "true"}
    vae_zoo("fit", "--config", config, *options_for(config, data__root=shapes, data__path=doodles, **gpu), cwd=tmp_path)
    vae_zoo("test", cwd=tmp_path)
    assert json.loads((only_run(tmp_path) / "results.json").read_text())["timing"]["peak_memory_mb"] > 0


def test_images_that_are_not_square(shapes, tmp_path, monkeypatch):
    """Height and width as two words, from training to samples."""
    monkeypatch.chdir(tmp_path)
    words = [*options(data__root=shapes, trainer__max_epochs=1), "--data.image_size", "32", "48"]
    assert call("fit", "--config", "vae", *words) == 0
    assert call("test") == call("sample", "--n", "1") == 0
    (results,) = tmp_path.glob("runs/vae/version_0/results.json")
    assert json.loads(results.read_text())["shape"] == [3, 32, 48]
    assert Image.open("sample.png").size == (48, 32)


LOOK = """
import os
import torch
from lightning.pytorch import Callback

class Look(Callback):
    def on_fit_start(self, trainer, pl_module):
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        print("memory before", int(status["VmRSS"].split()[0]) * 1024 / 1e6)

    def on_train_start(self, trainer, pl_module):
        small = torch.full((1 << 22,), 1e-38) / 1000  # shared by the threads
        print("of", torch.get_num_threads(), "threads", small.count_nonzero().item(), "small numbers are left")
        print("GPUs:", os.environ.get("CUDA_VISIBLE_DEVICES"))

    def on_validation_batch_start(self, *_):
        torch.ones(125_000_000)  # 500 MB
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc, and can reset the peak of the memory")
def test_the_process_of_a_training(shapes, tmp_path, monkeypatch):
    """Denormal numbers are zero on each thread; without a GPU none is looked for; only training's memory counts."""
    (tmp_path / "look.py").write_text(LOOK)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    words = options(data__root=shapes, run_dir="run")
    done = vae_zoo("fit", "--config", CONFIG, "--trainer.callbacks", "[{class_path: look.Look}]", *words, cwd=tmp_path)
    assert "of 2 threads 0 small numbers are left" in done.stdout
    assert f"GPUs: {None if torch.cuda.is_available() else ''}\n" in done.stdout
    before = float(re.search(r"memory before ([\d.]+)", done.stdout)[1])
    peaks = [row["timing/peak_memory_mb"] for row in csv.DictReader((tmp_path / "run" / "metrics.csv").open())]
    assert 0 < max(float(peak) for peak in peaks if peak) < before + 300
