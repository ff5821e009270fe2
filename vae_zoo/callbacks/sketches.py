"""Pictures of the training of a sketch model: reconstructions, and samples at several temperatures, as PNG and SVG."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vae_zoo.callbacks.of_trainer import model_of
from vae_zoo.callbacks.pictures import EpochPictures, captioned, fixed_batch
from vae_zoo.errors import UserError, require, require_not_negative
from vae_zoo.models import Autoencoder, GenerativeModel


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
        UserError: if there would be no sketch; before training, if the model makes none.
    """

    def __init__(
        self,
        epochs: Iterable[int] = (0, 5, 50, 100),
        temperatures: Sequence[float] = (0.1, 0.4, 0.7, 1.0),
        reconstruct_at: float = 0.3,
        columns: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, seed)
        self.columns, self.temperatures, self.reconstruct_at = columns, list(temperatures), reconstruct_at
        require(1, columns=columns, temperatures=len(self.temperatures))
        require_not_negative(temperatures=min(self.temperatures), reconstruct_at=reconstruct_at)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a model that does not make sketches."""
        model = model_of(pl_module)
        if model.pixels or not model.has_temperature:
            raise UserError(f"Drawings needs a model of sketches, such as SketchRNN, got {type(pl_module).__name__}")

    def render(self, trainer: Trainer, model: GenerativeModel) -> Iterator[tuple[str, Tensor | str]]:
        """Yield the rows as one grid, with their names, and as an SVG document."""
        rows = []
        if isinstance(model, Autoencoder):
            x, y = fixed_batch(trainer, model, self.columns)
            again = model.reconstruct(x, y, temperature=self.reconstruct_at)
            rows += [("test sketches", x), (f"reconstructed at {self.reconstruct_at:g}", again)]
        for temperature in self.temperatures:
            torch.manual_seed(self.seed)  # the same noise in each row
            rows.append((f"samples at {temperature:g}", model.sample(self.columns, temperature=temperature)))
        yield "sketches", captioned([(name, model.pictures(sketches)) for name, sketches in rows])
        yield "sketches", model.svg([sketches for _, sketches in rows])
