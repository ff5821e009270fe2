"""Folders and zips, wherever the pictures are."""

import os
import shutil
import zipfile

import numpy as np
import pytest
import torch

from tests.data_sets import edit, images, jpeg, module
from vae_zoo.data import COCOSketches, Sketches
from vae_zoo.data.cache import open_cache
from vae_zoo.data.files import Files, read_member
from vae_zoo.errors import UserError

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


# --- nothing outside of its folder is read


def first_is(folder, name):
    edit(folder, lambda content: content["images"][0].update(file_name=name))


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/hostname", "a/../../x.jpg", "x\0.jpg", "", ".", "a\ud800.jpg"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_name_that_leads_out_of_the_pictures_is_refused(folder, tmp_path, name, zipped):
    first_is(folder, name)
    root = shutil.make_archive(str(tmp_path / "packed"), "zip", folder) if zipped else folder
    for data in (lambda: module(root), lambda: COCOSketches(str(root)).setup()):
        with pytest.raises(
            UserError, match="instances.json is not in COCO format: entry 0 of 'images' has the file_name"
        ):
            data()


@pytest.mark.parametrize("link", ["images/000001.jpg", "images", "annotations/instances.json", "annotations"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_link_is_followed_below_the_root_and_no_further(folder, shapes, tmp_path, link, inside):
    target = (folder / ".store" if inside else tmp_path / "elsewhere") / link
    target.parent.mkdir(parents=True)
    (folder / link).rename(target)
    (folder / link).symlink_to(target)
    if inside:
        annotations = "annotations/instances.json"  # a folder that is a link is not searched for them
        assert torch.equal(
            images(module(folder, annotations=annotations), "test")[0], images(module(shapes), "test")[0]
        )
        return
    annotations = {} if link.startswith("images") else {"annotations": "annotations/instances.json"}
    with pytest.raises(UserError, match=f"{link}.* is refused: it is, or is in, a link that leads out of") as told:
        module(folder, **annotations)
    if link == "images":
        assert "say so with --data.image_dir" in str(told.value)
        named = module(folder, image_dir=str(target))
        assert named.split == module(shapes).split == module(folder, image_dir="images").split


def test_the_root_may_be_a_link_and_what_a_user_types_may_lie_anywhere(shapes, folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(shapes)
    assert module(tmp_path / "link").split == module(shapes).split
    (folder / "annotations" / "instances.json").rename(tmp_path / "a.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    for typed in (tmp_path / "a.json", "~/a.json"):
        assert module(folder, annotations=str(typed)).split == module(shapes).split
    with pytest.raises(UserError, match="'../a.json' leads out of its folder"):
        module(folder, annotations="../a.json")


def test_a_plain_folder_a_zip_and_one_of_sketches_keep_to_themselves(shapes, doodles, tmp_path):
    folder, secret = tmp_path / "folder", tmp_path / "secret.png"
    folder.mkdir()
    secret.write_bytes(jpeg(np.zeros((8, 8, 3), np.uint8)))
    (folder / "a.png").symlink_to(secret)
    with pytest.raises(UserError, match="a.png is refused: .* leads out of"):
        module(folder, n_train=1, n_test=1)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("/a.png", b"")
    with pytest.raises(UserError, match="'/a.png' leads out of its folder"):
        module(tmp_path / "x.zip")
    (folder / "cat.ndjson").symlink_to(doodles)
    with pytest.raises(UserError, match="cat.ndjson is refused: .* leads out of"):
        Sketches(str(folder)).setup()


@pytest.mark.parametrize("other", ["images/./000001.jpg", "images//000001.jpg", "link.jpg", "linked/000001.jpg"])
def test_two_names_of_one_file_are_one_picture(folder, shapes, other):
    """Also where one stands in the annotations to train on, the other in those to test on."""
    (folder / "link.jpg").symlink_to("images/000001.jpg")
    (folder / "linked").symlink_to("images")

    def twice(content):
        for image in content["images"]:
            image["file_name"] = "images/" + image["file_name"]
        content["images"].append({"id": 1000, "file_name": other})

    edit(folder, twice)
    with pytest.warns(UserWarning, match=f"names 1 pictures more than once, such as {other}; each counts once"):
        data = module(folder, image_dir=".")
    assert data.split == module(shapes).split
    path = folder / "annotations" / "instances.json"
    shutil.copy(path, folder / "annotations" / "test.json")
    edit(folder, lambda content: content.update(images=content["images"][:-1]))
    path.rename(folder / "annotations" / "train.json")
    shutil.copy(folder / "annotations" / "test.json", path)
    edit(folder, lambda content: content.update(images=content["images"][-1:]))
    names = {"annotations": "annotations/train.json", "test_annotations": "annotations/instances.json"}
    with pytest.warns(UserWarning, match="both name 1 pictures"):
        data = module(folder, image_dir=".", n_test=1, n_val=39, **names)
    assert data.split["test"] == [1000] and 1 not in {*data.split["train"], *data.split["val"]}


def test_pipes_and_what_is_too_large_are_no_pictures(folder):
    pictures = sorted((folder / "images").iterdir())
    pictures[0].unlink()
    os.mkfifo(pictures[0])  # to read it would take for ever
    os.truncate(pictures[1], 2**29)
    with pytest.warns(UserWarning, match="left out 2 of 80") as said:
        module(folder, n_train=50)
    told = str(said[0].message)
    assert "000001.jpg (ValueError: it is not an ordinary file)" in told
    assert "000002.jpg (ValueError: it has 536870912 bytes, more than the 268435456 that are read)" in told


def test_no_more_of_a_zip_is_unpacked_than_its_directory_says(tmp_path):
    """A member of 10 bytes by the directory, of 2**28 by its stream; and a method without such a limit."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(2**28))
    with zipfile.ZipFile(path) as archive:
        archive.getinfo("x").file_size = 10
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            read_member(archive, "x")
        archive.getinfo("x").file_size = 2**32
        with pytest.raises(ValueError, match="it has 4294967296 bytes, more than the 2147483648 that are read"):
            read_member(archive, "x")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", bytes(100))
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="compressed by method 14"):
        read_member(archive, "x")
