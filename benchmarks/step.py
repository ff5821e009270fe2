"""Steps per second of ``vae-zoo fit`` over those of a bare PyTorch loop: same networks, batch in memory.

    python benchmarks/step.py [--config vae] [--epochs 14] [any option of vae-zoo fit]

One run, alternating step by step, since the speed of a shared machine drifts within seconds; medians. An epoch's first
step is left out. Below 0.97 the exit status is 1.
"""

import argparse
import contextlib
import copy
import io
import statistics
import sys
import tempfile
from collections.abc import Sequence
from time import perf_counter
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from photos import photos_of
from torch.nn.functional import binary_cross_entropy_with_logits

from vae_zoo.cli import main as vae_zoo

GOAL = 0.97
WARM = 10  # steps that are left out


class BareLoop(Callback):
    """After each step of fit, one step of the textbook's loop on copies of the same networks, the batch in memory."""

    steps: ClassVar[list[tuple[float, float, float]]] = []  # seconds of: waiting within fit, fit, bare

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Copy the networks."""
        self.encoder = copy.deepcopy(pl_module.posterior.encoder)
        self.decoder = copy.deepcopy(pl_module.likelihood.decoder)
        self.binary = pl_module.likelihood.binary
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave an epoch's first step out."""
        self.mark: float | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note when the batch is there."""
        self.begin = perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a step, and note both times; fit's runs from the last bare step's end, with all that comes between."""
        end = perf_counter()
        x = batch[0]
        with torch.enable_grad():
            mean, log_variance = self.encoder(x).chunk(2, 1)
            z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
            out = self.decoder(z)
            if self.binary:
                nats = binary_cross_entropy_with_logits(out, x, reduction="sum")
            else:
                nats = (out.sigmoid() - x).square().sum() / 2
            kl = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
            self.optimizer.zero_grad()
            ((nats + kl) / len(x)).backward()
            self.optimizer.step()
        now = perf_counter()
        if self.mark is not None:
            self.steps.append((self.begin - self.mark, end - self.mark, now - end))
        self.mark = now


def measure(arguments: Sequence[str]) -> tuple[float, float, float]:
    """Run fit with the bare loop beside it.

    Args:
        arguments: of ``vae-zoo fit``; without a data.root the images are generated shapes.

    Returns:
        medians, in seconds, of: the time between two steps of fit, a step of fit with that time, a step of the loop.
    """
    BareLoop.steps.clear()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        given = any(argument.startswith("--data.root") for argument in arguments)
        data = [] if given else stack.enter_context(photos_of(1088))
        callback = f"[{{class_path: {__name__}.BareLoop}}]"
        quiet = ["--run_dir", f"{folder}/run", "--images.epochs", "[]", "--trainer.enable_model_summary", "false"]
        with contextlib.redirect_stdout(io.StringIO()):
            status = vae_zoo(["fit", *arguments, *data, *quiet, "--trainer.callbacks", callback])
    if status or len(BareLoop.steps) <= WARM:
        raise SystemExit("fit failed, or had too few steps")
    wait, fit, bare = (statistics.median(times) for times in zip(*BareLoop.steps[WARM:], strict=True))
    return wait, fit, bare


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="vae", help="a yaml whose posterior and likelihood have one network each")
    parser.add_argument("--epochs", default="14")
    options, rest = parser.parse_known_args()
    wait, fit, bare = measure(["--config", options.config, "--trainer.max_epochs", options.epochs, *rest])
    print(f"median step of {len(BareLoop.steps) - WARM}: fit {1000 * fit:.1f} ms, bare loop {1000 * bare:.1f} ms")
    print(f"between two steps of fit {1000 * wait:.1f} ms, {wait / fit:.2%}")
    print(f"fit's steps per second over the bare loop's: {bare / fit:.3f}, goal {GOAL}")
    return int(bare / fit < GOAL)


if __name__ == "__main__":
    sys.exit(main())
