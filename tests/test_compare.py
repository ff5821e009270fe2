"""The comparison: identical conditions, killing and going on, and what the report says of figures that are known."""

import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.conftest import REPOSITORY, SMALL, call, vae_zoo
from vae_zoo.compare import conditions
from vae_zoo.compare.figures import COLUMNS, apart, rank, read_groups
from vae_zoo.compare.report import write_report
from vae_zoo.compare.runs import Run
from vae_zoo.compare.verdict import claims, verdict

CLASSES = {"ae": "AE", "vae": "VAE", "iwae": "IWAE", "iaf": "IAFVAE", "aae": "AAE"}
MSE = {"ae": 0.015, "vae": 0.024, "iwae": 0.023, "iaf": 0.0245, "aae": 0.016}
SECONDS = {"ae": 9.0, "vae": 10.0, "iwae": 30.0, "iaf": 11.0, "aae": 14.0}


def made_run(root, name, seed=0, setting="Gaussian", epochs=6, mse=None, curve=True, change=()):
    """A run folder as `fit` and `test` leave it, with figures that are known; `change` are options."""
    folder = root / setting / name / f"seed_{seed}"
    (folder / "images").mkdir(parents=True)
    config = yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text())
    for option in (f"--model.likelihood={setting}", f"--seed_everything={seed}", f"--trainer.max_epochs={epochs}"):
        conditions.override(config, option)
    for option in change:
        conditions.override(config, option)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    final = MSE[name] + 1e-4 * seed if mse is None else mse
    dense = name not in ("ae", "aae")
    results = {key: None for key in ("fid", "kid", "bits_per_dim", "nll", "elbo", "kl")} | {
        **{"model": CLASSES[name], "mse": final, "mse_sampled": 1.1 * final, "psnr": -10 * math.log10(final)},
        **{"ssim": 0.3, "code_mmd": 0.01, "active_units": 60, "parameters": 1000, "shape": [3, 16, 16]},
        **{
            "seed": seed,
            "split_sha256": "abc",
            "epochs": epochs,
            "git_revision": "1234",
            "environment": {"torch": "2"},
        },
        "timing": {
            "seconds_per_epoch": SECONDS[name],
            "images_per_second": 1000 / SECONDS[name],
            "peak_memory_mb": 900.0,
        },
    }
    results |= {"elbo": -700.0, "kl": 40.0, "nll": 690.0 + seed} if dense else {}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "split.json").write_text(json.dumps({"train": [1, 2], "test": [3]}))
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "timing/train_seconds", "train/loss", "val/mse"])
        for epoch in range(epochs):
            writer.writerows([[epoch, 16 * epoch + i, "", 1.0, ""] for i in range(16)])
            seen = final * (1 + (epochs - 1 - epoch) / 10)
            writer.writerow([epoch, 16 * epoch + 15, "", "", seen if curve else ""])
            writer.writerow([epoch, 16 * epoch + 15, SECONDS[name] * (epoch + 1), "", ""])
    # Rows of tiles of 16 pixels in frames of 2: four of reconstructions, in red, above four of samples, in blue.
    picture = Image.new("RGB", (8 * 18 + 2, 8 * 18 + 4), "blue")
    picture.paste("red", (0, 0, picture.width, 4 * 18 + 2))
    for epoch in (0, 5, epochs):
        picture.save(folder / "images" / f"epoch_{epoch:04d}.png")
    return folder


@pytest.fixture
def compared(tmp_path):
    """Five models, three seeds."""
    for name in CLASSES:
        for seed in range(3):
            made_run(tmp_path, name, seed)
    return tmp_path


