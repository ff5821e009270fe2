"""The command `vae-zoo compare`: its words, its yamls, and mistakes in both."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, call


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["--epoch", "3"], 2, "there is no option --epoch; did you mean '--epochs'?"),
        (["--data.root"], 2, "--data.root needs a value"),
        (["--configs", "no.yaml"], 2, "there is no configuration file no.yaml"),
        (["--config", "mine.yaml"], 2, "mine.yaml: there is no key 'seed'; did you mean 'seeds'?"),
        (["--seed_everything", "3"], 2, "there is no option --seed_everything; it is --seeds here"),
        (["--config", "blank.yaml"], 2, "blank.yaml: likelihoods has no value; leave it out for the default"),
        (["--out", "mine.yaml"], 1, "out: mine.yaml is a file, not a folder"),
        (["--config", "claims.yaml"], 1, "claims[0].order: there is no config 'nobody' in this comparison"),
        (["--base", "nobody"], 1, "base: there is no config 'nobody' in this comparison"),
        (["--model.latnet=3"], 1, "has the argument 'latnet'"),
    ],
)
def test_mistakes_on_the_command_line(words, status, message, tmp_path, monkeypatch, capsys):
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    (tmp_path / "blank.yaml").write_text("likelihoods:\n")
    (tmp_path / "claims.yaml").write_text("claims: [{figure: mse, order: [nobody, no], source: me}]\n")
    monkeypatch.chdir(tmp_path)
    assert call("compare", *words, monkeypatch=monkeypatch) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "comparison").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs" / "compare").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_comparisons_are_understood(path, tmp_path, monkeypatch):
    """Each of the yamls is one comparison under identical conditions, and each of its options one that fit knows."""
    from vae_zoo.cli.compare import parse

    monkeypatch.chdir(tmp_path)
    given = yaml.safe_load(path.read_text())
    experiment = parse(["--config", str(path), "--seeds", "3"])
    likelihoods = {config.stem: [] for config in experiment.given}
    for plan in experiment.plans:
        likelihoods[plan.config.stem].append(plan.likelihood)
    assert list(likelihoods) == [Path(config).stem for config in given["configs"]]
    assert all(each in (given["likelihoods"], [None]) for each in likelihoods.values())  # a model without any: once
    assert {plan.seed for plan in experiment.plans} == {3}
    assert experiment.epochs == given["epochs"] and str(experiment.out) == given["out"]
    assert experiment.comparison.base == given["base"]
    assert len(experiment.comparison.claims) == len(given.get("claims", ()))


def test_the_original_experiment_has_its_three_claims():
    claims = yaml.safe_load((REPOSITORY / "configs" / "compare" / "full.yaml").read_text())["claims"]
    assert [claim["figure"] for claim in claims] == ["mse", "seconds_per_epoch", "mse"]
    assert (claims[2]["early"]["epoch"], claims[2]["late"]["epoch"]) == (5, 100)


def test_other_models_need_not_be_those_of_a_yamls_base_and_claims(tmp_path, monkeypatch):
    from vae_zoo.cli.compare import parse

    monkeypatch.chdir(tmp_path)
    experiment = parse(["--config", "compare/full", "--configs", "ae", "aae", "--out", "c"])
    assert [config.stem for config in experiment.given] == ["ae", "aae"]
    assert experiment.comparison.base == "ae" and not experiment.comparison.claims


def test_values_in_a_list_of_a_yaml_are_read_as_they_are(tmp_path, monkeypatch):
    from vae_zoo.cli.compare import parse

    monkeypatch.chdir(tmp_path)
    metrics = [{"class_path": "MSE"}, {"class_path": "NLL", "init_args": {"samples": None}}]
    Path("mine.yaml").write_text(yaml.safe_dump({"configs": ["vae"], "evaluation": {"metrics": metrics}}))
    experiment = parse(["--config", "mine.yaml"])
    (config,) = experiment.given
    found = experiment.resolve(config, experiment.overrides)["evaluation"]["metrics"]
    assert found[1]["init_args"]["samples"] is None
