"""Drawings of the training of a sketch model: reconstructions, and samples at several temperatures, as PNG and SVG."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vae_zoo.callbacks.images import EpochPictures, captioned, fixed_batch, output_folder
from vae_zoo.errors import UserError, require
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import SketchModel


class Drawings(EpochPictures):
    """Write ``images/sketches_0005.svg`` and ``.png``: sketches over their reconstructions, and a row per temperature.

    In each row of samples the noise is the same, and so are the test sketches of each picture. A model without an
    encoder has the samples alone.

    Args:
        epochs: after how many epochs; 0 is before any training. The last epoch is always added.
        temperatures: of the rows of samples (Ha & Eck 2017, eq. 8).
        reconstruct_at: temperature of the reconstructions; at 0 a sketch that repeats itself may do so to the end.
        columns: sketches in a row.
        seed: of the noise.

    Raises:
        UserError: if there would be no sketch; before training, if the model draws none.
    """

    def __init__(
        self,
        epochs: Iterable[int] = (0, 5, 50, 100),
        temperatures: Sequence[float] = (0.1, 0.4, 0.7, 1.0),
        reconstruct_at: float = 0.3,
        columns: int = 8,
        seed: int = 0,
    ) -> None:
        self.epochs, self.columns, self.seed, self.prefix = set(epochs), columns, seed, "sketches_"
        self.temperatures, self.reconstruct_at = list(temperatures), reconstruct_at
        self._written = -1
        self._rows: list[tuple[str, Tensor]] = []
        require(1, columns=columns, temperatures=len(self.temperatures))
        require(0, temperatures=min(self.temperatures), reconstruct_at=reconstruct_at)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a model of something else."""
        if not isinstance(pl_module, SketchModel):
            raise UserError(f"Drawings needs a model of sketches, such as SketchRNN, got {type(pl_module).__name__}")

    def grids(self, trainer: Trainer, pl_module: GenerativeModel) -> dict[str, Tensor]:
        """Return the rows as one grid, with their names."""
        self._rows = self._draw(trainer, pl_module)
        return {"sketches": captioned([(name, pl_module.pictures(sketches)) for name, sketches in self._rows])}

    def _draw(self, trainer: Trainer, pl_module: Any) -> list[tuple[str, Tensor]]:
        """The rows of sketches, each with its name."""
        rows = []
        if isinstance(pl_module, Autoencoder):
            x, y = (part[: self.columns] for part in fixed_batch(trainer, pl_module))
            again = cast(Any, pl_module).reconstruct(x, y, temperature=self.reconstruct_at)
            rows += [("test sketches", x), (f"reconstructed at {self.reconstruct_at:g}", again)]
        for temperature in self.temperatures:
            torch.manual_seed(self.seed)  # the same noise in each row
            rows.append((f"samples at {temperature:g}", pl_module.sample(self.columns, temperature=temperature)))
        return rows

    def _write(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        super()._write(trainer, pl_module, epoch)
        if folder := output_folder(trainer):
            path = folder / "images" / f"{self.prefix}{epoch:04d}.svg"
            path.with_suffix(".partial").write_text(cast(SketchModel, pl_module).svg([row for _, row in self._rows]))
            path.with_suffix(".partial").replace(path)