def test_an_option_means_what_it_means_to_fit(monkeypatch, capsys):
    """What is compared with the runs in a folder is what `fit` would make of the same words."""
    config = REPOSITORY / "configs" / "vae.yaml"
    words = [
        "--model.likelihood=OptimalGaussian",
        "--model.encoder.init_args.width=8",
        "--data.root=x",
        "--compile=true",
    ]
    words += [
        "--trainer.precision=bf16-mixed",
        "--evaluation.nll_samples=7",
        "--images.epochs=[0, 2]",
        "--data.n_val=3",
    ]
    words += ["--model.lr=1e-4", "--model.decoder=MLPDecoder", "--data.batch_size=16"]
    given = conditions.read(config)
    for word in words:
        conditions.override(given, word)
    with pytest.raises(SystemExit):
        call("fit", "--config", config, *words, "--print_config", monkeypatch=monkeypatch)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert not list(conditions.differences(given, printed))
    ours, theirs = conditions.conditions(given), conditions.conditions(printed)
    assert (
        not list(conditions.differences(ours, theirs))
        and {"model.lr", "data.root", "data"} <= ours.keys() & theirs.keys()
    )
    for word in words:
        if not word.startswith("--images"):
            fresh = conditions.read(config)
            conditions.override(fresh, word)
            changed = list(
                conditions.differences(conditions.conditions(fresh), conditions.conditions(conditions.read(config)))
            )
            assert len(changed) == 1 and changed[0][0].startswith(word[2:].split("=")[0].replace(".init_args", "")[:9])


def test_models_are_told_apart_as_by_a_t_test(tmp_path):
    for seed, mse in enumerate((0.0200, 0.0210, 0.0220)):
        made_run(tmp_path, "vae", seed, mse=mse)
    for seed, mse in enumerate((0.0223, 0.0233, 0.0243)):
        made_run(tmp_path, "iwae", seed, mse=mse)
    ranking = rank(read_groups(tmp_path)[0], "mse")
    a, b = ranking.groups
    assert (a.label, b.label) == ("VAE", "IWAE")
    # t = (.0233 - .0210) / sqrt(2 * .001^2 / 3) with 4 degrees of freedom, for equal variances: critical value 2.776.
    t = 0.0023 / math.sqrt(2 * 0.001**2 / 3)
    assert t == pytest.approx(2.817, abs=1e-3) and ranking.apart(a, b)
    assert not apart(a.values("mse"), [v - 5e-5 for v in b.values("mse")], one_seed=False)  # 2.756
    # An unsteady third model changes nothing between the two.
    for seed, seconds in enumerate((0.03, 0.06, 0.01)):
        made_run(tmp_path, "iaf", seed, mse=seconds)
    assert "VAE < IWAE" in str(rank(read_groups(tmp_path)[0], "mse"))


@pytest.mark.parametrize(
    "a, b, one_seed, told",
    [
        ([0.1], [0.2], True, True),
        ([0.1], [0.1], True, False),
        ([0.1, 0.1], [0.2], False, False),  # one seed of the other tells nothing
        ([0.1, 0.1], [0.2, 0.2], False, True),  # no spread at all
        ([0.1, 0.1], [0.1, 0.1], False, False),
        ([10.0, 10.02], [11.0, 11.02], False, True),
        ([1.0, 3.0], [2.0, 4.0], False, False),
        # t = 1 / sqrt(.5^2 / 3) = 3.46; of the spread of b alone there are 2 degrees of freedom: critical value 4.30.
        ([1.0, 1.001, 0.999], [1.5, 2.0, 2.5], False, False),
    ],
)
def test_apart(a, b, one_seed, told):
    assert apart(a, b, one_seed) == apart(b, a, one_seed) == told


def test_verdict_on_known_figures(compared):
    groups, left_out = read_groups(compared)
    assert [group.label for group in groups] == ["AE", "VAE", "IWAE", "IAFVAE", "AAE"] and not left_out
    said = list(verdict(groups))
    assert said[0].startswith(
        "AAE reconstructs best, by 30 % over IWAE. MSE: AAE 0.01610 ± 0.00010, IWAE 0.02310 ± 0.00010,"
    )
    assert "In order: AAE < IWAE < VAE < IAFVAE" in said[0]
    assert any("AE is fastest, by 10 % over VAE" in line for line in said)
    held = "MSE held against the AE, which has no prior to keep to, with 0.01510: AAE +6.6 %, IWAE +53.0 %"
    assert any(line.startswith(held) for line in said)
    # 40 / (40 + n mse / 2), n = 768 pixels, mse of a draw 1.1 x .0241
    share = 40 / (40 + 768 * 1.1 * 0.0241 / 2)
    assert any(f"The KL's share of -ELBO without its constant: VAE {100 * share:.1f} %" in line for line in said)
    mse, seconds, early = claims(groups)
    assert mse.holds == "no" and mse.found.startswith("AAE < IWAE < VAE < IAFVAE: IAFVAE is not before VAE")
    assert mse.found.endswith("(0.02460 ± 0.00010 and 0.02410 ± 0.00010), with a KL of 40.0 and 40.0 nats")
    assert seconds.holds == "no" and "AAE is not before VAE (14.00 and 10.00): an epoch takes 1.40" in seconds.found
    assert early.found.startswith("validation MSE 0.01771, below the VAE's 0.02410 after 6")
    assert early.holds == "not tested at 100"


