"""Caches of decoded pictures that are damaged, another's, out of date, or have no room."""

import os
import pickle
import shutil

import numpy as np
import torch
from PIL import Image

from tests.torture.generate import damage_file, dice
from tests.torture.harness import Lost, Wrong, case, expect, full_disk
from tests.torture.templates import shapes
from vae_zoo.data import COCODataModule

SIZES = {"n_train": 48, "n_test": 20, "n_val": 12, "image_size": 16, "batch_size": 16, "workers": 0}


def pixels(root, cache):
    """All the images of a data set, by part, as a model gets them."""
    data = COCODataModule(str(root), cache_dir=cache, **SIZES)
    data.setup()
    return [torch.cat([x for x, _ in data.batches(part, 16)]) for part in ("train", "val", "test")]


@case
def used_again(place, what, harm, unused=False):
    """A cache is made, harmed and used again; what comes out must be what the pictures are."""
    root, cache = shapes(place), place.work / "cache"
    place.own = ("work/cache/*", "work/shapes/*")
    place.load(lambda: pixels(root, str(cache)))
    harm(place, root, cache)

    def use():
        found, true = pixels(root, str(cache)), pixels(root, str(place.work / "fresh"))
        same = all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(found, true, strict=True))
        expect(same, "other pixels than the pictures have, without a word")

    place.load(use)


def array_of(cache):
    """The largest file, which has the pixels."""
    return max((path for path in cache.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def other_array(change):
    def harm(place, root, cache):
        path = array_of(cache)
        array = np.array(np.load(path, mmap_mode="r"))
        with open(path, "wb") as file:
            np.save(file, change(array))

    return harm


def replaced(place, root, cache):
    """Another picture of the same size in bytes and the same time."""
    path = sorted((root / "images").rglob("*.*"))[3]
    stat, size = path.stat(), path.stat().st_size
    other = Image.new("RGB", (40, 40), (255, 0, 255))
    other.save(place.base / "tmp" / "x.bmp")
    content = (place.base / "tmp" / "x.bmp").read_bytes()
    Image.new("RGB", (8, 8), (255, 0, 255)).save(place.base / "tmp" / "y.jpg", quality=30)
    small = (place.base / "tmp" / "y.jpg").read_bytes()
    path.write_bytes((content if len(content) <= size else small).ljust(size, b"\0"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Touch:
    """Pickled, it runs a command where it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def pickled(place, root, cache):
    array = np.empty(1, object)
    array[0] = Touch(place.canary)
    with open(array_of(cache), "wb") as file:
        np.save(file, array, allow_pickle=True)


def in_the_place(kind):
    def harm(place, root, cache):
        for path in [each for each in cache.rglob("*") if each.is_file()]:
            path.unlink()
            if kind == "a folder":
                path.mkdir()
            elif kind == "a link to a file of the user's":
                path.symlink_to(place.outside / "precious.txt")
            elif kind == "a pickle":
                path.write_bytes(pickle.dumps(Touch(place.canary)))

    return harm


def one_gone(ending):
    def harm(place, root, cache):
        for path in [each for each in cache.rglob(f"*{ending}") if each.is_file()][:1]:
            path.unlink()

    return harm


def damaged(number):
    dice_ = dice("caches", number)

    def harm(place, root, cache):
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        path = array_of(cache) if dice_.random() < 0.7 else dice_.choice(files)
        damage_file(path, dice_)

    return used_again("a damaged file", harm)


def altered_picture(dice_):
    """A picture that is damaged, gone or doubled after the cache was made."""

    def harm(place, root, cache):
        pictures = sorted(path for path in (root / "images").rglob("*") if path.is_file())
        path, other = dice_.sample(pictures, 2)
        how = dice_.choice(["damaged", "gone", "another's", "empty"])
        if how == "damaged":
            damage_file(path, dice_, "cut zeros text")
        elif how == "gone":
            path.unlink()
        elif how == "empty":
            path.write_bytes(b"")
        else:
            shutil.copyfile(other, path)

    return harm


@case
def no_room(place, size, disk):
    """Decoding where the cache does not fit: one line, and nothing half made is taken for whole later."""
    root, cache = shapes(place), place.work / "cache"
    cache.mkdir()

    def fill():
        if disk and not full_disk(cache, size):
            return  # not allowed here
        try:
            pixels(root, str(cache))
        except OSError as error:
            raise Wrong(f"not told in a sentence: {error}") from error

    done = place.load(fill, file_size=None if disk else size)
    expect(disk or done.status, "nothing was said of a file that may not grow")
    if place.load(lambda: pixels(root, str(cache))).status:
        raise Lost("with room there is still no way on")


@case
def odd_place(place, what, make):
    root, cache = shapes(place), place.work / "cache"
    make(cache)
    place.load(lambda: pixels(root, str(cache)))


def cases(count):
    """What is named in the issue, then files damaged at any place."""
    found = [
        used_again("another dtype", other_array(lambda array: array.astype(np.int8))),
        used_again("floats", other_array(lambda array: array.astype(np.float32))),
        used_again("another size", other_array(lambda array: array[:, :8, :8].copy())),
        used_again("one colour", other_array(lambda array: array[..., :1].copy())),
        used_again("fewer rows", other_array(lambda array: array[:-9].copy())),
        used_again("more rows", other_array(lambda array: np.concatenate([array, array]))),
        used_again("rows in another order", other_array(lambda array: array[::-1].copy())),
        used_again(
            "one byte that is another",
            other_array(lambda array: np.where(np.arange(array.size).reshape(array.shape) == 999, 255 - array, array)),
        ),
        used_again(
            "the last byte is another",
            other_array(
                lambda array: np.where(np.arange(array.size).reshape(array.shape) == array.size - 1, 255 - array, array)
            ),
        ),
        used_again("another memory order", other_array(np.asfortranarray)),
        used_again("a picture replaced with equal size and time", replaced),
        used_again("a pickle in the array's place", pickled),
        *(
            used_again(f"{kind} in each place", in_the_place(kind))
            for kind in ("nothing", "a folder", "a link to a file of the user's", "a pickle")
        ),
        *(used_again(f"no {ending}", one_gone(ending)) for ending in (".npy", ".json")),
        *(no_room(size, disk) for disk in (True, False) for size in (4096, 8192, 16_384, 40_960)),
        odd_place("a file", lambda path: path.write_text("x")),
        odd_place("a link to nowhere", lambda path: path.symlink_to("/nonexistent/x")),
        odd_place("a link to itself", lambda path: path.symlink_to(path)),
        odd_place(
            "a folder with the remains of a killed process", lambda path: (path / "building-x").mkdir(parents=True)
        ),
    ]
    found += [
        used_again("a picture altered after it was decoded", altered_picture(dice("altered", n))) for n in range(20)
    ]
    return found + [damaged(number) for number in range(count - len(found))]
