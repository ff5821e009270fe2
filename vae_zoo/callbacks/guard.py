"""What becomes of a training step whose loss or gradient is no finite number."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.callbacks.of_trainer import model_of
from vae_zoo.errors import UserError, require
from vae_zoo.models.base import GenerativeModel, inference


class Guard(Callback):
    """Skip each step whose loss or gradient is not finite, say which, and stop a training that cannot go on.

    A skipped step leaves weights and the optimizer's state as they were. A warning reports the first: the model, the
    step as metrics.csv counts it, the learning rate, and the figures of the batch that are not finite, or else the
    first parameter whose gradient is not; of later ones the 2nd, 4th, 8th ... time. "Not finite" is said of the
    gradient's length, too: Adam squares each component, and one whose square is infinite never moves again.

    On a CPU each step is looked at before it is taken. On another device, which a step must not wait for, the fused
    optimizers are told there whether to skip, and others take a step with a gradient of zero; Python hears of it at
    each `trainer.log_every_n_steps` and at an epoch's end. What the loss scale of 16-mixed skips is told only once the
    scale is down to 1, so that it is not to blame. An LBFGS that goes astray inside a step ends the step there.

    The command always has one.

    Args:
        in_a_row: the training stops after so many skipped steps in a row, or an epoch of them. No skipped step changes
            a weight, so what differs from one to the next is the batch: if ten fail in a row, it is not to blame.

    Raises:
        UserError: if `in_a_row` is not at least 1; in a training, when it stops.
    """

    def __init__(self, in_a_row: int = 10) -> None:
        require(1, in_a_row=in_a_row)
        self.in_a_row = in_a_row
        self._forget()

    def _forget(self) -> None:
        self._row = self._steps = self._times = 0  # skipped steps in a row, steps of the epoch, and rows that were told
        self._losses: list[Tensor] = []  # since the last step
        self._skipped: list[Any] = []  # whether, for each optimizer of this step; a tensor where Python may not look
        self._unread: list[Any] = []  # how many of them, for each step that Python has not looked at
        self._gradient = self._named = ""
        self._clip: int | float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._forget()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Remember the loss; a model that steps its optimizers itself goes back from other tensors, too."""
        if loss.ndim == 0:
            self._losses.append(loss.detach().float())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Look at the loss and the gradient, and have the step skipped if they are not finite."""
        gradients = [each.grad for group in optimizer.param_groups for each in group["params"] if each.grad is not None]
        checked, self._losses = [*gradients, *self._losses], []
        if not checked:
            return
        size = torch.stack(torch._foreach_norm(checked)).sum()  # the cheapest that reads them all
        if trainer.world_size > 1:  # gradients are reduced already, losses are not
            torch.distributed.all_reduce(size)
        plugin = trainer.precision_plugin
        scaler = plugin.scaler if isinstance(plugin, MixedPrecision) else None
        if looked_at_once(size.device) and not scaler:
            bad = not math.isfinite(size.item())
            if bad:
                self._take_away(trainer, pl_module, optimizer)
            self._skipped.append(bad)
            return
        found = torch.nan_to_num(size * 0, nan=1.0)  # two kernels
        if scaler:  # which skips by itself
            found = found * (scaler._get_scale_async() <= 1)  # type: ignore[operator]  # there was a backward pass
        elif getattr(optimizer, "_step_supports_amp_scaling", False):
            optimizer.found_inf = found  # type: ignore[attr-defined]
        else:
            for gradient in gradients:
                gradient.masked_fill_(found > 0, 0)
        self._skipped.append(found)

    def _take_away(self, trainer: Trainer, model: LightningModule, optimizer: Optimizer) -> None:
        """Take the gradients away, without which an optimizer leaves parameters and state alone."""
        self._gradient = _gradient(model)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        if trainer.gradient_clip_val:  # PyTorch cannot clip no gradients at all
            self._clip, trainer.gradient_clip_val = trainer.gradient_clip_val, None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count what was skipped, if it is time to look."""
        if self._clip:
            trainer.gradient_clip_val, self._clip = self._clip, None
        skipped, self._skipped = self._skipped, []
        if not skipped:  # gradients are accumulated
            return
        self._unread.append(sum(skipped))
        every: int = trainer.log_every_n_steps or 100  # type: ignore[attr-defined]
        ends = batch_idx + 1 == trainer.num_training_batches
        if not isinstance(skipped[0], Tensor) or trainer.global_step % every == 0 or ends:
            self._look(trainer, model_of(pl_module), batch)

    def _look(self, trainer: Trainer, model: GenerativeModel, batch: Any) -> None:
        """Count the steps that were not counted yet."""
        read, self._unread = self._unread, []
        if isinstance(read[0], Tensor):
            read = torch.stack(read).tolist()  # waits for the device
        self._steps += len(read)
        for step, bad in enumerate(read, trainer.global_step - len(read)):
            self._row = self._row + 1 if bad else 0
            if self._row == 1:
                self._named = _figures(model, batch) or self._gradient or _gradient(model)
                self._warn(trainer, model, step)
            if self._row >= self.in_a_row:
                self._stop(trainer, model)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after an epoch in which no step was taken, before anything is saved."""
        steps, self._steps = self._steps, 0
        if steps and self._row >= steps:
            self._stop(trainer, model_of(pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimizers as they were."""
        for optimizer in trainer.optimizers:
            vars(optimizer).pop("found_inf", None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the optimizers as they were."""
        self.on_train_end(trainer, pl_module)

    def _warn(self, trainer: Trainer, model: GenerativeModel, step: int) -> None:
        self._times += 1
        if self._times & (self._times - 1):
            return
        again = f" This is the {self._times}th time that steps are skipped." if self._times > 1 else ""
        rank_zero_warn(
            f"{type(model).__name__}, step {step}, learning rate {_rates(trainer)}: {self._named} not finite, and the "
            f"step is skipped.{again}"
        )

    def _stop(self, trainer: Trainer, model: GenerativeModel) -> None:
        clip = ", --trainer.gradient_clip_val 1" * (model.automatic_optimization and not trainer.gradient_clip_val)
        raise UserError(
            f"{type(model).__name__} cannot be trained any further: {self._row} steps in a row were skipped, at "
            f"learning rate {_rates(trainer)}, since {self._named} not finite. Try a smaller learning rate{clip}, or "
            "look at the images; what was saved before is as it was"
        )


def looked_at_once(device: torch.device) -> bool:
    """Whether Python may look at a number of each step: where it is computed on the CPU, that waits for nothing."""
    return device.type == "cpu"


def _rates(trainer: Trainer) -> str:
    rates = (f"{group['lr']:g}" for optimizer in trainer.optimizers for group in optimizer.param_groups)
    return ", ".join(dict.fromkeys(rates))


def _figures(model: GenerativeModel, batch: Any) -> str:
    """The figures of a batch that are not finite, and a verb; no random state and no running mean is moved."""
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        figures = inference(lambda model: model.evaluate(*batch)["figures"])(model)
    names = [name for name, values in figures.items() if not values.isfinite().all()]
    if len(names) > 1:
        return f"the batch's {', '.join(names[:-1])} and {names[-1]} are"
    return f"the batch's {names[0]} is" if names else ""


def _gradient(model: LightningModule) -> str:
    """The first parameter whose gradient is not finite, and a verb."""
    gradients = ((name, each.grad) for name, each in model.named_parameters() if each.grad is not None)
    names = (f"the gradient of {name} is" for name, gradient in gradients if not gradient.isfinite().all())
    return next(names, "the loss or the length of its gradient is")
