"""A training whose batches are noted in a file, to be run and killed: ``python -m tests.streamed_training``."""

import argparse
import os
import signal
import zlib
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from vae_zoo.callbacks.noise import Noise
from vae_zoo.data import StreamingImages
from vae_zoo.models.base import seed_of


class Noting(LightningModule):
    """Notes the epoch, the place in it, the images and the noise of each batch."""

    def __init__(self, notes):
        super().__init__()
        self.notes, self.weight = notes, torch.nn.Parameter(torch.zeros(()))

    def on_train_batch_start(self, batch, index):
        if index == 0:  # as models do
            torch.manual_seed(seed_of(1, self.trainer.current_epoch, self.trainer.global_rank))

    def training_step(self, batch, index):
        noise = float(torch.rand(()))
        images = [zlib.crc32(image.numpy()) for image in batch[0].contiguous()]
        with open(f"{self.notes}.{self.trainer.global_rank}", "a") as file:
            print(self.current_epoch, index, noise, *images, file=file)
        return self.weight * noise

    def validation_step(self, batch, index):
        torch.rand(())  # as the codes of a model

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Dies(Callback):
    """Kills the process at the end of this step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.strategy.barrier()  # all have noted it, and the checkpoint before it is whole
            os.kill(os.getpid(), signal.SIGKILL)


def train(
    root,
    notes,
    folder,
    workers=0,
    devices=1,
    dies=None,
    resume=False,
    kind=StreamingImages,
    every=3,
    of_trainer=(),
    **settings,
):
    """Train for three epochs, with a checkpoint every few steps."""
    seed_everything(5, verbose=False)
    if kind is StreamingImages:
        settings = {"window": 2, "workers": workers, **settings}
    data = kind(str(root), batch_size=8, **settings)
    saves = ModelCheckpoint(
        folder, "last", every_n_train_steps=every, enable_version_counter=False, save_on_train_epoch_end=False
    )
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        callbacks=[Noise(), Dies(dies), saves],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"limit_val_batches": 0, **dict(of_trainer)},
    )
    trainer.fit(Noting(notes), datamodule=data, ckpt_path=Path(folder) / "last.ckpt" if resume else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "notes", "folder"):
        parser.add_argument(name)
    for name in ("--workers", "--devices", "--dies", "--image_size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--resume", action="store_true")
    options = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    train(**options)
