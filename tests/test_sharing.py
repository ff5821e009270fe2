"""A model that is handed on as a folder: the same to the bit, and nothing in the folder is trusted."""

import functools
import hashlib
import json
import os
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import vae_zoo
from tests.conftest import call
from tests.zoo import batch, every_model, makes_the_same, models_that, same, small
from vae_zoo import exported
from vae_zoo.distributions import Gaussian
from vae_zoo.errors import UserError
from vae_zoo.models import IAFVAE, VAE
from vae_zoo.sharing import export

pytest_plugins = ["tests.trained_runs", "tests.exported_models"]


@every_model
def test_a_folder_gives_the_model_to_the_bit(cls, tmp_path):
    model = small(cls)
    for tensor in model.state_dict().values():  # buffers, too, which begin with round numbers
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    model.eval()
    export(model, tmp_path / "out")
    loaded = vae_zoo.load(tmp_path / "out")
    assert type(loaded) is cls and not loaded.training and same(model, loaded)
    given, again = model.described(), loaded.described()
    assert {name: again[name] for name, value in given.items() if not isinstance(value, dict)} == {
        name: value for name, value in given.items() if not isinstance(value, dict)
    }
    export(loaded, tmp_path / "again")
    assert vae_zoo.load(tmp_path / "again").described() == again  # with the defaults that were left out
    x, y = batch(model, 4)
    assert makes_the_same(model, loaded, x, y)
    assert type(cls.load_from_checkpoint(tmp_path / "out")) is cls


@models_that(takes="likelihood")
def test_a_factory_with_its_settings_is_in_the_folder(cls, tmp_path):
    export(small(cls, likelihood=functools.partial(Gaussian, sigma=0.3)), tmp_path / "out")
    (pixels,) = [each for each in vae_zoo.load(tmp_path / "out").modules() if isinstance(each, Gaussian)]
    assert pixels.log_sigma.exp() == pytest.approx(0.3)


def test_another_program_reads_the_weights(tmp_path):
    model = small(VAE).eval()
    export(model, tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["sha256"] == hashlib.sha256((tmp_path / "out" / "model.safetensors").read_bytes()).hexdigest()
    assert said["class_path"] == "vae_zoo.models.vae.VAE" and said["version"] == vae_zoo.__version__
    assert os.stat(tmp_path / "out" / "model.safetensors").st_mode == os.stat(tmp_path / "out" / "README.md").st_mode


def test_what_is_there_is_not_replaced(tmp_path):
    model = small(VAE).eval()
    (tmp_path / "out").mkdir()
    export(model, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UserError, match="--out .*out is there, and has something in it; give a new folder"):
        export(small(VAE), tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="--out .*file is there"):
        export(model, tmp_path / "file")
    with pytest.raises(UserError, match="--license My own: give an identifier"):
        export(model, tmp_path / "new", license="My own")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "file"}


@pytest.fixture
def folder(exported_vae, tmp_path):
    return shutil.copytree(exported_vae[1], tmp_path / "vae")


def rewrite(folder, change=lambda config: None, weights=None):
    """Change what a folder says, as somebody would who makes the checksums fit."""
    if weights is not None:
        save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    change(config)
    config["checksum"] = exported._checksum(config)
    (folder / "config.json").write_text(json.dumps(config))


def nested(depth):
    tree = 0
    for _ in range(depth):
        tree = [tree]
    return tree


def hyper(**changes):
    return lambda config: config["hyper_parameters"].update(changes)


