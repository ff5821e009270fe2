"""No command replaces a file that this package did not write, and each replaces its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import call
from vae_zoo.marks import is_own

pytest_plugins = ["tests.trained_runs"]

VAE = ["--ckpt_path", "images/checkpoints/last.ckpt"]
PICTURES = [f"pictures/{number}.png" for number in range(7)]
SKETCHES = ["--ckpt_path", "sketches/checkpoints/last.ckpt"]
OUTPUTS = {
    "a.png": ["sample", *VAE, "--n", 2, "--out", "a.png"],
    "b.svg": ["sample", *SKETCHES, "--n", 2, "--out", "b.svg"],
    "c.gif": ["interpolate", *VAE, "--n", 1, "--out", "c.gif"],
    "d.webp": ["interpolate", *VAE, "--n", 1, "--out", "d.webp"],
    "e.json": ["interpolate", *VAE, "--n", 1, "--out", "e.png"],
    "f.png": ["map", *VAE, "--n", 10, "--samples", 4, "--out", "f.png"],
    "g.npz": ["encode", "pictures", *VAE, "--out", "g.npz"],
    "h.parquet": ["encode", "pictures", *VAE, "--out", "h.parquet"],
    "i.npz": ["arithmetic", *VAE, "--with", *PICTURES[:3], "--without", *PICTURES[3:6], "--n", 1, "--save", "i.npz"],
    "j.html": ["explore", "images", "--html", "j.html"],
    "k.png": ["duplicates", "pictures", "--out", "k.json"],
    "l.json": ["duplicates", "pictures", "--out", "l.json"],
    "m.png": ["memorised", *VAE, "--n", 4, "--out", "m.png"],
    "n.png": ["neighbours", "pictures/0.png", "--among", "pictures", *VAE, "--n", 2, "--out", "n.png"],
    "o.svg": ["complete", *SKETCHES, "--points", 2, "--n", 1, "--temperatures", 0, "--out", "o.svg"],
}


@pytest.fixture
def place(runs, monkeypatch):
    monkeypatch.chdir(runs)
    (runs / "pictures").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (7, 40, 40, 3), np.uint8)
    for name, picture in zip(PICTURES, pixels, strict=True):
        Image.fromarray(picture).save(runs / name)
    shutil.copy("pictures/0.png", "pictures/double.png")
    return runs


def write_mine(path):
    """A file of the same kind as another program writes it, with words that this package uses, too."""
    ones = np.ones(3, np.uint8)
    if path.suffix in (".png", ".gif", ".webp"):
        Image.fromarray(np.ones((5, 5), np.uint8)).save(path)
    elif path.suffix == ".npz":
        np.savez(path, z=ones, weights=ones)
    elif path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").table({"z": ones, "weights": ones}), path)
    elif path.suffix == ".json":
        path.write_text('{\n  "command": "npm run build"\n}\n')
    else:
        path.write_text("<html>vae-zoo</html>")


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_command_replaces_its_own_file_and_no_other(name, place, capsys):
    command = OUTPUTS[name]
    for write in (write_mine, Path.mkdir, lambda path: path.symlink_to("pictures")):
        write(place / name)
        before = {path: path.lstat().st_mtime_ns for path in place.rglob("*")}
        assert call(*command) == 1
        assert f"{name} is there, without the mark of a file that vae-zoo wrote" in capsys.readouterr().err
        assert {path: path.lstat().st_mtime_ns for path in place.rglob("*")} == before
        (place / name).rmdir() if write == Path.mkdir else (place / name).unlink()
    assert call(*command) == 0 == call(*command), capsys.readouterr().err
    assert is_own(place / name)


def test_a_sheet_of_duplicates_is_gone_when_there_are_none(place):
    assert call("duplicates", "pictures") == 0
    assert (place / "duplicates.png").exists()
    assert call("duplicates", "pictures/0.png", "pictures/1.png") == 0
    assert not (place / "duplicates.png").exists()
