"""The report's files: figures as they are, curves, pictures whole, runs left out with a reason."""

import base64
import csv
import io
import json
import math
import os
import re
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.conftest import call, vae_zoo
from tests.run_folders import MODELS, change_results, compared, made_run
from vae_zoo.compare import charts
from vae_zoo.compare.columns import BASE, COLUMNS, fitting
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.errors import UserError
from vae_zoo.runs import Run


def rows_of(table):
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def test_report_files(tmp_path):
    made_run(compared(tmp_path), "base", 7).forget_results()
    _, (page, text, table) = write_report(tmp_path)
    rows = rows_of(table)
    assert len(rows) == 15 and {row["model"] for row in rows} == {name.title() for name in MODELS}
    for row in rows:  # as they are, not rounded
        results = json.loads((tmp_path / row["run"] / "results.json").read_text())
        for key in ("mse", "nll"):
            assert row[key] == ("" if results[key] is None else str(results[key]))
    assert "| Floor | 0.01510 ± 0.00010 |" in text.read_text() and "it has no density" in text.read_text()
    html = page.read_text()
    for written in (html, text.read_text()):
        assert "Gaussian/base/seed_7" in written
    places = [html.index(f'<h2 id="{name}"') for name in ("verdict", "table", "curves", "wall", "cost", "settings")]
    assert places == sorted(places)
    # Nothing is fetched: each source and each link is inside the page.
    for link in re.findall(r'(?: src="|href="|url\()([^")]+)', html):
        assert link.startswith(("data:", "#")), link
    unasked = {"mse_of_mean_image", "explained_variance"}
    unasked |= {"nll_by_ais", "ais_gap", "nll_by_posterior"}
    unasked |= {column.key for column in COLUMNS if column.about == "samples"}
    for column in COLUMNS:
        title = column.title.replace(BASE, "Base").replace("'", "&#39;")
        assert (f'"button">{title}<' in html) == (column.key not in unasked), column
    assert {column.key for column in COLUMNS} <= rows[0].keys()  # where scripts look


def best_cells(page):
    """By model, the titles of the columns in which its cell is shaded."""
    html = page.read_text()
    titles = re.findall(r'<th scope="col"[^>]*><button type="button">(.*?)</button>', html)[1:]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>\n((?:<td data-value.*\n)+)', html)
    cells = {label: re.findall("<td (.*?)>", row) for label, row in rows}
    return {
        label: [title for title, cell in zip(titles, row, strict=True) if 'class="best ' in cell]
        for label, row in cells.items()
    }


def test_the_best_is_shaded_where_the_verdict_ranks(tmp_path):
    page = write_report(compared(tmp_path))[1][0]
    shaded = best_cells(page)
    # In all other columns some are level, or have no figure.
    assert shaded["Sharp"] == ["MSE", "MSE of a draw", "PSNR, dB", "s to the final MSE of Base"]
    assert shaded["Floor"] == ["s / epoch", "time, Base = 1", "images / s"]  # a floor, but a competitor by its cost
    assert not shaded["Slow"] and not shaded["Base"] and not shaded["Flow"]


@pytest.mark.parametrize("why", ["one seed", "machines", "conditional", "ties"])
def test_the_best_is_not_shaded_where_the_verdict_does_not_rank(why, tmp_path):
    for seed in range(1 if why == "one seed" else 2):
        machine = {"environment": {"device": f"number {seed}"}} if why == "machines" else {}
        tie = {"figures": {"mse": 0.02 + seed}} if why == "ties" else {}
        made_run(tmp_path, "base", seed, **machine, **tie)
        density = {"figures": {"nll": 1.0, "elbo": -1.0}, "traits": {"conditional": why == "conditional"}}
        made_run(tmp_path, "slow", seed, **machine, **(tie or density))
    shaded = {title for titles in best_cells(write_report(tmp_path)[1][0]).values() for title in titles}
    time_ = {"s / epoch", "images / s"}
    assert {
        "one seed": not shaded,
        "machines": not shaded & time_ and "MSE" in shaded,
        "conditional": "NLL, nats" not in shaded and "ELBO, nats" not in shaded and "MSE" in shaded,
        "ties": "MSE" not in shaded and time_ < shaded,
    }[why]


