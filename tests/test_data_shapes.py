"""The generated data set."""

import json
import re

import numpy as np
import pytest
from PIL import Image, ImageColor
from pycocotools.coco import COCO

from vae_zoo.data.shapes import CATEGORIES, HUES, colour_name, describe, generate_shapes
from vae_zoo.errors import UserError

# pycocotools 2.0 makes arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_generated_data_are_coco_and_their_polygons_are_where_the_colour_is(shapes):
    coco = COCO(str(shapes / "annotations" / "instances.json"))
    assert len(coco.imgs) == 80 and len(coco.cats) == 5
    for instance in coco.anns.values():
        image = coco.imgs[instance["image_id"]]
        x, y, width, height = instance["bbox"]
        assert 0 <= x and 0 <= y and x + width <= image["width"] and y + height <= image["height"]
        assert abs(coco.annToMask(instance).sum() / instance["area"] - 1) < 0.1
    for id_, image in list(coco.imgs.items())[:20]:
        pixels = np.asarray(Image.open(shapes / "images" / image["file_name"])).astype(float)
        assert pixels.shape == (image["height"], image["width"], 3)
        mask = coco.annToMask(coco.loadAnns(coco.getAnnIds(id_))[-1]).astype(bool)  # the one on top
        assert pixels[mask].std(0).max() < 30 and mask.any()


def test_generated_data_are_set_by_the_seed(shapes, tmp_path):
    generate_shapes(tmp_path / "same", 5, seed=1)
    generate_shapes(tmp_path / "other", 5, seed=2)
    for i in range(1, 6):
        name = f"images/{i:06d}.jpg"
        assert (tmp_path / "same" / name).read_bytes() == (shapes / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (shapes / name).read_bytes()


def test_generating_does_not_touch_what_is_there(shapes, tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        generate_shapes(tmp_path, 5)
    with pytest.raises(UserError, match="n must be at least 1, got 0"):
        generate_shapes(tmp_path / "new", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


# --- captions


@pytest.mark.parametrize("name", ["red", "orange", "yellow", "green", "turquoise", "blue", "purple", "hotpink"])
def test_the_name_of_a_colour_is_that_of_css(name):
    assert colour_name(ImageColor.getrgb(name)) == name.removeprefix("hot")


@pytest.mark.parametrize(
    "box, where",
    [((50, 10, 8, 8), "over"), ((50, 90, 8, 8), "under"), ((5, 50, 8, 8), "left of"), ((90, 50, 8, 8), "right of")]
    + [
        ((52, 52, 8, 8), "beside"),
        ((45, 54, 20, 4), "beside"),
        ((80, 30, 8, 8), "right of"),
        ((60, 90, 8, 8), "under"),
    ],
)
def test_where_a_shape_is_from_another(box, where):
    star = {"category_id": 4, "bbox": [50, 50, 8, 8]}
    circle = {"category_id": 5, "bbox": list(box)}
    red, blue, orange = (255, 0, 0), (0, 0, 255), (255, 165, 0)
    assert describe([circle, star], [red, blue]) == f"a red circle {where} a blue star"
    assert describe([star], [orange]) == "an orange star"
    both = f"a red circle {where} a blue star and {where} an orange star"
    assert describe([circle, star, star], [red, blue, orange]) == both


def test_a_caption_says_what_is_in_its_picture(shapes):
    """The shapes are those of the instances, of their colours, and the first is where their middles are."""
    coco = COCO(str(shapes / "annotations" / "instances.json"))
    rows = json.loads((shapes / "annotations" / "captions.json").read_text())["annotations"]
    assert [row["image_id"] for row in rows] == sorted(coco.imgs) and len({row["id"] for row in rows}) == 80
    names, seen = {row["id"]: row["name"] for row in CATEGORIES}, set()
    for row in rows:
        instances = coco.loadAnns(sorted(coco.getAnnIds(row["image_id"])))
        words = re.findall(rf"\b({'|'.join(set(HUES.values()))}) ({'|'.join(names.values())})\b", row["caption"])
        assert [shape for _, shape in words] == [names[instance["category_id"]] for instance in instances]
        pixels = np.asarray(Image.open(shapes / "images" / f"{row['image_id']:06d}.jpg"))
        covered = np.zeros(pixels.shape[:2], dtype=bool)
        for (colour, _), instance in reversed(list(zip(words, instances, strict=True))):  # from the top
            mask = coco.annToMask(instance).astype(bool)
            visible = pixels[mask & ~covered]
            assert len(visible) < 50 or colour in near(np.median(visible, 0)), row
            covered |= mask
        relations = re.findall("(over|under|left of|right of|beside) an?", row["caption"])
        (x, y), *others = [(left + w / 2, up + h / 2) for left, up, w, h in (each["bbox"] for each in instances)]
        for said, (x_, y_) in zip(relations, others, strict=True):
            truth = {"over": y_ - y, "under": y - y_, "left of": x_ - x, "right of": x - x_}
            assert said == "beside" or truth[said] == max(truth.values())
            seen.add(said)
    assert seen == {"over", "under", "left of", "right of", "beside"}


def near(colour):
    """The names of a colour that JPEG has changed a little."""
    return {colour_name(tuple(np.clip(colour + shift, 0, 255))) for shift in 6 * np.array(list(SHIFTS))}


SHIFTS = {tuple(sign * axis for axis in row) for row in np.eye(3, dtype=int) for sign in (-1, 0, 1)}


def test_captions_are_set_by_the_seed_and_picture_by_picture(shapes, tmp_path):
    generate_shapes(tmp_path / "few", 5, seed=1)
    few, many = (
        json.loads((root / "annotations" / "captions.json").read_text())["annotations"]
        for root in (tmp_path / "few", shapes)
    )
    assert few == many[:5]
