"""The recipes: yamls that show how a training is set up, each trained for a few steps."""

import math

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging

import vae_zoo as package
from tests.conftest import REPOSITORY, call, options
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
