"""Points per second of ``vae-zoo fit`` for Sketch-RNN, over those of ``torch.nn.LSTM`` alone on the same batches.

    python benchmarks/sketch.py [--epochs 1] [--packed] [any option of vae-zoo fit]

Alone are a bidirectional LSTM of the encoder's size and one of the decoder's, forwards and backwards, without data
loading, densities, optimizer or Trainer. One run, alternating step by step; points per second are all real points over
all seconds, padding not counted. An epoch's first step is left out. Below 0.9 the exit status is 1.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Sequence
from time import perf_counter
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from vae_zoo.cli import main as vae_zoo
from vae_zoo.strokes import lengths

GOAL = 0.9


class LSTMAlone(Callback):
    """After each step of fit, the LSTMs alone on the same batch."""

    steps: ClassVar[list[tuple[int, float, float]]] = []  # points, seconds of fit, seconds alone
    packed: ClassVar[bool] = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Make LSTMs of the same sizes."""
        encoder, decoder = pl_module.posterior.encoder.forwards, pl_module.likelihood.lstm
        self.encoder = nn.LSTM(encoder.input_size, encoder.hidden_size, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(decoder.input_size, decoder.hidden_size, batch_first=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave an epoch's first step out."""
        self.mark: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time since the last step alone, with all that comes between; and take one more."""
        end = perf_counter()
        x, _ = batch
        n = lengths(x)
        given = torch.randn(*x.shape[:2], self.decoder.input_size)
        begin = perf_counter()
        with torch.enable_grad():
            self._run(self.encoder, x, n)
            self._run(self.decoder, given, n)
        now = perf_counter()
        if self.mark is not None:
            self.steps.append((int(n.sum()), end - self.mark, now - begin))
        self.mark = perf_counter()

    def _run(self, lstm: nn.LSTM, x: Tensor, n: Tensor) -> None:
        if self.packed:
            packed = pack_padded_sequence(x, n, batch_first=True, enforce_sorted=False)
            lstm(packed)[0].data.sum().backward()
        else:
            lstm(x)[0].sum().backward()


def measure(arguments: Sequence[str]) -> tuple[float, float]:
    """Run fit with the LSTMs beside it.

    Args:
        arguments: of ``vae-zoo fit``; without a data.path the sketches are generated.

    Returns:
        points per second of fit, and of the LSTMs alone.
    """
    LSTMAlone.steps.clear()
    with tempfile.TemporaryDirectory() as folder:
        arguments = list(arguments)
        if not any(argument.startswith("--data.path") for argument in arguments):
            vae_zoo(["data", "sketches", "--out", f"{folder}/sketches.ndjson", "--n", "5000"])
            arguments += ["--data.path", f"{folder}/sketches.ndjson"]
        callback = f"[{{class_path: {__name__}.LSTMAlone}}]"
        quiet = ["--run_dir", f"{folder}/run", "--images.epochs", "[]", "--trainer.enable_model_summary", "false"]
        with contextlib.redirect_stdout(io.StringIO()):
            status = vae_zoo(["fit", "--config", "sketch_rnn", *arguments, *quiet, "--trainer.callbacks", callback])
    if status or not LSTMAlone.steps:
        raise SystemExit("fit failed, or had too few steps")
    points, fit, alone = (sum(column) for column in zip(*LSTMAlone.steps, strict=True))
    return points / fit, points / alone


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--packed", action="store_true", help="the LSTMs alone on packed sequences")
    options, rest = parser.parse_known_args()
    LSTMAlone.packed = options.packed
    fit, alone = measure(["--trainer.max_epochs", options.epochs, *rest])
    print(f"{len(LSTMAlone.steps)} steps: fit {fit:.0f} points/s, torch.nn.LSTM alone {alone:.0f}")
    print(f"fit's points per second over the LSTMs': {fit / alone:.3f}, goal {GOAL}")
    return int(fit / alone < GOAL)


if __name__ == "__main__":
    sys.exit(main())
