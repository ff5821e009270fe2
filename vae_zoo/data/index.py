"""Which pictures there are and what they show: COCO annotations, or a plain folder whose subfolders are the labels."""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from vae_zoo.data.files import Files
from vae_zoo.errors import UserError

NO_LABEL = "none"


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images in columns: an object of each would take the garbage collector longer than to find them all.

    Attributes:
        files: where they are.
        ids: (n,) whole numbers or texts.
        names: (n,) in `files`.
        labels: (n,) names of their labels.
    """

    files: Files
    ids: np.ndarray
    names: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | np.ndarray) -> "Pictures":
        return Pictures(self.files, self.ids[rows], self.names[rows], self.labels[rows])

    @property
    def paths(self) -> list[str]:
        """Where each picture is, the same for the same file."""
        folder = str(self.files)
        return [f"{folder}/{name}" for name in self.names]


class PictureIndex:
    """The pictures of a data set and their labels.

    Args:
        root: a folder or zip; other paths are relative to it.
        image_dir: folder or zip of the pictures, None to look in the usual places.
        categories: only pictures that show one of these; empty for all.
        min_size: only pictures whose shorter side has this many pixels, by the annotation file.

    Raises:
        UserError: if `root` or `image_dir` is not there.
    """

    def __init__(self, root: Path, image_dir: str | None, categories: set[str], min_size: int) -> None:
        try:
            self.files = Files(root)
        except UserError as error:
            raise UserError(
                f"data.root: {error}; give --data.root a folder or zip of pictures, "
                "or generate the embedded data set: vae-zoo data shapes --out data/shapes"
            ) from None
        names = self.files.names() if root.is_file() else []
        if len({name.split("/")[0] for name in names}) == 1 and any(name.count("/") > 1 for name in names):
            self.files = self.files.below(names[0].split("/")[0])  # a zip whose only entry is a folder
        self.root, self.categories, self.min_size = root, categories, min_size
        self.source = None if image_dir is None else self._named_source(image_dir)

    def find_annotations(self) -> tuple[str | None, str | None]:
        """Return the annotation file and the test annotation file of the usual names, None for one that does not exist.

        Raises:
            UserError: if several files could be meant.
        """
        found = [name for name in self.files.names() if name.endswith(".json")]
        found = [name for name in found if name.rpartition("/")[0] in ("", "annotations")]
        instances = [name for name in found if "instances" in name] or found
        tests = [name for name in instances if "test" in PurePosixPath(name).name]
        others = [name for name in instances if name not in tests] or tests
        trains = [name for name in others if "train" in PurePosixPath(name).name] or others
        if len(trains) > 1:
            raise UserError(f"{self.root} has several annotation files, choose with --data.annotations: {trains}")
        test = tests[0] if len(tests) == 1 and tests != trains else None
        return (trains[0] if trains else None), test

    def read(self, annotations: str | None) -> tuple[Pictures, list[str]]:
        """Return the pictures, in an order that does not depend on the machine, and the names of the labels.

        Args:
            annotations: a COCO instances file, relative to the root or absolute; None takes all pictures.

        Raises:
            UserError: if the file is missing or no COCO file, if there is no picture, or a category is unknown.
        """
        return self._read_folder() if annotations is None else self._read_coco(annotations)

    def _read_folder(self) -> tuple[Pictures, list[str]]:
        source = self.source or self.files
        names = source.pictures()
        if not names:
            raise UserError(f"data.root: {source} has neither a COCO annotation file nor a picture in it")
        labels = [name.partition("/")[0] if "/" in name else NO_LABEL for name in names]
        found = set(labels) - {NO_LABEL}
        self.check_categories(sorted(found), str(source))
        pictures = Pictures(source, *_columns(names, names, labels))
        if not self.categories:
            return pictures, sorted(found)
        return pictures[np.array([label in self.categories for label in labels])], sorted(self.categories)

    def _read_coco(self, annotations: str) -> tuple[Pictures, list[str]]:
        coco = open_coco(self.files, annotations)
        names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
        self.check_categories(list(names.values()), annotations)
        images = [coco.imgs[id_] for id_ in sorted(coco.imgs)]
        source = self.source or self._guess_source(annotations, images)
        wanted = self.categories or {NO_LABEL, *names.values()}
        pictures: dict[str, tuple[int, str]] = {}
        for image in images:
            areas: dict[str, float] = {}
            for instance in coco.imgToAnns[image["id"]]:
                name = names.get(instance["category_id"], NO_LABEL)
                if name in wanted:
                    areas[name] = areas.get(name, 0) + (instance["area"] or 0)
            large = all((image.get(side) or self.min_size) >= self.min_size for side in ("width", "height"))
            if large and (areas or not self.categories):
                label = max(areas, key=areas.__getitem__, default=NO_LABEL)
                # A file that is listed twice is one picture, which must not be in two parts of a split.
                pictures.setdefault(image["file_name"], (image["id"], label))
        ids, labels = ([row[column] for row in pictures.values()] for column in (0, 1))
        used = [name for name in dict.fromkeys(names.values()) if name in wanted]
        return Pictures(source, *_columns(ids, list(pictures), labels)), used

    def check_categories(self, names: list[str], where: str) -> None:
        """Raise a UserError if a category that is asked for is not among the names."""
        unknown = self.categories - set(names)
        if unknown:
            raise UserError(f"data.categories: {sorted(unknown)} not in {where}, which has {', '.join(sorted(names))}")

    def _named_source(self, image_dir: str) -> Files:
        if self.root.is_file() and not Path(image_dir).is_absolute():
            return self.files.below(image_dir.strip("/"))
        try:
            return Files(self.root / Path(image_dir).expanduser())
        except UserError as error:
            raise UserError(f"data.image_dir: {error}") from None

    def _guess_source(self, annotations: str, images: list[dict[str, Any]]) -> Files:
        """Find the place, of those usual for COCO, that has most of the first pictures."""
        stem = PurePosixPath(annotations).stem.removeprefix("instances_")  # train2017
        places = [self.files.below(folder) for folder in ("images", f"images/{stem}", stem, "")]
        if (self.root / f"{stem}.zip").is_file():
            places += [Files(self.root / f"{stem}.zip", prefix) for prefix in (stem, "")]
        first = [image["file_name"] for image in images[:50]]
        hits = [sum(map(bool, place.stamps(first))) for place in places]
        if not any(hits):
            raise UserError(
                f"none of the pictures that {annotations} names, such as {images[0]['file_name']}, is in "
                f"{', '.join(map(str, places))}; say where they are with --data.image_dir"
            )
        return places[hits.index(max(hits))]


def _columns(*columns: Sequence[int | str]) -> list[np.ndarray]:
    return [np.array(column, dtype=object) for column in columns]


def open_coco(files: Files, annotations: str) -> COCO:
    """Read a COCO instances file.

    Raises:
        UserError: if it is missing or no such file.
    """
    where = f"the annotation file {files.root / annotations}"
    try:
        on_disk = files.root / Path(annotations).expanduser()
        content = on_disk.read_bytes() if on_disk.is_file() else files.read(annotations)
    except (OSError, KeyError):
        raise UserError(f"{where} does not exist") from None
    if not content.strip():
        raise UserError(f"{where} is empty")
    try:
        dataset = json.loads(content)
    except ValueError as error:
        raise UserError(f"{where} is not JSON: {error}") from None
    needed = {
        "images": {"id", "file_name"},
        "annotations": {"image_id", "category_id", "area"},
        "categories": {"id", "name"},
    }
    for key, fields in needed.items():
        rows = dataset.get(key) if isinstance(dataset, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and fields <= row.keys() for row in rows):
            entries = ", ".join(sorted(fields))
            raise UserError(f"{where} is not in COCO format: it needs a list {key!r} of entries with {entries}")
    if not dataset["images"]:
        raise UserError(f"{where} names no image")
    for image in dataset["images"]:
        if not isinstance(image["file_name"], str) or not isinstance(image["id"], int):
            raise UserError(
                f"{where} is not in COCO format: an image has the id {image['id']!r}, a whole number, and "
                f"the file_name {image['file_name']!r}, a text"
            )
    for number, annotation in enumerate(dataset["annotations"]):
        annotation.setdefault("id", number)  # only pycocotools' index needs it
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco
