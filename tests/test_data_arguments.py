"""What a data module is given by Python is checked once for all of them."""

import numpy as np
import pytest

from vae_zoo.data import MNIST, BinarizedMNIST, COCODataModule, COCOSketches, DynamicMNIST, FreyFaces, Sketches
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.errors import UserError

COUNTS = {
    COCODataModule: ("n_train", "n_test", "batch_size", "min_size", "seed"),
    COCOSketches: ("batch_size", "seed"),
    Sketches: ("batch_size", "seed"),
    BinarizedMNIST: ("batch_size",),
    DynamicMNIST: ("n_val", "batch_size", "seed"),
    MNIST: ("n_val", "batch_size", "seed"),
    FreyFaces: ("block", "test_blocks", "val_blocks", "batch_size", "seed"),
}
MAY_BE_NONE = {
    COCODataModule: ("n_val", "workers"),
    COCOSketches: ("n_train", "n_test", "n_val", "max_length"),
    Sketches: ("n_train", "n_test", "n_val", "max_length"),
}


def pairs(table):
    return [(cls, name) for cls, names in table.items() for name in names]


@pytest.mark.parametrize("cls, name", pairs(COUNTS) + pairs(MAY_BE_NONE))
def test_a_count_or_a_seed_is_a_whole_number_that_makes_sense(cls, name):
    optional = name in MAY_BE_NONE.get(cls, ())
    for bad in ([] if optional else [None]) + [-1, 10**30, 1.5, float("nan"), True, "7", [7], {}]:
        with pytest.raises(UserError, match=f"{name} must be (a whole number|at least \\d|at most \\d+), got"):
            cls("x", **{name: bad})
    cls("x", **{name: np.int64(7)})
    if optional:
        cls("x", **{name: None})


@pytest.mark.parametrize(
    "cls, name",
    [
        *((COCODataModule, "max_unreadable"), (COCOSketches, "epsilon"), (COCOSketches, "min_area")),
        *((Sketches, "random_scale"), (Sketches, "drop_points")),
    ],
)
def test_a_number_is_finite(cls, name):
    for bad in (None, -0.1, float("nan"), float("inf"), "0.1", True):
        with pytest.raises(UserError, match=f"{name} must be "):
            cls("x", **{name: bad})


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("bad", [None, 5, "a\0b", "~nobody-of-this-name/x", "x" * 5000])
def test_a_path_is_one(cls, bad):
    with pytest.raises(UserError, match=r"data.(root|path) must be the path of a file or a folder, got"):
        cls(bad)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"image_size": (1, 2, 3)}, "image_size must be one number, or height and width"),
        ({"image_size": 0}, "image_size must be at least 1, got 0"),
        ({"image_size": (16, None)}, "image_size must be a whole number, got None"),
        ({"image_size": "64"}, "image_size must be a whole number, got '64'"),
        ({"image_size": 10**6}, "image_size must be at most 16384"),
        ({"channels": [3]}, "channels must be 1"),
        ({"categories": "star"}, "categories must be a list of names, got 'star'"),
        ({"categories": [["star"]]}, "categories must be a list of names"),
        ({"augment": [7]}, "augment must be transforms"),
        ({"cache_dir": "a\0b"}, "data.cache_dir must be the path"),
    ],
)
def test_what_else_pictures_are_given(given, message):
    with pytest.raises(UserError, match=message):
        COCODataModule("x", **given)


def test_the_generated_sets_have_a_seed_and_a_number(tmp_path):
    for generate, name in ((generate_shapes, "s"), (generate_sketches, "s.ndjson")):
        for n, seed in ((0, 0), (None, 0), (1.5, 0), (1, -1), (1, None)):
            with pytest.raises(UserError, match="(n|seed) must be (a whole number|at least)"):
                generate(tmp_path / name, n, seed)
    assert list(tmp_path.iterdir()) == []
