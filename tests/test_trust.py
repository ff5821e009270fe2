"""What a checkpoint and the config.yaml beside it may name; nothing else that they name is imported or called."""

import sys

import pytest
import torch
import yaml

import vae_zoo
from tests.conftest import SMALL, call, only_run, options
from tests.conftest import vae_zoo as vae_zoo_command
from tests.run_folders import class_of
from vae_zoo.checkpoints import checksum
from vae_zoo.data import COCODataModule
from vae_zoo.errors import UserError

EVIL = """
from pathlib import Path
from vae_zoo.networks import ConvEncoder

Path("executed").touch()

class Encoder(ConvEncoder):
    pass

def touch(*_, **__):
    return 1.0
"""
OWN = """
from vae_zoo.networks import ConvEncoder

class Encoder(ConvEncoder):
    pass
"""
POPEN = class_of("subprocess.Popen", args=["touch", "executed"])
# By the key in config.yaml, what is put there.
ATTACKS = {
    "a mock that calls": ("evaluation.features", class_of("unittest.mock.Mock", return_value=POPEN)),
    "a callback": ("trainer.callbacks", [class_of("lightning.pytorch.callbacks.LambdaCallback", on_test_start=POPEN)]),
    "a logger": ("trainer.logger", [POPEN]),
    "a plugin": ("trainer.plugins", [POPEN]),
    "a strategy": ("trainer.strategy", POPEN),
    "a strategy by its path": ("trainer.strategy", "evil.touch"),
    "a profiler": ("trainer.profiler", POPEN),
    "an argument of a layer": ("model.init_args.encoder", class_of("torch.nn.Linear", device=POPEN)),
    "an argument of an encoder": ("model.init_args.encoder.init_args.width", POPEN),
    "a number": ("model.init_args.latent", POPEN),
    "an encoder": ("model.init_args.encoder", class_of("evil.Encoder")),
    "an encoder by its path": ("model.init_args.encoder", "evil.Encoder"),
    "a model": ("model.class_path", "evil.Encoder"),
    "a model by its path": ("model", "evil.Encoder"),
    "a yaml elsewhere": ("model", "evil.yaml"),
    "a list without end": ("data.init_args.categories", ["a"] * 9000),
    "arguments of any name": ("model.dict_kwargs", {"encoder": POPEN}),
    "a schedule's function": (
        "model.init_args.lr_scheduler",
        class_of("torch.optim.lr_scheduler.LambdaLR", lr_lambda="evil.touch"),
    ),
    "data": ("data", class_of("evil.Data")),
    "an augmentation's function": (
        "data.init_args.augment",
        class_of("torchvision.transforms.v2.Lambda", lambd="evil.touch"),
    ),
    "an augmentation in a list": ("data.init_args.augment", [class_of("evil.Augment")]),
    "a measure": ("evaluation.metrics", ["MSE", class_of("evil.Measure")]),
    "features": ("evaluation.features", "evil.touch"),
    "the command": ("evaluation.features", class_of("vae_zoo.cli.lightning.ZooCLI", command="fit", arguments=[])),
    "a function of ours": ("evaluation.features", class_of("vae_zoo.data.download.download_coco", out="executed", n=1)),
    "a class that we import": ("evaluation.features", class_of("vae_zoo.runs.Path", _="x")),
    "a module that is a program": ("evaluation.features", class_of("vae_zoo.cli.__main__.main")),
}


def put(tree, path, value):
    *keys, last = path.split(".")
    for key in keys:
        tree = tree[key] if isinstance(tree.get(key), dict) else tree.setdefault(key, {})
    tree[last] = value


@pytest.fixture
def here(run, monkeypatch):
    """A trained run, and beside it a module that must not be imported."""
    monkeypatch.chdir(run.parents[2])
    (run.parents[2] / "evil.py").write_text(EVIL)
    (run.parents[2] / "evil.yaml").write_text(yaml.safe_dump(class_of("evil.Encoder")))
    yield run
    for name in ("evil", "own"):
        sys.modules.pop(name, None)


