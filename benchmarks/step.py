"""Steps per second of ``vae-zoo fit`` over those of a bare PyTorch loop: same networks, batch in memory.

    python benchmarks/step.py [--epochs 16] [any option of vae-zoo fit]

One run, alternating: after each epoch of fit the bare loop takes as many steps. The first pair is left out; the median
of the others' ratios is printed. Below 0.97 the exit status is 1.
"""

import argparse
import contextlib
import copy
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.callbacks import Timing
from vae_zoo.cli import main as vae_zoo

CONFIG = Path(__file__).parents[1] / "configs" / "vae.yaml"
GOAL = 0.97


class BareLoop(Callback):
    """After each epoch of fit, as many steps of the textbook's loop on copies of the same networks."""

    measured: ClassVar[list[tuple[float, float]]] = []
    x: torch.Tensor
    steps: int

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep a batch."""
        self.x = batch[0] if batch_idx == 0 else self.x
        self.steps = batch_idx + 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Take as many steps as the epoch had, and compare."""
        (timing,) = [c for c in trainer.callbacks if isinstance(c, Timing)]  # type: ignore[attr-defined]
        fit = self.steps / timing.epochs[-1]["seconds"]
        encoder = copy.deepcopy(pl_module.posterior.encoder)
        decoder = copy.deepcopy(pl_module.likelihood.decoder)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
        with torch.enable_grad():
            for step in range(self.steps + 3):
                if step == 3:  # three steps to warm up
                    begin = perf_counter()
                mean, log_variance = encoder(self.x).chunk(2, 1)
                z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
                squares = (decoder(z).sigmoid() - self.x).square().sum()
                kl = (mean.square() + log_variance.exp() - log_variance - 1).sum()
                optimizer.zero_grad()
                ((squares + kl) / 2 / len(self.x)).backward()
                optimizer.step()
        bare = self.steps / (perf_counter() - begin)
        self.measured.append((fit, bare))
        wait = timing.epochs[-1]["waited"] / timing.epochs[-1]["seconds"]
        print(f"fit {fit:6.2f} steps/s   bare {bare:6.2f} steps/s   ratio {fit / bare:.3f}   data wait {wait:.2%}")


def main() -> int:
    """Run fit with the bare loop beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=16)
    options, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if not any(argument.startswith("--data.root") for argument in rest):
            vae_zoo(["data", "shapes", "--out", "shapes", "--n", "1088"])
            sizes = ["--data.n_train", "960", "--data.n_test", "64", "--data.n_val", "64"]
            rest = ["--data.root", "shapes", *sizes, *rest]
        status = vae_zoo(
            ["fit", "--config", str(CONFIG), "--trainer.max_epochs", str(options.epochs), "--images.epochs", "[]"]
            + ["--trainer.callbacks", f"[{{class_path: {__name__}.BareLoop}}]"]
            + ["--data.cache_dir", f"{folder}/cache", *rest]
        )
    ratios = [fit / bare for fit, bare in BareLoop.measured[1:] or BareLoop.measured]
    if status or not ratios:
        return status or 1
    print(f"median ratio {statistics.median(ratios):.3f} of {len(ratios)} pairs, goal {GOAL}")
    return int(statistics.median(ratios) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
