"""Pictures of the training: the same images reconstructed, and samples from the same noise, at chosen epochs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad
from torchvision.utils import make_grid, save_image

from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel

FONT = ImageFont.load_default(12)


class EpochPictures(Callback, ABC):
    """Writes a picture after chosen epochs, to the run's folder and to TensorBoard, and leaves random states alone.

    Attributes:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        seed: of the noise.
        prefix: of the files' names.
    """

    epochs: set[int]
    seed: int
    prefix: str
    _written: int

    @abstractmethod
    def grids(self, trainer: Trainer, pl_module: GenerativeModel) -> dict[str, Tensor]:
        """Return by name, in the order from top to bottom, the picture's parts, each (3, H, W) on the CPU."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write epoch 0, unless the run is a resumed one."""
        if trainer.current_epoch == 0 and 0 in self.epochs:
            self._write(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the chosen epochs and the last one, before the checkpoint: who has that one has the pictures."""
        if trainer.current_epoch + 1 in {*self.epochs, trainer.max_epochs}:
            self._write(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch, if something else ended the training."""
        if trainer.current_epoch != self._written:
            self._write(trainer, pl_module, trainer.current_epoch)

    def _write(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        folder = output_folder(trainer)
        if folder is None:
            return
        if not isinstance(pl_module, GenerativeModel):
            raise TypeError(f"{type(self).__name__} needs a vae_zoo model, got {type(pl_module).__name__}")
        self._written = epoch
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        with torch.random.fork_rng(devices):  # an iterator over a data loader draws a random number, too
            torch.manual_seed(self.seed)
            grids = self.grids(trainer, pl_module)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, grid in grids.items():
                    logger.experiment.add_image(f"images/{name}", grid, trainer.global_step)
        path = folder / "images" / f"{self.prefix}{epoch:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        width = max(grid.shape[-1] for grid in grids.values())
        whole = torch.cat([pad(grid, (0, width - grid.shape[-1]), value=1.0) for grid in grids.values()], -2)
        save_image(whole, path.with_suffix(".partial"), format="png")
        path.with_suffix(".partial").replace(path)  # one that is there is whole


class SampleImages(EpochPictures):
    """Write ``images/epoch_0005.png`` to the run's folder and the same grids to TensorBoard.

    The picture has pairs of rows, originals over their reconstructions (test images, always the same), and below them
    samples from the prior (always the same noise). A model without an encoder has the samples alone. No random state
    of the training is touched.

    Args:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        columns: images in a row.
        reconstructions: how many images to reconstruct.
        samples: how many samples to draw.
        seed: of the noise.

    Raises:
        UserError: if there would be no image.
    """

    def __init__(
        self,
        epochs: Iterable[int] = (0, 5, 50, 100),
        columns: int = 8,
        reconstructions: int = 16,
        samples: int = 32,
        seed: int = 0,
    ) -> None:
        self.epochs, self.columns, self.seed, self.prefix = set(epochs), columns, seed, "epoch_"
        self.reconstructions, self.samples = reconstructions, samples
        self._written = -1
        require(1, columns=columns, reconstructions=reconstructions, samples=samples)

    def grids(self, trainer: Trainer, pl_module: GenerativeModel) -> dict[str, Tensor]:
        """Return the reconstructions, where there are any, and the samples."""
        pictures = pl_module.pictures
        samples = grid(pictures(pl_module.sample(self.samples)).split(self.columns))
        if not isinstance(pl_module, Autoencoder):
            return {"samples": samples}
        x, y = (part[: self.reconstructions] for part in fixed_batch(trainer, pl_module))
        return {
            "reconstructions": reconstruction_grid(pictures(x), pictures(pl_module.reconstruct(x, y)), self.columns),
            "samples": samples,
        }


class LabelGrid(EpochPictures):
    """Write ``images/labels_0005.png``: a row for each label, with its name, and a column for each code's noise.

    For a model whose `sample` takes labels, such as CVAE.

    Args:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        labels: rows: the first so many labels.
        columns: images in a row.
        seed: of the noise.

    Raises:
        UserError: if there would be no image; before training, if the model takes no labels.
    """

    def __init__(
        self, epochs: Iterable[int] = (0, 5, 50, 100), labels: int = 10, columns: int = 8, seed: int = 0
    ) -> None:
        self.epochs, self.labels, self.columns, self.seed, self.prefix = set(epochs), labels, columns, seed, "labels_"
        self._written = -1
        require(1, labels=labels, columns=columns)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a model that takes no labels."""
        if not hasattr(pl_module, "labels"):
            raise UserError(f"LabelGrid needs a model that takes labels, such as CVAE, got {type(pl_module).__name__}")

    def grids(self, trainer: Trainer, pl_module: GenerativeModel) -> dict[str, Tensor]:
        """Return the one grid."""
        names = getattr(getattr(trainer, "datamodule", None), "labels", None)
        names = (names or [str(i) for i in range(int(pl_module.hparams["labels"]))])[: self.labels]
        rows = []
        for label, name in enumerate(names):
            torch.manual_seed(self.seed)  # the same noise in each row
            y = torch.full((self.columns,), label, device=pl_module.device)
            rows.append((name, pl_module.pictures(pl_module.sample(self.columns, y))))
        return {"labels": captioned(rows)}


def fixed_batch(trainer: Trainer, pl_module: LightningModule) -> tuple[Tensor, Tensor]:
    """Return the first test images, or the first training ones where no data module has any."""
    datamodule = getattr(trainer, "datamodule", None)
    loader: Any = datamodule.test_dataloader() if datamodule else trainer.train_dataloader
    return trainer.strategy.batch_to_device(next(iter(loader)), pl_module.device)


def captioned(rows: Sequence[tuple[str, Tensor]]) -> Tensor:
    """Lay rows of images, (B, C, H, W) each, below each other, its name before each, in one picture on the CPU."""
    width = 8 + max(int(FONT.getlength(name)) for name, _ in rows)
    widest = max(len(images) for _, images in rows)
    grids = [(name, grid([images], widest)) for name, images in rows]
    return torch.cat([torch.cat([_caption(name, width, row.shape[-2]), row], -1) for name, row in grids], -2)


def _caption(text: str, width: int, height: int) -> Tensor:
    """A white field (3, height, width) with black text."""
    field = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(field).text((4, height // 2), text, "black", FONT, anchor="lm")
    return torch.from_numpy(np.asarray(field).copy()).permute(2, 0, 1) / 255


def output_folder(trainer: Trainer) -> Path | None:
    """The folder to write to: the logger's; None where there is no logger, and on all processes but the first."""
    folder = trainer.log_dir  # all processes must ask for it, since the first one tells the others
    return Path(folder) if folder and trainer.loggers and trainer.is_global_zero else None


def grid(rows: Sequence[Tensor], width: int = 0) -> Tensor:
    """Lay rows of images, (B, C, H, W) each, below each other in one picture (3, H, W) on the CPU; gaps are white."""
    width = max(width, *map(len, rows))
    filled = [torch.cat([row, row.new_ones(width - len(row), *row.shape[1:])]) for row in rows]
    return make_grid(torch.cat(filled), width, pad_value=1).cpu()


def reconstruction_grid(x: Tensor, x_hat: Tensor, columns: int = 8) -> Tensor:
    """Lay images (B, C, H, W) over their reconstructions, `columns` to a row, in one picture (3, H, W) on the CPU."""
    return grid(pairs(x, x_hat, columns))


def pairs(x: Tensor, x_hat: Tensor, columns: int) -> list[Tensor]:
    """Return rows of `columns` images each, from `x` and from `x_hat` by turns."""
    return [row for both in zip(x.split(columns), x_hat.split(columns), strict=True) for row in both]
