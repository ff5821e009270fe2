"""Optimizers: whose learning rate holds, and one for all or for each turn."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Muon, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LinearLR, SequentialLR

from tests.zoo import models_that, small
from vae_zoo.errors import UserError
from vae_zoo.models.base import JointModel
from vae_zoo.optimizers import Phases, build_optimizer, catch_up


def weights():
    return [nn.Parameter(torch.zeros(3))]


class OwnRate(SGD):
    """A class that has no learning rate by default."""

    def __init__(self, params, rate):
        super().__init__(params, lr=rate)


@pytest.mark.parametrize(
    "factory, kind, lr",
    [
        (None, Adam, 0.25),
        (AdamW, AdamW, 0.25),
        (partial(AdamW, weight_decay=0.1), AdamW, 0.25),
        (partial(AdamW, lr=0.5), AdamW, 0.5),
        (partial(SGD, momentum=0.9), SGD, 0.25),
        (partial(SGD, lr=0.5, momentum=0.9), SGD, 0.5),
        (partial(OwnRate, rate=0.5), OwnRate, 0.5),
    ],
)
def test_the_models_learning_rate_holds_unless_the_optimizer_says_its_own(factory, kind, lr):
    optimizer = build_optimizer(factory, iter(weights()), 0.25, clipped=False)
    assert type(optimizer) is kind
    assert optimizer.defaults["lr"] == lr and [group["lr"] for group in optimizer.param_groups] == [lr]


def test_settings_stay_and_the_default_is_fused_unless_gradients_are_clipped():
    optimizer = build_optimizer(partial(AdamW, weight_decay=0.1, betas=(0.5, 0.9)), weights(), 0.25, clipped=True)
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.1 and group["betas"] == (0.5, 0.9)
    for clipped in (False, True):
        assert build_optimizer(None, weights(), 0.25, clipped).defaults["fused"] is not clipped


@pytest.mark.parametrize(
    "factory, message",
    [
        (Muon, "cannot be made: Muon only supports 2D parameters"),
        (partial(AdamW, betas=(2.0, 0.9)), "cannot be made: Invalid beta parameter at index 0: 2.0"),
        (LBFGS, "LBFGS computes the loss several times a step.*; take another optimizer, such as Adam"),
        (SparseAdam, "SparseAdam takes sparse gradients alone.*; take another optimizer"),
    ],
)
def test_an_optimizer_that_cannot_train_a_model_is_refused(factory, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(factory, weights(), 0.25, clipped=False)


@models_that(JointModel, takes="optimizer")
def test_one_optimizer_has_all_parameters(cls):
    model = small(cls, optimizer=partial(AdamW, weight_decay=0.1), lr=0.25)
    (optimizer,) = model.configure_optimizers()
    assert isinstance(optimizer, AdamW)
    (group,) = optimizer.param_groups
    assert group["lr"] == 0.25 and group["weight_decay"] == 0.1
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


def rates(scheduler, n):
    found = []
    for _ in range(n):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_phases_are_pytorchs_sequence():
    warm_up, cosine = partial(LinearLR, start_factor=0.1, total_iters=4), partial(CosineAnnealingLR, T_max=6)
    ours = Phases(SGD(weights(), 0.5), [warm_up, cosine], [4])
    optimizer = SGD(weights(), 0.5)
    theirs = SequentialLR(optimizer, [warm_up(optimizer), cosine(optimizer)], [4])
    found = rates(ours, 10)
    assert found == rates(theirs, 10)
    assert found[0] == pytest.approx(0.05) and found[4] == pytest.approx(0.5) and found[9] < 0.05
    assert found[:5] == sorted(found[:5]) and found[4:] == sorted(found[4:], reverse=True)


def test_a_schedule_catches_up_and_does_not_run_ahead():
    scheduler = ExponentialLR(SGD(weights(), 1.0), 0.5)
    scheduler.optimizer.step()
    for count, lr in ((0, 1.0), (3, 0.125), (3, 0.125), (1, 0.125)):
        catch_up(scheduler, count)
        assert scheduler.optimizer.param_groups[0]["lr"] == lr


def test_a_rate_that_the_model_replaces_is_told():
    with pytest.warns(
        UserWarning, match="AdamW learns at the model's rate 0.25; a rate of its own counts if it is not"
    ):
        build_optimizer(partial(AdamW, lr=1e-3), weights(), 0.25, clipped=False)
