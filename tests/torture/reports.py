"""Run folders whose results, curves, pictures or settings are damaged, and the report of them."""

import csv
import json
import os
import shutil

import yaml
from PIL import Image

from tests.torture.generate import JUNK, damage_file, dice, examples, mutants
from tests.torture.harness import case, expect
from tests.torture.templates import template

RUNS = ("vae", "ae", "iwae")


def runs(place):
    """Three tested runs in a folder."""
    for name in RUNS:
        shutil.copytree(template(f"runs/{name}"), place.work / "runs" / name / "version_0")
    place.own = ("work/runs/*",)
    return place.work / "runs"


@case
def reported(place, what, harm, number=0):
    """The first run is harmed; the figures of the others must stand in the report as they are."""
    folder = runs(place)
    harm(folder / "vae" / "version_0", dice("reports", number))
    done = place.zoo("report", "runs")
    if done.status == 0:
        with open(folder / "results.csv", newline="") as file:
            text = file.read()
        for name in ("ae", "iwae"):
            mse = json.loads((folder / name / "version_0" / "results.json").read_text())["mse"]
            expect(str(mse) in text or f"{mse:.4f}" in text or f"{mse:.6g}" in text, f"the MSE of {name} is missing")
        page = (folder / "report.html").read_text()
        expect("<script>alert" not in page, "a name is a script in the report")


def rewritten(file, load, dump):
    """Return what makes a harm of a change of this file's content."""

    def harmed(change):
        def harm(run, _):
            content = load((run / file).read_text())
            (run / file).write_text(dump(change(content) or content))

        return harm

    return harmed


results = rewritten("results.json", json.loads, json.dumps)
settings = rewritten("config.yaml", yaml.safe_load, yaml.safe_dump)


def cells(value):
    """Some cells of metrics.csv with something else in them."""

    def harm(run, dice_):
        with open(run / "metrics.csv", newline="") as file:
            rows = list(csv.reader(file))
        for _ in range(3):
            row = dice_.choice(rows)
            row[dice_.randrange(len(row))] = str(value).encode(errors="replace").decode()
        with open(run / "metrics.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)

    return harm


def damaged(pattern):
    def harm(run, dice_):
        if files := sorted(path for path in run.glob(pattern) if path.is_file()):
            damage_file(dice_.choice(files), dice_)

    return harm


def put(name, make):
    """Something else in the place of a file."""

    def harm(run, _):
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        make(path)

    return harm


def picture(run, dice_):
    for path in (run / "images").glob("*.png"):
        size = dice_.choice([(1, 1), (3, 5000), (7, 7)])
        Image.new(dice_.choice(["L", "RGBA", "P", "1"]), size).save(path)


FILES = ("results.json", "config.yaml", "metrics.csv", "split.json", "images")


def cases(count):
    """Each file replaced, then generated damages."""
    found = [reported(f"{name} is {what}", put(name, make)) for name in FILES for what, make in {
        "missing": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "empty": lambda path: path.touch(),
        "a link to nowhere": lambda path: path.symlink_to("nothing"),
        "bytes": lambda path: path.write_bytes(b"\xff\x00\xfe" * 99),
        "deep": lambda path: path.write_text("[" * 50_000),
        "a pipe": os.mkfifo,
    }.items()]  # fmt: skip
    found += [
        reported("NaN in results.json", results(lambda content: content.update(mse=float("nan")))),
        reported("a figure of 401 digits", results(lambda content: content.update(mse=10**400))),
        reported("a name that commands a terminal", results(lambda content: content.update(model="\x1b]0;x\x07"))),
        *(
            reported(
                f"sigma is {sigma!r}",
                settings(
                    lambda content, sigma=sigma: content["model"]["init_args"].update(
                        likelihood={"class_path": "Gaussian", "init_args": {"sigma": sigma}}
                    )
                ),
            )
            for sigma in ("abc", 0, -1, [1], None, {"a": 1}, 1e400)
        ),
        *(
            reported(
                f"config.yaml says {value}",
                lambda run, _, value=value: (run / "config.yaml").write_text(
                    (run / "config.yaml").read_text() + f"x: {value}\n"
                ),
            )
            for value in ("!!bool perhaps", "!!int ''", "!!float ''", "!!int _", "0x_", "2020-99-99")
        ),
        reported("a text for a figure", results(lambda content: content.update(mse="x"))),
        reported("huge figures", results(lambda content: content.update(mse=1e308, nll=-1e308))),
        reported("a script for a name", results(lambda content: content.update(model="<script>alert(1)</script>"))),
        reported("a formula for a name", results(lambda content: content.update(model=r"$\frac{1{$"))),
        reported("callbacks: null", settings(lambda content: content["trainer"].update(callbacks=None))),
        reported("trainer: null", settings(lambda content: content.update(trainer=None))),
        reported("no data", settings(lambda content: content.pop("data") and None)),
        reported("pictures of other sizes", picture),
        reported("a comparison.yaml of a list", lambda run, _: (run.parents[1] / "comparison.yaml").write_text("[1]")),
        reported(
            "a comparison.yaml of bytes", lambda run, _: (run.parents[1] / "comparison.yaml").write_bytes(b"\xff")
        ),
        reported(
            "a comparison.yaml of wrong types",
            lambda run, _: (run.parents[1] / "comparison.yaml").write_text("configs: 5\nbase: [1]\nclaims: {x: y}\n"),
        ),
        reported("a folder with a formula", lambda run, _: run.parent.rename(run.parents[1] / r"$\frac{1{$")),
        reported("a folder with a script", lambda run, _: run.parent.rename(run.parents[1] / "<script>alert(1)<")),
        reported("a report.html that is a folder", lambda run, _: (run.parents[1] / "report.html").mkdir()),
    ]
    left = (count - len(found)) // 4
    base = {"model": "VAE", "traits": {"density": True}, "mse": 0.1, "reasons": {"nll": "x"}, "epochs": 2, "seed": 0}
    base |= {"timing": {"epoch_seconds": [1.0]}, "environment": {"torch": "2"}, "shape": [3, 32, 32]}
    for said, tree in mutants(base, left, "results"):
        found.append(
            reported(
                f"results.json: {said}",
                results(lambda content, tree=tree: {**content, **tree} if isinstance(tree, dict) else tree),
            )
        )
    for number, value in enumerate(examples(JUNK, left, "cells")):
        found.append(reported(f"cells of metrics.csv that are {str(value)[:30]!r}", cells(value), number))
    small = {
        "class_path": "VAE",
        "init_args": {"latent": 4, "likelihood": {"class_path": "Gaussian", "init_args": {"sigma": 1.0}}},
    }
    for said, tree in mutants({"model": small, "trainer": {"max_epochs": 2}, "data": small}, left, "settings"):
        found.append(
            reported(
                f"config.yaml: {said}",
                settings(lambda content, tree=tree: {**content, **tree} if isinstance(tree, dict) else tree),
            )
        )
    for number in range(count - len(found)):
        pattern = ("*.json", "*.yaml", "metrics.csv", "images/*.png")[number % 4]
        found.append(reported(f"damaged {pattern}", damaged(pattern), number))
    return found
