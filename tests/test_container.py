"""The container and the recipe: their steps are scripts, which run here as far as they download nothing."""

import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
import yaml

from tests.conftest import REPOSITORY
from vae_zoo.cli.compare import parse

INSTALL, COMPARE = "docker/install.sh", "docker/compare.sh"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name):
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.M)


def test_the_image_runs_all_steps_of_the_script_in_order_and_nothing_else():
    script = (REPOSITORY / INSTALL).read_text()
    steps = re.search(r"set -- (.*)", script)[1].split()
    done = [shlex.split(line) for line in instructions("RUN")]
    assert {words[0] for words in done} == {INSTALL} and [step for words in done for step in words[1:]] == steps
    assert [*re.findall(r"^(\w+)\(\) \{", script, re.M)] == steps
    assert os.access(REPOSITORY / INSTALL, os.X_OK) and os.access(REPOSITORY / COMPARE, os.X_OK)


def test_the_image_is_not_roots_and_has_only_what_it_copies():
    assert instructions("USER")[-1].split(":")[0].isdecimal() and instructions("USER")[-1].split(":")[0] != "0"
    copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in ("#", "")]
    assert ignored[0] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied
    for source in copied:
        assert (REPOSITORY / source).exists(), source
    assert {"README.md", "LICENSE", "pyproject.toml", "configs", "vae_zoo"} <= copied  # what a wheel is made of


def test_pytorch_has_the_bounds_of_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    script = (REPOSITORY / INSTALL).read_text()
    for name in ("torch", "torchvision"):
        assert re.search(rf"'({name}>=[\d.]+),<\d+'", script)[1] in project["dependencies"]
    extras = re.search(r"EXTRAS=\$\{EXTRAS-(.*?)\}", script)[1].split(",")
    assert set(extras) <= project["optional-dependencies"].keys()
    assert instructions("ARG")[0].startswith("BASE=python:3.11-") and "3.11" in project["requires-python"]


def test_a_step_that_is_not_there_is_one_sentence():
    done = subprocess.run([REPOSITORY / INSTALL, "sytem"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("docker/install.sh: there is no step sytem; there are")


@pytest.mark.slow
def test_the_steps_that_download_nothing(tmp_path):
    """The package goes into an environment of its own, where the packages of this one are seen."""
    there = tmp_path / "venv"
    offline = {"PIP_NO_DEPS": "1", "PIP_IGNORE_INSTALLED": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    environment = {**os.environ, **offline, "VIRTUAL_ENV": str(there), "PYTHON": sys.executable, "EXTRAS": ""}
    environment.pop("PYTHONPATH", None)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("vae_zoo", "configs", "pyproject.toml", "README.md", "LICENSE", "docker"):
        subprocess.run(["cp", "-a", REPOSITORY / name, source / name], check=True)

    def install(*steps):
        words = ["bash", source / INSTALL, *steps]
        return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout

    install("system", "environment")
    (site,) = there.glob("lib/python*/site-packages")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    # Before its own, since the setuptools of a new environment is an old one.
    (site / "these.pth").write_text("".join(f"import sys; sys.path.insert(0, {path!r})\n" for path in packages))
    install("package")
    said = install("check")
    assert said.startswith("vae_zoo ") and said.split()[-1] in ("CPU", "CUDA")
    where = [there / "bin/python", "-P", "-c", "import vae_zoo; print(vae_zoo.__file__)"]
    done = subprocess.run(where, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(str(site))


def test_the_recipe_runs_these_scripts_and_a_comparison_that_is_understood(tmp_path):
    recipe = yaml.safe_load((REPOSITORY / "docker/compare.sky.yaml").read_text())
    assert recipe["setup"] == f"bash {INSTALL}" and recipe["run"] == f"bash {COMPARE}"
    (line,) = re.findall(r"^vae-zoo compare (.*)$", (REPOSITORY / COMPARE).read_text(), re.M)
    words = [word for word in shlex.split(line) if word != "$@"]
    experiment = parse([*words, "--out", str(tmp_path / "out")])
    assert len(experiment.plans) == 33 and experiment.executor.jobs == 20 and experiment.epochs == 100


def test_what_a_comparison_costs(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    cost = importlib.import_module("cost").Cost(trainings=6, steps=15_700, flops=2e10, step=0.01)
    assert cost.seconds(other=30) == 6 * (157 + 30) and cost.all_flops == pytest.approx(1.884e15)


def test_the_page_has_the_sums_of_its_table():
    page = (REPOSITORY / "docs/cloud.md").read_text()
    rows = re.findall(r"^\| \w+ \| (\d+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.M)
    flops = hours = trainings = 0.0
    for number, steps, gflop, ms, rate, own in ([float(cell.replace(",", "")) for cell in row] for row in rows):
        assert rate == pytest.approx(gflop / ms, abs=0.05)
        assert own == pytest.approx(number * (steps * ms / 1000 + 30) / 3600, abs=0.006)
        flops, hours = flops + number * steps * gflop / 1e6, hours + number * (steps * ms / 1000 + 30) / 3600
        trainings += number
    assert trainings == 33
    said = [
        float(each) for each in re.search(r"([\d.]+) PFLOP.*?take ([\d.]+) hours and ([\d.]+) dollars", page).groups()
    ]
    assert said == pytest.approx([flops, hours, 2.5 * hours], abs=0.06)
    at_a_time = [float(each) for each in re.search(r"estimated ([\d.]+) hours and ([\d.]+) dollars", page).groups()]
    assert at_a_time == pytest.approx([hours / 4.7, 2.5 * hours / 4.7], abs=0.01)
