"""Batches of images from an array of bytes: what all data modules of images share."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler
from torchvision.transforms.v2 import Transform

from vae_zoo.data.module import DataModule, Part, ResumableLoader, ResumableOrder, ShuffledOrder, uncollated
from vae_zoo.data.pictures import to_images
from vae_zoo.errors import UserError


class Images(Dataset, ABC):
    """Images of one part, fetched a whole batch at a time.

    Attributes:
        ids: of the images, in their order.
    """

    ids: Sequence[int | str]

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images (B, H, W, C) uint8 and labels (B,)."""

    @abstractmethod
    def checksums(self) -> list[int]:
        """Return checksums of all that a training has of them."""

    @abstractmethod
    def order(self, world: int, rank: int, seed: int) -> ResumableOrder:
        """Return the order in which process `rank` of `world` is trained on its share, shuffled anew each epoch."""


class ImageDataset(Images):
    """Rows of a pixel array with labels, fetched a whole batch at a time.

    Args:
        pixels: (N, H, W, C) uint8, an array (memory-mapped or not) or a tensor on any device.
        labels: (n,) int64, one for each chosen row, on the device of the pixels.
        rows: (n,) the rows of `pixels` that make up this set.
        ids: (n,) of the images; by default the rows.
        checksum: of the pixels, where it is known; else it is computed if it is asked for.
    """

    def __init__(
        self,
        pixels: np.ndarray | Tensor,
        labels: Tensor,
        rows: np.ndarray,
        ids: Sequence[int | str] | None = None,
        checksum: int | None = None,
    ) -> None:
        # A row whose bytes lie apart is fetched ten times as slowly; what is in order or in a file is not copied.
        self.pixels = pixels if isinstance(pixels, Tensor | np.memmap) else np.ascontiguousarray(pixels)
        self.labels, self.rows = labels, rows
        self.ids: Sequence[int | str] = rows.tolist() if ids is None else ids
        self._checksum = checksum

    def __len__(self) -> int:
        return len(self.rows)

    def checksums(self) -> list[int]:
        """Return checksums of the pixels, of which rows are chosen, and of their labels."""
        pixels = self._checksum
        if pixels is None:
            pixels = _crc32(self.pixels)
        return [pixels, _crc32(self.rows), _crc32(self.labels)]

    def order(self, world: int, rank: int, seed: int) -> ResumableOrder:
        """Return the order, in which each process has images from all of the set."""
        return ShuffledOrder(self, world, rank, shuffle=True, seed=seed, drop_last=True)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__([index])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images (B, H, W, C) uint8 and labels (B,)."""
        rows = self.rows[indices]
        if isinstance(self.pixels, Tensor):
            # One copy, which does not wait for the step before. (On Apple's devices it may be read too late.)
            device = self.pixels.device
            both = torch.from_numpy(np.stack([rows, indices])).to(device, non_blocking=device.type != "mps")  # 2 B
            return self.pixels[both[0]], self.labels[both[1]]
        # By NumPy, to which a list of indices costs a fifth of what it costs torch.
        return torch.from_numpy(self.pixels[rows]), torch.from_numpy(self.labels.numpy()[indices])


def _crc32(array: np.ndarray | Tensor) -> int:
    own = array.cpu().numpy() if isinstance(array, Tensor) else array
    return zlib.crc32(np.ascontiguousarray(own).data)


class AugmentedDataset(Dataset):
    """The same images; a batch also has a seed for each, which follows from the run's seed, the epoch and its index.

    Args:
        data: the images.
        order: has the run's seed, and is told the epoch.
    """

    def __init__(self, data: Images, order: DistributedSampler) -> None:
        self.data, self.order = data, order

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Return images (B, H, W, C) uint8, labels (B,) and B seeds."""
        # Those of default_rng(...).integers(2**63, size=len(self)), without the array, of which a stream has no room.
        random = np.random.PCG64((self.order.seed, self.order.epoch))
        place, seeds = 0, []
        for index in indices:
            seeds.append(int(random.advance(index - place).random_raw()) >> 1)
            place = index + 1
        return *self.data.__getitems__(indices), seeds  # a tensor would go to the device and come back


