"""Fixtures: the real data where it is there, small drawn data sets, and the command run as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vae_zoo.cli import main
from vae_zoo.data.shapes import draw_shapes

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"

# A run of seconds: options for any config of images.
SMALL = {
    "data.n_train": 48,
    "data.n_test": 20,
    "data.n_val": 12,
    "data.image_size": 32,
    "data.batch_size": 16,
    "trainer.max_epochs": 2,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": "false",
    "evaluation.nll_samples": 3,
}


def options(**changes):
    """SMALL as command-line options; `data__root=x` changes --data.root."""
    merged = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    return [word for name, value in merged.items() for word in (f"--{name}", str(value))]


def vae_zoo(*arguments, cwd, check=True, timeout=300):
    """Run the command as typed in a shell."""
    command = [str(Path(sys.executable).with_name("vae-zoo")), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def call(*arguments, monkeypatch):
    """The command in this process, seconds faster than in a new one."""
    monkeypatch.setattr("sys.argv", ["vae-zoo", *map(str, arguments)])
    return main()


def shared(name):
    """A file or folder of the real data, or skip."""
    if not (SHARED / name).exists():
        pytest.skip(f"the real data {name} is not in ../shared/data")
    return SHARED / name


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A drawn COCO data set of 80 pictures."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw_shapes(folder, 80, seed=1)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _user_cache(tmp_path_factory):
    """Keep decoded images out of the user's own cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