def test_further_figures_stand_in_table_and_csv_by_themselves(tmp_path):
    for seed in range(2):
        made_run(tmp_path, "base", seed, figures={"squared_mean_code": 0.25 + seed})
        made_run(tmp_path, "slow", seed)
    _, (page, text, table) = write_report(tmp_path)
    assert [row["squared_mean_code"] for row in rows_of(table)] == ["0.25", "1.25", "", ""]
    assert "squared mean code" in page.read_text() and "0.75 ± 0.7071" in text.read_text()


def test_the_wall_shows_each_picture_whole(tmp_path):
    compared(tmp_path, seeds=2)
    sketches = made_run(tmp_path, "base", 0, "OptimalGaussian").picture("sketches", 5)
    Image.new("RGB", (1003, 407), "green").save(sketches)
    write_report(tmp_path)
    tiles = re.findall(
        r'src="data:image/webp;base64,([^"]+)" alt="(\w+): (\w+) after (\d+) epochs"',
        (tmp_path / "report.html").read_text(),
    )
    assert len(tiles) == (5 + 1) * 2 * 3 + 1  # models, kinds, epochs 0, 5, 6; and the sketches
    sizes = {"reconstructions": (146, 74), "samples": (146, 74), "sketches": (1003, 407)}
    colours = {"reconstructions": (255, 0, 0), "samples": (0, 0, 255), "sketches": (0, 128, 0)}
    for content, _, kind, _ in tiles:
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert picture.size == sizes[kind]
        for place in ((5, 5), (picture.width - 5, picture.height - 5)):
            assert max(abs(a - b) for a, b in zip(picture.getpixel(place), colours[kind], strict=True)) < 20


def test_a_base_is_declared(tmp_path):
    compared(tmp_path, seeds=1)
    (tmp_path / "comparison.yaml").unlink()
    assert "no base to compare with: give --base" in write_report(tmp_path)[1][1].read_text()
    assert "time, Slow = 1" in write_report(tmp_path, "slow")[1][1].read_text()
    with pytest.raises(UserError, match="--base slwo: there is no tested run of that name; did you mean 'slow'?"):
        write_report(tmp_path, "slwo")


@pytest.mark.parametrize(
    "change, named",
    [
        ({"data.image_size": 32}, "data.image_size is 64 in the one and 32"),
        ({"model.latent": 32}, "model.latent is 64 in the one and 32"),
        ({"model.decoder.width": 8}, "model.decoder.init_args.width is 32 in the one and 8"),
        (
            {"model.optimizer": {"class_path": "AdamW"}},
            "model.optimizer is None in the one and {'class_path': 'AdamW'}",
        ),
        ({"data.batch_size": 8}, "data.batch_size is 64 in the one and 8"),
        ({"trainer.precision": "bf16-mixed"}, "trainer.precision is '32-true' in the one and 'bf16-mixed'"),
        ({"evaluation.nll_samples": 5}, "evaluation.nll_samples is 100 in the one and 5"),
        ({"evaluation.metrics": []}, "evaluation.metrics is ["),
    ],
)
def test_runs_of_other_conditions_are_not_mixed(change, named, tmp_path):
    made_run(tmp_path, "base")
    made_run(tmp_path, "floor", change=change)
    made_run(tmp_path, "slow")
    with pytest.raises(UserError, match="not made under identical conditions") as error:
        read_groups(tmp_path)
    assert named in str(error.value)


def test_runs_on_other_images_are_not_mixed(tmp_path):
    made_run(tmp_path, "base")
    made_run(tmp_path, "slow", split_sha256="other")
    with pytest.raises(UserError, match="split_sha256 is 'abc' in the one and 'other' in the other"):
        read_groups(tmp_path)