def nothing_ran(folder):
    return "evil" not in sys.modules and not list(folder.rglob("executed"))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("command", ["test", "reconstruct"])
def test_a_config_that_was_found_runs_nothing(command, attack, here, capsys):
    path, value = ATTACKS[attack]
    config = yaml.safe_load((here / "config.yaml").read_text())
    put(config, path, value)
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    folder = here.parents[2]
    status = call(command)
    said = capsys.readouterr().err
    assert nothing_ran(folder)
    if path.startswith("trainer."):  # what a training is done with is no part of a test
        assert status == 0, said
    elif command == "test" or path.startswith("data"):
        assert status == 1 and len(said.splitlines()) == 1 and "config.yaml: " in said, said


@pytest.mark.parametrize("section", ["evaluation", "model", "data"])
@pytest.mark.parametrize("key", ["{}.class_path", "{}.init_args.x", "{}+"])
def test_no_key_of_a_config_reaches_below_another(section, key, here, capsys):
    """jsonargparse takes ``features.class_path`` for what stands below ``features``."""
    name = {"evaluation": "features", "model": "encoder", "data": "augment"}[section]
    config = yaml.safe_load((here / "config.yaml").read_text())
    for arguments in (config[section], config[section].get("init_args", {})):
        arguments[key.format(name)] = "evil.touch"
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    assert call("test") == 1 and nothing_ran(here.parents[2])
    assert key.format(name) in capsys.readouterr().err


def test_a_config_that_was_found_says_not_where_to_write(here, tmp_path):
    config = yaml.safe_load((here / "config.yaml").read_text())
    elsewhere = tmp_path / "elsewhere"
    config |= {"run_dir": str(elsewhere / "run"), "ckpt_path": str(elsewhere / "x.ckpt")}
    config["trainer"]["default_root_dir"] = str(elsewhere / "root")
    config["data"]["init_args"]["cache_dir"] = str(elsewhere / "cache")
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    (here / "results.json").unlink()
    assert call("test") == 0
    assert (here / "results.json").is_file() and not elsewhere.exists()


