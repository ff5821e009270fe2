"""Files of arrays that claim or unpack to more than there is, and archives and pictures that are damaged."""

import io
import os
import pickle
import resource
import shutil
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data_sets import module
from vae_zoo.data import MNIST, BinarizedMNIST, FreyFaces, Sketches
from vae_zoo.data.pictures import decode
from vae_zoo.errors import UserError

pytest_plugins = ["tests.data_fixtures"]
READERS = {
    "binarized.npz": (BinarizedMNIST, ["train", "valid", "test"]),
    "mnist.npz": (MNIST, ["train_images", "train_labels", "test_images", "test_labels"]),
    "sketches.npz": (Sketches, ["train", "valid", "test"]),
    "frey.npy": (FreyFaces, []),
}


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


CONTENTS = {
    "claims a terabyte": header((10**12, 1)),
    "claims one row more": header((3, 28, 28)) + bytes(2 * 784),
    "negative": header((-5, 28, 28)) + bytes(784),
    "pickled": header((1,), "|O") + pickle.dumps([print]),
    "no type": header((3,), "|V0"),
    "a long header": b"\x93NUMPY\x02\x00\xff\xff\xff\x0f" + b"(" * 100_000,
    "cut": b"\x93NUM",
    "empty": b"",
    "text": header((2,), "<U8") + bytes(64),
}


@pytest.fixture
def little_memory():
    """At most 1.5 GB more than now: what takes what a file claims fails with a MemoryError, or is seen to."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("file", READERS)
def test_an_array_that_is_none_is_told(tmp_path, file, name, little_memory):
    cls, members = READERS[file]
    path = tmp_path / file
    if members:
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(f"{member}.npy", CONTENTS[name])
    else:
        path.write_bytes(CONTENTS[name])
    with pytest.raises(UserError, match=file) as told:
        cls(str(path)).setup()
    assert "\n" not in str(told.value) and "MemoryError" not in str(told.value)


@pytest.mark.parametrize("file", [file for file, (_, members) in READERS.items() if members])
def test_a_member_of_many_gigabytes_is_not_unpacked(tmp_path, file, little_memory):
    """4 MB of a file, that unpack to 4 GB."""
    cls, members = READERS[file]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    with zipfile.ZipFile(tmp_path / file, "w") as archive:
        for member in members:
            archive.writestr(f"{member}.npy", zeros * 256)
    content = bytearray((tmp_path / file).read_bytes())
    central = content.index(b"PK\x01\x02")
    while central >= 0:  # the directory says that they are deflated, and how large they are
        content[central + 10 : central + 12] = (8).to_bytes(2, "little")
        content[central + 24 : central + 28] = (2**32 - 2).to_bytes(4, "little")
        central = content.find(b"PK\x01\x02", central + 4)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        cls(str(tmp_path / file)).setup()


def test_one_array_that_a_pickle_holds_a_million_times_is_refused(tmp_path, little_memory):
    rows = np.zeros((100_000, 3), np.float32)
    many = np.empty(100_000, object)
    many[:] = [rows] * len(many)
    few = np.empty(1, object)
    few[0] = rows
    np.savez(tmp_path / "x.npz", train=many, valid=few, test=few)
    with pytest.raises(UserError, match="x.npz is not a .npz of sketches.* more than"):
        Sketches(str(tmp_path / "x.npz")).setup()


@pytest.mark.parametrize("damage", ["cut", "directory", "member", "empty"])
def test_a_damaged_archive_is_told(folder, tmp_path, damage):
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    with open(path, "r+b") as file:
        content = file.read()
        place = content.index(b"PK\x01\x02") if damage == "directory" else content.index(b"instances.json") + 200
        changed = {
            "cut": content[: len(content) // 2],
            "directory": content[:place] + bytes(40) + content[place + 40 :],
            "member": content[:place] + bytes(40) + content[place + 40 :],
            "empty": b"",
        }[damage]
        file.seek(0)
        file.write(changed)
        file.truncate()
    with pytest.raises(UserError, match="packed.zip.* (nor a readable zip file|cannot be read)"):
        module(path)


def test_what_is_not_a_picture_of_the_formats_that_are_meant(tmp_path):
    """PostScript is a program, which Pillow would let Ghostscript run."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises(OSError, match="cannot identify image file"):
        decode(script, (3, 8, 8))
    Image.open(io.BytesIO(script))  # which is one for Pillow


def test_a_picture_that_would_fill_the_memory_is_left_out(folder, little_memory):
    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    head = (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )
    (folder / "images" / "000001.jpg").write_bytes(bomb)
    with pytest.warns(UserWarning, match="left out 1 of 80 .*DecompressionBombError"):
        module(folder, n_train=50)


@pytest.mark.parametrize("name", ["a.ndjson", "a.npz"])
def test_a_pipe_is_no_file_of_sketches(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} .*not an ordinary file"):
        Sketches(str(tmp_path / name)).setup()
