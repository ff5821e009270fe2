"""What models share whose parts are trained in turn."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch.nn import Parameter

from vae_zoo.errors import UserError
from vae_zoo.models.base import GenerativeModel
from vae_zoo.optimizers import OptimizerFactory, build_optimizer


class Turn(NamedTuple):
    """What one turn trains.

    Attributes:
        parameters: that it changes.
        optimizer: called with them, gives the optimizer; None is Adam.
        lr: its learning rate.
    """

    parameters: Iterable[Parameter]
    optimizer: OptimizerFactory | None
    lr: float


class AlternatingModel(GenerativeModel):
    """A model whose parts are trained in turn, each with an optimizer and, if there are schedules, one of its own.

    Concrete subclasses set ``automatic_optimization = False`` in their constructor.
    """

    @abstractmethod
    def turns(self) -> list[Turn]:
        """Say what is trained, in the order of `self.optimizers()`."""

    def configure_optimizers(self) -> Any:
        """Return an optimizer for each turn, and its schedule if there is one."""
        return self.schedule(
            [build_optimizer(turn.optimizer, turn.parameters, turn.lr, False) for turn in self.turns()]
        )

    def setup(self, stage: str) -> None:
        """Tell DistributedDataParallel that a turn gives gradients to some parameters only; it stops otherwise.

        Raises:
            UserError: if the precision is 16-mixed, whose scale of gradients changes between two turns.
        """
        super().setup(stage)
        if self.trainer.precision == "16-mixed":
            raise UserError("trainer.precision 16-mixed: a model trained in turns takes bf16-mixed or 32-true")
        if isinstance(self.trainer.strategy, DDPStrategy):
            self.trainer.strategy._ddp_kwargs["find_unused_parameters"] = True

    def step_uncounted(self, optimizer: LightningOptimizer) -> None:
        """Step without moving the Trainer's `global_step`, which counts batches if each moves it once.

        Args:
            optimizer: one of `self.optimizers()`.
        """
        self.trainer.strategy.optimizer_step(optimizer.optimizer, lambda: None)
