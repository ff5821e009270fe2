"""Pictures are decoded once, and again when anything that determines the pixels has changed."""

import multiprocessing
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data_sets import encoded, images, jpeg, module
from vae_zoo.data import cache
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
        pictures = [(Files(tmp_path / name), "x.bmp")]
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
        means.append(open_cache([(Files(tmp_path / "p.zip"), "x.bmp")], (1, 8, 8), tmp_path / "cache").pixels.mean())
    assert means == [10, 200]


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