def test_figures_relative_to_the_vae(compared):
    groups = {group.label: group for group in read_groups(compared)[0]}
    assert groups["IWAE"].values("relative_time") == [3.0] * 3
    # The AAE's curve begins at 1.5 of its end: .0240, .02415, .0243; the same seed's VAE ends at .0240, .0241, .0242.
    assert groups["AAE"].values("time_to_base") == [14.0, 28.0, 28.0]
    assert groups["VAE"].values("time_to_base") == [60.0] * 3
    assert groups["IAFVAE"].values("time_to_base") == [] and groups["IAFVAE"].reasons["time_to_base"] == "not reached"
    assert groups["AAE"].reasons["nll"] == "it has no density"
    assert groups["VAE"].reasons["bits_per_dim"] == "only for a probability of 8-bit pixels, which Gaussian has not"


def test_what_the_seeds_do_not_allow_is_not_said(tmp_path):
    for seed, (vae, iwae) in enumerate(((0.020, 0.022), (0.022, 0.021), (0.021, 0.023))):
        made_run(tmp_path, "vae", seed, mse=vae)
        made_run(tmp_path, "iwae", seed, mse=iwae)
    said = list(verdict(read_groups(tmp_path)[0]))
    assert said[0].startswith("VAE reconstructs best, though it cannot be told apart from IWAE.")
    assert "VAE ≈ IWAE" in said[0]
    for name, mse in (("iaf", 0.0205), ("aae", 0.02)):
        for seed in range(3):
            made_run(tmp_path, name, seed, mse=mse + seed * 1e-3)
    claim = next(iter(claims(read_groups(tmp_path)[0])))
    assert claim.holds == "not shown" and "AAE and IWAE cannot be told apart" in claim.found
    for path in tmp_path.glob("*/*/seed_[12]"):
        shutil.rmtree(path)
    assert next(iter(verdict(read_groups(tmp_path)[0]))) == "There is one seed, so nothing tells what chance has done."


def test_report_files(compared):
    unfinished = made_run(compared, "vae", 7)
    (unfinished / "results.json").unlink()
    _, (page, text, table) = write_report(compared)
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and {row["model"] for row in rows} == set(CLASSES.values())
    for row in rows:  # as they are, not rounded
        results = json.loads((compared / row["run"] / "results.json").read_text())
        assert float(row["mse"]) == results["mse"] and row["nll"] == (
            "" if results["nll"] is None else str(results["nll"])
        )
    assert "| AE | 0.01510 ± 0.00010 |" in text.read_text() and "1. it has no density" in text.read_text()
    html = page.read_text()
    for written in (html, text.read_text()):
        assert "Gaussian/vae/seed_7" in written
    places = [
        html.index(f'<h2 id="{name}"') for name in ("verdict", "table", "claims", "curves", "wall", "cost", "settings")
    ]
    assert places == sorted(places)
    # Nothing is fetched: each source and each link is inside the page.
    for link in re.findall(r'(?: src="|href="|url\()([^")]+)', html):
        assert link.startswith(("data:", "#")), link
    for column in COLUMNS:
        assert column.title.replace("'", "&#39;") in html


def test_the_wall_has_the_right_part_of_the_right_picture(compared):
    import base64
    import io

    write_report(compared)
    html = (compared / "report.html").read_text()
    tiles = re.findall(
        r'src="data:image/webp;base64,([^"]+)" alt="(\w+): (test images|samples).* after (\d+) epochs"', html
    )
    assert len(tiles) == 5 * 2 * 3  # models, kinds, epochs 0, 5, 6
    for content, _, kind, _ in tiles:
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert picture.size == (146, 38)  # two rows
        for height in (8, 30):
            (r, _, b) = picture.getpixel((70, height))
            assert (r > 200 and b < 50) if kind == "test images" else (b > 200 and r < 50)


