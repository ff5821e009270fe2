"""A sentence of advice where a training goes on and learns little."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from vae_zoo.callbacks.of_trainer import model_of
from vae_zoo.models.latent import EvidenceModel

# Nothing is said before it was so in so many validations or epochs in a row, after so many steps: at its beginning a
# sound training passes through all three.
PATIENCE = 3
STEPS = 300
# Nats of an image's code, all dimensions together: such codes tell no two images apart, which takes log 2 = .69.
COLLAPSED = 0.1
# Of its decisions: what is left to learn from, one in a hundred, is less than one image of a usual batch of 64.
SATURATED = 0.99
# Variance of the reconstructions over that of the images. A model that knows an image's mean colour alone has above .1.
ALIKE = 1e-3


class Advice(Callback):
    """Say once, in a sentence each, that the posterior has collapsed, a discriminator has won, or codes are ignored.

    Posterior collapse is a ``val/kl`` below 0.1 nats; a discriminator has won whose ``train/discriminator_accuracy`` is
    above 0.99; and codes are ignored where the reconstructions of a validation batch vary by less than a thousandth of
    what the images do. Each has to be so three times in a row, after 300 steps. The command always has one.
    """

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._share: Tensor | None = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Compare how much reconstructions and images vary, in the first batch."""
        model, trace = model_of(pl_module), outputs["trace"]
        if batch_idx or trainer.sanity_checking or not (trace and model.encodes and model.pixels) or len(batch[0]) < 2:
            return
        given, made = (images.float().var(0).mean() for images in (batch[0], trace.x_hat))
        self._share = made / given  # nan where all images are one

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Advise on the codes."""
        if trainer.sanity_checking:
            return
        model, kl = model_of(pl_module), trainer.callback_metrics.get("val/kl")
        less = (
            "model.beta, or more of model.warmup or model.free_bits" if isinstance(model, EvidenceModel) else "decoder"
        )
        collapsed = kl is not None and float(kl) < COLLAPSED
        self._advise(
            trainer,
            "collapse",
            collapsed,
            f"the posterior has collapsed: a KL of {COLLAPSED} nats or less tells nothing of an image. Try a smaller "
            f"{less}",
        )
        alike = self._share is not None and float(self._share) < ALIKE and not collapsed
        self._share = None
        self._advise(
            trainer,
            "alike",
            alike,
            "the decoder ignores its codes: the reconstructions of different images are all alike. Try a smaller "
            "learning rate, or another decoder",
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Advise on the discriminator."""
        accuracy = trainer.callback_metrics.get("train/discriminator_accuracy")
        self._advise(
            trainer,
            "saturated",
            accuracy is not None and float(accuracy) > SATURATED,
            f"the discriminator is right in more than {SATURATED:.0%} of its decisions, so it teaches the other side "
            "little. Try a smaller model.discriminator_lr",
        )

    def _advise(self, trainer: Trainer, what: str, so: bool, sentence: str) -> None:
        """Warn at the third time in a row, and never again."""
        times = self._times.get(what, 0)
        if times == PATIENCE or trainer.global_step < STEPS:
            return
        self._times[what] = times + 1 if so else 0
        if self._times[what] == PATIENCE:
            rank_zero_warn(sentence)
