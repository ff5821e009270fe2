"""Data modules of sketches: padded batches of stroke-5, in which sketches have about the same length."""

import math
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vae_zoo.data.arguments import given_path
from vae_zoo.data.files import Files
from vae_zoo.data.module import DataModule, Part, uncollated
from vae_zoo.data.sketch_files import Sketch, read_ndjson, read_npz
from vae_zoo.errors import UserError, require, require_share

ROW = 5
POOL = 20  # batches that are sorted by length together


def stroke5(sketches: Sequence[np.ndarray]) -> Tensor:
    """Return sketches (N, 3), rows (dx, dy, lifted), as one tensor (B, T, 5), T one more than the longest has points.

    Rows are (dx, dy, p1, p2, p3) as in Ha & Eck 2017, section 3.1: the pen stays on the paper, is lifted, or the sketch
    is over; after its points a sketch has rows (0, 0, 0, 0, 1).
    """
    x = np.zeros((len(sketches), 1 + max(map(len, sketches)), ROW), np.float32)
    x[..., 4] = 1
    for row, sketch in zip(x, sketches, strict=True):
        n = len(sketch)
        row[:n, :2], row[:n, 2], row[:n, 3], row[:n, 4] = sketch[:, :2], 1 - sketch[:, 2], sketch[:, 2], 0
    return torch.from_numpy(x)


