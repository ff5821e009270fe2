"""The command line itself: its help, its options, and what it finds."""

import re
import signal
import subprocess
import sys
import warnings

import pytest
import yaml

from tests.conftest import CONFIG, REPOSITORY, call, only_run, options, vae_zoo
from vae_zoo.cli import COMMANDS
from vae_zoo.cli.options import UsageError, resolve
from vae_zoo.cli.shipped import find_config
from vae_zoo.errors import UserError


def page(*arguments, capsys):
    """What a command's help says."""
    with pytest.raises(SystemExit, match="0"):
        call(*arguments)
    return capsys.readouterr().out


def test_help_lists_every_command_with_a_line_each(capsys):
    said = page("--help", capsys=capsys)
    for command, line in COMMANDS.items():
        assert re.search(rf"^ +{command} +{re.escape(line)}$", said, re.M)
        assert (REPOSITORY / "vae_zoo" / "cli" / f"{command}.py").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_a_page(command, capsys):
    said = page(command, "--help", capsys=capsys)
    assert said.startswith(f"usage: vae-zoo {command}") and len(said.splitlines()) < 60
    assert max(map(len, said.splitlines())) <= 100


def test_help_of_fit_has_ours_and_names_the_rest(capsys):
    said = page("fit", "--help", capsys=capsys)
    for option in ("config", "seed_everything", "compile", "run_dir", "ckpt_path", "model", "data", "images.epochs"):
        assert f"--{option}" in said
    assert "--trainer.devices" not in said and "--trainer.devices" in page("fit", "--help.trainer", capsys=capsys)
    for option, argument in (("--model.help VAE", "--model.latent"), ("--data.help COCODataModule", "--data.n_train")):
        assert option in said and argument in page("fit", *option.split(), capsys=capsys)


def test_all_settings_of_a_run(tmp_path):
    """What fit would write to config.yaml, without a training; a misspelt option is refused."""
    given = resolve(find_config("vae"), ["--model.latent=8", "--data.root", "there", "--trainer.max_epochs=3"])
    assert given["model"]["init_args"]["latent"] == 8 and given["data"]["init_args"]["root"] == "there"
    assert given["trainer"]["max_epochs"] == 3 and given["evaluation"]["nll_samples"] == 100
    assert not {"shape", "labels", "n_train"} & set(given["model"]["init_args"])  # as the data have them
    with pytest.raises(UsageError, match="there is no key 'model.latnt'; did you mean 'model.latent'?"):
        resolve(find_config("vae"), ["--model.latnt=8"])


@pytest.mark.parametrize("config", [["--config", "vae"], ["--config=vae"], ["-c", "vae"], ["-cvae"]], ids=" ".join)
def test_an_option_outranks_the_yaml_that_follows_it(config, capsys):
    before = ["--data.root", "my.help", "--model.latent", "8", "--trainer.max_epochs=3"]
    for words in ([*before, *config], [*config, *before]):
        said = yaml.safe_load(page("fit", *words, "--print_config", capsys=capsys))
        assert said["model"]["init_args"]["latent"] == 8 and said["trainer"]["max_epochs"] == 3


def test_of_two_yamls_the_last_counts(tmp_path, capsys):
    (tmp_path / "shorter.yaml").write_text("trainer: {max_epochs: 3}\n")
    words = ["--config", "vae", "--seed_everything", "7", "-c", tmp_path / "shorter.yaml", "--print_config"]
    said = yaml.safe_load(page("fit", *words, capsys=capsys))
    assert said["trainer"]["max_epochs"] == 3 and said["seed_everything"] == 7


def test_a_yaml_is_found_by_its_name_or_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("vae", "vae.yaml", "configs/vae.yaml", "compare/small", "configs/compare/small.yaml", "paper/vae_mnist")
    for name in names:
        path = REPOSITORY / "configs" / name.removeprefix("configs/")
        assert find_config(name).read_bytes() == path.with_suffix(".yaml").read_bytes()
    (tmp_path / "vae.yaml").write_text("mine: 1")
    assert find_config("vae.yaml").read_text() == "mine: 1" != find_config("vae").read_text()
    with pytest.raises(UserError, match="there is no configuration file vea, nor one .*; did you mean 'vae'?"):
        find_config("vea")


