"""Optimizers, schedules, averaged weights and clipped gradients, as typed on the command line."""

import json

import pytest
import torch

import vae_zoo as package
from tests.conftest import call, config_that, every_config, options, options_for

pytestmark = pytest.mark.slow

OPTIMIZER = ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.weight_decay", "0.01"]
SCHEDULE = ["--model.lr_scheduler", "torch.optim.lr_scheduler.CosineAnnealingLR", "--model.lr_scheduler.T_max", "10"]
AVERAGE = ["--trainer.callbacks+=EMAWeightAveraging", "--trainer.callbacks.decay", "0.5"]


def fit(folder, epochs, shapes, *further):
    words = options(data__root=shapes, trainer__max_epochs=epochs, model__encoder__width=4, run_dir=folder)
    assert call("fit", "--config", "vae", *words, *further, "--ckpt_path", "auto") == 0
    return torch.load(f"{folder}/checkpoints/last.ckpt", weights_only=True)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a["state_dict"].values(), b["state_dict"].values(), strict=True))


@pytest.mark.parametrize("words", [OPTIMIZER + SCHEDULE, AVERAGE], ids=["schedule", "average"])
def test_a_run_that_goes_on_ends_at_the_same_numbers(words, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = fit("whole", 3, shapes, *words)
    fit("cut", 1, shapes, *words)
    cut = fit("cut", 3, shapes, *words)
    assert same(whole, cut)
    (a,), (b,) = (saved["optimizer_states"][0]["param_groups"] for saved in (whole, cut))
    assert a["lr"] == b["lr"] and (a["weight_decay"] == 0.01) == (a["lr"] < 1e-3) == (words != AVERAGE)
    assert call("test", "--run_dir", "cut") == 0


def test_what_is_measured_are_the_averaged_weights(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = fit("mine", 2, shapes, *AVERAGE)
    current = {name.removeprefix("module."): value for name, value in saved["current_model_state"].items()}
    model = package.load("mine/checkpoints/last.ckpt")
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, current[name])]
    assert moved and all(torch.equal(value, saved["state_dict"][n]) for n, value in model.state_dict().items())
    assert call("test", "--run_dir", "mine") == 0
    figures = json.loads((tmp_path / "mine" / "results.json").read_text())
    del saved["checksum"]
    torch.save({**saved, "state_dict": current}, "mine/checkpoints/last.ckpt")
    assert call("test", "--run_dir", "mine") == 0
    assert json.loads((tmp_path / "mine" / "results.json").read_text())["mse"] != figures["mse"]


@every_config
def test_bfloat16_with_clipped_gradients(config, shapes, doodles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"trainer__max_epochs": 1, "trainer__precision": "bf16-mixed", "trainer__gradient_clip_val": 0.1}
    where = {"data__root": shapes, "data__path": doodles}
    status = call("fit", "--config", config, *options_for(config, **small, **where))
    assert status == 0 or "steps its optimizers itself; leave it out" in capsys.readouterr().err
    assert (status == 0) or config != config_that(automatic_optimization=True)


@pytest.mark.parametrize("has, slow", [({"avx2": True, "avx512_bf16": False}, True), ({"amx_bf16": True}, False)])
def test_bfloat16_on_a_cpu_without_its_instructions_is_warned_of(has, slow, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    words = options(data__root=shapes, trainer__precision="bf16-mixed", trainer__max_epochs=0)
    assert call("fit", "--config", "vae", *words) == 0
    warning = "this CPU has no instructions for trainer.precision bf16-mixed; 32-true is faster"
    assert (warning in capsys.readouterr().err) == slow
