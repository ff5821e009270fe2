"""The codes of many items, and the file that holds them."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from vae_zoo.checkpoints import checksum
from vae_zoo.errors import UserError
from vae_zoo.marks import WRITTEN
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.base import inference
from vae_zoo.writing import whole

FIELDS = ("z", "spread", "name", "label", "mse")


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of N items.

    Attributes:
        z: (N, D), or maps (N, C', H', W'): the posteriors' centres.
        spread: likewise, the posteriors' standard deviations, zero where an encoder is deterministic.
        name: (N,) of the items, such as their files.
        label: (N,) names; empty where there is none.
        mse: (N,) mean squared errors of the reconstructions, in squared pixel units; None if they were not asked for.
        weights: the checksum of the weights that made them, by which a command tells codes of another model.
    """

    z: np.ndarray
    spread: np.ndarray
    name: np.ndarray
    label: np.ndarray
    mse: np.ndarray | None = None
    weights: str = ""

    def __len__(self) -> int:
        return len(self.z)

    def write(self, path: Path) -> None:
        """Write an ``.npz``, or a Parquet file if that is what the name ends in.

        Raises:
            UserError: if the name ends in something else.
            ModuleNotFoundError: if it is Parquet, and pyarrow is not installed.
        """
        require_ending(path)
        columns = {field: value for field in FIELDS if (value := getattr(self, field)) is not None}
        if path.suffix == ".npz":
            write_npz(path, **columns, weights=np.array(self.weights))
            return
        from pyarrow import parquet, table  # an extra, vae_zoo[parquet]

        flat = {name: value if value.ndim == 1 else [*value.reshape(len(value), -1)] for name, value in columns.items()}
        metadata = {"weights": self.weights, "written": WRITTEN}
        with whole(path) as temporary:
            parquet.write_table(table(flat).replace_schema_metadata(metadata), temporary)


def require_ending(path: Path) -> None:
    """Raise a UserError if codes are not written to files of such a name."""
    if path.suffix not in (".npz", ".parquet"):
        raise UserError(f"{path}: codes are written to an .npz, or to a .parquet")


def write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays to an ``.npz`` with this package's mark, the comment of the archive."""
    with whole(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = WRITTEN.encode()


def weights_of(model: GenerativeModel) -> str:
    """Return the SHA-256 of a model's weights: the codes of a model with others mean something else."""
    return checksum(model.state_dict())


@inference
def encode(model: Autoencoder, batches: Iterable[tuple[Tensor, Tensor | None]], *, errors: bool = False) -> Codes:
    """Encode many items, one batch at a time; names and labels are the caller's to fill in.

    Args:
        model: with an encoder.
        batches: of items (B, C, H, W) in [0, 1] and their labels (B,), or None for a model that takes none.
        errors: also decode the centres, and measure how far they are from the images.

    Raises:
        UserError: if there is no batch, or one is none of the model's data.
    """
    z, spread, mse = [], [], []
    for x, y in batches:
        x, y = model.checked(x, y)
        q = model.posterior(x, y)
        centre = q.mean
        z.append(centre.cpu().numpy())
        spread.append(q.stddev.cpu().numpy())
        if errors:
            mse.append((model.decode(centre, y) - x).square().flatten(1).mean(1).cpu().numpy())
    if not z:
        raise UserError("there is nothing to encode")
    none = np.full(sum(map(len, z)), "")
    weights = weights_of(model)
    return Codes(
        np.concatenate(z), np.concatenate(spread), none, none, np.concatenate(mse) if errors else None, weights
    )
