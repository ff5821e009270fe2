"""The probe: what a linear classifier makes of features, and the command."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, call, options, options_for
from vae_zoo.errors import UserError
from vae_zoo.metrics.probe import balanced, probe


def clusters(n, classes=4, noise=0.1, seed=0):
    """Features around a corner of the cube for each class, on very different scales."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = np.eye(classes)[y] + noise * rng.normal(size=(n, classes))
    return x * 10.0 ** np.arange(classes) + 1e3, y


def test_it_finds_what_is_there_and_nothing_else():
    found = probe(clusters(400), clusters(200, seed=1), few=(20, 1000), draws=3)
    assert found["accuracy"] == 1 and found["error"]["20"]["mean"] < 0.02 and found["error"]["1000"] is None
    assert (found["features"], found["labels"], found["n_train"], found["n_test"]) == (4, 4, 400, 200)
    assert found["converged"] and not probe(clusters(400), clusters(200), few=(), max_iter=1)["converged"]
    train, test = clusters(400), clusters(200, seed=1)
    rng = np.random.default_rng(0)
    nothing = probe((train[0], rng.permutation(train[1])), (test[0], rng.permutation(test[1])), few=(40,))
    assert 0.15 < nothing["accuracy"] < 0.35 and nothing["error"]["40"]["mean"] == pytest.approx(0.75, abs=0.1)
    assert nothing["error"]["40"]["std"] > 0
    common = np.bincount(train[1]).argmax()
    assert found["chance"] == pytest.approx((test[1] == common).mean())


def test_more_labels_help_and_the_seed_fixes_the_draws():
    train, test = clusters(600, noise=0.6), clusters(400, noise=0.6, seed=1)
    found = probe(train, test, few=(8, 400))
    assert found["error"]["8"]["mean"] > found["error"]["400"]["mean"] > 0
    assert found["error"]["400"]["mean"] == pytest.approx(1 - found["accuracy"], abs=0.03)
    assert probe(train, test, few=(8, 400)) == found != probe(train, test, few=(8, 400), seed=1)


def test_units_and_origins_of_the_features_do_not_matter():
    (x, y), (x_test, y_test) = clusters(300, noise=0.6), clusters(300, noise=0.6, seed=1)
    plain, moved = (probe((a, y), (b, y_test), few=(30,)) for a, b in ((x, x_test), (1e3 * x - 7, 1e3 * x_test - 7)))
    assert plain == moved
    bent = x * [1e-3, 1, 1e3, 1]
    assert probe((bent, y), (x_test * [1e-3, 1, 1e3, 1], y_test), few=(30,)) == plain


