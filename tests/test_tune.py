"""A search: its space, whom it stops early, what it takes for the best, and that it goes on where it was killed."""

import csv
import math
import sys

import pytest
import yaml

from tests.conftest import SMALL, call
from tests.run_folders import CONFIG, resolve
from vae_zoo.errors import UserError
from vae_zoo.executors import Executor, Handle
from vae_zoo.runs import Run
from vae_zoo.settings import read
from vae_zoo.tune.search import Search
from vae_zoo.tune.space import parse_space

optuna = pytest.importorskip("optuna")

SPACE = {
    "model.latent": {"low": 2, "high": 64, "log": True},
    "model.encoder.width model.decoder.width": [8, 16, 32],
    "model.lr": {"low": 1e-4, "high": 1e-2, "log": True},
}
EPOCHS = 9


def loss_of(words, epoch):
    """A loss that is least at a latent of 16 and a rate of .001, and the wider the networks are; it falls by epoch."""
    given = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    latent, lr = float(given["model.latent"]), float(given["model.lr"])
    assert given["model.encoder.width"] == given["model.decoder.width"]
    distance = math.log2(latent / 16) ** 2 + math.log10(lr / 1e-3) ** 2 + 8 / float(given["model.encoder.width"])
    return distance + 1 / epoch


class Formula(Executor):
    """An engine on which each look at a training finds it an epoch further, with the loss that the formula gives.

    Args:
        jobs: at a time.
        looks: after so many Ctrl-C is pressed; None: never.
        losses: of the options and the epoch.
        quick: whether a training has come to its end by the first look.
    """

    def __init__(self, jobs=1, looks=None, losses=loss_of, quick=False):
        self.jobs, self.looks, self.losses, self.quick = jobs, looks, losses, quick
        self.started, self.cancelled = [], []

    def open(self, folder):
        pass

    def close(self):
        pass

    def start(self, job):
        engine, run = self, Run(job.folder)
        engine.started.append(job)

        class Training(Handle):
            def status(self):
                if engine.looks is not None:
                    engine.looks -= 1
                    if engine.looks < 0:
                        raise KeyboardInterrupt
                while engine.quick and self.trained() is None:
                    pass
                return self.trained()

            def trained(self):
                done = len(run.metrics_file.read_text().splitlines()) - 1 if run.metrics_file.exists() else 0
                if done == job.epochs:
                    return 0
                with open(run.metrics_file, "a") as file:
                    if not done:
                        print("epoch,step,val/loss,timing/train_seconds", file=file)
                    print(f"{done},{done},{engine.losses(job.commands[0], done + 1)},{done}", file=file)
                return None

            def cancel(self):
                engine.cancelled.append(job)

        return Training()


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search over the formula, with other arguments where they are given."""
    monkeypatch.setattr("vae_zoo.executors.pool.POLL", 0.0)
    config = tmp_path / "base.yaml"
    config.write_text(yaml.safe_dump(CONFIG))

    def make(executor=None, space=SPACE, out="out", **changes):
        usual = {"figure": "loss", "better": -1, "trials": 12, "epochs": EPOCHS, "overrides": []}
        usual |= {"out": tmp_path / out, "executor": executor or Formula(), "resolve": resolve}
        return Search(config, parse_space(space), **usual | changes)

    return make


def table(made):
    """trials.csv, a dict a trial."""
    with open(made.out / "trials.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "given, message",
    [
        (None, "search: it must say what to search for"),
        ({}, "search: it must say what to search for"),
        ({"latent": [1, 2]}, "search.latent: 'latent' is no option of a training; it begins with model. or"),
        ({"model.latent": 3}, "search.model.latent: give low and high.*got 3"),
        ({"model.latent": {"low": 3}}, "search.model.latent: give low and high"),
        ({"model.latent": {"high": 3}}, "search.model.latent: give low and high"),
        ({"model.latent": {"low": 1, "high": 2, "choices": [1]}}, "search.model.latent: give low and high"),
        ({"model.latent": {"low": 4, "high": 2}}, "search.model.latent: low 4 is above high 2"),
        ({"model.latent": {"low": "a", "high": 2}}, "search.model.latent.low must be a number, got 'a'"),
        ({"model.latent": {"low": True, "high": 2}}, "search.model.latent.low must be a number, got True"),
        ({"model.lr": {"low": 0, "high": 1, "log": True}}, "with log, low must be positive"),
        ({"model.lr": {"low": 1, "high": 2, "log": "yes"}}, "search.model.lr.log must be true or false, got 'yes'"),
        ({"model.lr": {"low": 1, "high": 2, "step": 0}}, "search.model.lr.step must be positive"),
        ({"model.lr": {"low": 1, "high": 2, "lgo": True}}, "there is no key 'lgo'; did you mean 'low'"),
        ({"model.lr": []}, "search.model.lr.choices: it must be a list of values"),
        ({"model.lr": [[1]]}, r"search.model.lr.choices: \[1\] is no plain value"),
    ],
)
def test_what_is_no_search_space(given, message):
    with pytest.raises(UserError, match=message):
        parse_space(given)


def test_a_range_is_of_whole_numbers_where_its_ends_are():
    whole, real, choice = parse_space(
        {"model.latent": {"low": 2, "high": 8, "step": 2}, "model.lr": {"low": 1, "high": 2.0}, "model.x": [None, True]}
    )
    assert whole.distribution == optuna.distributions.IntDistribution(2, 8, step=2)
    assert real.distribution == optuna.distributions.FloatDistribution(1, 2)
    assert choice.distribution == optuna.distributions.CategoricalDistribution([None, True])
    assert choice.options(None) == ["--model.x=null"] and choice.options(True) == ["--model.x=true"]


@pytest.mark.parametrize("quick", [False, True])
def test_a_trial_is_stopped_where_it_is_not_among_the_best_third(quick, search):
    """By brute force; and so it is where trials end before anyone has looked, as on a cluster without the command."""
    engine = Formula(quick=quick)
    made = search(engine, trials=15)
    best = made.run()
    seen, finished, stopped = {1: [], 3: []}, {}, {}
    for number, job in enumerate(engine.started):
        for epoch in range(1, EPOCHS + 1):
            value = loss_of(job.commands[0], epoch)
            if epoch in seen:
                seen[epoch].append(value)
                if value > sorted(seen[epoch])[max(len(seen[epoch]) // 3, 1) - 1]:
                    stopped[number] = epoch
                    break
        else:
            finished[number] = value
    rows = table(made)
    assert {int(row["trial"]): int(row["epochs"]) for row in rows if row["state"] == "pruned"} == stopped
    assert {int(row["trial"]): float(row["loss"]) for row in rows if row["state"] == "complete"} == finished
    assert stopped and finished and best.number == min(finished, key=finished.get)
    cancelled = [] if quick else [made.out.absolute() / f"trial_{number:04d}" for number in stopped]
    assert cancelled == [job.folder for job in engine.cancelled]
    assert all(len(job.commands) == 1 and job.commands[0][0] == "fit" for job in engine.started)  # nothing is tested


def test_a_trial_that_has_come_to_its_end_is_not_stopped_there(search):
    """All are alike until the last epoch, which is a rung, too, and each is worse than the one before there."""
    engine = Formula(losses=lambda words, epoch: 1.0 if epoch < EPOCHS else 1.0 + len(engine.started))
    made = search(engine, trials=5)
    assert made.run().number == 0
    assert [row["state"] for row in table(made)] == ["complete"] * 5 and not engine.cancelled


def test_a_high_figure_may_be_the_better_one_and_nothing_need_be_stopped(search):
    engine = Formula(losses=lambda words, epoch: -loss_of(words, epoch))
    made = search(engine, better=1, reduction=1, trials=6)
    best = made.run()
    rows = table(made)
    assert {row["state"] for row in rows} == {"complete"} and not engine.cancelled
    assert best.value == max(float(row["loss"]) for row in rows)


def test_the_best_is_written_as_a_yaml_that_trains_it(search):
    made = search(trials=4)
    best = made.run()
    found = read(made.out / "best.yaml")
    assert found["model"]["init_args"]["latent"] == best.params["model.latent"]
    assert found["model"]["init_args"]["lr"] == best.params["model.lr"]
    assert found["trainer"]["max_epochs"] == EPOCHS
    assert (made.out / "best.yaml").read_text().startswith(f"# Trial {best.number} of a search among 4, after 9 epochs")


@pytest.mark.parametrize("url", [False, True])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_search_that_is_stopped_goes_on_to_the_same_trials(jobs, url, search, tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}" if url else None
    whole = search(Formula(jobs), out="whole")
    whole.run()
    engines = [Formula(jobs, looks) for looks in (5, 0, 11, 2)]
    for engine in engines:
        with pytest.raises(KeyboardInterrupt, match="the same command goes on from the last epoch of each trial"):
            search(engine, storage=storage).run()
    last = Formula(jobs)
    made = search(last, storage=storage)
    best = made.run()
    rows = table(made)
    assert len(rows) == 12 and best.number in range(12)
    for row in rows:  # no epoch was trained twice, and none is missing
        lines = (made.folder(int(row["trial"])) / "metrics.csv").read_text().splitlines()[1:]
        assert [int(line.split(",")[0]) for line in lines] == list(range(len(lines)))
        assert len(lines) >= int(row["epochs"])
    if jobs == 1:  # what is proposed follows from what was known, which is the same
        assert rows == table(whole)
    idle, more = Formula(jobs), Formula(jobs)
    assert search(idle, storage=storage).run().number == best.number and not idle.started
    search(more, storage=storage, trials=14).run()
    assert len(more.started) == 2


def test_a_search_is_of_one_space_and_one_way_to_train(search, tmp_path):
    search(trials=2).run()
    for change, message in (
        ({"epochs": 8}, "epochs is 8 here, but 9 in the search in .*out; choose another --out"),
        ({"figure": "elbo"}, "figure is 'elbo' here, but 'loss'"),
        ({"space": SPACE | {"model.lr": {"low": 1e-5, "high": 1e-2}}}, "search.model.lr.low is 1e-05 here"),
        ({"overrides": ["--data.batch_size=3"]}, "settings.data.batch_size is 3 here"),
    ):
        with pytest.raises(UserError, match=message):
            search(**change).run()


def test_what_is_refused_before_any_training(search, tmp_path):
    for change, message in (
        ({"overrides": ["--data.val_on_test=true"]}, "data.val_on_test: a search that chooses by the test images"),
        ({"space": {"data.val_on_test": [True, False]}}, "data.val_on_test: a search that chooses by the test images"),
        ({"overrides": ["--trainer.max_epochs=3"]}, "trainer.max_epochs is --epochs in a search"),
        ({"space": {"trainer.max_epochs": [3, 4]}}, "trainer.max_epochs is --epochs in a search"),
        ({"overrides": ["--model.lr=1"]}, "search: model.lr is searched for and given, too; leave out one of both"),
        ({"space": SPACE | {"model.lr model.x": [3]}}, "search: model.lr is searched for and named twice there"),
        ({"first_rung": 0}, "first_rung must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            search(**change)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="out: .*file is a file, not a folder"):
        search(out="file")
    with pytest.raises(UserError, match="storage: nonsense://x cannot be used"):
        search(storage="nonsense://x").run()
    (tmp_path / "out" / "study.log").write_text("no study\n" * 3)
    with pytest.raises(UserError, match="storage: .*study.log cannot be used"):
        search().run()


@pytest.mark.parametrize(
    "address",
    [
        "sqlite://me:secret@here/study",
        "sqlite://me:s@ec/secret:1@here/study",
        "sqlite://me@server:secret@here/study",
        "sqlite://me:my secret@here/study",
        "sqlite:/me:secret@here/study",
        "me:secret@here/study",
        "sqlite://me:secret/study",
        "sqlite://here/study?user=me&password=secret",
        "unheard://me:secret@here/study",
        "postgresql://me:secret@127.0.0.1:1/study",  # whose driver need not be installed
    ],
)
def test_a_password_is_not_repeated(address, search):
    with pytest.raises(UserError, match="storage: the address, which may hold a password") as raised:
        search(storage=address).run()
    assert "secret" not in str(raised.value)


def test_a_figure_that_the_validation_does_not_have_is_told_after_the_first_epoch(search):
    made = search(figure="los")
    with pytest.raises(UserError, match="figure: the validation has no 'los'; it has loss$"):
        made.run()
    assert len(Run(made.folder(0)).curve("loss")) == 1


@pytest.mark.parametrize("name", ["best.yaml", "trials.csv", "trial_0000"])
def test_what_is_in_the_folder_and_of_no_search_stays_as_it_is(name, search, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    with pytest.raises(UserError, match=f"out: .*{name} is there, and is none of this search's; choose another --out"):
        search().run()
    assert [*out.iterdir()] == [out / name] and (out / name).read_text() == "mine"


def test_one_database_has_many_searches(search, tmp_path):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    search(storage=storage, trials=2).run()
    other = search(out="other", storage=storage, epochs=8, trials=3)
    other.run()
    assert len(table(other)) == len(other.executor.started) == 3


def test_a_trial_that_diverges_fails_and_no_other_does(search):
    def losses(words, epoch):
        value = loss_of(words, epoch)
        return math.nan if "--model.encoder.width=8" in words else value

    made = search(Formula(losses=losses), trials=10, reduction=1)
    best = made.run()
    rows = table(made)
    widths = {row["state"]: set() for row in rows}
    for row in rows:
        widths[row["state"]].add(row["model.encoder.width model.decoder.width"])
    assert widths["fail"] == {"8"} and "8" not in widths["complete"]
    assert best.params["model.encoder.width model.decoder.width"] != 8
    with pytest.raises(UserError, match="no trial came to its end"):
        search(Formula(losses=lambda *_: math.nan), trials=2, out="all").run()


def test_optuna_is_needed_by_a_search_alone(monkeypatch, capsys):
    for name in ("optuna", "optuna.distributions"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["--config", "tune/vae", "--data.root", "nowhere"]
    assert call("tune", *words, monkeypatch=monkeypatch) == 1
    assert "there is no module optuna; pip install optuna" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--figure", "kl"], "figure: 'kl' says of no model that it is better"),
        (["--model.latnet", "3"], "did you mean 'model.latent'"),
        ([], "search: what is to be searched for is missing; give a --config that lists it, such as tune/vae"),
        (["--config", "own.yaml"], "own.yaml: there is no key 'trails'; did you mean 'trials'"),
    ],
)
def test_a_command_that_is_not_understood(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("search: {model.latent: [1, 2]}\ntrails: 3\n")
    config = [] if not words or "--config" in words else ["--config", "tune/vae"]
    assert call("tune", *config, *words, monkeypatch=monkeypatch) in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tune").exists()


@pytest.mark.slow
def test_the_command_as_typed(shapes, tmp_path, monkeypatch, capsys):
    """Trainings of seconds, the best of which `fit` then trains to the very same figures."""
    monkeypatch.chdir(tmp_path)
    words = SMALL | {"data.root": shapes, "data.cache_dir": tmp_path / "cache", "data.n_val": 12, "out": "search"}
    epochs = words.pop("trainer.max_epochs")
    given = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    own = {"search": {"model.encoder.width model.decoder.width": [2, 4]}, "trials": 2, "epochs": epochs}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own | {"figure": "mse", "reduction": 1}))
    assert call("tune", "--config", "own.yaml", *given, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert "best          trial" in said and "vae-zoo fit --config search/best.yaml" in said
    assert not list(tmp_path.rglob("results.json"))  # nothing was tested
    assert call("fit", "--config", "search/best.yaml", "--run_dir", "again", monkeypatch=monkeypatch) == 0
    best = min(float(row["mse"]) for row in csv.DictReader(open("search/trials.csv")))
    assert Run(tmp_path / "again").curve("mse")[-1].value == best
