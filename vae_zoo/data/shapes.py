"""The embedded data set: coloured shapes on soft backgrounds, generated as JPEG files with COCO annotations."""

import colorsys
import json
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vae_zoo.errors import UserError, require

CORNERS = {"triangle": 3, "square": 4, "pentagon": 5, "star": 10, "circle": 48}
CATEGORIES = [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CORNERS, start=1)]

# The hues of a colour, in degrees, by where they end; what is left is red again.
HUES = {15: "red", 45: "orange", 70: "yellow", 165: "green", 195: "turquoise", 255: "blue", 310: "purple", 345: "pink"}

Polygon = list[tuple[float, float]]
Colour = tuple[int, int, int]


def generate_shapes(out: Path, n: int, seed: int = 0) -> None:
    """Write `n` pictures to ``out/images``, and their instances and captions to ``out/annotations``.

    Each picture is 96 to 128 pixels a side and holds one to three shapes, each an instance with a category, a box, a
    segmentation polygon and an area, clipped to the picture. Its caption says where the first shape is among them, "a
    red circle over a blue star". Equal seeds give equal files; picture i does not depend on `n`.

    Args:
        out: the folder to make; its parents are made too.
        n: how many pictures.
        seed: of all that is random.

    Raises:
        UserError: if `n` is less than 1 or `seed` negative or `out` has something in it already.
    """
    require(1, n=n)
    require(0, seed=seed)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already; remove it or choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))  # renamed when it is complete
    try:
        (temporary / "images").mkdir()
        (temporary / "annotations").mkdir()
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        captions: list[dict[str, object]] = []
        for i in range(1, n + 1):
            picture, instances, colours = _generate(np.random.default_rng([seed, i]))
            name = f"{i:06d}.jpg"
            picture.save(temporary / "images" / name, quality=92)
            images.append({"id": i, "file_name": name, "width": picture.width, "height": picture.height})
            for instance in instances:
                annotations.append({"id": len(annotations) + 1, "image_id": i, **instance})
            captions.append({"id": i, "image_id": i, "caption": describe(instances, colours)})
        about = {"info": {"description": f"vae_zoo shapes, n={n}, seed={seed}"}, "images": images}
        files = {
            "instances": {**about, "annotations": annotations, "categories": CATEGORIES},
            "captions": {**about, "annotations": captions},
        }
        for file, content in files.items():
            (temporary / "annotations" / f"{file}.json").write_text(json.dumps(content))
        temporary.chmod(0o755)
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def describe(instances: Sequence[dict[str, Any]], colours: Sequence[Colour]) -> str:
    """Return a caption: the first shape, and where it is from each of the others, as their boxes say.

    Of the distances of two boxes' middles, down and across, the larger one counts. Shapes whose boxes overlap in both
    directions, by more than half of their mean side, are beside each other.

    Args:
        instances: each with its ``category_id`` and its ``bbox``, (left, top, width, height).
        colours: of each, (R, G, B) up to 255.
    """
    shapes = []
    for instance, colour in zip(instances, colours, strict=True):
        shape = f"{colour_name(colour)} {CATEGORIES[instance['category_id'] - 1]['name']}"
        shapes.append(f"{'an' if shape[0] in 'aeiou' else 'a'} {shape}")
    where = [_relation(instances[0]["bbox"], instance["bbox"]) for instance in instances]
    others = [f"{relation} {shape}" for relation, shape in zip(where[1:], shapes[1:], strict=True)]
    return " ".join([shapes[0], " and ".join(others)]).strip()


def _relation(one: Sequence[float], other: Sequence[float]) -> str:
    (left, top, width, height), (left_, top_, width_, height_) = one, other
    right, down = (2 * left + width - 2 * left_ - width_) / 2, (2 * top + height - 2 * top_ - height_) / 2
    if max(abs(right) / (width + width_), abs(down) / (height + height_)) < 0.25:
        return "beside"
    if abs(down) > abs(right):
        return "under" if down > 0 else "over"
    return "right of" if right > 0 else "left of"


def colour_name(colour: Colour) -> str:
    """Return the word for a colour's hue."""
    hue = 360 * colorsys.rgb_to_hsv(*(part / 255 for part in colour))[0]
    return next((name for end, name in HUES.items() if hue < end), "red")


def _generate(rng: np.random.Generator) -> tuple[Image.Image, list[dict[str, object]], list[Colour]]:
    width, height = (int(side) for side in rng.integers(96, 129, 2))
    picture = _background(rng, width, height)
    draw = ImageDraw.Draw(picture)
    instances: list[dict[str, object]] = []
    colours: list[Colour] = []
    for _ in range(rng.integers(1, 4)):
        category = int(rng.integers(len(CATEGORIES)))
        polygon = _polygon(rng, CORNERS[str(CATEGORIES[category]["name"])], width, height)
        colours.append(_colour(rng, rng.uniform(0.6, 1), rng.uniform(0.5, 1)))
        draw.polygon(polygon, fill=colours[-1])
        xs, ys = zip(*polygon, strict=True)
        instances.append(
            {
                "category_id": category + 1,
                "iscrowd": 0,
                "bbox": [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)],
                "area": _area(polygon),
                "segmentation": [[coordinate for point in polygon for coordinate in point]],
            }
        )
    return picture, instances, colours


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A bilinear blend of four muted corner colours."""
    corners = np.array([_colour(rng, rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.9)) for _ in range(4)], np.uint8)
    return Image.fromarray(corners.reshape(2, 2, 3)).resize((width, height), Image.Resampling.BILINEAR)


def _colour(rng: np.random.Generator, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def _polygon(rng: np.random.Generator, corners: int, width: int, height: int) -> Polygon:
    """A regular polygon (a star's inner corners at 0.45) at a random place, size and turn, inside the picture."""
    radius = rng.uniform(0.14, 0.32) * min(width, height)
    x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
    turn = rng.uniform(0, 2 * math.pi)
    points = []
    for i in range(corners):
        angle = turn + 2 * math.pi * i / corners
        r = radius * (0.45 if corners == CORNERS["star"] and i % 2 else 1)
        points.append((round(float(x + r * math.cos(angle)), 2), round(float(y + r * math.sin(angle)), 2)))
    return points


def _area(polygon: Polygon) -> float:
    """The shoelace formula."""
    following = polygon[1:] + polygon[:1]
    twice = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, following, strict=True))
    return round(abs(twice) / 2, 2)
