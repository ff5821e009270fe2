"""What all data modules share: three parts, their facts, and batches in order."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

Part = Literal["train", "val", "test"]
PUBLISHED: dict[Part, str] = {"train": "train", "val": "valid", "test": "test"}  # the parts' names in published files


def whole(batch: Any) -> Any:
    """Collate nothing: a batch is fetched whole."""
    return batch


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
    """

    shape: tuple[int, ...]
    labels: int
    label_names: tuple[str, ...]
    n_train: int
    ragged: bool
    validates_on_test: bool


class DataModule(LightningDataModule, ABC):
    """Batches (x, y) of a training, a validation and a test set; y (B,) int64 is an index into `labels`.

    Attributes:
        batch_size: of each batch; the last one of an epoch may be smaller.
        labels: the names that y indexes, once set up.
        split: the ids of what is in "train", "val" and "test", once set up.
        ragged: whether the x of two batches differ in shape.
        val_on_test: whether the validation set is the test set.
    """

    ragged: bool = False
    val_on_test: bool = False
    batch_size: int
    labels: list[str]
    split: dict[Part, list[int | str]]
    _sets: Mapping[Part, Any]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape that a model is built for."""

    @property
    def facts(self) -> Facts:
        """What there is to know about the data, which are read if they have not been yet."""
        if not self.split:
            self.prepare_data()
            self.setup("fit")
        names = tuple(self.labels)
        return Facts(self.shape, len(names), names, len(self.split["train"]), self.ragged, self.val_on_test)

    @property
    def split_sha256(self) -> str:
        """A hash of `split`, equal for equal splits on any machine."""
        return hashlib.sha256(json.dumps(self.split, sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def train_dataloader(self) -> DataLoader:
        """All of the training set, in an order that follows from the global seed and the epoch alone."""

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """All of the validation set, in order; an empty list if there is none."""
        return self._in_order("val") if len(self._sets["val"]) else []

    def test_dataloader(self) -> DataLoader:
        """All of the test set, in order."""
        return self._in_order("test")

    def predict_dataloader(self) -> DataLoader:
        """All of the test set, in order."""
        return self.test_dataloader()

    def batches(self, part: Part, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a part, in order and as it is, in batches (x, y) as a model gets them."""
        data = self._sets[part]
        for begin in range(0, len(data), size):
            rows = list(range(begin, min(begin + size, len(data))))
            yield self.on_after_batch_transfer(data.__getitems__(rows), 0)

    @abstractmethod
    def _in_order(self, part: Part) -> DataLoader:
        """Batches of a part, in order."""


SplitDataModule = DataModule  # until the commands name the new one
