"""The embedded data set: coloured shapes on soft backgrounds, generated as JPEG files with COCO annotations."""

import colorsys
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vae_zoo.errors import UserError, require

CORNERS = {"triangle": 3, "square": 4, "pentagon": 5, "star": 10, "circle": 48}
CATEGORIES = [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CORNERS, start=1)]

Polygon = list[tuple[float, float]]


def generate_shapes(out: Path, n: int, seed: int = 0) -> None:
    """Write `n` pictures to ``out/images`` and their instances to ``out/annotations/instances.json``.

    Each picture is 96 to 128 pixels a side and holds one to three shapes, each an instance with a category, a box, a
    segmentation polygon and an area, clipped to the picture. Equal seeds give equal files; picture i does not depend
    on `n`.

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
        for i in range(1, n + 1):
            picture, instances = _generate(np.random.default_rng([seed, i]))
            name = f"{i:06d}.jpg"
            picture.save(temporary / "images" / name, quality=92)
            images.append({"id": i, "file_name": name, "width": picture.width, "height": picture.height})
            for instance in instances:
                annotations.append({"id": len(annotations) + 1, "image_id": i, **instance})
        content = {
            "info": {"description": f"vae_zoo shapes, n={n}, seed={seed}"},
            "images": images,
            "annotations": annotations,
            "categories": CATEGORIES,
        }
        (temporary / "annotations" / "instances.json").write_text(json.dumps(content))
        temporary.chmod(0o755)
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _generate(rng: np.random.Generator) -> tuple[Image.Image, list[dict[str, object]]]:
    width, height = (int(side) for side in rng.integers(96, 129, 2))
    picture = _background(rng, width, height)
    draw = ImageDraw.Draw(picture)
    instances = []
    for _ in range(rng.integers(1, 4)):
        category = int(rng.integers(len(CATEGORIES)))
        polygon = _polygon(rng, CORNERS[str(CATEGORIES[category]["name"])], width, height)
        draw.polygon(polygon, fill=_colour(rng, rng.uniform(0.6, 1), rng.uniform(0.5, 1)))
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
    return picture, instances


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A bilinear blend of four muted corner colours."""
    corners = np.array([_colour(rng, rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.9)) for _ in range(4)], np.uint8)
    return Image.fromarray(corners.reshape(2, 2, 3)).resize((width, height), Image.Resampling.BILINEAR)


def _colour(rng: np.random.Generator, saturation: float, value: float) -> tuple[int, int, int]:
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
