"""Batches of images from an array of bytes: what all data modules of images share."""

from abc import ABC

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vae_zoo.data.module import DataModule, Part, whole


class PixelDataset(Dataset):
    """Rows of a pixel array with labels, fetched a whole batch at a time.

    Args:
        pixels: (N, H, W, C) uint8, an array (memory-mapped or not) or a tensor on any device.
        labels: (n,) int64, one for each chosen row, on the device of the pixels.
        rows: (n,) the rows of `pixels` that make up this set.
    """

    def __init__(self, pixels: np.ndarray | Tensor, labels: Tensor, rows: np.ndarray) -> None:
        self.pixels, self.labels, self.rows = pixels, labels, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images (B, H, W, C) uint8 and labels (B,)."""
        rows = self.rows[indices]
        if isinstance(self.pixels, Tensor):
            index = torch.as_tensor(indices, device=self.labels.device)
            return self.pixels[torch.as_tensor(rows, device=self.pixels.device)], self.labels[index]
        return torch.from_numpy(self.pixels[rows]), self.labels[indices]


class PixelDataModule(DataModule, ABC):
    """Batches (x, y): x (B, C, H, W) float in [0, 1], channels_last; y (B,) int64, an index into `labels`.

    Finals choose the images, in `setup`; the rest is written once, here. The shape is (C, H, W).

    Attributes:
        resident: keep all pixels on the device, so that a batch never leaves it.
    """

    resident: bool
    _sets: dict[Part, PixelDataset]

    def train_dataloader(self) -> DataLoader:
        """Shuffle by the global seed and the epoch alone, so that every model sees the same order.

        A Trainer tells the loader the epoch; in a loop of your own, call ``loader.sampler.set_epoch(epoch)``.
        """
        trainer = self.trainer
        world, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        data = self._dataset("train")
        order: DistributedSampler = DistributedSampler(
            data, world, rank, shuffle=True, seed=torch.initial_seed() % 2**32
        )
        return self._loader(data, order)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Turn bytes (B, H, W, C) into floats (B, C, H, W) in [0, 1] on the device; the memory stays channels_last."""
        x, y = batch
        return x.permute(0, 3, 1, 2).float().div_(255), y

    def _dataset(self, part: Part) -> PixelDataset:
        data = self._sets[part]
        if self.resident and not isinstance(data.pixels, Tensor):
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
            pixels = torch.from_numpy(data.pixels[data.rows]).to(device)
            data = PixelDataset(pixels, data.labels.to(device), np.arange(len(data)))
            self._sets[part] = data
        return data

    def _in_order(self, part: Part) -> DataLoader:
        return self._loader(self._dataset(part))

    def _loader(self, data: PixelDataset, sampler: DistributedSampler | None = None) -> DataLoader:
        # A batch is one indexing operation, cheaper than handing it over from a worker process.
        pin = torch.cuda.is_available() and not isinstance(data.pixels, Tensor)
        return DataLoader(data, batch_size=self.batch_size, sampler=sampler, collate_fn=whole, pin_memory=pin)
