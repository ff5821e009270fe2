"""Images per second of this package's models over those of pythae 0.1.2: same networks, data, batches and machine.

    pip install pythae==0.1.2
    python benchmarks/peers.py [--seconds 60] [--images 2048] [--size 64] [--batch 128]

For each model both packages train by turns, whole epochs in each package's own training loop, until each has spent as
many seconds; whoever has spent fewer is next. What is compared is the median epoch, and, on images that neither was
trained on, how well each has learnt to reconstruct in equal time. Below a goal the exit status is 1.
"""

import argparse
import contextlib
import io
import logging
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from photos import photos
from pythae import models as peers
from pythae import trainers
from pythae.data.datasets import BaseDataset
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor

from vae_zoo.callbacks import Timing
from vae_zoo.cli.process import flush_denormals, keep_freed_memory
from vae_zoo.models import AAE, IAFVAE, IWAE, VAE, Autoencoder
from vae_zoo.networks import ConvDecoder, ConvEncoder, Network

LATENT, SAMPLES, GOAL = 64, 5, 1.3
QUIET: dict[str, Any] = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


class Encoder(BaseEncoder):
    """A network of this package in the form that pythae takes."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        """Return mu and log sigma^2."""
        mean, log_variance = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """The same for a decoder, with the Gaussian's sigmoid."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the images."""
        return ModelOutput(reconstruction=self.network(z).sigmoid())


class Turns(Callback):
    """After an epoch of this package's training, pythae's as many as make up for its seconds."""

    def __init__(self, timing: Timing, theirs: "Theirs", seconds: float) -> None:
        self.timing, self.theirs, self.limit = timing, theirs, seconds

    @property
    def seconds(self) -> list[float]:
        """Of each epoch of ours."""
        return [epoch["seconds"] for epoch in self.timing.epochs]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let pythae catch up; stop when both have had their time."""
        with torch.enable_grad():
            while sum(self.theirs.seconds) < sum(self.seconds):
                self.theirs.epoch()
        trainer.should_stop = sum(self.seconds) >= self.limit


class Theirs:
    """A model of pythae, trained by its own trainer."""

    def __init__(self, model: Any, x: Tensor, batch: int, folder: Path) -> None:
        adversarial = isinstance(model, peers.Adversarial_AE)
        settings = {"output_dir": str(folder), "num_epochs": 1, "per_device_train_batch_size": batch, "no_cuda": True}
        if adversarial:
            config: Any = trainers.AdversarialTrainerConfig(
                **settings, autoencoder_learning_rate=1e-3, discriminator_learning_rate=1e-3
            )
        else:
            config = trainers.BaseTrainerConfig(**settings, learning_rate=1e-3)
        train = BaseDataset(x, torch.zeros(len(x)))
        self.trainer = (trainers.AdversarialTrainer if adversarial else trainers.BaseTrainer)(
            model, train, training_config=config
        )
        self.trainer.prepare_training()
        self.model = model
        self.seconds: list[float] = []

    def epoch(self) -> None:
        """Train one."""
        begin = perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
            self.trainer.train_step(len(self.seconds) + 1)
        self.seconds.append(perf_counter() - begin)

    def mse(self, x: Tensor) -> float:
        """Return the mean squared error of the reconstructions from the posterior's means."""
        self.model.eval()
        with torch.no_grad():
            z = self.model.encoder(x).embedding
            if isinstance(self.model, peers.VAE_IAF):
                z = self.model.iaf_flow.inverse(z).out
            return float((self.model.decoder(z).reconstruction - x).square().mean())


def pairs(shape: tuple[int, ...]) -> dict[str, tuple[Callable[[], Autoencoder], Callable[[], Any]]]:
    """By name, how to make the model of each package."""
    sizes: dict[str, Any] = {"input_dim": shape, "latent_dim": LATENT, "reconstruction_loss": "mse"}

    def networks() -> dict[str, Any]:
        return {
            "encoder": Encoder(ConvEncoder(shape, 2 * LATENT)),
            "decoder": Decoder(ConvDecoder(LATENT, shape)),
        }

    flow = {"n_made_blocks": 4, "n_hidden_in_made": 2, "hidden_size": 256}
    return {
        "VAE": (lambda: VAE(shape), lambda: peers.VAE(peers.VAEConfig(**sizes), **networks())),
        "IWAE": (
            lambda: IWAE(shape, samples=SAMPLES),
            lambda: peers.IWAE(peers.IWAEConfig(**sizes, number_samples=SAMPLES), **networks()),
        ),
        "IAFVAE": (lambda: IAFVAE(shape), lambda: peers.VAE_IAF(peers.VAE_IAF_Config(**sizes, **flow), **networks())),
        "AAE": (lambda: AAE(shape), lambda: peers.Adversarial_AE(peers.Adversarial_AE_Config(**sizes), **networks())),
    }


def main() -> int:
    """Train each pair by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each model of each package")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--data", help="a folder or zip of pictures; by default generated shapes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    flush_denormals()  # for both
    keep_freed_memory()  # for both
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        data = photos(options.data, folder, options.images, 256, options.size, options.batch)
        x = torch.cat([x for x, _ in data.batches("train", 512)]).contiguous()
        held_out = torch.cat([x for x, _ in data.batches("test", 256)])
        for name, (make_ours, make_theirs) in pairs(data.shape).items():
            torch.manual_seed(0)
            ours = make_ours()
            torch.manual_seed(0)
            theirs = Theirs(make_theirs(), x, options.batch, Path(folder) / name)
            timing = Timing()
            turns = Turns(timing, theirs, options.seconds)
            trainer = Trainer(max_epochs=-1, accelerator="cpu", callbacks=[timing, turns], limit_val_batches=0, **QUIET)
            trainer.fit(ours, data)
            ours.eval()
            speeds = [len(x) / statistics.median(side.seconds[1:] or side.seconds) for side in (turns, theirs)]
            errors = [float((ours.reconstruct(held_out) - held_out).square().mean()), theirs.mse(held_out)]
            print(
                f"{name:7} {speeds[0]:6.0f} images/s, pythae {speeds[1]:6.0f}: {speeds[0] / speeds[1]:.2f}, "
                f"goal {GOAL}; MSE after {options.seconds:.0f} s of training {errors[0]:.5f}, pythae {errors[1]:.5f}",
                flush=True,
            )
            failed |= speeds[0] / speeds[1] < GOAL
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
