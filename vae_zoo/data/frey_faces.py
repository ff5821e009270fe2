"""Frey faces: 1,965 frames of one face, the second data set of Kingma & Welling 2014."""

import numpy as np
import torch

from vae_zoo.data.arguments import given_path
from vae_zoo.data.arrays import read_npy
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.module import Part
from vae_zoo.errors import UserError, require


class FreyFaces(ImageDataModule):
    """1,965 frames of a film of one face, 1 x 28 x 20, no labels.

    Neighbouring frames are alike, so the film is cut into blocks, and whole blocks are held out.

    Args:
        root: a ``.npy`` file, (N, 28, 20) uint8, frames in the film's order.
        block: frames in a block.
        test_blocks: how many to test on.
        val_blocks: how many to validate on.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: of the choice of blocks.
        resident: keep all pixels on the device, so that a batch never leaves it.

    Raises:
        UserError: at set-up, if the file is missing or not as described, or no block is left to train on.
    """

    shape = (1, 28, 20)

    def __init__(
        self,
        root: str,
        block: int = 50,
        test_blocks: int = 4,
        val_blocks: int = 4,
        batch_size: int = 100,
        seed: int = 0,
        resident: bool = False,
    ) -> None:
        super().__init__()
        require(1, block=block, test_blocks=test_blocks, batch_size=batch_size)
        require(0, val_blocks=val_blocks, seed=seed)
        self.root = given_path("data.root", root)
        self.block, self.test_blocks, self.val_blocks = block, test_blocks, val_blocks
        self.batch_size, self.seed, self.resident = batch_size, seed, resident

    def read(self) -> tuple[list[str], dict[Part, ImageDataset]]:
        """Read the file and choose the blocks."""
        try:
            frames = read_npy(self.root)
        except Exception:  # a file of another kind can make NumPy raise anything
            raise UserError(f"data.root: {self.root} is not a .npy file of frames, (N, 28, 20) uint8") from None
        if frames.dtype != np.uint8 or frames.shape[1:] != self.shape[1:]:
            raise UserError(f"data.root: {self.root} does not hold (N, 28, 20) uint8, one frame a row")
        blocks = [np.arange(i, min(i + self.block, len(frames))) for i in range(0, len(frames), self.block)]
        held_out = self.test_blocks + self.val_blocks
        if held_out >= len(blocks):
            raise UserError(f"data: no block is left to train on: {held_out} of {len(blocks)} are held out")
        order = np.random.default_rng(self.seed).permutation(len(blocks))
        chosen: dict[Part, np.ndarray] = {
            "train": order[held_out:],
            "val": order[self.test_blocks : held_out],
            "test": order[: self.test_blocks],
        }
        parts = {}
        for part, members in chosen.items():
            rows = np.concatenate([np.empty(0, np.int64), *(blocks[i] for i in sorted(members))])
            parts[part] = ImageDataset(frames[..., None], torch.zeros(len(rows), dtype=torch.int64), rows)
        return ["none"], parts
