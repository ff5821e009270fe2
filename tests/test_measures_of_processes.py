"""Figures that two processes measure together are those of one process: each image counts once."""

import json

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy

from tests.data_sets import module
from tests.running import fitting, one_that
from vae_zoo.callbacks import Evaluation
from vae_zoo.metrics import (
    DEFAULTS,
    FID,
    Coverage,
    LabelAccuracy,
    Measure,
    ModelFigure,
    ModesLost,
    NearestInTraining,
    Precision,
    Sharpness,
)
from vae_zoo.models import LatentVariableModel

pytestmark = pytest.mark.slow
LATENT = one_that(LatentVariableModel, pixels=True, conditional=False)


class Count(Measure):
    """The number of images."""

    name = "images"

    def __init__(self):
        super().__init__()
        self.add_state("found", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, model, x, y, evaluated):
        self.found += len(x)

    def compute(self):
        return self.found.item()


class Deterministic(LATENT):
    """Further figures, each its own, which must not be taken for each other."""

    def evaluate(self, x, y=None):
        evaluated = super().evaluate(x, y)
        figures = {f"mean_{name}": x[:, channel].mean((1, 2)) for channel, name in enumerate(("red", "green", "blue"))}
        return {**evaluated, "figures": {**evaluated["figures"], **figures}}


def colour(x):
    return x.mean((2, 3))


@pytest.mark.parametrize("n_test", [20, 21])
def test_two_processes_measure_what_one_does(n_test, shapes, tmp_path):
    results = {}
    for processes in (1, 2):
        torch.manual_seed(0)
        data = module(shapes, n_test=n_test, batch_size=4)
        model = fitting(Deterministic, data)
        folder = tmp_path / str(processes)
        metrics = [*(measure() for measure in DEFAULTS), FID(colour), Count(), ModelFigure("loss")]
        metrics += [Precision(colour), Coverage(), LabelAccuracy(), ModesLost(), Sharpness(), NearestInTraining()]
        trainer = Trainer(
            accelerator="cpu",
            devices=processes,
            strategy=DDPStrategy(start_method="fork", process_group_backend="gloo") if processes > 1 else "auto",
            logger=CSVLogger(str(folder), name="", version=""),
            callbacks=[Evaluation(nll_samples=20, metrics=metrics)],
            enable_progress_bar=False,
        )
        trainer.test(model, datamodule=data, verbose=False)
        results[processes] = json.loads((folder / "results.json").read_text())
    one, two = results[1], results[2]
    assert one["images"] == two["images"] == n_test
    assert one.keys() == two.keys() and one["reasons"] == two["reasons"]
    exact = "mse mse_of_mean_image explained_variance psnr ssim active_units mean_red mean_green mean_blue".split()
    for name in (*exact, "label_accuracy"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name
    for name in ("elbo", "kl", "nll", "loss", "mse_sampled"):  # of draws that differ
        assert two[name] == pytest.approx(one[name], rel=0.05, abs=1), name
    assert two["code_mmd"] == pytest.approx(one["code_mmd"], abs=0.2) and two["fid"] >= 0
    for name in ("precision", "coverage", "sharpness", "nearest_in_training"):  # of other samples of an untrained model
        assert two[name] == pytest.approx(one[name], rel=0.3, abs=0.3), name
    assert 0 <= two["modes_lost"] <= 4
