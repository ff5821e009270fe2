"""COCO's outlines as sketches."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import shared
from vae_zoo.data import COCOSketches
from vae_zoo.data.coco_sketches import outline
from vae_zoo.errors import UserError
from vae_zoo.strokes import lengths


def test_an_outline_is_scaled_simplified_and_closed():
    square = [0.0, 0, 5, 0.01, 10, 0, 10, 10, 0, 10]  # the second corner is none
    rows = outline([square], epsilon=2.0)
    np.testing.assert_allclose(rows[:, :2], [[255, 0], [0, 255], [-255, 0], [0, -255]])
    assert rows[:, 2].tolist() == [0, 0, 0, 1]
    assert len(outline([square], epsilon=0.0)) == 5
    two = outline([square, [20.0, 0, 30, 0, 30, 10]], epsilon=2.0)
    assert two[:, 2].sum() == 2 and two[-1, 2] == 1
    assert outline([[1.0, 1, 1, 1, 1, 1]], 2.0) is None and outline([[0.0, 0, 1, 1]], 2.0) is None
    assert outline([square, [20.0, 0, 20.01, 0, 20, 0.01]], 2.0)[:, 2].sum() == 1  # a speck is no stroke
    assert outline([[0.0, 0, 100, 0, 50, 0.1]], 2.0) is None  # a line there and back
    # No point of the outline is further away than epsilon from the simplified one (Ramer-Douglas-Peucker).
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)]) * 100
    rows = outline([circle.flatten().tolist()], epsilon=2.0)
    assert 10 < len(rows) < 40
    corners = np.concatenate([[[0, 0]], rows[:, :2].cumsum(0)])
    places = (circle - circle[0]) * 255 / 200
    a, b = corners[:-1], corners[1:]
    t = np.clip(((places[:, None] - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1), 0, 1)
    away = np.linalg.norm(places[:, None] - (a + t[..., None] * (b - a)), axis=-1).min(1)
    assert away.max() <= 2.0 + 1e-6


def test_outlines_of_the_generated_coco_set(shapes):
    data = COCOSketches(str(shapes), n_test=10, n_val=10)
    data.setup()
    assert set(data.labels) == {"triangle", "square", "pentagon", "star", "circle"}
    corners = {"triangle": 3, "square": 4, "pentagon": 5, "star": 10}
    for part, size in (("train", 100), ("test", 100)):
        x, y = next(data.batches(part, size))
        for n, label in zip(lengths(x).tolist(), y.tolist(), strict=True):
            name = data.labels[label]
            assert n == corners.get(name, n) and n > 2
    images = {part: {id_.split("/")[0] for id_ in ids} for part, ids in data.split.items()}
    assert len(images["test"]) == len(images["val"]) == 10 and not images["train"] & (images["test"] | images["val"])
    again = COCOSketches(str(shapes), n_test=10, n_val=10, categories=["star"], epsilon=0.5)
    again.setup()
    assert again.labels == ["star"]
    with pytest.raises(UserError, match=r"data.categories: \['sun'\] not in .*, which has circle, "):
        COCOSketches(str(shapes), categories=["sun"]).setup()


def test_outlines_of_real_coco(tmp_path):
    root = shared("coco_open")
    data = COCOSketches(str(root))
    data.setup()
    annotations = json.loads((root / "annotations" / "instances.json").read_text())["annotations"]
    outlined = [a for a in annotations if isinstance(a["segmentation"], list)]
    assert sum(map(len, data.split.values())) == pytest.approx(len(outlined), abs=5)
    assert "person" in data.labels and data.scale > 0
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_bytes((root / "annotations" / "instances.json").read_bytes())
    alone = COCOSketches(str(tmp_path))  # without the pictures
    alone.setup()
    assert alone.split == data.split


def test_outlines_of_a_zip_of_one_folder(shapes, tmp_path):
    whole = shutil.make_archive(str(tmp_path / "whole"), "zip", shapes.parent, shapes.name)
    inside, plain = COCOSketches(whole), COCOSketches(str(shapes))
    for data in (inside, plain):
        data.setup()
    assert inside.split == plain.split


def test_a_segmentation_that_is_none_is_named(shapes, tmp_path):
    content = json.loads((shapes / "annotations" / "instances.json").read_text())
    for bad in ([0, 0, 10, 0, 10, 10], [["a", "b", "c", "d", "e", "f"]]):
        content["annotations"][3]["segmentation"] = bad
        (tmp_path / "instances.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="instances.json: the segmentation of annotation 4 is no list of polygons"):
            COCOSketches(str(tmp_path)).setup()


def test_pictures_without_annotations_have_no_outlines(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="has no COCO annotation file; give one with --data.annotations"):
        COCOSketches(str(tmp_path)).setup()
