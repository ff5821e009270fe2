"""Images that are larger than memory, or than a disk: shards of ``vae-zoo data shard``, read as they are needed."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import Transform

from vae_zoo.data.arguments import given_path
from vae_zoo.data.chunks import AHEAD, Chunks, text
from vae_zoo.data.coco import LARGEST_SIDE, MOST_WORKERS
from vae_zoo.data.images import ImageDataModule, Images
from vae_zoo.data.module import Part, ResumableOrder
from vae_zoo.data.pictures import MODES
from vae_zoo.data.places import place_at
from vae_zoo.data.shards import INDEX, LARGEST_INDEX, Shards, read_shards
from vae_zoo.errors import UserError, require, require_positive
from vae_zoo.ids import ManyIds
from vae_zoo.writing import user_cache


class ChunkOrder(ResumableOrder):
    """The chunks in a random order, of which each process has a stretch, and the images mixed over a few at a time.

    It follows from the seed, the epoch, and the numbers of processes and of chunks that are mixed; so it can begin
    anywhere without being gone through. Processes have equally many images: what they cannot share equally, fewer
    images than there are processes, is left out.

    Args:
        data: the images.
        chunks: they are in.
        window: chunks that are mixed.
        world: processes.
        rank: this one.
        seed: of the run.
    """

    def __init__(self, data: Images, chunks: Chunks, window: int, world: int, rank: int, seed: int) -> None:
        super().__init__(data, world, rank, shuffle=True, seed=seed, drop_last=True)
        self.chunks, self.window = chunks, window

    def from_place(self, start: int) -> Iterator[int]:
        """Yield the items; the chunks of the next ones are opened ahead."""
        windows = list(self._windows())
        for number, pieces in enumerate(windows):
            size = sum(len(rows) for _, rows in pieces)
            if start >= size:
                start -= size
                continue
            opened = [self.chunks.ahead(chunk) for chunk, _ in pieces]
            opened += [
                self.chunks.ahead(chunk) for following in windows[number + 1 : number + 2] for chunk, _ in following
            ]
            for each in opened[: len(pieces)]:
                each.result()  # what is damaged is reported here, rather than in a worker
            rows = np.concatenate([np.arange(rows.start, rows.stop) for _, rows in pieces])
            np.random.default_rng((self.seed, self.epoch, self.rank, number)).shuffle(rows)
            yield from rows[start:].tolist()
            start = 0

    def _windows(self) -> Iterator[list[tuple[int, range]]]:
        """Yield the pieces of chunks, as rows of the part, a few at a time."""
        sizes = np.array([file.n for file in self.chunks.files])
        ends = sizes.cumsum()
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(sizes)).tolist()
        left, skipped, pieces = self.num_samples, self.rank * self.num_samples, list[tuple[int, range]]()
        for chunk in order:
            rows = range(int(ends[chunk] - sizes[chunk]), int(ends[chunk]))
            if skipped >= len(rows):
                skipped -= len(rows)
                continue
            rows = rows[skipped : skipped + left]
            left, skipped = left - len(rows), 0
            pieces.append((chunk, rows))
            if len(pieces) == self.window or not left:
                yield pieces
                pieces = []
            if not left:
                return


class _StreamedIds(ManyIds):
    """The ids of a part, read from its chunks."""

    def __init__(self, chunks: Chunks, sample: dict[str, Any]) -> None:
        self.chunks, self._sample = chunks, sample
        self._ends = np.cumsum([file.n for file in chunks.files])

    @property
    def sample(self) -> dict[str, Any]:
        """What ``shards.json`` says of them."""
        return self._sample

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one, or several."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        row = range(len(self))[index]
        chunk = int(np.searchsorted(self._ends, row, "right"))
        ids = self.chunks[chunk].ids
        return text(ids[row - int(self._ends[chunk])])  # from the end of the chunk

    def __iter__(self) -> Iterator[str]:
        for number in range(len(self.chunks)):
            yield from map(text, self.chunks[number].ids)


class StreamedImages(Images):
    """The images of a part, of which no list is in memory.

    Args:
        chunks: they are in.
        shape: (C, H, W) out.
        window: chunks that a training mixes.
        sample: of their ids.
    """

    def __init__(self, chunks: Chunks, shape: tuple[int, int, int], window: int, sample: dict[str, Any]) -> None:
        self.chunks, self.shape, self.window = chunks, shape, window
        self.ids: Sequence[str] = _StreamedIds(chunks, sample)
        sizes = np.array([file.n for file in chunks.files], np.int64)
        self._ends = sizes.cumsum()
        self._starts = self._ends - sizes

    def __len__(self) -> int:
        return len(self.ids)

    def checksums(self) -> list[int]:
        """Return the checksums of the chunks."""
        return [file.crc32 for file in self.chunks.files]

    def order(self, world: int, rank: int, seed: int) -> ResumableOrder:
        """Return an order in which few chunks are open at a time."""
        return ChunkOrder(self, self.chunks, self.window, world, rank, seed)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images (B, H, W, C) uint8 and labels (B,)."""
        channels, height, width = self.shape
        rows = np.asarray(indices)
        numbers = np.searchsorted(self._ends, rows, "right")  # B
        places = list(zip(numbers.tolist(), (rows - self._starts[numbers]).tolist(), strict=True))
        opened = {number: self.chunks[number] for number in set(numbers.tolist())}
        pictures = {number: chunk.pictures(self.shape) for number, chunk in opened.items()}
        # Row by row: to gather those of each chunk at once would copy all of them twice, and takes longer.
        pixels = np.concatenate([pictures[number][row] for number, row in places])
        pixels = pixels.reshape(len(rows), height, width, channels)
        labels = np.array([opened[number].labels[row] for number, row in places], np.int64)
        return torch.from_numpy(pixels), torch.from_numpy(labels)


