"""Learning-rate schedules against PyTorch's own, for one optimizer and for one in each turn, also after a resume."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from tests.zoo import BY_TURNS, JOINT, MODELS, loader_of, small, trainer
from vae_zoo.errors import UserError
from vae_zoo.optimizers import Phases

pytestmark = pytest.mark.slow
BATCHES = 3  # of an epoch
PHASES = partial(
    Phases,
    schedulers=[partial(LinearLR, start_factor=0.1, total_iters=3), partial(CosineAnnealingLR, T_max=5)],
    milestones=[3],
)
SCHEDULES = {
    "warm-up, then a cosine": PHASES,
    "steps": partial(MultiStepLR, milestones=[1, 2], gamma=0.5),
    "restarts": partial(CosineAnnealingWarmRestarts, T_0=2),
    "one cycle": partial(OneCycleLR, max_lr=0.01, total_steps=13),
}
either = pytest.mark.parametrize("cls", [JOINT, BY_TURNS])
scheduled = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
intervals = pytest.mark.parametrize("interval", ["epoch", "step"])


class Rates(Callback):
    """The learning rate of each optimizer in each step of training, and the loss of each validation."""

    def __init__(self):
        self.seen, self.losses = [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append([group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups])

    def on_validation_end(self, trainer, pl_module):
        if pl_module.monitor:
            self.losses.append(trainer.callback_metrics[pl_module.monitor].item())


def scheduled_model(cls, schedule, interval="epoch", start=None):
    model = small(cls)
    model.lr_scheduler, model.lr_interval = schedule, interval
    if start:
        model.load_state_dict(start)
    return model


def rates_of(cls):
    """The learning rate that each of its optimizers has without a schedule."""
    return [optimizer.param_groups[0]["lr"] for optimizer in small(cls).configure_optimizers()]


def by_pytorch(schedule, lr, steps):
    """The learning rates of a schedule in a loop of PyTorch's own."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr, momentum=0.9)
    scheduler, found = schedule(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@either
@scheduled
@intervals
def test_a_schedule_is_pytorchs_by_epoch_or_by_step(cls, schedule, interval, tmp_path):
    rates, model = Rates(), scheduled_model(cls, schedule, interval)
    trainer(tmp_path, max_epochs=4, callbacks=[rates]).fit(model, loader_of(model, 20, 8))
    assert len(rates.seen) == 4 * BATCHES
    for seen, lr in zip(zip(*rates.seen, strict=True), rates_of(cls), strict=True):
        truth = by_pytorch(schedule, lr, 4 * BATCHES)
        if interval == "epoch":
            truth = [rate for rate in truth[:4] for _ in range(BATCHES)]
        assert list(seen) == pytest.approx(truth, rel=1e-12)
        assert len(set(truth)) > 1


def test_phases_are_a_linear_warm_up_and_then_a_cosine():
    def theirs(optimizer):
        warm_up = LinearLR(optimizer, start_factor=0.1, total_iters=3)
        return SequentialLR(optimizer, [warm_up, CosineAnnealingLR(optimizer, 5)], [3])

    assert by_pytorch(PHASES, 0.5, 8) == by_pytorch(theirs, 0.5, 8)


@pytest.mark.parametrize("cls", MODELS)
def test_there_is_a_schedule_for_each_optimizer_and_it_has_its_own_rate(cls, tmp_path):
    rates, model = Rates(), scheduled_model(cls, partial(MultiStepLR, milestones=[1], gamma=0.5))
    fit = trainer(tmp_path, max_epochs=2, callbacks=[rates])
    fit.fit(model, loader_of(model, 8, 8))
    assert [config.scheduler.optimizer for config in fit.lr_scheduler_configs] == fit.optimizers
    before = rates_of(cls)
    assert rates.seen == [before, [lr / 2 for lr in before]]


@either
@scheduled
@intervals
def test_a_resumed_run_has_the_rates_and_weights_of_an_uninterrupted_one(cls, schedule, interval, tmp_path):
    start = small(cls).state_dict()
    whole, first, second = Rates(), Rates(), Rates()
    data = loader_of(small(cls), 20, 8)

    def fit(model, rates, epochs, **settings):
        torch.manual_seed(4)
        run = trainer(tmp_path, max_epochs=epochs, callbacks=[rates])
        run.fit(model, data, **settings)
        return run

    fit(uninterrupted := scheduled_model(cls, schedule, interval, start), whole, 4)
    stopped = fit(scheduled_model(cls, schedule, interval, start), first, 2)
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    resumed = scheduled_model(cls, schedule, interval)
    fit(resumed, second, 4, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert first.seen + second.seen == whole.seen
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_steps_are_of_the_optimizer_where_gradients_are_accumulated(tmp_path):
    rates, model = Rates(), scheduled_model(JOINT, PHASES, "step")
    trainer(tmp_path, max_epochs=2, callbacks=[rates], accumulate_grad_batches=2).fit(model, loader_of(model, 32, 8))
    truth = by_pytorch(PHASES, *rates_of(JOINT), 4)
    assert [seen[0] for seen in rates.seen] == pytest.approx([lr for lr in truth for _ in range(2)], rel=1e-12)


def chained(optimizer):
    parts = [partial(LinearLR, start_factor=0.1, total_iters=3), partial(CosineAnnealingLR, T_max=5)]
    return ChainedScheduler([make(optimizer) for make in parts], optimizer)


@intervals
def test_a_chained_schedule_has_no_count_of_its_own(interval, tmp_path):
    rates, model = Rates(), scheduled_model(JOINT, chained, interval)
    trainer(tmp_path, max_epochs=2, callbacks=[rates], enable_checkpointing=False).fit(model, loader_of(model, 20, 8))
    truth = by_pytorch(chained, *rates_of(JOINT), 2 * BATCHES)
    truth = truth if interval == "step" else [rate for rate in truth[:2] for _ in range(BATCHES)]
    assert [seen[0] for seen in rates.seen] == pytest.approx(truth, rel=1e-12)


def test_a_plateau_waits_for_validations_whatever_the_interval(tmp_path):
    model = scheduled_model(JOINT, partial(ReduceLROnPlateau, factor=0.5), "step")
    data = loader_of(model, 20, 8)
    trainer(tmp_path, enable_checkpointing=False).fit(model, data, data)


@either
def test_a_plateau_is_of_the_models_own_figure(cls, tmp_path):
    """A loss that is never lower by enough: the rate is halved after each validation but the first."""
    plateau = partial(ReduceLROnPlateau, factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")
    start, runs, data = small(cls).state_dict(), [], loader_of(small(cls), 20, 8)
    for epochs, resume in ((4, None), (2, None), (4, tmp_path / "x.ckpt")):
        rates, model = Rates(), scheduled_model(cls, plateau, "epoch", start)
        torch.manual_seed(4)
        fit = trainer(tmp_path, max_epochs=epochs, callbacks=[rates])
        fit.fit(model, data, data, ckpt_path=resume, weights_only=True)
        fit.save_checkpoint(tmp_path / "x.ckpt")
        runs.append((rates, model))
    (whole, _), (first, _), (second, _) = runs
    assert first.seen + second.seen == whole.seen
    factors = [factor for factor in (1, 1, 0.5, 0.25) for _ in range(BATCHES)]
    assert whole.seen == [[lr * factor for lr in rates_of(cls)] for factor in factors]
    for a, b in zip(runs[0][1].parameters(), runs[2][1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_plateau_that_is_reached_is_pytorchs(tmp_path):
    plateau = partial(ReduceLROnPlateau, factor=0.1, patience=1, threshold=0.02)
    rates, model = Rates(), scheduled_model(JOINT, plateau)
    data = loader_of(model, 20, 8)
    trainer(tmp_path, max_epochs=12, callbacks=[rates], num_sanity_val_steps=0).fit(model, data, data)
    (lr,) = rates_of(JOINT)
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr)
    scheduler, truth = plateau(optimizer), []
    for loss in rates.losses:
        truth += [optimizer.param_groups[0]["lr"]] * BATCHES
        scheduler.step(loss)
    assert [seen[0] for seen in rates.seen] == truth and len(rates.losses) == 12


@pytest.mark.parametrize("cls", [cls for cls in MODELS if cls.monitor is None])
def test_a_plateau_of_a_model_without_such_a_figure_is_refused(cls, tmp_path):
    model = scheduled_model(cls, ReduceLROnPlateau)
    with pytest.raises(UserError, match=f"model.lr_scheduler: {cls.__name__} has no figure that ReduceLROnPlateau can"):
        trainer(tmp_path).fit(model, loader_of(model))
