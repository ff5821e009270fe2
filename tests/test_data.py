"""How a data set is split and labelled, and the facts that others are given."""

import json
import shutil

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from tests.conftest import shared
from tests.data_sets import edit, images, module
from vae_zoo.data import COCODataModule, COCOSketches, Facts, ImageDataModule, Sketches
from vae_zoo.data.images import ImageDataset

pytest_plugins = ["tests.data_fixtures"]


def test_split_is_disjoint_by_id_and_complete_and_set_by_the_seed(shapes):
    data = module(shapes)
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 40, "val": 10, "test": 20}
    assert len(set().union(*data.split.values())) == 70
    again, other = module(shapes), module(shapes, seed=1)
    assert again.split == data.split and again.split_sha256 == data.split_sha256
    assert other.split != data.split and other.split_sha256 != data.split_sha256


def test_split_does_not_depend_on_where_the_data_are(shapes, folder):
    assert module(shapes).split_sha256 == module(folder).split_sha256


def test_test_images_do_not_depend_on_how_many_are_trained_on(shapes):
    assert module(shapes).split["test"] == module(shapes, n_train=5, n_val=1).split["test"]


def test_training_images_do_not_depend_on_how_many_are_validated_on(shapes):
    assert module(shapes).split["train"] == module(shapes, n_val=1).split["train"]


def test_batches_hold_every_image_once_with_a_ragged_last_batch(shapes):
    data = module(shapes)
    assert [len(x) for x, _ in data.train_dataloader()] == [16, 16, 8]
    assert [len(x) for x, _ in data.test_dataloader()] == [16, 4]
    x, _ = images(data, "train")
    assert len(x.flatten(1).unique(dim=0)) == 40


def test_order_follows_the_global_seed_and_the_epoch_and_nothing_else(shapes):
    data = module(shapes)

    def order(seed, epoch, noise=0):
        torch.manual_seed(seed)
        torch.randn(noise)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return list(loader.sampler)

    assert order(0, 0) == order(0, 0, noise=100)
    assert order(0, 0) != order(0, 1) and order(0, 0) != order(1, 0)
    assert sorted(order(0, 0)) == list(range(40))


def test_validation_takes_what_is_left_by_default(shapes):
    assert len(module(shapes, n_val=None).split["val"]) == 20
    empty = module(shapes, n_train=60, n_val=None)
    assert empty.split["val"] == [] and empty.val_dataloader() == []


def test_test_annotations_are_kept_and_never_trained_on(folder):
    annotations = folder / "annotations"
    full = json.loads((annotations / "instances.json").read_text())
    (annotations / "instances_test.json").write_text(json.dumps(full | {"images": full["images"][:25]}))
    (annotations / "instances.json").rename(annotations / "instances_train.json")  # still names all 80
    data = module(folder)  # both files are found by their names
    held_out = {image["id"] for image in full["images"][:25]}
    assert set(data.split["test"]) <= held_out and len(data.split["test"]) == 20
    assert not held_out & {*data.split["train"], *data.split["val"]}
    named = module(
        folder,
        annotations="annotations/instances_train.json",
        test_annotations=str(annotations / "instances_test.json"),
    )
    assert named.split == data.split


def test_what_is_held_out_is_the_file_whatever_its_id_and_chosen_by_the_seed(folder):
    annotations = folder / "annotations"
    full = json.loads((annotations / "instances.json").read_text())
    tests = [image | {"id": image["id"] + 1000} for image in full["images"][:25]]
    (annotations / "instances_test.json").write_text(json.dumps(full | {"images": tests, "annotations": []}))
    (annotations / "instances.json").rename(annotations / "instances_train.json")
    data = module(folder)
    assert not set(range(1, 26)) & {*data.split["train"], *data.split["val"]}
    one, two = (set(module(folder, n_test=10, seed=seed).split["test"]) for seed in (0, 1))
    assert one != two


def test_a_file_listed_twice_is_one_picture_in_any_order(folder, shapes):
    edit(folder, lambda content: content["images"].reverse())
    assert module(folder).split == module(shapes).split
    edit(folder, lambda content: content["images"].extend([i | {"id": i["id"] + 1000} for i in content["images"]]))
    assert set().union(*module(folder, n_val=20).split.values()) == set(range(1, 81))


def test_validation_takes_no_more_than_a_thousand_by_default(tmp_path):
    for i in range(1_300):
        (tmp_path / f"{i}.jpg").touch()
    chosen = COCODataModule(str(tmp_path), n_train=100, n_test=100)._selection.parts
    assert {part: len(pictures) for part, pictures in chosen.items()} == {"train": 100, "val": 1_000, "test": 100}


def test_missing_sizes_and_areas_are_no_matter(folder, shapes):
    def forget(content):
        for image in content["images"]:
            image["width"] = None
        for annotation in content["annotations"]:
            annotation["area"] = None

    edit(folder, forget)
    assert module(folder).split == module(shapes).split


def test_label_is_the_category_with_the_largest_area(shapes):
    data = module(shapes)
    coco = COCO(str(shapes / "annotations" / "instances.json"))
    _, y = images(data, "test")
    for id_, label in zip(data.split["test"], y.tolist(), strict=True):
        areas = {}
        for instance in coco.loadAnns(coco.getAnnIds(id_)):
            areas[instance["category_id"]] = areas.get(instance["category_id"], 0) + instance["area"]
        assert data.labels[label] == coco.cats[max(areas, key=areas.get)]["name"]


