"""The report's files: figures as they are, pictures whole, runs left out with a reason; and the page in a browser."""

import base64
import csv
import io
import json
import math
import re
import shutil
import time
from urllib.parse import quote

import pytest
from PIL import Image

from tests.conftest import call, vae_zoo
from tests.run_folders import MODELS, change_results, compared, made_run
from vae_zoo.compare.columns import BASE, COLUMNS
from vae_zoo.compare.figures import read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.errors import UserError

pytest_plugins = ["tests.browsers"]


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
    unasked = {"fid", "kid", "mse_of_mean_image", "explained_variance"}
    for column in COLUMNS:
        title = column.title.replace(BASE, "Base").replace("'", "&#39;")
        assert (f'"button">{title}<' in html) == (column.key not in unasked), column
    assert {column.key for column in COLUMNS} <= rows[0].keys()  # where scripts look


def best_cells(page):
    """By model, the titles of the columns in which its cell is shaded."""
    html = page.read_text()
    titles = re.findall(r'<th scope="col"><button type="button">(.*?)</button>', html)[1:]
    rows = re.findall(r'<tr><th scope="row">(\w+)</th>\n((?:<td data-value.*\n)+)', html)
    cells = {label: re.findall("<td (.*?)>", row) for label, row in rows}
    return {
        label: [title for title, cell in zip(titles, row, strict=True) if 'class="best"' in cell]
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
    assert "None of the runs has a validation MSE" in html and ">diverged<" in html


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
    begin = time.perf_counter()
    vae_zoo("report", tmp_path, cwd=tmp_path)
    assert time.perf_counter() - begin < 10


# ---- the page, in a browser


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    write_report(compared(tmp_path))
    browser.get(f"file://{quote(str(tmp_path / 'report.html'))}")

    def find(css):
        return browser.find_elements(By.CSS_SELECTOR, css)

    def models():
        return [cell.text for cell in find(".figures tbody th")]

    # Sorting by MSE with the keyboard alone, both ways; what has no figure stands last both ways.
    mse = find(".figures thead button")[1]
    mse.send_keys(Keys.ENTER)
    assert models() == ["Floor", "Sharp", "Slow", "Base", "Flow"]
    assert find(".figures thead th")[1].get_attribute("aria-sort") == "ascending"
    mse.send_keys(Keys.SPACE)
    assert models() == ["Flow", "Base", "Slow", "Sharp", "Floor"]
    mse.send_keys(Keys.ENTER)  # the two that have no NLL stand first
    nll = next(button for button in find(".figures thead button") if "NLL" in button.text)
    for _ in range(2):
        nll.send_keys(Keys.ENTER)
        assert set(models()[-2:]) == {"Floor", "Sharp"}
        assert len(find(".figures thead [aria-sort]")) == 1

    # A picture is enlarged by Enter, and the dialog closed by Escape.
    tile = find(".wall button")[0]
    width = tile.size["width"]
    tile.send_keys(Keys.ENTER)
    (dialog,) = find("dialog[open]")
    large = dialog.find_element(By.TAG_NAME, "img")
    assert large.size["width"] > width and "reconstructions after 0 epochs" in large.get_attribute("alt")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not find("dialog[open]")

    assert (
        browser.execute_script(
            "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length - new Set(ids).size"
        )
        == 0
    )
    assert not find("main style")  # a chart's would be the page's
    # Each picture and chart has a text; each table a caption or header; the page names its language.
    assert all(image.get_attribute("alt") for image in find("main img")) and find("html[lang]")
    assert all(svg.get_attribute("aria-label") for svg in find("main svg[role=img]")) and len(find("main svg")) == 2
    assert all(find_in.find_elements(By.CSS_SELECTOR, "th[scope=col]") for find_in in find("table"))

    # On a phone nothing but the tables scrolls sideways; dark follows the system's choice.
    for size, scheme, dark in (((360, 800), "light", False), ((1600, 900), "dark", True)):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500},
        )
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
        paper, ink = (
            [int(v) for v in re.findall(r"\d+", browser.execute_script(f"return getComputedStyle({where}).{what}"))][:3]
            for where, what in (
                ("document.body", "backgroundColor"),
                ("document.querySelector('figure svg text')", "fill"),
            )
        )
        assert (sum(paper) < 200 < 500 < sum(ink)) if dark else (sum(ink) < 200 < 500 < sum(paper))
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
