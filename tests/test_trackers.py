"""Trackers get numbers, pictures and hyper-parameters by the recipes of the documentation, and the run stays whole."""

import json
import re
import struct
import zipfile

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers.logger import DummyExperiment, Logger
from PIL import Image
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import REPOSITORY, call, only_run, options
from tests.running import fit
from tests.zoo import JOINT, small
from vae_zoo.callbacks import RunFolder, SampleImages
from vae_zoo.runs import Run

NUMBERS = {"train/loss", "val/loss", "val/mse", "timing/seconds_per_epoch"}


def recipe(name):
    """A yaml of the documentation."""
    text = (REPOSITORY / "docs" / "training.md").read_text()
    return re.search(rf"```yaml\n(# {name}.yaml\n.*?)```", text, re.S)[1]


def fitted(name, shapes, folder, monkeypatch):
    """The run of a training with a recipe, of which nothing is missing."""
    monkeypatch.chdir(folder)
    (folder / f"{name}.yaml").write_text(recipe(name))
    words = options(data__root=shapes, trainer__max_epochs=2, trainer__log_every_n_steps=1)
    assert call("fit", "--config", "vae", "--config", f"{name}.yaml", *words, "--images.epochs=[1]") == 0
    assert call("test", "--evaluation.nll_samples", 2) == 0
    run = Run(only_run(folder))
    assert {kind: [*epochs] for kind, epochs in run.pictures.items()} == {"reconstructions": [1, 2], "samples": [1, 2]}
    assert len(run.curve()) == 2 and run.tested["figures"]["mse"] > 0 and run.checkpoint().is_file()
    assert set(run.metrics_file.read_text().split("\n")[0].split(",")) > NUMBERS
    return run


def pixels(files):
    """What is to be seen in pictures."""
    return {(image.size, image.convert("RGB").tobytes()) for image in map(Image.open, files)}


def wandb_records(content):
    """What is in a .wandb file: a header, then blocks of 32 KiB with pieces of records, as in LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, pieces = 7, b""
    while place + 7 <= len(content):
        if place % 2**15 > 2**15 - 7:
            place += -place % 2**15
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(pieces)
            pieces = b""


@pytest.mark.slow
def test_weights_and_biases(shapes, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    run = fitted("wandb", shapes, tmp_path, monkeypatch)
    wandb.finish()
    (file,) = (tmp_path / "runs" / "wandb").glob("offline-run-*/*.wandb")
    logged, settings = {}, {}
    for record in wandb_records(file.read_bytes()):
        for item in record.history.item:
            name = item.key or item.nested_key[0]  # of a picture: its path, its size ...
            logged.setdefault(name, []).append(json.loads(item.value_json))
        settings |= {item.key: item.value_json for item in (*record.config.update, *record.run.config.update)}
    assert logged.keys() > NUMBERS | {"images/samples", "images/reconstructions", "latent/kl_per_dimension"}
    assert logged["val/mse"] == pytest.approx([point.value for point in run.curve()])
    assert [path.parent.name for path in file.parent.rglob("samples_*.png")] == ["images"] * 2 and settings[
        "latent"
    ] == str(run.config["model"]["init_args"]["latent"])
    assert pixels(run.pictures["samples"].values()) <= pixels(file.parent.rglob("*.png"))


@pytest.mark.slow
def test_mlflow(shapes, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="the store of the recipe needs it")
    run = fitted("mlflow", shapes, tmp_path, monkeypatch)
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("vae-zoo")
    (there,) = client.search_runs([experiment.experiment_id])
    assert there.data.metrics.keys() > NUMBERS
    assert there.data.metrics["val/mse"] == pytest.approx(run.curve()[-1].value)
    assert there.data.params["latent"] == str(run.config["model"]["init_args"]["latent"])
    paths = [*(tmp_path / "mlartifacts").rglob("*.png")]
    assert sum("samples" in path.name for path in paths) == 2
    assert pixels(run.pictures["samples"].values()) <= pixels(paths)


@pytest.mark.slow
def test_comet(shapes, tmp_path, monkeypatch):
    comet = pytest.importorskip("comet_ml")
    for name, value in {"START_ONLINE": "false", "OFFLINE_DIRECTORY": str(tmp_path / "offline")}.items():
        monkeypatch.setenv(f"COMET_{name}", value)
    run = fitted("comet", shapes, tmp_path, monkeypatch)
    comet.get_running_experiment().end()
    (archive,) = (tmp_path / "offline").glob("*.zip")
    zipfile.ZipFile(archive).extractall(tmp_path / "comet")
    messages = [json.loads(line) for line in (tmp_path / "comet" / "messages.json").read_text().splitlines()]
    of = {kind: [m["payload"] for m in messages if m["type"] == kind] for kind in {m["type"] for m in messages}}
    logged = {}
    for message in of["metric_msg"]:
        logged.setdefault(message["metric"]["metricName"], []).append(message["metric"]["metricValue"])
    assert logged.keys() > NUMBERS and logged["val/mse"] == pytest.approx([point.value for point in run.curve()])
    single = [each["param"] for each in of["parameter_msg"] if "param" in each]  # others are lists
    settings = {each["paramName"]: each["paramValue"] for each in single}
    assert str(settings["latent"]) == str(run.config["model"]["init_args"]["latent"])
    pictures = [each for each in of["file_upload"] if "images/samples" in each["additional_params"].values()]
    assert pixels(tmp_path / "comet" / each["file_path"] for each in pictures) == pixels(
        run.pictures["samples"].values()
    )


class Album(Logger):
    """A logger of one's own, which keeps what it is given."""

    name, version = "album", "0"

    @property
    def experiment(self):
        return DummyExperiment()

    def __init__(self):
        super().__init__()
        self.pictures = []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def log_image(self, key, images, step=None):
        self.pictures += [(key, step, np.asarray(image)) for image in images]


