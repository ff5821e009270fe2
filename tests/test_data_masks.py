"""Masks: scaled and cropped as their pictures are, from files and from COCO's segmentations."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import shared
from tests.data_sets import encoded
from vae_zoo.data.masks import category_masks, read_masks
from vae_zoo.data.pictures import decode, decode_mask, upright_size
from vae_zoo.errors import UserError

SHAPE = (3, 16, 16)


def coco(folder, segmentation, size=(40, 60), said=None, turned=False):
    """A data set of one picture (height, width) of a thing with this segmentation."""
    (folder / "images").mkdir(parents=True)
    stored = size[::-1] if turned else size
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.fromarray(np.full((*stored, 3), 200, np.uint8)).save(folder / "images" / "a.jpg", exif=exif)
    height, width = said or size
    entry = {"id": 1, "file_name": "a.jpg", "height": height, "width": width}
    things = [{"id": 5, "image_id": 1, "category_id": 3, "area": 9, "segmentation": segmentation}]
    things.append(things[0] | {"id": 6, "category_id": 4, "segmentation": box(0, 0, *size[::-1])})  # of the rest
    categories = [{"id": 3, "name": "thing"}, {"id": 4, "name": "rest"}]
    content = {"images": [entry], "annotations": things, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def box(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def test_a_mask_is_scaled_and_cropped_as_its_picture(tmp_path):
    left = category_masks(coco(tmp_path / "a", box(0, 0, 30, 40)), "thing", SHAPE, 9)[1]
    truth = torch.zeros(1, 16, 16, dtype=torch.bool)
    truth[..., :8] = True  # of 60 columns the middle 40 are kept, whose left half is marked
    assert torch.equal(left, truth)
    assert category_masks(coco(tmp_path / "b", box(0, 0, 60, 40)), "thing", SHAPE, 9)[1].all()
    x, cut = category_masks(coco(tmp_path / "c", box(0, 0, 10, 40)), "thing", SHAPE, 9)
    assert not cut.any() and x.shape == (1, 3, 16, 16)  # it lies in what is cut off
    runs = {"size": [40, 60], "counts": [30 * 40, 30 * 40]}  # column by column: the right half
    assert torch.equal(category_masks(coco(tmp_path / "d", runs), "thing", SHAPE, 9)[1], ~truth)
    turned = coco(tmp_path / "e", box(0, 0, 30, 40), turned=True)  # stored on its side, annotated upright
    assert torch.equal(category_masks(turned, "thing", SHAPE, 9)[1], truth)


@pytest.mark.parametrize(
    "segmentation",
    [
        "polygon",
        7,
        {"counts": "compressed", "size": [40, 60]},
        {"counts": [1, 2], "size": [40, 60]},
        {"counts": [-1, 2401], "size": [40, 60]},
        {"counts": [2**62] * 4 + [2400], "size": [40, 60]},
        {"size": [40, 60]},
        [[1, 1, 5, 5]],
        [[1, 1, 5, 5, 9]],
        [[1, 1, 5, "x", 9, 9]],
        [[1, 1, 5, float("nan"), 9, 9]],
        [[1, 1, 1e30, 1, 9, 9]],
        [[0, 0, 10**6, 10**6] * 1000],
        [[]],
    ],
)
def test_a_segmentation_that_is_none_is_refused(segmentation, tmp_path):
    root = coco(tmp_path / "a", segmentation)
    with pytest.raises(UserError, match=r"a.jpg: the segmentation of annotation 5 is none"):
        category_masks(root, "thing", SHAPE, 9)


def test_a_picture_of_another_size_than_its_annotation_is_refused(tmp_path):
    root = coco(tmp_path / "a", box(0, 0, 9, 9), said=(60, 40))
    with pytest.raises(UserError, match="a.jpg is 40 x 60 pixels, and its annotation is of 60 x 40"):
        category_masks(root, "thing", SHAPE, 9)
    root = coco(tmp_path / "b", box(0, 0, 9, 9))
    with pytest.raises(UserError, match="no picture of .* that may be taken shows a thing"):
        category_masks(root, "thing", SHAPE, 9, ids={2})


def test_masks_of_files_belong_to_the_pictures_of_their_names(tmp_path):
    for name, column in (("x", 0), ("y", 8)):
        mask = np.zeros((16, 16), np.uint8)
        mask[:, column : column + 8] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    found = read_masks(["there/y.jpg", "x.png"], [tmp_path], SHAPE)
    assert found.shape == (2, 16, 16) and found[0, :, 8:].all() and found[1, :, :8].all() and found.sum() == 256
    with pytest.raises(UserError, match=r"z.jpg has no mask; a mask has the name of its picture, such as z.png"):
        read_masks(["z.jpg"], [tmp_path], SHAPE)


def test_masks_of_real_pictures(tmp_path):
    """A mask decodes as a picture of it does, and what covers a whole picture covers all that is left of it."""
    root = shared("coco_open")
    instances = json.loads((root / "annotations" / "instances.json").read_text())
    (person,) = (each["id"] for each in instances["categories"] if each["name"] == "person")
    shown = {each["image_id"] for each in instances["annotations"] if each["category_id"] == person}
    x, masks = category_masks(root, "person", (3, 32, 32), 500)
    assert len(masks) == len(shown) == len(x) and 0.02 < masks.float().mean() < 0.9
    rng = np.random.default_rng(0)
    for image in instances["images"][:20]:
        content = (root / "images" / image["file_name"]).read_bytes()
        size = upright_size(content)
        assert size == (image["height"], image["width"])
        blobs = np.asarray(Image.fromarray(rng.random((6, 8))).resize(size[::-1], Image.Resampling.BICUBIC)) > 0.5
        for shape in ((3, 32, 32), (1, 48, 16)):
            grey = (blobs * 255).astype(np.uint8)[..., None].repeat(3, 2)
            of_picture = decode(encoded(grey, "PNG"), (1, *shape[1:]))[..., 0]
            assert (decode_mask(blobs, shape) == (of_picture >= 128)).all()
    whole = [dict(each, segmentation=box(0, 0, *sizes(instances, each))) for each in instances["annotations"]]
    (tmp_path / "whole.json").write_text(json.dumps(instances | {"annotations": whole}))
    every = category_masks(root, "person", (3, 32, 32), 20, annotations=str(tmp_path / "whole.json"))[1]
    assert len(every) == 20 and every.all()


def sizes(instances, annotation):
    (image,) = (each for each in instances["images"] if each["id"] == annotation["image_id"])
    return image["width"], image["height"]
