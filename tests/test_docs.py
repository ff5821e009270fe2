"""What README, documentation and notebooks show is run, as it stands there but for sizes that make it quick."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY, SMALL, call
from tests.forking import forks
from vae_zoo import models
from vae_zoo.cli import compare, tune
from vae_zoo.cli.shipped import find_config
from vae_zoo.compare.comparison import parse_claims
from vae_zoo.executors import local, worker
from vae_zoo.results import Results, Traits

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n")  # a block that begins so is a file of this name
RUNNABLE = ("bash", "python", "yaml")


def blocks(page):
    """The snippets of a page that can be run, in order: language and text."""
    found = [m for m in BLOCK.finditer(page.read_text()) if m["language"] in RUNNABLE and not m["reason"]]
    return [(match["language"], match["text"]) for match in found]


def name(page):
    return str(page.relative_to(REPOSITORY))


@pytest.fixture
def place(shapes, doodles, tmp_path, monkeypatch):
    """A folder like a user's, with the files that the pages name, which is the current folder."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    for folder in ("data/shapes", "coco", "pictures"):
        shutil.copytree(shapes, tmp_path / folder)
    shutil.rmtree(tmp_path / "pictures" / "annotations")
    shutil.copy(doodles, tmp_path / "data" / "sketches.ndjson")
    shutil.make_archive(str(tmp_path / "photos_10k2k"), "zip", shapes)
    digits = {
        part: np.random.default_rng(0).integers(0, 256, (48, 98), np.uint8) for part in ("train", "valid", "test")
    }
    np.savez(tmp_path / "binarized_mnist.npz", **digits)
    grey, labels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "mnist.npz", train_images=grey, train_labels=labels, test_images=grey, test_labels=labels)
    sketches = np.empty(60, object)
    sketches[:] = [np.ones((8, 3), np.int16) * [n % 7 + 1, 2, 0] for n in range(60)]
    np.savez(tmp_path / "aaron_sheep.npz", train=sketches, valid=sketches[:20], test=sketches[:20])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in (local, worker):
        monkeypatch.setattr(module, "subprocess", forks)  # trainings of a comparison start at once
    return tmp_path


def quick(words):
    """The same command with sizes that make it quick, as far as the data have them."""
    sizes = SMALL | {"trainer.max_epochs": 1}
    if words[:2] == ["data", "shard"]:
        return words
    if words[0] == "data":
        return [*words, "--n", "80"]
    if words[0] == "compare":
        del sizes["trainer.max_epochs"]
        words = [*words, *"--configs vae --likelihoods Gaussian --seeds 0 --epochs 1".split()]
    elif words[0] in ("fit", "benchmark"):
        given = yaml.safe_load(find_config(words[words.index("--config") + 1]).read_text())
        known = ["batch_size"] if "--data" in words else given["data"]["init_args"]
        known = [*known, *["n_val"][: words.count("MNIST")]]
        sizes = {key: size for key, size in sizes.items() if not key.startswith("data.") or key[5:] in known}
    else:
        return words
    if "--data.val_on_test" in words:
        del sizes["data.n_val"]
    if words[0] == "benchmark":
        words = [*words, "--seconds", "0.1", "--no-try"]
    return words + [f"--{key}={size}" for key, size in sizes.items()]