MIXTURE = {"class_path": "vae_zoo.distributions.GaussianMixture", "init_args": {"components": 10**10}}
CLASS = {"class_path": "os.system", "init_args": {"command": "touch executed"}}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda config: config.update(class_path="os.system"), "names os.system, which a file that was only found"),
        (lambda config: config.update(class_path="evil.Model"), r"names evil.Model, .* --trust evil"),
        (lambda config: config.update(class_path="vae_zoo.cli.lightning.ZooCLI"), "names vae_zoo.cli.lightning"),
        (lambda config: config.update(class_path="vae_zoo.networks.ConvEncoder"), "which is no GenerativeModel|has an"),
        (hyper(encoder=CLASS), "names os.system"),
        (hyper(encoder="os.system"), "names os.system"),
        (hyper(latent=CLASS), "names os.system"),
        (hyper(**{"encoder.class_path": "os.system"}), "has an argument 'encoder.class_path'"),
        (hyper(_class_path="os.system"), None),  # the one outside counts
        (hyper(_instantiator="os.system"), None),
        (hyper(latent=10**4), "a larger model than the one whose weights"),
        (hyper(latent=10**400), "does not fit VAE"),
        (hyper(prior=MIXTURE), "components must be at most 10000"),
        (hyper(shape=[3] * 20_000), "more than 10000 values"),
        (hyper(shape=nested(90)), "does not fit VAE"),
        (hyper(shape=nested(300)), "does not fit VAE"),
        (hyper(shape=nested(900)), "does not fit VAE|is none of vae_zoo"),
        (hyper(latent="many"), "does not fit VAE"),
        (hyper(latent=None), "does not fit VAE"),
        (hyper(gamma=1), "has an argument 'gamma', which VAE does not have"),
        (lambda config: config.update(hyper_parameters=[]), "no hyper_parameters as vae_zoo writes it"),
        (lambda config: config.update(class_path=None), "no class_path as vae_zoo writes it"),
        (lambda config: config.update(label_names="ab"), "no label_names as vae_zoo writes it"),
        (lambda config: config.update(label_names=[1]), "label_names that are no texts"),
        (lambda config: config.pop("sha256"), "no sha256 as vae_zoo writes it"),
        (lambda config: config.update(library="other"), "config.json is none of vae_zoo"),
    ],
)
def test_a_config_json_is_not_trusted(change, message, folder, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text('open("executed", "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(folder, change)
    if message is None:
        vae_zoo.load(folder)
    else:
        with pytest.raises(UserError, match=message) as told:
            vae_zoo.load(folder)
        assert str(folder) in str(told.value) and "\n" not in str(told.value)
    assert not list(tmp_path.rglob("executed"))


def test_a_mask_is_not_made_of_any_size(tmp_path):
    export(small(IAFVAE).eval(), tmp_path / "iaf")
    rewrite(tmp_path / "iaf", hyper(hidden=10**6))
    with pytest.raises(UserError, match="hidden must be at most 16384"):
        vae_zoo.load(tmp_path / "iaf")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not an exported vae_zoo model"),
        (b"\xff\xfe no text", "is not an exported vae_zoo model"),
        (b"[" * 100_000, "config.json is none of vae_zoo"),
        (b'{"a":' * 100_000, "config.json is none of vae_zoo"),
        (b"[1, 2]", "config.json is none of vae_zoo"),
        (b'{"library": "vae_zoo", "x": NaN}', "has NaN in it"),
        (b'{"x": ' + b"9" * 5000 + b"}", "is not an exported vae_zoo model"),
        (b" " * (2**22 + 1), "more than the 4194304 that are read"),
    ],
)
def test_a_file_that_is_no_config_json(content, message, folder):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        vae_zoo.load(folder)


