"""Damaged pictures, wrong annotation files and settings that do not fit: each is told in one sentence."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data_sets import edit, images, module
from vae_zoo.errors import UserError

pytest_plugins = ["tests.data_fixtures"]


def test_a_set_of_which_nothing_can_be_read(folder):
    for picture in (folder / "images").iterdir():
        picture.write_bytes(b"")
    with (
        pytest.raises(UserError, match="none of the 40 train pictures"),
        pytest.warns(UserWarning, match="left out 70"),
    ):
        module(folder, max_unreadable=1)


def test_damaged_pictures_are_named_and_left_out(folder):
    data = module(folder)
    chosen = [f"{id_:06d}.jpg" for id_ in data.split["train"][:3]]
    (folder / "images" / chosen[0]).write_bytes(b"")
    whole = (folder / "images" / chosen[1]).read_bytes()
    (folder / "images" / chosen[1]).write_bytes(whole[: len(whole) // 2])
    (folder / "images" / chosen[2]).unlink()
    with pytest.warns(UserWarning, match="left out 3 of 70") as said:
        damaged = module(folder)
    assert all(name in str(said[0].message) for name in chosen)
    assert damaged.split["train"] == data.split["train"][3:]
    assert damaged.split["test"] == data.split["test"]
    x, y = images(damaged, "train")
    assert len(x) == len(y) == 37
    assert images(data, "train")[0].flatten(1).unique(dim=0).shape[0] == 40


def test_pixels_and_labels_stay_together_when_a_picture_is_left_out(folder):
    whole = module(folder)
    for id_ in whole.split["test"][:3]:
        (folder / "images" / f"{id_:06d}.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out 3 of 70"):
        damaged = module(folder)
    for after, before in zip(images(damaged, "test"), images(whole, "test"), strict=True):
        assert torch.equal(after, before[3:])


def test_too_many_damaged_pictures_stop_the_run(folder):
    for picture in sorted((folder / "images").iterdir())[:10]:
        picture.write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"pictures \(1\d\.\d%\) cannot be read, more than data.max_unreadable = 5.0%"):
        module(folder)
    with pytest.warns(UserWarning, match="left out"):
        module(folder, max_unreadable=0.5)


def test_sixteen_bit_pictures_are_not_clipped_in_silence(tmp_path):
    for i in range(10):
        Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="only 8-bit pictures are read"):
        module(tmp_path, n_train=5, n_test=5, n_val=0)


def broken(folder, content):
    (folder / "annotations" / "instances.json").write_text(content)


@pytest.mark.parametrize(
    "damage, changes, message",
    [
        (lambda f: shutil.rmtree(f), {}, "does not exist"),
        (lambda f: None, {"annotations": "nowhere.json"}, "nowhere.json does not exist"),
        (lambda f: broken(f, ""), {}, "instances.json is empty"),
        (lambda f: broken(f, "{'images'"), {}, "is not JSON"),
        (lambda f: broken(f, "[1, 2]"), {}, "not in COCO format.*'images'"),
        (lambda f: broken(f, '{"images": [{"id": 1}]}'), {}, "not in COCO format.*file_name"),
        (lambda f: broken(f, '{"images": [], "annotations": [], "categories": []}'), {}, "names no image"),
        (lambda f: shutil.rmtree(f / "images"), {}, "none of the pictures.*say where they are with --data.image_dir"),
        (lambda f: None, {"image_dir": "elsewhere"}, "data.image_dir.*elsewhere does not exist"),
        (lambda f: None, {"n_train": 100}, r"n_train = 100 .* of 80 in .*; ask for fewer, such as --data.n_train"),
        (lambda f: None, {"categories": ["zebra"]}, r"\['zebra'\] not in .*, which has circle, pentagon"),
        (lambda f: None, {"min_size": 10**5}, "data.min_size and data.categories leave none of the 80 images of annot"),
        (lambda f: edit(f, lambda c: c["images"][0].update(id=[1])), {}, "not in COCO format.*id"),
        (lambda f: edit(f, lambda c: c["images"][0].update(file_name=7)), {}, "not in COCO format.*file_name 7"),
        (lambda f: None, {"n_train": 0}, "n_train must be at least 1, got 0"),
        (lambda f: None, {"channels": 2}, r"data.channels must be 1 \(grey\) or 3 \(RGB\), got 2"),
    ],
)
def test_mistakes_are_told_in_one_sentence(folder, damage, changes, message):
    damage(folder)
    with pytest.raises(UserError, match=message) as told:
        module(folder, **changes)
    assert "\n" not in str(told.value)


def test_the_numbers_that_are_proposed_fit(shapes):
    with pytest.raises(UserError) as told:
        module(shapes, n_train=10_000, n_test=2_000, n_val=1_000)
    words = str(told.value).split("such as ")[1].split()
    proposed = {name.removeprefix("--data."): int(n) for name, n in zip(words[::2], words[1::2], strict=True)}
    module(shapes, **proposed)
    with pytest.raises(UserError, match="--data.n_train 79 --data.n_test 1"):
        module(shapes, n_train=10_000, n_test=1, n_val=0)


def test_an_empty_folder_and_a_file_that_is_no_zip(tmp_path):
    with pytest.raises(UserError, match="neither a COCO annotation file nor a picture"):
        module(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="neither a folder nor a readable zip"):
        module(tmp_path / "x.zip")


def test_what_a_plain_folder_does_not_have(shapes):
    for changes, message in (
        ({"min_size": 8}, "data.min_size goes by an annotation file, which .*images lacks; leave it out"),
        ({"categories": ["cat"]}, r"data.categories: \['cat'\] not in .*images, which has none"),
    ):
        with pytest.raises(UserError, match=message):
            module(shapes / "images", **changes)


def test_a_folder_that_may_not_be_read_says_that(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match=f"Permission denied: '{tmp_path}'"):
        module(tmp_path)


def test_a_cache_that_cannot_be_written(shapes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another data.cache_dir"):
        module(shapes, cache_dir=str(tmp_path / "file" / "cache"))