def run_commands(text, monkeypatch):
    """Run each line that begins with vae-zoo."""
    lines = [line.partition("#")[0] for line in text.replace("\\\n", " ").splitlines()]
    for line in (line for line in lines if line.startswith("vae-zoo")):
        command = shlex.split(line.replace("~/", ""))[1:]
        if command[0] == "data" and command[1] != "shard":
            out = command[command.index("--out") + 1]
            shutil.rmtree(out) if command[1] == "shapes" else Path(out).unlink()
        if command[0] == "tune":
            tune.parse(command[1:])  # tests of the search train
            continue
        if command[0] == "compare":
            compare.parse(command[1:])  # as it is typed, with all that fit would say
            if "--out" not in command or "vae-zoo report" not in text:
                continue  # tests of the comparison train; here the one whose report is asked for is enough
        assert call(*quick(command), monkeypatch=monkeypatch) == 0, line


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_snippets_run_in_the_order_of_the_page(page, place, monkeypatch):
    """A snippet of Python goes on where the last one ended; one that begins with the name of a file is that file."""
    variables: dict = {"__name__": page.stem}
    for language, text in blocks(page):
        if named := NAMED.match(text):
            (place / named[1]).write_text(text)
        if language == "bash":
            run_commands(text, monkeypatch)
        elif language == "yaml":
            given = yaml.safe_load(text)
            parse_claims(given.get("claims", []), given.get("configs", []))
        elif named:
            module = importlib.import_module(named[1].removesuffix(".py"))
            for test in [value for key, value in vars(module).items() if key.startswith("test_")]:
                test()
        else:
            exec(compile(text, name(page), "exec"), variables)
    explained = {*re.findall(r"`(\w+)`", (DOCS / "figures.md").read_text()), *re.findall(r'"(\w+)"', page.read_text())}
    for results in place.rglob("results.json"):
        content = json.loads(results.read_text())
        keys = {*content, *content["timing"], *content["environment"]}
        assert keys <= explained, f"docs/figures.md does not explain {keys - explained} of {results}"


def test_what_is_not_run_says_why_and_is_rare():
    reasons = [match["reason"] for page in PAGES for match in BLOCK.finditer(page.read_text()) if match["reason"]]
    assert len(reasons) <= 4 and all(len(reason) > 10 for reason in reasons)


def test_the_readme_is_read_in_three_minutes():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"], ids=name)
def test_links_lead_somewhere(page):
    """Those of docs/ are checked when the site is built."""
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert links and not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "CONTRIBUTING.md"], ids=name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.M))  # in a block, or beginning inline code
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, check=True, capture_output=True)


def test_each_model_has_a_yaml():
    configured = {
        yaml.safe_load(path.read_text())["model"]["class_path"].rpartition(".")[2]
        for path in (REPOSITORY / "configs").glob("*.yaml")
    }
    assert {model.__name__ for model in models.concrete()} <= configured


def test_all_keys_of_results_are_explained():
    page = (DOCS / "figures.md").read_text()
    keys = {*Results.__annotations__, *Traits.__annotations__} - {"figures"}
    assert not [key for key in keys if f"`{key}`" not in page]


SIZES = {  # of a notebook, and what makes it quick
    "arithmetic": {"max_epochs=12": "max_epochs=1"},
    "why_more_samples": {"STEPS, SEEDS, DRAWS = 400, 2, 2000": "STEPS, SEEDS, DRAWS = 400, 1, 1000"},
    "tour": {
        'Path("shapes"), 1500': 'Path("shapes"), 140',
        "n_train=1200, n_test=200, n_val=100": "n_train=100, n_test=20, n_val=20",
        "max_epochs=20": "max_epochs=2",
    },
    "sketches": {"epochs = 30": "epochs = 2"},
    "latent_space": {
        'Path("shapes"), 1500': 'Path("shapes"), 140',
        "n_train=1000, n_test=400, n_val=100": "n_train=100, n_test=20, n_val=20",
        "max_epochs=50": "max_epochs=2",
    },
    "compare": {
        "pictures, 700": "pictures, 140",
        "--data.n_train 500 --data.n_test 100 --data.n_val 100": "--data.n_train 100 --data.n_test 20 --data.n_val 20",
        "n_train=400": "n_train=100",
        "--configs vae aae": "--configs vae",
        "--epochs 6": "--epochs 2",
        "width 16": "width 4",
    },
    "anomalies": {
        'Path("shapes"), 1500': 'Path("shapes"), 140',
        "n_train=1600": "n_train=100",
        "n_val=400": "n_val=40",
        "n_test=200": "n_test=40",
        "max_epochs=20": "max_epochs=2",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("notebook", sorted(REPOSITORY.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(notebook, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in content.cells)  # what is shown is made when it is run
    for given, size in SIZES.get(notebook.stem, {}).items():
        assert any(given in cell.source for cell in content.cells), f"there is no {given} to make smaller"
        for cell in content.cells:
            cell.source = cell.source.replace(given, size)
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in content.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