class StreamingImages(ImageDataModule):
    """Images from shards, in a folder, on a web server or in the cloud: many take no more memory than a few.

    ``vae-zoo data shard`` writes them, split by a hash of each picture's id, with labels. Batches are as those of all
    data modules of images. In training, chunks come in a random order, and the images of `window` of them are mixed, by
    the global seed and the epoch; each process reads a stretch of the chunks. A training that is resumed from a
    checkpoint inside an epoch goes on with the images that were next.

    Args:
        root: a folder with shards, or its address: https, http, s3, gs or r2. For the last three, litdata reads, with
            the keys that are set up for its client; install it with ``pip install "vae_zoo[stream]"``.
        image_size: of the images out, one number or height and width. Pixels that were decoded have a size already,
            which None is; files are decoded to it.
        channels: of the images out, 3 (RGB) or 1 (grey); as for the size, None is what pixels have, and of files 3.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        window: chunks that are mixed in training, and as many are opened ahead.
        workers: processes that fetch batches. Pixels need none, since a thread fetches ahead; for files, as many as
            there are cores.
        cache_dir: where chunks that come from elsewhere are kept; by default ``~/.cache/vae_zoo``.
        cache_gb: gigabytes of them; those used longest ago are removed.
        augment: one or several of ``torchvision.transforms.v2``, as for `COCODataModule`.

    Raises:
        UserError: at set-up, if there are no shards, or they are damaged.
    """

    ahead = 4

    def __init__(
        self,
        root: str,
        image_size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        batch_size: int = 64,
        window: int = 8,
        workers: int = 0,
        cache_dir: str | None = None,
        cache_gb: float = 20.0,
        augment: Transform | list[Transform] | None = None,
    ) -> None:
        super().__init__()
        require(1, batch_size=batch_size, window=window)
        require(0, MOST_WORKERS, workers=workers)
        require_positive(cache_gb=cache_gb)
        self.root = str(root)
        self.image_size, self.channels, self.batch_size, self.window = image_size, channels, batch_size, window
        self.workers = self.loading = workers
        self.cache_dir = given_path("data.cache_dir", cache_dir) if cache_dir else user_cache()
        self.cache_gb = cache_gb
        self.augment = augment if isinstance(augment, list) else [] if augment is None else [augment]
        sides = list(image_size) if isinstance(image_size, tuple | list) else [image_size, image_size]
        if len(sides) != 2:
            raise UserError(f"data.image_size must be one number, or height and width, got {image_size}")
        for side in sides:
            require(1, LARGEST_SIDE, image_size=side, optional=True)
        self._sides = sides
        if channels not in (None, *MODES):
            raise UserError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")
        if not all(map(callable, self.augment)):
            raise UserError(f"data.augment must be transforms, got {augment!r}")
        self._place = place_at(self.root, self.cache_dir, int(cache_gb * 1e9))

    @cached_property
    def _shards(self) -> Shards:
        found: list[Shards] = []  # read while no other process can fetch it anew
        self._place.get(INDEX, LARGEST_INDEX, lambda path: found.append(read_shards(path, self.root)), fresh=True)
        return found[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, as ``shards.json`` or the arguments say."""
        given = self.channels, *self._sides
        if self._shards.shape is None:
            height, width = self._sides
            if height is None or width is None:
                raise UserError(f"{self.root} has picture files: say with data.image_size what to decode them to")
            return self.channels or 3, height, width
        for asked, there in zip(given, self._shards.shape, strict=True):
            if asked not in (None, there):
                raise UserError(
                    f"data.image_size {self.image_size} and data.channels {self.channels} are not those of "
                    f"{self.root}, whose pixels are {self._shards.shape}; leave them out, or shard the pictures again"
                )
        channels, height, width = self._shards.shape
        return channels, height, width

    def read(self) -> tuple[list[str], dict[Part, StreamedImages]]:
        """Read what there is to know; images are read as they are needed."""
        shards, shape = self._shards, self.shape
        size = None if shards.shape is None else int(np.prod(shape))
        parts = {}
        for part, files in shards.chunks.items():
            chunks = Chunks(self._place, files, len(shards.labels), size, 2 * self.window + AHEAD)
            parts[part] = StreamedImages(chunks, shape, self.window, shards.samples[part])
        return shards.labels, parts
