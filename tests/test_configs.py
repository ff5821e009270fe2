"""The yamls that come with the package."""

import pytest
import yaml

from tests.conftest import REPOSITORY
from vae_zoo import models
from vae_zoo.cli.options import resolve

COMPARED = ("vae", "iwae", "iaf", "aae")


def test_the_compared_models_share_all_that_they_should():
    """Whatever two of the four configs both say, they say alike; and all four say what makes the conditions equal."""
    given = {name: yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text()) for name in COMPARED}
    arguments = {name: config["model"]["init_args"] for name, config in given.items()}
    shared_arguments = {"latent", "encoder", "decoder", "likelihood", "lr"}
    for name in COMPARED[1:]:
        assert given[name].keys() == given["vae"].keys()
        for section in given["vae"].keys() - {"model"}:
            assert given[name][section] == given["vae"][section], (name, section)
        assert shared_arguments <= arguments[name].keys()
        for key in arguments[name].keys() & arguments["vae"].keys() - {"samples"}:
            assert arguments[name][key] == arguments["vae"][key], (name, key)
        assert given[name]["model"]["class_path"] != given["vae"]["model"]["class_path"]
    assert arguments["iaf"]["samples"] == arguments["vae"]["samples"] == 1 < arguments["iwae"]["samples"]
    # Another number of features or latents would be another network: the sizes follow from latent alone.
    built = {name: getattr(models, given[name]["model"]["class_path"])() for name in COMPARED}
    decoders = {str(model.likelihood) for model in built.values()}
    assert len(decoders) == 1
    assert len({str(list(model.posterior.encoder)[:-1]) for model in built.values()}) == 1


YAMLS = [path for path in sorted((REPOSITORY / "configs").rglob("*.yaml")) if path.parent.name != "compare"]
TRAININGS = [path for path in YAMLS if "model" in yaml.safe_load(path.read_text())]  # others are laid over these


@pytest.mark.parametrize("config", TRAININGS, ids=lambda path: path.stem)
def test_config_says_everything(config):
    """Each argument of the classes that it names is there."""
    given = yaml.safe_load(config.read_text())
    whole = resolve(config, [])  # without what the data tell
    former = {"samples"} & whole["images"].keys()  # which yamls of earlier runs have
    for key in ("model", "data"):
        ours, all_ = (each[key]["init_args"] for each in (given, whole))
        assert set(ours) == set(all_) - (former if key == "images" else set())


@pytest.mark.parametrize("config", YAMLS, ids=lambda path: path.stem)
def test_config_explains_what_it_says(config):
    """Each key that needs it has a comment."""
    lines = [line for line in config.read_text().splitlines() if ": " in line and not line.startswith("#")]
    explained = {line.split(":")[0].strip() for line in lines if "#" in line}
    plain = {line.split(":")[0].strip() for line in lines} - explained
    assert plain <= {"class_path", "batch_size", "columns", "max_epochs"}
