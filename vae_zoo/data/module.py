"""What all data modules share: three parts, their facts, and batches in order."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, Sampler

from vae_zoo import processes
from vae_zoo.errors import UserError
from vae_zoo.ids import ManyIds, listed

T = TypeVar("T")
Part = Literal["train", "val", "test"]
PUBLISHED: dict[Part, str] = {"train": "train", "val": "valid", "test": "test"}  # the parts' names in published files


@dataclass(frozen=True)
class Facts:
    """What a model, a callback or a report may want to know about the data.

    ``vae-zoo`` gives a model each fact that its constructor has an argument of that name for.

    Attributes:
        shape: of one item, as a model is built for it: (C, H, W) of images, (N_max, 5) of sketches.
        labels: how many labels there are.
        label_names: their names, which y indexes.
        n_train: training items, without those that could not be read.
        ragged: whether the x of two batches differ in shape.
        validates_on_test: whether the validation set is the test set, so that nothing may be chosen by it.
        captions: the names of the labels, where each is a text that describes a picture; else none.
    """

    shape: tuple[int, ...]
    labels: int
    label_names: tuple[str, ...]
    n_train: int
    ragged: bool
    validates_on_test: bool
    captions: tuple[str, ...] = ()


class DataModule(LightningDataModule, ABC):
    """Batches (x, y) of a training, a validation and a test set; y (B,) int64 is an index into `labels`.

    A data module of your own derives from `ImageDataModule` (or, for items of another kind, from this class), says its
    `shape` and reads its parts; the command, the callbacks and the reports need nothing else of it.

    Attributes:
        batch_size: of each batch of a process; the last one of an epoch may be smaller.
        labels: the names that y indexes, once set up.
        parts: the items of "train", "val" and "test", once set up.
        split: their ids, once set up: lists, or `ManyIds` that are read where they are asked for.
        scale: a figure of the training set that all items are divided by, once set up; 1 where there is none.
        ragged: whether the x of two batches differ in shape.
        val_on_test: whether the validation set is the test set.
        captioned: whether the labels' names are texts that describe pictures.
    """

    captioned: bool = False
    ragged: bool = False
    val_on_test: bool = False
    scale: float = 1.0
    batch_size: int

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.parts: Mapping[Part, Any] = {}
        self.split: dict[Part, Sequence[int | str]] = {}

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape that a model is built for."""

    @abstractmethod
    def read(self) -> tuple[list[str], Mapping[Part, Any]]:
        """Return the names of the labels, and the items of each part.

        The items of a part have a length, `ids` (numbers or texts, which tell the splits of two runs apart, as
        `ManyIds` where a list would be too long), and ``__getitems__(indices)``, which fetches a batch. An empty "val"
        means that there is no validation.
        """

    def setup(self, stage: str | None = None) -> None:
        """Read the data, once for all stages."""
        if self.split:
            return
        self.labels, parts = self.read()
        self.split = {
            part: items.ids if isinstance(items.ids, ManyIds) else list(items.ids) for part, items in parts.items()
        }
        self._content = self.content(parts)
        self.parts = {**parts, "val": parts["test"]} if self.val_on_test else {**parts}

    @property
    def facts(self) -> Facts:
        """What there is to know about the data, which are read if they have not been yet."""
        if not self.split:
            self.prepare_data()
            self.setup()
        names = tuple(self.labels)
        captions = names if self.captioned else ()
        return Facts(self.shape, len(names), names, len(self.split["train"]), self.ragged, self.val_on_test, captions)

    def content(self, parts: Mapping[Part, Any]) -> Any:
        """Return checksums of the items as they are trained on, by which two sets with the same ids are told apart."""

    @property
    def split_listed(self) -> dict[Part, Any]:
        """What JSON has of `split`: the ids of a part, or how many they are and a sample."""
        return {part: listed(ids) for part, ids in self.split.items()}

    @property
    def split_sha256(self) -> str:
        """A hash of `split`, the labels and the items' content: equal if, and only if, two runs had the same data.

        Where another version of a library decodes a picture a little differently, its pixels are not the same.
        """
        content = {"split": self.split_listed, "labels": self.labels, "content": self._content}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def train_dataloader(self) -> DataLoader:
        """All of the training set, in an order that follows from the global seed and the epoch alone.

        W processes share each batch of W times the size; what they cannot share equally, fewer images than there are
        processes, is left out of the epoch. A Trainer tells the loader the epoch; in a loop of your own, call
        ``loader.sampler.set_epoch(epoch)``.

        Raises:
            UserError: if a process would have nothing to train on.
        """
        trainer = self.trainer
        world, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        self._require_shares("train", world)
        loader = self.shuffled(world, rank, processes.agreed(torch.initial_seed()) % 2**32)
        if trainer and isinstance(loader, ResumableLoader):
            loader.limit = trainer.limit_train_batches
        return loader

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """All of the validation set, in order; an empty list if there is none."""
        return self.in_order("val") if len(self.parts["val"]) else []

    def test_dataloader(self) -> DataLoader:
        """All of the test set, in order."""
        return self.in_order("test")

    def predict_dataloader(self) -> DataLoader:
        """All of the test set, in order."""
        return self.test_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; from the CPU to the CPU there is nothing to do."""
        there = device.type == "cpu" == batch[0].device.type
        return batch if there else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def batches(self, part: Part, size: int, rows: Sequence[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a part, in order and without augmentation, in batches (x, y) as a model gets them.

        Args:
            part: which.
            size: of a batch; the last one may be smaller.
            rows: which of its items; by default all.
        """
        items = self.parts[part]
        chosen = range(len(items)) if rows is None else rows
        for begin in range(0, len(chosen), size):
            yield self.on_after_batch_transfer(items.__getitems__(list(chosen[begin : begin + size])), 0)

    def share(self, part: Part) -> Sampler | None:
        """Return what this process measures, in order; None where it is alone.

        Lightning repeats items where they cannot be shared equally; here each counts once.

        Raises:
            UserError: if a process would have nothing to measure.
        """
        if self.trainer is None or self.trainer.world_size == 1:
            return None
        world, rank = self.trainer.world_size, self.trainer.global_rank
        self._require_shares(part, world)
        return UnrepeatedDistributedSampler(self.parts[part], num_replicas=world, rank=rank, shuffle=False)

    def _require_shares(self, part: Part, world: int) -> None:
        """Refuse items that are too few for each of `world` processes to have one."""
        if 0 < len(self.parts[part]) < world:
            raise UserError(
                f"trainer.devices {world}: as many processes cannot share {len(self.parts[part])} {part} items"
            )

    @abstractmethod
    def shuffled(self, world: int, rank: int, seed: int) -> DataLoader:
        """Batches of the training set for process `rank` of `world`; its sampler has ``set_epoch``."""

    @abstractmethod
    def in_order(self, part: Part) -> DataLoader:
        """Batches of a part, in order."""


