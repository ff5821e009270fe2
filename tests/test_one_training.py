"""A run folder holds one training: nothing of another one gets into it, and nothing is measured on other data."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest
import torch
import yaml

from tests.conftest import CONFIG, call, options
from tests.data_sets import SMALL as SMALL_DATA
from tests.data_sets import module
from tests.run_folders import made_run
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.ranking import machines
from vae_zoo.compare.verdict import verdict
from vae_zoo.data import COCODataModule
from vae_zoo.data.shapes import generate_shapes
from vae_zoo.errors import UserError
from vae_zoo.metrics.base import ImageFigure
from vae_zoo.runs import Run

pytest_plugins = ["tests.data_fixtures"]


def files(run):
    """The content of all files of a run but TensorBoard's."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name}


def refused(capsys, message, *words):
    assert call(*words) == 1
    said = capsys.readouterr().err
    assert message in said, said


@pytest.mark.slow
def test_a_training_does_not_go_on_in_the_folder_of_another(run, shapes, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    other = run.with_name("other")
    shutil.copytree(run, other)
    (other / "checkpoints" / "last.ckpt").unlink()  # whether it can go on itself or not
    before = files(other)
    fit = ["fit", "--config", CONFIG, *options(data__root=shapes, trainer__max_epochs=3)]
    checkpoint = run / "checkpoints" / "last.ckpt"
    refused(capsys, "other has a run in it, see its", *fit, "--run_dir", other, "--ckpt_path", checkpoint)
    refused(capsys, "other has a run in it, see its", *fit, "--run_dir", other)
    refused(capsys, "has another run in it, whose results", "test", "--run_dir", other, "--ckpt_path", checkpoint)
    assert files(other) == before
    best = run / "checkpoints" / "best.ckpt"
    refused(capsys, "best.ckpt is another state of the run than its last.ckpt", *fit, "--ckpt_path", best)
    assert call(*fit, "--run_dir", "anew", "--ckpt_path", best, "--trainer.max_epochs", "9") == 0
    assert Run(Path("anew")).checkpoint().exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, message",
    [
        (["--data.seed", "1"], "data.seed is 1 here, and the run in"),
        (["--data.batch_size", "5"], "data.batch_size is 5 here"),
        (["--trainer.precision", "bf16-mixed"], "trainer.precision is 'bf16-mixed' here"),
        (["--seed_everything", "7"], "seed_everything is 7 here"),
        (["--data.root", "others"], "the data, or their split, are not those that the run was trained on; go on with"),
    ],
)
def test_a_training_goes_on_as_it_was_begun(change, message, run, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    generate_shapes(Path("others"), n=80, seed=9)  # with the same ids
    before = files(run)
    fit = ["fit", "--config", CONFIG, *options(data__root=shapes, trainer__max_epochs=9), *change]
    refused(capsys, message, *fit, "--ckpt_path", "auto")
    assert files(run) == before


@pytest.mark.slow
def test_what_an_earlier_training_left_is_removed_when_one_begins_anew(run, shapes, monkeypatch):
    """One that was killed in its first epoch, between its two checkpoints, leaves a best one alone."""
    monkeypatch.chdir(run.parents[2])
    kept = ["checkpoints/best.ckpt", "config.yaml", "images/samples_0002.png"]
    for path in [path for path in run.rglob("*") if path.is_file() and str(path.relative_to(run)) not in kept]:
        path.unlink()
    words = options(data__root=shapes, trainer__max_epochs=1, run_dir=run, ckpt_path="auto")
    assert call("fit", "--config", CONFIG, *words) == 0
    assert sorted(Run(run).pictures["samples"]) == [0, 1]


@pytest.mark.slow
def test_a_part_of_the_test_set_has_no_results(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    (run / "results.json").unlink()
    assert call("test", "--trainer.limit_test_batches", "1") == 0
    assert "test images were measured, so results.json was not written" in capsys.readouterr().err
    assert not (run / "results.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["test", "probe", "reconstruct"])
def test_data_that_are_not_those_of_the_training_are_told(command, run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    assert call(command) == 0 and "not those that the run was trained on" not in capsys.readouterr().err
    content = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps(content | {"sha256": "0" * 64, "train": ["none"]}))
    assert call(command) == 0
    assert "the data, or their split, are not those that the run was trained on" in capsys.readouterr().err


@pytest.mark.slow
def test_a_test_on_other_pictures_with_the_same_ids_has_another_hash(run, monkeypatch, capsys):
    monkeypatch.chdir(run.parents[2])
    generate_shapes(Path("others"), n=80, seed=9)
    before = json.loads((run / "split.json").read_text())["sha256"]
    assert call("test", "--data.root", "others") == 0
    assert "the data, or their split, are not those that the run was trained on" in capsys.readouterr().err
    assert json.loads((run / "results.json").read_text())["split_sha256"] != before


def test_the_hash_of_a_split_is_of_pixels_labels_and_ids(shapes, folder, tmp_path):
    generate_shapes(tmp_path / "others", n=80, seed=9)
    same, again, other = (
        COCODataModule(str(root), **SMALL_DATA, cache_dir=str(tmp_path))
        for root in (shapes, shapes, tmp_path / "others")
    )
    for data in (same, again, other):
        data.prepare_data()
        data.setup()
    assert same.split_sha256 == again.split_sha256 == module(shapes, cache_dir=str(tmp_path)).split_sha256
    assert other.split == same.split and other.split_sha256 != same.split_sha256
    again.labels[0] = "renamed"
    assert again.split_sha256 != same.split_sha256


@pytest.mark.slow
def test_sketches_are_measured_in_the_unit_of_the_training(doodles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = {"data__path": doodles, "data__n_train": 40, "trainer__max_epochs": 1, "trainer__accelerator": "cpu"}
    words = options({}, **small, model__decoder_width=8, model__mixtures=2)
    assert call("fit", "--config", "sketch_decoder", *words) == 0
    assert call("test") == 0
    refused(capsys, "the training data's offsets were divided by", "test", "--data.n_train", "3")


@pytest.mark.slow
def test_labels_that_moved_on_are_refused_by_all_commands(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("fit", "--config", "cvae", *options(data__root=shapes, trainer__max_epochs=1)) == 0
    config = next(Path("runs").rglob("config.yaml"))
    content = yaml.safe_load(config.read_text())
    generate_shapes(Path("others"), n=80, seed=0)
    annotations = Path("others/annotations/instances.json")
    named = json.loads(annotations.read_text())
    named["categories"][0]["name"] = "zebra"
    annotations.write_text(json.dumps(named))
    content["data"]["init_args"]["root"] = "others"
    config.write_text(yaml.safe_dump(content))
    for command in ("test", "reconstruct", "probe"):
        refused(capsys, "the checkpoint was trained with the labels", command)


def test_nlls_of_different_numbers_of_samples_are_not_ranked(tmp_path):
    for seed in range(3):
        made_run(tmp_path, "base", seed, nll_samples=1)
        made_run(tmp_path, "slow", seed, nll_samples=1000, figures={"nll": 600.0 + seed})
    said = list(verdict(read_groups(tmp_path)[0]))
    assert "The density is not ranked: NLLs were computed with 1 and 1,000 importance samples." in said
    assert not any("has the best density" in line for line in said)
    made_run(tmp_path, "flow", nll_samples=None)
    said = list(verdict([group for group in read_groups(tmp_path)[0] if group.name != "base"]))
    assert "The density is not ranked: NLLs were computed exactly and with 1,000 importance samples." in said


def test_time_is_that_of_the_machine_of_the_training(tmp_path):
    for name, trained_on in (("base", "fast (2 threads)"), ("slow", "slow (1 threads)")):
        made_run(tmp_path, name, environment={"device": "one", "threads": 1, "trained_on": trained_on})
    groups, _ = read_groups(tmp_path)
    assert machines(groups) == ["fast (2 threads)", "slow (1 threads)"]


@pytest.mark.parametrize("ours, said", [(0.0001, "99 % below"), (0.0, "0.01000 below"), (0.00994, "0.6 % below")])
def test_a_distance_is_said_in_numbers_that_are_read(ours, said, tmp_path):
    made_run(tmp_path, "base", mse=0.01)
    made_run(tmp_path, "slow", figures={"mse": ours})
    assert any(said in line for line in verdict(read_groups(tmp_path)[0]))


def test_a_measure_of_ones_own_has_a_value_for_each_image():
    class Sum(ImageFigure):
        name = "sum"

        def values(self, model, x, y, evaluated):
            return x.sum()

    model = type("Any", (), {"traits": {}})()
    with pytest.raises(UserError, match=r"Sum.values must return a figure of each of 3 images, \(3,\), got \(\)"):
        Sum().update(model, torch.rand(3, 3, 8, 8), torch.zeros(3), {"figures": {}, "trace": None})


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--ckpt_path", "auto"]], ids=["anew", "auto"])
def test_of_two_trainings_begun_in_one_folder_one_is_refused(more, shapes, tmp_path):
    words = ["fit", "--config", "vae", *options(data__root=shapes, trainer__max_epochs=60), "--run_dir", "one", *more]
    command = [str(Path(sys.executable).with_name("vae-zoo")), *map(str, words)]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=PIPE, stderr=STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    refusal = said[both.index(next(process for process in both if process.returncode))]
    assert re.search(r"another process trains in .*one; wait for it|one has a run in it", refusal), refusal
    run = Run(tmp_path / "one")
    assert [point.epoch for point in run.curve()] == [*range(1, 61)]


def test_a_folder_in_which_another_process_trains_is_left_alone(tmp_path, shapes, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Run(tmp_path / "one").held():
        before = files(tmp_path)
        refused(capsys, "one; wait for it", "fit", "--config", "vae", *options(data__root=shapes), "--run_dir", "one")
        assert files(tmp_path) == before
    fit = ["fit", "--config", "vae", *options(data__root=shapes, trainer__max_epochs=1), "--run_dir", "one"]
    refused(capsys, "invalid strategy name", *fit, "--trainer.strategy", "foo")  # nor does this process hold it then
    assert call(*fit) == call(*fit, "--ckpt_path", "auto") == 0
    assert call(*fit, "--ckpt_path", "auto", "--trainer.max_epochs", 2) == 0
