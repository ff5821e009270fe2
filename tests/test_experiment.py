"""The comparison: which trainings it consists of, whom it refuses, and what it leaves alone in its folder."""

from types import SimpleNamespace

import pytest
import yaml

from tests.run_folders import CONFIG, change_setting, made_run, resolve
from vae_zoo.compare.comparison import Comparison
from vae_zoo.compare.experiment import Experiment
from vae_zoo.errors import UserError
from vae_zoo.executors import Executor
from vae_zoo.settings import read


def made_config(folder, name, change=()):
    """A yaml whose settings are those of `made_run`."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    config["model"]["class_path"] = name.title()
    for path, value in dict(change).items():
        change_setting(config, path, value)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def experiment(tmp_path):
    """An experiment of two models, with other arguments where they are given."""
    configs = [made_config(tmp_path, name) for name in ("base", "slow")]

    def make(*overrides, **changes):
        usual = {"configs": configs, "likelihoods": ["Gaussian"], "seeds": [0], "epochs": 6, "out": tmp_path / "out"}
        return Experiment(**usual | changes, overrides=overrides, resolve=resolve)

    return make


class NotUnderstood(Executor):
    """An engine on which each job ends at once, with the status of a command that was not understood."""

    jobs = 1

    def __init__(self):
        self.started = []

    def open(self, folder):
        pass

    def start(self, job):
        self.started.append(job)
        return SimpleNamespace(status=lambda: 2, cancel=None)

    def close(self):
        pass


def test_plans(experiment, tmp_path):
    """Each configuration with each likelihood and each seed; a model without a likelihood once."""
    without = made_config(tmp_path, "without")
    config = read(without)
    del config["model"]["init_args"]["likelihood"]
    without.write_text(yaml.safe_dump(config))
    made = experiment(configs=[tmp_path / "base.yaml", without], likelihoods=["Gaussian", "Optimal"], seeds=[3, 4])
    folders = [plan.folder.relative_to(tmp_path / "out").as_posix() for plan in made.plans]
    one = ["Gaussian/base/seed_3", "Optimal/base/seed_3", "without/seed_3"]
    assert folders == one + [folder.replace("3", "4") for folder in one]
    assert str(made.plans[0]) == "base, Gaussian, seed 3" and str(made.plans[2]) == "without, seed 3"
    as_they_are = experiment(likelihoods=[])
    assert [plan.folder.name for plan in as_they_are.plans] == ["seed_0"] * 2
    assert as_they_are.plans[0].folder == tmp_path / "out" / "base" / "seed_0"


@pytest.mark.parametrize(
    "overrides, changes, message",
    [
        ((), {"epochs": 0}, "epochs must be at least 1, got 0"),
        ((), {"seeds": [-1]}, "seeds must be at least 0"),
        ((), {"seeds": [1, 1]}, "seeds: names must be unique; 1 appears twice"),
        ((), {"likelihoods": ["Gaussian", "Gaussian"]}, "likelihoods: names must be unique; Gaussian appears twice"),
        ((), {"likelihoods": ["../../../x"]}, r"out: a run \.\./\.\./\.\./x/base would leave the folder"),
        ((), {"likelihoods": ["/x"]}, "out: a run /x/base would leave the folder"),
        ((), {"base": "bas"}, "base: there is no config 'bas' in this comparison; did you mean 'base'?"),
        ((), {"claims": [{"figure": "mse"}]}, r"claims\[0\]: early is missing"),
        (("--trainer.max_epochs=5",), {}, "--trainer.max_epochs is --epochs in a comparison"),
        (("--model.likelihood=Bernoulli",), {}, "--model.likelihood is --likelihoods in a comparison"),
        (("--model.latnet=3",), {}, "none of base, slow has the argument 'latnet'"),
    ],
)
def test_what_cannot_be_compared(overrides, changes, message, experiment):
    with pytest.raises(UserError, match=message):
        experiment(*overrides, **changes)


def test_an_option_is_given_to_the_models_that_take_it(experiment, tmp_path, capsys):
    config = read(tmp_path / "slow.yaml")
    config["model"]["init_args"]["draws"] = 5
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(config))
    made = experiment("--model.draws=7", "--data.batch_size=8")
    assert "--model.draws is not given to base, which has no such argument" in capsys.readouterr().out
    given = {plan.config.stem: made._options(plan) for plan in made.plans}
    assert "--model.draws=7" in given["slow"] and "--model.draws=7" not in given["base"]
    own = {"--data.batch_size=8", "--model.likelihood=Gaussian", "--seed_everything=0", "--trainer.max_epochs=6"}
    assert all(own <= {*options} for options in given.values())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model.decoder.width": 48}, "model.decoder.init_args.width is 48 for slow, but 32 for base"),
        ({"model.lr": 0.5, "data.batch_size": 3}, "give --data.batch_size and --model.lr for all of them"),
        ({"data": {"class_path": "Sketches"}}, "give --data.class_path for all of them"),
        ({"model.lr_scheduler": {"class_path": "OneCycleLR"}}, "model.lr_scheduler is {'class_path': 'OneCycleLR'}"),
        ({"model.likelihood.sigma": 0.5}, None),  # all are given one
        ({"model.beta": 4.0}, None),  # a model's own
        ({"evaluation.metrics": []}, "evaluation.metrics is "),
    ],
)
def test_models_of_other_conditions_are_refused_before_any_training(change, message, experiment, tmp_path):
    made_config(tmp_path, "slow", change)
    if message is None:
        experiment()
        return
    with pytest.raises(UserError, match="a comparison has identical conditions: give --") as error:
        experiment()
    assert message in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "overrides, changes, message",
    [
        (("--data.image_size=32",), {}, "data.image_size is 32 here, but 64 in .*out/Gaussian/base/seed_0"),
        (("--model.latent=3",), {}, "model.latent is 3 here, but 64 in"),
        (("--model.beta=3",), {}, "model.beta is 3 here, but 1.0 in"),
        (("--data.root=other",), {}, "data.root is 'other' here, but 'data/shapes' in"),
        ((), {"epochs": 5}, "epochs is 5 here, but 6 in"),
        ((), {"epochs": 7}, "seed_0 has no checkpoints/last.ckpt to go on from; remove it to train it anew"),
    ],
)
def test_a_folder_is_refused_to_other_conditions(overrides, changes, message, experiment, tmp_path):
    made_run(tmp_path / "out", "base")
    with pytest.raises(UserError, match=message):
        experiment(*overrides, **changes)


def test_what_is_finished_is_left_alone(experiment, tmp_path, capsys):
    for name in ("base", "slow"):
        made_run(tmp_path / "out", name)
    claim = {"figure": "mse", "order": ["slow", "base"], "source": "somebody"}
    assert experiment(base="slow", claims=[claim]).run() == []
    assert "2 of 2 runs are finished" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").glob("*.yaml")] == ["comparison.yaml"]
    there = Comparison.read(tmp_path / "out")
    assert (there.configs, there.base, len(there.claims)) == (("base", "slow"), "slow", 1)
    # What comes later keeps what is there, and stands before it.
    made_run(tmp_path / "out", "flow")
    experiment(configs=[made_config(tmp_path, "flow")]).run()
    assert Comparison.read(tmp_path / "out") == Comparison(("flow", "base", "slow"), "slow", there.claims)
    experiment(claims=[]).run()
    assert Comparison.read(tmp_path / "out").claims == ()


def test_a_yaml_whose_name_leaves_the_folder_is_refused(experiment, tmp_path):
    (tmp_path / "base.yaml").rename(tmp_path / "...yaml")  # whose stem is ..
    with pytest.raises(UserError, match=r"out: a run \.\. would leave the folder"):
        experiment(configs=[tmp_path / "...yaml"], likelihoods=[])


def test_a_folder_of_something_else_is_not_filled(experiment, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nohup.out").touch()  # a file is no matter
    experiment()
    (tmp_path / "out" / "pictures").mkdir()
    with pytest.raises(UserError, match="out: .*out has pictures in it, which is of something else"):
        experiment()


def test_out_may_be_no_file(experiment, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out: .*out is a file, not a folder"):
        experiment()


def test_a_run_that_was_killed_before_its_first_last_checkpoint_begins_anew_among_what_is_of_others(
    experiment, tmp_path, monkeypatch
):
    run = made_run(tmp_path / "out", "base")
    run.results_file.unlink()
    run.checkpoint("best").parent.mkdir()
    run.checkpoint("best").touch()
    (run.folder / "notes.txt").write_text("mine")
    engine = NotUnderstood()
    made = experiment(executor=engine)
    with pytest.raises(UserError, match="it said nothing"):
        made.run()
    assert engine.started[0].commands[0][-1] == "--ckpt_path=auto"
    assert run.checkpoint("best").exists() and (run.folder / "notes.txt").read_text() == "mine"
    run.config_file.unlink()  # what has not begun is removed, but for what is of others
    with pytest.raises(UserError):
        made.run()
    assert [path.name for path in run.folder.rglob("*") if path.is_file()] == ["notes.txt"]


def test_the_base_is_the_first_where_none_is_given(experiment, tmp_path):
    assert experiment().comparison == Comparison(("base", "slow"), "base", ())
