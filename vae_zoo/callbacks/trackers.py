"""What goes to a Trainer's loggers beside numbers, whichever they are: pictures, and hyper-parameters with figures.

Numbers, and the hyper-parameters at the beginning of a training, Lightning gives to every logger itself.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CometLogger, MLFlowLogger, TensorBoardLogger
from torch import Tensor

from vae_zoo.rendering import pil
from vae_zoo.settings import class_name


@runtime_checkable
class TakesImages(Protocol):
    """A logger that takes images, as Lightning's of Weights & Biases does, or one of yours."""

    def log_image(self, key: str, images: list[Any], step: int | None = None) -> None:
        """Log images under a name."""


def log_picture(trainer: Trainer, name: str, picture: Tensor) -> None:
    """Give a picture (3, H, W) in [0, 1] on the CPU to each logger that takes any, at the step that has been reached.

    Args:
        trainer: whose loggers.
        name: ``images/samples``.
        picture: a colour or grey one.
    """
    step = trainer.global_step
    image = pil(picture)  # as the PNG
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, TakesImages):
            logger.log_image(name, [image], step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, np.asarray(image), key=name, step=step)
        elif isinstance(logger, CometLogger):
            logger.experiment.log_image(image, name=name, step=step)


def log_hyperparameters(trainer: Trainer, model: Any, figures: Iterable[str], ended: bool) -> None:
    """Make the run a line of TensorBoard's HPARAMS: the model, its hyper-parameters, and figures of the test.

    TensorBoard takes columns from what the first run of a folder wrote first. So all figures that a test may have are
    named from the beginning, and each run has a line, be it tested or not.

    Args:
        trainer: whose loggers.
        model: with hyper-parameters.
        figures: names of the test's.
        ended: whether the test has given them.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    if not (loggers and trainer.is_global_zero):
        return
    from torch.utils.tensorboard.summary import hparams  # here: it takes a second

    shown = {"Model": type(model).__name__, **dict(_flat(model.hparams))}
    experiment, begin, end = hparams(shown, {f"test/{name}": 0.0 for name in figures})
    for logger in loggers:
        writer = logger.experiment._get_file_writer()  # not public; it opens one where a training has closed it
        for summary in (experiment, begin, *([end] if ended else [])):
            writer.add_summary(summary)


def _flat(given: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    """``encoder: ConvEncoder, encoder/width: 32`` for a class with arguments; without what is not set."""
    for key, value in given.items():
        name = f"{path}/{key}" if path else key
        if key.startswith("_") or value is None:  # of Lightning's own
            continue
        if isinstance(value, Mapping) and "class_path" in value:
            yield name, class_name(value)
            value = value.get("init_args") or {}
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value if isinstance(value, bool | int | float | str) else str(value)
