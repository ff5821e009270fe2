"""The pictures that benchmarks train on."""

from pathlib import Path

from vae_zoo.data import COCODataModule
from vae_zoo.data.shapes import generate_shapes


def photos(given: str | None, folder: str, n_train: int, n_test: int, size: int, batch: int) -> COCODataModule:
    """Read pictures from a folder or zip, or generate shapes in `folder`, where the decoded ones are kept, too."""
    if given is None:
        generate_shapes(Path(folder) / "shapes", n_train + n_test)
    data = COCODataModule(
        given or str(Path(folder) / "shapes"),
        n_train=n_train,
        n_test=n_test,
        val_on_test=True,
        image_size=size,
        batch_size=batch,
        cache_dir=folder,
    )
    data.setup()
    return data
