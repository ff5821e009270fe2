"""sample, reconstruct and interpolate, and their labels."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vae_zoo as package
from tests.conftest import call, config_that, only_run, options, vae_zoo

pytestmark = pytest.mark.slow


def test_sample_and_reconstruct_write_pictures(trained, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = only_run(trained[0]) / "checkpoints" / "best.ckpt"
    words = ["sample", "--ckpt_path", checkpoint, "--n", 10, "--columns", 5]
    vae_zoo(*words, "--seed", 0, "--out", "a.png", cwd=tmp_path)  # another process draws the same
    assert call(*words, "--seed", 0, "--out", "b.png") == call(*words, "--seed", 1, "--out", "c.png") == 0
    a, b, c = (np.asarray(Image.open(f"{name}.png")) for name in "abc")
    assert a.shape == (2 * 34 + 2, 5 * 34 + 2, 3)
    assert (a == b).all() and (a != c).any()
    words = ["reconstruct", "--ckpt_path", checkpoint, "--images", shapes / "images", "--n", 6, "--out", "r.png"]
    assert call(*words) == 0
    assert Image.open("r.png").size == (6 * 34 + 2, 2 * 34 + 2)
    vae_zoo("reconstruct", "--n", 16, cwd=trained[0])  # the newest run, its own test images
    grid = torch.from_numpy(np.asarray(Image.open(trained[0] / "reconstruct.png")).copy())
    picture = only_run(trained[0]) / "images" / "reconstructions_0006.png"
    epoch = torch.from_numpy(np.asarray(Image.open(picture)).copy())
    difference = (grid.float() - epoch[: len(grid)].float()).abs()
    assert difference[2:34].max() <= 1  # the same test images as in the run's own pictures


def test_labels_come_from_the_data(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = config_that(conditional=True)
    given = ["fit", "--config", config, *options(data__root=shapes, trainer__max_epochs=1)]
    assert call(*given) == 0
    model = package.load(only_run(tmp_path) / "checkpoints" / "last.ckpt")
    assert model.labels == 5 and model.hparams["labels"] == 5
    assert (only_run(tmp_path) / "images" / "labels_0001.png").is_file()
    assert call("reconstruct", "--n", 4) == 0  # test images, whose labels are known
    for arguments in (
        ["sample", "--n", 3, "--label", "star"],
        ["reconstruct", "--images", shapes / "images", "--label", 2],
    ):
        assert call(*arguments) == 0
    capsys.readouterr()
    for arguments, message in (
        (["sample", "--label", "cat"], "--label cat: the model was trained with the labels "),
        (["sample", "--label", 5], "--label 5: the model was trained with the labels "),
        (
            ["reconstruct", "--images", shapes / "images"],
            "needs the label of what it encodes or decodes; give it with --label",
        ),
        (
            ["test", "--data.categories", "[star, circle]", "--data.n_train", 10],
            "the checkpoint was trained with the labels",
        ),
    ):
        assert call(*arguments) == 1
        assert message in capsys.readouterr().err

    # A checkpoint that does not carry the names, as one made in a notebook: their number is compared.
    path = only_run(tmp_path) / "checkpoints" / "last.ckpt"
    nameless = torch.load(path, weights_only=True)
    nameless["callbacks"].pop("Evaluation")
    del nameless["checksum"]
    torch.save(nameless, path)
    fewer = ["--data.categories", "[star, circle]", "--data.n_train", 10]
    assert call("test", *fewer) == 1
    assert "was trained with the labels 0, 1, 2, 3, 4; the data have" in capsys.readouterr().err


def test_a_model_without_labels_does_not_learn_of_them(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained[0])
    assert "labels" not in package.load(only_run(trained[0]) / "checkpoints" / "last.ckpt").hparams
    assert call("sample", "--label", 1) == 1
    assert "--label 1: VAE takes no labels" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_named(trained, tmp_path):
    checkpoint = only_run(trained[0]) / "checkpoints" / "best.ckpt"
    command = f"{Path(sys.executable).with_name('vae-zoo')} sample --ckpt_path {checkpoint} --n 64 --out small.png"
    full = ["bash", "-c", f"ulimit -f 4; {command}"]  # no file of more than 4 KB, as on a full disk
    done = subprocess.run(full, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.endswith("File too large: 'small.png'\n"), done.stderr
    assert not [*tmp_path.iterdir()]
