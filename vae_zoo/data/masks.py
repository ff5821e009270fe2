"""Where in pictures something is: masks from pictures of masks, and from COCO's segmentations."""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from torch import Tensor

from vae_zoo.data.annotations import open_coco
from vae_zoo.data.index import PictureIndex
from vae_zoo.data.pictures import Shape, decode_mask, decoded, read_pictures, to_images, upright_size
from vae_zoo.errors import UserError

FURTHEST = 2**20  # pixels that a corner of a polygon may be away from the origin
SIDES = ("height", "width")
LONGEST = 1000  # times its picture's height and width that an outline may be long: pycocotools keeps each step of it


def read_masks(names: Sequence[str], paths: Sequence[Path], shape: Shape) -> Tensor:
    """Read the masks of pictures: black and white pictures of the same names, but for folder and ending.

    Args:
        names: of the pictures, N.
        paths: of the masks, files, folders or zips; each as large as its picture, white where it is.
        shape: (C, H, W) that the pictures are decoded to.

    Returns:
        (N, H, W) bool.

    Raises:
        UserError: if a picture has no mask, two have one name, or a mask cannot be read.
    """
    masks, files = read_pictures(paths, (1, *shape[1:]))
    rows: dict[str, int] = {}
    for row, file in enumerate(files):
        if PurePath(file).stem in rows:
            raise UserError(f"two masks are called {PurePath(file).stem}; give each picture one")
        rows[PurePath(file).stem] = row
    for name in names:
        if PurePath(name).stem not in rows:
            raise UserError(
                f"{name} has no mask; a mask has the name of its picture, such as {PurePath(name).stem}.png"
            )
    return masks[[rows[PurePath(name).stem] for name in names], 0] >= 0.5


def category_masks(
    root: Path,
    category: str,
    shape: Shape,
    n: int,
    *,
    annotations: str | None = None,
    image_dir: str | None = None,
    ids: Collection[int | str] | None = None,
) -> tuple[Tensor, Tensor]:
    """Read the first pictures of a COCO data set that show a category, and where they show it.

    Args:
        root: a folder or zip with pictures and annotations.
        category: its name.
        shape: (C, H, W) out.
        n: how many pictures at most.
        annotations: the instances file, relative to `root`; by default found there, the one of the test set if there is
            one.
        image_dir: folder or zip of the pictures; by default found beside the annotations.
        ids: of the pictures to choose from; None for all.

    Returns:
        images (N, C, H, W) in [0, 1], and masks (N, H, W) bool, scaled and cropped alike.

    Raises:
        UserError: if there is no such picture, or a picture or a segmentation cannot be read.
    """
    index = PictureIndex(root, image_dir, {category}, 0)
    annotations = annotations or next(filter(None, reversed(index.find_annotations())), None)
    if annotations is None:
        raise UserError(f"{root} has no COCO annotation file, which would say where a {category} is")
    pictures, _ = index.read(annotations)
    coco = open_coco(index.files, annotations)
    wanted = {each["id"] for each in coco.dataset["categories"] if each["name"] == category}
    pixels: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for id_, name in zip(pictures.ids, pictures.names, strict=True):
        if len(masks) == n:
            break
        if ids is None or id_ in ids:
            where = f"{pictures.files}/{name}"
            pixels.append(decoded(where, lambda name=name: pictures.files.read(name), shape))  # type: ignore[misc]
            size = upright_size(pictures.files.read(name))
            masks.append(decode_mask(_mask(coco, id_, wanted, size, where), shape))
    if not masks:
        raise UserError(f"no picture of {root} that may be taken shows a {category}")
    return to_images(torch.from_numpy(np.stack(pixels))), torch.from_numpy(np.stack(masks))


def _mask(coco: COCO, image: int, wanted: Collection[int], size: tuple[int, int], where: str) -> np.ndarray:
    """Where a picture of this height and width shows one of the categories, (h, w) bool."""
    entry = coco.imgs[image]
    said = tuple(given if entry.get(side) is None else entry[side] for side, given in zip(SIDES, size, strict=True))
    if said != size:
        raise UserError(f"{where} is {size[0]} x {size[1]} pixels, and its annotation is of {said[0]} x {said[1]}")
    entry.update(zip(SIDES, size, strict=True))  # whole numbers, and present
    mask = np.zeros(size, bool)
    for instance in coco.imgToAnns[image]:
        if instance["category_id"] in wanted and instance.get("segmentation"):
            try:
                instance["segmentation"] = _checked(instance["segmentation"], size)
                mask |= coco.annToMask(instance).astype(bool)
            except Exception as error:  # anybody may have written it, and it can be anything
                raise UserError(f"{where}: the segmentation of annotation {instance['id']} is none: {error}") from None
    return mask


def _checked(segmentation: Any, size: tuple[int, int]) -> Any:
    """A segmentation that pycocotools, which is C and looks at nothing, can draw in bounded memory."""
    if isinstance(segmentation, list):
        polygons = [np.array(polygon, float).reshape(-1, 2) for polygon in segmentation]
        for corners in polygons:
            long = np.abs(np.diff(corners, axis=0, append=corners[:1])).sum()
            if len(corners) < 3 or not (np.abs(corners).max() <= FURTHEST and long <= LONGEST * sum(size)):
                raise ValueError("a polygon has three corners or more, in or near its picture")
        return [corners.flatten().tolist() for corners in polygons]
    counts = segmentation["counts"]
    if not isinstance(counts, list):
        raise ValueError("its counts are compressed; lists of numbers and polygons are read")
    runs = np.array(counts)
    pixels = size[0] * size[1]
    if runs.ndim != 1 or runs.dtype.kind not in "iu" or not (0 <= runs.min() <= runs.max() <= pixels == runs.sum()):
        raise ValueError(f"its counts must be whole numbers whose sum is {pixels}, that of the pixels")
    return {"size": list(size), "counts": counts}