def header(tree, data=b""):
    text = json.dumps(tree).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little") + b"{}",
        header([]),
        header({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 0]}}, bytes(8)),
        header({"a": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        b"\x80\x04cos\nsystem\n(S'touch executed'\ntR.",
    ],
)
def test_a_file_that_is_no_safetensors_is_told_even_if_its_hash_fits(content, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").write_bytes(content)
    rewrite(folder)
    with pytest.raises(UserError, match="is not an exported vae_zoo model: its model.safetensors cannot be read"):
        vae_zoo.load(folder)
    assert not list(tmp_path.rglob("executed"))


def test_weights_that_were_changed_or_cut_off_are_told(folder):
    path, content = folder / "model.safetensors", (folder / "model.safetensors").read_bytes()
    for damaged in (content[:-1], content[:-4] + b"\0\0\0\1", content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="vae is damaged: it does not hold what was saved"):
            vae_zoo.load(folder)
    path.write_bytes(content)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"beta": 1.0', '"beta": 1.5'))
    with pytest.raises(UserError, match="vae is damaged"):
        vae_zoo.load(folder)
    (folder / "config.json").write_text(json.dumps(json.loads(config)))  # another layout says the same
    vae_zoo.load(folder)


def test_weights_of_another_model_or_that_are_no_numbers_are_refused(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    first = next(iter(weights))
    rewrite(folder, weights={**weights, first: torch.full_like(weights[first], torch.nan)})
    with pytest.raises(UserError, match=f"{first} is not finite"):
        vae_zoo.load(folder)
    assert vae_zoo.load(folder, allow_nonfinite=True)
    rewrite(folder, weights={**weights, first: torch.zeros(3)})
    with pytest.raises(UserError, match="does not fit VAE"):
        vae_zoo.load(folder)
    rewrite(folder, weights={name: value for name, value in weights.items() if name != first})
    with pytest.raises(UserError, match="does not fit VAE|a larger model"):
        vae_zoo.load(folder)
    rewrite(folder, weights={**weights, first: weights[first].to(torch.complex64)})
    with pytest.raises(UserError, match="no tensor of a kind that models have"):
        vae_zoo.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_links_pipes_and_missing_files_are_told(name, folder, tmp_path):
    kept = tmp_path / "kept"
    (folder / name).rename(kept)
    with pytest.raises(UserError, match=f"it has no {name}"):
        vae_zoo.load(folder)
    (folder / name).symlink_to(kept)
    with pytest.raises(UserError, match=f"its {name} is a link, which is not followed"):
        vae_zoo.load(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match="not an ordinary file"):
        vae_zoo.load(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(UserError, match="not an ordinary file"):
        vae_zoo.load(folder)


def test_a_folder_that_is_something_else_is_told(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is not an exported vae_zoo model: it has no config.json"):
        vae_zoo.load(tmp_path / "empty")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").touch()
    assert call("sample", "--ckpt_path", run) == 1
    assert f"--ckpt_path {run} is the folder of a run; give its {run}/checkpoints/last.ckpt" in capsys.readouterr().err


@pytest.mark.slow
def test_commands_take_a_folder(runs, shapes, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    for name in ("images", "labelled", "sketches"):
        assert call("export", "--ckpt_path", f"{name}/checkpoints/last.ckpt", "--out", f"{name}_out") == 0
    pictures = sorted((shapes / "images").glob("*"))[:3]
    for words in (
        ["sample", "--n", 4],
        ["encode", *pictures],
        ["decode", "codes.npz"],
        ["interpolate", "--images", *pictures, "--n", 1],
        ["denoise", "--images", *pictures, "--n", 2],
        ["filters", "--layer", "list"],
        ["export", "--out", "again"],
    ):
        assert call(*words, "--ckpt_path", "images_out") == 0, capsys.readouterr().err
    assert (runs / "again" / "model.safetensors").read_bytes() == (
        runs / "images_out" / "model.safetensors"
    ).read_bytes()
    names = json.loads((runs / "labelled_out" / "config.json").read_text())["label_names"]
    assert call("sample", "--ckpt_path", "labelled_out", "--label", names[1], "--n", 4) == 0
    assert call("sample", "--ckpt_path", "sketches_out", "--out", "x.svg", "--n", 4) == 0
    capsys.readouterr()
    for words in (["probe"], ["reconstruct"], ["map"]):
        assert call(*words, "--ckpt_path", "images_out") == 1
        assert "images_out is not in a run folder with a config.yaml; " in capsys.readouterr().err
    for command in ("test", "fit"):
        config = ["--config", "vae", "--data.root", shapes]
        assert call(command, *config, "--ckpt_path", "images_out") == 1
        assert "--ckpt_path images_out is a folder; give a checkpoint file, which alone" in capsys.readouterr().err


def test_a_tied_weight_is_written_once_for_each_name(tmp_path):
    model = small(VAE).eval()
    model.posterior.encoder.extra = model.posterior.encoder[-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported.write(tmp_path, model.state_dict(), model.described(), None)
    weights = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
