"""MNIST whose training pixels are drawn anew in each epoch: the dynamic binarisation of Salakhutdinov & Murray 2008."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from vae_zoo.data.arguments import given_path
from vae_zoo.data.arrays import read_npz
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.module import Part
from vae_zoo.errors import UserError, require

SIDE = 28
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class DynamicMNIST(ImageDataModule):
    """60,000 digits to train on and validate, 10,000 to test, 1 x 28 x 28 black and white pixels, labels "0" to "9".

    A pixel is white with a probability of its grey value / 255, as in Burda et al. 2016, section 5. Those of the
    training images are drawn anew in each epoch, and follow from the run's seed, the epoch and the image alone. Those
    of the validation and test images are drawn once, from the fixed seeds 0 and 1 whatever the run's, so that figures
    of two runs are of the same pixels; so are the training images where they are not trained on (`batches`).

    Args:
        root: a ``.npz`` of `train_images` (60000, 28, 28) uint8, `train_labels` (60000,) from 0 to 9, `test_images` and
            `test_labels`; other numbers of images will do.
        n_val: training images to validate on. They are chosen at random, since the file may be ordered by class.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: of the choice of validation images.
        resident: keep all pixels on the device, so that a batch never leaves it; those of an epoch go there once.

    Raises:
        UserError: at set-up, if the file is missing or not as described, or no image is left to train on.
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
        """Read the file, and choose the validation images."""
        images, labels, test_images, test_labels = _read(self.root)
        if self.n_val >= len(images):
            raise UserError(f"data.n_val = {self.n_val} leaves none of the {len(images)} images to train on")
        order = np.random.default_rng(self.seed).permutation(len(images))
        val, train = np.sort(order[: self.n_val]), np.sort(order[self.n_val :])
        self.redrawn = partial(_Redrawn, images[train])
        # All are drawn before the choice, so that an image's pixels do not depend on it.
        bits, test_bits, test = _drawn(images, 0), _drawn(test_images, 1), np.arange(len(test_images))
        parts: dict[Part, ImageDataset] = {
            "train": ImageDataset(bits, labels[train], train, [f"train/{row}" for row in train]),
            "val": ImageDataset(bits, labels[val], val, [f"train/{row}" for row in val]),
            "test": ImageDataset(test_bits, test_labels, test, [f"test/{row}" for row in test]),
        }
        return [str(digit) for digit in range(10)], parts


class _Redrawn(Dataset):
    """The training images, all drawn at once when an epoch begins: a batch then costs no more than one of any images.

    Args:
        grey: (N, 28, 28, 1) uint8.
        data: the same images as they are without an epoch, on the device that they are wanted on.
        order: has the run's seed, and is told the epoch.
    """

    def __init__(self, grey: np.ndarray, data: ImageDataset, order: DistributedSampler) -> None:
        self.order, self.epoch = order, -1
        # Four of five pixels are black or white already: drawing the others alone takes a third of the time.
        self.where = np.flatnonzero((grey > 0) & (grey < 255))
        self.grey, self.bits = grey.reshape(-1)[self.where], (grey == 255) * np.uint8(255)
        pixels = torch.from_numpy(self.bits) if isinstance(data.pixels, Tensor) else self.bits
        self.data = ImageDataset(pixels, data.labels, np.arange(len(data)))

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images (B, 28, 28, 1) uint8, each pixel 0 or 255, and labels (B,)."""
        if self.epoch != self.order.epoch:  # here, since a resumed run sets the epoch after the loader is made
            self.epoch = self.order.epoch
            # The last number keeps these draws apart from those of seeds 0 and 1, which NumPy fills up with zeros.
            self.bits.reshape(-1)[self.where] = _drawn(self.grey, self.order.seed, self.epoch, 1)
            if isinstance(self.data.pixels, Tensor):
                self.data.pixels = torch.from_numpy(self.bits).to(self.data.labels.device)
        return self.data.__getitems__(indices)


def _drawn(grey: np.ndarray, *seed: int) -> np.ndarray:
    """Draw 255 with a probability of grey / 255, else 0. NumPy draws: torch's generators are left as they were."""
    below_255 = np.random.default_rng(seed).integers(255, size=grey.shape, dtype=np.uint8)  # white is always above it
    return (below_255 < grey) * np.uint8(255)


def _read(path: Path) -> tuple[np.ndarray, Tensor, np.ndarray, Tensor]:
    """The images (N, 28, 28, 1) uint8 and labels (N,) int64 of training and test."""
    if not path.is_file():
        raise UserError(f"data.root: there is no file {path}; it is a .npz of MNIST")
    try:
        arrays = {name: read_npz(path, name) for name in ARRAYS}
    except Exception:  # a file of another kind can make NumPy raise anything
        raise UserError(f"data.root: {path} is not a .npz of MNIST with arrays {', '.join(ARRAYS)}") from None
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE) or not len(images):
            raise UserError(f"{path}: {part}_images is {images.shape} {images.dtype}; it must be (N, 28, 28) uint8")
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 9:
            raise UserError(
                f"{path}: {part}_labels must be a whole number from 0 to 9 for each of {len(images)} images"
            )
    # Rows in order, whatever the file's order: pixels are overwritten in place.
    grey, test_grey = (np.ascontiguousarray(arrays[f"{part}_images"])[..., None] for part in ("train", "test"))
    y, test_y = (torch.from_numpy(arrays[f"{part}_labels"].astype(np.int64)) for part in ("train", "test"))
    return grey, y, test_grey, test_y
