"""What a user may get wrong."""

import re
from pathlib import Path

import pytest

from tests.conftest import CONFIG, call, config_that, only_run, options, vae_zoo


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, status, message",
    [
        (["--model.latnt", "3"], 2, "there is no key 'model.latnt'; did you mean 'model.latent'?"),
        (["--data.rot", "x"], 2, "did you mean 'data.root'?"),
        (["--trainer.max_epoch", "3"], 2, "did you mean 'trainer.max_epochs'?"),
        (["--images.epoch", "[1]"], 2, "did you mean 'images.epochs'?"),
        (["--evalution.nll_samples", "3"], 2, "did you mean 'evaluation'?"),
        (["--model.likelihood.sgma", "3"], 2, "did you mean 'model.likelihood.sigma'?"),
        (["--model", "VEA"], 2, "model: there is no 'VEA'; did you mean 'VAE'?"),
        (["--model.likelihood", "Bernouli"], 2, "there is no 'Bernouli'; did you mean 'Bernoulli'?"),
        (["--data", "CocoDataModule"], 2, "there is no 'CocoDataModule'; did you mean 'COCODataModule'?"),
        (["--model.latent", "many"], 2, "model.latent: many is not a whole number"),
        (["--model.warmup", "2.5"], 2, "model.warmup: 2.5 is not a whole number"),
        (["--model.beta", "abc"], 2, "model.beta: abc is not a number"),
        (["--data.resident", "maybe"], 2, "data.resident: maybe is not true or false"),
        (["--model.encoder.width=x"], 2, "model.encoder.width: x is not a whole number"),
        (["--model.likelihood.sigma", "-1"], 1, "sigma must be positive, got -1"),
        (["--data.image_size", "50"], 1, "50 x 50 .* multiple of 16, such as 48 x 48 or 64 x 64"),
        (["--data.root", "nowhere"], 1, "data.root: .*nowhere does not exist; give --data.root"),
        (["--data.n_train", "1000"], 1, "more images asked for than there are"),
        (["--model.latent", "0"], 1, "latent must be at least 1, got 0"),
        (["--model.lr", "-1"], 1, "lr must be positive, got -1"),
        (["--model.encoder.depth", "-1"], 1, "depth must be at least 1, got -1"),
        (["--trainer.precision", "bf16-true"], 1, "trainer.precision bf16-true: it is 32-true, or bf16-mixed"),
        (["--trainer.precision", "64"], 1, "trainer.precision 64: it is 32-true, or bf16-mixed"),
        (["--trainer.devices", "-1"], 1, "trainer.devices -1: with a CPU it is a number of processes, 1 or more"),
        (["--trainer.devices", "-2"], 1, "trainer: "),
        (["--trainer.log_every_n_steps", "-1"], 1, "trainer.log_every_n_steps must be at least 0, got -1"),
        (["--trainer.gradient_clip_val", "-1"], 1, "trainer.gradient_clip_val must be at least 0, got -1"),
        (["--trainer.accumulate_grad_batches", "0"], 1, "trainer.accumulate_grad_batches must be at least 1, got 0"),
        (["--trainer.check_val_every_n_epoch", "-1"], 1, "trainer.check_val_every_n_epoch must be at least 1, got -1"),
        (["--trainer.max_epochs", "-2"], 1, "trainer.max_epochs must be at least -1, got -2"),
        (["--trainer.num_sanity_val_steps", "-2"], 1, "trainer.num_sanity_val_steps must be at least -1, got -2"),
        (["--trainer.val_check_interval", "5"], 1, "trainer: .*val_check_interval.*5"),
        (["--trainer.val_check_interval", "-1"], 1, "trainer.val_check_interval must be at least 0, got -1"),
        (["--trainer.limit_train_batches", "-1"], 1, "trainer: .*limit_train_batches"),
        (["--trainer.overfit_batches", "1.5"], 1, "trainer: .*overfit_batches"),
        (["--trainer.gradient_clip_algorithm", "x"], 1, "trainer: .*gradient_clip_algorithm"),
        (["--trainer.strategy", "nonsense"], 1, "trainer: .*nonsense"),
        (["--trainer.profiler", "nonsense"], 1, "trainer: .*profiler.* can only be one of"),
        (["--run_dir", ".."], 1, r"run_dir \.\. has .* in it, and no run; give another folder"),
        (["--seed_everything", "-4"], 1, "seed_everything must be at least 0, got -4"),
        (["--data.annotations", "nowhere.json"], 1, "nowhere.json does not exist"),
        (["--data.workers", "-1"], 1, "workers must be at least 0, got -1"),
        (["--trainer.accelerator", "bogus"], 1, "trainer: .*invalid accelerator name: .*Available names are"),
        (["--ckpt_path", "nowhere.ckpt"], 1, "nowhere.ckpt: there is no such checkpoint file"),
        (["--ckpt_path", "last"], 1, "there is no trained model in runs/vae"),
        (["--ckpt_path", CONFIG], 1, "vae.yaml is not a checkpoint of a vae_zoo model"),
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--model.encoder", "MLPDecoder"], 1, "shape must be .* got 128; is an encoder in a decoder's place"),
        (["--trainer.callbacks", "LabelGrid"], 1, "LabelGrid needs a model that takes labels, such as CVAE, got VAE"),
        (["--model.free_bits", "-1"], 1, "free_bits must be at least 0, got -1"),
        (["--model.lr", ".nan"], 1, "lr must be a finite number, got nan"),
        (["--model.beta", ".inf"], 1, "beta must be a finite number, got inf"),
        (["--model.latent", "2000000000"], 1, "not enough memory for a model or batch of this size"),
        (["--model.encoder.depth", "1000000000"], 1, "32 x 32 cannot be halved 1000000000 times"),
        (["--seed_everything", "4294967296"], 1, "seed_everything must be at most 4294967295, got 4294967296"),
        (["--trainer.accumulate_grad_batches", "9" * 30], 2, "accumulate_grad_batches, line 1: .* too large a number"),
        (["--trainer", "twice.yaml"], 2, "trainer: twice.yaml "),  # yamls are read where --config names them
        (["--trainer.callbacks", "{a: &a [*a]}"], 2, "--trainer.callbacks, line 1: a.0 holds itself"),
        ([f"--{'.'.join('a' * 3000)}", "1"], 2, "there is no key 'a'"),
        (["--model.init_args", "[1]"], 2, "the settings are not understood: .list. object"),
        (["--model.lr_scheduler", "2"], 2, "model.lr_scheduler: 2 cannot be used there|there is no '2'"),
        (["--trainer.max_epochs", "[1]"], 2, "trainer.max_epochs: .* whole number"),
    ],
)
def test_mistakes_on_the_command_line(change, status, message, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice.yaml").write_text("max_epochs: 1\nmax_epochs: 2")
    given = ["fit", "--config", CONFIG, *options(data__root=shapes), *change]
    assert call(*given) == status
    said = capsys.readouterr().err
    assert re.search(message, said, re.S), said
    (line,) = [line for line in said.splitlines() if line.startswith("vae-zoo")]
    assert len(line) < 600 and "Traceback" not in said
    assert not list(tmp_path.glob("runs/*/*"))


LINES = len(Path(CONFIG).read_text().splitlines())  # of which the last says compile


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("latent: 64", "latnt: 64", "there is no key 'model.latnt'; did you mean 'model.latent'?"),
        ("sigma: 1.0", "sgma: 1.0", "there is no key 'model.likelihood.sgma'; did you mean 'model.likelihood.sigma'?"),
        ("class_path: VAE", "class_path: VEA", "model: there is no 'VEA'; did you mean 'VAE'?"),
        ("max_epochs: 100", "max_epoch: 100", "there is no key 'trainer.max_epoch'; did you mean"),
        ("trainer:", "trianer:", "there is no key 'trianer'; did you mean 'trainer'?"),
        ("model:", "model: [", "bad.yaml is not a configuration file"),
        (None, "", "bad.yaml is not a configuration file: it holds no settings"),
        ("init_args:", "initargs:", "did you mean 'model.init_args'?"),
        ("compile: false", "model: AE", f"line {LINES}: there is a second model; keep one of them"),
        ("warmup: 0", "5: 0", "model.init_args.5 is a key that is no text; quote it"),
    ],
)
def test_mistakes_in_a_yaml(old, new, message, shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good = Path(CONFIG).read_text()
    (tmp_path / "bad.yaml").write_text(good.replace(old, new) if old else new)
    assert call("fit", "--config", "bad.yaml", "--data.root", shapes) == 2
    said = capsys.readouterr().err
    assert "bad.yaml" in said and message in said and "Traceback" not in said


OTHER = ["--model.balance", "Equilibrium"]  # of gamma and lambda_k, where a Margin has m


@pytest.mark.parametrize(
    "words, message",
    [
        (["--model.balance.gama", 1], "there is no key 'model.balance.gama'; did you mean 'model.balance.m'?"),
        (
            [*OTHER, "--model.balance.gama", 1],
            "there is no key 'model.balance.gama'; did you mean 'model.balance.gamma'",
        ),
        ([*OTHER, "--model.balance.m", 1], "there is no key 'model.balance.m'; did you mean 'model.balance.gamma'?"),
        (
            ["--model.balance.gamma", 1, *OTHER],
            "there is no key 'model.balance.gamma'; did you mean 'model.balance.m'?",
        ),
        (
            ["--model.balance={class_path: Equilibrium}", "--model.balance.gama=1"],
            "did you mean 'model.balance.gamma'?",
        ),
        (["--model.balance.m", 1, *OTHER, "--model.latnt", 1], "there is no key 'model.latnt'"),
        (["--config", "flat.yaml", *OTHER, "--model.latnt", 1], "there is no key 'model.latnt'"),
        (["--model.generator_optimizer", "null", "--model.latnt", 1], "there is no key 'model.latnt'"),
        (["--print_config", "--model.balance", "Equilibrum"], "there is no 'Equilibrum'; did you mean 'Equilibrium'?"),
        (["--model.help", "VEA"], "model: there is no 'VEA'; did you mean 'VAE'?"),
        (
            ["--model.encoder.help", "ConvEncoda"],
            "model.encoder: there is no 'ConvEncoda'; did you mean 'ConvEncoder'?",
        ),
        (["--evaluation.metrics+", "KIDD"], "evaluation.metrics: there is no 'KIDD'; did you mean 'KID'?"),
        (["--evaluation.metrics", "[KID, KIDD]"], "evaluation.metrics: there is no 'KIDD'; did you mean 'KID'?"),
        (
            ["--evaluation.metrics", "[{class_path: NLL, init_args: {sample: 3}}]"],
            "did you mean 'evaluation.metrics.samples'?",
        ),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitr", "x"],
            "there is no key 'trainer.callbacks.monitr'; did you mean 'trainer.callbacks.monitor'?",
        ),
        (["--data.augment", "RandomHorizontalFlop"], "did you mean 'RandomHorizontalFlip'?"),
    ],
)
def test_a_key_is_held_against_the_class_that_is_chosen_by_then(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat.yaml").write_text("model: {class_path: EBGAN, init_args: {balance: {m: 0.1}}}")
    assert call("fit", "--config", "ebgan", *words) == 2
    assert message in capsys.readouterr().err


def test_help_is_there_whatever_a_yaml_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("model: {class_path: VAE, init_args: {latnt: 3}}")
    with pytest.raises(SystemExit, match="0"):
        call("fit", "--help", "--config", "bad.yaml")
    assert "usage: vae-zoo fit" in capsys.readouterr().out


def test_an_argument_that_makes_one_of_several_types_is_no_obstacle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "several.py").write_text(
        "from collections.abc import Callable\nfrom typing import Any\nfrom torch import Tensor, nn\n"
        "from vae_zoo.models import VAE\n\n\nclass Several(VAE):\n"
        "    def __init__(self, *more, act: Callable[[], nn.Module | Tensor] | None = None, "
        "any: Callable[[], Any] | None = None, **named):\n        super().__init__(*more, **named)\n"
    )
    (tmp_path / "own.yaml").write_text("model: {class_path: several.Several, init_args: {act: null, any: null}}")
    assert call("fit", "--config", "vae", "--config", "own.yaml", "--model.latnt", 1) == 2
    assert "there is no key 'model.latnt'; did you mean 'model.latent'?" in capsys.readouterr().err


