"""COCO's segmentations as sketches."""

import numpy as np
from shapely import LineString

from vae_zoo.data.annotations import open_coco
from vae_zoo.data.arguments import given_path, require_texts
from vae_zoo.data.index import NO_LABEL, PictureIndex
from vae_zoo.data.module import Part
from vae_zoo.data.sketch_files import Sketch, from_lines
from vae_zoo.data.sketches import SketchDataModule
from vae_zoo.errors import UserError, require_not_negative

SIDE = 255.0  # of the square that an object is scaled to, as QuickDraw's drawings are
LARGEST = 1e9  # pixels that a corner may be away from the picture's


class COCOSketches(SketchDataModule):
    """Outlines of the objects in a COCO data set: each instance is a sketch, each of its polygons a closed stroke.

    An object is scaled to 255 pixels and its outline simplified as QuickDraw's drawings are (Ramer 1972, Douglas &
    Peucker 1973). The label is its category. All objects of an image are in one part. Crowds, which have no polygons,
    are left out; the pictures themselves are not needed.

    Args:
        root: a folder or zip with COCO annotations.
        annotations: the instances file, relative to it. By default the one in ``root`` or ``root/annotations``.
        n_train: images to train on; None is all that are left.
        n_test: images to test on; None is a tenth.
        n_val: images to validate on; None is a tenth.
        categories: names; only instances of these.
        epsilon: pixels, of 255, that a simplified line may be away from the outline.
        min_area: square pixels of the picture, below which an instance is left out.
        batch_size: sketches in a batch; the last one of an epoch may be smaller.
        max_length: N_max, sketches with more points being left out; None is that of the longest training sketch.
        random_scale: in training, both axes are stretched by factors drawn from 1 - random_scale to 1 + random_scale.
        drop_points: in training, this share of the points inside strokes is left out.
        seed: of the split. The order of the training sketches follows the global seed instead.

    Raises:
        UserError: at set-up, if the annotations are not as described.
    """

    def __init__(
        self,
        root: str,
        annotations: str | None = None,
        n_train: int | None = None,
        n_test: int | None = None,
        n_val: int | None = None,
        categories: list[str] | None = None,
        epsilon: float = 2.0,
        min_area: float = 0.0,
        batch_size: int = 100,
        max_length: int | None = None,
        random_scale: float = 0.0,
        drop_points: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(n_train, n_test, n_val, batch_size, max_length, random_scale, drop_points, seed)
        require_not_negative(epsilon=epsilon, min_area=min_area)
        require_texts(categories=categories)
        self.root = given_path("data.root", root)
        self.annotations = None if annotations is None else str(annotations)
        self.categories, self.epsilon, self.min_area = set(categories or []), epsilon, min_area

    def read_sketches(self) -> dict[Part, list[Sketch]]:
        """Outline the objects of each image."""
        index = PictureIndex(self.root, None, self.categories, 0)
        annotations = self.annotations or index.find_annotations()[0]
        if annotations is None:
            raise UserError(f"data.root: {self.root} has no COCO annotation file; give one with --data.annotations")
        coco = open_coco(index.files, annotations)
        names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
        index.check_categories(list(names.values()), annotations)
        groups = []
        for image in sorted(coco.imgs):
            sketches = []
            for instance in coco.imgToAnns[image]:
                polygons, name = instance.get("segmentation"), names.get(instance["category_id"], NO_LABEL)
                wanted = (not self.categories or name in self.categories) and (instance["area"] or 0) >= self.min_area
                if not wanted or not isinstance(polygons, list):
                    continue
                try:
                    rows = outline(polygons, self.epsilon)
                except (TypeError, ValueError, OverflowError):
                    raise UserError(
                        f"{annotations}: the segmentation of annotation {instance['id']} is no list of polygons, "
                        "[[x, y, x, y ...] ...]"
                    ) from None
                if rows is not None:
                    sketches.append(Sketch(f"{image}/{instance['id']}", name, rows))
            if sketches:
                groups.append(sketches)
        return self._split(groups, "pictures with outlines")


def outline(polygons: list[list[float]], epsilon: float) -> np.ndarray | None:
    """Return a COCO segmentation as a sketch (N, 3), a closed stroke for each polygon; None if none has any extent.

    Args:
        polygons: each x0, y0, x1, y1 ... in pixels of the picture.
        epsilon: of the simplification, after scaling to 255 pixels.
    """
    corners = [np.array(polygon[: len(polygon) // 2 * 2], float).reshape(-1, 2) for polygon in polygons]
    corners = [line for line in corners if len(line) >= 3]
    if not corners:
        return None
    points = np.concatenate(corners)
    if not (np.abs(points) < LARGEST).all():  # nor not-a-number
        raise ValueError("a corner lies nowhere")
    low, side = points.min(0), (points.max(0) - points.min(0)).max()
    if not side > 0:
        return None
    closed = [LineString((np.concatenate([line, line[:1]]) - low) * SIDE / side) for line in corners]
    lines = [np.asarray(line.simplify(epsilon, preserve_topology=False).coords) for line in closed]
    lines = [line for line in lines if len(line) > 3]  # the others have shrunk to a point, or a line without area
    return from_lines(lines) if lines else None
