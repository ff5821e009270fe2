"""Timing and pictures."""

import time

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from tests.test_data import module
from tests.test_models import SMALL, loader
from vae_zoo.callbacks import SampleImages, Timing
from vae_zoo.callbacks.images import reconstruction_grid
from vae_zoo.callbacks.timing import summarise
from vae_zoo.models import VAE


def fit(folder, *callbacks, model=None, data=None, epochs=3, **settings):
    model = model or VAE(**SMALL)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", default_root_dir=folder, callbacks=list(callbacks), **SILENT | settings
    )
    trainer.fit(model, **data if isinstance(data, dict) else {"train_dataloaders": data or loader()})
    return trainer


SILENT = {"enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}


class Slow(VAE):
    """0.05 s in each step, a whole second in each validation."""

    def training_step(self, batch, batch_idx):
        time.sleep(0.05)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        time.sleep(1.0)
        return super().validation_step(batch, batch_idx)


class SlowData:
    """Takes 0.05 s to give a batch."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        for batch in self.data:
            time.sleep(0.05)
            yield batch


@pytest.mark.parametrize("interval", [1.0, 1 / 3])
def test_timing_counts_training_and_waiting_and_no_validation(tmp_path, interval):
    timing = Timing()
    data = {"train_dataloaders": SlowData(loader(20, 8)), "val_dataloaders": loader(8, 8)}
    fit(tmp_path, timing, model=Slow(**SMALL), data=data, epochs=2, val_check_interval=interval, logger=False)
    assert len(timing.epochs) == 2
    figures = summarise(timing.epochs)
    assert 0.3 <= figures["seconds_per_epoch"] < 1.2  # three steps of 0.1 s; a validation would add a second
    assert figures["images_per_second"] == pytest.approx(20 / figures["seconds_per_epoch"], rel=0.2)
    assert 0.15 <= figures["data_wait_share"] * figures["seconds_per_epoch"] < 0.3 + figures["seconds_per_epoch"] / 4
    assert figures["peak_memory_mb"] > 50
    assert figures["train_seconds"] == sum(epoch["seconds"] for epoch in timing.epochs)


def test_timing_leaves_the_first_epoch_out():
    epochs = [{"seconds": s, "waited": s / 10, "images": 100.0, "peak_memory_mb": 7.0} for s in (50.0, 1.0, 2.0, 9.0)]
    figures = summarise(epochs)
    assert figures["seconds_per_epoch"] == 2 and figures["images_per_second"] == 50
    assert figures["train_seconds"] == 62 and figures["data_wait_share"] == pytest.approx(0.1)
    assert summarise(epochs[:1])["seconds_per_epoch"] == 50


def test_timing_travels_in_the_checkpoint(tmp_path):
    first = Timing()
    fit(tmp_path, first, logger=False).save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["callbacks"]["Timing"]
    second = Timing()
    second.load_state_dict(saved)
    assert second.epochs == first.epochs and len(second.epochs) == 3


def test_pictures_at_the_chosen_epochs_and_the_last(tmp_path):
    trainer = fit(tmp_path, SampleImages(epochs=[0, 2]), epochs=3)
    files = sorted((tmp_path / "lightning_logs" / "version_0" / "images").iterdir())
    assert [file.name for file in files] == ["epoch_0000.png", "epoch_0002.png", "epoch_0003.png"]
    assert trainer.log_dir in str(files[0])


def test_pictures_hold_the_test_images_their_reconstructions_and_samples(shapes, tmp_path):
    data = module(shapes)
    model = VAE(**SMALL)
    trainer = fit(
        tmp_path, SampleImages(columns=4, reconstructions=8, samples=6), model=model, data={"datamodule": data}
    )
    path = tmp_path / "lightning_logs" / "version_0" / "images" / "epoch_0003.png"
    pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
    tile = 18  # 16 pixels and a border of 2

    def at(row, column, block=0):
        top, left = 2 + row * tile + block, 2 + column * tile
        return pixels[:, top : top + 16, left : left + 16]

    x = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0][:8]
    x_hat = model.reconstruct(x)
    below = 4 * tile + 2  # where the samples' block begins
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = model.sample(6)
    for i in range(4):
        for truth, shown in [
            (x[i], at(0, i)),
            (x_hat[i], at(1, i)),
            (x[4 + i], at(2, i)),
            (x_hat[4 + i], at(3, i)),
            (samples[i], at(0, i, below)),
        ]:
            torch.testing.assert_close(shown, truth, atol=1.5 / 255, rtol=0)
    assert trainer.current_epoch == 3


def test_pictures_do_not_change_the_training(tmp_path):
    weights = []
    for callbacks in ([], [SampleImages(epochs=[0, 1, 2])]):
        torch.manual_seed(5)
        model = VAE(**SMALL)
        torch.manual_seed(6)
        fit(tmp_path / str(len(callbacks)), *callbacks, model=model)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_another_seed_gives_other_samples(tmp_path):
    for seed in (0, 1):
        torch.manual_seed(5)
        fit(tmp_path / str(seed), SampleImages(seed=seed), epochs=1)
    a, b = (tmp_path / str(n) / "lightning_logs" / "version_0" / "images" / "epoch_0000.png" for n in (0, 1))
    assert a.read_bytes() != b.read_bytes()


def test_grid_with_fewer_images_than_columns_and_a_ragged_last_row():
    x = torch.rand(3, 1, 8, 8)
    assert reconstruction_grid(x, x).shape == (3, 2 * 10 + 2, 3 * 10 + 2)
    grid = reconstruction_grid(x, x, columns=2)
    assert grid.shape == (3, 4 * 10 + 2, 2 * 10 + 2)
    assert (grid[:, 22:, 12:] == 1).all()  # nothing there: white
