"""How any exported model is trained and measured: what moves, what is counted, what is logged."""

import csv
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from tests.zoo import JOINT, batch, every_model, loader_of, models_that, small, trainer
from vae_zoo import objectives
from vae_zoo.distributions import Bernoulli, DiscretisedLogistic, Gaussian, LearnedGaussian, OptimalGaussian
from vae_zoo.errors import UserError
from vae_zoo.models import LatentVariableModel
from vae_zoo.models.base import JointModel

LIKELIHOODS = [Gaussian, LearnedGaussian, OptimalGaussian, Bernoulli, DiscretisedLogistic]
drawing = models_that(LatentVariableModel)


def parameters_of(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def unmoved(model, before):
    return [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]


def step(model, data, folder):
    """One step of each of its optimizers, by hand where there is one alone, which is faster."""
    if model.automatic_optimization:
        optimizer = model.configure_optimizers()[0]
        model.training_step(data.dataset[:], 0).backward()
        optimizer.step()
    else:
        trainer(folder).fit(model, data)


@models_that(takes="likelihood")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.slow
def test_one_step_moves_every_parameter(cls, likelihood, tmp_path):
    model = small(cls, likelihood=likelihood)
    before = parameters_of(model)
    step(model, loader_of(model, 10, 10), tmp_path)
    assert not unmoved(model, before)


@every_model
@pytest.mark.slow
def test_counters_mean_batches_and_every_figure_is_logged(cls, tmp_path):
    """3 batches an epoch, however many optimizers: steps, checkpoints, max_steps and the logger's axis are the same."""
    model = small(cls)
    before = parameters_of(model)
    logger = CSVLogger(str(tmp_path), name="", version="")
    every = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    settings = {"logger": logger, "callbacks": [every], "log_every_n_steps": 2, "enable_checkpointing": True}
    fit = trainer(tmp_path, max_epochs=2, **settings)
    fit.fit(model, loader_of(model), loader_of(model))
    assert fit.global_step == 6
    assert {path.stem for path in tmp_path.glob("*.ckpt")} == {"step=2", "step=4", "step=6"}
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    names = {stage: [name for name in rows[0] if name.startswith(stage)] for stage in ("train/", "val/")}
    assert names["train/"] and names["val/"] and (model.monitor is None or model.monitor in names["val/"])
    assert [row["step"] for row in rows if any(row[name] for name in names["train/"])] == ["1", "3", "5"]
    for stage, logged in names.items():
        for row in rows:
            assert not any(row[name] for name in logged) or all(math.isfinite(float(row[name])) for name in logged), (
                stage
            )
    short = trainer(tmp_path, max_epochs=9, max_steps=4, log_every_n_steps=0)  # 0 is never
    short.fit(small(cls), loader_of(model))
    assert short.global_step == 4
    assert not unmoved(model, before)


@models_that(takes="warmup")
@pytest.mark.slow
def test_a_training_resumes_inside_an_epoch(cls, tmp_path):
    """With a KL that is warmed up, whose weight follows from the epoch."""
    settings = {"callbacks": [ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)]}
    fit = trainer(tmp_path, max_epochs=3, enable_checkpointing=True, **settings)
    fit.fit(small(cls, warmup=3), loader_of(small(cls)))
    resumed = trainer(tmp_path, max_epochs=3)
    model = small(cls, warmup=3)
    resumed.fit(model, loader_of(model), ckpt_path=tmp_path / "step=4.ckpt")
    assert resumed.global_step == 9 and model.epoch == 2


@models_that(monitor="val/loss", pixels=True)
@pytest.mark.slow
def test_training_lowers_the_loss(cls, tmp_path):
    model = small(cls)
    model.lr = 1e-2
    data = loader_of(model, 64, 16)
    before = trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"]
    trainer(tmp_path, max_epochs=5).fit(model, data)
    assert trainer(tmp_path).validate(model, data, verbose=False)[0]["val/loss"] < before - 1


@models_that(encodes=True, pixels=True)
def test_logged_figures_are_means_over_images_with_a_ragged_last_batch(cls, tmp_path):
    model = small(cls)
    data = loader_of(model, 20, 8)
    logged = trainer(tmp_path).test(model, data, verbose=False)[0]
    x, y = data.dataset.tensors
    assert logged["test/mse"] == pytest.approx((x - model.reconstruct(x, y)).square().mean().item(), rel=1e-5)


@every_model
def test_figures_are_one_number_for_each_item(cls):
    model = small(cls).eval()
    with torch.no_grad():
        evaluated = model.evaluate(*batch(model, 3))
    assert all(value.shape == (3,) and value.isfinite().all() for value in evaluated["figures"].values())
    assert model.monitor is None or model.monitor.removeprefix("val/") in evaluated["figures"]


@drawing
def test_training_and_evaluation_take_k_independent_draws(cls, monkeypatch):
    model, seen = small(cls), []
    model.samples, objective = 7, model.objective
    monkeypatch.setattr(model, "objective", lambda trace: seen.append(trace) or objective(trace))
    x, y = batch(model, 2)
    model.training_step((x, y), 0)
    model.evaluate(x, y)
    for trace in seen:
        assert trace.log_px.shape == trace.log_qz.shape == (7, 2)
        assert len(trace.log_qz[:, 0].unique()) == len(trace.log_px[:, 0].unique()) == 7  # draws, not copies
    assert len(seen) == 2