def test_few_labels_are_of_all_classes_alike():
    y = np.repeat([0, 1, 2], [50, 30, 3])
    seen = []
    for seed in range(20):
        rows = balanced(y, 12, np.random.default_rng(seed))
        assert len(set(rows)) == 12 and np.bincount(y[rows]).tolist() in ([5, 4, 3], [4, 5, 3])
        seen.append(tuple(sorted(rows)))
    assert len(set(seen)) == 20


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": (np.zeros((9, 2)), np.zeros(9, int))}, "a probe needs two labels or more, these data have one"),
        ({"few": (0,)}, "few must be at least 2, got 0"),
        ({"c": 0.0}, "c must be positive"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_what_cannot_be_probed(change, message):
    with pytest.raises(UserError, match=message):
        probe(**{"train": clusters(50), "test": clusters(50), "few": (10,)} | change)


@pytest.fixture(scope="module")
def runs(shapes, doodles, tmp_path_factory):
    """A folder with a run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("vae", "cvae", "dcgan", "sketch_rnn", "sketch_decoder"):
            config = REPOSITORY / "configs" / f"{name}.yaml"
            words = options_for(config, data__root=shapes, data__path=doodles, trainer__max_epochs=1)
            assert call("fit", "--config", config, *words, "--run_dir", name, monkeypatch=patch) == 0
    return folder


@pytest.mark.parametrize("name, features", [("vae", 64), ("dcgan", 16 * (32 + 64 + 128)), ("sketch_rnn", 128)])
def test_the_command_probes_any_model_with_features(name, features, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    command = ["probe", "--ckpt_path", f"{name}/checkpoints/last.ckpt", "--few", 20, 1000, "--draws", 2]
    assert call(*command, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    found = json.loads(Path(name, "probe.json").read_text())
    assert (found["features"], found["n_train"], found["n_test"]) == (features, 48, 20)
    assert f"accuracy      {found['accuracy']:.4f}" in said and "n/a, there are not 1000 labels" in said
    assert 0 <= found["accuracy"] <= 1 and found["error"]["1000"] is None and 0 < found["chance"] < 1
    assert call(*command, monkeypatch=monkeypatch) == 0
    assert json.loads(Path(name, "probe.json").read_text()) == found


@pytest.mark.parametrize(
    "name, message",
    [
        ("cvae", "CVAE's encoder is given the label"),
        ("sketch_decoder", "SketchDecoder has no encoder or discriminator"),
    ],
)
def test_a_model_without_features_is_refused(name, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert call("probe", "--ckpt_path", f"{name}/checkpoints/last.ckpt", monkeypatch=monkeypatch) == 1
    assert message in capsys.readouterr().err


# --- pictures of these runs


def size(path):
    return Image.open(path).size


def test_codes_of_sketches_are_predicted(runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert call("predict", "--run_dir", "sketch_rnn", monkeypatch=monkeypatch) == 0
    codes = np.load("sketch_rnn/codes.npz")
    assert codes["z"].shape == (20, 128) and set(codes["label"]) == {"circle", "star", "zigzag"}


def test_sketches_are_drawn_to_png_and_svg(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for command, rows in (("sample", 2), ("reconstruct", 4), ("interpolate", 10)):
        words = [command, "--ckpt_path", "sketch_rnn/checkpoints/last.ckpt", "--n", 10, "--columns", 5]
        for out in ("a.png", "b.svg"):
            assert call(*words, "--out", out, monkeypatch=monkeypatch) == 0
        assert size("a.png") == (5 * 66 + 2, rows * 66 + 2)
        root = ElementTree.parse("b.svg").getroot()
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == 5 * rows
    written = []
    for temperature in ("0.1", "1.0", "0.1"):
        words = ["sample", "--ckpt_path", "sketch_decoder/checkpoints/last.ckpt", "--temperature", temperature]
        assert call(*words, "--out", "c.svg", monkeypatch=monkeypatch) == 0
        written.append(Path("c.svg").read_text())
    assert written[0] == written[2] != written[1]


def test_interpolations_of_images_go_from_test_image_to_test_image(runs, monkeypatch):
    monkeypatch.chdir(runs)
    words = ["--ckpt_path", "vae/checkpoints/last.ckpt", "--n", 3, "--columns", 6]
    assert call("interpolate", *words, monkeypatch=monkeypatch) == 0
    assert call("reconstruct", *words[:3], "6", "--columns", 1, monkeypatch=monkeypatch) == 0
    between, both = (np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("interpolate", "reconstruct"))
    assert between.shape == (3 * 34 + 2, 6 * 34 + 2, 3)
    for row in range(3):  # the reconstruction of test image `row` is the first, that of `row + 3` the last
        for column, image in ((0, row), (5, row + 3)):
            shown = between[2 + 34 * row :, 2 + 34 * column :][:32, :32]
            truth = both[2 + 34 * (2 * image + 1) :, 2:][:32, :32]
            assert np.abs(shown - truth).max() <= 1


@pytest.mark.parametrize(
    "words, message",
    [
        (["sample", "--ckpt_path", "vae", "--out", "a.svg"], "VAE makes pixels, which an .svg has no use for"),
        (["sample", "--ckpt_path", "vae", "--temperature", "1"], "--temperature 1.0: VAE has none"),
        (["sample", "--ckpt_path", "vae", "--out", "a.jpg"], "--out a.jpg: it ends in .png, or in .svg for sketches"),
        (
            ["predict", "--ckpt_path", "sketch_decoder"],
            "SketchDecoder has no encoder, so there are no codes to predict",
        ),
        (["reconstruct", "--ckpt_path", "sketch_decoder"], "SketchDecoder has no encoder, so it cannot reconstruct"),
        (["interpolate", "--ckpt_path", "dcgan"], "DCGAN has no encoder, so it cannot interpolate"),
        (["interpolate", "--ckpt_path", "cvae"], "CVAE needs the label of what lies between; give it with --label"),
        (["interpolate", "--ckpt_path", "vae", "--columns", "1"], "columns must be at least 2, got 1"),
        (["reconstruct", "--ckpt_path", "sketch_rnn", "--images", "."], "SketchRNN reads sketches, not pictures"),
        (["sample", "--ckpt_path", "sketch_rnn", "--temperature", "-1"], "temperature must be at least 0, got -1"),
    ],
)
def test_what_a_picture_command_refuses(words, message, runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    words[2] = f"{words[2]}/checkpoints/last.ckpt"
    assert call(*words, monkeypatch=monkeypatch) == 1
    assert message in capsys.readouterr().err and not Path("a.svg").exists()


def test_images_and_sketches_do_not_mix(shapes, doodles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = REPOSITORY / "configs"
    words = ["--data", "Sketches", "--data.path", doodles, "--data.n_train", 40, "--data.n_test", 20]
    assert call("fit", "--config", config / "dcgan.yaml", *words, monkeypatch=monkeypatch) == 1
    assert "shape must be (channels, height, width), got (31, 5)" in capsys.readouterr().err
    words = ["--data", "COCODataModule", *options(data__root=shapes)]
    assert call("fit", "--config", config / "sketch_rnn.yaml", *words, monkeypatch=monkeypatch) == 1
    assert "shape must be (points of the longest sketch, 5), got (3, 32, 32)" in capsys.readouterr().err
