"""Optimizers and learning-rate schedules, each made by a factory that a yaml can describe."""

from collections.abc import Callable, Iterable
from typing import Literal, cast

from lightning.pytorch.utilities import rank_zero_warn
from torch.nn import Parameter
from torch.optim import LBFGS, Adam, Optimizer, SparseAdam
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from vae_zoo.errors import UserError

OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
Interval = Literal["epoch", "step"]
UNFIT = {
    LBFGS: "computes the loss several times a step, and knows no weights in channels_last, as convolutions have them",
    SparseAdam: "takes sparse gradients alone, and these are dense",
}


def build_optimizer(
    factory: OptimizerFactory | None, parameters: Iterable[Parameter], lr: float, clipped: bool
) -> Optimizer:
    """Make an optimizer with the learning rate `lr`, or its own if the factory says another than its class has.

    Args:
        factory: called with the parameters; None is Adam (Kingma & Ba 2015), the other settings at their defaults.
        parameters: what is trained.
        lr: the learning rate.
        clipped: whether gradients are clipped; under bf16-mixed Lightning clips none of a fused optimizer.

    Raises:
        UserError: if the optimizer refuses these parameters or its settings, or cannot train a model.
    """
    parameters = list(parameters)
    if factory is None:
        return Adam(parameters, lr=lr, fused=not clipped)
    try:
        optimizer = factory(parameters)
    except ValueError as error:  # such as Muon's, which takes matrices alone
        raise UserError(f"the optimizer cannot be made: {error}") from error
    if why := UNFIT.get(type(optimizer)):
        raise UserError(f"{type(optimizer).__name__} {why}; take another optimizer, such as Adam or SGD")
    try:
        usual = cast(OptimizerFactory, type(optimizer))(parameters).defaults["lr"]
    except TypeError:  # a class that must be told its rate has been told
        return optimizer
    if optimizer.defaults["lr"] == usual:
        if lr != usual:  # whoever has said `usual` on purpose must hear that
            name = type(optimizer).__name__
            rank_zero_warn(f"{name} learns at the model's rate {lr:g}; a rate of its own counts if it is not {usual:g}")
        for settings in (optimizer.defaults, *optimizer.param_groups):
            settings["lr"] = lr
    return optimizer


def catch_up(scheduler: LRScheduler, count: int) -> None:
    """Step a schedule until it stands at the epoch or step `count`."""
    counted = scheduler
    while isinstance(counted, ChainedScheduler):  # has no count of its own
        counted = counted._schedulers[0]
    while counted.last_epoch < count:
        scheduler.step()


class Phases(SequentialLR):
    """PyTorch's SequentialLR from factories, so that it can be written in a yaml: one schedule after the other.

    Args:
        optimizer: whose learning rate is scheduled.
        schedulers: called with the optimizer, give the schedules: a linear warm-up and then a cosine, say.
        milestones: the epochs or steps at which the next one begins, one fewer than there are schedules.
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[SchedulerFactory], milestones: list[int]) -> None:
        super().__init__(optimizer, [make(optimizer) for make in schedulers], milestones)
