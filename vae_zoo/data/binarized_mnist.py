"""MNIST in the fixed binarisation of Larochelle & Murray 2011: the digits of published log-likelihoods."""

from pathlib import Path

import numpy as np
import torch

from vae_zoo.data.arguments import given_path
from vae_zoo.data.arrays import read_npz
from vae_zoo.data.files import Files
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.module import PUBLISHED, Part
from vae_zoo.errors import UserError, require
from vae_zoo.reading import read_file

SIDE = 28


class BinarizedMNIST(ImageDataModule):
    """50,000 training, 10,000 validation and 10,000 test digits of 1 x 28 x 28 black and white pixels, no labels.

    Args:
        root: a folder with the published ``binarized_mnist_train.amat``, ``_valid.amat`` and ``_test.amat`` (784
            numbers 0 or 1 a line), or a ``.npz`` of `train`, `valid` and `test`, (N, 98) uint8, eight pixels to a byte.
        n_train: of the training digits, how many are kept, the first ones; None is all.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        resident: keep all pixels on the device, so that a batch never leaves it.

    Raises:
        UserError: at set-up, if the files are missing or not as described, or hold fewer digits than `n_train`.
    """

    shape = (1, SIDE, SIDE)

    def __init__(self, root: str, n_train: int | None = None, batch_size: int = 100, resident: bool = False) -> None:
        super().__init__()
        require(1, batch_size=batch_size, n_train=1 if n_train is None else n_train)
        self.n_train = n_train
        self.root, self.batch_size, self.resident = given_path("data.root", root), batch_size, resident

    def read(self) -> tuple[list[str], dict[Part, ImageDataset]]:
        """Read the files."""
        if not self.root.exists():
            raise UserError(f"data.root: {self.root} does not exist; it is a folder of .amat files, or a .npz")
        read = _read_amat if self.root.is_dir() else _read_npz
        parts = {}
        for part, name in PUBLISHED.items():
            bits = read(self.root, name).reshape(-1, SIDE, SIDE, 1)
            if part == "train" and self.n_train:
                if self.n_train > len(bits):
                    raise UserError(f"data.n_train = {self.n_train}, but {self.root} holds {len(bits)} training digits")
                bits = bits[: self.n_train]
            labels, rows = torch.zeros(len(bits), dtype=torch.int64), np.arange(len(bits))
            parts[part] = ImageDataset(bits * np.uint8(255), labels, rows, [f"{name}/{row}" for row in rows])
        return ["none"], parts


def _read_amat(root: Path, name: str) -> np.ndarray:
    """The zeros and ones of a text file, (N, 784) uint8."""
    path = root / f"binarized_mnist_{name}.amat"
    if not path.is_file():
        raise UserError(f"data.root: there is no {path.name} in {root}")
    (place,) = Files(root).places([path.name])
    try:
        text = np.frombuffer(read_file(place), np.uint8)
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    text = text[~np.isin(text, np.frombuffer(b" \t\r\n", np.uint8))]
    bits = text - np.uint8(ord("0"))  # what is not 0 or 1 becomes larger
    if not len(bits) or len(bits) % SIDE**2 or bits.max() > 1:
        raise UserError(f"{path} is not a binarised MNIST: it must hold 784 numbers 0 or 1 a line, separated by blanks")
    return bits.reshape(-1, SIDE**2)


def _read_npz(path: Path, name: str) -> np.ndarray:
    """The unpacked bits, (N, 784) uint8."""
    try:
        packed = read_npz(path, name)
    except PermissionError:  # which names the file
        raise
    except Exception:  # a file of another kind can make NumPy raise anything
        raise UserError(f"{path} is not a .npz of a binarised MNIST with an array {name!r}") from None
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] * 8 != SIDE**2 or not len(packed):
        raise UserError(f"{path}: {name} is {packed.shape} {packed.dtype}; it must be (N, 98) uint8")
    return np.unpackbits(packed, axis=1)
