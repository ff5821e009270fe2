"""The generated data set."""

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from vae_zoo.data.shapes import generate_shapes
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
