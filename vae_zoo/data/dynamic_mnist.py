"""MNIST whose training pixels are drawn anew in each epoch: the dynamic binarisation of Salakhutdinov & Murray 2008."""

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from vae_zoo.data.arguments import given_path
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.mnist import DIGITS, SIDE, parts_of, read_mnist
from vae_zoo.data.module import Part
from vae_zoo.errors import require


class DynamicMNIST(ImageDataModule):
    """60,000 digits to train on and validate, 10,000 to test, 1 x 28 x 28 black and white pixels, labels "0" to "9".

    A pixel is white with a probability of its grey value / 255, as in Burda et al. 2016, section 5. Those of the
    training images are drawn anew in each epoch, and follow from the run's seed, the epoch and the image alone. Those
    of the validation and test images are drawn once, from the fixed seeds 0 and 1 whatever the run's, so that figures
    of two runs are of the same pixels; so are the training images where they are not trained on (`batches`).

    Args:
        root: a ``.npz`` or a folder of the published files, as for `MNIST`.
        n_val: training images to validate on. They are chosen at random, since the file may be ordered by class.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: of the choice of validation images.
        resident: keep all pixels on the device, so that a batch never leaves it; those of an epoch go there once.

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
        images, labels, test_images, test_labels = read_mnist(self.root)
        # All are drawn before the choice, so that an image's pixels do not depend on it.
        parts = parts_of(_drawn(images, 0), labels, _drawn(test_images, 1), test_labels, self.n_val, self.seed)
        self.redrawn = partial(_Redrawn, images[parts["train"].rows])
        return DIGITS, parts


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
