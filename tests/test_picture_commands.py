"""sample, reconstruct, interpolate and predict of each kind of model."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import vae_zoo
from tests.conftest import call, config_that, options
from tests.running import KINDS, checkpoint

pytest_plugins = ["tests.trained_runs"]
pytestmark = pytest.mark.slow


def size(path):
    return Image.open(path).size


def test_codes_of_sketches_are_predicted(runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert call("predict", "--run_dir", "sketches") == 0
    codes, model = np.load("sketches/codes.npz"), vae_zoo.load(checkpoint("sketches"))
    assert codes["z"].shape == (20, model.sample_prior(1).shape[1])
    assert set(codes["label"]) == {"circle", "star", "zigzag"}


def test_sketches_are_written_to_png_and_svg(runs, monkeypatch):
    monkeypatch.chdir(runs)
    for command, rows in (("sample", 2), ("reconstruct", 4), ("interpolate", 10)):
        words = [command, "--ckpt_path", checkpoint("sketches"), "--n", 10, "--columns", 5]
        for out in ("a.png", "b.svg"):
            assert call(*words, "--out", out) == 0
        assert size("a.png") == (5 * 66 + 2, rows * 66 + 2)
        root = ElementTree.parse("b.svg").getroot()
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 5 * rows
    written = []
    for temperature in ("0.1", "1.0", "0.1"):
        words = ["sample", "--ckpt_path", checkpoint("sketch_samples"), "--temperature", temperature]
        assert call(*words, "--out", "c.svg") == 0
        written.append(Path("c.svg").read_text())
    assert written[0] == written[2] != written[1]


def test_interpolations_of_images_go_from_test_image_to_test_image(runs, monkeypatch):
    monkeypatch.chdir(runs)
    words = ["--ckpt_path", checkpoint("images"), "--n", 3, "--columns", 6]
    assert call("interpolate", *words) == 0
    assert call("reconstruct", *words[:3], "6", "--columns", 1) == 0
    between, both = (np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("interpolate", "reconstruct"))
    assert between.shape == (3 * 34 + 2, 6 * 34 + 2, 3)
    for row in range(3):  # the reconstruction of test image `row` is the first, that of `row + 3` the last
        for column, image in ((0, row), (5, row + 3)):
            shown = between[2 + 34 * row :, 2 + 34 * column :][:32, :32]
            truth = both[2 + 34 * (2 * image + 1) :, 2:][:32, :32]
            assert np.abs(shown - truth).max() <= 1


@pytest.mark.parametrize(
    "command, name, words, message",
    [
        ("sample", "images", ["--out", "a.svg"], "{model} makes pixels, which an .svg has no use for"),
        ("sample", "images", ["--temperature", "1"], "temperature 1.0: {model} has none"),
        ("sample", "images", ["--out", "a.jpg"], "--out a.jpg: it ends in .png, or in .svg for sketches"),
        ("predict", "sketch_samples", [], "{model} has no encoder, so there are no codes to predict"),
        ("reconstruct", "sketch_samples", [], "{model} has no encoder, so it cannot reconstruct"),
        ("interpolate", "sketch_samples", [], "{model} has no codes, so it cannot interpolate"),
        ("interpolate", "labelled", [], "{model} needs the label of what it encodes or decodes; give it with --label"),
        ("interpolate", "images", ["--columns", "1"], "columns must be at least 2, got 1"),
        ("reconstruct", "sketches", ["--images", "."], "a model of sketches, (31, 5), reads no pictures"),
        ("sample", "sketches", ["--temperature", "-1"], "temperature must be at least 0, got -1"),
    ],
)
def test_what_a_picture_command_refuses(command, name, words, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    model = type(vae_zoo.load(checkpoint(name))).__name__
    assert call(command, "--ckpt_path", checkpoint(name), *words) == 1
    assert message.format(model=model) in capsys.readouterr().err and not Path("a.svg").exists()


def test_images_and_sketches_do_not_mix(shapes, doodles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--data", "Sketches", "--data.path", doodles, "--data.n_train", 40, "--data.n_test", 20]
    assert call("fit", "--config", config_that(**KINDS["samples"]), *words) == 1
    assert "shape must be (channels, height, width), got (31, 5)" in capsys.readouterr().err
    words = ["--data", "COCODataModule", *options(data__root=shapes)]
    assert call("fit", "--config", config_that(**KINDS["sketches"]), *words) == 1
    assert "shape must be (points of the longest sketch, 5), got (3, 32, 32)" in capsys.readouterr().err