MODULE = """
from torch.nn import Flatten, Linear
from vae_zoo.data import COCODataModule
from vae_zoo.models import VAE
from vae_zoo.networks import Network

class TinyEncoder(Network):
    def __init__(self, shape: tuple[int, ...], features: int, width: int = 4) -> None:
        super().__init__(Flatten(), Linear(3 * 32 * 32, width), Linear(width, features))

class Mine(VAE):
    pass

class Pictures(COCODataModule):
    pass
"""


@pytest.mark.slow
def test_a_module_in_the_current_folder(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text(MODULE)
    (tmp_path / "yaml.py").write_text("raise ImportError('what is installed comes first')")
    own = ["--model", "mynet.Mine", "--model.encoder", "mynet.TinyEncoder", "--model.encoder.width", 5]
    words = options(data__root=shapes, trainer__max_epochs=1)
    vae_zoo("fit", "--config", "vae", *own, "--data", "mynet.Pictures", *words, cwd=tmp_path)
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    for command in ("test", "sample"):
        assert call(command) == 1 and "mynet" not in sys.modules
        assert call(command, "--trust", "mynet") == 0
        monkeypatch.delitem(sys.modules, "mynet")
    assert (only_run(tmp_path) / "results.json").is_file() and only_run(tmp_path).parent.name == "mynet"


@pytest.mark.slow
def test_the_process_is_as_it_was(shapes, tmp_path, monkeypatch, capsys):
    """A notebook that runs a command keeps its warnings, its path and its arguments."""
    monkeypatch.chdir(tmp_path)
    argv, path, filters, show = [*sys.argv], [*sys.path], [*warnings.filters], warnings.showwarning
    assert call("fit", "--config", CONFIG, *options(data__root=shapes, trainer__max_epochs=1)) == 0
    assert (sys.argv, sys.path, warnings.filters, warnings.showwarning) == (argv, path, filters, show)


def test_ctrl_c_in_the_first_second_waits_for_the_imports(monkeypatch, capsys):
    def import_module(name):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RecursionError from None  # which NumPy makes of it
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the second one ends the process

    monkeypatch.setattr("vae_zoo.cli.importlib.import_module", import_module)
    assert call("fit") == 130
    assert capsys.readouterr().err == "\nvae-zoo fit: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_missing_package_is_one_line(shapes, tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning")
    if "wandb" in sys.modules:
        pytest.skip("wandb is installed")
    monkeypatch.chdir(tmp_path)
    words = [*options(data__root=shapes), "--trainer.logger", "WandbLogger"]
    assert call("fit", "--config", "vae", *words) == 1
    said = capsys.readouterr().err
    assert "pip install -U 'wandb" in said and len(said.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_installed_package_has_the_yamls(tmp_path):
    """A wheel, unpacked elsewhere, finds them; nothing is downloaded."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("vae_zoo", "configs", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-a", REPOSITORY / name, source / name], check=True)
    target = ["--target", str(tmp_path / "there"), str(source)]
    subprocess.run([*pip, "install", "--no-deps", "--no-build-isolation", *target], check=True)
    found = "from vae_zoo.cli.shipped import *; print(find_config('vae'), find_config('compare/small'), *shipped())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", found],
        env={"PYTHONPATH": str(tmp_path / "there")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    vae, small, *names = done.stdout.split()
    assert vae.startswith(str(tmp_path / "there")) and small.startswith(str(tmp_path / "there"))
    configs = REPOSITORY / "configs"
    assert names == sorted(str(path.relative_to(configs).with_suffix("")) for path in configs.rglob("*.yaml"))
