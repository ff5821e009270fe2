"""MNIST from a .npz and from the published files: equal pixels, and nothing that a file says is believed."""

import gzip
import math
import struct
import tracemalloc

import numpy as np
import pytest
import torch

from tests.conftest import call, shared
from tests.data_sets import images
from tests.test_dynamic_mnist import N_TRAIN, arrays
from vae_zoo.data import MNIST, DynamicMNIST
from vae_zoo.data.mnist import ARRAYS
from vae_zoo.errors import UserError


def idx(array):
    """The content of an idx file, by the published description."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder, compressed=(), **changes):
    """A folder of the published files."""
    folder.mkdir(exist_ok=True)
    for name, array in (arrays() | changes).items():
        content = array if isinstance(array, bytes) else idx(array)
        if name in compressed:
            (folder / f"{ARRAYS[name]}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / ARRAYS[name]).write_bytes(content)
    return folder


def module(path, cls=MNIST, **changes):
    data = cls(str(path), **{"n_val": 10, "batch_size": 16, **changes})
    data.setup()
    return data


@pytest.mark.parametrize("compressed", [(), ("train_images", "test_labels"), tuple(ARRAYS)])
@pytest.mark.parametrize("cls", [MNIST, DynamicMNIST])
def test_all_forms_of_the_files_give_equal_pixels(cls, compressed, tmp_path):
    np.savez(tmp_path / "mnist.npz", **arrays())
    one, two = module(tmp_path / "mnist.npz", cls), module(write(tmp_path / "idx", compressed), cls)
    assert one.split_sha256 == two.split_sha256
    for part in ("train", "val", "test"):
        for a, b in zip(images(one, part), images(two, part), strict=True):
            assert torch.equal(a, b)


def test_pixels_are_the_grey_values_with_their_labels(tmp_path):
    data = module(write(tmp_path / "idx"))
    assert data.facts.shape == (1, 28, 28) and data.facts.label_names == tuple("0123456789")
    assert {part: len(ids) for part, ids in data.split.items()} == {"train": 40, "val": 10, "test": 12}
    assert sorted(data.split["train"] + data.split["val"]) == sorted(f"train/{row}" for row in range(N_TRAIN))
    for part in ("train", "val", "test"):
        name, rows = ("test" if part == "test" else "train"), [int(id_.split("/")[1]) for id_ in data.split[part]]
        ((x, y),) = data.batches(part, 100)
        assert torch.equal(x, torch.from_numpy(arrays()[f"{name}_images"][rows])[:, None].float() / 255)
        assert y.tolist() == arrays()[f"{name}_labels"][rows].tolist()
    some = torch.cat([x for x, _ in data.batches("test", 2, [7, 1, 4])])
    assert torch.equal(some, images(data, "test")[0][[7, 1, 4]])


def bomb():
    """A file that unpacks to much more than it says."""
    return gzip.compress(idx(arrays()["train_images"]) + bytes(2**26), 1)


GOOD = idx(arrays()["train_images"])


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no train-images-idx3-ubyte or train-images-idx3-ubyte.gz in"),
        (b"", "it does not begin as an idx file of bytes does"),
        (b"\0\0\x0d\3" + GOOD[4:], "it does not begin as an idx file of bytes does"),  # floats
        (b"\0\0\x08\xff" + GOOD[4:], "it does not begin as an idx file of bytes does"),
        (GOOD[:9], "it ends in its header"),
        (GOOD[:-1], f"its header says {N_TRAIN * 784} bytes, and {N_TRAIN * 784 - 1} follow"),
        (GOOD + b"\0", f"its header says {N_TRAIN * 784} bytes, and more follow"),
        (b"\0\0\x08\3" + b"\xff" * 12, f"it has {(2**32 - 1) ** 3} bytes, more than the {2**31} that are read"),
        (idx(np.zeros((N_TRAIN, 784), np.uint8)), r"train_images is \(50, 784\) uint8; it must be"),
        (idx(np.zeros((N_TRAIN + 1, 28, 28), np.uint8)), "train_labels must be a whole number from 0 to 9 for each of"),
        (idx(np.zeros((0, 28, 28), np.uint8)), r"train_images is \(0, 28, 28\) uint8; it must be"),
    ],
)
@pytest.mark.parametrize("compressed", [(), ("train_images",)])
def test_damaged_files_are_told_in_one_sentence(content, message, compressed, tmp_path):
    write(tmp_path / "idx", compressed, train_images=content or b"")
    if content is None:
        for file in (tmp_path / "idx").glob("train-images*"):
            file.unlink()
    with pytest.raises(UserError, match=message):
        module(tmp_path / "idx")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no gzip", "train-images-idx3-ubyte.gz is not this file of MNIST: Not a gzipped file"),
        (gzip.compress(GOOD)[:-20], "is not this file of MNIST: Compressed file ended"),
        (gzip.compress(GOOD)[:-8] + b"\1\2\3\4\5\6\7\x08", "is not this file of MNIST: CRC check failed"),
    ],
)
def test_damaged_archives_are_told_in_one_sentence(content, message, tmp_path):
    folder = write(tmp_path / "idx")
    (folder / ARRAYS["train_images"]).unlink()
    (folder / f"{ARRAYS['train_images']}.gz").write_bytes(content)
    with pytest.raises(UserError, match=message):
        module(folder)


def test_an_archive_unpacks_to_no_more_than_its_header_says(tmp_path):
    folder = write(tmp_path / "idx")
    (folder / ARRAYS["train_images"]).unlink()
    (folder / f"{ARRAYS['train_images']}.gz").write_bytes(bomb())
    tracemalloc.start()
    with pytest.raises(UserError, match="and more follow"):
        module(folder)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    folder = write(tmp_path / "idx")
    secret = (folder / ARRAYS["test_labels"]).rename(tmp_path / "secret")
    (folder / ARRAYS["test_labels"]).symlink_to(secret)
    with pytest.raises(UserError, match="a link that leads out of"):
        module(folder)


def test_no_image_left_to_train_on(tmp_path):
    with pytest.raises(UserError, match="data.n_val = 50 leaves none of the 50 images to train on"):
        module(write(tmp_path / "idx"), n_val=N_TRAIN)


@pytest.mark.slow
def test_a_model_is_trained_on_it_by_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "idx", tuple(ARRAYS))
    words = ["--data", "MNIST", "--data.root", "idx", "--data.n_val", 10, "--data.batch_size", 20]
    quick = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--run_dir", "run"]
    assert call("fit", "--config", "paper/vae_mnist", *words, *quick) == 0


@pytest.mark.slow
def test_the_real_digits():
    data = MNIST(str(shared("mnist.npz")))
    data.setup()
    assert [len(data.split[part]) for part in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    total = sum(
        math.fsum(x.double().sum((1, 2, 3)).tolist()) for p in ("train", "val") for x, _ in data.batches(p, 1000)
    )
    assert 255 * total / (60_000 * 784) == pytest.approx(33.318421, abs=1e-5)  # as published
    assert data.parts["test"].labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
