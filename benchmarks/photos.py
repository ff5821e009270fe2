"""The pictures that benchmarks train on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae_zoo.data import COCODataModule
from vae_zoo.data.shapes import generate_shapes

# The settings of a VAE with Burda et al.'s networks, on images of 3 x 32 x 32.
MLP = ["--data.image_size", "32"]
for _network in ("encoder", "decoder"):
    MLP += [f"--model.{_network}", f"MLP{_network.capitalize()}"]
    MLP += [f"--model.{_network}.width", "200", f"--model.{_network}.depth", "2"]


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


@contextmanager
def photos_of(n: int) -> Iterator[list[str]]:
    """Generate n shapes, and give the options of ``vae-zoo fit`` that train on them, 64 to test and 64 to validate."""
    with tempfile.TemporaryDirectory() as folder:
        generate_shapes(Path(folder) / "shapes", n)
        sizes = ["--data.n_train", str(n - 128), "--data.n_test", "64", "--data.n_val", "64"]
        yield ["--data.root", f"{folder}/shapes", "--data.cache_dir", f"{folder}/cache", *sizes]
