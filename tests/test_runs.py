"""The run folder: what is written comes back, whole, and damaged or older folders say so."""

import json
import math
import os
import re

import pytest

from tests.run_folders import change_results, made_run
from vae_zoo import curves, runs
from vae_zoo.errors import UserError
from vae_zoo.newest import RUNS, find_checkpoint, new_run, newest_checkpoint
from vae_zoo.runs import Run, find_runs, of_checkpoint


def test_results_come_back_as_they_were_written(tmp_path):
    run = made_run(tmp_path, "base", figures={"mean_squared_code": 0.5}, git_revision=None)
    results = Run(run.folder).tested
    assert results.keys() == runs.Results.__required_keys__
    assert results["figures"]["mean_squared_code"] == 0.5 and results["figures"]["bits_per_dim"] is None
    assert results["reasons"]["bits_per_dim"] == "only for 8-bit pixels" and results["traits"]["density"] is True
    assert results["git_revision"] is None
    content = json.loads(run.results_file.read_text())
    # Figures stand flat beside the other keys, where scripts look for them.
    assert content["mse"] == results["figures"]["mse"] and "figures" not in content
    assert not list(run.folder.glob("*.partial"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_diverged_is_none_with_the_reason(value, tmp_path):
    run = made_run(tmp_path, "base", figures={"nll": value})
    assert Run(run.folder).tested["figures"]["nll"] is None
    assert Run(run.folder).tested["reasons"]["nll"] == "diverged"
    json.loads(run.results_file.read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def test_a_figure_cannot_take_the_name_of_another_key(tmp_path):
    with pytest.raises(UserError, match="a figure cannot be called 'seed'"):
        made_run(tmp_path, "base", figures={"seed": 1.0})


def test_results_of_an_older_version_are_no_results(tmp_path):
    run = made_run(tmp_path, "base")
    change_results(run, traits=None)
    assert run.results is None and "tested by an older version: vae-zoo test it again" in Run(run.folder).untested
    with pytest.raises(UserError, match="older version"):
        _ = run.tested
    run.results_file.write_text('{"mse": 1')
    assert Run(run.folder).results is None and "was not tested" in Run(run.folder).untested
    assert Run(tmp_path).results is None and not Run(tmp_path).exists
    run.forget_results()
    run.forget_results()
    assert not run.results_file.exists()


def test_files_have_their_documented_names(tmp_path):
    run = Run(tmp_path)
    files = run.config_file, run.split_file, run.metrics_file, run.results_file, run.codes_file, run.probe_file
    names = ["config.yaml", "split.json", "metrics.csv", "results.json", "codes.npz", "probe.json"]
    assert [path.relative_to(tmp_path).as_posix() for path in files] == names
    assert run.checkpoint() == tmp_path / "checkpoints" / "last.ckpt"
    assert run.checkpoint("best") == tmp_path / "checkpoints" / "best.ckpt"
    assert run.picture("samples", 5) == tmp_path / "images" / "samples_0005.png"
    assert run.picture("sketches", 12345, ".svg") == tmp_path / "images" / "sketches_12345.svg"


def test_pictures_by_kind_and_epoch(tmp_path):
    run = made_run(tmp_path, "base")
    run.picture("my_own", 12345).write_bytes(b"")
    run.picture("my_own", 5, ".svg").write_bytes(b"")
    (run.folder / "images" / "note.png").write_bytes(b"")
    assert sorted(run.pictures) == ["my_own", "reconstructions", "samples"]
    assert list(run.pictures["samples"]) == [0, 5, 6] and list(run.pictures["my_own"]) == [12345]
    assert run.pictures["samples"][5] == run.picture("samples", 5)


def test_curve_and_epoch(tmp_path):
    run = made_run(tmp_path, "base", mse=0.02)
    assert run.epoch == 6 and [point.epoch for point in run.curve()] == [1, 2, 3, 4, 5, 6]
    assert run.curve()[0] == (1, pytest.approx(0.03), 10.0) and run.curve()[-1] == (6, pytest.approx(0.02), 60.0)
    assert math.isnan(run.curve("nll")[0].value)
    # The results have the seconds more exactly, and of epochs that were logged by nobody.
    timing = run.tested["timing"] | {"epoch_seconds": [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]}
    change_results(run, timing=timing)
    assert [point.seconds for point in Run(run.folder).curve()] == [1, 3, 6, 10, 15, 21.5]
    run.forget_results()
    lines = run.metrics_file.read_text()
    assert Run(run.folder).epoch == 5  # the last line may be half an epoch
    run.metrics_file.write_text(lines[: lines.index("\n") + 8])
    assert Run(run.folder).epoch == 0


def test_of_an_epoch_training_has_the_mean_and_a_validation_the_last(tmp_path):
    run = made_run(tmp_path, "base")
    run.metrics_file.write_text("epoch,train/loss,val/mse\n0,1,\n0,3,\n0,,9\n1,8,\n1,-inf,\n1,inf,\n1,,7\n1,,5\n")
    logged = Run(run.folder).curves(["train/loss", "val/mse", "val/kl"])
    assert [point.value for point in logged["val/mse"]] == [9, 5]
    first, second = logged["train/loss"]
    assert first.value == 2 and math.isnan(second.value) and not logged["val/kl"]


def test_names_of_runs(tmp_path):
    assert Run(tmp_path / "vae" / "version_12").name == Run(tmp_path / "vae" / "seed_0").name == "vae"
    assert Run(tmp_path / "mine").name == "mine"


def test_likelihood_with_its_arguments(tmp_path):
    assert made_run(tmp_path, "base").likelihood == "Gaussian(sigma=1.0)"
    assert made_run(tmp_path, "base", setting="Optimal").likelihood == "Optimal"
    assert made_run(tmp_path, "slow", change={"model.likelihood": None}).likelihood is None


def test_the_next_run_has_the_next_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = new_run("mine"), new_run("mine")
    assert (first.folder, second.folder) == (tmp_path / "runs/mine/version_0", tmp_path / "runs/mine/version_1")
    first.folder.rmdir()
    assert new_run("mine").folder.name == "version_2"  # a number is not given twice
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.setenv(name, "1")
        assert not new_run("mine").folder.exists()  # the first of several processes makes it, on the first machine
        monkeypatch.setenv(name, "0")
    assert new_run("mine").folder.exists()


def test_checkpoints_are_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert newest_checkpoint(tmp_path / "runs" / "*" / "*") is None
    for newest in ("last", "auto"):
        with pytest.raises(UserError, match=re.escape("there is no trained model in runs/*/*; train one")):
            find_checkpoint(newest)
    with pytest.raises(UserError, match="--ckpt_path no.ckpt: there is no such checkpoint file"):
        find_checkpoint("no.ckpt")
    paths = [Run(tmp_path / "runs" / name / "version_0").checkpoint() for name in ("new", "old")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    os.utime(paths[1], (0, 0))
    assert find_checkpoint("last").resolve() == find_checkpoint("auto").resolve() == paths[0]
    assert find_checkpoint(str(paths[1])) == paths[1]
    named = Run(RUNS / "mine").checkpoint()  # of fit --run_dir runs/mine
    named.parent.mkdir(parents=True)
    named.write_bytes(b"")
    assert find_checkpoint("last") == named and capsys.readouterr().out.endswith(f"using {named}\n")
    assert of_checkpoint(paths[1]).folder == paths[1].parents[1] and of_checkpoint(tmp_path / "x.ckpt") is None


def test_run_folders_are_found_once(tmp_path):
    made_run(tmp_path, "base")
    (tmp_path / "failed").mkdir()
    Run(tmp_path / "failed").log_file.write_text("it failed")
    assert [run.folder.name for run in find_runs(tmp_path)] == ["seed_0", "failed"]


def test_a_line_that_was_cut_off_is_no_line(tmp_path):
    run = made_run(tmp_path, "base")
    before = run.curve()
    with open(run.metrics_file, "ab") as file:
        file.write(b"6,96,,,0.0")  # of 0.024
    assert curves.read_rows(run.metrics_file)[-1]["epoch"] == "5" and Run(run.folder).curve() == before


@pytest.mark.parametrize("damage", [b"\x00\xff\xfe", b"x", b'"'])
@pytest.mark.parametrize("row", [0, 3])
def test_a_damaged_table_of_metrics_is_one_sentence_or_other_rows(damage, row, tmp_path):
    run = made_run(tmp_path, "base")
    lines = run.metrics_file.read_bytes().splitlines(keepends=True)
    lines[row] = damage + lines[row]
    run.metrics_file.write_bytes(b"".join(lines))
    try:
        assert all(isinstance(point.epoch, int) for point in run.curve())
    except UserError as error:
        assert re.search(r"metrics.csv is damaged: ", str(error))


@pytest.mark.parametrize("entry", ["notes.txt", "checkpoints/mine.ckpt", "images/cat.png", "config.yaml.d/x"])
def test_what_is_of_others_stays(entry, tmp_path):
    run = made_run(tmp_path, "base")
    (foreign := run.folder / entry).parent.mkdir(exist_ok=True, parents=True)
    foreign.write_text("mine")
    run.checkpoint().parent.mkdir(exist_ok=True)
    for path in (run.checkpoint(), run.folder / "events.out.tfevents.1.x.0", run.folder / ".split.json.partial"):
        path.touch()
    run.refuse_foreign()  # it is a run
    run.remove()
    assert [path for path in run.folder.rglob("*") if path.is_file()] == [foreign]
    with pytest.raises(UserError, match="run_dir .*seed_0 has .* in it, and no run; give another folder"):
        run.refuse_foreign()


def test_what_a_training_wrote_is_removed_with_its_folder(tmp_path):
    run = made_run(tmp_path, "base")
    run.config_file.unlink()  # killed before it was written
    run.refuse_foreign()
    run.remove()
    assert not run.folder.exists()
    run.refuse_foreign()
    run.folder.touch()
    with pytest.raises(UserError, match="run_dir .*seed_0 is a file; give a folder"):
        run.refuse_foreign()
