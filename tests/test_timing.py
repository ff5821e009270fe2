"""Timing: what an epoch of training costs, and nothing else."""

import subprocess
import sys
import time

import pytest
import torch

from tests.running import fit
from tests.zoo import JOINT, loader, small
from vae_zoo.callbacks import Timing
from vae_zoo.callbacks.timing import summarise


class Slow(JOINT):
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


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1.0, 1 / 3])
def test_training_and_waiting_count_and_validation_does_not(tmp_path, interval):
    timing = Timing()
    data = {"train_dataloaders": SlowData(loader(20, 8)), "val_dataloaders": loader(8, 8)}
    fit(tmp_path, timing, model=small(Slow), data=data, epochs=2, val_check_interval=interval, logger=False)
    assert len(timing.epochs) == 2
    figures = summarise(timing.epochs)
    assert 0.3 <= figures["seconds_per_epoch"] < 1.2  # three steps of 0.1 s; a validation would add a second
    assert figures["images_per_second"] == pytest.approx(20 / figures["seconds_per_epoch"], rel=0.2)
    assert 0.15 <= figures["data_wait_share"] * figures["seconds_per_epoch"] < 0.3 + figures["seconds_per_epoch"] / 4
    assert figures["peak_memory_mb"] > 50
    assert figures["train_seconds"] == sum(epoch["seconds"] for epoch in timing.epochs)


def test_the_first_epoch_is_left_out():
    epochs = [{"seconds": s, "waited": s / 10, "images": 100.0, "peak_memory_mb": 7.0} for s in (50.0, 1.0, 2.0, 9.0)]
    figures = summarise(epochs)
    assert figures["seconds_per_epoch"] == 2 and figures["images_per_second"] == 50
    assert figures["train_seconds"] == 62 and figures["data_wait_share"] == pytest.approx(0.1)
    assert summarise(epochs[:1])["seconds_per_epoch"] == 50


@pytest.mark.slow
def test_it_travels_in_the_checkpoint(tmp_path):
    first = Timing()
    fit(tmp_path, first, model=small(JOINT), logger=False).save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["callbacks"]["Timing"]
    second = Timing()
    second.load_state_dict(saved)
    assert second.epochs == first.epochs and len(second.epochs) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
def test_the_peak_is_no_large_parents():
    """On Linux the peak that getrusage tells is inherited, if that of the parent was higher."""
    code = "import torch; from vae_zoo.callbacks.timing import peak_memory; print(peak_memory(torch.device('cpu')))"
    held = b"x" * 2_000_000_000
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(found.stdout) < len(held) / 1e6
