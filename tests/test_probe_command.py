"""vae-zoo probe: a linear classifier on the features of a trained model."""

import json
from pathlib import Path

import pytest
import torch

import vae_zoo
from tests.conftest import call
from tests.running import checkpoint
from tests.zoo import batch
from vae_zoo.runs import Run

pytest_plugins = ["tests.trained_runs"]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["images", "samples", "sketches"])
def test_the_command_probes_any_model_with_features(name, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    model = vae_zoo.load(checkpoint(name))
    width = model.features(batch(model, 2)[0]).shape[1]
    command = ["probe", "--ckpt_path", checkpoint(name), "--few", 20, 1000, "--draws", 2]
    assert call(*command) == 0
    said = capsys.readouterr().out
    found = json.loads(Run(Path(name)).probe_file.read_text())
    assert (found["model"], found["features"]) == (type(model).__name__, width)
    assert (found["n_train"], found["n_test"]) == (48, 20)
    assert f"accuracy      {found['accuracy']:.4f}" in said and "n/a, there are not 1000 labels" in said
    assert 0 <= found["accuracy"] <= 1 and found["error"]["1000"] is None and 0 < found["chance"] < 1
    assert call(*command) == 0
    assert json.loads(Run(Path(name)).probe_file.read_text()) == found


@pytest.mark.parametrize(
    "name, message",
    [
        ("labelled", "'s encoder is given the label"),
        ("sketch_samples", " has no encoder or discriminator"),
    ],
)
def test_a_model_without_features_is_refused(name, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert call("probe", "--ckpt_path", checkpoint(name)) == 1
    assert f"{type(vae_zoo.load(checkpoint(name))).__name__}{message}" in capsys.readouterr().err


def test_features_that_are_not_finite_are_one_sentence(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    kind = type(vae_zoo.load(checkpoint("images")))
    monkeypatch.setattr(kind, "features", lambda model, x: torch.full((len(x), 3), torch.nan))
    assert call("probe", "--ckpt_path", checkpoint("images")) == 1
    assert f"{kind.__name__} has features that are not finite" in capsys.readouterr().err


def test_options_are_read_before_anything_is_computed(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for words, message in (
        (["--few", 1], "few must be at least 2, got 1"),
        (["--batch_size", 0], "batch_size must be"),
    ):
        assert call("probe", "--ckpt_path", checkpoint("images"), *words) == 1
        assert message in capsys.readouterr().err
