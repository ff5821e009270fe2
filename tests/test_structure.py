"""The shape of the package: imports run one way, and the README's commands work."""

import ast
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY, SMALL, call, options, options_for, vae_zoo

LAYERS = [
    {"errors"},
    {"networks", "objectives"},
    {"distributions"},
    {"flows", "strokes"},
    {"drawing"},
    {"models"},
    {"callbacks", "metrics"},
]
LAYERS += [{"compare"}, {"cli"}]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imports(path):
    """The modules of this package that a file imports, each as the parts of its name."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if names == ["vae_zoo"]:
            names = [f"vae_zoo.{alias.name}" for alias in node.names if alias.name not in ("__version__", "load")]
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1:] for name in names if name and name.startswith("vae_zoo."))


@pytest.mark.parametrize(
    "path", sorted(REPOSITORY.glob("vae_zoo/*/*.py")) + sorted(REPOSITORY.glob("vae_zoo/[a-z]*.py"))
)
def test_imports_run_one_way(path):
    here = path.relative_to(REPOSITORY / "vae_zoo").with_suffix("").parts
    for parts in imports(path):
        if here[0] == "data":
            assert parts[0] in ("data", "errors"), f"data knows no model, but {path} imports {parts}"
        elif parts[0] == "data":
            assert here[0] in ("cli", "compare"), f"{path} knows a data set: {parts}"
        else:
            assert RANK[parts[0]] <= RANK[here[0]], f"{path} imports {parts}, which stands above it"
        if here[0] == "models" and here[1] not in ("__init__", "base") and parts[0] == "models":
            assert parts[1:] == ["base"], f"{path} imports its sibling {parts}"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)


@pytest.fixture
def place(shapes, tmp_path):
    """A folder like a user's: the configs, and the names that the README uses."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    for name in ("coco", "pictures"):
        shutil.copytree(shapes, tmp_path / name)
    shutil.rmtree(tmp_path / "pictures" / "annotations")
    shutil.make_archive(str(tmp_path / "photos_10k2k"), "zip", shapes)
    digits = {
        part: np.random.default_rng(0).integers(0, 256, (40, 98), np.uint8) for part in ("train", "valid", "test")
    }
    np.savez(tmp_path / "binarized_mnist.npz", **digits)
    sketches = np.empty(60, object)
    sketches[:] = [np.ones((8, 3), np.int16) * [n % 7 + 1, 2, 0] for n in range(60)]
    np.savez(tmp_path / "aaron_sheep.npz", train=sketches, valid=sketches[:20], test=sketches[:20])
    return tmp_path


def test_commands_of_the_readme(place, monkeypatch):
    """Each line that begins with vae-zoo, as it stands there but for sizes that make it quick."""
    monkeypatch.chdir(place)
    lines = [line.split("#")[0] for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(line.replace("~/", "")) for line in lines if line.startswith("vae-zoo")]
    assert {command[1] for command in commands} >= {"data", "fit", "test", "sample", "reconstruct"}
    for command in commands:
        if command[:3] == ["vae-zoo", "data", "coco"]:
            continue  # tests/test_download.py has a server for it
        if command[1] == "data":
            command += ["--n", "80"]
        if command[1] == "compare":
            its_own = {"trainer.max_epochs", *["data.n_val"] * ("--data.val_on_test" in command)}
            command += [f"--{name}={value}" for name, value in SMALL.items() if name not in its_own]
            command += "--configs configs/ae.yaml --likelihoods Gaussian --seeds 0 --epochs 1".split()
        if command[1] == "fit" and "--help" not in command:
            sizes = options_for(command[command.index("--config") + 1])
            if "--data.val_on_test" in command:
                del sizes[sizes.index("--data.n_val") : sizes.index("--data.n_val") + 2]
            command += sizes
        assert "--help" in command or call(*command[1:], monkeypatch=monkeypatch) == 0, command


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^make ([a-z]+)", "\n".join(blocks("bash")), re.M))
    assert {"demo", "test"} <= targets
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=REPOSITORY, check=True, capture_output=True)


def test_python_of_the_readme(place):
    vae_zoo("fit", "--config", "configs/vae.yaml", "--data.root", "coco", *options(), cwd=place)
    (code,) = blocks("python")
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True)


@pytest.mark.parametrize("notebook", sorted(REPOSITORY.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(notebook, tmp_path):
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in content.cells)  # what is shown is made when it is run
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in content.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