@drawing
def test_training_and_evaluation_take_one_objective_of_the_same_draws(cls):
    model = small(cls)
    model.samples = 3
    x, y = batch(model, 4)

    def seeded(function):
        torch.manual_seed(1)
        return function()

    reduced = model.objective(seeded(lambda: model.trace(x, y, 3)))
    bound = reduced if isinstance(reduced, torch.Tensor) else reduced[0]
    torch.testing.assert_close(seeded(lambda: model.training_step((x, y), 0)), -bound.mean())
    figures = seeded(lambda: model.evaluate(x, y))["figures"]
    torch.testing.assert_close(figures["loss"], -bound)
    torch.testing.assert_close(figures["elbo"], objectives.elbo(seeded(lambda: model.trace(x, y, 3))))
    torch.testing.assert_close(figures["elbo"], figures["reconstruction"] - figures["kl"])


@drawing
@pytest.mark.slow
def test_elbo_is_the_mean_of_one_sample_bounds(cls):
    model = small(cls).double()
    x, y = batch(model, 2)
    with torch.no_grad():
        trace = model.trace(x.double(), y, samples=5_000)
        sampled, error = trace.log_w.mean(0), trace.log_w.std(0) / math.sqrt(5_000)
        assert ((objectives.elbo(trace) - sampled).abs() < 6 * error).all()


@drawing
def test_gradient_reaches_the_encoder_through_the_draws(cls):
    model = small(cls)
    x, y = batch(model, 10)
    model.trace(x, y).log_px.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.posterior.parameters())


def with_a_further_figure(cls):
    """The model, whose objective also returns the mean of an image's centre, and seven."""

    class Further(cls):
        def objective(self, trace):
            reduced = super().objective(trace)
            bound, others = (reduced, {}) if isinstance(reduced, torch.Tensor) else reduced
            return bound, {
                **others,
                "centre": trace.centre.flatten(1).mean(1),
                "seven": torch.full((len(trace.x),), 7.0),
            }

    return Further


@drawing
@pytest.mark.slow
def test_further_figures_of_an_objective_are_logged_in_all_stages_and_the_loss_is_as_it_was(cls, tmp_path):
    plain, further = small(cls), small(with_a_further_figure(cls))
    further.load_state_dict(plain.state_dict())
    data, losses = loader_of(plain), []
    for model in (plain, further):
        torch.manual_seed(1)
        losses.append(model.training_step(data.dataset[:8], 0))
    assert torch.equal(*losses)
    logger = CSVLogger(str(tmp_path), name="", version="")
    fit = trainer(tmp_path, logger=logger, log_every_n_steps=1)
    fit.fit(further, data, data)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    for stage in ("train", "val"):
        assert {row[f"{stage}/seven"] for row in rows} == {"", "7.0"}
    truth = further.encode(*data.dataset.tensors).mean().item()
    assert fit.callback_metrics["val/centre"].item() == pytest.approx(truth, rel=1e-4, abs=1e-6)
    logged = trainer(tmp_path).test(further, data, verbose=False)[0]
    assert logged["test/seven"] == 7 and logged["test/centre"] == pytest.approx(truth, rel=1e-4, abs=1e-6)


class Gradients(Callback):
    """The norm of all gradients at each step, after they were clipped."""

    def __init__(self):
        self.norms = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.norms.append(torch.stack([p.grad.norm() for p in pl_module.parameters()]).norm().item())


@models_that(JointModel)
@pytest.mark.slow
def test_gradients_are_clipped_under_bf16_too(cls, tmp_path):
    for precision in ("bf16-mixed", "32-true"):
        model, gradients = small(cls), Gradients()
        before = parameters_of(model)
        settings = {"precision": precision, "gradient_clip_val": 1e-3, "callbacks": [gradients]}
        trainer(tmp_path, **settings).fit(model, loader_of(model), loader_of(model))
        assert not unmoved(model, before) and all(parameter.isfinite().all() for parameter in model.parameters())
        assert max(gradients.norms) == pytest.approx(1e-3, rel=0.02)


@every_model
@pytest.mark.slow
def test_bf16_trains_whatever_the_number_of_optimizers(cls, tmp_path):
    model = small(cls)
    before = parameters_of(model)
    trainer(tmp_path, precision="bf16-mixed").fit(model, loader_of(model), loader_of(model))
    assert not unmoved(model, before) and all(parameter.isfinite().all() for parameter in model.parameters())


def test_noise_differs_between_epochs_seeds_and_processes():
    seeds = set()
    for seed, epoch, rank in itertools.product((0, 1, 2**63), (0, 1, 2), (0, 1)):
        model = small(JOINT)
        given = batch(model, 2)
        model._trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, lr_scheduler_configs=[])
        torch.manual_seed(seed)
        model.on_train_start()
        torch.manual_seed(5)  # whatever came before
        model.on_train_batch_start(given, 0)
        seeds.add(torch.initial_seed())
        state = torch.get_rng_state()
        model.on_train_batch_start(given, 1)
        assert torch.equal(torch.get_rng_state(), state)
    assert len(seeds) == 18


@drawing
def test_a_further_figure_cannot_replace_a_bound(cls):
    class Lying(cls):
        def objective(self, trace):
            return trace.log_w.mean(0), {"elbo": torch.zeros(len(trace.x))}

    model = small(Lying)
    for call in (lambda: model.evaluate(*batch(model, 2)), lambda: model.training_step(batch(model, 2), 0)):
        with pytest.raises(UserError, match="objective: a further figure cannot be called 'elbo'"):
            call()
