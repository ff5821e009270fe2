"""The options of the data as a yaml or a command line writes them."""

import pytest
from jsonargparse import ArgumentParser
from torchvision.transforms import v2

from vae_zoo import data as data_modules
from vae_zoo.data import DataModule


def parsed(*arguments):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(DataModule, "data")
    config = parser.parse_args([*map(str, arguments)])
    again = parser.parse_string(parser.dump(config))  # as a run's config.yaml is read
    assert again.data == config.data
    return parser.instantiate(config).data


@pytest.mark.parametrize("given, shape", [("48", (3, 48, 48)), ("[48,96]", (3, 48, 96)), ("[48, 96]", (3, 48, 96))])
def test_the_size_is_one_number_or_height_and_width(given, shape, tmp_path):
    assert parsed("--data=COCODataModule", "--data.root=x", "--data.image_size", given).shape == shape
    (tmp_path / "a.yaml").write_text(
        f"data: {{class_path: COCODataModule, init_args: {{root: x, image_size: {given}}}}}"
    )
    assert parsed("--config", tmp_path / "a.yaml").shape == shape


FLIP = "{class_path: torchvision.transforms.v2.RandomHorizontalFlip, init_args: {p: 0.25}}"


@pytest.mark.parametrize(
    "given, kinds",
    [
        ("null", []),
        (FLIP, [v2.RandomHorizontalFlip]),
        ("RandomHorizontalFlip", [v2.RandomHorizontalFlip]),
        (f"[{FLIP}, {{class_path: RandomRotation, init_args: {{degrees: [-10, 10]}}}}]", None),
        (f"{{class_path: Compose, init_args: {{transforms: [{FLIP}, {FLIP}]}}}}", [v2.Compose]),
        (f"{{class_path: RandomApply, init_args: {{transforms: [{FLIP}], p: 0.1}}}}", [v2.RandomApply]),
    ],
)
def test_augmentation_is_a_transform_or_a_list_of_them(given, kinds, tmp_path):
    (tmp_path / "a.yaml").write_text(f"data: {{class_path: COCODataModule, init_args: {{root: x, augment: {given}}}}}")
    data = parsed("--config", tmp_path / "a.yaml")
    found = [type(transform) for transform in data.augment]
    assert found == (kinds if kinds is not None else [v2.RandomHorizontalFlip, v2.RandomRotation])


@pytest.mark.parametrize(
    "path, name",
    [
        ("COCODataModule", "COCODataModule"),
        ("vae_zoo.data.COCODataModule", "COCODataModule"),
        ("vae_zoo.data.coco.COCODataModule", "COCODataModule"),
        ("vae_zoo.data.COCOSketches", "COCOSketches"),
        ("vae_zoo.data.outlines.COCOSketches", "COCOSketches"),  # where it was in the first version
        ("vae_zoo.data.binarized_mnist.BinarizedMNIST", "BinarizedMNIST"),
        ("vae_zoo.data.dynamic_mnist.DynamicMNIST", "DynamicMNIST"),
        ("vae_zoo.data.frey_faces.FreyFaces", "FreyFaces"),
        ("vae_zoo.data.sketches.Sketches", "Sketches"),
    ],
)
def test_every_class_path_of_a_yaml_keeps_resolving(path, name):
    cls = getattr(data_modules, name)
    where = "--data.path=x" if name == "Sketches" else "--data.root=x"
    assert type(parsed(f"--data={path}", where)) is cls