@pytest.mark.slow
def test_a_logger_of_ones_own_gets_the_pictures_of_the_run_folder(tmp_path):
    album = Album()
    fit(tmp_path, SampleImages(epochs=[0]), RunFolder(tmp_path), model=small(JOINT), epochs=1, logger=[album])
    assert [(key, step) for key, step, _ in album.pictures] == [
        (f"images/{kind}", step) for step in (0, 3) for kind in ("samples", "reconstructions")
    ]
    for (key, _, picture), epoch in zip(album.pictures, (0, 0, 1, 1), strict=True):
        assert (picture == np.asarray(Image.open(Run(tmp_path).picture(key.removeprefix("images/"), epoch)))).all()


@pytest.mark.slow
def test_tensorboard_opens_on_losses_and_has_a_line_for_each_run(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config in ("aae", "vae"):
        words = options(data__root=shapes, trainer__max_epochs=2, trainer__log_every_n_steps=1)
        assert call("fit", "--config", config, *words, "--run_dir", f"all/{config}") == 0
    assert call("test", "--run_dir", "all/vae", "--evaluation.nll_samples", 2) == 0  # the other one is not tested
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "all")).Reload()
    assert set(events.Runs()) == {"aae", "vae"}
    for name in events.Runs():
        tags = events.GetAccumulator(name).Tags()["scalars"]
        assert [tag for tag in sorted(tags) if tag.startswith(min(tags).split("/")[0])] == ["Loss/train", "Loss/val"]
        assert "epoch" not in tags and not [tag for tag in tags if tag.startswith("hp/")]
        for part in ("train", "val"):
            pairs = ([e.value for e in events.Scalars(name, tag)] for tag in (f"Loss/{part}", f"{part}/loss"))
            assert next(pairs) == next(pairs)

        def content(tag, name=name):
            found = events.GetAccumulator(name).SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
            return plugin_data_pb2.HParamsPluginData.FromString(found)

        columns = dict(content("session_start_info").session_start_info.hparams)
        assert columns["Model"].string_value == name.upper() and columns["encoder"].string_value == "ConvEncoder"
        assert columns["encoder/width"].number_value > 0 and not [
            c for c in columns if "class_path" in c or c[0] == "_"
        ]
        infos = content("experiment").experiment
        assert {info.name for info in infos.hparam_infos} == columns.keys()
        # Named before the test, since TensorBoard takes the columns from whichever run it meets first.
        assert {"test/mse", "test/nll", "test/bits_per_dim"} <= {info.name.tag for info in infos.metric_infos}
    results = json.loads((tmp_path / "all/vae/results.json").read_text())
    assert [e.value for e in events.Scalars("vae", "test/mse")] == pytest.approx([results["mse"]])


def test_hyperparameters_are_columns_of_plain_values():
    from vae_zoo.callbacks.trackers import _flat

    given = yaml.safe_load(
        "{_class_path: a.B, lr: 0.1, optimizer: null, prior: {class_path: a.b.C}, deep: {class_path: D, init_args: "
        "{of: {class_path: E, init_args: {n: 3}}, none: null}}, shape: [3, 4]}"
    )
    expected = {"lr": 0.1, "prior": "C", "deep": "D", "deep/of": "E", "deep/of/n": 3, "shape": "[3, 4]"}
    assert dict(_flat(given)) == expected and dict(_flat({"factory": torch.nn.ReLU})).keys() == {"factory"}
