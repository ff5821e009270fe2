"""Fixtures: the real data where it is there, small drawn data sets, and the command run as a user types it."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch: in models this small a second thread costs more than it brings

import pytest
import torch
import yaml

from vae_zoo import models
from vae_zoo.cli import main
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.shapes import generate_shapes

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
CONFIG = str(REPOSITORY / "configs" / "vae.yaml")
SHARED = REPOSITORY.parent / "shared" / "data"

# A run of seconds: options for any config.
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
# And a small model, of a config that has such networks.
TINY = {
    "model.encoder.width": 4,
    "model.decoder.width": 4,
    "model.width": 8,
    "model.encoder_width": 16,
    "model.decoder_width": 16,
}

every_config = pytest.mark.parametrize("config", CONFIGS, ids=[config.stem for config in CONFIGS])


def options(small=SMALL, **changes):
    """SMALL as command-line options; `data__root=x` changes --data.root."""
    merged = small | {name.replace("__", "."): value for name, value in changes.items()}
    return [word for name, value in merged.items() for word in (f"--{name}", str(value))]


def options_for(config, **changes):
    """`options`, and a small model, but for model and data only what stands in the yaml, which is complete."""
    given = yaml.safe_load(Path(config).read_text())
    takes = {section: given[section]["init_args"] for section in ("data", "model")}
    words = options(SMALL | TINY, **changes)
    kept = []
    for option, value in zip(words[::2], words[1::2], strict=True):
        section, _, name = option[2:].partition(".")
        if section not in takes or name.split(".")[0] in takes[section]:
            kept += [option, value]
    return kept


def config_that(**declared):
    """The first yaml of a model that declares all this."""
    for config in CONFIGS:
        cls = vars(models)[yaml.safe_load(config.read_text())["model"]["class_path"]]
        model = cls(**cls.tiny)
        if all(getattr(model, name) == value for name, value in declared.items()):
            return config
    raise LookupError(declared)


def vae_zoo(*arguments, cwd, check=True, timeout=300):
    """Run the command as typed in a shell."""
    command = [str(Path(sys.executable).with_name("vae-zoo")), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def call(*arguments, monkeypatch=None):
    """The command in this process, seconds faster than in a new one."""
    return main([*map(str, arguments)])


def only_run(folder):
    """The one run below a folder."""
    (run,) = folder.glob("runs/*/version_*")
    return run


def shared(name):
    """A file or folder of the real data, or skip."""
    if not (SHARED / name).exists():
        pytest.skip(f"the real data {name} is not in ../shared/data")
    return SHARED / name


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A drawn COCO data set of 80 pictures."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    generate_shapes(folder, 80, seed=1)
    return folder


@pytest.fixture(scope="session")
def doodles(tmp_path_factory):
    """A file of 90 drawn sketches."""
    path = tmp_path_factory.mktemp("sketches") / "sketches.ndjson"
    generate_sketches(path, 90, seed=1)
    return path


@pytest.fixture(scope="session")
def trained(shapes, tmp_path_factory):
    """The folder of a VAE fitted and tested by the command, and what that said."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = options(data__root=shapes, trainer__max_epochs=6, images__epochs="[0,5,50]")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        assert call("fit", "--config", "vae", *arguments) == 0
        assert call("test") == 0  # the newest run, with the settings that it was trained with
    return folder, said.getvalue()


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(trained[0], tmp_path / "copy")
    return only_run(tmp_path / "copy")


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
