"""What all models share. Each step is written once, here; a model's own file holds only its mathematics.

Door                    looks at what comes from outside, see `vae_zoo.models.door`.
Parallel                is trained by several processes, see `vae_zoo.models.parallel`.
GenerativeModel         samples, is measured, and its checkpoints say how to build it again.
  ImageModel            makes images; `vae_zoo.models.sketch.SketchModel` makes sketches.
  JointModel            trains all parameters by one optimizer;
                        `vae_zoo.models.adversarial.AlternatingModel` trains its parts in turn.
  WithoutDensity        has no log p(x).
  WithoutCodes          has no encoder.
  Autoencoder           has codes, see `vae_zoo.models.latent`.

A method is either abstract or concrete: what a base implements, no subclass overrides.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NotRequired, ParamSpec, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vae_zoo import processes
from vae_zoo.checkpoints import CheckpointedModule
from vae_zoo.errors import UserError
from vae_zoo.inputs import check_images, check_range
from vae_zoo.models.door import Door
from vae_zoo.models.parallel import Parallel
from vae_zoo.networks import ConvDecoder, ConvEncoder
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory, build_optimizer, catch_up
from vae_zoo.results import Traits
from vae_zoo.trace import Trace

P = ParamSpec("P")
R = TypeVar("R")


class Evaluated(TypedDict):
    """What one evaluation batch gave: callbacks receive it from `validation_step` and `test_step`.

    Attributes:
        figures: by name, one number for each image, (B,): loss, mse, elbo ... in nats, mse in squared pixel units.
        trace: what was drawn; None for a model without codes.
        memo: what a measure has made of the batch, such as samples, for the measures after it.
    """

    figures: dict[str, Tensor]
    trace: Trace | None
    memo: NotRequired[dict[Any, Any]]


def seed_of(*key: int) -> int:
    """Return a seed that follows from these numbers, from 0 on, and from each of them."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def inference(method: Callable[P, R]) -> Callable[P, R]:
    """Run a model's method in evaluation mode and without gradients, then put each module's mode back."""

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        training = [module for module in model.modules() if module.training]
        model.eval()
        try:
            with torch.no_grad():
                return method(*args, **kwargs)
        finally:
            for module in training:
                module.training = True

    return wrapper


