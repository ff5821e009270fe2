"""What loggers show of the codes: the KL per latent dimension, and the test codes in TensorBoard's projector."""

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate, pad

from vae_zoo.callbacks.of_trainer import data_of
from vae_zoo.callbacks.trackers import log_picture

PROJECTED = 1_000  # test images whose codes and thumbnails go to TensorBoard's projector
THUMBNAIL = 32  # pixels, its largest side


def log_kl(trainer: Trainer, kl: Tensor) -> None:
    """Plot the summands of the KL of N images, (N, D), their means sorted, as bars and as a histogram."""
    kl = kl.mean(0).sort(descending=True).values.cpu()  # D
    if not kl.isfinite().all():
        return  # a training that has diverged has no chart
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(kl)), kl.tolist(), width=1.0)
    axes.set(
        xlabel="latent dimension, by KL",
        ylabel="summand of the KL (nats per image)",
        title=f"sum {kl.sum():.2f} nats",
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy())  # H W 3
    log_picture(trainer, "latent/kl_per_dimension", drawn.permute(2, 0, 1) / 255)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_histogram("latent/kl_histogram", kl, trainer.global_step)


class Projector:
    """Collects the first test images' codes, labels and thumbnails, if there is a TensorBoard to show them."""

    def __init__(self, trainer: Trainer) -> None:
        self.loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        self.codes: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.thumbnails: list[Tensor] = []

    @property
    def wants_more(self) -> bool:
        """Whether another batch would be shown."""
        return bool(self.loggers) and sum(map(len, self.labels)) < PROJECTED

    def add(self, codes: Tensor, pictures: Tensor, y: Tensor) -> None:
        """Take a batch of codes (B, D), pictures (B, C, H, W) and labels (B,)."""
        height, width = pictures.shape[-2:]
        side = max(height, width)
        square = pad(pictures, (0, side - width, 0, side - height), value=1.0)  # as the projector asks for
        self.codes.append(codes.flatten(1).cpu())
        self.labels.append(y.cpu())
        self.thumbnails.append(interpolate(square, size=min(side, THUMBNAIL), mode="area").cpu())

    def log(self, trainer: Trainer) -> None:
        """Write them to TensorBoard."""
        if not self.codes:
            return
        data = data_of(trainer)
        labels = torch.cat(self.labels)[:PROJECTED].tolist()
        names = data.facts.label_names if data else None
        metadata = [names[label] for label in labels] if names else labels
        for logger in self.loggers:
            logger.experiment.add_embedding(
                torch.cat(self.codes)[:PROJECTED],
                metadata=metadata,
                label_img=torch.cat(self.thumbnails)[:PROJECTED],
                global_step=trainer.global_step,
                tag="test_codes",
            )
