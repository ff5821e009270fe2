"""A training from shards that is killed inside an epoch goes on to the images, and the noise, that were next."""

import signal
import subprocess
import sys
from collections import Counter

import pytest

from tests.conftest import REPOSITORY
from tests.streamed_training import train
from tests.test_streaming import shard
from vae_zoo.data import COCODataModule

pytestmark = pytest.mark.slow
DIES = 10  # of 6 steps an epoch, so inside the second; the checkpoint before it is at 9


def run(*arguments):
    command = [sys.executable, "-m", "tests.streamed_training", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stderr


def notes(path):
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("devices, workers, files", [(1, 0, False), (1, 2, True), (2, 0, False), (2, 2, False)])
def test_a_killed_training_goes_on_to_the_same_images(devices, workers, files, shapes, tmp_path):
    shard(shapes, tmp_path / "shards", files=files, n=40 * devices)
    size = ["--image_size", 8] if files else []
    common = ["--workers", workers, "--devices", devices, *size]
    code, said = run(tmp_path / "shards", tmp_path / "whole", tmp_path / "a", *common)
    assert code == 0, said
    code, _ = run(tmp_path / "shards", tmp_path / "cut", tmp_path / "b", *common, "--dies", DIES)
    assert code == -signal.SIGKILL
    code, said = run(tmp_path / "shards", tmp_path / "cut", tmp_path / "b", *common, "--resume")
    assert code == 0 and "not resumable" not in said, said
    for rank in range(devices):
        whole, cut = (notes(tmp_path / f"{name}.{rank}") for name in ("whole", "cut"))
        steps = len(whole) // 3
        assert steps > 3 and [line[:2] for line in whole] == [[str(e), str(i)] for e in range(3) for i in range(steps)]
        saved = DIES // 3 * 3
        assert whole[:DIES] == cut[:DIES]  # before it was killed
        assert whole[saved:] == cut[DIES:]  # from the checkpoint on


def test_two_processes_share_an_epoch(shapes, tmp_path):
    """Each image once, but for the last of an odd number, which is another one in each epoch."""
    data = shard(shapes, tmp_path / "shards", n=79)
    for epoch in (0, 1):
        orders = [data.parts["train"].order(2, rank, 3) for rank in (0, 1)]
        for order in orders:
            order.set_epoch(epoch)
        counts = Counter(row for order in orders for row in order)
        n = len(data.parts["train"])
        assert n % 2 and set(counts) < set(range(n)) and len(counts) == sum(counts.values()) == n - 1


@pytest.mark.parametrize(
    "every, of_trainer",
    [
        (3, {}),
        (5, {}),  # 5 batches an epoch: a checkpoint at the last one goes on to the next epoch
        (3, {"limit_train_batches": 3}),
        (3, {"limit_train_batches": 0.6}),
        (3, {"limit_val_batches": 1.0, "val_check_interval": 1}),  # a validation after each checkpoint
        (3, {"overfit_batches": 3}),  # Lightning's own order
    ],
)
def test_images_in_memory_resume_alike(every, of_trainer, shapes, tmp_path):
    small = {"kind": COCODataModule, "image_size": 8, "n_train": 40, "n_test": 10, "n_val": 10}
    small["of_trainer"] = of_trainer

    class Stopped(Exception):
        pass

    def stop(step):
        raise Stopped

    train(shapes, tmp_path / "whole", tmp_path / "a", every=every, **small)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("tests.streamed_training.os.kill", lambda *_: stop(0))
        train(shapes, tmp_path / "cut", tmp_path / "b", every=every, dies=7, **small)
    train(shapes, tmp_path / "cut", tmp_path / "b", every=every, resume=True, **small)
    whole, cut = (notes(tmp_path / f"{name}.0") for name in ("whole", "cut"))
    assert whole[:7] == cut[:7] and whole[7 // every * every :] == cut[7:]
