"""The learning rates and Adam's epsilon of Burda et al. 2016."""

import pytest
from lightning.pytorch import Callback

from tests.zoo import BY_TURNS, JOINT, loader_of, small, trainer
from vae_zoo.callbacks import BurdaSchedule
from vae_zoo.errors import UserError


class Rates(Callback):
    """The learning rate and epsilon of each epoch, as the optimizers have them."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append([(group["lr"], group["eps"]) for o in trainer.optimizers for group in o.param_groups])


@pytest.mark.slow
@pytest.mark.parametrize("cls", [JOINT, BY_TURNS])
def test_3_to_the_i_epochs_at_a_rate_also_after_a_resume(cls, tmp_path):
    model, first, second = small(cls), Rates(), Rates()
    lrs, data = [optimizer.defaults["lr"] for optimizer in model.configure_optimizers()], loader_of(model, 4, 4)
    stopped = trainer(tmp_path, max_epochs=2, callbacks=[BurdaSchedule(), first])
    stopped.fit(model, data)
    stopped.save_checkpoint(tmp_path / "x.ckpt")
    resumed = trainer(tmp_path, max_epochs=15, callbacks=[BurdaSchedule(), second])
    resumed.fit(small(cls), data, ckpt_path=tmp_path / "x.ckpt")
    stages = [0] + [1] * 3 + [2] * 9 + [3] * 2  # 1 + 3 + 9 epochs, and the first of 27
    for epoch, stage in zip(first.seen + second.seen, stages, strict=True):
        assert [rate for rate, _ in epoch] == pytest.approx([lr * 10 ** (-stage / 7) for lr in lrs])
        assert {eps for _, eps in epoch} == {1e-4}


def test_an_epsilon_is_positive():
    with pytest.raises(UserError, match="eps must be positive, got 0"):
        BurdaSchedule(0)
