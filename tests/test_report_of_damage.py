"""The report of folders that something has damaged: what cannot be read is left out, with a word."""

import json
import os

import pytest

from tests.conftest import call
from tests.run_folders import change_results, class_of, compared, made_run
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.errors import UserError


@pytest.mark.parametrize(
    "change",
    [
        {"mse": "low"},
        {"mse": [0.1]},
        {"mse": float("nan")},
        {"psnr": True},
        {"epochs": "6"},
        {"epochs": 6.5},
        {"seed": "one"},
        {"model": 3},
        {"traits": {"density": True}},
        {"traits": [1]},
        {"reasons": []},
        {"shape": "3 16 16"},
        {"timing": {"seconds_per_epoch": "fast"}},
        {"timing": {"seconds_per_epoch": 1.0, "epoch_seconds": ["one"]}},
        {"environment": "here"},
        {"parameters": False},
        {"mse": 10**400},
        {"epochs": 10**400},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_results_of_wrong_types_are_left_out(change, tmp_path):
    made_run(tmp_path, "base")
    change_results(made_run(tmp_path, "slow"), **change)
    groups, left_out = read_groups(tmp_path)
    assert [group.name for group in groups] == ["base"]
    said = rf"its results.json is damaged, {min(change)} is "
    assert left_out["Gaussian/slow/seed_0"].startswith(said), left_out
    write_report(tmp_path)


@pytest.mark.parametrize("content", ["epoch,val/mse\nsix,0.1\n", "epoch,val/mse\n1,low\n", "val/mse\n1\n"])
def test_a_damaged_curve_is_left_out(content, tmp_path):
    made_run(tmp_path, "base")
    made_run(tmp_path, "slow").metrics_file.write_text(content)
    write_report(tmp_path)
    assert "metrics.csv is damaged" in read_groups(tmp_path)[1]["Gaussian/slow/seed_0"]


@pytest.mark.parametrize("content", ["model: 5", "model: {}\ntrainer: null", "model: [1]", "1: 2", "evaluation: 3"])
def test_damaged_settings_are_left_out(content, tmp_path):
    made_run(tmp_path, "base")
    made_run(tmp_path, "slow").config_file.write_text(content)
    write_report(tmp_path)
    assert "config.yaml" in read_groups(tmp_path)[1]["Gaussian/slow/seed_0"]


@pytest.mark.parametrize("sigma", ["abc", 0, -1, [1], None, {"a": 1}, 1e400])
def test_no_sigma_of_a_config_ends_a_report(sigma, tmp_path):
    """It is a setting that is shown, and nothing is computed from it."""
    made_run(tmp_path, "base")
    made_run(tmp_path, "slow", change={"model.likelihood": class_of("Gaussian", sigma=sigma)})
    write_report(tmp_path)
    assert {group.name for group in read_groups(tmp_path)[0]} == {"base", "slow"}


def test_nothing_waits_for_a_pipe(tmp_path):
    base, slow, fast = (made_run(tmp_path, name) for name in ("base", "slow", "flow"))
    slow.results_file.unlink()
    for path in (slow.results_file, base.picture("samples", 99)):
        os.mkfifo(path)
    fast.metrics_file.unlink()
    os.mkfifo(fast.metrics_file)
    write_report(tmp_path)
    assert {*read_groups(tmp_path)[1]} >= {"Gaussian/slow/seed_0"}


@pytest.mark.parametrize("value", ["!!bool perhaps", "!!int ''", "!!float ''", "!!int _", "0x_"])
def test_a_value_of_another_type_than_it_is_marked_with_is_told(value, tmp_path):
    made_run(tmp_path, "base")
    with open(made_run(tmp_path, "slow").config_file, "a") as file:
        file.write(f"x: {value}\n")
    write_report(tmp_path)
    assert "x " in read_groups(tmp_path)[1]["Gaussian/slow/seed_0"]


def test_names_command_no_terminal(tmp_path, capsys):
    change_results(made_run(tmp_path, "base"), model="\x1b]0;mine\x07\x1b[31mVAE")
    made_run(tmp_path, "slow")
    assert call("report", tmp_path) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and r"\x1b[31mVAE" in said


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.csv", "comparison.yaml"])
def test_a_report_replaces_no_file_of_the_users(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path, "base")
    assert call("report", ".") == call("report", ".") == 0  # its own it does
    (tmp_path / name).write_text("mine: 1\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert call("report", ".") == 1
    assert f"{name} is" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("content", ["configs: 5", "configs: [1]", "base: [a]", "configs: {a: b}"])
def test_a_damaged_comparison_is_one_sentence(content, tmp_path):
    made_run(tmp_path, "base")
    (tmp_path / "comparison.yaml").write_text(content)
    with pytest.raises(UserError, match="comparison.yaml is damaged"):
        write_report(tmp_path)


def test_damaged_pictures_are_left_out(tmp_path):
    run = made_run(tmp_path, "base")
    whole = run.picture("samples", 0).read_bytes()
    cut = [whole[:30], whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n" + bytes(50), whole[:40] + bytes(len(whole) - 40)]
    for i, content in enumerate(cut):
        run.picture(f"cut{i}", 0).write_bytes(content)
    write_report(tmp_path)
    assert (tmp_path / "report.html").read_text().count("data:image/webp") == 6


@pytest.mark.parametrize("name", [r"$\frac{1{$", "a_b^c", "<b>&amp;", "%s{}", "x" * 200])
def test_a_folder_may_have_any_name(name, tmp_path, capsys):
    for seed in (0, 1):
        run = made_run(compared(tmp_path, 1) if not seed else tmp_path, "slow", 5 + seed)
        run.folder.rename(run.folder.with_name(name if not seed else name[:-1] + "y"))
    assert call("report", tmp_path) == 0
    html = (tmp_path / "report.html").read_text()
    assert "<b>&amp;<" not in html
