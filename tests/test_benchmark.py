"""``vae-zoo benchmark``: shares, distances and advice against steps whose cost is known."""

import time

import pytest
import torch

from tests.conftest import CONFIG, SMALL, call, config_that, options, options_for
from vae_zoo.cli import plain_loop, turns
from vae_zoo.cli.benchmark import measure
from vae_zoo.cli.turns import Measured
from vae_zoo.data import ImageDataset
from vae_zoo.errors import UserError
from vae_zoo.models import VAE

MLP = {"data.image_size": 8, "data.batch_size": 4}
MLP |= {f"model.{side}coder": f"MLP{side.capitalize()}coder" for side in ("en", "de")}
MLP |= {f"model.{side}coder.{size}": n for side in ("en", "de") for size, n in (("width", 20), ("depth", 2))}
SLEEP = 0.03


def small_mlp(shapes, **changes):
    """Options of a training with small networks, whose steps take next to no time."""
    return ["--config", CONFIG, *options(SMALL | MLP, data__root=shapes, **changes)]


def slow(method):
    """The same method, but slow."""

    def sleeping(*args, **kwargs):
        time.sleep(SLEEP)
        return method(*args, **kwargs)

    return sleeping


@pytest.mark.slow
@pytest.mark.parametrize(
    "owner, method, phase",
    [
        (ImageDataset, "__getitems__", "data"),
        (VAE, "_loss", "forward"),
        (torch.Tensor, "backward", "backward"),
        (torch.optim.Adam, "_init_group", "optimizer"),
        (VAE, "on_train_batch_end", "Trainer and logging"),
    ],
)
def test_each_share_is_that_of_what_is_slow(owner, method, phase, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "STRETCH", 0.2)
    monkeypatch.setattr(owner, method, slow(getattr(owner, method)))
    found = measure(small_mlp(shapes), 0.1, tries=False)
    assert max(found.shares, key=found.shares.get) == phase
    assert found.shares[phase] > 0.6 and sum(found.shares.values()) == pytest.approx(1)
    around = phase in ("data", "Trainer and logging")  # which a plain loop has none of
    assert (found.of_bare_loop < 0.5) == around
    assert found.step > SLEEP and (found.bare > SLEEP) != around
    assert list(tmp_path.iterdir()) == []  # nothing is kept


@pytest.mark.slow
def test_operations_are_counted(shapes, tmp_path, monkeypatch):
    """A product of (B, m) and (m, n) is 2 B m n; its two gradients are as many, but there is none of the images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "STRETCH", 0.05)
    found = measure(small_mlp(shapes, data__batch_size=16, model__latent=5), 0.1, tries=False)
    pixels, encoder, decoder = 3 * 8 * 8, [20 * 20, 20 * 10], [5 * 20, 20 * 20, 20 * 3 * 8 * 8]
    assert found.flops == 16 * 2 * (2 * pixels * 20 + 3 * sum(encoder + decoder))
    assert found.items == 16


@pytest.mark.slow
@pytest.mark.parametrize("declared", [{"automatic_optimization": False}, {"pixels": False}], ids=str)
def test_models_of_every_kind_are_measured(declared, shapes, doodles, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "STRETCH", 0.01)
    config = config_that(**declared)
    arguments = options_for(config, data__root=shapes, data__path=doodles)
    assert call("benchmark", "--seconds", "0.1", "--no-try", "--config", config, *arguments) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "tried" not in lines and "steps/s of 16 items" in lines["fit"]
    assert list(tmp_path.iterdir()) == []


def test_advice_is_the_largest_gain_and_only_one_that_counts():
    def advice(**tried):
        return Measured("cpu", 4, 1.0, 1.0, {}, 1.0, 1.0, 1.0, tried).advice

    assert advice(one=1.04, two=0.5, three="failed (X)") == "nothing that was tried is 5% faster"
    assert advice(one=1.3, two=1.6) == "two: 1.60 times the items per second"


@pytest.mark.slow
def test_what_is_tried_gains_what_it_gains_and_leaves_the_model_as_it_was(shapes, tmp_path, monkeypatch):
    """A step that sleeps takes twice as many images in the same time; whatever cannot be compiled is said so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "STRETCH", 0.1)
    monkeypatch.setattr(VAE, "_loss", slow(VAE._loss))

    def compiled(model, ragged=False):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(plain_loop, "compile_step", compiled)
    found = measure(small_mlp(shapes), 0.1)
    assert found.tried["data.batch_size 8"] == pytest.approx(2, rel=0.2)
    assert found.tried["compile true"] == "failed (RuntimeError)"
    assert found.advice.startswith("data.batch_size 8: ")


def test_a_checkpoint_and_several_processes_are_refused(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="ckpt_path: a benchmark trains a new model"):
        measure([*small_mlp(shapes), "--ckpt_path", "last"], 0.1)
    with pytest.raises(UserError, match="devices"):
        measure([*small_mlp(shapes), "--trainer.devices", "2"], 0.1)


@pytest.mark.slow
def test_a_training_that_would_stop_or_save_is_measured_all_the_same(shapes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "STRETCH", 0.02)
    callbacks = [
        "{class_path: EarlyStopping, init_args: {monitor: val/loss}}",
        "{class_path: ModelCheckpoint, init_args: {dirpath: mine}}",
        "{class_path: RichProgressBar}",
    ]
    given = small_mlp(shapes, trainer__max_steps=3, trainer__min_epochs=1000, trainer__max_time="00:00:00:01")
    given += ["--trainer.fast_dev_run", "true", "--trainer.callbacks", f"[{', '.join(callbacks)}]"]
    given += ["--trainer.logger", "{class_path: CSVLogger, init_args: {save_dir: mine}}"]
    given += ["--model.lr_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau"]
    assert call("benchmark", "--seconds", "0.1", "--no-try", *given) == 0
    assert "steps/s" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_callback_that_ends_the_training_is_named_as_the_reason(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(VAE, "on_train_start", lambda self: setattr(self.trainer, "should_stop", True))
    monkeypatch.setattr(VAE, "on_train_batch_start", lambda *_: -1)  # skips the epoch
    with pytest.raises(UserError, match="ended before it was measured"):
        measure(small_mlp(shapes), 0.1)
