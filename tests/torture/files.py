"""Files of sketches and digits that are damaged, incomplete, or of something else."""

import json
import zipfile

import numpy as np
import torch

from tests.torture.generate import damage, damage_file, dice, mutants
from tests.torture.harness import case, expect
from tests.torture.templates import fit, template
from vae_zoo import data

RANDOM = np.random.default_rng(0)


def rows(n):
    found = np.empty(n, object)
    found[:] = [np.ones((5, 3), np.int16) * [k % 7 + 1, 2, 0] for k in range(n)]
    return found


# What each data module reads: its arrays, and the name of the file.
GOOD = {
    "Sketches": ("sketches.npz", lambda: {"train": rows(20), "valid": rows(5), "test": rows(5)}),
    "BinarizedMNIST": (
        "digits.npz",
        lambda: {part: RANDOM.integers(0, 256, (9, 98), np.uint8) for part in ("train", "valid", "test")},
    ),
    "DynamicMNIST": (
        "mnist.npz",
        lambda: {
            "train_images": RANDOM.integers(0, 256, (40, 28, 28), np.uint8),
            "train_labels": np.arange(40) % 10,
            "test_images": RANDOM.integers(0, 256, (20, 28, 28), np.uint8),
            "test_labels": np.arange(20) % 10,
        },
    ),
    "FreyFaces": ("faces.npy", lambda: {"": RANDOM.integers(0, 256, (600, 28, 20), np.uint8)}),
}
CHANGES = {
    "floats": lambda array: array.astype(np.float64) if array.dtype != object else np.full(3, 0.5),
    "NaN": lambda array: np.full(array.shape, np.nan),
    "texts": lambda array: np.full(array.shape, "x"),
    "no axis": lambda array: np.array(5),
    "no rows": lambda array: array[:0],
    "another axis": lambda array: array[None],
    "a row more": lambda array: np.concatenate([array, array[:1]]),
    "negative": lambda array: -np.ones(array.shape, np.int64),
    "complex": lambda array: np.ones(array.shape, complex),
    "records": lambda array: np.zeros(array.shape, [("a", int), ("b", float)]),
    "dates": lambda array: np.zeros(array.shape, "datetime64[s]"),
    "huge": lambda array: np.full(array.shape, 10**12),
    "bools": lambda array: np.ones(array.shape, bool),
}


def write(cls, path, arrays):
    np.save(path, arrays[""], allow_pickle=True) if "" in arrays else np.savez(path, **arrays)


def use(cls, path):
    """Read a file, and look at all that comes out."""
    options = {"n_val": 10} if cls == "DynamicMNIST" else {}
    made = getattr(data, cls)(str(path), **options)
    made.setup()
    for part in ("train", "val", "test"):
        for x, y in made.batches(part, 10):
            expect(torch.isfinite(x).all(), "numbers that are none")
            expect(not isinstance(made, data.ImageDataModule) or 0 <= x.min() <= x.max() <= 1, "pixels that are none")
            expect((y >= 0).all() and (y < max(1, len(made.labels))).all(), "labels that are none")


@case
def changed(place, cls, which, what):
    """A file one of whose arrays is another, or missing."""
    name, make = GOOD[cls]
    getattr(data, cls)  # an older checkout may have none
    arrays = make()
    if what == "missing":
        arrays.pop(which) if which else arrays.update({"": np.zeros(3)})
    else:
        arrays[which] = CHANGES[what](arrays[which])
    write(cls, place.work / name, arrays)
    place.load(lambda: use(cls, place.work / name))


@case
def damaged(place, cls, number):
    """A file with a damage; where that is in an array's bytes, a zip's checksum tells."""
    name, make = GOOD[cls]
    getattr(data, cls)
    path = place.work / name
    write(cls, path, make())
    damage_file(path, dice("files", number))
    place.load(lambda: use(cls, path))


@case
def ndjson(place, said, text, trains=False):
    """A QuickDraw file of ninety lines, some of which are something else."""
    path = place.work / "sketches.ndjson"
    path.write_bytes(text(template("sketches.ndjson").read_text()))
    place.load(lambda: use("Sketches", path))
    if trains:
        fit(place, "sketch_rnn", "--data.path", path, "--trainer.max_epochs", 1)


def line(tree):
    def text(good):
        lines = good.splitlines()
        return "\n".join([*lines[:40], json.dumps(tree), *lines[40:]]).encode()

    return text


@case
def zipped(place, what, change):
    """A .npz of sketches whose zip is odd."""
    path = place.work / "sketches.npz"
    write("Sketches", path, GOOD["Sketches"][1]())
    change(path)
    place.load(lambda: use("Sketches", path))


def _bomb(path):
    """Members of zeros that unpack to hundreds of megabytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("train.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00")
        for _ in range(40):
            member.write(bytes(1 << 23))


def _claims(path):
    """An array that claims to be larger than any memory."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("train.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _twice(path):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("test.npy", b"x")


def cases(count):
    """Arrays of any kind, then damages and generated lines."""
    found = [
        changed(cls, which, what)
        for cls, (_, make) in GOOD.items()
        for which in list(make())[:2]
        for what in ("missing", *CHANGES)
    ]
    found = dice("files", -1).sample(found, min(len(found), count // 3))
    found += [
        zipped("a bomb", _bomb),
        zipped("a claim", _claims),
        zipped("a member twice", _twice),
        zipped("a folder", lambda path: (path.unlink(), path.mkdir())),
        zipped("a link to itself", lambda path: (path.unlink(), path.symlink_to(path))),
        ndjson("nothing", lambda text: b""),
        ndjson("blank lines", lambda text: b"\n\n\n"),
        ndjson("bytes", lambda text: text.encode() + b"\xff\xfe\n"),
        ndjson("deep nesting", lambda text: b"[" * 100_000),
        ndjson("a line of megabytes", lambda text: text.encode() + b'{"word": "' + b"x" * 20_000_000),
        ndjson("NaN", lambda text: text.replace("[[[", "[[[NaN,").encode(), trains=True),
        ndjson("huge numbers", lambda text: text.replace("[[[", "[[[1e39,").encode(), trains=True),
    ]
    left = count - len(found)
    good = {"word": "cat", "key_id": "1", "drawing": [[[0, 9, 20], [0, 5, 30]], [[7, 8], [9, 9]]]}
    for number, (said, tree) in enumerate(mutants(good, left // 3, "ndjson")):
        found.append(ndjson(said, line(tree), trains=number % 10 == 0))
    for number in range(left // 6):
        found.append(ndjson("damaged", lambda text, number=number: damage(text.encode(), dice("ndjson", number))[1]))
    kinds = list(GOOD)
    return found + [damaged(kinds[n % len(kinds)], n) for n in range(count - len(found))]
