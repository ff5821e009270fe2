"""Learning rates of published trainings."""

from itertools import accumulate, count

from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.errors import require_positive


class BurdaSchedule(Callback):
    """Adam as in Burda et al. 2016, section 5: 3^i epochs at lr * 10^(-i/7), i = 0, 1 ... 7, and epsilon 1e-4.

    ``trainer.max_epochs`` truncates it: the stages end after 1, 4, 13, 40, 121, 364, 1093 and 3280 epochs.

    Args:
        eps: Adam's epsilon.

    Raises:
        UserError: if `eps` is not positive.
    """

    def __init__(self, eps: float = 1e-4) -> None:
        require_positive(eps=eps)
        self.eps = eps

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the epoch's learning rate."""
        ends = accumulate(3**i for i in count())  # 1, 4, 13 ...
        stage = next(i for i, end in enumerate(ends) if trainer.current_epoch < end)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"], group["eps"] = optimizer.defaults["lr"] * 10 ** (-stage / 7), self.eps