class ResumableOrder(DistributedSampler, ABC):
    """The order of the training items in an epoch, which may begin in its middle.

    Attributes:
        start: how many items of the next pass are left out, since a training that goes on has seen them.
    """

    start: int = 0

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        return self.from_place(start)

    @abstractmethod
    def from_place(self, start: int) -> Iterator[int]:
        """Yield this process's items of the epoch, without the first `start`."""


class ShuffledOrder(ResumableOrder):
    """All items, as PyTorch shuffles and shares them."""

    def from_place(self, start: int) -> Iterator[int]:
        """Yield the items."""
        return islice(DistributedSampler.__iter__(self), start, None)


class ResumableLoader(DataLoader):
    """Batches of a training, which says in checkpoints how far it is, and goes on from there inside an epoch.

    Its sampler is a `ResumableOrder`, unless Lightning puts one of its own there to overfit some batches, which then
    begin anew. Lightning asks for the state, and gives it back before it fetches.

    Attributes:
        limit: batches of an epoch that a Trainer takes, as its ``limit_train_batches``: a number, or a share.
        ahead: how many batches a thread fetches ahead.
    """

    limit: int | float = 1.0
    ahead: int = 0
    _done = 0  # batches of this epoch that were handed out

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A Python generator, so that worker processes begin with the first batch, when the epoch is known. Their seed
        # is not drawn from the global generator, which would move on after the noise of an epoch has been seeded.
        self.generator = torch.Generator()
        order = self.sampler
        self._done = order.start // int(self.batch_size or 1) if isinstance(order, ResumableOrder) else 0
        batches = super().__iter__()
        for batch in fetched_ahead(batches, self.ahead) if self.ahead else batches:
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were handed out."""
        return {"batches": self._done}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Begin the next epoch after as many batches; after all of them is the begin of another one."""
        batches = state_dict.get("batches")
        if not isinstance(batches, int) or batches < 0:
            raise UserError(f"the checkpoint's place in its epoch is damaged ({batches!r}); use another one")
        all_of_them = self.limit if isinstance(self.limit, int) else int(self.limit * len(self))
        if isinstance(self.sampler, ResumableOrder) and batches < min(all_of_them, len(self)):
            self.sampler.start = batches * int(self.batch_size or 1)


def fetched_ahead(batches: Iterator[T], n: int) -> Iterator[T]:
    """Yield what an iterator yields, of which a thread fetches the next `n` meanwhile."""
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None
    # A thread begins with the first GPU, where memory would be pinned for another one's process.
    begin = None if device is None else partial(torch.cuda.set_device, device)
    end: Any = object()
    with ThreadPoolExecutor(1, "batches", begin) as pool:
        waiting = deque(pool.submit(next, batches, end) for _ in range(n))
        while (batch := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, batches, end))
            yield batch


def uncollated(batch: Any) -> Any:
    """Return the batch, which has been fetched as one."""
    return batch