def test_areas_of_one_category_add_up(folder):
    def two_small_and_one_large(content):
        sizes = ((1, 40), (4, 60), (1, 40))
        content["annotations"] = [
            {"image_id": image["id"], "category_id": category, "area": area}
            for image in content["images"]
            for category, area in sizes
        ]

    edit(folder, two_small_and_one_large)
    data = module(folder)
    assert {data.labels[y] for y in images(data, "test")[1]} == {"triangle"}


def test_images_without_a_label_are_none(folder):
    path = folder / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] > 40]
    path.write_text(json.dumps(content))
    data = module(folder)
    _, y = images(data, "test")
    assert data.labels[-1] == "none"
    for id_, label in zip(data.split["test"], y.tolist(), strict=True):
        assert (data.labels[label] == "none") == (id_ <= 40)


def test_categories_and_size_select(shapes):
    content = json.loads((shapes / "annotations" / "instances.json").read_text())
    stars = {a["image_id"] for a in content["annotations"] if a["category_id"] == 4}
    large = {i["id"] for i in content["images"] if min(i["width"], i["height"]) >= 110}
    chosen = module(shapes, categories=["star"], n_train=5, n_test=5, n_val=None)
    assert set().union(*chosen.split.values()) == stars and chosen.labels == ["star"]
    chosen = module(shapes, min_size=110, n_train=5, n_test=5, n_val=None)
    assert set().union(*chosen.split.values()) == large


def test_a_plain_folder_has_its_subfolders_as_labels(shapes, tmp_path):
    for i, picture in enumerate(sorted((shapes / "images").iterdir())):
        target = tmp_path / ("cats" if i % 2 else "dogs/puppies") / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    data = module(tmp_path)
    assert data.labels == ["cats", "dogs"]
    _, y = images(data, "train")
    assert [id_.split("/")[0] for id_ in data.split["test"]] == [data.labels[i] for i in images(data, "test")[1]]
    assert set(y.tolist()) == {0, 1}
    flat = module(shapes / "images")
    assert flat.labels == ["none"]


def test_real_coco():
    root = shared("coco_open")
    data = module(root, n_train=60, n_test=30, n_val=20, image_size=64)
    x, y = images(data, "train")
    assert x.shape == (60, 3, 64, 64)
    assert len([label for label in data.labels if label != "none"]) == 80 and len(set(y.tolist())) > 10
    assert 0.3 < x.mean() < 0.6 and 0.15 < x.std() < 0.35


def test_photos_keep_their_official_split():
    data = COCODataModule(str(shared("photos_10k2k.zip")), image_size=16)
    chosen = data._selection.parts
    assert {part: len(pictures) for part, pictures in chosen.items()} == {"train": 10_000, "val": 0, "test": 2_000}
    assert set(chosen["train"].ids) == set(range(1, 10_001))
    assert set(chosen["test"].ids) == set(range(10_001, 12_001))


# --- facts


def test_facts_are_of_what_is_there_in_the_end(folder):
    data = module(folder)
    names = ("triangle", "square", "pentagon", "star", "circle")
    facts = Facts((3, 16, 16), 5, names, n_train=40, ragged=False, validates_on_test=False)
    assert data.facts == facts and tuple(data.labels) == names
    (folder / "images" / f"{data.split['train'][0]:06d}.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 1 of 70"):
        assert module(folder).facts.n_train == 39


def test_facts_read_the_data_if_need_be_and_once(shapes, doodles, monkeypatch):
    options = {"n_train": 40, "n_test": 20, "image_size": (16, 24), "channels": 1, "val_on_test": True}
    images, sketches = COCODataModule(str(shapes), **options), Sketches(str(doodles), n_test=30, n_val=0)
    assert images.facts.shape == (1, 16, 24) and images.facts.n_train == 40 and images.facts.validates_on_test
    assert images.split["val"] == [] and len(images.val_dataloader().dataset) == 20
    assert sketches.facts == Facts((31, 5), 3, ("circle", "star", "zigzag"), 60, ragged=True, validates_on_test=False)
    outlines = COCOSketches(str(shapes))
    assert outlines.facts.n_train == len(outlines.split["train"]) and outlines.facts.ragged
    for data in (images, sketches, outlines):
        monkeypatch.setattr(data, "read", lambda: pytest.fail("read again"))
        data.setup("test")
        assert data.facts == data.facts


class Noise(ImageDataModule):
    """Such as a user writes: 30 images of noise with two labels."""

    shape = (3, 4, 6)

    def __init__(self, batch_size=8, augment=()):
        super().__init__()
        self.batch_size, self.augment = batch_size, augment

    def read(self):
        rng = np.random.default_rng(0)
        pixels, labels = rng.integers(0, 256, (30, 4, 6, 3), np.uint8), torch.arange(30) % 2
        rows = {"train": np.arange(16), "val": np.arange(0), "test": np.arange(16, 30)}
        return ["even", "odd"], {part: ImageDataset(pixels, labels[rows], rows) for part, rows in rows.items()}


def test_a_data_module_of_ones_own_needs_a_shape_and_its_parts():
    data = Noise()
    assert data.facts == Facts((3, 4, 6), 2, ("even", "odd"), 16, ragged=False, validates_on_test=False)
    assert data.split["test"] == list(range(16, 30)) and data.val_dataloader() == []
    assert len(data.split_sha256) == 64
    x, y = images(data, "test")
    assert x.shape == (14, 3, 4, 6) and y.tolist() == [0, 1] * 7
    batch, labels = next(data.batches("test", 14))
    assert torch.equal(batch, x) and torch.equal(labels, y)
    assert len(images(data, "train")[0]) == 16
