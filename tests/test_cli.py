"""The command as a user types it."""

import csv
import inspect
import json
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vae_zoo as package
from tests.conftest import REPOSITORY, call, options, options_for, shared, vae_zoo
from vae_zoo import data, models
from vae_zoo.cli import COMMANDS
from vae_zoo.data import COCODataModule
from vae_zoo.metrics import active_units

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
CONFIG = str(REPOSITORY / "configs" / "vae.yaml")
every_config = pytest.mark.parametrize("config", CONFIGS, ids=[config.stem for config in CONFIGS])


def only(folder):
    (run,) = folder.glob("runs/*/version_*")
    return run


@pytest.fixture(scope="session")
def trained(shapes, tmp_path_factory):
    """A VAE fitted and tested by the command, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = options(data__root=shapes, trainer__max_epochs=6, images__epochs="[0,5,50]")
    fit = vae_zoo("fit", "--config", REPOSITORY / "configs" / "vae.yaml", *arguments, cwd=folder)
    test = vae_zoo("test", cwd=folder)  # the newest run, with the settings that it was trained with
    return folder, fit, test


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(trained[0], tmp_path / "copy")
    return only(tmp_path / "copy")


def test_help_lists_every_command_with_a_line_each():
    said = vae_zoo("--help", cwd=".").stdout
    for command, (_, line) in COMMANDS.items():
        assert re.search(rf"^    {command}\s", said, re.M) and " ".join(line.split()) in " ".join(said.split())


@every_config
def test_fit_checkpoint_reload_same_output_to_the_bit(config, shapes, doodles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = options_for(config, data__root=shapes, data__path=doodles)
    assert call("fit", "--config", config, *words, monkeypatch=monkeypatch) == 0
    run = only(tmp_path)
    assert run.parent.name == config.stem
    assert call("test", "--ckpt_path", run / "checkpoints" / "last.ckpt", monkeypatch=monkeypatch) == 0
    first = json.loads((run / "results.json").read_text())
    (run / "results.json").unlink()
    assert call("test", "--ckpt_path", "last", monkeypatch=monkeypatch) == 0
    again = json.loads((run / "results.json").read_text())
    assert again == first
    a, b = (package.load(run / "checkpoints" / "last.ckpt") for _ in range(2))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = a.sample(4)
        torch.manual_seed(1)
        assert torch.equal(x, b.sample(4))
    y = torch.arange(4)
    if encodes := isinstance(a, models.Autoencoder):
        assert torch.equal(a.reconstruct(x, y), b.reconstruct(x, y))
    assert ((first["mse"] or 0) > 0) == (encodes and x.ndim == 4)  # two sketches have no squared distance
    assert (first["code_mmd"] is not None) == (first["active_units"] is not None) == encodes
    bounded, dense = isinstance(a, models.LatentVariableModel), isinstance(a, models.SketchDecoder)
    assert [first[name] is not None for name in ("elbo", "kl", "nll")] == [bounded, bounded, bounded or dense]


COMPARED = ("vae", "iwae", "iaf", "aae")


def test_the_compared_models_share_all_that_they_should():
    """Whatever two of the four configs both say, they say alike; and all four say what makes the conditions equal."""
    given = {name: yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text()) for name in COMPARED}
    arguments = {name: config["model"]["init_args"] for name, config in given.items()}
    shared_arguments = {"latent", "encoder", "decoder", "likelihood", "lr"}
    for name in COMPARED[1:]:
        assert given[name].keys() == given["vae"].keys()
        for section in given["vae"].keys() - {"model"}:
            assert given[name][section] == given["vae"][section], (name, section)
        assert shared_arguments <= arguments[name].keys()
        for key in arguments[name].keys() & arguments["vae"].keys() - {"samples"}:
            assert arguments[name][key] == arguments["vae"][key], (name, key)
        assert given[name]["model"]["class_path"] != given["vae"]["model"]["class_path"]
    assert arguments["iaf"]["samples"] == arguments["vae"]["samples"] == 1 < arguments["iwae"]["samples"]
    # Another number of features or latents would be another network: the sizes follow from latent alone.
    built = {name: getattr(models, given[name]["model"]["class_path"])() for name in COMPARED}
    decoders = {str(model.likelihood) for model in built.values()}
    assert len(decoders) == 1
    assert len({str(list(model.posterior.encoder)[:-1]) for model in built.values()}) == 1


@every_config
def test_config_says_everything_and_explains_it(config):
    """Each argument of the classes that it names is there, and each key that needs it has a comment."""
    given = yaml.safe_load(config.read_text())
    for key in ("model", "data"):
        name = given[key]["class_path"]
        class_ = getattr(models, name, None) or getattr(data, name)
        from_the_data = {"shape", "labels"}
        assert set(given[key]["init_args"]) == set(inspect.signature(class_).parameters) - from_the_data
    lines = [line for line in config.read_text().splitlines() if ": " in line and not line.startswith("#")]
    explained = {line.split(":")[0].strip() for line in lines if "#" in line}
    plain = {line.split(":")[0].strip() for line in lines} - explained
    assert plain <= {"class_path", "batch_size", "columns", "max_epochs"}


def test_the_run_folder_holds_what_is_promised(trained):
    run = only(trained[0])
    promised = {"config.yaml", "metrics.csv", "results.json", "split.json", "images", "checkpoints"}
    assert promised <= {path.name for path in run.iterdir()}
    split = json.loads((run / "split.json").read_text())
    assert {part: len(ids) for part, ids in split.items()} == {"train": 48, "val": 12, "test": 20}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (run / "images").iterdir()} == {f"epoch_000{n}.png" for n in (0, 5, 6)}
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    validation = [row for row in rows if row["val/mse"]]
    assert [row["epoch"] for row in validation] == list("012345")
    for row in validation:
        elbo, parts = float(row["val/elbo"]), float(row["val/reconstruction"]) - float(row["val/kl"])
        assert elbo == pytest.approx(parts, rel=1e-6) and elbo == pytest.approx(-float(row["val/loss"]))
    assert float(validation[-1]["val/loss"]) < float(validation[0]["val/loss"])
    assert "images" in trained[1].stdout and str(run.name) in trained[1].stdout


def test_results_say_what_was_run(trained):
    results = json.loads((only(trained[0]) / "results.json").read_text())
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
    run = only(trained[0])
    scalars, images, histograms = set(), set(), set()
    for file in run.glob("events.*"):
        events = EventAccumulator(str(file), {"images": 0}).Reload()
        tags = events.Tags()
        scalars |= set(tags["scalars"])
        images |= set(tags["images"])
        histograms |= set(tags["histograms"])
    for stage in ("train", "val"):
        assert {f"{stage}/{name}" for name in ("loss", "reconstruction", "kl")} <= scalars
    assert {"val/elbo", "val/mse", "val/active_units", "test/mse", "test/nll", "hp/mse", "hp/nll"} <= scalars
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
    run = only(trained[0])
    units = [row["val/active_units"] for row in csv.DictReader((run / "metrics.csv").open())]
    data = COCODataModule(str(shapes), n_train=48, n_test=20, n_val=12, image_size=32)
    data.setup()
    x = torch.cat([data.on_after_batch_transfer(batch, 0)[0] for batch in data.val_dataloader()])
    codes = package.load(run / "checkpoints" / "last.ckpt").encode(x)
    assert float([unit for unit in units if unit][-1]) == active_units(codes)


def test_best_is_the_best_on_validation(trained):
    run = only(trained[0])
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/loss"]]
    best = min(rows, key=lambda row: float(row["val/loss"]))
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == int(best["epoch"])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 5


def test_validate_and_predict(trained, tmp_path):
    folder, _, _ = trained
    before = (only(folder) / "config.yaml").read_text()
    assert "val/mse" in vae_zoo("validate", cwd=folder).stdout
    vae_zoo("predict", cwd=folder)
    codes = np.load(only(folder) / "codes.npz")
    assert codes["z"].shape == (20, 64) and codes["label"].shape == (20,)
    assert set(codes["label"]) <= {"circle", "square", "triangle", "pentagon", "star"}
    assert (only(folder) / "config.yaml").read_text() == before
    assert len(list(csv.DictReader((only(folder) / "metrics.csv").open()))) > 6


def test_sample_and_reconstruct_write_pictures(trained, shapes, tmp_path):
    checkpoint = only(trained[0]) / "checkpoints" / "best.ckpt"
    for seed in (0, 0, 1):
        vae_zoo(
            "sample",
            "--ckpt_path",
            checkpoint,
            "--n",
            10,
            "--columns",
            5,
            "--seed",
            seed,
            "--out",
            "s.png",
            cwd=tmp_path,
        )
        os.rename(tmp_path / "s.png", tmp_path / f"s{seed}{(tmp_path / f's{seed}.png').exists():d}.png")
        (tmp_path / f"s{seed}.png").touch()
    a, b, c = (np.asarray(Image.open(tmp_path / name)) for name in ("s00.png", "s01.png", "s10.png"))
    assert a.shape == (2 * 34 + 2, 5 * 34 + 2, 3)
    assert (a == b).all() and (a != c).any()
    vae_zoo(
        "reconstruct",
        "--ckpt_path",
        checkpoint,
        "--images",
        shapes / "images",
        "--n",
        6,
        "--out",
        "r.png",
        cwd=tmp_path,
    )
    assert Image.open(tmp_path / "r.png").size == (6 * 34 + 2, 2 * 34 + 2)
    vae_zoo("reconstruct", "--n", 16, cwd=trained[0])  # the newest run, its own test images
    grid = torch.from_numpy(np.asarray(Image.open(trained[0] / "reconstruct.png")).copy())
    epoch = torch.from_numpy(np.asarray(Image.open(only(trained[0]) / "images" / "epoch_0006.png")).copy())
    difference = (grid.float() - epoch[: len(grid)].float()).abs()
    assert difference[2:34].max() <= 1  # the same test images as in the run's own pictures


def test_a_second_run_gets_a_folder_of_its_own_and_auto_resumes(shapes, run):
    folder = run.parents[2]
    config = REPOSITORY / "configs" / "vae.yaml"
    arguments = options(data__root=shapes, trainer__max_epochs=1)
    vae_zoo("fit", "--config", config, *arguments, cwd=folder)
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]
    arguments = options(data__root=shapes, trainer__max_epochs=8)
    vae_zoo("fit", "--config", config, *arguments, "--ckpt_path", run / "checkpoints" / "last.ckpt", cwd=folder)
    assert sorted(path.name for path in run.parent.iterdir()) == ["version_0", "version_1"]
    epochs = [row["epoch"] for row in csv.DictReader((run / "metrics.csv").open()) if row["val/mse"]]
    assert epochs == list("01234567")  # the six of before are kept
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(state["callbacks"]["Timing"]["epochs"]) == 8
    assert (run / "images" / "epoch_0008.png").exists()


@every_config
def test_a_run_that_goes_on_ends_at_the_same_numbers(config, shapes, doodles, tmp_path, monkeypatch):
    """Weights, curve and results to the bit, as if the run had not been cut off."""
    monkeypatch.chdir(tmp_path)
    weights, tables = [], []
    for folder, epochs in (("whole", [3]), ("cut", [1, 3])):
        for last in epochs:
            changes = {"trainer__max_epochs": last, "run_dir": folder, "ckpt_path": "auto"}
            words = options_for(config, data__root=shapes, data__path=doodles, **changes)
            assert call("fit", "--config", config, *words, monkeypatch=monkeypatch) == 0
            columns = Path(f"{folder}/metrics.csv").read_text().splitlines()[0].count(",") + 1
            with open(f"{folder}/metrics.csv", "a") as file:  # what a training writes before it is killed
                file.write(",".join([str(last)] * columns) + "\r\n")
        saved = torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)
        weights.append([saved["state_dict"], saved["optimizer_states"]])
        with open(f"{folder}/metrics.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < 3]
        tables.append([{k: v for k, v in row.items() if not k.startswith("timing")} for row in rows])
    assert str(weights[0]) == str(weights[1]) and all(
        torch.equal(a, b) for a, b in zip(weights[0][0].values(), weights[1][0].values(), strict=True)
    )
    assert tables[0] == tables[1] and len({row["epoch"] for row in tables[0]}) == 3


def test_decoding_the_pictures_does_not_change_the_run(shapes, tmp_path, monkeypatch):
    """The run that makes the cache begins with the weights of one that finds it."""
    monkeypatch.chdir(tmp_path)
    for name in ("decodes", "finds"):
        words = options(data__root=shapes, data__cache_dir=tmp_path / "cache", run_dir=name)
        assert call("fit", "--config", CONFIG, *words, monkeypatch=monkeypatch) == 0
    a, b = (package.load(f"{name}/checkpoints/last.ckpt").state_dict() for name in ("decodes", "finds"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_folder_of_ones_own(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, run_dir="mine/7")
    assert call("fit", "--config", CONFIG, *words, monkeypatch=monkeypatch) == 0
    assert Path("mine/7/metrics.csv").is_file() and Path("mine/7/images/epoch_0002.png").is_file()
    assert not Path("runs").exists()
    assert call("fit", "--config", CONFIG, *words, monkeypatch=monkeypatch) == 1
    assert "run_dir mine/7 has a run in it; give --ckpt_path auto" in capsys.readouterr().err
    # The config.yaml of a run is for other folders, too; a test finds the run in its folder.
    assert yaml.safe_load(Path("mine/7/config.yaml").read_text())["run_dir"] is None
    assert call("test", "--run_dir", "mine/7", monkeypatch=monkeypatch) == 0
    assert Path("mine/7/results.json").is_file()
    # When training goes on, the results of the earlier epoch are removed.
    words = options(data__root=shapes, run_dir="mine/7", ckpt_path="auto", trainer__max_epochs=3)
    assert call("fit", "--config", CONFIG, *words, monkeypatch=monkeypatch) == 0
    assert not Path("mine/7/results.json").exists()


def test_validation_on_the_test_images(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, run_dir="mine", data__val_on_test="true")
    del words[words.index("--data.n_val") : words.index("--data.n_val") + 2]
    assert call("fit", "--config", REPOSITORY / "configs" / "ae.yaml", *words, monkeypatch=monkeypatch) == 0
    assert not Path("mine/checkpoints/best.ckpt").exists()  # it would be chosen by the test images
    assert json.loads(Path("mine/split.json").read_text())["val"] == []
    assert call("test", "--run_dir", "mine", monkeypatch=monkeypatch) == 0
    with open("mine/metrics.csv", newline="") as file:
        last = [float(row["val/mse"]) for row in csv.DictReader(file) if row["val/mse"]][-1]
    assert json.loads(Path("mine/results.json").read_text())["mse"] == pytest.approx(last, rel=1e-5)
    words = options(data__root=shapes, data__val_on_test="true")
    assert call("fit", "--config", CONFIG, *words, monkeypatch=monkeypatch) == 1
    assert "data.val_on_test validates on the test images, so leave out data.n_val, got 12" in capsys.readouterr().err


def test_auto_starts_where_nothing_was_trained(shapes, tmp_path):
    config = REPOSITORY / "configs" / "vae.yaml"
    arguments = options(data__root=shapes, trainer__max_epochs=1)
    vae_zoo("fit", "--config", config, *arguments, "--ckpt_path", "auto", cwd=tmp_path)
    vae_zoo("fit", "--config", config, *options(data__root=shapes), "--ckpt_path", "auto", cwd=tmp_path)
    assert torch.load(only(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("likelihood", ["LearnedGaussian", "OptimalGaussian", "Bernoulli", "DiscretisedLogistic"])
def test_a_likelihood_is_chosen_by_its_name(likelihood, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = str(REPOSITORY / "configs" / "vae.yaml")
    small = options(data__root=shapes, trainer__max_epochs=1)
    assert call("fit", "--config", config, "--model.likelihood", likelihood, *small, monkeypatch=monkeypatch) == 0
    assert call("test", monkeypatch=monkeypatch) == 0
    results = json.loads((only(tmp_path) / "results.json").read_text())
    bits = results["bits_per_dim"]
    assert (bits is not None) == (likelihood == "DiscretisedLogistic")
    assert (results["nll"] is None) == (likelihood == "Bernoulli")  # of grey pixels: no density
    assert math.isfinite(results["nll"] or 0) and 0 < results["mse"] < 0.3
    loaded = package.load(only(tmp_path) / "checkpoints" / "last.ckpt")
    assert type(loaded.likelihood).__name__ == likelihood


@every_config
def test_bfloat16_and_compile(config, shapes, doodles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny = {f"model__{network}__{key}": value for network in ("encoder", "decoder") for key, value in TINY.items()}
    where = {"data__root": shapes, "data__path": doodles}
    arguments = options_for(config, trainer__precision="bf16-mixed", compile="true", **where, **tiny)
    assert call("fit", "--config", config, *arguments, monkeypatch=monkeypatch) == 0
    rows = list(csv.DictReader((only(tmp_path) / "metrics.csv").open()))
    name = "val/loss" if "val/loss" in rows[0] else "val/generator_loss"
    losses = [float(row[name]) for row in rows if row[name]]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert losses[1] < losses[0] or name != "val/loss"  # a game's losses need not fall
    model = package.load(only(tmp_path) / "checkpoints" / "last.ckpt")
    assert model.sample(2).dtype == torch.float32  # compiling changed no name
    assert call("test", monkeypatch=monkeypatch) == 0


TINY = {"width": 4, "depth": 2}


@every_config
def test_fit_runs_on_real_coco(config, tmp_path, monkeypatch):
    root = shared("coco_open")
    monkeypatch.chdir(tmp_path)
    sizes = {"data__n_train": 70, "data__n_test": 25, "data__n_val": 15, "data__image_size": 64}
    arguments = options_for(config, data__root=root, **sizes)
    if "data.root" not in " ".join(arguments):  # the same pictures' outlines
        arguments = [word if word != "70" else "60" for word in arguments]  # of 110 pictures, 108 have outlines
        arguments += ["--data", "COCOSketches", "--data.root", root]
    assert call("fit", "--config", config, *arguments, monkeypatch=monkeypatch) == 0
    assert call("test", monkeypatch=monkeypatch) == 0
    results = json.loads((only(tmp_path) / "results.json").read_text())
    assert results["mse"] is None or 0.02 < results["mse"] < 0.12
    assert not list(root.rglob("*.npy"))  # nothing is written beside the user's pictures


# --- what a user may get wrong


@pytest.mark.parametrize(
    "change, status, message",
    [
        (["--model.latnt", "3"], 2, "there is no key 'model.latnt'; did you mean 'model.latent'?"),
        (["--data.rot", "x"], 2, "did you mean 'data.root'?"),
        (["--trainer.max_epoch", "3"], 2, "did you mean 'trainer.max_epochs'?"),
        (["--images.epoch", "[1]"], 2, "did you mean 'images.epochs'?"),
        (["--evalution.nll_samples", "3"], 2, "did you mean 'evaluation'?"),
        (["--model.likelihood.sgma", "3"], 2, "did you mean 'model.likelihood.sigma'?"),
        (["--model", "VEA"], 2, "model: there is no 'VEA'; did you mean 'VAE'?"),
        (["--model.likelihood", "Bernouli"], 2, "there is no 'Bernouli'; did you mean 'Bernoulli'?"),
        (["--data", "CocoDataModule"], 2, "there is no 'CocoDataModule'; did you mean 'COCODataModule'?"),
        (["--model.latent", "many"], 2, "model.latent: many is not a whole number"),
        (["--model.warmup", "2.5"], 2, "model.warmup: 2.5 is not a whole number"),
        (["--model.beta", "abc"], 2, "model.beta: abc is not a number"),
        (["--data.resident", "maybe"], 2, "data.resident: maybe is not true or false"),
        (["--model.encoder.width=x"], 2, "model.encoder.width: x is not a whole number"),
        (["--model.likelihood.sigma", "-1"], 1, "sigma must be positive, got -1"),
        (["--data.image_size", "50"], 1, "50 x 50 .* multiple of 16, such as 48 x 48 or 64 x 64"),
        (["--data.root", "nowhere"], 1, "data.root: .*nowhere does not exist; give --data.root"),
        (["--data.n_train", "1000"], 1, "more images asked for than there are"),
        (["--model.latent", "0"], 1, "latent must be at least 1, got 0"),
        (["--model.lr", "-1"], 1, "lr must be positive, got -1"),
        (["--model.encoder.depth", "-1"], 1, "depth must be at least 1, got -1"),
        (["--trainer.precision", "bf16-true"], 1, "trainer.precision bf16-true: it is 32-true, or bf16-mixed"),
        (["--seed_everything", "-4"], 1, "seed_everything must be at least 0, got -4"),
        (["--data.annotations", "nowhere.json"], 1, "nowhere.json does not exist"),
        (["--data.workers", "-1"], 1, "workers must be at least 0, got -1"),
        (["--trainer.accelerator", "bogus"], 1, "trainer: .*invalid accelerator name: .*Available names are"),
        (["--ckpt_path", "nowhere.ckpt"], 1, "nowhere.ckpt: there is no such checkpoint file"),
        (["--ckpt_path", "last"], 1, "there is no trained model in runs/vae"),
        (["--ckpt_path", CONFIG], 1, "vae.yaml is not a checkpoint of a vae_zoo model"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--model.encoder", "MLPDecoder"], 1, "shape must be .* got 128; is an encoder in a decoder's place"),
        (["--trainer.callbacks", "LabelGrid"], 1, "LabelGrid needs a model that takes labels, such as CVAE, got VAE"),
        (["--model.free_bits", "-1"], 1, "free_bits must be at least 0, got -1"),
    ],
)
def test_mistakes_on_the_command_line(change, status, message, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["fit", "--config", CONFIG, *options(data__root=shapes), *change]
    assert call(*given, monkeypatch=monkeypatch) == status
    said = capsys.readouterr().err
    assert re.search(message, said, re.S), said
    (line,) = [line for line in said.splitlines() if line.startswith("vae-zoo")]
    assert len(line) < 600 and "Traceback" not in said
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("latent: 64", "latnt: 64", "there is no key 'model.latnt'; did you mean 'model.latent'?"),
        ("sigma: 1.0", "sgma: 1.0", "there is no key 'model.likelihood.sgma'; did you mean 'model.likelihood.sigma'?"),
        ("class_path: VAE", "class_path: VEA", "model: there is no 'VEA'; did you mean 'VAE'?"),
        ("max_epochs: 100", "max_epoch: 100", "there is no key 'trainer.max_epoch'; did you mean"),
        ("trainer:", "trianer:", "there is no key 'trianer'; did you mean 'trainer'?"),
        ("model:", "model: [", "bad.yaml is not a configuration file"),
        (None, "", "bad.yaml is not a configuration file: it holds no settings"),
        ("init_args:", "initargs:", "did you mean 'model.init_args'?"),
    ],
)
def test_mistakes_in_a_yaml(old, new, message, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good = (REPOSITORY / "configs" / "vae.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(good.replace(old, new) if old else new)
    assert call("fit", "--config", "bad.yaml", "--data.root", shapes, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "bad.yaml" in said and message in said and "Traceback" not in said


def test_mistakes_with_the_settings_of_a_run(run, monkeypatch, capsys):
    """Its config.yaml names classes by the package that exports them."""
    monkeypatch.chdir(run.parents[2])
    assert call("test", "--evaluation.nll_sampels", 5, monkeypatch=monkeypatch) == 2
    assert "there is no key 'evaluation.nll_sampels'; did you mean 'evaluation.nll_samples'?" in capsys.readouterr().err
    assert call("test", "--model.beeta", 2, monkeypatch=monkeypatch) == 2
    assert "there is no key 'model.beeta'; did you mean 'model.beta'?" in capsys.readouterr().err


def test_no_argument_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("fit", monkeypatch=monkeypatch) == 2
    assert "required" in capsys.readouterr().err


def test_a_part_can_be_predicted_and_a_picture_can_have_any_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    assert call("predict", "--trainer.devices", "2", monkeypatch=monkeypatch) == 0
    assert np.load(run / "codes.npz")["z"].shape == (20, 64)  # of one process, that has them all
    assert call("predict", "--trainer.limit_predict_batches", "1", monkeypatch=monkeypatch) == 0
    codes = np.load(run / "codes.npz")
    assert codes["z"].shape == (16, 64) and codes["label"].shape == (16,)
    assert call("sample", "--n", "2", "--out", "picture", monkeypatch=monkeypatch) == 0
    assert Image.open("picture").format == "PNG"


def test_a_mistake_in_a_shell_leaves_one_line_and_a_status(tmp_path):
    done = vae_zoo("fit", "--config", CONFIG, "--data.root", "nowhere", cwd=tmp_path, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "nowhere does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = vae_zoo("fti", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "invalid choice: 'fti'" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["sample"], "there is no trained model in runs"),
        (["test"], "there is no trained model in runs"),
        (["test", "--ckpt_path", "something"], "something is not a checkpoint of a vae_zoo model"),
        (["data", "shapes", "--out", "something/below", "--n", "3"], "something"),
        (["reconstruct", "--ckpt_path", "nowhere.ckpt"], "there is no such checkpoint file"),
        (["data", "shapes", "--out", ".", "--n", "3"], "is there already"),
        (["data", "shapes", "--out", "x", "--n", "0"], "n must be at least 1"),
    ],
)
def test_mistakes_with_the_other_commands(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_a_checkpoint_that_does_not_fit_the_data(run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["test", "--ckpt_path", run / "checkpoints" / "last.ckpt", "--data.image_size", "48"]
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    assert re.search(r"trained on data of shape \(3, 32, 32\), these have \(3, 48, 48\)", capsys.readouterr().err)


@pytest.mark.parametrize(
    "change, message",
    [
        (["--model", "AE"], "model.class is 'AE' here, but 'VAE' in the checkpoint"),
        (["--model.latent", "8"], "model.latent is 8 here, but 64 in the checkpoint"),
        (["--model.encoder.width", "8"], "model.encoder.init_args.width is 8 here, but 32 in the checkpoint"),
        (["--model.likelihood", "Bernoulli"], "model.likelihood.class_path is 'vae_zoo.distributions.Bernoulli' here"),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_command(change, message, run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = ["--ckpt_path", run / "checkpoints" / "last.ckpt"]
    arguments = ["fit", "--config", CONFIG, *options(data__root=shapes), *change, *checkpoint]
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("model, strategy", [("vae", "auto"), ("aae", "ddp")])
def test_two_processes_fit_and_test(model, strategy, shapes, tmp_path):
    both = options(data__root=shapes, trainer__devices=2, trainer__max_epochs=1, trainer__strategy=strategy)
    vae_zoo("fit", "--config", REPOSITORY / "configs" / f"{model}.yaml", *both, cwd=tmp_path)
    assert len(list(csv.DictReader((only(tmp_path) / "metrics.csv").open()))) > 0
    vae_zoo("test", cwd=tmp_path)
    results = json.loads((only(tmp_path) / "results.json").read_text())
    assert results["mse"] > 0 and (results["nll"] is None) == (model == "aae")


def test_labels_come_from_the_data(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = REPOSITORY / "configs" / "cvae.yaml"
    given = ["fit", "--config", config, *options(data__root=shapes, trainer__max_epochs=1)]
    assert call(*given, monkeypatch=monkeypatch) == 0
    model = package.load(only(tmp_path) / "checkpoints" / "last.ckpt")
    assert model.labels == 5 and model.hparams["labels"] == 5
    assert (only(tmp_path) / "images" / "labels_0001.png").is_file()
    assert call("reconstruct", "--n", 4, monkeypatch=monkeypatch) == 0  # test images, whose labels are known
    for arguments in (
        ["sample", "--n", 3, "--label", "star"],
        ["reconstruct", "--images", shapes / "images", "--label", 2],
    ):
        assert call(*arguments, monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    for arguments, message in (
        (["sample", "--label", "cat"], "--label cat: the model was trained with the labels "),
        (["sample", "--label", 5], "--label 5: the model was trained with the labels "),
        (
            ["reconstruct", "--images", shapes / "images"],
            "CVAE needs the pictures' label; give it with --label",
        ),
        (
            ["test", "--data.categories", "[star, circle]", "--data.n_train", 10],
            "the checkpoint was trained with the labels",
        ),
    ):
        assert call(*arguments, monkeypatch=monkeypatch) == 1
        assert message in capsys.readouterr().err

    # A checkpoint that does not carry the names, as one made in a notebook: their number is compared.
    path = only(tmp_path) / "checkpoints" / "last.ckpt"
    nameless = torch.load(path, weights_only=True)
    nameless["callbacks"].pop("Evaluation")
    torch.save(nameless, path)
    fewer = ["--data.categories", "[star, circle]", "--data.n_train", 10]
    assert call("test", *fewer, monkeypatch=monkeypatch) == 1
    assert "was trained with the labels 0, 1, 2, 3, 4; the data have" in capsys.readouterr().err


def test_a_model_without_labels_does_not_learn_of_them(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained[0])
    assert "labels" not in package.load(only(trained[0]) / "checkpoints" / "last.ckpt").hparams
    assert call("sample", "--label", 1, monkeypatch=monkeypatch) == 1
    assert "--label 1: VAE takes no labels" in capsys.readouterr().err


def test_what_the_trainer_refuses_of_a_model_trained_by_turns(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = options(data__root=shapes, trainer__gradient_clip_val=1)
    assert call("fit", "--config", REPOSITORY / "configs" / "aae.yaml", *clip, monkeypatch=monkeypatch) == 1
    assert "trainer.gradient_clip_val: AAE steps its optimizers itself; leave it out" in capsys.readouterr().err


def test_results_carry_the_seed_of_the_training(shapes, tmp_path):
    arguments = options(data__root=shapes, seed_everything=3, trainer__max_epochs=1)
    vae_zoo("fit", "--config", CONFIG, *arguments, cwd=tmp_path)
    vae_zoo("test", "--seed_everything", 0, cwd=tmp_path)
    assert json.loads((only(tmp_path) / "results.json").read_text())["seed"] == 3


def test_a_run_folder_may_be_renamed(run, monkeypatch):
    monkeypatch.chdir(run.parents[2])
    renamed = run.rename(run.with_name("the good one"))
    (renamed / "results.json").unlink()
    assert call("test", "--ckpt_path", renamed / "checkpoints" / "best.ckpt", monkeypatch=monkeypatch) == 0
    assert (renamed / "results.json").exists()


def test_reconstruct_names_a_picture_that_cannot_be_read(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    checkpoint = only(trained[0]) / "checkpoints" / "last.ckpt"
    arguments = ["reconstruct", "--ckpt_path", checkpoint, "--images", "broken.jpg"]
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    assert "broken.jpg is not a picture that can be read" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_config
def test_fit_on_a_gpu(config, shapes, doodles, tmp_path):
    gpu = {"trainer__accelerator": "gpu", "trainer__precision": "bf16-mixed", "data__resident": "true"}
    vae_zoo("fit", "--config", config, *options_for(config, data__root=shapes, data__path=doodles, **gpu), cwd=tmp_path)
    vae_zoo("test", cwd=tmp_path)
    assert json.loads((only(tmp_path) / "results.json").read_text())["timing"]["peak_memory_mb"] > 0