def drop_points(rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Leave out about this share of the points inside strokes, not their ends; the points that are kept do not move.

    Args:
        rows: a sketch (N, 3).
        share: from 0 to 1.
        rng: says which.
    """
    inside = (rows[:, 2] == 0) & (np.append(0, rows[:-1, 2]) == 0)
    keep = ~(inside & (rng.random(len(rows)) < share))
    keep[-1] = True
    begins = np.append(0, np.flatnonzero(keep)[:-1] + 1)  # dropped offsets are added to the next
    return np.column_stack([np.add.reduceat(rows[:, :2], begins), rows[keep, 2]])


class SketchDataset(Dataset):
    """Sketches with labels, fetched a whole batch at a time.

    Args:
        sketches: each (N, 3).
        labels: (n,) int64.
        ids: (n,) of the sketches.
    """

    def __init__(self, sketches: list[np.ndarray], labels: Tensor, ids: Sequence[str]) -> None:
        self.sketches, self.labels, self.ids = sketches, labels, ids

    def __len__(self) -> int:
        return len(self.sketches)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return sketches (B, T, 5) float32 and labels (B,)."""
        return stroke5([self.sketches[index] for index in indices]), self.labels[indices]


class AugmentedSketches(Dataset):
    """The same sketches, varied anew in each epoch, fetched by lists of indices.

    Args:
        data: the sketches.
        random_scale: both axes are stretched by factors drawn from 1 - random_scale to 1 + random_scale.
        drop: share of the points inside strokes that are left out.
        seed: of both; they also depend on the sketch's number and on `epoch`.
    """

    epoch = 0

    def __init__(self, data: SketchDataset, random_scale: float = 0.0, drop: float = 0.0, seed: int = 0) -> None:
        self.data, self.random_scale, self.drop, self.seed = data, random_scale, drop, seed
        self.lengths = np.array([len(sketch) for sketch in data.sketches])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return stroke5([self._augmented(index) for index in indices]), self.data.labels[indices]

    def _augmented(self, index: int) -> np.ndarray:
        rows = self.data.sketches[index]
        if not (self.random_scale or self.drop):
            return rows
        rng = np.random.default_rng([self.seed, self.epoch, index])
        factors = 1 + self.random_scale * rng.uniform(-1, 1, 2)
        return drop_points(rows * np.append(factors, 1).astype(np.float32), self.drop, rng)


class BucketBatchSampler(DistributedSampler):
    """Batches of indices, in which the sketches have about the same length, in an order that changes with the epoch.

    The shuffled sketches are cut into pools of 20 batches; a pool is sorted by length and cut into batches, and all
    batches are shuffled. Several processes share each batch, so that what they wait for has about one length, too; of
    one that they cannot share equally, fewer sketches than there are processes are left out.

    Args:
        data: the sketches.
        batch_size: sketches in a process's batch; one of an epoch may be smaller.
        world: number of processes.
        rank: which of them this is.
        seed: of the order.
    """

    dataset: AugmentedSketches

    def __init__(self, data: AugmentedSketches, batch_size: int, world: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(data, world, rank, seed=seed)
        self.batch_size = batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order, and its variations of the sketches."""
        super().set_epoch(epoch)
        self.dataset.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) // self.num_replicas / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:  # lazily, as a resumed run sets the epoch later
        rng = np.random.default_rng([self.seed, self.epoch])
        size = self.batch_size * self.num_replicas
        order = rng.permutation(len(self.dataset))
        batches: list[list[int]] = []
        for begin in range(0, len(order), POOL * size):
            pool = order[begin : begin + POOL * size]
            pool = pool[np.argsort(self.dataset.lengths[pool], kind="stable")]
            batches += [pool[i : i + size].tolist() for i in range(0, len(pool), size)]
        for i in rng.permutation(len(batches)):
            shared = len(batches[i]) // self.num_replicas * self.num_replicas
            if shared:
                yield batches[i][self.rank : shared : self.num_replicas]


class SketchDataModule(DataModule, ABC):
    """Batches (x, y) of sketches: x (B, T, 5) float32, see `stroke5`, offsets in training deviations.

    The standard deviation is that of all offsets of all training sketches, one for both axes (Ha & Eck 2017, section
    3.1). Concrete subclasses read the sketches. The shape is (N_max, 5).

    The arguments are described in the subclasses, where ``--data.help`` looks for them.

    Attributes:
        scale: the standard deviation, once set up.
    """

    ragged = True
    parts: dict[Part, SketchDataset]

    def __init__(
        self,
        n_train: int | None,
        n_test: int | None,
        n_val: int | None,
        batch_size: int,
        max_length: int | None,
        random_scale: float,
        drop_points: float,
        seed: int,
    ) -> None:
        super().__init__()
        require(1, batch_size=batch_size)
        require(1, max_length=max_length, optional=True)
        require(0, n_train=n_train, n_test=n_test, n_val=n_val, optional=True)
        require(0, seed=seed)
        require_share(random_scale=random_scale, drop_points=drop_points)
        for name, value in (("random_scale", random_scale), ("drop_points", drop_points)):
            if value == 1:
                raise UserError(f"{name} must be less than 1, got {value}")
        self.n_train, self.n_test, self.n_val, self.seed = n_train, n_test, n_val, seed
        self.batch_size, self.max_length = batch_size, max_length
        self.random_scale, self.drop_points = random_scale, drop_points

    @abstractmethod
    def read_sketches(self) -> dict[Part, list[Sketch]]:
        """Read the sketches of each part, in any unit."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N_max, 5); the sketches are read to find the longest."""
        self.setup()
        return self.max_length or max(map(len, self.parts["train"].sketches)), ROW

    def read(self) -> tuple[list[str], dict[Part, SketchDataset]]:
        """Read the sketches, leave out what is too long, and divide the offsets."""
        parts = self.read_sketches()
        longest = self.max_length or math.inf
        kept = {part: [s for s in sketches if 0 < len(s.rows) <= longest] for part, sketches in parts.items()}
        for part in ("train", "test"):
            if not kept[part]:
                raise UserError(f"data: no {part} sketch has a line and at most data.max_length points")
        total = sum(map(len, parts.values()))
        if left_out := total - sum(map(len, kept.values())):
            why = "which have no line, or more points than data.max_length"
            warnings.warn(f"left out {left_out} of {total} sketches, {why}", stacklevel=2)
        self.scale = float(np.concatenate([sketch.rows[:, :2] for sketch in kept["train"]]).std())
        if not self.scale:
            raise UserError("data: the training sketches have no extent, every offset is the same")
        if not 1e-30 < self.scale < 1e30:
            raise UserError(f"data: the offsets of the training sketches are too small or too large, {self.scale:g}")
        names = sorted({sketch.label for sketches in kept.values() for sketch in sketches})
        places = {name: place for place, name in enumerate(names)}
        unit = np.array([self.scale, self.scale, 1], np.float32)
        return names, {
            part: SketchDataset(
                [sketch.rows / unit for sketch in sketches],
                torch.tensor([places[sketch.label] for sketch in sketches], dtype=torch.int64),
                [sketch.id for sketch in sketches],
            )
            for part, sketches in kept.items()
        }

    def content(self, parts: Mapping[Part, SketchDataset]) -> list[list[int]]:
        """Return checksums of the sketches and their labels, part by part."""
        found = []
        for _, items in sorted(parts.items()):
            rows = reduce(lambda crc, sketch: zlib.crc32(np.ascontiguousarray(sketch).data, crc), items.sketches, 0)
            found.append([rows, zlib.crc32(items.labels.numpy().data)])
        return found

    def shuffled(self, world: int, rank: int, seed: int) -> DataLoader:
        """Batches of about one length."""
        data = AugmentedSketches(self.parts["train"], self.random_scale, self.drop_points, seed)
        batches = BucketBatchSampler(data, self.batch_size, world, rank, seed)
        return DataLoader(data, batch_size=None, sampler=batches, pin_memory=torch.cuda.is_available())

    def in_order(self, part: Part) -> DataLoader:
        """Batches of a part, in order."""
        data, own, pin = self.parts[part], self.share(part), torch.cuda.is_available()
        return DataLoader(data, batch_size=self.batch_size, sampler=own, collate_fn=uncollated, pin_memory=pin)

    def _split(self, groups: Sequence[list[Sketch]], what: str) -> dict[Part, list[Sketch]]:
        """Split groups of sketches, each of which stays together, by seed; `what` they are is for the error."""
        tenth = len(groups) // 10
        n_test, n_val = (tenth if n is None else n for n in (self.n_test, self.n_val))
        left = len(groups) - n_test - n_val
        n_train = left if self.n_train is None else self.n_train
        if n_train > left or n_train < 1 or n_test < 1:
            raise UserError(
                f"data: of {len(groups)} {what}, {n_test} to test on and {n_val} to validate on leave {max(left, 0)} "
                f"to train on, {n_train} are asked for; set data.n_train, data.n_test and data.n_val"
            )
        order = [groups[i] for i in np.random.default_rng(self.seed).permutation(len(groups))]
        held_out = n_test + n_val
        parts: dict[Part, list[list[Sketch]]] = {
            "train": order[held_out : held_out + n_train],
            "val": order[n_test:held_out],
            "test": order[:n_test],
        }
        return {part: list(chain.from_iterable(members)) for part, members in parts.items()}


class Sketches(SketchDataModule):
    """Sketches of a QuickDraw ``.ndjson``, a published ``.npz``, or a folder of either.

    A ``.npz`` has three parts of its own; a ``.ndjson`` is split by seed. Labels are QuickDraw's words, and the names
    of ``.npz`` files.

    Args:
        path: the file or folder. ``vae-zoo data sketches`` generates one.
        n_train: sketches to train on, of each file; None is all.
        n_test: to test on; None is all of a ``.npz``, a tenth of a ``.ndjson``.
        n_val: to validate on; likewise.
        batch_size: sketches in a batch; the last one of an epoch may be smaller.
        max_length: N_max, sketches with more points being left out; None is that of the longest training sketch.
        random_scale: in training, both axes are stretched by factors drawn from 1 - random_scale to 1 + random_scale.
        drop_points: in training, this share of the points inside strokes is left out.
        seed: of the split. The order of the training sketches follows the global seed instead.

    Raises:
        UserError: at set-up, if the files are not as described.
    """

    def __init__(
        self,
        path: str,
        n_train: int | None = None,
        n_test: int | None = None,
        n_val: int | None = None,
        batch_size: int = 100,
        max_length: int | None = None,
        random_scale: float = 0.0,
        drop_points: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(n_train, n_test, n_val, batch_size, max_length, random_scale, drop_points, seed)
        self.path = given_path("data.path", path)

    def read_sketches(self) -> dict[Part, list[Sketch]]:
        """Read the file or files."""
        if not self.path.exists():
            raise UserError(
                f"data.path: {self.path} does not exist; give --data.path a .ndjson, a .npz or a folder of them, "
                "or generate the embedded set: vae-zoo data sketches --out data/sketches.ndjson"
            )
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        files = [file for file in files if file.suffix in (".ndjson", ".npz")]
        if self.path.is_dir():
            Files(self.path).places([file.name for file in files])  # none is a link that leads elsewhere
        if not files:
            raise UserError(f"data.path: {self.path} is neither a .ndjson or .npz file nor a folder with one in it")
        parts: dict[Part, list[Sketch]] = {"train": [], "val": [], "test": []}
        for file in files:
            for part, sketches in self._read_file(file).items():
                parts[part] += sketches
        return parts

    def _read_file(self, file: Path) -> dict[Part, list[Sketch]]:
        if file.suffix == ".ndjson":
            return self._split([[sketch] for sketch in read_ndjson(file)], f"drawings in {file}")
        sizes: dict[Part, int | None] = {"train": self.n_train, "val": self.n_val, "test": self.n_test}
        parts = read_npz(file)
        for part, n in sizes.items():
            if n and n > len(parts[part]):
                raise UserError(f"data.n_{part} = {n}, but {file} has {len(parts[part])}")
        return {part: sketches[: sizes[part]] for part, sketches in parts.items()}