def test_a_model_of_other_arguments_is_no_other_seed(tmp_path):
    made_run(tmp_path, "base", 0)
    made_run(tmp_path, "base", 1, change={"model.beta": 10})
    with pytest.raises(UserError, match="model.beta is 1.0 in the one and 10 in the other"):
        read_groups(tmp_path)


def test_runs_that_cannot_be_compared_are_left_out_with_a_reason(tmp_path):
    made_run(tmp_path, "floor", epochs=7)
    whole = made_run(tmp_path, "base", epochs=7)
    made_run(tmp_path, "slow", epochs=5)
    made_run(tmp_path, "flow", 1).results_file.write_text('{"mse": 1')
    change_results(made_run(tmp_path, "flow", 2, epochs=7), traits=None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "log.txt").write_text("the data have no labels")
    made_run(tmp_path, "sharp", 2, epochs=7).config_file.unlink()
    made_run(tmp_path, "sharp", 3, epochs=7).config_file.write_text("")
    whole.picture("samples", 5).write_text("no picture")
    write_report(tmp_path)
    groups, left_out = read_groups(tmp_path)
    assert [group.name for group in groups] == ["base", "floor"]
    assert left_out.pop("Gaussian/sharp/seed_3").endswith("is not a configuration file: it holds no settings")
    assert left_out == {
        "Gaussian/slow/seed_0": "it has had 5 of 7 epochs",
        "Gaussian/flow/seed_1": "it is not finished, or was not tested",
        "Gaussian/flow/seed_2": "it was tested by an older version: vae-zoo test it again",
        "other": "it was not begun, see its log.txt",
        "Gaussian/sharp/seed_2": "its config.yaml is missing",
    }