@pytest.mark.slow
def test_mistakes_with_the_settings_of_a_run(run, monkeypatch, capsys):
    """Its config.yaml names classes by the package that exports them."""
    monkeypatch.chdir(run.parents[2])
    assert call("test", "--evaluation.nll_sampels", 5) == 2
    assert "there is no key 'evaluation.nll_sampels'; did you mean 'evaluation.nll_samples'?" in capsys.readouterr().err
    assert call("test", "--model.beeta", 2) == 2
    assert "there is no key 'model.beeta'; did you mean 'model.beta'?" in capsys.readouterr().err


def test_no_argument_at_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("fit") == 2
    assert "required" in capsys.readouterr().err


@pytest.mark.slow
def test_a_mistake_in_a_shell_leaves_one_line_and_a_status(tmp_path):
    done = vae_zoo("fit", "--config", CONFIG, "--data.root", "nowhere", cwd=tmp_path, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and "nowhere does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = vae_zoo("fti", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "invalid choice: 'fti'" in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["sample"], "there is no trained model in runs"),
        (["test"], "there is no trained model in runs"),
        (["predict", "--ckpt_path", "auto"], "there is no trained model in runs"),
        (["test", "--ckpt_path", "something"], "something is not a checkpoint of a vae_zoo model"),
        (["data", "shapes", "--out", "something/below", "--n", "3"], "something"),
        (["reconstruct", "--ckpt_path", "nowhere.ckpt"], "there is no such checkpoint file"),
        (["data", "shapes", "--out", ".", "--n", "3"], "is there already"),
        (["data", "shapes", "--out", "x", "--n", "0"], "n must be at least 1"),
    ],
)
def test_mistakes_with_the_other_commands(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    assert call(*arguments) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


@pytest.mark.slow
def test_what_the_trainer_refuses_of_a_model_trained_by_turns(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = options(data__root=shapes, trainer__gradient_clip_val=1)
    assert call("fit", "--config", config_that(automatic_optimization=False), *clip) == 1
    assert re.search("gradient_clip_val: [A-Z]+ steps its optimizers itself; leave it out", capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["sample", "--lable", "3"], 2, "there is no option --lable; did you mean '--label'?"),
        (["encode", "nowhere", "--errrs=1"], 2, "there is no option --errrs; did you mean '--errors'?"),
        (["data", "shapes", "--out", "x", "--ssed", "3"], 2, "there is no option --ssed; did you mean '--seed'?"),
        (["compare", "--config", "vae"], 2, "vae is the yaml of a training; give it as --configs"),
        (["tune", "--config", "vae"], 2, "vae is the yaml of a training; give it as --train"),
        (["sample", "--n", "many"], 2, "argument --n: invalid int value: 'many'"),
        (["encode", "nowhere", "--out", "codes.txt"], 1, "codes.txt: codes are written to an .npz, or to a .parquet"),
        (["anomalies", "nowhere", "--false_alarms", "0"], 1, "false_alarms must be above 0 and below 1, got 0.0"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(arguments, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == status
    assert capsys.readouterr().err == f"vae-zoo {arguments[0]}: {message}\n"


@pytest.mark.slow
def test_reconstruct_names_a_picture_that_cannot_be_read(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    checkpoint = only_run(trained[0]) / "checkpoints" / "last.ckpt"
    arguments = ["reconstruct", "--ckpt_path", checkpoint, "--images", "broken.jpg"]
    assert call(*arguments) == 1
    assert "broken.jpg is not a picture that can be read" in capsys.readouterr().err