def augmented(x: Tensor, transforms: Sequence[Transform], seeds: Sequence[int]) -> Tensor:
    """Transform each image of a batch (B, C, H, W) by itself, since a v2 transform draws once for all it is given.

    Torch's generators are left as they were, so that the noise of a model is the same with and without augmentation.

    Raises:
        UserError: if the images that come out have another shape.
    """
    generators = [torch.default_generator]
    if x.is_cuda:
        generators.append(torch.cuda.default_generators[x.device.index])
    result = torch.empty_like(x)  # channels_last, if x is
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        for row, (image, seed) in enumerate(zip(x, seeds, strict=True)):
            for generator in generators:  # torch.manual_seed would take longer than most transforms
                generator.manual_seed(seed)
            for transform in transforms:
                image = transform(image)
            if image.shape != x.shape[1:]:
                raise UserError(
                    f"data.augment makes images of shape {tuple(image.shape)} from {tuple(x.shape[1:])}; "
                    "end it with a torchvision.transforms.v2.Resize"
                )
            result[row] = image
    return result.clamp_(0, 1)


class ImageDataModule(DataModule, ABC):
    """Batches (x, y): x (B, C, H, W) float in [0, 1], channels_last; y (B,) int64, an index into `labels`.

    Concrete subclasses choose the images, in `read`, each part `Images`. The shape is (C, H, W).

    Attributes:
        resident: keep all pixels on the device, so that a batch never leaves it.
        augment: transforms of the training images, in this order.
        redrawn: in place of them: makes of the training set, and of its order, which has the run's seed and is told the
            epoch, a set whose images are others in each epoch. It is fetched a whole batch at a time.
        loading: processes that fetch batches; 0 where handing a batch over costs more than fetching it.
        ahead: batches of a training that a thread fetches ahead, where no process does.
    """

    resident: bool = False
    augment: Sequence[Transform] = ()
    redrawn: Callable[[Images, DistributedSampler], Dataset] | None = None
    loading: int = 0
    ahead: int = 0
    parts: dict[Part, Images]

    def content(self, parts: Mapping[Part, Images]) -> list[list[int]]:
        """Return checksums of the images and their labels, part by part."""
        return [items.checksums() for _, items in sorted(parts.items())]

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor] | tuple[Tensor, Tensor, list[int]], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """Turn bytes (B, H, W, C) into floats (B, C, H, W) in [0, 1] on the device, and augment a training batch."""
        pixels, y, *seeds = batch  # seeds are in batches that are trained on, and in no others
        x = to_images(pixels)
        return (augmented(x, self.augment, seeds[0]) if seeds else x), y

    def shuffled(self, world: int, rank: int, seed: int) -> DataLoader:
        """Batches of the training set, drawn anew for the epoch, or augmented after they are on the device."""
        data = self._dataset("train")
        order = data.order(world, rank, seed)
        if self.redrawn:
            items = self.redrawn(data, order)
        else:
            items = AugmentedDataset(data, order) if self.augment else data
        loader: Any = self._loader(items, order, ResumableLoader)
        loader.ahead = 0 if self.loading else self.ahead
        return loader

    def in_order(self, part: Part) -> DataLoader:
        """Batches of a part, in order."""
        return self._loader(self._dataset(part), self.share(part))

    def _dataset(self, part: Part) -> Images:
        data = self.parts[part]
        if self.resident and isinstance(data, ImageDataset) and not isinstance(data.pixels, Tensor):
            device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
            pixels = torch.from_numpy(data.pixels[data.rows]).to(device)
            data = ImageDataset(pixels, data.labels.to(device), np.arange(len(data)), data.ids)
            self.parts[part] = data
        return data

    def _loader(self, items: Dataset, order: Sampler | None, kind: type[DataLoader] = DataLoader) -> DataLoader:
        return kind(
            items,
            batch_size=self.batch_size,
            sampler=order,
            collate_fn=uncollated,
            num_workers=self.loading,
            pin_memory=torch.cuda.is_available() and not self.resident,
        )
