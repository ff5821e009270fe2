"""Pictures are decoded once, and again when anything that determines the pixels has changed."""

import multiprocessing
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data_sets import SMALL, encoded, images, jpeg, module
from vae_zoo.data import COCODataModule, cache
from vae_zoo.data.cache import open_cache
from vae_zoo.data.files import Files
from vae_zoo.data.pictures import decode

pytest_plugins = ["tests.data_fixtures"]


def test_second_start_decodes_nothing(shapes, tmp_path, monkeypatch):
    first = images(module(shapes, cache_dir=str(tmp_path)), "test")[0]
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(images(module(shapes, cache_dir=str(tmp_path)), "test")[0], first)


@pytest.mark.parametrize("change", ["picture", "size", "split"])
def test_cache_is_made_again_when_anything_that_determines_it_changes(folder, tmp_path, change):
    module(folder, cache_dir=str(tmp_path / "cache"))
    if change == "picture":
        for picture in (folder / "images").iterdir():
            picture.write_bytes(jpeg(np.zeros((30, 30, 3), np.uint8)))
    changes = {"size": {"image_size": 24}, "split": {"seed": 1}}.get(change, {})
    data = module(folder, cache_dir=str(tmp_path / "cache"), **changes)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2
    if change == "picture":
        assert images(data, "test")[0].max() == 0


def test_cache_tells_two_folders_and_two_versions_apart(tmp_path, monkeypatch):
    means = []
    for name, value in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "x.bmp"
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file)
        os.utime(file, (1, 1))
        pictures = [(Files(tmp_path / name), ["x.bmp"])]
        means.append(open_cache(pictures, (1, 8, 8), tmp_path / "cache").pixels.mean())
    assert means == [0, 255]
    monkeypatch.setattr(cache, "VERSION", -1)
    open_cache(pictures, (1, 8, 8), tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


def test_a_zip_that_was_written_anew_is_read_anew(tmp_path):
    means = []
    for value in (10, 200):
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.writestr("x.bmp", encoded(np.full((8, 8, 3), value, np.uint8), "BMP"))
        means.append(open_cache([(Files(tmp_path / "p.zip"), ["x.bmp"])], (1, 8, 8), tmp_path / "cache").pixels.mean())
    assert means == [10, 200]


@pytest.mark.parametrize("change", ["size", "time", "replaced", "removed", "target"])
def test_a_file_that_changed_in_any_way_gives_a_new_cache(tmp_path, change):
    """One of three: `link.bmp` leads to `elsewhere.bmp` in a hidden folder, and all have one size and one time."""
    pictures = tmp_path / "pictures"
    elsewhere = pictures / ".hidden" / "elsewhere.bmp"
    elsewhere.parent.mkdir(parents=True)
    content = encoded(np.zeros((8, 8, 3), np.uint8), "BMP")
    for file in (pictures / "a.bmp", pictures / "b.bmp", elsewhere):
        file.write_bytes(content)
        os.utime(file, ns=(10**18, 10**18))
    (pictures / "link.bmp").symlink_to(".hidden/elsewhere.bmp")
    where = [(Files(pictures), ["a.bmp", "b.bmp", "link.bmp"])]
    first, again = (open_cache(where, (1, 8, 8), tmp_path / "cache") for _ in range(2))
    assert first.pixels.filename == again.pixels.filename and first.unreadable == {}
    file = elsewhere if change == "target" else pictures / "b.bmp"
    if change in ("replaced", "target"):
        (tmp_path / "new").write_bytes(content)  # as large as before
        (tmp_path / "new").replace(file)
    elif change == "removed":
        file.unlink()
    else:
        file.write_bytes(content + bytes(change == "size"))
        os.utime(file, ns=(10**18, 10**18 + (change == "time")))
    changed = open_cache(where, (1, 8, 8), tmp_path / "cache")
    assert changed.pixels.filename != first.pixels.filename
    assert changed.unreadable == ({1: "missing"} if change == "removed" else {})


def test_a_cache_is_of_its_pictures_whatever_the_parts_and_the_names(tmp_path):
    """The same pictures in the same order are one cache; a name may be no UTF-8."""
    names = ["a.bmp", os.fsdecode(b"\xff.bmp"), "c d.bmp"]
    (tmp_path / "p").mkdir()
    for value, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(tmp_path / "p" / name, "BMP")
    files = Files(tmp_path / "p")
    assert all(files.stamps(names)) and files.stamps(["nowhere.bmp"]) == [""]
    one, two = (
        open_cache(parts, (1, 8, 8), tmp_path / "cache")
        for parts in ([(files, names)], [(files, names[:1]), (files, names[1:])])
    )
    assert one.pixels.filename == two.pixels.filename and one.pixels[:, 0, 0, 0].tolist() == [0, 1, 2]
    other = open_cache([(files, names[::-1])], (1, 8, 8), tmp_path / "cache")
    assert other.pixels[:, 0, 0, 0].tolist() == [2, 1, 0]


def test_a_later_start_looks_at_each_picture_once(shapes, tmp_path, monkeypatch):
    """Listed once, and its size and time are asked for once, in whatever order a Trainer or a notebook begins."""
    module(shapes / "images", cache_dir=str(tmp_path))
    asked, listed, stat, scandir = [], [], os.stat, os.scandir
    monkeypatch.setattr(os, "stat", lambda path, **options: asked.append(str(path)) or stat(path, **options))
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    data = COCODataModule(str(shapes / "images"), **SMALL, cache_dir=str(tmp_path))
    data.prepare_data()
    data.setup()
    assert data.facts.n_train == 40
    assert sorted(len([path for path in asked if path.endswith(f"/{id_}")]) for id_ in data.split["train"]) == [1] * 40
    assert listed == [str(shapes / "images")]


def _build(arguments):
    folder, directory = arguments
    return images(module(folder, cache_dir=directory), "test")[0].sum().item()


@pytest.mark.slow
def test_two_processes_build_at_once(shapes, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_build, [(str(shapes), str(tmp_path))] * 2, chunksize=1)
    assert sums[0] == sums[1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_an_interrupted_build_leaves_nothing_to_pick_up(shapes, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return decode(*arguments)

    monkeypatch.setattr(cache, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        module(shapes, cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert torch.equal(images(module(shapes, cache_dir=str(tmp_path)), "test")[0], images(module(shapes), "test")[0])
