"""The shape of the package: imports run one way, and what a thing is, it declares."""

import ast
import re

import pytest

import vae_zoo
from tests.conftest import REPOSITORY
from vae_zoo import models

PACKAGE = REPOSITORY / "vae_zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
# From low to high. What stands in one line imports nothing that stands there, or in a line below.
RANKS = """
errors ids processes reading writing results templates
fetch yamls inputs curves neighbours marks
settings hmc
evidence
runs hyperparameters optimizers trace trust exported
networks objectives softplus checkpoints executors newest
conditional
likelihoods
distributions
flows strokes priors matching text
rendering
models
metrics latent
callbacks
compare page sharing tune
explore
cli
""".split("\n")[1:-1]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names.split()}
KNOWS_DATA = {"data", "callbacks", "compare", "explore", "cli", "__init__"}  # the last inside functions


def imports(path):
    """The modules of this package that a file imports, each as the parts of its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if names == ["vae_zoo"]:
            names = [f"vae_zoo.{alias.name}" for alias in node.names if alias.name not in vae_zoo.__all__]
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1:] for name in names if name and name.startswith("vae_zoo."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = path.relative_to(PACKAGE).with_suffix("").parts
    concrete = {model.__module__.split(".")[-1] for model in models.concrete()}
    for there in imports(path):
        if there[0] == "data":
            assert here[0] in KNOWS_DATA, f"{path} imports the data, {there}"
        elif here[0] == "data":
            assert there[0] in {*RANKS[0].split(), "fetch"}, f"data stands beside the rest, but {path} imports {there}"
        elif here != ("__init__",) and there[0] != here[0]:
            assert RANK[there[0]] < RANK[here[0]], f"{path} imports {there}, which does not stand below it"
        if here[0] == there[0] == "models" and here[1] != "__init__":
            assert there[1] not in concrete, f"{path} imports the model {there}; a model imports only the bases"


# A line that is meant, with the reason.
EXPLAINED: dict[str, str] = {}


def test_nothing_is_asked_for_by_its_name_or_its_signature():
    asked = re.compile(r"\bhasattr\(|__class__\.__name__|inspect\.signature")
    found = {line.strip() for path in FILES for line in path.read_text().splitlines() if asked.search(line)}
    assert found == EXPLAINED.keys()


def test_files_stay_short():
    long = {path.name: n for path in FILES if (n := len(path.read_text().splitlines())) > 350}
    assert not long


OPTIONAL = "datasets gradio huggingface_hub litdata onnx onnxruntime optuna pyarrow ray submitit umap webdataset zuko"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_optional_package_is_imported_where_it_is_used_and_nowhere_else(path):
    """Only the page, which is imported when it is opened, has one at the top of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.partition(".")[0] for name in names}
    assert not found & ({*OPTIONAL.split()} - ({"gradio"} if "explore" in path.parts else set()))