@pytest.mark.parametrize(
    "change, named",
    [
        (["--data.image_size=32"], "data.image_size is 64 in the one and 32"),
        (["--model.latent=32"], "model.latent is 64 in the one and 32"),
        (["--model.decoder.init_args.width=8"], "model.decoder.init_args.width is 32 in the one and 8"),
        (["--data.batch_size=8"], "data.batch_size is 64 in the one and 8"),
        (["--trainer.precision=bf16-mixed"], "trainer.precision is '32-true' in the one and 'bf16-mixed'"),
        (["--evaluation.nll_samples=5"], "evaluation.nll_samples is 100 in the one and 5"),
    ],
)
def test_runs_of_other_conditions_are_not_mixed(change, named, tmp_path, monkeypatch, capsys):
    made_run(tmp_path, "ae")
    made_run(tmp_path, "vae", change=change)
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    assert "not made under identical conditions" in said and named in said


def test_runs_on_other_images_are_not_mixed(tmp_path, monkeypatch, capsys):
    made_run(tmp_path, "ae")
    path = made_run(tmp_path, "vae") / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"split_sha256": "other"}))
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 1
    assert "split_sha256 is 'abc' in the one and 'other' in the other" in capsys.readouterr().err


def test_runs_that_cannot_be_compared_are_left_out_with_a_reason(tmp_path):
    made_run(tmp_path, "ae", epochs=7)
    made_run(tmp_path, "vae", epochs=7)
    made_run(tmp_path, "iwae", epochs=5)
    made_run(tmp_path, "iaf", 1)
    (tmp_path / "Gaussian" / "iaf" / "seed_1" / "results.json").write_text('{"mse": 1')
    (tmp_path / "Gaussian" / "cvae" / "seed_0").mkdir(parents=True)
    (tmp_path / "Gaussian" / "cvae" / "seed_0" / "log.txt").write_text("the data have no labels")
    (made_run(tmp_path, "aae", 2, epochs=7) / "config.yaml").unlink()
    (made_run(tmp_path, "aae", 3, epochs=7) / "config.yaml").write_text("")
    (tmp_path / "Gaussian" / "vae" / "seed_0" / "images" / "epoch_0005.png").write_text("no picture")
    write_report(tmp_path)
    groups, left_out = read_groups(tmp_path)
    assert [group.label for group in groups] == ["AE", "VAE"]
    assert left_out.pop("Gaussian/aae/seed_3").endswith("config.yaml is not a configuration file: it holds no settings")
    assert left_out == {
        "Gaussian/iwae/seed_0": "it has had 5 of 7 epochs",
        "Gaussian/iaf/seed_1": "it is not finished, or was not tested",
        "Gaussian/cvae/seed_0": "it was not begun, see its log.txt",
        "Gaussian/aae/seed_2": "its config.yaml is missing",
    }


def test_the_seed_and_the_likelihood_may_differ(tmp_path):
    for setting in ("Gaussian", "OptimalGaussian"):
        for seed in (0, 5):
            made_run(tmp_path, "vae", seed, setting)
    groups, _ = read_groups(tmp_path)
    assert [(g.setting, len(g.runs)) for g in groups] == [("Gaussian(sigma=1.0)", 2), ("OptimalGaussian", 2)]
    # With the best sigma the reconstruction's share is n / 2.
    assert groups[1].mean("kl_share") == pytest.approx(100 * 40 / (40 + 768 / 2))


