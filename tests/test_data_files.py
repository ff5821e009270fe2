"""Folders and zips, wherever the pictures are."""

import os
import shutil
import zipfile

import numpy as np
import torch

from tests.data_sets import images, jpeg, module
from vae_zoo.data.cache import open_cache
from vae_zoo.data.files import Files

pytest_plugins = ["tests.data_fixtures"]


def test_zip_and_folder_give_the_same(shapes, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", shapes)
    (a, la), (b, lb) = images(module(shapes), "test"), images(module(packed), "test")
    assert torch.equal(a, b) and torch.equal(la, lb)


def test_official_layout_with_pictures_in_a_zip(shapes, tmp_path):
    (tmp_path / "annotations").mkdir()
    shutil.copy(shapes / "annotations" / "instances.json", tmp_path / "annotations" / "instances_train2017.json")
    shutil.copy(shapes / "annotations" / "instances.json", tmp_path / "annotations" / "captions_train2017.json")
    with zipfile.ZipFile(tmp_path / "train2017.zip", "w") as archive:
        for picture in (shapes / "images").iterdir():
            archive.write(picture, f"train2017/{picture.name}")
    shutil.copytree(shapes / "images", tmp_path / "elsewhere")
    truth = images(module(shapes), "test")[0]
    assert torch.equal(images(module(tmp_path), "test")[0], truth)  # the captions are not taken for instances
    assert torch.equal(images(module(shapes, image_dir=str(tmp_path / "elsewhere")), "test")[0], truth)


def test_worker_processes_read_one_zip_without_disturbing_each_other(tmp_path):
    """A zip handle shared by forked workers gives each other's bytes."""
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for i in range(600):
            archive.writestr(f"{i:03d}.jpg", jpeg(np.full((20, 20, 3), i % 256, np.uint8)))
    files = Files(tmp_path / "p.zip")
    pictures = [(files, files.pictures())]  # this opens the zip before the workers fork
    done = open_cache(pictures, (1, 8, 8), tmp_path / "cache", workers=2)
    assert done.unreadable == {}
    assert np.abs(done.pixels.mean((1, 2, 3)) - np.arange(600) % 256).max() <= 1


def test_a_zip_of_one_folder_is_that_folder(shapes, tmp_path):
    (tmp_path / "site").mkdir()
    shutil.copytree(shapes, tmp_path / "site" / "shapes")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "site")
    data = module(packed)
    assert data.split == module(shapes).split and data.labels == module(shapes).labels


def test_what_may_not_be_read_and_links_to_nothing_are_passed_over(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in ("a/1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "nothing.png").symlink_to("nowhere.png")
    (tmp_path / "linked.png").symlink_to("2.png")
    assert Files(tmp_path).names() == ["2.png", "a/1.png", "linked.png"]
    listed = os.scandir

    def scandir(folder):  # permissions do not bind root
        if str(folder).endswith("a"):
            raise PermissionError
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert Files(tmp_path).names() == ["2.png", "linked.png"]