def rewritten(path, change):
    """Change what a checkpoint holds, with the right checksum."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    saved["checksum"] = checksum(saved)
    torch.save(saved, path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"_class_path": "evil.Encoder"},
        {"_instantiator": "evil.touch"},
        {"_class_path": "vae_zoo.cli.lightning.ZooCLI"},
        {"encoder": class_of("evil.Encoder")},
        {"encoder": "evil.Encoder"},
        {"encoder": class_of("torch.nn.Linear", device=POPEN)},
        {"latent": POPEN},
        {"likelihood": class_of("vae_zoo.distributions.Gaussian", sigma=POPEN)},
        {"likelihood": class_of("vae_zoo.distributions.torch.nn.Identity")},
        {"lr_scheduler": class_of("torch.optim.lr_scheduler.LambdaLR", lr_lambda=["evil.touch"])},
        {"lr_scheduler": class_of("torch.optim.lr_scheduler.LambdaLR", **{"lr_lambda.class_path": "evil.touch"})},
        {"encoder": {"init_args": {"width.class_path": "evil.touch"}}},
        {"encoder.class_path": "evil.touch"},
    ],
    ids=str,
)
def test_a_checkpoint_runs_nothing(change, here):
    path = rewritten(here / "checkpoints" / "last.ckpt", lambda saved: saved["hyper_parameters"].update(change))
    folder = here.parents[2]
    sys.path.append(str(folder))
    try:
        if "_instantiator" in change:  # nobody asks for it
            vae_zoo.load(path)
        else:
            with pytest.raises(UserError, match=r"last.ckpt\S* (names .* trust=\[|has an argument|has the key)"):
                vae_zoo.load(path)
    finally:
        sys.path.remove(str(folder))
    assert nothing_ran(folder)


def test_a_module_beside_a_checkpoint_is_not_found(here, capsys):
    """A folder may have come from anywhere, and commands that are told of no code look for none in it."""
    assert call("sample") == 0
    assert str(here.parents[2]) not in sys.path and nothing_ran(here.parents[2])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_module_of_the_folder_is_not_taken_for_one_that_is_missing(command, shapes, tmp_path):
    """TensorBoard asks for TensorFlow, and makes do without: a folder of data must not bring it along."""
    for name in ("tensorflow", "shapes", "vae"):
        (tmp_path / f"{name}.py").write_text('open("executed", "w")')
    (tmp_path / "shapes.zip").touch()
    words = {"fit": ["--config", "vae"], "compare": ["--configs", "vae", "--epochs", 1, "--out", "out"]}[command]
    without = {name: value for name, value in SMALL.items() if command == "fit" or name != "trainer.max_epochs"}
    given = options(without, data__root=shapes)
    vae_zoo_command(command, *words, *given, cwd=tmp_path)
    assert not list(tmp_path.rglob("executed"))


@pytest.mark.slow
def test_images_of_another_size_are_refused_before_they_are_decoded(here, monkeypatch, capsys):
    config = yaml.safe_load((here / "config.yaml").read_text())
    put(config, "data.init_args.image_size", 16384)
    (here / "config.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(COCODataModule, "prepare_data", lambda self: pytest.fail("decoded"))
    for command in ("test", "reconstruct", "probe"):
        assert call(command) == 1
        assert "trained on images of 32 x 32 pixels, and data.image_size is 16384" in capsys.readouterr().err


@pytest.mark.slow
def test_a_class_of_ones_own_is_loaded_where_it_is_trusted(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    words = options(data__root=shapes, model__encoder="own.Encoder")
    assert call("fit", "--config", "vae", *words) == 0
    sys.modules.pop("own")
    capsys.readouterr()
    assert call("test") == 1
    assert "config.yaml: model.encoder names own.Encoder, which a file that was only" in capsys.readouterr().err
    assert call("sample") == 1
    assert "names own.Encoder" in capsys.readouterr().err and "own" not in sys.modules
    for command in ("test", "validate", "predict", "sample", "reconstruct"):
        assert call(command, "--trust", "own") == 0
    monkeypatch.syspath_prepend(tmp_path)
    checkpoint = only_run(tmp_path) / "checkpoints" / "last.ckpt"
    assert type(vae_zoo.load(checkpoint, trust=["own"]).posterior.encoder).__module__ == "own"
    with pytest.raises(UserError, match="trust=\\['own'\\]"):
        vae_zoo.load(checkpoint, trust=["owner"])


@pytest.mark.slow
def test_files_of_the_folder_are_no_settings(shapes, tmp_path, monkeypatch, capsys):
    """A folder of data may have files that are called as settings are: vae, cpu, torch.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "vae").write_text(yaml.safe_dump({"model": class_of("evil.Encoder")}))
    for name in ("cpu", "auto", "Gaussian", "32-true", "torch.optim.Adam"):
        (tmp_path / name).write_text(yaml.safe_dump(class_of("evil.Encoder")))
    for name in ("torch.py", "vae_zoo.py"):
        (tmp_path / name).touch()
    given = options(data__root=shapes, trainer__max_epochs=1, model__optimizer="torch.optim.Adam")
    assert call("fit", "--config", "vae", *given, "--model.likelihood", "Gaussian") == 0
    assert call("test", "--trainer.accelerator", "cpu") == 0
    assert nothing_ran(tmp_path)


def test_links_in_a_run_lead_nowhere(here, capsys):
    outside = here.parents[2] / "outside"
    outside.mkdir()
    (here / "hparams.yaml").unlink()
    (here / "hparams.yaml").symlink_to(outside / "hparams.yaml")
    assert call("test") == 1
    assert "hparams.yaml is a link, and nothing is written to where it leads" in capsys.readouterr().err
    assert not list(outside.iterdir())