def test_a_run_that_diverged_and_runs_without_a_curve(tmp_path):
    made_run(tmp_path, "vae", curve=False)
    made_run(tmp_path, "iwae", mse=math.nan, curve=False)
    write_report(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "None of the runs has a validation MSE" in html and ">diverged<" in html
    assert "no validation MSE, so no curve" in html


def test_nothing_to_report(tmp_path, monkeypatch, capsys):
    for folder, message in ((tmp_path / "no", "there is no folder"), (tmp_path, "there is no tested run")):
        assert call("report", folder, monkeypatch=monkeypatch) == 1
        assert message in capsys.readouterr().err
    made_run(tmp_path, "vae")
    shutil.copytree(tmp_path / "Gaussian" / "vae" / "seed_0", tmp_path / "Gaussian" / "vae" / "seed_1")
    (groups, left_out) = read_groups(tmp_path)
    assert len(groups[0].runs) == 1 and list(left_out.values()) == ["there is a newer run of this model and seed"]


def test_claims_at_100_epochs_and_with_one_seed(tmp_path):
    made_run(tmp_path, "vae", epochs=100, mse=0.02)
    made_run(tmp_path, "aae", epochs=100, mse=0.01)  # its curve is mse (1 + (100 - epoch) / 10): 0.105 after 5 epochs
    early = list(claims(read_groups(tmp_path)[0]))[-1]
    assert early.holds == "no, with one seed" and "0.10500, above the VAE's 0.02000 after 100" in early.found


def test_a_model_of_other_arguments_is_no_other_seed(tmp_path, monkeypatch, capsys):
    made_run(tmp_path, "vae", 0)
    made_run(tmp_path, "vae", 1, change=["--model.beta=10"])
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 1
    assert "model.beta is 1.0 in the one and 10 in the other" in capsys.readouterr().err


def test_seeds_that_failed_are_not_left_out_of_the_mean(tmp_path):
    for seed in range(3):
        made_run(tmp_path, "vae", seed)
        made_run(tmp_path, "iaf", seed, mse=0.01 if seed == 0 else math.nan)
        made_run(tmp_path, "aae", seed)
    groups, _ = read_groups(tmp_path)
    said = list(verdict(groups))
    assert said[0].startswith("AAE reconstructs best, by 33 % over VAE.")
    assert "IAFVAE is not ranked by its MSE, which not all of its seeds have: some diverged." in said
    write_report(tmp_path)
    assert "0.01000 (1 of 3 seeds)" in (tmp_path / "report.html").read_text()


def test_runs_of_several_machines_are_not_ranked_by_time(tmp_path):
    for name in ("vae", "aae"):
        path = made_run(tmp_path, name) / "results.json"
        environment = {"environment": {"device": name, "threads": 1}}
        path.write_text(json.dumps(json.loads(path.read_text()) | environment))
    said = list(verdict(read_groups(tmp_path)[0]))
    assert "Time and memory are not ranked: the runs are from different machines, aae (1 threads) and vae (1" in said[1]
    assert not any("is fastest" in line for line in said) and any("reconstructs best" in line for line in said)


def test_a_model_without_encoder_and_one_that_is_missing_in_a_setting(tmp_path):
    made_run(tmp_path, "vae", 0, "Gaussian")
    made_run(tmp_path, "vae", 0, "OptimalGaussian", mse=0.0123)
    made_run(tmp_path, "iwae", 0, "OptimalGaussian", mse=0.0125)
    path = made_run(tmp_path, "ae", curve=False)  # a DCGAN, as far as its results go
    config = yaml.safe_load((path / "config.yaml").read_text())
    config["model"] = {"class_path": "DCGAN", "init_args": {"latent": 64, "lr": 1.0e-3}}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    results = json.loads((path / "results.json").read_text()) | {"model": "DCGAN"}
    encoding = ("mse", "mse_sampled", "psnr", "ssim", "code_mmd", "active_units")
    (path / "results.json").write_text(json.dumps(results | dict.fromkeys(encoding)))
    said, _ = write_report(tmp_path)
    assert said[-1].endswith("VAE 0.02400, 0.01230; DCGAN n/a, n/a; IWAE n/a, 0.01250.")
    groups, _ = read_groups(tmp_path)
    assert [group.label for group in groups if group.setting.startswith("Gaussian")] == ["VAE", "DCGAN"]
    reasons = groups[1].reasons
    assert (reasons["mse"], reasons["nll"], reasons["time_to_base"]) == (
        *("it has no encoder", "it has no density", "it has no encoder"),
    )


def test_results_of_an_older_version_and_of_no_epoch(tmp_path, monkeypatch, capsys):
    path = made_run(tmp_path, "vae") / "results.json"
    results = json.loads(path.read_text())
    results["timing"] = dict.fromkeys([*results["timing"], "train_seconds"])  # a run of a few steps
    path.write_text(json.dumps(results))
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    del results["shape"], results["epochs"]
    path.write_text(json.dumps(results))
    assert call("report", tmp_path, monkeypatch=monkeypatch) == 1
    assert "Gaussian/vae/seed_0: it was tested by an older version" in capsys.readouterr().err


def test_a_report_of_1200_epochs_takes_seconds(tmp_path):
    for name in ("vae", "iwae", "iaf", "aae"):
        for seed in range(3):
            made_run(tmp_path, name, seed, epochs=100)
    begin = time.perf_counter()
    vae_zoo("report", tmp_path, cwd=tmp_path)
    assert time.perf_counter() - begin < 10


# ---- the page, in a browser


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run"):
        options.add_argument(f"--{flag}")
    for flag in ("disable-quic", "disable-background-networking", "disable-component-update", "disable-sync"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def test_the_page_in_a_browser(compared, browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    write_report(compared)
    browser.get(f"file://{quote(str(compared / 'report.html'))}")

    def find(css):
        return browser.find_elements(By.CSS_SELECTOR, css)

    def models():
        return [cell.text for cell in find(".figures tbody th")]

    # Sorting by MSE with the keyboard alone, both ways; what has no figure stands last both ways.
    mse = find(".figures thead button")[1]
    mse.send_keys(Keys.ENTER)
    assert models() == ["AE", "AAE", "IWAE", "VAE", "IAFVAE"]
    assert find(".figures thead th")[1].get_attribute("aria-sort") == "ascending"
    mse.send_keys(Keys.SPACE)
    assert models() == ["IAFVAE", "VAE", "IWAE", "AAE", "AE"]
    mse.send_keys(Keys.ENTER)  # the two that have no NLL stand first
    nll = next(button for button in find(".figures thead button") if "NLL" in button.text)
    for _ in range(2):
        nll.send_keys(Keys.ENTER)
        assert set(models()[-2:]) == {"AE", "AAE"}
        assert len(find(".figures thead [aria-sort]")) == 1

    # A picture is enlarged by Enter, and the dialog closed by Escape.
    tile = find(".wall button")[0]
    width = tile.size["width"]
    tile.send_keys(Keys.ENTER)
    (dialog,) = find("dialog[open]")
    large = dialog.find_element(By.TAG_NAME, "img")
    assert large.size["width"] > width and "test images over their reconstructions" in large.get_attribute("alt")
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


# ---- the command


def compare(*arguments, cwd, shapes, **options):
    """A comparison of seconds, as words."""
    words = SMALL | {"data.root": shapes, "data.cache_dir": cwd / "cache", "data.n_val": 12} | options
    del words["trainer.max_epochs"]
    return ["compare", *arguments, *(word for name, value in words.items() for word in (f"--{name}", str(value)))]


def started(words, cwd):
    command = [str(Path(sys.executable).with_name("vae-zoo")), *map(str, words)]
    # A shell without job control starts what runs in the background, such as these tests, with Ctrl-C ignored.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=subprocess.STDOUT, text=True, preexec_fn=heed)


def figures_of(folder):
    """All that the report is made of but what depends on the clock."""
    found = {}
    for path in sorted(folder.rglob("results.json")):
        results = json.loads(path.read_text())
        del results["timing"]
        curve = [(point.epoch, point.mse) for point in Run(path.parent).curve()]
        assert all(math.isfinite(point.seconds) for point in Run(path.parent).curve())
        curve.append({picture.name: picture.read_bytes() for picture in path.parent.glob("images/*")})
        weights = torch.load(path.parent / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        total = sum(weight.double().sum().item() for weight in weights.values())
        found[str(path.parent.relative_to(folder))] = (results, curve, total)
    return found


def test_killed_at_any_moment_it_goes_on_to_the_same_numbers(shapes, tmp_path):
    configs = [str(REPOSITORY / "configs" / f"{name}.yaml") for name in ("vae", "aae")]
    words = ["--configs", *configs, "--likelihoods", "OptimalGaussian", "--epochs", "8"]
    whole = compare(*words, "--out", "whole", cwd=tmp_path, shapes=shapes)
    said = vae_zoo(*whole, cwd=tmp_path).stdout
    assert "vae, OptimalGaussian, seed 0: test MSE" in said and "report.html" in said

    cut = compare(*words, "--out", "cut", cwd=tmp_path, shapes=shapes)

    def epochs(name):
        return Run(tmp_path / "cut" / "OptimalGaussian" / name / "seed_0").epoch

    def begun():
        return (tmp_path / "cut" / "OptimalGaussian" / "vae" / "seed_0" / "split.json").exists()

    kills = [
        (signal.SIGKILL, begun),  # in the first epoch
        (signal.SIGKILL, lambda: epochs("vae") >= 3),
        (signal.SIGINT, lambda: epochs("aae") >= 2),
    ]
    for kill, moment in kills:
        process = started(cut, tmp_path)
        while not moment():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        process.send_signal(kill)
        said = process.communicate()[0]
        assert process.returncode != 0 and (kill != signal.SIGINT or "the same command goes on" in said)
    done = vae_zoo(*cut, cwd=tmp_path).stdout
    assert "1 of 2 runs are finished" in done
    ours, theirs = figures_of(tmp_path / "cut"), figures_of(tmp_path / "whole")
    assert ours == theirs and len(ours) == 2 and len(ours["OptimalGaussian/vae/seed_0"][1]) == 8 + 1
    # Nothing was trained twice to the end: the logs have a line for each start.
    log = (tmp_path / "cut" / "OptimalGaussian" / "aae" / "seed_0" / "log.txt").read_text()
    assert log.count("$ vae-zoo fit") == 2 and log.count("$ vae-zoo test") == 1

    # What is finished is left alone.
    before = (tmp_path / "cut" / "OptimalGaussian" / "vae" / "seed_0" / "results.json").stat().st_mtime
    assert "2 of 2 runs are finished" in vae_zoo(*cut, cwd=tmp_path).stdout
    assert (tmp_path / "cut" / "OptimalGaussian" / "vae" / "seed_0" / "results.json").stat().st_mtime == before

    # More epochs go on from there.
    more = ["9" if word == "8" else word for word in cut]
    assert "2 of 2 runs" not in vae_zoo(*more, "--jobs", "2", cwd=tmp_path).stdout
    assert {results["epochs"] for results, _, _ in figures_of(tmp_path / "cut").values()} == {9}
    assert "9 epochs" in (tmp_path / "cut" / "report.md").read_text()

    # TensorBoard: all runs under one folder, the same tags, and the final figures among the hyper-parameters.
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "whole"))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) >= {"OptimalGaussian/vae/seed_0", "OptimalGaussian/aae/seed_0"}
    for run in ("OptimalGaussian/vae/seed_0", "OptimalGaussian/aae/seed_0"):
        tags = multiplexer.GetAccumulator(run).Tags()
        assert {"val/mse", "timing/seconds_per_epoch", "hp/mse"} <= set(tags["scalars"])
        metadata = multiplexer.GetAccumulator(run).SummaryMetadata("_hparams_/session_start_info")
        start = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
        assert {"latent", "lr"} <= set(start.hparams)


def test_a_folder_is_refused_to_other_conditions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made_run(tmp_path / "out", "vae")
    common = [
        "compare",
        "--out",
        "out",
        "--likelihoods",
        "Gaussian",
        "--configs",
        str(REPOSITORY / "configs" / "vae.yaml"),
    ]
    for words, message in (
        (["--epochs", "6", "--data.image_size", "32"], "data.image_size is 32 here, but 64 in out/Gaussian/vae/seed_0"),
        (["--epochs", "6", "--model.latent=3"], "model.latent is 3 here, but 64 in"),
        (["--epochs", "6", "--model.beta=3"], "model.beta is 3 here, but 1.0 in"),
        (["--epochs", "6", "--data.root", "other"], "data.root is 'other' here, but 'data/shapes' in"),
        (["--epochs", "5"], "epochs is 5 here, but 6 in"),
    ):
        assert call(*common, *words, monkeypatch=monkeypatch) == 1
        assert message in capsys.readouterr().err
    assert call(*common, "--epochs", "7", monkeypatch=monkeypatch) == 1
    assert "seed_0 has no checkpoints/last.ckpt to go on from; remove it to train it anew" in capsys.readouterr().err
    assert call(*common, "--epochs", "6", monkeypatch=monkeypatch) == 0  # and this is finished


def test_models_of_other_conditions_are_refused_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "configs" / "aae.yaml").read_text()
    Path("wide.yaml").write_text(text.replace("width: 32", "width: 48"))
    words = ["compare", "--configs", str(REPOSITORY / "configs" / "vae.yaml"), "wide.yaml"]
    assert call(*words, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr().err
    assert "model.decoder.init_args.width is 48 for wide, but 32 for vae" in said
    assert not Path("comparison").exists()


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["--epoch", "3"], 2, "there is no option --epoch; did you mean '--epochs'?"),
        (["--data.root"], 2, "--data.root needs a value"),
        (["--epochs", "0"], 1, "epochs must be at least 1, got 0"),
        (["--jobs", "0"], 1, "jobs must be at least 1"),
        (["--seeds", "1", "1"], 1, "seeds: each must have another name, got 1, 1"),
        (["--configs", "no.yaml"], 1, "there is no configuration file no.yaml"),
        (["--config", "mine.yaml"], 2, "mine.yaml: there is no key 'seed'; did you mean 'seeds'?"),
        (["--trainer.max_epochs", "5"], 1, "--trainer.max_epochs is --epochs in a comparison"),
        (["--model.likelihood=Bernoulli"], 1, "--model.likelihood is --likelihoods in a comparison"),
        (["--seed_everything", "3"], 2, "there is no option --seed_everything; it is --seeds in a comparison"),
        (["--config", "blank.yaml"], 2, "blank.yaml: likelihoods has no value; leave it out for the default"),
        (["--out", "mine.yaml"], 1, "out: mine.yaml is a file, no folder"),
        (["--likelihoods", "Gaussian", "Gaussian"], 1, "likelihoods: each must have another name"),
        (["--model.latnet=3"], 1, "none of vae, iwae, iaf, aae has the argument 'latnet' in its yaml"),
    ],
)
def test_mistakes_on_the_command_line(words, status, message, tmp_path, monkeypatch, capsys):
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    (tmp_path / "blank.yaml").write_text("likelihoods:\n")
    monkeypatch.chdir(tmp_path)
    assert call("compare", *words, monkeypatch=monkeypatch) == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "comparison").exists()