def test_a_run_that_diverged_and_runs_without_a_curve(tmp_path):
    made_run(tmp_path, "base", curve=False)
    made_run(tmp_path, "slow", curve=False, figures={"mse": math.nan})
    write_report(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "<h3>loss, nats</h3>" in html and "<h3>MSE</h3>" not in html and ">diverged<" in html


def test_seeds_that_failed_are_counted(tmp_path):
    for seed in range(3):
        made_run(tmp_path, "base", seed)
        made_run(tmp_path, "flow", seed, mse=0.01, figures={"mse": 0.01 if seed == 0 else math.nan})
    write_report(tmp_path)
    assert "0.01000 (1 of 3 seeds)" in (tmp_path / "report.html").read_text()


def test_nothing_to_report(tmp_path):
    for folder, message in ((tmp_path / "no", "there is no folder"), (tmp_path, "there is no tested run")):
        with pytest.raises(UserError, match=message):
            write_report(folder)
    run = made_run(tmp_path, "base")
    shutil.copytree(run.folder, run.folder.with_name("seed_1"))
    groups, left_out = read_groups(tmp_path)
    assert len(groups[0].runs) == 1 and list(left_out.values()) == ["there is a newer run of this model and seed"]


def test_a_run_of_a_few_steps_has_no_timing(tmp_path):
    run = made_run(tmp_path, "base")
    change_results(run, timing=dict.fromkeys(run.tested["timing"]))
    assert "| n/a" in write_report(tmp_path)[1][1].read_text()


def test_a_model_without_encoder_and_one_that_is_missing_in_a_setting(tmp_path):
    made_run(tmp_path, "base", 0, "Gaussian")
    made_run(tmp_path, "base", 0, "OptimalGaussian", mse=0.0123)
    made_run(tmp_path, "slow", 0, "OptimalGaussian", mse=0.0125)
    encoding = ("mse", "mse_sampled", "psnr", "ssim", "code_mmd", "active_units")
    nothing = {"figures": dict.fromkeys(encoding), "reasons": dict.fromkeys(encoding, "it has no encoder")}
    made_run(tmp_path, "floor", curve=False, change={"model.likelihood": None}, **nothing)
    said, _ = write_report(tmp_path, "base")
    assert said[-1].endswith("Base 0.02400, 0.01230; Floor n/a, n/a; Slow n/a, 0.01250.")
    groups, _ = read_groups(tmp_path, base="base")
    assert [group.name for group in groups if group.setting.startswith("Gaussian")] == ["base", "floor"]
    assert groups[1].reasons["mse"] == groups[1].reasons["time_to_base"] == "it has no encoder"


def test_the_command(tmp_path, monkeypatch, capsys):
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 1
    assert "there is no tested run below" in capsys.readouterr().err
    compared(tmp_path)
    assert call("report", tmp_path, "--base", "slow", monkeypatch=monkeypatch) == 0
    assert "Sharp reconstructs best, by 30 % over Slow." in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_of_1200_epochs_takes_seconds(tmp_path):
    for name in ("base", "slow", "flow", "sharp"):
        for seed in range(3):
            made_run(tmp_path, name, seed, epochs=100)
    before = os.times()
    vae_zoo("report", tmp_path, cwd=tmp_path)
    after = os.times()  # seconds of the processor, whatever else the machine does
    assert after.children_user + after.children_system - before.children_user - before.children_system < 10


# ---- what the page has room for


@pytest.mark.parametrize("room", [0, 9, 40, 80, 10**6])
def test_columns_are_shown_as_long_as_there_is_room(room):
    texts = {column.key: ["0.12345 ± 0.00001", "0.1"] for column in COLUMNS} | {"nll": ["n/a", "n/a"]}
    shown = fitting(COLUMNS, texts, room)
    widths = {column.key: 2 + max(17, *(len(word) + 2 for word in column.title.split())) for column in COLUMNS}
    assert len(shown) == {0: 1, 9: 1, 40: 2, 80: 4, 10**6: len(COLUMNS)}[room]  # of 19 characters each
    assert len(shown) == 1 or sum(widths[key] for key in shown) <= room
    assert "mse" in shown and ("nll" in shown) == (room == 10**6)  # what no model has comes last


def test_pictures_share_a_bounded_page(tmp_path, monkeypatch):
    """Noise, which no format makes smaller, at 100 epochs: fewer epochs, and each picture in its share."""
    run, noise = made_run(tmp_path, "base"), np.random.default_rng(0)
    for epoch in range(7, 107):
        Image.fromarray(noise.integers(0, 256, (400, 600, 3), np.uint8)).save(run.picture("samples", epoch))
    monkeypatch.setattr(charts, "BYTES", 1_000_000)
    html = write_report(tmp_path)[1][0].read_text()
    found = re.findall(r'base64,([^"]+)" alt="Base: samples after (\d+) epochs"', html)
    assert len(found) == charts.EPOCHS and {found[0][1], found[-1][1]} == {"0", "106"}
    assert sum(len(base64.b64decode(content)) for content, _ in found) <= 1_000_000
    # Where there is room nothing is lost.
    Image.fromarray(small := noise.integers(0, 256, (50, 60, 3), np.uint8)).save(run.picture("samples", 0))
    content = re.search(r'base64,([^"]+)" alt="Base: samples after 0', write_report(tmp_path)[1][0].read_text())[1]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))) == small).all()


def test_a_curve_of_many_epochs_is_drawn_by_some_of_them_and_the_last(tmp_path):
    run, rng = made_run(tmp_path, "base", epochs=9000, curve=False), np.random.default_rng(0)
    lines = [f"{epoch},{value:.6f}" for epoch, value in enumerate(rng.random(9000))]
    sizes = []
    for last in (300, 9000):
        run.metrics_file.write_text("\n".join(["epoch,val/mse", *lines[:last], ""]))
        sizes.append(len(write_report(tmp_path)[1][0].read_text()))
    assert sizes[1] < 1.5 * sizes[0]
    axis = Figure().subplots()
    charts._curve(axis, "Base", [run.curve()], "epoch", {}, "o")
    epochs = axis.lines[0].get_xdata()
    assert epochs[-1] == 9000 and len(epochs) <= charts.POINTS and len(set(np.diff(epochs))) == 1


