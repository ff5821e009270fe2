"""What a training step of each model costs, as a ratio to the VAE's: all in one run.

    python benchmarks/models.py [--rounds 8] [--batch 64] [--samples 5] [--likelihood OptimalGaussian]

The models train by turns, a few steps at a time, since the speed of a shared machine drifts; medians, the first two
steps of a turn left out. IWAE(K) is compared with its parts, one encoder and K decoders with their gradients. Above a
goal the exit status is 1.
"""

import argparse
import logging
import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from vae_zoo import likelihoods
from vae_zoo.cli.process import keep_freed_memory
from vae_zoo.models import AAE, AE, CVAE, IAFVAE, IWAE, VAE, Autoencoder

STEPS, WARM = 8, 2  # steps in a turn; those of them that are left out
GOALS = {"AAE": 1.4, "IAFVAE": 1.3}


class StepTimer(Callback):
    """Seconds from a batch's arrival to the end of its step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        self.begin = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop the clock."""
        if batch_idx >= WARM:
            self.seconds.append(perf_counter() - self.begin)


def turn(model: Autoencoder, data: DataLoader) -> list[float]:
    """Train a few steps and return the seconds of each."""
    timer = StepTimer()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=[timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return timer.seconds


def repeat(function: Callable[[], None]) -> list[float]:
    """Call a few times and return the seconds of each."""
    seconds = []
    for step in range(STEPS):
        begin = perf_counter()
        function()
        if step >= WARM:
            seconds.append(perf_counter() - begin)
    return seconds


def measure(rounds: int, batch: int, samples: int, likelihood: str = "Gaussian") -> dict[str, float]:
    """Train the models by turns and return the seconds of a step of each, and of an encoder and a decoder alone."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keep_freed_memory()  # as vae-zoo does
    x = torch.rand(batch * STEPS, 3, 64, 64).to(memory_format=torch.channels_last)
    data = DataLoader(TensorDataset(x, torch.randint(10, (len(x),))), batch)
    chosen = getattr(likelihoods, likelihood)
    kinds: list[Callable[..., Autoencoder]] = [AE, IAFVAE, AAE, CVAE, partial(IWAE, samples=samples)]
    vae = VAE(likelihood=chosen)
    models = {type(model).__name__: model for model in [vae, *(kind(likelihood=chosen) for kind in kinds)]}
    images, code = x[:batch], torch.randn(batch, 64, requires_grad=True)
    parts = {
        "encoder": lambda: vae.posterior(images).rsample().sum().backward(),
        "decoder": lambda: vae.likelihood(code).log_prob(images).sum().backward(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in [*models, *parts]}
    for _ in range(rounds):
        for name, model in models.items():
            seconds[name] += turn(model, data)
        for name, part in parts.items():
            seconds[name] += repeat(part)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--likelihood", choices=("Gaussian", "OptimalGaussian"), default="Gaussian")
    options = parser.parse_args()
    median = measure(options.rounds, options.batch, options.samples, options.likelihood)
    failed = False
    for name, value in median.items():
        ratio, goal = value / median["VAE"], GOALS.get(name)
        print(f"{name:10} {1000 * value:7.1f} ms   {ratio:.2f} of a VAE's step" + (f", goal {goal}" if goal else ""))
        failed |= goal is not None and ratio > goal
    ratio = median["IWAE"] / (median["encoder"] + options.samples * median["decoder"])
    print(f"IWAE over one encoder and {options.samples} decoders: {ratio:.2f}, goal 1.1")
    return int(failed or ratio > 1.1)


if __name__ == "__main__":
    sys.exit(main())