def test_one_crash_does_not_end_the_rest_but_a_misspelt_key_does(shapes, tmp_path, monkeypatch, capfd):
    """A model that fails is told at the end; a key that no run understands, at once, in its own words."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    wrong = Path("configs/vae.yaml").read_text().replace("accelerator: auto", "accelerator: auto\n  max_time: nonsense")
    Path("configs/broken.yaml").write_text(wrong)
    words = ["--configs", "configs/broken.yaml", "configs/ae.yaml", "--likelihoods", "Gaussian", "--epochs", "1"]
    assert call(*compare(*words, cwd=tmp_path, shapes=shapes), monkeypatch=monkeypatch) == 1
    out, err = capfd.readouterr()
    assert "broken, Gaussian, seed 0: failed, see comparison/default/Gaussian/broken/seed_0/log.txt" in out
    assert "ae, Gaussian, seed 0: test MSE" in out and "report.html" in out
    assert "1 of 2 runs failed; the same command tries them once more" in err

    words = ["--configs", "configs/ae.yaml", "--out", "misspelt", "--epochs", "1"]
    assert call(*compare(*words, cwd=tmp_path, shapes=shapes, **{"data.n_trian": 3}), monkeypatch=monkeypatch) == 1
    assert "did you mean 'data.n_train'?" in capfd.readouterr().err
    assert [path.name for path in Path("misspelt").rglob("*.*")] == [".lock"]


@pytest.mark.parametrize("name", ["small", "cpu", "full"])
def test_settings_of_comparisons_are_understood(name, tmp_path, monkeypatch):
    """Each of the yamls is one comparison under identical conditions, and each of its options one that fit knows."""
    from vae_zoo.cli.compare import parse

    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    given = yaml.safe_load(Path(f"configs/compare/{name}.yaml").read_text())
    experiment = parse(["--config", f"configs/compare/{name}.yaml", "--seeds", "3"])
    once = [path for path in given["configs"] if "likelihood" not in Path(path).read_text()]
    assert once == ["configs/dcgan.yaml"] * (name != "small")  # a model without a likelihood is trained once
    assert len(experiment.plans) == len(given["configs"]) * 2 - len(once)
    assert {plan.seed for plan in experiment.plans} == {3}
    assert experiment.epochs == given["epochs"] and str(experiment.out) == given["out"] == f"comparison/{name}"
    with pytest.raises(SystemExit):  # 0
        call("fit", "--config", "configs/iaf.yaml", *experiment.overrides, "--print_config", monkeypatch=monkeypatch)
