"""Real images with labels: any COCO folder or zip, or a plain folder of pictures."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms.v2 import Transform

from vae_zoo.data.arguments import given_path, require_texts
from vae_zoo.data.cache import Cache, open_cache
from vae_zoo.data.captions import texts_of
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.index import NO_LABEL, PictureIndex, Pictures
from vae_zoo.data.module import Part
from vae_zoo.data.pictures import MODES
from vae_zoo.errors import UserError, require, require_share
from vae_zoo.writing import user_cache

LARGEST_SIDE = 2**14  # pixels
MOST_WORKERS = 1024


class Selection(NamedTuple):
    """The pictures of each part, and the names of the labels."""

    parts: dict[Part, Pictures]
    labels: list[str]


class COCODataModule(ImageDataModule):
    """Images of a COCO data set, split by seed into train, test and validation, decoded once.

    Batches are (x, y): x (B, C, H, W) float in [0, 1], channels_last; y (B,) int64, an index into `labels`: the
    category with the largest total area in the image ("none" where there is none); in a plain folder, the subfolder.
    With `captions`, `labels` are the distinct texts of all pictures, and y is the index of the image's own.

    Args:
        root: a folder or zip with pictures and, if it is COCO, annotations. Other paths are relative to it.
        annotations: the COCO instances file. By default the one in ``root`` or ``root/annotations``; of several, the
            one with "train" in its name, and then one with "test" in its name is `test_annotations`. Where there is
            none, all pictures below `image_dir` or `root` are taken.
        test_annotations: a file of its own for the test set; pictures named in it are never trained on.
        image_dir: folder or zip of the pictures; by default found beside the annotations.
        n_train: number of training images.
        n_test: number of test images.
        n_val: number of validation images, taken from what is left; None is 1,000, or all that is left if that is less.
        val_on_test: validate on the test images, for the curves of a comparison when no image is left. Validation
            must then choose nothing: `fit` writes no best.ckpt.
        image_size: of the images out: one number for both sides, or height and width, ``[48, 96]``. A picture is
            scaled to cover it, and the centre is kept.
        channels: 3 (RGB) or 1 (grey).
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        categories: names; only images that show one of them are taken.
        min_size: images with a shorter side below this many pixels are left out (COCO annotations only).
        seed: of the split. The order of the training images follows the global seed instead.
        cache_dir: where decoded images are kept; by default ``~/.cache/vae_zoo``.
        max_unreadable: up to this share of pictures may be missing or damaged: they are named, and left out.
        resident: keep all pixels on the device, so that a batch never leaves it.
        augment: one or several of ``torchvision.transforms.v2``, applied in this order to training batches alone:
            images are floats in [0, 1] on the device and must keep their shape, and values are clamped to [0, 1]. Each
            image has draws of its own, which follow from the global seed, the epoch and the image alone. In a yaml,
            a range is a list: ``degrees: [-10, 10]``.
        workers: processes that decode pictures the first time, by default one per core.
        captions: "auto" for COCO's captions file beside the annotations, ``captions_*.json`` beside
            ``instances_*.json``; the path of such a file; or "categories" for sentences made of the labels, "a photo of
            a dog". Of several captions of a picture, that with the smallest id is its text. A picture without one has
            the sentence, so that the split is the same with captions and without.

    Raises:
        UserError: at set-up, for anything about the files that is not as described.
    """

    def __init__(
        self,
        root: str,
        annotations: str | None = None,
        test_annotations: str | None = None,
        image_dir: str | None = None,
        n_train: int = 10_000,
        n_test: int = 2_000,
        n_val: int | None = None,
        val_on_test: bool = False,
        image_size: int | tuple[int, int] = 64,
        channels: int = 3,
        batch_size: int = 64,
        categories: list[str] | None = None,
        min_size: int = 0,
        seed: int = 0,
        cache_dir: str | None = None,
        max_unreadable: float = 0.05,
        resident: bool = False,
        augment: Transform | list[Transform] | None = None,
        workers: int | None = None,
        captions: str | None = None,
    ) -> None:
        super().__init__()
        self.root = given_path("data.root", root)
        self.annotations, self.test_annotations, self.image_dir, self.captions = (
            None if path is None else str(path) for path in (annotations, test_annotations, image_dir, captions)
        )
        self.captioned = captions is not None
        self.n_train, self.n_test, self.n_val = n_train, n_test, n_val
        self.val_on_test = val_on_test
        self.image_size, self.channels, self.batch_size = image_size, channels, batch_size
        self.categories, self.min_size, self.seed = categories, min_size, seed
        self.cache_dir = given_path("data.cache_dir", cache_dir) if cache_dir else user_cache()
        self.max_unreadable, self.resident, self.workers = max_unreadable, resident, workers
        self.augment = augment if isinstance(augment, list) else [] if augment is None else [augment]
        sides = list(image_size) if isinstance(image_size, tuple | list) else [image_size, image_size]
        if len(sides) != 2:
            raise UserError(f"data.image_size must be one number, or height and width, got {image_size}")
        for side in sides:
            require(1, LARGEST_SIDE, image_size=side)
        self.height, self.width = sides
        require(1, n_train=n_train, n_test=n_test, batch_size=batch_size)
        require(0, min_size=min_size, seed=seed)
        require(0, n_val=n_val, optional=True)
        require(0, MOST_WORKERS, workers=workers, optional=True)
        require_share(max_unreadable=max_unreadable)
        require_texts(categories=categories)
        if not all(map(callable, self.augment)):
            raise UserError(f"data.augment must be transforms, got {augment!r}")
        if val_on_test and n_val:
            raise UserError(f"data.val_on_test validates on the test images, so leave out data.n_val, got {n_val}")
        if channels not in list(MODES):
            raise UserError(f"data.channels must be 1 (grey) or 3 (RGB), got {channels}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, known before any is read."""
        return self.channels, self.height, self.width

    def prepare_data(self) -> None:
        """Decode the pictures, if that has not been done before, in one process ahead of the others."""
        self.setup()

    def read(self) -> tuple[list[str], dict[Part, ImageDataset]]:
        """Select the images, open their cache and leave out what could not be read."""
        chosen, names = self._selection
        where = [(members.files, members.names.tolist()) for members in chosen.values()]
        cache = open_cache(where, self.shape, self.cache_dir, self.workers)
        if cache.unreadable:
            self._check_unreadable(cache, [place for members in chosen.values() for place in members.places])
        numbers = {name: number for number, name in enumerate(names)}
        parts, start = {}, 0
        for part, members in chosen.items():
            rows = np.arange(start, start + len(members))
            rows = rows[~np.isin(rows, list(cache.unreadable))]
            readable = members[rows - start]
            start += len(members)
            if len(members) and not len(rows):
                raise UserError(f"none of the {len(members)} {part} pictures in {self.root} can be read")
            labels = torch.tensor([numbers[label] for label in readable.labels], dtype=torch.int64)
            parts[part] = ImageDataset(cache.pixels, labels, rows, readable.ids.tolist(), cache.checksum)
        return names, parts

    def _check_unreadable(self, cache: Cache, paths: Sequence[str]) -> None:
        bad = len(cache.unreadable)
        names = [f"{paths[row]} ({why})" for row, why in cache.unreadable.items()]
        listed = "; ".join(names[:20]) + (f"; and {bad - 20} more" if bad > 20 else "")
        share = bad / len(paths)
        if share > self.max_unreadable:
            raise UserError(
                f"{bad} of {len(paths)} pictures ({share:.1%}) cannot be read, more than data.max_unreadable = "
                f"{self.max_unreadable:.1%}: {listed}"
            )
        warnings.warn(f"left out {bad} of {len(paths)} pictures that cannot be read: {listed}", stacklevel=2)

    @cached_property
    def _selection(self) -> Selection:
        """Select and split the pictures. The test set does not depend on n_train, nor the training set on n_val."""
        index = PictureIndex(self.root, self.image_dir, set(self.categories or []), self.min_size)
        annotations, test_annotations = self.annotations, self.test_annotations
        if annotations is None and test_annotations is None:
            annotations, test_annotations = index.find_annotations()
        rng = np.random.default_rng(self.seed)
        pictures, names = self._read(index, annotations)
        parts = {"n_train": self.n_train, "n_val": self.n_val or 0}
        if test_annotations is None:
            parts["n_test"] = self.n_test
            self._require_enough(parts, len(pictures), annotations)
            shuffled = pictures[rng.permutation(len(pictures))]
            tests, rest = shuffled[: self.n_test], shuffled[self.n_test :]
        else:
            tests, test_names = self._read(index, test_annotations)
            self._require_enough({"n_test": self.n_test}, len(tests), test_annotations)
            held_out = set(tests.places)
            kept = np.array([place not in held_out for place in pictures.places], dtype=bool)
            if not kept.all():
                both = f"{annotations} and {test_annotations} both name {(~kept).sum()} pictures"
                warnings.warn(f"{both}, which are for testing only", stacklevel=2)
            pictures = pictures[kept]
            self._require_enough(parts, len(pictures), annotations)
            names = list(dict.fromkeys([*names, *test_names]))
            tests = tests[rng.permutation(len(tests))[: self.n_test]]
            rest = pictures[rng.permutation(len(pictures))]
        n_val = self.n_val
        if n_val is None:
            n_val = 0 if self.val_on_test else min(1_000, len(rest) - self.n_train)
        chosen: dict[Part, Pictures] = {
            "train": rest[: self.n_train],
            "val": rest[self.n_train : self.n_train + n_val],
            "test": tests,
        }
        if NO_LABEL in {*pictures.labels, *tests.labels} and NO_LABEL not in names:
            names.append(NO_LABEL)
        return Selection(chosen, names)

    def _read(self, index: PictureIndex, annotations: str | None) -> tuple[Pictures, list[str]]:
        pictures, names = index.read(annotations)
        if self.captions is None:
            return pictures, names
        texts = texts_of(pictures, index.files, self.captions, annotations)
        return replace(pictures, labels=texts), list(dict.fromkeys(texts))

    def _require_enough(self, parts: dict[str, int], available: int, annotations: str | None) -> None:
        requested = sum(parts.values())
        if requested <= available:
            return
        asked = " + ".join(f"data.{name} = {n}" for name, n in parts.items() if n)
        where = str(self.root) + (f", {annotations}" if annotations else "")
        fewer = {name: max(n * available // requested, int(name != "n_val")) for name, n in parts.items() if n}
        if "n_train" in fewer:
            fewer["n_train"] = max(1, available - sum(fewer.values()) + fewer["n_train"])
        proposal = " ".join(f"--data.{name} {n}" for name, n in fewer.items())
        raise UserError(
            f"more images asked for than there are: {asked}, of {available} in {where}; "
            f"ask for fewer, such as {proposal}"
        )
