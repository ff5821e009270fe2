"""MNIST with its grey values and labels, from a ``.npz`` or from the files that LeCun et al. 1998 published."""

import gzip
import io
import math
import struct
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.arguments import given_path
from vae_zoo.data.arrays import read_npz
from vae_zoo.data.files import Files
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.module import Part
from vae_zoo.errors import UserError, require
from vae_zoo.reading import LARGEST, require_size

SIDE = 28
DIGITS = [str(digit) for digit in range(10)]
ARRAYS = {  # of the .npz, and the files that they are published as
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class MNIST(ImageDataModule):
    """60,000 digits to train on and validate, 10,000 to test, 1 x 28 x 28 grey pixels, labels "0" to "9".

    Args:
        root: a folder with the published ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-...``
            and ``t10k-labels-...``, compressed (``.gz``) or not; or a ``.npz`` of `train_images` (60000, 28, 28) uint8,
            `train_labels` (60000,) from 0 to 9, `test_images` and `test_labels`. Other numbers of images will do.
        n_val: training images to validate on. They are chosen at random, since the file may be ordered by class.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: of the choice of validation images.
        resident: keep all pixels on the device, so that a batch never leaves it.

    Raises:
        UserError: at set-up, if files are missing or not as described, or no image is left to train on.
    """

    shape = (1, SIDE, SIDE)

    def __init__(
        self, root: str, n_val: int = 10_000, batch_size: int = 100, seed: int = 0, resident: bool = False
    ) -> None:
        super().__init__()
        require(1, batch_size=batch_size)
        require(0, n_val=n_val, seed=seed)
        self.root, self.n_val = given_path("data.root", root), n_val
        self.batch_size, self.seed, self.resident = batch_size, seed, resident

    def read(self) -> tuple[list[str], dict[Part, ImageDataset]]:
        """Read the files, and choose the validation images."""
        return DIGITS, parts_of(*read_mnist(self.root), self.n_val, self.seed)


def parts_of(
    images: np.ndarray, labels: Tensor, test_images: np.ndarray, test_labels: Tensor, n_val: int, seed: int
) -> dict[Part, ImageDataset]:
    """Choose `n_val` of the training images (N, 28, 28, 1) to validate on, by seed.

    Raises:
        UserError: if none is left to train on.
    """
    if n_val >= len(images):
        raise UserError(f"data.n_val = {n_val} leaves none of the {len(images)} images to train on")
    order = np.random.default_rng(seed).permutation(len(images))
    val, train, test = np.sort(order[:n_val]), np.sort(order[n_val:]), np.arange(len(test_images))
    return {
        "train": ImageDataset(images, labels[train], train, [f"train/{row}" for row in train]),
        "val": ImageDataset(images, labels[val], val, [f"train/{row}" for row in val]),
        "test": ImageDataset(test_images, test_labels, test, [f"test/{row}" for row in test]),
    }


def read_mnist(root: Path) -> tuple[np.ndarray, Tensor, np.ndarray, Tensor]:
    """Return the images (N, 28, 28, 1) uint8 and labels (N,) int64 of training and test.

    Args:
        root: a folder or a ``.npz``, see `MNIST`.

    Raises:
        UserError: if files are missing or not as described.
    """
    arrays = _read_idx_files(root) if root.is_dir() else _read_npz(root)
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE) or not len(images):
            raise UserError(f"{root}: {part}_images is {images.shape} {images.dtype}; it must be (N, 28, 28) uint8")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
            raise UserError(
                f"{root}: {part}_labels must be a whole number from 0 to 9 for each of {len(images)} images"
            )
    # Rows in order, whatever the file's order: pixels may be overwritten in place.
    grey, test_grey = (np.ascontiguousarray(arrays[f"{part}_images"])[..., None] for part in ("train", "test"))
    y, test_y = (torch.from_numpy(arrays[f"{part}_labels"].astype(np.int64)) for part in ("train", "test"))
    return grey, y, test_grey, test_y


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"data.root: there is no file {path}; it is a .npz of MNIST, or a folder of its files")
    try:
        return {name: read_npz(path, name) for name in ARRAYS}
    except PermissionError:  # which names the file
        raise
    except Exception:  # a file of another kind can make NumPy raise anything
        raise UserError(f"data.root: {path} is not a .npz of MNIST with arrays {', '.join(ARRAYS)}") from None


def _read_idx_files(root: Path) -> dict[str, np.ndarray]:
    files, arrays = Files(root), {}
    for array, name in ARRAYS.items():
        found = next((one for one in (name, f"{name}.gz") if (root / one).is_file()), None)
        if found is None:
            raise UserError(f"data.root: there is no {name} or {name}.gz in {root}")
        try:
            content = io.BytesIO(files.read(found, LARGEST))
            arrays[array] = _read_idx(gzip.GzipFile(fileobj=content) if found.endswith(".gz") else content)
        except UserError:
            raise
        except Exception as error:  # a damaged file can make gzip raise anything
            raise UserError(f"{root / found} is not this file of MNIST: {error}") from None
    return arrays


def _read_idx(file: IO[bytes] | gzip.GzipFile) -> np.ndarray:
    """The bytes of an idx file: two zeros, the type 8, the number of dimensions, each size as a big-endian uint32.

    Raises:
        ValueError: if it is something else, or is not as long as its header says.
        Exception: of any kind that gzip raises for what is damaged.
    """
    start = file.read(4)
    if len(start) < 4 or start[:3] != b"\0\0\x08" or start[3] > 3:
        raise ValueError("it does not begin as an idx file of bytes does")
    dimensions = start[3]
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise ValueError("it ends in its header")
    shape = struct.unpack(f">{dimensions}I", header)
    size = math.prod(shape)
    require_size(size, LARGEST)
    content = file.read(size + 1)  # no more, whatever it unpacks to; to its end, where gzip compares the checksum
    if len(content) != size:
        more = "more" if len(content) > size else len(content)
        raise ValueError(f"its header says {size} bytes, and {more} follow")
    return np.frombuffer(content, np.uint8).reshape(shape)