def test_what_was_logged_is_drawn_training_beside_validation(tmp_path):
    for name in ("base", "floor"):
        run = made_run(tmp_path, name, epochs=2)
        kl = [",", "1.5,", ",3", "2.5,", ",4"] if name == "base" else [","] * 5
        rows = ["0,,10,", "0,9,,", "0,,,0.2", "1,7,,", "1,,20,0.1"]
        lines = [f"{row},{each}" for row, each in zip(rows, kl, strict=True)]
        run.metrics_file.write_text("\n".join(["epoch,train/loss,val/loss,val/mse,train/kl,val/kl", *lines, ""]))
    html = write_report(tmp_path)[1][0].read_text()
    charts_of = dict(re.findall(r"<h3>([^<]*)</h3>\n<figure(.*?)</svg>", html, re.S))
    assert {title: body.count(">training<") for title, body in charts_of.items()} == {
        "loss, nats": 1,
        "KL, nats": 1,
        "MSE": 0,
    }
    assert {title: body.count(">validation<") for title, body in charts_of.items()} == dict.fromkeys(charts_of, 2)
    assert ">Floor<" in charts_of["loss, nats"] and ">Floor<" not in charts_of["KL, nats"]  # which it has not


# ---- what the models share


def test_parts_are_told_by_their_parameters(tmp_path):
    own = {
        "base": {"encoder": 1000, "decoder": 500},
        "slow": {"encoder": 1000, "decoder": 500},
        "flow": {"encoder": 1100, "flow": 2000, "decoder": 500},
        "sharp": {"encoder": 1000, "decoder": 500, "discriminator": 400},
        "floor": {"encoder": 900, "decoder": 500},
    }
    for name, parts in own.items():
        for setting in ("Gaussian", "OptimalGaussian"):
            made_run(tmp_path, name, 0, setting, parts=parts, parameters=sum(parts.values()))
    said = [
        "Equal in all models: decoder, 500 parameters.",
        "Base and Slow have 1,500 parameters: encoder 1,000, decoder 500.",
        "Floor has 100 fewer than Base: encoder 100 fewer.",
        "Flow has 2,100 more than Base: encoder 100 more, its flow 2,000.",
        "Sharp has 400 more than Base: its discriminator.",
    ]
    page, text, _ = write_report(tmp_path, "base")[1]
    assert re.findall("<li>(.*)</li>", page.read_text())[: len(said)] == said and " ".join(said) in text.read_text()
    # A likelihood with parameters of its own; a model of other parts; and results of an earlier version, without any.
    change_results(made_run(tmp_path, "base", 1), parts={"encoder": 1000, "decoder": 501})
    change_results(Run(tmp_path / "OptimalGaussian/sharp/seed_0"), parts={"generator": 2000})
    results = json.loads((earlier := Run(tmp_path / "OptimalGaussian/floor/seed_0").results_file).read_text())
    earlier.write_text(json.dumps({name: value for name, value in results.items() if name != "parts"}))
    text = write_report(tmp_path, "base")[1][1].read_text()
    optimal = text[text.index("OptimalGaussian: ") :].split("\n")[0]
    assert (
        "Sharp has 500 more than Base: its generator 2,000, no encoder, 1,000 fewer, no decoder, 500 fewer." in optimal
    )
    assert "The parts of Floor were not counted" in optimal and "Equal in all models" not in optimal


def test_results_without_parts_are_those_of_an_earlier_version_and_are_compared(tmp_path):
    made_run(tmp_path, "base")
    made_run(tmp_path, "slow")
    page, text, _ = write_report(tmp_path)[1]
    assert len(rows_of(tmp_path / "results.csv")) == 2 and "Equal in all" not in page.read_text() + text.read_text()
