"""Pictures of the training: the same images reconstructed, and samples from the same noise, at chosen epochs."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid, save_image

from vae_zoo.callbacks.of_trainer import data_of, model_of, run_of
from vae_zoo.callbacks.trackers import log_picture
from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Staged
from vae_zoo.writing import whole

FONT = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 11)  # has accents


class EpochPictures(Callback, ABC):
    """Writes pictures after chosen epochs, to the run's folder and to the loggers, and leaves random states alone.

    Args:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        seed: of the noise.
    """

    def __init__(self, epochs: Iterable[int], seed: int) -> None:
        require(0, seed=seed)
        self.epochs, self.seed = set(epochs), seed
        self._written = -1

    @abstractmethod
    def render(self, trainer: Trainer, model: GenerativeModel) -> Iterator[tuple[str, Tensor | str]]:
        """Yield by kind pictures (3, H, W) on the CPU, or SVG documents."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write epoch 0, unless the run is a resumed one."""
        if trainer.current_epoch == 0 and 0 in self.epochs:
            self._write(trainer, pl_module, 0)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the chosen epochs and the last one; before the checkpoint, so that a resumed run has them."""
        if trainer.current_epoch + 1 in {*self.epochs, trainer.max_epochs}:
            self._write(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last epoch, if something else ended the training."""
        if trainer.current_epoch != self._written:
            self._write(trainer, pl_module, trainer.current_epoch)

    def _write(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        self._written = epoch  # in all processes: one that asked for the run alone would wait for the others
        run = run_of(trainer)
        if run is None:
            return
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):  # an iterator over a data loader draws a random number, too
                torch.manual_seed(self.seed)
                for kind, picture in self.render(trainer, model_of(pl_module)):
                    path = run.picture(kind, epoch, ".svg" if isinstance(picture, str) else ".png")
                    with whole(path) as temporary:
                        if isinstance(picture, str):
                            temporary.write_text(picture)
                            continue
                        save_image(picture, temporary, format="png")
                    log_picture(trainer, f"images/{kind}", picture)
        except UserError as error:
            if epoch == 0:  # whose weights no step has moved
                raise
            raise UserError(
                f"what {type(pl_module).__name__} makes after epoch {epoch} cannot be drawn, so the training has most "
                f"likely diverged ({error}); try a smaller learning rate"
            ) from error


class SampleImages(EpochPictures):
    """Write ``images/reconstructions_0005.png`` and ``samples_0005.png``, and the same to the loggers.

    The one has pairs of rows, originals over their reconstructions (test images, always the same); the other samples
    from the prior (always the same noise), of a model with stages a row of each stage's. A model without an encoder has
    the samples alone. No random state of the training is touched.

    Args:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        columns: images in a row.
        reconstructions: how many images to reconstruct.
        generated: how many images to sample.
        seed: of the noise.
        samples: the former name of `generated`.

    Raises:
        UserError: if there would be no image.
    """

    def __init__(
        self,
        epochs: Iterable[int] = (0, 5, 50, 100),
        columns: int = 8,
        reconstructions: int = 16,
        generated: int = 32,
        seed: int = 0,
        samples: int | None = None,
    ) -> None:
        super().__init__(epochs, seed)
        self.columns, self.reconstructions, self.generated = columns, reconstructions, samples or generated
        require(1, columns=columns, reconstructions=reconstructions, generated=self.generated)

    def render(self, trainer: Trainer, model: GenerativeModel) -> Iterator[tuple[str, Tensor]]:
        """Yield the samples, and the reconstructions where there are any."""
        stages = model.sample_stages(self.generated) if isinstance(model, Staged) else [model.sample(self.generated)]
        yield "samples", grid(in_turn([model.pictures(stage) for stage in stages], self.columns))
        if isinstance(model, Autoencoder):
            x, y = fixed_batch(trainer, model, self.reconstructions)
            rows = pairs(model.pictures(x), model.pictures(model.reconstruct(x, y)), self.columns)
            yield "reconstructions", grid(rows)


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
        super().__init__(epochs, seed)
        self.labels, self.columns = labels, columns
        require(1, labels=labels, columns=columns)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a model that takes no labels."""
        if not model_of(pl_module).labels:
            raise UserError(f"LabelGrid needs a model that takes labels, such as CVAE, got {type(pl_module).__name__}")

    def render(self, trainer: Trainer, model: GenerativeModel) -> Iterator[tuple[str, Tensor]]:
        """Yield the one grid."""
        data = data_of(trainer)
        names = data.facts.label_names if data else [str(label) for label in range(model.labels)]
        rows = []
        for label, name in enumerate(names[: self.labels]):
            torch.manual_seed(self.seed)  # the same noise in each row
            y = torch.full((self.columns,), label, device=model.device)
            rows.append((name, model.pictures(model.sample(self.columns, y))))
        yield "labels", captioned(rows)


def fixed_batch(trainer: Trainer, model: GenerativeModel, n: int) -> tuple[Tensor, Tensor]:
    """Return the first `n` test images, or the first training ones where there is no data module."""
    data = data_of(trainer)
    batches: Any = data.batches("test", n) if data else iter(trainer.train_dataloader or ())
    x, y = next(batches)
    return x[:n].to(model.device), y[:n].to(model.device)


def captioned(rows: Sequence[tuple[str, Tensor]]) -> Tensor:
    """Lay rows of images, (B, C, H, W) each, below each other, its name before each, in one picture on the CPU."""
    width = 8 + max(int(FONT.getlength(name)) for name, _ in rows)
    widest = max(len(images) for _, images in rows)
    grids = [(name, grid([images], widest)) for name, images in rows]
    return torch.cat([torch.cat([caption(name, width, row.shape[-2]), row], -1) for name, row in grids], -2)


def caption(text: str, width: int, height: int) -> Tensor:
    """A white field (3, height, width) with black text."""
    field = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(field).text((4, height // 2), text, "black", FONT, anchor="lm")
    return torch.from_numpy(np.asarray(field).copy()).permute(2, 0, 1) / 255


def grid(rows: Sequence[Tensor], width: int = 0) -> Tensor:
    """Lay rows of images, (B, C, H, W) each, below each other in one picture (3, H, W) on the CPU; gaps are white."""
    width = max(width, *map(len, rows))
    filled = [torch.cat([row, row.new_ones(width - len(row), *row.shape[1:])]) for row in rows]
    return make_grid(torch.cat(filled), width, pad_value=1).cpu()


def pairs(x: Tensor, x_hat: Tensor, columns: int) -> list[Tensor]:
    """Return rows of `columns` images each, alternately from `x` and from `x_hat`."""
    return in_turn((x, x_hat), columns)


def in_turn(sets: Sequence[Tensor], columns: int) -> list[Tensor]:
    """Return rows of `columns` images each, in turn from each of these sets (B, C, H, W)."""
    return [row for each in zip(*(images.split(columns) for images in sets), strict=True) for row in each]
