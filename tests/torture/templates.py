"""What cases damage: small data sets, and a run of each model, made once for all of them by the commands as typed."""

import os
import shutil
from pathlib import Path

import torch
import yaml

import vae_zoo
from tests.conftest import options_for
from vae_zoo.data.generated_sketches import generate_sketches
from vae_zoo.data.shapes import generate_shapes

CONFIGS = Path(vae_zoo.__file__).parents[1] / "configs"
MODELS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
IMAGES = [name for name in MODELS if not name.startswith("sketch")]
SMALL = {"data__n_train": 48, "data__n_test": 20, "data__n_val": 12, "data__batch_size": 16}
MEASURES = "[MSE,NLL,CodeMMD]"  # a test of seconds
FOLDER = Path(os.environ.get("TORTURE_TEMPLATES", "/nonexistent"))


def config(name):
    """The settings in a model's yaml."""
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())


def words(name, **changes):
    """The options of a training of seconds, but for its yaml."""
    given = {"data__root": template("shapes"), "data__path": template("sketches.ndjson")}
    given |= {"evaluation__metrics": MEASURES, "images__epochs": "[0]"}
    return options_for(CONFIGS / f"{name}.yaml", **given | changes)


def fit(place, name, *more, **limits):
    """Train a model in the folder `run`."""
    return place.zoo("fit", "--config", name, *words(name), "--run_dir", "run", *more, **limits)


def template(name):
    """A file or folder that was made for all cases, which none changes."""
    return FOLDER / name


def trained(place, name="vae"):
    """A copy of a model's run, in the work folder, that a case may damage; returns its last checkpoint."""
    shutil.copytree(template(f"runs/{name}"), place.work / "run")
    place.own += ("work/run/*",)
    return place.work / "run" / "checkpoints" / "last.ckpt"


def shapes(place):
    """A copy of the data set of pictures."""
    return shutil.copytree(template("shapes"), place.work / "shapes")


def saved(name="vae"):
    """What a model's last checkpoint holds."""
    return torch.load(template(f"runs/{name}/checkpoints/last.ckpt"), map_location="cpu", weights_only=True)


def makers():
    """What makes each template; runs need the data, which come first."""

    def data(_):
        generate_shapes(template("shapes"), 80, seed=1)
        generate_sketches(template("sketches.ndjson"), 90, seed=1)

    def run(name):
        def make(place):
            from tests.torture.kills import recorder

            trains = fit(place, name, kill=recorder(place))
            for done in (trains, place.zoo("test", "--run_dir", "run")):
                assert done.status == 0, f"{name}: {done.said}"
            shutil.copytree(place.work / "run", template(f"runs/{name}"))
            shutil.copy(place.base / "tmp" / "writes", template(f"runs/{name}.writes"))
            place.own = ("work/run/*",)

        return make

    return {"data": data} | {name: run(name) for name in MODELS}
