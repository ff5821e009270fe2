"""The recipes: yamls that show how a training is set up, each trained for a few steps."""

import inspect
import math
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging

import vae_zoo as package
from tests.conftest import REPOSITORY, call, options, options_for
from vae_zoo import metrics, settings
from vae_zoo.runs import Run

WARMUP_COSINE = REPOSITORY / "configs" / "recipes" / "warmup_cosine.yaml"


def test_the_warm_up_and_the_cosine_take_all_steps_of_the_training():
    given = yaml.safe_load(WARMUP_COSINE.read_text())
    sizes, arguments = given["data"]["init_args"], given["model"]["init_args"]
    (warmup, cosine), (milestone,) = arguments["lr_scheduler"]["init_args"].values()
    steps = math.ceil(sizes["n_train"] / sizes["batch_size"]) * given["trainer"]["max_epochs"]
    assert warmup["init_args"]["total_iters"] == milestone
    assert milestone + cosine["init_args"]["T_max"] == steps and arguments["lr_interval"] == "step"


@pytest.mark.slow
def test_the_recipe_trains(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, model__encoder__init_args__width=4, model__decoder__init_args__width=4)
    assert call("fit", "--config", WARMUP_COSINE, *words, "--run_dir", "run") == 0
    run = Run(tmp_path / "run")
    saved = torch.load(run.checkpoint(), weights_only=True)
    (optimizer,), (schedule,) = saved["optimizer_states"], saved["lr_schedulers"]
    (group,) = optimizer["param_groups"]
    assert group["weight_decay"] == 0.01 and group["initial_lr"] == 1e-3
    assert schedule["last_epoch"] in (5, 6) and saved["global_step"] == 6  # steps, not epochs
    assert group["lr"] == pytest.approx(1e-3 * (0.01 + 0.99 * schedule["last_epoch"] / 500), rel=1e-6)
    assert any(name.startswith(EMAWeightAveraging.__name__) for name in saved["callbacks"]), saved["callbacks"].keys()
    assert saved["current_model_state"]  # the weights that are trained on; the file's own are the average
    assert call("test", "--run_dir", "run") == 0
    assert run.tested["environment"]["precision"] == "bf16-mixed" and run.tested["figures"]["mse"] > 0
    assert package.load(run.checkpoint()).hparams["lr_interval"] == "step"


FIDELITY = REPOSITORY / "configs" / "recipes" / "fidelity.yaml"


def test_the_measures_of_samples_stand_behind_those_that_every_test_has():
    listed = yaml.safe_load(FIDELITY.read_text())["evaluation"]["metrics"]
    classes = [vars(metrics)[settings.class_name(each)] for each in listed]
    assert classes[: len(metrics.DEFAULTS)] == list(metrics.DEFAULTS)
    exported = {each for each in vars(metrics).values() if isinstance(each, type) and issubclass(each, metrics.Measure)}
    drawn = {each for each in exported if issubclass(each, metrics.SampleFigure) and not inspect.isabstract(each)}
    assert {*classes[len(metrics.DEFAULTS) :]} == drawn - {metrics.FID, metrics.KID} | {metrics.LabelAccuracy}
    for each in listed:  # the arguments that are not said are those of the evaluation
        made = getattr(metrics, settings.class_name(each))
        said = each["init_args"] if isinstance(each, dict) else {}
        takes = {name: p.default for name, p in inspect.signature(made).parameters.items()}
        assert said == {name: value for name, value in takes.items() if name == "k"}


@pytest.mark.slow
def test_the_measures_of_samples_are_laid_over_a_run(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.yaml").write_text("images: {columns: 4}\n")
    words = options_for(REPOSITORY / "configs" / "dcgan.yaml", data__root=shapes)
    assert call("fit", "--config", "dcgan", *words) == 0
    assert call("test", "--config", "images.yaml") == 0
    run = Run(next(tmp_path.glob("runs/dcgan/version_0")))
    before = run.tested["figures"]
    assert call("test", "--config", "recipes/fidelity") == 0
    run = Run(run.folder)
    figures, reasons = run.tested["figures"], run.tested["reasons"]
    assert {name: figures[name] for name in before} == before  # to the bit: nobody notices what is drawn beside it
    new = figures.keys() - before.keys()
    assert len(new) == 8 and not new & reasons.keys() and all(figures[name] is not None for name in new)


@pytest.mark.slow
def test_a_yaml_that_names_a_model_asks_for_no_run(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = options(data__root=shapes, model__encoder__width=4, model__decoder__width=4)
    assert call("fit", "--config", "vae", *words, "--run_dir", "run") == 0
    Path("run/checkpoints/last.ckpt").rename("alone.ckpt")
    assert call("test", "--config", "recipes/fidelity", "--ckpt_path", "alone.ckpt") == 1
    assert "not in a run folder with a config.yaml" in capsys.readouterr().err
    given = ["test", "--config", "vae", *words, "--config", "recipes/fidelity", "--ckpt_path", "alone.ckpt"]
    assert call(*given) == 0
    Path("broken.yaml").write_text("evaluation: [")
    assert call("test", "--config", "broken.yaml", "--run_dir", "run") == 2
