"""Which pictures there are and what they show: COCO annotations, or a plain folder whose subfolders are the labels."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vae_zoo.data.annotations import open_coco
from vae_zoo.data.arguments import given_path
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
        places: (n,) where each is in the end, different for each.
    """

    files: Files
    ids: np.ndarray
    names: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | np.ndarray) -> "Pictures":
        return Pictures(self.files, self.ids[rows], self.names[rows], self.labels[rows], self.places[rows])


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
        found = [name for name in found if not PurePosixPath(name).name.startswith("captions")]
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
            if source.root.is_dir():
                os.scandir(source.root).close()  # if that may not be read, its error is the one that helps
            raise UserError(f"data.root: {source} has neither a COCO annotation file nor a picture in it")
        if self.min_size:
            raise UserError(f"data.min_size goes by an annotation file, which {source} lacks; leave it out")
        labels = [name.partition("/")[0] if "/" in name else NO_LABEL for name in names]
        found = set(labels) - {NO_LABEL}
        self.check_categories(sorted(found), str(source))
        pictures = _one_of_each(
            source, [(name, name, label) for name, label in zip(names, labels, strict=True)], source
        )
        if not self.categories:
            return pictures, sorted(found)
        return pictures[np.array([label in self.categories for label in pictures.labels])], sorted(self.categories)

    def _read_coco(self, annotations: str) -> tuple[Pictures, list[str]]:
        coco = open_coco(self.files, annotations)
        names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
        self.check_categories(list(names.values()), annotations)
        images = [coco.imgs[id_] for id_ in sorted(coco.imgs)]
        source = self.source or self._guess_source(annotations, images)
        wanted = self.categories or {NO_LABEL, *names.values()}
        rows: list[tuple[int, str, str]] = []
        for image in images:
            areas: dict[str, float] = {}
            for instance in coco.imgToAnns[image["id"]]:
                name = names.get(instance["category_id"], NO_LABEL)
                if name in wanted:
                    areas[name] = areas.get(name, 0) + (instance["area"] or 0)
            large = all((image.get(side) or self.min_size) >= self.min_size for side in ("width", "height"))
            if large and (areas or not self.categories):
                label = max(areas, key=areas.__getitem__, default=NO_LABEL)
                rows.append((image["id"], image["file_name"], label))
        if images and not rows:
            n = len(images)
            raise UserError(f"data.min_size and data.categories leave none of the {n} images of {annotations}")
        used = [name for name in dict.fromkeys(names.values()) if name in wanted]
        return _one_of_each(source, rows, annotations), used

    def check_categories(self, names: list[str], where: str) -> None:
        """Raise a UserError if a category that is asked for is not among the names."""
        unknown = self.categories - set(names)
        if unknown:
            there = ", ".join(sorted(names)) or "none"
            raise UserError(f"data.categories: {sorted(unknown)} not in {where}, which has {there}")

    def _named_source(self, image_dir: str) -> Files:
        if self.root.is_file() and not Path(image_dir).is_absolute():
            return self.files.below(image_dir.strip("/"))
        # A link in a folder below the root may lead anywhere in the root; a folder elsewhere is what the user wants.
        place = given_path("data.image_dir", image_dir, self.root)
        try:
            return Files(place, within=self.root if place.is_relative_to(self.root) else None)
        except UserError as error:
            raise UserError(f"data.image_dir: {error}") from None

    def _guess_source(self, annotations: str, images: list[dict[str, Any]]) -> Files:
        """Find the place, of those usual for COCO, that has most of the first pictures."""
        stem = PurePosixPath(annotations).stem.removeprefix("instances_")  # train2017
        first = [image["file_name"] for image in images[:50]]
        try:
            places = [self.files.below(folder) for folder in ("images", f"images/{stem}", stem, "")]
            (archive,) = self.files.places([f"{stem}.zip"])
            if os.path.isfile(archive):
                places += [Files(Path(archive), prefix) for prefix in (stem, "")]
            hits = [sum(map(bool, place.stamps(first))) for place in places]
        except UserError as error:
            raise UserError(f"{error}; if the pictures are there, say so with --data.image_dir") from None
        if not any(hits):
            raise UserError(
                f"none of the pictures that {annotations} names, such as {first[0]}, is in "
                f"{', '.join(map(str, places))}; say where they are with --data.image_dir"
            )
        return places[hits.index(max(hits))]


def _one_of_each(source: Files, rows: Sequence[tuple[int | str, str, str]], listed: object) -> Pictures:
    """Make columns of rows (id, name, label). A file that is listed twice is one picture, in one part of a split.

    Raises:
        UserError: if a name leads out of the source.
    """
    different: dict[str, tuple[int | str, str, str]] = {}
    twice = []
    for place, row in zip(source.places([name for _, name, _ in rows]), rows, strict=True):
        if different.setdefault(place, row) is not row:
            twice.append(row[1])
    if twice:
        warnings.warn(
            f"{listed} names {len(twice)} pictures more than once, such as {twice[0]}; each counts once, as it is "
            "named first",
            stacklevel=2,
        )
    columns = [[row[column] for row in different.values()] for column in range(3)]
    return Pictures(source, *(np.array(column, dtype=object) for column in (*columns, list(different))))