class GenerativeModel(CheckpointedModule, Door, Parallel, ABC):
    """A LightningModule that can sample. Concrete subclasses call `save_hyperparameters()`; checkpoints load safely.

    What a model is and has, it declares here: callbacks, metrics, commands and the report ask for nothing else.

    Attributes:
        monitor: the figure that is lowest at the best checkpoint; None if no figure says which is best.
        density: whether it has log p(x).
        conditional: whether that is of x given a label, which compares with no log p(x).
        regularised: whether its training makes the codes follow the prior; else its reconstruction error is a floor.
        encodes: whether it has codes, and so reconstructs.
        pixels: whether it makes images; else it makes sketches.
        has_temperature: whether `sample` and `reconstruct` take ``temperature=``.
        tiny: arguments of the constructor that make a model for a test of seconds.
        lr_scheduler: called with an optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: "epoch" or "step", which a schedule counts.
        epoch: that is being trained, from 0 on; a tensor, by whose value a compiled step is not compiled anew.
        source: of a model that was loaded from elsewhere, its address, or ``user/name@commit`` on the Hub; else None.
        whole_step: name of the method that does all arithmetic of a training step, to be compiled as one; None if no
            method does, and each network is compiled by itself.
    """

    monitor: str | None = "val/loss"
    density: bool = True
    conditional: bool = False
    regularised: bool = True
    encodes: bool = True
    pixels: bool
    has_temperature: bool = False
    tiny: ClassVar[Mapping[str, Any]]
    lr_scheduler: SchedulerFactory | None = None
    lr_interval: Interval = "epoch"
    epoch: Tensor
    source: str | None = None
    whole_step: ClassVar[str | None] = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave a compiled step out: it is bound to this model, and a copy's would train this one."""
        state = super().__getstate__()
        state.pop(str(self.whole_step), None)
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, without looking for a parameter in the one that Lightning sets forty times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def traits(self) -> Traits:
        """What the model declares."""
        return Traits(**{trait: getattr(self, trait) for trait in Traits.__annotations__})  # type: ignore[typeddict-item]

    @abstractmethod
    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Measure images (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def sample(self, n: int, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Draw `n` images, (n, C, H, W) in [0, 1]; `y`, (n,), are labels, for a model that takes them."""

    @abstractmethod
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, samples: int = 100) -> Tensor:
        """Estimate log p(x) in nats, (B,), of images (B, C, H, W).

        Raises:
            UserError: if the model has no density.
        """

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the numbers (B, F) by which a linear classifier may tell images (B, C, H, W) apart.

        Raises:
            UserError: if the model has none.
        """

    @abstractmethod
    def pictures(self, x: Tensor) -> Tensor:
        """Return what one looks at, (B, C, H, W) in [0, 1]."""

    @abstractmethod
    def svg(self, rows: Sequence[Tensor]) -> str:
        """Return rows of what the model makes as an SVG document.

        Raises:
            UserError: if that is pixels.
        """

    def on_train_start(self) -> None:
        """Remember the seed that the run was started with, and the epoch, which may be resumed in its middle."""
        self._seed = processes.agreed(torch.initial_seed())
        self._take_over_buffers()
        self._mark_epoch()
        self._unchecked = True

    def _mark_epoch(self) -> None:
        # Filled on the device: a number that is copied there waits for all steps before it.
        self.epoch = torch.full((), float(self.trainer.current_epoch), device=self.device)

    def on_train_batch_start(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Seed the noise of an epoch by the run's seed, the epoch and the process, and by nothing that came before.

        A run that was cut off then goes on from the last epoch's checkpoint to the very same numbers, on any device,
        and each of several processes, which Lightning gives one seed, draws noise of its own. Schedules are stepped
        here, too, up to the epoch or step at hand: Lightning saves a checkpoint before it steps them.

        Raises:
            UserError: if the first batch is none of the model's data.
        """
        if self._unchecked:
            self.check_first(batch)
            self._unchecked = False
        if batch_idx == 0:  # a resumed run has no on_train_epoch_start
            self._mark_epoch()
            key = (self._seed % 2**64, self.trainer.current_epoch, self.trainer.global_rank)
            torch.manual_seed(seed_of(*key))
        for config in self.trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, ReduceLROnPlateau) and (batch_idx == 0 or config.interval == "step"):
                count = self.trainer.global_step if config.interval == "step" else self.trainer.current_epoch
                catch_up(config.scheduler, count)

    def on_validation_epoch_end(self) -> None:
        """Step schedules that wait for a figure to stop improving."""
        for config in [] if self.trainer.sanity_checking else self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step(float(self.trainer.callback_metrics[str(self.monitor)]))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing: `on_train_batch_start` and `on_validation_epoch_end` step the schedules."""

    def schedule(self, optimizers: Sequence[Optimizer]) -> Any:
        """Return optimizers with a schedule for each, as Lightning's `configure_optimizers` does."""
        if self.lr_scheduler is None:
            return list(optimizers)
        try:
            schedules = [self.lr_scheduler(optimizer) for optimizer in optimizers]
        except NotImplementedError:  # of the abstract class, which jsonargparse takes where none is named
            raise UserError("model.lr_scheduler names no schedule; give its class_path, or null") from None
        return [
            {"optimizer": optimizer, "lr_scheduler": self._schedule(schedule)}
            for optimizer, schedule in zip(optimizers, schedules, strict=True)
        ]

    def _schedule(self, scheduler: LRScheduler) -> dict[str, Any]:
        plateau = isinstance(scheduler, ReduceLROnPlateau)
        if plateau and self.monitor is None:
            raise UserError(f"model.lr_scheduler: {type(self).__name__} has no figure that ReduceLROnPlateau can watch")
        # A schedule that waits for a figure is stepped where the figure is made, at a validation.
        config = {"scheduler": scheduler, "interval": "epoch" if plateau else self.lr_interval}
        # Lightning asks for the figure's name, and of a model that steps its optimizers itself it refuses to have it.
        return config | ({"monitor": self.monitor} if plateau and self.automatic_optimization else {})

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Evaluated:
        """Log the batch's mean of each figure as val/NAME, weighted by the number of images."""
        return self._evaluation_step(batch, batch_idx, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Evaluated:
        """Log the batch's mean of each figure as test/NAME, weighted by the number of images."""
        return self._evaluation_step(batch, batch_idx, "test")

    def _evaluation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, stage: str) -> Evaluated:
        if batch_idx == 0:
            self.check_first(batch)
        x, y = batch
        evaluated = self.evaluate(x, y)
        # Lightning rounds the processes' mean number of images down to a whole one.
        weight = len(x) * (self._trainer.world_size if self._trainer else 1)
        for name, value in evaluated["figures"].items():
            shown = stage == "val" and name in ("loss", "mse")
            self.log(f"{stage}/{name}", value.mean(), batch_size=weight, prog_bar=shown, sync_dist=True)
        return evaluated


class ImageModel(GenerativeModel):
    """A model of images (B, C, H, W) in [0, 1]."""

    pixels = True
    tiny = {
        "shape": (3, 16, 16),
        "latent": 5,
        "encoder": functools.partial(ConvEncoder, width=4, depth=2),
        "decoder": functools.partial(ConvDecoder, width=4, depth=2),
    }

    def check(self, x: Any, values: bool = True) -> None:
        """Refuse what is no batch of floats (B, C, H, W) in [0, 1]."""
        check_images(x, self.hparams["shape"])
        if values:
            check_range(x)

    def pictures(self, x: Tensor) -> Tensor:
        """Return the images: an image is its own picture."""
        self.check(x)
        return x

    def svg(self, rows: Sequence[Tensor]) -> str:
        """Refuse: pixels are no vector graphics.

        Raises:
            UserError: always.
        """
        raise UserError(f"{type(self).__name__} makes pixels, which an .svg has no use for; write a .png")

    def refuse_temperature(self, temperature: float | None) -> None:
        """Raise a UserError if there is a temperature: models of images have none."""
        if temperature is not None:
            raise UserError(f"temperature {temperature}: {type(self).__name__} has none")


class JointModel(GenerativeModel):
    """A model all of whose parameters are trained by one optimizer. Concrete subclasses set the attributes.

    Attributes:
        lr: the learning rate.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
    """

    lr: float
    optimizer: OptimizerFactory | None = None

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its schedule if there is one."""
        clipped = bool(self._trainer and self._trainer.gradient_clip_val)
        return self.schedule([build_optimizer(self.optimizer, self.parameters(), self.lr, clipped)])


class WithoutDensity(GenerativeModel):
    """A model without a density."""

    density = False

    def log_prob(self, x: Tensor, y: Tensor | None = None, *, samples: int = 100) -> Tensor:
        """Refuse: there is no density.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{type(self).__name__} has no density, so no log p(x); a latent-variable model such as VAE has one"
        )


class WithoutCodes(GenerativeModel):
    """A model without an encoder."""

    encodes = False

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Refuse: there are no codes.

        Raises:
            UserError: always.
        """
        raise UserError(f"{type(self).__name__} has no encoder, so there are no codes to predict")
