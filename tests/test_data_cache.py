"""Pictures are decoded once, and again when anything that determines the pixels has changed."""

import errno
import io
import multiprocessing
import os
import resource
import signal
import time
import warnings
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
from vae_zoo.errors import UserError

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


@pytest.mark.parametrize("change", ["size", "time", "replaced", "removed", "target", "pixels"])
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
        file.write_bytes((content[:-1] + b"\xff" if change == "pixels" else content) + bytes(change == "size"))
        os.utime(file, ns=(10**18, 10**18 + (change == "time")))
    changed = open_cache(where, (1, 8, 8), tmp_path / "cache")
    assert changed.pixels.filename != first.pixels.filename
    assert changed.unreadable == ({1: "missing"} if change == "removed" else {})
    assert changed.pixels.any() == (change == "pixels")


def test_a_zip_in_the_place_of_another_is_another_though_its_checksums_are_the_same(tmp_path):
    """A zip's table of contents says what it likes, so the cache is made anew, and then the picture is damaged."""
    place, buffer = tmp_path / "pictures.zip", io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(buffer, "BMP")
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("a.bmp", buffer.getvalue())
    assert open_cache([(Files(place), ["a.bmp"])], (1, 8, 8), tmp_path / "cache").pixels.max() == 9
    content = place.read_bytes()
    place.write_bytes(content.replace(b"\x09" * 16, b"\x07" * 16))
    os.utime(place, ns=(10**18, 10**18))
    assert open_cache([(Files(place), ["a.bmp"])], (1, 8, 8), tmp_path / "cache").unreadable


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
def test_of_two_processes_one_builds(shapes, tmp_path, monkeypatch):
    build, built = cache._build, multiprocessing.Value("i", 0)

    def slowly(*arguments):
        with built.get_lock():
            built.value += 1
        time.sleep(1)  # for the other one to come
        build(*arguments)

    monkeypatch.setattr(cache, "_build", slowly)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_build, [(str(shapes), str(tmp_path))] * 2, chunksize=1)
    assert sums[0] == sums[1] and built.value == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".npy", ".verified"]


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


# --- a cache that is damaged, cut short, or has no place


@pytest.fixture
def made(tmp_path):
    """Pictures of noise, and their cache: a function that opens it, its file, and the pixels as they were."""
    (tmp_path / "p").mkdir()
    for i in range(5):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        (tmp_path / "p" / f"{i}.bmp").write_bytes(encoded(noise, "BMP"))
    (tmp_path / "p" / "5.bmp").write_bytes(b"")
    files = Files(tmp_path / "p")

    def start():
        return open_cache([(files, files.pictures())], (3, 8, 8), tmp_path / "cache")

    pixels = np.array(start().pixels)
    (path,) = (tmp_path / "cache").glob("*.npy")
    return start, path, pixels


def flipped(place):
    def damage(content):
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return damage


def array(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


DAMAGE = {
    "header": flipped(20),
    "first pixel": flipped(128),
    "last pixel": flipped(128 + 6 * 192 - 1),
    "checksum of the report": flipped(128 + 6 * 192),
    "report": flipped(-20),
    "empty": lambda content: b"",
    "in the header": lambda content: content[:50],
    "in the pixels": lambda content: content[:500],
    "before the report": lambda content: content[: 128 + 6 * 192],
    "in the report": lambda content: content[:-3],
    "longer": lambda content: content + b"x",
    "another type": lambda content: array(np.zeros((6, 8, 8, 3), np.float32)),
    "another shape": lambda content: array(np.zeros((6, 8, 24, 1), np.uint8)),
    "other rows": lambda content: array(np.zeros((7, 8, 8, 3), np.uint8)),
    "no report": lambda content: array(np.zeros((6, 8, 8, 3), np.uint8)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_cache_is_told_and_made_anew(made, name):
    start, path, pixels = made
    before = path.stat()
    with open(path, "r+b") as file:  # the same file
        content = DAMAGE[name](file.read())
        file.seek(0)
        file.write(content)
        file.truncate()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.warns(UserWarning, match=f"the cache {path} is damaged .*; it is made anew") as told:
        again = start()
    assert len(told) == 1
    assert np.array_equal(again.pixels, pixels) and again.unreadable == {5: "not a picture"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(start().pixels, pixels)


def test_pixels_are_compared_again_only_after_a_write(made, monkeypatch):
    start, path, pixels = made
    monkeypatch.setattr(cache, "ThreadPoolExecutor", lambda: pytest.fail("read the pixels"))
    assert np.array_equal(start().pixels, pixels)
    monkeypatch.undo()
    compared, pool = [], cache.ThreadPoolExecutor
    monkeypatch.setattr(cache, "ThreadPoolExecutor", lambda: compared.append(1) or pool())
    for damage in (lambda: os.utime(path), path.with_suffix(".verified").unlink):
        damage()
        for _ in range(2):
            assert np.array_equal(start().pixels, pixels)
    assert len(compared) == 2
    for broken in (b"", b"[", b"[1, 2, 3, 4]", b"\xff"):
        path.with_suffix(".verified").write_bytes(broken)
        assert np.array_equal(start().pixels, pixels)


def test_a_disk_without_space_is_told_before_anything_is_decoded(shapes, tmp_path, monkeypatch):
    def full(file, begin, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(cache, "decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"No space left .*; it needs 0.1 MB, its folder has [\d,.]+ MB; choose"):
        module(shapes, cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reserves", [True, False])
def test_a_file_that_may_not_grow_is_an_error_and_no_signal(shapes, tmp_path, monkeypatch, reserves):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="File too large.*; it needs 0.1 MB"):
            module(shapes, cache_dir=str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_killed_build_left_is_deleted(shapes, tmp_path):
    own = f"{'0' * 24}.{'0' * 32}.vae_zoo-unfinished"
    names = [own, own.replace("0", "1"), "building-site", "x.vae_zoo-unfinished", "x.npy"]
    for name in names:
        (tmp_path / name).touch()
        if name != names[1]:
            os.utime(tmp_path / name, (1, 1))
    module(shapes, cache_dir=str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} >= set(names[1:]) and not (tmp_path / own).exists()


def _killed(arguments):
    folder, directory, instant = arguments
    patch = pytest.MonkeyPatch()
    where = cache if instant in ("decode", "whole", "_reserve") else os
    patch.setattr(where, instant, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    module(folder, cache_dir=directory)


@pytest.mark.parametrize("instant", ["_reserve", "decode", "fsync", "replace", "whole"])
def test_a_build_that_is_killed_at_any_instant_is_made_anew(shapes, tmp_path, instant):
    process = multiprocessing.get_context("fork").Process(target=_killed, args=[(shapes, str(tmp_path), instant)])
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = module(shapes, cache_dir=str(tmp_path))
    assert torch.equal(images(data, "test")[0], images(module(shapes), "test")[0])
